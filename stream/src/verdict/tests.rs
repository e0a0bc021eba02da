use proptest::prelude::*;

use super::*;

const SCOPE: Scope = Scope { step_s: 10, judged: 30, remembered: 90 };
const USUAL: Usual = Usual { count: 30_000, errors: 30, timed: 30_000, p99_us: Some(100_000), seconds: 300.0 };

/// Steps from 0 on: `(how many, requests, errors, slow and very slow ones)`.
fn steps(runs: &[(usize, u64, u64, u64)]) -> Vec<Step> {
    let each = runs.iter().flat_map(|&(steps, count, errors, slow)| {
        std::iter::repeat_n(Step { count, errors, timed: count, slow, very_slow: slow, at_s: 0 }, steps)
    });
    each.enumerate().map(|(at, step)| Step { at_s: at as i64 * 10, ..step }).collect()
}

fn kinds(steps: &[Step], usual: &Usual) -> Vec<(Kind, i64, Option<i64>)> {
    let tell = |verdict: Verdict| (verdict.kind, verdict.since_s, verdict.recovered_s);
    judge(steps, usual, SCOPE).into_iter().map(tell).collect()
}

#[test]
fn each_rule_has_its_thresholds() {
    use Kind::{Failing, Silent, Slower};
    let base = (150, 1000, 1, 10);
    for (what, runs, expected) in [
        ("all is well", vec![base, (30, 1000, 1, 10)], vec![]),
        ("one in twenty fails", vec![base, (30, 1000, 50, 10)], vec![(Failing, 1500, None)]),
        ("nine errors are too few", vec![base, (29, 3, 0, 0), (1, 12, 9, 0)], vec![]),
        ("less than one in a hundred fails", vec![base, (30, 1000, 9, 10)], vec![]),
        ("a fifteenth is slow", vec![base, (30, 1000, 1, 65)], vec![(Slower, 1500, None)]),
        ("slow, but fewer than two in a hundred", vec![base, (30, 1000, 1, 19)], vec![]),
        ("slow, but too few requests", vec![base, (30, 6, 0, 1)], vec![]),
        ("both", vec![base, (30, 1000, 50, 65)], vec![(Failing, 1500, None), (Slower, 1500, None)]),
        ("fifty seconds of silence", vec![base, (5, 0, 0, 0)], vec![]),
        ("a minute of silence", vec![base, (6, 0, 0, 0)], vec![(Silent, 1500, None)]),
    ] {
        assert_eq!(kinds(&steps(&runs), &USUAL), expected, "{what}");
    }
}

#[test]
fn what_always_fails_this_much_is_no_finding() {
    let failing = steps(&[(180, 1000, 50, 10)]);
    assert_eq!(kinds(&failing, &Usual { errors: 1500, ..USUAL }), []);
    assert_eq!(kinds(&failing, &Usual { errors: 450, ..USUAL }), [(Kind::Failing, 0, None)]);
}

#[test]
fn slow_is_judged_by_how_much_slower_too() {
    let mut slightly = steps(&[(150, 1000, 1, 10), (30, 1000, 1, 65)]);
    slightly.iter_mut().for_each(|step| step.very_slow = 0);
    assert_eq!(kinds(&slightly, &USUAL), [], "beyond the usual p99, but p99 is not 1.5 times as long");
    let all_slow = steps(&[(150, 1000, 1, 10), (30, 1000, 1, 65)]);
    assert_eq!(kinds(&all_slow, &Usual { timed: 199, ..USUAL }), [], "the usual p99 rests on too little");
}

#[test]
fn since_is_where_it_became_bad_and_not_a_blip_before() {
    let blip = steps(&[(100, 1000, 1, 10), (1, 1000, 90, 10), (6, 1000, 1, 10), (43, 1000, 60, 10)]);
    assert_eq!(kinds(&blip, &USUAL), [(Kind::Failing, 1070, None)]);
    let interrupted = steps(&[(100, 1000, 1, 10), (20, 1000, 60, 10), (3, 1000, 1, 10), (30, 1000, 60, 10)]);
    assert_eq!(kinds(&interrupted, &USUAL), [(Kind::Failing, 1000, None)], "four in five hold");
    let sparse = steps(&[(100, 10, 0, 0), (20, 0, 0, 0), (20, 10, 5, 0)]);
    assert_eq!(judge(&sparse, &USUAL, SCOPE)[0].since_s, 1200, "a step without requests tells nothing");
    let is_open = |runs: &[(usize, u64, u64, u64)]| judge(&steps(runs), &USUAL, SCOPE)[0].is_open;
    assert!(is_open(&[(2, 1000, 1, 10), (50, 1000, 60, 10)]), "two good steps may be luck");
    assert!(!is_open(&[(6, 1000, 1, 10), (50, 1000, 60, 10)]));
    assert!(!is_open(&[(2, 0, 0, 0), (50, 1000, 60, 10)]), "it began with the service");
    let verdict = judge(&steps(&[(50, 1000, 60, 10)]), &USUAL, SCOPE)[0];
    assert!(verdict.is_open, "it was like this as far back as is known");
    assert_eq!((verdict.affected, verdict.judged.count), (3000, 30_000));
}

