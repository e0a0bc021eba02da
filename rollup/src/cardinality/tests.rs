use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const DAY: i64 = DAY_MS;
const LIMITS: SeriesLimits = SeriesLimits { series_max: 10, total_max: 1000, folds_max: 4 };

/// A partition as far as its series go, and what a store would keep of it.
struct Counted {
    table: SeriesTable,
    cardinality: Cardinality,
    limits: SeriesLimits,
    stored: Vec<SeenSeries>,
    log_ms: i64,
}

impl Counted {
    fn new(limits: SeriesLimits) -> Self {
        let cardinality = Cardinality::new(limits);
        Self { table: SeriesTable::default(), cardinality, limits, stored: Vec::new(), log_ms: 0 }
    }

    fn place(&mut self, project: u64, fields: Fields<'_>) -> (Fields<'_>, bool) {
        self.cardinality.advance(self.log_ms, &mut self.table);
        let key = fields.to_key_bytes();
        let place = self.place_key(project, &key).unwrap();
        (self.table.get(place.series).fields(), place.folded)
    }

    fn place_key(&mut self, project: u64, key: &[u8]) -> Result<Place, InvalidKey> {
        let hash = self.table.hash(ProjectId(project), key);
        self.cardinality.place(&mut self.table, hash, ProjectId(project), key)
    }

    fn cut(&mut self) -> Vec<Overflow> {
        let (seen, overflow) = self.cardinality.cut();
        self.stored.extend(seen);
        self.table.sweep();
        overflow
    }

    fn restart(&mut self) {
        self.cut();
        self.table = SeriesTable::default();
        self.cardinality = Cardinality::restored(self.limits, self.log_ms, self.stored.clone());
    }
}

fn get(route: &str, status: u16) -> Fields<'_> {
    Fields { service: "shop", env: "default", route, method: "GET", status }
}

#[test]
fn beyond_the_budget_events_keep_service_method_and_class() {
    let mut counted = Counted::new(LIMITS);
    for number in 0..10 {
        assert!(!counted.place(1, get(&format!("/{number}"), 200)).1);
    }
    assert_eq!(counted.place(1, get("/one-more", 201)), (get(OTHER, 200), true));
    assert_eq!(counted.place(1, get("/one-more", 599)), (get(OTHER, 500), true));
    assert_eq!(counted.place(1, get("/one-more", 0)), (get(OTHER, 0), true));
    assert_eq!(counted.place(1, get("/7", 200)), (get("/7", 200), false));
    assert_eq!(counted.place(2, get("/one-more", 201)), (get("/one-more", 201), false));
}

#[test]
fn errors_stay_errors_and_the_others_stay_none() {
    let mut counted = Counted::new(SeriesLimits { series_max: 0, ..LIMITS });
    for status in [0, 99, 100, 204, 404, 499, 500, 503, 599, 777] {
        let key = get("/", status).to_key_bytes();
        let place = counted.place_key(1, &key).unwrap();
        assert_eq!((place.folded, counted.table.is_failed(place.series)), (true, status >= 500), "{status}");
    }
}

#[test]
fn exploding_services_end_in_six_series() {
    let mut counted = Counted::new(LIMITS);
    for number in 0..100 {
        let service = format!("job-{number}");
        let sent = Fields { service: &service, env: "prod", route: "/", method: "POST", status: 404 };
        let (fields, folded) = counted.place(1, sent);
        let expected = match number {
            0..10 => sent,
            10..14 => Fields { route: OTHER, status: 400, ..sent },
            _ => Fields { service: OTHER, env: OTHER, route: OTHER, method: "", status: 400 },
        };
        assert_eq!((fields, folded), (expected, number >= 10));
    }
    assert_eq!(counted.cardinality.len(), 14);
}

