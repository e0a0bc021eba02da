//! The one queue of the SDK: lines waiting to be sent, bounded in bytes.
//!
//! Arrives: events, on the threads of the requests. Leaves: batches, oldest first, whose bytes never change once they were
//! first sent. Promised: never more than `bytes_max` held, whatever the server does; when there is no room the newest event is
//! dropped and counted; at steady state nothing is allocated, because chunks go back and forth. Not done: sending,
//! retrying, anything with time.

use std::collections::VecDeque;

use crate::event::Event;
use crate::identity::Identity;
use crate::lines::Lines;

/// Events that are sent together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) body: Vec<u8>,
    pub(crate) events: u64,
    pub(crate) form: Form,
    /// Given when it is first sent.
    pub(crate) identity: Option<Identity>,
}

/// What has become of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it was written; it may still be made smaller.
    Plain,
    /// As it was written, and it stays so.
    Kept,
    Gzip,
}

/// Books of the queue; the sender's are in [`Stats`](crate::Stats).
#[derive(Debug)]
pub(crate) struct Queue {
    bytes_max: usize,
    chunk_bytes: usize,
    lines: Lines,
    open: Vec<u8>,
    open_events: u64,
    spares: Vec<Vec<u8>>,
    sealed: VecDeque<Batch>,
    /// Of `open`, `spares`, `sealed`, and what the sender has in its hands.
    bytes: usize,
    /// Of `open`, `sealed`, and what the sender has in its hands.
    events: u64,
    pub(crate) sealed_ever: u64,
    pub(crate) done_ever: u64,
}

/// Kept for the next burst: that many chunks, and the open one, fill before a request has to ask for memory.
const SPARES_MAX: usize = 4;

/// The most events of a batch; ingest takes 5000.
const BATCH_EVENTS_MAX: u64 = 5000;

/// Room for a request's line with a common route.
const LINE_BYTES: usize = 512;

impl Queue {
    pub(crate) fn new(lines: Lines, bytes_max: usize, chunk_bytes: usize) -> Self {
        Self {
            bytes_max,
            chunk_bytes,
            lines,
            open: Vec::new(),
            open_events: 0,
            spares: Vec::new(),
            sealed: VecDeque::new(),
            bytes: 0,
            events: 0,
            sealed_ever: 0,
            done_ever: 0,
        }
    }

    /// False: there is no room, the event is dropped.
    pub(crate) fn push(&mut self, event: &Event<'_>, detail: bool, now_ms: u64) -> bool {
        let wanted = LINE_BYTES + event.extra_bytes();
        let is_full = self.open_events >= BATCH_EVENTS_MAX || self.open.len() + wanted > self.open.capacity();
        if is_full && !self.renew() {
            return false;
        }
        let before = self.open.len();
        let capacity = self.open.capacity();
        self.lines.write(event, detail, now_ms, &mut self.open);
        if self.open.capacity() > capacity {
            // An uncommonly long line made the chunk grow: the growth is booked, or undone where there is no room for it.
            return self.book_growth(before, capacity);
        }
        self.open_events += 1;
        self.events += 1;
        true
    }

    fn book_growth(&mut self, before: usize, capacity: usize) -> bool {
        let growth = self.open.capacity() - capacity;
        let fits = self.bytes + growth <= self.bytes_max;
        if fits {
            self.open_events += 1;
            self.events += 1;
        } else {
            self.open.truncate(before);
            self.open.shrink_to(capacity);
        }
        self.bytes += self.open.capacity() - capacity;
        fits
    }

    /// Closes the open batch and opens a new one. False: the budget is used up.
    fn renew(&mut self) -> bool {
        let fresh = match self.spares.pop() {
            Some(spare) => spare,
            None if self.bytes + self.chunk_bytes <= self.bytes_max => {
                self.bytes += self.chunk_bytes;
                Vec::with_capacity(self.chunk_bytes)
            }
            None => return false,
        };
        let full = std::mem::replace(&mut self.open, fresh);
        self.seal_body(full);
        true
    }

    /// Closes the open batch, however small it is.
    pub(crate) fn seal(&mut self) {
        if self.open_events > 0 {
            let body = std::mem::take(&mut self.open);
            self.seal_body(body);
        }
    }

    fn seal_body(&mut self, body: Vec<u8>) {
        if self.open_events == 0 {
            self.recycle(body);
            return;
        }
        self.sealed.push_back(Batch { body, events: self.open_events, form: Form::Plain, identity: None });
        self.sealed_ever += 1;
        self.open_events = 0;
    }

    /// The oldest batch; its bytes stay booked until [`Queue::done`].
    pub(crate) fn take(&mut self) -> Option<Batch> {
        self.sealed.pop_front()
    }

    /// A batch that waits and nobody made smaller yet; to be given back with [`Queue::put_back`].
    pub(crate) fn take_plain(&mut self) -> Option<(usize, Batch)> {
        let at = self.sealed.iter().position(|batch| batch.form == Form::Plain)?;
        self.sealed.remove(at).map(|batch| (at, batch))
    }

    pub(crate) fn put_back(&mut self, at: usize, batch: Batch) {
        self.sealed.insert(at.min(self.sealed.len()), batch);
    }

    /// The body of a batch in the sender's hands was replaced by a smaller one.
    pub(crate) fn replaced(&mut self, old: Vec<u8>, new: &Vec<u8>) {
        self.bytes += new.capacity();
        self.recycle(old);
    }

    /// A batch that the sender took has its final answer.
    pub(crate) fn done(&mut self, batch: Batch) {
        self.events -= batch.events;
        self.done_ever += 1;
        self.recycle(batch.body);
    }

    fn recycle(&mut self, mut body: Vec<u8>) {
        let fits = self.bytes <= self.bytes_max;
        if fits && body.capacity() == self.chunk_bytes && self.spares.len() < SPARES_MAX {
            body.clear();
            self.spares.push(body);
        } else {
            self.bytes -= body.capacity();
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn is_open_empty(&self) -> bool {
        self.open_events == 0
    }

    pub(crate) fn sealed(&self) -> usize {
        self.sealed.len()
    }
}
