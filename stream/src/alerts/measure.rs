//! What a rule looks at, and what it makes of it: pure.
//!
//! Arrives: sums over stretches of time. Leaves: whether the rule's condition is true, and a sentence that says so with its numbers.
//!
//! An error budget is watched by several pairs of windows, as the Google SRE workbook does it: the long window shows that it matters,
//! the short one that it still goes on. A pair says how much of the budget the long window may use up; burning it so many times
//! faster than the period allows is too fast:
//!
//! | share of the budget | in | and still in the last | times too fast, period of 30 days |
//! | --- | --- | --- | --- |
//! | 2 % | 1 h | 5 min | 14.4 |
//! | 5 % | 6 h | 30 min | 6 |
//! | 10 % | 3 d | 6 h | 1 |
//!
//! Does not: read anything, or know how long a condition has been true ([`super::machine`]).

use super::rule::{LatencyLimit, percent, quantile_name, show_ms, show_seconds};
use crate::figures::Figures;
use crate::{names, words};

/// What was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Whether the condition is true.
    pub breached: bool,
    /// The figure it is about: a share, milliseconds, or seconds of silence.
    pub value: Option<f64>,
    /// How many times too fast an error budget is used up.
    pub burn: Option<f64>,
    /// With its numbers.
    pub sentence: String,
    /// The stretch of time that shows it.
    pub window_s: i64,
}

/// Two windows and the share of the budget that the long one may use up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Shows that it matters.
    pub long_s: i64,
    /// Shows that it goes on.
    pub short_s: i64,
    budget_share: f64,
}

/// Most urgent first.
pub const PAIRS: [Pair; 3] = [
    Pair { long_s: 3600, short_s: 300, budget_share: 0.02 },
    Pair { long_s: 6 * 3600, short_s: 1800, budget_share: 0.05 },
    Pair { long_s: 3 * 86_400, short_s: 6 * 3600, budget_share: 0.1 },
];

impl Pair {
    /// How many times too fast is too fast.
    pub fn burn_max(self, period_days: u32) -> f64 {
        self.budget_share * f64::from(period_days) * 86_400.0 / self.long_s as f64
    }
}

/// Requests and failures of a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Requests.
    pub count: u64,
    /// Those that failed.
    pub errors: u64,
}

impl From<&Figures> for Counted {
    fn from(figures: &Figures) -> Self {
        Self { count: figures.count, errors: figures.errors }
    }
}

impl std::ops::AddAssign for Counted {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.errors += other.errors;
    }
}

impl Counted {
    fn share(self) -> f64 {
        if self.count == 0 { 0.0 } else { self.errors as f64 / self.count as f64 }
    }

    /// How many times faster than allowed the budget is used up.
    pub fn burn(self, objective: f64) -> f64 {
        self.share() / (1.0 - objective)
    }
}

/// Whether the long window is worth asking for: without the short one nothing fires.
pub fn may_burn(short: Counted, pair: Pair, objective: f64, period_days: u32) -> bool {
    short.burn(objective) > pair.burn_max(period_days)
}

/// An error budget in one pair of windows.
pub fn error_budget(
    service: &str,
    objective: f64,
    period_days: u32,
    pair: Pair,
    short: Counted,
    long: Counted,
) -> Seen {
    let service = names::isolated(service);
    let burn = long.burn(objective);
    let breached =
        may_burn(short, pair, objective, period_days) && burn > pair.burn_max(period_days) && long.errors >= ERRORS_MIN;
    let sentence = format!(
        "{service}: {} of requests failed over {}, {} should succeed: the error budget of {period_days} days is used up {} times \
         too fast",
        percent(long.share()),
        show_seconds(pair.long_s),
        percent(objective),
        one_digit(burn),
    );
    Seen { breached, value: Some(long.share()), burn: Some(burn), sentence, window_s: pair.long_s }
}

/// Nothing burns.
pub fn error_budget_kept(service: &str, objective: f64, short: Counted, window_s: i64) -> Seen {
    let service = names::isolated(service);
    let sentence = if short.count == 0 {
        format!("{service}: no requests for {}", show_seconds(window_s))
    } else {
        format!("{service}: {} of requests failed over {}", percent(short.share()), show_seconds(window_s))
    };
    let (value, burn) =
        ((short.count > 0).then_some(short.share()), (short.count > 0).then_some(short.burn(objective)));
    Seen { breached: false, value, burn, sentence, window_s }
}

