use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use peep_wire::json::{Context, Decoder};
use peep_wire::record::RecordBuilder;
use serde_json::Value;

use super::*;
use crate::fake_ingest::FakeIngest;

mod full_logs;
mod module;

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// What a run left behind.
struct Outcome {
    succeeded: bool,
    events: Vec<Value>,
    said: String,
}

fn run_with(words: &[&str], interrupt: &Interrupt) -> Outcome {
    let args = Command::parse_from(std::iter::once(&"ship").chain(words)).args;
    let config = Config::new(args, Some("peep_ing_test".to_owned())).unwrap();
    let progress = Arc::new(Progress::captured());
    let mut output = Vec::new();
    let succeeded = ship(&config, &progress, None, interrupt, &mut output).unwrap();
    let lines = output.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let events = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    Outcome { succeeded, events, said: progress.said() }
}

/// Also when an assertion fails: the scope waits for the run.
struct RaisedAtTheEnd<'a>(&'a Interrupt);

impl Drop for RaisedAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.raise();
    }
}

fn dry_run(words: &[&str]) -> Outcome {
    run_with(&[words, &["--dry-run"]].concat(), &Interrupt::default())
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn dry_run_fixture(name: &str) -> Outcome {
    dry_run(&["--file", fixture(name).to_str().unwrap()])
}

/// Events by status, the sum of bytes, the number and the sum of durations in ms.
fn facts(events: &[Value]) -> (BTreeMap<u64, usize>, u64, usize, u64) {
    let mut statuses = BTreeMap::new();
    for event in events {
        *statuses.entry(event["status"].as_u64().unwrap_or(0)).or_insert(0) += 1;
    }
    let durations: Vec<u64> = events.iter().filter_map(|event| event["duration_ms"].as_u64()).collect();
    let bytes = events.iter().filter_map(|event| event["bytes_out"].as_u64()).sum();
    (statuses, bytes, durations.len(), durations.iter().sum())
}

#[test]
fn real_logs_give_the_counts_that_other_tools_give() {
    type Facts<'a> = (&'a str, &'a [(u64, usize)], u64, usize, u64);
    let hostile: &[(u64, usize)] = &[(200, 22), (400, 10), (404, 1), (408, 3), (413, 1), (414, 1), (499, 1), (502, 1)];
    let cases: [Facts<'_>; 9] = [
        ("apache_combined_elastic_70.log", &[(200, 69)], 5_692_715, 0, 0),
        ("nginx_combined_elastic_60.log", &[(200, 9), (304, 40), (404, 11)], 19_056, 0, 0),
        (
            "nginx_combined_rt_isucon9_90.log",
            &[(200, 66), (304, 5), (400, 3), (401, 1), (403, 8), (422, 4), (502, 3)],
            1_111_462,
            90,
            18_224,
        ),
        ("nginx_json_rt_privateisu_70.log", &[(200, 58), (302, 10), (403, 1), (422, 1)], 6_978_387, 70, 5_807),
        ("nginx_json_rt_privateisu_errors_40.log", &[(500, 40)], 8_239_143, 40, 5_796),
        ("nginx_main_zanbil_30.log", &[(200, 29), (404, 1)], 571_115, 0, 0),
        ("nginx_hostile_40.combined.log", hostile, 2_376, 0, 0),
        ("nginx_hostile_40.timed.log", hostile, 2_376, 40, 5_910),
        ("nginx_hostile_40.json.log", hostile, 2_376, 40, 5_910),
    ];
    for (name, statuses, bytes, timed, sum_ms) in cases {
        let outcome = dry_run_fixture(name);
        let expected = (statuses.iter().copied().collect(), bytes, timed, sum_ms);
        assert_eq!(facts(&outcome.events), expected, "{name}");
        assert!(outcome.succeeded, "{name}: malformed lines are not fatal");
    }
}

#[test]
fn the_same_requests_are_the_same_events_in_three_formats() {
    let shape = |name: &str, timed: bool| -> Vec<Value> {
        let mut events = dry_run(&["--service", "shop", "--file", fixture(name).to_str().unwrap()]).events;
        for event in &mut events {
            let event = event.as_object_mut().unwrap();
            // The formats differ in the resolution of time, and only JSON has an id.
            event.retain(|key, _| !matches!(key.as_str(), "ts" | "trace_id") && (timed || key != "duration_ms"));
        }
        events
    };
    assert_eq!(shape("nginx_hostile_40.timed.log", true), shape("nginx_hostile_40.json.log", true));
    assert_eq!(shape("nginx_hostile_40.combined.log", false), shape("nginx_hostile_40.json.log", false));
}

#[test]
fn odd_requests_are_events_with_harmless_names() {
    let outcome = dry_run_fixture("nginx_hostile_40.combined.log");
    let route = |index: usize| outcome.events[index]["route"].as_str().unwrap().to_owned();
    assert_eq!(route(1), "/q", "a query string stays on the host");
    assert_eq!(route(9), "/abs", "the absolute form");
    assert_eq!(route(10), "*");
    assert_eq!(route(19), "(invalid)", "TLS bytes");
    assert!(outcome.events[19].get("method").is_none());
    assert_eq!(route(21), "(none)", "an empty request line");
    assert_eq!(outcome.events[12]["method"], "_OTHER");
}

#[test]
fn only_the_known_fields_leave_the_host() {
    let known = [
        "service",
        "source",
        "ts",
        "route",
        "method",
        "status",
        "duration_ms",
        "bytes_in",
        "bytes_out",
        "host",
        "trace_id",
        "span_id",
    ];
    for name in ["nginx_hostile_40.json.log", "nginx_json_rt_privateisu_70.log", "nginx_main_zanbil_30.log"] {
        let outcome = dry_run_fixture(name);
        for event in &outcome.events {
            assert!(event.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{name}: {event}");
            assert!(event.get("host").is_none(), "{name}: a client address is no host");
        }
    }
}

#[test]
fn ingest_takes_every_event_of_every_log() {
    let context = Context {
        bound_env: None,
        age_ms_max: i64::MAX / 2,
        ahead_ms_max: 60_000,
        events_max: 1_000,
        event_bytes_max: 64 << 10,
        depth_max: 32,
        lines: true,
    };
    for entry in std::fs::read_dir(fixture("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let outcome = dry_run(&["--file", path.to_str().unwrap(), "--host", "web-1", "--env", "prod"]);
        let body: String = outcome.events.iter().map(|event| format!("{event}\n")).collect();
        let (mut record, mut rejected) = (RecordBuilder::new(1 << 20), Vec::new());
        record.start(now_ms());
        Decoder::default().decode(body.as_bytes(), &context, &mut record, &mut rejected).unwrap();
        assert_eq!((record.event_count() as usize, rejected), (outcome.events.len(), Vec::new()), "{}", path.display());
    }
}

#[test]
fn a_cut_off_line_is_counted_and_shown_with_its_number() {
    let outcome = dry_run_fixture("apache_combined_elastic_70.log");
    assert!(outcome.said.contains("70 read: 69 events, 1 malformed, 0 blank"), "{}", outcome.said);
    assert!(outcome.said.contains("1 unterminated_quote"), "{}", outcome.said);
    assert!(outcome.said.contains("line 60: "), "{}", outcome.said);
    assert!(outcome.said.contains("no latency"), "{}", outcome.said);
}

#[test]
fn the_detected_format_is_said() {
    for (name, sentence) in [
        ("nginx_hostile_40.json.log", "JSON, one object a line"),
        ("nginx_combined_rt_isucon9_90.log", "combined with a request time"),
        ("nginx_main_zanbil_30.log", "combined, without a request time"),
    ] {
        let said = dry_run_fixture(name).said;
        assert!(said.contains(sentence), "{said}");
    }
}

#[test]
fn blank_and_malformed_lines_have_their_own_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let good = r#"a - - [20/Nov/2026:17:44:12 +0000] "GET / HTTP/1.1" 200 3 "-" "-""#;
    std::fs::write(&path, format!("{good}\r\n\n  \n\0\0\0{good}\nnonsense\n{{\"x\":1}}\n{good}")).unwrap();
    let outcome = dry_run(&["--file", path.to_str().unwrap()]);
    assert_eq!(outcome.events.len(), 3);
    assert!(outcome.said.contains("7 read: 3 events, 2 malformed, 2 blank"), "{}", outcome.said);
    assert!(outcome.succeeded);
}

#[test]
fn rebase_moves_all_files_together_and_keeps_the_spacing() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, time: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("a - - [{time} +0000] \"GET / HTTP/1.1\" 200 3\n")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (older, newer) = (write("older.log", "17/May/2015:10:05:00"), write("newer.log", "17/May/2015:10:06:30"));
    let before = now_ms();
    let outcome = dry_run(&["--file", &newer, "--file", &older, "--rebase", "now"]);
    let ts = |index: usize| outcome.events[index]["ts"].as_i64().unwrap();
    assert!((before..=now_ms()).contains(&ts(0)));
    assert_eq!(ts(0) - ts(1), 90_000);
    assert!(
        outcome.said.contains("rebase: the log runs from 2015-05-17T10:05:00Z to 2015-05-17T10:06:30Z"),
        "{}",
        outcome.said
    );
}

#[test]
fn an_old_log_is_told_about_rebase() {
    assert!(dry_run_fixture("nginx_combined_elastic_60.log").said.contains("--rebase now"));
}

#[test]
fn routes_beyond_the_limit_are_other() {
    let outcome =
        dry_run(&["--routes-max", "3", "--file", fixture("apache_combined_elastic_70.log").to_str().unwrap()]);
    let routes: std::collections::BTreeSet<_> =
        outcome.events.iter().map(|event| event["route"].as_str().unwrap()).collect();
    assert_eq!(routes.len(), 4);
    assert!(routes.contains("(other)"));
    assert!(outcome.said.contains("varies most"), "{}", outcome.said);
}

#[test]
fn a_whole_log_arrives_in_batches_and_the_summary_adds_up() {
    let ingest = FakeIngest::accepting();
    let file = fixture("nginx_combined_rt_isucon9_90.log");
    let words = ["--url", &ingest.url, "--service", "shop", "--batch-events", "25", "--file", file.to_str().unwrap()];
    let outcome = run_with(&words, &Interrupt::default());
    assert!(outcome.succeeded, "{}", outcome.said);
    assert!(outcome.said.contains("90 accepted, 0 rejected, 0 undelivered; 4 batches"), "{}", outcome.said);
    let dry = dry_run(&["--service", "shop", "--file", file.to_str().unwrap()]);
    assert_eq!(ingest.events(), dry.events, "what is sent is what a dry run shows");
}

#[test]
fn rejected_events_fail_the_run() {
    let ingest = FakeIngest::start(|request, _| {
        let rejected: Vec<Value> = (0..request.events().len())
            .map(|index| serde_json::json!({"index": index, "code": "too_old", "message": "older than 30 days"}))
            .collect();
        (
            422,
            "",
            serde_json::json!({"error": {"code": "no_valid_event", "message": "m"}, "rejected": rejected}).to_string(),
        )
    });
    let file = fixture("nginx_combined_elastic_60.log");
    let outcome = run_with(&["--url", &ingest.url, "--file", file.to_str().unwrap()], &Interrupt::default());
    assert!(!outcome.succeeded);
    assert!(outcome.said.contains("60 too_old"), "{}", outcome.said);
}

#[test]
fn the_rate_is_kept() {
    let started = Instant::now();
    let file = fixture("nginx_hostile_40.combined.log");
    let outcome = dry_run(&["--rate", "50", "--file", file.to_str().unwrap()]);
    assert_eq!(outcome.events.len(), 40);
    assert!(started.elapsed() > Duration::from_millis(600), "{:?}", started.elapsed());
}

#[test]
fn followed_lines_arrive_within_a_second_and_an_interrupt_flushes() {
    let ingest = FakeIngest::accepting();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    std::fs::write(&path, "").unwrap();
    let interrupt = Interrupt::default();
    let line = "a - - [20/Nov/2026:17:44:12 +0000] \"GET / HTTP/1.1\" 200 3\n";
    let append = |text: &str| {
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
    };
    let outcome = std::thread::scope(|scope| {
        let run =
            scope.spawn(|| run_with(&["--follow", "--url", &ingest.url, "--file", path.to_str().unwrap()], &interrupt));
        let raised = RaisedAtTheEnd(&interrupt);
        std::thread::sleep(Duration::from_millis(400));
        append(line);
        let written = Instant::now();
        while ingest.events().is_empty() {
            assert!(written.elapsed() < Duration::from_secs(5), "the event did not arrive");
            std::thread::sleep(Duration::from_millis(10));
        }
        append(line);
        drop(raised);
        run.join().unwrap()
    });
    assert!(outcome.succeeded, "{}", outcome.said);
    assert_eq!(ingest.events().len(), 2);
}

#[test]
fn a_final_answer_ends_a_run_to_which_no_more_lines_come() {
    let ingest = FakeIngest::start(|_, _| {
        (401, "", r#"{"error":{"code":"invalid_key","message":"the key was revoked"}}"#.to_owned())
    });
    let folder = tempfile::tempdir().unwrap();
    let (path, state) = (folder.path().join("access.log"), folder.path().join("state"));
    std::fs::write(&path, "a - - [20/Nov/2026:17:44:12 +0000] \"GET / HTTP/1.1\" 200 3\n").unwrap();
    let words = ["--follow", "--from-start", "--url", &ingest.url, "--state", state.to_str().unwrap()];
    let words = [&words[..], &["--file", path.to_str().unwrap()]].concat();
    let interrupt = Interrupt::default();
    let outcome = std::thread::scope(|scope| {
        let run = scope.spawn(|| run_with(&words, &interrupt));
        let _raised = RaisedAtTheEnd(&interrupt);
        let started = Instant::now();
        while !run.is_finished() {
            assert!(started.elapsed() < Duration::from_secs(10), "it goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
        run.join().unwrap()
    });
    assert!(!outcome.succeeded && outcome.said.contains("the key was revoked"), "{}", outcome.said);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
    #[test]
    fn any_file_is_read_and_every_line_is_counted(content in proptest::collection::vec(proptest::num::u8::ANY, 0..2000)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        // Not gzip by accident.
        std::fs::write(&path, [b"x\n".as_slice(), &content].concat()).unwrap();
        let outcome = dry_run(&["--file", path.to_str().unwrap()]);
        proptest::prop_assert!(outcome.succeeded, "{}", outcome.said);
    }
}
