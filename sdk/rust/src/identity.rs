//! Who sends, and the how-manieth batch it is: what makes a retry recognisable.
//!
//! Leaves: a pair (producer, number) for each batch, given once, when the batch is first sent. A producer is a UUIDv7 that
//! this process made up; it is replaced after a day, because peep forgets producers a day after their last batch.

use std::time::{Duration, Instant};

use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) producer: Uuid,
    pub(crate) seq: u64,
}

#[derive(Debug)]
pub(crate) struct Producer {
    id: Uuid,
    born: Instant,
    seq: u64,
    age_max: Duration,
}

impl Producer {
    pub(crate) fn new(age_max: Duration) -> Self {
        Self { id: Uuid::now_v7(), born: Instant::now(), seq: 0, age_max }
    }

    pub(crate) fn next(&mut self, now: Instant) -> Identity {
        if now.saturating_duration_since(self.born) >= self.age_max {
            *self = Self::new(self.age_max);
        }
        let identity = Identity { producer: self.id, seq: self.seq };
        self.seq += 1;
        identity
    }
}
