//! The catalogue of what the stream service says about itself: the only place with metric names.
//!
//! Labels are words of this file, never anything a user chose.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::alerts::store::Outcome;
use crate::message::Kind;
use crate::stitch::Held;

/// Bytes of all answers that are being made.
pub const QUERY_BYTES: &str = "peep_stream_query_bytes";
/// Bytes of live frames that are held.
pub const FEED_BYTES: &str = "peep_stream_feed_bytes";
/// Live frames by what became of them: `appended`, `replaced`, `known`, `stale`.
pub const FEED_FRAMES_TOTAL: &str = "peep_stream_feed_frames_total";
/// Frames let go before their time because the budget was spent.
pub const FEED_EVICTIONS_TOTAL: &str = "peep_stream_feed_evictions_total";
/// Live records, or cells in them, that could not be decoded.
pub const FEED_UNREADABLE_TOTAL: &str = "peep_stream_feed_unreadable_total";
/// Failed reads of the live log.
pub const FEED_READ_FAILURES_TOTAL: &str = "peep_stream_feed_read_failures_total";
/// Answers that had to be stitched again because of a gap.
pub const STITCH_RETRIES_TOTAL: &str = "peep_stream_stitch_retries_total";
/// Rollup rows read for answers.
pub const HISTORY_ROWS_TOTAL: &str = "peep_stream_history_rows_total";
/// Bytes of sums that need not be read again.
pub const CLOSED_BYTES: &str = "peep_stream_closed_bytes";
/// Days, parts of days and tens of minutes that answers were made of, by where they came from: `remembered`, `read`.
pub const CLOSED_SPANS_TOTAL: &str = "peep_stream_closed_spans_total";
/// Time of a question, waiting for its turn left out.
pub const QUERY_SECONDS: &str = "peep_stream_query_seconds";
/// Requests by path and status class.
pub const REQUESTS_TOTAL: &str = "peep_stream_requests_total";
/// Time to the first byte of an answer, by path.
pub const REQUEST_SECONDS: &str = "peep_stream_request_seconds";
/// Open connections.
pub const CONNECTIONS: &str = "peep_stream_connections";
/// Connections cut because the client took no data.
pub const CONNECTIONS_CUT_TOTAL: &str = "peep_stream_connections_cut_total";
/// Live views in memory.
pub const TOPICS: &str = "peep_stream_topics";
/// Bytes of live views that were published lately.
pub const TOPIC_BYTES: &str = "peep_stream_topic_bytes";
/// Live views built again, by reason: `gap`, `superseded`, `behind`.
pub const TOPIC_REBUILDS_TOTAL: &str = "peep_stream_topic_rebuilds_total";
/// Rows folded into `(other)` because memory was short.
pub const TOPIC_ROWS_SHED_TOTAL: &str = "peep_stream_topic_rows_shed_total";
/// Viewers of live views.
pub const SUBSCRIBERS: &str = "peep_stream_subscribers";
/// Viewers by transport: `websocket`, `sse`.
pub const VIEWERS: &str = "peep_stream_viewers";
/// Viewers sent away, by reason: `stalled` (takes nothing), `slow` (with a time to come back), `revoked`, `violation` (of the
/// WebSocket protocol), `flood` (of frames).
pub const VIEWERS_CUT_TOTAL: &str = "peep_stream_viewers_cut_total";
/// Messages handed to viewers, by type.
pub const MESSAGES_TOTAL: &str = "peep_stream_messages_total";
/// Versions that slow viewers did not get one by one.
pub const FRAMES_SKIPPED_TOTAL: &str = "peep_stream_frames_skipped_total";
/// Bytes of encoded frames, each counted once however many viewers it has.
pub const FRAME_BYTES_TOTAL: &str = "peep_stream_frame_bytes_total";
/// Label sets of observed services in `/metrics`.
pub const PROMETHEUS_SETS: &str = "peep_stream_prometheus_sets";
/// Requests counted as `(other)` there.
pub const PROMETHEUS_FOLDED_TOTAL: &str = "peep_stream_prometheus_folded_total";
/// Requests counted from the rollups because their live frames did not come.
pub const PROMETHEUS_RECOVERED_TOTAL: &str = "peep_stream_prometheus_recovered_total";
/// Requests that are in the rollups and not in the counters for Prometheus.
pub const PROMETHEUS_MISSED_TOTAL: &str = "peep_stream_prometheus_missed_total";
/// From handing a freshness probe to the log until a live frame has counted it.
pub const PROBE_SECONDS: &str = "peep_stream_freshness_seconds";
/// Freshness probes that did not come within ten seconds.
pub const PROBES_LOST_TOTAL: &str = "peep_stream_freshness_lost_total";
/// Looks at alert rules, by outcome: `looked`, `behind` (live frames are late: nothing can be concluded), `failed`.
pub const ALERT_LOOKS_TOTAL: &str = "peep_stream_alert_looks_total";
/// Rules that began (`firing`) or ceased (`resolved`) to fire.
pub const ALERT_TURNS_TOTAL: &str = "peep_stream_alert_turns_total";
/// Tries to tell a receiver, by outcome: `delivered`, `again`, `gave_up`.
pub const ALERT_DELIVERIES_TOTAL: &str = "peep_stream_alert_deliveries_total";

