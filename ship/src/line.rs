//! One access log line, understood: the common result of both parsers.
//!
//! In: borrowed bytes of a line. Out: [`AccessLine`] or the reason why the line is no event. Promised: nothing is
//! copied unless an escape forces it, nothing panics on arbitrary bytes. Not done: judging values; ingest does that.

use std::borrow::Cow;

use peep_wire::method::Method;

/// What a log line says about one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AccessLine<'a> {
    pub(crate) ended_ms: i64,
    pub(crate) request: Request<'a>,
    /// `None`: the log holds `-`, `000` or a number outside 100..=599.
    pub(crate) status: Option<u16>,
    pub(crate) duration_us: Option<u64>,
    pub(crate) bytes_in: Option<u64>,
    pub(crate) bytes_out: Option<u64>,
    /// The emitting server by name; never an address.
    pub(crate) host: Option<&'a str>,
    pub(crate) trace_id: Option<&'a str>,
    pub(crate) span_id: Option<&'a str>,
}

/// Method and target of a request line, as far as it was HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    /// A standard method, `_OTHER`, or `None` when the line was no HTTP.
    pub(crate) method: Option<&'static str>,
    pub(crate) target: Target<'a>,
}

/// What was asked for, still with its query string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// An empty request line: the client connected and sent nothing (status 408), or the log has no such field.
    #[default]
    Missing,
    /// Bytes that are no HTTP request: TLS to a plain port, a port scan.
    NotHttp,
    /// No path, but the route already, of plain characters.
    Template(&'a str),
    Path(Cow<'a, [u8]>),
}

/// Why a line is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("no_time: no time in a format that access logs use")]
    NoTime,
    #[error("no_request: no quoted request after the time")]
    NoRequest,
    #[error("unterminated_quote: a quoted field does not end (a cut-off line?)")]
    UnterminatedQuote,
    #[error("bad_status: no status after the request")]
    BadStatus,
    #[error("bad_bytes: no byte count after the status")]
    BadBytes,
    #[error("not_json: not one complete JSON object")]
    NotJson,
    #[error("no_record: a datagram that is none of the nginx module")]
    NoRecord,
    #[error("too_long: longer than 1 MiB")]
    TooLong,
}

impl<'a> Request<'a> {
    /// Splits `GET /path HTTP/1.1`; tolerates spaces in the path and the HTTP/0.9 form without a version.
    pub(crate) fn parse(line: Cow<'a, [u8]>) -> Self {
        if line.trim_ascii().is_empty() || line.as_ref() == b"-" {
            return Self::default();
        }
        let Some(space) = line.iter().position(|&byte| byte == b' ') else {
            return Self { method: None, target: Target::NotHttp };
        };
        let verb = &line[..space];
        if verb.is_empty() || verb.len() > 32 || !verb.iter().all(|&byte| is_method_byte(byte)) {
            return Self { method: None, target: Target::NotHttp };
        }
        let end = match memchr::memrchr(b' ', &line) {
            Some(last) if last > space && line[last + 1..].starts_with(b"HTTP/") => last,
            _ => line.len(),
        };
        Self { method: Some(standard_method(verb)), target: Target::Path(slice_cow(line, space + 1, end)) }
    }
}

/// The standard name, or `_OTHER`, so that odd verbs of scanners open no series of their own.
pub(crate) fn standard_method(verb: &[u8]) -> &'static str {
    std::str::from_utf8(verb).map_or(Method::OTHER, Method::from_name).as_str()
}

/// A status field: three digits make a status when they are one, other digits and `-` an unknown one.
pub(crate) fn parse_status(field: &[u8]) -> Result<Option<u16>, Malformed> {
    if field == b"-" {
        return Ok(None);
    }
    if field.is_empty() || field.len() > 3 || !field.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::BadStatus);
    }
    let status = field.iter().fold(0_u16, |value, byte| value * 10 + u16::from(byte - b'0'));
    Ok((100..=599).contains(&status).then_some(status))
}

/// A whole number of bytes; `None` for `-` and anything else.
pub(crate) fn parse_count(field: &[u8]) -> Option<u64> {
    if field.is_empty() || field.len() > 18 {
        return None;
    }
    field.iter().try_fold(0_u64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0')))
}

/// Undoes the escapes of nginx (`\x22`), Apache (`\"`, `\\`, `\n`, `\v`) and JSON (`\u0022`, `\/`, `\b`).
pub(crate) fn unescape(field: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'\\', field) else {
        return Cow::Borrowed(field);
    };
    let mut out = Vec::with_capacity(field.len());
    out.extend_from_slice(&field[..first]);
    let mut rest = &field[first..];
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'\\', [b'x', high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex_value(*high) << 4 | hex_value(*low));
                tail
            }
            (b'\\', [b'u', a, b, c, d, tail @ ..]) if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => {
                let code = [a, b, c, d].iter().fold(0_u32, |value, digit| value << 4 | u32::from(hex_value(**digit)));
                // A lone surrogate has no character; the replacement keeps the field readable.
                let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                tail
            }
            (b'\\', [escaped, tail @ ..]) => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'v' => 0x0b,
                    other => *other,
                });
                tail
            }
            _ => {
                out.push(byte);
                after
            }
        };
    }
    Cow::Owned(out)
}

/// The value of one hexadecimal digit; 0 for other bytes.
pub(crate) fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

/// A name that may identify a server: no address (that would be a person's, or a new value per container), no junk.
pub(crate) fn host_name(field: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(field).ok()?;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    let named = name.bytes().any(|byte| byte.is_ascii_alphabetic());
    (plain && named && name.len() <= 128).then_some(name)
}

/// Exactly `length` hexadecimal digits, not all zero.
pub(crate) fn hex_id(field: &[u8], length: usize) -> Option<&str> {
    let valid =
        field.len() == length && field.iter().all(u8::is_ascii_hexdigit) && field.iter().any(|&byte| byte != b'0');
    if valid { std::str::from_utf8(field).ok() } else { None }
}

/// Log text made fit for a terminal: at most `length` characters, no control bytes, no invalid UTF-8.
pub(crate) fn excerpt(line: &[u8], length: usize) -> String {
    let head = &line[..line.len().min(length * 4)];
    let mut text: String = String::from_utf8_lossy(head)
        .chars()
        .map(|c| if c.is_control() || is_direction_mark(c) { '\u{fffd}' } else { c })
        .take(length)
        .collect();
    if text.len() < line.len() {
        text.push('…');
    }
    text
}

/// Characters that reorder what a terminal shows after them.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_')
}

fn slice_cow(bytes: Cow<'_, [u8]>, from: usize, to: usize) -> Cow<'_, [u8]> {
    match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[from..to.max(from)]),
        Cow::Owned(mut bytes) => {
            bytes.truncate(to.max(from));
            bytes.drain(..from);
            Cow::Owned(bytes)
        }
    }
}

#[cfg(test)]
mod tests;
