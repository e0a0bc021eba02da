//! Deduplication: which batches of a producer were counted before.
//!
//! Arrives: the header of each readable record, its position, and the log's own time. Leaves: a [`Verdict`] for the whole
//! record; and with every cut the [`Window`]s that changed and the producers that were forgotten, so that the tables always
//! hold what memory held when the cursor was there.
//!
//! The rules. They depend on nothing but the log, the limits, and what was restored:
//! - A batch is (project, producer, seq). A producer has a window of [`WINDOW`] numbers that ends at the highest one heard of.
//!   Above it: the window moves up, count. In it and not counted yet: count. In it and counted: duplicate. Below it:
//!   [`Verdict::BelowWindow`], because nobody knows any more.
//! - A producer that is unknown, or was not heard of for longer than the retention, begins a new window with whatever number
//!   comes. If that number is not 0, earlier tries may have been forgotten: batches up to that number (but 0) are counted and
//!   called uncertain.
//! - A request of several records is counted record by record. Its number counts as seen when all parts were; until then the
//!   window knows which, and with how many events, so that a retry adds exactly what is missing. Another number of parts, or
//!   another number of events in a part that was seen, means that the retry was cut differently: [`Verdict::Conflict`], also
//!   for every further part of that number that is missing. `parts` of 0 and 1 are the same. Once a number is complete every
//!   record of it is a duplicate, however it was cut.
//! - `part` not below `parts`, or more than [`PARTS_MAX`] parts: conflict, and the producer was not heard of.
//! - Every other record is a sign of life of its producer, whatever the verdict. A project that has more producers than the
//!   limit loses the one that was not heard of for longest; if the windows outgrow their bytes, the project with most
//!   producers does (of several the one whose eldest was heard of longest ago).
//!
//! Promises: one hash look-up per record, nothing per event; memory is bounded by [`DedupLimits::bytes_max`].
//!
//! Does not: look into events, or know any clock.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use peep_wire::record::BatchHeader;
use peep_wire::{Identity, ProjectId};

/// `Peep-Producer`, the bytes of the UUID.
pub type Producer = [u8; 16];

/// What the memory of past batches may grow to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupLimits {
    /// Log time without a sign of life after which a producer is forgotten.
    pub retention_ms: i64,
    /// Producers of one project that are remembered.
    pub producers_max: usize,
    /// Bytes of all windows, from above.
    pub bytes_max: usize,
}

/// What to do with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is new.
    Count {
        /// An earlier try may have been counted and forgotten.
        uncertain: bool,
    },
    /// It was counted before.
    Duplicate,
    /// Its number is so far behind that nobody knows.
    BelowWindow,
    /// It contradicts what was counted under the same number.
    Conflict,
}

/// One row of `dedup_window`: what is known of a producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The tenant.
    pub project: ProjectId,
    /// The producer.
    pub producer: Producer,
    /// The highest number heard of.
    pub high_seq: u64,
    /// The number it began with; batches up to it, but 0, are uncertain.
    pub begun_seq: u64,
    /// Which numbers were counted.
    pub seen: Seen,
    /// Numbers of which some parts were counted, ascending.
    pub partial: Vec<Partial>,
    /// The log's time when it was last heard of, Unix milliseconds.
    pub last_ms: i64,
    /// Position of the record that was last heard of it.
    pub last_offset: u64,
    /// In a bundle, the index of the first event of its batch there.
    pub last_event: u32,
}

/// A request of several records, of which some are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    /// Its number.
    pub seq: u64,
    /// Records it has.
    pub parts: u32,
    /// A retry was cut differently: what is missing can not be told from what was counted.
    pub torn: bool,
    /// Parts that were counted and the events in each, ascending.
    pub seen: Vec<(u32, u32)>,
}

/// Bit n: whether `high_seq - n` was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen([u64; WORDS]);

