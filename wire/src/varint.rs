//! Base-128 varints and ZigZag, as protobuf and HdrHistogram V2 use them.
//!
//! Little-endian groups of seven bits, the top bit of each byte says "more follows"
//! (protobuf encoding guide). Decoding borrows, never allocates, and treats running
//! out of bytes or of bits as `None`: the caller names the error.

/// Appends `value` in at most ten bytes.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes `value` at `at` and returns where it ends. Without a branch on its length, which is what numbers differ in; eight
/// bytes are touched, or ten.
#[inline(always)]
pub(crate) fn write(out: &mut [u8], at: usize, value: u64) -> usize {
    if value >> 56 != 0 {
        return write_long(out, at, value);
    }
    // The groups of seven bits are moved apart: halves, quarters, eighths.
    let halves = (value & 0x00ff_ffff_f000_0000) << 4 | value & 0x0fff_ffff;
    let quarters = (halves & 0x0fff_c000_0fff_c000) << 2 | halves & 0x0000_3fff_0000_3fff;
    let groups = (quarters & 0x3f80_3f80_3f80_3f80) << 1 | quarters & 0x007f_007f_007f_007f;
    let len = len(value);
    let more = TOPS & !(u64::MAX << (8 * (len - 1)));
    out[at..at + 8].copy_from_slice(&(groups | more).to_le_bytes());
    at + len
}

#[cold]
#[inline(never)]
fn write_long(out: &mut [u8], mut at: usize, mut value: u64) -> usize {
    while value >= 0x80 {
        out[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value as u8;
    at + 1
}

/// The bit of each byte of a word that says "more follows".
const TOPS: u64 = 0x8080_8080_8080_8080;

/// Bytes that [`put`] writes for `value`.
#[inline]
pub(crate) const fn len(value: u64) -> usize {
    // One byte per started group of seven bits; zero still takes one.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Reads one varint from the front of `input` and moves past it.
#[inline]
pub(crate) fn take(input: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = input.split_first()?;
    if first < 0x80 {
        *input = rest;
        return Some(u64::from(first));
    }
    take_long(input)
}

fn take_long(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (position, &byte) in input.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte may only carry the last bit of a u64.
        if position == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * position);
        if byte < 0x80 {
            *input = &input[position + 1..];
            return Some(value);
        }
    }
    None
}

/// Splits `count` bytes off the front of `input`.
#[inline]
pub(crate) fn take_bytes<'a>(input: &mut &'a [u8], count: u64) -> Option<&'a [u8]> {
    let count = usize::try_from(count).ok()?;
    let (head, tail) = input.split_at_checked(count)?;
    *input = tail;
    Some(head)
}

/// Maps signed to unsigned so that small magnitudes stay short: 0, -1, 1, -2 → 0, 1, 2, 3.
#[inline]
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[inline]
pub(crate) const fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(value: u64, tail: Vec<u8>) {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            prop_assert_eq!(bytes.len(), len(value));
            bytes.extend(&tail);
            let mut input = bytes.as_slice();
            prop_assert_eq!(take(&mut input), Some(value));
            prop_assert_eq!(input, tail.as_slice());
        }

        #[test]
        fn both_ways_of_writing_are_the_same(value: u64, bits in 0u32..64) {
            let value = value >> bits;
            let (mut put_bytes, mut written) = (Vec::new(), [0xff; 12]);
            put(&mut put_bytes, value);
            let end = write(&mut written, 1, value);
            prop_assert_eq!(&written[1..end], put_bytes.as_slice());
        }

        #[test]
        fn zigzag_is_reversible(value: i64) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut input = bytes.as_slice();
            while take(&mut input).is_some() {}
        }
    }
}
