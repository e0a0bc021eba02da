//! What was usual before something went wrong: pure.
//!
//! Arrives: slots of one service, oldest first and without holes. Leaves: its sums in the slots in which all was well. What goes wrong
//! must not become what is usual, so stretches of trouble are looked for first and left out: the stretch whose failures (or slow
//! requests) are least likely to be chance when the slots before it say how many there should be (a scan statistic: the likelihood
//! ratio of two shares against one), again and again until there is none; and silence where many requests were to be expected.
//! What counts is everything that is well before the newest trouble, or before the judged window when that is earlier. So the answer
//! does not depend on when somebody asks. Promises: few requests make no trouble; what always fails as much is usual. Does
//! not: know trouble that is as old as the slots ([`super::held`] remembers it).

use peep_wire::histogram::{Histogram, Quantile};

use crate::verdict::{Usual, share, wilson_lower};

/// Sums of a stretch of time.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot {
    pub(super) at_s: i64,
    pub(super) count: u64,
    pub(super) errors: u64,
    pub(super) latency: Histogram,
}

/// What is usual, the stretch of time that says so, and whether trouble has been left out that lasts or was until a moment ago.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Before {
    pub(super) usual: Usual,
    pub(super) window: (i64, i64),
    pub(super) trouble_s: Option<i64>,
}

/// What was usual before `judged_from_s`, and before the trouble that it is about.
pub(super) fn before(slots: &[Slot], step_s: i64, judged_from_s: i64) -> Option<Before> {
    let end_s = slots.last()?.at_s + step_s;
    let mut trouble: Vec<(usize, usize)> = Vec::new();
    mark(&failing(slots), failing_holds, &mut trouble);
    if let Some(slow) = slow(slots, step_s) {
        mark(&slow, slow_holds, &mut trouble);
    }
    trouble.extend(silent(slots, step_s, &trouble));
    let newest = trouble.iter().filter(|(_, end)| end_s - end_of(slots, *end, step_s) < LATELY_S);
    let trouble_s = newest.map(|(from, _)| slots[*from].at_s).min();
    let limit_s = trouble_s.map_or(judged_from_s, |at_s| at_s.min(judged_from_s));
    let is_well = |index: usize| !trouble.iter().any(|(from, end)| (*from..*end).contains(&index));
    let well = slots.iter().enumerate().filter(|(index, slot)| slot.at_s + step_s <= limit_s && is_well(*index));
    let well: Vec<&Slot> = well.map(|(_, slot)| slot).collect();
    let window = (well.first()?.at_s, well.last()?.at_s + step_s);
    Some(Before { usual: usual_of(well.iter().copied(), step_s), window, trouble_s })
}

/// The same from slots of an hour, for trouble that is older than what `before` was given and has not ended: its hour before.
pub(super) fn long_before(hours: &[Slot], step_s: i64, known_from_s: i64) -> Option<Before> {
    let mut trouble: Vec<(usize, usize)> = Vec::new();
    mark(&failing(hours), failing_holds, &mut trouble);
    if let Some(slow) = slow(hours, step_s) {
        mark(&slow, slow_holds, &mut trouble);
    }
    trouble.extend(silent(hours, step_s, &trouble));
    // The newest hour has only begun.
    let lasts = trouble.iter().filter(|(from, end)| *end + 1 >= hours.len() && hours[*from].at_s < known_from_s);
    let from = lasts.map(|(from, _)| *from).min()?;
    let is_well = |index: &usize| !trouble.iter().any(|(from, end)| (*from..*end).contains(index));
    let last = (0..from).rev().filter(is_well).find(|index| hours[*index].count >= COUNT_MIN)?;
    let well = &hours[last];
    let window = (well.at_s, well.at_s + step_s);
    Some(Before { usual: usual_of([well], step_s), window, trouble_s: Some(hours[from].at_s) })
}

fn usual_of<'s>(slots: impl IntoIterator<Item = &'s Slot>, step_s: i64) -> Usual {
    let (mut latency, mut count, mut errors, mut seconds) = (Histogram::new(), 0, 0, 0);
    for slot in slots {
        latency.merge(&slot.latency);
        count += slot.count;
        errors += slot.errors;
        seconds += step_s;
    }
    let p99_us = latency.value_at(Quantile::P99);
    Usual { count, errors, timed: latency.count(), p99_us, seconds: seconds as f64 }
}

fn end_of(slots: &[Slot], end: usize, step_s: i64) -> i64 {
    slots[end - 1].at_s + step_s
}

/// Bad requests and all of them, per slot.
type Shares = Vec<(u64, u64)>;

fn failing(slots: &[Slot]) -> Shares {
    slots.iter().map(|slot| (slot.errors, slot.count)).collect()
}

