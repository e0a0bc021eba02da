//! One finished HTTP request, checked, borrowing its text from the request body.

use crate::method::Method;

/// An event that passed every check; what the decoder hands to the record.
#[derive(Debug, Clone, PartialEq)]
pub struct Event<'a> {
    /// Never empty.
    pub service: &'a str,
    /// Never empty.
    pub env: &'a str,
    /// The route template; never empty.
    pub route: &'a str,
    /// `Method::ABSENT` when none was sent.
    pub method: Method,
    /// 100..=599, or 0 for unknown.
    pub status: u16,
    /// When the request ended, Unix milliseconds.
    pub ended_ms: i64,
    /// `None`: counted, but in no latency histogram.
    pub duration_us: Option<u64>,
    /// Makes the event an error whatever the status.
    pub error: Option<&'a str>,
    /// Emitting instance.
    pub host: Option<&'a str>,
    /// Release.
    pub version: Option<&'a str>,
    /// `None` stands for `api`.
    pub source: Option<&'a str>,
    /// Request body size.
    pub bytes_in: Option<u64>,
    /// Response body size.
    pub bytes_out: Option<u64>,
    /// W3C trace id.
    pub trace_id: Option<[u8; 16]>,
    /// W3C span id.
    pub span_id: Option<[u8; 8]>,
    /// Kept for search, never a series label.
    pub attrs: &'a EncodedAttrs,
}

/// One value of `attrs`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AttrValue<'a> {
    /// A string.
    Text(&'a str),
    /// A number.
    Number(f64),
    /// A boolean.
    Flag(bool),
}

/// `attrs` already in the record's encoding: the decoder writes them once, the record copies them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EncodedAttrs {
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: usize,
}

impl EncodedAttrs {
    /// No attributes.
    pub const EMPTY: &'static EncodedAttrs = &EncodedAttrs { bytes: Vec::new(), count: 0 };

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }
}
