//! Every knob of ingest.

use std::net::SocketAddr;
use std::time::Duration;

use peep_chassis::config::Settings;
use peep_chassis::http2::Http2Limits;
use peep_chassis::tls::{Tls, TlsNames};

/// What ingest can be told. Read once, before any port is bound.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; used by the binary, which binds.
    pub listen: SocketAddr,
    /// Threads that serve connections, each with a runtime of its own.
    pub workers: usize,
    pub http: Http,
    pub http2: Http2Limits,
    /// Without it the port speaks no TLS.
    pub tls: Option<Tls>,
    pub limits: Limits,
    /// How long a request waits for the log before it is answered 503.
    pub append_timeout: Duration,
    /// How long requests in flight may take to finish at shutdown.
    pub drain_timeout: Duration,
    /// Over how many partitions one service of a project spreads its producers.
    pub lanes: u32,
}

/// Sockets.
#[derive(Debug, Clone, Copy)]
pub struct Http {
    pub connections_max: usize,
    pub header_timeout: Duration,
    pub head_timeout: Duration,
    pub body_timeout: Duration,
    pub body_stall_timeout: Duration,
    pub write_timeout: Duration,
    /// 0 is no pace.
    pub refused_bytes_per_second: usize,
}

/// What one request may hold, and all of them together.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub body_bytes_max: usize,
    pub ratio_max: usize,
    pub events_max: usize,
    pub event_bytes_max: usize,
    pub depth_max: usize,
    pub age_max: Duration,
    pub ahead_max: Duration,
    pub requests_in_flight_max: usize,
    pub body_bytes_in_flight_max: usize,
    /// Percent of the bytes in flight that one project may hold while others send too.
    pub project_share_max: usize,
    /// What waits for the log longer than this is too much.
    pub log_wait_max: Duration,
    /// Producers of one project that were heard of within a day.
    pub producers_max: usize,
    /// 0 is off.
    pub bundled_record_bytes_max: usize,
    /// 0 is off.
    pub key_events_per_second_max: u64,
    /// For how long a key that is silent saves its events up.
    pub key_burst: Duration,
}

impl Config {
    pub fn read(settings: &mut Settings<'_>) -> Config {
        Config {
            listen: settings.address(
                "PEEP_INGEST_LISTEN",
                "127.0.0.1:4318",
                "Address that takes events. 4318 is the OTLP/HTTP default, so a stock OpenTelemetry SDK finds it.",
            ),
            workers: settings.per_core(
                "PEEP_INGEST_WORKERS",
                8,
                1..=256,
                "Threads that serve connections, each with its own runtime. More than cores only adds switching.",
            ) as usize,
            http: Http::read(settings),
            http2: Http2Limits::read(settings),
            tls: Tls::read(settings, TLS, &["h2", "http/1.1"]),
            limits: Limits::read(settings),
            append_timeout: settings.duration_ms(
                "PEEP_INGEST_APPEND_TIMEOUT",
                5_000,
                100..=60_000,
                "How long a request waits for the log to acknowledge before 503; above the log's own timeout, so that no late success follows a failure.",
            ),
            drain_timeout: settings.duration_ms(
                "PEEP_INGEST_DRAIN_TIMEOUT",
                10_000,
                0..=60_000,
                "How long requests in flight may take to finish at shutdown.",
            ),
            lanes: settings.u64(
                "PEEP_INGEST_LANES",
                1,
                1..=64,
                "Partitions over which one service of a project spreads its producers. 1 keeps a series on one rollup worker; raise it when one service outgrows one partition. Changing it moves retries to another partition.",
            ) as u32,
        }
    }

    /// From a request's head to the last byte of its answer: nothing honest takes longer.
    pub(crate) fn request_time_max(&self) -> Duration {
        self.http.body_timeout + self.append_timeout + self.http.write_timeout
    }
}

impl Http {
    fn read(settings: &mut Settings<'_>) -> Http {
        Http {
            connections_max: settings.u64(
                "PEEP_INGEST_CONNECTIONS_MAX",
                10_000,
                1..=1_000_000,
                "Open connections; further ones wait in the kernel's accept queue.",
            ) as usize,
            header_timeout: settings.duration_ms(
                "PEEP_INGEST_HEADER_TIMEOUT",
                10_000,
                100..=600_000,
                "How long a client may take to send a request's head, and how long an idle connection is kept.",
            ),
            head_timeout: settings.duration_ms(
                "PEEP_INGEST_HEAD_TIMEOUT",
                5_000,
                100..=600_000,
                "How long a client may take from the first byte of a request's head to its last.",
            ),
            body_timeout: settings.duration_ms(
                "PEEP_INGEST_BODY_TIMEOUT",
                30_000,
                100..=600_000,
                "How long a client may take to send a body before 408.",
            ),
            body_stall_timeout: settings.duration_ms(
                "PEEP_INGEST_BODY_STALL_TIMEOUT",
                10_000,
                100..=600_000,
                "A body of which less than 10 KiB arrive within this time is answered 408: a client slower than that only holds a place.",
            ),
            write_timeout: settings.duration_ms(
                "PEEP_INGEST_WRITE_TIMEOUT",
                10_000,
                100..=600_000,
                "A connection whose client takes no data for this long is cut.",
            ),
            refused_bytes_per_second: settings.bytes(
                "PEEP_INGEST_REFUSED_BYTES_PER_SECOND",
                64 << 10,
                0..=1 << 30,
                "At which pace the body of a refused request (429, 503) is taken off its HTTP/1.1 connection, after the answer and within its Retry-After, two seconds at most: a client that comes back before that waits, up to four times as long when it does so again and again. A request counts as 16 KiB and its body. 0 takes them as they come.",
            ),
        }
    }
}

