use super::*;
use crate::event::EncodedAttrs;
use crate::ids::{Identity, KeyId, ProjectId};
use crate::record;
use proptest::prelude::*;

const NOW_MS: i64 = 1_795_200_000_000;

fn context() -> Context<'static> {
    Context {
        bound_env: None,
        age_ms_max: 30 * 24 * 3_600_000,
        ahead_ms_max: 300_000,
        events_max: 5000,
        event_bytes_max: 64 * 1024,
        depth_max: 32,
        lines: false,
    }
}

/// What a body comes to: each accepted event as readable text, and the refused ones.
fn decode_in(body: &[u8], context: &Context<'_>) -> Result<(Vec<String>, Vec<Rejection>), BodyError> {
    let mut record = RecordBuilder::default();
    record.start(NOW_MS);
    let mut rejected = Vec::new();
    Decoder::default().decode(body, context, &mut record, &mut rejected)?;
    let bytes = &record.finish(ProjectId(1), KeyId(1), None)[0];
    Ok((readable(bytes), rejected))
}

fn readable(bytes: &[u8]) -> Vec<String> {
    record::parse(bytes)
        .unwrap()
        .events()
        .map(|row| {
            let row = row.unwrap();
            let attrs = row.attrs.to_json().unwrap();
            format!(
                "{:?} {} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {attrs:?}",
                row.series.decode().unwrap(),
                row.ended_ms - NOW_MS,
                row.duration_us,
                row.error,
                row.host,
                row.version,
                row.source,
                row.bytes_in,
                row.bytes_out,
                row.trace_id,
                row.span_id
            )
        })
        .collect()
}

fn decode(body: &str) -> Result<(Vec<String>, Vec<Rejection>), BodyError> {
    decode_in(body.as_bytes(), &context())
}

fn codes(rejected: &[Rejection]) -> Vec<(usize, &'static str)> {
    rejected.iter().map(|rejection| (rejection.index, rejection.code.as_str())).collect()
}

/// One event through the thorough way only.
fn slowly(body: &str, context: &Context<'_>) -> Result<Vec<String>, RejectionCode> {
    let mut record = RecordBuilder::default();
    record.start(NOW_MS);
    field::event(body, context, &mut EncodedAttrs::default(), &mut record).map_err(|(code, _)| code)?;
    Ok(readable(&record.finish(ProjectId(1), KeyId(1), None)[0]))
}

/// One event through the scanner only; `None` when it passes the event on.
fn quickly(body: &str, context: &Context<'_>) -> Option<Vec<String>> {
    quickly_after(&[], body, context)
}

/// The same by a scanner that has seen other events before and expects the like.
fn quickly_after(seen: &[&str], body: &str, context: &Context<'_>) -> Option<Vec<String>> {
    let (mut record, mut scratch) = (RecordBuilder::default(), scan::Scratch::default());
    for body in seen {
        record.start(NOW_MS);
        scan::event(body, 0, scan::Ending::Anything, context, &mut scratch, &mut record);
    }
    record.start(NOW_MS);
    scan::event(body, 0, scan::Ending::Line, context, &mut scratch, &mut record)?;
    Some(readable(&record.finish(ProjectId(1), KeyId(1), None)[0]))
}

#[test]
fn the_contract_example_decodes_to_every_field() {
    let body = format!(
        r#"{{"service":"checkout","duration_ms":12.345,"ts":{NOW_MS},"route":"/api/orders/{{id}}","method":"post","status":502,
        "error":"upstream \"timeout\"","env":"production","host":"web-1","version":"v2.14.0","bytes_in":10,"bytes_out":20,
        "trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","source":"sdk","attrs":{{"b":true,"n":1.5,"s":"x"}},
        "unknown":{{"nested":[1,2]}}}}"#
    );
    let (events, rejected) = decode(&body).unwrap();
    assert_eq!(rejected, []);
    let row = &events[0];
    for part in [
        "\"checkout\"",
        "\"production\"",
        "\"/api/orders/{id}\"",
        "\"POST\"",
        "502",
        " 0 Some(12345)",
        "timeout",
        "web-1",
        r#"{\"b\":true"#,
    ] {
        assert!(row.contains(part), "{part} in {row}");
    }
}