/// Where and when a batch lies in the log.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The position of its record.
    pub position: u64,
    /// The index of its first event in the record: batches of a bundle are heard of one after the other.
    pub first_event: u32,
    /// The log's own time.
    pub log_ms: i64,
}

/// What a cut takes along.
#[derive(Debug, Default)]
pub struct DedupCut {
    /// Windows that changed, by project and producer.
    pub windows: Vec<Window>,
    /// Producers that had to make room. None of them is in `windows`.
    pub forgotten: Vec<(ProjectId, Producer)>,
    /// Times a producer had to make room.
    pub evictions: u64,
}

/// All producers of a partition.
#[derive(Debug)]
pub struct Dedup {
    limits: DedupLimits,
    index: HashTable<u32>,
    /// Random per process: a client that picks its producers can not aim at one bucket. Nothing ever depends on hash order.
    hasher: RandomState,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// One for each project that ever had a producer here.
    lists: Vec<List>,
    list_of: BTreeMap<ProjectId, u32>,
    len: usize,
    /// What the incomplete requests hold, from above.
    partial_bytes: usize,
    touched: Vec<u32>,
    forgotten: Vec<(ProjectId, Producer)>,
    evictions: u64,
}

#[derive(Debug)]
struct Entry {
    window: Window,
    list: u32,
    /// Heard of just after and just before this one.
    newer: u32,
    older: u32,
    /// Changed since the last cut.
    touched: bool,
    /// The table may have a row of it.
    stored: bool,
}

/// The producers of one project, in the order in which they were last heard of.
#[derive(Debug, Clone, Copy)]
struct List {
    newest: u32,
    oldest: u32,
    len: usize,
}

impl Dedup {
    /// Nobody was ever heard of.
    pub fn new(limits: DedupLimits) -> Self {
        Self {
            limits,
            index: HashTable::new(),
            hasher: RandomState::default(),
            entries: Vec::new(),
            free: Vec::new(),
            lists: Vec::new(),
            list_of: BTreeMap::new(),
            len: 0,
            partial_bytes: 0,
            touched: Vec::new(),
            forgotten: Vec::new(),
            evictions: 0,
        }
    }

    /// As it was when the cursor was where it is now. Windows beyond the limits are forgotten like any other.
    pub fn restored(limits: DedupLimits, mut windows: Vec<Window>, log_ms: i64) -> Self {
        let mut dedup = Self::new(limits);
        windows.retain(|window| !is_expired(&limits, window.last_ms, log_ms));
        windows.sort_unstable_by_key(Window::last_heard);
        for mut window in windows {
            window.partial.shrink_to_fit();
            dedup.partial_bytes += window.partial.iter().map(Partial::memory_bytes).sum::<usize>();
            let hash = dedup.hash(window.project, &window.producer);
            let at = dedup.add(hash, window);
            dedup.entries[at as usize].stored = true;
            dedup.make_room(dedup.entries[at as usize].list, log_ms);
        }
        dedup
    }

    /// Decides about one batch and remembers it.
    pub fn judge(&mut self, header: &BatchHeader, identity: &Identity, moment: Moment) -> Verdict {
        let parts = header.parts.max(1);
        if parts > PARTS_MAX || header.part >= parts {
            return Verdict::Conflict;
        }
        let at = self.hear(header.project, identity, moment);
        let Self { entries, partial_bytes, .. } = self;
        let window = &mut entries[at as usize].window;
        let held = window.partial_bytes();
        let verdict = window.judge(identity.seq, header.part, parts, header.event_count);
        // Most producers never have any.
        if held > 0 || !window.partial.is_empty() {
            *partial_bytes = *partial_bytes + window.partial_bytes() - held;
        }
        let list = entries[at as usize].list;
        self.make_room(list, moment.log_ms);
        verdict
    }

