//! Where strings end, sixteen bytes at a step.
//!
//! Finding the end and checking every byte before it is one comparison: the search stops at whatever may not be in the
//! string, and what it stopped at must be the closing quote.

use wide::u8x16;

use crate::limits::is_name_byte;

/// Bytes looked at together: the width that every processor of the common kinds has.
pub(super) const CHUNK: usize = 16;

/// The bytes from `at`; `None` near the end of the text, which is looked at byte by byte.
#[inline(always)]
pub(super) fn chunk(bytes: &[u8], at: usize) -> Option<u8x16> {
    bytes.get(at..)?.first_chunk::<CHUNK>().map(|chunk| u8x16::new(*chunk))
}

/// The closing quote of a string whose text starts at `at`; `None` when it holds an escape or what JSON does not allow.
#[inline(always)]
pub(super) fn plain_end(bytes: &[u8], at: usize) -> Option<usize> {
    end(bytes, at, ends_plain, |byte| byte < 0x20 || matches!(byte, b'"' | b'\\'))
}

/// [`plain_end`] of a string without any control character ([`crate::json::is_plain`]): JSON allows one of them.
#[inline(always)]
pub(super) fn printable_end(bytes: &[u8], at: usize) -> Option<usize> {
    let is_end = |byte| byte < 0x20 || matches!(byte, b'"' | b'\\' | 0x7f);
    end(bytes, at, |text| ends_plain(text) | text.simd_eq(u8x16::splat(0x7f)), is_end)
}

/// A text of less than eight bytes as a number, the first byte lowest.
#[inline(always)]
pub(super) fn word(bytes: &[u8], start: usize, end: usize) -> Option<u64> {
    let bytes = bytes.get(start..)?.first_chunk::<8>()?;
    (end - start < 8).then(|| u64::from_le_bytes(*bytes) & !(u64::MAX << (8 * (end - start))))
}

#[inline(always)]
fn ends_plain(text: u8x16) -> u8x16 {
    let controls = text.min(u8x16::splat(0x1f)).simd_eq(text);
    controls | text.simd_eq(u8x16::splat(b'"')) | text.simd_eq(u8x16::splat(b'\\'))
}

/// The closing quote of a name: [`is_name_byte`] holds for every byte before it.
#[inline(always)]
pub(super) fn name_end(bytes: &[u8], at: usize) -> Option<usize> {
    // `-`, `.`, `/` and the digits are neighbours.
    let within = |text: u8x16, first: u8, last: u8| {
        let above = text - u8x16::splat(first);
        above.min(u8x16::splat(last - first)).simd_eq(above)
    };
    let ends = |text: u8x16| {
        let letters = within(text | u8x16::splat(0x20), b'a', b'z');
        !(letters | within(text, b'-', b'9') | text.simd_eq(u8x16::splat(b'_')))
    };
    end(bytes, at, ends, |byte| !is_name_byte(byte))
}

/// The quote that stands at the first end of a string, and nothing else that ends one.
#[inline(always)]
fn end(bytes: &[u8], mut at: usize, ends: impl Fn(u8x16) -> u8x16, is_end: fn(u8) -> bool) -> Option<usize> {
    loop {
        let Some(chunk) = chunk(bytes, at) else { return last_end(bytes, at, is_end) };
        let found = ends(chunk).to_bitmask();
        if found != 0 {
            at += found.trailing_zeros() as usize;
            return (bytes.get(at) == Some(&b'"')).then_some(at);
        }
        at += CHUNK;
    }
}

#[cold]
#[inline(never)]
fn last_end(bytes: &[u8], at: usize, is_end: fn(u8) -> bool) -> Option<usize> {
    let at = at + bytes.get(at..)?.iter().position(|byte| is_end(*byte))?;
    (bytes[at] == b'"').then_some(at)
}
