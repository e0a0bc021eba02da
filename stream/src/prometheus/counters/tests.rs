use std::time::Duration;

use peep_wire::live::LiveCell;
use peep_wire::record::Series;
use proptest::prelude::*;

use super::*;

const NOW_MS: i64 = 1_795_183_205_000;

fn counters(sets_max: usize, zero_for_ms: u64) -> Counters {
    let mut counters = unnamed(sets_max, zero_for_ms);
    counters.name_projects((0..20).map(|id| (id, id.to_string())));
    counters
}

fn unnamed(sets_max: usize, zero_for_ms: u64) -> Counters {
    Counters::new(PrometheusLimits { sets_max, zero_for: Duration::from_millis(zero_for_ms) })
}

fn cell(project: u64, service: &str, route: &str, status: u16, durations_us: &[u64]) -> LiveCell {
    let series = Series { service, env: "prod", route, method: "GET", status }.to_key_bytes();
    let mut histogram = Histogram::new();
    durations_us.iter().for_each(|&us| histogram.record(us));
    let count = durations_us.len() as u64;
    let errors = if status >= 500 { count } else { 0 };
    LiveCell { project: ProjectId(project), series, slot_s: NOW_MS / 1000, count, errors, histogram }
}

fn frame(cells: Vec<LiveCell>) -> LiveFrame {
    LiveFrame { partition: 0, epoch: 1, from: 0, to: 1, published_ms: 0, newest_received_ms: 0, cells }
}

/// Name, labels and value of each sample, read by the grammar of the format and not by what wrote it.
fn samples(text: &str) -> Vec<(String, BTreeMap<String, String>, f64)> {
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (name, rest) = line.split_once('{').expect("labels");
    let mut labels = BTreeMap::new();
    let mut letters = rest.chars();
    loop {
        let label: String = letters.by_ref().take_while(|&letter| letter != '=').collect();
        assert_eq!(letters.next(), Some('"'), "{line}");
        let mut value = String::new();
        loop {
            match letters.next().expect("a closing quote") {
                '"' => break,
                '\\' => value.push(match letters.next().expect("something is escaped") {
                    'n' => '\n',
                    letter @ ('"' | '\\') => letter,
                    other => panic!("\\{other} in {line}"),
                }),
                letter => value.push(letter),
            }
        }
        assert_eq!(labels.insert(label, value), None, "a label twice: {line}");
        match letters.next() {
            Some(',') => {}
            Some('}') => break,
            other => panic!("{other:?} in {line}"),
        }
    }
    let value = letters.as_str().trim_start().split(" # ").next().expect("a value");
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("no number in {line}")))
}

fn written(counters: &mut Counters, format: Format, now_ms: i64) -> String {
    let mut text = String::new();
    counters.write(format, &mut text, now_ms);
    text
}

/// The value of a sample whose labels include these.
fn value(text: &str, name: &str, wanted: &[(&str, &str)]) -> f64 {
    let matches = |labels: &BTreeMap<String, String>| {
        wanted.iter().all(|(label, value)| labels.get(*label).is_some_and(|found| found == value))
    };
    let found: Vec<f64> = samples(text)
        .into_iter()
        .filter(|(sample, labels, _)| sample == name && matches(labels))
        .map(|(_, _, value)| value)
        .collect();
    assert_eq!(found.len(), 1, "{name} {wanted:?} in {text}");
    found[0]
}

#[test]
fn a_new_label_set_shows_zero_before_it_shows_what_it_counted() {
    let mut counters = counters(100, 30_000);
    counters.add_frame(&frame(vec![cell(1, "shop", "/buy", 200, &[1000; 7])]), NOW_MS);
    let shown = |counters: &mut Counters, now_ms| {
        value(&written(counters, Format::Text, now_ms), "http_server_requests_total", &[("http_route", "/buy")])
    };
    assert_eq!(shown(&mut counters, NOW_MS), 0.0);
    assert_eq!(shown(&mut counters, NOW_MS + 29_999), 0.0, "a second scraper has to see it as well");
    assert_eq!(shown(&mut counters, NOW_MS + 30_000), 7.0);
    counters.add_frame(&frame(vec![cell(1, "shop", "/buy", 200, &[1000; 2])]), NOW_MS);
    assert_eq!(shown(&mut counters, NOW_MS + 30_001), 9.0, "one that is known is not held back");
}

