//! A datagram, read.
//!
//! In: bytes from a socket that anybody on the machine may write to. Out: records that borrow from them. Promised: no panic, no
//! allocation, and no record that is cut off.

use crate::event::{Event, Method, Route, SERVICE_BYTES_MAX, Trace};
use crate::varint::{take, unzigzag};
use crate::{HEADER_BYTES, MAGIC};

/// What a datagram says of its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub worker: u64,
    /// Events that left the worker before this datagram.
    pub sent: u64,
    /// Events that it had to drop so far.
    pub dropped: u64,
    /// What the times of the records are relative to.
    pub base_ms: u64,
}

/// One record: its service, and the bytes that [`Record::event`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub service: &'a [u8],
    rest: &'a [u8],
    /// All of it, with its length.
    pub bytes: &'a [u8],
}

/// The bytes are none that the module sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The header, and the records behind it.
pub fn read(datagram: &[u8]) -> Result<(Header, Records<'_>), Malformed> {
    let (header, rest) = datagram.split_at_checked(HEADER_BYTES).ok_or(Malformed)?;
    if header[..4] != MAGIC {
        return Err(Malformed);
    }
    let number = |index: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[4 + 8 * index..12 + 8 * index]);
        u64::from_le_bytes(bytes)
    };
    let header = Header { worker: number(0), sent: number(1), dropped: number(2), base_ms: number(3) };
    Ok((header, Records { rest }))
}

/// The records in `bytes`, which hold nothing else.
pub fn records(bytes: &[u8]) -> Records<'_> {
    Records { rest: bytes }
}

/// Record after record; the first that cannot be read is the last.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.take();
        if record.is_none() {
            self.rest = &[];
        }
        Some(record.ok_or(Malformed))
    }
}

impl<'a> Records<'a> {
    fn take(&mut self) -> Option<Record<'a>> {
        let mut after = self.rest;
        let length = usize::try_from(take(&mut after)?).ok()?;
        let (mut record, after) = after.split_at_checked(length)?;
        let bytes = &self.rest[..self.rest.len() - after.len()];
        self.rest = after;
        let service = take_bytes(&mut record)?;
        (service.len() <= SERVICE_BYTES_MAX).then_some(Record { service, rest: record, bytes })
    }
}

impl<'a> Record<'a> {
    pub fn event(&self, base_ms: u64) -> Result<Event<'a>, Malformed> {
        self.read(base_ms).ok_or(Malformed)
    }

    fn read(&self, base_ms: u64) -> Option<Event<'a>> {
        let mut rest = self.rest;
        let ended_ms = base_ms.wrapping_add(unzigzag(take(&mut rest)?) as u64);
        let duration_us = take(&mut rest)?;
        let method = Method::from_number(take_byte(&mut rest)?);
        let status = u16::try_from(take(&mut rest)?).ok()?;
        let (bytes_in, bytes_out) = (take(&mut rest)?, take(&mut rest)?);
        let route = match take_byte(&mut rest)? {
            0 => Route::Template(take_bytes(&mut rest)?),
            1 => Route::Path(take_bytes(&mut rest)?),
            _ => return None,
        };
        let trace = match take_byte(&mut rest)? {
            0 => None,
            1 => {
                let (trace_id, rest) = rest.split_first_chunk::<16>()?;
                Some(Trace { trace_id: *trace_id, span_id: *rest.first_chunk::<8>()? })
            }
            _ => return None,
        };
        Some(Event { service: self.service, ended_ms, duration_us, method, status, bytes_in, bytes_out, route, trace })
    }
}

fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take(bytes)?).ok()?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}
