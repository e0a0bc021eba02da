//! Numbers, eight digits at a step.
//!
//! The digits of a number are shifted to the end of a word of eight bytes, zeros in front; pairs, then fours, then all
//! eight are joined by multiplications (the usual "SWAR" parse). No step depends on how many digits there are.

use wide::u8x16;

use super::text::{self, CHUNK};
use crate::json::duration_us as us_of_ms;
use crate::limits;

/// A non-negative integer of at most 15 digits and its end; larger ones go the thorough way.
#[inline(always)]
pub(super) fn integer(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let Some(chunk) = text::chunk(bytes, at) else { return last_integer(bytes, at) };
    let len = other_than_digits(chunk).trailing_zeros() as usize;
    if len == 0 || len >= CHUNK || (bytes[at] == b'0') & (len > 1) {
        return None;
    }
    let digits = (u128::from_le_bytes(chunk.to_array()) & DIGITS) << (8 * (CHUNK - len));
    Some((eight(digits as u64) * 100_000_000 + eight((digits >> 64) as u64), at + len))
}

#[cold]
#[inline(never)]
fn last_integer(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let digits = bytes.get(at..)?.iter().map_while(|byte| char::from(*byte).to_digit(10));
    let (len, value) = digits.fold((0, 0), |(len, value), digit| (len + 1, value * 10 + u64::from(digit)));
    ((1..CHUNK).contains(&len) && (len == 1 || bytes[at] != b'0')).then_some((value, at + len))
}

/// Milliseconds with up to three places as µs, exact in integers; anything else through a float.
#[inline(always)]
pub(super) fn duration_us(text: &str, at: usize) -> Option<(u64, usize)> {
    let Some(chunk) = text::chunk(text.as_bytes(), at) else { return any_duration_us(text, at) };
    let others = other_than_digits(chunk);
    let whole = others.trailing_zeros() as usize;
    if !(1..=7).contains(&whole) || (text.as_bytes()[at] == b'0') & (whole > 1) {
        return any_duration_us(text, at);
    }
    let digits = u128::from_le_bytes(chunk.to_array()) & DIGITS;
    let ms = eight((digits as u64) << (8 * (8 - whole)));
    let (us, len) = match text.as_bytes().get(at + whole) {
        Some(b'.') => {
            let places = (others & (others - 1)).trailing_zeros() as usize - whole - 1;
            if !(1..=3).contains(&places) {
                return any_duration_us(text, at);
            }
            let places_digits = (digits >> (8 * (whole + 1))) as u64 & ((1 << (8 * places)) - 1);
            let digit = |place: usize| places_digits >> (8 * place) & 0xff;
            (ms * 1000 + digit(0) * 100 + digit(1) * 10 + digit(2), whole + 1 + places)
        }
        Some(b'e' | b'E') => return None,
        _ => (ms * 1000, whole),
    };
    (us <= limits::DURATION_MS_MAX * 1000).then_some((us, at + len))
}

#[cold]
#[inline(never)]
fn any_duration_us(text: &str, at: usize) -> Option<(u64, usize)> {
    let end = end(text.as_bytes(), at)?;
    Some((us_of_ms(text.get(at..end)?.parse().ok()?)?, end))
}

/// The end of a JSON number without exponent.
pub(super) fn end(bytes: &[u8], start: usize) -> Option<usize> {
    let digits =
        |at: usize| bytes.get(at..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = start + usize::from(bytes.get(start) == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && bytes[at] == b'0') {
        return None;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let places = digits(at + 1);
        if places == 0 {
            return None;
        }
        at += 1 + places;
    }
    (!matches!(bytes.get(at), Some(b'e' | b'E'))).then_some(at)
}

/// A bit for each byte that is no digit, and one behind the last.
#[inline(always)]
fn other_than_digits(chunk: u8x16) -> u32 {
    let above = chunk - u8x16::splat(b'0');
    !above.min(u8x16::splat(9)).simd_eq(above).to_bitmask() | 1 << CHUNK
}

/// The value of eight digits, the first in the lowest byte.
#[inline(always)]
const fn eight(digits: u64) -> u64 {
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let upper = (pairs & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let lower = (pairs >> 16 & PAIRS).wrapping_mul(1 + (10_000 << 32));
    upper.wrapping_add(lower) >> 32
}

/// What is left of sixteen digits without the part that makes them text.
const DIGITS: u128 = u128::from_le_bytes([0x0f; CHUNK]);
