//! Facets: what a service did in one of its versions, and what it did on one of its hosts.
//!
//! Arrives: every counted event, beside its series (`key`): the version and the host it names. Leaves: with each cut a cell for
//! every facet and window with news ([`FacetPiece`]), when each facet was first and last heard of ([`FacetSeen`]), and the
//! facets that were new ([`SeenFacets`]).
//!
//! An event is in one version and in one host of its service and environment: the one it names, the empty one when it names
//! none, or `(other)` when there are too many (`budget`). So the versions of a service add up to the service, and so do its
//! hosts. Versions and hosts are crossed neither with routes nor with each other: their number is added to that of the series
//! and not multiplied with it.
//!
//! How: events come in batches, and a batch is nearly always of one service, one version and one host. What follows one another
//! in the same facets is a *run*; an event that goes on with the run costs a comparison, and its duration is where it was put
//! anyway, in the list of [`Fresh`], of which a run is a stretch. When that list is taken out, the runs are gathered by cell and
//! counted as the series are.
//!
//! Promises: those of `window`: integer sums, exact merges, no clock, no hash order. However the same records are cut into
//! flushes, the merged facets are the same.
//!
//! Does not: appear in live frames. A reader who asks for a version is answered as of the last flush.

mod budget;

mod known;

mod pairs;

mod runs;

use std::sync::{Arc, OnceLock};

use peep_wire::ProjectId;
use peep_wire::hash::sip;

pub use budget::{FacetLimits, SeenFacets};

use crate::cardinality::OTHER;
use crate::key::SeriesTable;
use crate::window::{Cell, Cells, Drained, Fresh, Placed};
use budget::Budgets;
use known::{Known, Scope, Scopes};
use pairs::{Pair, Pairs};
use runs::{Open, Run};

/// What a facet is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FacetKind {
    /// A release.
    Version,
    /// An emitting instance.
    Host,
}

impl FacetKind {
    /// Both.
    pub const ALL: [FacetKind; 2] = [FacetKind::Version, FacetKind::Host];

    /// As the tables call it.
    pub fn name(self) -> &'static str {
        match self {
            FacetKind::Version => "version",
            FacetKind::Host => "host",
        }
    }
}

/// One version or host of one service and environment.
#[derive(Debug)]
pub struct Facet {
    /// The tenant.
    pub project: ProjectId,
    /// Version or host.
    pub kind: FacetKind,
    /// Environment.
    pub env: Arc<str>,
    /// Service.
    pub service: Arc<str>,
    /// Empty: the events named none.
    pub value: Box<str>,
    /// Set once the row is committed; see `store`.
    row: OnceLock<i64>,
}

impl Facet {
    /// `facet.facet_id`, when it is known.
    pub fn row(&self) -> Option<i64> {
        self.row.get().copied()
    }

    /// Remembers the id of a row that is committed.
    pub fn set_row(&self, row: i64) {
        let known = self.row.get_or_init(|| row);
        debug_assert_eq!(*known, row, "the id of a facet never changes");
    }

    /// What tells facets apart, in the order of the table's index.
    pub fn key(&self) -> (ProjectId, &str, &str, FacetKind, &str) {
        (self.project, &self.env, &self.service, self.kind, &self.value)
    }

    fn memory_bytes(&self) -> usize {
        // Two words for the counters of the Arc. Environment and service are shared by the facets of a service.
        size_of::<Self>() + 2 * size_of::<usize>() + self.value.len()
    }
}

/// What one flush adds to one facet and window.
#[derive(Debug)]
pub struct FacetPiece {
    /// The facet.
    pub facet: Arc<Facet>,
    /// Start of the window, Unix seconds.
    pub window_s: i64,
    /// What is added.
    pub cell: Cell,
}

/// Between which moments a facet had events, of those that one flush holds.
#[derive(Debug)]
pub struct FacetSeen {
    /// The facet.
    pub facet: Arc<Facet>,
    /// When its earliest event ended, Unix milliseconds.
    pub first_ms: i64,
    /// When its latest event ended.
    pub last_ms: i64,
}

