//! Every knob, where it comes from and what it means. Code comes before environment, environment before default.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a [`Client`](crate::Client) is made from.
#[derive(Clone)]
pub struct Config {
    /// Origin of ingest, such as `http://127.0.0.1:4318`. `PEEP_INGEST_URL`. Without it nothing is sent.
    pub url: String,
    /// A key of scope ingest. `PEEP_INGEST_KEY`. Without it nothing is sent.
    pub key: String,
    /// `PEEP_SERVICE`; default `unknown_service`.
    pub service: String,
    /// `PEEP_ENV`; default: the key's environment.
    pub env: String,
    /// Release of the service. `PEEP_VERSION`.
    pub version: String,
    /// Instance. `PEEP_HOST`; default: `HOSTNAME`, where it is set.
    pub host: String,
    /// The longest an event waits for others. Default 1 s.
    pub flush_interval: Duration,
    /// Bytes of a batch before compression. Default 64 KiB, at least 16 KiB, at most 4 MiB.
    pub batch_bytes: usize,
    /// All memory that sending takes, whatever ingest does; beyond it the newest events are dropped. 512 KiB of it are kept for
    /// the compressor, the connection and its answers, the rest holds events. Default 1 MiB, at least that and four batches.
    pub buffer_bytes: usize,
    /// One try, from connecting to the end of the answer. Default 15 s, at most an hour.
    pub attempt_timeout: Duration,
    /// Ceiling of the first pause after a failure, which doubles with each. Default 200 ms.
    pub backoff_first: Duration,
    /// Ceiling of all pauses that the server did not ask for. Default 15 s.
    pub backoff_max: Duration,
    /// A batch that has failed for so long is dropped. Default 6 h: well within a producer's memory.
    pub give_up_after: Duration,
    /// A producer is replaced when it is this old. Default 24 h.
    pub producer_age_max: Duration,
    /// Share of the events that keep trace ids, sizes and attributes, 0 to 1. Errors always do, and every event is sent and
    /// counted: counts and percentiles stay exact. Default 1.
    pub detail: f64,
    /// Where the SDK says what is wrong: seldom, one line. Default: standard error.
    pub log: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Config {
    /// What the environment says.
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// The same from anything that has variables.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let text = |name: &str| lookup(name).map(|value| value.trim().to_owned()).unwrap_or_default();
        let host = text("PEEP_HOST");
        Self {
            url: text("PEEP_INGEST_URL"),
            key: text("PEEP_INGEST_KEY"),
            service: text("PEEP_SERVICE"),
            env: text("PEEP_ENV"),
            version: text("PEEP_VERSION"),
            host: if host.is_empty() { text("HOSTNAME") } else { host },
            flush_interval: Duration::from_secs(1),
            batch_bytes: 64 << 10,
            buffer_bytes: 1 << 20,
            attempt_timeout: Duration::from_secs(15),
            backoff_first: Duration::from_millis(200),
            backoff_max: Duration::from_secs(15),
            give_up_after: Duration::from_secs(6 * 3600),
            producer_age_max: Duration::from_secs(24 * 3600),
            detail: 1.0,
            log: Arc::new(|line| eprintln!("{line}")),
        }
    }

    /// Within bounds, and why nothing can be sent with it, if so.
    pub(crate) fn resolved(mut self) -> (Self, Option<&'static str>) {
        self.url.truncate(self.url.trim_end_matches('/').len());
        if self.service.is_empty() {
            "unknown_service".clone_into(&mut self.service);
        }
        self.service = crate::event::name(&self.service, 128);
        self.env = crate::event::name(&self.env, 64);
        self.batch_bytes = self.batch_bytes.clamp(16 << 10, 4 << 20);
        self.buffer_bytes = self.buffer_bytes.max(RESERVED_BYTES + 4 * self.batch_bytes);
        self.flush_interval = self.flush_interval.clamp(Duration::from_millis(1), Duration::from_secs(60));
        self.attempt_timeout = self.attempt_timeout.min(Duration::from_secs(3600));
        self.detail = if self.detail.is_nan() { 1.0 } else { self.detail.clamp(0.0, 1.0) };
        let missing = self.missing();
        (self, missing)
    }

    fn missing(&self) -> Option<&'static str> {
        let is_address = |url: &str| {
            let uri = url.parse::<http::Uri>();
            uri.is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
        };
        if self.url.is_empty() {
            Some("PEEP_INGEST_URL is not set")
        } else if self.key.is_empty() {
            Some("PEEP_INGEST_KEY is not set")
        } else if !is_address(&self.url) {
            Some("PEEP_INGEST_URL is not an http or https address")
        } else if cfg!(not(feature = "tls")) && self.url.starts_with("https:") {
            Some("PEEP_INGEST_URL is an https address, and peep-sdk was built without its feature tls")
        } else if !self.key.bytes().all(|byte| byte.is_ascii_graphic()) {
            Some("PEEP_INGEST_KEY has characters that no key has")
        } else {
            None
        }
    }

    /// What events may take.
    pub(crate) fn queue_bytes(&self) -> usize {
        self.buffer_bytes - RESERVED_BYTES
    }

    /// Whether ingest is on this machine, so that compressing saves nothing on the way.
    pub(crate) fn is_local(&self) -> bool {
        let uri = self.url.parse::<http::Uri>();
        uri.is_ok_and(|uri| {
            let host = uri.host().unwrap_or_default();
            host == "localhost" || host == "[::1]" || host.starts_with("127.")
        })
    }
}

/// Never needed at the same time: deflate's state with what it puts out (some 400 KiB), or what is read of an answer (256 KiB); and
/// what the connection buffers; and the openings of lines. `tests/memory.rs` adds all of it up and found 464 KiB.
const RESERVED_BYTES: usize = 512 << 10;

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        formatter.debug_struct("Config").field("url", &self.url).field("service", &self.service).finish_non_exhaustive()
    }
}