    /// Takes out what changed since the last cut, and lets go of who expired.
    pub fn cut(&mut self, log_ms: i64) -> DedupCut {
        let touched = std::mem::take(&mut self.touched);
        let mut windows = Vec::with_capacity(touched.len());
        for at in touched {
            let entry = &mut self.entries[at as usize];
            // A place that was freed and taken again is in the list twice.
            if std::mem::take(&mut entry.touched) {
                entry.stored = true;
                windows.push(entry.window.clone());
            }
        }
        windows.sort_unstable_by_key(|window| (window.project, window.producer));
        let mut forgotten = std::mem::take(&mut self.forgotten);
        forgotten.retain(|(project, producer)| self.find(*project, producer).is_none());
        forgotten.sort_unstable();
        forgotten.dedup();
        self.drop_expired(log_ms);
        if self.entries.len() > 2 * self.len + ENTRIES_KEPT {
            self.compact();
        }
        DedupCut { windows, forgotten, evictions: std::mem::take(&mut self.evictions) }
    }

    /// Producers remembered.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.index.allocation_size()
            + self.partial_bytes
            + (self.touched.capacity() + self.free.capacity()) * size_of::<u32>()
            + self.forgotten.capacity() * size_of::<(ProjectId, Producer)>()
            + self.lists.capacity() * (size_of::<List>() + LIST_INDEX_BYTES)
    }

    /// Bytes that the next cut takes along, from above.
    pub fn delta_bytes(&self) -> usize {
        self.touched.len() * size_of::<Window>() + self.forgotten.len() * size_of::<(ProjectId, Producer)>()
    }

    /// Every window that is not expired, by project and producer: what the tables hold after a cut.
    pub fn windows(&self, log_ms: i64) -> Vec<Window> {
        let known = self.list_of.values().flat_map(|list| {
            std::iter::successors(self.at(self.lists[*list as usize].newest), |entry| self.at(entry.older))
        });
        let mut windows: Vec<Window> = known
            .map(|entry| entry.window.clone())
            .filter(|window| !is_expired(&self.limits, window.last_ms, log_ms))
            .collect();
        windows.sort_unstable_by_key(|window| (window.project, window.producer));
        windows
    }

    fn at(&self, at: u32) -> Option<&Entry> {
        self.entries.get(at as usize)
    }

    /// The producer's entry, now the one heard of last; begun anew when it is unknown or was quiet for too long.
    fn hear(&mut self, project: ProjectId, identity: &Identity, moment: Moment) -> u32 {
        let hash = self.hash(project, &identity.producer);
        let at = match self.find_hashed(hash, project, &identity.producer) {
            Some(at) => {
                let entry = &mut self.entries[at as usize];
                if is_expired(&self.limits, entry.window.last_ms, moment.log_ms) {
                    self.partial_bytes -= entry.window.partial_bytes();
                    entry.window = Window::begun(project, identity);
                }
                let list = self.entries[at as usize].list;
                if self.lists[list as usize].newest != at {
                    self.unlink(at);
                    self.link(at);
                }
                at
            }
            None => self.add(hash, Window::begun(project, identity)),
        };
        let entry = &mut self.entries[at as usize];
        entry.window.last_ms = moment.log_ms;
        (entry.window.last_offset, entry.window.last_event) = (moment.position, moment.first_event);
        if !std::mem::replace(&mut entry.touched, true) {
            self.touched.push(at);
        }
        at
    }

    fn find(&self, project: ProjectId, producer: &Producer) -> Option<u32> {
        self.find_hashed(self.hash(project, producer), project, producer)
    }

    fn find_hashed(&self, hash: u64, project: ProjectId, producer: &Producer) -> Option<u32> {
        let matches = |at: &u32| {
            let window = &self.entries[*at as usize].window;
            window.producer == *producer && window.project == project
        };
        self.index.find(hash, matches).copied()
    }

    fn add(&mut self, hash: u64, window: Window) -> u32 {
        let list = match self.list_of.get(&window.project) {
            Some(list) => *list,
            None => {
                let list = self.lists.len() as u32;
                self.list_of.insert(window.project, list);
                self.lists.push(List { newest: NOBODY, oldest: NOBODY, len: 0 });
                list
            }
        };
        let entry = Entry { window, list, newer: NOBODY, older: NOBODY, touched: false, stored: false };
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                let at = u32::try_from(self.entries.len()).expect("the byte limit ends long before 2^32 producers");
                self.entries.push(entry);
                at
            }
        };
        let Self { index, entries, hasher, .. } = self;
        index.insert_unique(hash, at, |at| {
            let window = &entries[*at as usize].window;
            hash_of(hasher, window.project, &window.producer)
        });
        self.len += 1;
        self.link(at);
        at
    }

    fn remove(&mut self, at: u32) {
        self.unlink(at);
        let entry = &mut self.entries[at as usize];
        entry.touched = false;
        self.partial_bytes -= entry.window.partial_bytes();
        entry.window.partial = Vec::new();
        let hash = hash_of(&self.hasher, entry.window.project, &entry.window.producer);
        if let Ok(found) = self.index.find_entry(hash, |other| *other == at) {
            found.remove();
        }
        self.free.push(at);
        self.len -= 1;
    }

    fn link(&mut self, at: u32) {
        let list = &mut self.lists[self.entries[at as usize].list as usize];
        let newest = std::mem::replace(&mut list.newest, at);
        list.len += 1;
        if newest == NOBODY {
            list.oldest = at;
        } else {
            self.entries[newest as usize].newer = at;
        }
        let entry = &mut self.entries[at as usize];
        (entry.newer, entry.older) = (NOBODY, newest);
    }

    fn unlink(&mut self, at: u32) {
        let Entry { list, newer, older, .. } = self.entries[at as usize];
        let list = &mut self.lists[list as usize];
        list.len -= 1;
        if newer == NOBODY {
            list.newest = older;
        } else {
            self.entries[newer as usize].older = older;
        }
        let list = &mut self.lists[self.entries[at as usize].list as usize];
        if older == NOBODY {
            list.oldest = newer;
        } else {
            self.entries[older as usize].newer = newer;
        }
    }

    /// Forgets whoever is too many. Only the project in `list` can have grown. Who expired is the eldest of its project and
    /// goes before anybody else, so that the choice among the living does not depend on when the last sweep was.
    fn make_room(&mut self, list: u32, log_ms: i64) {
        while self.lists[list as usize].len > self.limits.producers_max {
            self.evict(list);
        }
        if self.bytes() > self.limits.bytes_max {
            self.drop_expired(log_ms);
        }
        while self.bytes() > self.limits.bytes_max && self.len > 1 {
            self.evict(self.largest());
        }
    }

    fn largest(&self) -> u32 {
        let nobody = (u64::MAX, u32::MAX);
        let last_heard = |list: &List| self.at(list.oldest).map_or(nobody, |entry| entry.window.last_heard());
        let rank = |(_, list): &(usize, &List)| (list.len, std::cmp::Reverse(last_heard(list)));
        self.lists.iter().enumerate().max_by_key(rank).map_or(0, |(at, _)| at as u32)
    }

    fn evict(&mut self, list: u32) {
        let oldest = self.lists[list as usize].oldest;
        let entry = &self.entries[oldest as usize];
        if entry.stored {
            self.forgotten.push((entry.window.project, entry.window.producer));
        }
        self.evictions += 1;
        self.remove(oldest);
    }

    /// What the limit is about: no capacities, which depend on history, so that the same log forgets the same producers.
    fn bytes(&self) -> usize {
        self.len * ENTRY_BYTES + self.partial_bytes
    }

    fn drop_expired(&mut self, log_ms: i64) {
        for list in 0..self.lists.len() {
            while let Some(oldest) = self.at(self.lists[list].oldest)
                && is_expired(&self.limits, oldest.window.last_ms, log_ms)
            {
                self.remove(self.lists[list].oldest);
            }
        }
    }

    /// Gives back the room of a crowd that is gone.
    fn compact(&mut self) {
        let oldest_first = |list: &List| {
            let next = |at: &u32| self.at(*at).map(|entry| entry.newer);
            std::iter::successors(Some(list.oldest), next).take_while(|at| *at != NOBODY).collect::<Vec<u32>>()
        };
        let order: Vec<u32> = self.lists.iter().flat_map(oldest_first).collect();
        debug_assert!(self.touched.is_empty(), "only right after a cut nothing refers to a place");
        let mut compacted = Self::new(self.limits);
        compacted.partial_bytes = self.partial_bytes;
        for at in order {
            let entry = &mut self.entries[at as usize];
            let empty = Window::begun(entry.window.project, &Identity { producer: entry.window.producer, seq: 0 });
            let window = std::mem::replace(&mut entry.window, empty);
            let hash = compacted.hash(window.project, &window.producer);
            let at = compacted.add(hash, window);
            compacted.entries[at as usize].stored = true;
        }
        compacted.evictions = self.evictions;
        *self = compacted;
    }

    fn hash(&self, project: ProjectId, producer: &Producer) -> u64 {
        hash_of(&self.hasher, project, producer)
    }
}

