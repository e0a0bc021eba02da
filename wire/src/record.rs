//! The log record: one accepted HTTP batch as one compact, self-checking protobuf message.
//!
//! Arrives: checked [`Event`]s. Leaves: the bytes of one log record ([`RecordBuilder::finish`]), and on the
//! other side borrowed [`EventRow`]s ([`parse`]) that point into those bytes.
//!
//! Promises: the bytes are exactly what a protobuf library writes for `wire/record.proto` (property-tested
//! against prost); a flipped bit anywhere is found by the CRC; decoding allocates nothing and never panics.
//! The series fields lie together, so that a rollup's key is a slice of the record (10.8 ns a lookup against
//! 35 ns for a tuple of strings, measured in floors of the design).
//!
//! Does not: validate events (the decoders do), compress (the log may).

use bytes::Bytes;

use crate::event::{AttrValue, EncodedAttrs, Event};
use crate::ids::{Identity, KeyId, ProjectId};
use crate::limits;
use crate::method::Method;
use crate::varint;

/// What stands before the events of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The tenant.
    pub project: ProjectId,
    /// The key the batch came in with.
    pub key: KeyId,
    /// Present when the client can retry without doubling.
    pub identity: Option<Identity>,
    /// When ingest received the batch, Unix milliseconds.
    pub received_ms: i64,
    /// Events in the record.
    pub event_count: u32,
    /// Which of several records of one request this is, from 0.
    pub part: u32,
    /// How many records the request became; 0 stands for "just this one".
    pub parts: u32,
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum RecordError {
    /// Cut short or not ours.
    #[error("decode record: {0}")]
    Malformed(&'static str),
    /// The bytes changed between writer and reader.
    #[error("decode record: checksum mismatch")]
    Checksum,
    /// Written by a newer peep: stop, do not skip.
    #[error("decode record: format {0} is newer than this reader; upgrade it first")]
    Format(u64),
}

/// Writes the record of one request, or several when it outgrows the log's limit.
///
/// Reusable: [`RecordBuilder::start`] forgets the last request, keeps the memory. Where a request is cut depends on
/// nothing but its events and the limit, so a retry of the same bytes is cut the same way.
#[derive(Debug)]
pub struct RecordBuilder {
    /// Per record: room for its header, then its events.
    bytes: Vec<u8>,
    /// Where each finished record ends in `bytes`, and its events.
    parts: Vec<(usize, u32)>,
    /// Where the record being written starts.
    part_start: usize,
    part_events: u32,
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

    /// The service of the first event, by which the whole request is routed; empty before the first push.
    pub fn routing_service(&self) -> &str {
        &self.routing_service
    }

    fn cut(&mut self) {
        self.parts.push((self.bytes.len(), self.part_events));
        self.part_start = self.bytes.len();
        self.part_events = 0;
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

        if self.part_events == 0 && self.parts.is_empty() {
            self.routing_service.push_str(event.service);
        } else if self.part_events > 0 && self.bytes.len() - self.part_start + event_len + 8 > self.record_bytes_max {
            self.cut();
        }
        let out = &mut self.bytes;
        out.reserve(event_len + 8);
        out.push(tag::EVENT);
        varint::put(out, event_len as u64);
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

/// Checks a record and opens it.
///
/// # Errors
/// [`RecordError`]; a record that opens has the checksum its writer gave it.
pub fn parse(bytes: &[u8]) -> Result<Batch<'_>, RecordError> {
    let mut input = bytes;
    let mut batch = Batch {
        header: BatchHeader {
            project: ProjectId(0),
            key: KeyId(0),
            identity: None,
            received_ms: 0,
            event_count: 0,
            part: 0,
            parts: 0,
        },
        events: &[],
    };
    let (crc_field, checked) = bytes.split_at_checked(CRC_FIELD_BYTES).ok_or(RecordError::Malformed("cut short"))?;
    if crc_field[0] != tag::CRC {
        return Err(RecordError::Malformed("no checksum in front"));
    }
    if crc32fast::hash(checked).to_le_bytes() != crc_field[1..] {
        return Err(RecordError::Checksum);
    }
    input = &input[CRC_FIELD_BYTES..];
    let mut format = 0;
    let mut producer = None;
    let mut seq = None;
    while let Some(&field) = input.first() {
        if field == tag::EVENT {
            batch.events = input;
            break;
        }
        input = &input[1..];
        match field {
            tag::FORMAT => format = number(&mut input)?,
            tag::PROJECT => batch.header.project = ProjectId(number(&mut input)?),
            tag::KEY => batch.header.key = KeyId(number(&mut input)?),
            tag::PRODUCER => producer = Some(fixed::<16>(&mut input)?),
            tag::SEQ => seq = Some(number(&mut input)?),
            tag::RECEIVED_MS => {
                let bytes = varint::take_bytes(&mut input, 8).ok_or(CUT)?;
                batch.header.received_ms = i64::from_le_bytes(bytes.try_into().expect("eight bytes were taken"));
            }
            tag::EVENT_COUNT => batch.header.event_count = number32(&mut input)?,
            tag::PART => batch.header.part = number32(&mut input)?,
            tag::PARTS => batch.header.parts = number32(&mut input)?,
            _ => return Err(RecordError::Malformed("unknown field in the header")),
        }
    }
    if format != FORMAT {
        return Err(RecordError::Format(format));
    }
    batch.header.identity = producer.zip(seq).map(|(producer, seq)| Identity { producer, seq });
    Ok(batch)
}

/// An opened record.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Who sent it and when.
    pub header: BatchHeader,
    events: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The events in the order sent. Ends after the first error.
    pub fn events(&self) -> Events<'a> {
        Events { input: self.events, received_ms: self.header.received_ms }
    }
}

