//! What levels cost to make and save to read, on a real Postgres.
//!
//! `cargo run --release -p peep-rollup --example levels [series] [hours] [pieces]`
//!
//! Fills `rollup_10s` with the pieces of a steady load (each series in each ten seconds, `pieces` times, twenty durations each),
//! copies the same number of rows once more for comparison, makes minutes, then hours, then asks for all of it in one step.
//! Last it merges the ten-second pieces in place, in SQL and without their histograms: less than compaction would cost.

use std::time::{Duration, Instant};

use peep_rollup::level::leveler::{Due, Leveler, LevelerLimits};
use peep_rollup::postgres::partitions::{TimeTable, ensure};
use peep_stream::closed::Closed;
use peep_stream::grouped::{Grouped, Question};
use peep_stream::history::{self, HistoryLimits};
use peep_stream::labels::{Filters, GroupBy};
use peep_stream::query::Window;
use peep_testkit::Database;
use peep_wire::ProjectId;
use peep_wire::histogram::Histogram;
use sqlx::{Connection, PgConnection, PgPool};

/// 2026-11-20T00:00:00Z
const FROM_S: i64 = 1_795_132_800;

#[tokio::main]
async fn main() {
    let argument =
        |at: usize, default: i64| std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (series, hours, pieces) = (argument(1, 300), argument(2, 8), argument(3, 2));
    let database = Database::fresh().await;
    let pool = database.pool().await;
    let rows = fill(&database, &pool, series, hours, pieces).await;
    println!("{series} series, {hours} h, {pieces} pieces: {rows} rows of ten seconds");
    let whole = Window { from_s: FROM_S, to_s: FROM_S + hours * 3_600, step_s: hours * 3_600 };
    let chart = Window { step_s: 60, ..whole };
    ask(&pool, "one step, before", whole).await;

    let limits = LevelerLimits {
        interval: Duration::from_mins(1),
        bytes_max: 32 << 20,
        flushes_max: LevelerLimits::FLUSHES_MAX,
    };
    let started = Instant::now();
    let round = Leveler::new(limits).round(&database.options(), Due::Now).await.expect("levels");
    assert_eq!(round.failed, 0, "refused");
    let took = started.elapsed();
    println!(
        "levels: {:.2} s, {:.1} µs per row of ten seconds, {} rows written",
        took.as_secs_f64(),
        us(took, rows),
        round.rows_written
    );

    let sql = "create table copied (like rollup_10s including all)";
    sqlx::raw_sql(sql).execute(&pool).await.expect("a table");
    let started = Instant::now();
    sqlx::raw_sql("insert into copied select * from rollup_10s").execute(&pool).await.expect("copied");
    println!("inserting the rows of ten seconds again: {:.1} µs per row", us(started.elapsed(), rows));

    sqlx::raw_sql("analyze").execute(&pool).await.expect("analyzed");
    ask(&pool, "one step, after", whole).await;
    ask(&pool, "steps of a minute, after", chart).await;

    let started = Instant::now();
    let merge = "with gone as (delete from copied returning *)
        insert into copied select bucket, project_id, series_id, log_partition, max(up_to_offset), sum(count), sum(errors),
            sum(latency_count), sum(sum_us), min(min_us), max(max_us), (array_agg(histogram))[1]
        from gone group by bucket, project_id, series_id, log_partition";
    // Into another table, so that keys do not meet.
    let merge = merge.replacen("insert into copied", "insert into merged", 1);
    sqlx::raw_sql("create table merged (like rollup_10s including all)").execute(&pool).await.expect("a table");
    sqlx::raw_sql(sqlx::AssertSqlSafe(merge)).execute(&pool).await.expect("merged");
    println!("compacting ten seconds, at least: {:.1} µs per row", us(started.elapsed(), rows));
}

fn us(took: Duration, rows: i64) -> f64 {
    took.as_secs_f64() * 1e6 / rows as f64
}

async fn ask(pool: &PgPool, what: &str, window: Window) {
    let limits = HistoryLimits { rows_max: 50_000_000, statement_timeout: Duration::from_secs(300) };
    let mut best = Duration::MAX;
    let mut count = 0;
    for _ in 0..3 {
        let question = Question {
            project: ProjectId(1),
            window,
            filters: Filters::default(),
            group_by: GroupBy::default(),
            statuses: true,
        };
        let mut grouped = Grouped::new(question, 4 << 30);
        let started = Instant::now();
        history::read(pool, &mut grouped, i64::MAX / 2, limits, &Closed::new(0)).await.expect("answered");
        best = best.min(started.elapsed());
        count = grouped.into_groups(10).iter().map(|group| group.total().count).sum::<u64>();
    }
    println!("{what}: {:.1} ms for {count} events", best.as_secs_f64() * 1e3);
}

/// Flushes of half a minute each, as the flush would write them.
async fn fill(database: &Database, pool: &PgPool, series: i64, hours: i64, pieces: i64) -> i64 {
    let mut connection = PgConnection::connect_with(&database.options()).await.expect("connect");
    for table in [TimeTable::Rollup10s, TimeTable::Rollup1m, TimeTable::Rollup1h] {
        ensure(&mut connection, table, &[table.start_of(FROM_S)]).await.expect("partitions");
    }
    let mut latency = Histogram::new();
    (0..20).for_each(|step| latency.record(900 + 977 * step * step));
    let mut histogram = Vec::new();
    latency.encode_v2(&mut histogram);
    let totals = latency.totals().expect("twenty durations");
    sqlx::query("insert into series (project_id, service, env, route) select 1, 'shop', 'default', '/' || n from generate_series(1, $1) n")
        .bind(series)
        .execute(pool)
        .await
        .expect("series");
    let sql = "insert into rollup_10s
        select to_timestamp($1 + b * 10), 1, s, 0, b / 3 * $3 + p + 1, 20, 1, 20, $4, $5, $6, $7
        from generate_series(0, $2 * 360 - 1) b, generate_series(0, $3 - 1) p, (select series_id from series) as t (s)";
    let rows = sqlx::query(sql)
        .bind(FROM_S as f64)
        .bind(hours)
        .bind(pieces)
        .bind(totals.sum_us as i64)
        .bind(totals.min_us as i64)
        .bind(totals.max_us as i64)
        .bind(&histogram)
        .execute(pool)
        .await
        .expect("pieces")
        .rows_affected() as i64;
    let touched = "insert into rollup_touched
        select '10s', log_partition, up_to_offset, project_id,
            array_agg(distinct floor(extract(epoch from bucket) / 60)::bigint * 60), sum(count)
        from rollup_10s group by log_partition, up_to_offset, project_id";
    sqlx::raw_sql(touched).execute(pool).await.expect("touched");
    // As if all of it had just happened: nothing is looked at for compaction.
    let cursor = "insert into rollup_cursor (log_partition, next_offset) select 0, max(up_to_offset) from rollup_10s";
    sqlx::raw_sql(cursor).execute(pool).await.expect("cursor");
    sqlx::raw_sql("analyze").execute(pool).await.expect("analyzed");
    rows
}
