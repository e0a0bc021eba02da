//! Events into the bytes of a record.
//!
//! Lengths are computed before anything is written, so that every length is in its shortest form and nothing is moved.
//! Then the room for the whole event is there, and short texts and numbers are written in whole words, not byte by byte.

use bytes::Bytes;

use super::{BatchHeader, CRC_FIELD_BYTES, EventRow, FORMAT, RECORD_BYTES_MAX, RecordError, tag};
use crate::event::Event;
use crate::ids::{Identity, KeyId, ProjectId};
use crate::varint;

/// Writes the record of one request, or several when it outgrows the log's limit.
///
/// Reusable: [`RecordBuilder::start`] forgets the last request, keeps the memory. Where a request is cut depends on
/// nothing but its events and the limit, not even on when it was received, so a retry of the same bytes is cut the same way
/// and each of its records is recognised.
#[derive(Debug)]
pub struct RecordBuilder {
    /// Per record: room for its header, then its events. Longer than what is written.
    bytes: Vec<u8>,
    /// Where the next event goes.
    end: usize,
    /// Where each finished record ends in `bytes`, and its events.
    parts: Vec<(usize, u32)>,
    part_events: u32,
    /// What the record being written could have at most, whenever it was received.
    part_bytes_max: usize,
    record_bytes_max: usize,
    received_ms: i64,
    routing_service: String,
}

impl Default for RecordBuilder {
    fn default() -> Self {
        RecordBuilder::new(RECORD_BYTES_MAX)
    }
}

impl RecordBuilder {
    /// Records of at most `record_bytes_max` bytes; an event that alone is larger still gets a record of its own.
    pub fn new(record_bytes_max: usize) -> Self {
        RecordBuilder {
            bytes: Vec::new(),
            end: 0,
            parts: Vec::new(),
            part_events: 0,
            part_bytes_max: HEADER_BYTES_MAX,
            record_bytes_max,
            received_ms: 0,
            routing_service: String::new(),
        }
    }

    /// Begins a request received at `received_ms`.
    pub fn start(&mut self, received_ms: i64) {
        self.end = HEADER_BYTES_MAX;
        self.parts.clear();
        self.part_events = 0;
        self.part_bytes_max = HEADER_BYTES_MAX;
        self.received_ms = received_ms;
        self.routing_service.clear();
    }

    /// Events so far, over all records.
    pub fn event_count(&self) -> u32 {
        self.part_events + self.parts.iter().map(|(_, events)| events).sum::<u32>()
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.event_count() == 0
    }

    /// When the batch was received: what `ts` means when it is absent.
    pub fn received_ms(&self) -> i64 {
        self.received_ms
    }

    /// Routes the request by this service, unless an earlier event has decided already. For events that are well-formed and
    /// may still be refused for reasons that change with time.
    pub fn route_by(&mut self, service: &str) {
        if self.routing_service.is_empty() {
            self.routing_service.push_str(service);
        }
    }

    /// The service of the first event, by which the whole request is routed; empty before it.
    pub fn routing_service(&self) -> &str {
        &self.routing_service
    }

    fn cut(&mut self) {
        self.parts.push((self.end, self.part_events));
        self.part_events = 0;
        self.part_bytes_max = HEADER_BYTES_MAX;
        self.end += HEADER_BYTES_MAX;
    }

    /// Appends one event.
    #[inline]
    pub fn push(&mut self, event: &Event<'_>) {
        let delta = varint::zigzag(event.ended_ms - self.received_ms);
        let method = event.method.number();
        let status = u64::from(event.status);
        let series_len = text_len(event.service)
            + text_len(event.env)
            + text_len(event.route)
            + number_len(method)
            + number_len(status);
        let event_len = 1
            + varint::len(series_len as u64)
            + series_len
            + number_len(delta)
            + optional_number_len(event.duration_us)
            + optional_text_len(event.error)
            + optional_text_len(event.host)
            + optional_text_len(event.version)
            + optional_text_len(event.source)
            + optional_number_len(event.bytes_in)
            + optional_number_len(event.bytes_out)
            + event.trace_id.map_or(0, |_| 18)
            + event.span_id.map_or(0, |_| 10)
            + event.attrs.bytes.len();

        let mut out = self.open_event(event_len, event_len - number_len(delta) + DELTA_BYTES_MAX, event.service);
        out.header(tag::SERIES, series_len);
        out.text(tag::SERVICE, event.service);
        out.text(tag::ENV, event.env);
        out.text(tag::ROUTE, event.route);
        out.number(tag::METHOD, method);
        out.number(tag::STATUS, status);

        out.number(tag::ENDED_DELTA_MS, delta);
        out.optional_number(tag::DURATION_US, event.duration_us);
        out.optional_text(tag::ERROR, event.error);
        out.optional_text(tag::HOST, event.host);
        out.optional_text(tag::VERSION, event.version);
        out.optional_text(tag::SOURCE, event.source);
        out.optional_number(tag::BYTES_IN, event.bytes_in);
        out.optional_number(tag::BYTES_OUT, event.bytes_out);
        if let Some(trace_id) = &event.trace_id {
            out.header(tag::TRACE_ID, trace_id.len());
            out.bytes(trace_id);
        }
        if let Some(span_id) = &event.span_id {
            out.header(tag::SPAN_ID, span_id.len());
            out.bytes(span_id);
        }
        out.bytes(&event.attrs.bytes);
        self.close_event(event_len);
    }

