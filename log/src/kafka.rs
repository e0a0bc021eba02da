//! The log in Apache Kafka: a cluster's choice.
//!
//! Arrives: appends. Leaves: the same records, to readers that name the offset they want.
//!
//! How: one idempotent [`producer`] per topic hands records to librdkafka, which batches whatever waits for the same broker;
//! the delivery report wakes the caller. A [`reader`] is a consumer that is assigned one partition by hand; there are no
//! consumer groups, no stored offsets and no resets. A [`supervisor`] replaces a producer that has failed for good, and
//! says when the brokers cannot be reached.
//!
//! Promised: an acknowledged append is on all in-sync replicas (`acks=all`). No success is reported after a failure: the
//! message timeout is the append timeout.
//!
//! Deliberately absent: transactions (the rollup's cursor makes them unnecessary), keys and partitioners (the caller
//! names the partition), creation of anything but a missing topic.

mod client;

mod topic;

mod answer;

mod producer;

mod supervisor;

mod reader;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::{KafkaSettings, LogConfig};
use crate::metrics::TopicMetrics;
use crate::{AppendError, BoxFuture, Log, Offset, OpenError, Partition, ReadError, Reader, Topic, Watermarks};
use answer::Answer;
use client::blocking;
use producer::Producer;
use reader::{KafkaReader, Place, ReadAhead};

/// See the module.
pub(crate) struct KafkaLog {
    topic: Arc<str>,
    kafka: KafkaSettings,
    producer: Arc<Producer>,
    metrics: Arc<TopicMetrics>,
    partitions: u32,
    record_bytes_max: usize,
    stop: CancellationToken,
    // Ends the supervisor when the log is dropped.
    _stop_on_drop: DropGuard,
}

impl KafkaLog {
    pub(crate) async fn open(config: &LogConfig, topic: Topic) -> Result<Self, OpenError> {
        let name: Arc<str> = config.topic_name(topic).into();
        let partitions = topic::ensure(config, topic).await?;
        let metrics = Arc::new(TopicMetrics::new(topic));
        let producer = Producer::new(config, Arc::clone(&name), Arc::clone(&metrics))
            .map_err(|error| OpenError::Refused { topic: name.to_string(), reason: error.to_string() })?;
        let producer = Arc::new(producer);
        let stop = CancellationToken::new();
        supervisor::spawn(Arc::clone(&producer), stop.clone());
        Ok(Self {
            topic: name,
            kafka: config.kafka.clone(),
            producer,
            metrics,
            partitions,
            record_bytes_max: config.record_bytes_max,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        })
    }

    fn admit(&self, partition: Partition, payload: &Bytes) -> Result<Answer, AppendError> {
        if payload.len() > self.record_bytes_max {
            return Err(AppendError::TooLarge { bytes: payload.len(), max: self.record_bytes_max });
        }
        if partition.0 >= self.partitions {
            return Err(AppendError::Unavailable { reason: format!("{} has no partition {partition}", self.topic) });
        }
        self.producer.send(partition, payload)
    }
}

impl Log for KafkaLog {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn record_bytes_max(&self) -> usize {
        self.record_bytes_max
    }

    fn append(&self, partition: Partition, payload: Bytes) -> BoxFuture<'static, Result<Offset, AppendError>> {
        let timer = self.metrics.append();
        let admitted = self.admit(partition, &payload);
        Box::pin(async move {
            let result = match admitted {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            };
            timer.finish(&result);
            result
        })
    }

    fn watermarks(&self, partition: Partition) -> BoxFuture<'_, Result<Watermarks, ReadError>> {
        let producer = Arc::clone(&self.producer);
        Box::pin(blocking(move || producer.watermarks(partition)))
    }

    fn reader(&self, partition: Partition, from: Offset) -> BoxFuture<'_, Result<Box<dyn Reader>, ReadError>> {
        Box::pin(async move {
            self.watermarks(partition).await?.check(from)?;
            let read_ahead = ReadAhead::new(&self.kafka, self.partitions, Arc::clone(&self.metrics));
            let from = Place { topic: Arc::clone(&self.topic), partition, offset: from };
            let reader = KafkaReader::new(&self.kafka.brokers, from, read_ahead, Arc::clone(&self.producer))?;
            let reader: Box<dyn Reader> = Box::new(reader);
            Ok(reader)
        })
    }

    fn ready(&self) -> Result<(), String> {
        self.producer.ready()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let producer = Arc::clone(&self.producer);
        let stop = self.stop.clone();
        Box::pin(async move {
            blocking(move || producer.close()).await;
            stop.cancel();
        })
    }
}

/// For questions to a broker: watermarks, metadata.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
