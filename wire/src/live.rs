//! What the rollup announces on the live topic: the events of an offset range, already counted.
//!
//! A frame is a *delta*: exactly the events of the half-open range `[from, to)` of one partition, by series and
//! second. Frames of one epoch line up without gap or overlap, and every cursor that is ever committed equals
//! some frame's `to`. So "committed rows up to the cursor, plus frames from the cursor on" counts each event once.
//! A higher epoch replaces every frame of a lower one from its `from` on.
//!
//! The encoding is internal to peep (varints; sorted bucket gaps) and carries a version; both ends are this file.

use bytes::Bytes;

use crate::histogram::{Histogram, Tally, Totals};
use crate::ids::ProjectId;
use crate::varint;

/// The events of one partition's offset range, by series and second.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveFrame {
    /// Partition of the event log.
    pub partition: u32,
    /// Raised at each take-over of the partition.
    pub epoch: u64,
    /// First event-log offset counted in this frame.
    pub from: u64,
    /// First event-log offset not counted any more.
    pub to: u64,
    /// When the rollup published it, Unix milliseconds.
    pub published_ms: i64,
    /// Largest receive time among the records of the range, Unix milliseconds.
    pub newest_received_ms: i64,
    /// May be empty: progress without countable events.
    pub cells: Vec<LiveCell>,
}

/// One series in one second of event time.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveCell {
    /// The tenant.
    pub project: ProjectId,
    /// [`crate::record::SeriesKey`] bytes.
    pub series: Vec<u8>,
    /// Event time, whole Unix seconds.
    pub slot_s: i64,
    /// Requests, with or without a duration.
    pub count: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Requests with a duration.
    pub histogram: Histogram,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum LiveError {
    /// Cut short or not ours.
    #[error("decode live frame: malformed")]
    Malformed,
    /// Written by another version of peep.
    #[error("decode live frame: version {0} is not 1")]
    Version(u8),
}

impl LiveFrame {
    /// The bytes of one record of the live topic.
    pub fn encode(&self) -> Bytes {
        let mut writer = FrameWriter::begin(self, self.cells.len());
        for cell in &self.cells {
            cell.encode(&mut writer.out);
        }
        writer.finish()
    }

    /// Reads what [`LiveFrame::encode`] wrote.
    ///
    /// # Errors
    /// [`LiveError`]; lengths on the wire never decide an allocation.
    pub fn decode(bytes: &[u8]) -> Result<LiveFrame, LiveError> {
        let (&version, mut input) = bytes.split_first().ok_or(LiveError::Malformed)?;
        if version != VERSION {
            return Err(LiveError::Version(version));
        }
        let input = &mut input;
        let partition = u32::try_from(number(input)?).map_err(|_| LiveError::Malformed)?;
        let epoch = number(input)?;
        let from = number(input)?;
        let to = from.checked_add(number(input)?).ok_or(LiveError::Malformed)?;
        let published_ms = varint::unzigzag(number(input)?);
        let newest_received_ms = varint::unzigzag(number(input)?);
        let count = number(input)?;
        let mut cells = Vec::new();
        for _ in 0..count {
            cells.push(LiveCell::decode(input)?);
        }
        if !input.is_empty() {
            return Err(LiveError::Malformed);
        }
        Ok(LiveFrame { partition, epoch, from, to, published_ms, newest_received_ms, cells })
    }
}

/// Writes a frame cell by cell, without keeping the cells.
#[derive(Debug)]
pub struct FrameWriter {
    out: Vec<u8>,
}

impl FrameWriter {
    /// Begins a frame of `cells` cells with the figures of `frame`, whose own cells are not looked at.
    pub fn begin(frame: &LiveFrame, cells: usize) -> FrameWriter {
        let mut out = Vec::with_capacity(64 + cells * 112);
        out.push(VERSION);
        for number in [u64::from(frame.partition), frame.epoch, frame.from, frame.to - frame.from] {
            varint::put(&mut out, number);
        }
        varint::put(&mut out, varint::zigzag(frame.published_ms));
        varint::put(&mut out, varint::zigzag(frame.newest_received_ms));
        varint::put(&mut out, cells as u64);
        FrameWriter { out }
    }

    /// The next cell: its histogram is what `tally` counted. `series` as in [`LiveCell`].
    pub fn cell(&mut self, project: ProjectId, series: &[u8], slot_s: i64, [count, errors]: [u64; 2], tally: &Tally) {
        let out = &mut self.out;
        put_cell(out, project, series, slot_s, [count, errors, tally.count()]);
        let Some(totals) = tally.totals() else { return };
        put_totals(out, totals);
        let mut next = 0;
        for &(bucket, count) in tally.buckets() {
            put_bucket(out, u64::from(bucket - next), u64::from(count));
            next = bucket;
        }
    }

    /// The bytes of one record of the live topic.
    pub fn finish(self) -> Bytes {
        self.out.into()
    }
}

#[inline]
fn put_cell(out: &mut Vec<u8>, project: ProjectId, series: &[u8], slot_s: i64, counts: [u64; 3]) {
    varint::put(out, project.0);
    varint::put(out, series.len() as u64);
    out.extend_from_slice(series);
    varint::put(out, varint::zigzag(slot_s));
    counts.into_iter().for_each(|count| varint::put(out, count));
}

