//! The log record as `wire/record.proto` describes it, read with a protobuf library.
//!
//! Arrives: the bytes of one record. Leaves: its header and its events, or the reason why they cannot be had.
//!
//! Promises: nothing here comes from peep's own decoder, which is written by hand and is one of the things that are judged.
//!
//! Does not: repair. An event is what a protobuf library would have written, byte for byte, or it is malformed.

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, encoded_len_varint, skip_field};

/// What can be had of a record.
#[derive(Debug)]
pub(crate) enum Opened<'a> {
    /// One batch, or those of a bundle.
    Batches(Vec<Batch<'a>>),
    /// Changed on its way, or not a record at all.
    Unreadable(&'static str),
    /// A good record of another format: whoever counts has to stop before it.
    OtherFormat(u32),
}

/// A readable header and as many events as follow it without damage.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) header: Header,
    pub(crate) events: Vec<&'a [u8]>,
    /// The index of its first event in the record.
    pub(crate) first_event: u32,
    /// All of it.
    pub(crate) bytes: &'a [u8],
}

/// `peep.v1.Batch` of format 2.
#[derive(Clone, PartialEq, prost::Message)]
struct Bundle {
    #[prost(uint32, tag = "2")]
    format: u32,
    #[prost(uint32, tag = "8")]
    event_count: u32,
    #[prost(bytes = "vec", repeated, tag = "15")]
    batches: Vec<Vec<u8>>,
}

/// `peep.v1.Batch` up to its events.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Header {
    #[prost(uint32, tag = "2")]
    pub(crate) format: u32,
    #[prost(uint64, tag = "3")]
    pub(crate) project_id: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) key_id: u64,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) producer_id: Vec<u8>,
    #[prost(uint64, optional, tag = "6")]
    pub(crate) seq: Option<u64>,
    #[prost(sfixed64, tag = "7")]
    pub(crate) received_ms: i64,
    #[prost(uint32, tag = "8")]
    pub(crate) event_count: u32,
    #[prost(uint32, tag = "9")]
    pub(crate) part: u32,
    #[prost(uint32, tag = "10")]
    pub(crate) parts: u32,
}

/// `peep.v1.Event`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Event {
    /// `peep.v1.Series`, whose bytes are the key.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) series: Vec<u8>,
    #[prost(sint64, tag = "2")]
    pub(crate) ended_delta_ms: i64,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) duration_us: Option<u64>,
    #[prost(string, tag = "4")]
    pub(crate) error: String,
    #[prost(string, tag = "5")]
    pub(crate) host: String,
    #[prost(string, tag = "6")]
    pub(crate) version: String,
    #[prost(string, tag = "7")]
    source: String,
    #[prost(uint64, optional, tag = "8")]
    bytes_in: Option<u64>,
    #[prost(uint64, optional, tag = "9")]
    bytes_out: Option<u64>,
    #[prost(bytes = "vec", tag = "10")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "11")]
    span_id: Vec<u8>,
    #[prost(message, repeated, tag = "12")]
    attrs: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(oneof = "Value", tags = "2, 3, 4")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "2")]
    Text(String),
    #[prost(double, tag = "3")]
    Number(f64),
    #[prost(bool, tag = "4")]
    Flag(bool),
}

#[derive(Clone, PartialEq, prost::Message)]
struct SeriesFields {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(string, tag = "2")]
    env: String,
    #[prost(string, tag = "3")]
    route: String,
    #[prost(uint32, tag = "4")]
    method: u32,
    #[prost(uint32, tag = "5")]
    status: u32,
}

/// The exact dimensions of an event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series {
    pub(crate) service: String,
    pub(crate) env: String,
    pub(crate) route: String,
    /// Empty when absent.
    pub(crate) method: String,
    /// 0 when unknown.
    pub(crate) status: u16,
}

/// Opens a record.
pub(crate) fn open(bytes: &[u8]) -> Opened<'_> {
    let opened = check(bytes).and_then(|body| match Bundle::decode(body) {
        Ok(bundle) if bundle.format == BUNDLE_FORMAT => open_bundle(&bundle, body),
        _ => open_batch(bytes).map(|batch| vec![batch]),
    });
    opened.map_or_else(|opened| opened, Opened::Batches)
}

/// What stands behind a checksum that is right.
fn check<'a>(bytes: &'a [u8]) -> Result<&'a [u8], Opened<'a>> {
    let Some((crc_field, body)) = bytes.split_at_checked(5).filter(|(crc_field, _)| crc_field[0] == CRC_KEY) else {
        return Err(Opened::Unreadable("malformed"));
    };
    if crc32fast::hash(body).to_le_bytes() != crc_field[1..] {
        return Err(Opened::Unreadable("checksum"));
    }
    Ok(body)
}

fn open_batch<'a>(bytes: &'a [u8]) -> Result<Batch<'a>, Opened<'a>> {
    let body = check(bytes)?;
    let malformed = || Opened::Unreadable("malformed");
    let (header, events) = split(body).ok_or_else(malformed)?;
    let header = Header::decode(header).map_err(|_| malformed())?;
    let begins_as_bundle = body.starts_with(&[2 << 3, BUNDLE_FORMAT as u8]);
    if header.format == BUNDLE_FORMAT || begins_as_bundle {
        return Err(malformed());
    }
    if header.format != FORMAT {
        return Err(Opened::OtherFormat(header.format));
    }
    // No table can hold such a project, or such a producer.
    if i64::try_from(header.project_id).is_err() || !matches!(header.producer_id.len(), 0 | 16) {
        return Err(malformed());
    }
    Ok(Batch { header, events, first_event: 0, bytes })
}

