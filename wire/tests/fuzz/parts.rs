//! One request cut into several records.

use bytes::Bytes;
use peep_wire::json::Decoder;
use peep_wire::record::{self, RecordBuilder};
use peep_wire::{Identity, KeyId, ProjectId};

use crate::events::{NOW_MS, context};

/// The first two bytes say how long a record may get, the rest is a body. However it is cut: the same events in the same order,
/// numbered parts, none longer than said unless it is a single event, and the same cut whenever it is received.
pub(crate) fn check(data: &[u8]) {
    let [low, high, body @ ..] = data else { return };
    let bytes_max = usize::from(u16::from_le_bytes([*low, *high]));
    let Some(whole) = records(body, usize::MAX, NOW_MS) else { return };
    let parts = records(body, bytes_max, NOW_MS).expect("the limit of a record refuses nothing");
    assert_eq!(raws(&whole), raws(&parts));
    for (number, part) in parts.iter().enumerate() {
        let batch = record::parse(part).expect("what was written reads back");
        let numbered = (batch.header.part as usize, batch.header.parts as usize);
        assert_eq!(numbered, if parts.len() > 1 { (number, parts.len()) } else { (0, 0) });
        assert_eq!(batch.header.identity, Some(IDENTITY));
        assert!(part.len() <= bytes_max || batch.header.event_count <= 1, "{} of {bytes_max} bytes", part.len());
    }
    // A retry comes a moment later, and must be recognised record by record. Events without a time move along.
    let later = records(body, bytes_max, NOW_MS + 1).expect("a moment later it is the same");
    assert_eq!(later.len(), parts.len());
}

const IDENTITY: Identity = Identity { producer: [7; 16], seq: 300 };

fn records(body: &[u8], bytes_max: usize, received_ms: i64) -> Option<Vec<Bytes>> {
    let mut record = RecordBuilder::new(bytes_max);
    record.start(received_ms);
    // No event may fall out of the window of time between the two tries.
    let context =
        peep_wire::json::Context { age_ms_max: i64::MAX, ahead_ms_max: i64::MAX - NOW_MS - 1, ..context(false) };
    Decoder::default().decode(body, &context, &mut record, &mut Vec::new()).ok()?;
    Some(record.finish(ProjectId(7), KeyId(1), Some(IDENTITY)))
}

fn raws(records: &[Bytes]) -> Vec<Vec<u8>> {
    let batches = records.iter().map(|record| record::parse(record).expect("what was written reads back"));
    batches
        .flat_map(|batch| batch.events().map(|row| row.expect("an event").raw.to_vec()).collect::<Vec<_>>())
        .collect()
}
