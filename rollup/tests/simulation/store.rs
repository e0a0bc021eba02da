//! A store that keeps its promises and nothing else: answers are late, lost or wrong about nothing but their arrival.
//!
//! Arrives: calls of workers through a [`StoreHandle`], and the faults of the storm. A call travels to the server, is carried
//! out there whether or not the caller still lives, and its answer travels back. On the way each leg may be slow or lost.
//!
//! The server is one primary with a history. A *failover* puts an older state in its place, and all that was committed since
//! has never been: leases, cursors, rows and windows together. In a *split brain* some workers still talk to the old primary
//! while the others have the new one; what the old one takes is thrown away in the end.
//!
//! Rows are kept as the cuts they came in, so that the checker sees exactly what was committed, by whom and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use peep_log::BoxFuture;
use peep_rollup::partition::{Cut, Fingerprint, Restored};
use peep_rollup::position::Position;
use peep_rollup::store::{Claim, Flushed, HeldLease, LEASE, Lease, Owner, Renewed, Report, Store, StoreError, Verdict};
use tokio::sync::{Mutex as RowLock, OwnedMutexGuard, oneshot};
use tokio::time::{Instant, sleep, timeout};

use crate::check;
use crate::process::Process;
use crate::random::Random;
use crate::world::World;

pub(crate) struct SimStore {
    world: Arc<World>,
    random: Mutex<Random>,
    servers: Mutex<Servers>,
}

struct Servers {
    primary: Server,
    /// The one before it, while some still talk to it.
    deposed: Option<(Server, Vec<u64>)>,
    weather: StoreWeather,
}

/// A copy of the primary that does not follow any more.
pub(crate) struct Replica {
    timeline: u64,
    state: State,
}

/// One database server. Raising `timeline` ends every transaction under way.
struct Server {
    timeline: u64,
    state: State,
    rows: Vec<Arc<RowLock<()>>>,
}

/// How bad it is at the moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoreWeather {
    /// Refuses everything until then.
    pub(crate) down_until: Option<Instant>,
    /// Calls that never reach the server.
    pub(crate) request_lost_per_mille: u64,
    /// Calls whose answer never comes back; half of them hang, half break.
    pub(crate) answer_lost_per_mille: u64,
    /// Transactions that are rolled back half way.
    pub(crate) crash_per_mille: u64,
    /// Legs that take seconds.
    pub(crate) slow_per_mille: u64,
    /// The clock that judges leases, against the world's.
    pub(crate) clock_ahead_ms: i64,
}

/// Everything committed.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) cursors: Vec<CursorRow>,
    /// Until when each is alive, and how much it can take.
    workers: BTreeMap<Owner, (i64, u32)>,
    pub(crate) flushes: Vec<Arc<Committed>>,
    pub(crate) breaks: Vec<Break>,
}

/// A person accepted that a log is not the one that was counted.
#[derive(Debug, Clone)]
pub(crate) struct Break {
    pub(crate) partition: u32,
    pub(crate) before: Position,
    pub(crate) after: Position,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct CursorRow {
    pub(crate) next: Position,
    pub(crate) epoch: u64,
    pub(crate) owner: Option<Owner>,
    pub(crate) lease_until_ms: i64,
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) broken: Option<String>,
    pub(crate) range: Option<(Position, Position)>,
}

/// One flush.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) owner: Owner,
    pub(crate) epoch: u64,
    pub(crate) cut: Arc<Cut>,
    pub(crate) at: Instant,
}

impl SimStore {
    pub(crate) fn new(world: &Arc<World>, random: Random) -> Arc<Self> {
        let primary = Server {
            timeline: 0,
            state: State::default(),
            rows: (0..world.shape.partitions).map(|_| Arc::default()).collect(),
        };
        let servers = Servers { primary, deposed: None, weather: StoreWeather::default() };
        Arc::new(Self { world: Arc::clone(world), random: Mutex::new(random), servers: Mutex::new(servers) })
    }

    /// The store as one process sees it.
    pub(crate) fn seen_by(self: &Arc<Self>, process: &Process) -> Arc<dyn Store> {
        Arc::new(StoreHandle { store: Arc::clone(self), process: process.clone() })
    }

    pub(crate) fn change_weather(&self, change: impl FnOnce(&mut StoreWeather)) {
        change(&mut self.servers.lock().weather);
    }

    /// What is committed at this moment.
    pub(crate) fn snapshot(&self) -> State {
        self.servers.lock().primary.state.clone()
    }