#[test]
fn a_place_is_free_again_two_days_after_its_series_was_last_seen() {
    let mut counted = Counted::new(LIMITS);
    for number in 0..10 {
        counted.place(1, get(&format!("/{number}"), 200));
    }
    counted.log_ms = DAY;
    assert!(!counted.place(1, get("/3", 200)).1);
    assert!(counted.place(1, get("/new", 200)).1);
    counted.log_ms = 2 * DAY;
    assert!(!counted.place(1, get("/new", 200)).1, "of yesterday only /3 and an (other) are left");
    assert_eq!(counted.cardinality.len(), 3);
    // Still in the table of series, but no longer seen.
    for number in 10..17 {
        counted.place(1, get(&format!("/{number}"), 200));
    }
    assert!(counted.place(1, get("/5", 200)).1);
}

#[test]
fn all_projects_together_have_a_limit_too() {
    let mut counted = Counted::new(SeriesLimits { series_max: 10, total_max: 15, folds_max: 1 });
    for number in 0..10 {
        counted.place(1, get(&format!("/{number}"), 200));
    }
    let folded: Vec<bool> = (0..7).map(|number| counted.place(2, get(&format!("/{number}"), 200)).1).collect();
    assert_eq!(folded, [false, false, false, false, false, true, true]);
    assert!(!counted.place(1, get("/3", 200)).1);
    assert_eq!(counted.cardinality.len(), 16);
}

#[test]
fn a_key_that_is_no_key_takes_no_place() {
    let mut counted = Counted::new(LIMITS);
    let refused = counted.place_key(1, b"nonsense");
    assert_eq!((refused, counted.cardinality.len()), (Err(InvalidKey), 0));
}

#[test]
fn a_quiet_flush_writes_nothing_and_a_busy_one_only_what_is_new() {
    let mut counted = Counted::new(LIMITS);
    counted.place(1, get("/a", 200));
    counted.place(1, get("/b", 200));
    counted.cut();
    assert_eq!(counted.stored.iter().map(|seen| seen.hashes.len()).collect::<Vec<_>>(), [2]);
    counted.place(1, get("/b", 200));
    counted.cut();
    assert_eq!(counted.stored.len(), 1);
    counted.log_ms = DAY;
    counted.place(1, get("/b", 200));
    counted.cut();
    assert_eq!((counted.stored[1].day, counted.stored[1].hashes.len()), (1, 1));
}

#[test]
fn an_explosion_of_routes_holds_little_memory_and_names_the_segment() {
    let limits = SeriesLimits { series_max: 10_000, total_max: 100_000, folds_max: 1_000 };
    let mut counted = Counted::new(limits);
    let mut folded = 0;
    for number in 0..EXPLOSION {
        // What a person would have written as /api/orders/{id}/items.
        let route = format!("/api/orders/{:016x}/items", peep_wire::hash::mix(number));
        folded += u64::from(counted.place(1, get(&route, 200)).1);
        if number % 50_000 == 0 {
            let bytes = counted.cardinality.memory_bytes() + counted.table.memory_bytes();
            assert!(bytes < 8 << 20, "after {number}: {bytes}");
        }
    }
    assert_eq!(folded, EXPLOSION - 10_000);
    let overflow = counted.cut();
    assert_eq!(overflow.len(), 1);
    let Overflow { segment, events, distinct_values, example, .. } = &overflow[0];
    assert_eq!((segment.as_str(), *events), ("/api/orders/*", folded));
    assert!(example.starts_with("/api/orders/") && !example.ends_with("/items"), "{example}");
    assert!(distinct_values.abs_diff(EXPLOSION) < EXPLOSION / 3, "{distinct_values}");
    assert!(counted.cardinality.memory_bytes() < 2 << 20, "{}", counted.cardinality.memory_bytes());
}

/// Ten million in a release build take the same memory; see `benches/`.
const EXPLOSION: u64 = if cfg!(debug_assertions) { 120_000 } else { 10_000_000 };

/// The rules as they are written, with keys instead of hashes and without any shortcut.
#[derive(Default)]
struct Model {
    day: i64,
    today: BTreeSet<(u64, Vec<u8>)>,
    before: BTreeSet<(u64, Vec<u8>)>,
}

