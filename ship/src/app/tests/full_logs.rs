//! The complete public logs, compared with counts that were taken by other means. They are too large for the
//! repository: `PEEP_TEST_DATA_DIR` names the folder that holds them and `counts.json`.

use std::io::Write as _;

use serde_json::Value;

use super::{BTreeMap, Path, dry_run};

#[test]
fn complete_logs_agree_with_their_counts() {
    let Some(folder) = std::env::var_os("PEEP_TEST_DATA_DIR") else {
        // Not a print macro: those of a passing test are not shown, and what is left out must be.
        let left_out = "NOT RUN: complete_logs_agree_with_their_counts needs PEEP_TEST_DATA_DIR (the excerpts are compared in any case)\n";
        std::io::stderr().write_all(left_out.as_bytes()).unwrap();
        return;
    };
    let folder = Path::new(&folder);
    let counts: BTreeMap<String, Value> =
        serde_json::from_slice(&std::fs::read(folder.join("counts.json")).unwrap()).unwrap();
    for (name, expected) in counts {
        compare(&folder.join(&name), &name, &expected);
    }
}

fn compare(path: &Path, name: &str, expected: &Value) {
    let outcome = dry_run(&["--file", path.to_str().unwrap()]);
    let lines = expected["lines"].as_u64().unwrap() as usize;
    let unparsed = expected["unparsed_lines"].as_array().unwrap();
    assert_eq!(outcome.events.len(), lines - unparsed.len(), "{name}: lines");
    for number in unparsed {
        assert!(outcome.said.contains(&format!("line {number}: ")), "{name}: {}", outcome.said);
    }
    let by = |key: &str| -> Value {
        let mut counts = BTreeMap::<String, u64>::new();
        for event in &outcome.events {
            let value = event[key].as_str().map_or_else(|| event[key].to_string(), str::to_owned);
            *counts.entry(value).or_default() += 1;
        }
        serde_json::to_value(counts).unwrap()
    };
    assert_eq!(by("status"), expected["by_status"], "{name}: statuses");
    assert_eq!(by("method"), expected["by_method"], "{name}: methods");
    let bytes: u64 = outcome.events.iter().filter_map(|event| event["bytes_out"].as_u64()).sum();
    assert_eq!(bytes, expected["bytes"].as_u64().unwrap(), "{name}: bytes");
    let times = outcome.events.iter().filter_map(|event| event["ts"].as_i64());
    for (edge, at) in [("first", times.clone().min()), ("last", times.max())] {
        let expected: jiff::Timestamp = expected[edge].as_str().unwrap().parse().unwrap();
        assert_eq!(at, Some(expected.as_millisecond()), "{name}: {edge}");
    }
    compare_durations(name, &outcome.events, &expected["request_time_ms"]);
}

fn compare_durations(name: &str, events: &[Value], expected: &Value) {
    let mut durations: Vec<u64> = events.iter().filter_map(|event| event["duration_ms"].as_u64()).collect();
    durations.sort_unstable();
    if expected.is_null() {
        assert!(durations.is_empty(), "{name}: no durations");
        return;
    }
    assert_eq!(durations.len() as u64, expected["count"].as_u64().unwrap(), "{name}: count");
    assert_eq!(durations.iter().sum::<u64>(), expected["sum"].as_u64().unwrap(), "{name}: sum");
    assert_eq!(durations.first(), expected["min"].as_u64().as_ref(), "{name}: min");
    assert_eq!(durations.last(), expected["max"].as_u64().as_ref(), "{name}: max");
    // Nearest rank, in thousandths so that the rank is exact.
    for (key, thousandths) in [("p50", 500), ("p75", 750), ("p90", 900), ("p95", 950), ("p99", 990), ("p99.9", 999)] {
        let rank = (durations.len() * thousandths).div_ceil(1000);
        assert_eq!(Some(durations[rank - 1]), expected[key].as_u64(), "{name}: {key}");
    }
}