impl Window {
    fn begun(project: ProjectId, identity: &Identity) -> Self {
        Self {
            project,
            producer: identity.producer,
            high_seq: identity.seq,
            begun_seq: identity.seq,
            seen: Seen::default(),
            partial: Vec::new(),
            last_ms: 0,
            last_offset: 0,
            last_event: 0,
        }
    }

    /// In the order of the log.
    fn last_heard(&self) -> (u64, u32) {
        (self.last_offset, self.last_event)
    }

    fn judge(&mut self, seq: u64, part: u32, parts: u32, events: u32) -> Verdict {
        if seq > self.high_seq {
            self.seen.slide(seq - self.high_seq);
            self.high_seq = seq;
            self.partial.retain(|partial| seq - partial.seq < WINDOW);
        }
        let distance = self.high_seq - seq;
        if distance >= WINDOW {
            return Verdict::BelowWindow;
        }
        if self.seen.get(distance) {
            return Verdict::Duplicate;
        }
        let known = self.partial.binary_search_by_key(&seq, |partial| partial.seq);
        if let (1, Err(_)) = (parts, known) {
            self.seen.set(distance);
            return self.count(seq);
        }
        let at = known.unwrap_or_else(|at| {
            self.partial.insert(at, Partial { seq, parts, torn: false, seen: Vec::new() });
            at
        });
        match self.partial[at].judge(part, parts, events) {
            Verdict::Count { .. } => {
                if self.partial[at].seen.len() == parts as usize {
                    self.partial.remove(at);
                    self.seen.set(distance);
                }
                self.count(seq)
            }
            other => other,
        }
    }

