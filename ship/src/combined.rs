//! The combined log format of nginx and Apache, and what people append to it.
//!
//! In: one line. Out: an [`AccessLine`]. The fixed part is `… [time] "request" status bytes`, then usually
//! `"referrer" "user agent"`; everything behind is optional and read for a duration only. Promised: a user name with
//! spaces or brackets, a virtual host in front, any number of further fields are tolerated; a quoted field that does
//! not end makes the line malformed, because then it was cut off. Not done: log formats in another order.
//!
//! Which trailing field is the request time:
//! 1. a named one (`rt=0.019`, `request_time=0.019`, quoted or not);
//! 2. else the first unnamed one with three or more decimals, because nginx always writes milliseconds
//!    (`"ua" 0.019`, `"ua" "-" 0.019`, `"ua" 0.003 0.000, 0.003`); `$gzip_ratio` has two decimals and is passed over;
//! 3. else a list (`0.001, 0.002 : 0.003`), which is of the upstreams: what they took together;
//! 4. whole numbers count only when the unit was given, because `%D`, `%I` and `$request_length` look alike.

use crate::line::{AccessLine, Malformed, Request, parse_count, parse_status, unescape};
use crate::time::{COMMON_LOG_LENGTH, DurationUnit, parse_common_log, parse_duration_us, upstream_elements};

/// How to read the fields behind the user agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trailer {
    Ignored,
    /// Look for a duration; with a unit, whole numbers are durations too.
    Timed(Option<DurationUnit>),
}

pub(crate) fn parse(line: &[u8], trailer: Trailer) -> Result<AccessLine<'_>, Malformed> {
    let (ended_ms, rest) = find_time(line)?;
    let (request, rest) = quoted(rest).ok_or(Malformed::UnterminatedQuote)?;
    let (status, rest) = word(rest);
    let (bytes, rest) = word(rest);
    let status = parse_status(status)?;
    let bytes_out = match bytes {
        b"-" => None,
        digits => Some(parse_count(digits).ok_or(Malformed::BadBytes)?),
    };
    let duration_us = read_trailer(rest, trailer)?;
    Ok(AccessLine {
        ended_ms,
        request: Request::parse(unescape(request)),
        status,
        duration_us,
        bytes_out,
        ..AccessLine::default()
    })
}

/// The first bracketed time with a quoted request behind it, and what follows that quote. A client may put brackets,
/// even a whole time, into its user name, but no quote: the server escapes it.
fn find_time(line: &[u8]) -> Result<(i64, &[u8]), Malformed> {
    let mut reason = Malformed::NoTime;
    for open in memchr::memchr_iter(b'[', line) {
        let from = open + 1;
        let Some(text) = line.get(from..from + COMMON_LOG_LENGTH) else { break };
        let Some(rest) = line[from + COMMON_LOG_LENGTH..].strip_prefix(b"]") else { continue };
        let Some(ended_ms) = parse_common_log(text) else { continue };
        match rest.trim_ascii_start().strip_prefix(b"\"") {
            Some(rest) => return Ok((ended_ms, rest)),
            None => reason = Malformed::NoRequest,
        }
    }
    Err(reason)
}

/// Everything up to the closing quote, and the rest behind it. A backslash escapes the next byte.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    loop {
        let index = from + memchr::memchr2(b'"', b'\\', text.get(from..)?)?;
        if text[index] == b'"' {
            return Some((&text[..index], &text[index + 1..]));
        }
        from = index + 2;
    }
}

/// The next run of bytes without a space.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    let end = memchr::memchr(b' ', text).unwrap_or(text.len());
    text.split_at(end)
}

/// Walks all fields behind the byte count: checks that quotes close, and picks the duration.
fn read_trailer(mut rest: &[u8], trailer: Trailer) -> Result<Option<u64>, Malformed> {
    let (mut named, mut unnamed, mut listed) = (None, None, None);
    let mut quoted_fields = 0;
    loop {
        rest = rest.trim_ascii_start();
        let Some(&first) = rest.first() else { break };
        let Field { name, value, behind } = field(rest)?;
        rest = behind;
        if first == b'"' {
            quoted_fields += 1;
            // Referrer and user agent are whatever the client wrote, even "0.019".
            if quoted_fields <= 2 {
                continue;
            }
        }
        let Trailer::Timed(unit) = trailer else { continue };
        if !name.is_empty() && !is_duration_name(name) {
            continue;
        }
        if memchr::memchr(b' ', value).is_some() {
            listed = listed.or_else(|| list_duration(value, unit));
        } else if name.is_empty() {
            unnamed = unnamed.or_else(|| unnamed_duration(value, unit));
        } else {
            named = named.or_else(|| parse_duration_us(value, unit.unwrap_or(DurationUnit::S)));
        }
    }
    Ok(named.or(unnamed).or(listed))
}

/// `value`, `"value"`, `name=value` or `name="value"`, and what follows.
struct Field<'a> {
    name: &'a [u8],
    value: &'a [u8],
    behind: &'a [u8],
}

/// `text` begins with it.
fn field(text: &[u8]) -> Result<Field<'_>, Malformed> {
    let mut name = &[][..];
    let mut value = text;
    if text.first() != Some(&b'"') {
        let end = text.iter().position(|&byte| matches!(byte, b' ' | b'=')).unwrap_or(text.len());
        if text.get(end) == Some(&b'=') {
            (name, value) = (&text[..end], &text[end + 1..]);
        }
    }
    let (value, behind) = match value.strip_prefix(b"\"") {
        Some(inside) => quoted(inside).ok_or(Malformed::UnterminatedQuote)?,
        None => value.split_at(bare_length(value)),
    };
    Ok(Field { name, value, behind })
}

/// Up to the next space, but for a list of what an upstream's servers took, which is one value: `0.001, 0.002 : 0.003`.
fn bare_length(text: &[u8]) -> usize {
    let word_end = |from: usize| memchr::memchr(b' ', &text[from..]).map_or(text.len(), |length| from + length);
    let mut end = word_end(0);
    loop {
        let next = match text.get(end..) {
            Some([b' ', b':', b' ', ..]) => end + 3,
            Some([b' ', ..]) if text[..end].ends_with(b",") => end + 1,
            _ => return end,
        };
        if matches!(text.get(next), None | Some(b'"' | b' ')) {
            return end;
        }
        end = word_end(next);
    }
}

/// What several upstreams took together, if it is that.
fn list_duration(list: &[u8], unit: Option<DurationUnit>) -> Option<u64> {
    let durations = upstream_elements(list).map(|element| unnamed_duration(element, unit));
    durations.reduce(|sum, next| sum?.checked_add(next?))?
}

fn unnamed_duration(value: &[u8], unit: Option<DurationUnit>) -> Option<u64> {
    match memchr::memchr(b'.', value) {
        // More than seven digits before the point is `$msec`, a point in time.
        Some(point) if point <= 7 && value.len() - point > 3 => {
            parse_duration_us(value, unit.unwrap_or(DurationUnit::S))
        }
        None => parse_duration_us(value, unit?),
        _ => None,
    }
}

fn is_duration_name(name: &[u8]) -> bool {
    matches!(
        name,
        b"rt"
            | b"reqtime"
            | b"req_time"
            | b"request_time"
            | b"requesttime"
            | b"duration"
            | b"time"
            | b"took"
            | b"elapsed"
    )
}

#[cfg(test)]
mod tests;
