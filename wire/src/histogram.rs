//! Latency histograms: HdrHistogram's buckets, a fraction of its memory.
//!
//! Arrives: durations in integer microseconds, 0 to one hour. Leaves: exact counts, sum, minimum and
//! maximum; quantiles within 0.1 %; the standard HdrHistogram V2 encoding, which any HdrHistogram
//! library reads (<https://github.com/HdrHistogram/HdrHistogram>, "V2 encoding").
//!
//! Promises: merging is exact (counts per bucket add up), so a quantile of merged histograms equals the
//! quantile of one histogram that saw every value. A quantile is the nearest-rank value, rounded up to
//! the top of its bucket and capped at the exact maximum: at most [`ERROR_BOUND`] too high, never too low.
//!
//! The bucket layout is HdrHistogram's with lowest 1, highest 3 600 000 000 and 3 significant digits: values
//! below 2048 are exact, above that each power of two is cut into 1024 equal buckets, so that a bucket is
//! narrower than 1/1024 of any value in it.
//!
//! Why not the `hdrhistogram` crate: its dense array is 70–190 KB at 3 digits, 10 000 open series would take
//! gigabytes. Here a series starts as a list of 2-byte bucket numbers (most windows end as one) and becomes
//! pages of 64 counters when it is hot. The crate is the oracle in the tests.
//!
//! Does not: keep single values, decode foreign layouts (other digits or ranges are refused).

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

use crate::varint;

/// Highest duration a histogram takes, in µs: one hour. Ingest refuses anything longer.
pub const DURATION_US_MAX: u64 = 3_600_000_000;

/// How far a reported quantile may lie above the exact nearest-rank value, as a fraction of it.
pub const ERROR_BOUND: f64 = 0.001;

/// The shortest duration that shares its bucket with this one: where a row of a heatmap may begin.
pub fn bucket_start(duration_us: u64) -> u64 {
    lowest_of(index_of(duration_us.min(DURATION_US_MAX)))
}

/// The shortest duration beyond the bucket of this one.
pub fn bucket_end(duration_us: u64) -> u64 {
    highest_of(index_of(duration_us.min(DURATION_US_MAX))) + 1
}

/// Durations of finished requests, by bucket.
#[derive(Clone, Default)]
pub struct Histogram {
    counts: Counts,
    count: u64,
    sum_us: u64,
    /// Exact smallest value; `u64::MAX` while empty.
    min_us: Minimum,
    max_us: u64,
}

/// `u64` whose default is "nothing seen yet".
#[derive(Clone, Copy)]
struct Minimum(u64);

impl Default for Minimum {
    fn default() -> Self {
        Minimum(u64::MAX)
    }
}

/// The exact figures that lie beside the encoded buckets in a row or a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Sum of all durations, µs.
    pub sum_us: u64,
    /// Smallest duration, µs.
    pub min_us: u64,
    /// Largest duration, µs.
    pub max_us: u64,
}

/// Why bytes are not one of our histograms.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HistogramError {
    /// Not a V2 cookie, or cut short.
    #[error("decode histogram: not an HdrHistogram V2 payload")]
    NotV2,
    /// A valid HdrHistogram, but with other digits or another range.
    #[error("decode histogram: other layout than lowest 1, highest 3600000000, 3 digits")]
    OtherLayout,
    /// More buckets than the layout has, or counts that overflow.
    #[error("decode histogram: counts outside the layout")]
    OutOfRange,
}

impl Histogram {
    /// Buckets of the layout: 23 half-rows of 1024. Each fits a `u16`.
    pub const BUCKETS: usize = PAGE_COUNT * PAGE_LEN;

    /// An empty histogram; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one duration. Values above [`DURATION_US_MAX`] are counted there (ingest lets none through).
    #[inline]
    pub fn record(&mut self, duration_us: u64) {
        self.record_n(duration_us, 1);
    }

    /// Counts `n` requests of the same duration.
    #[inline]
    pub fn record_n(&mut self, duration_us: u64, n: u64) {
        if n == 0 {
            return;
        }
        debug_assert!(duration_us <= DURATION_US_MAX, "durations are bounded where they enter");
        let value = duration_us.min(DURATION_US_MAX);
        self.count += n;
        self.sum_us = self.sum_us.saturating_add(value.saturating_mul(n));
        self.min_us.0 = self.min_us.0.min(value);
        self.max_us = self.max_us.max(value);
        self.counts.add(index_of(value), n);
    }

