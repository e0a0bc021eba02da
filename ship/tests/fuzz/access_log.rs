//! One line of an access log.

use peep_wire::json::{Context, Decoder, RejectionCode};
use peep_wire::record::RecordBuilder;

/// Whatever a line holds: no event, or one that ingest takes, unless its time is too far away.
pub(crate) fn check(data: &[u8]) {
    let Some(event) = peep_ship::fuzz::event_of(data) else { return };
    assert_eq!(event.iter().filter(|byte| byte.is_ascii_control()).count(), 1, "{}", event.escape_ascii());
    let context = Context {
        bound_env: None,
        age_ms_max: i64::MAX,
        ahead_ms_max: i64::MAX - 1,
        events_max: 1,
        event_bytes_max: 64 << 10,
        depth_max: 1,
        lines: true,
    };
    let mut record = RecordBuilder::default();
    record.start(1_795_200_000_000);
    let mut rejected = Vec::new();
    Decoder::default().decode(&event, &context, &mut record, &mut rejected).expect("one line");
    let far = |code| matches!(code, RejectionCode::TimestampTooOld | RejectionCode::TimestampInFuture);
    assert!(rejected.iter().all(|rejection| far(rejection.code)), "{rejected:?} {}", event.escape_ascii());
    assert_eq!(record.event_count() as usize + rejected.len(), 1);
}