/// What is slow by the fastest of the times before: half as much again as their p99. `None` with too few requests to tell.
fn slow(slots: &[Slot], step_s: i64) -> Option<Shares> {
    let block = usize::try_from(BLOCK_S / step_s).unwrap_or(1).max(1);
    let p99_us = |block: &[Slot]| {
        let mut latency = Histogram::new();
        block.iter().for_each(|slot| latency.merge(&slot.latency));
        latency.value_at(Quantile::P99).filter(|_| latency.count() >= TIMED_MIN)
    };
    let fastest_us = slots.chunks(block).filter_map(p99_us).min()?;
    let slow_us = (fastest_us as f64 * SLOWER_TIMES).ceil() as u64;
    let slow = |slot: &Slot| {
        let mut slow = 0;
        slot.latency.for_each(|lowest_us, _, count| slow += if lowest_us >= slow_us { count } else { 0 });
        (slow, slot.latency.count())
    };
    Some(slots.iter().map(slow).collect())
}

fn failing_holds((bad, all): (u64, u64), (usually_bad, usually_all): (u64, u64)) -> bool {
    let usual = share(usually_bad, usually_all);
    bad >= BAD_MIN
        && share(bad, all) >= FAILING_SHARE_MIN
        && share(bad, all) >= FAILING_TIMES * usual
        && wilson_lower(bad, all) > usual
}

fn slow_holds((bad, all): (u64, u64), (usually_bad, usually_all): (u64, u64)) -> bool {
    all >= TIMED_MIN && share(bad, all) >= SLOW_SHARE_MIN && wilson_lower(bad, all) > share(usually_bad, usually_all)
}

/// Adds the stretches in which more is bad than before them.
fn mark(shares: &[(u64, u64)], holds: fn((u64, u64), (u64, u64)) -> bool, trouble: &mut Vec<(usize, usize)>) {
    let mut shares = shares.to_vec();
    for _ in 0..STRETCHES_MAX {
        let Some((from, end)) = worst(&shares, holds) else { return };
        trouble.push((from, end));
        shares[from..end].fill((0, 0));
    }
}

/// The stretch that is least likely to be chance.
fn worst(shares: &[(u64, u64)], holds: fn((u64, u64), (u64, u64)) -> bool) -> Option<(usize, usize)> {
    if shares.iter().map(|(bad, _)| bad).sum::<u64>() < BAD_MIN {
        return None;
    }
    let mut worst: Option<(f64, (usize, usize))> = None;
    let mut base = (0, 0);
    for from in 1..shares.len() {
        base = (base.0 + shares[from - 1].0, base.1 + shares[from - 1].1);
        if base.1 < COUNT_MIN || shares[from].0 == 0 {
            continue;
        }
        let mut inside = (0, 0);
        for (at, slot) in shares.iter().enumerate().skip(from) {
            inside = (inside.0 + slot.0, inside.1 + slot.1);
            if slot.0 == 0 || !holds(inside, base) {
                continue;
            }
            let both = (inside.0 + base.0, inside.1 + base.1);
            let ratio = log_likelihood(inside) + log_likelihood(base) - log_likelihood(both);
            if ratio >= RATIO_MIN && worst.is_none_or(|(most, _)| ratio > most) {
                worst = Some((ratio, (from, at + 1)));
            }
        }
    }
    worst.map(|(_, stretch)| stretch)
}

/// Of a share, where it is most likely.
fn log_likelihood((bad, all): (u64, u64)) -> f64 {
    let part = |part: u64| if part == 0 { 0.0 } else { part as f64 * (part as f64 / all as f64).ln() };
    part(bad) + part(all - bad)
}

/// Stretches without requests in which many were to be expected. Half an hour must say so: a job that has run is not silent.
fn silent(slots: &[Slot], step_s: i64, trouble: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut silent: Vec<(usize, usize)> = Vec::new();
    let (mut count, mut seconds, mut from) = (0, 0, 0);
    for (at, slot) in slots.iter().enumerate() {
        let is_last = at + 1 == slots.len();
        if slot.count > 0 || is_last {
            let end = if slot.count > 0 { at } else { at + 1 };
            let expected = count as f64 / f64::from(i32::try_from(seconds).unwrap_or(i32::MAX).max(1));
            let missed = expected * ((end - from) as i64 * step_s) as f64;
            if end > from && seconds >= SILENT_BASE_S && missed >= MISSED_MIN {
                silent.push((from, end));
            } else {
                seconds += (end - from) as i64 * step_s;
            }
            if !trouble.iter().any(|(from, end)| (*from..*end).contains(&at)) {
                count += slot.count;
                seconds += step_s;
            }
            from = at + 1;
        }
    }
    silent
}

