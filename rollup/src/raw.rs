//! Raw events: all of them while the rate is low, a weighted sample above.
//!
//! Arrives: every counted event. Leaves: rows for `raw_event`, each with a weight, so that the sum of weights estimates the
//! number of events without bias. Three groups, because they answer different questions:
//! - errors: every one, up to four times the budget, beyond which they are sampled too (and that is counted);
//! - the slowest event of each series, which is what people look for: kept for certain, weight 1;
//! - the rest: a uniform sample. An event is in it when a hash of its place in the log ends in `level` zero bits; its weight
//!   is 2^level. When more than the budget remain, the level goes up by one and half of them are let go.
//!
//! Promises: a function of the log and of where the flushes cut it: the hash is fixed, and "rate" is measured in the log's
//! own time. All rows of one flush and group share one final level, so each is weighted rightly whenever it came.
//! Memory is bounded in bytes: rows lie encoded in one buffer; when it is full, first the guarantee for slow events goes,
//! then levels rise.
//!
//! Does not: influence any count or percentile; those come from the windows and know nothing of sampling.

use std::sync::Arc;

use peep_wire::limits::SOURCE_DEFAULT;
use peep_wire::record::{BatchHeader, EventHead, EventRow, RecordError, SeriesKey};

use crate::key::Series;
use crate::postgres::copy;

/// What the sampler may keep.
#[derive(Debug, Clone, Copy)]
pub struct RawLimits {
    /// Uniformly sampled rows per second of log time, in the long run.
    pub events_per_second_max: u32,
    /// Rows that may be kept at once after a quiet time, such as a short burst or an old log being shipped.
    pub burst_events_max: u32,
    /// Encoded bytes between two flushes.
    pub bytes_max: usize,
}

/// Where an event lies in the log.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Partition of the event log.
    pub partition: u32,
    /// Offset of the record.
    pub offset: u64,
    /// Position in the record.
    pub event_index: u32,
}

/// One event, as the sampler needs it.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// Where it lies in the log.
    pub place: Place,
    /// What stands before it in its record.
    pub header: &'a BatchHeader,
    /// Index in the partition's series table.
    pub series: u32,
    /// The key of its own series, when it is counted in another.
    pub true_key: Option<&'a [u8]>,
    /// The event.
    pub event: &'a EventHead<'a>,
    /// Whether it counts as an error.
    pub error: bool,
    /// When the log took its record, Unix milliseconds.
    pub log_ms: i64,
}

/// The sample since the last flush.
#[derive(Debug)]
pub struct Sampler {
    limits: RawLimits,
    rows: Vec<Row>,
    bytes: Vec<u8>,
    errors: Group,
    others: Group,
    /// By series index.
    slowest: Vec<Slowest>,
    /// Series that have a slowest event.
    slowest_len: usize,
    /// False once the buffer was too small for it.
    keep_slowest: bool,
    /// Rows that may be kept without waiting, as of `settled_ms`.
    credit: usize,
    /// Log time up to which `credit` has grown; `None` before the first event.
    settled_ms: Option<i64>,
    newest_ms: i64,
    tally: Tally,
}

/// How the sample came about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events offered.
    pub offered: u64,
    /// Errors among them that were not kept.
    pub errors_dropped: u64,
    /// Times the guarantee for slow events was given up for want of memory.
    pub slowest_given_up: u64,
}

/// The rows of one flush.
#[derive(Debug, Default)]
pub struct RawCut {
    /// Kept rows, in log order.
    pub rows: Vec<CutRow>,
    bytes: Vec<u8>,
    /// What was offered and dropped.
    pub tally: Tally,
}

/// One kept row.
#[derive(Debug)]
pub struct CutRow {
    /// Where it is counted. Its dimensions are columns of the row, unless the row brings its own.
    pub series: Arc<Series>,
    /// How many events it stands for.
    pub weight: f32,
    /// Whether it is an error.
    pub error: bool,
    /// When it ended, Unix seconds.
    pub ended_s: i64,
    start: u32,
    len: u32,
    key_len: u16,
}

