//! The harness's own view of Kafka: how long the log is, who leads it, and the hand that changes topics.

mod wire;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

/// The events topic of one world.
#[derive(Clone)]
pub struct Kafka {
    brokers: String,
    topic: String,
    partitions: u32,
    replication: i32,
}

/// Who holds a partition.
#[derive(Clone, Debug)]
pub struct Placement {
    pub leader: i32,
    pub replicas: Vec<i32>,
    /// How many of them have everything.
    pub in_sync: usize,
}

impl Kafka {
    pub fn new(brokers: &str, prefix: &str, partitions: u32, replication: i32) -> Self {
        Self { brokers: brokers.to_owned(), topic: format!("{prefix}.events"), partitions, replication }
    }

    /// The end of each partition.
    pub async fn ends(&self) -> anyhow::Result<BTreeMap<u32, u64>> {
        Ok(self.watermarks().await?.into_iter().map(|(partition, (_, high))| (partition, high)).collect())
    }

    /// The oldest offset of each partition and the one after the newest.
    pub async fn watermarks(&self) -> anyhow::Result<BTreeMap<u32, (u64, u64)>> {
        self.ask(|kafka, consumer| {
            let range = |partition: u32| {
                let (low, high) = consumer.fetch_watermarks(&kafka.topic, partition as i32, ASK_TIMEOUT)?;
                anyhow::Ok((partition, (low.max(0) as u64, high.max(0) as u64)))
            };
            (0..kafka.partitions).map(range).collect()
        })
        .await
    }

    pub async fn placements(&self) -> anyhow::Result<BTreeMap<u32, Placement>> {
        self.ask(|kafka, consumer| {
            let metadata = consumer.fetch_metadata(Some(&kafka.topic), ASK_TIMEOUT)?;
            let topic = metadata.topics().first().context("the topic is not known")?;
            let of = |partition: &rdkafka::metadata::MetadataPartition| {
                let placement = Placement {
                    leader: partition.leader(),
                    replicas: partition.replicas().to_vec(),
                    in_sync: partition.isr().len(),
                };
                (partition.id() as u32, placement)
            };
            Ok(topic.partitions().iter().map(of).collect())
        })
        .await
    }

    /// Another of the replicas becomes the preferred leader, and then the leader. No data moves.
    pub async fn move_leader(&self, partition: u32, placement: &Placement) -> anyhow::Result<()> {
        let mut replicas = placement.replicas.clone();
        replicas.rotate_left(1);
        let mut last = None;
        // Any broker passes both on to the controller.
        for broker in self.brokers.split(',') {
            let moved = async {
                wire::reassign(broker, &self.topic, partition as i32, &replicas).await?;
                wire::elect_preferred(broker, &self.topic, partition as i32).await
            };
            match moved.await {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("there is no broker")?)
    }

    /// Gone when this returns.
    pub async fn delete_topic(&self) -> anyhow::Result<()> {
        let admin = self.admin()?;
        for result in admin.delete_topics(&[&self.topic], &options()).await? {
            result.map_err(|(topic, code)| anyhow::anyhow!("delete {topic}: {code}"))?;
        }
        let deadline = Instant::now() + ASK_TIMEOUT * 2;
        while self.placements().await.is_ok_and(|placements| !placements.is_empty()) {
            anyhow::ensure!(Instant::now() < deadline, "the topic does not go away");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Under the same name and with as many partitions.
    pub async fn create_topic(&self) -> anyhow::Result<()> {
        let admin = self.admin()?;
        let topic = NewTopic::new(&self.topic, self.partitions as i32, TopicReplication::Fixed(self.replication))
            .set("message.timestamp.type", "LogAppendTime");
        for result in admin.create_topics([&topic], &options()).await? {
            result.map_err(|(topic, code)| anyhow::anyhow!("create {topic}: {code}"))?;
        }
        Ok(())
    }

    /// Replaces the topic's settings by these.
    pub async fn configure_topic(&self, settings: &[(&str, &str)]) -> anyhow::Result<()> {
        let admin = self.admin()?;
        let mut config = AlterConfig::new(ResourceSpecifier::Topic(&self.topic));
        config = config.set("message.timestamp.type", "LogAppendTime");
        for (name, value) in settings {
            config = config.set(name, value);
        }
        for result in admin.alter_configs([&config], &options()).await? {
            result.map_err(|(_, code)| anyhow::anyhow!("configure {}: {code}", self.topic))?;
        }
        Ok(())
    }

    fn admin(&self) -> anyhow::Result<AdminClient<DefaultClientContext>> {
        self.config().create().context("connect to Kafka")
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Self, &BaseConsumer) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let kafka = self.clone();
        // librdkafka's questions block, and so does the end of its client.
        let answer = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = kafka.config().create().context("connect to Kafka")?;
            question(&kafka, &consumer)
        });
        answer.await?
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        // No log lines of librdkafka between the verdicts.
        config.set("bootstrap.servers", &self.brokers).set("log_level", "0").set("group.id", "peep-faults");
        config
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ASK_TIMEOUT * 2)).operation_timeout(Some(ASK_TIMEOUT))
}

const ASK_TIMEOUT: Duration = Duration::from_secs(5);
