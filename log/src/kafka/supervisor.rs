//! Watches over the producer: is it beyond repair, are the brokers there.
//!
//! Acts on suspicion only: an error of the client or of a delivery. While the brokers cannot be reached appends are
//! refused at once instead of each waiting for its own timeout, and readiness says why. Beside that it tells the gauge how full the queue is.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::producer::Producer as _;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::ASK_TIMEOUT;
use super::client::blocking;
use super::producer::Producer;

pub(super) fn spawn(producer: Arc<Producer>, stop: CancellationToken) {
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = watch(&producer) => {}
            () = observe(&producer) => {}
        }
        // The last owner waits for librdkafka's threads, which must not be a thread of the runtime.
        std::thread::spawn(move || drop(producer));
    });
}

async fn watch(producer: &Arc<Producer>) {
    loop {
        producer.shared().suspicion.notified().await;
        replace_if_failed(producer).await;
        wait_for_brokers(producer).await;
    }
}

async fn observe(producer: &Producer) {
    loop {
        producer.shared().observe();
        sleep(OBSERVE_PAUSE).await;
    }
}

async fn replace_if_failed(producer: &Arc<Producer>) {
    let Some((code, reason)) = producer.client().client().fatal_error() else {
        return;
    };
    warn!(topic = producer.topic(), %code, reason, "the Kafka producer failed for good and is replaced");
    producer.shared().refuse(&format!("the Kafka producer is being replaced: {reason}"));
    let failed = Arc::clone(producer);
    if let Err(error) = blocking(move || failed.replace_client()).await {
        // The same settings worked before; the next suspicion tries again.
        warn!(topic = producer.topic(), %error, "replace the Kafka producer");
        sleep(PROBE_PAUSE).await;
        producer.shared().suspicion.notify_one();
    }
}

/// Returns once a broker answers.
async fn wait_for_brokers(producer: &Arc<Producer>) {
    let mut refusing = false;
    loop {
        let asking = Arc::clone(producer);
        let answer = blocking(move || {
            let client = asking.client();
            client.client().fetch_metadata(Some(asking.topic()), ASK_TIMEOUT).map(drop)
        })
        .await;
        match answer {
            Ok(()) => {
                if refusing {
                    info!(topic = producer.topic(), "Kafka answers again");
                }
                producer.shared().accept();
                return;
            }
            Err(error) => {
                if !refusing {
                    warn!(topic = producer.topic(), %error, "Kafka does not answer");
                }
                refusing = true;
                producer.shared().refuse(&format!("Kafka does not answer: {error}"));
            }
        }
        sleep(PROBE_PAUSE).await;
    }
}

const PROBE_PAUSE: Duration = Duration::from_millis(250);
/// Shorter than any scrape interval.
const OBSERVE_PAUSE: Duration = Duration::from_secs(1);