/// Iterator over the events of a record.
#[derive(Debug)]
pub struct Events<'a> {
    input: &'a [u8],
    received_ms: i64,
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<EventRow<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.input.is_empty() {
            return None;
        }
        let row = self.take_event();
        if row.is_err() {
            self.input = &[];
        }
        Some(row)
    }
}

impl<'a> Events<'a> {
    #[inline]
    fn take_event(&mut self) -> Result<EventRow<'a>, RecordError> {
        let (&field, rest) = self.input.split_first().ok_or(CUT)?;
        if field != tag::EVENT {
            return Err(RecordError::Malformed("unknown field between events"));
        }
        self.input = rest;
        let raw = text_bytes(&mut self.input)?;
        EventRow::decode(raw, self.received_ms)
    }
}

/// One event of a record, borrowed from it.
#[derive(Debug, Clone, Copy)]
pub struct EventRow<'a> {
    /// The exact dimensions; the bytes are the key.
    pub series: SeriesKey<'a>,
    /// When the request ended, Unix milliseconds.
    pub ended_ms: i64,
    /// Absent for log lines without timings.
    pub duration_us: Option<u64>,
    /// Makes the event an error whatever the status.
    pub error: Option<&'a str>,
    /// Emitting instance.
    pub host: Option<&'a str>,
    /// Release.
    pub version: Option<&'a str>,
    /// `None` stands for `api`.
    pub source: Option<&'a str>,
    /// Request body size.
    pub bytes_in: Option<u64>,
    /// Response body size.
    pub bytes_out: Option<u64>,
    /// W3C trace id.
    pub trace_id: Option<[u8; 16]>,
    /// W3C span id.
    pub span_id: Option<[u8; 8]>,
    /// Free attributes.
    pub attrs: Attrs<'a>,
    /// The event as it lies in the record, without its length.
    pub raw: &'a [u8],
}

