//! The harness's own view of Kafka: how long the log is, and the hand that changes topics.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

/// The events topic of one world.
#[derive(Clone)]
pub struct Kafka {
    brokers: String,
    topic: String,
    partitions: u32,
}

impl Kafka {
    pub fn new(brokers: &str, prefix: &str, partitions: u32) -> Self {
        Self { brokers: brokers.to_owned(), topic: format!("{prefix}.events"), partitions }
    }

    /// The end of each partition.
    pub async fn ends(&self) -> anyhow::Result<BTreeMap<u32, u64>> {
        let kafka = self.clone();
        let ends = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = kafka.config().create().context("connect to Kafka")?;
            let end = |partition: u32| {
                let (_, high) = consumer.fetch_watermarks(&kafka.topic, partition as i32, ASK_TIMEOUT)?;
                anyhow::Ok((partition, high.max(0) as u64))
            };
            (0..kafka.partitions).map(end).collect()
        });
        ends.await?
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("log_level", "2").set("group.id", "peep-faults");
        config
    }
}

const ASK_TIMEOUT: Duration = Duration::from_secs(5);
