//! Which partitions are mine.
//!
//! Arrives: time passing, and consumers that ended. Leaves: partitions to start, to stop, and to leave to others.
//!
//! Every second a worker renews its leases, looks who else is alive, and takes free and expired partitions up to its share.
//! Shares add up to all partitions and differ by one at most, unless somebody can take no more. Who has more than that, because
//! a worker joined, finishes what it has of the surplus and gives it back. A partition whose consumer failed rests for a moment
//! and is then leased *again*, which raises its epoch and so fences whatever the failed attempt still had under way.
//!
//! Promises: liveness only. Two workers that both believe they own a partition waste work; the compare-and-swap in
//! [`Store::flush`] decides who may write. A cursor that is behind what a consumer committed (the store lost its end) is
//! noticed here even when nothing new arrives, and counted again.
//!
//! Does not: start or stop anything; see `app`.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::position::Position;
use crate::store::{Claim, HeldLease, LEASE, Lease, Owner, Renewed, Store, StoreError};

/// The leases of one worker.
pub struct Leases {
    store: Arc<dyn Store>,
    owner: Owner,
    partitions: u32,
    capacity: u32,
    held: BTreeMap<u32, Held>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// A consumer runs with this epoch.
    Running(u64),
    /// A consumer finishes; then the lease goes back.
    Leaving(u64),
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
    /// Let the consumer of each finish; somebody else waits for it.
    pub surplus: Vec<u32>,
}

impl Leases {
    /// No leases yet.
    pub fn new(store: Arc<dyn Store>, owner: Owner, partitions: u32, partitions_max: u64) -> Self {
        let capacity = u32::try_from(partitions_max).unwrap_or(u32::MAX).min(partitions);
        Self { store, owner, partitions, capacity, held: BTreeMap::new() }
    }

    /// Renews, notices what is gone, gives up what is too much, takes what is free. `committed` is what consumers know to be
    /// committed, from before the call.
    pub async fn tick(&mut self, committed: &BTreeMap<u32, Position>) -> Result<Changes, StoreError> {
        let Renewed { held: renewed, workers } = in_time(self.store.renew(self.owner, self.capacity)).await?;
        let renewed: BTreeMap<u32, HeldLease> = renewed.into_iter().map(|lease| (lease.partition, lease)).collect();
        let mut changes = Changes { lost: self.forget_lost(&renewed, committed), ..Changes::default() };
        let share = share(self.partitions, &workers, self.owner);
        let (surplus, idle) = self.surplus(&renewed, share);
        changes.surplus = surplus;
        // What was lost is said even when nothing can be claimed.
        if let Err(error) = self.settle(&renewed, idle, share, &mut changes).await {
            if changes.lost.is_empty() && changes.surplus.is_empty() {
                return Err(error);
            }
            tracing::warn!(%error, "no partitions claimed");
        }
        Ok(changes)
    }

    /// The consumer of an epoch ended: should the partition still be ours, take it again after `rest`. `true`: it was to be
    /// left to somebody else, who may now have it ([`Leases::leave`]).
    pub fn ended(&mut self, partition: u32, epoch: u64, rest: Duration) -> bool {
        match self.held.get_mut(&partition) {
            Some(held) if *held == Held::Running(epoch) => {
                *held = Held::Resting(Instant::now() + rest);
                false
            }
            Some(Held::Leaving(leaving)) => *leaving == epoch,
            _ => false,
        }
    }

    /// Gives back partitions whose consumers have ended.
    pub async fn leave(&mut self, partitions: Vec<u32>) -> Result<(), StoreError> {
        // Should the answer be lost, the next renewal still names them, and they are seen to be idle.
        for partition in &partitions {
            self.held.remove(partition);
        }
        in_time(self.store.release(self.owner, Some(partitions))).await
    }

    /// When [`Leases::tick`] is due, if the last one was just now.
    pub fn next_tick(&self) -> Instant {
        let now = Instant::now();
        let due = self.resting().map(|(_, until)| until).fold(now + TICK_INTERVAL, Instant::min);
        // A partition that is due may still be locked by the flush that failed.
        due.max(now + TICK_INTERVAL_MIN)
    }

    /// Gives everything back.
    pub async fn release(&mut self) -> Result<(), StoreError> {
        self.held.clear();
        in_time(self.store.release(self.owner, None)).await
    }

    fn forget_lost(&mut self, renewed: &BTreeMap<u32, HeldLease>, committed: &BTreeMap<u32, Position>) -> Vec<u32> {
        let is_lost = |(partition, held): &(&u32, &Held)| match (held, renewed.get(partition)) {
            (_, None) => true,
            (Held::Running(epoch) | Held::Leaving(epoch), Some(lease)) => {
                lease.epoch != *epoch || committed.get(partition).is_some_and(|committed| lease.next < *committed)
            }
            (Held::Resting(_), Some(_)) => false,
        };
        let lost: Vec<(u32, Held)> =
            self.held.iter().filter(is_lost).map(|(partition, held)| (*partition, *held)).collect();
        for (partition, _) in &lost {
            self.held.remove(partition);
        }
        lost.into_iter().map(|(partition, _)| partition).collect()
    }