#[derive(Debug)]
struct Row {
    ended_s: i64,
    series: u32,
    start: u32,
    len: u32,
    /// Of `len`, at the end: the key of its own series.
    key_len: u16,
    /// Trailing zero bits of the hash: in the sample up to this level.
    rank: u8,
    error: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Group {
    level: u8,
    sampled: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slowest {
    duration_us: u64,
    row: u32,
}

impl Slowest {
    const NONE: Slowest = Slowest { duration_us: 0, row: u32::MAX };
}

impl Sampler {
    /// An empty sample.
    pub fn new(limits: RawLimits) -> Self {
        Self {
            limits,
            rows: Vec::new(),
            bytes: Vec::new(),
            errors: Group::default(),
            others: Group::default(),
            slowest: Vec::new(),
            slowest_len: 0,
            keep_slowest: true,
            credit: limits.burst_events_max as usize,
            settled_ms: None,
            newest_ms: i64::MIN,
            tally: Tally::default(),
        }
    }

    /// Decides about one event.
    ///
    /// # Errors
    /// When the event's attributes do not decode; nothing was kept then.
    #[inline]
    pub fn offer(&mut self, offered: &Offered<'_>) -> Result<(), RecordError> {
        self.tally.offered += 1;
        let rank = rank_of(offered.place);
        let sampled = rank >= self.group(offered.error).level;
        let slowest = self.is_slowest(offered.series, offered.event.duration_us);
        if !sampled && !slowest {
            self.tally.errors_dropped += u64::from(offered.error);
            return Ok(());
        }
        self.keep(offered, rank, slowest)
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.rows.capacity() * size_of::<Row>() + self.slowest.capacity() * size_of::<Slowest>()
    }

    /// Takes the sample out. `series_at` resolves an index of the partition's series table.
    pub fn cut(&mut self, series_at: impl Fn(u32) -> Arc<Series>) -> RawCut {
        let mut fresh = Sampler::new(self.limits);
        if self.settled_ms.is_some() {
            fresh.credit = self.budget().saturating_sub(self.others.sampled).min(fresh.credit);
            fresh.settled_ms = Some(self.newest_ms);
            fresh.newest_ms = self.newest_ms;
        }
        let mut taken = std::mem::replace(self, fresh);
        taken.compact();
        let weight_of = |row: &Row, at: usize| {
            let certain = taken.slowest_row(row.series) == Some(at);
            let level = if certain { 0 } else { taken.group(row.error).level };
            2f32.powi(i32::from(level))
        };
        let rows = taken.rows.iter().enumerate().map(|(at, row)| CutRow {
            series: series_at(row.series),
            weight: weight_of(row, at),
            error: row.error,
            ended_s: row.ended_s,
            start: row.start,
            len: row.len,
            key_len: row.key_len,
        });
        RawCut { rows: rows.collect(), bytes: taken.bytes, tally: taken.tally }
    }

    fn keep(&mut self, offered: &Offered<'_>, rank: u8, slowest: bool) -> Result<(), RecordError> {
        let start = self.bytes.len();
        if let Err(malformed) = encode(&mut self.bytes, offered) {
            self.bytes.truncate(start);
            return Err(malformed);
        }
        let true_key = offered.true_key.unwrap_or_default();
        self.bytes.extend_from_slice(true_key);
        let key_len = true_key.len() as u16;
        let at = self.rows.len() as u32;
        let len = (self.bytes.len() - start) as u32;
        let Offered { series, error, .. } = *offered;
        let ended_s = offered.event.ended_ms.div_euclid(1000);
        self.rows.push(Row { ended_s, series, start: start as u32, len, key_len, rank, error });
        if slowest && let Some(duration_us) = offered.event.duration_us {
            self.set_slowest(offered.series, Slowest { duration_us, row: at });
        }
        if rank >= self.group(offered.error).level {
            self.group_mut(offered.error).sampled += 1;
        }
        self.make_fit(offered.log_ms);
        Ok(())
    }

    /// A token bucket on the log's own time: what was left at the last cut and what has come in since.
    fn budget(&self) -> usize {
        let elapsed_ms = self.settled_ms.map_or(0, |settled_ms| self.newest_ms - settled_ms).clamp(0, BUDGET_MS_MAX);
        self.credit + (elapsed_ms * i64::from(self.limits.events_per_second_max) / 1000) as usize
    }

    /// Raises levels until rows and bytes are within the limits.
    fn make_fit(&mut self, log_ms: i64) {
        self.settled_ms.get_or_insert(log_ms);
        self.newest_ms = self.newest_ms.max(log_ms);
        let budget = self.budget();
        for (error, rows_max) in [(false, budget), (true, ERROR_SHARE * budget)] {
            while self.group(error).sampled > rows_max && self.group(error).level < LEVEL_MAX {
                self.raise(error);
            }
        }
        if self.bytes.len() > self.limits.bytes_max {
            self.free_bytes();
        }
        // Rows that were the slowest for a while and are in no sample any more.
        let wanted = self.errors.sampled + self.others.sampled + self.slowest_len;
        if self.rows.len() > 2 * wanted + 1024 {
            self.compact();
        }
    }

    /// Down to three quarters, so that the next event does not start the same work again.
    fn free_bytes(&mut self) {
        let wanted = self.limits.bytes_max / 4 * 3;
        self.compact();
        if self.bytes.len() > wanted && self.slowest_len > 0 {
            self.give_up_slowest();
        }
        while self.bytes.len() > wanted {
            let error = self.errors.sampled > self.others.sampled;
            if self.group(error).level == LEVEL_MAX {
                break;
            }
            self.raise(error);
        }
        debug_assert!(self.bytes.len() <= self.limits.bytes_max, "a limit below one event is no limit");
    }

    fn give_up_slowest(&mut self) {
        self.keep_slowest = false;
        self.tally.slowest_given_up += 1;
        self.slowest = Vec::new();
        self.slowest_len = 0;
        self.compact();
    }

    fn raise(&mut self, error: bool) {
        self.group_mut(error).level += 1;
        self.compact();
    }

    /// Lets go of rows that no group wants any more and closes the gaps.
    fn compact(&mut self) {
        let mut rows = std::mem::take(&mut self.rows);
        self.errors.sampled = 0;
        self.others.sampled = 0;
        let mut end = 0usize;
        let mut kept = 0usize;
        for at in 0..rows.len() {
            let row = &rows[at];
            let sampled = row.rank >= self.group(row.error).level;
            let slowest = self.slowest_row(row.series) == Some(at);
            if !sampled && !slowest {
                self.tally.errors_dropped += u64::from(row.error);
                continue;
            }
            let range = row.start as usize..(row.start + row.len) as usize;
            let (series, error, len) = (row.series, row.error, range.len());
            self.bytes.copy_within(range, end);
            rows[at].start = end as u32;
            end += len;
            if sampled {
                self.group_mut(error).sampled += 1;
            }
            if slowest {
                self.slowest[series as usize].row = kept as u32;
            }
            rows.swap(kept, at);
            kept += 1;
        }
        rows.truncate(kept);
        self.bytes.truncate(end);
        self.rows = rows;
    }

    fn is_slowest(&self, series: u32, duration_us: Option<u64>) -> bool {
        let Some(duration_us) = duration_us else { return false };
        if !self.keep_slowest {
            return false;
        }
        match self.slowest.get(series as usize) {
            Some(known) if known.row != Slowest::NONE.row => duration_us > known.duration_us,
            // At most as many series as rows: ten thousand series would otherwise be ten thousand rows each flush.
            _ => self.slowest_len < SLOWEST_SERIES_MAX,
        }
    }

    fn set_slowest(&mut self, series: u32, slowest: Slowest) {
        let at = series as usize;
        if self.slowest.len() <= at {
            self.slowest.resize(at + 1, Slowest::NONE);
        }
        if self.slowest[at].row == Slowest::NONE.row {
            self.slowest_len += 1;
        }
        self.slowest[at] = slowest;
    }

    fn slowest_row(&self, series: u32) -> Option<usize> {
        let slowest = self.slowest.get(series as usize)?;
        (slowest.row != Slowest::NONE.row).then_some(slowest.row as usize)
    }

    #[inline]
    fn group(&self, error: bool) -> &Group {
        if error { &self.errors } else { &self.others }
    }

    fn group_mut(&mut self, error: bool) -> &mut Group {
        if error { &mut self.errors } else { &mut self.others }
    }
}

impl RawCut {
    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.rows.capacity() * size_of::<CutRow>()
    }

    /// Appends one row of [`COLUMNS`].
    pub fn encode_row(&self, row: &CutRow, out: &mut Vec<u8>) {
        let bytes = &self.bytes[row.start as usize..(row.start + row.len) as usize];
        let (columns, true_key) = bytes.split_at(bytes.len() - usize::from(row.key_len));
        let own = SeriesKey::parse(true_key).and_then(|key| key.decode());
        let fields = own.unwrap_or_else(|_| row.series.fields());
        copy::row(out, COLUMN_COUNT);
        out.extend_from_slice(columns);
        copy::uint8(out, row.series.project.0);
        copy::text(out, fields.service);
        copy::text(out, fields.env);
        copy::text(out, fields.route);
        copy::text(out, fields.method);
        let status = i16::try_from(fields.status).ok().filter(|status| *status != 0);
        copy::optional(out, status, copy::int2);
        copy::float4(out, row.weight);
    }
}

/// Columns of `raw_event` in the order they are encoded: the event's own first, then what the flush adds.
pub const COLUMNS: &str = "ts, received_at, duration_us, error, host, version, bytes_in, bytes_out, trace_id, span_id, \
     source, attrs, log_partition, log_offset, event_index, project_id, service, env, route, method, status, weight";

fn encode(out: &mut Vec<u8>, offered: &Offered<'_>) -> Result<(), RecordError> {
    let Offered { place, header, .. } = offered;
    let event = EventRow::decode(offered.event.raw, header.received_ms)?;
    let attrs = event.attrs.to_json()?;
    copy::timestamp_ms(out, event.ended_ms);
    copy::timestamp_ms(out, header.received_ms);
    copy::optional(out, event.duration_us, copy::uint8);
    copy::optional(out, event.error, copy::text);
    copy::optional(out, event.host, copy::text);
    copy::optional(out, event.version, copy::text);
    copy::optional(out, event.bytes_in, copy::uint8);
    copy::optional(out, event.bytes_out, copy::uint8);
    copy::optional(out, event.trace_id, |out, id| copy::bytes(out, &id));
    copy::optional(out, event.span_id, |out, id| copy::bytes(out, &id));
    copy::text(out, event.source.unwrap_or(SOURCE_DEFAULT));
    copy::optional(out, attrs.as_deref(), copy::jsonb);
    copy::int4(out, place.partition as i32);
    copy::uint8(out, place.offset);
    copy::int4(out, place.event_index as i32);
    Ok(())
}

/// How many levels an event stays in the sample: a fixed hash (the SplitMix64 finaliser) of its place, so that a replay of
/// the log chooses the same events.
#[inline]
fn rank_of(place: Place) -> u8 {
    let mut word = place.offset.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ (u64::from(place.partition) << 32 | u64::from(place.event_index)).wrapping_mul(0xd1b5_4a32_d192_ed03);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (word ^ (word >> 31)).trailing_zeros() as u8
}

const COLUMN_COUNT: i16 = 22;
/// Errors may take this many times the budget of the rest.
const ERROR_SHARE: usize = 4;
/// A catch-up reads minutes of log time between two flushes; the budget does not grow with all of them.
const BUDGET_MS_MAX: i64 = 60_000;
/// Series with a guaranteed slowest event, per flush.
const SLOWEST_SERIES_MAX: usize = 5000;
/// One in a thousand million: beyond it the buffer is simply emptied.
const LEVEL_MAX: u8 = 30;

#[cfg(test)]
mod tests;
