use super::*;

const COMBINED: &str = r#"203.0.113.9 - - [20/Nov/2026:17:44:12 +0000] "GET /a HTTP/1.1" 200 3 "-" "ua""#;

fn sentence(text: &str) -> Option<&'static str> {
    detect(text.as_bytes(), None)
}

#[test]
fn each_format_is_recognised() {
    assert_eq!(sentence(COMBINED), Some("combined, without a request time"));
    assert_eq!(sentence(&format!("{COMBINED} 0.019")), Some("combined with a request time"));
    assert_eq!(
        sentence(r#"{"time":"2026-11-20T17:44:12+00:00","uri":"/","status":200}"#),
        Some("JSON, one object a line")
    );
}

#[test]
fn a_torn_first_line_does_not_decide() {
    assert_eq!(sentence(&format!("HTTP/1.1\" 200 3\n\n{COMBINED}\n")), Some("combined, without a request time"));
}

#[test]
fn something_else_is_no_access_log() {
    assert_eq!(sentence("2026/11/20 17:44:12 [error] 12#12: *1 open() failed\n"), None);
    assert_eq!(sentence(r#"{"level":"info","msg":"started"}"#), None);
    assert_eq!(sentence(""), None);
}

#[test]
fn a_log_that_changes_its_format_is_read_line_by_line() {
    let format = LineFormat::new(Format::Auto, None);
    assert!(format.parse(COMBINED.as_bytes()).is_ok());
    assert!(format.parse(br#"{"time":"2026-11-20T17:44:12+00:00","status":200}"#).is_ok());
}

#[test]
fn what_a_container_runtime_puts_before_a_line_is_taken_off() {
    let json = r#"{"time":"2026-11-20T17:44:12+00:00","uri":"/a","status":200}"#;
    let combined = r#"a - - [20/Nov/2026:17:44:12 +0000] "GET /a HTTP/1.1" 200 3"#;
    for line in [json, combined] {
        let plain = LineFormat::ByLine(None).parse(line.as_bytes()).unwrap();
        let wrapped = format!("2026-11-20T17:44:13.123456789Z stdout F {line}");
        assert_eq!(LineFormat::ByLine(None).parse(wrapped.as_bytes()), Ok(plain), "{wrapped}");
    }
    for line in ["2026-11-20T17:44:13Z", "2026-11-20T", "2026-11-20T17:44:13Z x", "1"] {
        assert_eq!(without_container_prefix(line.as_bytes()), line.as_bytes());
    }
}