    /// Adds everything `other` saw.
    pub fn merge(&mut self, other: &Histogram) {
        if other.count == 0 {
            return;
        }
        self.counts.merge(&other.counts);
        self.count += other.count;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.min_us.0 = self.min_us.0.min(other.min_us.0);
        self.max_us = self.max_us.max(other.max_us);
    }

    /// Adds everything a tally counted.
    pub fn add(&mut self, tally: &Tally) {
        let Some(totals) = tally.totals else { return };
        match &mut self.counts {
            Counts::List(list) if list.len() as u64 + tally.count <= LIST_LEN_MAX as u64 => {
                for &(bucket, count) in &tally.buckets {
                    list.extend(std::iter::repeat_n(bucket, count as usize));
                }
            }
            counts => {
                let pages = counts.paged();
                tally.buckets.iter().for_each(|&(bucket, count)| pages.add(usize::from(bucket), u64::from(count)));
            }
        }
        self.add_totals(tally.count, totals);
    }

    /// Takes away what was merged before, for a window that slides.
    ///
    /// Counts and sum stay exact; minimum and maximum can not be taken back, so the caller gives those of
    /// what remains (`None` when nothing does).
    pub fn subtract(&mut self, other: &Histogram, bounds_us: Option<(u64, u64)>) {
        debug_assert!(other.count <= self.count, "only what was merged can be subtracted");
        self.counts.subtract(&other.counts);
        self.count = self.count.saturating_sub(other.count);
        self.sum_us = self.sum_us.saturating_sub(other.sum_us);
        match bounds_us {
            Some((min_us, max_us)) if self.count > 0 => {
                self.min_us = Minimum(min_us);
                self.max_us = max_us;
            }
            _ => {
                self.min_us = Minimum::default();
                self.max_us = 0;
            }
        }
        if self.count == 0 {
            *self = Self::default();
        }
    }

    /// How many durations were counted.
    #[inline]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Exact sum in µs.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// Exact smallest duration.
    pub fn min_us(&self) -> Option<u64> {
        (self.count > 0).then_some(self.min_us.0)
    }