#[test]
fn without_a_pause_zero_is_shown_to_one_scrape() {
    let mut counters = counters(100, 0);
    counters.add_frame(&frame(vec![cell(1, "shop", "/buy", 200, &[1000; 7])]), NOW_MS);
    let name = "http_server_request_duration_seconds_count";
    assert_eq!(value(&written(&mut counters, Format::Text, NOW_MS), name, &[]), 0.0);
    assert_eq!(value(&written(&mut counters, Format::Text, NOW_MS), name, &[]), 7.0);
}

#[test]
fn a_bound_holds_durations_that_are_exactly_it() {
    let mut counters = counters(100, 0);
    counters
        .add_frame(&frame(vec![cell(1, "shop", "/", 200, &[5_000, 250_000, 250_000, 10_000_000, 10_020_000])]), NOW_MS);
    written(&mut counters, Format::Text, NOW_MS);
    let text = written(&mut counters, Format::Text, NOW_MS);
    let below = |bound: &str| value(&text, "http_server_request_duration_seconds_bucket", &[("le", bound)]);
    assert_eq!([below("0.005"), below("0.1"), below("0.25"), below("10"), below("+Inf")], [1.0, 1.0, 3.0, 4.0, 5.0]);
    assert_eq!(value(&text, "http_server_request_duration_seconds_sum", &[]), 20.525);
    let text = written(&mut counters, Format::OpenMetrics, NOW_MS);
    assert_eq!(value(&text, "http_server_request_duration_seconds_bucket", &[("le", "10.0")]), 4.0);
    assert!(text.contains("# TYPE http_server_requests counter"), "{text}");
}

#[test]
fn beyond_the_bound_a_route_is_other_and_every_request_is_counted() {
    let mut counters = counters(40, 0);
    let mut count = |service: String, route: String| {
        counters.add_frame(&frame(vec![cell(1, &service, &route, 200, &[1000])]), NOW_MS);
    };
    (0..1000).for_each(|number| count(format!("service-{}", number % 5), format!("/{number}")));
    (0..100).for_each(|number| count(format!("late-{number}"), "/".into()));
    written(&mut counters, Format::Text, NOW_MS);
    let text = written(&mut counters, Format::Text, NOW_MS);
    let counted: Vec<_> =
        samples(&text).into_iter().filter(|(name, _, _)| name == "http_server_requests_total").collect();
    assert_eq!(counted.iter().map(|(_, _, value)| value).sum::<f64>(), 1100.0);
    assert!(counted.len() <= 40 + StatusClass::COUNT, "{} label sets", counted.len());
    let of =
        |service, route| value(&text, "http_server_requests_total", &[("service", service), ("http_route", route)]);
    assert_eq!([of("service-0", "/0"), of("service-0", "(other)")], [1.0, 194.0], "six of its routes had room");
    assert_eq!([of("late-4", "(other)"), of("(other)", "(other)")], [1.0, 95.0], "five services had room");
}

#[test]
fn routes_that_went_quiet_make_room() {
    let mut counters = counters(4, 0);
    for number in 0..3 {
        counters.add_frame(&frame(vec![cell(1, "old", &format!("/{number}"), 200, &[1])]), NOW_MS);
    }
    let later_ms = NOW_MS + IDLE_MS_MAX + 1;
    counters.add_frame(&frame(vec![cell(1, "new", "/", 200, &[1])]), later_ms);
    counters.forget_idle(later_ms);
    counters.add_frame(&frame(vec![cell(1, "new", "/", 200, &[1])]), later_ms);
    written(&mut counters, Format::Text, later_ms);
    let text = written(&mut counters, Format::Text, later_ms);
    assert!(!text.contains("service=\"old\""), "{text}");
    assert_eq!(value(&text, "http_server_requests_total", &[("service", "new"), ("http_route", "/")]), 1.0);
}

