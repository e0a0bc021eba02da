//! The fast way: a scanner for plain events of exactly this schema.
//!
//! Accepts an event only when every byte of it is ordinary: known keys in any order, strings without escapes,
//! plain numbers, flat `attrs`. At anything else it returns `None`, *having pushed nothing*, and the thorough way
//! ([`super::field`]) decides. So this file needs no error messages, and a doubt costs time, never correctness.

use super::{Context, check_time, duration_us, extent, hex, is_name, time};
use crate::event::{AttrValue, EncodedAttrs, Event};
use crate::limits;
use crate::method::Method;
use crate::record::RecordBuilder;

/// What may follow the event within the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// An element of an array, or the first of several objects.
    Anything,
    /// A line: only white space.
    Nothing,
}

/// Scans the event at `at`, pushes it, and returns the position after its `}`.
pub(super) fn event(
    text: &str,
    at: usize,
    ending: Ending,
    context: &Context<'_>,
    attrs: &mut EncodedAttrs,
    record: &mut RecordBuilder,
) -> Option<usize> {
    attrs.clear();
    let mut scanner = Scanner { text, bytes: text.as_bytes(), at };
    let fields = scanner.object(attrs)?;
    let end = scanner.at;
    if end - at > context.event_bytes_max {
        return None;
    }
    if ending == Ending::Nothing && extent::skip_blank(scanner.bytes, end) != scanner.bytes.len() {
        return None;
    }
    let event = fields.check(context, record.received_ms(), attrs)?;
    record.push(&event);
    Some(end)
}

/// What the object said, unchecked.
#[derive(Default)]
struct Fields<'a> {
    service: Option<&'a str>,
    env: Option<&'a str>,
    route: Option<&'a str>,
    method: Option<&'a str>,
    status: Option<u64>,
    ended_ms: Option<i64>,
    duration_us: Option<u64>,
    error: Option<&'a str>,
    host: Option<&'a str>,
    version: Option<&'a str>,
    source: Option<&'a str>,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
    trace_id: Option<[u8; 16]>,
    span_id: Option<[u8; 8]>,
}

