//! Hands records to librdkafka and tells each caller what became of its own.
//!
//! The bytes of a record count against the queue from the call until its delivery report. librdkafka's own limit on its
//! queue is above ours and only a second line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use peep_chassis::tally;
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, util::Timeout};
use tokio::sync::Notify;
use tracing::debug;

use super::ASK_TIMEOUT;
use super::answer::{Answer, Ticket};
use super::client;
use crate::config::LogConfig;
use crate::metrics::TopicMetrics;
use crate::{AppendError, Offset, Partition, ReadError, Watermarks};

#[cfg(test)]
mod tests;

/// The producer of one topic; the librdkafka client inside may be replaced.
pub(super) struct Producer {
    topic: Arc<str>,
    config: ClientConfig,
    /// The same client in a place for each thread: a lock that all threads share costs more than what it protects.
    clients: Vec<RwLock<Client>>,
    shared: Arc<Shared>,
    flush_timeout: Duration,
}

type Client = Arc<ThreadedProducer<Context>>;

/// What outlives a replaced client.
pub(super) struct Shared {
    queued_bytes: AtomicUsize,
    queue_bytes_max: usize,
    metrics: Arc<TopicMetrics>,
    /// Why appends are refused at the moment, and whether they are.
    refusing: Mutex<Option<String>>,
    is_refusing: AtomicBool,
    /// Something may be wrong: the supervisor should have a look.
    pub(super) suspicion: Notify,
}

impl Producer {
    pub(super) fn new(config: &LogConfig, topic: Arc<str>, metrics: Arc<TopicMetrics>) -> Result<Self, KafkaError> {
        let shared = Arc::new(Shared {
            queued_bytes: AtomicUsize::new(0),
            queue_bytes_max: config.queue_bytes_max,
            metrics,
            refusing: Mutex::new(None),
            is_refusing: AtomicBool::new(false),
            suspicion: Notify::new(),
        });
        let native = native_config(config);
        let client = connect(&native, &shared)?;
        let clients = (0..tally::PLACES).map(|_| RwLock::new(Arc::clone(&client))).collect();
        Ok(Self { topic, config: native, clients, shared, flush_timeout: config.append_timeout })
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn send(&self, partition: Partition, payload: &Bytes) -> Result<Answer, AppendError> {
        self.ready().map_err(|reason| AppendError::Unavailable { reason })?;
        let cost = payload.len() + DELIVERY_BYTES;
        if !self.shared.reserve(cost) {
            return Err(AppendError::Full { what: "log queue" });
        }
        let (answer, ticket) = Answer::new(cost);
        let record = BaseRecord::<(), [u8], _>::with_opaque_to(&self.topic, ticket)
            .partition(partition.0 as i32)
            .payload(payload);
        match self.clients[tally::place()].read().send(record) {
            Ok(()) => Ok(answer),
            Err((error, _)) => {
                self.shared.release(cost);
                Err(refusal(&error))
            }
        }
    }

    /// Blocks for at most twice [`ASK_TIMEOUT`].
    pub(super) fn watermarks(&self, partition: Partition) -> Result<Watermarks, ReadError> {
        let client = self.client();
        let deadline = Instant::now() + ASK_TIMEOUT;
        loop {
            match client.client().fetch_watermarks(&self.topic, partition.0 as i32, ASK_TIMEOUT) {
                Ok((low, high)) => {
                    return Ok(Watermarks { low: Offset(low.max(0) as u64), high: Offset(high.max(0) as u64) });
                }
                Err(error) if is_moving(&error) && Instant::now() < deadline => thread::sleep(LOOK_AGAIN),
                Err(error) => return Err(ReadError::Unavailable { reason: error.to_string() }),
            }
        }
    }

    pub(super) fn ready(&self) -> Result<(), String> {
        if !self.shared.is_refusing.load(Ordering::Acquire) {
            return Ok(());
        }
        match &*self.shared.refusing.lock() {
            Some(reason) => Err(reason.clone()),
            None => Ok(()),
        }
    }

    /// Blocks until everything queued has its answer. Later appends fail.
    pub(super) fn close(&self) {
        self.shared.refuse("the log is closed");
        if let Err(error) = self.client().flush(Timeout::After(self.flush_timeout)) {
            debug!(topic = &*self.topic, %error, "flush the producer");
        }
    }

    pub(super) fn client(&self) -> Client {
        Arc::clone(&self.clients[tally::place()].read())
    }

    /// A client that has failed for good (librdkafka: "fatal") never recovers; its records are reported as failed when it
    /// goes. Blocks for up to a second.
    pub(super) fn replace_client(&self) -> Result<(), KafkaError> {
        let fresh = connect(&self.config, &self.shared)?;
        let replace = |client: &RwLock<Client>| std::mem::replace(&mut *client.write(), Arc::clone(&fresh));
        let failed: Vec<Client> = self.clients.iter().map(replace).collect();
        drop(failed);
        Ok(())
    }
}

impl Shared {
    pub(super) fn refuse(&self, reason: &str) {
        let mut refusing = self.refusing.lock();
        *refusing = Some(reason.to_owned());
        self.is_refusing.store(true, Ordering::Release);
    }

