//! The bytes of a record into borrowed events.

use super::attrs::Attrs;
use super::series::SeriesKey;
use super::{BUNDLE_FORMAT, BatchHeader, CRC_FIELD_BYTES, CUT, FORMAT, RecordError, tag};
use crate::ids::{Identity, KeyId, ProjectId};
use crate::varint;

/// Checks a record that holds one batch and opens it.
///
/// # Errors
/// [`RecordError`]; a record that opens has the checksum its writer gave it.
pub fn parse(bytes: &[u8]) -> Result<Batch<'_>, RecordError> {
    check(bytes)?;
    read_header(bytes)
}

/// What stands behind the checksum, which is right.
pub(super) fn check(bytes: &[u8]) -> Result<&[u8], RecordError> {
    let (crc_field, checked) = bytes.split_at_checked(CRC_FIELD_BYTES).ok_or(RecordError::Malformed("cut short"))?;
    if crc_field[0] != tag::CRC {
        return Err(RecordError::Malformed("no checksum in front"));
    }
    if crc32fast::hash(checked).to_le_bytes() != crc_field[1..] {
        return Err(RecordError::Checksum);
    }
    Ok(checked)
}

/// Opens a batch whose checksum is known to be right.
pub(super) fn read_header(bytes: &[u8]) -> Result<Batch<'_>, RecordError> {
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
        first_event: 0,
        bytes,
        events: &[],
    };
    let mut input = bytes.get(CRC_FIELD_BYTES..).ok_or(CUT)?;
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
            // A reader of protobuf takes the last one, and whoever looks for bundles the first.
            tag::FORMAT => match (format, number(&mut input)?) {
                (0, found) => format = found,
                (before, found) if before == found => {}
                _ => return Err(RecordError::Malformed("two formats")),
            },
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
    if format == BUNDLE_FORMAT {
        return Err(RecordError::Malformed("a bundle in the place of a batch"));
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
    /// The index of its first event in the record: 0, but for the later ones of a bundle.
    pub first_event: u32,
    /// All of it: a record of its own.
    pub bytes: &'a [u8],
    events: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The events in the order sent. Ends after the first error.
    pub fn events(&self) -> Events<'a> {
        Events { input: self.events, received_ms: self.header.received_ms }
    }

    /// The same events, as much of each as counting needs. An event decodes here exactly when it does there.
    pub fn heads(&self) -> Heads<'a> {
        Heads { input: self.events, received_ms: self.header.received_ms }
    }
}

/// Iterator over the heads of the events of a record.
#[derive(Debug)]
pub struct Heads<'a> {
    input: &'a [u8],
    received_ms: i64,
}

impl<'a> Iterator for Heads<'a> {
    type Item = Result<EventHead<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.input.is_empty() {
            return None;
        }
        let head = take_event(&mut self.input).and_then(|raw| EventHead::decode(raw, self.received_ms));
        if head.is_err() {
            self.input = &[];
        }
        Some(head)
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
        let row = take_event(&mut self.input).and_then(|raw| EventRow::decode(raw, self.received_ms));
        if row.is_err() {
            self.input = &[];
        }
        Some(row)
    }
}

#[inline]
fn take_event<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], RecordError> {
    let (&field, rest) = input.split_first().ok_or(CUT)?;
    if field != tag::EVENT {
        return Err(RecordError::Malformed("unknown field between events"));
    }
    *input = rest;
    text_bytes(input)
}

/// What counting needs of an event. The rest is checked and left where it is: most events are counted and never looked at
/// again.
#[derive(Debug, Clone, Copy)]
pub struct EventHead<'a> {
    /// The exact dimensions; the bytes are the key.
    pub series: SeriesKey<'a>,
    /// When the request ended, Unix milliseconds.
    pub ended_ms: i64,
    /// Absent for log lines without timings.
    pub duration_us: Option<u64>,
    /// Whether there is an `error` text.
    pub has_error: bool,
    /// Emitting instance, UTF-8; empty without one.
    pub host: &'a [u8],
    /// Release, UTF-8; empty without one.
    pub version: &'a [u8],
    /// The event as it lies in the record, without its length: for [`EventRow::decode`].
    pub raw: &'a [u8],
}

