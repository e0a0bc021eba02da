use super::*;

fn fields<'a>(service: &'a str, route: &'a str) -> Fields<'a> {
    Fields { service, env: "default", route, method: "GET", status: 200 }
}

fn watched<'a>(routes: impl IntoIterator<Item = &'a str>) -> Vec<Overflow> {
    let mut offenders = Offenders::default();
    for route in routes {
        offenders.watch(ProjectId(1), &fields("shop", route), 7, true);
    }
    offenders.cut()
}

/// The name under which most events were counted.
fn most(rows: &[Overflow]) -> &str {
    rows.iter().max_by_key(|row| row.events).map_or("", |row| row.segment.as_str())
}

#[test]
fn an_id_is_recognised_from_the_first_event_on() {
    for (route, segment) in [
        ("/api/orders/17", "/api/orders/*"),
        ("/api/orders/17/items", "/api/orders/*"),
        ("/v2/users/0191e1b8-9a4c-7d3e-8f10-1234567890ab/cart", "/v2/users/*"),
        ("/mail/ann@example.org", "/mail/*"),
        ("orders/17", "orders/*"),
        ("17", "*"),
        ("/", "/*"),
        ("/search?q=shoes&page=2", "/search?*"),
    ] {
        let rows = watched([route]);
        assert_eq!((rows.len(), rows[0].segment.as_str()), (1, segment), "{route}");
    }
}

#[test]
fn names_instead_of_ids_are_found_by_their_number() {
    let routes: Vec<String> = (0..5_000).map(|number| format!("/shop/{}/reviews", word(number))).collect();
    let rows = watched(routes.iter().map(String::as_str));
    assert_eq!(most(&rows), "/shop/*");
    let row = rows.iter().find(|row| row.segment == "/shop/*").unwrap();
    assert!(row.distinct_values.abs_diff(5_000) < 1_000 && row.events > 4_000, "{row:?}");
    assert_eq!(rows.iter().map(|row| row.events).sum::<u64>(), 5_000);
}

#[test]
fn a_broad_but_honest_level_is_not_to_blame_for_a_wide_one_below() {
    let mut routes: Vec<String> = (0..300).map(|number| format!("/api/{}", word(number))).collect();
    routes.insert(40, "/api/tags/first".to_owned());
    routes.extend((0..9_000).map(|number| format!("/api/tags/{}", word(number))));
    assert_eq!(most(&watched(routes.iter().map(String::as_str))), "/api/tags/*");
}

#[test]
fn two_ids_in_one_route_are_both_shown() {
    let routes: Vec<String> = (0..20_000).map(|number| format!("/users/{}/orders/{number}", number % 900)).collect();
    assert_eq!(most(&watched(routes.iter().map(String::as_str))), "/users/*/orders/*");
}

#[test]
fn exploding_services_and_environments_are_named_as_such() {
    let mut offenders = Offenders::default();
    for number in 0..2_000 {
        offenders.watch(ProjectId(1), &fields(&format!("job-{number}"), "/run"), 7, true);
        let env = format!("pr-{number}");
        offenders.watch(ProjectId(2), &Fields { env: &env, ..fields("shop", "/cart") }, 7, true);
    }
    let rows = offenders.cut();
    let of = |project| {
        most(&rows.iter().filter(|row| row.project == ProjectId(project)).cloned().collect::<Vec<_>>()).to_owned()
    };
    assert_eq!((of(1), of(2)), ("(service)".to_owned(), "(env)".to_owned()));
}

#[test]
fn the_culprit_is_named_although_its_own_series_found_a_place() {
    let mut offenders = Offenders::default();
    for number in 0..9_000 {
        offenders.watch(ProjectId(1), &fields("shop", &format!("/api/orders/{number}")), 7, false);
    }
    assert_eq!(offenders.cut(), []);
    offenders.watch(ProjectId(1), &fields("shop", "/login"), 8, true);
    let rows = offenders.cut();
    let culprit = rows.iter().find(|row| row.segment == "/api/orders/*").unwrap();
    assert!(culprit.events == 0 && culprit.distinct_values > 7_000, "{culprit:?}");
    assert_eq!(rows.iter().map(|row| row.events).sum::<u64>(), 1);
    assert_eq!(offenders.cut(), []);
}

#[test]
fn memory_is_bounded_whatever_the_routes() {
    let mut offenders = Offenders::default();
    for number in 0..30_000u64 {
        let [a, b, c] = [1, 2, 3].map(|salt| word(mix(number * 3 + salt) % 5_000));
        let service = word(number % 700);
        offenders.watch(ProjectId(1), &fields(&service, &format!("/{a}/{b}/{c}/{}", "x".repeat(400))), 7, true);
    }
    assert!(offenders.memory_bytes() < 512 << 10, "{}", offenders.memory_bytes());
    let rows = offenders.cut();
    assert!(rows.len() <= NAMES_MAX);
    assert_eq!(rows.iter().map(|row| row.events).sum::<u64>(), 30_000);
}

#[test]
fn what_was_folded_yesterday_is_reported_today() {
    let mut offenders = Offenders::default();
    offenders.watch(ProjectId(1), &fields("shop", "/orders/17"), 7, true);
    offenders.change_day();
    let rows = offenders.cut();
    assert_eq!((rows.len(), rows[0].events, rows[0].first_ms), (1, 1, 7));
    assert_eq!(offenders.cut(), []);
}

/// Letters only.
fn word(number: u64) -> String {
    number.to_string().bytes().map(|digit| char::from(b'a' + digit - b'0')).collect()
}