    /// Partitions whose consumers shall finish, and idle ones to give back at once: first the idle, then the highest numbers.
    fn surplus(&mut self, renewed: &BTreeMap<u32, HeldLease>, share: u32) -> (Vec<u32>, Vec<u32>) {
        let running = |held: &Held| matches!(held, Held::Running(_));
        let leaving = |held: &Held| matches!(held, Held::Leaving(_));
        let mine: Vec<u32> =
            renewed.keys().copied().filter(|partition| !self.held.get(partition).is_some_and(leaving)).collect();
        let too_many = mine.len().saturating_sub(share as usize);
        let (busy, idle): (Vec<u32>, Vec<u32>) =
            mine.into_iter().rev().partition(|partition| self.held.get(partition).is_some_and(running));
        let idle: Vec<u32> = idle.into_iter().take(too_many).collect();
        let surplus: Vec<u32> = busy.into_iter().take(too_many - idle.len()).collect();
        for partition in &surplus {
            if let Some(held) = self.held.get_mut(partition)
                && let Held::Running(epoch) = *held
            {
                *held = Held::Leaving(epoch);
            }
        }
        (surplus, idle)
    }

    /// Gives back what is idle and too much, and takes what is free up to the share.
    async fn settle(
        &mut self,
        renewed: &BTreeMap<u32, HeldLease>,
        idle: Vec<u32>,
        share: u32,
        changes: &mut Changes,
    ) -> Result<(), StoreError> {
        let given: Vec<u32> = idle.clone();
        if !idle.is_empty() {
            self.leave(idle).await?;
        }
        let now = Instant::now();
        // Also partitions of ours that nobody works on: a claim whose answer was lost.
        let is_due = |partition: &&u32| match self.held.get(partition) {
            Some(Held::Resting(until)) => *until <= now,
            Some(_) => false,
            None => !given.contains(partition),
        };
        let again: Vec<u32> = renewed.keys().filter(is_due).copied().collect();
        let is_busy =
            |(partition, held): &(&u32, &Held)| !matches!(held, Held::Leaving(_)) && !again.contains(partition);
        let busy = self.held.iter().filter(is_busy).count();
        let count_max = u64::from(share).saturating_sub(busy as u64);
        if count_max == 0 {
            return Ok(());
        }
        let claim = Claim { partitions: self.partitions, again, count_max };
        let acquired = in_time(self.store.claim(self.owner, claim)).await?;
        self.held.extend(acquired.iter().map(|lease| (lease.partition, Held::Running(lease.epoch))));
        changes.acquired = acquired;
        Ok(())
    }

    fn resting(&self) -> impl Iterator<Item = (u32, Instant)> {
        self.held.iter().filter_map(|(partition, held)| match held {
            Held::Resting(until) => Some((*partition, *until)),
            Held::Running(_) | Held::Leaving(_) => None,
        })
    }
}

/// How many partitions a worker should have: dealt out one by one, in the order of the workers, to those who can take more.
fn share(partitions: u32, workers: &[(Owner, u32)], me: Owner) -> u32 {
    let mut dealt = vec![0u32; workers.len()];
    let mut left = partitions;
    while left > 0 {
        let before = left;
        for (dealt, (_, capacity)) in dealt.iter_mut().zip(workers) {
            if left > 0 && *dealt < *capacity {
                *dealt += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    let mine = workers.iter().position(|(owner, _)| *owner == me);
    mine.map_or(0, |at| dealt[at])
}

/// A store that does not answer is a store that is down.
async fn in_time<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(LEASE / 4, answer).await.unwrap_or_else(|_| Err(StoreError::new("no answer in time")))
}

/// Several may fail before the leases expire.
const TICK_INTERVAL: Duration = Duration::from_secs(1);
const TICK_INTERVAL_MIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    proptest! {
        #[test]
        fn shares_add_up_to_all_partitions_that_can_be_taken(
            partitions in 0u32..200,
            capacities in prop::collection::vec(0u32..80, 1..9),
        ) {
            let workers: Vec<(Owner, u32)> =
                capacities.iter().enumerate().map(|(n, capacity)| (Owner(Uuid::from_u128(n as u128)), *capacity)).collect();
            let shares: Vec<u32> = workers.iter().map(|(owner, _)| share(partitions, &workers, *owner)).collect();
            prop_assert_eq!(shares.iter().sum::<u32>(), partitions.min(capacities.iter().sum()));
            let unbound: Vec<u32> =
                shares.iter().zip(&capacities).filter(|(share, capacity)| share < capacity).map(|(share, _)| *share).collect();
            let fair = unbound.iter().max().unwrap_or(&0) - unbound.iter().min().unwrap_or(&0) <= 1;
            prop_assert!(fair, "{shares:?}");
        }
    }
}
