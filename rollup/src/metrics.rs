//! The catalogue of what the rollup says about itself: the only place with metric names.
//!
//! Labels are the partition's number or a closed set of words, never anything a client chose, except in one bounded place
//! ([`FOLDED_TOTAL`]). Counters move once per
//! record batch, publish or flush, never per event.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use parking_lot::Mutex;

use crate::books::Counts;
use crate::cardinality::{OTHER, Overflow};
use crate::level::{Family, Level};
use crate::partition::{Cut, Partition};
use crate::poison::Reason;
use crate::postgres::level::raise::Pass;

/// Log records applied, by partition.
pub const RECORDS_TOTAL: &str = "peep_rollup_records_total";
/// Committed events by outcome: `rolled_up`, `dead_lettered` or `duplicate`.
pub const EVENTS_TOTAL: &str = "peep_rollup_events_total";
/// Committed dead letters by reason.
pub const DEAD_LETTERS_TOTAL: &str = "peep_rollup_dead_letters_total";
/// Committed events in windows by how well a retry of theirs would be recognised: `certain`, `uncertain` (the producer was
/// unknown and did not begin at 0) or `unidentified`.
pub const RECOGNISED_TOTAL: &str = "peep_rollup_events_recognised_total";
/// Producers remembered, by partition.
pub const PRODUCERS: &str = "peep_rollup_producers";
/// Producers that had to make room for others before their time was over.
pub const PRODUCERS_FORGOTTEN_TOTAL: &str = "peep_rollup_producers_forgotten_total";
/// Series that have a place on this or the previous day of the log, by partition.
pub const SERIES_BUDGETED: &str = "peep_rollup_series_budgeted";
/// Committed events in `(other)` series, by project, service and the segment with too many values: `/api/orders/*`.
pub const FOLDED_TOTAL: &str = "peep_rollup_events_folded_total";
/// Flushes by outcome: `committed`, `fenced`, `failed`, `timed_out`.
pub const FLUSHES_TOTAL: &str = "peep_rollup_flushes_total";
/// One flush, from its first statement to the answer of the commit.
pub const FLUSH_SECONDS: &str = "peep_rollup_flush_seconds";
/// Committed rows by table.
pub const ROWS_TOTAL: &str = "peep_rollup_rows_total";
/// The committed cursor, by partition.
pub const CURSOR_OFFSET: &str = "peep_rollup_cursor_offset";
/// Records in the log that are not committed yet, by partition.
pub const LAG_RECORDS: &str = "peep_rollup_lag_records";
/// Time between the append of the last applied record and now, by partition; 0 at the end of the log.
pub const LAG_SECONDS: &str = "peep_rollup_lag_seconds";
/// 0 = not owned by this worker, 1 = running, 2 = broken; by partition.
pub const PARTITION_STATE: &str = "peep_rollup_partition_state";
/// Bytes of windows, samples, running flushes and series.
pub const MEMORY_BYTES: &str = "peep_rollup_memory_bytes";
/// Windows waiting for the next flush, by partition.
pub const OPEN_WINDOWS: &str = "peep_rollup_open_windows";
/// Series kept in memory, by partition.
pub const SERIES: &str = "peep_rollup_series";
/// Live frames by outcome: `published`, `failed`, `skipped`.
pub const FRAMES_TOTAL: &str = "peep_rollup_frames_total";
/// Raw events by outcome: `kept`, `sampled_out`, `errors_sampled_out`.
pub const RAW_EVENTS_TOTAL: &str = "peep_rollup_raw_events_total";
/// Times the slowest events of a flush were not guaranteed for want of memory.
pub const RAW_SLOWEST_GIVEN_UP_TOTAL: &str = "peep_rollup_raw_slowest_given_up_total";
/// Times a partition stopped reading because the memory budget was used up.
pub const STALLS_TOTAL: &str = "peep_rollup_stalls_total";
/// Partitions of tables made and dropped, by action: `made`, `dropped`.
pub const TABLE_PARTITIONS_TOTAL: &str = "peep_rollup_table_partitions_total";
/// Passes of the leveler by level and outcome: `made`, `failed` (the database), `refused` (the sums do not add up).
pub const LEVEL_PASSES_TOTAL: &str = "peep_rollup_level_passes_total";
/// Rows of the levels by level and action: `read`, `written`, `compacted`.
pub const LEVEL_ROWS_TOTAL: &str = "peep_rollup_level_rows_total";
/// One pass of the leveler over one partition, from its first statement to the answer of the commit.
pub const LEVEL_SECONDS: &str = "peep_rollup_level_seconds";
/// Failed passes of the retention.
pub const RETENTION_FAILURES_TOTAL: &str = "peep_rollup_retention_failures_total";

