//! Every knob of the stream service, with its unit and what happens at the extremes.

use std::net::SocketAddr;
use std::time::Duration;

use peep_chassis::config::Settings;
use peep_chassis::keys::KeysConfig;
use peep_chassis::tls::{Tls, TlsNames};

use crate::alerts::AlertsConfig;
use crate::answer::AnswerLimits;
use crate::books::tail::TailLimits;
use crate::fanout::FanoutLimits;
use crate::history::HistoryLimits;
use crate::hub::HubLimits;
use crate::listener::ListenerLimits;
use crate::prometheus::PrometheusLimits;

/// The stream service as configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the read API and the dashboard are served; bound by whoever calls [`crate::run`].
    pub listen: SocketAddr,
    /// Connections and their deadlines.
    pub listener: ListenerLimits,
    /// Without it the port speaks no TLS.
    pub tls: Option<Tls>,
    /// What questions may cost.
    pub answers: AnswerLimits,
    /// What looking at events that are not counted yet may cost.
    pub tail: TailLimits,
    /// What live views may cost.
    pub hub: HubLimits,
    /// What their WebSockets may cost.
    pub fanout: FanoutLimits,
    /// What a Prometheus is told about the observed services.
    pub prometheus: PrometheusLimits,
    /// How often alert rules are looked at, and whom they may tell.
    pub alerts: AlertsConfig,
    /// Between two freshness probes; zero: none.
    pub probe_interval: Duration,
    /// Memory of frames that are not committed yet.
    pub feed_bytes_max: usize,
    /// Largest live message.
    pub message_bytes_max: usize,
    /// How long a browser stays signed in, and how long open connections outlive the database.
    pub keys: KeysConfig,
    /// Origins other than our own whose pages may use a session.
    pub origins: Vec<String>,
    /// Session cookies only travel over TLS.
    pub cookie_secure: bool,
}

impl Config {
    /// Reads and registers every knob.
    pub fn read(settings: &mut Settings<'_>) -> Self {
        let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let listen =
            settings.address("PEEP_STREAM_LISTEN", "127.0.0.1:8080", "Address of the read API and the dashboard.");
        let listener = Self::read_listener(settings);
        Self {
            listen,
            listener,
            tls: Tls::read(settings, TLS, &["http/1.1"]),
            answers: Self::read_answers(settings),
            tail: TailLimits {
                bytes_max: settings.bytes(
                    "PEEP_STREAM_TAIL_BYTES_MAX",
                    64 << 20,
                    0..=16 << 30,
                    "Records read from the log to say how many events are in flight; beyond it the number is a lower bound and says so.",
                ),
                time_max: settings.duration_ms(
                    "PEEP_STREAM_TAIL_TIME_MAX",
                    3_000,
                    0..=60_000,
                    "Longest time for that; beyond it the number is a lower bound and says so.",
                ),
            },
            hub: HubLimits {
                topics_max: count(settings.u64(
                    "PEEP_STREAM_TOPICS_MAX",
                    256,
                    1..=100_000,
                    "Different live views at once; viewers of the same view share one. More are refused with 503.",
                )),
                subscribers_max: count(settings.u64(
                    "PEEP_STREAM_SUBSCRIBERS_MAX",
                    10_000,
                    0..=1_000_000,
                    "Viewers of all live views together. More are refused with 503; 0 refuses every live view.",
                )),
                groups_max: count(settings.u64(
                    "PEEP_STREAM_GROUPS_MAX",
                    500,
                    2..=10_000,
                    "Rows of one live view or answer. The smallest beyond it become one row named (other), with exact numbers.",
                )),
                bytes_max: settings.bytes(
                    "PEEP_STREAM_HUB_BYTES_MAX",
                    256 << 20,
                    1 << 20..=64 << 30,
                    "Memory of all live views. When it is short, small rows are folded into (other).",
                ),
                frame_interval: settings.duration_ms(
                    "PEEP_STREAM_FRAME_INTERVAL",
                    500,
                    50..=60_000,
                    "Pause between two frames of a live view while something changes.",
                ),
                idle_max: settings.duration_ms(
                    "PEEP_STREAM_TOPIC_IDLE_MAX",
                    60_000,
                    0..=3_600_000,
                    "How long a live view without viewers is kept warm.",
                ),
            },
            fanout: Self::read_fanout(settings, listener.write_timeout),
            prometheus: PrometheusLimits {
                sets_max: count(settings.u64(
                    "PEEP_STREAM_PROMETHEUS_SETS_MAX",
                    1_000,
                    0..=100_000,
                    "Label sets (project, environment, service, route, method, status class) in /metrics, 19 lines each; more are counted as (other). 0 leaves the observed services out.",
                )),
                zero_for: settings.duration_ms(
                    "PEEP_STREAM_PROMETHEUS_ZERO_FOR",
                    30_000,
                    0..=3_600_000,
                    "How long a new label set shows 0 before it shows what it counted: at least the interval of the slowest scraper, which counts from the first value it sees. 0: for one scrape.",
                ),
            },
            alerts: AlertsConfig {
                interval: settings.duration_ms(
                    "PEEP_STREAM_ALERT_INTERVAL",
                    15_000,
                    0..=3_600_000,
                    "Pause between two looks at the alert rules, by one process of all. 0: this process looks at none and sends nothing.",
                ),
                webhook_allow: settings.list(
                    "PEEP_WEBHOOK_ALLOW",
                    "",
                    "Hosts (name, name:port, address or [address]:port, as written in the webhook's address) that alerts may be sent to although they are not public.",
                ),
            },
            probe_interval: settings.duration_ms(
                "PEEP_STREAM_PROBE_INTERVAL",
                1_000,
                0..=3_600_000,
                "Pause between two freshness probes: events of peep's own that show how old a number is when it can be seen. Each process that serves views sends them. 0: none, and freshness is unknown.",
            ),
            feed_bytes_max: settings.bytes(
                "PEEP_STREAM_FEED_BYTES_MAX",
                64 << 20,
                1 << 20..=16 << 30,
                "Memory of live frames that history may not contain yet. Too little makes answers lag behind by a commit.",
            ),
            message_bytes_max: settings.bytes(
                "PEEP_STREAM_MESSAGE_BYTES_MAX",
                32 << 20,
                64 << 10..=1 << 30,
                "Largest first message of a live view; a view with a larger one is refused with 422.",
            ),
            keys: KeysConfig::read(settings),
            origins: settings.list(
                "PEEP_STREAM_ORIGINS",
                "",
                "Origins (https://host) besides the service's own whose pages may use a session; needed when a proxy changes the Host header.",
            ),
            cookie_secure: settings.flag(
                "PEEP_STREAM_COOKIE_SECURE",
                false,
                "Whether session cookies are only sent over TLS. Set it wherever the dashboard is served over https.",
            ),
        }
    }

