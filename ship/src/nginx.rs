//! A request as the nginx module tells it.
//!
//! In: a record. Out: an [`AccessLine`], as from a log. Promised: the same request is the same event either way, but for what only
//! one of them knows: the module its microseconds and its route, the log the host. Not done: sockets, which are in `listen`.

use std::borrow::Cow;

use peep_nginx_record::{Event, Method, Record, Route};

use crate::line::{AccessLine, Request, Target};
use crate::route::TEMPLATE_BYTES_MAX;

/// A record, understood; holds what a line borrows.
pub(crate) struct Requested<'a> {
    event: Event<'a>,
    ended_ms: i64,
    trace_id: Option<[u8; 32]>,
}

/// The end of the year 9999: no request ends later.
const ENDED_MS_MAX: u64 = 253_402_300_799_999;

impl<'a> Requested<'a> {
    /// `None`: the record is none that the module writes.
    pub(crate) fn read(record: &Record<'a>, base_ms: u64) -> Option<Self> {
        let event = record.event(base_ms).ok()?;
        let ended_ms = i64::try_from(event.ended_ms.min(ENDED_MS_MAX + 1)).ok()?;
        let trace_id = event.trace.map(|trace| hex(trace.trace_id));
        (event.ended_ms <= ENDED_MS_MAX).then_some(Self { event, ended_ms, trace_id })
    }

    pub(crate) fn as_line(&self) -> AccessLine<'_> {
        let event = &self.event;
        AccessLine {
            ended_ms: self.ended_ms,
            request: Request {
                method: (event.method != Method::None).then(|| event.method.name()),
                target: target(event.route),
            },
            status: Some(event.status).filter(|status| (100..=599).contains(status)),
            duration_us: Some(event.duration_us),
            bytes_in: Some(event.bytes_in),
            bytes_out: Some(event.bytes_out),
            host: None,
            trace_id: self.trace_id.as_ref().and_then(|id| std::str::from_utf8(id).ok()),
            // The header names the caller's span, and nginx has none of its own.
            span_id: None,
        }
    }
}

/// A template that is none, from whoever writes to the socket, is a path like any other.
fn target(route: Route<'_>) -> Target<'_> {
    match route {
        Route::Template(text) | Route::Path(text) if text.is_empty() => Target::Missing,
        Route::Template(text) => match std::str::from_utf8(text) {
            Ok(template) if text.len() <= TEMPLATE_BYTES_MAX && text.iter().all(is_plain) => Target::Template(template),
            _ => Target::Path(Cow::Borrowed(text)),
        },
        Route::Path(text) => Target::Path(Cow::Borrowed(text)),
    }
}

fn is_plain(byte: &u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'?' | b'#')
}

fn hex(id: [u8; 16]) -> [u8; 32] {
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(id) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    text
}

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

#[cfg(test)]
mod tests {
    use peep_nginx_record::{Buffer, Trace, read};

    use super::*;
    use crate::route::write_template;

    const EVENT: Event<'_> = Event {
        service: b"shop",
        ended_ms: 1_760_000_000_123,
        duration_us: 417,
        method: Method::Get,
        status: 200,
        bytes_in: 80,
        bytes_out: 2,
        route: Route::Path(b"/orders/4711"),
        trace: None,
    };

    /// The line of an event that travelled, and its route.
    fn travelled(event: &Event<'_>, check: impl FnOnce(AccessLine<'_>, &str)) {
        let mut buffer = Buffer::new(1);
        assert!(buffer.push(event));
        let (header, mut records) = read(buffer.datagram()).unwrap();
        let requested = Requested::read(&records.next().unwrap().unwrap(), header.base_ms).unwrap();
        let mut route = String::new();
        write_template(&requested.as_line().request.target, &[], &mut route);
        check(requested.as_line(), &route);
    }

    #[test]
    fn a_record_is_a_line_with_everything_the_module_knows() {
        let trace = Trace { trace_id: [0x4b; 16], span_id: [7; 8] };
        travelled(&Event { trace: Some(trace), ..EVENT }, |line, route| {
            assert_eq!((line.ended_ms, line.duration_us, line.status), (1_760_000_000_123, Some(417), Some(200)));
            assert_eq!((line.bytes_in, line.bytes_out, line.request.method), (Some(80), Some(2), Some("GET")));
            assert_eq!((line.trace_id, line.span_id), (Some("4b".repeat(16).as_str()), None));
            assert_eq!(route, "/orders/{id}");
        });
    }

    #[test]
    fn what_nginx_does_not_know_is_not_there() {
        let event = Event { method: Method::None, status: 0, route: Route::Path(b""), ..EVENT };
        travelled(&event, |line, route| {
            assert_eq!((line.request.method, line.status, line.trace_id, route), (None, None, None, "(none)"));
        });
    }

    #[test]
    fn a_template_is_taken_as_it_is_and_only_if_it_is_one() {
        for (template, expected) in
            [("/orders/{number}", "/orders/{number}"), ("/a\"b", "/{text}"), ("/a?b=1", "/a"), ("/é", "/{text}")]
        {
            travelled(&Event { route: Route::Template(template.as_bytes()), ..EVENT }, |_, route| {
                assert_eq!(route, expected, "{template}");
            });
        }
    }

    #[test]
    fn a_time_that_no_clock_shows_is_no_record() {
        let mut buffer = Buffer::new(1);
        buffer.push(&Event { ended_ms: u64::MAX / 2, ..EVENT });
        let (header, mut records) = read(buffer.datagram()).unwrap();
        assert!(Requested::read(&records.next().unwrap().unwrap(), header.base_ms).is_none());
    }
}
