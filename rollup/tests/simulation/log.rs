//! A log that misbehaves as Kafka and Postgres do, and remembers everything it ever held.
//!
//! Arrives: appends and reads through a [`LogHandle`], and the faults of the storm. Promises no more than the contract of
//! `peep_log`: an answered append is there, order is kept, a reader is never moved. Answers get lost, records appear late,
//! reads fail, retention removes the old end, and now and then a disaster removes the new end or the whole log.
//!
//! Every disaster begins a new *life* of the partition; the records of earlier lives are kept for the checker.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use peep_log::{AppendError, BoxFuture, Log, LogRecord, Offset, Partition, ReadError, Reader, Watermarks};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::process::Process;
use crate::random::Random;
use crate::world::World;

/// One topic.
pub(crate) struct SimLog {
    world: Arc<World>,
    name: &'static str,
    state: Mutex<State>,
    /// Whoever waits for something new in a partition.
    changes: Vec<Notify>,
}

struct State {
    random: Random,
    partitions: Vec<Kept>,
    weather: LogWeather,
}

/// How bad it is at the moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogWeather {
    /// Nothing works until then.
    pub(crate) down_until: Option<Instant>,
    /// What is appended is seen, and answered, only then.
    pub(crate) stalled_until: Option<Instant>,
    /// Appends that fail without having been written.
    pub(crate) refused_per_mille: u64,
    /// Appends that are written, with an error for an answer.
    pub(crate) answer_lost_per_mille: u64,
    /// Reads that fail once.
    pub(crate) read_failed_per_mille: u64,
    /// The clock that stamps records, against the world's.
    pub(crate) clock_ahead_ms: i64,
}

/// One partition.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// The first offset that retention has left.
    pub(crate) low: u64,
    /// By offset, from 0, retention or not. The last life is the present one.
    pub(crate) lives: Vec<Vec<Stored>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) record: LogRecord,
    visible_at: Instant,
}

impl Kept {
    pub(crate) fn life(&self) -> &[Stored] {
        self.lives.last().expect("a partition begins with a life")
    }

    /// Of what a reader may see.
    pub(crate) fn high(&self) -> u64 {
        let now = Instant::now();
        self.life().partition_point(|stored| stored.visible_at <= now) as u64
    }

    fn watermarks(&self) -> Watermarks {
        Watermarks { low: Offset(self.low), high: Offset(self.high().max(self.low)) }
    }
}

impl SimLog {
    pub(crate) fn new(world: &Arc<World>, name: &'static str, partitions: u32, random: Random) -> Arc<Self> {
        let kept = Kept { low: 0, lives: vec![Vec::new()] };
        let state = State { random, partitions: vec![kept; partitions as usize], weather: LogWeather::default() };
        let changes = (0..partitions).map(|_| Notify::new()).collect();
        Arc::new(Self { world: Arc::clone(world), name, state: Mutex::new(state), changes })
    }

    /// The topic as one process sees it.
    pub(crate) fn seen_by(self: &Arc<Self>, process: &Process) -> Arc<dyn Log> {
        Arc::new(LogHandle { log: Arc::clone(self), process: process.clone() })
    }

    pub(crate) fn change_weather(&self, change: impl FnOnce(&mut LogWeather)) {
        change(&mut self.state.lock().weather);
        (0..self.changes.len()).for_each(|partition| self.changed(partition));
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.changes.len() as u32
    }

    /// All that a partition holds and held.
    pub(crate) fn kept(&self, partition: u32) -> Kept {
        self.state.lock().partitions[partition as usize].clone()
    }

    /// Looks at a partition in place.
    pub(crate) fn look<T>(&self, partition: u32, look: impl FnOnce(&Kept) -> T) -> T {
        look(&self.state.lock().partitions[partition as usize])
    }

