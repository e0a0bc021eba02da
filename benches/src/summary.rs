//! How long a week takes to sum up: `/v1/summary` by service over ten thousand series, on a warm cache.
//!
//! The rows are made here and not by a rollup (that would take the week), but they are those that a rollup leaves behind: every
//! series has requests in every minute; hours are the sums of their minutes; each service has a version for each half of the
//! week and ten hosts, whose pieces are the exact sums of their series'; ten seconds end three days ago. What is left out is what
//! the question cannot reach: minutes other than those of the first and the last hour (a hundred million rows), and ten seconds.
//! The answer is compared with those sums, and one service with its routes, which are read from its series.
//!
//! The floor: a bare `select` of the same rows over a connection of its own, its bytes not looked at. Ours and the floor take
//! turns.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::TryStreamExt;
use peep_testkit::Client;
use peep_wire::histogram::Histogram;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};

use crate::cpu;
use crate::rows::{Bound, Row, Rows};
use crate::stack::Stack;
use crate::statistics::Spread;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A quarter each of methods and failures, fifty routes to a service.
    #[arg(long, default_value_t = 10_000)]
    series: i64,
    #[arg(long, default_value_t = 7)]
    days: i64,
    #[arg(long, default_value_t = 60)]
    questions: usize,
}

/// # Errors
/// When the stack does not start, does not answer, or answers wrong.
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    let mut stack = Stack::new([])?;
    let key = stack.read_key()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let began = Instant::now();
    // A whole hour and some minutes: both edges are read in minutes.
    let end_s = jiff::Timestamp::now().as_second() / 3600 * 3600 - 3600 + 35 * 60;
    let pool = runtime.block_on(stack.pool())?;
    let seeded = runtime.block_on(Seed::new(&pool, args, end_s).write())?;
    println!("{} rows of {} series written in {:.0?}", seeded.rows, args.series, began.elapsed());
    let listen = crate::stack::free_address()?.to_string();
    // Nobody rolls up: probes would pile up in the log.
    let settings = [("PEEP_STREAM_LISTEN", listen.as_str()), ("PEEP_STREAM_PROBE_INTERVAL", "0")];
    let process = stack.start("stream", &settings)?;
    let client = Client::new(format!("http://{listen}")).with_key(&key);
    let bench = Bench { client, pool, process, args, seeded, from_s: end_s - args.days * 86_400, end_s };
    runtime.block_on(bench.measure())
}

struct Bench<'a> {
    client: Client,
    pool: PgPool,
    process: u32,
    args: &'a Args,
    seeded: Seeded,
    from_s: i64,
    end_s: i64,
}