    fn read_fanout(settings: &mut Settings<'_>, write_timeout: Duration) -> FanoutLimits {
        FanoutLimits {
            threads: settings.per_core(
                "PEEP_STREAM_FANOUT_THREADS",
                8,
                1..=256,
                "Threads that write to WebSockets, each with its own runtime. More than cores only adds switching.",
            ) as usize,
            write_timeout,
            slow_timeout: settings.duration_ms(
                "PEEP_STREAM_SLOW_TIMEOUT",
                30_000,
                100..=600_000,
                "A viewer that needs longer for one message is sent away and told when to come back.",
            ),
            viewer_bytes_max: settings.bytes(
                "PEEP_STREAM_VIEWER_BYTES_MAX",
                256 << 10,
                0..=1 << 30,
                "What may wait for one viewer for longer than the write timeout; with more it is sent away and told when to come back.",
            ),
            unsent_bytes_max: settings.bytes(
                "PEEP_STREAM_UNSENT_BYTES_MAX",
                64 << 20,
                0..=64 << 30,
                "What may wait for all viewers. Beyond it the slowest are sent away and new live views are refused with 503.",
            ),
        }
    }

    fn read_listener(settings: &mut Settings<'_>) -> ListenerLimits {
        ListenerLimits {
            connections_max: usize::try_from(settings.u64(
                "PEEP_STREAM_CONNECTIONS_MAX",
                20_000,
                1..=1_000_000,
                "Open connections; more wait in the kernel's queue.",
            ))
            .unwrap_or(usize::MAX),
            header_timeout: settings.duration_ms(
                "PEEP_STREAM_HEADER_TIMEOUT",
                10_000,
                100..=300_000,
                "For the head of a request.",
            ),
            write_timeout: settings.duration_ms(
                "PEEP_STREAM_WRITE_TIMEOUT",
                10_000,
                100..=300_000,
                "A connection whose client takes no data for this long is cut.",
            ),
            drain_timeout: settings.duration_ms(
                "PEEP_STREAM_DRAIN_TIMEOUT",
                5_000,
                0..=300_000,
                "For open requests to finish after a shutdown was requested.",
            ),
        }
    }

    fn read_answers(settings: &mut Settings<'_>) -> AnswerLimits {
        AnswerLimits {
            queries_max: usize::try_from(settings.u64(
                "PEEP_STREAM_QUERIES_MAX",
                8,
                0..=1000,
                "Questions to the database at once; keep it below PEEP_DATABASE_CONNECTIONS_MAX. 0 refuses all.",
            ))
            .unwrap_or(usize::MAX),
            queue_wait: settings.duration_ms(
                "PEEP_STREAM_QUERY_QUEUE_WAIT",
                2_000,
                0..=60_000,
                "How long a question waits for its turn before it is refused with 503.",
            ),
            history: HistoryLimits {
                rows_max: settings.u64(
                    "PEEP_STREAM_QUERY_ROWS_MAX",
                    1_000_000,
                    1..=100_000_000,
                    "Rollup rows read for one answer; wider questions are refused with 422 and a narrower suggestion.",
                ),
                statement_timeout: settings.duration_ms(
                    "PEEP_STREAM_QUERY_TIMEOUT",
                    10_000,
                    100..=600_000,
                    "Longest run of one statement of a question, enforced by the database.",
                ),
            },
            bytes_max: settings.bytes(
                "PEEP_STREAM_QUERY_BYTES_MAX",
                256 << 20,
                1 << 20..=16 << 30,
                "Memory of one answer; larger ones are refused with 422.",
            ),
            all_bytes_max: settings.bytes(
                "PEEP_STREAM_QUERIES_BYTES_MAX",
                512 << 20,
                1 << 20..=64 << 30,
                "Memory of all answers together; beyond it the one that grows is refused with 503.",
            ),
            closed_bytes_max: settings.bytes(
                "PEEP_STREAM_CLOSED_BYTES_MAX",
                64 << 20,
                0..=16 << 30,
                "Memory of sums of days, parts of days and tens of minutes that are over, which a repeated question does not read again. 0: each reads everything.",
            ),
            groups_max: usize::try_from(settings.u64(
                "PEEP_STREAM_GROUPS_MAX",
                500,
                2..=10_000,
                "Rows of one live view or answer. The smallest beyond it become one row named (other), with exact numbers.",
            ))
            .unwrap_or(usize::MAX),
        }
    }
}

/// The settings of the listener's certificate.
const TLS: TlsNames = TlsNames { service: "stream", certificate: "PEEP_STREAM_TLS_CERT", key: "PEEP_STREAM_TLS_KEY" };