/// Buckets for [`FLUSH_SECONDS`]: a commit takes a millisecond, ten thousand rows a tenth of a second, the deadline is 30 s.
pub const FLUSH_SECONDS_BUCKETS: &[f64] = &[0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Registers the help texts; call once after the recorder is installed.
pub fn describe() {
    describe_counter!(RECORDS_TOTAL, "Log records applied, by partition.");
    describe_counter!(EVENTS_TOTAL, "Events committed, by outcome.");
    describe_counter!(DEAD_LETTERS_TOTAL, "Dead letters committed, by reason.");
    describe_counter!(RECOGNISED_TOTAL, "Events committed to windows, by how well a retry would be recognised.");
    describe_gauge!(PRODUCERS, "Producers remembered, by partition.");
    describe_counter!(PRODUCERS_FORGOTTEN_TOTAL, "Producers that had to make room for others.");
    describe_gauge!(SERIES_BUDGETED, "Series with a place on this or the previous day of the log, by partition.");
    describe_counter!(FOLDED_TOTAL, "Events counted in an (other) series, by the route segment with too many values.");
    describe_counter!(FLUSHES_TOTAL, "Flushes, by outcome.");
    describe_histogram!(FLUSH_SECONDS, Unit::Seconds, "Time of one flush to Postgres.");
    describe_counter!(ROWS_TOTAL, "Rows committed, by table.");
    describe_gauge!(CURSOR_OFFSET, "Committed cursor, by partition.");
    describe_gauge!(LAG_RECORDS, "Records in the log that are not committed yet, by partition.");
    describe_gauge!(LAG_SECONDS, Unit::Seconds, "Age of the last applied record while there are more, by partition.");
    describe_gauge!(PARTITION_STATE, "0 not owned, 1 running, 2 broken, by partition.");
    describe_gauge!(MEMORY_BYTES, Unit::Bytes, "Windows, samples, running flushes and series in memory.");
    describe_gauge!(OPEN_WINDOWS, "Windows waiting for the next flush, by partition.");
    describe_gauge!(SERIES, "Series kept in memory, by partition.");
    describe_counter!(FRAMES_TOTAL, "Live frames, by outcome.");
    describe_counter!(RAW_EVENTS_TOTAL, "Raw events committed or sampled out, by outcome.");
    describe_counter!(
        RAW_SLOWEST_GIVEN_UP_TOTAL,
        "Flushes whose slowest events were not guaranteed for want of memory."
    );
    describe_counter!(STALLS_TOTAL, "Times a partition stopped reading because the memory budget was used up.");
    describe_counter!(TABLE_PARTITIONS_TOTAL, "Partitions of tables made and dropped, by action.");
    describe_counter!(LEVEL_PASSES_TOTAL, "Passes of the leveler, by level and outcome.");
    describe_counter!(LEVEL_ROWS_TOTAL, "Rows of the coarser levels read, written and compacted, by level.");
    describe_histogram!(LEVEL_SECONDS, Unit::Seconds, "Time of one pass of the leveler over one partition.");
    describe_counter!(RETENTION_FAILURES_TOTAL, "Failed passes of the retention.");
}

/// What a partition is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Another worker's, or nobody's.
    NotOwned,
    /// Reading and flushing.
    Running,
    /// Waiting for a person.
    Broken,
}

