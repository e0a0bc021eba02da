//! Query strings of the read API.

use axum::http::Uri;
use peep_stream::levels::Horizons;
use peep_stream::query::{
    CompareQuery, DiffersQuery, EventsQuery, FindingsQuery, HeatmapQuery, LiveQuery, Parameters, ReconcileQuery,
    RejectsQuery, RejectsSummaryQuery, ReleasesQuery, SeriesQuery, ServicesQuery, SuggestQuery, SummaryQuery,
};

const NOW_MS: i64 = 1_795_200_000_000;
/// A day in steps of ten seconds.
const POINTS_MAX: i64 = 8640;
const COLUMNS_MAX: i64 = 720;

/// Whatever is asked: a question within bounds, or an error that says which parameter is wrong, in printable text.
pub(crate) fn check(data: &[u8]) {
    // What HTTP lets through in a request's target.
    if !data.iter().all(|byte| (0x21..=0x7e).contains(byte) && *byte != b'#') {
        return;
    }
    let Ok(uri) = [b"/v1/x?", data].concat().try_into().map(|uri: Uri| uri) else { return };
    let Ok(parameters) = Parameters::of(&uri) else { return };
    let errors = [
        ServicesQuery::parse(&parameters, NOW_MS).err(),
        SummaryQuery::parse(&parameters, NOW_MS).err(),
        SeriesQuery::parse(&parameters, NOW_MS)
            .map(|query| {
                let window = query.asked.window(&Horizons::default()).expect("a question is within bounds");
                assert!(window.from_s < window.to_s && (1..=POINTS_MAX).contains(&window.points()), "{window:?}");
                assert_eq!((window.to_s - window.from_s) % window.step_s, 0, "{window:?}");
            })
            .err(),
        EventsQuery::parse(&parameters, NOW_MS)
            .map(|query| {
                assert!(query.from_ms < query.to_ms, "{query:?}");
                assert!(query.duration_us_min.is_none_or(|least| least >= 0), "{query:?}");
            })
            .err(),
        ReconcileQuery::parse(&parameters, NOW_MS)
            .map(|query| assert!(query.from_ms < query.to_ms && query.from_ms % 60_000 == 0, "{query:?}"))
            .err(),
        RejectsQuery::parse(&parameters, NOW_MS)
            .map(|query| assert!(query.from_ms < query.to_ms && query.limit > 0, "{query:?}"))
            .err(),
        FindingsQuery::parse(&parameters, NOW_MS)
            .map(|query| assert!(query.range_s.is_none_or(|(from_s, to_s)| from_s < to_s), "{query:?}"))
            .err(),
        CompareQuery::parse(&parameters, NOW_MS).map(|query| assert_ne!(query.a, query.b)).err(),
        SuggestQuery::parse(&parameters).err(),
        RejectsSummaryQuery::parse(&parameters, NOW_MS)
            .map(|query| assert!(query.from_ms < query.to_ms, "{query:?}"))
            .err(),
        HeatmapQuery::parse(&parameters, NOW_MS)
            .map(|query| {
                let window = query.asked.window(&Horizons::default()).expect("a question is within bounds");
                assert!((1..=COLUMNS_MAX).contains(&window.points()), "{window:?}");
            })
            .err(),
        DiffersQuery::parse(&parameters, NOW_MS)
            .map(|query| {
                let whole = query.asked.window(&Horizons::default()).expect("a question is within bounds");
                let part = query.selection.asked.window(&Horizons::default()).expect("so is a part of it");
                assert!(whole.from_s <= part.from_s && part.from_s < part.to_s && part.to_s <= whole.to_s, "{query:?}");
                assert!(query.selection.us_min < query.selection.us_max, "{query:?}");
            })
            .err(),
        ReleasesQuery::parse(&parameters, NOW_MS).map(|query| assert!(query.from_ms < query.to_ms, "{query:?}")).err(),
        LiveQuery::parse(&parameters)
            .map(|query| {
                assert!(query.step_s > 0 && query.window_s > 0 && query.window_s % query.step_s == 0, "{query:?}");
            })
            .err(),
    ];
    for error in errors.into_iter().flatten() {
        assert!(error.status.is_client_error(), "{error:?}");
        assert!(error.message.len() <= 8192, "{} bytes", error.message.len());
    }
}