    /// Exact largest duration.
    pub fn max_us(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max_us)
    }

    /// Exact mean in µs.
    pub fn mean_us(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum_us as f64 / self.count as f64)
    }

    /// Sum, minimum and maximum together, as they lie beside the encoded buckets.
    pub fn totals(&self) -> Option<Totals> {
        (self.count > 0).then_some(Totals { sum_us: self.sum_us, min_us: self.min_us.0, max_us: self.max_us })
    }

    /// The value at a quantile in µs, `None` while empty.
    pub fn value_at(&self, quantile: Quantile) -> Option<u64> {
        self.values_at(&[quantile])[0]
    }

    /// The values at several quantiles in one pass, in the order asked.
    pub fn values_at(&self, quantiles: &[Quantile]) -> Vec<Option<u64>> {
        let mut values = vec![None; quantiles.len()];
        if self.count == 0 {
            return values;
        }
        let mut by_rank: Vec<(u64, usize)> =
            quantiles.iter().enumerate().map(|(slot, quantile)| (quantile.rank_of(self.count), slot)).collect();
        by_rank.sort_unstable();
        let mut waiting = by_rank.into_iter().peekable();
        let mut seen = 0u64;
        self.counts.for_each(&mut |index, count| {
            seen += count;
            while let Some((_, slot)) = waiting.next_if(|(rank, _)| *rank <= seen) {
                values[slot] = Some(highest_of(index).min(self.max_us).max(self.min_us.0));
            }
        });
        values
    }

    /// Calls `visit(lowest_us, highest_us, count)` for every bucket that holds something, ascending.
    pub fn for_each(&self, mut visit: impl FnMut(u64, u64, u64)) {
        self.counts.for_each(&mut |index, count| visit(lowest_of(index), highest_of(index), count));
    }

    /// Gives back room that was made for more, of a histogram that will be kept as it is.
    pub fn shrink_to_fit(&mut self) {
        match &mut self.counts {
            Counts::List(list) => list.shrink_to_fit(),
            Counts::Pages(pages) => pages.pages.shrink_to_fit(),
        }
    }

    /// Bytes this histogram holds, the struct itself included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.counts.heap_bytes()
    }

    /// Appends the plain HdrHistogram V2 encoding (big-endian header, ZigZag LEB128 counts).
    pub fn encode_v2(&self, out: &mut Vec<u8>) {
        out.extend(V2_COOKIE.to_be_bytes());
        let length_at = out.len();
        out.extend([0; 4]);
        out.extend(0i32.to_be_bytes()); // normalizing index offset
        out.extend(SIGNIFICANT_DIGITS.to_be_bytes());
        out.extend(1i64.to_be_bytes()); // lowest discernible value
        out.extend((DURATION_US_MAX as i64).to_be_bytes());
        out.extend(1f64.to_be_bytes()); // integer to double conversion ratio
        let payload_at = out.len();
        let mut next = 0usize;
        self.counts.for_each(&mut |index, count| {
            let gap = (index - next) as i64;
            if gap == 1 {
                out.push(0);
            } else if gap > 1 {
                put_leb128_9(out, varint::zigzag(-gap));
            }
            put_leb128_9(out, varint::zigzag(count as i64));
            next = index + 1;
        });
        let length = u32::try_from(out.len() - payload_at).expect("a layout of 23 552 buckets encodes below 4 GiB");
        out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Adds an encoded histogram of the same layout, with the exact figures stored beside it.
    ///
    /// # Errors
    /// Refuses other layouts and truncated or oversized payloads; on error nothing was added.
    pub fn merge_v2(&mut self, bytes: &[u8], totals: Totals) -> Result<(), HistogramError> {
        let payload = check_v2_header(bytes)?;
        // A bucket takes a byte at least.
        let mut pairs = Vec::with_capacity(payload.len().min(Self::BUCKETS));
        let mut added = 0u64;
        let mut input = payload;
        let mut index = 0usize;
        while !input.is_empty() {
            let word = varint::unzigzag(take_leb128_9(&mut input).ok_or(HistogramError::NotV2)?);
            if word <= 0 {
                let gap = usize::try_from(word.unsigned_abs().max(1)).map_err(|_| HistogramError::OutOfRange)?;
                let behind = index.checked_add(gap).filter(|index| *index <= Self::BUCKETS);
                index = behind.ok_or(HistogramError::OutOfRange)?;
            } else {
                if index >= Self::BUCKETS {
                    return Err(HistogramError::OutOfRange);
                }
                added = added.checked_add(word as u64).ok_or(HistogramError::OutOfRange)?;
                pairs.push((index, word as u64));
                index += 1;
            }
        }
        if added == 0 {
            return Ok(());
        }
        // The encoding has signed counts: what could not be written again is not taken.
        if self.count.checked_add(added).is_none_or(|count| count > i64::MAX as u64) {
            return Err(HistogramError::OutOfRange);
        }
        self.counts.add_sorted(&pairs, added);
        self.add_totals(added, totals);
        Ok(())
    }

    pub(crate) fn add_totals(&mut self, count: u64, totals: Totals) {
        self.count += count;
        self.sum_us = self.sum_us.saturating_add(totals.sum_us);
        self.min_us.0 = self.min_us.0.min(totals.min_us);
        self.max_us = self.max_us.max(totals.max_us);
    }

    pub(crate) fn for_each_index(&self, visit: &mut dyn FnMut(usize, u64)) {
        self.counts.for_each(visit);
    }

    pub(crate) fn add_index_counts(&mut self, pairs: &[(usize, u64)], total: u64) {
        self.counts.add_sorted(pairs, total);
    }
}

/// The durations of one cell on their way into a frame and a window: buckets in ascending order and the exact figures.
///
/// Reusable, and that is what it is for: a cell that is filled from a list of durations needs no histogram of its own.
#[derive(Debug, Default)]
pub struct Tally {
    /// Bucket and count, ascending.
    buckets: Vec<(u16, u32)>,
    count: u64,
    totals: Option<Totals>,
    dense: Dense,
}

