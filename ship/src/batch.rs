//! Batches: what is sent, retried and counted as one.
//!
//! In: events of one service, one by one, written straight into the open batch, and how far the files are read. Out: closed
//! batches with an identity and the positions behind their last event. Promised: sequence numbers start at 0 and have no
//! gaps; a batch has at most `events_max` events and passes `bytes_max` by at most one event. A [`Lane`] has one service,
//! because ingest chooses the partition by service, and a producer whose batches are spread cannot be told from one that
//! begins anew. Not done: packing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::parcel::Identity;
use crate::position::Position;

/// A closed batch.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) identity: Identity,
    pub(crate) events: u32,
    /// NDJSON.
    pub(crate) body: Vec<u8>,
    /// Of every file that gave lines since the batch before.
    pub(crate) positions: Vec<Position>,
}

/// The open batch of one service.
#[derive(Debug)]
pub(crate) struct Lane {
    events_max: u32,
    bytes_max: usize,
    next: Identity,
    events: u32,
    body: Vec<u8>,
    opened: Option<Instant>,
    closed: Instant,
    positions: BTreeMap<u64, Position>,
}

/// A producer that was silent for this long begins anew: ingest remembers one for a day, and a number out of nothing would be
/// counted as uncertain.
const PRODUCER_SILENT_MAX: Duration = Duration::from_secs(3 * 3600);

impl Lane {
    pub(crate) fn new(events_max: u32, bytes_max: usize) -> Self {
        Self {
            events_max,
            bytes_max,
            next: fresh(),
            events: 0,
            body: Vec::new(),
            opened: None,
            closed: Instant::now(),
            positions: BTreeMap::new(),
        }
    }

    /// Adds the event that `write` appends; true when the batch is full and has to be closed.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        write(&mut self.body);
        self.events += 1;
        if self.opened.is_none() {
            self.opened = Some(Instant::now());
        }
        self.events >= self.events_max || self.body.len() >= self.bytes_max
    }

    /// The lines of a file are taken up to here.
    pub(crate) fn reached(&mut self, position: Position) {
        self.positions.insert(position.id, position);
    }

    /// The batch so far, if there is anything in it.
    pub(crate) fn close(&mut self) -> Option<Batch> {
        if self.events == 0 {
            return None;
        }
        if self.closed.elapsed() > PRODUCER_SILENT_MAX {
            self.next = fresh();
        }
        self.closed = Instant::now();
        let identity = self.next;
        self.next.seq += 1;
        self.opened = None;
        let body = std::mem::take(&mut self.body);
        // The next batch will be about as long.
        self.body.reserve(body.len());
        Some(Batch { identity, events: std::mem::take(&mut self.events), body, positions: self.take_positions() })
    }

    /// What was read without an event to show for it.
    pub(crate) fn take_positions(&mut self) -> Vec<Position> {
        debug_assert!(self.events == 0, "a position goes with the events before it");
        std::mem::take(&mut self.positions).into_values().collect()
    }

    /// How long the oldest event may still wait if none may wait longer than `wait_max`; `None` when empty.
    pub(crate) fn due_in(&self, wait_max: Duration) -> Option<Duration> {
        Some(wait_max.saturating_sub(self.opened?.elapsed()))
    }
}

fn fresh() -> Identity {
    Identity { producer: Uuid::now_v7(), seq: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_full_by_events_and_by_bytes() {
        let mut lane = Lane::new(3, 20);
        assert!(!lane.push(|out| out.extend_from_slice(b"one\n")));
        assert!(!lane.push(|out| out.extend_from_slice(b"two\n")));
        assert!(lane.push(|out| out.extend_from_slice(b"three\n")));
        let first = lane.close().unwrap();
        assert_eq!((first.identity.seq, first.events, first.body.as_slice()), (0, 3, b"one\ntwo\nthree\n".as_slice()));
        assert!(lane.push(|out| out.extend_from_slice(&[b'x'; 20])));
        let second = lane.close().unwrap();
        assert_eq!((second.identity.seq, second.events), (1, 1));
        assert_eq!(second.identity.producer, first.identity.producer);
        assert!(lane.close().is_none());
    }

    #[test]
    fn an_event_is_due_only_while_it_waits() {
        let mut lane = Lane::new(1000, 1000);
        assert_eq!(lane.due_in(Duration::ZERO), None);
        lane.push(|out| out.extend_from_slice(b"one\n"));
        assert_eq!(lane.due_in(Duration::ZERO), Some(Duration::ZERO));
        lane.close();
        assert_eq!(lane.due_in(Duration::ZERO), None);
    }
}