#[test]
fn a_project_has_the_name_that_people_know_and_begins_at_0_under_it() {
    let mut counters = unnamed(100, 0);
    counters.add_frame(&frame(vec![cell(7, "shop", "/", 200, &[1]), cell(8, "gone", "/", 200, &[1])]), NOW_MS);
    assert!(counters.has_unnamed_projects());
    assert!(!written(&mut counters, Format::Text, NOW_MS).contains("http_route"), "under no other name before");
    counters.name_projects([(7, "a \"name\"".to_owned())]);
    assert!(!counters.has_unnamed_projects());
    let of = |text: &str, project| value(text, "http_server_requests_total", &[("project", project)]);
    let [first, second] = [0, 1].map(|_| written(&mut counters, Format::Text, NOW_MS));
    assert_eq!((of(&first, "a \"name\""), of(&second, "a \"name\"")), (0.0, 1.0));
    assert_eq!(of(&second, "8"), 1.0, "a project that is gone");
}

#[test]
fn a_bucket_shows_the_newest_event_that_lies_in_it_and_only_where_the_format_has_room() {
    let mut counters = counters(100, 0);
    counters.add_frame(&frame(vec![cell(1, "shop", "/", 200, &[300_000])]), NOW_MS);
    let labels = Labels { env: "prod", service: "shop", route: "/", method: "GET", status: 204, version: "", host: "" };
    let set = LabelSet::of(ProjectId(1), &labels);
    let exemplar = |byte, ts_ms| Exemplar { trace_id: [byte; 16], duration_us: 300_000, ts_ms };
    counters.show(&set, exemplar(0xab, NOW_MS));
    counters.show(&set, exemplar(0xcd, NOW_MS - 5));
    assert!(!written(&mut counters, Format::OpenMetrics, NOW_MS).contains("trace_id"), "not with a 0");
    let text = written(&mut counters, Format::OpenMetrics, NOW_MS);
    let shown: Vec<&str> = text.lines().filter(|line| line.contains("trace_id")).collect();
    assert_eq!(shown.len(), 1, "{text}");
    let end = format!("le=\"0.5\"}} 1 # {{trace_id=\"{}\"}} 0.3 1795183205", "ab".repeat(16));
    assert!(shown[0].ends_with(&end), "{}", shown[0]);
    assert!(!written(&mut counters, Format::Text, NOW_MS).contains("trace_id"));
}

proptest! {
    #[test]
    fn any_text_in_a_label_comes_out_as_it_went_in(route in "[^\0]{1,40}", env in r#"[\\"\nn{},= #é]{1,20}"#) {
        let mut counters = counters(100, 0);
        let labels = Labels { env: &env, service: "shop", route: &route, method: "", status: 503, version: "", host: "" };
        counters.add(LabelSet::of(ProjectId(1), &labels), 3, 1, &Histogram::new(), NOW_MS);
        for format in [Format::Text, Format::OpenMetrics] {
            let text = written(&mut counters, format, NOW_MS);
            let own: Vec<&str> = text.split('\n').filter(|line| line.starts_with("http_server_requests_total")).collect();
            prop_assert_eq!(own.len(), 1);
            let (_, labels, _) = sample(own[0]);
            prop_assert_eq!((&labels["http_route"], &labels["env"]), (&route, &env));
            prop_assert_eq!(&labels["http_response_status_code"], "5xx");
        }
    }

    #[test]
    fn counts_are_those_of_the_durations_and_never_shrink(
        batches in prop::collection::vec(prop::collection::vec(0u64..12_000_000, 1..30), 1..8),
    ) {
        let mut counters = counters(100, 0);
        let mut seen: Vec<u64> = Vec::new();
        let mut before: Option<Vec<f64>> = None;
        for batch in batches {
            counters.add_frame(&frame(vec![cell(1, "shop", "/", 200, &batch)]), NOW_MS);
            seen.extend(&batch);
            let text = written(&mut counters, Format::Text, NOW_MS);
            let text = if before.is_none() { written(&mut counters, Format::Text, NOW_MS) } else { text };
            let now: Vec<f64> = samples(&text).into_iter().map(|(_, _, value)| value).collect();
            if let Some(before) = &before {
                prop_assert!(before.iter().zip(&now).all(|(before, now)| before <= now));
            }
            for (index, bound_us) in BOUNDS_US.into_iter().enumerate() {
                // A histogram's bucket is narrower than 1/1024 of its values.
                let exact = |limit_us: u64| seen.iter().filter(|us| **us <= limit_us).count() as f64;
                prop_assert!((exact(bound_us)..=exact(bound_us + bound_us / 1000)).contains(&now[index]), "{bound_us}");
            }
            prop_assert_eq!(now[BOUNDS_US.len()], seen.len() as f64);
            before = Some(now);
        }
    }
}
