//! The fast way: a scanner for plain events of exactly this schema.
//!
//! Accepts an event only when every byte of it is ordinary: known keys in any order, strings without escapes,
//! plain numbers, flat `attrs`. At anything else it returns `None`, *having pushed nothing*, and the thorough way
//! ([`super::field`]) decides. So this file needs no error messages, and a doubt costs time, never correctness.

use self::keys::{Foresight, Key};
use super::{Context, hex, is_timely, time};
use crate::event::{AttrValue, EncodedAttrs, Event};
use crate::limits;
use crate::method::Method;
use crate::record::RecordBuilder;

mod keys;

mod text;

mod number;

/// What may follow the event within the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// An element of an array, or the first of several objects.
    Anything,
    /// A line: only white space, up to a line feed or the end.
    Line,
}

/// What is kept from one event to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    foresight: Foresight,
    pub(super) attrs: EncodedAttrs,
}

/// Scans the event at `at`, pushes it, and returns the position after its `}`; of a line, where the line ends.
pub(super) fn event(
    text: &str,
    at: usize,
    ending: Ending,
    context: &Context<'_>,
    scratch: &mut Scratch,
    record: &mut RecordBuilder,
) -> Option<usize> {
    let Scratch { foresight, attrs } = scratch;
    attrs.clear();
    let lines = ending == Ending::Line;
    let mut event = Event {
        service: "",
        env: "",
        route: "",
        method: Method::ABSENT,
        status: 0,
        ended_ms: record.received_ms(),
        duration_us: None,
        error: None,
        host: None,
        version: None,
        source: None,
        bytes_in: None,
        bytes_out: None,
        trace_id: None,
        span_id: None,
        attrs: EncodedAttrs::EMPTY,
    };
    let end = object(text, at, lines, foresight, attrs, &mut event)?;
    if end - at > context.event_bytes_max {
        return None;
    }
    let end = if lines { line_end(text.as_bytes(), end)? } else { end };
    complete(&mut event, context)?;
    event.attrs = attrs;
    if !is_timely(event.ended_ms, record.received_ms(), context) {
        return None;
    }
    record.push(&event);
    Some(end)
}

/// What is left to check, and to fill in, when all is read.
#[inline(always)]
fn complete<'a>(event: &mut Event<'a>, context: &Context<'a>) -> Option<()> {
    if event.service.is_empty() {
        return None;
    }
    match (event.env, context.bound_env) {
        ("", bound) => event.env = bound.unwrap_or(limits::ENV_DEFAULT),
        (env, Some(bound)) if env != bound => return None,
        _ => {}
    }
    if event.route.is_empty() {
        event.route = limits::ROUTE_DEFAULT;
    }
    Some(())
}

/// The object at `at` into the fields of an event; returns the position after its `}`.
#[inline(always)]
fn object<'a>(
    text: &'a str,
    mut at: usize,
    lines: bool,
    foresight: &mut Foresight,
    attrs: &mut EncodedAttrs,
    event: &mut Event<'a>,
) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut key = Key::Start;
    loop {
        (key, at) = foresight.next(bytes, at, key, lines)?;
        // `null` is absent; of a key given twice the last one counts, which the thorough way handles.
        match key {
            Key::Service => (event.service, at) = name(text, at, limits::SERVICE_BYTES_MAX)?,
            Key::Env => (event.env, at) = name(text, at, limits::ENV_BYTES_MAX)?,
            Key::Route => {
                (event.route, at) = printable(text, at, limits::ROUTE_BYTES_MAX)?;
                if event.route.is_empty() {
                    return None;
                }
            }
            Key::Method => {
                let end = text::plain_end(bytes, at)?;
                let method = text::word(bytes, at, end).and_then(Method::from_word);
                event.method = method.unwrap_or_else(|| Method::from_name(text.get(at..end).unwrap_or_default()));
                at = end + 1;
            }
            Key::Status => {
                let (status, end) = number::integer(bytes, unspaced(bytes, at, lines))?;
                (event.status, at) = (u16::try_from(status).ok().filter(|status| (100..=599).contains(status))?, end);
            }
            Key::DurationMs => {
                let (duration_us, end) = number::duration_us(text, unspaced(bytes, at, lines))?;
                (event.duration_us, at) = (Some(duration_us), end);
            }
            Key::Ts => (event.ended_ms, at) = timestamp(text, unspaced(bytes, at, lines))?,
            Key::Error => {
                let (error, end) = plain(text, at, limits::ERROR_BYTES_MAX)?;
                (event.error, at) = (Some(error).filter(|error| !error.is_empty()), end);
            }
            Key::Host => (event.host, at) = optional(printable(text, at, limits::NAME_BYTES_MAX)?),
            Key::Version => (event.version, at) = optional(printable(text, at, limits::NAME_BYTES_MAX)?),
            Key::Source => (event.source, at) = optional(printable(text, at, limits::SOURCE_BYTES_MAX)?),
            Key::BytesIn => (event.bytes_in, at) = optional(number::integer(bytes, unspaced(bytes, at, lines))?),
            Key::BytesOut => (event.bytes_out, at) = optional(number::integer(bytes, unspaced(bytes, at, lines))?),
            Key::TraceId => (event.trace_id, at) = optional(id(bytes, at)?),
            Key::SpanId => (event.span_id, at) = optional(id(bytes, at)?),
            Key::Attrs => at = attributes(text, unspaced(bytes, at, lines), lines, attrs)?,
            Key::Unknown => at = skip(bytes, at)?,
            Key::End => return Some(at),
            Key::Start => return None,
        }
    }
}

