//! An event, from the caller's words to one line of JSON.
//!
//! Arrives: what a layer or the application says about a finished operation. Leaves: one line of NDJSON that ingest accepts,
//! written into a buffer that is there already. Promised: whatever is handed in, the line is valid; a value that the
//! contract has no room for is cut or left out, never guessed; nothing is allocated. Not done: deciding what a route is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One finished operation. Everything but the route is optional.
#[derive(Debug, Clone, Copy, Default)]
pub struct Event<'a> {
    /// The route's template (`/orders/{id}`) or the operation's name; never a raw path.
    pub route: &'a str,
    /// A method of HTTP.
    pub method: &'a str,
    /// 100 to 599; 500 and above is an error.
    pub status: Option<u16>,
    /// Absent: counted, but in no percentile.
    pub duration: Option<Duration>,
    /// When it ended. Absent: now.
    pub ended: Option<SystemTime>,
    /// Makes the event an error. Write nothing personal into it.
    pub error: &'a str,
    /// Size of the request's body.
    pub bytes_in: Option<u64>,
    /// Size of the response's body.
    pub bytes_out: Option<u64>,
    /// 32 hexadecimal digits.
    pub trace_id: &'a str,
    /// 16 hexadecimal digits.
    pub span_id: &'a str,
    /// Kept for search, at most 32.
    pub attrs: &'a [(&'a str, Value<'a>)],
}