/// As a whole or not at all.
fn open_bundle<'a>(bundle: &Bundle, body: &'a [u8]) -> Result<Vec<Batch<'a>>, Opened<'a>> {
    let malformed = || Opened::Unreadable("malformed");
    // The batches lie at the end, one behind the other; anything else in between would make the bundle longer.
    let field_len = |batch: &Vec<u8>| 1 + encoded_len_varint(batch.len() as u64) + batch.len();
    let mut at = body.len().checked_sub(bundle.batches.iter().map(field_len).sum()).ok_or_else(malformed)?;
    let head = Bundle { batches: Vec::new(), ..bundle.clone() }.encode_to_vec();
    if body[..at] != head {
        return Err(malformed());
    }
    let (mut batches, mut next_event) = (Vec::new(), 0_u64);
    for batch in &bundle.batches {
        at += field_len(batch);
        let mut batch = open_batch(&body[at - batch.len()..at]).map_err(|opened| match opened {
            Opened::OtherFormat(format) => Opened::OtherFormat(format),
            Opened::Unreadable(_) | Opened::Batches(_) => malformed(),
        })?;
        batch.first_event = u32::try_from(next_event).map_err(|_| malformed())?;
        next_event += u64::from(batch.header.event_count) + 1;
        batches.push(batch);
    }
    let events: u64 = batches.iter().map(|batch| u64::from(batch.header.event_count)).sum();
    let is_whole = events == u64::from(bundle.event_count) && !batches.is_empty() && next_event <= i32::MAX as u64;
    if is_whole { Ok(batches) } else { Err(malformed()) }
}

impl Header {
    /// Producer and sequence number of a client that can be recognised again.
    pub(crate) fn identity(&self) -> Option<([u8; 16], u64)> {
        let producer: [u8; 16] = self.producer_id.as_slice().try_into().ok()?;
        Some((producer, self.seq?))
    }
}

impl Event {
    /// `None` when the bytes are not exactly what a protobuf library would write for an event.
    pub(crate) fn read(bytes: &[u8]) -> Option<Event> {
        let event = Event::decode(bytes).ok()?;
        let whole = !event.series.is_empty()
            && matches!(event.trace_id.len(), 0 | 16)
            && matches!(event.span_id.len(), 0 | 8)
            && event.attrs.iter().all(|attr| attr.value.is_some());
        (whole && event.encode_to_vec() == bytes).then_some(event)
    }
}

impl Series {
    /// `None` when no row of `series` could hold it.
    pub(crate) fn read(bytes: &[u8]) -> Option<Series> {
        let fields = SeriesFields::decode(bytes).ok()?;
        let texts = [&fields.service, &fields.env, &fields.route];
        let storable = texts.iter().all(|text| !text.is_empty() && !text.contains('\0'))
            && bytes.len() <= SERIES_BYTES_MAX
            && i16::try_from(fields.status).is_ok();
        let canonical = fields.encode_to_vec() == bytes;
        let method = METHODS.get(usize::try_from(fields.method).ok()?)?;
        (storable && canonical).then(|| Series {
            service: fields.service,
            env: fields.env,
            route: fields.route,
            method: (*method).to_owned(),
            status: fields.status as u16,
        })
    }

    /// The bytes [`Series::read`] takes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let fields = SeriesFields {
            service: self.service.clone(),
            env: self.env.clone(),
            route: self.route.clone(),
            method: METHODS.iter().position(|method| *method == self.method).map_or(0, |number| number as u32),
            status: u32::from(self.status),
        };
        fields.encode_to_vec()
    }
}

/// Header bytes and the bytes of each event. Events end at the first field that is none. `None`: no header.
fn split(body: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let mut rest = body;
    let mut events = Vec::new();
    let mut header_len = body.len();
    while !rest.is_empty() {
        let before = rest;
        let key = decode_key(&mut rest).ok();
        if let Some((EVENTS_FIELD, WireType::LengthDelimited)) = key {
            header_len = header_len.min(body.len() - before.len());
            let len = decode_varint(&mut rest).ok().and_then(|len| usize::try_from(len).ok());
            let Some((event, after)) = len.and_then(|len| rest.split_at_checked(len)) else { break };
            events.push(event);
            rest = after;
        } else if header_len < body.len() {
            break;
        } else {
            let (field, wire_type) = key.filter(|(field, _)| HEADER_FIELDS.contains(field))?;
            skip_field(wire_type, field, &mut rest, DecodeContext::default()).ok()?;
        }
    }
    Some((&body[..header_len], events))
}

/// Field 1, four bytes.
const CRC_KEY: u8 = 1 << 3 | 5;
const FORMAT: u32 = 1;
const BUNDLE_FORMAT: u32 = 2;
const HEADER_FIELDS: std::ops::RangeInclusive<u32> = 2..=10;
const EVENTS_FIELD: u32 = 11;
/// Longer keys have no place in an index.
pub(crate) const SERIES_BYTES_MAX: usize = 2048;
/// By their number in `peep.v1.Method`.
const METHODS: [&str; 12] =
    ["", "_OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

#[cfg(test)]
pub(crate) mod tests;
