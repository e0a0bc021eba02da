//! `ts` as text: RFC 3339 to milliseconds.

use peep_wire::json::{Context, Decoder};
use peep_wire::record::{self, RecordBuilder};

use crate::events::{NOW_MS, context};

/// Whatever text a `ts` is: the moment that jiff reads, cut to the millisecond, or a refusal of this event. Beyond that only what
/// RFC 3339 allows and jiff does not, and less where it is the other way round.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(quoted) = serde_json::to_string(text) else { return };
    let body = format!(r#"{{"service":"a","ts":{quoted}}}"#);
    // Any moment that has a number, and any length that a moment can be written in.
    let wide =
        Context { age_ms_max: i64::MAX, ahead_ms_max: i64::MAX - NOW_MS, event_bytes_max: 1 << 20, ..context(false) };
    let mut record = RecordBuilder::default();
    record.start(NOW_MS);
    let mut rejected = Vec::new();
    Decoder::default().decode(body.as_bytes(), &wide, &mut record, &mut rejected).expect("one object");
    let expected = text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
    assert_eq!(record.event_count() as usize + rejected.len(), 1);
    let records = record.finish(peep_wire::ProjectId(1), peep_wire::KeyId(1), None);
    let batch = record::parse(&records[0]).expect("what was written reads back");
    let found = batch.events().next().map(|row| row.expect("an event").ended_ms);
    match (found, expected) {
        (Some(found), None) => assert!(is_beyond(found) || has_fine_digits(text), "{text:?} {found}"),
        (None, Some(_)) => assert!(["+24", "+25", "-24", "-25"].iter().any(|offset| text.contains(offset)), "{text:?}"),
        _ => assert_eq!(found, expected, "{text:?} {rejected:?}"),
    }
}

/// Within the years that have four digits and a sign, and yet nothing that jiff has a timestamp for.
fn is_beyond(unix_ms: i64) -> bool {
    jiff::Timestamp::from_millisecond(unix_ms).is_err() && (unix_ms / 1000).abs() < 400_000_000_000
}

fn has_fine_digits(text: &str) -> bool {
    text.split('.').skip(1).any(|rest| rest.len() > 9 && rest.bytes().take(10).all(|byte| byte.is_ascii_digit()))
}
