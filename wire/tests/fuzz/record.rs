//! A record of the log: header and events.

use peep_wire::record::{self, EventRow, RecordBuilder, SeriesKey};

/// As it is, and behind a checksum that fits, which chance does not find.
pub(crate) fn check(data: &[u8]) {
    opened(data);
    let checksum = crc32fast::hash(data).to_le_bytes();
    opened(&[&[CHECKSUM][..], &checksum, data].concat());
}

/// Whatever opens can be taken over into another record, byte by byte.
fn opened(bytes: &[u8]) {
    let Ok(batch) = record::parse(bytes) else { return };
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
