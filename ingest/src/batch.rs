//! One body to log records: the only CPU-heavy step, synchronous, with scratch memory kept per thread.

use std::cell::RefCell;

use bytes::Bytes;
use peep_wire::json::{self, BodyError, Context, Rejection, RejectionCode};
use peep_wire::otlp::{self, Ignored, RequestError};
use peep_wire::record::{self, RecordBuilder};
use peep_wire::{Identity, KeyId, ProjectId};

use crate::outcome::{Reason, Refused};

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    /// NDJSON by its type.
    Lines,
    Otlp(otlp::Encoding),
}

/// A request ready for the log.
#[derive(Debug)]
pub(crate) struct Batch {
    /// One, or several when the request outgrows a record; none when OTLP spans were no events.
    pub(crate) records: Vec<Bytes>,
    pub(crate) events: u32,
    pub(crate) rejected: Vec<Rejection>,
    /// OTLP spans that were none of our business.
    pub(crate) ignored: Ignored,
    /// What the partition is chosen by.
    pub(crate) service: String,
}

/// Who sent the body and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) project: ProjectId,
    pub(crate) key: KeyId,
    pub(crate) identity: Option<Identity>,
    pub(crate) received_ms: i64,
}

/// Decodes, checks and encodes.
pub(crate) fn build(body: &[u8], form: Form, context: &Context<'_>, sender: Sender) -> Result<Batch, Refused> {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
    }
    SCRATCH.with_borrow_mut(|Scratch { json, otlp, record }| {
        let mut rejected = Vec::new();
        record.start(sender.received_ms);
        let ignored = match form {
            Form::Json | Form::Lines => {
                json.decode(body, context, record, &mut rejected).map_err(refuse_body)?;
                None
            }
            Form::Otlp(encoding) => {
                Some(otlp.decode(body, encoding, context, record, &mut rejected).map_err(refuse_spans)?)
            }
        };
        if record.is_empty() {
            return match ignored {
                Some(ignored) if !all(&rejected, RejectionCode::EnvMismatch) => {
                    Ok(Batch { records: Vec::new(), events: 0, rejected, ignored, service: String::new() })
                }
                _ => Err(refuse_all(rejected)),
            };
        }
        let service = record.routing_service().to_owned();
        let events = record.event_count();
        let records = record.finish(sender.project, sender.key, sender.identity);
        Ok(Batch { records, events, rejected, ignored: ignored.unwrap_or_default(), service })
    })
}

/// Kept from one request of a thread to the next.
#[derive(Default)]
struct Scratch {
    json: json::Decoder,
    otlp: otlp::Decoder,
    record: RecordBuilder,
}

/// The host that the first event names. Decodes one event; for now and then.
pub(crate) fn host(batch: &Batch) -> Option<String> {
    let record = record::parse(batch.records.first()?).ok()?;
    record.events().next()?.ok()?.host.map(str::to_owned)
}

fn refuse_spans(error: RequestError) -> Refused {
    let reason = match error {
        RequestError::InvalidProtobuf(_) => Reason::InvalidProtobuf,
        RequestError::InvalidJson(_) => Reason::InvalidJson,
        RequestError::TooManySpans(_) => Reason::PayloadTooLarge,
    };
    Refused::new(reason, error.to_string())
}

fn refuse_body(error: BodyError) -> Refused {
    let reason = match error {
        BodyError::InvalidJson(_) => Reason::InvalidJson,
        BodyError::TooManyEvents(_) => Reason::PayloadTooLarge,
    };
    Refused::new(reason, error.to_string())
}

/// Nothing to keep: the answer names the common cause when there is one.
fn refuse_all(rejected: Vec<Rejection>) -> Refused {
    let reason = if all(&rejected, RejectionCode::InvalidJson) || all(&rejected, RejectionCode::InvalidUtf8) {
        Reason::InvalidJson
    } else if all(&rejected, RejectionCode::EnvMismatch) {
        Reason::Forbidden
    } else {
        Reason::NoValidEvent
    };
    let message = match rejected.first() {
        None => "the body holds no event".to_owned(),
        Some(first) => format!("no event was accepted; event {}: {}", first.index, first.message),
    };
    Refused { rejected, ..Refused::new(reason, message) }
}

fn all(rejected: &[Rejection], code: RejectionCode) -> bool {
    !rejected.is_empty() && rejected.iter().all(|rejection| rejection.code == code)
}
