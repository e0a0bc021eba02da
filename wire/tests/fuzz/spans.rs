//! What both encodings of OTLP owe.

use std::cell::Cell;

use peep_wire::otlp::{Decoder, Encoding};

use crate::events::{context, count, decoded};

/// Every span is an event, refused or ignored; and the same one again.
pub(crate) fn check(data: &[u8], encoding: Encoding) {
    let decode = || {
        let ignored = Cell::new(0);
        let outcome = decoded(|record, rejected| {
            let spans = Decoder::default().decode(data, encoding, &context(false), record, rejected)?;
            ignored.set(spans.total() as usize);
            Ok::<_, peep_wire::otlp::RequestError>(())
        });
        outcome.map(|(record, rejected)| {
            let accepted = count(&record);
            let spans = accepted + rejected.len() + ignored.get();
            assert!(rejected.last().is_none_or(|rejection| rejection.index < spans), "{rejected:?} of {spans}");
            (accepted, rejected, ignored.get())
        })
    };
    assert_eq!(decode(), decode());
}