/// The end of the line, if there is only white space before it.
#[inline(always)]
fn line_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'\n') {
        at = keys::blank(bytes, at, true);
    }
    matches!(bytes.get(at), None | Some(b'\n')).then_some(at)
}

/// Where a value without quotes begins, whatever stands between it and its colon.
#[inline(always)]
fn unspaced(bytes: &[u8], at: usize, lines: bool) -> usize {
    if bytes.get(at).is_some_and(|&byte| byte <= b' ') { keys::blank(bytes, at, lines) } else { at }
}

#[inline(always)]
fn optional<T>((value, at): (T, usize)) -> (Option<T>, usize) {
    (Some(value), at)
}

/// A string of the alphabet of names.
#[inline(always)]
fn name(text: &str, at: usize, bytes_max: usize) -> Option<(&str, usize)> {
    let end = text::name_end(text.as_bytes(), at)?;
    (1..=bytes_max).contains(&(end - at)).then_some((text.get(at..end)?, end + 1))
}

/// A string without any control character.
#[inline(always)]
fn printable(text: &str, at: usize, bytes_max: usize) -> Option<(&str, usize)> {
    let end = text::printable_end(text.as_bytes(), at)?;
    (end - at <= bytes_max).then_some((text.get(at..end)?, end + 1))
}

/// A string without anything special.
#[inline(always)]
fn plain(text: &str, at: usize, bytes_max: usize) -> Option<(&str, usize)> {
    let end = text::plain_end(text.as_bytes(), at)?;
    (end - at <= bytes_max).then_some((text.get(at..end)?, end + 1))
}

/// A string of exactly `2 * N` hex digits.
#[inline(always)]
fn id<const N: usize>(bytes: &[u8], at: usize) -> Option<([u8; N], usize)> {
    let end = at + 2 * N;
    let id = hex(bytes.get(at..end)?)?;
    (bytes.get(end) == Some(&b'"')).then_some((id, end + 1))
}

#[inline(always)]
fn timestamp(text: &str, at: usize) -> Option<(i64, usize)> {
    if let Some((ms, end)) = number::integer(text.as_bytes(), at) {
        return Some((ms as i64, end));
    }
    timestamp_text(text, at)
}

#[inline(never)]
fn timestamp_text(text: &str, at: usize) -> Option<(i64, usize)> {
    let at = keys::take(text.as_bytes(), at, b'"')?;
    let (timestamp, end) = plain(text, at, usize::MAX)?;
    Some((time::unix_ms(timestamp)?, end))
}

/// A flat object into the record's encoding. Repeated keys and anything nested go the thorough way.
#[inline(never)]
fn attributes(text: &str, at: usize, lines: bool, attrs: &mut EncodedAttrs) -> Option<usize> {
    let bytes = text.as_bytes();
    if !attrs.bytes.is_empty() {
        return None;
    }
    let mut at = keys::blank(bytes, keys::take(bytes, at, b'{')?, lines);
    if bytes.get(at) == Some(&b'}') {
        return Some(at + 1);
    }
    let mut keys = [""; limits::ATTRS_MAX];
    loop {
        let (key, end) = plain(text, keys::take(bytes, at, b'"')?, limits::ATTR_KEY_BYTES_MAX)?;
        let seen = keys.get_mut(..=attrs.count)?;
        let (slot, before) = seen.split_last_mut()?;
        if before.contains(&key) {
            return None;
        }
        *slot = key;
        at = keys::colon(bytes, end, lines)?;
        let (value, end) = match bytes.get(at)? {
            b'"' => {
                let (text, end) = plain(text, at + 1, limits::ATTR_VALUE_BYTES_MAX)?;
                (AttrValue::Text(text), end)
            }
            b't' => (AttrValue::Flag(true), word(bytes, at, "true")?),
            b'f' => (AttrValue::Flag(false), word(bytes, at, "false")?),
            _ => {
                let end = number::end(bytes, at)?;
                (AttrValue::Number(text.get(at..end)?.parse().ok().filter(|number: &f64| number.is_finite())?), end)
            }
        };
        attrs.push(key, value);
        at = keys::blank(bytes, end, lines);
        match bytes.get(at)? {
            b',' => at = keys::blank(bytes, at + 1, lines),
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// The end of the value of a key that peep does not know.
#[inline(never)]
fn skip(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => text::plain_end(bytes, at + 1).map(|end| end + 1),
        b't' => word(bytes, at, "true"),
        b'f' => word(bytes, at, "false"),
        b'-' | b'0'..=b'9' => number::end(bytes, at),
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize, word: &str) -> Option<usize> {
    bytes.get(at..)?.starts_with(word.as_bytes()).then_some(at + word.len())
}
