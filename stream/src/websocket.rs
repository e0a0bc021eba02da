//! WebSocket as RFC 6455 has it, for a server that talks and hardly listens.
//!
//! Arrives: the head of a request, later what the client sends. Leaves: the answer to the handshake, frames, and what the
//! client meant. Promises: a frame is encoded once, whoever gets it ([`frame`]); inbound bytes are judged strictly and never
//! kept ([`inbound`]). No extensions and no subprotocols: compressing for each viewer by itself is what sharing frames saves.
//! Does not: own sockets ([`crate::fanout`]) or know who may look ([`crate::live`]).

use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::error::ApiError;

pub mod frame;

pub mod inbound;

mod utf8;

/// Whether the client asks for a WebSocket, however well.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    names(headers, UPGRADE, "websocket")
}

/// Checks the opening handshake and answers it.
///
/// # Errors
/// With what is wrong about it.
pub fn accept(method: &Method, version: Version, headers: &HeaderMap) -> Result<Response, ApiError> {
    let invalid = |message: &'static str| ApiError::new(StatusCode::BAD_REQUEST, "invalid_handshake", message);
    if method != Method::GET || version != Version::HTTP_11 {
        return Err(invalid("a WebSocket is opened with GET and HTTP/1.1"));
    }
    if !names(headers, CONNECTION, "upgrade") {
        return Err(invalid("the header `Connection` has to name `upgrade`; a proxy in between may have to be told"));
    }
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
    };
    if one(SEC_WEBSOCKET_VERSION) != Some(b"13") {
        let message = "this is a WebSocket of version 13; ask for that one";
        return Err(ApiError::new(StatusCode::UPGRADE_REQUIRED, "unsupported_version", message));
    }
    let key = one(SEC_WEBSOCKET_KEY).filter(|key| STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16));
    let key = key.ok_or(invalid("the header `Sec-WebSocket-Key` has to be 16 bytes in base64"))?;
    let headers = [
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_ACCEPT, answer_to(key)),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// Proves that the key was read by somebody who knows the protocol.
fn answer_to(key: &[u8]) -> HeaderValue {
    let digest = Sha1::new().chain_update(key).chain_update(PROTOCOL_ID).finalize();
    HeaderValue::try_from(STANDARD.encode(digest)).expect("base64 is a header value")
}

/// Whether one of the words of a header is this one.
fn names(headers: &HeaderMap, header: HeaderName, word: &str) -> bool {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
}

/// RFC 6455, section 1.3.
const PROTOCOL_ID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests;
