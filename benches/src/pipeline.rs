//! The whole pipeline with Kafka: CPU of `peep ingest` and `peep rollup` per event, flushes and live frames included, from the
//! first request until everything is in the tables, against the sum of the floors: the minimal acknowledged server and a bare
//! consumer that counts.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use peep_chassis::clock::Clock;

use crate::broker::Broker;
use crate::closed_loop::Load;
use crate::corpus;
use crate::cost::{of_server, until_quiet};
use crate::cpu;
use crate::rows::{self, Bound, Row, Rows};
use crate::server::{Kind, Server};
use crate::stack::Stack;
use crate::statistics::Spread;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 100)]
    batch: usize,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Of load; at least one flush of the rollup falls into it.
    #[arg(long, default_value_t = 12.0)]
    seconds: f64,
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// The floor of the rollup in µs per event.
    #[arg(long, conflicts_with = "rollup_floor_from", required_unless_present = "rollup_floor_from")]
    rollup_floor_us: Option<f64>,
    /// The same out of the rows that `rollup --rows` has left in this file.
    #[arg(long)]
    rollup_floor_from: Option<PathBuf>,
}

/// # Errors
/// When something does not start or refuses the load.
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    let Args { batch, connections, seconds, repeats, .. } = *args;
    let rollup_us = rollup_floor_us(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let broker = Broker::find()?;
    println!("pipeline, Kafka, batches of {batch}; CPU of ingest and rollup until all is in the tables, µs per event");
    let [mut ours, mut floor, mut ratio] = [const { Spread::new() }; 3];
    for round in 1..=repeats {
        let bodies = corpus::bodies(&corpus::ndjson_lines(10_000, 1, Clock::system().now_ms()), batch);
        let topics = runtime.block_on(broker.topics())?;
        let minimal = Server::start(Kind::Acknowledged, topics.environment())?;
        let minimal_us = of_server(&minimal, &bodies, batch, connections, Duration::from_secs(2))?.us;
        drop(minimal);
        runtime.block_on(topics.remove())?;

        let topics = runtime.block_on(broker.topics())?;
        let mut stack = Stack::new(topics.environment())?;
        let processes = [stack.start("ingest", &[])?, stack.start("rollup", &[])?];
        let pool = runtime.block_on(stack.pool())?;
        let before = processes.map(cpu::of_family);
        let load = Load::start(stack.ingest, &stack.key, &bodies, connections)?;
        std::thread::sleep(Duration::from_secs_f64(seconds));
        let (requests, _) = load.stop()?;
        let (events, deadline) = (requests as i64 * batch as i64, Instant::now() + DRAIN_WITHIN);
        loop {
            let counted: i64 = runtime.block_on(
                sqlx::query_scalar("select coalesce(sum(rolled_up), 0)::bigint from ledger").fetch_one(&pool),
            )?;
            if counted == events {
                break;
            }
            anyhow::ensure!(Instant::now() < deadline, "{counted} of {events} events counted:\n{}", stack.said());
            std::thread::sleep(Duration::from_millis(100));
        }
        until_quiet(processes[1])?;
        let mut each_us = [0.0; 2];
        for ((us, process), before) in each_us.iter_mut().zip(processes).zip(before) {
            *us = (cpu::of_family(process)? - before?).as_secs_f64() * 1e6 / events as f64;
        }
        runtime.block_on(pool.close());
        drop(stack);
        runtime.block_on(topics.remove())?;

        let (sum, floors) = (each_us[0] + each_us[1], minimal_us + rollup_us);
        println!(
            "  round {round}: {} k events; ingest {:.3} + rollup {:.3} = {sum:.3}, floors {minimal_us:.3} + {rollup_us:.3} = \
             {floors:.3}, {:.2} ×",
            events / 1000,
            each_us[0],
            each_us[1],
            sum / floors
        );
        ours.push(sum);
        floor.push(floors);
        ratio.push(sum / floors);
    }
    println!("sum of floors     {floor}");
    println!("ingest + rollup   {ours}");
    println!("over the floors   {ratio}");
    let work = format!("whole pipeline, Kafka, batches of {batch}");
    Ok(vec![
        Row::ratio(work, &ours, "minimal acknowledged server + bare consumer", &floor, &ratio)
            .must(Bound::AtMost(1.6))
            .aim(Bound::AtMost(1.3))
            .per_core_min(1_100_000.0),
    ])
}

fn rollup_floor_us(args: &Args) -> anyhow::Result<f64> {
    if let Some(floor_us) = args.rollup_floor_us {
        return Ok(floor_us);
    }
    let rows = rows::read(args.rollup_floor_from.as_deref().context("the floor of the rollup is given")?)?;
    let rollup = rows.iter().rfind(|row| row.work.starts_with("rollup: consume"));
    let floor = rollup.and_then(|row| row.floor.as_ref()).context("`rollup` has not left its row: run it first")?;
    Ok(floor.cost.median())
}

const DRAIN_WITHIN: Duration = Duration::from_secs(60);