/// What one flush writes about facets.
#[derive(Debug, Default)]
pub struct FacetCut {
    /// One row of `facet_10s` each.
    pub pieces: Vec<FacetPiece>,
    /// Rows of `facet_seen`, each facet once.
    pub seen: Vec<FacetSeen>,
    /// Rows of `facet_budget`.
    pub budgets: Vec<SeenFacets>,
}

impl FacetCut {
    /// Events in the pieces of a kind.
    pub fn events(&self, kind: FacetKind) -> u64 {
        self.pieces.iter().filter(|piece| piece.facet.kind == kind).map(|piece| piece.cell.count).sum()
    }
}

/// What an event says about its facets.
#[derive(Debug, Clone, Copy)]
pub struct Named<'e> {
    /// UTF-8; empty without one.
    pub version: &'e [u8],
    /// UTF-8; empty without one.
    pub host: &'e [u8],
    /// Start of the window it is counted in.
    pub window_s: i64,
    /// When it ended, Unix milliseconds.
    pub ended_ms: i64,
    /// Whether it has a duration.
    pub is_timed: bool,
    /// Whether it failed.
    pub error: bool,
}

/// The facets of one partition.
#[derive(Debug)]
pub struct Facets {
    budgets: Budgets,
    known: Known,
    scopes: Scopes,
    pairs: Pairs,
    open: Open,
    dirty: Cells,
}

impl Facets {
    /// What was seen up to a cursor at which the log's own time was `log_ms`.
    pub fn restored(limits: FacetLimits, log_ms: i64, seen: impl IntoIterator<Item = SeenFacets>) -> Self {
        Self {
            budgets: Budgets::restored(limits, log_ms, seen),
            known: Known::default(),
            scopes: Scopes::default(),
            pairs: Pairs::default(),
            open: Open::default(),
            dirty: Cells::default(),
        }
    }

    /// The log's own time of the record whose events come next.
    #[inline]
    pub fn advance(&mut self, log_ms: i64) {
        if self.budgets.advance(log_ms) {
            // Who has a place is asked again.
            self.open.end_run();
            self.pairs.clear();
        }
    }

    /// Counts one event of the series at an index. Its duration, if any, is the next in `fresh`.
    #[inline]
    pub fn count(&mut self, table: &SeriesTable, series: u32, fresh: &Fresh, named: &Named<'_>) {
        let scope = match self.scopes.by_series.get(series as usize) {
            Some(lately) if lately.scope != NOWHERE => lately.scope,
            _ => self.scopes.of(table, series),
        };
        let run = self.open.run;
        let goes_on = run.scope == scope && run.window_s == named.window_s && self.pairs.is(run.pair, named);
        if !goes_on {
            self.turn(series, scope, fresh.timed(), named);
        }
        let cell = &mut self.open.cells[self.open.run.cell as usize];
        cell.first_ms = cell.first_ms.min(named.ended_ms);
        cell.last_ms = cell.last_ms.max(named.ended_ms);
        cell.errors += u32::from(named.error);
        cell.untimed += u32::from(!named.is_timed);
    }

    /// Adds what was counted to its windows; the durations are those of `fresh`, which are about to be taken out.
    pub fn drain(&mut self, fresh: &Fresh) {
        let Self { open, dirty, known, .. } = self;
        open.drain(fresh, |cell, tally| {
            let count = tally.count() + u64::from(cell.untimed);
            for at in [cell.version, cell.host] {
                let entry = &mut known.entries[at as usize];
                entry.first_ms = entry.first_ms.min(cell.first_ms);
                entry.last_ms = entry.last_ms.max(cell.last_ms);
                let drained =
                    Drained { series: at, slot_s: cell.window_s, count, errors: u64::from(cell.errors), tally };
                dirty.add(&mut entry.guess, cell.window_s, &drained);
            }
        });
    }

