//! Peep's consumer at work on a real topic, with a store that takes every cut and keeps none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use peep_chassis::clock::Clock;
use peep_chassis::config::Settings;
use peep_chassis::lifecycle::Shutdown;
use peep_log::{AppendError, BoxFuture, Log, LogRecord, Offset, Partition, ReadError, Reader, Watermarks};
use peep_rollup::Config;
use peep_rollup::consumer::{self, Ended, Progress, Worker};
use peep_rollup::flush::Flusher;
use peep_rollup::limits::Budget;
use peep_rollup::partition::{Cut, Restored};
use peep_rollup::position::Position;
use peep_rollup::store::{Claim, Flushed, Lease, Owner, Renewed, Report, Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::ReaderArgs;
use crate::cpu;

/// Reads the topic to its end and answers the CPU time of this process from `warm_up` on, last frame and last cut included.
///
/// # Errors
/// When the consumer ends before the topic does, or has not counted all of it.
pub async fn read(args: &ReaderArgs) -> anyhow::Result<Duration> {
    let no_env: BTreeMap<String, String> = BTreeMap::new();
    let config = Config::read(&mut Settings::new(&no_env));
    let shutdown = Shutdown::new();
    let marks = Arc::new(Marks { args: args.clone(), started: Mutex::default(), shutdown: shutdown.clone() });
    let events = Arc::new(Watched { log: super::open(&args.brokers, &args.prefix).await?, marks: Arc::clone(&marks) });
    let owner = Owner(uuid::Uuid::from_u128(1));
    let store = Arc::new(Nowhere::default());
    let worker = Worker {
        budget: Budget::new(config.memory_bytes_max, 1),
        flusher: Flusher::new(owner, Arc::clone(&store) as Arc<dyn Store>, config.flushes_max),
        config,
        events,
        live: peep_log::memory(1),
        store: Arc::clone(&store) as Arc<dyn Store>,
        clock: Clock::system(),
    };
    let lease = Lease { partition: 0, epoch: 1, next: Position(0), fingerprint: None };
    let progress = Progress::new(&lease);
    let ended = consumer::run(Arc::new(worker), lease, progress, CancellationToken::new(), shutdown).await;
    let spent = cpu::of_process(std::process::id())? - *marks.started.lock();
    anyhow::ensure!(ended == Ended::Stopped, "the consumer ended: {ended:?}");
    anyhow::ensure!(store.records.load(Ordering::Relaxed) == args.records, "not every record was counted");
    Ok(spent)
}

/// When to look at the clock and when to stop.
struct Marks {
    args: ReaderArgs,
    started: Mutex<Duration>,
    shutdown: Shutdown,
}

impl Marks {
    fn delivered(&self, before: u64, after: u64) -> anyhow::Result<()> {
        if before < self.args.warm_up && after >= self.args.warm_up {
            *self.started.lock() = cpu::of_process(std::process::id()).context("look at this process")?;
        }
        if after == self.args.records {
            self.shutdown.request();
        }
        Ok(())
    }
}

/// The log, and how far it was read.
struct Watched {
    log: Arc<dyn Log>,
    marks: Arc<Marks>,
}

impl Log for Watched {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    fn record_bytes_max(&self) -> usize {
        self.log.record_bytes_max()
    }

    fn append(&self, partition: Partition, payload: bytes::Bytes) -> BoxFuture<'static, Result<Offset, AppendError>> {
        self.log.append(partition, payload)
    }

    fn watermarks(&self, partition: Partition) -> BoxFuture<'_, Result<Watermarks, ReadError>> {
        self.log.watermarks(partition)
    }

    fn reader(&self, partition: Partition, from: Offset) -> BoxFuture<'_, Result<Box<dyn Reader>, ReadError>> {
        Box::pin(async move {
            let reader = self.log.reader(partition, from).await?;
            let watched: Box<dyn Reader> =
                Box::new(WatchedReader { reader, marks: Arc::clone(&self.marks), delivered: from.0 });
            Ok(watched)
        })
    }

    fn ready(&self) -> Result<(), String> {
        self.log.ready()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.log.close()
    }
}

struct WatchedReader {
    reader: Box<dyn Reader>,
    marks: Arc<Marks>,
    delivered: u64,
}

impl Reader for WatchedReader {
    fn next(&mut self, bytes_max: usize, wait: Duration) -> BoxFuture<'_, Result<Vec<LogRecord>, ReadError>> {
        Box::pin(async move {
            let records = self.reader.next(bytes_max, wait).await?;
            let before = self.delivered;
            self.delivered += records.len() as u64;
            let looked = self.marks.delivered(before, self.delivered);
            looked.map_err(|error| ReadError::Unavailable { reason: error.to_string() })?;
            Ok(records)
        })
    }
}

/// Takes every cut.
#[derive(Default)]
struct Nowhere {
    records: AtomicU64,
}

impl Store for Nowhere {
    fn open(&self, _partitions: u32) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn renew(&self, _owner: Owner, _capacity: u32) -> BoxFuture<'_, Result<Renewed, StoreError>> {
        Box::pin(std::future::ready(Ok(Renewed::default())))
    }

    fn claim(&self, _owner: Owner, _claim: Claim) -> BoxFuture<'_, Result<Vec<Lease>, StoreError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn release(&self, _owner: Owner, _partitions: Option<Vec<u32>>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn restore(&self, _partition: u32) -> BoxFuture<'_, Result<Restored, StoreError>> {
        Box::pin(std::future::ready(Ok(Restored::default())))
    }

    fn flush(&self, _owner: Owner, _epoch: u64, cut: Arc<Cut>) -> BoxFuture<'_, Result<Flushed, StoreError>> {
        self.records.fetch_add(cut.books.records, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(Flushed::Committed)))
    }

    fn report(&self, _owner: Owner, _reports: Vec<Report>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
