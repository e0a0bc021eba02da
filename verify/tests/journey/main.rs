//! The oracle beside a real rollup: it agrees with what is right, and finds whatever is changed behind the rollup's back.

mod world;

use std::time::Duration;

use peep_log::{Offset, Partition};
use peep_rollup::breaks::{self, Damage, ResumeAt};
use peep_wire::Identity;

use world::{Sent, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rollup_and_the_oracle_agree() {
    let mut world = World::new(3).await;
    let sent = world.send_mixed_traffic(400).await;
    world.roll_up().await;
    let report = world.verify().await;
    assert!(report.equal && report.complete, "{report}");
    assert_eq!(report.events.accepted, sent);
    assert!(report.events.duplicate > 0 && report.events.dead_lettered > 0 && report.events.records_unreadable > 0);
    for table in [
        "rollup_10s",
        "rollup_1m",
        "rollup_1h",
        "facet_10s",
        "facet_1m",
        "facet_1h",
        "facet_seen",
        "ledger",
        "ledger_project",
        "ledger_day",
        "dead_letter",
    ] {
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
        ("rollup_touched", "delete from rollup_touched where level = 'facet_10s'"),
        ("facet_10s", "update facet_10s set count = count + 1 where ctid = (select min(ctid) from facet_10s)"),
        (
            "facet_10s",
            "update facet_10s set max_us = max_us + 1 where series_id = (select max(series_id) from facet_10s)",
        ),
        ("facet_10s", "delete from facet_10s where series_id = (select min(series_id) from facet_10s)"),
        ("facet_seen", "update facet_seen set first_ms = first_ms - 1"),
        ("facet_seen", "delete from facet_seen where facet_id = (select max(facet_id) from facet_seen)"),
        ("facet_budget", "delete from facet_budget where project_id = 2"),
    ] {
        let report = world.verify_with(table, sql).await;
        assert!(report.differences_total > 0, "not found: {sql}");
        assert!(report.differences.iter().any(|difference| difference.table == table), "{sql}\n{report}");
    }
    let report = world.verify().await;
    assert!(report.equal, "everything was put back: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn minutes_and_hours_are_judged_with_what_they_have_not_got_yet() {
    let mut world = World::new(2).await;
    world.send_mixed_traffic(100).await;
    world.set("PEEP_ROLLUP_LEVEL_INTERVAL", "100ms");
    world.roll_up().await;
    world.set("PEEP_ROLLUP_LEVEL_INTERVAL", "1h");
    world.send_mixed_traffic(100).await;
    world.roll_up().await;
    let report = world.verify().await;
    assert!(report.equal && report.complete, "{report}");
    for (table, sql) in [
        ("rollup_1m", "update rollup_1m set count = count + 1 where ctid = (select min(ctid) from rollup_1m)"),
        ("rollup_1h", "update rollup_1h set sum_us = sum_us + 1 where ctid = (select min(ctid) from rollup_1h)"),
        (
            "rollup_1h",
            "update rollup_1h set last_10s = last_10s + interval '10s' where ctid = (select max(ctid) from rollup_1h)",
        ),
        ("rollup_level", "update rollup_level set done_offset = done_offset + 1000 where level = '1h'"),
        ("facet_1m", "update facet_1m set count = count + 1 where ctid = (select min(ctid) from facet_1m)"),
        ("facet_1h", "update facet_1h set errors = errors + 1 where ctid = (select min(ctid) from facet_1h)"),
        ("rollup_level", "update rollup_level set done_offset = done_offset + 1000 where level = 'facet_1h'"),
    ] {
        let report = world.verify_with(table, sql).await;
        assert!(report.differences.iter().any(|difference| difference.table == table), "{sql}\n{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_older_than_a_level_are_looked_for_in_the_next() {
    const DAY_MS: i64 = 86_400_000;
    let mut world = World::new(1).await;
    for (name, value) in [("PEEP_ROLLUP_RETENTION", "1d"), ("PEEP_ROLLUP_RETENTION_1M", "2d")] {
        world.set(name, value);
    }
    // The first pass of retention moves the horizons.
    world.send_mixed_traffic(20).await;
    world.roll_up().await;
    for days in [0, 2, 3, 7] {
        let old = Sent { ended_ms: world::now_ms() - days * DAY_MS, ..Sent::now("/old", 1_000) };
        world.send(0, None, &[old.clone(), old]).await;
    }
    world.roll_up().await;
    assert!(world.number("select count(*) from rollup_1h").await > 0, "something went to the hours at once");
    let report = world.verify().await;
    assert!(report.equal && report.complete, "{report}");
    for table in ["rollup_1m", "rollup_1h"] {
        let report = world.verify_with(table, &format!("update {table} set count = count + 1")).await;
        assert!(report.differences.iter().any(|difference| difference.table == table), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_with_too_many_series_and_producers_is_judged_by_the_same_rules() {
    let mut world = World::new(1).await;
    world.set("PEEP_ROLLUP_SERIES_MAX", "10");
    world.set("PEEP_ROLLUP_PRODUCERS_MAX", "3");
    world.send_mixed_traffic(200).await;
    world.roll_up().await;
    let report = world.verify().await;
    assert!(report.equal && report.complete, "{report}");
    assert!(report.events.folded > 0 && report.events.uncertain > 0, "{:?}", report.events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_beginning_has_expired_is_verified_from_the_next_flush_on() {
    let mut world = World::new(1).await;
    world.set("PEEP_ROLLUP_SERIES_MAX", "20");
    for _ in 0..3 {
        world.send_mixed_traffic(80).await;
        world.roll_up().await;
    }
    world.log.truncate(Partition(0), Offset(20));
    let report = world.verify().await;
    assert!(report.equal && !report.complete, "{report}");
    assert!(report.partitions[0].from >= 20 && report.events.accepted > 0 && report.not_compared.len() == 1);
    for (table, sql) in [
        ("ledger", "update ledger set accepted = accepted + 1, duplicate = duplicate + 1 where from_offset >= 20"),
        ("ledger_day", "update rollup_10s set count = count + 1 where ctid = (select min(ctid) from rollup_10s)"),
        ("dead_letter", "delete from dead_letter where log_offset = (select max(log_offset) from dead_letter)"),
    ] {
        let changed = if sql.contains("rollup_10s") { "rollup_10s" } else { table };
        let report = world.verify_with(changed, sql).await;
        let found = report.differences.iter().any(|difference| difference.table == table);
        assert!(found, "{sql}\n{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_replaced_is_judged_from_the_accepted_break_on() {
    let mut world = World::new(2).await;
    world.send_mixed_traffic(100).await;
    world.roll_up().await;
    world.replace_log();
    let report = world.verify().await;
    assert!(!report.equal && report.events.records == 0, "nothing but that can be said: {report}");
    assert_eq!(report.not_compared.len(), 2);
    world.accept_break().await;
    let sent = world.send_mixed_traffic(150).await;
    world.roll_up().await;
    let report = world.verify().await;
    assert!(report.equal, "{report}");
    assert_eq!(report.events.accepted, sent);
    let lost = "delete from rollup_10s where ctid = (select max(ctid) from rollup_10s)";
    assert!(!world.verify_with("rollup_10s", lost).await.equal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_again_after_a_truncation_is_recognised() {
    let mut world = World::new(1).await;
    world.send_mixed_traffic(60).await;
    world.roll_up().await;
    let common = world.number("select next_offset from rollup_cursor").await as u64;
    world.send_mixed_traffic(60).await;
    world.roll_up().await;
    // All but the last ten records are left.
    world.truncate_log(10).await;
    let broken = breaks::examine(&world.pool, &world.log, 0).await.expect("log and database answer");
    assert!(matches!(broken.damage, Damage::Truncated { common: found } if found.0 >= common), "{broken}");
    let plan = broken.plan(ResumeAt::Offset(Offset(common))).expect("a place in the log");
    breaks::accept(&world.pool, &world.log, &plan, "test").await.expect("nobody was faster");
    world.send_mixed_traffic(60).await;
    world.roll_up().await;
    let report = world.verify().await;
    assert!(report.equal && !report.complete, "{report}");
    let partition = &report.partitions[0];
    assert!(partition.records_on_trust > 0 && partition.events.duplicate > 0, "{report}");
    let forgotten = "delete from duplicate_batch where log_offset = (select min(log_offset) from duplicate_batch where log_offset >= 1::bigint << 40)";
    assert!(!world.verify_with("duplicate_batch", forgotten).await.equal, "believed only where the rest agrees");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doubled_batch_is_named_by_producer_and_number() {
    let world = World::new(1).await;
    let identity = |number| Some(Identity { producer: [9; 16], seq: number });
    let old = Sent { ended_ms: world::now_ms() - 3_600_000, ..Sent::now("/a", 77_000) };
    world.send(0, identity(0), std::slice::from_ref(&old)).await;
    world.send(0, identity(1), &[Sent::now("/b", 5)]).await;
    world.send(0, identity(0), std::slice::from_ref(&old)).await;
    world.roll_up().await;
    assert!(world.verify().await.equal);
    let sql = "update rollup_10s set count = 2, latency_count = 2 where sum_us = 77000";
    let report = world.verify_with("rollup_10s", sql).await;
    let suspect = &report.differences[0].suspects[0];
    assert_eq!(suspect.producer.as_deref(), Some("09090909-0909-0909-0909-090909090909"));
    assert_eq!((suspect.seq, suspect.position, suspect.came_again), (Some(0), 2, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollup_at_work_is_not_disturbed_and_not_misjudged() {
    let mut world = World::new(2).await;
    world.send_mixed_traffic(50).await;
    let (reports, ()) = tokio::join!(
        async {
            let mut reports = Vec::new();
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                reports.push(world.verify().await);
            }
            reports
        },
        world.roll_up()
    );
    for report in reports {
        assert!(report.equal, "{report}");
    }
}
