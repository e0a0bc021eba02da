//! The oracle beside a real rollup: it agrees with what is right, and finds whatever is changed behind the rollup's back.

mod world;

use world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rollup_and_the_oracle_agree() {
    let mut world = World::new(3).await;
    let sent = world.send_mixed_traffic(400).await;
    world.roll_up().await;
    let report = world.verify().await;
    assert!(report.equal && report.complete, "{report}");
    assert_eq!(report.events.accepted, sent);
    assert!(report.events.duplicate > 0 && report.events.dead_lettered > 0 && report.events.records_unreadable > 0);
    for table in ["rollup_10s", "rollup_1m", "rollup_1h", "ledger", "ledger_project", "ledger_day", "dead_letter"] {
        assert!(report.compared.get(table).is_some_and(|rows| *rows > 0), "{table} was compared");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_changed_behind_the_rollups_back_is_found() {
    let mut world = World::new(2).await;
    world.send_mixed_traffic(300).await;
    world.roll_up().await;
    for (table, sql) in [
        // One event lost, one doubled, and one that moved to the neighbour.
        (
            "rollup_10s",
            "update rollup_10s set count = count - 1 where ctid = (select min(ctid) from rollup_10s where count > 1)",
        ),
        (
            "rollup_10s",
            "update rollup_10s set count = count + 1 where up_to_offset = (select max(up_to_offset) from rollup_10s)",
        ),
        (
            "rollup_10s",
            "update rollup_10s set errors = errors + 1 where series_id = (select min(series_id) from rollup_10s)",
        ),
        (
            "rollup_10s",
            "update rollup_10s set sum_us = sum_us + 1 where series_id = (select min(series_id) from rollup_10s)",
        ),
        (
            "rollup_10s",
            "update rollup_10s set max_us = max_us + 1 where series_id = (select max(series_id) from rollup_10s)",
        ),
        (
            "rollup_10s",
            "update rollup_10s set histogram = set_byte(histogram, length(histogram) - 1, 4) where latency_count = 1",
        ),
        ("rollup_10s", "update rollup_10s set up_to_offset = up_to_offset + 1000000"),
        ("rollup_10s", "delete from rollup_10s where series_id = (select min(series_id) from rollup_10s)"),
        ("dead_letter", "delete from dead_letter where reason = 'too_old'"),
        ("dead_letter", "update dead_letter set reason = 'malformed' where reason = 'too_old'"),
        ("dead_letter", "update dead_letter set bytes = bytes || 'x' where reason = 'in_future'"),
        (
            "duplicate_batch",
            "delete from duplicate_batch where log_offset = (select max(log_offset) from duplicate_batch)",
        ),
        ("duplicate_batch", "update duplicate_batch set seq = seq + 1"),
        ("ledger", "delete from ledger where to_offset = (select min(to_offset) from ledger)"),
        (
            "ledger",
            "update ledger set rolled_up = rolled_up - 1, duplicate = duplicate + 1 where rolled_up > unidentified + uncertain",
        ),
        ("ledger", "update ledger set fingerprint = 'x' where to_offset = (select max(to_offset) from ledger)"),
        ("ledger_project", "update ledger_project set accepted = accepted + 1, duplicate = duplicate + 1"),
        ("ledger_day", "update ledger_day set rolled_up = rolled_up + 1 where project_id = 1"),
        ("dedup_window", "delete from dedup_window where project_id = 1"),
        ("dedup_window", "update dedup_window set seen = set_bit(seen, 0, 1 - get_bit(seen, 0)) where project_id = 2"),
        ("series_budget", "delete from series_budget where project_id = 2"),
        ("rollup_cursor", "update rollup_cursor set fingerprint = 'x' where log_partition = 1"),
        ("rollup_cursor", "update rollup_cursor set log_ms = log_ms - 1 where log_partition = 0"),
        ("rollup_touched", "delete from rollup_touched"),
    ] {
        let report = world.verify_with(table, sql).await;
        assert!(report.differences_total > 0, "not found: {sql}");
        assert!(report.differences.iter().any(|difference| difference.table == table), "{sql}\n{report}");
    }
    let report = world.verify().await;
    assert!(report.equal, "everything was put back: {report}");
}
