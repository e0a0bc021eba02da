//! The catalogue of what the shipper says about itself: the only place with metric names.
//!
//! Labels are a closed set of words, never anything a log holds. Counters move once per chunk or batch, never per line.
//! Without `--admin` nothing records them, and they cost next to nothing.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

/// Lines and datagrams by outcome: `event`, `malformed`, `blank`.
pub const LINES_TOTAL: &str = "peep_ship_lines_total";
/// Events by what became of them: `accepted`, `rejected`.
pub const EVENTS_TOTAL: &str = "peep_ship_events_total";
/// Batches that were answered for good.
pub const BATCHES_TOTAL: &str = "peep_ship_batches_total";
/// Attempts that failed and were made again.
pub const RETRIES_TOTAL: &str = "peep_ship_retries_total";
/// Bytes of batches that wait for a sending thread.
pub const QUEUED_BYTES: &str = "peep_ship_queued_bytes";
/// Files being read, those that were renamed away included.
pub const OPEN_FILES: &str = "peep_ship_open_files";
/// Bytes of followed files that are written and not read.
pub const LAG_BYTES: &str = "peep_ship_lag_bytes";
/// Datagrams taken, by listener: `syslog_udp`, `syslog_unix`, `nginx`.
pub const DATAGRAMS_TOTAL: &str = "peep_ship_datagrams_total";
/// Datagrams that the kernel dropped because nobody took them in time, as far as it counts them: those of UDP.
pub const DATAGRAMS_DROPPED_TOTAL: &str = "peep_ship_datagrams_dropped_total";
/// Events that nginx's workers dropped because nobody took them in time, as they tell it.
pub const NGINX_EVENTS_DROPPED_TOTAL: &str = "peep_ship_nginx_events_dropped_total";
/// Events that workers have sent and that were in no datagram that arrived.
pub const NGINX_EVENTS_MISSING_TOTAL: &str = "peep_ship_nginx_events_missing_total";

/// Registers the help texts; call once after the recorder is installed.
pub fn describe() {
    describe_counter!(LINES_TOTAL, "Log lines by outcome.");
    describe_counter!(EVENTS_TOTAL, "Events by what ingest said of them.");
    describe_counter!(BATCHES_TOTAL, "Batches that were answered for good.");
    describe_counter!(RETRIES_TOTAL, "Attempts to send a batch that failed and were made again.");
    describe_gauge!(QUEUED_BYTES, Unit::Bytes, "Bytes of batches that wait to be sent.");
    describe_gauge!(OPEN_FILES, "Log files being read, those that were renamed away included.");
    describe_gauge!(LAG_BYTES, Unit::Bytes, "Bytes of followed logs that are written and not yet read.");
    describe_counter!(DATAGRAMS_TOTAL, "Datagrams taken, by listener.");
    describe_counter!(
        DATAGRAMS_DROPPED_TOTAL,
        "Datagrams that the kernel dropped before they were taken, where it counts them (UDP)."
    );
    describe_counter!(
        NGINX_EVENTS_DROPPED_TOTAL,
        "Events that nginx dropped because the shipper did not take them in time, as its workers tell."
    );
    describe_counter!(
        NGINX_EVENTS_MISSING_TOTAL,
        "Events that nginx has sent and that did not arrive, by the gaps in its workers' numbers."
    );
    for outcome in ["event", "malformed", "blank"] {
        counter!(LINES_TOTAL, "outcome" => outcome).increment(0);
    }
    answered(0, 0);
    counter!(BATCHES_TOTAL).increment(0);
    counter!(RETRIES_TOTAL).increment(0);
    queued_bytes(0);
}

/// Totals, as the report has them.
pub(crate) fn lines(events: u64, malformed: u64, blank: u64) {
    counter!(LINES_TOTAL, "outcome" => "event").absolute(events);
    counter!(LINES_TOTAL, "outcome" => "malformed").absolute(malformed);
    counter!(LINES_TOTAL, "outcome" => "blank").absolute(blank);
}

pub(crate) fn answered(accepted: u64, rejected: u64) {
    counter!(EVENTS_TOTAL, "outcome" => "accepted").increment(accepted);
    counter!(EVENTS_TOTAL, "outcome" => "rejected").increment(rejected);
    counter!(BATCHES_TOTAL).increment(1);
}

pub(crate) fn retried() {
    counter!(RETRIES_TOTAL).increment(1);
}

pub(crate) fn queued_bytes(bytes: usize) {
    gauge!(QUEUED_BYTES).set(bytes as f64);
}

pub(crate) fn reading(open_files: usize, lag_bytes: u64) {
    gauge!(OPEN_FILES).set(open_files as f64);
    gauge!(LAG_BYTES).set(lag_bytes as f64);
}

pub(crate) fn datagrams(listener: &'static str, taken: u64) {
    counter!(DATAGRAMS_TOTAL, "listener" => listener).increment(taken);
}

/// A total, as the kernel has it.
pub(crate) fn datagrams_dropped(listener: &'static str, total: u64) {
    counter!(DATAGRAMS_DROPPED_TOTAL, "listener" => listener).absolute(total);
}

/// By how much the losses of nginx's workers have grown.
pub(crate) fn nginx_lost(dropped: u64, missing: u64) {
    counter!(NGINX_EVENTS_DROPPED_TOTAL).increment(dropped);
    counter!(NGINX_EVENTS_MISSING_TOTAL).increment(missing);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_explains_itself_and_is_in_the_reference() {
        let (recorder, handle) = peep_chassis::telemetry::local_metrics(&[]).unwrap();
        let text = ::metrics::with_local_recorder(&recorder, || {
            describe();
            lines(1, 2, 3);
            reading(1, 2);
            datagrams("syslog_udp", 1);
            datagrams_dropped("syslog_udp", 1);
            nginx_lost(1, 1);
            handle.render()
        });
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/shipping.md");
        let page = std::fs::read_to_string(page).unwrap();
        for line in text.lines().filter(|line| line.starts_with("# TYPE peep_ship_")) {
            let name = line.split_whitespace().nth(2).unwrap();
            let help = text.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} "))).unwrap_or_default();
            let row = format!("| `{name}` | {help} |");
            assert!(!help.is_empty() && page.contains(&row), "docs/shipping.md should hold {row}");
        }
    }
}
