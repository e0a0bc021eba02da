//! What an operator sees of the log: its settings and its metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use peep_chassis::config::{ConfigErrors, Settings};
use peep_chassis::telemetry::local_metrics;
use peep_log::{Backend, Log, LogConfig, MemoryLog, Partition, Topic, metrics};

#[test]
fn nothing_set_means_the_defaults() {
    assert_eq!(read(&[]), Ok(LogConfig::default()));
}

#[test]
fn every_knob_arrives() {
    let config = read(&[
        ("PEEP_LOG", "kafka"),
        ("PEEP_KAFKA_BROKERS", "a:1,b:2"),
        ("PEEP_LOG_PARTITIONS", "12"),
        ("PEEP_KAFKA_APPENDS_IN_FLIGHT_MAX", "5"),
        ("PEEP_LOG_QUEUE_BYTES_MAX", "8MiB"),
        ("PEEP_LOG_APPEND_TIMEOUT", "2500"),
        ("PEEP_LOG_RETENTION_AGE", "7d"),
        ("PEEP_LOG_LIVE_RETENTION_BYTES", "2GiB"),
    ])
    .expect("valid settings");
    assert_eq!(config.backend, Backend::Kafka);
    assert_eq!(config.kafka.brokers, "a:1,b:2");
    assert_eq!(config.kafka.appends_in_flight_max, 5);
    assert_eq!(config.partitions, 12);
    assert_eq!(config.queue_bytes_max, 8 << 20);
    assert_eq!(config.append_timeout, Duration::from_millis(2500));
    assert_eq!(config.events_retention.age, Duration::from_hours(7 * 24));
    assert_eq!(config.live_retention.bytes, 2 << 30);
}

#[test]
fn kafka_without_brokers_and_impossible_topic_names_are_refused() {
    let problems = read(&[("PEEP_LOG", "kafka"), ("PEEP_LOG_TOPIC_PREFIX", "a b")]).expect_err("two problems").problems;
    let names: Vec<_> = problems.iter().map(|problem| problem.name.as_str()).collect();
    assert_eq!(names, ["PEEP_KAFKA_BROKERS", "PEEP_LOG_TOPIC_PREFIX"]);
}

#[test]
fn a_broker_without_a_port_is_refused_by_its_own_text() {
    for brokers in ["nope", "a:1,b", "a:1,", "a:0", ":9092"] {
        let problems = read(&[("PEEP_LOG", "kafka"), ("PEEP_KAFKA_BROKERS", brokers)]).expect_err(brokers).problems;
        assert!(problems[0].message.contains("host:port"), "{problems:?}");
    }
    for brokers in ["a:1, b:2", "[::1]:9092", "SSL://kafka-0:9093"] {
        assert!(read(&[("PEEP_LOG", "kafka"), ("PEEP_KAFKA_BROKERS", brokers)]).is_ok(), "{brokers}");
    }
}

#[test]
fn metrics_say_what_became_of_each_append() {
    let buckets = (metrics::APPEND_SECONDS, metrics::APPEND_SECONDS_BUCKETS);
    let (recorder, handle) = local_metrics(&[buckets]).expect("buckets are not empty");
    ::metrics::with_local_recorder(&recorder, || {
        metrics::describe();
        let config = LogConfig { record_bytes_max: 10, ..LogConfig::default() };
        let log = MemoryLog::open(&config, Topic::Events);
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime").block_on(async {
            log.append(Partition(0), "x".into()).await.expect("append");
            log.append(Partition(0), vec![0; 11].into()).await.expect_err("too large");
            drop(log.append(Partition(0), "y".into()));
            log.stop();
            log.append(Partition(0), "z".into()).await.expect_err("stopped");
        });
    });
    let text = handle.render();
    for outcome in ["acknowledged", "too_large", "abandoned", "unavailable"] {
        let line = format!("peep_log_appends_total{{topic=\"events\",outcome=\"{outcome}\"}} 1");
        assert!(text.contains(&line), "{line} in\n{text}");
    }
    assert!(text.contains("peep_log_append_seconds_bucket{topic=\"events\",le=\"0.001\"}"), "{text}");
    assert!(text.contains("peep_log_queue_bytes{topic=\"events\"} 0"), "{text}");
    assert!(text.contains("# HELP peep_log_appends_total "), "{text}");
}

fn read(variables: &[(&'static str, &'static str)]) -> Result<LogConfig, ConfigErrors> {
    let env: BTreeMap<_, _> = variables.iter().copied().collect();
    let mut settings = Settings::new(&env);
    let config = LogConfig::read(&mut settings);
    settings.finish().map(|_| config)
}
