//! The single machine: one process with ingest, rollup and stream, its log and its tables in one Postgres, everything on the
//! cores of this machine, the load included. Requests come at a fixed rate for a minute, each with its identity; then what was
//! accepted must have been counted, all of it, once.

use std::time::{Duration, Instant};

use anyhow::Context;
use peep_chassis::clock::Clock;
use sqlx::PgPool;

use crate::corpus;
use crate::cpu;
use crate::open_loop::{OpenLoop, Outcome, Plan};
use crate::rows::{Bound, Row, Rows};
use crate::stack::Stack;
use crate::statistics::Spread;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Events per second that arrive.
    #[arg(long, default_value_t = 150_000)]
    rate: u64,
    #[arg(long, default_value_t = 100)]
    batch: usize,
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    #[arg(long, default_value_t = 128)]
    connections: usize,
    /// Then further minutes, each with so many events per second more, until one is too many. 0 stops after the first.
    #[arg(long, default_value_t = 0)]
    step: u64,
}

/// # Errors
/// When the stack does not start or breaks under the load.
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    let first = minute(args, args.rate)?;
    let mut rows = first.rows(args);
    if args.step > 0 && first.held() {
        let mut highest = args.rate;
        while minute(args, highest + args.step)?.held() {
            highest += args.step;
        }
        let highest = Spread::from_iter([highest as f64]);
        rows.push(Row::figure("single machine, highest rate held", "events/s", &highest));
    }
    Ok(rows)
}

/// What one rate came to.
struct Minute {
    rate: u64,
    outcome: Outcome,
    batch: usize,
    /// In the books, which know of probes as well, and in the tables at the end.
    counted: Counted,
    /// Seconds of load that were accepted but not yet in the tables, sampled.
    lags: Vec<f64>,
    /// After the last answer, until the tables had everything.
    drained_in: Duration,
    peep: Duration,
    postgres: Duration,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    books: i64,
    duplicate: i64,
    tables: i64,
}

impl Minute {
    fn accepted(&self) -> u64 {
        self.outcome.accepted * self.batch as u64
    }

    /// Accepted and never counted, or counted and never accepted.
    fn lost(&self) -> i64 {
        (self.accepted() as i64 - self.counted.tables).abs()
    }

    fn per_second(&self) -> f64 {
        self.accepted() as f64 / self.outcome.took.as_secs_f64()
    }

    /// The lag of the last third of the minute and of the one before it. A flush every few seconds makes it rise and fall;
    /// a rollup that cannot keep up makes it rise only.
    fn lag_growth(&self) -> (f64, f64) {
        let third = self.lags.len() / 3;
        let mean = |lags: &[f64]| lags.iter().sum::<f64>() / lags.len().max(1) as f64;
        (mean(&self.lags[third..2 * third]), mean(&self.lags[2 * third..]))
    }

    fn held(&self) -> bool {
        self.rows_of_must().iter().all(|row| crate::rows::check(std::slice::from_ref(row)).is_ok())
    }

    fn rows(&self, args: &Args) -> Rows {
        let Args { batch, seconds, .. } = *args;
        let events = self.accepted() as f64;
        let (peep, postgres) = (self.peep.as_secs_f64() * 1e6 / events, self.postgres.as_secs_f64() * 1e6 / events);
        let lags = Spread::from_iter(self.lags.iter().copied());
        println!(
            "  accepted {} events, {:.0}/s; refused {:?}",
            self.accepted(),
            self.per_second(),
            self.outcome.refused
        );
        println!("  counted {:?}, so {} lost", self.counted, self.lost());
        println!(
            "  lag of the tables {lags} s (the last flush included); {:?} after the last answer all was in",
            self.drained_in
        );
        println!(
            "  acknowledged in p50 {:?}, p99 {:?}, max {:?}; the load was at most {:?} late",
            self.outcome.at(0.5),
            self.outcome.at(0.99),
            self.outcome.at(1.0),
            self.outcome.late_max
        );
        println!(
            "  cores while {seconds} s: peep {:.2}, Postgres {:.2}, load {:.2}; µs per event: peep {peep:.2}, Postgres {postgres:.2}",
            self.peep.as_secs_f64() / seconds,
            self.postgres.as_secs_f64() / seconds,
            self.outcome.cpu.as_secs_f64() / seconds
        );
        let mut rows = self.rows_of_must();
        rows[0].cost = Some(Spread::from_iter([peep + postgres]));
        rows[0].work = format!("single machine with Postgres, batches of {batch}, for {seconds} s");
        rows
    }

