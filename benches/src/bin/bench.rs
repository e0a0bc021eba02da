//! `peep-bench`: ratios against floors, each measured in one session. `make bench` runs all of them.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use peep_benches::rows::{self, Rows};
use peep_benches::{
    acknowledged, exactly_once, fanout, flush, freshness, ingest, json, latency, memory, otlp, pipeline, resident,
    rollup, server, ship, single, summary, viewers,
};

#[derive(Parser)]
#[command(about = "Measures peep against floors, as ratios in one run")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
    /// Also adds the rows to this file, for `table`, and leaves the judgement to it.
    #[arg(long, global = true)]
    rows: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Bench {
    /// The JSON step alone, against serde_json borrowing the same bytes.
    Json(json::Args),
    /// The OTLP step alone, against a bare prost decode of the same bytes.
    Otlp(otlp::Args),
    /// CPU of ingest per event against a bare hyper server plus the JSON step, log in memory.
    Ingest(ingest::Args),
    /// CPU of ingest per event with a real Kafka broker, against the least server that acknowledges as much.
    Acknowledged(acknowledged::Args),
    /// Resident memory of ingest under the largest usual batches.
    Resident(resident::Args),
    /// How long a 202 takes at half load, beyond the broker's own acknowledgement.
    Latency(latency::Args),
    /// CPU of ingest and rollup together with a real Kafka broker, against the sum of their floors.
    Pipeline(pipeline::Args),
    /// One process and Postgres, everything on this machine: a minute at a fixed rate, nothing lost.
    Single(single::Args),
    /// Memory of the rollup with 10 000 series in open windows.
    Memory(memory::Args),
    /// CPU of the rollup per event against a bare Kafka consumer that counts.
    Rollup(rollup::Args),
    /// CPU of a flush per series and window, database included, against a COPY of the same rows.
    Flush(flush::Args),
    /// CPU of the rollup per event with everything that makes it exactly once, and without.
    ExactlyOnce(exactly_once::Args),
    /// From sending an event to the live frame that shows it, on the stack that the environment names.
    Freshness(freshness::Args),
    /// CPU of a live delivery against a bare writer of pre-encoded frames, and what a connection holds.
    Fanout(fanout::Args),
    /// Live views at full size: idle crowds, slow and silent readers, a restart with everybody coming back.
    Viewers(viewers::Args),
    /// CPU of `peep ship` per line of a log, against reading it and finding its lines.
    Ship(ship::Args),
    /// How long a week of 10 000 series takes to sum up by service.
    Summary(summary::Args),
    /// Prints the rows that earlier benches left in a file, and fails when a must was missed.
    Table { file: PathBuf },
    /// A reader under test; started by `rollup`.
    #[command(hide = true)]
    ReadTopic(rollup::ReaderArgs),
    /// A sink for a shipper; started by `make nginx-bench`.
    #[command(hide = true)]
    TakeAll,
    /// A server under test; started by the others.
    #[command(hide = true)]
    Serve { kind: server::Kind },
}

/// As in the product, and the floors have it as well.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    let Arguments { bench, rows: file } = Arguments::parse();
    let found = run(&bench)?;
    if found.is_empty() {
        return Ok(());
    }
    println!("\n{}", rows::table(&found));
    match file {
        Some(file) => rows::append(&file, &found),
        None => rows::check(&found),
    }
}

fn run(bench: &Bench) -> anyhow::Result<Rows> {
    match bench {
        Bench::Json(args) => json::run(args),
        Bench::Otlp(args) => otlp::run(args),
        Bench::Ingest(args) => ingest::run(args),
        Bench::Acknowledged(args) => acknowledged::run(args),
        Bench::Resident(args) => resident::run(args),
        Bench::Latency(args) => latency::run(args),
        Bench::Pipeline(args) => pipeline::run(args),
        Bench::Single(args) => single::run(args),
        Bench::Memory(args) => memory::run(args),
        Bench::Rollup(args) => rollup::run(args),
        Bench::Flush(args) => flush::run(args),
        Bench::ReadTopic(args) => rollup::read(args).map(|()| Rows::new()),
        Bench::ExactlyOnce(args) => exactly_once::run(args),
        Bench::Freshness(args) => freshness::run(args),
        Bench::Fanout(args) => fanout::run(args),
        Bench::Viewers(args) => viewers::run(args),
        Bench::Ship(args) => ship::run(args),
        Bench::Summary(args) => summary::run(args),
        Bench::Table { file } => rows::read(file),
        Bench::TakeAll => ship::take_all().map(|()| Rows::new()),
        Bench::Serve { kind } => server::serve(*kind).map(|()| Rows::new()),
    }
}
