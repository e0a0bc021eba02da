//! Where each partition ends, as far as this process knows, and who wants to be told.
//!
//! Records of this process are published by its writer, those of other processes are found by polling: every few
//! milliseconds while records come, less often while nothing happens, not at all while nobody reads.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{READ_TIMEOUT, store};
use crate::{Offset, Partition, ReadError};

pub(super) struct Tail {
    known: watch::Sender<Known>,
}

#[derive(Clone)]
struct Known {
    high: Vec<Offset>,
    /// Why the last poll failed.
    failed: Option<Arc<str>>,
}

/// A reader's view of the tail; polling goes on as long as one exists.
pub(super) struct Follow {
    known: watch::Receiver<Known>,
}

impl Tail {
    pub(super) fn new(highs: &[Offset]) -> Self {
        Self { known: watch::Sender::new(Known { high: highs.to_vec(), failed: None }) }
    }

    pub(super) fn follow(&self) -> Follow {
        Follow { known: self.known.subscribe() }
    }

    pub(super) fn publish(&self, partition: Partition, high: Offset) {
        self.known.send_if_modified(|known| {
            let slot = &mut known.high[partition.0 as usize];
            let newer = *slot < high;
            *slot = (*slot).max(high);
            newer
        });
    }

    /// True when anything was new.
    fn publish_all(&self, highs: &[Offset]) -> bool {
        self.known.send_if_modified(|known| {
            let mut news = known.failed.take().is_some();
            for (slot, high) in known.high.iter_mut().zip(highs) {
                news |= *slot < *high;
                *slot = (*slot).max(*high);
            }
            news
        })
    }

    fn publish_failure(&self, reason: &str) {
        self.known.send_modify(|known| known.failed = Some(reason.into()));
    }
}

impl Follow {
    /// Waits until the partition reaches beyond `from`; false when it did not by the deadline.
    pub(super) async fn beyond(
        &mut self,
        partition: Partition,
        from: Offset,
        deadline: Instant,
    ) -> Result<bool, ReadError> {
        let index = partition.0 as usize;
        let news = self.known.wait_for(|known| known.high[index] > from || known.failed.is_some());
        match timeout_at(deadline, news).await {
            Err(_) => Ok(false),
            Ok(Ok(known)) if known.high[index] > from => Ok(true),
            Ok(Ok(known)) => {
                Err(ReadError::Unavailable { reason: known.failed.as_deref().unwrap_or_default().to_owned() })
            }
            Ok(Err(_)) => Err(ReadError::Unavailable { reason: "the log is closed".to_owned() }),
        }
    }
}

pub(super) fn spawn(topic: Arc<str>, tail: Arc<Tail>, reads: PgPool, stop: CancellationToken) {
    tokio::spawn(async move {
        stop.run_until_cancelled(poll(&topic, &tail, &reads)).await;
    });
}

async fn poll(topic: &str, tail: &Tail, reads: &PgPool) {
    let mut pause = POLL_PAUSE_MIN;
    loop {
        if tail.known.receiver_count() == 0 {
            sleep(POLL_PAUSE_MAX).await;
            continue;
        }
        let failure = match timeout(READ_TIMEOUT, store::highs(reads, topic)).await {
            Ok(Ok(highs)) => {
                let news = tail.publish_all(&highs);
                pause = if news { POLL_PAUSE_MIN } else { pause };
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the database gave no answer in time".to_owned()),
        };
        if let Some(reason) = failure {
            if tail.known.borrow().failed.is_none() {
                warn!(topic, reason, "looking for new records failed");
            }
            tail.publish_failure(&reason);
            pause = POLL_PAUSE_FAILED;
        }
        sleep(pause).await;
        pause = (pause + pause / 2).min(POLL_PAUSE_MAX);
    }
}

/// While records come: a poll costs the database some 30 µs, so this is below one percent of a core.
const POLL_PAUSE_MIN: Duration = Duration::from_millis(5);
/// While nothing happens; the longest a record of another process waits to be seen.
const POLL_PAUSE_MAX: Duration = Duration::from_millis(50);
const POLL_PAUSE_FAILED: Duration = Duration::from_millis(200);
