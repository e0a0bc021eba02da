//! What a worker has to tell, until it is sent.
//!
//! In: events. Out: a datagram. Promised: the memory is taken once, at the start; an event that does not fit is given back, so
//! that the buffer can be sent first; what was sent and what was dropped is counted and travels in the next datagram.

use crate::event::{Event, Route, SERVICE_BYTES_MAX};
use crate::varint::{put, zigzag};
use crate::{HEADER_BYTES, MAGIC};

/// Well below the 208 KiB that Linux lets a sender of datagrams have under way, and so large that ten of them, which is all that it
/// lets a socket hold, last for milliseconds at full speed.
pub const DATAGRAM_BYTES_MAX: usize = 16 << 10;

/// The worst event there is: a service, a path and a trace, and the numbers.
const RECORD_BYTES_MAX: usize = SERVICE_BYTES_MAX + 1024 + 24 + 64;

/// The events of one worker on their way out.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    worker: u64,
    base_ms: u64,
    events: u64,
    sent: u64,
    dropped: u64,
    /// Of `dropped`, what no datagram has told yet.
    untold: u64,
}

impl Buffer {
    /// `worker` is a number that no other worker has or had.
    pub fn new(worker: u64) -> Self {
        let mut bytes = Vec::with_capacity(DATAGRAM_BYTES_MAX);
        bytes.resize(HEADER_BYTES, 0);
        Self { bytes, worker, base_ms: 0, events: 0, sent: 0, dropped: 0, untold: 0 }
    }

    /// False: no room; send what is there, and try again.
    pub fn push(&mut self, event: &Event<'_>) -> bool {
        if self.bytes.len() + RECORD_BYTES_MAX > DATAGRAM_BYTES_MAX {
            return false;
        }
        if self.events == 0 {
            self.base_ms = event.ended_ms;
        }
        let start = self.bytes.len();
        // Two bytes for the length hold any record.
        self.bytes.extend_from_slice(&[0; 2]);
        self.write(event);
        let length = self.bytes.len() - start - 2;
        debug_assert!(length <= RECORD_BYTES_MAX, "records are bounded");
        self.bytes[start] = length as u8 | 0x80;
        self.bytes[start + 1] = (length >> 7) as u8;
        self.events += 1;
        true
    }

    fn write(&mut self, event: &Event<'_>) {
        let out = &mut self.bytes;
        put_bytes(out, &event.service[..event.service.len().min(SERVICE_BYTES_MAX)]);
        put(out, zigzag(event.ended_ms.wrapping_sub(self.base_ms) as i64));
        put(out, event.duration_us);
        out.push(event.method as u8);
        put(out, event.status.into());
        put(out, event.bytes_in);
        put(out, event.bytes_out);
        let (kind, route) = match event.route {
            Route::Template(route) => (0, route),
            Route::Path(route) => (1, route),
        };
        out.push(kind);
        put_bytes(out, &route[..route.len().min(1024)]);
        match event.trace {
            None => out.push(0),
            Some(trace) => {
                out.push(1);
                out.extend_from_slice(&trace.trace_id);
                out.extend_from_slice(&trace.span_id);
            }
        }
    }

    /// Nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// How many events the datagram has so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Drops that no datagram has told yet; worth an empty one before the worker ends.
    pub fn has_untold_drops(&self) -> bool {
        self.untold > 0
    }

    /// What is to be sent now. Ends with [`Buffer::sent`] or [`Buffer::drop_all`].
    pub fn datagram(&mut self) -> &[u8] {
        let numbers = [self.worker, self.sent, self.dropped, self.base_ms];
        self.bytes[..4].copy_from_slice(&MAGIC);
        for (index, number) in numbers.into_iter().enumerate() {
            self.bytes[4 + 8 * index..12 + 8 * index].copy_from_slice(&number.to_le_bytes());
        }
        &self.bytes
    }

    /// The kernel has taken the datagram.
    pub fn sent(&mut self) {
        self.sent += self.events;
        self.untold = 0;
        self.clear();
    }

    /// Nobody took the datagram: a worker does not wait.
    pub fn drop_all(&mut self) {
        self.dropped += self.events;
        self.untold += self.events;
        self.clear();
    }

    fn clear(&mut self) {
        self.events = 0;
        self.bytes.truncate(HEADER_BYTES);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests;
