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
pub struct Takeover {
    pub partition: i32,
    /// Until somebody else had the lease.
    pub taken: Duration,
    /// Until somebody else had committed something.
    pub counted: Duration,
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

    /// Partitions that still wait, with the time they have waited.
    pub fn waiting(&self) -> Vec<(i32, Duration)> {
        let state = self.state.lock();
        state.orphans.iter().map(|orphan| (orphan.partition, orphan.since.elapsed())).collect()
    }

    pub fn takeovers(&self) -> Vec<Takeover> {
        self.state.lock().takeovers.clone()
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
                Some(taken) if now.next_offset > orphan.next_offset => {
                    takeovers.push(Takeover { partition: orphan.partition, taken, counted: elapsed });
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