    /// Takes out everything since the last cut. Called when nothing waits.
    pub fn cut(&mut self) -> FacetCut {
        debug_assert!(self.open.cells.is_empty(), "what waits would be missing");
        let known = &self.known;
        let piece = |placed: Placed| FacetPiece {
            facet: Arc::clone(&known.entries[placed.series as usize].facet),
            window_s: placed.start_s,
            cell: placed.cell,
        };
        let pieces = self.dirty.take().into_iter().map(piece).collect();
        let seen = known.entries.iter().filter(|entry| entry.is_used()).map(|entry| FacetSeen {
            facet: Arc::clone(&entry.facet),
            first_ms: entry.first_ms,
            last_ms: entry.last_ms,
        });
        let cut = FacetCut { pieces, seen: seen.collect(), budgets: self.budgets.cut() };
        // Indices of series and of facets mean something else from here on.
        self.scopes.clear();
        self.pairs.clear();
        self.open.end_run();
        self.known.sweep();
        cut
    }

    /// Gives back all memory that is kept for speed alone. Only after a cut.
    pub fn shrink(&mut self) {
        self.known = Known::default();
        self.scopes = Scopes::default();
        self.pairs = Pairs::default();
        self.open = Open::default();
        self.dirty = Cells::default();
    }

    /// Bytes held since the last cut: what flushing would free.
    pub fn delta_bytes(&self) -> usize {
        self.open.waiting_bytes() + self.dirty.memory_bytes() + self.budgets.delta_bytes()
    }

    /// Bytes held beyond those.
    pub fn kept_bytes(&self) -> usize {
        (self.open.memory_bytes() - self.open.waiting_bytes())
            + self.budgets.memory_bytes()
            + self.known.memory_bytes()
            + self.scopes.memory_bytes()
            + self.pairs.memory_bytes()
    }

    /// Everything that has a place, as it would be read back: what tests compare.
    #[cfg(test)]
    pub(crate) fn places(&self) -> Vec<SeenFacets> {
        self.budgets.seen()
    }

    /// Another run begins: the first event, or one that is not in the facets of the one before.
    fn turn(&mut self, series: u32, scope: u32, timed: usize, named: &Named<'_>) {
        // A batch of many services, such as a proxy's, turns with each event; but its routes are on the same host each time.
        let lately = self.scopes.by_series[series as usize].pair;
        let pair = if self.pairs.is_in(lately, scope, named) { lately } else { self.pair(scope, named) };
        self.scopes.by_series[series as usize].pair = pair;
        let Pair { version, host, .. } = self.pairs.pairs[pair as usize];
        let recent = &mut self.pairs.pairs[pair as usize].recent[((named.window_s / 10) & 1) as usize];
        self.open.begin_run(Run { scope, pair, window_s: named.window_s, cell: 0 }, recent, [version, host], timed);
    }

    fn pair(&mut self, scope: u32, named: &Named<'_>) -> u32 {
        let hash = self.pairs.hash(scope, named);
        match self.pairs.find(hash, scope, named) {
            Some(pair) => pair,
            None => self.meet(hash, scope, named),
        }
    }

    /// A version and a host of a service that were not seen together since the last cut.
    #[cold]
    fn meet(&mut self, hash: u64, scope: u32, named: &Named<'_>) -> u32 {
        let version = self.place(FacetKind::Version, scope, named.version);
        let host = self.place(FacetKind::Host, scope, named.host);
        self.pairs.add(hash, scope, named, [version, host])
    }

    /// The facet that events with this value are counted in.
    fn place(&mut self, kind: FacetKind, scope: u32, value: &[u8]) -> u32 {
        let Scope { project, service, env, hashes } = &self.scopes.scopes[scope as usize];
        let value = str::from_utf8(value).expect("checked when the event was decoded");
        // Postgres has no NUL in text.
        let clean;
        let mut value = if value.contains('\0') {
            clean = value.replace('\0', "\u{fffd}");
            clean.as_str()
        } else {
            value
        };
        let needs_no_place = value.is_empty() || value == OTHER;
        if !needs_no_place && !self.budgets.see(*project, hashes[kind as usize], sip(value.as_bytes())) {
            value = OTHER;
        }
        self.known.find_or_add(*project, kind, env, service, value)
    }
}

const NOWHERE: u32 = u32::MAX;
/// First after last.
const NEVER: (i64, i64) = (i64::MAX, i64::MIN);

#[cfg(test)]
mod tests;
