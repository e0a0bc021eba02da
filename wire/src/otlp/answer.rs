//! Answers of OTLP/HTTP, in the encoding of the request: `ExportTraceServiceResponse`, or `google.rpc.Status`.

use crate::varint;

/// How a request, and so its answer, is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`
    Protobuf,
    /// `application/json`
    Json,
}

impl Encoding {
    /// From the essence of a `Content-Type`; `None` for one that is not taken.
    pub fn from_media_type(essence: &str) -> Option<Encoding> {
        [Encoding::Protobuf, Encoding::Json].into_iter().find(|known| known.media_type().eq_ignore_ascii_case(essence))
    }

    /// The `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        }
    }
}

/// `ExportTraceServiceResponse`: empty, unless spans were refused (how many, and a sentence about why).
pub fn success(encoding: Encoding, refused: Option<(u64, &str)>) -> Vec<u8> {
    match (encoding, refused) {
        (Encoding::Protobuf, None) => Vec::new(),
        (Encoding::Json, None) => b"{}".to_vec(),
        (Encoding::Protobuf, Some((spans, message))) => {
            let mut partial = Vec::with_capacity(message.len() + 16);
            partial.push(NUMBER);
            varint::put(&mut partial, spans);
            put_text(&mut partial, TEXT, message.as_bytes());
            let mut out = Vec::with_capacity(partial.len() + 8);
            put_text(&mut out, PARTIAL_SUCCESS, &partial);
            out
        }
        (Encoding::Json, Some((spans, message))) => {
            let message = serde_json::Value::from(message);
            // 64-bit numbers are text in protobuf's JSON.
            format!("{{\"partialSuccess\":{{\"rejectedSpans\":\"{spans}\",\"errorMessage\":{message}}}}}").into_bytes()
        }
    }
}

/// `google.rpc.Status` with a `google.rpc.Code`.
pub fn failure(encoding: Encoding, code: u8, message: &str) -> Vec<u8> {
    match encoding {
        Encoding::Protobuf => {
            let mut out = vec![NUMBER, code];
            put_text(&mut out, TEXT, message.as_bytes());
            out
        }
        Encoding::Json => {
            let message = serde_json::Value::from(message);
            format!("{{\"code\":{code},\"message\":{message}}}").into_bytes()
        }
    }
}

fn put_text(out: &mut Vec<u8>, tag: u8, text: &[u8]) {
    out.push(tag);
    varint::put(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// `partial_success` of the response, a message.
const PARTIAL_SUCCESS: u8 = 1 << 3 | 2;
/// `rejected_spans` of a partial success, `code` of a status.
const NUMBER: u8 = 1 << 3;
/// `error_message` of a partial success, `message` of a status.
const TEXT: u8 = 2 << 3 | 2;