    fn count(&self, seq: u64) -> Verdict {
        Verdict::Count { uncertain: seq > 0 && seq <= self.begun_seq }
    }

    fn partial_bytes(&self) -> usize {
        self.partial.iter().map(Partial::memory_bytes).sum()
    }

    /// The column `partial`: `None` when nothing is missing.
    pub fn partial_to_bytes(&self) -> Option<Vec<u8>> {
        if self.partial.is_empty() {
            return None;
        }
        let mut out = Vec::new();
        for partial in &self.partial {
            out.extend(partial.seq.to_be_bytes());
            out.extend(partial.parts.to_be_bytes());
            out.push(u8::from(partial.torn));
            out.extend((partial.seen.len() as u32).to_be_bytes());
            for (part, events) in &partial.seen {
                out.extend(part.to_be_bytes());
                out.extend(events.to_be_bytes());
            }
        }
        Some(out)
    }

    /// Reads the column `partial`. `None`: nobody of ours wrote that.
    pub fn partial_from_bytes(mut bytes: &[u8]) -> Option<Vec<Partial>> {
        let input = &mut bytes;
        let mut partials = Vec::new();
        while !input.is_empty() {
            let seq = u64::from_be_bytes(take(input)?);
            let parts = u32::from_be_bytes(take(input)?);
            let [torn] = take(input)?;
            let count = u32::from_be_bytes(take(input)?);
            if count > parts || parts > PARTS_MAX {
                return None;
            }
            let mut seen = Vec::with_capacity(count as usize);
            for _ in 0..count {
                seen.push((u32::from_be_bytes(take(input)?), u32::from_be_bytes(take(input)?)));
            }
            partials.push(Partial { seq, parts, torn: torn != 0, seen });
        }
        partials.is_sorted_by_key(|partial| partial.seq).then_some(partials)
    }
}