/// What ended earlier is told by no finding any more.
const LATELY_S: i64 = 1500;
/// The fastest of such stretches says what is fast.
const BLOCK_S: i64 = 600;
const TIMED_MIN: u64 = 200;
const SLOWER_TIMES: f64 = 1.5;
const SLOW_SHARE_MIN: f64 = 0.02;
const BAD_MIN: u64 = 10;
const FAILING_SHARE_MIN: f64 = 0.01;
const FAILING_TIMES: f64 = 3.0;
/// Fewer requests before say nothing.
const COUNT_MIN: u64 = 30;
/// Of two thousand stretches, one such by chance in about a hundred tries.
const RATIO_MIN: f64 = 12.0;
const STRETCHES_MAX: usize = 4;
const SILENT_BASE_S: i64 = 1800;
/// So many are missed by chance once in 160,000 times.
const MISSED_MIN: f64 = 12.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// Minutes from 0 on: `(how many, requests, errors)`; all take as long, or as given.
    fn minutes(runs: &[(usize, u64, u64, u64)]) -> Vec<Slot> {
        let each =
            runs.iter().flat_map(|&(minutes, count, errors, us)| std::iter::repeat_n((count, errors, us), minutes));
        let slot = |(at, (count, errors, us)): (usize, (u64, u64, u64))| {
            let mut latency = Histogram::new();
            latency.record_n(us, count);
            Slot { at_s: at as i64 * 60, count, errors, latency }
        };
        each.enumerate().map(slot).collect()
    }

    fn usual(runs: &[(usize, u64, u64, u64)]) -> Before {
        before(&minutes(runs), 60, 3600).expect("something is usual")
    }

    #[test]
    fn what_goes_on_for_long_does_not_become_usual() {
        for lasts in [2, 5, 10, 20, 30, 50] {
            let before = usual(&[(65 - lasts, 120, 0, 1000), (lasts, 120, 12, 1000)]);
            assert_eq!(before.usual.errors, 0, "{lasts} minutes");
            assert_eq!(before.trouble_s, Some((65 - lasts as i64) * 60), "{lasts} minutes");
            assert!(before.window.1 <= (65 - lasts as i64) * 60, "{before:?}");
        }
    }

    #[test]
    fn what_is_over_does_not_either() {
        let recovered = usual(&[(30, 120, 0, 1000), (20, 120, 12, 1000), (15, 120, 0, 1000)]);
        assert_eq!((recovered.usual.errors, recovered.trouble_s), (0, Some(1800)));
        let twice = usual(&[(10, 120, 1, 1000), (5, 120, 60, 1000), (30, 120, 1, 1000), (20, 120, 12, 1000)]);
        assert_eq!((twice.usual.errors, twice.usual.count, twice.window), (40, 4800, (0, 2700)), "{twice:?}");
    }

    #[test]
    fn what_always_fails_as_much_is_usual_and_chance_is_no_trouble() {
        let steady = usual(&[(65, 120, 12, 1000)]);
        assert_eq!((steady.usual.error_share(), steady.trouble_s), (0.1, None));
        // A request every ten seconds, of which now and then one fails.
        let seldom: Vec<(usize, u64, u64, u64)> =
            (0..65).map(|at| (1, 6, u64::from([7, 9, 30, 31, 55].contains(&at)), 1000)).collect();
        assert_eq!(usual(&seldom).trouble_s, None);
        let few = usual(&[(5, 6, 0, 1000), (60, 6, 0, 1000)]);
        assert_eq!(few.usual.count, 360);
    }

    #[test]
    fn what_is_slow_for_long_does_not_become_usual() {
        for lasts in [5, 20, 50] {
            let before = usual(&[(65 - lasts, 120, 0, 1000), (lasts, 120, 0, 9000)]);
            assert!(before.usual.p99_us.is_some_and(|us| us < 1100), "{before:?}");
            assert_eq!(before.trouble_s, Some((65 - lasts as i64) * 60));
        }
        assert_eq!(usual(&[(35, 120, 0, 1000), (30, 120, 0, 1300)]).trouble_s, None, "a third slower is not slow");
    }

    #[test]
    fn silence_does_not_lower_the_usual_rate() {
        for lasts in [2, 10, 30] {
            let before = usual(&[(65 - lasts, 120, 0, 1000), (lasts, 0, 0, 1000)]);
            assert_eq!((before.usual.rate() * 100.0).round(), 200.0, "{lasts} minutes: {before:?}");
        }
        let job = usual(&[(10, 300, 0, 1000), (55, 0, 0, 1000)]);
        assert!(job.usual.rate() < 1.0, "a job that has run is not silent: {job:?}");
    }

    #[test]
    fn older_trouble_is_measured_against_the_hour_before_it() {
        let mut hours = minutes(&[(18, 7200, 2, 1000), (7, 7200, 720, 1000)]);
        hours.iter_mut().enumerate().for_each(|(at, hour)| hour.at_s = at as i64 * 3600);
        let before = long_before(&hours, 3600, 24 * 3600).expect("trouble");
        assert_eq!(
            (before.usual.errors, before.window, before.trouble_s),
            (2, (17 * 3600, 18 * 3600), Some(18 * 3600))
        );
        assert_eq!(long_before(&hours, 3600, 18 * 3600), None, "the minutes know it");
    }
}
