//! The difference as one sentence.

use peep_wire::histogram::Quantile;

use crate::significance::{Compared, Interval, REQUESTS_MIN, Sample};
use crate::words;

/// Says what the table shows: from which quantile up, how much at the one that matters, and where there is no difference.
pub(super) fn of(
    (a_name, a): (&str, &Sample),
    (b_name, b): (&str, &Sample),
    compared: &[Compared],
    errors_significant: bool,
) -> String {
    for (name, sample) in [(a_name, a), (b_name, b)] {
        let count = sample.kept.unwrap_or(sample.count).min(sample.latency.count());
        if count < REQUESTS_MIN {
            return format!("Only {} requests in {name}; p99 needs more. Widen the window.", words::grouped(count));
        }
    }
    let mut sentence = latency(a_name, b_name, compared);
    if errors_significant {
        let (a_share, b_share) = (a.error_share(), b.error_share());
        let often = if b_share > a_share { "more" } else { "less" };
        sentence.push_str(&format!(
            " It fails {often} often: {} against {}.",
            words::share(b_share),
            words::share(a_share)
        ));
    }
    sentence
}

fn latency(a_name: &str, b_name: &str, compared: &[Compared]) -> String {
    let told: Vec<&Compared> = compared.iter().filter(|one| one.enough).collect();
    let differs = |slower: bool| move |one: &&Compared| one.significant && is_slower(one) == Some(slower);
    let (slower, faster) =
        (told.iter().copied().find(|one| differs(true)(one)), told.iter().copied().find(|one| differs(false)(one)));
    let (first, is_slower) = match (slower, faster) {
        (None, None) => {
            return format!("There is no significant difference in latency between {a_name} and {b_name}.");
        }
        (Some(slower), Some(faster)) => {
            return format!("{b_name} is slower at {}, and faster at {}.", against(slower), against(faster));
        }
        (Some(first), None) => (first, true),
        (None, Some(first)) => (first, false),
    };
    let word = if is_slower { "slower" } else { "faster" };
    let at = told.iter().position(|one| one.quantile == first.quantile).unwrap_or(0);
    let without_hole = told[at..].iter().all(|one| one.significant);
    let p99 = told[at..].iter().copied().find(|one| one.quantile == Quantile::P99 && one.significant);
    let shown = against(p99.unwrap_or(first));
    match (at, without_hole) {
        (0, true) => format!("{b_name} is {word} at every quantile: {shown}."),
        (0, false) => format!("{b_name} is {word} at {shown}."),
        (_, true) => format!(
            "{b_name} is {word} from {} up: {shown}. Up to {} there is no difference.",
            name(first.quantile),
            name(told[at - 1].quantile)
        ),
        (_, false) => {
            format!("{b_name} is {word} at {shown}. Up to {} there is no difference.", name(told[at - 1].quantile))
        }
    }
}

fn is_slower(one: &Compared) -> Option<bool> {
    one.a.zip(one.b).map(|(a, b)| b.value_us > a.value_us)
}

/// `p99 1.84 s against 402 ms`
fn against(one: &Compared) -> String {
    let value = |side: Option<Interval>| words::latency(side.map_or(0.0, |side| side.value_us as f64 / 1000.0));
    format!("{} {} against {}", name(one.quantile), value(one.b), value(one.a))
}

/// `p99.9`
fn name(quantile: Quantile) -> String {
    let text = quantile.to_string();
    let digits = text.strip_prefix("0.").unwrap_or("");
    match digits.len() {
        0 => "max".to_owned(),
        1 => format!("p{digits}0"),
        2 => format!("p{digits}"),
        _ => format!("p{}.{}", &digits[..2], &digits[2..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(quantile, a, b)` in ms; a difference of a tenth is one.
    fn table(rows: &[(&str, u64, u64)]) -> Vec<Compared> {
        let interval = |ms: u64| {
            let us = ms * 1000;
            Some(Interval { low_us: us, value_us: us, high_us: us, is_closed: true })
        };
        let row = |(quantile, a, b): &(&str, u64, u64)| Compared {
            quantile: quantile.parse().expect("a quantile"),
            a: interval(*a),
            b: interval(*b),
            enough: true,
            significant: a.abs_diff(*b) * 10 > *a,
        };
        rows.iter().map(row).collect()
    }

    fn many() -> Sample {
        let mut sample = Sample { count: 10_000, errors: 12, ..Sample::default() };
        sample.latency.record_n(1000, 10_000);
        sample
    }

    fn said(rows: &[(&str, u64, u64)]) -> String {
        of(("v1", &many()), ("v2", &many()), &table(rows), false)
    }

    #[test]
    fn a_sentence_names_where_the_difference_begins_and_where_there_is_none() {
        assert_eq!(
            said(&[("0.5", 38, 39), ("0.95", 200, 205), ("0.98", 300, 900), ("0.99", 402, 1840), ("0.999", 900, 2400)]),
            "v2 is slower from p98 up: p99 1.84 s against 402 ms. Up to p95 there is no difference."
        );
        assert_eq!(
            said(&[("0.5", 38, 20), ("0.99", 402, 200)]),
            "v2 is faster at every quantile: p99 200 ms against 402 ms."
        );
        assert_eq!(
            said(&[("0.5", 38, 38), ("0.99", 402, 402)]),
            "There is no significant difference in latency between v1 and v2."
        );
        assert_eq!(
            said(&[("0.5", 40, 20), ("0.9", 90, 90), ("0.99", 402, 800)]),
            "v2 is slower at p99 800 ms against 402 ms, and faster at p50 20.0 ms against 40.0 ms."
        );
        assert_eq!(
            said(&[("0.5", 40, 40), ("0.9", 90, 200), ("0.99", 402, 402), ("0.999", 800, 805)]),
            "v2 is slower at p90 200 ms against 90.0 ms. Up to p50 there is no difference."
        );
    }

    #[test]
    fn failures_and_too_few_requests_are_said() {
        let worse = Sample { errors: 421, ..many() };
        assert_eq!(
            of(("v1", &many()), ("v2", &worse), &table(&[("0.5", 38, 38)]), true),
            "There is no significant difference in latency between v1 and v2. It fails more often: 4.21 % against 0.12 %."
        );
        let mut few = Sample { count: 86, ..Sample::default() };
        few.latency.record_n(1000, 86);
        assert_eq!(
            of(("v1", &many()), ("v2", &few), &table(&[("0.5", 38, 380)]), true),
            "Only 86 requests in v2; p99 needs more. Widen the window."
        );
        assert_eq!((name(Quantile::P999), name(Quantile::P50)), ("p99.9".to_owned(), "p50".to_owned()));
    }
}
