//! The body of `POST /v1/traces` (OTLP/HTTP) to checked events, decoded once.
//!
//! Arrives: an `ExportTraceServiceRequest`, as protobuf or as OTLP's own kind of JSON. Leaves: an event for every span of a
//! finished server or consumer operation, pushed straight into a [`RecordBuilder`]; one [`Rejection`] for each that was
//! refused; and how many spans were none of our business ([`Ignored`]).
//!
//! Two ways in, one meaning: `protobuf` and `json` only read, `convention` knows what attributes say. Protobuf is walked
//! where it lies: no allocation per span, no recursion (values inside values are skipped whole), and a length is believed
//! only when so many bytes are there. JSON is streamed, so that a body of a million empty spans costs no more than itself.
//! Property tests hold the protobuf way against `prost` and the two ways against each other.
//!
//! Does not: keep spans as spans, read events and links of a span, or take metrics and logs.

mod protobuf;

mod json;

mod convention;

mod answer;

pub use answer::{Encoding, failure, success};

use crate::event::EncodedAttrs;
use crate::json::{Context, Rejection, RejectionCode};
use crate::record::RecordBuilder;

/// The body was refused as a whole; nothing of it was accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not protobuf of this schema.
    #[error("the body is not an ExportTraceServiceRequest in protobuf: {0}")]
    InvalidProtobuf(&'static str),
    /// Not JSON of this schema.
    #[error("the body is not an ExportTraceServiceRequest in JSON: {0}")]
    InvalidJson(String),
    /// More events than one request may carry.
    #[error("the body holds more than {0} server and consumer spans; set a smaller batch size in the exporter")]
    TooManySpans(usize),
}

/// Why a span is not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEvent {
    /// No kind was set.
    Unspecified,
    /// A part of an operation.
    Internal,
    /// A call to somebody else, who sees it as a server.
    Client,
    /// A message sent.
    Producer,
    /// A server or consumer span without an attribute of HTTP, RPC, messaging or FaaS: its name has no promised cardinality.
    Unconventional,
}

impl NoEvent {
    /// Every reason, for the metrics.
    pub const ALL: [NoEvent; 5] =
        [NoEvent::Unspecified, NoEvent::Internal, NoEvent::Client, NoEvent::Producer, NoEvent::Unconventional];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            NoEvent::Unspecified => "unspecified",
            NoEvent::Internal => "internal",
            NoEvent::Client => "client",
            NoEvent::Producer => "producer",
            NoEvent::Unconventional => "unconventional",
        }
    }

    /// By `SpanKind`; `None` for the kinds that are events.
    fn of_kind(kind: i32) -> Option<NoEvent> {
        match kind {
            KIND_SERVER | KIND_CONSUMER => None,
            1 => Some(NoEvent::Internal),
            3 => Some(NoEvent::Client),
            4 => Some(NoEvent::Producer),
            _ => Some(NoEvent::Unspecified),
        }
    }
}

/// Spans that were read and left alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ignored {
    counts: [u32; NoEvent::ALL.len()],
}

impl Ignored {
    /// How many for each reason.
    pub fn iter(&self) -> impl Iterator<Item = (NoEvent, u32)> + '_ {
        NoEvent::ALL.into_iter().zip(self.counts)
    }

    /// How many in all.
    pub fn total(&self) -> u32 {
        self.counts.iter().sum()
    }

    fn add(&mut self, reason: NoEvent) {
        self.counts[reason as usize] += 1;
    }
}

/// Decodes bodies. Keeps its scratch memory between calls; one per connection or thread.
#[derive(Debug, Default)]
pub struct Decoder {
    attrs: EncodedAttrs,
    names: convention::Names,
}

impl Decoder {
    /// Decodes a body into `record` (already started), lists what was refused and counts what was ignored.
    ///
    /// # Errors
    /// [`RequestError`] when the body as a whole cannot be read; `record` is then to be thrown away.
    pub fn decode(
        &mut self,
        body: &[u8],
        encoding: Encoding,
        context: &Context<'_>,
        record: &mut RecordBuilder,
        rejected: &mut Vec<Rejection>,
    ) -> Result<Ignored, RequestError> {
        let attrs = &mut self.attrs;
        let mut batch = Batch { context, record, rejected, attrs, ignored: Ignored::default(), index: 0, events: 0 };
        match encoding {
            Encoding::Protobuf => protobuf::request(body, &mut batch, &mut self.names)?,
            Encoding::Json => json::request(body, &mut batch, &mut self.names)?,
        }
        Ok(batch.ignored)
    }
}

/// One body on its way through.
struct Batch<'d> {
    context: &'d Context<'d>,
    record: &'d mut RecordBuilder,
    rejected: &'d mut Vec<Rejection>,
    /// The attributes of the span being read.
    attrs: &'d mut EncodedAttrs,
    ignored: Ignored,
    /// Spans so far.
    index: usize,
    /// Spans so far that are, or should have been, events.
    events: usize,
}

impl Batch<'_> {
    /// A span that its kind alone rules out.
    fn ignore(&mut self, reason: NoEvent) {
        self.ignored.add(reason);
        self.index += 1;
    }

    /// A span that was read to its end; its attributes lie in `attrs`.
    fn finish<T: AsRef<str>>(
        &mut self,
        origin: &convention::Origin<'_>,
        span: &convention::Span<T>,
    ) -> Result<(), RequestError> {
        if let Some(reason) = NoEvent::of_kind(span.kind).or_else(|| span.unconventional()) {
            self.ignore(reason);
            return Ok(());
        }
        if self.events >= self.context.events_max {
            return Err(RequestError::TooManySpans(self.context.events_max));
        }
        match convention::event(origin, span, self.attrs, self.context, self.record.received_ms()) {
            Ok(event) => self.record.push(&event),
            Err((code, message)) => {
                // Refused by a clock: a retry must go where the first try went, whatever is refused by then.
                if matches!(code, RejectionCode::TimestampTooOld | RejectionCode::TimestampInFuture) {
                    self.record.route_by(origin.service);
                }
                self.rejected.push(Rejection { index: self.index, code, message });
            }
        }
        self.index += 1;
        self.events += 1;
        Ok(())
    }
}

const KIND_SERVER: i32 = 2;
const KIND_CONSUMER: i32 = 5;

#[cfg(test)]
mod tests;
