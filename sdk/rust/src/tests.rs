//! What all SDKs agree on: `sdk/fixtures`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value as Json;

use crate::Config;
use crate::answer::{self, Verdict};
use crate::event::{Event, Stamp, Value, head};
use crate::grpc::Methods;
use crate::identity::Producer;
use crate::lines::Lines;
use crate::queue::Queue;
use crate::{backoff, trace};

fn fixture(text: &str) -> Json {
    serde_json::from_str(text).expect("the fixture is JSON")
}

fn lines() -> Vec<(String, Vec<u8>, String)> {
    let fixture = fixture(include_str!("../../fixtures/events.json"));
    let origin = |name: &str| fixture["origin"][name].as_str().unwrap_or_default().to_owned();
    let head = head(&origin("service"), &origin("env"), &origin("host"), &origin("version"));
    let cases = fixture["events"].as_array().expect("events");
    cases
        .iter()
        .map(|case| {
            (case["name"].to_string(), written(&head, &case["event"]), case["line"].as_str().unwrap().to_owned())
        })
        .collect()
}

fn written(head: &[u8], given: &Json) -> Vec<u8> {
    let text = |name: &str| given[name].as_str().unwrap_or_default();
    let attrs: Vec<(&str, Value<'_>)> = given["attrs"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| {
            let value = match value {
                Json::String(text) => Value::Text(text),
                Json::Bool(flag) => Value::Flag(*flag),
                other => other.as_i64().map_or_else(|| Value::Number(other.as_f64().unwrap()), Value::Whole),
            };
            (key.as_str(), value)
        })
        .collect();
    let event = Event {
        route: text("route"),
        method: text("method"),
        status: given["status"].as_u64().map(|status| status as u16),
        // A negative duration cannot be written down in Rust.
        duration: given["duration_ms"].as_f64().filter(|ms| *ms >= 0.0).map(|ms| Duration::from_secs_f64(ms / 1000.0)),
        ended: given["ended_ms"].as_u64().map(|ms| UNIX_EPOCH + Duration::from_millis(ms)),
        error: text("error"),
        bytes_in: given["bytes_in"].as_u64(),
        bytes_out: given["bytes_out"].as_u64(),
        trace_id: text("trace_id"),
        span_id: text("span_id"),
        attrs: &attrs,
    };
    line(head, &event, true, 0)
}

fn line(head: &[u8], event: &Event<'_>, detail: bool, now_ms: u64) -> Vec<u8> {
    let mut line = Vec::new();
    Lines::new(head.to_vec()).write(event, detail, now_ms, &mut line);
    line
}

#[test]
fn an_event_is_the_line_that_all_sdks_write() {
    for (name, found, wanted) in lines() {
        // Objects of serde_json are sorted; the order of attributes is no promise.
        let parse = |line: &[u8]| serde_json::from_slice::<Json>(line).expect("a line is JSON");
        assert_eq!(parse(&found), parse(wanted.as_bytes()), "{name}");
        if !wanted.contains("attrs") {
            assert_eq!(String::from_utf8(found).unwrap(), wanted + "\n", "{name}");
        }
    }
}

#[test]
fn every_line_of_the_sdks_is_accepted() {
    let body: Vec<u8> = lines().into_iter().flat_map(|(_, _, wanted)| (wanted + "\n").into_bytes()).collect();
    let context = peep_wire::json::Context {
        bound_env: None,
        age_ms_max: i64::MAX / 2,
        ahead_ms_max: i64::MAX / 2,
        events_max: 5000,
        event_bytes_max: 64 << 10,
        depth_max: 32,
        lines: true,
    };
    let mut record = peep_wire::record::RecordBuilder::default();
    record.start(1_795_867_200_000);
    let mut rejected = Vec::new();
    peep_wire::json::Decoder::default().decode(&body, &context, &mut record, &mut rejected).expect("NDJSON");
    assert_eq!(rejected, []);
}