impl Tally {
    /// Counts durations, none above [`DURATION_US_MAX`], and forgets those of the last call. Their order is lost.
    pub fn count_all(&mut self, durations_us: &mut [u32]) {
        self.buckets.clear();
        self.count = durations_us.len() as u64;
        self.totals = None;
        if durations_us.is_empty() {
            return;
        }
        let (mut sum_us, mut min_us, mut max_us) = (0u64, u32::MAX, 0u32);
        for &duration_us in durations_us.iter() {
            sum_us += u64::from(duration_us);
            min_us = min_us.min(duration_us);
            max_us = max_us.max(duration_us);
        }
        self.totals = Some(Totals { sum_us, min_us: u64::from(min_us), max_us: u64::from(max_us) });
        let Self { buckets, dense, .. } = self;
        if durations_us.len() <= SORTED_LEN_MAX {
            durations_us.sort_unstable();
            for &duration_us in durations_us.iter() {
                let bucket = index_of(u64::from(duration_us)) as u16;
                match buckets.last_mut() {
                    Some((last, count)) if *last == bucket => *count += 1,
                    _ => buckets.push((bucket, 1)),
                }
            }
        } else {
            durations_us.iter().for_each(|&duration_us| dense.add(index_of(u64::from(duration_us))));
            dense.drain(&mut |index, count| buckets.push((index as u16, count)));
        }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn totals(&self) -> Option<Totals> {
        self.totals
    }

    pub(crate) fn buckets(&self) -> &[(u16, u32)] {
        &self.buckets
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<(u16, u32)>() + self.dense.counts.capacity() * size_of::<u32>()
    }
}

/// A counter for every bucket, for sorting many values of few buckets. Empty between uses.
#[derive(Debug)]
struct Dense {
    counts: Vec<u32>,
    /// Which counters are not zero.
    touched: [u64; PAGE_COUNT],
}

impl Default for Dense {
    fn default() -> Self {
        Dense { counts: Vec::new(), touched: [0; PAGE_COUNT] }
    }
}

impl Dense {
    #[inline]
    fn add(&mut self, index: usize) {
        if self.counts.is_empty() {
            self.counts = vec![0; Histogram::BUCKETS];
        }
        self.counts[index] += 1;
        self.touched[index / 64] |= 1 << (index % 64);
    }

    /// Ascending; everything is zero afterwards.
    fn drain(&mut self, visit: &mut dyn FnMut(usize, u32)) {
        for (number, touched) in self.touched.iter_mut().enumerate() {
            let mut left = std::mem::take(touched);
            while left != 0 {
                let index = number * 64 + left.trailing_zeros() as usize;
                visit(index, std::mem::take(&mut self.counts[index]));
                left &= left - 1;
            }
        }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").field("count", &self.count).field("totals", &self.totals()).finish()
    }
}

/// Equal when every bucket and every exact figure is equal, however it is kept in memory.
impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        let pairs = |histogram: &Histogram| {
            let mut pairs = Vec::new();
            histogram.counts.for_each(&mut |index, count| pairs.push((index, count)));
            pairs
        };
        self.totals() == other.totals() && self.count == other.count && pairs(self) == pairs(other)
    }
}

/// A quantile between 0 and 1, kept exactly (in parts per billion), so that its rank has no rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantile(u32);

/// Text that is no quantile.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a quantile: write a decimal between 0 and 1 with at most 9 places, such as 0.99")]
pub struct QuantileError(String);

impl Quantile {
    /// The median.
    pub const P50: Quantile = Quantile(500_000_000);
    /// The 90th percentile.
    pub const P90: Quantile = Quantile(900_000_000);
    /// The 95th percentile.
    pub const P95: Quantile = Quantile(950_000_000);
    /// The 99th percentile.
    pub const P99: Quantile = Quantile(990_000_000);
    /// The 99.9th percentile.
    pub const P999: Quantile = Quantile(999_000_000);

    /// Nearest rank, 1-based: the smallest rank that at least this share of `count` values reaches.
    pub fn rank_of(self, count: u64) -> u64 {
        let rank = (u128::from(self.0) * u128::from(count)).div_ceil(u128::from(PARTS));
        (rank as u64).max(1)
    }
}

