use proptest::prelude::*;

use super::*;

const WINDOW: Window = Window { from_s: 0, to_s: 10, step_s: 10 };

fn sides(counts: &[(&str, f64, f64)]) -> Sides {
    let mut sides = Sides::new(WINDOW);
    for (value, selected, all) in counts {
        sides.selected((*value).to_owned(), *selected);
        sides.all((*value).to_owned(), *all);
    }
    sides
}

#[test]
fn the_value_that_is_most_overrepresented_is_named() {
    // 90 of 100 inside, 110 of 900 outside.
    let compared = sides(&[("buy", 90.0, 200.0), ("cart", 10.0, 800.0)]).compared("route".into(), None);
    assert_eq!(compared.value.as_deref(), Some("buy"));
    assert!((compared.share - 0.9).abs() < 1e-9 && (compared.rest_share - 110.0 / 900.0).abs() < 1e-9);
    assert_eq!(compared.distinct, 2);
}

#[test]
fn where_there_is_nothing_to_compare_nothing_differs() {
    for counts in [&[("a", 0.0, 5.0)][..], &[("a", 5.0, 5.0)], &[]] {
        let compared = sides(counts).compared("route".into(), None);
        assert_eq!((compared.value, compared.difference), (None, 0.0));
    }
}

#[test]
fn at_most_six_that_differ_come_first_and_then_those_that_do_not() {
    let line = |name: &str, difference: f64| Compared {
        name: name.into(),
        sampled: None,
        value: Some("v".into()),
        share: difference,
        rest_share: 0.0,
        distinct: 2,
        difference,
    };
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let mut all: Vec<_> = names.iter().zip(1..).map(|(name, at)| line(name, 0.1 * f64::from(at))).collect();
    all.push(line("same", 0.049));
    let ranked = ranked(all);
    let order: Vec<_> = ranked.iter().map(|compared| compared.name.as_str()).collect();
    assert_eq!(order, ["g", "f", "e", "d", "c", "b", "same"]);
    assert_eq!((ranked[6].value.as_ref(), ranked[6].difference), (None, 0.0));
}

#[test]
fn a_handful_of_kept_events_tells_nothing() {
    let of = |kept: u64| Evidence { kept, selected: kept as f64, rest: 1_000.0 };
    let sides = sides(&[("a", 9.0, 500.0), ("b", 1.0, 510.0)]);
    assert_eq!(sides.compared("host".into(), Some(of(9))).value, None);
    assert_eq!(sides.compared("host".into(), Some(of(100))).value.as_deref(), Some("a"));
    // A difference that chance makes every other time.
    let even = Evidence { kept: 20, selected: 20.0, rest: 20.0 };
    assert!(!even.tells_apart(0.55, 0.45) && even.tells_apart(0.95, 0.2));
}

proptest! {
    #[test]
    fn no_other_value_differs_more(counts in prop::collection::vec((0u32..50, 0u32..50), 1..12)) {
        let mut sides = Sides::new(WINDOW);
        for (value, (selected, rest)) in counts.iter().enumerate() {
            sides.selected(value.to_string(), f64::from(*selected));
            sides.all(value.to_string(), f64::from(selected + rest));
        }
        let (inside, outside): (u32, u32) =
            counts.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let compared = sides.compared("route".into(), None);
        for (selected, rest) in &counts {
            if inside > 0 && outside > 0 {
                let difference = f64::from(*selected) / f64::from(inside) - f64::from(*rest) / f64::from(outside);
                prop_assert!(difference <= compared.difference + 1e-9);
            }
        }
        prop_assert_eq!(compared.value.is_some(), compared.difference > 0.0);
    }
}
