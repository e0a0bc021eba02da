//! `ExportTraceServiceRequest` in protobuf, walked where it lies.
//!
//! Protobuf allows fields in any order and repeated, so a resource is read before its spans and a span's kind before its
//! attributes by going over the outer fields twice; they are few, and skipping one is a length. What repeats means what it
//! means to a protobuf library: the last number counts, messages merge.

use super::convention::{Id, Names, Origin, Resource, Span, Value};
use super::{Batch, NoEvent, RequestError};
use crate::varint;

type Walk<T> = Result<T, RequestError>;

/// Reads a whole body.
pub(super) fn request(body: &[u8], batch: &mut Batch<'_>, names: &mut Names) -> Walk<()> {
    let mut fields = Fields { rest: body };
    while let Some((number, field)) = fields.next()? {
        if number == 1 {
            resource_spans(field.bytes()?, batch, names)?;
        }
    }
    Ok(())
}

fn resource_spans(bytes: &[u8], batch: &mut Batch<'_>, names: &mut Names) -> Walk<()> {
    let mut resource = Resource::default();
    let mut fields = Fields { rest: bytes };
    while let Some((number, field)) = fields.next()? {
        if number == 1 {
            each_attribute(field.bytes()?, 1, |key, value| resource.take(key, value))?;
        }
    }
    let origin = Origin::new(&resource, batch.context, names);
    let mut fields = Fields { rest: bytes };
    while let Some((number, field)) = fields.next()? {
        if number == 2 {
            scope_spans(field.bytes()?, &origin, batch)?;
        }
    }
    Ok(())
}

fn scope_spans(bytes: &[u8], origin: &Origin<'_>, batch: &mut Batch<'_>) -> Walk<()> {
    let mut fields = Fields { rest: bytes };
    while let Some((number, field)) = fields.next()? {
        if number == 2 {
            span(field.bytes()?, origin, batch)?;
        }
    }
    Ok(())
}

fn span(bytes: &[u8], origin: &Origin<'_>, batch: &mut Batch<'_>) -> Walk<()> {
    let mut span = Span::<&str>::default();
    let mut name: &[u8] = b"";
    let mut attributes: Option<&[u8]> = None;
    let mut fields = Fields { rest: bytes };
    loop {
        let before = fields.rest;
        let Some((number, field)) = fields.next()? else { break };
        match number {
            1 => span.trace_id = Id::from_bytes(field.bytes()?),
            2 => span.span_id = Id::from_bytes(field.bytes()?),
            5 => name = field.bytes()?,
            6 => span.kind = field.varint()? as i32,
            7 => span.start_ns = field.fixed64()?,
            8 => span.end_ns = field.fixed64()?,
            9 => attributes = attributes.or(Some(before)),
            15 => status(field.bytes()?, &mut span)?,
            _ => {}
        }
    }
    if let Some(reason) = NoEvent::of_kind(span.kind) {
        batch.ignore(reason);
        return Ok(());
    }
    span.name = Some(text(name)?);
    batch.attrs.clear();
    if let Some(attributes) = attributes {
        each_attribute(attributes, 9, |key, value| span.take(key, value, batch.attrs))?;
    }
    batch.finish(origin, &span)
}

fn status<'a>(bytes: &'a [u8], span: &mut Span<&'a str>) -> Walk<()> {
    let mut fields = Fields { rest: bytes };
    while let Some((number, field)) = fields.next()? {
        match number {
            2 => span.outcome_message = Some(text(field.bytes()?)?),
            3 => span.outcome = field.varint()? as i32,
            _ => {}
        }
    }
    Ok(())
}

/// The `KeyValue`s among the fields of a message, those with the number `at`.
#[inline]
fn each_attribute<'a>(bytes: &'a [u8], at: u32, mut take: impl FnMut(&'a str, Value<&'a str>)) -> Walk<()> {
    let mut fields = Fields { rest: bytes };
    while let Some((number, field)) = fields.next()? {
        if number != at {
            continue;
        }
        let (mut key, mut value) = ("", Value::Other);
        let mut pair = Fields { rest: field.bytes()? };
        while let Some((number, field)) = pair.next()? {
            match number {
                1 => key = text(field.bytes()?)?,
                2 => any_value(field.bytes()?, &mut value)?,
                _ => {}
            }
        }
        take(key, value);
    }
    Ok(())
}

/// Arrays and maps are not entered: however deep they nest, they are one length.
#[inline]
fn any_value<'a>(bytes: &'a [u8], value: &mut Value<&'a str>) -> Walk<()> {
    let mut fields = Fields { rest: bytes };
    while let Some((number, field)) = fields.next()? {
        *value = match number {
            1 => Value::Text(text(field.bytes()?)?),
            2 => Value::Flag(field.varint()? != 0),
            3 => Value::Int(field.varint()? as i64),
            4 => Value::Double(f64::from_bits(field.fixed64()?)),
            5..=7 => field.bytes().map(|_| Value::Other)?,
            _ => continue,
        };
    }
    Ok(())
}

