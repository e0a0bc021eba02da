use peep_chassis::telemetry::local_metrics;

use super::*;

/// Renaming or dropping one breaks somebody's dashboard: this list is changed on purpose only.
const CATALOGUE: [&str; 33] = [
    "peep_stream_alert_deliveries_total",
    "peep_stream_alert_looks_total",
    "peep_stream_alert_turns_total",
    "peep_stream_closed_bytes",
    "peep_stream_closed_spans_total",
    "peep_stream_connections",
    "peep_stream_connections_cut_total",
    "peep_stream_feed_bytes",
    "peep_stream_feed_evictions_total",
    "peep_stream_feed_frames_total",
    "peep_stream_feed_read_failures_total",
    "peep_stream_feed_unreadable_total",
    "peep_stream_frame_bytes_total",
    "peep_stream_frames_skipped_total",
    "peep_stream_freshness_lost_total",
    "peep_stream_freshness_seconds",
    "peep_stream_history_rows_total",
    "peep_stream_messages_total",
    "peep_stream_prometheus_folded_total",
    "peep_stream_prometheus_missed_total",
    "peep_stream_prometheus_recovered_total",
    "peep_stream_prometheus_sets",
    "peep_stream_query_seconds",
    "peep_stream_request_seconds",
    "peep_stream_requests_total",
    "peep_stream_stitch_retries_total",
    "peep_stream_subscribers",
    "peep_stream_topic_bytes",
    "peep_stream_topic_rebuilds_total",
    "peep_stream_topic_rows_shed_total",
    "peep_stream_topics",
    "peep_stream_viewers",
    "peep_stream_viewers_cut_total",
];

#[test]
fn every_metric_has_a_help_text_and_a_known_name() {
    let buckets =
        [(QUERY_SECONDS, SECONDS_BUCKETS), (REQUEST_SECONDS, SECONDS_BUCKETS), (PROBE_SECONDS, PROBE_SECONDS_BUCKETS)];
    let (recorder, handle) = local_metrics(&buckets).expect("buckets are not empty");
    metrics::with_local_recorder(&recorder, || {
        describe();
        touch_all();
    });
    let text = handle.render();
    let mut helped: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    helped.retain(|name| name.starts_with("peep_stream_"));
    helped.sort_unstable();
    assert_eq!(helped, CATALOGUE);
    let typed = text.lines().filter(|line| line.starts_with("# TYPE peep_stream_")).count();
    assert_eq!(typed, CATALOGUE.len(), "a metric without a help text: {text}");
}

fn touch_all() {
    closed_bytes(1);
    closed_span("read");
    feed_bytes(1);
    [Held::Appended, Held::Replaced, Held::Known, Held::Stale].into_iter().for_each(feed_frame);
    feed_evicted_for_bytes();
    feed_record_unreadable();
    live_cell_unreadable();
    feed_read_failed();
    stitch_retried();
    history_rows_read(1);
    query_timer().finish(true);
    request_answered("/v1/services", StatusCode::OK, Duration::from_millis(1));
    drop(connection_opened());
    stalled_connection_cut();
    topics(1);
    topic_bytes(1);
    topic_rebuilt("gap");
    topic_detail_shed(1);
    subscribers(1);
    drop(viewer_connected("sse"));
    [Cut::Stalled, Cut::Slow, Cut::Revoked, Cut::Violation, Cut::Flood].into_iter().for_each(viewer_cut);
    messages_sent(Kind::Frame, 1);
    frames_skipped(1);
    frame_encoded(1);
    probe_seen(Duration::from_millis(300));
    probe_lost();
    alert_look("looked");
    alert_turned("firing");
    alert_delivery(&Outcome::Delivered);
    prometheus_sets(1);
    prometheus_folded(1);
    prometheus_recovered(1, 1);
}