impl<'a> EventRow<'a> {
    /// Decodes the bytes of one event (`raw` of another row).
    ///
    /// # Errors
    /// [`RecordError::Malformed`].
    #[inline]
    pub fn decode(raw: &'a [u8], received_ms: i64) -> Result<EventRow<'a>, RecordError> {
        let mut input = raw;
        let mut row = EventRow {
            series: SeriesKey { bytes: &[] },
            ended_ms: received_ms,
            duration_us: None,
            error: None,
            host: None,
            version: None,
            source: None,
            bytes_in: None,
            bytes_out: None,
            trace_id: None,
            span_id: None,
            attrs: Attrs { bytes: &[] },
            raw,
        };
        while let Some((&field, rest)) = input.split_first() {
            input = rest;
            match field {
                tag::SERIES => row.series.bytes = text_bytes(&mut input)?,
                tag::ENDED_DELTA_MS => {
                    row.ended_ms = received_ms.wrapping_add(varint::unzigzag(number(&mut input)?));
                }
                tag::DURATION_US => row.duration_us = Some(number(&mut input)?),
                tag::ERROR => row.error = Some(text(&mut input)?),
                tag::HOST => row.host = Some(text(&mut input)?),
                tag::VERSION => row.version = Some(text(&mut input)?),
                tag::SOURCE => row.source = Some(text(&mut input)?),
                tag::BYTES_IN => row.bytes_in = Some(number(&mut input)?),
                tag::BYTES_OUT => row.bytes_out = Some(number(&mut input)?),
                tag::TRACE_ID => row.trace_id = Some(fixed(&mut input)?),
                tag::SPAN_ID => row.span_id = Some(fixed(&mut input)?),
                tag::ATTR => {
                    row.attrs.bytes = &raw[raw.len() - rest.len() - 1..];
                    break;
                }
                _ => return Err(RecordError::Malformed("unknown field in an event")),
            }
        }
        if row.series.bytes.is_empty() {
            return Err(RecordError::Malformed("event without series"));
        }
        Ok(row)
    }

    /// An error by the contract: status 500 and above, or an `error` text.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] when the series does not decode.
    pub fn is_error(&self) -> Result<bool, RecordError> {
        Ok(self.error.is_some() || self.series.decode()?.status >= 500)
    }
}

/// The canonical bytes of a series; equal series have equal bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeriesKey<'a> {
    bytes: &'a [u8],
}

/// The dimensions of a series, readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series<'a> {
    /// `service`
    pub service: &'a str,
    /// `env`
    pub env: &'a str,
    /// `route`
    pub route: &'a str,
    /// Empty when absent, `_OTHER` when not standard.
    pub method: &'static str,
    /// 0 when unknown.
    pub status: u16,
}

impl<'a> SeriesKey<'a> {
    /// Takes bytes that came from [`SeriesKey::as_bytes`].
    ///
    /// # Errors
    /// [`RecordError::Malformed`] when they did not.
    pub fn parse(bytes: &'a [u8]) -> Result<SeriesKey<'a>, RecordError> {
        let key = SeriesKey { bytes };
        key.decode().map(|_| key)
    }

    /// The bytes to hash and compare.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The fields.
    ///
    /// # Errors
    /// [`RecordError::Malformed`].
    pub fn decode(&self) -> Result<Series<'a>, RecordError> {
        let mut input = self.bytes;
        let mut series = Series { service: "", env: "", route: "", method: "", status: 0 };
        while let Some((&field, rest)) = input.split_first() {
            input = rest;
            match field {
                tag::SERVICE => series.service = text(&mut input)?,
                tag::ENV => series.env = text(&mut input)?,
                tag::ROUTE => series.route = text(&mut input)?,
                tag::METHOD => {
                    let method = Method::from_number(number(&mut input)?);
                    series.method = method.ok_or(RecordError::Malformed("unknown method"))?.as_str();
                }
                tag::STATUS => {
                    series.status = u16::try_from(number(&mut input)?)
                        .map_err(|_| RecordError::Malformed("status out of range"))?;
                }
                _ => return Err(RecordError::Malformed("unknown field in a series")),
            }
        }
        if series.service.is_empty() {
            return Err(RecordError::Malformed("series without service"));
        }
        Ok(series)
    }
}

impl Series<'_> {
    /// The canonical bytes, as they would lie in a record.
    pub fn to_key_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.service.len() + self.env.len() + self.route.len() + 16);
        put_text(&mut out, tag::SERVICE, self.service);
        put_text(&mut out, tag::ENV, self.env);
        put_text(&mut out, tag::ROUTE, self.route);
        put_number(&mut out, tag::METHOD, Method::from_name(self.method).number());
        put_number(&mut out, tag::STATUS, u64::from(self.status));
        out
    }
}

/// The attributes of an event.
#[derive(Debug, Clone, Copy)]
pub struct Attrs<'a> {
    bytes: &'a [u8],
}