#[inline]
fn text(bytes: &[u8]) -> Walk<&str> {
    std::str::from_utf8(bytes).map_err(|_| RequestError::InvalidProtobuf("text is not UTF-8"))
}

/// The fields of one message.
struct Fields<'a> {
    rest: &'a [u8],
}

/// One field's value by its wire type.
enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    /// `fixed32` and groups, which this schema has no use for.
    Skipped,
}

impl<'a> Fields<'a> {
    /// The next field with its number; `None` at the end of the message.
    #[inline]
    fn next(&mut self) -> Walk<Option<(u32, Field<'a>)>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire) = self.key()?;
        let field = match wire {
            WIRE_VARINT => Field::Varint(varint::take(&mut self.rest).ok_or(CUT)?),
            WIRE_FIXED64 => {
                let bytes = varint::take_bytes(&mut self.rest, 8).ok_or(CUT)?;
                Field::Fixed64(u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
            }
            WIRE_BYTES => {
                let len = varint::take(&mut self.rest).ok_or(CUT)?;
                Field::Bytes(varint::take_bytes(&mut self.rest, len).ok_or(LENGTH)?)
            }
            WIRE_FIXED32 => varint::take_bytes(&mut self.rest, 4).map(|_| Field::Skipped).ok_or(CUT)?,
            WIRE_GROUP => self.skip_group(number).map(|()| Field::Skipped)?,
            _ => return Err(WIRE),
        };
        Ok(Some((number, field)))
    }

    #[inline]
    fn key(&mut self) -> Walk<(u32, u32)> {
        let key = varint::take(&mut self.rest).ok_or(CUT)?;
        let key = u32::try_from(key).map_err(|_| WIRE)?;
        match key >> 3 {
            0 => Err(WIRE),
            number => Ok((number, key & 7)),
        }
    }

    /// Groups went out of use long ago, but are still protobuf. No recursion, and a bound on how deep they nest.
    #[cold]
    fn skip_group(&mut self, number: u32) -> Walk<()> {
        let mut open = [0; GROUP_DEPTH_MAX];
        open[0] = number;
        let mut depth = 1;
        while depth > 0 {
            let (number, wire) = self.key()?;
            match wire {
                WIRE_VARINT => drop(varint::take(&mut self.rest).ok_or(CUT)?),
                WIRE_FIXED64 => drop(varint::take_bytes(&mut self.rest, 8).ok_or(CUT)?),
                WIRE_FIXED32 => drop(varint::take_bytes(&mut self.rest, 4).ok_or(CUT)?),
                WIRE_BYTES => {
                    let len = varint::take(&mut self.rest).ok_or(CUT)?;
                    varint::take_bytes(&mut self.rest, len).ok_or(LENGTH)?;
                }
                WIRE_GROUP => {
                    *open.get_mut(depth).ok_or(DEPTH)? = number;
                    depth += 1;
                }
                WIRE_GROUP_END if open[depth - 1] == number => depth -= 1,
                _ => return Err(WIRE),
            }
        }
        Ok(())
    }
}

impl<'a> Field<'a> {
    #[inline]
    fn bytes(&self) -> Walk<&'a [u8]> {
        if let Field::Bytes(bytes) = *self { Ok(bytes) } else { Err(WIRE) }
    }

    #[inline]
    fn varint(&self) -> Walk<u64> {
        if let Field::Varint(value) = *self { Ok(value) } else { Err(WIRE) }
    }

    #[inline]
    fn fixed64(&self) -> Walk<u64> {
        if let Field::Fixed64(value) = *self { Ok(value) } else { Err(WIRE) }
    }
}

const WIRE_VARINT: u32 = 0;
const WIRE_FIXED64: u32 = 1;
const WIRE_BYTES: u32 = 2;
const WIRE_GROUP: u32 = 3;
const WIRE_GROUP_END: u32 = 4;
const WIRE_FIXED32: u32 = 5;

const CUT: RequestError = RequestError::InvalidProtobuf("cut short");
const LENGTH: RequestError = RequestError::InvalidProtobuf("a length goes beyond the end");
const WIRE: RequestError = RequestError::InvalidProtobuf("a field has the wrong type");
const DEPTH: RequestError = RequestError::InvalidProtobuf("groups nest too deep");
/// As deep as protobuf libraries go.
const GROUP_DEPTH_MAX: usize = 100;
