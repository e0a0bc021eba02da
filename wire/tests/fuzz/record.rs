//! A record of the log: one batch or a bundle, each with header and events.

use bytes::Bytes;
use peep_wire::record::{self, Batch, Bundle, EventRow, RecordBuilder, SeriesKey};

/// As it is, and behind a checksum that fits, which chance does not find.
pub(crate) fn check(data: &[u8]) {
    opened(data);
    let checksum = crc32fast::hash(data).to_le_bytes();
    opened(&[&[CHECKSUM][..], &checksum, data].concat());
}

/// What opens as a bundle is one that we would write of the same batches.
fn opened(bytes: &[u8]) {
    assert!(record::parse(bytes).is_err() || record::open(bytes).is_ok(), "a batch is a record");
    let Ok(opened) = record::open(bytes) else { return };
    let mut bundle = Bundle::default();
    for batch in opened.batches() {
        assert_eq!(record::parse(batch.bytes).map(|again| again.header), Ok(batch.header));
        assert_eq!(bundle.push(Bytes::copy_from_slice(batch.bytes), batch.header.event_count), batch.first_event);
        taken_over(&batch);
    }
    let again = bundle.finish();
    assert_eq!(record::open(&again).map(|again| again.event_count()), Ok(opened.event_count()));
}

/// Whatever opens can be taken over into another record, byte by byte.
fn taken_over(batch: &Batch<'_>) {
    let mut copy = RecordBuilder::new(usize::MAX);
    copy.start(batch.header.received_ms);
    let mut kept: Vec<&[u8]> = Vec::new();
    for row in batch.events() {
        let Ok(row) = row else { break };
        let _ = (row.is_error(), row.attrs.to_json());
        let again = EventRow::decode(row.raw, batch.header.received_ms).expect("the same bytes read the same");
        assert_eq!(format!("{again:?}"), format!("{row:?}"));
        let Ok(series) = row.series.decode() else { continue };
        let key = series.to_key_bytes();
        assert_eq!(SeriesKey::parse(&key).and_then(|key| key.decode()), Ok(series));
        copy.push_row(&row).expect("a row whose series reads");
        kept.push(row.raw);
    }
    let header = batch.header;
    let records = copy.finish(header.project, header.key, header.identity);
    let copied = record::parse(&records[0]).expect("what was written reads back");
    assert_eq!((copied.header.project, copied.header.received_ms), (header.project, header.received_ms));
    let raw: Vec<&[u8]> = copied.events().map(|row| row.expect("a copied event").raw).collect();
    assert_eq!(raw, kept);
}

/// Field 1, fixed32.
const CHECKSUM: u8 = 1 << 3 | 5;
