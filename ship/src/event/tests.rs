use super::*;
use crate::line::{Request, Target};

fn written(line: &AccessLine<'_>, writer: &EventWriter) -> serde_json::Value {
    let mut out = Vec::new();
    writer.write(line, "/items/{id}", &mut out);
    assert_eq!(out.last(), Some(&b'\n'));
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn every_field_that_leaves_the_host() {
    let line = AccessLine {
        ended_ms: 1_000,
        request: Request { method: Some("GET"), target: Target::Path(b"/items/7?secret=1".into()) },
        status: Some(200),
        duration_us: Some(19_050),
        bytes_in: Some(71),
        bytes_out: Some(3),
        host: Some("web-1"),
        trace_id: Some("70c7f2a3419bc09025ab900681b8bc1e"),
        span_id: Some("00f067aa0ba902b7"),
    };
    let event = written(&line, &EventWriter::new("shop", Some("prod"), None, 500));
    assert_eq!(
        event,
        serde_json::json!({
            "service": "shop", "env": "prod", "source": "nginx", "ts": 1500, "route": "/items/{id}", "method": "GET",
            "status": 200, "duration_ms": 19.05, "bytes_in": 71, "bytes_out": 3, "host": "web-1",
            "trace_id": "70c7f2a3419bc09025ab900681b8bc1e", "span_id": "00f067aa0ba902b7",
        })
    );
}

#[test]
fn what_is_unknown_is_left_out() {
    let event = written(&AccessLine::default(), &EventWriter::new("shop", None, None, 0));
    assert_eq!(event, serde_json::json!({"service": "shop", "source": "nginx", "ts": 0, "route": "/items/{id}"}));
}

#[test]
fn the_users_host_wins() {
    let line = AccessLine { host: Some("from-log"), ..AccessLine::default() };
    assert_eq!(written(&line, &EventWriter::new("shop", None, Some("mine\"x"), 0))["host"], "mine\"x");
}

#[test]
fn a_duration_over_an_hour_is_left_out() {
    let line = AccessLine { duration_us: Some(DURATION_US_MAX + 1), ..AccessLine::default() };
    assert!(written(&line, &EventWriter::new("shop", None, None, 0)).get("duration_ms").is_none());
}

proptest::proptest! {
    #[test]
    fn any_number_is_written_as_it_is(ended_ms in proptest::num::i64::ANY, duration_us in 0..=DURATION_US_MAX) {
        let line = AccessLine { ended_ms, duration_us: Some(duration_us), ..AccessLine::default() };
        let mut out = Vec::new();
        EventWriter::new("shop", None, None, 0).write(&line, "/", &mut out);
        let text = String::from_utf8(out).unwrap();
        let duration_ms = if duration_us % 1000 == 0 {
            format!("{}", duration_us / 1000)
        } else {
            format!("{}.{:03}", duration_us / 1000, duration_us % 1000)
        };
        let expected = format!(",\"ts\":{ended_ms},\"route\":\"/\",\"duration_ms\":{duration_ms}}}\n");
        proptest::prop_assert!(text.ends_with(&expected), "{text}");
    }
}