impl FromStr for Quantile {
    type Err = QuantileError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || QuantileError(text.to_owned());
        let (whole, places) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 9 || places.len() > 9 || !digits(whole) || !digits(places) {
            return Err(error());
        }
        let whole: u32 = whole.parse().map_err(|_| error())?;
        let places: u32 = format!("{places:0<9}").parse().map_err(|_| error())?;
        match (whole, places) {
            (0, parts) => Ok(Quantile(parts)),
            (1, 0) => Ok(Quantile(PARTS)),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PARTS => f.write_str("1"),
            0 => f.write_str("0"),
            parts => write!(f, "0.{}", format!("{parts:09}").trim_end_matches('0')),
        }
    }
}

/// Where the counters live: a list while small, pages when hot.
#[derive(Clone)]
enum Counts {
    /// One entry per value, in order of arrival: 2 bytes an event, and recording is a push.
    List(Vec<u16>),
    Pages(Box<Pages>),
}

/// 64 counters a page, allocated on first touch. A log-normal series touches 30 to 90 of 368 pages.
#[derive(Clone)]
struct Pages {
    /// Page number + 1 per slot, 0 = never touched.
    table: [u16; PAGE_COUNT],
    pages: Vec<[u32; PAGE_LEN]>,
    /// Multiples of 2^32 that a counter could not hold, by bucket. Empty for any histogram of less than
    /// four thousand million requests.
    carries: Vec<(u16, u32)>,
}

impl Default for Counts {
    fn default() -> Self {
        Counts::List(Vec::new())
    }
}

impl Counts {
    #[inline]
    fn add(&mut self, index: usize, n: u64) {
        match self {
            Counts::List(list) if list.len() as u64 + n <= LIST_LEN_MAX as u64 => {
                for _ in 0..n {
                    list.push(index as u16);
                }
            }
            Counts::Pages(pages) => pages.add(index, n),
            Counts::List(_) => self.paged().add(index, n),
        }
    }

    fn add_sorted(&mut self, pairs: &[(usize, u64)], total: u64) {
        match self {
            Counts::List(list) if list.len() as u64 + total <= LIST_LEN_MAX as u64 => {
                for &(index, count) in pairs {
                    list.extend(std::iter::repeat_n(index as u16, count as usize));
                }
            }
            _ => {
                self.paged().add_sorted(pairs);
            }
        }
    }

    fn merge(&mut self, other: &Counts) {
        match (&mut *self, other) {
            (Counts::List(list), Counts::List(more)) if list.len() + more.len() <= LIST_LEN_MAX => {
                list.extend_from_slice(more);
            }
            (_, Counts::List(more)) => {
                let pages = self.paged();
                for &index in more {
                    pages.add(usize::from(index), 1);
                }
            }
            (_, Counts::Pages(more)) => self.paged().merge(more),
        }
    }

    fn subtract(&mut self, other: &Counts) {
        let pages = self.paged();
        match other {
            Counts::List(list) => list.iter().for_each(|&index| pages.remove(usize::from(index), 1)),
            Counts::Pages(more) => more.for_each(&mut |index, count| pages.remove(index, count)),
        }
    }

    fn paged(&mut self) -> &mut Pages {
        if let Counts::List(list) = self {
            let mut pages =
                Box::new(Pages { table: [0; PAGE_COUNT], pages: Vec::with_capacity(16), carries: Vec::new() });
            for &index in list.iter() {
                pages.add(usize::from(index), 1);
            }
            *self = Counts::Pages(pages);
        }
        match self {
            Counts::Pages(pages) => pages,
            Counts::List(_) => unreachable!("replaced above"),
        }
    }

    /// Ascending by bucket, zero counts left out.
    fn for_each(&self, visit: &mut dyn FnMut(usize, u64)) {
        match self {
            Counts::Pages(pages) => pages.for_each(visit),
            Counts::List(list) => for_each_sorted(list, visit),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Counts::List(list) => list.capacity() * size_of::<u16>(),
            Counts::Pages(pages) => {
                size_of::<Pages>()
                    + pages.pages.capacity() * size_of::<[u32; PAGE_LEN]>()
                    + pages.carries.capacity() * size_of::<(u16, u32)>()
            }
        }
    }
}

