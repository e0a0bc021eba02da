//! Several batches in one record.
//!
//! A message costs a broker, its client library and whoever waits for it about as much whether it holds one event or a hundred.
//! Small requests that are on their way to the same partition at the same moment therefore share one.
//!
//! Promises: each batch lies in the bundle as the record that it would have been, byte for byte, so what is true of a batch is
//! true in a bundle. Every event has an index in its record that no other event has; each batch takes one index more than
//! it has events, for what a foreign writer may have put behind its last one. A bundle opens as a whole or not at all.

use bytes::Bytes;

use super::read::{check, read_header};
use super::write::number_len;
use super::{BUNDLE_FORMAT, Batch, CRC_FIELD_BYTES, CUT, RecordError, parse, tag};
use crate::varint;

/// Collects the records of small requests, each of one batch.
#[derive(Debug, Default)]
pub struct Bundle {
    batches: Vec<Bytes>,
    events: u32,
    bytes: usize,
}

impl Bundle {
    /// Adds the record of a request with `events` events. Answers the index of the first of them in the bundle.
    pub fn push(&mut self, record: Bytes, events: u32) -> u32 {
        debug_assert!(parse(&record).is_ok_and(|batch| batch.header.event_count == events), "a record of one batch");
        let first_event = self.events + self.batches.len() as u32;
        self.bytes += 1 + varint::len(record.len() as u64) + record.len();
        self.events += events;
        self.batches.push(record);
        first_event
    }

    /// How many batches it holds.
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Bytes of the batches.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The record. A single batch needs no bundle.
    pub fn finish(mut self) -> Bytes {
        if let [_] = &self.batches[..] {
            return self.batches.remove(0);
        }
        let head = number_len(BUNDLE_FORMAT) + number_len(u64::from(self.events));
        let mut record = Vec::with_capacity(CRC_FIELD_BYTES + head + self.bytes);
        record.extend_from_slice(&[tag::CRC, 0, 0, 0, 0, tag::FORMAT, BUNDLE_FORMAT as u8]);
        super::write::put_number(&mut record, tag::EVENT_COUNT, u64::from(self.events));
        for batch in &self.batches {
            record.push(tag::BATCH);
            varint::put(&mut record, batch.len() as u64);
            record.extend_from_slice(batch);
        }
        let crc = crc32fast::hash(&record[CRC_FIELD_BYTES..]);
        record[1..CRC_FIELD_BYTES].copy_from_slice(&crc.to_le_bytes());
        record.into()
    }
}

/// Checks a record and opens it, whether it is one batch or a bundle.
///
/// # Errors
/// [`RecordError`]; of a record that opens, every batch has a readable header and the checksum its writer gave it.
pub fn open(bytes: &[u8]) -> Result<Record<'_>, RecordError> {
    match check(bytes)? {
        [tag::FORMAT, format, rest @ ..] if u64::from(*format) == BUNDLE_FORMAT => open_bundle(rest),
        _ => read_header(bytes)
            .map(|batch| Record { batches: Inside::One(batch), event_count: batch.header.event_count }),
    }
}

fn open_bundle(mut input: &[u8]) -> Result<Record<'_>, RecordError> {
    let mut announced = 0;
    if let Some((&tag::EVENT_COUNT, rest)) = input.split_first() {
        input = rest;
        announced = varint::take(&mut input).ok_or(CUT)?;
    }
    let batches = input;
    while !input.is_empty() {
        take_batch(&mut input)?;
    }
    let (mut events, mut indices) = (0_u64, 0_u64);
    input = batches;
    while !input.is_empty() {
        let batch = parse(take_batch(&mut input)?).map_err(|error| match error {
            RecordError::Format(_) => error,
            // The bundle has the checksum its writer gave it: this is how it was written.
            RecordError::Checksum | RecordError::Malformed(_) => {
                RecordError::Malformed("a batch of a bundle is damaged")
            }
        })?;
        events += u64::from(batch.header.event_count);
        indices += u64::from(batch.header.event_count) + 1;
    }
    if events != announced || indices == 0 || indices > INDICES_MAX {
        return Err(RecordError::Malformed("a bundle whose events are not as many as it says"));
    }
    Ok(Record { batches: Inside::Several(batches), event_count: events as u32 })
}

fn take_batch<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], RecordError> {
    let (&field, rest) = input.split_first().ok_or(CUT)?;
    if field != tag::BATCH {
        return Err(RecordError::Malformed("unknown field between batches"));
    }
    *input = rest;
    let len = varint::take(input).ok_or(CUT)?;
    varint::take_bytes(input, len).ok_or(CUT)
}

/// An opened record.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    batches: Inside<'a>,
    event_count: u32,
}

#[derive(Debug, Clone, Copy)]
enum Inside<'a> {
    One(Batch<'a>),
    Several(&'a [u8]),
}

impl<'a> Record<'a> {
    /// Its batches in order.
    pub fn batches(&self) -> Batches<'a> {
        Batches { left: Some(self.batches), next_event: 0 }
    }

    /// The events of all batches, as announced.
    pub fn event_count(&self) -> u32 {
        self.event_count
    }
}

/// Iterator over the batches of a record.
#[derive(Debug)]
pub struct Batches<'a> {
    left: Option<Inside<'a>>,
    next_event: u32,
}

impl<'a> Iterator for Batches<'a> {
    type Item = Batch<'a>;

    #[inline]
    fn next(&mut self) -> Option<Batch<'a>> {
        match &mut self.left {
            Some(Inside::One(batch)) => {
                let batch = *batch;
                self.left = None;
                Some(batch)
            }
            Some(Inside::Several(input)) if !input.is_empty() => {
                // It was checked when the record was opened.
                let mut batch = take_batch(input).and_then(read_header).ok()?;
                batch.first_event = self.next_event;
                self.next_event += batch.header.event_count + 1;
                Some(batch)
            }
            Some(Inside::Several(_)) | None => None,
        }
    }
}

/// The tables keep an index in 32 bits with a sign.
const INDICES_MAX: u64 = i32::MAX as u64;
