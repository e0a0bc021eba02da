//! The oracle beside a real rollup: it agrees with what is right, and finds whatever is changed behind the rollup's back.

mod world;

use peep_verify::Report;

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

fn tables(report: &Report) -> Vec<&'static str> {
    let mut tables: Vec<&str> = report.differences.iter().map(|difference| difference.table).collect();
    tables.dedup();
    tables
}
