//! One body to log records: the only CPU-heavy step, synchronous, with scratch memory kept per thread.

use std::cell::RefCell;

use bytes::Bytes;
use peep_wire::json::{BodyError, Context, Decoder, Rejection, RejectionCode};
use peep_wire::record::{RECORD_BYTES_MAX, RecordBuilder};
use peep_wire::{Identity, KeyId, ProjectId};

use crate::outcome::{Reason, Refused};

/// A request ready for the log.
#[derive(Debug)]
pub(crate) struct Batch {
    /// One, or several when the request outgrows a record.
    pub(crate) records: Vec<Bytes>,
    pub(crate) events: u32,
    pub(crate) rejected: Vec<Rejection>,
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
pub(crate) fn build(body: &[u8], context: &Context<'_>, sender: Sender) -> Result<Batch, Refused> {
    thread_local! {
        static SCRATCH: RefCell<(Decoder, RecordBuilder)> =
            RefCell::new((Decoder::default(), RecordBuilder::new(RECORD_BYTES_MAX)));
    }
    SCRATCH.with_borrow_mut(|(decoder, record)| {
        let mut rejected = Vec::new();
        record.start(sender.received_ms);
        decoder.decode(body, context, record, &mut rejected).map_err(refuse_body)?;
        if record.is_empty() {
            return Err(refuse_all(rejected));
        }
        let service = record.routing_service().to_owned();
        let events = record.event_count();
        let records = record.finish(sender.project, sender.key, sender.identity);
        Ok(Batch { records, events, rejected, service })
    })
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
    let all = |code| !rejected.is_empty() && rejected.iter().all(|rejection: &Rejection| rejection.code == code);
    let reason = if all(RejectionCode::InvalidJson) || all(RejectionCode::InvalidUtf8) {
        Reason::InvalidJson
    } else if all(RejectionCode::EnvMismatch) {
        Reason::Forbidden
    } else {
        Reason::NoValidEvent
    };
    let message = match rejected.first() {
        None => "the body holds no event".to_owned(),
        Some(first) => format!("no event was accepted; event {}: {}", first.index, first.message),
    };
    Refused { reason, message, rejected }
}
