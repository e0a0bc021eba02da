//! Lines of NDJSON, and what the next one has in common with those before.
//!
//! Arrives: events, under the lock of the queue. Leaves: lines, in the open batch. Promised: the bytes are those that
//! [`Event::write_opening`] and [`Event::write_rest`] write, whatever was seen before; at steady state nothing is allocated. A service has few
//! routes, and a line begins with what only they decide; so does the millisecond. Both are copied.

use crate::event::{Event, Stamp};

#[derive(Debug)]
pub(crate) struct Lines {
    head: Vec<u8>,
    openings: Vec<Opening>,
    stamp: Stamp,
}

/// What the line of an event began with, and of which events it is the beginning.
#[derive(Debug, Clone, Default)]
struct Opening {
    /// Route, method, and then the line.
    text: Vec<u8>,
    route_bytes: usize,
    method_bytes: usize,
    status: Option<u16>,
}

/// So many routes at most are remembered; those that fall together displace one another.
const OPENINGS: usize = 32;

/// What is longer is not remembered: all openings together take 16 KiB.
const OPENING_BYTES_MAX: usize = 512;

impl Lines {
    /// `head` begins every line; it is [`crate::event::head`]'s.
    pub(crate) fn new(head: Vec<u8>) -> Self {
        Self { head, openings: vec![Opening::default(); OPENINGS], stamp: Stamp::of(0) }
    }

    /// Appends the event's line; `now_ms` stands in for [`Event::ended`]. Without `detail` only what is counted is written.
    pub(crate) fn write(&mut self, event: &Event<'_>, detail: bool, now_ms: u64, line: &mut Vec<u8>) {
        self.stamp.set(now_ms);
        let opening = &mut self.openings[place_of(event)];
        if opening.is_of(event) {
            line.extend_from_slice(&opening.text[opening.route_bytes + opening.method_bytes..]);
        } else {
            let start = line.len();
            event.write_opening(&self.head, line);
            opening.remember(event, &line[start..]);
        }
        event.write_rest(detail, &self.stamp, line);
    }
}

impl Opening {
    fn is_of(&self, event: &Event<'_>) -> bool {
        // An opening of nothing has no text; that of an event without route and method has the head.
        let Some((route, rest)) = self.text.split_at_checked(self.route_bytes) else { return false };
        self.status == event.status
            && route == event.route.as_bytes()
            && rest.len() > self.method_bytes
            && &rest[..self.method_bytes] == event.method.as_bytes()
    }

    fn remember(&mut self, event: &Event<'_>, line: &[u8]) {
        self.text.clear();
        let parts = [event.route.as_bytes(), event.method.as_bytes(), line];
        if parts.iter().map(|part| part.len()).sum::<usize>() > OPENING_BYTES_MAX {
            return;
        }
        self.text.reserve_exact(OPENING_BYTES_MAX);
        parts.iter().for_each(|part| self.text.extend_from_slice(part));
        (self.route_bytes, self.method_bytes, self.status) = (event.route.len(), event.method.len(), event.status);
    }
}

/// Templates differ in their ends or in their beginnings, seldom in the middle alone.
fn place_of(event: &Event<'_>) -> usize {
    let route = event.route.as_bytes();
    let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let ends = match (route.first_chunk(), route.last_chunk()) {
        (None, _) => route.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        (first, last) => word(first) ^ word(last).rotate_left(29),
    };
    // GET and PUT of one route are two lines.
    let method = (event.method.len() as u64) << 8 ^ event.method.bytes().next().map_or(0, u64::from) << 10;
    let kind = u64::from(event.status.unwrap_or(0)) << 20 ^ method ^ (route.len() as u64 & 0xff);
    // Fibonacci hashing: the high bits of the product depend on all of it.
    ((ends ^ kind).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % OPENINGS
}
