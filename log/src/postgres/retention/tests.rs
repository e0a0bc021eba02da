use super::*;

fn segment(id: i64, age_s: i64, bytes: i64) -> Segment {
    Segment { id, age_ms: age_s * 1000, bytes, is_empty: bytes == 0, is_needed: false }
}

fn an_hour_or_800_bytes() -> Retention {
    Retention { age: Duration::from_hours(1), bytes: 800 }
}

#[test]
fn a_young_small_segment_stays_as_it_is() {
    assert_eq!(next_step(&[segment(1, 60, 50)], an_hour_or_800_bytes()), None);
}

#[test]
fn a_segment_is_closed_by_size_or_by_age() {
    for current in [segment(1, 0, 101), segment(1, 451, 1)] {
        assert_eq!(next_step(&[current], an_hour_or_800_bytes()), Some(Step::Rotate(1)));
    }
}

#[test]
fn an_empty_segment_is_not_closed_however_old() {
    assert_eq!(next_step(&[segment(1, 1_000_000, 0)], an_hour_or_800_bytes()), None);
}

#[test]
fn a_segment_goes_when_its_newest_record_is_too_old() {
    let kept = [segment(1, 9_000, 10), segment(2, 3_600, 10), segment(3, 9, 0)];
    assert_eq!(next_step(&kept, an_hour_or_800_bytes()), None);
    let outdated = [segment(1, 9_000, 10), segment(2, 3_601, 0)];
    assert_eq!(next_step(&outdated, an_hour_or_800_bytes()), Some(Step::Retire(1)));
}

#[test]
fn the_oldest_segment_goes_when_all_together_are_too_large() {
    let segments = [segment(1, 3, 790), segment(2, 2, 5), segment(3, 1, 6)];
    assert_eq!(next_step(&segments, an_hour_or_800_bytes()), Some(Step::Retire(1)));
}

#[test]
fn what_a_reader_needs_stays_and_fills_the_log() {
    let mut segments = [segment(1, 9_000, 790), segment(2, 8_000, 5), segment(3, 1, 6)];
    segments[0].is_needed = true;
    assert_eq!(next_step(&segments, an_hour_or_800_bytes()), None);
    assert!(is_full(&segments, an_hour_or_800_bytes()));
    segments[0].is_needed = false;
    assert!(!is_full(&segments, an_hour_or_800_bytes()), "the next step makes room");
}

#[test]
fn the_current_segment_is_never_removed() {
    let current = Segment { is_empty: true, ..segment(1, 1_000_000, 1_000_000) };
    assert_eq!(next_step(&[current], an_hour_or_800_bytes()), None);
}
