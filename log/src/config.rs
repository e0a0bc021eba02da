//! Every knob of the log, with its unit and what happens at the extremes.

use std::time::Duration;

use peep_chassis::config::Settings;

use crate::Topic;

/// Which system keeps the records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Backend {
    /// Tables in the same database as everything else: the single machine's choice.
    Postgres,
    /// Apache Kafka: the cluster's choice.
    Kafka,
    /// Gone with the process: tests and experiments only.
    Memory,
}

/// `host:port`. A name without a port would be asked at Kafka's default port, which is more often a slip than meant.
fn is_broker(text: &str) -> bool {
    let Some((host, port)) = text.trim().rsplit_once(':') else { return false };
    !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// How long a topic keeps records. Whichever bound is reached first removes the oldest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Retention {
    pub age: Duration,
    /// For the whole topic, all partitions together.
    pub bytes: u64,
}

/// What only the Kafka backend needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KafkaSettings {
    /// `host:port`, comma separated. `PEEP_KAFKA_BROKERS`.
    pub brokers: String,
    /// Copies of each record for topics that peep creates; 0 leaves it to the broker's default.
    pub replication: u32,
    /// Copies that must exist before an append is acknowledged, for topics that peep creates; 0 leaves
    /// it to the broker's default.
    pub insync_replicas_min: u32,
    /// Records fetched before they are asked for, of all partitions of a topic that a process reads.
    pub read_ahead_bytes_max: usize,
    /// Appends to one broker that wait for its answer at the same time, each with all records that came together for one
    /// partition.
    pub appends_in_flight_max: u32,
}

/// The log as configured; the same value opens both topics.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogConfig {
    pub backend: Backend,
    /// Topics are named `<prefix>.events` and `<prefix>.live`.
    pub topic_prefix: String,
    /// For a topic that does not exist yet; an existing one keeps its number, because the partition of
    /// a batch must never change between a first try and a retry.
    pub partitions: u32,
    /// Payload bytes waiting to be acknowledged, per topic; beyond it appends are refused as `Full`.
    pub queue_bytes_max: usize,
    /// Larger records are refused as `TooLarge`.
    pub record_bytes_max: usize,
    /// An append that is not acknowledged by then fails as `Unavailable`. Keep it below the HTTP
    /// deadline: no success may follow a failure answer.
    pub append_timeout: Duration,
    pub events_retention: Retention,
    pub live_retention: Retention,
    pub kafka: KafkaSettings,
}

impl LogConfig {
    pub fn read(settings: &mut Settings<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            backend: read_backend(settings),
            topic_prefix: settings.string(
                "PEEP_LOG_TOPIC_PREFIX",
                &default.topic_prefix,
                "topics are named <prefix>.events and <prefix>.live",
            ),
            partitions: settings.u64(
                "PEEP_LOG_PARTITIONS",
                u64::from(default.partitions),
                1..=1024,
                "partitions of a topic that does not exist yet; an existing one keeps its number",
            ) as u32,
            queue_bytes_max: settings.bytes(
                "PEEP_LOG_QUEUE_BYTES_MAX",
                default.queue_bytes_max,
                1 << 10..=4 << 30,
                "payload bytes per topic that may wait for the log; beyond it appends are refused",
            ),
            record_bytes_max: settings.bytes(
                "PEEP_LOG_RECORD_BYTES_MAX",
                default.record_bytes_max,
                1 << 10..=64 << 20,
                "largest record the log takes",
            ),
            append_timeout: settings.duration_ms(
                "PEEP_LOG_APPEND_TIMEOUT",
                default.append_timeout.as_millis() as u64,
                100..=60_000,
                "an append without an answer fails after this time; keep it below the HTTP deadline",
            ),
            events_retention: read_retention(
                settings,
                default.events_retention,
                ["PEEP_LOG_RETENTION_AGE", "PEEP_LOG_RETENTION_BYTES"],
            ),
            live_retention: read_retention(
                settings,
                default.live_retention,
                ["PEEP_LOG_LIVE_RETENTION_AGE", "PEEP_LOG_LIVE_RETENTION_BYTES"],
            ),
            kafka: KafkaSettings::read(settings),
        };
        if config.backend == Backend::Kafka {
            let brokers = &config.kafka.brokers;
            if brokers.is_empty() {
                settings.problem("PEEP_KAFKA_BROKERS", "is required with PEEP_LOG=kafka");
            } else if let Some(wrong) = brokers.split(',').find(|broker| !is_broker(broker)) {
                settings.problem("PEEP_KAFKA_BROKERS", format!("{wrong:?} is not host:port, such as kafka-0:9092"));
            }
        }
        if !is_topic_prefix(&config.topic_prefix) {
            settings.problem("PEEP_LOG_TOPIC_PREFIX", "must be 1 to 200 characters of a-z A-Z 0-9 . _ -");
        }
        config
    }

    /// The topic's full name.
    pub fn topic_name(&self, topic: Topic) -> String {
        format!("{}.{}", self.topic_prefix, topic.name())
    }

    pub(crate) fn retention(&self, topic: Topic) -> Retention {
        match topic {
            Topic::Events => self.events_retention,
            Topic::Live => self.live_retention,
        }
    }
}

