//! Which partitions are mine.
//!
//! Arrives: time passing, and consumers that ended. Leaves: partitions to start and partitions to stop.
//!
//! A worker renews its leases every two seconds; they last ten by the clock of the database, so three renewals may fail
//! before somebody else may take over. Free and expired partitions are taken at the same rhythm. A partition whose consumer
//! failed rests for a moment and is then leased *again*, which raises its epoch and so fences whatever the failed attempt
//! still had under way.
//!
//! Promises: liveness only. Two workers that both believe they own a partition waste work; the compare-and-swap in
//! [`Store::flush`] decides who may write.
//!
//! Does not: share partitions fairly among workers. `count_max` in [`Leases::tick`] is the place: a worker that knows how
//! many there are takes and keeps no more than its share; giving one up is what `release` does for all.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::store::{Claim, LEASE, Lease, Owner, Store, StoreError};

/// The leases of one worker.
pub struct Leases {
    store: Arc<dyn Store>,
    owner: Owner,
    partitions: u32,
    count_max: u64,
    held: BTreeMap<u32, Held>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// A consumer runs with this epoch.
    Running(u64),
    /// Ours, but idle until then.
    Resting(Instant),
}

/// What a tick changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Start a consumer for each.
    pub acquired: Vec<Lease>,
    /// Stop the consumer of each; its memory is worth nothing any more.
    pub lost: Vec<u32>,
}

impl Leases {
    /// No leases yet.
    pub fn new(store: Arc<dyn Store>, owner: Owner, partitions: u32, count_max: u64) -> Self {
        Self { store, owner, partitions, count_max, held: BTreeMap::new() }
    }

    /// Renews, notices what is gone, takes what is free.
    pub async fn tick(&mut self) -> Result<Changes, StoreError> {
        let renewed: BTreeMap<u32, u64> = in_time(self.store.renew(self.owner)).await?.held.into_iter().collect();
        let lost = self.forget_lost(&renewed);
        let now = Instant::now();
        let resting: Vec<u32> =
            self.resting().filter(|(_, until)| *until > now).map(|(partition, _)| partition).collect();
        // Also partitions of ours that nobody works on: a claim whose answer was lost.
        let is_idle = |partition: &&u32| {
            !matches!(self.held.get(partition), Some(Held::Running(_))) && !resting.contains(partition)
        };
        let again: Vec<u32> = renewed.keys().filter(is_idle).copied().collect();
        let busy = self.held.len() - self.resting().filter(|(_, until)| *until <= now).count();
        let count_max = self.count_max.saturating_sub(busy as u64);
        let claim = self.store.claim(self.owner, Claim { partitions: self.partitions, again, count_max });
        // What was lost is said even when nothing could be claimed.
        let acquired = match in_time(claim).await {
            Ok(acquired) => acquired,
            Err(error) if lost.is_empty() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "no partitions claimed");
                Vec::new()
            }
        };
        self.held.extend(acquired.iter().map(|lease| (lease.partition, Held::Running(lease.epoch))));
        Ok(Changes { acquired, lost })
    }

    /// The consumer of an epoch ended: should the partition still be ours, take it again after `rest`.
    pub fn rest(&mut self, partition: u32, epoch: u64, rest: Duration) {
        if let Some(held) = self.held.get_mut(&partition)
            && *held == Held::Running(epoch)
        {
            *held = Held::Resting(Instant::now() + rest);
        }
    }

    /// When [`Leases::tick`] is due, if the last one was just now.
    pub fn next_tick(&self) -> Instant {
        let now = Instant::now();
        let due = self.resting().map(|(_, until)| until).fold(now + RENEWAL_INTERVAL, Instant::min);
        // A partition that is due may still be locked by the flush that failed.
        due.max(now + TICK_INTERVAL_MIN)
    }

    /// Gives everything back.
    pub async fn release(&mut self) -> Result<(), StoreError> {
        self.held.clear();
        in_time(self.store.release(self.owner, None)).await
    }

    fn forget_lost(&mut self, renewed: &BTreeMap<u32, u64>) -> Vec<u32> {
        let is_lost = |(partition, held): &(&u32, &Held)| match held {
            Held::Running(epoch) => renewed.get(partition) != Some(epoch),
            Held::Resting(_) => !renewed.contains_key(partition),
        };
        let lost: Vec<(u32, Held)> =
            self.held.iter().filter(is_lost).map(|(partition, held)| (*partition, *held)).collect();
        for (partition, _) in &lost {
            self.held.remove(partition);
        }
        let running = |(partition, held): (u32, Held)| matches!(held, Held::Running(_)).then_some(partition);
        lost.into_iter().filter_map(running).collect()
    }

    fn resting(&self) -> impl Iterator<Item = (u32, Instant)> {
        self.held.iter().filter_map(|(partition, held)| match held {
            Held::Resting(until) => Some((*partition, *until)),
            Held::Running(_) => None,
        })
    }
}

/// A database that does not answer is a database that is down.
async fn in_time<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(LEASE / 4, answer).await.unwrap_or_else(|_| Err(StoreError::new("no answer in time")))
}

/// A fifth of the lease.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(2);
const TICK_INTERVAL_MIN: Duration = Duration::from_millis(100);
