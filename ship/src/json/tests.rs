use super::*;

fn read(line: &str) -> AccessLine<'_> {
    parse(line.as_bytes(), DurationUnit::S).unwrap_or_else(|reason| panic!("{reason}: {line}"))
}

#[test]
fn the_usual_nginx_keys() {
    let line = read(
        r#"{"time_iso8601":"2026-11-20T17:44:12+00:00","request_method":"GET","request_uri":"/a?b=1","status":200,
           "body_bytes_sent":3,"request_length":71,"request_time":0.019,"server_name":"shop.example",
           "request_id":"70c7f2a3419bc09025ab900681b8bc1e","args":"b=1"}"#,
    );
    assert_eq!(line.ended_ms, 1_795_196_652_000);
    assert_eq!(line.request.method, Some("GET"));
    assert_eq!(line.request.target, Target::Path(b"/a?b=1".into()));
    assert_eq!((line.status, line.duration_us), (Some(200), Some(19_000)));
    assert_eq!((line.bytes_in, line.bytes_out), (Some(71), Some(3)));
    assert_eq!(line.host, Some("shop.example"));
    assert_eq!(line.trace_id, Some("70c7f2a3419bc09025ab900681b8bc1e"));
}

#[test]
fn numbers_may_be_strings() {
    let line = read(
        r#"{"time": "1795196652.167", "uri": "/", "status": "500", "body_bytes": "203542", "request_time": "5.215"}"#,
    );
    assert_eq!(line.ended_ms, 1_795_196_652_167);
    assert_eq!((line.status, line.bytes_out, line.duration_us), (Some(500), Some(203_542), Some(5_215_000)));
}

#[test]
fn the_most_exact_key_wins_in_any_order() {
    let line = read(
        r#"{"msec":"1795196652.167","time":"2026-11-20T17:44:12+00:00","response_time":"9.000","duration_ms":1.5,"request_time":0.2,"status":200}"#,
    );
    assert_eq!((line.ended_ms, line.duration_us), (1_795_196_652_167, Some(1_500)));
}

#[test]
fn the_times_of_several_upstreams_count_only_where_there_is_no_other() {
    let line = |times: &str| {
        let line = format!(r#"{{"msec":"1795196652.167",{times},"status":"200"}}"#);
        parse(line.as_bytes(), DurationUnit::S).unwrap().duration_us
    };
    assert_eq!(line(r#""response_time":"0.001, 0.002 : 0.003","request_time":"0.019""#), Some(19_000));
    assert_eq!(line(r#""response_time":"0.001, 0.002 : 0.003""#), Some(6_000));
    assert_eq!(line(r#""response_time":"-, 0.002""#), Some(2_000));
    assert_eq!(line(r#""response_time":"-""#), None);
    assert_eq!(line(r#""upstream_response_time":"0.001, 0.002","request_time":"0.019""#), Some(19_000));
}

#[test]
fn a_dash_for_a_number_is_no_number_and_no_defect() {
    let line = read(
        r#"{"msec":"1795196652.167","status":"-","request_time":"-","body_bytes_sent":"-","bytes_in":-,"uri":"/a"}"#,
    );
    assert_eq!((line.status, line.duration_us, line.bytes_in, line.bytes_out), (None, None, None, None));
}

#[test]
fn a_refused_request_is_read_from_its_request_line() {
    let line =
        read(r#"{"msec":"1795196652.333","method":"","uri":"","request":"GET /with space HTTP/1.1","status":400}"#);
    assert_eq!(line.request.method, Some("GET"));
    assert_eq!(line.request.target, Target::Path(b"/with space".into()));
}

#[test]
fn empty_variables_without_quotes_are_tolerated() {
    let line = read(
        r#"{"time":"2026-11-20T17:44:12+00:00","status":200,"request_time":-,"upstream":,"x":null,"list":[1,{"a":"}"}],"o":{}}"#,
    );
    assert_eq!((line.status, line.duration_us), (Some(200), None));
}

#[test]
fn a_nested_request_object_is_read() {
    let line = read(
        r#"{"ts":1646861401.524,"request":{"remote_ip":"10.0.0.1","method":"GET","uri":"/n","headers":{"A":["b"]}},"duration":0.000929,"size":10,"status":200}"#,
    );
    assert_eq!(line.request.target, Target::Path(b"/n".into()));
    assert_eq!((line.duration_us, line.bytes_out), (Some(929), Some(10)));
}

#[test]
fn invalid_utf8_and_foreign_escapes_pass() {
    let line =
        b"{\"time\":\"2026-11-20T17:44:12+00:00\",\"uri\":\"/raw\xff\xfepath\",\"ua\":\"a\\x22b\",\"status\":200}";
    let line = parse(line, DurationUnit::S).unwrap();
    assert_eq!(line.request.target, Target::Path(b"/raw\xff\xfepath".as_slice().into()));
}

#[test]
fn a_client_address_in_host_is_not_taken() {
    assert_eq!(read(r#"{"time":"2026-11-20T17:44:12+00:00","host":"172.31.7.82","status":200}"#).host, None);
}

#[test]
fn a_traceparent_header_gives_the_trace() {
    let line = r#"{"ts":1795196652,"status":200,"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","request_id":"70c7f2a3419bc09025ab900681b8bc1e"}"#;
    assert_eq!(read(line).trace_id, Some("4bf92f3577b34da6a3ce929d0e0e4736"));
}

#[test]
fn each_defect_has_its_reason() {
    let cases = [
        (r#"{"time":"2026-11-20T17:44:12+00:00","status":200"#, Malformed::NotJson),
        (r#"{"time":"2026-11-20T17:44:12+00:00","status":200} x"#, Malformed::NotJson),
        (r#"{"time":"2026-11-20T17:4"#, Malformed::NotJson),
        (r#"{"time":"yesterday","status":200}"#, Malformed::NoTime),
        (r#"{"status":200}"#, Malformed::NoTime),
        (r#"{"time":"2026-11-20T17:44:12+00:00","level":"info"}"#, Malformed::NoRequest),
        (r#"{"time":"2026-11-20T17:44:12+00:00","status":"ok"}"#, Malformed::BadStatus),
        ("[]", Malformed::NotJson),
    ];
    for (line, reason) in cases {
        assert_eq!(parse(line.as_bytes(), DurationUnit::S).unwrap_err(), reason, "{line}");
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(line in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = parse(&line, DurationUnit::S);
    }

    #[test]
    fn json_punctuation_in_any_order_never_panics(line in "[{}\\[\\]\",:\\\\ a0-]{0,80}") {
        let _ = parse(format!("{{\"time\":{line}").as_bytes(), DurationUnit::S);
    }
}
