use super::*;

fn iso_of(milliseconds: i64) -> String {
    jiff::Timestamp::from_millisecond(milliseconds).unwrap().to_string()
}

#[test]
fn common_log_time_with_a_zone() {
    assert_eq!(iso_of(parse_common_log(b"22/Jan/2019:03:56:14 +0330").unwrap()), "2019-01-22T00:26:14Z");
    assert_eq!(iso_of(parse_common_log(b"29/Feb/2024:23:59:60 -0500").unwrap()), "2024-03-01T04:59:59Z");
}

#[test]
fn nonsense_is_no_common_log_time() {
    for text in
        ["29/Feb/2023:00:00:00 +0000", "17/Mai/2015:10:05:03 +0000", "17/May/2015:25:05:03 +0000", "17/May/2015"]
    {
        assert_eq!(parse_common_log(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn iso_time_agrees_with_a_second_implementation() {
    for text in
        ["2024-10-12T23:14:20+09:00", "2026-11-20T17:44:12.167Z", "2000-02-29T00:00:00-03:30", "1969-12-31T23:59:59Z"]
    {
        let expected = text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        assert_eq!(parse_iso(text.as_bytes()), Some(expected), "{text}");
    }
}

#[test]
fn iso_time_without_a_zone_is_refused_because_it_is_ambiguous() {
    assert_eq!(parse_iso(b"2024-10-12T23:14:20"), None);
    assert_eq!(parse_iso(b"2024-10-12T23:14:20 "), None);
}

#[test]
fn epoch_seconds_and_milliseconds() {
    assert_eq!(parse_epoch(b"1795196652.167"), Some(1_795_196_652_167));
    assert_eq!(parse_epoch(b"1795196652"), Some(1_795_196_652_000));
    assert_eq!(parse_epoch(b"1795196652167"), Some(1_795_196_652_167));
    assert_eq!(parse_epoch(b"42"), None);
}

#[test]
fn durations_become_exact_microseconds() {
    assert_eq!(parse_duration_us(b"0.019", DurationUnit::S), Some(19_000));
    assert_eq!(parse_duration_us(b"30.868", DurationUnit::S), Some(30_868_000));
    assert_eq!(parse_duration_us(b"1.5", DurationUnit::Ms), Some(1_500));
    assert_eq!(parse_duration_us(b"1234", DurationUnit::Us), Some(1_234));
    for text in ["", "-", ".5", "1.", "-0.001", "1e3", "0.0.1", "99999999999999999999"] {
        assert_eq!(parse_duration_us(text.as_bytes(), DurationUnit::S), None, "{text}");
    }
}

#[test]
fn the_times_of_several_upstreams_are_added_up() {
    for (list, expected) in [
        ("0.001, 0.002 : 0.003", Some(6_000)),
        ("0.000, 0.003", Some(3_000)),
        ("-, 0.003", Some(3_000)),
        ("0.004", Some(4_000)),
        ("- : -", None),
        ("", None),
        ("0.001, x", None),
    ] {
        assert_eq!(parse_upstream_us(list.as_bytes(), DurationUnit::S), expected, "{list}");
    }
}

proptest::proptest! {
    #[test]
    fn any_date_agrees_with_a_second_implementation(milliseconds in 0_i64..4_102_444_800_000) {
        let text = iso_of(milliseconds);
        proptest::prop_assert_eq!(parse_iso(text.as_bytes()), Some(milliseconds));
    }

    #[test]
    fn arbitrary_bytes_never_panic(text in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
        let _ = (parse_iso(&text), parse_common_log(&text), parse_epoch(&text), parse_duration_us(&text, DurationUnit::S));
        let _ = parse_upstream_us(&text, DurationUnit::S);
    }
}
