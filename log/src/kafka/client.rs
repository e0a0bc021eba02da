//! What producers, consumers and the admin client have in common: connection settings and librdkafka's log lines.

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::{ClientConfig, ClientContext};
use tracing::{debug, error, info, warn};

/// Settings of every client of ours.
pub(super) fn base(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", "peep")
        // A broker that comes back is found again within a second; the default waits up to ten.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.connection.setup.timeout.ms", "3000")
        .set("socket.keepalive.enable", "true")
        // Brokers close idle connections; that is no news.
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// librdkafka's own log lines, as ours.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            error!(facility, "librdkafka: {message}");
        }
        // Mostly a broker that is away, which the supervisor reports once and in plain words.
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            warn!(facility, "librdkafka: {message}");
        }
        RDKafkaLogLevel::Notice => info!(facility, "librdkafka: {message}"),
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            debug!(facility, "librdkafka: {message}");
        }
    }
}

/// For clients whose errors come back with the call.
pub(super) struct QuietContext;

impl ClientContext for QuietContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        debug!(%error, reason, "Kafka client");
    }
}

/// librdkafka's questions to brokers block.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down, and this task with it.
        Err(_) => std::future::pending().await,
    }
}