#[test]
fn one_object_an_array_and_lines_mean_the_same() {
    let event = r#"{"service":"a","duration_ms":1}"#;
    let (one, _) = decode(event).unwrap();
    for body in [
        format!("[{event}]"),
        format!(" \n {event} \r\n"),
        format!("{event}\n\n"),
        format!("[\n{event}\n]\n"),
        "{\n  \"service\": \"a\",\n  \"duration_ms\": 1\n}".to_owned(),
    ] {
        assert_eq!(decode(&body).unwrap(), (one.clone(), vec![]), "{body}");
    }
    for body in [format!("{event}\n{event}"), format!("[{event},{event}]"), format!("{event}\r\n\r\n{event}\n")] {
        assert_eq!(decode(&body).unwrap().0.len(), 2, "{body}");
    }
}

#[test]
fn each_bad_event_is_named_and_the_good_ones_are_kept() {
    let long = "x".repeat(200);
    let big = format!(r#"{{"service":"a","error":"{}"}}"#, "y".repeat(70_000));
    let deep = format!(r#"{{"service":"a","attrs":{}1{}}}"#, "[".repeat(1000), "]".repeat(1000));
    let cases: Vec<(String, &str, &str)> = vec![
        (r#"{"duration_ms":1}"#.into(), "missing_service", "service"),
        (r#"{"service":null}"#.into(), "missing_service", "service"),
        (r#"{"service":""}"#.into(), "invalid_service", "service"),
        (r#"{"service":7}"#.into(), "invalid_service", "service"),
        (format!(r#"{{"service":"{long}"}}"#), "invalid_service", "service"),
        (r#"{"service":"a b"}"#.into(), "invalid_service", "service"),
        (r#"{"service":"a","duration_ms":-1}"#.into(), "invalid_duration", "duration_ms"),
        (r#"{"service":"a","duration_ms":NaN}"#.into(), "invalid_duration", "duration_ms"),
        (r#"{"service":"a","duration_ms":-Infinity}"#.into(), "invalid_duration", "duration_ms"),
        (r#"{"service":"a","duration_ms":3600000.001}"#.into(), "invalid_duration", "duration_ms"),
        (r#"{"service":"a","duration_ms":1e999}"#.into(), "invalid_duration", "duration_ms"),
        (r#"{"service":"a","duration_ms":"12"}"#.into(), "invalid_duration", "duration_ms"),
        (r#"{"service":"a","ts":1}"#.into(), "ts_too_old", "ts"),
        (r#"{"service":"a","ts":9999999999999}"#.into(), "ts_in_future", "ts"),
        (r#"{"service":"a","ts":"yesterday"}"#.into(), "invalid_ts", "ts"),
        (r#"{"service":"a","ts":1.5}"#.into(), "invalid_ts", "ts"),
        (r#"{"service":"a","status":99}"#.into(), "invalid_status", "status"),
        (r#"{"service":"a","status":"200"}"#.into(), "invalid_status", "status"),
        (r#"{"service":"a","route":""}"#.into(), "invalid_route", "route"),
        (r#"{"service":"a","route":"a\u0000b"}"#.into(), "invalid_route", "route"),
        (r#"{"service":"a","method":1}"#.into(), "invalid_method", "method"),
        (r#"{"service":"a","env":"no spaces"}"#.into(), "invalid_env", "env"),
        (r#"{"service":"a","error":{}}"#.into(), "invalid_error", "error"),
        (format!(r#"{{"service":"a","host":"{long}{long}"}}"#), "invalid_host", "host"),
        (r#"{"service":"a","version":1}"#.into(), "invalid_version", "version"),
        (r#"{"service":"a","bytes_out":-1}"#.into(), "invalid_bytes", "bytes_out"),
        (r#"{"service":"a","bytes_in":1.5}"#.into(), "invalid_bytes", "bytes_in"),
        (r#"{"service":"a","trace_id":"xyz"}"#.into(), "invalid_trace_id", "trace_id"),
        (r#"{"service":"a","span_id":"00f067aa0ba902b"}"#.into(), "invalid_span_id", "span_id"),
        (format!(r#"{{"service":"a","source":"{long}"}}"#), "invalid_source", "source"),
        (r#"{"service":"a","attrs":{"k":{"deep":1}}}"#.into(), "invalid_attrs", "attrs.k"),
        (r#"{"service":"a","attrs":[1]}"#.into(), "invalid_attrs", "attrs"),
        (r#"{"service":"a","duration_ms":}"#.into(), "invalid_json", "duration_ms"),
        (r#"{"service":"a","duration_ms":01}"#.into(), "invalid_json", "duration_ms"),
        (r#"{"service":"a" "route":"b"}"#.into(), "invalid_json", "service"),
        (r#"{"service":"\ud800"}"#.into(), "invalid_service", "service"),
        ("17".into(), "not_an_object", "object"),
        (r#"["a"]"#.into(), "not_an_object", "object"),
        (big, "event_too_large", "attrs"),
        (deep, "too_deep", "attrs"),
    ];
    let good = r#"{"service":"good","duration_ms":1}"#;
    for (event, code, field) in cases {
        for (body, lines) in [(format!("[{good},{event},{good}]"), false), (format!("{good}\n{event}\n{good}"), true)] {
            let (events, rejected) = decode_in(body.as_bytes(), &Context { lines, ..context() }).unwrap();
            let start: String = body.chars().take(120).collect();
            assert_eq!(events.len(), 2, "the good events of {start}");
            assert_eq!(codes(&rejected), [(1, code)], "{start}: {rejected:?}");
            assert!(rejected[0].message.contains(field), "{} names {field}", rejected[0].message);
        }
    }
}

#[test]
fn a_body_without_a_shape_is_refused_whole() {
    for body in [
        "",
        "  \n",
        "nonsense",
        "12",
        "\"a\"",
        "[{\"service\":\"a\"}",
        "[{\"service\":\"a\"} {\"service\":\"b\"}]",
        "{\"service\":",
        "[1,2]]",
    ] {
        assert!(matches!(decode(body), Err(BodyError::InvalidJson(_))), "{body:?} gave {:?}", decode(body));
    }
}

#[test]
fn a_broken_array_says_where_and_what_was_expected() {
    let event = r#"{"service":"a1"}"#;
    for (body, parts) in [
        (format!("[{event},]"), ["event 1 instead of `]`", "(byte 18)"]),
        (format!("[,{event}]"), ["event 0 is missing", "instead of `,` (byte 1)"]),
        (format!("[{event},,{event}]"), ["event 1 is missing", "instead of `,` (byte 18)"]),
        (format!("[{event},"), ["before event 1", "(byte 18)"]),
        ("[".to_owned(), ["before event 0", "(byte 1)"]),
        ("[}".to_owned(), ["event 0 is missing", "instead of `}` (byte 1)"]),
        (format!("[{event}{event}]"), ["after event 0", "(byte 17): expected `,` or `]`"]),
        (format!("[{event}"), ["after event 0", "(byte 17): expected `,` or `]`"]),
        (format!("[{event},{{\"service\":\"b}}]"), ["event 1 (from byte 18 on)", "no end"]),
    ] {
        let message = decode(&body).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{body}: {message}");
    }
}

/// Why a single event is refused.
fn refusal(event: &str) -> (&'static str, String) {
    let rejection = decode(&format!("[{event}]")).unwrap().1.remove(0);
    (rejection.code.as_str(), rejection.message)
}

#[test]
fn what_is_json_and_no_text_or_number_is_called_that() {
    let half = "half of a surrogate pair";
    for (event, code, parts) in [
        (r#"{"service":"a","attrs":{"b":1,"a":1e400}}"#, "invalid_attrs", ["`attrs.a` is 1e400", "out of range"]),
        (r#"{"service":"a","attrs":{"a":"\ud800"}}"#, "invalid_attrs", [r#"`attrs.a` is "\ud800""#, half]),
        (r#"{"service":"a","attrs":{"\ud800":1}}"#, "invalid_attrs", ["a key of `attrs`", half]),
        (r#"{"service":"a","attrs":{"a":{"b":1e400}}}"#, "invalid_attrs", ["`attrs.a`", "nested"]),
        (r#"{"service":"a","attrs":{"a":1e400,"a":1}}"#, "invalid_attrs", ["`attrs` is", "out of range"]),
        (r#"{"service":"a","attrs":"\ud800"}"#, "invalid_attrs", ["`attrs` is", "must be a flat object"]),
        (r#"{"service":"a","route":"/\ud83d"}"#, "invalid_route", [r#"`route` is "/\ud83d""#, half]),
        (r#"{"service":"a","route":7}"#, "invalid_route", ["`route` is 7", "must be a string"]),
        (r#"{"service":"a","x\ud800":1}"#, "invalid_json", [r#"key "x\ud800""#, half]),
        (r#"{"service":"a", "\ude00x" : 1}"#, "invalid_json", [r#"key "\ude00x""#, half]),
        (r#"{"\ud800\u0041":1}"#, "invalid_json", [r#"key "\ud800\u0041""#, half]),
        (r#"{"service":"\ud800" "x":1}"#, "invalid_json", ["near `service`", "expected"]),
    ] {
        let (found, message) = refusal(event);
        assert_eq!(found, code, "{event}: {message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{event}: {message}");
    }
}

#[test]
fn a_byte_order_mark_is_named() {
    let event = r#"{"service":"a"}"#;
    for body in [format!("\u{feff}{event}"), format!("\u{feff}[{event}]"), "\u{feff}".to_owned()] {
        let message = decode(&body).unwrap_err().to_string();
        assert!(message.contains("the body begins with a byte order mark"), "{message}");
    }
    let lines = Context { lines: true, ..context() };
    let (events, rejected) = decode_in(format!("\u{feff}{event}\n{event}").as_bytes(), &lines).unwrap();
    assert_eq!((events.len(), codes(&rejected)), (1, vec![(0, "not_an_object")]));
    assert!(rejected[0].message.contains("begins with a byte order mark"), "{rejected:?}");
}

#[test]
fn a_timestamp_is_refused_for_what_is_wrong_with_it() {
    let old = |beyond_ms: i64| format!("{}", NOW_MS - context().age_ms_max - beyond_ms);
    for (ts, code, part) in [
        (r#""9999-12-31T23:59:59Z""#.to_owned(), "ts_in_future", "after the time of receipt"),
        (r#""2026-11-20T20:00:00+25:00""#.to_owned(), "invalid_ts", "RFC 3339"),
        (old(1), "ts_too_old", "2592000001 ms before the time of receipt, at most 2592000000 ms"),
        (old(60_000), "ts_too_old", "43201 min before the time of receipt, at most 43200 min"),
        (old(3_600_000), "ts_too_old", "721 h before the time of receipt, at most 720 h"),
        ((NOW_MS + 300_001).to_string(), "ts_in_future", "300001 ms after the time of receipt, at most 300000 ms"),
    ] {
        let (found, message) = refusal(&format!(r#"{{"service":"a","ts":{ts}}}"#));
        assert_eq!(found, code, "{ts}: {message}");
        assert!(message.contains(part), "{ts}: {message}");
    }
    let fine = r#"{"service":"a","ts":"2026-11-20T20:00:00.1234567891Z"}"#;
    assert_eq!(decode(fine).unwrap(), decode(&fine.replace("4567891Z", "Z")).unwrap());
}

#[test]
fn bytes_that_are_not_utf8_cost_their_own_event_only() {
    let body = b"{\"service\":\"a\"}\n{\"service\":\"a\",\"host\":\"\xff\"}\n{\"service\":\"b\"}\n";
    let (events, rejected) = decode_in(body, &context()).unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(codes(&rejected), [(1, "invalid_utf8")]);
}

#[test]
fn event_5001_refuses_the_body() {
    let event = r#"{"service":"a"}"#;
    let line = format!("{event}\n");
    assert_eq!(decode(&line.repeat(5000)).unwrap().0.len(), 5000);
    assert_eq!(decode(&line.repeat(5001)), Err(BodyError::TooManyEvents(5000)));
    assert_eq!(decode(&format!("[{event}{}]", format!(",{event}").repeat(5000))), Err(BodyError::TooManyEvents(5000)));
}

#[test]
fn a_bound_environment_fills_in_and_is_enforced() {
    let bound = Context { bound_env: Some("production"), ..context() };
    let body = r#"[{"service":"a"},{"service":"a","env":"production"},{"service":"a","env":"dev"}]"#;
    let (events, rejected) = decode_in(body.as_bytes(), &bound).unwrap();
    assert!(events.len() == 2 && events.iter().all(|event| event.contains("\"production\"")));
    assert_eq!(codes(&rejected), [(2, "env_mismatch")]);
}

#[test]
fn durations_round_to_the_nearest_microsecond() {
    for (text, us) in [
        ("0", 0),
        ("0.0004", 0),
        ("0.0005", 1),
        ("12.3456", 12346),
        ("3600000", 3_600_000_000u64),
        ("1e3", 1_000_000),
        ("0.001", 1),
        ("-0", 0),
        ("7.1", 7100),
    ] {
        let (events, _) = decode(&format!(r#"{{"service":"a","duration_ms":{text}}}"#)).unwrap();
        assert!(events[0].contains(&format!("Some({us})")), "{text}: {}", events[0]);
    }
}

#[test]
fn a_plain_event_takes_the_fast_way() {
    let body = format!(
        r#"{{"service":"checkout","env":"prod","route":"/a/{{id}}","method":"GET","status":200,"duration_ms":1.25,"ts":{NOW_MS},"host":"h","unknown":1,"attrs":{{"k":"v","n":3}}}}"#
    );
    assert!(quickly(&body, &context()).is_some());
}

/// Events that are nearly right: known and unknown keys, right and wrong values, white space, odd notations.
fn events() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "service",
        "service",
        "service",
        "env",
        "route",
        "method",
        "status",
        "duration_ms",
        "ts",
        "error",
        "host",
        "version",
        "source",
        "bytes_in",
        "bytes_out",
        "trace_id",
        "span_id",
        "attrs",
        "other",
        "dur\\u0061tion_ms",
    ]);
    let value = prop_oneof![
        4 => Just(r#""checkout""#.to_owned()),
        1 => "[ -~]{0,12}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        1 => "\\PC{0,12}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        2 => (0u32..700).prop_map(|number| number.to_string()),
        2 => (0u64..4_000_000_000, 1u32..6).prop_map(|(number, places)| format!("{:.*}", places as usize, number as f64 / 1000.0)),
        1 => (-400_000i64..400_000).prop_map(|delta| (NOW_MS + delta).to_string()),
        1 => any::<f64>().prop_map(|number| format!("{number:?}")),
        1 => Just("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()).prop_map(|id| format!("\"{id}\"")),
        1 => Just("\"00f067aa0ba902b7\"".to_owned()),
        1 => prop::sample::select(vec!["null", "true", "false", "-1", "01", "1e3", "{}", "[]", "\"2026-11-20T20:00:00Z\"", "\"\"",
            r#"{"a":1,"b":"x","c":true}"#, r#"{"a":1,"a":2}"#, r#"{"a":{"b":1}}"#, r#"{"x":null}"#]).prop_map(str::to_owned),
    ];
    let blank = prop::sample::select(vec!["", "", "", " ", "\t", "  "]);
    let pair =
        (key, value, blank).prop_map(|(key, value, blank)| format!("{blank}\"{key}\"{blank}:{blank}{value}{blank}"));
    (prop::collection::vec(pair, 0..8), any::<bool>()).prop_map(|(pairs, whole)| {
        let head = if whole { "{\"service\":\"a\"," } else { "{" };
        format!("{head}{}}}", pairs.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn the_scanner_agrees_with_the_thorough_way(event in events()) {
        let context = context();
        if let Some(scanned) = quickly(&event, &context) {
            prop_assert_eq!(Ok(scanned), slowly(&event, &context), "{}", event);
        }
    }

    #[test]
    fn what_was_seen_before_changes_nothing(seen in events(), event in events(), spaced: bool) {
        let context = context();
        let spaced = if spaced { event.replace(':', ": ").replace(",\"", ", \"") } else { event.clone() };
        for (before, event) in [(&seen, &event), (&spaced, &event), (&event, &spaced), (&event, &event)] {
            prop_assert_eq!(quickly_after(&[before], event, &context), quickly(event, &context), "{} after {}", event, before);
        }
    }

    #[test]
    fn damaged_bodies_never_panic(event in events(), at in any::<prop::sample::Index>(), byte: u8, lines: bool) {
        let mut body = format!("[{event},{event}]").into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        let context = Context { lines, ..context() };
        let _ = decode_in(&body, &context);
        let _ = decode_in(&body[..at], &context);
        let _ = decode_in(&body[at..], &context);
    }

    #[test]
    fn every_event_has_exactly_one_outcome(events in prop::collection::vec(events(), 1..20)) {
        let body = events.join("\n");
        let (accepted, rejected) = decode_in(body.as_bytes(), &Context { lines: true, ..context() }).unwrap();
        prop_assert_eq!(accepted.len() + rejected.len(), events.len());
    }
}

#[test]
fn a_retry_is_routed_like_the_first_try_although_its_first_event_is_too_old_by_then() {
    let body = format!(r#"[{{"service":"a","ts":{}}},{{"service":"b"}}]"#, NOW_MS - context().age_ms_max);
    let routed_by = |received_ms: i64| {
        let mut record = RecordBuilder::default();
        record.start(received_ms);
        let mut rejected = Vec::new();
        Decoder::default().decode(body.as_bytes(), &context(), &mut record, &mut rejected).unwrap();
        (record.event_count(), record.routing_service().to_owned())
    };
    assert_eq!(routed_by(NOW_MS), (2, "a".to_owned()));
    assert_eq!(routed_by(NOW_MS + 1), (1, "a".to_owned()));
}

/// The length of a record and its checksum, which is one of all its other bytes.
fn fingerprint(body: &str, lines: bool, identity: Option<Identity>) -> (usize, [u8; 4]) {
    let mut record = RecordBuilder::default();
    record.start(NOW_MS);
    let mut rejected = Vec::new();
    let context = Context { lines, ..context() };
    Decoder::default().decode(body.as_bytes(), &context, &mut record, &mut rejected).unwrap();
    assert_eq!(rejected, []);
    let bytes = record.finish(ProjectId(7), KeyId(300), identity).remove(0);
    (bytes.len(), bytes[1..5].try_into().unwrap())
}

#[test]
fn a_body_is_the_same_bytes_in_the_log_as_ever() {
    // Fingerprints of the first release's records: a retry across an upgrade must be recognised.
    let full = FULL.replace("TS", &(NOW_MS - 1500).to_string());
    let (service, route, ts) = ("s".repeat(128), "r".repeat(140), NOW_MS + 1);
    let long = format!(r#"{{"duration_ms":3600000,"service":"{service}","route":"/ü/{route}","ts":{ts}}}"#);
    let body = format!(r#"[{full},{{"service":"a"}},{long}]"#);
    let identity = Identity { producer: [9; 16], seq: 70_000 };
    assert_eq!(fingerprint(&body, false, Some(identity)), (515, [0x1d, 0xaa, 0x79, 0x33]));

    let event = |n: usize| {
        let (service, route, host) = (n % 7, "x".repeat(n), "h".repeat(n % 40));
        let method = ["GET", "POST", "PUT", "QUERY", "BREW", "get"][n % 6];
        let (status, ms, ts) = (100 + n, n * n * n / 7, NOW_MS - (n * n * n) as i64);
        format!(
            "{{\"service\":\"s{service}\",\"route\":\"/r/{route}\",\"method\":\"{method}\",\"status\":{status},\
             \"duration_ms\":{ms}.{n:03},\"ts\":{ts},\"host\":\"{host}\"}}\n"
        )
    };
    let lines: String = (0..200).map(event).collect();
    assert_eq!(fingerprint(&lines, true, None), (31_798, [0xcc, 0x10, 0xe5, 0xfe]));
}

/// Every field that the scanner knows.
const FULL: &str = r#"{"service":"shop","env":"prod","route":"/orders/{id}","method":"PATCH","status":503,"duration_ms":12.345,"ts":TS,"error":"upstream timed out","host":"web-1","version":"v2.14.0","bytes_in":1,"bytes_out":300,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","source":"sdk","attrs":{"k":"v","n":3.5,"b":true}}"#;

/// The pairs of [`FULL`].
fn pairs() -> Vec<String> {
    let full = FULL.replace("TS", &NOW_MS.to_string());
    let (fields, attrs) = full[1..full.len() - 1].split_once(",\"attrs\"").unwrap();
    fields.split(',').map(str::to_owned).chain([format!("\"attrs\"{attrs}")]).collect()
}

#[test]
fn an_event_is_the_same_wherever_in_a_body_it_lies() {
    let event = format!("{{{}}}", pairs().join(","));
    let expected = slowly(&event, &context());
    assert_eq!(quickly(&event, &context()).ok_or(RejectionCode::InvalidJson), expected, "it takes the fast way");
    let expected = (expected.unwrap(), vec![]);
    for blanks in 0..64 {
        let blank = " ".repeat(blanks);
        for body in [format!("{blank}{event}"), format!("{event}{blank}"), format!("[{blank}{event}{blank}]{blank}")] {
            assert_eq!(decode(&body), Ok(expected.clone()), "{body}");
        }
        // The last bytes of a body are read in another way than those before them.
        let padded = event.replace("web-1", &"w".repeat(blanks));
        assert_eq!(decode(&padded), decode(&format!("{padded}{}", " ".repeat(64))), "{padded}");
    }
}

#[test]
fn an_event_cut_short_anywhere_costs_itself_only() {
    let event = format!("{{{}}}", pairs().join(","));
    let good = r#"{"service":"good"}"#;
    for cut in 1..event.len() {
        let event = &event[..cut];
        assert_eq!(quickly(event, &context()), None, "{event}");
        assert_eq!(quickly(&format!("{event}\n{}", " ".repeat(64)), &context()), None, "{event}");
        let body = format!("{good}\n{event}\n{good}\n");
        let (events, rejected) = decode_in(body.as_bytes(), &Context { lines: true, ..context() }).unwrap();
        assert_eq!((events.len(), codes(&rejected)), (2, vec![(1, "invalid_json")]), "{event}");
    }
}

#[test]
fn numbers_at_their_edges_come_out_the_same_in_both_ways() {
    let numbers = [
        "0",
        "-0",
        "00",
        "01",
        "1",
        "9",
        "10",
        "99",
        "100",
        "599",
        "600",
        "65535",
        "65536",
        "65635",
        "9999999",
        "10000000",
        "0.0",
        "0.",
        ".5",
        "1.",
        "0.001",
        "0.0005",
        "0.00049",
        "12.3456",
        "3599999.999",
        "3600000",
        "3600000.000",
        "3600000.001",
        "9999999.999",
        "1e3",
        "1E3",
        "1.5e-3",
        "1.e1",
        "+1",
        "-1",
        "1-",
        "1_0",
        "0x10",
        "1795200000000",
        "1795200300000",
        "1795200300001",
        "1792608000000",
        "1792607999999",
        "99999999999999",
        "999999999999999",
        "1000000000000000",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "99999999999999999999999999",
        "0.1234567890123456789",
        "123456789012345.5",
        "１",
        "1/",
        "1:",
        "/",
        ":",
    ];
    for number in numbers {
        for key in ["duration_ms", "ts", "status", "bytes_in", "bytes_out", "other"] {
            // Once near the end of the text and once far from it.
            for end in ["}", ",\"version\":\"a version of more than a few bytes\"}"] {
                let event = format!("{{\"service\":\"a\",\"{key}\":{number}{end}");
                let (quick, slow) = (quickly(&event, &context()), slowly(&event, &context()));
                assert!(quick.is_none() || quick == slow.ok(), "{event}");
            }
        }
    }
    for (key, number) in
        [("duration_ms", "3600000.000"), ("ts", "1795200300000"), ("status", "599"), ("bytes_in", "999999999999999")]
    {
        for end in ["}", ",\"version\":\"a version of more than a few bytes\"}"] {
            assert!(quickly(&format!("{{\"service\":\"a\",\"{key}\":{number}{end}"), &context()).is_some(), "{key}");
        }
    }
}

#[test]
fn every_byte_is_judged_alike_in_both_ways() {
    for byte in 0..0x80u8 {
        for place in 0..40 {
            for field in ["service", "env", "route", "method", "host", "error", "trace_id", "span_id", "other"] {
                let mut text =
                    if field.ends_with("id") { "0123456789abcdefABCDEF0123456789".repeat(2) } else { "x".repeat(64) };
                text.truncate(match field {
                    "trace_id" => 32,
                    "span_id" => 16,
                    _ => 40,
                });
                let Some(slot) = text.get(place..place + 1).map(|_| place) else { continue };
                text.replace_range(slot..slot + 1, &char::from(byte).to_string());
                let event = format!(r#"{{"service":"a","{field}":"{text}","version":"1"}}"#);
                let (quick, slow) = (quickly(&event, &context()), slowly(&event, &context()));
                assert!(quick.is_none() || quick == slow.clone().ok(), "{event}");
                // Whatever needs no unescaping and is accepted needs no thorough way.
                assert!(byte == b'\\' || quick.is_some() == slow.is_ok(), "{event}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn keys_in_any_order_and_spacing_mean_the_same(
        orders in prop::collection::vec((Just(pairs()).prop_shuffle(), 1usize..17, 0usize..5), 1..6),
        lines: bool,
    ) {
        let spacings = [(":", ","), (": ", ", "), (" :", " ,"), (" : ", "\t,\r"), (":\t", ",  ")];
        let events: Vec<String> = orders.iter().map(|(pairs, kept, spacing)| {
            let (colon, comma) = spacings[*spacing];
            let mut pairs: Vec<_> = pairs.iter().take(*kept).cloned().collect();
            if !pairs.iter().any(|pair| pair.starts_with("\"service\"")) {
                pairs.push(r#""service":"shop""#.to_owned());
            }
            let spaced: Vec<_> = pairs.iter().map(|pair| pair.replacen(':', colon, 1)).collect();
            format!("{{{}}}", spaced.join(comma))
        }).collect();
        let expected: Vec<String> = events.iter().flat_map(|event| slowly(event, &context()).unwrap()).collect();
        let body = if lines { events.join("\n") } else { format!("[{}]", events.join(" , ")) };
        prop_assert_eq!(decode_in(body.as_bytes(), &Context { lines, ..context() }), Ok((expected, vec![])));
        let mut seen = Vec::new();
        for event in &events {
            prop_assert!(quickly_after(&seen, event, &context()).is_some(), "{} after {:?}", event, seen);
            seen.push(event.as_str());
        }
    }
}