impl Model {
    fn see(&mut self, project: u64, key: &[u8], limits: SeriesLimits, extra: usize) -> bool {
        let one = (project, key.to_vec());
        let both: BTreeSet<_> = self.today.union(&self.before).collect();
        let of_project = both.iter().filter(|(of, _)| *of == project).count();
        let has_room = of_project < limits.series_max + extra && both.len() < limits.total_max + extra;
        let is_known = both.contains(&one);
        if is_known || has_room {
            self.today.insert(one);
        }
        is_known || has_room
    }

    fn place(&mut self, project: u64, fields: Fields<'_>, log_ms: i64, limits: SeriesLimits) -> Vec<u8> {
        let day = log_ms / DAY;
        if day != self.day {
            self.before = std::mem::take(&mut self.today);
            if day != self.day + 1 {
                self.before.clear();
            }
            self.day = day;
        }
        let key = fields.to_key_bytes();
        let status = match fields.status {
            500.. => 500,
            status => status / 100 * 100,
        };
        let last = Fields { service: OTHER, env: OTHER, route: OTHER, method: "", status }.to_key_bytes();
        let fold = Fields { route: OTHER, status, ..fields }.to_key_bytes();
        if key == last || self.see(project, &key, limits, 0) {
            key
        } else if self.see(project, &fold, limits, limits.folds_max) {
            fold
        } else {
            last
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Event { project: u64, service: u8, route: u8, status: u16 },
    Wait { hours: i64 },
    Cut,
    Restart,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop_oneof![Just(200u16), Just(204), Just(503), Just(0)];
    let event = (1u64..4, 0u8..4, 0u8..8, status).prop_map(|(project, service, route, status)| Step::Event {
        project,
        service,
        route,
        status,
    });
    let hours = prop_oneof![4 => 1i64..14, 1 => 24i64..80];
    prop_oneof![
        30 => event,
        2 => hours.prop_map(|hours| Step::Wait { hours }),
        2 => Just(Step::Cut),
        1 => Just(Step::Restart),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_same_log_gives_the_same_series_whatever_the_cuts_and_restarts(
        steps in prop::collection::vec(step(), 1..300),
        series_max in 0usize..12,
        total_max in 3usize..24,
        folds_max in 0usize..4,
    ) {
        let limits = SeriesLimits { series_max, total_max, folds_max };
        let mut counted = Counted::new(limits);
        let mut uncut = Counted::new(limits);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Event { project, service, route, status } => {
                    // Among them the names that folding gives, from a client that chose to send them.
                    let service = [OTHER, "shop", "jobs", "mail"][usize::from(service)];
                    let env = if service == OTHER { OTHER } else { "default" };
                    let route = [OTHER, "/a", "/b", "/c", "/d", "/e", "/f", "/g"][usize::from(route)];
                    let method = if service == OTHER { "" } else { "GET" };
                    let sent = Fields { service, env, route, method, status };
                    let expected = model.place(project, sent, counted.log_ms, limits);
                    for counted in [&mut counted, &mut uncut] {
                        let (fields, folded) = counted.place(project, sent);
                        prop_assert_eq!(fields.to_key_bytes(), expected.clone());
                        prop_assert_eq!(folded, fields != sent);
                        let both: BTreeSet<_> = model.today.union(&model.before).collect();
                        prop_assert_eq!(counted.cardinality.len(), both.len());
                        let cardinality = &counted.cardinality;
                        let (total, bytes) = (cardinality.total, cardinality.bytes);
                        counted.cardinality.add_up();
                        prop_assert_eq!((total, bytes), (counted.cardinality.total, counted.cardinality.bytes));
                    }
                }
                Step::Wait { hours } => {
                    counted.log_ms += hours * DAY / 24;
                    uncut.log_ms = counted.log_ms;
                }
                Step::Cut => drop(counted.cut()),
                Step::Restart => {
                    // A cursor's time is that of its last record.
                    counted.cardinality.advance(counted.log_ms, &mut counted.table);
                    let before = counted.cardinality.seen();
                    counted.restart();
                    prop_assert_eq!(counted.cardinality.seen(), before);
                }
                Step::Clear => {
                    counted.cut();
                    counted.table.clear();
                }
            }
        }
    }
}