impl<'a> EventHead<'a> {
    /// Decodes the bytes of one event.
    ///
    /// # Errors
    /// [`RecordError::Malformed`], for the same bytes as [`EventRow::decode`].
    #[inline]
    pub fn decode(raw: &'a [u8], received_ms: i64) -> Result<EventHead<'a>, RecordError> {
        let mut input = raw;
        let mut head = EventHead {
            series: SeriesKey { bytes: &[] },
            ended_ms: received_ms,
            duration_us: None,
            has_error: false,
            host: &[],
            version: &[],
            raw,
        };
        while let Some((&field, rest)) = input.split_first() {
            input = rest;
            match field {
                tag::SERIES => head.series.bytes = text_bytes(&mut input)?,
                tag::ENDED_DELTA_MS => {
                    head.ended_ms = received_ms.wrapping_add(varint::unzigzag(wide_number(&mut input)?));
                }
                tag::DURATION_US => head.duration_us = Some(wide_number(&mut input)?),
                tag::ERROR => {
                    checked_text(&mut input)?;
                    head.has_error = true;
                }
                tag::HOST => head.host = checked_text(&mut input)?,
                tag::VERSION => head.version = checked_text(&mut input)?,
                tag::SOURCE => _ = checked_text(&mut input)?,
                tag::BYTES_IN | tag::BYTES_OUT => _ = wide_number(&mut input)?,
                tag::TRACE_ID => _ = fixed::<16>(&mut input)?,
                tag::SPAN_ID => _ = fixed::<8>(&mut input)?,
                tag::ATTR => break,
                _ => return Err(RecordError::Malformed("unknown field in an event")),
            }
        }
        if head.series.bytes.is_empty() {
            return Err(RecordError::Malformed("event without series"));
        }
        Ok(head)
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

#[inline]
pub(super) fn number(input: &mut &[u8]) -> Result<u64, RecordError> {
    varint::take(input).ok_or(CUT)
}

/// The same for numbers that are seldom short: eight bytes at once, because a guess at the length would often be wrong.
#[inline]
fn wide_number(input: &mut &[u8]) -> Result<u64, RecordError> {
    let Some(chunk) = input.first_chunk::<8>() else { return number(input) };
    let word = u64::from_le_bytes(*chunk);
    let ends = !word & 0x8080_8080_8080_8080;
    if ends == 0 {
        return number(input);
    }
    // The top bit of the last byte, which is clear; everything above it belongs to the next field.
    let last = ends.trailing_zeros();
    let groups = word & (u64::MAX >> (63 - last));
    let pairs = (groups & 0x007f_007f_007f_007f) | ((groups & 0x7f00_7f00_7f00_7f00) >> 1);
    let quads = (pairs & 0x0000_3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
    *input = &input[(last as usize >> 3) + 1..];
    Ok((quads & 0x0fff_ffff) | ((quads & 0x0fff_ffff_0000_0000) >> 4))
}

/// A text as bytes: whoever compares it needs no more.
#[inline]
fn checked_text<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], RecordError> {
    let bytes = text_bytes(input)?;
    if bytes.is_ascii() || std::str::from_utf8(bytes).is_ok() {
        return Ok(bytes);
    }
    Err(RecordError::Malformed("text is not UTF-8"))
}

pub(super) fn number32(input: &mut &[u8]) -> Result<u32, RecordError> {
    u32::try_from(number(input)?).map_err(|_| RecordError::Malformed("number out of range"))
}

#[inline]
pub(super) fn text_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], RecordError> {
    let len = number(input)?;
    varint::take_bytes(input, len).ok_or(CUT)
}

#[inline]
pub(super) fn text<'a>(input: &mut &'a [u8]) -> Result<&'a str, RecordError> {
    std::str::from_utf8(text_bytes(input)?).map_err(|_| RecordError::Malformed("text is not UTF-8"))
}

#[inline]
pub(super) fn fixed<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], RecordError> {
    text_bytes(input)?.try_into().map_err(|_| RecordError::Malformed("id of another length"))
}