pub(crate) fn records_applied(partition: u32, records: u64) {
    counter!(RECORDS_TOTAL, "partition" => partition.to_string()).increment(records);
}

/// After a commit, and only then: what was rolled back is counted when it is committed.
pub(crate) fn committed(cut: &Cut) {
    let Cut { partition, to, raw, dead_letters: letters, .. } = cut;
    let Counts { rolled_up, dead_lettered, duplicate, unidentified, uncertain, .. } = cut.books.total;
    for (outcome, events) in [("rolled_up", rolled_up), ("dead_lettered", dead_lettered), ("duplicate", duplicate)] {
        counter!(EVENTS_TOTAL, "outcome" => outcome).increment(events);
    }
    let certain = rolled_up.saturating_sub(unidentified + uncertain);
    for (how, events) in [("certain", certain), ("uncertain", uncertain), ("unidentified", unidentified)] {
        counter!(RECOGNISED_TOTAL, "how" => how).increment(events);
    }
    counter!(PRODUCERS_FORGOTTEN_TOTAL).increment(cut.dedup.evictions);
    folded(&cut.overflow);
    for reason in Reason::ALL {
        let count = letters.iter().filter(|letter| letter.reason == reason).count();
        if count > 0 {
            counter!(DEAD_LETTERS_TOTAL, "reason" => reason.as_str()).increment(count as u64);
        }
    }
    let rows = [
        ("rollup_10s", cut.pieces.len()),
        ("facet_10s", cut.facets.pieces.len()),
        ("raw_event", raw.rows.len()),
        ("dead_letter", letters.len()),
        ("duplicate_batch", cut.duplicates.len()),
        ("dedup_window", cut.dedup.windows.len()),
    ];
    for (table, rows) in rows {
        counter!(ROWS_TOTAL, "table" => table).increment(rows as u64);
    }
    let kept = raw.rows.len() as u64;
    counter!(RAW_EVENTS_TOTAL, "outcome" => "kept").increment(kept);
    let out = raw.tally.offered.saturating_sub(kept).saturating_sub(raw.tally.errors_dropped);
    counter!(RAW_EVENTS_TOTAL, "outcome" => "sampled_out").increment(out);
    counter!(RAW_EVENTS_TOTAL, "outcome" => "errors_sampled_out").increment(raw.tally.errors_dropped);
    counter!(RAW_SLOWEST_GIVEN_UP_TOTAL).increment(raw.tally.slowest_given_up);
    cursor_offset(*partition, *to);
}

