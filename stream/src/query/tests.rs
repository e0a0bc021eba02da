use super::*;

/// 2026-11-20T14:00:03.500Z
const NOW_MS: i64 = 1_795_183_203_500;

fn parameters(query: &str) -> Parameters {
    let uri = format!("/v1/x?{query}").parse().expect("a test writes valid URIs");
    Parameters::of(&uri).expect("a test writes valid query strings")
}

fn series(query: &str) -> Result<SeriesQuery, ApiError> {
    SeriesQuery::parse(&parameters(query), NOW_MS)
}

/// The window while everything is kept.
fn kept(query: Result<SeriesQuery, ApiError>) -> Window {
    query.expect("valid").asked.window(&Horizons::default()).expect("can be answered")
}

#[test]
fn the_default_step_is_one_that_is_kept() {
    let day_s = 86_400;
    let now_s = NOW_MS / 1000;
    let horizons = Horizons { ten_seconds_s: now_s - 3 * day_s, minute_s: now_s - 35 * day_s, hour_s: 0 };
    let steps = [("from=-1h", 10), ("from=-73h&to=-72h", 60), ("from=-40d&to=-39d", 3600), ("from=-40d", 21_600)];
    for (query, step_s) in steps {
        let window = series(query).expect("valid").asked.window(&horizons).expect("can be answered");
        assert_eq!(window.step_s, step_s, "{query}");
    }
}

#[test]
fn a_sliding_range_has_the_same_number_of_steps_at_any_moment() {
    for after_ms in [0, 1, 499, 6_500, 9_999] {
        let window = kept(SeriesQuery::parse(&parameters("from=-15m"), NOW_MS + after_ms));
        assert_eq!((window.points(), window.step_s), (90, 10));
        assert!(window.to_s * 1000 >= NOW_MS + after_ms);
    }
}

#[test]
fn a_named_moment_is_covered() {
    let window = kept(series("from=2026-11-20T13:00:03Z&to=2026-11-20T14:00:03%2B00:00"));
    assert_eq!(window, Window { from_s: 1_795_179_600, to_s: 1_795_183_230, step_s: 30 });
    let exact = kept(series("from=1795179600000&to=1795183200000"));
    assert_eq!((exact.points(), exact.step_s), (360, 10));
}

#[test]
fn the_default_step_keeps_a_chart_below_360_points() {
    let steps = [("5m", 10), ("1h", 10), ("6h", 60), ("24h", 300), ("7d", 3600), ("30d", 21_600), ("400d", 86_400)];
    for (range, step_s) in steps {
        let window = kept(series(&format!("from=-{range}")));
        assert_eq!(window.step_s, step_s, "{range}");
        assert!(window.points() <= 400, "{range}: {}", window.points());
    }
}

#[test]
fn a_rate_divides_by_the_time_that_has_passed() {
    let window = Window { from_s: 1000, to_s: 1100, step_s: 10 };
    assert_eq!(window.elapsed_s(1_050_000, None), 50.0);
    assert_eq!(window.elapsed_s(1_050_000, Some(1_001_000)), 50.0);
    assert_eq!(window.elapsed_s(9_000_000, Some(1_090_000)), 100.0);
    assert_eq!(window.elapsed_s(1_000_001, None), 1.0, "of a moment no rate can be told");
}

#[test]
fn a_rate_of_events_that_are_still_to_come_divides_by_the_whole_window() {
    let window = Window { from_s: 1000, to_s: 1100, step_s: 10 };
    assert_eq!(window.elapsed_s(0, Some(1_020_000)), 100.0, "all of it");
    assert_eq!(window.elapsed_s(1_010_000, Some(1_050_000)), 100.0, "a part of it");
    assert_eq!(window.elapsed_s(1_050_000, Some(1_050_250)), 50.25, "a clock that is a little ahead");
}

#[test]
fn equal_questions_share_a_topic_whatever_the_order() {
    let live = |query: &str| LiveQuery::parse(&parameters(query)).expect("valid");
    assert_eq!(live("service=b&service=a&service=b"), live("service=a&service=b&since=x-1"));
    assert_ne!(live("step=10s"), live("step=20s&window=10m"));
    let default = live("");
    assert_eq!((default.step_s, default.window_s), (10, 900));
}

#[test]
fn what_is_on_screen_ends_with_the_open_step() {
    let query = LiveQuery::parse(&parameters("window=60s")).expect("valid");
    let window = query.window_at(NOW_MS);
    assert_eq!((window.from_s, window.to_s), (1_795_183_150, 1_795_183_210));
}