impl Bench<'_> {
    async fn measure(&self) -> anyhow::Result<Rows> {
        let idle = cpu::resident_bytes(self.process)?;
        let ([mut ours, mut floor], mut ratio) = ([const { Vec::new() }; 2], Vec::new());
        for number in 0..self.args.questions + WARM_UP {
            let (answered, bare) = (self.ask().await?, self.bare().await?);
            if number >= WARM_UP {
                ours.push(answered);
                floor.push(bare);
                ratio.push(answered.as_secs_f64() / bare.as_secs_f64());
            }
        }
        let more = cpu::resident_bytes_max(self.process)?.saturating_sub(idle);
        self.check_one_service().await?;
        self.check_refusal().await?;
        ours.sort_unstable();
        let at = |share: f64| ours[((ours.len() as f64 * share).ceil() as usize).clamp(1, ours.len()) - 1];
        println!("a week by service: p50 {:.1?}, p95 {:.1?}, max {:.1?}", at(0.5), at(0.95), at(1.0));
        let work = format!("{} days of {} series by service", self.args.days, self.args.series);
        let millis = |times: &[Duration]| times.iter().map(|time| time.as_secs_f64() * 1e3).collect::<Spread>();
        println!("  the bare select of the same rows: {} ms", millis(&floor));
        Ok(vec![
            Row::figure(format!("{work}, p95"), "ms", &Spread::from_iter([at(0.95).as_secs_f64() * 1e3]))
                .must(Bound::AtMost(300.0)),
            Row::figure(format!("{work}, all questions"), "ms", &millis(&ours)),
            Row::figure(format!("{work}, beside a bare select of the same rows"), "× floor", &Spread::from_iter(ratio)),
            Row::figure(
                format!("{work}, memory beyond an idle process, peak"),
                "MB",
                &Spread::from_iter([more as f64 / 1e6]),
            )
            .must(Bound::AtMost(256.0)),
        ])
    }

    async fn ask(&self) -> anyhow::Result<Duration> {
        let asked = Instant::now();
        let answer = self.rows("group_by=service").await?;
        let took = asked.elapsed();
        let counted: u64 = answer.iter().filter_map(|row| row["count"].as_u64()).sum();
        let expected = (self.args.series * self.args.days * 1440 * REQUESTS_A_MINUTE) as u64;
        ensure!(counted == expected, "{counted} requests were counted, {expected} are there");
        Ok(took)
    }

    async fn rows(&self, question: &str) -> anyhow::Result<Vec<Value>> {
        let answer = self.client.get(&self.path(question)).await;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        answer.json()["rows"].as_array().cloned().context("no rows")
    }

    fn path(&self, question: &str) -> String {
        let (from_ms, to_ms) = (self.from_s * 1000, self.end_s * 1000);
        format!("/v1/summary?from={from_ms}&to={to_ms}&quantiles=0.5,0.95,0.99&{question}")
    }

    /// The least that has to come out of the database for it.
    async fn bare(&self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let mut read = 0;
        for (level, from_s, to_s) in self.seeded.parts() {
            let sql = format!(
                "select bucket, series_id, count, errors, sum_us, min_us, max_us, histogram, last_10s from facet_{level}
                where project_id = $1 and bucket >= to_timestamp($2) and bucket < to_timestamp($3) and series_id = any ($4)
                    and bucket = any (array(select to_timestamp(b) from unnest($5::double precision[]) as b))"
            );
            let width_s = if level == "1h" { 3600 } else { 60 };
            // Each partition of the table is asked for all buckets of a statement: a day at a time.
            let days = (from_s.div_euclid(86_400)..=(to_s - 1).div_euclid(86_400)).map(|day| day * 86_400);
            for (from_s, to_s) in days.map(|day_s| (day_s.max(from_s), (day_s + 86_400).min(to_s))) {
                let buckets: Vec<f64> = (from_s..to_s).step_by(width_s).map(|bucket_s| bucket_s as f64).collect();
                let mut rows = sqlx::query(AssertSqlSafe(sql.clone()))
                    .bind(self.seeded.project)
                    .bind(from_s as f64)
                    .bind(to_s as f64)
                    .bind(&self.seeded.versions)
                    .bind(buckets)
                    .fetch(&self.pool);
                while rows.try_next().await?.is_some() {
                    read += 1;
                }
            }
        }
        ensure!(read > 0, "the floor has read nothing");
        Ok(began.elapsed())
    }

    /// From its versions it is what its routes are from their series.
    async fn check_one_service(&self) -> anyhow::Result<()> {
        let whole = &self.rows("service=service-0&group_by=service").await?[0];
        let routes = self.rows("service=service-0&group_by=route").await?;
        for name in ["count", "errors", "latency_count"] {
            let sum: u64 = routes.iter().filter_map(|row| row[name].as_u64()).sum();
            ensure!(whole[name].as_u64() == Some(sum), "{name}: {} of the service, {sum} of its routes", whole[name]);
        }
        let max = routes.iter().filter_map(|row| row["max_ms"].as_f64()).fold(0.0, f64::max);
        ensure!(whole["max_ms"].as_f64() == Some(max), "max: {} of the service, {max} of its routes", whole["max_ms"]);
        let expected = self.seeded.first_service.as_ref().context("a first service")?;
        for name in ["0.5", "0.95", "0.99"] {
            let expected = expected.value_at(name.parse().expect("a quantile")).map(|us| us as f64 / 1000.0);
            let found = whole["quantiles_ms"][name].as_f64();
            ensure!(found == expected, "p{name}: {found:?} found, {expected:?} in its series");
        }
        Ok(())
    }

    /// What is too wide in earnest is still refused, with a way out.
    async fn check_refusal(&self) -> anyhow::Result<()> {
        if self.args.series * self.args.days * 24 <= ROWS_MAX {
            return Ok(());
        }
        let refused = self.client.get(&self.path("group_by=service,route")).await;
        ensure!(
            refused.status == 422 && refused.body.contains("use a range of at most"),
            "{}: {}",
            refused.status,
            refused.body
        );
        Ok(())
    }
}

/// What was written.
struct Seeded {
    rows: u64,
    project: i64,
    /// Facets that are versions.
    versions: Vec<i64>,
    /// Minutes, hours, minutes.
    edges: [i64; 4],
    first_service: Option<Histogram>,
}

