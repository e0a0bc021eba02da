//! Reads one partition forward with a consumer of its own.
//!
//! The partition is assigned by hand, once, with an explicit offset. Nothing is committed, and an offset that is not in the
//! log is an error (`auto.offset.reset=error`): a reader that silently starts elsewhere is how records get lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{ClientContext, Statistics, TopicPartitionList};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::client::{self, blocking};
use super::producer::Producer;
use crate::config::KafkaSettings;
use crate::metrics::TopicMetrics;
use crate::{BoxFuture, LogRecord, Offset, Partition, ReadError, Reader};

/// Where a reader begins.
pub(super) struct Place {
    pub(super) topic: Arc<str>,
    pub(super) partition: Partition,
    pub(super) offset: Offset,
}

/// How many bytes librdkafka may fetch ahead of one reader, and how many it has.
pub(super) struct ReadAhead {
    bytes_max: usize,
    bytes: AtomicU64,
    metrics: Arc<TopicMetrics>,
}

impl ReadAhead {
    /// An even share, should this process read all partitions.
    pub(super) fn new(kafka: &KafkaSettings, partitions: u32, metrics: Arc<TopicMetrics>) -> Self {
        let share = kafka.read_ahead_bytes_max / partitions.max(1) as usize;
        Self { bytes_max: share.max(READ_AHEAD_BYTES_MIN), bytes: AtomicU64::new(0), metrics }
    }

    fn set(&self, bytes: u64) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        self.metrics.read_ahead_bytes(before, bytes);
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.set(0);
    }
}

pub(super) struct KafkaReader {
    consumer: StreamConsumer<Context>,
    partition: Partition,
    next: Offset,
    /// Answers where the log begins and ends, when the consumer says that `next` is not in it.
    producer: Arc<Producer>,
    /// A record that was received but did not fit into the last answer.
    held: Option<LogRecord>,
}

impl KafkaReader {
    pub(super) fn new(
        brokers: &str,
        from: Place,
        read_ahead: ReadAhead,
        producer: Arc<Producer>,
    ) -> Result<Self, ReadError> {
        let consumer = assign(brokers, &from, read_ahead).map_err(unavailable)?;
        Ok(Self { consumer, partition: from.partition, next: from.offset, producer, held: None })
    }

    async fn next_until(&mut self, bytes_max: usize, deadline: Instant) -> Result<Vec<LogRecord>, ReadError> {
        let Some(first) = self.first(deadline).await? else {
            return Ok(Vec::new());
        };
        // From here on nothing waits, so a dropped future cannot lose what was taken.
        let mut bytes = first.payload.len();
        let mut records = vec![first];
        while records.len() < RECORDS_MAX
            && let Some(received) = self.consumer.recv().now_or_never()
        {
            let Ok(message) = received else { break };
            let record = record(&message);
            bytes += record.payload.len();
            if bytes > bytes_max {
                self.held = Some(record);
                break;
            }
            records.push(record);
        }
        self.advance(&records)?;
        Ok(records)
    }

    async fn first(&mut self, deadline: Instant) -> Result<Option<LogRecord>, ReadError> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        loop {
            match timeout_at(deadline, self.consumer.recv()).await {
                Err(_) => return Ok(None),
                Ok(Ok(message)) => return Ok(Some(record(&message))),
                Ok(Err(error)) => {
                    if let Some(error) = self.judge(error).await {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// `None` when librdkafka repairs it by itself.
    async fn judge(&self, error: KafkaError) -> Option<ReadError> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                let (producer, partition) = (Arc::clone(&self.producer), self.partition);
                match blocking(move || producer.watermarks(partition)).await {
                    Ok(marks) => Some(ReadError::OutOfRange { low: marks.low, high: marks.high }),
                    Err(error) => Some(error),
                }
            }
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve,
            ) => {
                debug!(%error, "Kafka consumer");
                None
            }
            _ => Some(unavailable(error)),
        }
    }

    /// Strictly one after the other: librdkafka had bugs that repeated or skipped records, and here they become visible.
    fn advance(&mut self, records: &[LogRecord]) -> Result<(), ReadError> {
        for record in records {
            if record.offset != self.next {
                return Err(ReadError::Unavailable {
                    reason: format!("Kafka delivered record {} where {} was due", record.offset, self.next),
                });
            }
            self.next = record.offset.plus(1);
        }
        Ok(())
    }
}

impl Reader for KafkaReader {
    fn next(&mut self, bytes_max: usize, wait: Duration) -> BoxFuture<'_, Result<Vec<LogRecord>, ReadError>> {
        Box::pin(self.next_until(bytes_max, Instant::now() + wait))
    }
}

fn assign(brokers: &str, from: &Place, read_ahead: ReadAhead) -> Result<StreamConsumer<Context>, KafkaError> {
    let mut native = client::base(brokers);
    native
        // librdkafka wants a name even though there is no group.
        .set("group.id", "peep-without-group")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("allow.auto.create.topics", "false")
        .set("enable.partition.eof", "false")
        .set("check.crcs", "true")
        .set("queued.max.messages.kbytes", (read_ahead.bytes_max / 1024).to_string())
        // One answer comes on top of what is queued. A record that is larger comes all the same, alone.
        .set("fetch.message.max.bytes", read_ahead.bytes_max.min(ANSWER_BYTES_MAX).to_string())
        .set("statistics.interval.ms", "5000")
        // How long fetching pauses after the read-ahead was full; the default of a second would show as a gap.
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.error.backoff.ms", "100")
        .set("fetch.wait.max.ms", "250");
    let consumer: StreamConsumer<Context> = StreamConsumer::from_config_and_context(&native, Context { read_ahead })?;
    let mut assignment = TopicPartitionList::with_capacity(1);
    let (partition, offset) = (from.partition.0 as i32, rdkafka::Offset::Offset(from.offset.0 as i64));
    assignment.add_partition_offset(&from.topic, partition, offset)?;
    consumer.assign(&assignment)?;
    Ok(consumer)
}

fn record(message: &BorrowedMessage<'_>) -> LogRecord {
    LogRecord {
        offset: Offset(message.offset().max(0) as u64),
        appended_ms: message.timestamp().to_millis().unwrap_or(0),
        payload: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
    }
}

fn unavailable(error: KafkaError) -> ReadError {
    ReadError::Unavailable { reason: error.to_string() }
}

struct Context {
    read_ahead: ReadAhead,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Comes back from `recv` too, where it is judged.
        debug!(%error, reason, "Kafka consumer");
    }

    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        self.read_ahead.set(partitions.map(|partition| partition.fetchq_size).sum());
    }
}

impl ConsumerContext for Context {}

const READ_AHEAD_BYTES_MIN: usize = 256 << 10;
/// librdkafka's default.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// So that a flood of tiny records does not become one huge answer.
const RECORDS_MAX: usize = 4096;
