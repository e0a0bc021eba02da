//! Access logs with one JSON object a line (`log_format … escape=json`).
//!
//! In: one line. Out: an [`AccessLine`]. Keys are recognised by the names that people use; of several names for one
//! thing the most exact one wins, wherever it stands in the line. Promised: bytes that are no UTF-8 pass (nginx writes
//! them through), as do the `\x22` escapes of a format without `escape=json`, and the bare `-` or nothing that nginx
//! writes for an empty variable without quotes. Not done: being a JSON validator.

use std::borrow::Cow;

use crate::line::{
    AccessLine, Malformed, Request, Target, hex_id, host_name, parse_count, parse_status, standard_method, unescape,
};
use crate::time::{DurationUnit, parse_common_log, parse_epoch, parse_iso, parse_upstream_us};

/// `duration_unit` applies to duration keys that do not name their unit.
pub(crate) fn parse(line: &[u8], duration_unit: DurationUnit) -> Result<AccessLine<'_>, Malformed> {
    let mut fields = Fields::default();
    let mut scanner = Scanner { text: line.trim_ascii(), at: 0 };
    scanner.object(&mut fields, 0)?;
    if scanner.at != scanner.text.len() {
        return Err(Malformed::NotJson);
    }
    fields.into_line(duration_unit)
}

/// The raw values of one line, by meaning; each with the rank of the key that gave it.
#[derive(Default)]
struct Fields<'a> {
    time: Ranked<'a>,
    method: Ranked<'a>,
    target: Ranked<'a>,
    request_line: Ranked<'a>,
    status: Ranked<'a>,
    duration: Ranked<'a>,
    bytes_in: Ranked<'a>,
    bytes_out: Ranked<'a>,
    host: Ranked<'a>,
    trace_id: Ranked<'a>,
    span_id: Ranked<'a>,
}

/// A value without its quotes, and a rank: 0 is none, higher is better.
#[derive(Clone, Copy, Default)]
struct Ranked<'a> {
    rank: u8,
    value: &'a [u8],
}

impl<'a> Ranked<'a> {
    fn offer(&mut self, rank: u8, value: &'a [u8]) {
        if rank > self.rank && !matches!(value, b"" | b"-" | b"null") {
            *self = Self { rank, value };
        }
    }

    fn get(&self) -> Option<&'a [u8]> {
        (self.rank > 0).then_some(self.value)
    }
}

/// Ranks of duration keys; the unit is part of the rank.
const DURATION_US: u8 = 9;
const DURATION_MS: u8 = 8;
const DURATION_PLAIN_BEST: u8 = 4;

impl<'a> Fields<'a> {
    fn offer(&mut self, key: &[u8], value: &'a [u8]) {
        match key {
            b"msec" | b"time_msec" => self.time.offer(4, value),
            b"time_iso8601" | b"@timestamp" | b"timestamp" => self.time.offer(3, value),
            b"time" | b"ts" | b"time_local" | b"datetime" | b"date" => self.time.offer(2, value),
            b"request_method" | b"method" | b"http_method" | b"verb" => self.method.offer(1, value),
            b"request_uri" => self.target.offer(3, value),
            b"uri" | b"path" | b"request_path" => self.target.offer(2, value),
            b"url" => self.target.offer(1, value),
            b"request" | b"request_line" => self.request_line.offer(1, value),
            b"status" | b"status_code" | b"response_code" | b"http_status" => self.status.offer(1, value),
            b"duration_us" | b"request_time_us" | b"latency_us" => self.duration.offer(DURATION_US, value),
            b"duration_ms" | b"request_time_ms" | b"response_time_ms" | b"latency_ms" => {
                self.duration.offer(DURATION_MS, value);
            }
            b"request_time" => self.duration.offer(DURATION_PLAIN_BEST, value),
            b"duration" => self.duration.offer(3, value),
            b"response_time" | b"elapsed" | b"took" | b"latency" => self.duration.offer(2, value),
            b"request_length" | b"bytes_in" | b"request_size" | b"bytes_received" => self.bytes_in.offer(1, value),
            b"body_bytes_sent" | b"body_bytes" => self.bytes_out.offer(4, value),
            b"bytes_sent" => self.bytes_out.offer(3, value),
            b"bytes" | b"bytes_out" => self.bytes_out.offer(2, value),
            b"size" | b"response_size" => self.bytes_out.offer(1, value),
            b"hostname" => self.host.offer(3, value),
            b"server_name" | b"vhost" => self.host.offer(2, value),
            b"host" => self.host.offer(1, value),
            b"traceparent" | b"http_traceparent" => self.trace_id.offer(3, value),
            b"trace_id" | b"traceid" | b"traceId" | b"otel_trace_id" | b"opentelemetry_trace_id" => {
                self.trace_id.offer(2, value);
            }
            b"request_id" | b"req_id" => self.trace_id.offer(1, value),
            b"span_id" | b"spanid" | b"spanId" | b"otel_span_id" | b"opentelemetry_span_id" => {
                self.span_id.offer(1, value);
            }
            _ => {}
        }
    }

