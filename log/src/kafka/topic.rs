//! Makes sure that a topic exists, and finds out how many partitions it has.

use std::time::Instant;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{info, warn};

use super::ASK_TIMEOUT;
use super::client::{QuietContext, base, blocking};
use crate::config::LogConfig;
use crate::{OpenError, Topic};

/// Answers the number of partitions, which for an existing topic may differ from the configured one.
pub(super) async fn ensure(config: &LogConfig, topic: Topic) -> Result<u32, OpenError> {
    let name = config.topic_name(topic);
    let unavailable = |error: KafkaError| OpenError::Unavailable { topic: name.clone(), reason: error.to_string() };
    let admin = AdminClient::from_config_and_context(&base(&config.kafka.brokers), QuietContext)
        .map_err(|error| OpenError::Refused { topic: name.clone(), reason: error.to_string() })?;
    create(&admin, config, topic, &name).await.map_err(unavailable)?;
    let asked = name.clone();
    let partitions = blocking(move || count_partitions(&admin, &asked)).await.map_err(unavailable)?;
    if partitions != config.partitions {
        warn!(
            topic = name,
            partitions,
            configured = config.partitions,
            "topic keeps the number of partitions it was created with"
        );
    }
    Ok(partitions)
}

async fn create(
    admin: &AdminClient<QuietContext>,
    config: &LogConfig,
    topic: Topic,
    name: &str,
) -> Result<(), KafkaError> {
    let settings = settings(config, topic);
    let replication = match config.kafka.replication {
        0 => -1,
        copies => copies as i32,
    };
    let mut wanted = NewTopic::new(name, config.partitions as i32, TopicReplication::Fixed(replication));
    for (key, value) in &settings {
        wanted = wanted.set(key, value);
    }
    let options = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT * 2)).operation_timeout(Some(ASK_TIMEOUT));
    for answer in admin.create_topics([&wanted], &options).await? {
        match answer {
            Ok(name) => info!(topic = name, "topic created"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            // May not create, but may perhaps use: the question for the partitions decides.
            Err((name, RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed)) => {
                warn!(topic = name, "not authorized to create the topic")
            }
            Err((_, code)) => return Err(KafkaError::AdminOp(code)),
        }
    }
    Ok(())
}

fn settings(config: &LogConfig, topic: Topic) -> Vec<(&'static str, String)> {
    let retention = config.retention(topic);
    let partition_bytes = retention.bytes / u64::from(config.partitions);
    let mut settings = vec![
        // The broker's clock, not the client's: a client's future time stamp would keep a segment for ever.
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("retention.ms", retention.age.as_millis().to_string()),
        ("retention.bytes", partition_bytes.to_string()),
        // Only whole segments are removed, so they must be small against the whole. Kafka's least is 1 MiB.
        ("segment.bytes", (partition_bytes / 8).clamp(1 << 20, 1 << 30).to_string()),
        ("segment.ms", (retention.age.as_millis() / 8).max(1).to_string()),
        ("cleanup.policy", "delete".to_owned()),
        ("max.message.bytes", (config.record_bytes_max + super::producer::FRAME_BYTES).to_string()),
    ];
    if config.kafka.insync_replicas_min > 0 {
        settings.push(("min.insync.replicas", config.kafka.insync_replicas_min.to_string()));
    }
    settings
}

/// A new topic is known to all brokers, with leaders, a moment after its creation.
fn count_partitions(admin: &AdminClient<QuietContext>, name: &str) -> Result<u32, KafkaError> {
    let deadline = Instant::now() + ASK_TIMEOUT * 2;
    loop {
        let metadata = admin.inner().fetch_metadata(Some(name), ASK_TIMEOUT)?;
        let partitions = metadata
            .topics()
            .first()
            .filter(|topic| topic.error().is_none())
            .map(|topic| topic.partitions())
            .unwrap_or_default();
        if !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0) {
            return Ok(partitions.len() as u32);
        }
        if Instant::now() > deadline {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable));
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
