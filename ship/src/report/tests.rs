use super::*;
use crate::parcel::{Encoding, Identity};

fn batch() -> Parcel {
    let identity = Identity { producer: uuid::Uuid::nil(), seq: 0 };
    Parcel { identity, events: 2, encoding: Encoding::Identity, bytes: b"{\"a\":1}\n{\"b\":2}\n".to_vec() }
}

fn rejection(index: usize) -> Rejection {
    Rejection { index, code: "invalid_duration".to_owned(), message: "negative".to_owned() }
}

#[test]
fn rejections_are_counted_by_code_with_the_first_event() {
    let mut delivery = Delivery::default();
    delivery.settle(&batch(), 1, vec![rejection(1)]);
    delivery.settle(&batch(), 1, vec![rejection(0)]);
    let counted = &delivery.rejected["invalid_duration"];
    assert_eq!((counted.count, counted.example.as_str()), (2, "negative: {\"b\":2}"));
    assert_eq!(delivery.accepted, 2);
}

#[test]
fn success_means_every_event_accepted() {
    let mut report = Report { lines: 3, events: 2, ..Report::default() };
    report.malformed(Malformed::NoTime, b"x", "a.log", 3);
    let accepted = Delivery { accepted: 2, ..Delivery::default() };
    assert!(report.succeeded(Some(&accepted)));
    let mut partly = Delivery { accepted: 1, ..Delivery::default() };
    partly.settle(&batch(), 0, vec![rejection(0)]);
    assert!(!report.succeeded(Some(&partly)));
    assert!(!report.succeeded(Some(&Delivery { undelivered: 2, ..Delivery::default() })));
}

#[test]
fn what_the_next_run_sends_is_no_failure_of_this_one() {
    let report = Report { lines: 3, events: 3, ..Report::default() };
    let stopped = Some("gave up after 5 s".to_owned());
    let kept = Delivery { accepted: 2, recovered: 1, kept: 2, final_error: stopped, ..Delivery::default() };
    assert!(!report.succeeded(Some(&kept)), "a final error");
    let kept = Delivery { interrupted: true, ..kept };
    assert!(report.succeeded(Some(&kept)));
    let summary = report.summary(Some(&kept), Duration::ZERO);
    assert!(summary.contains("2 without an answer; the next run sends them"), "{summary}");
    assert!(!summary.contains("BOOKS"), "{summary}");
}

#[test]
fn books_that_do_not_balance_are_said_to() {
    let report = Report { lines: 3, events: 2, ..Report::default() };
    assert!(report.summary(None, Duration::ZERO).contains("do not balance"));
    assert!(!report.succeeded(None));
}

#[test]
fn a_log_without_durations_says_how_to_get_them() {
    let report = Report { lines: 1, events: 1, ..Report::default() };
    let summary = report.summary(None, Duration::ZERO);
    assert!(summary.contains("no latency") && summary.contains("$request_time"), "{summary}");
}

#[test]
fn numbers_and_spans_read_well() {
    assert_eq!([grouped(0), grouped(999), grouped(1_000), grouped(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
    assert_eq!(
        [span(250), span(-59_000), span(351_000), span(300_000_000)],
        ["250 ms", "-59 s", "5 min 51 s", "3 d 11 h"]
    );
}
