//! The trace that a request belongs to, from its `traceparent` header (W3C Trace Context, level 1 and 2).
//!
//! In: the request's headers; two `traceparent` are none. Out: the trace id, or nothing. Nothing is started or sent on:
//! this SDK counts requests, it is no tracer. Vectors: `sdk/fixtures/traceparent.json`.

use http::{HeaderMap, HeaderName};

/// 32 hexadecimal digits.
pub(crate) type TraceId = [u8; 32];

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

pub(crate) fn trace_id(headers: &HeaderMap) -> Option<TraceId> {
    // Asked by text, the map would parse the name each time.
    let first = headers.get(&TRACEPARENT)?;
    if headers.get_all(&TRACEPARENT).iter().nth(1).is_some() {
        return None;
    }
    parse(first.as_bytes())
}

/// `version-trace-parent-flags`, and after a later version's flags more behind another `-`.
fn parse(value: &[u8]) -> Option<TraceId> {
    let value = value.trim_ascii();
    let (known, more) = value.split_at_checked(55)?;
    let is_hex = |text: &[u8]| text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let (version, trace, parent, flags) = (&known[..2], &known[3..35], &known[36..52], &known[53..]);
    let well_formed = known[2] == b'-'
        && known[35] == b'-'
        && known[52] == b'-'
        && [version, trace, parent, flags].into_iter().all(is_hex);
    let zero = |text: &[u8]| text.iter().all(|byte| *byte == b'0');
    if !well_formed || version == b"ff" || zero(trace) || zero(parent) {
        return None;
    }
    let more_is_fine = more.is_empty() || (version != b"00" && more[0] == b'-');
    more_is_fine.then(|| trace.try_into().ok()).flatten()
}
