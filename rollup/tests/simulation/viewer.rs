//! A viewer: committed rows up to the cursors, live frames beyond them, stitched by the code of `peep-stream`.
//!
//! Arrives: the live log through a real [`Feed`], and snapshots of the store. Leaves: for each partition the sums that a viewer
//! sees and the position they belong to, at every change; the checker compares them with the truth of that position.
//! Rebuilds by the rules of `peep_stream::hub`: after a gap, after a take-over, and when frames stay away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use peep_chassis::lifecycle::Shutdown;
use peep_log::Partition;
use peep_stream::feed::Feed;
use peep_stream::history::Cursors;
use peep_stream::stitch::Position;
use peep_wire::live::LiveFrame;
use tokio::time::{Instant, sleep};

use crate::log::SimLog;
use crate::store::{SimStore, State};
use crate::world::World;

/// What a partition adds up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) count: u64,
    pub(crate) errors: u64,
    pub(crate) sum_us: u64,
}

/// A viewer saw these sums at that position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: u32,
    pub(crate) position: u64,
    pub(crate) sums: Sums,
    pub(crate) at: Instant,
}

pub(crate) struct Viewer {
    world: Arc<World>,
    store: Arc<SimStore>,
    feed: Feed,
    view: Mutex<View>,
}

#[derive(Default)]
struct View {
    positions: Cursors,
    sums: BTreeMap<u32, Sums>,
    seen: Vec<Seen>,
    rebuilds: u64,
}

impl Viewer {
    /// Follows the live log from now on.
    pub(crate) fn start(world: &Arc<World>, store: &Arc<SimStore>, live: &Arc<SimLog>) -> Arc<Self> {
        let feed = Feed::new(FEED_BYTES);
        let viewer = Arc::new(Self {
            world: Arc::clone(world),
            store: Arc::clone(store),
            feed: feed.clone(),
            view: Mutex::default(),
        });
        let cursors = viewer.cursors();
        let log = live.seen_by(&world.process());
        for partition in (0..live.partitions()).map(Partition) {
            let (feed, log, cursors) = (feed.clone(), Arc::clone(&log), cursors.clone());
            tokio::spawn(async move { feed.follow(&*log, partition, &cursors, || {}, &Shutdown::new()).await });
        }
        viewer.rebuild("new");
        let watching = Arc::clone(&viewer);
        tokio::spawn(async move { watching.watch().await });
        viewer
    }

    /// Everything seen so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.view.lock().seen.clone()
    }

    /// What is seen now.
    pub(crate) fn sees(&self, partition: u32) -> (u64, Sums) {
        let view = self.view.lock();
        let position = view.positions.get(&partition).map_or(0, |position| position.offset);
        (position, view.sums.get(&partition).copied().unwrap_or_default())
    }

    pub(crate) fn rebuilds(&self) -> u64 {
        self.view.lock().rebuilds
    }

    async fn watch(&self) {
        let mut built_at = Instant::now();
        let mut learned_at = Instant::now();
        let mut behind_since: Option<Instant> = None;
        loop {
            sleep(TICK).await;
            if learned_at.elapsed() >= CURSOR_INTERVAL {
                learned_at = Instant::now();
                self.feed.learn_committed(&self.cursors());
            }
            let positions = self.view.lock().positions.clone();
            let continued = self.feed.continue_from(&positions);
            if !continued.superseded {
                self.advance(&continued.frames, continued.positions);
            }
            behind_since = continued.behind.then(|| behind_since.unwrap_or_else(Instant::now));
            let reason = match behind_since {
                _ if continued.superseded => Some("superseded"),
                _ if continued.gap => Some("gap"),
                Some(since) if since.elapsed() >= BEHIND_MAX => Some("behind"),
                _ => None,
            };
            if let Some(reason) = reason
                && built_at.elapsed() >= REBUILD_PAUSE
            {
                built_at = Instant::now();
                behind_since = None;
                self.rebuild(reason);
            }
        }
    }

    fn rebuild(&self, reason: &'static str) {
        let (cursors, sums) = self.store.look(|state| (cursors_of(state), sums_of(state)));
        {
            let mut view = self.view.lock();
            view.positions = cursors.clone();
            view.sums = sums;
            view.rebuilds += 1;
            self.world.trace.note("viewer rebuilds", &[("rebuilds", view.rebuilds)]);
            self.world.trace.remark(|| format!("because: {reason}"));
            for &partition in cursors.keys() {
                view.note(partition);
            }
        }
        self.feed.learn_committed(&cursors);
        let continued = self.feed.continue_from(&cursors);
        self.advance(&continued.frames, continued.positions);
    }

    fn advance(&self, frames: &[Arc<LiveFrame>], positions: Cursors) {
        let mut view = self.view.lock();
        for frame in frames {
            let sums = view.sums.entry(frame.partition).or_default();
            for cell in &frame.cells {
                sums.count += cell.count;
                sums.errors += cell.errors;
                sums.sum_us += cell.histogram.sum_us();
            }
            view.positions.insert(frame.partition, Position { offset: frame.to, epoch: frame.epoch });
            view.note(frame.partition);
        }
        view.positions = positions;
    }

    fn cursors(&self) -> Cursors {
        self.store.look(cursors_of)
    }
}

impl View {
    fn note(&mut self, partition: u32) {
        let position = self.positions.get(&partition).map_or(0, |position| position.offset);
        let sums = self.sums.get(&partition).copied().unwrap_or_default();
        self.seen.push(Seen { partition, position, sums, at: Instant::now() });
    }
}

fn cursors_of(state: &State) -> Cursors {
    let position = |row: &crate::store::CursorRow| Position { offset: row.next.0, epoch: row.epoch };
    (0u32..).zip(&state.cursors).map(|(partition, row)| (partition, position(row))).collect()
}

fn sums_of(state: &State) -> BTreeMap<u32, Sums> {
    let mut sums: BTreeMap<u32, Sums> = BTreeMap::new();
    for committed in &state.flushes {
        let sums = sums.entry(committed.cut.partition).or_default();
        for piece in &committed.cut.pieces {
            sums.count += piece.cell.count;
            sums.errors += piece.cell.errors;
            sums.sum_us += piece.cell.histogram.sum_us();
        }
    }
    sums
}

/// As in `peep_stream`.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);
const BEHIND_MAX: Duration = Duration::from_secs(1);
const CURSOR_INTERVAL: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(110);
const FEED_BYTES: usize = 64 << 20;