#[inline]
fn put_totals(out: &mut Vec<u8>, totals: Totals) {
    for number in [totals.sum_us, totals.min_us, totals.max_us] {
        varint::put(out, number);
    }
}

/// Most buckets hold one request: the low bit says so and saves the count.
#[inline]
fn put_bucket(out: &mut Vec<u8>, gap: u64, count: u64) {
    if count == 1 {
        varint::put(out, gap << 1);
    } else {
        varint::put(out, gap << 1 | 1);
        varint::put(out, count);
    }
}

impl LiveCell {
    /// Bytes this cell takes in an encoded frame, roughly (buckets counted as two bytes each).
    pub fn encoded_len_hint(&self) -> usize {
        self.series.len() + 48 + 2 * self.histogram.count().min(4096) as usize
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_cell(out, self.project, &self.series, self.slot_s, [self.count, self.errors, self.histogram.count()]);
        let Some(totals) = self.histogram.totals() else { return };
        put_totals(out, totals);
        let mut next = 0;
        self.histogram.for_each_index(&mut |index, count| {
            put_bucket(out, (index - next) as u64, count);
            next = index;
        });
    }

    fn decode(input: &mut &[u8]) -> Result<LiveCell, LiveError> {
        let project = ProjectId(number(input)?);
        let series_len = number(input)?;
        let series = varint::take_bytes(input, series_len).ok_or(LiveError::Malformed)?.to_vec();
        let slot_s = varint::unzigzag(number(input)?);
        let count = number(input)?;
        let errors = number(input)?;
        let latency_count = number(input)?;
        let mut histogram = Histogram::new();
        if latency_count > 0 {
            let totals = Totals { sum_us: number(input)?, min_us: number(input)?, max_us: number(input)? };
            let pairs = take_pairs(input, latency_count)?;
            histogram.add_index_counts(&pairs, latency_count);
            histogram.add_totals(latency_count, totals);
        }
        Ok(LiveCell { project, series, slot_s, count, errors, histogram })
    }
}

/// Bucket and count until `total` is reached exactly.
fn take_pairs(input: &mut &[u8], total: u64) -> Result<Vec<(usize, u64)>, LiveError> {
    let mut pairs = Vec::new();
    let mut seen = 0u64;
    let mut index = 0u64;
    while seen < total {
        let word = number(input)?;
        let count = if word & 1 == 0 { 1 } else { number(input)? };
        index = index.checked_add(word >> 1).ok_or(LiveError::Malformed)?;
        seen = seen.checked_add(count).ok_or(LiveError::Malformed)?;
        if index >= Histogram::BUCKETS as u64 || count == 0 {
            return Err(LiveError::Malformed);
        }
        pairs.push((index as usize, count));
    }
    if seen == total { Ok(pairs) } else { Err(LiveError::Malformed) }
}

fn number(input: &mut &[u8]) -> Result<u64, LiveError> {
    varint::take(input).ok_or(LiveError::Malformed)
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cells() -> impl Strategy<Value = Vec<LiveCell>> {
        let durations = prop::collection::vec(0u64..=3_600_000_000, 0..50);
        let cell = (any::<u64>(), any::<Vec<u8>>(), any::<i64>(), 0u64..9, durations);
        prop::collection::vec(cell, 0..5).prop_map(|cells| {
            let build = |(project, series, slot_s, errors, durations): (u64, Vec<u8>, i64, u64, Vec<u64>)| {
                let mut histogram = Histogram::new();
                durations.iter().for_each(|&duration| histogram.record_n(duration, 1 + duration % 3));
                let count = histogram.count() + errors;
                LiveCell { project: ProjectId(project), series, slot_s, count, errors, histogram }
            };
            cells.into_iter().map(build).collect()
        })
    }

    proptest! {
        #[test]
        fn a_frame_reads_back(cells in cells(), epoch: u64, from in 0u64..1 << 60, records in 0u64..1000) {
            let frame = LiveFrame {
                partition: 3, epoch, from, to: from + records, published_ms: -1, newest_received_ms: 1 << 41, cells,
            };
            let bytes = frame.encode();
            prop_assert_eq!(LiveFrame::decode(&bytes), Ok(frame));
            for cut in 0..bytes.len().min(200) {
                prop_assert!(LiveFrame::decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn a_frame_written_cell_by_cell_is_the_same_bytes(cells in cells(), durations in prop::collection::vec(0u32..=3_600_000_000, 0..99)) {
            let mut tally = Tally::default();
            tally.count_all(&mut durations.clone());
            let with_tally = |mut cell: LiveCell| {
                cell.histogram = Histogram::new();
                cell.histogram.add(&tally);
                cell
            };
            let frame = LiveFrame {
                partition: 3, epoch: 1, from: 2, to: 9, published_ms: -1, newest_received_ms: 1,
                cells: cells.into_iter().map(with_tally).collect(),
            };
            let mut writer = FrameWriter::begin(&frame, frame.cells.len());
            for cell in &frame.cells {
                writer.cell(cell.project, &cell.series, cell.slot_s, [cell.count, cell.errors], &tally);
            }
            prop_assert_eq!(writer.finish(), frame.encode());
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>) {
            let _ = LiveFrame::decode(&bytes);
            bytes.insert(0, VERSION);
            let _ = LiveFrame::decode(&bytes);
        }
    }
}