/// The value of an attribute.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// Text of at most 4 KiB.
    Text(&'a str),
    /// A whole number.
    Whole(i64),
    /// Any other finite number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

macro_rules! value_from {
    ($($from:ty => $value:ident via $via:expr),+ $(,)?) => {
        $(impl<'a> From<$from> for Value<'a> {
            fn from(value: $from) -> Self {
                Self::$value(($via)(value))
            }
        })+
    };
}
value_from! {
    &'a str => Text via std::convert::identity,
    i64 => Whole via std::convert::identity,
    i32 => Whole via i64::from,
    u32 => Whole via i64::from,
    f64 => Number via std::convert::identity,
    bool => Flag via std::convert::identity,
}

impl<'a> Event<'a> {
    /// An operation of this name, or a request of this route.
    pub fn new(route: &'a str) -> Self {
        Self { route, ..Self::default() }
    }

    /// How long it took.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }

    /// What it failed with.
    pub fn error(mut self, error: &'a str) -> Self {
        self.error = error;
        self
    }

    /// What to find it by.
    pub fn attrs(mut self, attrs: &'a [(&'a str, Value<'a>)]) -> Self {
        self.attrs = attrs;
        self
    }

    pub(crate) fn is_error(&self) -> bool {
        !self.error.is_empty() || self.status.is_some_and(|status| status >= 500)
    }

    /// Bytes of the line beyond those of a common request, unless much of it must be escaped.
    pub(crate) fn extra_bytes(&self) -> usize {
        let attrs = self.attrs.iter().take(ATTRS_MAX).map(|(key, value)| match value {
            Value::Text(text) => key.len() + text.len() + 8,
            _ => key.len() + 32,
        });
        self.error.len() + attrs.sum::<usize>()
    }

    /// Appends the beginning of the line, which the next event of the same route has too. `head` is [`head`]'s, of the process.
    pub(crate) fn write_opening(&self, head: &[u8], line: &mut Vec<u8>) {
        line.extend_from_slice(head);
        if !self.route.is_empty() {
            write_text(b",\"route\":\"", self.route, ROUTE_BYTES_MAX, Controls::Spaces, line);
        }
        if !self.method.is_empty() {
            write_text(b",\"method\":\"", self.method, METHOD_BYTES_MAX, Controls::Spaces, line);
        }
        if let Some(status) = self.status.filter(|status| (100..=599).contains(status)) {
            line.extend_from_slice(b",\"status\":");
            write_number(status.into(), line);
        }
    }

    /// Appends the rest of the line. `now` stands in for [`Event::ended`]. Without `detail` only what is counted is written.
    pub(crate) fn write_rest(&self, detail: bool, now: &Stamp, line: &mut Vec<u8>) {
        if let Some(duration) = self.duration.filter(|duration| *duration <= DURATION_MAX) {
            line.extend_from_slice(b",\"duration_ms\":");
            write_milliseconds(duration, line);
        }
        match self.ended {
            Some(ended) => Stamp::of(unix_ms(ended)).write(line),
            None => now.write(line),
        }
        if !self.error.is_empty() {
            write_text(b",\"error\":\"", self.error, ERROR_BYTES_MAX, Controls::Escaped, line);
        }
        if detail {
            self.write_detail(line);
        }
        line.extend_from_slice(b"}\n");
    }

    fn write_detail(&self, line: &mut Vec<u8>) {
        for (name, bytes) in [(&b",\"bytes_in\":"[..], self.bytes_in), (&b",\"bytes_out\":"[..], self.bytes_out)] {
            // What JavaScript could not count, no server means.
            if let Some(bytes) = bytes.filter(|bytes| *bytes < 1 << 53) {
                line.extend_from_slice(name);
                write_number(bytes, line);
            }
        }
        for (name, id, digits) in
            [(&b",\"trace_id\":\""[..], self.trace_id, 32), (&b",\"span_id\":\""[..], self.span_id, 16)]
        {
            if is_id(id, digits) {
                line.extend_from_slice(name);
                line.extend_from_slice(id.as_bytes());
                line.push(b'"');
            }
        }
        self.write_attrs(line);
    }

    fn write_attrs(&self, line: &mut Vec<u8>) {
        let mut opener: &[u8] = b",\"attrs\":{\"";
        for (key, value) in self.attrs.iter().take(ATTRS_MAX) {
            let finite = !matches!(value, Value::Number(number) if !number.is_finite());
            if key.is_empty() || !finite {
                continue;
            }
            write_text(opener, key, ATTR_KEY_BYTES_MAX, Controls::Spaces, line);
            opener = b",\"";
            match value {
                Value::Text(text) => write_text(b":\"", text, ATTR_VALUE_BYTES_MAX, Controls::Escaped, line),
                Value::Whole(number) => write_display(number, line),
                Value::Number(number) => write_display(number, line),
                Value::Flag(flag) => write_display(flag, line),
            }
        }
        if opener == b",\"" {
            line.push(b'}');
        }
    }
}

const DURATION_MAX: Duration = Duration::from_secs(3600);
const ROUTE_BYTES_MAX: usize = 512;
const METHOD_BYTES_MAX: usize = 32;
const ERROR_BYTES_MAX: usize = 8 << 10;
const ATTRS_MAX: usize = 32;
const ATTR_KEY_BYTES_MAX: usize = 128;
const ATTR_VALUE_BYTES_MAX: usize = 4 << 10;

/// What all events of a process begin with.
pub(crate) fn head(service: &str, env: &str, host: &str, version: &str) -> Vec<u8> {
    let mut line = Vec::new();
    write_text(b"{\"service\":\"", service, 128, Controls::Spaces, &mut line);
    for (name, text, bytes_max) in
        [(&b",\"env\":\""[..], env, 64), (&b",\"host\":\""[..], host, 255), (&b",\"version\":\""[..], version, 255)]
    {
        if !text.is_empty() {
            write_text(name, text, bytes_max, Controls::Spaces, &mut line);
        }
    }
    line.extend_from_slice(b",\"source\":\"sdk\"");
    line
}

/// `service` and `env` have an alphabet of their own; anything else becomes `_`, as it does with OTLP.
pub(crate) fn name(text: &str, bytes_max: usize) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._/-".contains(character);
    text.chars().take(bytes_max).map(|character| if allowed(character) { character } else { '_' }).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Controls {
    Spaces,
    Escaped,
}

/// The longest beginning of `text` that has at most `bytes_max` bytes, as a JSON string; `opener` ends in its quote.
fn write_text(opener: &[u8], text: &str, bytes_max: usize, controls: Controls, line: &mut Vec<u8>) {
    line.extend_from_slice(opener);
    let text = &text[..text.floor_char_boundary(bytes_max)];
    // Without a way out in the middle many bytes are looked at in one step.
    let plain = |byte: u8| (0x20..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\');
    if text.bytes().fold(true, |is_plain, byte| is_plain & plain(byte)) {
        line.extend_from_slice(text.as_bytes());
    } else {
        for character in text.chars() {
            write_character(character, controls, line);
        }
    }
    line.push(b'"');
}

fn write_character(character: char, controls: Controls, line: &mut Vec<u8>) {
    match character {
        '"' => line.extend_from_slice(b"\\\""),
        '\\' => line.extend_from_slice(b"\\\\"),
        _ if character.is_control() && controls == Controls::Spaces => line.push(b' '),
        '\n' => line.extend_from_slice(b"\\n"),
        '\r' => line.extend_from_slice(b"\\r"),
        '\t' => line.extend_from_slice(b"\\t"),
        '\u{8}' => line.extend_from_slice(b"\\b"),
        '\u{c}' => line.extend_from_slice(b"\\f"),
        '\0'..='\u{1f}' => {
            let digit = |value: u32| char::from_digit(value, 16).map_or(b'0', |digit| digit as u8);
            let code = u32::from(character);
            line.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(code >> 4), digit(code & 15)]);
        }
        _ => line.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// The field `ts`, written down: within a millisecond a busy service has many events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    unix_ms: u64,
    text: [u8; TS.len() + DIGITS_MAX],
    length: usize,
}

const TS: &[u8] = b",\"ts\":";

impl Stamp {
    pub(crate) fn of(unix_ms: u64) -> Self {
        let mut text = [0; TS.len() + DIGITS_MAX];
        let mut digits = [0; DIGITS_MAX];
        let digits = written(unix_ms, &mut digits);
        let length = TS.len() + digits.len();
        text[..TS.len()].copy_from_slice(TS);
        text[TS.len()..length].copy_from_slice(digits);
        Self { unix_ms, text, length }
    }

    /// Is this time from now on.
    pub(crate) fn set(&mut self, unix_ms: u64) {
        if self.unix_ms != unix_ms {
            *self = Self::of(unix_ms);
        }
    }

    fn write(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(&self.text[..self.length]);
    }
}

/// Of any 64 bits.
const DIGITS_MAX: usize = 20;

fn write_number(number: u64, line: &mut Vec<u8>) {
    line.extend_from_slice(written(number, &mut [0; DIGITS_MAX]));
}

/// Two digits at a step.
fn written(mut number: u64, digits: &mut [u8; DIGITS_MAX]) -> &[u8] {
    let mut start = digits.len();
    while number >= 10 {
        start -= 2;
        let pair = (number % 100) as usize * 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
        number /= 100;
    }
    if number > 0 || start == digits.len() {
        start -= 1;
        digits[start] = b'0' + number as u8;
    }
    &digits[start..]
}

/// `00` to `99`.
const PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut number = 0;
    while number < 100 {
        pairs[number * 2] = b'0' + number as u8 / 10;
        pairs[number * 2 + 1] = b'0' + number as u8 % 10;
        number += 1;
    }
    pairs
};

/// To 1 µs, which is what peep keeps, without zeros at the end.
fn write_milliseconds(duration: Duration, line: &mut Vec<u8>) {
    let micros = (duration.as_nanos() as u64 + 500) / 1000;
    write_number(micros / 1000, line);
    let fraction = (micros % 1000) as u16;
    if fraction > 0 {
        let digits = [b'0' + (fraction / 100) as u8, b'0' + (fraction / 10 % 10) as u8, b'0' + (fraction % 10) as u8];
        let end = 3 - digits.iter().rev().take_while(|digit| **digit == b'0').count();
        line.push(b'.');
        line.extend_from_slice(&digits[..end]);
    }
}

fn write_display(value: &dyn std::fmt::Display, line: &mut Vec<u8>) {
    line.push(b':');
    // Writing into memory does not fail.
    let _ = std::io::Write::write_fmt(line, format_args!("{value}"));
}

pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn is_id(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit()) && text.bytes().any(|byte| byte != b'0')
}
