//! An access line as the JSON event that ingest takes.
//!
//! In: an [`AccessLine`] and its route. Out: one line of NDJSON, appended. Promised: only the fields below leave the
//! host; the JSON is valid for any input, because each string is either checked plain ASCII or escaped once at the
//! start. Not done: judging whether ingest will accept it.

use peep_wire::histogram::DURATION_US_MAX;

use crate::line::AccessLine;

/// What every event of one input has in common, as ready JSON.
#[derive(Debug)]
pub(crate) struct EventWriter {
    /// `{"service":"shop","source":"nginx"` and so on, without the closing brace.
    head: Vec<u8>,
    host_from_line: bool,
    shift_ms: i64,
}

impl EventWriter {
    /// `host` set by the user goes before any that the log names. `shift_ms` moves every event in time.
    pub(crate) fn new(service: &str, env: Option<&str>, host: Option<&str>, shift_ms: i64) -> Self {
        let mut head = format!("{{\"service\":{}", json_string(service));
        for (key, value) in [("env", env), ("host", host)] {
            if let Some(value) = value {
                head.push_str(&format!(",\"{key}\":{}", json_string(value)));
            }
        }
        head.push_str(",\"source\":\"nginx\"");
        Self { head: head.into_bytes(), host_from_line: host.is_none(), shift_ms }
    }

    /// When the event ended, after the shift.
    pub(crate) fn ended_ms(&self, line: &AccessLine<'_>) -> i64 {
        line.ended_ms.saturating_add(self.shift_ms)
    }

    /// Longer than ingest takes: a WebSocket that was open all day, not a request. Such an event goes without it.
    pub(crate) fn is_overlong(line: &AccessLine<'_>) -> bool {
        line.duration_us.is_some_and(|duration_us| duration_us > DURATION_US_MAX)
    }

    /// Appends one line. `route` is a template: plain ASCII without quotes and backslashes.
    pub(crate) fn write(&self, line: &AccessLine<'_>, route: &str, out: &mut Vec<u8>) {
        debug_assert!(route.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'), "{route}");
        out.extend_from_slice(&self.head);
        put_number(out, "ts", self.ended_ms(line));
        put_plain(out, "route", route);
        if let Some(method) = line.request.method {
            put_plain(out, "method", method);
        }
        if let Some(status) = line.status {
            put_number(out, "status", i64::from(status));
        }
        if let Some(duration_us) = line.duration_us.filter(|_| !Self::is_overlong(line)) {
            put_milliseconds(out, duration_us);
        }
        for (key, count) in [("bytes_in", line.bytes_in), ("bytes_out", line.bytes_out)] {
            if let Some(count) = count {
                put_number(out, key, i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        if let Some(host) = line.host.filter(|_| self.host_from_line) {
            put_plain(out, "host", host);
        }
        for (key, id) in [("trace_id", line.trace_id), ("span_id", line.span_id)] {
            if let Some(id) = id {
                put_plain(out, key, id);
            }
        }
        out.extend_from_slice(b"}\n");
    }
}

fn put_plain(out: &mut Vec<u8>, key: &str, value: &str) {
    for part in [",\"", key, "\":\"", value, "\""] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn put_number(out: &mut Vec<u8>, key: &str, value: i64) {
    for part in [",\"", key, "\":"] {
        out.extend_from_slice(part.as_bytes());
    }
    if value < 0 {
        out.push(b'-');
    }
    put_digits(out, value.unsigned_abs());
}

/// Microseconds as milliseconds, with a fraction only where there is one.
fn put_milliseconds(out: &mut Vec<u8>, duration_us: u64) {
    let (whole, fraction) = (duration_us / 1000, duration_us % 1000);
    out.extend_from_slice(b",\"duration_ms\":");
    put_digits(out, whole);
    if fraction > 0 {
        let digit = |value: u64| b'0' + (value % 10) as u8;
        out.extend_from_slice(&[b'.', digit(fraction / 100), digit(fraction / 10), digit(fraction)]);
    }
}

/// Five numbers an event: what `write!` does for one takes several times as long.
fn put_digits(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return out.extend_from_slice(&digits[from..]);
        }
    }
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
