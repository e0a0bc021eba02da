use super::*;
use crate::line::Target;

const HEAD: &str = r#"203.0.113.9 - - [20/Nov/2026:17:44:12 +0000] "GET /a HTTP/1.1" 200 3"#;

fn timed(tail: &str) -> Result<Option<u64>, Malformed> {
    parse(format!("{HEAD} {tail}").as_bytes(), Trailer::Timed(None)).map(|line| line.duration_us)
}

#[test]
fn a_plain_combined_line() {
    let line = format!(r#"{HEAD} "https://example/" "curl/8""#);
    let line = parse(line.as_bytes(), Trailer::Timed(None)).unwrap();
    assert_eq!(line.ended_ms, 1_795_196_652_000);
    assert_eq!(line.request.method, Some("GET"));
    assert_eq!(line.request.target, Target::Path(b"/a".into()));
    assert_eq!((line.status, line.bytes_out, line.duration_us), (Some(200), Some(3), None));
}

#[test]
fn request_time_in_the_usual_positions() {
    for tail in [
        r#""-" "ua" 0.019"#,
        r#""-" "ua" 0.019 -"#,
        r#""-" "ua" 0.019 0.000, 0.003"#,
        r#""-" "ua" "203.0.113.9" 0.019"#,
        r#""-" "ua" "203.0.113.9, 10.0.0.1" 0.019 0.018 ."#,
        r#""-" "ua" "0.019""#,
        r#""-" "ua" "3.25" 0.019"#,
        r#""-" "ua" rt=0.019 uct="0.000" urt="0.018""#,
        r#""-" "ua" 0.555 request_time="0.019""#,
        r#""-" "ua" 527 0.019 [shop-web-80] [] 10.0.0.7:8080 612 0.018 200 70c7f2a3419bc09025ab900681b8bc1e"#,
        r#""-" "ua" 1795196652.167 0.019"#,
    ] {
        assert_eq!(timed(tail), Ok(Some(19_000)), "{tail}");
    }
}

#[test]
fn what_is_no_request_time() {
    for tail in ["", r#""-" "ua""#, r#""-" "ua" -"#, r#""-" "ua" "-""#, r#""0.019" "0.019""#, r#""-" "ua" 1234"#] {
        assert_eq!(timed(tail), Ok(None), "{tail}");
    }
}

#[test]
fn the_times_of_several_upstreams_are_no_request_time_unless_there_is_no_other() {
    for tail in [
        r#""-" "ua" 0.000, 0.003 0.019"#,
        r#""-" "ua" 0.001, 0.002 : 0.003 0.019"#,
        r#""-" "ua" "0.001, 0.002 : 0.003" 0.019"#,
        r#""-" "ua" urt=0.001, 0.002 : 0.003 0.019"#,
        r#""-" "ua" -, 0.002 0.019 -, 502"#,
        r#""-" "ua" 0.001, 0.002 : 0.003 rt=0.019"#,
        // Of the upstreams alone: what they took together.
        r#""-" "ua" 0.006, 0.013"#,
        r#""-" "ua" "0.001, 0.007 : 0.011""#,
        r#""-" "ua" "-" 0.019, -"#,
    ] {
        assert_eq!(timed(tail), Ok(Some(19_000)), "{tail}");
    }
    for tail in [r#""-" "ua" -, -"#, r#""-" "ua" 203.0.113.9, 10.0.0.1"#, r#""-" "ua" 0.001, "#, r#""-" "ua" : : "#] {
        assert_eq!(timed(tail), Ok(None), "{tail}");
    }
}

#[test]
fn whole_numbers_are_durations_once_the_unit_is_known() {
    let line = format!(r#"{HEAD} "-" "ua" 1234"#);
    let line = parse(line.as_bytes(), Trailer::Timed(Some(DurationUnit::Us))).unwrap();
    assert_eq!(line.duration_us, Some(1_234));
}

#[test]
fn common_format_and_virtual_hosts_are_tolerated() {
    assert_eq!(timed(""), Ok(None));
    let line = format!("shop.example:443 {HEAD}");
    assert!(parse(line.as_bytes(), Trailer::Ignored).is_ok());
}

#[test]
fn user_names_may_hold_spaces_and_brackets() {
    let line = br#"127.0.0.1 - user [name] x [20/Nov/2026:17:44:12 +0000] "GET /auth HTTP/1.1" 200 - "-" "-""#;
    let line = parse(line, Trailer::Ignored).unwrap();
    assert_eq!((line.status, line.bytes_out), (Some(200), None));
}

#[test]
fn a_time_in_the_user_name_is_not_the_time() {
    let line = br#"127.0.0.1 - x [01/Jan/2020:00:00:00 +0000] \x22GET [20/Nov/2026:17:44:12 +0000] "GET /auth HTTP/1.1" 401 3"#;
    assert_eq!(parse(line, Trailer::Ignored).unwrap().ended_ms, 1_795_196_652_000);
}

#[test]
fn each_defect_has_its_reason() {
    let cases: [(&str, Malformed); 7] = [
        ("hello world", Malformed::NoTime),
        (r#"a - - [99/Nov/2026:17:44:12 +0000] "GET / HTTP/1.1" 200 3"#, Malformed::NoTime),
        ("a - - [20/Nov/2026:17:44:12 +0000] GET / HTTP/1.1 200 3", Malformed::NoRequest),
        (r#"a - - [20/Nov/2026:17:44:12 +0000] "GET / HT"#, Malformed::UnterminatedQuote),
        (r#"a - - [20/Nov/2026:17:44:12 +0000] "GET / HTTP/1.1" 200 3 "-" "Mozilla"#, Malformed::UnterminatedQuote),
        (r#"a - - [20/Nov/2026:17:44:12 +0000] "GET / HTTP/1.1" ok 3"#, Malformed::BadStatus),
        (r#"a - - [20/Nov/2026:17:44:12 +0000] "GET / HTTP/1.1" 200 x"#, Malformed::BadBytes),
    ];
    for (line, reason) in cases {
        assert_eq!(parse(line.as_bytes(), Trailer::Ignored).unwrap_err(), reason, "{line}");
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(line in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = parse(&line, Trailer::Timed(None));
    }

    #[test]
    fn arbitrary_bytes_behind_a_good_head_never_panic(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let mut line = HEAD.as_bytes().to_vec();
        line.extend_from_slice(&tail);
        let _ = parse(&line, Trailer::Timed(None));
    }

    #[test]
    fn a_line_cut_anywhere_never_panics(at in 0_usize..120) {
        let line = format!(r#"{HEAD} "-" "ua \x22 \" x" rt="0.019" 0.000, 0.001"#);
        let _ = parse(&line.as_bytes()[..at.min(line.len())], Trailer::Timed(None));
    }
}
