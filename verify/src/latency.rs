//! Latencies: an exact count per histogram bucket, and the stored form read back.
//!
//! Arrives: durations, and HdrHistogram V2 bytes from Postgres. Leaves: the same shape from both, so that they compare with `==`.
//!
//! Promises: buckets are HdrHistogram's for lowest 1, highest 3 600 000 000 and 3 digits, each named by its lowest value. The
//! tests hold layout and decoder against the `hdrhistogram` crate, bucket by bucket.
//!
//! Does not: estimate anything. (Nor use that crate at run time: its arrays take 190 kB per histogram, and there are millions.)

use std::collections::BTreeMap;

/// What is known of the durations of one cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Latencies {
    pub(crate) count: u64,
    pub(crate) sum_us: u64,
    pub(crate) min_us: Option<u64>,
    pub(crate) max_us: Option<u64>,
    /// Lowest value of a bucket, and how many durations lie in it.
    pub(crate) buckets: BTreeMap<u32, u64>,
}

impl Latencies {
    /// Counts one duration.
    pub(crate) fn record(&mut self, duration_us: u64) {
        self.count += 1;
        self.sum_us += duration_us;
        self.min_us = Some(self.min_us.map_or(duration_us, |min_us| min_us.min(duration_us)));
        self.max_us = Some(self.max_us.map_or(duration_us, |max_us| max_us.max(duration_us)));
        *self.buckets.entry(bucket_of(duration_us)).or_default() += 1;
    }

    /// Adds what another cell saw.
    pub(crate) fn merge(&mut self, other: &Latencies) {
        self.count += other.count;
        self.sum_us += other.sum_us;
        self.min_us = self.min_us.into_iter().chain(other.min_us).min();
        self.max_us = self.max_us.into_iter().chain(other.max_us).max();
        for (bucket, count) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += count;
        }
    }
}

/// The lowest value of the bucket of a duration: exact below 2048, above it 1024 buckets for each power of two.
pub(crate) fn bucket_of(duration_us: u64) -> u32 {
    let bits = u64::BITS - duration_us.leading_zeros();
    let shift = bits.saturating_sub(11);
    ((duration_us >> shift) << shift) as u32
}

/// The buckets of a stored histogram.
///
/// # Errors
/// What is wrong with the bytes, for people.
pub(crate) fn decode_v2(bytes: &[u8]) -> Result<BTreeMap<u32, u64>, &'static str> {
    let (header, payload) = bytes.split_at_checked(40).ok_or("shorter than a V2 header")?;
    let payload_len = u32::try_from(payload.len()).map_err(|_| "longer than V2 allows")?;
    let mut expected = Vec::new();
    expected.extend(0x1c84_9313_u32.to_be_bytes()); // the V2 cookie
    expected.extend(payload_len.to_be_bytes());
    expected.extend(0_i32.to_be_bytes()); // normalizing index offset
    expected.extend(3_i32.to_be_bytes()); // significant digits
    expected.extend(1_i64.to_be_bytes()); // lowest discernible value
    expected.extend(3_600_000_000_i64.to_be_bytes()); // highest trackable value
    expected.extend(1_f64.to_be_bytes()); // integer to double ratio
    if header != expected {
        return Err("not the V2 header of lowest 1, highest 3600000000, 3 digits");
    }
    let mut buckets = BTreeMap::new();
    let mut input = payload;
    let mut index = 0_u64;
    while !input.is_empty() {
        // A positive number counts the bucket at `index`, a negative one skips as many empty buckets, 0 is one empty bucket.
        let number = take_zigzag(&mut input).ok_or("cut short")?;
        match number {
            1.. => {
                let bucket = lowest_of(index).ok_or("more buckets than the layout has")?;
                buckets.insert(bucket, number.unsigned_abs());
                index += 1;
            }
            0 => index += 1,
            _ => index = index.checked_add(number.unsigned_abs()).ok_or("more buckets than the layout has")?,
        }
    }
    Ok(buckets)
}

/// The lowest value of the bucket at an index of the HdrHistogram array.
fn lowest_of(index: u64) -> Option<u32> {
    if index < 2048 {
        return Some(index as u32);
    }
    let shift = index / 1024 - 1;
    let lowest = (index % 1024 + 1024).checked_shl(shift as u32)?;
    u32::try_from(lowest).ok().filter(|_| shift < 32)
}

/// ZigZag LEB128 as HdrHistogram has it: the ninth byte holds eight bits and is the last.
fn take_zigzag(input: &mut &[u8]) -> Option<i64> {
    let mut word = 0_u64;
    for position in 0..9 {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        if position == 8 || byte < 0x80 {
            word |= u64::from(byte) << (7 * position);
            break;
        }
        word |= u64::from(byte & 0x7f) << (7 * position);
    }
    Some((word >> 1) as i64 ^ -((word & 1) as i64))
}

#[cfg(test)]
mod tests;