    fn rows_of_must(&self) -> Rows {
        let one = |value| Spread::from_iter([value]);
        let (middle, last) = self.lag_growth();
        vec![
            // A hundredth: the last answer comes a moment after the end.
            Row::figure("single machine, accepted", "events/s", &one(self.per_second()))
                .must(Bound::AtLeast(self.rate as f64 * 0.99))
                .aim(Bound::AtLeast(RATE_AIM)),
            Row::figure("single machine, events lost or counted twice", "events", &one(self.lost() as f64))
                .must(Bound::AtMost(0.0)),
            Row::figure(
                "single machine, lag of the tables, last third of the minute over the one before",
                "s more",
                &one(last - middle),
            )
            .must(Bound::AtMost(LAG_GROWTH_S_MAX)),
        ]
    }
}

fn minute(args: &Args, rate: u64) -> anyhow::Result<Minute> {
    let Args { batch, seconds, connections, .. } = *args;
    println!("single machine: {rate} events/s in batches of {batch} for {seconds} s");
    let mut stack = Stack::new([])?;
    let peep = stack.start("up", &[])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let pool = runtime.block_on(stack.pool())?;
    let backend: i32 = runtime.block_on(sqlx::query_scalar("select pg_backend_pid()").fetch_one(&pool))?;
    let postgres = cpu::parent(backend as u32)?;
    let bodies = corpus::bodies(&corpus::ndjson_lines(10_000, 1, Clock::system().now_ms()), batch);
    let (peep_before, postgres_before) = (cpu::of_family(peep)?, cpu::of_family(postgres)?);
    let plan = Plan {
        address: stack.ingest,
        key: stack.key.clone(),
        bodies,
        requests_per_second: rate as f64 / batch as f64,
        span: Duration::from_secs_f64(seconds),
        connections,
    };
    let load = OpenLoop::start(plan)?;
    let mut lags = Vec::new();
    while !load.is_finished() {
        std::thread::sleep(SAMPLE_EVERY);
        let (accepted, counted) = (load.accepted() * batch as u64, runtime.block_on(counted(&pool))?);
        lags.push((accepted as i64 - counted.books).max(0) as f64 / rate as f64);
        if lags.len() % 10 == 0 {
            println!("  {} s: {} k events accepted, lag {:.1} s", lags.len(), accepted / 1000, lags[lags.len() - 1]);
        }
    }
    let outcome = load.finish().with_context(|| stack.said())?;
    let (all, ended) = ((outcome.accepted * batch as u64) as i64, Instant::now());
    let counted = loop {
        let counted = runtime.block_on(counted(&pool))?;
        if counted.tables >= all || ended.elapsed() > DRAIN_WITHIN {
            break counted;
        }
        std::thread::sleep(SAMPLE_EVERY / 10);
    };
    let drained_in = ended.elapsed();
    // Once more, for what would be counted twice a little later.
    std::thread::sleep(SAMPLE_EVERY * 2);
    let counted = if counted.tables >= all { runtime.block_on(self::counted(&pool))? } else { counted };
    let (peep, postgres) = (cpu::of_family(peep)? - peep_before, cpu::of_family(postgres)? - postgres_before);
    runtime.block_on(pool.close());
    Ok(Minute { rate, outcome, batch, counted, lags, drained_in, peep, postgres })
}

async fn counted(pool: &PgPool) -> anyhow::Result<Counted> {
    let books: (i64, i64) =
        sqlx::query_as("select coalesce(sum(rolled_up), 0)::bigint, coalesce(sum(duplicate), 0)::bigint from ledger")
            .fetch_one(pool)
            .await?;
    // Without the probes that peep sends to itself once a second, which are nobody's.
    let tables: i64 =
        sqlx::query_scalar("select coalesce(sum(count), 0)::bigint from rollup_10s where project_id <> 0")
            .fetch_one(pool)
            .await?;
    Ok(Counted { books: books.0, duplicate: books.1, tables })
}

const RATE_AIM: f64 = 300_000.0;
/// Less than a flush interval is where the samples happened to fall.
const LAG_GROWTH_S_MAX: f64 = 2.0;
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
const DRAIN_WITHIN: Duration = Duration::from_secs(60);
