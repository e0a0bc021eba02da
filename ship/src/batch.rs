//! Batches: what is sent, retried and counted as one.
//!
//! In: events, one by one, written straight into the open batch. Out: closed batches with a sequence number.
//! Promised: a closed batch never changes; sequence numbers start at 0 and have no gaps; a batch has at most
//! `events_max` events and passes `bytes_max` by at most one event. Not done: compression, which the sender does once,
//! in parallel, before the first attempt.

use std::time::{Duration, Instant};

/// A closed batch.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) seq: u64,
    pub(crate) events: u32,
    /// NDJSON.
    pub(crate) body: Vec<u8>,
}

/// The open batch.
#[derive(Debug)]
pub(crate) struct Batcher {
    events_max: u32,
    bytes_max: usize,
    next_seq: u64,
    events: u32,
    body: Vec<u8>,
    opened: Option<Instant>,
}

impl Batcher {
    pub(crate) fn new(events_max: u32, bytes_max: usize) -> Self {
        Self { events_max, bytes_max, next_seq: 0, events: 0, body: Vec::new(), opened: None }
    }

    /// Adds the event that `write` appends; gives back the batch when it is full.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Option<Batch> {
        write(&mut self.body);
        self.events += 1;
        if self.events >= self.events_max || self.body.len() >= self.bytes_max {
            return self.close();
        }
        if self.opened.is_none() {
            self.opened = Some(Instant::now());
        }
        None
    }

    /// The batch so far, if there is anything in it.
    pub(crate) fn close(&mut self) -> Option<Batch> {
        if self.events == 0 {
            return None;
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        self.opened = None;
        let body = std::mem::take(&mut self.body);
        // The next batch will be about as long.
        self.body.reserve(body.len());
        Some(Batch { seq, events: std::mem::take(&mut self.events), body })
    }

    /// How long the oldest event may still wait if none may wait longer than `wait_max`; `None` when empty.
    pub(crate) fn due_in(&self, wait_max: Duration) -> Option<Duration> {
        Some(wait_max.saturating_sub(self.opened?.elapsed()))
    }
}

impl Batch {
    /// The event at `index`, for a message about it.
    pub(crate) fn event(&self, index: usize) -> &[u8] {
        self.body.split(|&byte| byte == b'\n').nth(index).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_closes_by_events_and_by_bytes() {
        let mut batcher = Batcher::new(3, 20);
        assert!(batcher.push(|out| out.extend_from_slice(b"one\n")).is_none());
        assert!(batcher.push(|out| out.extend_from_slice(b"two\n")).is_none());
        let first = batcher.push(|out| out.extend_from_slice(b"three\n")).unwrap();
        assert_eq!((first.seq, first.events, first.event(1)), (0, 3, b"two".as_slice()));
        let second = batcher.push(|out| out.extend_from_slice(&[b'x'; 20])).unwrap();
        assert_eq!((second.seq, second.events), (1, 1));
        assert!(batcher.close().is_none());
    }

    #[test]
    fn an_event_is_due_only_while_it_waits() {
        let mut batcher = Batcher::new(1000, 1000);
        assert_eq!(batcher.due_in(Duration::ZERO), None);
        batcher.push(|out| out.extend_from_slice(b"one\n"));
        assert_eq!(batcher.due_in(Duration::ZERO), Some(Duration::ZERO));
        batcher.close();
        assert_eq!(batcher.due_in(Duration::ZERO), None);
    }
}