    /// Appends an event as it lies in another record, byte for byte. The builder must have been started with the receive
    /// time of that record, to which the event's time is relative.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] when its series does not decode: without a service there is no route. Nothing was appended.
    pub fn push_row(&mut self, row: &EventRow<'_>) -> Result<(), RecordError> {
        let service = row.series.decode()?.service;
        self.open_event(row.raw.len(), row.raw.len(), service).bytes(row.raw);
        self.close_event(row.raw.len());
        Ok(())
    }

    /// Tag and length of the next event, in the record being written or in a new one when it is full. `event_len_max` is what
    /// the length would be with the longest of times.
    #[inline]
    fn open_event(&mut self, event_len: usize, event_len_max: usize, service: &str) -> Cursor<'_> {
        let event_bytes_max = EVENT_PREFIX_BYTES_MAX + event_len_max;
        if self.part_events == 0 && self.parts.is_empty() {
            self.route_by(service);
        } else if self.part_events > 0 && self.part_bytes_max + event_bytes_max > self.record_bytes_max {
            self.cut();
        }
        self.part_bytes_max += event_bytes_max;
        let room = self.end + EVENT_PREFIX_BYTES_MAX + event_len + WORD_BYTES;
        if room > self.bytes.len() {
            self.grow(room);
        }
        let mut out = Cursor { bytes: &mut self.bytes, at: self.end };
        out.header(tag::EVENT, event_len);
        self.end = out.at;
        Cursor { bytes: &mut self.bytes, at: self.end }
    }

    fn close_event(&mut self, event_len: usize) {
        self.end += event_len;
        self.part_events += 1;
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, room: usize) {
        self.bytes.resize(room.max(2 * self.bytes.len()).max(BYTES_MIN), 0);
    }

    /// Seals the records: headers in front of the events, checksums over both. Usually one.
    pub fn finish(&mut self, project: ProjectId, key: KeyId, identity: Option<Identity>) -> Vec<Bytes> {
        self.parts.push((self.end, self.part_events));
        if self.end > self.bytes.len() {
            self.grow(self.end);
        }
        let parts = std::mem::take(&mut self.parts);
        let count = parts.len() as u32;
        let mut start = 0;
        let mut records = Vec::with_capacity(parts.len());
        for (number, &(end, event_count)) in parts.iter().enumerate() {
            let (part, parts) = if count > 1 { (number as u32, count) } else { (0, 0) };
            let received_ms = self.received_ms;
            let header = BatchHeader { project, key, identity, received_ms, event_count, part, parts };
            records.push(seal(&mut self.bytes[start..end], &header));
            start = end;
        }
        self.parts = parts;
        records
    }
}

/// Writes the header into the room in front of the events.
fn seal(bytes: &mut [u8], header: &BatchHeader) -> Bytes {
    let identity_len = header.identity.map_or(0, |identity| 18 + 1 + varint::len(identity.seq));
    let received_len = if header.received_ms == 0 { 0 } else { 9 };
    let len = CRC_FIELD_BYTES
        + number_len(FORMAT)
        + number_len(header.project.0)
        + number_len(header.key.0)
        + identity_len
        + received_len
        + number_len(u64::from(header.event_count))
        + number_len(u64::from(header.part))
        + number_len(u64::from(header.parts));

    let start = HEADER_BYTES_MAX - len;
    let mut cursor = HeaderCursor { bytes, at: start + CRC_FIELD_BYTES };
    cursor.number(tag::FORMAT, FORMAT);
    cursor.number(tag::PROJECT, header.project.0);
    cursor.number(tag::KEY, header.key.0);
    if let Some(identity) = header.identity {
        cursor.push([tag::PRODUCER, 16]);
        cursor.push(identity.producer);
        cursor.push([tag::SEQ]);
        cursor.varint(identity.seq);
    }
    if header.received_ms != 0 {
        cursor.push([tag::RECEIVED_MS]);
        cursor.push(header.received_ms.to_le_bytes());
    }
    cursor.number(tag::EVENT_COUNT, u64::from(header.event_count));
    cursor.number(tag::PART, u64::from(header.part));
    cursor.number(tag::PARTS, u64::from(header.parts));
    debug_assert_eq!(cursor.at, HEADER_BYTES_MAX, "the header ends where the events begin");

    let crc = crc32fast::hash(&bytes[start + CRC_FIELD_BYTES..]);
    bytes[start] = tag::CRC;
    bytes[start + 1..start + CRC_FIELD_BYTES].copy_from_slice(&crc.to_le_bytes());
    Bytes::copy_from_slice(&bytes[start..])
}

