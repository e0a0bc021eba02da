//! Watches the cursors while things break: who owns a partition, whether it moves, and how long it stood still.
//!
//! Arrives: the news that an owner died or froze. Leaves: how long each of its partitions was without an owner that lives,
//! and how long it was not counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub struct Observer {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    partitions: BTreeMap<i32, Seen>,
    orphans: Vec<Orphan>,
    takeovers: Vec<Takeover>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    owner: Option<Uuid>,
    next_offset: i64,
}

#[derive(Clone, Copy, Debug)]
struct Orphan {
    partition: i32,
    dead: Uuid,
    since: Instant,
    next_offset: i64,
    taken: Option<Duration>,
}

/// How a partition went on after its owner was gone.
#[derive(Clone, Copy, Debug)]
struct Takeover {
    /// Until somebody else had the lease.
    taken: Duration,
    /// Until somebody else had committed something; unknown where nothing had ever been counted.
    counted: Option<Duration>,
}

impl Observer {
    pub fn start(pool: PgPool) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let seen = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                // A database that is away has no news.
                if let Ok(rows) = look(&pool).await {
                    seen.lock().take_in(rows);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Self { state, task }
    }

    /// From now on this owner does nothing more. Its partitions wait for another.
    pub fn gone(&self, owner: Uuid) {
        let mut state = self.state.lock();
        let of_owner: Vec<(i32, i64)> = state
            .partitions
            .iter()
            .filter(|(_, seen)| seen.owner == Some(owner))
            .map(|(partition, seen)| (*partition, seen.next_offset))
            .collect();
        for (partition, next_offset) in of_owner {
            let orphan = Orphan { partition, dead: owner, since: Instant::now(), next_offset, taken: None };
            state.orphans.push(orphan);
        }
    }

    pub fn owns_something(&self, owner: Uuid) -> bool {
        self.state.lock().partitions.values().any(|seen| seen.owner == Some(owner))
    }

    /// Partitions that nobody else has taken yet, with the time they have waited.
    pub fn unowned(&self) -> Vec<(i32, Duration)> {
        let state = self.state.lock();
        let orphans = state.orphans.iter().filter(|orphan| orphan.taken.is_none());
        orphans.map(|orphan| (orphan.partition, orphan.since.elapsed())).collect()
    }

    /// Whether every partition that was left alone is being counted again. Only under load: without news nobody counts.
    pub fn all_counted(&self) -> bool {
        self.state.lock().orphans.is_empty()
    }

    /// The longest of each kind: without an owner, and without being counted. The latter only where an owner lived on.
    pub fn longest(&self) -> (Option<Duration>, Option<Duration>) {
        let state = self.state.lock();
        let waiting = state.orphans.iter().filter_map(|orphan| orphan.taken);
        let taken = state.takeovers.iter().map(|takeover| takeover.taken).chain(waiting).max();
        (taken, state.takeovers.iter().filter_map(|takeover| takeover.counted).max())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn take_in(&mut self, rows: Vec<(i32, Option<Uuid>, i64)>) {
        for (partition, owner, next_offset) in rows {
            self.partitions.insert(partition, Seen { owner, next_offset });
        }
        let (seen, takeovers) = (&self.partitions, &mut self.takeovers);
        self.orphans.retain_mut(|orphan| {
            let Some(now) = seen.get(&orphan.partition) else { return true };
            let elapsed = orphan.since.elapsed();
            if orphan.taken.is_none() && now.owner.is_some_and(|owner| owner != orphan.dead) {
                orphan.taken = Some(elapsed);
                // What the dead one had committed before it died is not the successor's.
                orphan.next_offset = orphan.next_offset.max(now.next_offset);
            }
            match orphan.taken {
                // A partition without traffic.
                Some(taken) if orphan.next_offset == 0 => {
                    takeovers.push(Takeover { taken, counted: None });
                    false
                }
                Some(taken) if now.next_offset > orphan.next_offset => {
                    takeovers.push(Takeover { taken, counted: Some(elapsed) });
                    false
                }
                _ => true,
            }
        });
    }
}

async fn look(pool: &PgPool) -> sqlx::Result<Vec<(i32, Option<Uuid>, i64)>> {
    sqlx::query_as("select log_partition, owner, next_offset from rollup_cursor").fetch_all(pool).await
}

const LOOK_EVERY: Duration = Duration::from_millis(200);