fn for_each_sorted(list: &[u16], visit: &mut dyn FnMut(usize, u64)) {
    if list.len() <= SORTED_LEN_MAX {
        let mut sorted = [0; SORTED_LEN_MAX];
        let sorted = &mut sorted[..list.len()];
        sorted.copy_from_slice(list);
        sorted.sort_unstable();
        for run in sorted.chunk_by(|left, right| left == right) {
            visit(usize::from(run[0]), run.len() as u64);
        }
        return;
    }
    // Taken out, so that a visitor may look at another histogram.
    let mut dense = DENSE.take();
    list.iter().for_each(|&index| dense.add(usize::from(index)));
    dense.drain(&mut |index, count| visit(index, u64::from(count)));
    DENSE.set(dense);
}

thread_local! {
    /// 94 KiB a thread that reads histograms; clearing as many for each of them would cost more than sorting.
    static DENSE: Cell<Dense> = Cell::default();
}

impl Pages {
    /// Where in `pages` the counters of a page are.
    #[inline]
    fn slot(&mut self, number: usize) -> usize {
        let entry = &mut self.table[number];
        if *entry == 0 {
            self.pages.push([0; PAGE_LEN]);
            *entry = self.pages.len() as u16;
        }
        usize::from(*entry) - 1
    }

    #[inline]
    fn counter(&mut self, index: usize) -> &mut u32 {
        let slot = self.slot(index / PAGE_LEN);
        &mut self.pages[slot][index % PAGE_LEN]
    }

    #[inline]
    fn add(&mut self, index: usize, n: u64) {
        let slot = self.slot(index / PAGE_LEN);
        self.add_in(slot, index, n);
    }

    #[inline]
    fn add_in(&mut self, slot: usize, index: usize, n: u64) {
        let counter = &mut self.pages[slot][index % PAGE_LEN];
        let sum = u64::from(*counter) + n;
        *counter = sum as u32;
        if sum > u64::from(u32::MAX) {
            self.carry(index, (sum >> 32) as u32);
        }
    }

    #[cold]
    fn carry(&mut self, index: usize, carry: u32) {
        match self.carries.iter_mut().find(|(at, _)| usize::from(*at) == index) {
            Some((_, carried)) => *carried += carry,
            None => self.carries.push((index as u16, carry)),
        }
    }

    /// Neighbours share a page, which is looked up once for all of them.
    fn add_sorted(&mut self, pairs: &[(usize, u64)]) {
        let (mut number, mut slot) = (usize::MAX, 0);
        for &(index, count) in pairs {
            if index / PAGE_LEN != number {
                number = index / PAGE_LEN;
                slot = self.slot(number);
            }
            self.add_in(slot, index, count);
        }
    }

    /// Page by page, all counters of a page at once.
    fn merge(&mut self, more: &Pages) {
        for (number, &entry) in more.table.iter().enumerate() {
            let Some(theirs) = usize::from(entry).checked_sub(1).map(|slot| &more.pages[slot]) else { continue };
            let slot = self.slot(number);
            let ours = &mut self.pages[slot];
            let mut is_beyond = false;
            for (counter, &count) in ours.iter_mut().zip(theirs) {
                let (sum, beyond) = counter.overflowing_add(count);
                *counter = sum;
                is_beyond |= beyond;
            }
            if is_beyond {
                // What is smaller than what was added to it has begun again at 0.
                let beyond = |(offset, (sum, count)): (usize, (&u32, &u32))| (sum < count).then_some(offset);
                let offsets: Vec<usize> = ours.iter().zip(theirs).enumerate().filter_map(beyond).collect();
                offsets.into_iter().for_each(|offset| self.carry(number * PAGE_LEN + offset, 1));
            }
        }
        more.carries.iter().for_each(|&(index, carry)| self.carry(usize::from(index), carry));
    }

    fn remove(&mut self, index: usize, n: u64) {
        let left = self.get(index).saturating_sub(n);
        *self.counter(index) = left as u32;
        self.carries.retain(|(at, _)| usize::from(*at) != index);
        if left > u64::from(u32::MAX) {
            self.carries.push((index as u16, (left >> 32) as u32));
        }
    }