#[test]
fn numbers_are_written_as_the_standard_library_does() {
    let mut numbers: Vec<u64> = (0..1200).collect();
    for digits in 0..20 {
        let power = 10_u64.pow(digits);
        numbers.extend([power - 1, power, power + 1, power.saturating_mul(7)]);
    }
    numbers.push(u64::MAX);
    for number in numbers {
        let event = Event { bytes_out: Some(number), ..Event::new("/a") };
        let line = line(b"{\"a\":1", &event, true, number);
        let out = if number < 1 << 53 { format!(",\"bytes_out\":{number}") } else { String::new() };
        assert_eq!(String::from_utf8(line).unwrap(), format!("{{\"a\":1,\"route\":\"/a\",\"ts\":{number}{out}}}\n"));
    }
}

#[test]
fn what_was_written_before_changes_no_line() {
    // Routes whose openings displace one another, and some that are not remembered.
    let routes: Vec<String> =
        (0..90).map(|index| "/é\"".repeat(index % 3) + &"/r".repeat(index * index % 300)).collect();
    let (methods, statuses) = (["", "GET", "POST", "A", "AG"], [None, Some(200), Some(404), Some(99), Some(600)]);
    let head = head("shop", "dev", "web-1", "");
    let mut lines = Lines::new(head.clone());
    let (mut found, mut wanted) = (Vec::new(), Vec::new());
    for step in 0..30_000_usize {
        // Each event twice, the second time with its opening there; a prime, so that what follows one another is seldom alike.
        let at = step / 2 * 7919 % (routes.len() * methods.len() * statuses.len());
        let event = Event {
            method: methods[at / routes.len() % methods.len()],
            status: statuses[at / routes.len() / methods.len()],
            duration: Some(Duration::from_micros(step as u64)),
            ..Event::new(&routes[at % routes.len()])
        };
        let now_ms = (step / 3) as u64;
        found.clear();
        wanted.clear();
        lines.write(&event, true, now_ms, &mut found);
        event.write_opening(&head, &mut wanted);
        event.write_rest(true, &Stamp::of(now_ms), &mut wanted);
        assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&wanted), "step {step}");
    }
}

#[test]
fn without_detail_an_event_keeps_what_is_counted() {
    let attrs = [("a", Value::from(1))];
    let event =
        Event { status: Some(200), bytes_in: Some(3), ended: Some(UNIX_EPOCH), ..Event::new("/a").attrs(&attrs) };
    let line = line(&head("shop", "", "", ""), &event, false, 1);
    assert_eq!(line, b"{\"service\":\"shop\",\"source\":\"sdk\",\"route\":\"/a\",\"status\":200,\"ts\":0}\n");
}

#[test]
fn an_answer_means_the_same_to_all_sdks() {
    let fixture = fixture(include_str!("../../fixtures/answers.json"));
    for case in fixture["answers"].as_array().unwrap() {
        let (status, body) = (case["status"].as_u64().unwrap() as u16, case["body"].as_str().unwrap());
        let verdict = answer::judge(status, body.as_bytes(), case["events"].as_u64().unwrap()).unwrap();
        match (case["verdict"].as_str().unwrap(), verdict) {
            ("counted", Verdict::Counted { accepted, rejected, .. }) => {
                assert_eq!((Some(accepted), Some(rejected)), (case["accepted"].as_u64(), case["rejected"].as_u64()));
            }
            ("retry", Verdict::Retry { .. }) | ("final", Verdict::Final { .. }) => {}
            (wanted, found) => panic!("{case}: {found:?} is not {wanted}"),
        }
    }
    let now = UNIX_EPOCH + Duration::from_millis(fixture["now_ms"].as_u64().unwrap());
    for case in fixture["retry_after"].as_array().unwrap() {
        let found = answer::retry_after(case["header"].as_str().unwrap(), now);
        assert_eq!(found.map(|pause| pause.as_millis() as u64), case["ms"].as_u64(), "{case}");
    }
}

