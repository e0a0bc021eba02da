use proptest::prelude::*;

use super::*;

const PATIENCE: Patience = Patience { for_ms: 60_000, keep_firing_ms: 120_000 };

/// States after looks at `(milliseconds since the last one, condition)`.
fn states(patience: Patience, looks: &[(i64, Option<bool>)]) -> Vec<(i64, State)> {
    let (mut now_ms, mut state) = (1_000_000, State::Ok);
    let look = |&(after_ms, condition): &(i64, Option<bool>)| {
        now_ms += after_ms;
        state = state.after(condition, now_ms, patience);
        (now_ms, state)
    };
    looks.iter().map(look).collect()
}

fn names(patience: Patience, looks: &[(i64, Option<bool>)]) -> Vec<&'static str> {
    states(patience, looks).into_iter().map(|(_, state)| state.name()).collect()
}

#[test]
fn it_fires_after_its_time_and_stops_after_its_time() {
    let (yes, no) = (Some(true), Some(false));
    let looks = [(0, yes), (30_000, yes), (30_000, yes), (15_000, no), (60_000, no), (60_000, no)];
    assert_eq!(names(PATIENCE, &looks), ["pending", "pending", "firing", "firing", "firing", "ok"]);
}

#[test]
fn one_look_to_the_contrary_starts_the_wait_anew() {
    let (yes, no) = (Some(true), Some(false));
    let pending = [(0, yes), (59_000, yes), (500, no), (500, yes), (59_000, yes), (1_000, yes)];
    assert_eq!(names(PATIENCE, &pending), ["pending", "pending", "ok", "pending", "pending", "firing"]);
    let firing = [(0, yes), (60_000, yes), (1, no), (119_000, no), (1, yes), (1, no), (119_999, no), (1, no)];
    assert_eq!(names(PATIENCE, &firing)[1..], ["firing", "firing", "firing", "firing", "firing", "firing", "ok"]);
}

#[test]
fn what_is_unknown_neither_alarms_nor_reassures() {
    let (yes, no) = (Some(true), Some(false));
    assert_eq!(names(PATIENCE, &[(0, None), (90_000_000, None)]), ["ok", "ok"]);
    assert_eq!(names(PATIENCE, &[(0, yes), (90_000, None), (1, no)]), ["pending", "pending", "ok"]);
    let firing = [(0, yes), (60_000, yes), (1, no), (110_000, None), (10_000, no)];
    assert_eq!(names(PATIENCE, &firing).last(), Some(&"firing"), "the quiet was not seen all the time");
}

#[test]
fn without_patience_it_follows_at_once() {
    let patience = Patience { for_ms: 0, keep_firing_ms: 0 };
    assert_eq!(names(patience, &[(0, Some(true)), (1, Some(false)), (1, Some(true))]), ["firing", "ok", "firing"]);
}

fn looks() -> impl Strategy<Value = Vec<(i64, Option<bool>)>> {
    let condition = prop_oneof![Just(Some(true)), Just(Some(false)), Just(None)];
    // Runs of the same condition, so that waits are reached often.
    let run = (1usize..12, 1i64..40_000, condition);
    prop::collection::vec(run, 0..40).prop_map(|runs| {
        runs.into_iter().flat_map(|(len, after_ms, condition)| vec![(after_ms, condition); len]).collect()
    })
}

proptest! {
    #[test]
    fn it_never_flaps(looks in looks(), for_ms in 0i64..200_000, keep_firing_ms in 0i64..200_000) {
        let patience = Patience { for_ms, keep_firing_ms };
        let states = states(patience, &looks);
        let mut before = State::Ok;
        let (mut firings, mut ends) = (Vec::new(), Vec::new());
        for (index, &(now_ms, state)) in states.iter().enumerate() {
            if state.is_firing() && !before.is_firing() {
                firings.push(now_ms);
                // Back to the look that began the row, nothing was false, and it began and ended with true.
                let row = looks[..=index].iter().rposition(|(_, condition)| *condition == Some(false)).map_or(0, |last| last + 1);
                let first = (row..=index).find(|&at| looks[at].1 == Some(true)).expect("something was true");
                prop_assert!(now_ms - states[first].0 >= for_ms);
                prop_assert_eq!(looks[index].1, Some(true));
            }
            if before.is_firing() && !state.is_firing() {
                ends.push(now_ms);
                let last = looks[..=index].iter().rposition(|(_, condition)| *condition != Some(false)).expect("it was true");
                prop_assert!(now_ms - states[last + 1].0 >= keep_firing_ms);
                prop_assert_eq!(state, State::Ok);
            }
            if looks[index].1.is_none() {
                prop_assert_eq!(state.name(), before.name(), "unknown changes nothing");
            }
            before = state;
        }
        // Firing again takes the whole of both waits.
        for (end, next) in ends.iter().zip(firings.iter().skip(1)) {
            prop_assert!(next - end >= for_ms);
        }
        for (began, end) in firings.iter().zip(&ends) {
            prop_assert!(end - began >= keep_firing_ms);
        }
        let elapsed_ms = states.last().map_or(0, |(now_ms, _)| now_ms - 1_000_000);
        if for_ms + keep_firing_ms > 0 {
            prop_assert!(firings.len() as i64 <= elapsed_ms / (for_ms + keep_firing_ms) + 1);
        }
    }

    #[test]
    fn a_clock_that_steps_back_never_fires_early(back_ms in 0i64..1_000_000, for_ms in 1i64..200_000) {
        let patience = Patience { for_ms, keep_firing_ms: 0 };
        let pending = State::Ok.after(Some(true), 1_000_000, patience);
        prop_assert_eq!(pending.after(Some(true), 1_000_000 - back_ms, patience), pending);
    }
}
