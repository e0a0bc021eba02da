//! CPU of ingest per event with a real local broker: against the least server that gives the same acknowledgement, and, for
//! requests of one event, against a server that does nothing at all.

use std::time::Duration;

use peep_chassis::clock::Clock;

use crate::broker::Broker;
use crate::corpus;
use crate::cost::{ServerCost, of_server};
use crate::rows::{Bound, Row, Rows};
use crate::server::{Kind, Server};
use crate::statistics::Spread;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Events in a request.
    #[arg(long, default_values_t = [1, 10, 100, 1000])]
    batch: Vec<usize>,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

/// # Errors
/// When there is no broker or a server refuses something.
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    let broker = Broker::find()?;
    // JIT and page cache of a fresh broker: the first rounds are not like the others.
    println!("warming the broker up");
    for kind in [Kind::Acknowledged, Kind::Peep] {
        let _ = under_load(&broker, kind, args, 100, Duration::from_secs(3))?;
    }
    args.batch.iter().map(|batch| measure(&broker, args, *batch)).collect()
}

fn measure(broker: &Broker, args: &Args, batch: usize) -> anyhow::Result<Row> {
    println!(
        "ingest, NDJSON batches of {batch}, {} connections, Kafka with lz4 and acks=all; server CPU per event",
        args.connections
    );
    let span = Duration::from_secs_f64(args.seconds);
    let [mut bare, mut floor, mut ours, mut over_bare, mut over_floor] = [const { Spread::new() }; 5];
    for round in 1..=args.repeats {
        // In turns, so that a noisy minute hits all.
        let costs =
            [Kind::Bare, Kind::Acknowledged, Kind::Peep].map(|kind| under_load(broker, kind, args, batch, span));
        let [nothing, minimal, peep] = costs;
        let (nothing, minimal, peep) = (nothing?, minimal?, peep?);
        println!("  round {round}: bare     {nothing}");
        println!("           minimal  {minimal}");
        println!("           peep     {peep}   = {:.2} × minimal", peep.us / minimal.us);
        bare.push(nothing.us);
        floor.push(minimal.us);
        ours.push(peep.us);
        over_bare.push(peep.us / nothing.us);
        over_floor.push(peep.us / minimal.us);
    }
    println!("bare hyper server             {bare}");
    println!("minimal acknowledged server   {floor}");
    println!("peep                          {ours}");
    println!("peep / bare                   {over_bare}");
    println!("peep / minimal                {over_floor}\n");
    let work = format!("ingest, Kafka, batches of {batch}");
    let over_minimal = |must, aim| {
        Row::ratio(&work, &ours, "minimal acknowledged server", &floor, &over_floor)
            .must(Bound::AtMost(must))
            .aim(Bound::AtMost(aim))
    };
    Ok(match batch {
        // Many small requests share an append, which a server with a message for each request cannot do.
        1 => Row::ratio(&work, &ours, "bare hyper server", &bare, &over_bare)
            .must(Bound::AtMost(2.0))
            .aim(Bound::AtMost(1.5))
            .per_core_min(70_000.0),
        2..100 => over_minimal(1.6, 1.3).per_core_min(500_000.0),
        100..1000 => over_minimal(1.5, 1.2),
        _ => over_minimal(1.4, 1.15),
    })
}

fn under_load(broker: &Broker, kind: Kind, args: &Args, batch: usize, span: Duration) -> anyhow::Result<ServerCost> {
    // Anew each time: events must not grow old, or ingest would refuse them.
    let bodies = corpus::bodies(&corpus::ndjson_lines(10_000, 1, Clock::system().now_ms()), batch);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let topics = runtime.block_on(broker.topics())?;
    let server = Server::start(kind, topics.environment())?;
    let cost = of_server(&server, &bodies, batch, args.connections, span)?;
    drop(server);
    runtime.block_on(topics.remove())?;
    Ok(cost)
}