/// Buckets for [`QUERY_SECONDS`] and [`REQUEST_SECONDS`]: a summary of 15 min takes a few ms, the statement timeout is
/// 10 s.
pub const SECONDS_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Buckets for [`PROBE_SECONDS`]: frames come every 200 ms, a probe is given up after 10 s.
pub const PROBE_SECONDS_BUCKETS: &[f64] = &[0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0];

/// Registers the help texts.
pub fn describe() {
    describe_gauge!(QUERY_BYTES, Unit::Bytes, "Bytes of all answers that are being made.");
    describe_gauge!(FEED_BYTES, Unit::Bytes, "Bytes of live frames that are held.");
    describe_counter!(FEED_FRAMES_TOTAL, "Live frames by what became of them.");
    describe_counter!(FEED_EVICTIONS_TOTAL, "Live frames let go early because the memory budget was spent.");
    describe_counter!(FEED_UNREADABLE_TOTAL, "Live records or cells that could not be decoded.");
    describe_counter!(FEED_READ_FAILURES_TOTAL, "Failed reads of the live log.");
    describe_counter!(STITCH_RETRIES_TOTAL, "Answers stitched again because live frames were missing.");
    describe_counter!(HISTORY_ROWS_TOTAL, "Rollup rows read for answers.");
    describe_gauge!(CLOSED_BYTES, Unit::Bytes, "Bytes of sums that need not be read again.");
    describe_counter!(
        CLOSED_SPANS_TOTAL,
        "Days, parts of days and tens of minutes of answers, by where their sums came from."
    );
    describe_histogram!(QUERY_SECONDS, Unit::Seconds, "Time of a question, by outcome.");
    describe_counter!(REQUESTS_TOTAL, "Requests by path and status class.");
    describe_histogram!(REQUEST_SECONDS, Unit::Seconds, "Time to the first byte of an answer, by path.");
    describe_gauge!(CONNECTIONS, "Open connections.");
    describe_counter!(CONNECTIONS_CUT_TOTAL, "Connections cut because the client took no data.");
    describe_gauge!(TOPICS, "Live views in memory.");
    describe_gauge!(TOPIC_BYTES, Unit::Bytes, "Bytes of live views.");
    describe_counter!(TOPIC_REBUILDS_TOTAL, "Live views built again, by reason.");
    describe_counter!(TOPIC_ROWS_SHED_TOTAL, "Rows folded into (other) because memory was short.");
    describe_gauge!(SUBSCRIBERS, "Viewers of live views.");
    describe_gauge!(VIEWERS, "Viewers by transport.");
    describe_counter!(VIEWERS_CUT_TOTAL, "Viewers sent away, by reason.");
    describe_counter!(MESSAGES_TOTAL, "Messages handed to viewers, by type.");
    describe_counter!(FRAMES_SKIPPED_TOTAL, "Versions slow viewers did not get one by one.");
    describe_counter!(FRAME_BYTES_TOTAL, Unit::Bytes, "Bytes of encoded frames, each counted once.");
    describe_histogram!(PROBE_SECONDS, Unit::Seconds, "Age of a number when it can be seen, by freshness probes.");
    describe_counter!(PROBES_LOST_TOTAL, "Freshness probes that did not come within ten seconds.");
    describe_counter!(ALERT_LOOKS_TOTAL, "Looks at alert rules, by outcome.");
    describe_counter!(ALERT_TURNS_TOTAL, "Alert rules that began or ceased to fire.");
    describe_counter!(ALERT_DELIVERIES_TOTAL, "Tries to tell a receiver of alerts, by outcome.");
    describe_gauge!(PROMETHEUS_SETS, "Label sets of observed services in these metrics.");
    describe_counter!(PROMETHEUS_FOLDED_TOTAL, "Requests counted under (other) in these metrics.");
    describe_counter!(
        PROMETHEUS_RECOVERED_TOTAL,
        "Requests counted from the rollups because live frames were missing."
    );
    describe_counter!(PROMETHEUS_MISSED_TOTAL, "Requests in the rollups that these metrics do not count.");
}

