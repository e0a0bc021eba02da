//! What every decoder of events owes: bodies in, checked events out.

use peep_wire::json::{Context, Rejection};
use peep_wire::limits;
use peep_wire::record::{self, RecordBuilder};
use peep_wire::{KeyId, ProjectId};

pub(crate) const NOW_MS: i64 = 1_795_200_000_000;

pub(crate) fn context(lines: bool) -> Context<'static> {
    Context {
        bound_env: None,
        age_ms_max: 30 * 24 * 3_600_000,
        ahead_ms_max: 300_000,
        events_max: 100,
        event_bytes_max: 2 << 10,
        depth_max: 32,
        lines,
    }
}

/// Runs a decoder; `None` when it refused the body as a whole, else the bytes of the record.
pub(crate) fn decoded<E>(
    decode: impl Fn(&mut RecordBuilder, &mut Vec<Rejection>) -> Result<(), E>,
) -> Option<(Vec<u8>, Vec<Rejection>)> {
    let mut record = RecordBuilder::new(usize::MAX);
    record.start(NOW_MS);
    let mut rejected = Vec::new();
    decode(&mut record, &mut rejected).ok()?;
    assert!(rejected.windows(2).all(|pair| pair[0].index < pair[1].index), "in the order sent: {rejected:?}");
    assert!(rejected.iter().all(|rejection| !rejection.message.contains(char::is_control)), "{rejected:?}");
    let mut records = record.finish(ProjectId(1), KeyId(1), None);
    Some((records.remove(0).to_vec(), rejected))
}

/// How many events a record holds; each is within the contract's limits and reads back.
pub(crate) fn count(record: &[u8]) -> usize {
    let batch = record::parse(record).expect("what was written reads back");
    let rows: Vec<_> = batch.events().collect::<Result<_, _>>().expect("every event reads back");
    assert_eq!(rows.len(), batch.header.event_count as usize);
    for row in &rows {
        let series = row.series.decode().expect("a series");
        assert!((1..=limits::SERVICE_BYTES_MAX).contains(&series.service.len()), "{series:?}");
        assert!((1..=limits::ENV_BYTES_MAX).contains(&series.env.len()), "{series:?}");
        assert!((1..=limits::ROUTE_BYTES_MAX).contains(&series.route.len()), "{series:?}");
        assert!(series.status == 0 || (100..=599).contains(&series.status), "{series:?}");
        assert!(row.duration_us.is_none_or(|duration_us| duration_us <= limits::DURATION_MS_MAX * 1000));
        assert!(row.error.is_none_or(|error| (1..=limits::ERROR_BYTES_MAX).contains(&error.len())));
        assert!((NOW_MS - 30 * 24 * 3_600_000..=NOW_MS + 300_000).contains(&row.ended_ms));
        assert!(row.attrs.iter().count() <= limits::ATTRS_MAX);
        let attrs = row.attrs.to_json().expect("attributes read back");
        assert!(!attrs.is_some_and(|attrs| attrs.contains(":null")), "every attribute has a value");
    }
    rows.len()
}