#[test]
fn what_a_server_says_is_cut_and_printable_before_it_is_logged() {
    let body = serde_json::json!({"error": {"code": "x", "message": format!("\u{1b}[31m\n{}", "y".repeat(10_000))}});
    let verdict = answer::judge(400, body.to_string().as_bytes(), 1).unwrap();
    let Verdict::Final { reason } = verdict else { panic!("400 is final") };
    assert!(reason.len() < 500 && !reason.contains(char::is_control), "{reason}");
}

#[test]
fn pauses_are_those_of_all_sdks() {
    for case in fixture(include_str!("../../fixtures/backoff.json"))["cases"].as_array().unwrap() {
        let found = backoff::pause(
            Duration::from_millis(200),
            Duration::from_secs(15),
            case["failures"].as_u64().unwrap() as u32,
            case["retry_after_ms"].as_u64().map(Duration::from_millis),
            case["random"].as_f64().unwrap(),
        );
        assert_eq!(found.as_millis() as u64, case["pause_ms"].as_u64().unwrap(), "{case}");
    }
    assert!((0..1000).all(|_| (0.0..1.0).contains(&backoff::random())));
}

#[test]
fn a_traceparent_is_read_as_w3c_trace_context_wants_it() {
    for case in fixture(include_str!("../../fixtures/traceparent.json"))["cases"].as_array().unwrap() {
        let mut headers = http::HeaderMap::new();
        for header in case["headers"].as_array().unwrap() {
            let name: http::HeaderName = header[0].as_str().unwrap().parse().unwrap();
            // White space around a value is taken off by whoever parses HTTP.
            headers.append(name, header[1].as_str().unwrap().trim().parse().unwrap());
        }
        let found = trace::trace_id(&headers).map(|id| String::from_utf8(id.to_vec()).unwrap());
        assert_eq!(found.as_deref(), case["trace_id"].as_str(), "{case}");
    }
}

#[test]
fn routes_of_axum_become_templates_of_peep() {
    let fixture = fixture(include_str!("../../fixtures/routes.json"));
    let vectors = fixture["vectors"].as_array().unwrap().iter().filter(|vector| vector["framework"] == "axum");
    let mut count = 0;
    for vector in vectors {
        assert_eq!(
            crate::layer::template_of_axum(vector["pattern"].as_str().unwrap()),
            vector["route"].as_str().unwrap()
        );
        count += 1;
    }
    assert!(count >= 4, "{count}");
}

#[test]
fn a_producer_counts_from_0_and_is_replaced_after_its_time() {
    let start = Instant::now();
    let mut producer = Producer::new(Duration::from_secs(1000));
    let [first, second] = [producer.next(start), producer.next(start + Duration::from_secs(999))];
    let third = producer.next(start + Duration::from_secs(1001));
    assert_eq!([first.seq, second.seq, third.seq], [0, 1, 0]);
    assert_eq!(first.producer, second.producer);
    assert_ne!(first.producer, third.producer);
    assert_eq!(first.producer.get_version_num(), 7);
}

#[test]
fn a_queue_never_holds_more_than_it_may_and_gives_back_every_line_that_it_took() {
    let bytes_max = 256 << 10;
    let mut queue = Queue::new(Lines::new(b"{\"a\":1".to_vec()), bytes_max, 16 << 10);
    let route = "é".repeat(250);
    let mut taken = 0;
    for index in 0..20_000_usize {
        let error = "x".repeat(if index % 100 == 0 { 4000 } else { 0 });
        let event = Event::new(&route[..index % 250 * 2]).error(&error);
        taken += u64::from(queue.push(&event, true, 1));
        assert!(queue.bytes() <= bytes_max, "{} bytes", queue.bytes());
        assert_eq!(queue.events(), taken);
    }
    assert!((100..20_000).contains(&taken), "{taken} fit");
    queue.seal();
    let mut given = 0;
    while let Some(batch) = queue.take() {
        let lines: Vec<&[u8]> = batch.body.split_inclusive(|byte| *byte == b'\n').collect();
        assert!(lines.iter().all(|line| serde_json::from_slice::<Json>(line).is_ok()));
        assert_eq!(lines.len() as u64, batch.events);
        given += batch.events;
        queue.done(batch);
    }
    assert_eq!((given, queue.events()), (taken, 0));
    assert!(queue.bytes() <= 4 * (16 << 10), "only spares are left: {}", queue.bytes());
}