/// A quantile now and as it usually is; either is `None` with too few requests to tell.
pub fn latency(
    service: &str,
    quantile: f64,
    limit: LatencyLimit,
    window_s: i64,
    now_ms: Option<f64>,
    usual_ms: Option<f64>,
) -> Seen {
    let service = names::isolated(service);
    let (name, over) = (quantile_name(quantile), show_seconds(window_s));
    let none = |sentence| Seen { breached: false, value: None, burn: None, sentence, window_s };
    let Some(value) = now_ms else {
        return none(format!("{service}: too few requests over {over} to tell {name}"));
    };
    let (breached, sentence) = match (limit, usual_ms) {
        (LatencyLimit::Ms(limit), _) => {
            (value > limit, format!("{service}: {name} is {} over {over}, limit {}", show_ms(value), show_ms(limit)))
        }
        (LatencyLimit::TimesUsual(times), Some(usual)) => {
            let factor = value / usual.max(0.001);
            let sentence = format!(
                "{service}: {name} is {} over {over}, {} times its usual {}",
                show_ms(value),
                one_digit(factor),
                show_ms(usual)
            );
            (factor > times, sentence)
        }
        (LatencyLimit::TimesUsual(_), None) => {
            (false, format!("{service}: {name} is {} over {over}; what is usual is not known yet", show_ms(value)))
        }
    };
    Seen { breached, value: Some(value), burn: None, sentence, window_s }
}

/// How long there was nothing. `usually`: requests that the rule's time has on average over all that was looked at, which decides
/// whether they are missed; `per_second`: how many came while any did, which is what is told.
pub fn silence(
    service: &str,
    for_s: i64,
    silent_s: Option<i64>,
    usually: f64,
    per_second: f64,
    usually_min: f64,
) -> Seen {
    let service = names::isolated(service);
    let breached = silent_s.is_some_and(|silent_s| silent_s >= for_s) && usually >= usually_min;
    let sentence = match silent_s {
        None => format!("{service}: no requests in the last day"),
        Some(silent_s) if silent_s >= for_s => {
            let shown_s = round_down(silent_s);
            format!(
                "{service}: no requests for {}, usually {} in that time",
                show_seconds(shown_s),
                requests(per_second * shown_s as f64)
            )
        }
        Some(_) => format!("{service}: requests arrive"),
    };
    Seen {
        breached,
        value: silent_s.map(|silent_s| silent_s as f64),
        burn: None,
        sentence,
        window_s: silent_s.unwrap_or(0).max(for_s),
    }
}

/// Of several services the one that matters most: those that are breached first, then the largest figure.
pub fn worst(seen: Vec<Seen>) -> Option<Seen> {
    let urgency = |one: &Seen| one.burn.or(one.value).unwrap_or(f64::MIN);
    let breached = seen.iter().filter(|one| one.breached).count();
    let mut worst = seen
        .into_iter()
        .max_by(|left, right| left.breached.cmp(&right.breached).then(urgency(left).total_cmp(&urgency(right))))?;
    if breached > 1 {
        worst.sentence = format!("{}; and {} more", worst.sentence, breached - 1);
    }
    Some(worst)
}