impl<'a> Fields<'a> {
    fn check<'e>(self, context: &Context<'e>, received_ms: i64, attrs: &'e EncodedAttrs) -> Option<Event<'e>>
    where
        'a: 'e,
    {
        let service = self.service.filter(|service| is_name(service, limits::SERVICE_BYTES_MAX))?;
        let env = match (self.env, context.bound_env) {
            (Some(env), Some(bound)) if env != bound => return None,
            (Some(env), _) if is_name(env, limits::ENV_BYTES_MAX) => env,
            (Some(_), _) => return None,
            (None, bound) => bound.unwrap_or(limits::ENV_DEFAULT),
        };
        let route = self.route.unwrap_or(limits::ROUTE_DEFAULT);
        if route.is_empty() || !is_short(route, limits::ROUTE_BYTES_MAX) {
            return None;
        }
        let status = match self.status {
            None => 0,
            Some(status @ 100..=599) => status as u16,
            Some(_) => return None,
        };
        let short = |text: Option<&str>, bytes_max| text.is_none_or(|text| is_short(text, bytes_max));
        if !short(self.host, limits::NAME_BYTES_MAX)
            || !short(self.version, limits::NAME_BYTES_MAX)
            || !short(self.source, limits::SOURCE_BYTES_MAX)
            || self.error.is_some_and(|error| error.len() > limits::ERROR_BYTES_MAX)
        {
            return None;
        }
        let ended_ms = self.ended_ms.unwrap_or(received_ms);
        check_time(ended_ms, received_ms, context).ok()?;
        Some(Event {
            service,
            env,
            route,
            method: self.method.map_or(Method::ABSENT, Method::from_name),
            status,
            ended_ms,
            duration_us: self.duration_us,
            error: self.error.filter(|error| !error.is_empty()),
            host: self.host,
            version: self.version,
            source: self.source,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            trace_id: self.trace_id,
            span_id: self.span_id,
            attrs,
        })
    }
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn object(&mut self, attrs: &mut EncodedAttrs) -> Option<Fields<'a>> {
        let mut fields = Fields::default();
        self.take(b'{')?;
        self.blank();
        if self.peek()? == b'}' {
            return None; // without a service it is refused anyway
        }
        loop {
            let key = self.string()?;
            self.blank();
            self.take(b':')?;
            self.blank();
            self.value(key, &mut fields, attrs)?;
            self.blank();
            match self.next()? {
                b',' => self.blank(),
                b'}' => return Some(fields),
                _ => return None,
            }
        }
    }

    #[inline]
    fn value(&mut self, key: &str, fields: &mut Fields<'a>, attrs: &mut EncodedAttrs) -> Option<()> {
        if self.peek()? == b'n' {
            // `null` is absent; of a key given twice the last one counts, which the thorough way handles.
            return None;
        }
        // By length first: the comparisons that remain are of known size and need no call.
        let name = key.as_bytes();
        match name.len() {
            2 if name == b"ts" => fields.ended_ms = Some(self.timestamp()?),
            3 if name == b"env" => fields.env = Some(self.string()?),
            4 if name == b"host" => fields.host = Some(self.string()?),
            5 if name == b"route" => fields.route = Some(self.string()?),
            5 if name == b"error" => fields.error = Some(self.string()?),
            5 if name == b"attrs" => self.attrs(attrs)?,
            6 if name == b"method" => fields.method = Some(self.string()?),
            6 if name == b"status" => fields.status = Some(self.integer()?),
            6 if name == b"source" => fields.source = Some(self.string()?),
            7 if name == b"service" => fields.service = Some(self.string()?),
            7 if name == b"version" => fields.version = Some(self.string()?),
            7 if name == b"span_id" => fields.span_id = Some(hex(self.string()?.as_bytes())?),
            8 if name == b"trace_id" => fields.trace_id = Some(hex(self.string()?.as_bytes())?),
            8 if name == b"bytes_in" => fields.bytes_in = Some(self.integer()?),
            9 if name == b"bytes_out" => fields.bytes_out = Some(self.integer()?),
            11 if name == b"duration_ms" => fields.duration_us = Some(self.duration_us()?),
            _ => self.skip()?,
        }
        Some(())
    }

    /// A flat object into the record's encoding. Repeated keys and anything nested go the thorough way.
    fn attrs(&mut self, attrs: &mut EncodedAttrs) -> Option<()> {
        if !attrs.bytes.is_empty() {
            return None;
        }
        self.take(b'{')?;
        self.blank();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        let mut keys = [""; limits::ATTRS_MAX];
        loop {
            let key = self.string()?;
            let seen = keys.get_mut(..=attrs.count)?;
            let (slot, before) = seen.split_last_mut()?;
            if key.len() > limits::ATTR_KEY_BYTES_MAX || before.contains(&key) {
                return None;
            }
            *slot = key;
            self.blank();
            self.take(b':')?;
            self.blank();
            let value = match self.peek()? {
                b'"' => AttrValue::Text(self.string().filter(|text| text.len() <= limits::ATTR_VALUE_BYTES_MAX)?),
                b't' => self.word("true").map(|()| AttrValue::Flag(true))?,
                b'f' => self.word("false").map(|()| AttrValue::Flag(false))?,
                _ => AttrValue::Number(self.number()?.parse().ok().filter(|number: &f64| number.is_finite())?),
            };
            attrs.push(key, value);
            self.blank();
            match self.next()? {
                b',' => self.blank(),
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// The value of a key that peep does not know.
    fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'-' | b'0'..=b'9' => self.number().map(drop),
            _ => None,
        }
    }

    fn duration_us(&mut self) -> Option<u64> {
        // Up to three places are exact in integers and need no float.
        let start = self.at;
        let (whole, whole_len) = self.run_of_digits();
        // Wrapping: of more digits than fit nothing is used.
        let mut us = whole.wrapping_mul(1000);
        let mut places_len = 0;
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            let (places, len) = self.run_of_digits();
            us = us.wrapping_add(places * [0, 100, 10, 1].get(len).copied().unwrap_or(0));
            places_len = len;
        }
        let after = self.bytes.get(self.at).copied().unwrap_or(0);
        let plain = (1..=7).contains(&whole_len)
            && places_len <= 3
            && (self.at == start + whole_len || places_len > 0)
            && (whole_len == 1 || self.bytes[start] != b'0')
            && !matches!(after, b'e' | b'E' | b'-' | b'+' | b'.');
        if plain {
            return (us <= limits::DURATION_MS_MAX * 1000).then_some(us);
        }
        self.at = start;
        duration_us(self.number()?.parse().ok()?)
    }

    fn timestamp(&mut self) -> Option<i64> {
        match self.peek()? {
            b'"' => time::unix_ms(self.string()?),
            _ => i64::try_from(self.integer()?).ok(),
        }
    }

    /// A non-negative integer that fits 15 digits; larger ones go the thorough way.
    #[inline]
    fn integer(&mut self) -> Option<u64> {
        let start = self.at;
        let (value, len) = self.run_of_digits();
        let leading_zero = len > 1 && self.bytes[start] == b'0';
        let goes_on = matches!(self.bytes.get(self.at), Some(b'.' | b'e' | b'E'));
        ((1..=15).contains(&len) && !leading_zero && !goes_on).then_some(value)
    }

    /// The value of the digits from here (wrapping beyond 19) and how many there are.
    #[inline]
    fn run_of_digits(&mut self) -> (u64, usize) {
        let start = self.at;
        let mut value = 0u64;
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(self.at) {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        (value, self.at - start)
    }

    /// The text of a JSON number without exponent.
    fn number(&mut self) -> Option<&'a str> {
        let start = self.at;
        if self.peek()? == b'-' {
            self.at += 1;
        }
        let whole = self.digits()?;
        if whole > 1 && self.bytes[self.at - whole] == b'0' {
            return None;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        match self.bytes.get(self.at) {
            Some(b'e' | b'E') => None,
            _ => self.text.get(start..self.at),
        }
    }

    fn digits(&mut self) -> Option<usize> {
        let start = self.at;
        while matches!(self.bytes.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > start).then_some(self.at - start)
    }

    /// A string without escapes, eight bytes at a step.
    #[inline]
    fn string(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let start = self.at;
        while let Some(chunk) = self.bytes.get(self.at..self.at + 8) {
            let word = u64::from_le_bytes(chunk.try_into().expect("a chunk has eight bytes"));
            let special = special_bytes(word);
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return self.close(start);
            }
            self.at += 8;
        }
        while self.bytes.get(self.at).is_some_and(|&byte| byte != b'"' && byte != b'\\' && byte >= 0x20) {
            self.at += 1;
        }
        self.close(start)
    }

    #[inline]
    fn close(&mut self, start: usize) -> Option<&'a str> {
        self.take(b'"')?;
        self.text.get(start..self.at - 1)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.bytes[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    #[inline]
    fn blank(&mut self) {
        if self.bytes.get(self.at).is_some_and(|&byte| byte <= b' ') {
            self.at = extent::skip_blank(self.bytes, self.at);
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn take(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }
}

/// [`super::is_plain`] for a scanned string, in which no byte below 0x20 can be.
#[inline]
fn is_short(text: &str, bytes_max: usize) -> bool {
    text.len() <= bytes_max && !text.as_bytes().contains(&0x7f)
}

/// Marks the top bit of each byte that ends or disturbs a string: `"`, `\` or a control character.
///
/// The usual zero-byte trick ("Bit Twiddling Hacks", haszero and hasless); borrows can only mark bytes *above* the
/// first true hit, and only the first is used.
#[inline]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let quotes = zero_bytes(word ^ (ONES * b'"' as u64));
    let escapes = zero_bytes(word ^ (ONES * b'\\' as u64));
    let controls = word.wrapping_sub(ONES * 0x20) & !word & TOPS;
    quotes | escapes | controls
}
