use peep_wire::histogram::Histogram;
use peep_wire::record::Series;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::grouped::Question;
use crate::query::Parameters;

const PROJECT: ProjectId = ProjectId(1);
const START_S: i64 = 10_000;

fn query(parameters: &str) -> LiveQuery {
    let uri = format!("/v1/live?{parameters}").parse().expect("a test writes valid URIs");
    LiveQuery::parse(&Parameters::of(&uri).expect("valid")).expect("valid")
}

fn topic(parameters: &str, groups_max: usize) -> Topic {
    let query = query(parameters);
    let window = query.window_at(START_S * 1000);
    let question = Question {
        project: PROJECT,
        window,
        filters: query.filters.clone(),
        group_by: query.group_by.clone(),
        statuses: true,
    };
    Topic::new(query, Grouped::new(question, 1 << 20), Cursors::new(), "abc".into(), groups_max)
}

fn cell(service: &str, slot_s: i64, status: u16, durations_us: &[u64]) -> LiveCell {
    let series = Series { service, env: "default", route: "/", method: "GET", status };
    let mut histogram = Histogram::new();
    durations_us.iter().for_each(|&us| histogram.record(us));
    let count = durations_us.len() as u64;
    let errors = if status >= 500 { count } else { 0 };
    LiveCell { project: PROJECT, series: series.to_key_bytes(), slot_s, count, errors, histogram }
}

fn feed(topic: &mut Topic, cells: Vec<LiveCell>) {
    let newest_received_ms = i64::MAX / 2;
    let frame = LiveFrame { partition: 0, epoch: 1, from: 0, to: 1, published_ms: 0, newest_received_ms, cells };
    topic.advance([&frame], Cursors::new());
}

fn message(topic: &mut Topic, since: Since) -> Value {
    serde_json::from_str(&topic.message(since, START_S * 1000)).expect("messages are JSON")
}

fn row<'m>(message: &'m Value, service: &str) -> &'m Value {
    let rows = message["rows"].as_array().expect("rows");
    rows.iter().find(|row| row["key"]["service"] == service).unwrap_or_else(|| panic!("no {service} in {message}"))
}

#[test]
fn a_snapshot_tells_everything_and_a_frame_what_changed() {
    let mut topic = topic("window=60s", 10);
    feed(&mut topic, vec![cell("a", START_S - 20, 200, &[1000, 3000]), cell("b", START_S, 503, &[2000])]);
    let first = topic.publish().expect("something changed");
    let snapshot = message(&mut topic, Since::Nothing);
    assert_eq!(snapshot["type"], "snapshot");
    assert_eq!(snapshot["total"]["window"]["count"], 3);
    assert_eq!(row(&snapshot, "a")["t"], serde_json::json!([(START_S - 20) * 1000]));
    assert_eq!(row(&snapshot, "b")["window"]["error_rate"], 1.0);

    feed(&mut topic, vec![cell("a", START_S, 200, &[5000])]);
    assert_eq!(topic.publish(), Some(first + 1));
    let frame = message(&mut topic, Since::Version(first + 1));
    assert_eq!(frame["type"], "frame");
    assert_eq!(frame["rows"].as_array().map(Vec::len), Some(1));
    assert_eq!(row(&frame, "a")["t"], serde_json::json!([START_S * 1000]), "only the slot that changed");
    assert_eq!(row(&frame, "a")["count"], serde_json::json!([1]));
    assert_eq!(row(&frame, "a")["window"]["count"], 3, "the window as a whole");
    assert_eq!(frame["total"]["status"]["2xx"], serde_json::json!([1]));
    assert_eq!(topic.publish(), None);
}