impl Partial {
    fn judge(&mut self, part: u32, parts: u32, events: u32) -> Verdict {
        if parts != self.parts {
            self.torn = true;
            return Verdict::Conflict;
        }
        match self.seen.binary_search_by_key(&part, |(seen, _)| *seen) {
            Ok(at) if self.seen[at].1 == events => Verdict::Duplicate,
            Err(at) if !self.torn => {
                self.seen.insert(at, (part, events));
                Verdict::Count { uncertain: false }
            }
            _ => {
                self.torn = true;
                Verdict::Conflict
            }
        }
    }

    fn memory_bytes(&self) -> usize {
        // A vector grows to at most twice what it holds.
        size_of::<Self>() + 2 * self.seen.len() * size_of::<(u32, u32)>()
    }
}

impl Seen {
    fn get(&self, distance: u64) -> bool {
        self.0[(distance / 64) as usize] >> (distance % 64) & 1 == 1
    }

    fn set(&mut self, distance: u64) {
        self.0[(distance / 64) as usize] |= 1 << (distance % 64);
    }

    fn slide(&mut self, by: u64) {
        if by >= WINDOW {
            self.0 = [0; WORDS];
            return;
        }
        let (words, bits) = ((by / 64) as usize, by % 64);
        for at in (0..WORDS).rev() {
            let from = |back: usize| at.checked_sub(words + back).map_or(0, |at| self.0[at]);
            let carried = if bits == 0 { 0 } else { from(1) >> (64 - bits) };
            self.0[at] = from(0) << bits | carried;
        }
    }

    /// The column `seen`: bit n is bit n % 8 of byte n / 8; zeros at the end are left out.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        bytes
    }

    /// Reads the column `seen`. `None`: nobody of ours wrote that.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut all = [0; WINDOW as usize / 8];
        all.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(all.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        Some(Self(words))
    }
}

fn is_expired(limits: &DedupLimits, last_ms: i64, log_ms: i64) -> bool {
    log_ms.saturating_sub(last_ms) > limits.retention_ms
}

fn hash_of(hasher: &RandomState, project: ProjectId, producer: &Producer) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_u64(project.0);
    state.write_u128(u128::from_le_bytes(*producer));
    state.finish()
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = input.split_first_chunk::<N>()?;
    *input = tail;
    Some(*head)
}

/// How far apart the numbers of batches under way may be: more than any client of ours has in flight.
pub const WINDOW: u64 = 1024;
/// Records that one request may become: 4 GiB of them.
pub const PARTS_MAX: u32 = 4096;
/// A producer in memory: its entry, its place in the index, and the slack of both.
pub const ENTRY_BYTES: usize = 2 * (size_of::<Entry>() + size_of::<u32>());

const WORDS: usize = WINDOW as usize / 64;
const NOBODY: u32 = u32::MAX;
/// Free places kept whatever the traffic: a quarter of a megabyte.
const ENTRIES_KEPT: usize = 1024;
/// A project's place in a B-tree.
const LIST_INDEX_BYTES: usize = 32;

#[cfg(test)]
mod tests;
