use std::collections::BTreeMap;

use peep_log::Offset;
use peep_wire::event::Event;
use proptest::prelude::*;

use super::*;
use crate::Config;
use crate::partition::{Cut, Partition, PartitionLimits};
use crate::testing::{NOW_MS, batch, event, record};

const DAY_MS: i64 = 86_400_000;

fn partition(per_scope_max: usize, total_max: usize) -> Partition {
    let env = BTreeMap::<String, String>::new();
    let config = Config::read(&mut peep_chassis::config::Settings::new(&env));
    let facets = FacetLimits { per_scope_max, total_max };
    Partition::new(0, Offset(0), PartitionLimits { facets, ..config.partition_limits(1) })
}

fn from<'a>(version: Option<&'a str>, host: Option<&'a str>) -> Event<'a> {
    Event { version, host, ..event("shop", "/", NOW_MS, 1_000) }
}

fn apply(partition: &mut Partition, log_ms: i64, events: &[Event<'_>]) {
    let next = partition.next().0;
    partition.apply(&record(next, log_ms, batch(log_ms, events))).unwrap();
}

/// The log's time never leaps: a day comes hour by hour.
fn wait_until(partition: &mut Partition, log_ms: i64) {
    while partition.log_ms() < log_ms {
        apply(partition, log_ms, &[]);
    }
}

fn flush(partition: &mut Partition) -> Cut {
    partition.publish(1, NOW_MS);
    partition.cut().unwrap()
}

/// Counts by kind and value.
fn counts(cut: &Cut) -> BTreeMap<(FacetKind, &str), u64> {
    let mut counts = BTreeMap::new();
    for piece in &cut.facets.pieces {
        *counts.entry((piece.facet.kind, &*piece.facet.value)).or_default() += piece.cell.count;
    }
    counts
}

#[test]
fn an_event_is_counted_once_in_its_version_and_once_on_its_host() {
    let mut partition = partition(9, 99);
    let events = [from(Some("v1"), Some("a")), from(Some("v2"), Some("a")), from(None, Some("b")), from(None, None)];
    apply(&mut partition, NOW_MS, &events);
    let cut = flush(&mut partition);
    let expected = [
        ((FacetKind::Version, ""), 2),
        ((FacetKind::Version, "v1"), 1),
        ((FacetKind::Version, "v2"), 1),
        ((FacetKind::Host, ""), 1),
        ((FacetKind::Host, "a"), 2),
        ((FacetKind::Host, "b"), 1),
    ];
    assert_eq!(counts(&cut), BTreeMap::from(expected));
}

#[test]
fn a_release_begins_with_its_first_event_whenever_that_arrives() {
    let mut partition = partition(9, 99);
    let ended = |ended_ms| Event { ended_ms, ..from(Some("v1"), None) };
    apply(&mut partition, NOW_MS, &[ended(NOW_MS - 500), ended(NOW_MS - 90_000), ended(NOW_MS - 20)]);
    let cut = flush(&mut partition);
    let seen = |cut: &Cut| -> Vec<_> {
        let versions = cut.facets.seen.iter().filter(|seen| seen.facet.kind == FacetKind::Version);
        versions.map(|seen| (seen.facet.value.to_string(), seen.first_ms, seen.last_ms)).collect()
    };
    assert_eq!(seen(&cut), [("v1".to_owned(), NOW_MS - 90_000, NOW_MS - 20)]);
    // Only what is new since then.
    apply(&mut partition, NOW_MS, &[Event { ended_ms: NOW_MS - 7, ..from(Some("v2"), None) }]);
    assert_eq!(seen(&flush(&mut partition)), [("v2".to_owned(), NOW_MS - 7, NOW_MS - 7)]);
}

#[test]
fn hosts_beyond_the_budget_are_counted_together_until_yesterdays_are_forgotten() {
    let mut partition = partition(2, 99);
    let hosts = |hosts: &[&'static str]| hosts.iter().map(|host| from(None, Some(host))).collect::<Vec<_>>();
    let of_hosts = |cut: &Cut| -> Vec<_> {
        let all = counts(cut).into_iter().filter(|((kind, _), _)| *kind == FacetKind::Host);
        all.map(|((_, value), count)| (value.to_owned(), count)).collect()
    };
    apply(&mut partition, NOW_MS, &hosts(&["a", "b", "c", "a", "d"]));
    assert_eq!(of_hosts(&flush(&mut partition)), [("(other)".into(), 2), ("a".into(), 2), ("b".into(), 1)]);
    // The next day "b" is still there, so one place is taken by it and one by "a".
    wait_until(&mut partition, NOW_MS + DAY_MS);
    apply(&mut partition, NOW_MS + DAY_MS, &hosts(&["b", "c"]));
    assert_eq!(of_hosts(&flush(&mut partition)), [("(other)".into(), 1), ("b".into(), 1)]);
    // Another day later only what was seen yesterday is known.
    wait_until(&mut partition, NOW_MS + 2 * DAY_MS);
    apply(&mut partition, NOW_MS + 2 * DAY_MS, &hosts(&["c", "a", "b"]));
    assert_eq!(of_hosts(&flush(&mut partition)), [("(other)".into(), 1), ("b".into(), 1), ("c".into(), 1)]);
}

#[test]
fn a_service_with_many_hosts_leaves_another_service_its_place() {
    let mut partition = partition(3, 99);
    let names: Vec<String> = (0..50).map(|number| format!("pod-{number}")).collect();
    let pods: Vec<_> = names.iter().map(|name| from(None, Some(name))).collect();
    apply(&mut partition, NOW_MS, &pods);
    let other = Event { host: Some("web-1"), ..event("cart", "/", NOW_MS, 1) };
    apply(&mut partition, NOW_MS, &[other]);
    let cut = flush(&mut partition);
    let pieces = cut.facets.pieces.iter().filter(|piece| piece.facet.kind == FacetKind::Host);
    let named: Vec<_> = pieces.map(|piece| (&*piece.facet.service, &*piece.facet.value, piece.cell.count)).collect();
    let expected = [
        ("shop", "pod-0", 1),
        ("shop", "pod-1", 1),
        ("shop", "pod-2", 1),
        ("shop", "(other)", 47),
        ("cart", "web-1", 1),
    ];
    assert_eq!(named, expected);
}

#[test]
fn what_postgres_cannot_hold_is_replaced_and_counted() {
    let mut partition = partition(9, 99);
    apply(&mut partition, NOW_MS, &[from(Some("v\u{0}1"), Some("(other)"))]);
    let cut = flush(&mut partition);
    let expected = [((FacetKind::Version, "v\u{fffd}1"), 1), ((FacetKind::Host, "(other)"), 1)];
    assert_eq!(counts(&cut), BTreeMap::from(expected));
    assert_eq!(cut.facets.budgets.len(), 1, "what needs no place takes none");
}

#[test]
fn a_storm_of_names_is_forgotten_with_the_flush() {
    let mut partition = partition(100, 1_000);
    let names: Vec<String> = (0..40_000).map(|number| format!("{number:0200}")).collect();
    for names in names.chunks(1_000) {
        let events: Vec<_> = names.iter().map(|name| from(Some(name), Some(name))).collect();
        apply(&mut partition, NOW_MS, &events);
    }
    // Each of them was looked up once; the spelling of no more than so many is kept.
    assert!(partition.memory_bytes() < 64 << 20, "{}", partition.memory_bytes());
    let cut = flush(&mut partition);
    assert_eq!(cut.facets.pieces.len(), 2 * 101);
    assert!(cut.balances());
    partition.shrink();
    assert!(partition.memory_bytes() < 1 << 20, "{}", partition.memory_bytes());
}

#[derive(Debug, Clone)]
struct Sent {
    service: usize,
    route: usize,
    version: usize,
    host: usize,
    age_ms: i64,
    duration_us: Option<u64>,
    failed: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    let durations = prop_oneof![1 => Just(None), 6 => (0u64..200_000_000).prop_map(Some)];
    let place = (0usize..2, 0usize..3, 0usize..3, 0usize..4);
    (place, 0i64..40_000, durations, any::<bool>()).prop_map(
        |((service, route, version, host), age_ms, duration_us, failed)| Sent {
            service,
            route,
            version,
            host,
            age_ms,
            duration_us,
            failed,
        },
    )
}

const SERVICES: [&str; 2] = ["shop", "cart"];
const ROUTES: [&str; 3] = ["/", "/a", "/b"];
const VERSIONS: [Option<&str>; 3] = [None, Some("v1"), Some("v2")];
const HOSTS: [Option<&str>; 4] = [None, Some("a"), Some("b"), Some("ab")];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Runs of one host and events all mixed up; small and large cells; published now and then.
    #[test]
    fn facets_are_what_the_events_say_and_add_up_to_their_service(
        batches in prop::collection::vec((prop::collection::vec(sent(), 0..60), any::<bool>(), any::<bool>()), 1..12),
    ) {
        let mut partition = partition(9, 99);
        let mut expected: BTreeMap<(FacetKind, &str, &str, i64), Cell> = BTreeMap::new();
        for (batch, is_of_one_host, publish) in &batches {
            let events: Vec<Event<'_>> = batch.iter().map(|sent| {
                let first = if *is_of_one_host { &batch[0] } else { sent };
                Event {
                    status: if sent.failed { 500 } else { 200 },
                    duration_us: sent.duration_us,
                    version: VERSIONS[first.version],
                    host: HOSTS[first.host],
                    ..event(SERVICES[first.service], ROUTES[sent.route], NOW_MS - sent.age_ms, 0)
                }
            }).collect();
            apply(&mut partition, NOW_MS, &events);
            for event in &events {
                let window_s = (event.ended_ms / 10_000) * 10;
                for (kind, value) in [(FacetKind::Version, event.version), (FacetKind::Host, event.host)] {
                    let key = (kind, event.service, value.unwrap_or_default(), window_s);
                    expected.entry(key).or_default().record(event.duration_us, event.status == 500);
                }
            }
            if *publish {
                partition.publish(1, NOW_MS);
            }
        }
        let cut = flush(&mut partition);
        let found: BTreeMap<_, _> = cut.facets.pieces.iter().map(|piece| {
            ((piece.facet.kind, &*piece.facet.service, &*piece.facet.value, piece.window_s), piece.cell.clone())
        }).collect();
        prop_assert_eq!(cut.facets.pieces.len(), found.len(), "each facet and window once");
        prop_assert_eq!(&found, &expected);
        // By service and window, the facets of either kind are the series.
        let mut of_series: BTreeMap<(&str, i64), Cell> = BTreeMap::new();
        for piece in &cut.pieces {
            of_series.entry((piece.series.fields().service, piece.window_s)).or_default().merge(&piece.cell);
        }
        for wanted in FacetKind::ALL {
            let mut of_facets: BTreeMap<(&str, i64), Cell> = BTreeMap::new();
            for ((kind, service, _, window_s), cell) in &found {
                if *kind == wanted {
                    of_facets.entry((service, *window_s)).or_default().merge(cell);
                }
            }
            prop_assert_eq!(&of_facets, &of_series);
        }
        prop_assert!(cut.balances());
    }
}
