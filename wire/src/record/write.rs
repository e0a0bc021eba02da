//! Events into the bytes of a record.
//!
//! Lengths are computed before anything is written, so that every length is in its shortest form and nothing is moved.

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
    /// Per record: room for its header, then its events.
    bytes: Vec<u8>,
    /// Where each finished record ends in `bytes`, and its events.
    parts: Vec<(usize, u32)>,
    /// Where the record being written starts.
    part_start: usize,
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
            parts: Vec::new(),
            part_start: 0,
            part_events: 0,
            part_bytes_max: HEADER_BYTES_MAX,
            record_bytes_max,
            received_ms: 0,
            routing_service: String::new(),
        }
    }

    /// Begins a request received at `received_ms`.
    pub fn start(&mut self, received_ms: i64) {
        self.bytes.clear();
        self.bytes.resize(HEADER_BYTES_MAX, 0);
        self.parts.clear();
        self.part_start = 0;
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
        self.parts.push((self.bytes.len(), self.part_events));
        self.part_start = self.bytes.len();
        self.part_events = 0;
        self.part_bytes_max = HEADER_BYTES_MAX;
        self.bytes.resize(self.part_start + HEADER_BYTES_MAX, 0);
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

        self.open_event(event_len, event_len - number_len(delta) + DELTA_BYTES_MAX, event.service);
        let out = &mut self.bytes;
        let start = out.len();

        out.push(tag::SERIES);
        varint::put(out, series_len as u64);
        put_text(out, tag::SERVICE, event.service);
        put_text(out, tag::ENV, event.env);
        put_text(out, tag::ROUTE, event.route);
        put_number(out, tag::METHOD, method);
        put_number(out, tag::STATUS, status);

        put_number(out, tag::ENDED_DELTA_MS, delta);
        put_optional_number(out, tag::DURATION_US, event.duration_us);
        put_optional_text(out, tag::ERROR, event.error);
        put_optional_text(out, tag::HOST, event.host);
        put_optional_text(out, tag::VERSION, event.version);
        put_optional_text(out, tag::SOURCE, event.source);
        put_optional_number(out, tag::BYTES_IN, event.bytes_in);
        put_optional_number(out, tag::BYTES_OUT, event.bytes_out);
        if let Some(trace_id) = event.trace_id {
            out.extend_from_slice(&[tag::TRACE_ID, 16]);
            out.extend_from_slice(&trace_id);
        }
        if let Some(span_id) = event.span_id {
            out.extend_from_slice(&[tag::SPAN_ID, 8]);
            out.extend_from_slice(&span_id);
        }
        out.extend_from_slice(&event.attrs.bytes);
        debug_assert_eq!(out.len() - start, event_len, "the announced length is the written length");
        self.part_events += 1;
    }

    /// Appends an event as it lies in another record, byte for byte. The builder must have been started with the receive
    /// time of that record, to which the event's time is relative.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] when its series does not decode: without a service there is no route. Nothing was appended.
    pub fn push_row(&mut self, row: &EventRow<'_>) -> Result<(), RecordError> {
        let service = row.series.decode()?.service;
        self.open_event(row.raw.len(), row.raw.len(), service);
        self.bytes.extend_from_slice(row.raw);
        self.part_events += 1;
        Ok(())
    }

    /// Tag and length of the next event, in the record being written or in a new one when it is full. `event_len_max` is what
    /// the length would be with the longest of times.
    #[inline]
    fn open_event(&mut self, event_len: usize, event_len_max: usize, service: &str) {
        let event_bytes_max = EVENT_PREFIX_BYTES_MAX + event_len_max;
        if self.part_events == 0 && self.parts.is_empty() {
            self.route_by(service);
        } else if self.part_events > 0 && self.part_bytes_max + event_bytes_max > self.record_bytes_max {
            self.cut();
        }
        self.part_bytes_max += event_bytes_max;
        self.bytes.reserve(event_len + EVENT_PREFIX_BYTES_MAX);
        self.bytes.push(tag::EVENT);
        varint::put(&mut self.bytes, event_len as u64);
    }

    /// Seals the records: headers in front of the events, checksums over both. Usually one.
    pub fn finish(&mut self, project: ProjectId, key: KeyId, identity: Option<Identity>) -> Vec<Bytes> {
        self.parts.push((self.bytes.len(), self.part_events));
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
    let mut room = [0u8; HEADER_BYTES_MAX];
    let mut cursor = HeaderCursor { bytes: &mut room, at: CRC_FIELD_BYTES };
    cursor.number(tag::FORMAT, FORMAT);
    cursor.number(tag::PROJECT, header.project.0);
    cursor.number(tag::KEY, header.key.0);
    if let Some(identity) = header.identity {
        cursor.push(&[tag::PRODUCER, 16]);
        cursor.push(&identity.producer);
        cursor.push(&[tag::SEQ]);
        cursor.varint(identity.seq);
    }
    if header.received_ms != 0 {
        cursor.push(&[tag::RECEIVED_MS]);
        cursor.push(&header.received_ms.to_le_bytes());
    }
    cursor.number(tag::EVENT_COUNT, u64::from(header.event_count));
    cursor.number(tag::PART, u64::from(header.part));
    cursor.number(tag::PARTS, u64::from(header.parts));
    let len = cursor.at;

    let start = HEADER_BYTES_MAX - len;
    bytes[start..HEADER_BYTES_MAX].copy_from_slice(&room[..len]);
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
pub(super) fn put_optional_text(out: &mut Vec<u8>, tag: u8, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        put_text(out, tag, text);
    }
}

#[inline]
pub(super) fn put_number(out: &mut Vec<u8>, tag: u8, value: u64) {
    if value != 0 {
        out.push(tag);
        varint::put(out, value);
    }
}

#[inline]
pub(super) fn put_optional_number(out: &mut Vec<u8>, tag: u8, value: Option<u64>) {
    if let Some(value) = value {
        out.push(tag);
        varint::put(out, value);
    }
}

/// Writes the header into its fixed room.
struct HeaderCursor<'a> {
    bytes: &'a mut [u8; HEADER_BYTES_MAX],
    at: usize,
}

impl HeaderCursor<'_> {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.push(&[value as u8]);
    }

    fn number(&mut self, tag: u8, value: u64) {
        if value != 0 {
            self.push(&[tag]);
            self.varint(value);
        }
    }
}

/// The tag of an event and a length of up to 2^49.
const EVENT_PREFIX_BYTES_MAX: usize = 8;
/// The tag of the time and the longest number.
const DELTA_BYTES_MAX: usize = 11;
/// CRC 5, format 2, project and key 11 each, producer 18, seq 11, time 9, count, part and parts 6 each: 85, rounded up.
const HEADER_BYTES_MAX: usize = 88;
