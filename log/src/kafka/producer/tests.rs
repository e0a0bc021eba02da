use futures_util::future::join_all;
use peep_testkit::Topics;

use super::*;
use crate::kafka::client::blocking;
use crate::{Topic, kafka::topic};

/// librdkafka cannot be made to fail for good on demand; what has to happen then can.
#[tokio::test]
async fn a_replaced_client_answers_every_record_and_the_next_one_goes_on() {
    let producer = Arc::new(open().await);
    let before: Vec<_> = (0..200).map(|_| send(&producer)).collect();
    let replacing = Arc::clone(&producer);
    blocking(move || replacing.replace_client()).await.expect("replace the client");
    let after: Vec<_> = (0..200).map(|_| send(&producer)).collect();

    let failed: Vec<_> = join_all(before).await.into_iter().filter_map(Result::err).collect();
    assert!(failed.iter().all(|error| matches!(error, AppendError::Unavailable { .. })), "{failed:?}");
    let offsets: Vec<_> = join_all(after).await.into_iter().map(|answer| answer.expect("append")).collect();
    assert!(offsets.is_sorted());
    assert_eq!(producer.shared.queued_bytes.load(Ordering::Acquire), 0, "all bytes were given back");
}

#[test]
fn librdkafkas_timeout_ends_before_ours_even_with_its_late_look() {
    let of = |ms| message_timeout(Duration::from_millis(ms)).as_millis();
    assert_eq!((of(4_000), of(2_000), of(1_000)), (3_000, 1_000, 500));
}

async fn open() -> Producer {
    let topics = Topics::fresh().await;
    let mut config = LogConfig { topic_prefix: topics.prefix().to_owned(), ..LogConfig::default() };
    config.kafka.brokers = topics.brokers().to_owned();
    topic::ensure(&config, Topic::Events).await.expect("create the topic");
    let name = config.topic_name(Topic::Events).into();
    Producer::new(&config, name, Arc::new(TopicMetrics::new(Topic::Events))).expect("producer")
}

fn send(producer: &Producer) -> Answer {
    producer.send(Partition(0), &Bytes::from_static(b"x")).expect("queue a record")
}