pub(crate) fn feed_bytes(bytes: usize) {
    gauge!(FEED_BYTES).set(bytes as f64);
}

pub(crate) fn feed_frame(held: Held) {
    let outcome = match held {
        Held::Appended => "appended",
        Held::Replaced => "replaced",
        Held::Known => "known",
        Held::Stale => "stale",
    };
    counter!(FEED_FRAMES_TOTAL, "outcome" => outcome).increment(1);
}

pub(crate) fn feed_evicted_for_bytes() {
    counter!(FEED_EVICTIONS_TOTAL).increment(1);
}

pub(crate) fn feed_record_unreadable() {
    counter!(FEED_UNREADABLE_TOTAL, "what" => "record").increment(1);
}

pub(crate) fn live_cell_unreadable() {
    counter!(FEED_UNREADABLE_TOTAL, "what" => "cell").increment(1);
}

pub(crate) fn feed_read_failed() {
    counter!(FEED_READ_FAILURES_TOTAL).increment(1);
}

pub(crate) fn stitch_retried() {
    counter!(STITCH_RETRIES_TOTAL).increment(1);
}

pub(crate) fn history_rows_read(rows: u64) {
    counter!(HISTORY_ROWS_TOTAL).increment(rows);
}

pub(crate) fn closed_bytes(bytes: usize) {
    gauge!(CLOSED_BYTES).set(bytes as f64);
}

pub(crate) fn closed_span(from: &'static str) {
    counter!(CLOSED_SPANS_TOTAL, "from" => from).increment(1);
}

/// Measures one question; dropped early, it counts as `abandoned`.
pub(crate) struct QueryTimer {
    started: Instant,
    outcome: &'static str,
}

pub(crate) fn query_bytes(bytes: usize) {
    gauge!(QUERY_BYTES).set(bytes as f64);
}

pub(crate) fn query_timer() -> QueryTimer {
    QueryTimer { started: Instant::now(), outcome: "abandoned" }
}

impl QueryTimer {
    pub(crate) fn finish(mut self, answered: bool) {
        self.outcome = if answered { "answered" } else { "refused" };
    }
}

impl Drop for QueryTimer {
    fn drop(&mut self) {
        histogram!(QUERY_SECONDS, "outcome" => self.outcome).record(self.started.elapsed().as_secs_f64());
    }
}

/// `route` is one of our own path patterns.
pub(crate) fn request_answered(route: &str, status: StatusCode, took: Duration) {
    let class = match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    counter!(REQUESTS_TOTAL, "path" => route.to_owned(), "status" => class).increment(1);
    histogram!(REQUEST_SECONDS, "path" => route.to_owned()).record(took.as_secs_f64());
}