impl KafkaSettings {
    fn read(settings: &mut Settings<'_>) -> Self {
        Self {
            brokers: settings.string(
                "PEEP_KAFKA_BROKERS",
                "",
                "host:port of one or more Kafka brokers, comma separated",
            ),
            replication: settings.u64(
                "PEEP_KAFKA_REPLICATION",
                0,
                0..=9,
                "copies of each record for topics that peep creates; 0 = the broker's default",
            ) as u32,
            insync_replicas_min: settings.u64(
                "PEEP_KAFKA_INSYNC_REPLICAS_MIN",
                0,
                0..=9,
                "copies that must exist before an append is acknowledged; 0 = the broker's default",
            ) as u32,
            read_ahead_bytes_max: settings.bytes(
                "PEEP_KAFKA_READ_AHEAD_BYTES_MAX",
                READ_AHEAD_BYTES_MAX,
                256 << 10..=4 << 30,
                "bytes fetched ahead of the readers of a topic, all its partitions together; each may have at least 256 KiB",
            ),
            appends_in_flight_max: settings.u64(
                "PEEP_KAFKA_APPENDS_IN_FLIGHT_MAX",
                u64::from(APPENDS_IN_FLIGHT_MAX),
                1..=5,
                "requests to one broker that wait for its answer at the same time; while they do, what arrives for a partition gathers and \
                 shares the next one. More is lower latency with many partitions per broker, fewer is less work per event",
            ) as u32,
        }
    }
}

fn read_backend(settings: &mut Settings<'_>) -> Backend {
    match settings.choice(
        "PEEP_LOG",
        "postgres",
        &["postgres", "kafka", "memory"],
        "where accepted events are kept until they are rolled up; memory forgets them on exit",
    ) {
        "kafka" => Backend::Kafka,
        "memory" => Backend::Memory,
        _ => Backend::Postgres,
    }
}

fn read_retention(settings: &mut Settings<'_>, default: Retention, [age, bytes]: [&'static str; 2]) -> Retention {
    let minute_ms = 60_000;
    Retention {
        age: settings.duration_ms(
            age,
            default.age.as_millis() as u64,
            minute_ms..=366 * 24 * 60 * minute_ms,
            "records older than this are removed; in Postgres only once they are rolled up, in Kafka in any case",
        ),
        bytes: settings.bytes(
            bytes,
            default.bytes as usize,
            1 << 20..=1 << 50,
            "a topic larger than this loses its oldest records; in Postgres only those that are rolled up, and appends are refused while \
             that is not enough",
        ) as u64,
    }
}

/// librdkafka's own default is 64 MiB for each partition: with a few of them more than everything else in a process.
const READ_AHEAD_BYTES_MAX: usize = 16 << 20;

/// With librdkafka's five, sixty-four clients that send single events shared an append between five of them; with two it is
/// between ten and more, at half the CPU and twice the events per second. Nobody waits for company: at low load each append
/// leaves at once.
const APPENDS_IN_FLIGHT_MAX: u32 = 2;

/// What Kafka allows in a topic name, with room left for the suffix.
fn is_topic_prefix(prefix: &str) -> bool {
    (1..=200).contains(&prefix.len())
        && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            backend: Backend::Postgres,
            topic_prefix: "peep".to_owned(),
            partitions: 4,
            queue_bytes_max: 64 << 20,
            record_bytes_max: 1 << 20,
            append_timeout: Duration::from_secs(4),
            // Three days: a long weekend with the rollup down loses nothing.
            events_retention: Retention { age: Duration::from_hours(72), bytes: 16 << 30 },
            // Stream processes only look back to the last checkpoint, which is seconds old.
            live_retention: Retention { age: Duration::from_mins(30), bytes: 1 << 30 },
            kafka: KafkaSettings {
                brokers: String::new(),
                replication: 0,
                insync_replicas_min: 0,
                read_ahead_bytes_max: READ_AHEAD_BYTES_MAX,
                appends_in_flight_max: APPENDS_IN_FLIGHT_MAX,
            },
        }
    }
}
