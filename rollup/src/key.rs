//! Series: from the bytes of a key to a small number, and from there to the row in Postgres.
//!
//! Arrives: a project and the canonical key bytes as they lie in the record. Leaves: an index that is stable until the
//! next [`SeriesTable::sweep`], and a shared [`Series`] that outlives it.
//!
//! A series is *settled* when its budget was asked whether it has a place (`cardinality`). The answer holds for a day; it is asked
//! for again once in each generation, which also tells the sweep what is still in use.
//!
//! Promises: one hash look-up and one comparison per event (10.8 ns against 35 ns for a tuple of strings); no allocation for
//! a series that is known. A key is checked once, when it is new: it must decode, be in the one canonical order and be
//! storable, because a second spelling of the same series would collide in the database at every flush, for ever.
//!
//! Does not: limit how many series a project may have (`cardinality` does).

use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use peep_wire::ProjectId;
use peep_wire::record::{Series as Fields, SeriesKey};

/// One series of one project.
#[derive(Debug)]
pub struct Series {
    /// The tenant.
    pub project: ProjectId,
    key: Arc<[u8]>,
    /// Set once the row is committed; see `store`.
    row: OnceLock<i64>,
}

impl Series {
    /// The canonical key bytes.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The exact dimensions.
    pub fn fields(&self) -> Fields<'_> {
        SeriesKey::parse(&self.key).and_then(|key| key.decode()).expect("the key was decoded when the series was new")
    }

    /// `series.series_id`, when it is known.
    pub fn row(&self) -> Option<i64> {
        self.row.get().copied()
    }

    /// Remembers the id of a row that is committed.
    pub fn set_row(&self, row: i64) {
        let known = self.row.get_or_init(|| row);
        debug_assert_eq!(*known, row, "the id of a series never changes");
    }

    fn memory_bytes(&self) -> usize {
        // Two words for the counters of each of the two Arcs.
        size_of::<Self>() + 4 * size_of::<usize>() + self.key.len()
    }
}

/// A key that can not become a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidKey;

/// The series that a partition has seen lately.
#[derive(Debug)]
pub struct SeriesTable {
    index: HashTable<u32>,
    entries: Vec<Entry>,
    /// The keys of all entries, one after the other.
    keys: Vec<u8>,
    /// What outlives the table, by index.
    series: Vec<Arc<Series>>,
    /// Random per process: a client that picks its routes can not aim at one bucket. Nothing ever depends on hash order.
    hasher: RandomState,
    heap_bytes: usize,
    /// Raised when no series is settled any more.
    generation: u32,
    /// The first generation of this day.
    day: u32,
    /// Entries that are settled.
    used: usize,
}

/// What an event needs of its series, in one cache line and not behind `series`: with ten thousand series that is what counts.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Entry {
    project: ProjectId,
    /// Where its key lies in `keys`.
    key_start: u32,
    key_len: u32,
    /// The generation of its last event that had to ask.
    settled: u32,
    /// Every event of the series is an error: its status is 500 or above.
    failed: bool,
    /// Where its last events were counted, by even and odd seconds: clients whose batches take a while to fill are in two.
    recent: [Recent; 2],
}

/// A cell that an event was counted in.
#[derive(Debug, Clone, Copy)]
pub struct Recent {
    /// Start of its slot.
    pub slot_s: i64,
    /// Its index.
    pub cell: u32,
    /// Of which round of cells.
    pub round: u32,
}

impl Default for SeriesTable {
    fn default() -> Self {
        Self {
            index: HashTable::new(),
            entries: Vec::new(),
            keys: Vec::new(),
            series: Vec::new(),
            hasher: RandomState::default(),
            heap_bytes: 0,
            generation: 1,
            day: 1,
            used: 0,
        }
    }
}

impl SeriesTable {
    /// What [`SeriesTable::find`] wants to know; different in every table.
    #[inline]
    pub fn hash(&self, project: ProjectId, key: &[u8]) -> u64 {
        hash_of(&self.hasher, project, key)
    }

    /// The index of a series that is here.
    #[inline]
    pub fn find(&self, hash: u64, project: ProjectId, key: &[u8]) -> Option<u32> {
        let Self { entries, keys, .. } = self;
        let found = self.index.find(hash, |&at| {
            let entry = &entries[at as usize];
            entry.project == project
                && entry.key_len as usize == key.len()
                && keys[entry.key_start as usize..].starts_with(key)
        });
        found.copied()
    }