/// Counts a connection while it is open.
pub(crate) struct ConnectionOpen(());

pub(crate) fn connection_opened() -> ConnectionOpen {
    gauge!(CONNECTIONS).increment(1);
    ConnectionOpen(())
}

impl Drop for ConnectionOpen {
    fn drop(&mut self) {
        gauge!(CONNECTIONS).decrement(1);
    }
}

pub(crate) fn stalled_connection_cut() {
    counter!(CONNECTIONS_CUT_TOTAL).increment(1);
}

pub(crate) fn topics(count: usize) {
    gauge!(TOPICS).set(count as f64);
}

pub(crate) fn topic_bytes(bytes: usize) {
    gauge!(TOPIC_BYTES).set(bytes as f64);
}

pub(crate) fn topic_rebuilt(reason: &'static str) {
    counter!(TOPIC_REBUILDS_TOTAL, "reason" => reason).increment(1);
}

pub(crate) fn topic_detail_shed(rows: u64) {
    counter!(TOPIC_ROWS_SHED_TOTAL).increment(rows);
}

pub(crate) fn subscribers(count: usize) {
    gauge!(SUBSCRIBERS).set(count as f64);
}

/// Counts a viewer while it looks.
pub(crate) struct ViewerConnected(&'static str);

pub(crate) fn viewer_connected(transport: &'static str) -> ViewerConnected {
    gauge!(VIEWERS, "transport" => transport).increment(1);
    ViewerConnected(transport)
}

impl Drop for ViewerConnected {
    fn drop(&mut self) {
        gauge!(VIEWERS, "transport" => self.0).decrement(1);
    }
}

/// Why a viewer was sent away.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    Stalled,
    Slow,
    Revoked,
    Violation,
    Flood,
}

pub(crate) fn viewer_cut(why: Cut) {
    let reason = match why {
        Cut::Stalled => "stalled",
        Cut::Slow => "slow",
        Cut::Revoked => "revoked",
        Cut::Violation => "violation",
        Cut::Flood => "flood",
    };
    counter!(VIEWERS_CUT_TOTAL, "reason" => reason).increment(1);
}

/// Counted for many viewers at once.
pub(crate) fn messages_sent(kind: Kind, count: u64) {
    if count > 0 {
        counter!(MESSAGES_TOTAL, "type" => kind.name()).increment(count);
    }
}

pub(crate) fn frames_skipped(versions: u64) {
    counter!(FRAMES_SKIPPED_TOTAL).increment(versions);
}

pub(crate) fn frame_encoded(bytes: usize) {
    counter!(FRAME_BYTES_TOTAL).increment(bytes as u64);
}

pub(crate) fn probe_seen(age: Duration) {
    histogram!(PROBE_SECONDS).record(age.as_secs_f64());
}

pub(crate) fn probe_lost() {
    counter!(PROBES_LOST_TOTAL).increment(1);
}

pub(crate) fn alert_look(outcome: &'static str) {
    counter!(ALERT_LOOKS_TOTAL, "outcome" => outcome).increment(1);
}

pub(crate) fn alert_turned(event: &'static str) {
    counter!(ALERT_TURNS_TOTAL, "event" => event).increment(1);
}

pub(crate) fn alert_delivery(outcome: &Outcome) {
    let outcome = match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Again { .. } => "again",
        Outcome::GaveUp { .. } => "gave_up",
    };
    counter!(ALERT_DELIVERIES_TOTAL, "outcome" => outcome).increment(1);
}

pub(crate) fn prometheus_sets(count: usize) {
    gauge!(PROMETHEUS_SETS).set(count as f64);
}

pub(crate) fn prometheus_folded(requests: u64) {
    counter!(PROMETHEUS_FOLDED_TOTAL).increment(requests);
}

pub(crate) fn prometheus_recovered(found: u64, missed: u64) {
    counter!(PROMETHEUS_RECOVERED_TOTAL).increment(found);
    counter!(PROMETHEUS_MISSED_TOTAL).increment(missed);
}

#[cfg(test)]
mod tests;