impl Limits {
    fn read(settings: &mut Settings<'_>) -> Limits {
        Limits {
            body_bytes_max: settings.bytes(
                "PEEP_INGEST_BODY_BYTES_MAX",
                8 << 20,
                1 << 10..=256 << 20,
                "Largest body, decompressed; larger ones are answered 413.",
            ),
            ratio_max: settings.u64(
                "PEEP_INGEST_DECOMPRESSION_RATIO_MAX",
                100,
                1..=10_000,
                "How many times larger than sent a body may become once it passes 1 MiB; beyond it is a bomb, 413.",
            ) as usize,
            events_max: settings.u64(
                "PEEP_INGEST_EVENTS_MAX",
                5_000,
                1..=1_000_000,
                "Events in one request; more are answered 413.",
            ) as usize,
            event_bytes_max: settings.bytes(
                "PEEP_INGEST_EVENT_BYTES_MAX",
                64 << 10,
                256..=1 << 20,
                "Largest event as JSON; a larger one is rejected, the others are kept.",
            ),
            depth_max: settings.u64(
                "PEEP_INGEST_JSON_DEPTH_MAX",
                32,
                2..=1_000,
                "Deepest nesting of an event's JSON; a deeper one is rejected, the others are kept.",
            ) as usize,
            age_max: settings.duration_ms(
                "PEEP_INGEST_EVENT_AGE_MAX",
                30 * DAY_MS,
                60_000..=3650 * DAY_MS,
                "Events that ended longer before receipt are rejected as ts_too_old. Keep it within the rollup retention.",
            ),
            ahead_max: settings.duration_ms(
                "PEEP_INGEST_EVENT_AHEAD_MAX",
                300_000,
                0..=DAY_MS,
                "Events that end further after receipt (clock skew) are rejected as ts_in_future.",
            ),
            requests_in_flight_max: settings.u64(
                "PEEP_INGEST_REQUESTS_IN_FLIGHT_MAX",
                4_096,
                0..=1_000_000,
                "Requests between head and answer; further ones are answered 503 at once.",
            ) as usize,
            body_bytes_in_flight_max: settings.bytes(
                "PEEP_INGEST_BODY_BYTES_IN_FLIGHT_MAX",
                128 << 20,
                0..=64 << 30,
                "Body bytes held at once, reserved before a body is read; none left is 503 at once.",
            ),
            project_share_max: settings.u64(
                "PEEP_INGEST_PROJECT_SHARE_MAX",
                25,
                1..=100,
                "Percent of PEEP_INGEST_BODY_BYTES_IN_FLIGHT_MAX, PEEP_INGEST_REQUESTS_IN_FLIGHT_MAX and of what may wait for the log that one project may hold while another one sends too; more is 429. A project that is alone may hold all, and any project two bodies of the largest size.",
            ) as usize,
            log_wait_max: settings.duration_ms(
                "PEEP_INGEST_LOG_WAIT_MAX",
                2_000,
                100..=60_000,
                "How long what waits for the log may take it, at its pace of the last seconds; once it is behind, more is 503 (429 for a project beyond its share) before the body is read. Keep it well below PEEP_LOG_APPEND_TIMEOUT: what waits longer than that is lost work.",
            ),
            producers_max: settings.u64(
                "PEEP_INGEST_PRODUCERS_MAX",
                100_000,
                0..=10_000_000,
                "Different Peep-Producer of one project within a day, as one process sees them; a new one beyond is 429, known ones go on. About 40 bytes each. 0 refuses every request with an identity.",
            ) as usize,
            bundled_record_bytes_max: settings.bytes(
                "PEEP_INGEST_BUNDLED_RECORD_BYTES_MAX",
                4 << 10,
                0..=16 << 10,
                "Largest record that may share one of the log with others, when they are on their way to the same partition at the same moment. 0 gives every request a record of its own.",
            ),
            key_events_per_second_max: settings.u64(
                "PEEP_INGEST_KEY_EVENTS_PER_SECOND_MAX",
                0,
                0..=10_000_000,
                "Events per second of one key, as one process sees them; a key that sent more is 429 before its body is read, until the rest is paid off. 0 is no limit: overload is met by PEEP_INGEST_PROJECT_SHARE_MAX whoever causes it, and a guessed rate would only slow down who ships a backlog.",
            ),
            key_burst: settings.duration_ms(
                "PEEP_INGEST_KEY_BURST",
                10_000,
                100..=3_600_000,
                "For how long a key that is silent saves up its events per second, to send them at once.",
            ),
        }
    }
}

#[cfg(test)]
impl Limits {
    /// The defaults.
    pub(crate) fn of_tests() -> Limits {
        let nothing_set = std::collections::BTreeMap::<String, String>::new();
        Limits::read(&mut Settings::new(&nothing_set))
    }
}

/// The settings of the listener's certificate.
pub const TLS: TlsNames =
    TlsNames { service: "ingest", certificate: "PEEP_INGEST_TLS_CERT", key: "PEEP_INGEST_TLS_KEY" };

const DAY_MS: u64 = 24 * 3_600_000;
