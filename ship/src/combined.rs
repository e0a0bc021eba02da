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
//! 3. whole numbers count only when the unit was given, because `%D`, `%I` and `$request_length` look alike.

use crate::line::{AccessLine, Malformed, Request, parse_count, parse_status, unescape};
use crate::time::{COMMON_LOG_LENGTH, DurationUnit, parse_common_log, parse_duration_us};

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
    let (mut named, mut unnamed) = (None, None);
    let mut quoted_fields = 0;
    loop {
        rest = rest.trim_ascii_start();
        let Some(&first) = rest.first() else { break };
        let mut name = &[][..];
        let value;
        if first == b'"' {
            (value, rest) = quoted(&rest[1..]).ok_or(Malformed::UnterminatedQuote)?;
            quoted_fields += 1;
            // Referrer and user agent are whatever the client wrote, even "0.019".
            if quoted_fields <= 2 {
                continue;
            }
        } else {
            let end = rest.iter().position(|&byte| matches!(byte, b' ' | b'=')).unwrap_or(rest.len());
            if rest.get(end) == Some(&b'=') {
                name = &rest[..end];
                (value, rest) = named_value(&rest[end + 1..])?;
            } else {
                (value, rest) = rest.split_at(end);
            }
        }
        let Trailer::Timed(unit) = trailer else { continue };
        if name.is_empty() {
            unnamed = unnamed.or_else(|| unnamed_duration(value, unit));
        } else if is_duration_name(name) {
            named = named.or_else(|| parse_duration_us(value, unit.unwrap_or(DurationUnit::S)));
        }
    }
    Ok(named.or(unnamed))
}

/// The value behind `name=`, quoted or bare.
fn named_value(text: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    match text.strip_prefix(b"\"") {
        Some(inside) => quoted(inside).ok_or(Malformed::UnterminatedQuote),
        None => Ok(word(text)),
    }
}

fn unnamed_duration(value: &[u8], unit: Option<DurationUnit>) -> Option<u64> {
    // An upstream list keeps its comma on the first word: `0.000,`.
    let value = value.strip_suffix(b",").unwrap_or(value);
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
