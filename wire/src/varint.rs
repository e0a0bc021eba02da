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