    /// Retention.
    pub(crate) fn expire(&self, partition: u32, low: u64) {
        let mut state = self.state.lock();
        let kept = &mut state.partitions[partition as usize];
        kept.low = low.min(kept.high()).max(kept.low);
        self.world.trace.note("log expires", &[("partition", u64::from(partition)), ("low", kept.low)]);
    }

    /// The end of the partition is gone, acknowledged or not: an unclean election.
    pub(crate) fn truncate(&self, partition: u32, high: u64) {
        let mut state = self.state.lock();
        let kept = &mut state.partitions[partition as usize];
        let high = high.clamp(kept.low, kept.life().len() as u64);
        let life = kept.life()[..high as usize].to_vec();
        kept.lives.push(life);
        self.world.trace.note("log truncated", &[("partition", u64::from(partition)), ("high", high)]);
        drop(state);
        self.changed(partition as usize);
    }

    /// Somebody deleted the topic and made it again.
    pub(crate) fn recreate(&self, partition: u32) {
        let mut state = self.state.lock();
        let kept = &mut state.partitions[partition as usize];
        kept.lives.push(Vec::new());
        kept.low = 0;
        self.world.trace.note("log recreated", &[("partition", u64::from(partition))]);
        drop(state);
        self.changed(partition as usize);
    }

    fn changed(&self, partition: usize) {
        self.changes[partition].notify_waiters();
    }

    /// Decides at once what becomes of a record; says so later.
    fn take(&self, partition: Partition, payload: Bytes) -> (Duration, Result<Offset, AppendError>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let State { random, partitions, weather } = &mut *state;
        let latency = random.millis(1..=20);
        let is_down = weather.down_until.is_some_and(|until| until > now);
        let refused = random.chance(if is_down { 800 } else { weather.refused_per_mille });
        let unavailable = |reason: &str| Err(AppendError::Unavailable { reason: reason.to_owned() });
        if refused {
            return (latency, unavailable("simulated: not written"));
        }
        let stalled_until = weather.stalled_until.filter(|until| *until > now);
        let visible_at = stalled_until.unwrap_or(now) + random.millis(0..=5);
        let kept = &mut partitions[partition.0 as usize];
        let life = kept.lives.last_mut().expect("a partition begins with a life");
        let offset = Offset(life.len() as u64);
        let visible_at = life.last().map_or(visible_at, |last| last.visible_at.max(visible_at));
        let appended_ms = self.world.now_ms() + weather.clock_ahead_ms;
        life.push(Stored { record: LogRecord { offset, appended_ms, payload }, visible_at });
        let answer_lost = is_down || random.chance(weather.answer_lost_per_mille);
        drop(state);
        self.changed(partition.0 as usize);
        let answered_in = visible_at.duration_since(now) + latency;
        if answered_in > APPEND_TIMEOUT {
            (APPEND_TIMEOUT, unavailable("simulated: no answer in time"))
        } else if answer_lost {
            (latency, unavailable("simulated: the answer was lost"))
        } else {
            (answered_in, Ok(offset))
        }
    }

    fn read_weather(&self) -> Result<(), ReadError> {
        let mut state = self.state.lock();
        let is_down = state.weather.down_until.is_some_and(|until| until > Instant::now());
        let per_mille = state.weather.read_failed_per_mille;
        if is_down || state.random.chance(per_mille) {
            return Err(ReadError::Unavailable { reason: "simulated: no connection".to_owned() });
        }
        Ok(())
    }

    fn check(&self, partition: Partition, from: u64) -> Result<usize, ReadError> {
        self.look(partition.0, |kept| {
            let Watermarks { low, high } = kept.watermarks();
            if from < low.0 || from > high.0 {
                return Err(ReadError::OutOfRange { low, high });
            }
            Ok(kept.lives.len())
        })
    }
}

struct LogHandle {
    log: Arc<SimLog>,
    process: Process,
}

impl Log for LogHandle {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    fn record_bytes_max(&self) -> usize {
        1 << 20
    }