#[test]
fn a_reader_that_missed_frames_gets_one_that_covers_all() {
    let mut topic = topic("window=60s", 10);
    for n in 0..5 {
        feed(&mut topic, vec![cell("a", START_S - 10 * n, 200, &[100])]);
        topic.publish();
    }
    let frame = message(&mut topic, Since::Version(2));
    assert_eq!(row(&frame, "a")["t"].as_array().map(Vec::len), Some(4));
    let resumed = message(&mut topic, Since::Resumed(5));
    assert_eq!((&resumed["type"], &resumed["resumed"]), (&Value::from("snapshot"), &Value::from(true)));
    assert_eq!(row(&resumed, "a")["t"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_leaves_the_window_is_taken_away_and_an_empty_group_is_gone() {
    let mut topic = topic("window=60s", 10);
    feed(&mut topic, vec![cell("a", START_S - 50, 200, &[9000]), cell("b", START_S, 200, &[10, 20])]);
    topic.publish();
    let before = topic.version();
    topic.slide((START_S + 10) * 1000);
    topic.publish();
    let frame = message(&mut topic, Since::Version(before));
    assert_eq!(frame["gone"], serde_json::json!([{"service": "a"}]));
    assert_eq!(frame["total"]["window"]["count"], 2);
    assert_eq!(frame["total"]["window"]["max_ms"], 0.02, "the largest of what remains");
    assert_eq!(frame["total"]["t"], serde_json::json!([]));
    topic.slide(START_S * 1000);
    assert_eq!(topic.publish(), None, "a clock that steps back changes nothing");
}

#[test]
fn a_clock_that_runs_ahead_shows_when_its_time_comes() {
    let mut topic = topic("window=60s", 10);
    feed(&mut topic, vec![cell("a", START_S + 25, 200, &[10])]);
    topic.publish();
    let snapshot = message(&mut topic, Since::Nothing);
    assert_eq!(snapshot["total"]["window"]["count"], 0);
    assert_eq!(snapshot["total"]["t"], serde_json::json!([]));
    let before = topic.version();
    topic.slide((START_S + 20) * 1000);
    topic.publish();
    let frame = message(&mut topic, Since::Version(before));
    assert_eq!(row(&frame, "a")["count"], serde_json::json!([1]));
    assert_eq!(frame["total"]["window"]["count"], 1);
}

#[test]
fn groups_beyond_the_budget_are_one_with_exact_numbers() {
    let mut topic = topic("window=60s", 3);
    feed(&mut topic, (0..6).map(|n| cell(&format!("s{n}"), START_S, 200, &vec![100; n + 1])).collect());
    topic.publish();
    let snapshot = message(&mut topic, Since::Nothing);
    assert_eq!(snapshot["rows"].as_array().map(Vec::len), Some(3));
    assert_eq!(row(&snapshot, "(other)")["window"]["count"], 3 + 4 + 5 + 6);
    assert_eq!(snapshot["total"]["window"]["count"], 21);
}

#[test]
fn detail_is_shed_before_memory_and_sums_stay() {
    let mut topic = topic("window=60s", 500);
    feed(&mut topic, (1..=100).map(|n| cell(&format!("s{n}"), START_S, 200, &vec![100; n])).collect());
    topic.publish();
    let bytes_max = topic.memory_bytes() / 3;
    topic.fit(bytes_max);
    assert!(topic.memory_bytes() <= bytes_max);
    let snapshot = message(&mut topic, Since::Nothing);
    let rows = snapshot["rows"].as_array().expect("rows");
    let sum: u64 = rows.iter().map(|row| row["window"]["count"].as_u64().expect("count")).sum();
    assert_eq!(sum, 5050);
    assert_eq!(row(&snapshot, "s100")["window"]["count"], 100, "the largest are kept");
}

#[test]
fn further_behind_than_is_remembered_means_a_snapshot() {
    let mut topic = topic("window=60s&group_by=route", 100_000);
    let routes = GONE_REMEMBERED_MAX + 10;
    let cells = |at: i64| -> Vec<LiveCell> {
        (0..routes)
            .map(|n| {
                let route = format!("/{n}");
                let series = Series { service: "s", env: "e", route: &route, method: "GET", status: 200 };
                LiveCell { series: series.to_key_bytes(), ..cell("s", at, 200, &[1]) }
            })
            .collect()
    };
    feed(&mut topic, cells(START_S - 50));
    topic.publish();
    let before = topic.version();
    topic.slide((START_S + 10) * 1000);
    topic.publish();
    assert!(!topic.can_tell_since(before));
    assert!(topic.can_tell_since(topic.version()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However cells arrive and time passes, the window is the sum of what lies in it, and applying messages gives the
    /// same picture as a fresh snapshot.
    #[test]
    fn a_window_is_the_sum_of_its_slots(
        steps in prop::collection::vec((0i64..4, prop::collection::vec((0u8..3, -80i64..15, prop::collection::vec(0u64..5_000_000, 1..4)), 0..4)), 1..30)
    ) {
        let mut topic = topic("window=60s", 10);
        let mut now_s = START_S;
        let mut arrived: Vec<(i64, Vec<u64>)> = Vec::new();
        for (pass_s, cells) in steps {
            now_s += pass_s * 5;
            topic.slide(now_s * 1000);
            let oldest_s = topic.window.from_s;
            for (service, before_s, durations_us) in &cells {
                let slot_s = now_s + before_s;
                feed(&mut topic, vec![cell(&format!("s{service}"), slot_s, 200, durations_us)]);
                if slot_s.div_euclid(10) * 10 >= oldest_s {
                    arrived.push((slot_s.div_euclid(10) * 10, durations_us.clone()));
                }
            }
            topic.publish();
            let window = topic.window;
            let mut expected = Histogram::new();
            let inside = arrived.iter().filter(|(slot, _)| (window.from_s..window.to_s).contains(slot));
            inside.flat_map(|(_, durations)| durations).for_each(|&us| expected.record(us));
            prop_assert_eq!(topic.total.sum.count, expected.count());
            prop_assert_eq!(&topic.total.sum.latency, &expected);
            let groups: u64 = topic.groups.values().map(|group| group.sum.count).sum();
            prop_assert_eq!(groups, expected.count());
        }
    }
}

/// What a reader knows after some messages: counts by service and instant.
#[derive(Default, Clone, PartialEq, Debug)]
struct Picture {
    slots: BTreeMap<(String, i64), u64>,
    seen: u64,
}

impl Picture {
    fn apply(&mut self, message: &Value, version: u64) {
        if message["type"] == "snapshot" && message["resumed"] != true {
            self.slots.clear();
        }
        for row in message["rows"].as_array().expect("rows") {
            let service = row["key"]["service"].as_str().expect("a service");
            for (t, count) in row["t"].as_array().expect("t").iter().zip(row["count"].as_array().expect("count")) {
                let key = (service.to_owned(), t.as_i64().expect("ms"));
                let count = count.as_u64().expect("a count");
                let before = self.slots.insert(key, count).unwrap_or(0);
                assert!(before <= count, "a value moved backwards within an epoch");
            }
        }
        for gone in message["gone"].as_array().into_iter().flatten() {
            self.slots.retain(|(service, _), _| service != gone["service"].as_str().expect("a service"));
        }
        self.seen = version;
    }

    /// What is still inside of the window.
    fn shown(&self, from_s: i64) -> BTreeMap<(String, i64), u64> {
        self.slots.clone().into_iter().filter(|((_, t), _)| *t >= from_s * 1000).collect()
    }
}

proptest! {
    /// Whatever versions a reader misses, and whether it was slow or away, it ends where one that saw all of them does.
    #[test]
    fn a_reader_that_resumes_anywhere_ends_with_the_same_picture(
        steps in proptest::collection::vec((0..4u8, 0..6i64, 0..3u8, any::<bool>()), 1..60),
    ) {
        let mut topic = topic("window=60s", 10);
        let mut now_s = START_S;
        let (mut steady, mut other) = (Picture::default(), Picture::default());
        steady.apply(&message(&mut topic, Since::Nothing), topic.version());
        other.apply(&message(&mut topic, Since::Nothing), topic.version());
        for (service, age, what, reads) in steps {
            if what == 0 {
                now_s += 10;
                topic.slide(now_s * 1000);
            } else {
                feed(&mut topic, vec![cell(&format!("s{service}"), now_s - 10 * age, 200, &[100])]);
            }
            if let Some(since) = topic.publish() {
                let frame = message(&mut topic, Since::Version(since));
                steady.apply(&frame, topic.version());
            }
            if reads {
                let since = match topic.can_tell_since(other.seen) {
                    true if what == 1 => Since::Resumed(topic.a_little_before(other.seen)),
                    true => Since::Version(topic.a_little_before(other.seen)),
                    false => Since::Nothing,
                };
                let caught_up = message(&mut topic, since);
                other.apply(&caught_up, topic.version());
                let from_s = topic.window.from_s;
                prop_assert_eq!(other.shown(from_s), steady.shown(from_s));
            }
        }
    }
}

#[test]
fn those_who_missed_about_as_much_are_told_the_same() {
    let mut topic = topic("window=60s", 10);
    for _ in 0..100 {
        feed(&mut topic, vec![cell("a", START_S, 200, &[100])]);
        topic.publish();
    }
    let now = topic.version();
    assert_eq!(topic.a_little_before(now), now, "nothing was missed");
    assert_eq!(topic.a_little_before(now - 1), now - 1);
    let mut told: Vec<u64> = (1..=now).map(|version| topic.a_little_before(version)).collect();
    assert!(told.iter().zip(1..).all(|(told, version)| *told <= version && topic.can_tell_since(*told)));
    told.dedup();
    assert!(told.len() <= 9, "as many as 101 has binary digits, and one that missed nothing: {told:?}");
}
