//! Memory of `peep ingest` while 64 connections send it the largest usual batches as fast as it answers.

use std::time::{Duration, Instant};

use peep_chassis::clock::Clock;

use crate::broker::Broker;
use crate::closed_loop::Load;
use crate::corpus;
use crate::cpu;
use crate::rows::{Bound, Row, Rows};
use crate::stack::Stack;
use crate::statistics::Spread;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 1000)]
    batch: usize,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

/// # Errors
/// When the stack does not start or refuses something.
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    let Args { batch, connections, seconds } = *args;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let broker = Broker::find()?;
    let topics = runtime.block_on(broker.topics())?;
    let mut stack = Stack::new(topics.environment())?;
    let ingest = stack.start("ingest", &[])?;
    let idle = mb(cpu::resident_bytes(ingest)?);
    let bodies = corpus::bodies(&corpus::ndjson_lines(10_000, 1, Clock::system().now_ms()), batch);
    let load = Load::start(stack.ingest, &stack.key, &bodies, connections)?;
    let (started, mut resident) = (Instant::now(), Spread::new());
    while started.elapsed().as_secs_f64() < seconds {
        std::thread::sleep(Duration::from_millis(100));
        resident.push(mb(cpu::resident_bytes(ingest)?));
    }
    let (requests, _) = load.stop()?;
    let peak = mb(cpu::resident_bytes_max(ingest)?);
    println!(
        "ingest, Kafka, {connections} connections, batches of {batch}, {} k events/s: {idle:.0} MB idle, {resident} MB resident \
         under load, {peak:.0} MB at most",
        (requests * batch as u64) as f64 / seconds / 1000.0
    );
    drop(stack);
    runtime.block_on(topics.remove())?;
    let work = format!("memory of ingest, {connections} connections, batches of {batch}");
    let under_load = Row::figure(work.clone(), "MB resident", &resident).must(Bound::AtMost(100.0));
    Ok(vec![under_load, Row::figure(format!("{work}, peak"), "MB", &Spread::from_iter([peak]))])
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