    /// Looks at it in place.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.servers.lock().primary.state)
    }

    /// Changes it from outside, as a person with the right tool does. `change` hears the time of the server. Who finds the row
    /// of the partition locked changes nothing.
    pub(crate) fn change(&self, partition: u32, change: impl FnOnce(&mut State, i64)) {
        let mut servers = self.servers.lock();
        let now_ms = self.world.now_ms() + servers.weather.clock_ahead_ms;
        let row = Arc::clone(&servers.primary.rows[partition as usize]);
        if row.try_lock().is_ok() {
            change(&mut servers.primary.state, now_ms);
        }
    }

    /// A replica that begins to lag now.
    pub(crate) fn replica(&self) -> Replica {
        let servers = self.servers.lock();
        Replica { timeline: servers.primary.timeline, state: servers.primary.state.clone() }
    }

    /// The replica is the primary from now on. `faithful` processes do not notice at once. Nothing happens when another
    /// replica was faster.
    pub(crate) fn fail_over(&self, replica: Replica, faithful: Vec<u64>) {
        let mut servers = self.servers.lock();
        if servers.primary.timeline != replica.timeline {
            return;
        }
        let timeline = replica.timeline + 1;
        let rows = servers.primary.rows.iter().map(|_| Arc::default()).collect();
        let lost = servers.primary.state.flushes.len() - replica.state.flushes.len();
        let old = std::mem::replace(&mut servers.primary, Server { timeline, state: replica.state, rows });
        self.world.trace.note(
            "store fails over",
            &[("timeline", timeline), ("flushes_lost", lost as u64), ("faithful", faithful.len() as u64)],
        );
        servers.deposed = (!faithful.is_empty()).then_some((old, faithful));
    }

    /// The old primary is switched off.
    pub(crate) fn end_split_brain(&self) {
        if let Some((old, _)) = self.servers.lock().deposed.take() {
            self.world.trace.note("old primary gone", &[("flushes", old.state.flushes.len() as u64)]);
        }
    }

    fn draw(&self) -> Fate {
        let (weather, mut random) = (self.servers.lock().weather.clone(), self.random.lock());
        let mut leg = || {
            if random.chance(weather.slow_per_mille) { random.millis(500..=12_000) } else { random.millis(0..=8) }
        };
        let (there, back) = (leg(), leg());
        Fate {
            there,
            back,
            work: random.millis(1..=30),
            request_lost: random.chance(weather.request_lost_per_mille),
            crash: random.chance(weather.crash_per_mille),
            answer: if random.chance(weather.answer_lost_per_mille) {
                if random.chance(500) { Answer::Never } else { Answer::Broken }
            } else {
                Answer::Arrives
            },
        }
    }
}

/// What becomes of one call.
#[derive(Debug, Clone, Copy)]
struct Fate {
    there: Duration,
    work: Duration,
    back: Duration,
    request_lost: bool,
    crash: bool,
    answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Arrives,
    Broken,
    Never,
}

impl Servers {
    /// The server that a process talks to; an error while it is down.
    fn of(&mut self, process: u64) -> Result<&mut Server, StoreError> {
        if self.weather.down_until.is_some_and(|until| until > Instant::now()) {
            return Err(StoreError::new("simulated: connection refused"));
        }
        match &mut self.deposed {
            Some((old, faithful)) if faithful.contains(&process) => Ok(old),
            _ => Ok(&mut self.primary),
        }
    }
}

/// One process' connection.
struct StoreHandle {
    store: Arc<SimStore>,
    process: Process,
}

impl StoreHandle {
    /// There, done, and back. `work` runs at the server.
    fn call<T, F>(
        &self,
        work: impl FnOnce(Arc<SimStore>, u64, Fate) -> F + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        Box::pin(async move {
            self.process.pass().await;
            let fate = self.store.draw();
            let (answer, answered) = oneshot::channel();
            let (store, process) = (Arc::clone(&self.store), self.process.number);
            // Once sent, it happens whether or not anybody waits for the answer.
            tokio::spawn(async move {
                sleep(fate.there).await;
                if fate.request_lost {
                    return answer.send(Err(StoreError::new("simulated: connection reset"))).unwrap_or(());
                }
                let result = work(store, process, fate).await;
                sleep(fate.back).await;
                match fate.answer {
                    Answer::Arrives => drop(answer.send(result)),
                    Answer::Broken => drop(answer.send(Err(StoreError::new("simulated: connection reset")))),
                    Answer::Never => {
                        sleep(NEVER).await;
                        drop(answer);
                    }
                }
            });
            let result = answered.await.unwrap_or_else(|_| Err(StoreError::new("simulated: no answer")));
            self.process.pass().await;
            result
        })
    }