    fn into_line(self, duration_unit: DurationUnit) -> Result<AccessLine<'a>, Malformed> {
        let ended_ms = self.time.get().and_then(parse_time).ok_or(Malformed::NoTime)?;
        if self.target.rank == 0 && self.request_line.rank == 0 && self.method.rank == 0 && self.status.rank == 0 {
            return Err(Malformed::NoRequest);
        }
        let status = self.status.get().map_or(Ok(None), parse_status)?;
        let duration_us = self.duration.get().and_then(|value| {
            let unit = match self.duration.rank {
                DURATION_US => DurationUnit::Us,
                DURATION_MS => DurationUnit::Ms,
                _ => duration_unit,
            };
            parse_upstream_us(value, unit)
        });
        Ok(AccessLine {
            ended_ms,
            request: self.request(),
            status,
            duration_us,
            bytes_in: self.bytes_in.get().and_then(parse_count),
            bytes_out: self.bytes_out.get().and_then(parse_count),
            host: self.host.get().and_then(host_name),
            trace_id: self.trace_id.get().and_then(trace_id),
            span_id: self.span_id.get().and_then(|value| hex_id(value, 16)),
        })
    }

    /// Method and target from their own fields; what is empty there (nginx refused the request) from the request line.
    fn request(&self) -> Request<'a> {
        let mut request = match self.request_line.get() {
            Some(line) => Request::parse(unescape(line)),
            None => Request::default(),
        };
        if let Some(verb) = self.method.get() {
            request.method = Some(standard_method(verb));
        }
        if let Some(target) = self.target.get() {
            request.target = Target::Path(unescape(target));
        }
        request
    }
}

fn parse_time(value: &[u8]) -> Option<i64> {
    parse_iso(value).or_else(|| parse_epoch(value)).or_else(|| match unescape(value) {
        // `17\/May\/2015:…`: some writers escape the slash.
        Cow::Borrowed(text) => parse_common_log(text),
        Cow::Owned(text) => parse_common_log(&text),
    })
}

/// 32 hexadecimal digits, or the second field of a `traceparent` header.
fn trace_id(value: &[u8]) -> Option<&str> {
    hex_id(value, 32).or_else(|| {
        let rest = value.get(2..)?.strip_prefix(b"-")?;
        rest.get(32).filter(|&&byte| byte == b'-')?;
        hex_id(&rest[..32], 32)
    })
}

/// Deep enough for a logger that nests the request (`"request": {"method": …}`), shallow enough for any input.
const DEPTH_MAX: u32 = 8;

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// One object, offering each scalar to `fields`: those at the top, and those inside `request` or `http`.
    fn object(&mut self, fields: &mut Fields<'a>, depth: u32) -> Result<(), Malformed> {
        self.expect(b'{')?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            match self.peek() {
                Some(b'"') => {
                    let value = self.string()?;
                    fields.offer(key, value);
                }
                Some(b'{') if depth == 0 && matches!(key, b"request" | b"response" | b"http") => {
                    self.object(fields, depth + 1)?;
                }
                Some(b'{' | b'[') => self.skip_nested(depth)?,
                _ => fields.offer(key, self.bare()),
            }
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// Steps over an object or a list, minding quotes.
    fn skip_nested(&mut self, depth: u32) -> Result<(), Malformed> {
        let mut open = 0_u32;
        loop {
            match self.peek().ok_or(Malformed::NotJson)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => open += 1,
                b'}' | b']' => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return Ok(());
            }
            if open + depth > DEPTH_MAX {
                return Err(Malformed::NotJson);
            }
        }
    }

    /// The inside of a string, escapes untouched.
    fn string(&mut self) -> Result<&'a [u8], Malformed> {
        self.expect(b'"')?;
        let from = self.at;
        loop {
            let rest = self.text.get(self.at..).ok_or(Malformed::NotJson)?;
            let index = self.at + memchr::memchr2(b'"', b'\\', rest).ok_or(Malformed::NotJson)?;
            if self.text[index] == b'"' {
                self.at = index + 1;
                return Ok(&self.text[from..index]);
            }
            self.at = index + 2;
        }
    }

    /// A number, `true`, `null`, `-` or nothing: all up to the next comma or brace.
    fn bare(&mut self) -> &'a [u8] {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b'"')).unwrap_or(rest.len());
        self.at += length;
        rest[..length].trim_ascii()
    }

    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.take(byte) { Ok(()) } else { Err(Malformed::NotJson) }
    }
}

#[cfg(test)]
mod tests;