    pub(super) fn accept(&self) {
        let mut refusing = self.refusing.lock();
        *refusing = None;
        self.is_refusing.store(false, Ordering::Release);
    }

    fn reserve(&self, cost: usize) -> bool {
        self.queued_bytes
            .try_update(Ordering::AcqRel, Ordering::Acquire, |queued| {
                Some(queued + cost).filter(|wanted| *wanted <= self.queue_bytes_max)
            })
            .is_ok()
    }

    fn release(&self, cost: usize) {
        self.queued_bytes.fetch_sub(cost, Ordering::AcqRel);
    }

    /// Tells the gauge what is queued; called from time to time, because a queue changes twice with every record.
    pub(super) fn observe(&self) {
        self.metrics.queue_bytes(self.queued_bytes.load(Ordering::Acquire));
    }
}

pub(super) struct Context {
    shared: Arc<Shared>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    /// Errors of the whole client, not of one record.
    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "Kafka producer");
        let serious =
            matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::Fatal | RDKafkaErrorCode::AllBrokersDown));
        if serious {
            self.shared.suspicion.notify_one();
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Arc<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Arc<Ticket>) {
        let answer = match result {
            Ok(message) => Ok(Offset(message.offset().max(0) as u64)),
            Err((error, _)) => {
                self.shared.suspicion.notify_one();
                Err(refusal(error))
            }
        };
        self.shared.release(ticket.cost());
        ticket.settle(answer);
    }
}

fn connect(config: &ClientConfig, shared: &Arc<Shared>) -> Result<Client, KafkaError> {
    let context = Context { shared: Arc::clone(shared) };
    ThreadedProducer::from_config_and_context(config, context).map(Arc::new)
}

fn native_config(config: &LogConfig) -> ClientConfig {
    let mut native = client::base(&config.kafka.brokers);
    native
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // The default of 5 minutes outlives every HTTP request.
        .set("message.timeout.ms", message_timeout(config.append_timeout).as_millis().to_string())
        // A record is a batch already; waiting for company only adds latency. Company comes by itself while others are on the way.
        .set("linger.ms", "0")
        .set("max.in.flight.requests.per.connection", config.kafka.appends_in_flight_max.to_string())
        .set("compression.type", "lz4")
        .set("message.max.bytes", (config.record_bytes_max + FRAME_BYTES).to_string())
        // Second line behind `queue_bytes_max`; in kilobytes, at least one of them.
        .set("queue.buffering.max.kbytes", (config.queue_bytes_max / 1024 + 1).to_string())
        .set("queue.buffering.max.messages", "0");
    native
}

/// librdkafka looks for timed-out messages once a second only, so its timeout ends that much earlier than ours.
fn message_timeout(append_timeout: Duration) -> Duration {
    append_timeout.saturating_sub(Duration::from_secs(1)).max(append_timeout / 2)
}

/// What the caller of `append` is told.
fn refusal(error: &KafkaError) -> AppendError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::QueueFull) => AppendError::Full { what: "log queue" },
        _ => AppendError::Unavailable { reason: error.to_string() },
    }
}

/// The partition has just been created or is changing its leader, and our knowledge of it is being refreshed.
fn is_moving(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopic
        )
    )
}

const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Room for Kafka's own header of a batch and of a record around the largest payload.
pub(super) const FRAME_BYTES: usize = 16 << 10;

/// What a record takes in memory beside its payload: librdkafka's message and the ticket.
const DELIVERY_BYTES: usize = 512;