pub(crate) fn flush_ended(outcome: &'static str, took: Duration) {
    counter!(FLUSHES_TOTAL, "outcome" => outcome).increment(1);
    histogram!(FLUSH_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn cursor_offset(partition: u32, offset: u64) {
    gauge!(CURSOR_OFFSET, "partition" => partition.to_string()).set(offset as f64);
}

pub(crate) fn lag(partition: u32, records: u64, age: Duration) {
    gauge!(LAG_RECORDS, "partition" => partition.to_string()).set(records as f64);
    gauge!(LAG_SECONDS, "partition" => partition.to_string()).set(age.as_secs_f64());
}

pub(crate) fn partition_state(partition: u32, state: State) {
    let number = match state {
        State::NotOwned => 0.0,
        State::Running => 1.0,
        State::Broken => 2.0,
    };
    gauge!(PARTITION_STATE, "partition" => partition.to_string()).set(number);
}

pub(crate) fn memory_bytes(bytes: usize) {
    gauge!(MEMORY_BYTES).set(bytes as f64);
}

pub(crate) fn holdings(partition: &Partition) {
    let number = partition.number().to_string();
    for (name, held) in [
        (PRODUCERS, partition.dedup().len()),
        (OPEN_WINDOWS, partition.open_windows()),
        (SERIES, partition.series_len()),
        (SERIES_BUDGETED, partition.cardinality().len()),
    ] {
        gauge!(name, "partition" => number.clone()).set(held as f64);
    }
}

/// The segments that are named are whatever clients made too much of, so there may only be so many: as the label of a metric
/// they would explode a second time.
fn folded(overflow: &[Overflow]) {
    for row in overflow.iter().filter(|row| row.events > 0) {
        let mut labels = (row.project.0.to_string(), row.service.clone(), row.segment.clone());
        let mut known = FOLDED_LABELS.lock();
        if !known.contains(&labels) {
            if known.len() < FOLDED_LABELS_MAX {
                known.insert(labels.clone());
            } else {
                labels = [OTHER; 3].map(str::to_owned).into();
            }
        }
        drop(known);
        let (project, service, segment) = labels;
        counter!(FOLDED_TOTAL, "project" => project, "service" => service, "segment" => segment).increment(row.events);
    }
}

/// Label sets of [`FOLDED_TOTAL`] so far.
static FOLDED_LABELS: Mutex<BTreeSet<(String, String, String)>> = Mutex::new(BTreeSet::new());
/// And how many there may be.
const FOLDED_LABELS_MAX: usize = 100;

pub(crate) fn frame(outcome: &'static str) {
    counter!(FRAMES_TOTAL, "outcome" => outcome).increment(1);
}

pub(crate) fn stalled() {
    counter!(STALLS_TOTAL).increment(1);
}

pub(crate) fn table_partitions(action: &'static str, count: u64) {
    counter!(TABLE_PARTITIONS_TOTAL, "action" => action).increment(count);
}

pub(crate) fn level_made((family, level): (Family, Level), pass: &Pass, took: Duration) {
    counter!(LEVEL_PASSES_TOTAL, "level" => family.level_name(level), "outcome" => "made").increment(1);
    let rows = [("read", pass.rows_read), ("written", pass.rows_written), ("compacted", pass.rows_compacted)];
    for (action, rows) in rows {
        counter!(LEVEL_ROWS_TOTAL, "level" => family.level_name(level), "action" => action).increment(rows);
    }
    histogram!(LEVEL_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn level_failed(target: Option<(Family, Level)>, outcome: &'static str) {
    let level = target.map_or("all", |(family, level)| family.level_name(level));
    counter!(LEVEL_PASSES_TOTAL, "level" => level, "outcome" => outcome).increment(1);
}

pub(crate) fn retention_failed() {
    counter!(RETENTION_FAILURES_TOTAL).increment(1);
}

#[cfg(test)]
mod tests {
    use peep_chassis::telemetry::local_metrics;
    use peep_wire::ProjectId;

    use super::*;

    #[test]
    fn an_explosion_of_segments_is_no_explosion_of_labels() {
        let row = |number: u64| Overflow {
            project: ProjectId(number),
            service: "shop".to_owned(),
            segment: format!("/{number}/*"),
            distinct_values: 9_000,
            events: 3,
            example: String::new(),
            first_ms: 0,
            last_ms: 0,
        };
        let (recorder, handle) = local_metrics(&[]).unwrap();
        metrics::with_local_recorder(&recorder, || {
            for _ in 0..2 {
                folded(&(0..1_000).map(row).collect::<Vec<_>>());
            }
        });
        let text = handle.render();
        let lines: Vec<&str> =
            text.lines().filter(|line| line.starts_with("peep_rollup_events_folded_total{")).collect();
        assert_eq!(lines.len(), FOLDED_LABELS_MAX + 1);
        assert!(
            lines.contains(&r#"peep_rollup_events_folded_total{project="7",service="shop",segment="/7/*"} 6"#),
            "{lines:?}"
        );
        let count = |line: &&str| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).unwrap();
        assert_eq!(lines.iter().map(count).sum::<u64>(), 6_000);
    }
}