impl<'a> Attrs<'a> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Key and value of each, in the order sent. Ends after the first error.
    pub fn iter(&self) -> impl Iterator<Item = Result<(&'a str, AttrValue<'a>), RecordError>> + use<'a> {
        let mut input = self.bytes;
        std::iter::from_fn(move || {
            let (&field, rest) = input.split_first()?;
            input = rest;
            let attr = if field == tag::ATTR { take_attr(&mut input) } else { Err(CUT) };
            if attr.is_err() {
                input = &[];
            }
            Some(attr)
        })
    }

    /// A flat JSON object, `None` when there are no attributes.
    ///
    /// # Errors
    /// [`RecordError::Malformed`].
    pub fn to_json(&self) -> Result<Option<String>, RecordError> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut object = serde_json::Map::new();
        for attr in self.iter() {
            let (key, value) = attr?;
            let value = match value {
                AttrValue::Text(text) => text.into(),
                AttrValue::Flag(flag) => flag.into(),
                // Whole numbers read back as they were sent, `7` and not `7.0`.
                AttrValue::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => (number as i64).into(),
                AttrValue::Number(number) => number.into(),
            };
            object.insert(key.to_owned(), value);
        }
        Ok(Some(serde_json::Value::Object(object).to_string()))
    }
}

impl EncodedAttrs {
    /// Adds one attribute in the record's encoding.
    pub(crate) fn push(&mut self, key: &str, value: AttrValue<'_>) {
        let value_len = match value {
            AttrValue::Text(text) => text_len(text),
            AttrValue::Number(_) => 9,
            AttrValue::Flag(_) => 2,
        };
        let key_len = if key.is_empty() { 0 } else { text_len(key) };
        self.bytes.push(tag::ATTR);
        varint::put(&mut self.bytes, (key_len + value_len) as u64);
        if !key.is_empty() {
            put_text(&mut self.bytes, tag::ATTR_KEY, key);
        }
        match value {
            AttrValue::Text(text) => put_text(&mut self.bytes, tag::ATTR_TEXT, text),
            AttrValue::Number(number) => {
                self.bytes.push(tag::ATTR_NUMBER);
                self.bytes.extend_from_slice(&number.to_le_bytes());
            }
            AttrValue::Flag(flag) => self.bytes.extend_from_slice(&[tag::ATTR_FLAG, u8::from(flag)]),
        }
        self.count += 1;
    }
}

fn take_attr<'a>(input: &mut &'a [u8]) -> Result<(&'a str, AttrValue<'a>), RecordError> {
    let mut attr = text_bytes(input)?;
    let mut key = "";
    let mut value = None;
    while let Some((&field, rest)) = attr.split_first() {
        attr = rest;
        match field {
            tag::ATTR_KEY => key = text(&mut attr)?,
            tag::ATTR_TEXT => value = Some(AttrValue::Text(text(&mut attr)?)),
            tag::ATTR_NUMBER => {
                let bytes = varint::take_bytes(&mut attr, 8).ok_or(CUT)?;
                let number = f64::from_le_bytes(bytes.try_into().expect("eight bytes were taken"));
                value = Some(AttrValue::Number(number));
            }
            tag::ATTR_FLAG => value = Some(AttrValue::Flag(number(&mut attr)? != 0)),
            _ => return Err(RecordError::Malformed("unknown field in an attribute")),
        }
    }
    Ok((key, value.ok_or(RecordError::Malformed("attribute without value"))?))
}

#[inline]
fn number(input: &mut &[u8]) -> Result<u64, RecordError> {
    varint::take(input).ok_or(CUT)
}

fn number32(input: &mut &[u8]) -> Result<u32, RecordError> {
    u32::try_from(number(input)?).map_err(|_| RecordError::Malformed("number out of range"))
}

#[inline]
fn text_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], RecordError> {
    let len = number(input)?;
    varint::take_bytes(input, len).ok_or(CUT)
}

#[inline]
fn text<'a>(input: &mut &'a [u8]) -> Result<&'a str, RecordError> {
    std::str::from_utf8(text_bytes(input)?).map_err(|_| RecordError::Malformed("text is not UTF-8"))
}

#[inline]
fn fixed<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], RecordError> {
    text_bytes(input)?.try_into().map_err(|_| RecordError::Malformed("id of another length"))
}

#[inline]
fn text_len(text: &str) -> usize {
    1 + varint::len(text.len() as u64) + text.len()
}

#[inline]
fn optional_text_len(text: Option<&str>) -> usize {
    text.filter(|text| !text.is_empty()).map_or(0, text_len)
}

