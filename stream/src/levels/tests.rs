use proptest::prelude::*;

use super::*;

const DAY_S: i64 = 86_400;

fn whole(from_s: i64, to_s: i64) -> Window {
    Window { from_s, to_s, step_s: to_s - from_s }
}

fn levels(window: Window, horizons: Horizons) -> Vec<(Level, i64)> {
    let segments = plan(window, horizons).expect("can be answered");
    segments.iter().map(|segment| (segment.level, segment.to_s - segment.from_s)).collect()
}

#[test]
fn a_long_range_is_read_in_hours_and_its_edges_in_finer_buckets() {
    use Level::{Hour, Minute, TenSeconds};
    let kept = Horizons::default();
    let window = whole(DAY_S - 80, 2 * DAY_S + 430);
    assert_eq!(
        levels(window, kept),
        [(TenSeconds, 80), (Hour, DAY_S), (TenSeconds, 430)],
        "some minutes are not worth a table of their own"
    );
    assert_eq!(levels(whole(0, 900), kept), [(TenSeconds, 900)], "fifteen minutes are read as they are");
    assert_eq!(levels(whole(30, 3_600), kept), [(TenSeconds, 30), (Minute, 3_540)]);
}

#[test]
fn a_chart_is_read_in_buckets_that_fit_its_steps() {
    use Level::{Hour, Minute, TenSeconds};
    let kept = Horizons::default();
    let chart = |step_s| Window { from_s: 0, to_s: DAY_S, step_s };
    for (step_s, level) in
        [(10, TenSeconds), (90, TenSeconds), (60, Minute), (300, Minute), (3_600, Hour), (DAY_S, Hour)]
    {
        assert_eq!(levels(chart(step_s), kept), [(level, DAY_S)], "{step_s}");
    }
}

#[test]
fn what_is_gone_in_ten_seconds_is_read_in_minutes_or_refused() {
    let kept = Horizons { ten_seconds_s: 10 * DAY_S, minute_s: 5 * DAY_S, hour_s: 0 };
    let short = whole(9 * DAY_S, 9 * DAY_S + 120);
    assert_eq!(levels(short, kept), [(Level::Minute, 120)]);
    let older = whole(DAY_S, DAY_S + 7_200);
    assert_eq!(levels(older, kept), [(Level::Hour, 7_200)]);
    let fine = Window { from_s: 9 * DAY_S, to_s: 11 * DAY_S, step_s: 30 };
    let error = plan(fine, kept).unwrap_err();
    assert_eq!(error.step_s_min, 60);
    let told = error.to_api();
    assert_eq!((told.status.as_u16(), told.code), (422, "step_too_fine"));
    assert!(told.message.contains("times before 1970-01-11T00:00:00Z are only kept in buckets of 1m"));
    assert_eq!(plan(Window { from_s: 0, to_s: 11 * DAY_S, step_s: 600 }, kept).unwrap_err().step_s_min, 3_600);
}

#[test]
fn a_range_is_widened_to_what_is_kept_at_its_ends() {
    let kept = Horizons { ten_seconds_s: 10 * DAY_S, minute_s: 5 * DAY_S, hour_s: 0 };
    let ends = |window: Window| {
        let window = kept.widen(window);
        (window.from_s, window.to_s)
    };
    assert_eq!(ends(whole(10 * DAY_S + 50, 10 * DAY_S + 70)), (10 * DAY_S + 50, 10 * DAY_S + 70));
    assert_eq!(ends(whole(9 * DAY_S + 50, 10 * DAY_S + 70)), (9 * DAY_S, 10 * DAY_S + 70));
    assert_eq!(ends(whole(9 * DAY_S + 50, 9 * DAY_S + 70)), (9 * DAY_S, 9 * DAY_S + 120));
    assert_eq!(ends(whole(DAY_S + 50, 2 * DAY_S + 70)), (DAY_S, 2 * DAY_S + 3_600));
    assert_eq!(ends(whole(10 * DAY_S - 10, 10 * DAY_S)), (10 * DAY_S - 60, 10 * DAY_S));
}

proptest! {
    #[test]
    fn every_second_is_read_once_from_buckets_of_one_step(
        from in 0..2_000_000i64, length in 1..200_000i64, step in 0..6usize, days in (0..20i64, 0..20i64),
    ) {
        let (older, newer) = (days.0.min(days.1), days.0.max(days.1));
        let kept = Horizons { ten_seconds_s: newer * DAY_S, minute_s: older * DAY_S, hour_s: 0 };
        let window = match [0, 10, 30, 60, 300, 3_600][step] {
            0 => kept.widen(whole(from * 10, from * 10 + length * 10)),
            step_s => Window { from_s: from / step_s * step_s, to_s: (from / step_s + length.min(500)) * step_s, step_s },
        };
        match plan(window, kept) {
            Err(error) => prop_assert!(window.points() > 1 && window.step_s % error.step_s_min != 0),
            Ok(segments) => {
                let mut at_s = window.from_s;
                for segment in segments {
                    let width_s = segment.level.width_s();
                    prop_assert!(segment.from_s == at_s && segment.to_s > at_s);
                    prop_assert!(segment.from_s % width_s == 0 && segment.to_s % width_s == 0);
                    prop_assert!(kept.finest_at(segment.from_s) <= segment.level);
                    prop_assert!(window.points() == 1 || window.step_s % width_s == 0);
                    at_s = segment.to_s;
                }
                prop_assert_eq!(at_s, window.to_s);
            }
        }
    }

    #[test]
    fn spans_hold_every_bucket_and_are_no_more_than_allowed(
        buckets in prop::collection::btree_set(0..1_000i64, 0..60), spans_max in 1..10usize,
    ) {
        let buckets: Vec<i64> = buckets.into_iter().map(|bucket| bucket * 60).collect();
        let spans = spans(&buckets, 60, spans_max);
        prop_assert!(spans.len() <= spans_max.max(1));
        prop_assert!(spans.windows(2).all(|pair| pair[0].1 < pair[1].0));
        let inside = |bucket: &i64| spans.iter().any(|(from_s, to_s)| from_s <= bucket && bucket + 60 <= *to_s);
        prop_assert!(buckets.iter().all(inside));
    }
}