    /// A call that is one short statement.
    fn statement<T: Send + 'static>(
        &self,
        work: impl FnOnce(&World, &mut Server, i64) -> T + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        self.call(|store, process, _| async move {
            let mut servers = store.servers.lock();
            let now_ms = store.world.now_ms() + servers.weather.clock_ahead_ms;
            let server = servers.of(process)?;
            Ok(work(&store.world, server, now_ms))
        })
    }
}

impl Store for StoreHandle {
    fn open(&self, partitions: u32) -> BoxFuture<'_, Result<(), StoreError>> {
        self.statement(move |_, server, _| {
            let missing = partitions as usize - server.state.cursors.len().min(partitions as usize);
            server.state.cursors.extend((0..missing).map(|_| CursorRow::default()));
        })
    }

    fn renew(&self, owner: Owner, capacity: u32) -> BoxFuture<'_, Result<Renewed, StoreError>> {
        self.statement(move |_, server, now_ms| {
            let lease_until_ms = now_ms + lease_ms();
            server.state.workers.insert(owner, (lease_until_ms, capacity));
            let is_alive =
                |(_, (until_ms, _)): &(&Owner, &(i64, u32))| (now_ms..=now_ms + 2 * lease_ms()).contains(until_ms);
            let workers = server.state.workers.iter().filter(is_alive);
            let mut renewed =
                Renewed { held: Vec::new(), workers: workers.map(|(owner, (_, max))| (*owner, *max)).collect() };
            for (partition, cursor) in (0u32..).zip(&mut server.state.cursors) {
                if cursor.owner == Some(owner) {
                    renewed.held.push(HeldLease { partition, epoch: cursor.epoch, next: cursor.next });
                    // A locked row is a flush in progress, which extends the lease itself.
                    if server.rows[partition as usize].try_lock().is_ok() {
                        cursor.lease_until_ms = lease_until_ms;
                    }
                }
            }
            renewed
        })
    }

    fn claim(&self, owner: Owner, claim: Claim) -> BoxFuture<'_, Result<Vec<Lease>, StoreError>> {
        self.statement(move |world, server, now_ms| {
            let mut free: Vec<(bool, u32)> = Vec::new();
            for (partition, cursor) in (0..claim.partitions).zip(&server.state.cursors) {
                let is_mine = cursor.owner == Some(owner);
                // One that ends later than any lease can was given before the clock was set back.
                let is_valid = (now_ms..=now_ms + 2 * lease_ms()).contains(&cursor.lease_until_ms);
                let is_free = cursor.owner.is_none() || !is_valid;
                let is_unlocked = server.rows[partition as usize].try_lock().is_ok();
                if is_unlocked && (is_free || is_mine && claim.again.contains(&partition)) {
                    free.push((!is_mine, partition));
                }
            }
            free.sort_unstable();
            free.truncate(claim.count_max as usize);
            let mut leases = Vec::new();
            for (_, partition) in free {
                let cursor = &mut server.state.cursors[partition as usize];
                cursor.owner = Some(owner);
                // By the clock too, so that it rises even when the end of the state was lost.
                cursor.epoch = (cursor.epoch + 1).max(now_ms as u64);
                cursor.lease_until_ms = now_ms + lease_ms();
                let CursorRow { epoch, next, .. } = *cursor;
                let fingerprint = cursor.fingerprint.clone();
                world.trace.note(
                    "claim",
                    &[("partition", u64::from(partition)), ("owner", short(owner)), ("epoch", epoch), ("next", next.0)],
                );
                leases.push(Lease { partition, epoch, next, fingerprint });
            }
            leases.sort_by_key(|lease| lease.partition);
            leases
        })
    }

    fn release(&self, owner: Owner, partitions: Option<Vec<u32>>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.call(move |store, process, _| async move {
            let rows = {
                let mut servers = store.servers.lock();
                let server = servers.of(process)?;
                if partitions.is_none() {
                    server.state.workers.remove(&owner);
                }
                server.rows.clone()
            };
            for (partition, row) in (0u32..).zip(rows) {
                if partitions.as_ref().is_some_and(|some| !some.contains(&partition)) {
                    continue;
                }
                let Ok(_locked) = timeout(LOCK_TIMEOUT, row.lock()).await else { continue };
                let mut servers = store.servers.lock();
                let cursors = &mut servers.of(process)?.state.cursors;
                if let Some(cursor) = cursors.get_mut(partition as usize).filter(|cursor| cursor.owner == Some(owner)) {
                    cursor.owner = None;
                    store.world.trace.note("release", &[("partition", u64::from(partition)), ("owner", short(owner))]);
                }
            }
            Ok(())
        })
    }

    fn restore(&self, partition: u32) -> BoxFuture<'_, Result<Restored, StoreError>> {
        self.statement(move |_, server, _| server.state.restored(partition))
    }

    fn flush(&self, owner: Owner, epoch: u64, cut: Arc<Cut>) -> BoxFuture<'_, Result<Flushed, StoreError>> {
        self.call(move |store, process, fate| async move {
            let partition = cut.partition as usize;
            let (row, timeline) = {
                let mut servers = store.servers.lock();
                let server = servers.of(process)?;
                (Arc::clone(&server.rows[partition]), server.timeline)
            };
            let Ok(_locked): Result<OwnedMutexGuard<()>, _> = timeout(LOCK_TIMEOUT, row.lock_owned()).await else {
                return Err(StoreError::new("simulated: canceling statement due to lock timeout"));
            };
            let note = |what: &str| {
                let numbers = [
                    ("partition", u64::from(cut.partition)),
                    ("owner", short(owner)),
                    ("epoch", epoch),
                    ("from", cut.from),
                    ("to", cut.to),
                ];
                store.world.trace.note(what, &numbers);
            };
            {
                let mut servers = store.servers.lock();
                let cursor = &servers.of(process)?.state.cursors[partition];
                if !(cursor.owner == Some(owner) && cursor.epoch == epoch && cursor.next.0 == cut.from) {
                    note("fenced");
                    return Ok(Flushed::Fenced);
                }
            }
            // The transaction is open, and its row locked.
            sleep(fate.work).await;
            let mut servers = store.servers.lock();
            let now_ms = store.world.now_ms() + servers.weather.clock_ahead_ms;
            let server = servers.of(process)?;
            if fate.crash || server.timeline != timeline {
                note("rolled back");
                return Err(StoreError::new("simulated: terminating connection"));
            }
            let state = &mut server.state;
            let cursor = &mut state.cursors[partition];
            cursor.next = Position(cut.to);
            cursor.fingerprint.clone_from(&cut.fingerprint);
            cursor.lease_until_ms = now_ms + lease_ms();
            note("committed");
            state.flushes.push(Arc::new(Committed { owner, epoch, cut: Arc::clone(&cut), at: Instant::now() }));
            Ok(Flushed::Committed)
        })
    }

    fn report(&self, owner: Owner, reports: Vec<Report>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.statement(move |world, server, _| {
            for report in reports {
                let partition = report.partition as usize;
                let Some(cursor) = server.state.cursors.get_mut(partition) else { continue };
                if cursor.owner != Some(owner)
                    || cursor.epoch != report.epoch
                    || server.rows[partition].try_lock().is_err()
                {
                    continue;
                }
                cursor.range = report.range.or(cursor.range);
                let broken = match report.verdict {
                    Verdict::Open => continue,
                    Verdict::Sound => None,
                    Verdict::Broken { reason } => Some(reason),
                };
                if let Some(reason) = broken.as_ref().filter(|_| !world.shape.faults.damage()) {
                    world.violated(format!(
                        "partition {partition} is called broken while nothing damages logs: {reason}"
                    ));
                }
                if broken.is_some() != cursor.broken.is_some() {
                    let numbers = [("partition", partition as u64), ("is_broken", u64::from(broken.is_some()))];
                    world.trace.note("verdict", &numbers);
                    world.trace.remark(|| format!("{broken:?}"));
                }
                cursor.broken = broken;
            }
        })
    }
}

impl State {
    /// What the tables would say: the newest row of each key wins.
    pub(crate) fn restored(&self, partition: u32) -> Restored {
        check::restored(self.flushes_of(partition).map(|committed| &*committed.cut))
    }

    /// As if time had passed without a sign of life from anybody.
    pub(crate) fn age_leases(&mut self, by: Duration) {
        let by_ms = by.as_millis() as i64;
        self.cursors.iter_mut().for_each(|cursor| cursor.lease_until_ms -= by_ms);
        self.workers.values_mut().for_each(|(alive_until_ms, _)| *alive_until_ms -= by_ms);
    }

    /// The flushes of a partition, in order.
    pub(crate) fn flushes_of(&self, partition: u32) -> impl Iterator<Item = &Arc<Committed>> {
        self.flushes.iter().filter(move |committed| committed.cut.partition == partition)
    }
}

fn lease_ms() -> i64 {
    LEASE.as_millis() as i64
}

/// Enough of a name to tell owners apart in a trace.
pub(crate) fn short(owner: Owner) -> u64 {
    owner.0.as_u64_pair().1 & 0xffff
}

/// As in the real transactions.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than anybody waits for anything.
const NEVER: Duration = Duration::from_secs(300);