    fn get(&self, index: usize) -> u64 {
        let Some(page) = usize::from(self.table[index / PAGE_LEN]).checked_sub(1) else { return 0 };
        u64::from(self.pages[page][index % PAGE_LEN]) + self.carried(index)
    }

    fn carried(&self, index: usize) -> u64 {
        self.carries.iter().find(|(at, _)| usize::from(*at) == index).map_or(0, |(_, carry)| u64::from(*carry) << 32)
    }

    fn for_each(&self, visit: &mut dyn FnMut(usize, u64)) {
        for (number, &entry) in self.table.iter().enumerate() {
            let Some(page) = usize::from(entry).checked_sub(1) else { continue };
            for (offset, &low) in self.pages[page].iter().enumerate() {
                let index = number * PAGE_LEN + offset;
                let carried = if self.carries.is_empty() { 0 } else { self.carried(index) };
                let count = u64::from(low) + carried;
                if count > 0 {
                    visit(index, count);
                }
            }
        }
    }
}

/// Bucket of a value: HdrHistogram's `countsArrayIndex` for 2048 sub-buckets.
#[inline]
fn index_of(value: u64) -> usize {
    let bucket = 53 - (value | 2047).leading_zeros();
    let sub_bucket = (value >> bucket) as usize;
    ((bucket as usize + 1) << 10) + sub_bucket - 1024
}

/// Smallest value of a bucket.
fn lowest_of(index: usize) -> u64 {
    match (index >> 10).checked_sub(1) {
        None => index as u64,
        Some(bucket) => (((index & 1023) + 1024) as u64) << bucket,
    }
}

/// Largest value of a bucket.
fn highest_of(index: usize) -> u64 {
    lowest_of(index) + (1u64 << (index >> 10).saturating_sub(1)) - 1
}

fn check_v2_header(bytes: &[u8]) -> Result<&[u8], HistogramError> {
    let (header, payload) = bytes.split_at_checked(V2_HEADER_LEN).ok_or(HistogramError::NotV2)?;
    let word = |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let long = |at: usize| (i64::from(word(at)) << 32) | i64::from(word(at + 4) as u32);
    if word(0) != V2_COOKIE {
        return Err(HistogramError::NotV2);
    }
    if word(8) != 0 || word(12) != SIGNIFICANT_DIGITS || long(16) != 1 || long(24) != DURATION_US_MAX as i64 {
        return Err(HistogramError::OtherLayout);
    }
    // The length is checked against what is there, never used to allocate.
    if usize::try_from(word(4)) != Ok(payload.len()) {
        return Err(HistogramError::NotV2);
    }
    Ok(payload)
}

/// LEB128 in at most nine bytes: the ninth carries eight bits ("LEB128-64b9B").
fn put_leb128_9(out: &mut Vec<u8>, mut value: u64) {
    for _ in 0..8 {
        if value < 0x80 {
            out.push(value as u8);
            return;
        }
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
fn take_leb128_9(input: &mut &[u8]) -> Option<u64> {
    // Most counts and most gaps.
    if let [byte @ ..0x80, rest @ ..] = input {
        let value = u64::from(*byte);
        *input = rest;
        return Some(value);
    }
    let mut value = 0u64;
    for position in 0..9 {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        if position == 8 {
            return Some(value | u64::from(byte) << 56);
        }
        value |= u64::from(byte & 0x7f) << (7 * position);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Cookie base 0x1c849303 with 0x10 for "counts are of variable size".
const V2_COOKIE: i32 = 0x1c84_9313;
const V2_HEADER_LEN: usize = 40;
const SIGNIFICANT_DIGITS: i32 = 3;
const PARTS: u32 = 1_000_000_000;
const PAGE_LEN: usize = 64;
const PAGE_COUNT: usize = 368;
/// Up to here sorting is cheaper than looking for the counters that are not zero.
const SORTED_LEN_MAX: usize = 64;
/// 4 KiB as a list; a page table and 16 pages take as much.
const LIST_LEN_MAX: usize = 2048;

#[cfg(test)]
mod tests;