#[test]
fn dates_of_http_are_read_over_leap_years() {
    let at = |text: &str| answer::retry_after(text, SystemTime::UNIX_EPOCH).map(|since| since.as_secs());
    assert_eq!(at("Thu, 01 Jan 1970 00:00:01 GMT"), Some(1));
    assert_eq!(at("Tue, 29 Feb 2028 12:00:00 GMT"), Some(1_835_438_400));
    assert_eq!(at("Wed, 31 Dec 2025 23:59:59 GMT"), Some(1_767_225_599));
    assert_eq!(at("Wed, 31 Foo 2025 23:59:59 GMT"), None);
}

#[test]
fn the_environment_configures_and_code_comes_before_it() {
    let variables = [
        ("PEEP_INGEST_URL", " http://ingest:4318/ "),
        ("PEEP_INGEST_KEY", "peep_any_x"),
        ("PEEP_SERVICE", "shop"),
        ("PEEP_ENV", "prod"),
        ("PEEP_VERSION", "1.4.2"),
        ("HOSTNAME", "web-1"),
    ];
    let lookup = |name: &str| Some(variables.iter().find(|(known, _)| *known == name)?.1.to_owned());
    let texts = |config: &Config| {
        [&config.url, &config.key, &config.service, &config.env, &config.version, &config.host].map(String::clone)
    };
    let (config, missing) = Config::from_lookup(lookup).resolved();
    assert_eq!(
        (texts(&config)[..].join(" "), missing),
        ("http://ingest:4318 peep_any_x shop prod 1.4.2 web-1".into(), None)
    );

    let in_code = Config { service: "till 2".to_owned(), env: String::new(), ..Config::from_lookup(lookup) };
    let (config, _) = in_code.resolved();
    assert_eq!((&config.service[..], &config.env[..]), ("till_2", ""));
    assert_eq!(Config::from_lookup(|_| None).resolved().1, Some("PEEP_INGEST_URL is not set"));
}

#[test]
fn a_method_of_grpc_is_known_once_it_has_answered_and_has_a_name_of_protobuf() {
    let methods = Methods::new();
    assert!(!methods.is_known("/shop.v1.Cart/Add"));
    assert!(methods.has_answered("/shop.v1.Cart/Add") && methods.is_known("/shop.v1.Cart/Add"));
    assert!(methods.has_answered("/_shop/add_2") && !methods.is_known("/_shop/add"));
    for path in
        ["", "/", "/a", "a/b", "/a/", "//b", "/a/b/c", "/a./b", "/.a/b", "/a/b.c", "/1/b", "/a/é", "/a/b@c", "/a/b-c"]
    {
        assert!(!methods.has_answered(path) && !methods.is_known(path), "{path}");
    }
}

#[test]
fn more_methods_than_there_is_room_for_are_answered_all_the_same_and_forgotten() {
    let methods = Methods::new();
    let paths: Vec<String> = (0..5000).map(|number| format!("/shop.Cart/Add{number}")).collect();
    assert!(paths[..200].iter().all(|path| methods.has_answered(path) && methods.is_known(path)));
    assert!(paths.iter().all(|path| methods.has_answered(path)));
    // The first ones stay, and nobody else is taken for one of them.
    assert!(paths[..200].iter().all(|path| methods.is_known(path)));
    assert!((200..=1024).contains(&paths.iter().filter(|path| methods.is_known(path)).count()));
}
