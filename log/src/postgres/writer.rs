//! Commits what waits in the queue, group after group, on a connection of its own.
//!
//! One group is in flight at a time. While it commits, the next one gathers; so the group grows with the load by itself
//! and there is no delay to tune. The connection is used by nobody else, no statement on it is ever resumed after an
//! error, and a transaction never spans two statements: there is nothing a lost answer could leave open.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Error};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use super::queue::{Entry, Queue};
use super::store;
use super::tail::Tail;
use crate::{AppendError, Offset, Partition};

pub(super) fn spawn(topic: Arc<str>, queue: Arc<Queue>, tail: Arc<Tail>, options: PgConnectOptions) -> JoinHandle<()> {
    let writer = Writer { topic, queue, tail, options, connection: None };
    tokio::spawn(writer.run())
}

struct Writer {
    topic: Arc<str>,
    queue: Arc<Queue>,
    tail: Arc<Tail>,
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

impl Writer {
    /// Ends when the queue is closed and empty.
    async fn run(mut self) {
        loop {
            let taken = timeout(IDLE_CHECK, self.queue.take(GROUP_BYTES_MAX, GROUP_RECORDS_MAX));
            match taken.await {
                Ok(Some(group)) => self.write(group).await,
                Ok(None) => break,
                // Nothing to do: a good moment to notice a lost connection before an append has to.
                Err(_) => self.check().await,
            }
        }
        if let Some(connection) = self.connection.take() {
            // Politeness only: the server notices a closed socket too.
            let _ = connection.close().await;
        }
    }

    async fn write(&mut self, group: Vec<Entry>) {
        let mut group = self.refuse_late(group);
        if group.is_empty() {
            return;
        }
        // Stable: entries of one partition keep the order of their calls.
        group.sort_by_key(|entry| entry.partition);
        let deadline = group.iter().map(|entry| entry.deadline).min().expect("the group is not empty");
        match timeout_at(deadline, self.commit(&group)).await {
            Ok(Ok(first_offsets)) => self.acknowledge(group, &first_offsets),
            Ok(Err(error)) => self.fail(group, &refusal(&error)).await,
            Err(_) => {
                let refusal = AppendError::Unavailable { reason: "the database gave no answer in time".to_owned() };
                self.fail(group, &refusal).await;
            }
        }
    }

    /// The first offset of each partition in the group, in the order of the partitions.
    async fn commit(&mut self, group: &[Entry]) -> Result<Vec<Offset>, Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(&self.options).await?),
        };
        let (mut partitions, mut counts) = (Vec::new(), Vec::new());
        for same in group.chunk_by(|a, b| a.partition == b.partition) {
            partitions.push(same[0].partition.0 as i32);
            counts.push(same.len() as i32);
        }
        let payloads: Vec<&[u8]> = group.iter().map(|entry| &entry.payload[..]).collect();
        store::append(connection, &self.topic, &partitions, &counts, &payloads).await
    }

    fn acknowledge(&self, group: Vec<Entry>, first_offsets: &[Offset]) {
        let mut first_offsets = first_offsets.iter();
        let mut last: Option<(Partition, Offset)> = None;
        for entry in group {
            let offset = match last {
                Some((partition, offset)) if partition == entry.partition => offset.plus(1),
                _ => {
                    self.publish(last);
                    *first_offsets.next().expect("the store checks that every partition is answered")
                }
            };
            last = Some((entry.partition, offset));
            self.queue.answer(entry, Ok(offset));
        }
        self.publish(last);
    }

    /// Readers in this process need not wait for the next poll.
    fn publish(&self, last: Option<(Partition, Offset)>) {
        if let Some((partition, offset)) = last {
            self.tail.publish(partition, offset.plus(1));
        }
    }

    /// Whatever went wrong, the connection's state is unknown: it is dropped, which closes it.
    async fn fail(&mut self, group: Vec<Entry>, refusal: &AppendError) {
        self.connection = None;
        warn!(topic = &*self.topic, records = group.len(), error = %refusal, "append to the log failed");
        for entry in group {
            self.queue.answer(entry, Err(refusal.clone()));
        }
        if matches!(refusal, AppendError::Unavailable { .. }) {
            self.reconnect().await;
        }
    }

    async fn check(&mut self) {
        if self.queue.is_closed() {
            return;
        }
        if let Some(connection) = &mut self.connection {
            let alive = timeout(CONNECT_TIMEOUT, connection.ping()).await;
            if matches!(alive, Ok(Ok(()))) {
                return;
            }
            self.connection = None;
        }
        self.reconnect().await;
    }

    /// Returns once connected, or when the log is closed. After the first failure appends are refused, because waiting
    /// would only fill the queue with what is late anyway.
    async fn reconnect(&mut self) {
        let mut pause = RECONNECT_PAUSE_MIN;
        let mut refusing = false;
        while !self.queue.is_closed() {
            match connect(&self.options).await {
                Ok(connection) => {
                    self.connection = Some(connection);
                    if refusing {
                        info!(topic = &*self.topic, "the log's database is back");
                    }
                    self.queue.accept();
                    return;
                }
                Err(error) => {
                    if !refusing {
                        warn!(topic = &*self.topic, error = %error, "the log's database is unreachable");
                    }
                    refusing = true;
                    self.queue.refuse(&format!("the log's database is unreachable: {error}"));
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(RECONNECT_PAUSE_MAX);
        }
    }

    /// Entries that have waited for most of their time would share, and cut short, the deadline of the whole group.
    fn refuse_late(&self, group: Vec<Entry>) -> Vec<Entry> {
        let soon = Instant::now() + WRITE_TIME_MIN;
        let (late, group): (Vec<_>, Vec<_>) = group.into_iter().partition(|entry| entry.deadline < soon);
        for entry in late {
            self.queue.answer(
                entry,
                Err(AppendError::Unavailable {
                    reason: "the database is too slow: the record waited too long".to_owned(),
                }),
            );
        }
        group
    }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    match timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await {
        Ok(connected) => connected,
        Err(_) => Err(Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

/// What the caller of `append` is told.
fn refusal(error: &Error) -> AppendError {
    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        // disk_full: the statement was rolled back, nothing was written.
        Some("53100") => AppendError::Full { what: "database disk" },
        _ => AppendError::Unavailable { reason: error.to_string() },
    }
}

/// One group: a statement of this size takes tens of milliseconds, and its bytes exist three times meanwhile (queue,
/// sqlx's buffer, server).
const GROUP_BYTES_MAX: usize = 4 << 20;
const GROUP_RECORDS_MAX: usize = 4096;

/// How often an idle writer looks whether its connection still lives.
const IDLE_CHECK: Duration = Duration::from_secs(1);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(50);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Less time than this to an entry's deadline, and it is not tried any more.
const WRITE_TIME_MIN: Duration = Duration::from_millis(50);
