//! A log in memory: for tests, simulations and experiments.
//!
//! Keeps the contract of the other backends except durability. Tests may take hold of the concrete
//! [`MemoryLog`] to make it misbehave: [`MemoryLog::stall`] lets appends queue up without an answer,
//! [`MemoryLog::stop`] makes it unreachable, [`MemoryLog::truncate`] plays retention.
//! Bounded: the oldest records go when a topic exceeds its retention in bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use peep_chassis::clock::Clock;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::LogConfig;
use crate::metrics::{AppendTimer, TopicMetrics};
use crate::{AppendError, BoxFuture, Log, LogRecord, Offset, Partition, ReadError, Reader, Topic, Watermarks};

/// A memory log with `partitions` partitions and the default limits.
pub fn memory(partitions: u32) -> Arc<dyn Log> {
    let config = LogConfig { partitions, ..LogConfig::default() };
    Arc::new(MemoryLog::open(&config, Topic::Events))
}

/// See the module. Cheap to clone; clones are the same log.
#[derive(Clone)]
pub struct MemoryLog {
    inner: Arc<Inner>,
}

impl MemoryLog {
    pub fn open(config: &LogConfig, topic: Topic) -> Self {
        let partitions = config.partitions.max(1);
        let inner = Inner {
            state: Mutex::new(State {
                mode: Mode::Running,
                partitions: (0..partitions).map(|_| Kept::default()).collect(),
                waiting: VecDeque::new(),
                waiting_bytes: 0,
                kept_bytes: 0,
            }),
            high: (0..partitions).map(|_| watch::channel(0).0).collect(),
            queue_bytes_max: config.queue_bytes_max,
            record_bytes_max: config.record_bytes_max,
            append_timeout: config.append_timeout,
            kept_bytes_max: config.retention(topic).bytes.min(MEMORY_BYTES_MAX),
            metrics: TopicMetrics::new(topic),
            clock: Clock::system(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Appends from now on wait in the queue and get no answer.
    pub fn stall(&self) {
        self.inner.state.lock().mode = Mode::Stalled;
    }

    /// Appends and reads from now on fail as `Unavailable`.
    pub fn stop(&self) {
        self.inner.state.lock().mode = Mode::Stopped;
    }

    /// Ends a stall or a stop; queued records are appended.
    pub fn resume(&self) {
        let mut state = self.inner.state.lock();
        state.mode = Mode::Running;
        while let Some(waiting) = state.waiting.pop_front() {
            state.waiting_bytes -= waiting.payload.len();
            let offset = self.inner.keep(&mut state, waiting.partition, waiting.payload);
            // The caller may have given up; the record is in the log all the same.
            let _ = waiting.done.send(offset);
        }
        self.inner.metrics.queue_bytes(state.waiting_bytes);
    }

    /// Removes the records below `low`, as retention would.
    pub fn truncate(&self, partition: Partition, low: Offset) {
        let mut state = self.inner.state.lock();
        while state.kept(partition).is_some_and(|kept| kept.low < low && !kept.records.is_empty()) {
            state.drop_oldest(partition);
        }
    }
}

impl Log for MemoryLog {
    fn partitions(&self) -> u32 {
        self.inner.high.len() as u32
    }

    fn record_bytes_max(&self) -> usize {
        self.inner.record_bytes_max
    }

    fn append(&self, partition: Partition, payload: Bytes) -> BoxFuture<'static, Result<Offset, AppendError>> {
        let timer = self.inner.metrics.append();
        let append_timeout = self.inner.append_timeout;
        let admitted = self.inner.admit(partition, payload);
        Box::pin(async move { finish(admitted, append_timeout, timer).await })
    }

    fn watermarks(&self, partition: Partition) -> BoxFuture<'_, Result<Watermarks, ReadError>> {
        Box::pin(std::future::ready(self.inner.watermarks(partition)))
    }

    fn reader(&self, partition: Partition, from: Offset) -> BoxFuture<'_, Result<Box<dyn Reader>, ReadError>> {
        let reader = self.inner.watermarks(partition).and_then(|marks| {
            marks.check(from)?;
            let reader: Box<dyn Reader> =
                Box::new(MemoryReader { inner: Arc::clone(&self.inner), partition, next: from });
            Ok(reader)
        });
        Box::pin(std::future::ready(reader))
    }

    fn ready(&self) -> Result<(), String> {
        match self.inner.state.lock().mode {
            Mode::Stopped => Err(STOPPED.to_owned()),
            Mode::Running | Mode::Stalled => Ok(()),
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.stop();
        Box::pin(std::future::ready(()))
    }
}

struct Inner {
    state: Mutex<State>,
    /// The high watermark of each partition, for readers that wait.
    high: Vec<watch::Sender<u64>>,
    queue_bytes_max: usize,
    record_bytes_max: usize,
    append_timeout: Duration,
    kept_bytes_max: u64,
    metrics: TopicMetrics,
    clock: Clock,
}

struct State {
    mode: Mode,
    partitions: Vec<Kept>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    kept_bytes: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    Running,
    Stalled,
    Stopped,
}

#[derive(Default)]
struct Kept {
    low: Offset,
    records: VecDeque<LogRecord>,
}

struct Waiting {
    partition: Partition,
    payload: Bytes,
    done: oneshot::Sender<Offset>,
}

enum Admitted {
    Done(Offset),
    Waiting(oneshot::Receiver<Offset>),
}

impl Inner {
    fn admit(&self, partition: Partition, payload: Bytes) -> Result<Admitted, AppendError> {
        if payload.len() > self.record_bytes_max {
            return Err(AppendError::TooLarge { bytes: payload.len(), max: self.record_bytes_max });
        }
        let mut state = self.state.lock();
        if state.mode == Mode::Stopped || state.kept(partition).is_none() {
            return Err(AppendError::Unavailable { reason: state.why_not() });
        }
        if state.waiting_bytes + payload.len() > self.queue_bytes_max {
            return Err(AppendError::Full { what: "memory log queue" });
        }
        if state.mode == Mode::Running {
            return Ok(Admitted::Done(self.keep(&mut state, partition, payload)));
        }
        let (done, answer) = oneshot::channel();
        state.waiting_bytes += payload.len();
        self.metrics.queue_bytes(state.waiting_bytes);
        state.waiting.push_back(Waiting { partition, payload, done });
        Ok(Admitted::Waiting(answer))
    }