    /// Reads what [`SeriesTable::find`] will, for all of them: one read does not depend on another one, so that they wait for
    /// memory together.
    #[inline]
    pub fn warm(&self, hashes: &[u64]) {
        let Self { index, entries, keys, .. } = self;
        let byte = |at: usize| keys.get(at).copied().unwrap_or_default();
        let read = hashes.iter().fold(0, |read, &hash| {
            // The first with the same seven bits of hash, nearly always the right one.
            let entry = index.find(hash, |_| true).and_then(|at| entries.get(*at as usize));
            let key_at = entry.map_or(0, |entry| entry.key_start as usize);
            read ^ byte(key_at) ^ byte(key_at + CACHE_LINE_BYTES)
        });
        std::hint::black_box(read);
    }

    /// Whether the series at an index has its place in this generation.
    #[inline]
    pub fn is_settled(&self, at: u32) -> bool {
        self.entries[at as usize].settled == self.generation
    }

    /// Whether the series at an index has its place on this day.
    pub fn is_settled_today(&self, at: u32) -> bool {
        self.entries[at as usize].settled >= self.day
    }

    /// Settles a series, which is added when it was not found.
    ///
    /// # Errors
    /// [`InvalidKey`]; the caller dead-letters the event.
    pub fn settle(&mut self, hash: u64, project: ProjectId, key: &[u8], found: Option<u32>) -> Result<u32, InvalidKey> {
        let at = match found {
            Some(at) => at,
            None => self.add(hash, project, key)?,
        };
        let entry = &mut self.entries[at as usize];
        if entry.settled != self.generation {
            entry.settled = self.generation;
            self.used += 1;
        }
        Ok(at)
    }

    /// Changes whenever no series is settled any more, and so before any index means something else.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// No series is settled any more: it is another day.
    pub fn change_day(&mut self) {
        self.unsettle();
        self.day = self.generation;
    }

    /// The index of a series, which is added when it is new, without asking whether it has a place.
    #[cfg(test)]
    pub(crate) fn intern(&mut self, project: ProjectId, key: &[u8]) -> Result<u32, InvalidKey> {
        let hash = self.hash(project, key);
        self.settle(hash, project, key, self.find(hash, project, key))
    }

    /// The series at an index.
    #[inline]
    pub fn get(&self, at: u32) -> &Arc<Series> {
        &self.series[at as usize]
    }

    /// The tenant and the key of the series at an index.
    #[inline]
    pub fn key(&self, at: u32) -> (ProjectId, &[u8]) {
        let entry = &self.entries[at as usize];
        (entry.project, &self.keys[entry.key_start as usize..][..entry.key_len as usize])
    }

    /// Where the events of the series at an index were counted lately; the place for `slot_s`, whatever it holds.
    #[inline]
    pub fn recent_mut(&mut self, at: u32, slot_s: i64) -> &mut Recent {
        &mut self.entries[at as usize].recent[(slot_s & 1) as usize]
    }

