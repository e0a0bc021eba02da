use super::*;

fn series(route: &str, status: u16) -> Series {
    Series { service: "shop".into(), env: "default".into(), route: route.into(), method: "GET".into(), status }
}

fn placed(budgets: &mut Budgets, series_max: usize, own: Series) -> (String, u16, bool) {
    let rules = Rules { series_max, ..Rules::DEFAULT };
    let (place, folded) = budgets.place(&rules, 1, own);
    (place.route, place.status, folded)
}

#[test]
fn series_beyond_the_budget_go_to_the_class_of_their_status() {
    let mut budgets = Budgets::default();
    assert_eq!(placed(&mut budgets, 1, series("/a", 200)), ("/a".into(), 200, false));
    assert_eq!(placed(&mut budgets, 1, series("/b", 204)), ("(other)".into(), 200, true));
    assert_eq!(placed(&mut budgets, 1, series("/b", 599)), ("(other)".into(), 500, true));
    assert_eq!(placed(&mut budgets, 1, series("(other)", 200)), ("(other)".into(), 200, false));
    assert_eq!(placed(&mut budgets, 1, series("/a", 200)), ("/a".into(), 200, false));
}

#[test]
fn a_series_is_remembered_until_the_end_of_the_next_day() {
    let mut budgets = Budgets::default();
    placed(&mut budgets, 1, series("/a", 200));
    budgets.advance(DAY_MS);
    assert_eq!(placed(&mut budgets, 1, series("/b", 200)), ("(other)".into(), 200, true));
    budgets.advance(2 * DAY_MS);
    // Yesterday's `(other)` takes part of the room.
    assert_eq!(placed(&mut budgets, 2, series("/b", 200)), ("/b".into(), 200, false));
}

#[test]
fn services_that_explode_too_end_in_one_place_for_each_class() {
    let mut budgets = Budgets::default();
    let of = |number: usize| Series { service: format!("s{number}"), ..series("/", 302) };
    let services: BTreeSet<String> = (0..2_000)
        .map(|number| {
            budgets.place(&Rules { series_max: 10, folds_max: 100, ..Rules::DEFAULT }, 1, of(number)).0.service
        })
        .collect();
    assert_eq!(services.len(), 10 + 100 + 1);
}