    /// `partition` exists: `admit` checked it.
    fn keep(&self, state: &mut State, partition: Partition, payload: Bytes) -> Offset {
        let index = partition.0 as usize;
        state.kept_bytes += payload.len() as u64;
        let kept = &mut state.partitions[index];
        let offset = kept.high();
        kept.records.push_back(LogRecord { offset, appended_ms: self.clock.now_ms(), payload });
        while state.kept_bytes > self.kept_bytes_max {
            state.drop_oldest(partition);
        }
        self.high[index].send_replace(offset.0 + 1);
        offset
    }

    fn watermarks(&self, partition: Partition) -> Result<Watermarks, ReadError> {
        let state = self.state.lock();
        match state.kept(partition) {
            Some(kept) if state.mode != Mode::Stopped => Ok(Watermarks { low: kept.low, high: kept.high() }),
            _ => Err(ReadError::Unavailable { reason: state.why_not() }),
        }
    }
}

impl State {
    fn kept(&self, partition: Partition) -> Option<&Kept> {
        self.partitions.get(partition.0 as usize)
    }

    fn drop_oldest(&mut self, partition: Partition) {
        let Some(kept) = self.partitions.get_mut(partition.0 as usize) else {
            return;
        };
        // Another partition may hold the bytes; this one then gives what it has, down to nothing.
        match kept.records.pop_front() {
            Some(record) => {
                kept.low = record.offset.plus(1);
                self.kept_bytes -= record.payload.len() as u64;
            }
            None => {
                if let Some(other) = (0..self.partitions.len() as u32)
                    .map(Partition)
                    .find(|other| self.kept(*other).is_some_and(|k| !k.records.is_empty()))
                {
                    self.drop_oldest(other);
                } else {
                    self.kept_bytes = 0;
                }
            }
        }
    }

    fn why_not(&self) -> String {
        match self.mode {
            Mode::Stopped => STOPPED.to_owned(),
            Mode::Running | Mode::Stalled => "no such partition".to_owned(),
        }
    }
}

impl Kept {
    fn high(&self) -> Offset {
        self.low.plus(self.records.len() as u64)
    }
}

async fn finish(
    admitted: Result<Admitted, AppendError>,
    append_timeout: Duration,
    timer: AppendTimer,
) -> Result<Offset, AppendError> {
    let result = match admitted {
        Ok(Admitted::Done(offset)) => Ok(offset),
        Ok(Admitted::Waiting(answer)) => match timeout(append_timeout, answer).await {
            Ok(Ok(offset)) => Ok(offset),
            Ok(Err(_)) | Err(_) => {
                Err(AppendError::Unavailable { reason: "memory log gave no answer in time".to_owned() })
            }
        },
        Err(error) => Err(error),
    };
    timer.finish(&result);
    result
}

struct MemoryReader {
    inner: Arc<Inner>,
    partition: Partition,
    next: Offset,
}

impl MemoryReader {
    fn take(&mut self, bytes_max: usize) -> Result<Vec<LogRecord>, ReadError> {
        let marks = self.inner.watermarks(self.partition)?;
        marks.check(self.next)?;
        let state = self.inner.state.lock();
        let Some(kept) = state.kept(self.partition) else {
            return Ok(Vec::new());
        };
        let mut bytes = 0;
        let first = self.next.0.saturating_sub(kept.low.0) as usize;
        let records: Vec<_> = kept
            .records
            .range(first.min(kept.records.len())..)
            .take_while(|record| {
                let fits = bytes == 0 || bytes + record.payload.len() <= bytes_max;
                bytes += record.payload.len().max(1);
                fits
            })
            .cloned()
            .collect();
        self.next = self.next.plus(records.len() as u64);
        Ok(records)
    }
}

impl Reader for MemoryReader {
    fn next(&mut self, bytes_max: usize, wait: Duration) -> BoxFuture<'_, Result<Vec<LogRecord>, ReadError>> {
        Box::pin(async move {
            let deadline = Instant::now() + wait;
            let mut high = self.inner.high[self.partition.0 as usize].subscribe();
            loop {
                high.mark_unchanged();
                let records = self.take(bytes_max)?;
                if !records.is_empty() || timeout_at(deadline, high.changed()).await.is_err() {
                    return Ok(records);
                }
            }
        })
    }
}

const STOPPED: &str = "memory log is stopped";

/// Whatever the configured retention, a process is not filled up by its own log.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
