//! Where strings end, sixteen bytes at a step.
//!
//! Finding the end and checking every byte before it is one comparison: the search stops at whatever may not be in the
//! string, and what it stopped at must be the closing quote.

use wide::u8x16;

/// Bytes looked at together: the width that every processor of the common kinds has.
pub(super) const CHUNK: usize = 16;

/// The bytes from `at`; behind the end of the text zeros, which no string and no number goes on with.
#[inline(always)]
pub(super) fn chunk(bytes: &[u8], at: usize) -> [u8; CHUNK] {
    match bytes.get(at..).and_then(<[u8]>::first_chunk) {
        Some(chunk) => *chunk,
        None => last_chunk(bytes, at),
    }
}

#[cold]
#[inline(never)]
fn last_chunk(bytes: &[u8], at: usize) -> [u8; CHUNK] {
    let mut chunk = [0; CHUNK];
    let rest = bytes.get(at..).unwrap_or_default();
    chunk[..rest.len()].copy_from_slice(rest);
    chunk
}

/// The closing quote of a string whose text starts at `at`; `None` when it holds an escape or what JSON does not allow.
#[inline(always)]
pub(super) fn plain_end(bytes: &[u8], at: usize) -> Option<usize> {
    end(bytes, at, ends_plain)
}

/// [`plain_end`] of a string without any control character ([`crate::json::is_plain`]): JSON allows one of them.
#[inline(always)]
pub(super) fn printable_end(bytes: &[u8], at: usize) -> Option<usize> {
    end(bytes, at, |text| ends_plain(text) | text.simd_eq(u8x16::splat(0x7f)))
}

#[inline(always)]
fn ends_plain(text: u8x16) -> u8x16 {
    let controls = text.min(u8x16::splat(0x1f)).simd_eq(text);
    controls | text.simd_eq(u8x16::splat(b'"')) | text.simd_eq(u8x16::splat(b'\\'))
}

/// The closing quote of a name: [`crate::limits::is_name_byte`] holds for every byte before it.
#[inline(always)]
pub(super) fn name_end(bytes: &[u8], at: usize) -> Option<usize> {
    // `-`, `.`, `/` and the digits are neighbours.
    let within = |text: u8x16, first: u8, last: u8| {
        let above = text - u8x16::splat(first);
        above.min(u8x16::splat(last - first)).simd_eq(above)
    };
    end(bytes, at, |text| {
        let letters = within(text | u8x16::splat(0x20), b'a', b'z');
        !(letters | within(text, b'-', b'9') | text.simd_eq(u8x16::splat(b'_')))
    })
}

#[inline(always)]
fn end(bytes: &[u8], mut at: usize, ends: impl Fn(u8x16) -> u8x16) -> Option<usize> {
    loop {
        let found = ends(u8x16::new(chunk(bytes, at))).to_bitmask();
        if found != 0 {
            at += found.trailing_zeros() as usize;
            return (bytes.get(at) == Some(&b'"')).then_some(at);
        }
        at += CHUNK;
    }
}
