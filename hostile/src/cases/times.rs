//! Times that no request ended at.

use std::time::Duration;

use crate::cases::{Case, case};
use crate::scene::Scene;
use crate::talk::Until;
use peep_testkit::Peep;

pub(super) fn cases() -> Vec<Case> {
    vec![case(
        "H11",
        "times of year 1, 9999, negative, 2^63",
        "refused by index and code, 0 partitions in the database",
        |scene| Box::pin(times(scene)),
    )]
}

const TIMES: &[&str] = &[
    "-62135596800000",
    "253402300799000",
    "-1",
    "0",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "-9223372036854775808",
    "1e300",
    "-0",
    "\"0001-01-01T00:00:00Z\"",
    "\"9999-12-31T23:59:59Z\"",
    "\"-0001-01-01T00:00:00Z\"",
    "\"292277026596-12-04T15:30:07Z\"",
    "\"2020-02-30T00:00:00Z\"",
];

async fn times(scene: &mut Scene) -> anyhow::Result<()> {
    // A rollup beside, so that whatever was taken would be counted somewhere.
    let mut rollup = Peep::command(["rollup"])
        .env("DATABASE_URL", scene.database.url())
        .env("PEEP_LOG", "postgres")
        .env("PEEP_ADMIN_LISTEN", peep_testkit::process::free_address())
        .env("PEEP_ROLLUP_FLUSH_INTERVAL", "500ms")
        .start()
        .await;
    rollup.wait_until_ready(Duration::from_secs(60)).await;
    let good = scene.post_body("", "{\"service\":\"honest\"}");
    scene.talk(&good, Until::replies(1)).await?;
    wait_until_counted(scene).await?;
    let before = tables(scene).await?;
    let lines: String = TIMES.iter().map(|ts| format!("{{\"service\":\"times\",\"ts\":{ts}}}\n")).collect();
    let request = scene.post_body("Content-Type: application/x-ndjson\r\n", lines + "{\"service\":\"times\"}\n");
    let exchange = scene.talk(&request, Until::replies(1)).await?;
    let answer = exchange.replies.first().map(|reply| reply.json()).unwrap_or_default();
    let codes: Vec<&str> =
        answer["rejected"].as_array().into_iter().flatten().filter_map(|one| one["code"].as_str()).collect();
    let is_about_time = |code: &&str| matches!(*code, "ts_too_old" | "ts_in_future" | "invalid_ts");
    scene.expect(codes.len() == TIMES.len() && codes.iter().all(is_about_time), format!("refused {codes:?}"));
    scene.expect(answer["accepted"] == 1, format!("answered {answer}"));
    wait_until_counted(scene).await?;
    let after = tables(scene).await?;
    scene.expect(before == after, format!("tables before {before:?} and after {after:?}"));
    scene.note(format!(
        "{} of {} refused, {} partitions before and {} after",
        codes.len(),
        TIMES.len(),
        before.len(),
        after.len()
    ));
    Ok(())
}

/// All partitions of the tables of rollups and raw events.
async fn tables(scene: &Scene) -> anyhow::Result<Vec<String>> {
    let query = "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
                 join pg_class p on p.oid = i.inhparent where p.relname <> 'log_record' order by 1";
    Ok(sqlx::query_scalar(query).fetch_all(&scene.pool).await?)
}

/// Until the rollup has counted whatever is in the log.
async fn wait_until_counted(scene: &Scene) -> anyhow::Result<()> {
    for _ in 0..300 {
        let behind: i64 = sqlx::query_scalar(
            "select count(*) from log_partition l left join rollup_cursor c on c.log_partition = l.log_partition
             where coalesce(c.next_offset % (1::bigint << 40), 0) < l.next_offset and l.topic not like '%dead%'",
        )
        .fetch_one(&scene.pool)
        .await?;
        if behind == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the rollup does not come to an end")
}