/// Zero is the protobuf default and is not written.
#[inline]
fn number_len(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + varint::len(value) }
}

#[inline]
fn optional_number_len(value: Option<u64>) -> usize {
    value.map_or(0, |value| 1 + varint::len(value))
}

#[inline]
fn put_text(out: &mut Vec<u8>, tag: u8, text: &str) {
    out.push(tag);
    varint::put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

#[inline]
fn put_optional_text(out: &mut Vec<u8>, tag: u8, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        put_text(out, tag, text);
    }
}

#[inline]
fn put_number(out: &mut Vec<u8>, tag: u8, value: u64) {
    if value != 0 {
        out.push(tag);
        varint::put(out, value);
    }
}

#[inline]
fn put_optional_number(out: &mut Vec<u8>, tag: u8, value: Option<u64>) {
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

/// Field number and wire type of each field of `record.proto`.
mod tag {
    pub(super) const CRC: u8 = 1 << 3 | 5;
    pub(super) const FORMAT: u8 = 2 << 3;
    pub(super) const PROJECT: u8 = 3 << 3;
    pub(super) const KEY: u8 = 4 << 3;
    pub(super) const PRODUCER: u8 = 5 << 3 | 2;
    pub(super) const SEQ: u8 = 6 << 3;
    pub(super) const RECEIVED_MS: u8 = 7 << 3 | 1;
    pub(super) const EVENT_COUNT: u8 = 8 << 3;
    pub(super) const PART: u8 = 9 << 3;
    pub(super) const PARTS: u8 = 10 << 3;
    pub(super) const EVENT: u8 = 11 << 3 | 2;

    pub(super) const SERIES: u8 = 1 << 3 | 2;
    pub(super) const ENDED_DELTA_MS: u8 = 2 << 3;
    pub(super) const DURATION_US: u8 = 3 << 3;
    pub(super) const ERROR: u8 = 4 << 3 | 2;
    pub(super) const HOST: u8 = 5 << 3 | 2;
    pub(super) const VERSION: u8 = 6 << 3 | 2;
    pub(super) const SOURCE: u8 = 7 << 3 | 2;
    pub(super) const BYTES_IN: u8 = 8 << 3;
    pub(super) const BYTES_OUT: u8 = 9 << 3;
    pub(super) const TRACE_ID: u8 = 10 << 3 | 2;
    pub(super) const SPAN_ID: u8 = 11 << 3 | 2;
    pub(super) const ATTR: u8 = 12 << 3 | 2;

    pub(super) const SERVICE: u8 = 1 << 3 | 2;
    pub(super) const ENV: u8 = 2 << 3 | 2;
    pub(super) const ROUTE: u8 = 3 << 3 | 2;
    pub(super) const METHOD: u8 = 4 << 3;
    pub(super) const STATUS: u8 = 5 << 3;

    pub(super) const ATTR_KEY: u8 = 1 << 3 | 2;
    pub(super) const ATTR_TEXT: u8 = 2 << 3 | 2;
    pub(super) const ATTR_NUMBER: u8 = 3 << 3 | 1;
    pub(super) const ATTR_FLAG: u8 = 4 << 3;
}

const CUT: RecordError = RecordError::Malformed("cut short");
const FORMAT: u64 = 1;
const CRC_FIELD_BYTES: usize = 5;
/// CRC 5, format 2, project and key 11 each, producer 18, seq 11, time 9, count, part and parts 6 each: 85, rounded up.
const HEADER_BYTES_MAX: usize = 88;

/// Where a request is cut into records: Kafka's default message limit of 1 MiB less room for its own headers.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024 - 4096;

/// The largest event a record can hold for the limits of the contract.
pub const EVENT_BYTES_MAX: usize = limits::SERVICE_BYTES_MAX
    + limits::ENV_BYTES_MAX
    + limits::ROUTE_BYTES_MAX
    + 2 * limits::NAME_BYTES_MAX
    + limits::SOURCE_BYTES_MAX
    + limits::ERROR_BYTES_MAX
    + limits::ATTRS_MAX * (limits::ATTR_KEY_BYTES_MAX + limits::ATTR_VALUE_BYTES_MAX + 12)
    + 128;

#[cfg(test)]
mod tests;