#[inline]
pub(super) fn text_len(text: &str) -> usize {
    1 + varint::len(text.len() as u64) + text.len()
}

#[inline]
pub(super) fn optional_text_len(text: Option<&str>) -> usize {
    text.filter(|text| !text.is_empty()).map_or(0, text_len)
}

/// Zero is the protobuf default and is not written.
#[inline]
pub(super) fn number_len(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + varint::len(value) }
}

#[inline]
pub(super) fn optional_number_len(value: Option<u64>) -> usize {
    value.map_or(0, |value| 1 + varint::len(value))
}

#[inline]
pub(super) fn put_text(out: &mut Vec<u8>, tag: u8, text: &str) {
    out.push(tag);
    varint::put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

#[inline]
pub(super) fn put_number(out: &mut Vec<u8>, tag: u8, value: u64) {
    if value != 0 {
        out.push(tag);
        varint::put(out, value);
    }
}

/// Writes fields into the room for them. What is written may be followed by a few bytes that the next field overwrites.
struct Cursor<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    /// A tag and the length of what comes.
    #[inline(always)]
    fn header(&mut self, tag: u8, len: usize) {
        if len < 0x80 {
            self.bytes[self.at..self.at + 2].copy_from_slice(&[tag, len as u8]);
            self.at += 2;
        } else {
            self.tagged(tag, len as u64);
        }
    }

    #[inline(always)]
    fn text(&mut self, tag: u8, text: &str) {
        self.header(tag, text.len());
        self.bytes(text.as_bytes());
    }

    #[inline(always)]
    fn optional_text(&mut self, tag: u8, text: Option<&str>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.text(tag, text);
        }
    }

    #[inline(always)]
    fn number(&mut self, tag: u8, value: u64) {
        if value != 0 {
            self.tagged(tag, value);
        }
    }

    #[inline(always)]
    fn optional_number(&mut self, tag: u8, value: Option<u64>) {
        if let Some(value) = value {
            self.tagged(tag, value);
        }
    }

    /// A tag and a number of any size.
    #[inline(always)]
    fn tagged(&mut self, tag: u8, value: u64) {
        self.bytes[self.at] = tag;
        self.at = varint::write(self.bytes, self.at + 1, value);
    }

    /// Bytes as they are. Those of the usual lengths are two words that overlap, without a call.
    #[inline(always)]
    fn bytes(&mut self, from: &[u8]) {
        let to = &mut self.bytes[self.at..self.at + from.len()];
        match from.len() {
            0 => {}
            1..4 => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
            4..8 => copy_ends::<4>(to, from),
            8..16 => copy_ends::<8>(to, from),
            16..=32 => copy_ends::<16>(to, from),
            _ => to.copy_from_slice(from),
        }
        self.at += from.len();
    }
}

/// Copies `N` to `2 * N` bytes: the first and the last `N`.
#[inline(always)]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) {
        let last_at = to.len() - N;
        to[..N].copy_from_slice(first);
        to[last_at..].copy_from_slice(last);
    }
}

/// Writes the header, whose numbers are mostly of one byte.
struct HeaderCursor<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl HeaderCursor<'_> {
    fn push<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.at..self.at + N].copy_from_slice(&bytes);
        self.at += N;
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push([value as u8 | 0x80]);
            value >>= 7;
        }
        self.push([value as u8]);
    }

    fn number(&mut self, tag: u8, value: u64) {
        if value != 0 {
            self.push([tag]);
            self.varint(value);
        }
    }
}

/// The tag of an event and a length of up to 2^49.
const EVENT_PREFIX_BYTES_MAX: usize = 8;
/// What [`varint::write`] may touch behind a number.
const WORD_BYTES: usize = 8;
/// A first buffer for a batch of a dozen events.
const BYTES_MIN: usize = 1024;
/// The tag of the time and the longest number.
const DELTA_BYTES_MAX: usize = 11;
/// CRC 5, format 2, project and key 11 each, producer 18, seq 11, time 9, count, part and parts 6 each: 85, rounded up.
const HEADER_BYTES_MAX: usize = 88;