#[test]
fn every_bad_value_names_its_parameter_and_the_fix() {
    let table = [
        ("from=yesteday", "invalid_parameter", "`from`: `yesteday` is not a time; write RFC 3339"),
        ("to=2026-13-01T00:00:00Z", "invalid_parameter", "`to`: `2026-13-01T00:00:00Z` is not a time"),
        ("from=99999999999999999999", "invalid_parameter", "`from`"),
        ("from=now&to=-1m", "invalid_parameter", "`from`: must be before `to`"),
        ("from=-401d", "query_too_wide", "move `from` closer"),
        ("step=1s", "invalid_parameter", "`step`: `1s` cannot be used; write a multiple of 10 s"),
        ("step=10", "invalid_parameter", "`step`: `10` is not a span of time"),
        ("from=-30d&step=10s", "query_too_wide", "use `step=6h`"),
        ("status=700", "invalid_parameter", "`status`: `700` cannot be used; write a status such as `502`"),
        ("status=6xx", "invalid_parameter", "`status`"),
        ("method=FETCH", "invalid_parameter", "`method`"),
        ("service=", "invalid_parameter", "`service`: is empty"),
        ("service=a%00b", "invalid_parameter", "`service`: contains a zero byte"),
        ("group_by=service,pod", "invalid_parameter", "`group_by`: `pod` cannot be used; write any of env, service"),
        ("service=!", "invalid_parameter", "`service`: is empty"),
        ("status=!6xx", "invalid_parameter", "`status`: `6xx` cannot be used"),
        ("quantiles=0.5,1.5", "invalid_parameter", "`quantiles`: `1.5` is not a quantile"),
        ("step=1m&step=2m", "invalid_parameter", "`step`: is given more than once"),
        ("sevrice=a", "unknown_parameter", "`sevrice` is not a parameter of this endpoint; it takes from, to, step"),
    ];
    for (query, code, message) in table {
        let error = series(query).expect_err(query);
        assert_eq!(error.code, code, "{query}");
        assert!(error.message.contains(message), "{query}: {}", error.message);
    }
}

#[test]
fn events_take_a_trace_and_a_shortest_duration() {
    let query = "trace_id=4bf92f3577b34da6a3ce929d0e0e4736&min_duration_ms=1.0005&limit=5&q=time%20out";
    let events = EventsQuery::parse(&parameters(query), NOW_MS).expect("valid");
    assert_eq!(events.duration_us_min, Some(1001));
    assert_eq!(events.trace_id.map(|id| id[0]), Some(0x4b));
    assert_eq!((events.limit, events.text.as_deref()), (5, Some("time out")));
    for query in ["limit=0", "limit=1001", "min_duration_ms=-1", "min_duration_ms=NaN", "trace_id=xyz"] {
        assert!(EventsQuery::parse(&parameters(query), NOW_MS).is_err(), "{query}");
    }
}

#[test]
fn methods_and_statuses_are_read_as_they_are_stored() {
    let filters = series("method=get&status=5XX&status=404&status=unknown").expect("valid").filters;
    assert_eq!(filters.method, ["GET"]);
    assert_eq!(filters.statuses(), [404]);
    assert_eq!(filters.status_classes(), [5, 0]);
}

#[test]
fn a_value_with_an_exclamation_mark_is_excluded() {
    let filters = series("service=a&service=!b&status=!5xx&version=!v2&host=&method=!get").expect("valid").filters;
    assert_eq!(
        (filters.service.as_slice(), filters.host.as_slice()),
        (["a".to_owned()].as_slice(), [String::new()].as_slice())
    );
    assert!(filters.version.is_empty() && filters.status.is_empty());
    let without = filters.without.expect("something is excluded");
    assert_eq!(
        (without.service, without.version, without.method),
        (vec!["b".to_owned()], vec!["v2".to_owned()], vec!["GET".to_owned()])
    );
    assert_eq!(without.status, [StatusFilter::Class(5)]);
    assert!(series("service=a").expect("valid").filters.without.is_none());
}

#[test]
fn a_selection_is_widened_to_what_is_stored() {
    let (from_ms, to_ms) = (NOW_MS - 123_456, NOW_MS - 60_001);
    let parse = |sel: &str| DiffersQuery::parse(&parameters(&format!("from=-15m&sel={sel}")), NOW_MS);
    let selection = parse(&format!("{from_ms},{to_ms},1000001,2500000")).expect("valid").selection;
    let window = selection.asked.window(&Horizons::default()).expect("can be answered");
    assert!(window.from_s * 1000 <= from_ms && window.from_s % 10 == 0 && from_ms - window.from_s * 1000 < 10_000);
    assert!(window.to_s * 1000 >= to_ms && window.to_s % 10 == 0 && window.points() == 1);
    assert!(selection.us_min <= 1_000_001 && selection.us_max >= 2_500_000 && selection.us_max < 2_503_000);
    // What begins and ends with a bucket stays as it is.
    let again = format!("{},{},{},{}", window.from_s * 1000, window.to_s * 1000, selection.us_min, selection.us_max);
    assert_eq!(parse(&again).expect("valid").selection, selection);
    for nonsense in ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "5,5,0,1", "0,9,5,5", "0,9,-1,5", "1,2,0,9"] {
        let error = parse(nonsense).expect_err(nonsense);
        assert!(error.message.contains("`sel`"), "{nonsense}: {}", error.message);
    }
}