fn one_digit(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// Tenths matter where few are expected.
fn requests(number: f64) -> String {
    if number < 10.0 { one_digit(number) } else { words::grouped(number.round() as u64) }
}

/// To whole minutes, when there are several.
fn round_down(seconds: i64) -> i64 {
    if seconds >= 120 { seconds - seconds % 60 } else { seconds }
}

/// One failed request at night is 100 % of the requests: nobody gets up for it.
pub const ERRORS_MIN: u64 = 5;
/// Fewer requests do not have a p99.
pub const REQUESTS_MIN: u64 = 50;
/// A service with so many requests in a time is silent by chance once in a hundred and fifty such times; where a rule names the service, one
/// is enough.
pub const USUALLY_MIN: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(count: u64, errors: u64) -> Counted {
        Counted { count, errors }
    }

    #[test]
    fn the_factors_are_those_of_the_workbook() {
        let rounded = |pair: Pair, days| (pair.burn_max(days) * 100.0).round() / 100.0;
        assert_eq!(PAIRS.map(|pair| rounded(pair, 30)), [14.4, 6.0, 1.0]);
        assert_eq!(PAIRS.map(|pair| rounded(pair, 7)), [3.36, 1.4, 0.23]);
    }

    #[test]
    fn it_takes_both_windows_and_more_than_a_few_failures() {
        let seen = |short, long| error_budget("shop", 0.999, 30, PAIRS[0], short, long).breached;
        assert!(seen(counted(1000, 20), counted(10_000, 150)));
        assert!(!seen(counted(1000, 20), counted(10_000, 140)), "14.0 times is not too fast for an hour");
        assert!(!seen(counted(1000, 10), counted(10_000, 150)), "it is over");
        assert!(!seen(counted(1, 1), counted(4, 4)), "four requests at night");
        assert!(!seen(counted(0, 0), counted(0, 0)));
        let seen = error_budget("shop", 0.999, 30, PAIRS[0], counted(1000, 20), counted(10_000, 213));
        assert_eq!(
            seen.sentence,
            "shop: 2.13 % of requests failed over 1 h, 99.9 % should succeed: the error budget of 30 days is used up 21.3 times too fast"
        );
    }

    #[test]
    fn a_quantile_is_compared_with_what_the_rule_names() {
        let seen = |limit, now, usual| latency("shop", 0.99, limit, 300, now, usual);
        assert!(seen(LatencyLimit::Ms(500.0), Some(500.5), None).breached);
        assert!(!seen(LatencyLimit::Ms(500.0), Some(500.0), None).breached);
        assert!(!seen(LatencyLimit::Ms(500.0), None, None).breached, "too few requests");
        assert!(seen(LatencyLimit::TimesUsual(2.0), Some(812.0), Some(260.0)).breached);
        assert!(!seen(LatencyLimit::TimesUsual(2.0), Some(812.0), None).breached, "nothing to compare with");
        let sentence = seen(LatencyLimit::TimesUsual(2.0), Some(812.0), Some(260.0)).sentence;
        assert_eq!(sentence, "shop: p99 is 812 ms over 5 minutes, 3.1 times its usual 260 ms");
    }

    #[test]
    fn a_name_that_reads_from_right_to_left_does_not_turn_its_sentence() {
        let name = "\u{5d0}\u{5d1}";
        for seen in [
            error_budget(name, 0.999, 30, PAIRS[0], counted(1000, 20), counted(10_000, 150)),
            error_budget_kept(name, 0.999, counted(1000, 0), 300),
            latency(name, 0.99, LatencyLimit::Ms(500.0), 300, Some(812.0), None),
            silence(name, 120, Some(185), 50.0, 0.5, USUALLY_MIN),
        ] {
            assert!(seen.sentence.starts_with("\u{2068}\u{5d0}\u{5d1}\u{2069}: "), "{:?}", seen.sentence);
        }
    }

    #[test]
    fn silence_is_something_only_where_there_is_usually_something() {
        let seen = |silent_s, usually| silence("shop", 120, silent_s, usually, 1.9, USUALLY_MIN);
        assert!(seen(Some(120), 50.0).breached);
        assert!(!seen(Some(119), 50.0).breached);
        assert!(!seen(Some(3000), 1.0).breached, "a job that runs once an hour");
        assert!(!seen(None, 0.0).breached, "it was never heard of");
        // What is usual is counted for the time that the sentence names, at the rate there was while requests came.
        for (silent_s, sentence) in [
            (185, "shop: no requests for 3 minutes, usually 342 in that time"),
            (1400, "shop: no requests for 23 minutes, usually 2,622 in that time"),
        ] {
            assert_eq!(seen(Some(silent_s), 50.0).sentence, sentence);
        }
    }

    #[test]
    fn of_several_the_worst_speaks() {
        let burning =
            |service, errors| error_budget(service, 0.999, 30, PAIRS[0], counted(100, errors), counted(100, errors));
        let kept = error_budget_kept("c", 0.999, counted(10, 0), 300);
        let worst = worst(vec![burning("a", 10), kept, burning("b", 20)]).expect("one");
        assert!(
            worst.breached && worst.sentence.starts_with("b: ") && worst.sentence.ends_with("; and 1 more"),
            "{}",
            worst.sentence
        );
    }
}