    /// Whether every event of the series at an index is an error.
    #[inline]
    pub fn is_failed(&self, at: u32) -> bool {
        self.entries[at as usize].failed
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes held by the table and its series.
    pub fn memory_bytes(&self) -> usize {
        self.heap_bytes
            + self.entries.capacity() * size_of::<Entry>()
            + self.keys.capacity()
            + self.series.capacity() * size_of::<Arc<Series>>()
            + self.index.allocation_size()
    }

    /// Called when nothing refers to an index any more. Forgets the series without an event since the last call once they
    /// outnumber the others; a forgotten series that comes back costs one look-up in Postgres.
    pub fn sweep(&mut self) {
        if self.entries.len() - self.used > self.used + IDLE_SERIES_KEPT {
            let before = std::mem::take(&mut self.series);
            let entries = std::mem::take(&mut self.entries);
            self.empty();
            self.index = HashTable::with_capacity(self.used);
            for (series, entry) in before.into_iter().zip(entries) {
                if entry.settled == self.generation {
                    let hash = self.hash(series.project, series.key());
                    let at = self.put(hash, series, entry.failed);
                    self.entries[at as usize].settled = self.generation;
                }
            }
            self.entries.shrink_to_fit();
        }
        self.unsettle();
    }

    /// Forgets all series. Called when nothing refers to an index any more.
    pub fn clear(&mut self) {
        self.empty();
        self.unsettle();
    }

    fn empty(&mut self) {
        self.index = HashTable::new();
        self.entries = Vec::new();
        self.keys = Vec::new();
        self.series = Vec::new();
        self.heap_bytes = 0;
    }

    fn unsettle(&mut self) {
        self.generation += 1;
        self.used = 0;
    }

    #[cold]
    fn add(&mut self, hash: u64, project: ProjectId, key: &[u8]) -> Result<u32, InvalidKey> {
        let fields = check(key)?;
        let series = Arc::new(Series { project, key: key.into(), row: OnceLock::new() });
        Ok(self.put(hash, series, fields.status >= 500))
    }

    fn put(&mut self, hash: u64, series: Arc<Series>, failed: bool) -> u32 {
        let at = u32::try_from(self.entries.len()).expect("the byte budget ends long before 2^32 series");
        let key_start = u32::try_from(self.keys.len()).expect("the byte budget ends long before 4 GiB of keys");
        let project = series.project;
        let nowhere = Recent { slot_s: 0, cell: 0, round: 0 };
        let key_len = series.key().len() as u32;
        self.entries.push(Entry { project, key_start, key_len, settled: 0, failed, recent: [nowhere; 2] });
        self.keys.extend_from_slice(series.key());
        self.heap_bytes += series.memory_bytes();
        self.series.push(series);
        let Self { index, series, hasher, .. } = self;
        index.insert_unique(hash, at, |&at| {
            let series = &series[at as usize];
            hash_of(hasher, series.project, series.key())
        });
        at
    }
}

#[inline]
fn hash_of(hasher: &RandomState, project: ProjectId, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_u64(project.0);
    hasher.write(key);
    hasher.finish()
}

/// Of most processors. A key of usual length begins in one and ends in the next.
const CACHE_LINE_BYTES: usize = 64;

/// What a key says, when it can become a row.
pub(crate) fn check(key: &[u8]) -> Result<Fields<'_>, InvalidKey> {
    let fields = SeriesKey::parse(key).and_then(|key| key.decode()).map_err(|_| InvalidKey)?;
    // Postgres has no NUL in text, and its index entries end at 2.7 kB.
    let storable = !key_has_nul(&fields) && key.len() <= KEY_BYTES_MAX && i16::try_from(fields.status).is_ok();
    let canonical = fields.to_key_bytes() == key;
    if storable && canonical { Ok(fields) } else { Err(InvalidKey) }
}

fn key_has_nul(fields: &Fields<'_>) -> bool {
    [fields.service, fields.env, fields.route].iter().any(|text| text.contains('\0'))
}

/// The wire's limits add up to about 720 bytes; what is longer was not written by peep's ingest.
pub(crate) const KEY_BYTES_MAX: usize = 2048;
/// Idle series kept whatever the traffic: half a megabyte at most.
const IDLE_SERIES_KEPT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(route: &str, status: u16) -> Vec<u8> {
        Fields { service: "shop", env: "default", route, method: "GET", status }.to_key_bytes()
    }

    #[test]
    fn the_same_key_of_two_projects_is_two_series() {
        let mut table = SeriesTable::default();
        let first = table.intern(ProjectId(1), &key("/a", 200)).unwrap();
        let second = table.intern(ProjectId(2), &key("/a", 200)).unwrap();
        assert_ne!(first, second);
        assert_eq!(table.intern(ProjectId(1), &key("/a", 200)), Ok(first));
        assert_eq!(table.get(first).fields().route, "/a");
    }

    #[test]
    fn a_second_spelling_of_a_series_is_refused() {
        let mut table = SeriesTable::default();
        // The same fields, but the absent status written out as zero.
        let mut spelt_out = key("/a", 0);
        spelt_out.extend([5 << 3, 0]);
        assert_eq!(table.intern(ProjectId(1), &spelt_out), Err(InvalidKey));
        assert_eq!(table.intern(ProjectId(1), &key("/a\0", 200)), Err(InvalidKey));
        assert_eq!(table.intern(ProjectId(1), b"nonsense"), Err(InvalidKey));
        assert!(table.is_empty());
    }

    #[test]
    fn idle_series_are_forgotten_and_busy_ones_keep_their_row() {
        let mut table = SeriesTable::default();
        for number in 0..2 * IDLE_SERIES_KEPT {
            table.intern(ProjectId(1), &key(&format!("/{number}"), 200)).unwrap();
        }
        table.sweep();
        let before = table.memory_bytes();
        let busy = table.intern(ProjectId(1), &key("/7", 200)).unwrap();
        table.get(busy).set_row(42);
        table.sweep();
        assert_eq!(table.len(), 1);
        assert!(table.memory_bytes() < before / 10);
        let again = table.intern(ProjectId(1), &key("/7", 200)).unwrap();
        assert_eq!(table.get(again).row(), Some(42));
    }
}
