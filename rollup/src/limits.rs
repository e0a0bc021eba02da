//! The byte budget of a worker.
//!
//! Arrives: how much each partition, and each running flush, holds. Leaves: how hard a partition has to try to hold less.
//!
//! Promises: from half of the budget on, partitions with more than their share flush early; at the whole of it none reads on
//! until a flush has ended. Nothing is ever thrown away: what is not read stays in the log. The overshoot is one read per
//! partition.
//!
//! Does not: count the allocator's overhead or the process itself; leave a quarter of a container's limit for those.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::metrics;

/// Shared by all partitions of a worker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bytes_max: usize,
    /// What one partition may hold while others want memory too.
    share: usize,
    bytes: AtomicUsize,
}

/// What one holder has; gives it back when dropped.
#[derive(Debug)]
pub struct Account {
    budget: Budget,
    bytes: usize,
}

/// What to do about memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Nothing.
    None,
    /// Flush before the time has come.
    FlushEarly,
    /// Read no further until a flush has ended.
    Stop,
}

impl Budget {
    /// A budget that `partitions` share.
    pub fn new(bytes_max: usize, partitions: u32) -> Self {
        let share = bytes_max / 2 / partitions.max(1) as usize;
        Self { shared: Arc::new(Shared { bytes_max, share, bytes: AtomicUsize::new(0) }) }
    }

    /// An account that holds `bytes`.
    pub fn account(&self, bytes: usize) -> Account {
        let mut account = Account { budget: self.clone(), bytes: 0 };
        account.set(bytes);
        account
    }

    /// Payload to read at once. Records of many series grow in memory, at worst (each event a new series) about fivefold.
    pub fn read_bytes_max(&self) -> usize {
        (self.shared.share / 8).clamp(READ_BYTES_MIN, READ_BYTES_MAX)
    }

    /// Bytes held by all.
    pub fn bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

impl Account {
    /// Reports what is held now.
    pub fn set(&mut self, bytes: usize) {
        let total = &self.budget.shared.bytes;
        let now = if bytes >= self.bytes {
            total.fetch_add(bytes - self.bytes, Ordering::Relaxed) + (bytes - self.bytes)
        } else {
            total.fetch_sub(self.bytes - bytes, Ordering::Relaxed) - (self.bytes - bytes)
        };
        self.bytes = bytes;
        metrics::memory_bytes(now);
    }

    /// How hard this holder has to try.
    pub fn pressure(&self) -> Pressure {
        let Shared { bytes_max, share, .. } = &*self.budget.shared;
        let (bytes_max, share) = (*bytes_max, *share);
        let total = self.budget.bytes();
        if total >= bytes_max {
            Pressure::Stop
        } else if total >= bytes_max / 2 && self.bytes >= share {
            Pressure::FlushEarly
        } else {
            Pressure::None
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A few records.
const READ_BYTES_MIN: usize = 32 << 10;
/// Half a millisecond of counting; larger reads save nothing.
const READ_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_partition_flushes_first_and_everybody_stops_at_the_limit() {
        let budget = Budget::new(1000, 2);
        let mut small = budget.account(100);
        let large = budget.account(450);
        assert_eq!((small.pressure(), large.pressure()), (Pressure::None, Pressure::FlushEarly));
        small.set(550);
        assert_eq!((small.pressure(), large.pressure()), (Pressure::Stop, Pressure::Stop));
        drop(large);
        assert_eq!(budget.bytes(), 550);
        assert_eq!(small.pressure(), Pressure::FlushEarly);
    }
}
