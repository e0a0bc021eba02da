//! The single place that turns an outcome into a status, a body and `Retry-After`.
//!
//! Two dialects: peep's own JSON, and OTLP's responses in the encoding of the request, for exporters that know no other.

use std::fmt::Write;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use peep_wire::json::Rejection;
use peep_wire::otlp;

use crate::admission::Permit;
use crate::outcome::{Accepted, Reason, Refused};

/// How to talk to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Peep,
    Otlp(otlp::Encoding),
}

/// The answer to a request that was taken.
pub(crate) fn accepted(dialect: Dialect, mut accepted: Accepted) -> Response<Full<Bytes>> {
    let headers = std::mem::take(&mut accepted.headers);
    match dialect {
        Dialect::Peep => {
            let body = held(accepted_body(&accepted), accepted.room.take());
            respond_with(headers, StatusCode::ACCEPTED, JSON, body)
        }
        Dialect::Otlp(encoding) => {
            let partial = accepted.rejected.first().map(|first| partial_message(&accepted, first));
            let refused = partial.as_deref().map(|message| (accepted.rejected.len() as u64, message));
            let body = otlp::success(encoding, refused);
            let mut response = respond_with(headers, StatusCode::OK, encoding.media_type(), body);
            // OTLP's body has no room for it.
            let receipt = accepted.receipt.and_then(|receipt| HeaderValue::try_from(receipt.to_string()).ok());
            if let Some(receipt) = receipt {
                response.headers_mut().insert(HeaderName::from_static("peep-receipt"), receipt);
            }
            response
        }
    }
}

/// The answer to a request of which nothing is known to be kept.
pub(crate) fn refused(
    dialect: Dialect,
    refused: &Refused,
    retry_after_s: Option<u32>,
    request_id: &str,
    room: Option<Permit>,
) -> Response<Full<Bytes>> {
    let status = status(dialect, refused.reason);
    let mut response = match dialect {
        Dialect::Peep => respond(status, JSON, held(refused_body(refused, request_id), room)),
        Dialect::Otlp(encoding) => {
            let message = format!("{}: {} (request {request_id})", refused.reason.code(), refused.message);
            respond(status, encoding.media_type(), otlp::failure(encoding, rpc_code(status), &message))
        }
    };
    let headers = response.headers_mut();
    if let Some(seconds) = retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    match refused.reason {
        Reason::MethodNotAllowed => drop(headers.insert(ALLOW, HeaderValue::from_static("POST"))),
        Reason::Unauthorized => {
            headers.insert(HeaderName::from_static("www-authenticate"), HeaderValue::from_static("Bearer"));
        }
        // The rest of the body is not worth reading: close instead.
        Reason::PayloadTooLarge | Reason::RequestTimeout | Reason::ClientGone => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// OTLP exporters try again after 429, 502, 503 and 504, and after nothing else.
fn status(dialect: Dialect, reason: Reason) -> StatusCode {
    match (dialect, reason) {
        (Dialect::Otlp(_), Reason::RequestTimeout) => StatusCode::SERVICE_UNAVAILABLE,
        (_, reason) => reason.status(),
    }
}

/// `google.rpc.Code`.
fn rpc_code(status: StatusCode) -> u8 {
    match status {
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::FORBIDDEN => 7,
        StatusCode::NOT_FOUND => 5,
        StatusCode::METHOD_NOT_ALLOWED => 12,
        StatusCode::TOO_MANY_REQUESTS => 8,
        status if status.is_server_error() => 14,
        // Invalid argument.
        _ => 3,
    }
}

/// What an answer that names these events holds at most, from the time they are known until the client has it; 0 when that is too
/// little to count.
pub(crate) fn bytes_held(rejected: &[Rejection]) -> usize {
    // In a list, and written down; escaped, a character takes more, but our messages show few that need it.
    let bytes = rejected.iter().map(|rejection| REJECTION_BYTES + 2 * rejection.message.len()).sum();
    if bytes > UNCOUNTED_BYTES { bytes } else { 0 }
}

/// A body that gives its room back when the last of it was handed to the socket.
pub(crate) fn held(body: String, room: Option<Permit>) -> Bytes {
    struct Held(String, #[expect(dead_code, reason = "given back on drop")] Permit);
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    match room {
        Some(room) => Bytes::from_owner(Held(body, room)),
        None => body.into(),
    }
}

fn respond(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond_with(HeaderMap::new(), status, media_type, body)
}

fn respond_with(
    headers: HeaderMap,
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// Names the first span and why; the others are in the metrics.
fn partial_message(accepted: &Accepted, first: &Rejection) -> String {
    let (spans, events) = (accepted.rejected.len(), accepted.events);
    format!(
        "{spans} spans were refused, {events} became events; the first, number {} of the request: {}: {}",
        first.index,
        first.code.as_str(),
        first.message
    )
}

/// Written by hand: it is on the way of every request, and a receipt needs no escaping.
fn accepted_body(accepted: &Accepted) -> String {
    let mut body = String::with_capacity(ACCEPTED_BYTES + accepted.rejected.len() * 160);
    body.push_str("{\"accepted\":");
    let _ = write!(body, "{}", accepted.events);
    body.push_str(",\"rejected\":");
    write_rejected(&mut body, &accepted.rejected);
    body.push_str(",\"receipt\":\"");
    if let Some(receipt) = accepted.receipt {
        let _ = write!(body, "{receipt}");
    }
    body.push_str("\",\"delivery\":\"");
    body.push_str(accepted.delivery.as_str());
    body.push_str("\"}");
    body
}

fn refused_body(refused: &Refused, request_id: &str) -> String {
    let message = serde_json::Value::from(refused.message.as_str());
    let mut body = format!(
        "{{\"error\":{{\"code\":\"{}\",\"message\":{message},\"request_id\":\"{request_id}\"}}",
        refused.reason.code()
    );
    if !refused.rejected.is_empty() {
        body.push_str(",\"accepted\":0,\"rejected\":");
        write_rejected(&mut body, &refused.rejected);
    }
    body.push('}');
    body
}

fn write_rejected(body: &mut String, rejected: &[Rejection]) {
    body.push('[');
    for (position, rejection) in rejected.iter().enumerate() {
        let comma = if position == 0 { "" } else { "," };
        let message = serde_json::Value::from(rejection.message.as_str());
        let (index, code) = (rejection.index, rejection.code.as_str());
        let _ = write!(body, "{comma}{{\"index\":{index},\"code\":\"{code}\",\"message\":{message}}}");
    }
    body.push(']');
}

/// An answer without rejections: one allocation.
const ACCEPTED_BYTES: usize = 160;

const JSON: &str = "application/json";
/// Of each event that is named, beside its message: where it is kept, and what is written around it.
const REJECTION_BYTES: usize = 128;
const UNCOUNTED_BYTES: usize = 4 << 10;