#[test]
fn where_few_requests_come_chance_neither_moves_the_beginning_nor_ends_it() {
    // Five requests a step, of which one in ten fails, by chance: the error comes in about four of ten steps.
    let mut state = 7_u64;
    let mut fails = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).is_multiple_of(10)
    };
    let mut all = steps(&[(200, 5, 0, 0)]);
    for step in &mut all[60..] {
        step.errors = (0..5).filter(|_| fails()).count() as u64;
    }
    let began: Vec<i64> = (90..=200)
        .map(|end| {
            let found = kinds(&all[..end], &USUAL);
            assert!(matches!(found[..], [(Kind::Failing, _, None)]), "at {end}: {found:?}");
            found[0].1
        })
        .collect();
    assert!(began.iter().all(|at_s| (600..=720).contains(at_s)), "{began:?}");
    all.extend((200..230).map(|at| Step { at_s: at * 10, count: 5, timed: 5, ..Step::default() }));
    assert!(matches!(kinds(&all, &USUAL)[..], [(Kind::Failing, 600..=720, Some(1900..=2000))]));
}

#[test]
fn what_is_over_is_told_for_a_while() {
    let over = |good: usize| steps(&[(100, 1000, 1, 10), (20, 1000, 60, 10), (good, 1000, 1, 10)]);
    assert_eq!(kinds(&over(5), &USUAL), [(Kind::Failing, 1000, None)], "five good steps may be luck");
    for good in [6, 20, 89] {
        assert_eq!(kinds(&over(good), &USUAL), [(Kind::Failing, 1000, Some(1200))], "{good}");
        assert_eq!(judge(&over(good), &USUAL, SCOPE)[0].affected, 1200);
    }
    assert_eq!(kinds(&over(90), &USUAL), []);
    let back = steps(&[(100, 1000, 1, 10), (9, 0, 0, 0), (3, 1000, 1, 10)]);
    assert_eq!(kinds(&back, &USUAL), [(Kind::Silent, 1000, Some(1090))]);
    let blip = steps(&[(100, 1000, 1, 10), (2, 1000, 900, 10), (8, 1000, 1, 10)]);
    assert_eq!(kinds(&blip, &USUAL), [], "twenty seconds are not told once they are over");
}

#[test]
fn a_quiet_service_is_not_silent() {
    let night = Usual { count: 200, ..USUAL };
    assert_eq!(kinds(&steps(&[(30, 10, 0, 0), (100, 0, 0, 0)]), &night), []);
}

#[test]
fn the_bound_agrees_with_published_values() {
    for (hits, all, bound) in [(10, 100, 0.0552), (1, 10, 0.0179), (50, 1000, 0.0381), (0, 50, 0.0)] {
        assert!((wilson_lower(hits, all) - bound).abs() < 0.0001, "{hits} of {all}: {}", wilson_lower(hits, all));
    }
}

fn any_step() -> impl Strategy<Value = (u64, u64, u64, u64)> {
    (0u64..2000).prop_flat_map(|count| {
        (Just(count), 0..=count, 0..=count)
            .prop_flat_map(|(count, errors, slow)| (Just(count), Just(errors), Just(slow), 0..=slow))
    })
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(any_step(), 1..120).prop_map(|steps| {
        let step = |(at, (count, errors, slow, very_slow)): (usize, (u64, u64, u64, u64))| Step {
            at_s: at as i64 * 10,
            count,
            errors,
            timed: count,
            slow,
            very_slow,
        };
        steps.into_iter().enumerate().map(step).collect()
    })
}

fn any_usual() -> impl Strategy<Value = Usual> {
    (1u64..100_000, 0.0..0.3f64, 1u64..10_000_000).prop_map(|(count, share, p99_us)| Usual {
        count,
        errors: (count as f64 * share) as u64,
        timed: count,
        p99_us: Some(p99_us),
        seconds: 300.0,
    })
}

proptest! {
    #[test]
    fn a_verdict_is_about_steps_that_are_there(steps in any_steps(), usual in any_usual()) {
        let (begin, end) = (steps[0].at_s, steps[steps.len() - 1].at_s + 10);
        for verdict in judge(&steps, &usual, SCOPE) {
            prop_assert!((begin..end).contains(&verdict.since_s));
            prop_assert!(verdict.since_s < verdict.until_s && verdict.until_s <= end);
            prop_assert_eq!(verdict.recovered_s.is_none() || verdict.recovered_s == Some(verdict.until_s), true);
            let errors: u64 = steps.iter().map(|step| step.errors).sum();
            prop_assert!(verdict.kind != Kind::Failing || (1..=errors).contains(&verdict.affected));
            prop_assert!(verdict.kind == Kind::Silent || verdict.judged.count > 0);
        }
    }

    #[test]
    fn the_same_as_usual_is_no_finding(count in 60u64..5000, errors in 0u64..60, slow_share in 0.0..0.0099f64) {
        let slow = (count as f64 * slow_share) as u64;
        let same = steps(&[(120, count, errors, slow)]);
        let usual = Usual { count: count * 30, errors: errors * 30, timed: count * 30, p99_us: Some(1000), seconds: 300.0 };
        prop_assert_eq!(judge(&same, &usual, SCOPE), vec![]);
    }

    #[test]
    fn more_errors_never_end_a_finding(steps in any_steps(), usual in any_usual()) {
        let failing = |steps: &[Step]| {
            judge(steps, &usual, SCOPE).iter().any(|verdict| verdict.kind == Kind::Failing && verdict.recovered_s.is_none())
        };
        let worse: Vec<Step> = steps.iter().map(|step| Step { errors: step.count, ..*step }).collect();
        prop_assert!(!failing(&steps) || failing(&worse));
    }

    #[test]
    fn the_bound_is_below_the_share_and_rises_with_it(hits in 0u64..1000, more in 1u64..1000, rest in 0u64..1000) {
        let all = hits + more + rest;
        let (low, high) = (wilson_lower(hits, all), wilson_lower(hits + more, all));
        prop_assert!(0.0 <= low && low <= share(hits, all) && low <= high);
        prop_assert!(wilson_lower(hits * 10, all * 10) >= low - 1e-12, "ten times as much says it more surely");
    }
}