    fn append(&self, partition: Partition, payload: Bytes) -> BoxFuture<'static, Result<Offset, AppendError>> {
        let process = self.process.clone();
        if process.is_running() {
            let (latency, result) = self.log.take(partition, payload);
            return Box::pin(async move {
                sleep(latency).await;
                process.pass().await;
                result
            });
        }
        // A frozen process has said nothing yet; it does once it thaws. Order among those does not matter for frames of
        // one process: each names its range.
        let log = Arc::clone(&self.log);
        Box::pin(async move {
            process.pass().await;
            let (latency, result) = log.take(partition, payload);
            sleep(latency).await;
            process.pass().await;
            result
        })
    }

    fn watermarks(&self, partition: Partition) -> BoxFuture<'_, Result<Watermarks, ReadError>> {
        Box::pin(async move {
            self.process.pass().await;
            let result = self.log.read_weather().map(|()| self.log.look(partition.0, Kept::watermarks));
            sleep(READ_LATENCY).await;
            self.process.pass().await;
            result
        })
    }

    fn reader(&self, partition: Partition, from: Offset) -> BoxFuture<'_, Result<Box<dyn Reader>, ReadError>> {
        Box::pin(async move {
            self.process.pass().await;
            let result = self.log.read_weather().and_then(|()| self.log.check(partition, from.0));
            sleep(READ_LATENCY).await;
            self.process.pass().await;
            let (log, process) = (Arc::clone(&self.log), self.process.clone());
            let reader: Box<dyn Reader> = Box::new(SimReader { log, process, partition, next: from.0, life: result? });
            Ok(reader)
        })
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct SimReader {
    log: Arc<SimLog>,
    process: Process,
    partition: Partition,
    next: u64,
    life: usize,
}

impl SimReader {
    fn take(&mut self, bytes_max: usize) -> Result<Vec<LogRecord>, ReadError> {
        let life = self.log.check(self.partition, self.next)?;
        if std::mem::replace(&mut self.life, life) != life {
            return Err(ReadError::Unavailable { reason: "simulated: the leader of the partition changed".to_owned() });
        }
        let count_max = self.log.state.lock().random.within(1..=40) as usize;
        let records = self.log.look(self.partition.0, |kept| {
            let mut bytes = 0;
            let readable = &kept.life()[self.next as usize..kept.high() as usize];
            let fits = |stored: &&Stored| {
                let first = bytes == 0;
                bytes += stored.record.payload.len().max(1);
                first || bytes <= bytes_max
            };
            readable.iter().take(count_max).take_while(fits).map(|stored| stored.record.clone()).collect::<Vec<_>>()
        });
        self.next += records.len() as u64;
        Ok(records)
    }

    /// When the next record can be read, if it is on its way.
    fn due(&self) -> Option<Instant> {
        self.log.look(self.partition.0, |kept| kept.life().get(self.next as usize).map(|stored| stored.visible_at))
    }
}

impl Reader for SimReader {
    fn next(&mut self, bytes_max: usize, wait: Duration) -> BoxFuture<'_, Result<Vec<LogRecord>, ReadError>> {
        Box::pin(async move {
            let deadline = Instant::now() + wait;
            let log = Arc::clone(&self.log);
            loop {
                self.process.pass().await;
                self.log.read_weather()?;
                let records = self.take(bytes_max)?;
                if !records.is_empty() || Instant::now() >= deadline {
                    return Ok(records);
                }
                let due = self.due().map_or(deadline, |due| due.min(deadline));
                // Nothing can change between the look above and the wait here: there is one thread.
                tokio::select! {
                    biased;
                    () = log.changes[self.partition.0 as usize].notified() => {}
                    () = sleep_until(due) => {}
                }
            }
        })
    }
}

impl std::fmt::Debug for SimLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// As configured for the real ones.
const APPEND_TIMEOUT: Duration = Duration::from_secs(4);
const READ_LATENCY: Duration = Duration::from_millis(1);
