//! `POST /v1/events`, any shape.

use peep_wire::json::Decoder;

use crate::events::{context, count, decoded};

/// Whatever is sent: events within the limits, or a refusal; and the same one again.
pub(crate) fn check(data: &[u8]) {
    let decode = || {
        decoded(|record, rejected| Decoder::default().decode(data, &context(false), record, rejected))
            .map(|(record, rejected)| (count(&record), rejected))
    };
    assert_eq!(decode(), decode());
}