impl Seeded {
    fn parts(&self) -> [(&'static str, i64, i64); 3] {
        let [from_s, first_hour_s, last_hour_s, end_s] = self.edges;
        [("1m", from_s, first_hour_s), ("1h", first_hour_s, last_hour_s), ("1m", last_hour_s, end_s)]
    }
}

struct Seed<'a> {
    pool: &'a PgPool,
    args: &'a Args,
    from_s: i64,
    end_s: i64,
}

/// A series or a facet.
struct Member {
    id: i64,
    /// Of the series that it is, or consists of.
    numbers: Vec<i64>,
}

impl Seed<'_> {
    fn new<'a>(pool: &'a PgPool, args: &'a Args, end_s: i64) -> Seed<'a> {
        Seed { pool, args, from_s: end_s - args.days * 86_400, end_s }
    }

    async fn write(&self) -> anyhow::Result<Seeded> {
        self.write_positions().await?;
        let project: i64 = sqlx::query_scalar("select project_id from project").fetch_one(self.pool).await?;
        let series = self.write_series(project).await?;
        let (first_half, second_half, hosts) = (
            self.write_facets(project, "version", |number| format!("v1.{}", number / 200)).await?,
            self.write_facets(project, "version", |number| format!("v2.{}", number / 200)).await?,
            self.write_facets(project, "host", |number| format!("host-{}-{}", number / 200, number % 10)).await?,
        );
        let versions = first_half.iter().chain(&second_half).map(|member| member.id).collect();
        let edges = [self.from_s, (self.from_s / 3600 + 1) * 3600, self.end_s / 3600 * 3600, self.end_s];
        let mut seeded = Seeded { rows: 0, project, versions, edges, first_service: None };
        let half_s = (self.from_s + self.end_s) / 2;
        for (level, from_s, to_s) in seeded.parts() {
            let (width_s, minutes) = if level == "1h" { (3600, 60) } else { (60, 1) };
            let kinds: Vec<Histogram> = (0..KINDS).map(|kind| of_kind(kind, minutes)).collect();
            for at_s in (from_s..to_s).step_by(width_s) {
                let versions = if at_s < half_s { &first_half } else { &second_half };
                for (table, members) in [("rollup", &series), ("facet", versions), ("facet", &hosts)] {
                    let table = format!("{table}_{level}");
                    seeded.rows += self.write_bucket(&table, project, at_s, width_s as i64, &kinds, members).await?;
                }
                for number in (0..self.args.series).take_while(|number| number / 200 == 0) {
                    let first = seeded.first_service.get_or_insert_default();
                    first.merge(&kinds[kind_of(number, at_s)]);
                }
            }
        }
        // As after a night: statistics and visibility are known.
        for table in ["series", "facet", "rollup_1h", "rollup_1m", "facet_1h", "facet_1m"] {
            sqlx::query(AssertSqlSafe(format!("vacuum analyze {table}"))).execute(self.pool).await?;
        }
        Ok(seeded)
    }

    /// All is in all levels, and ten seconds are kept for three days.
    async fn write_positions(&self) -> anyhow::Result<()> {
        sqlx::raw_sql(
            "insert into rollup_cursor (log_partition, next_offset, epoch) values (0, 10, 1);
            insert into rollup_level (log_partition, level, done_offset)
                select 0, level, 10 from unnest(array['1m', '1h', 'facet_1m', 'facet_1h']) level",
        )
        .execute(self.pool)
        .await?;
        sqlx::query("update rollup_horizon set since = to_timestamp($1) where level = '10s'")
            .bind((self.end_s / 86_400 * 86_400 - 3 * 86_400) as f64)
            .execute(self.pool)
            .await?;
        Ok(())
    }

    async fn write_series(&self, project: i64) -> anyhow::Result<Vec<Member>> {
        let of = |number: i64| {
            (
                format!("service-{}", number / 200),
                format!("/route/{}", number / 4 % 50),
                if number % 2 == 0 { "GET" } else { "POST" },
                if status_of(number) == 200 { 200_i16 } else { 500 },
            )
        };
        let mut members = Vec::new();
        for number in 0..self.args.series {
            let (service, route, method, status) = of(number);
            let id = sqlx::query_scalar(
                "insert into series (project_id, service, env, route, method, status)
                values ($1, $2, 'production', $3, $4, $5) returning series_id",
            )
            .bind(project)
            .bind(service)
            .bind(route)
            .bind(method)
            .bind(status)
            .fetch_one(self.pool)
            .await?;
            members.push(Member { id, numbers: vec![number] });
        }
        Ok(members)
    }

    async fn write_facets(
        &self,
        project: i64,
        kind: &str,
        value_of: impl Fn(i64) -> String,
    ) -> anyhow::Result<Vec<Member>> {
        let mut by_value: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for number in 0..self.args.series {
            by_value.entry(value_of(number)).or_default().push(number);
        }
        let mut members = Vec::new();
        for (value, numbers) in by_value {
            let id: i64 = sqlx::query_scalar(
                "with named as (
                    insert into facet (project_id, env, service, kind, value)
                    values ($1, 'production', $2, $3, $4) returning facet_id),
                seen as (insert into facet_seen select facet_id, 0, $5, $6 from named)
                select facet_id from named",
            )
            .bind(project)
            .bind(format!("service-{}", numbers[0] / 200))
            .bind(kind)
            .bind(value)
            .bind(self.from_s * 1000)
            .bind(self.end_s * 1000 - 1)
            .fetch_one(self.pool)
            .await?;
            members.push(Member { id, numbers });
        }
        Ok(members)
    }

    async fn write_bucket(
        &self,
        table: &str,
        project: i64,
        at_s: i64,
        width_s: i64,
        kinds: &[Histogram],
        members: &[Member],
    ) -> anyhow::Result<u64> {
        sqlx::query("select time_partition_ensure($1, array[date_trunc('day', to_timestamp($2) at time zone 'UTC') at time zone 'UTC'], interval '1 day')")
            .bind(table)
            .bind(at_s as f64)
            .execute(self.pool)
            .await?;
        let [mut ids, mut counts, mut errors, mut sums, mut mins, mut maxs] = [const { Vec::<i64>::new() }; 6];
        let mut histograms = Vec::new();
        for member in members {
            let mut all = Histogram::new();
            let mut failed = 0;
            for number in &member.numbers {
                let histogram = &kinds[kind_of(*number, at_s)];
                failed += if status_of(*number) == 500 { histogram.count() } else { 0 };
                all.merge(histogram);
            }
            let totals = all.totals().context("not empty")?;
            let mut bytes = Vec::new();
            all.encode_v2(&mut bytes);
            histograms.push(bytes);
            ids.push(member.id);
            counts.push(all.count().cast_signed());
            errors.push(failed.cast_signed());
            sums.push(totals.sum_us.cast_signed());
            mins.push(totals.min_us.cast_signed());
            maxs.push(totals.max_us.cast_signed());
        }
        let written = sqlx::query(AssertSqlSafe(format!(
            "insert into {table} (bucket, project_id, series_id, log_partition, up_to_offset, count, errors, latency_count,
                sum_us, min_us, max_us, histogram, last_10s)
            select to_timestamp($1), $3, id, 0, 10, count, errors, count, sum, low, high, histogram, to_timestamp($1 + $2 - 10)
            from unnest($4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bytea[])
                as m (id, count, errors, sum, low, high, histogram)"
        )))
        .bind(at_s as f64)
        .bind(width_s as f64)
        .bind(project)
        .bind(ids)
        .bind(counts)
        .bind(errors)
        .bind(sums)
        .bind(mins)
        .bind(maxs)
        .bind(histograms)
        .execute(self.pool)
        .await?;
        Ok(written.rows_affected())
    }
}

/// A series has another one in every hour.
fn kind_of(number: i64, at_s: i64) -> usize {
    ((number + at_s / 3600 * 37) % KINDS as i64) as usize
}

fn status_of(number: i64) -> i64 {
    if number / 2 % 2 == 0 { 200 } else { 500 }
}

/// Log-normal, most of it between 5 ms and a second.
fn of_kind(kind: u64, minutes: u64) -> Histogram {
    let mut histogram = Histogram::new();
    let mut state = kind.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    for _ in 0..minutes * REQUESTS_A_MINUTE as u64 {
        // The sum of some evenly spread numbers is nearly normal.
        let normal: f64 = (0..6)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as f64 / (1_u64 << 31) as f64 - 0.5
            })
            .sum();
        histogram.record((70_000.0 * (normal * 1.5).exp()) as u64);
    }
    histogram
}

const REQUESTS_A_MINUTE: i64 = 2;
/// Different histograms.
const KINDS: u64 = 256;
const WARM_UP: usize = 5;
/// `PEEP_STREAM_QUERY_ROWS_MAX` as it is without a setting.
const ROWS_MAX: i64 = 1_000_000;
