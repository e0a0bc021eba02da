//! Records for the tests of this crate.

use bytes::Bytes;
use peep_log::{LogRecord, Offset};
use peep_wire::event::{EncodedAttrs, Event};
use peep_wire::method::Method;
use peep_wire::record::RecordBuilder;
use peep_wire::{Identity, KeyId, ProjectId};

/// A Friday evening.
pub(crate) const NOW_MS: i64 = 1_795_212_000_000;

/// An event to change.
pub(crate) fn event<'a>(service: &'a str, route: &'a str, ended_ms: i64, duration_us: u64) -> Event<'a> {
    Event {
        service,
        env: "default",
        route,
        method: Method::from_name("GET"),
        status: 200,
        ended_ms,
        duration_us: Some(duration_us),
        error: None,
        host: None,
        version: None,
        source: None,
        bytes_in: None,
        bytes_out: None,
        trace_id: None,
        span_id: None,
        attrs: EncodedAttrs::EMPTY,
    }
}

/// One batch of project 1, received at `received_ms`.
pub(crate) fn batch(received_ms: i64, events: &[Event<'_>]) -> Bytes {
    let mut builder = RecordBuilder::new(64 << 20);
    builder.start(received_ms);
    events.iter().for_each(|event| builder.push(event));
    builder.finish(ProjectId(1), KeyId(7), None).remove(0)
}

/// One batch with an identity: the records it becomes when they hold `record_bytes_max`.
pub(crate) fn identified(producer: u8, seq: u64, events: &[Event<'_>], record_bytes_max: usize) -> Vec<Bytes> {
    let mut builder = RecordBuilder::new(record_bytes_max);
    builder.start(NOW_MS);
    events.iter().for_each(|event| builder.push(event));
    builder.finish(ProjectId(1), KeyId(7), Some(Identity { producer: [producer; 16], seq }))
}

/// A record as the log delivers it.
pub(crate) fn record(offset: u64, appended_ms: i64, payload: Bytes) -> LogRecord {
    LogRecord { offset: Offset(offset), appended_ms, payload }
}
