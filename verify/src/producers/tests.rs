use super::*;

const RULES: Rules = Rules { producers_max: 2, ..Rules::DEFAULT };

fn whole(producer: u8, seq: u64) -> Claim {
    Claim { project: 1, producer: [producer; 16], seq, part: 0, parts: 0, events: 3 }
}

fn part(seq: u64, part: u32, parts: u32, events: u32) -> Claim {
    Claim { part, parts, events, ..whole(1, seq) }
}

/// One record after the other, all at the same log time.
fn verdicts(claims: &[Claim]) -> Vec<Verdict> {
    let mut producers = Producers::default();
    claims.iter().enumerate().map(|(at, claim)| producers.judge(&RULES, claim, (at as u64, 0), 0)).collect()
}

const NEW: Verdict = Verdict::Count { uncertain: false };
const UNCERTAIN: Verdict = Verdict::Count { uncertain: true };

#[test]
fn a_number_counts_once_within_the_window_and_nobody_knows_below_it() {
    let claims = [whole(1, 0), whole(1, 0), whole(1, 1024), whole(1, 1), whole(1, 1), whole(1, 0)];
    assert_eq!(verdicts(&claims), [NEW, Verdict::Duplicate, NEW, NEW, Verdict::Duplicate, Verdict::BelowWindow]);
}

#[test]
fn a_stranger_that_does_not_begin_at_zero_is_uncertain_up_to_where_it_began() {
    let claims = [whole(1, 5), whole(1, 4), whole(1, 0), whole(1, 6)];
    assert_eq!(verdicts(&claims), [UNCERTAIN, UNCERTAIN, NEW, NEW]);
}

#[test]
fn a_retry_adds_the_missing_parts_only() {
    let claims = [part(0, 0, 2, 3), part(0, 0, 2, 3), part(0, 1, 2, 4), part(0, 1, 2, 4), part(0, 0, 3, 1)];
    let duplicate = Verdict::Duplicate;
    assert_eq!(verdicts(&claims), [NEW, duplicate, NEW, duplicate, duplicate]);
}

#[test]
fn a_retry_that_was_cut_differently_is_a_conflict_for_what_is_missing() {
    let claims = [part(0, 0, 2, 3), part(0, 0, 2, 4), part(0, 1, 2, 4), part(0, 0, 2, 3), part(1, 2, 2, 1)];
    let conflict = Verdict::Conflict;
    assert_eq!(verdicts(&claims), [NEW, conflict, conflict, Verdict::Duplicate, conflict]);
}

#[test]
fn the_producer_that_was_quiet_for_longest_makes_room() {
    let claims = [whole(1, 0), whole(2, 0), whole(1, 1), whole(3, 0), whole(1, 1), whole(2, 0)];
    assert_eq!(verdicts(&claims), [NEW, NEW, NEW, NEW, Verdict::Duplicate, NEW]);
}

#[test]
fn a_producer_is_forgotten_after_a_day_of_log_time_without_it() {
    let day_ms = RULES.dedup_retention.as_millis() as i64;
    let mut producers = Producers::default();
    assert_eq!(producers.judge(&RULES, &whole(1, 0), (0, 0), 0), NEW);
    assert_eq!(producers.judge(&RULES, &whole(1, 0), (1, 0), day_ms), Verdict::Duplicate);
    assert_eq!(producers.judge(&RULES, &whole(1, 0), (2, 0), 2 * day_ms + 1), NEW);
    assert!(producers.living(&RULES, 4 * day_ms).is_empty());
}
