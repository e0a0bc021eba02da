//! The log in Postgres tables: a single machine's choice.
//!
//! Arrives: appends from any number of processes. Leaves: the same records, to readers in any process.
//!
//! How: appends of one process and topic wait in one bounded [`queue`]; a [`writer`] task with a connection of its own
//! takes all that wait and commits them as one group, so the cost of a commit is shared by whoever waited for it.
//! Offsets are handed out under the lock of the partition's row, which makes commit order offset order across processes
//! too (see `migrations/0002_log.sql`). A [`tail`] task looks for new records while somebody waits for some; a
//! [`retention`] task opens new segments and removes old ones. All SQL is in [`store`].
//!
//! Promised: an acknowledged append is committed and flushed to disk. Anything that went wrong after the statement was
//! sent is `Unavailable`, outcome unknown; the connection is then closed, never used again.
//!
//! Deliberately absent: `listen`/`notify`. A notifying commit takes a lock on the whole cluster, which would serialise
//! the commits of everything else; a poll every few milliseconds, only while somebody waits, costs less.

mod queue;

mod writer;

mod tail;

mod reader;

mod retention;

mod store;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use crate::config::LogConfig;
use crate::metrics::TopicMetrics;
use crate::{AppendError, BoxFuture, Log, Offset, OpenError, Partition, ReadError, Reader, Topic, Watermarks};
use queue::Queue;
use reader::PostgresReader;
use retention::Caretaker;
use tail::Tail;

/// See the module.
pub(crate) struct PostgresLog {
    topic: Arc<str>,
    queue: Arc<Queue>,
    tail: Arc<Tail>,
    reads: PgPool,
    metrics: Arc<TopicMetrics>,
    partitions: u32,
    record_bytes_max: usize,
    append_timeout: Duration,
    writer: Mutex<Option<JoinHandle<()>>>,
    background: Arc<Background>,
}

/// Keeps the tail and retention tasks going until the log is closed, or until it and its last reader are gone.
struct Background {
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl PostgresLog {
    pub(crate) async fn open(config: &LogConfig, topic: Topic, pool: &PgPool) -> Result<Self, OpenError> {
        let name: Arc<str> = config.topic_name(topic).into();
        let unavailable =
            |error: sqlx::Error| OpenError::Unavailable { topic: name.to_string(), reason: error.to_string() };
        let reads = read_pool(pool);
        let partitions = store::open_topic(&reads, &name, config.partitions).await.map_err(unavailable)?;
        if partitions != config.partitions {
            warn!(
                topic = &*name,
                partitions,
                configured = config.partitions,
                "topic keeps the number of partitions it was created with"
            );
        }
        let highs = store::highs(&reads, &name).await.map_err(unavailable)?;
        let tail = Arc::new(Tail::new(&highs));
        let metrics = Arc::new(TopicMetrics::new(topic));
        let queue = Arc::new(Queue::new(config.queue_bytes_max, Arc::clone(&metrics)));

        let stop = CancellationToken::new();
        let options = PgConnectOptions::clone(&pool.connect_options());
        let writer = writer::spawn(Arc::clone(&name), Arc::clone(&queue), Arc::clone(&tail), options.clone());
        tail::spawn(Arc::clone(&name), Arc::clone(&tail), reads.clone(), stop.clone());
        let caretaker = Caretaker {
            topic: Arc::clone(&name),
            retention: config.retention(topic),
            queue: Arc::clone(&queue),
            metrics: Arc::clone(&metrics),
        };
        retention::spawn(caretaker, options, stop.clone());
        Ok(Self {
            topic: name,
            queue,
            tail,
            reads,
            metrics,
            partitions,
            record_bytes_max: config.record_bytes_max,
            append_timeout: config.append_timeout,
            writer: Mutex::new(Some(writer)),
            background: Arc::new(Background { _stop_on_drop: stop.clone().drop_guard(), stop }),
        })
    }

    fn admit(&self, partition: Partition, payload: Bytes) -> Result<queue::Answer, AppendError> {
        if payload.len() > self.record_bytes_max {
            return Err(AppendError::TooLarge { bytes: payload.len(), max: self.record_bytes_max });
        }
        if partition.0 >= self.partitions {
            return Err(AppendError::Unavailable { reason: format!("{} has no partition {partition}", self.topic) });
        }
        self.queue.push(partition, payload, self.append_timeout)
    }
}

impl Log for PostgresLog {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn record_bytes_max(&self) -> usize {
        self.record_bytes_max
    }

    fn append(&self, partition: Partition, payload: Bytes) -> BoxFuture<'static, Result<Offset, AppendError>> {
        let timer = self.metrics.append();
        let admitted = self.admit(partition, payload);
        Box::pin(async move {
            let result = match admitted {
                Ok(answer) => answer.await.unwrap_or_else(|_| {
                    // Only when the writer task died: it answers whatever it has taken.
                    Err(AppendError::Unavailable { reason: "the log's writer has ended".to_owned() })
                }),
                Err(error) => Err(error),
            };
            timer.finish(&result);
            result
        })
    }

    fn watermarks(&self, partition: Partition) -> BoxFuture<'_, Result<Watermarks, ReadError>> {
        Box::pin(store::watermarks(&self.reads, &self.topic, partition))
    }

    fn reader(&self, partition: Partition, from: Offset) -> BoxFuture<'_, Result<Box<dyn Reader>, ReadError>> {
        Box::pin(async move {
            let marks = self.watermarks(partition).await?;
            marks.check(from)?;
            self.tail.publish(partition, marks.high);
            let reader: Box<dyn Reader> = Box::new(PostgresReader::new(
                Arc::clone(&self.topic),
                partition,
                from,
                self.reads.clone(),
                self.tail.follow(),
                Arc::clone(&self.background),
            ));
            Ok(reader)
        })
    }

    fn needed_from(&self, partition: Partition, offset: Offset) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async move {
            let held = store::hold(&self.reads, &self.topic, partition, offset).await;
            held.map_err(|error| ReadError::Unavailable { reason: error.to_string() })
        })
    }

    fn ready(&self) -> Result<(), String> {
        self.queue.ready()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.queue.close();
            let writer = self.writer.lock().take();
            if let Some(writer) = writer {
                // An error is a panic of the task, which has been reported already.
                let _ = writer.await;
            }
            self.background.stop.cancel();
            self.reads.close().await;
        })
    }
}

impl Drop for PostgresLog {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Reads have connections of their own, so that neither a burst of dashboard queries nor a slow one can hold up the
/// rollup, and lazily: a process that only appends opens none after the start.
fn read_pool(pool: &PgPool) -> PgPool {
    PgPoolOptions::new()
        .max_connections(READ_CONNECTIONS_MAX)
        .acquire_timeout(READ_TIMEOUT)
        // After a pause the server may have been restarted; a ping costs nothing then. While reads follow each other, a
        // ping before each would double the round trips.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > PING_AFTER {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(PgConnectOptions::clone(&pool.connect_options()))
}

/// Enough for the partitions of one topic in one process to be read at the same time on a few cores.
const READ_CONNECTIONS_MAX: u32 = 4;

/// A read that takes longer is reported as `Unavailable`; the caller reads again.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that was used less than this ago is taken to be alive: no server restarts that quickly.
const PING_AFTER: Duration = Duration::from_millis(100);
