//! What the rollup costs per event: consume, decode and record, with 10 000 live series, against the least that any consumer of
//! the same topic must do.
//!
//! The same records lie in a topic of a real broker. [`floor`] reads them with a bare librdkafka consumer and adds each event
//! to a histogram; [`worker`] is peep's consumer with everything that makes the numbers right: checksum, dedup, budgets of
//! series, books, the sample of raw events, live frames and cuts. Only the tables are missing, what a cut costs there is the
//! question of `peep-bench flush`. Each is a process of its own, a copy of this program, and its CPU includes librdkafka's threads.

pub mod floor;

pub mod traffic;

pub mod worker;

use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::Context as _;
use clap::ValueEnum;
use peep_chassis::clock::Clock;
use peep_log::{Backend, KafkaSettings, LogConfig, Topic};
use peep_testkit::Topics;

use crate::rows::{Bound, Row, Rows};
use crate::statistics::Spread;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    traffic: traffic::Traffic,
    #[arg(long, default_value_t = 5)]
    repeats: usize,
}

/// Which of the two a copy of this program is, and what it reads.
#[derive(Debug, Clone, clap::Args)]
pub struct ReaderArgs {
    kind: Kind,
    #[arg(long)]
    brokers: String,
    #[arg(long)]
    prefix: String,
    /// Records in the topic's one partition.
    #[arg(long)]
    records: u64,
    /// Records after which measuring begins: every series is known by then.
    #[arg(long)]
    warm_up: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Kind {
    /// The least.
    Floor,
    /// Peep's consumer.
    Worker,
}

/// # Errors
/// When the broker or one of the readers does not do what it should.
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    let mut rows = Rows::new();
    for mixed in [false, true] {
        rows.push(measure(traffic::Traffic { mixed, ..args.traffic }, args.repeats)?);
    }
    Ok(rows)
}

fn measure(traffic: traffic::Traffic, repeats: usize) -> anyhow::Result<Row> {
    let whose = if traffic.mixed { "all services and hosts" } else { "one process" };
    println!(
        "rollup, {} live series, batches of {} of {whose}, a real broker, lz4; CPU of the process with librdkafka's threads, µs \
         per event (min / median / max)",
        traffic.series, traffic.batch
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let topics = runtime.block_on(fill(traffic))?;
    let reader = |kind| ReaderArgs {
        kind,
        brokers: topics.brokers().to_owned(),
        prefix: topics.prefix().to_owned(),
        records: traffic.records(),
        warm_up: traffic.records() / 4,
    };
    let [mut bare, mut ours, mut ratio] = [const { Spread::new() }; 3];
    for round in 0..repeats {
        // In turns, so that a noisy minute hits both.
        let floor = of_copy_us(&reader(Kind::Floor), traffic)?;
        let worker = of_copy_us(&reader(Kind::Worker), traffic)?;
        println!("  round {} of {}: floor {floor:.3}, rollup {worker:.3}", round + 1, repeats);
        bare.push(floor);
        ours.push(worker);
        ratio.push(worker / floor);
    }
    println!("bare consumer, decode, map, histogram   {bare}");
    println!("rollup until the cut, frames included   {ours}");
    println!("rollup / floor                          {ratio}");
    let mixed = if traffic.mixed { ", batches of all services" } else { "" };
    let work = format!("rollup: consume, decode, record, {} live series{mixed}", traffic.series);
    let name = "bare consumer + map + histogram";
    Ok(Row::ratio(work, &ours, name, &bare, &ratio).must(Bound::AtMost(1.5)).aim(Bound::AtMost(1.2)))
}

/// A copy of this program that reads the topic to its end, prints its CPU time in ns, and ends.
///
/// # Errors
/// When the topic does not hold what it should.
pub fn read(args: &ReaderArgs) -> anyhow::Result<()> {
    let spent = match args.kind {
        Kind::Floor => floor::read(args)?,
        Kind::Worker => {
            peep_chassis::telemetry::install_metrics(&[])?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(worker::read(args))?
        }
    };
    println!("{}", spent.as_nanos());
    Ok(())
}

fn of_copy_us(args: &ReaderArgs, traffic: traffic::Traffic) -> anyhow::Result<f64> {
    let kind = args.kind.to_possible_value().context("every kind has a name")?;
    let output = Command::new(std::env::current_exe()?)
        .args(["read-topic", kind.get_name(), "--brokers", &args.brokers, "--prefix", &args.prefix])
        .args(["--records", &args.records.to_string(), "--warm-up", &args.warm_up.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    anyhow::ensure!(output.status.success(), "the {kind:?} reader failed");
    let spent_ns: f64 = String::from_utf8(output.stdout)?.trim().parse().context("read the CPU time of a reader")?;
    Ok(spent_ns / 1e3 / ((args.records - args.warm_up) * traffic.batch) as f64)
}

/// A topic with the traffic in its one partition.
async fn fill(traffic: traffic::Traffic) -> anyhow::Result<Topics> {
    let topics = Topics::fresh().await;
    let log = open(topics.brokers(), topics.prefix()).await?;
    let mut unanswered = tokio::task::JoinSet::new();
    for payload in traffic.payloads(Clock::system().now_ms()) {
        unanswered.spawn(log.append(peep_log::Partition(0), payload));
        if unanswered.len() >= UNANSWERED_MAX {
            unanswered.join_next().await.context("a record was sent")???;
        }
    }
    while let Some(answer) = unanswered.join_next().await {
        answer??;
    }
    log.close().await;
    Ok(topics)
}

/// The events of a topic as peep writes and reads them.
async fn open(brokers: &str, prefix: &str) -> anyhow::Result<Arc<dyn peep_log::Log>> {
    let default = LogConfig::default();
    let config = LogConfig {
        backend: Backend::Kafka,
        topic_prefix: prefix.to_owned(),
        partitions: 1,
        kafka: KafkaSettings { brokers: brokers.to_owned(), ..default.kafka.clone() },
        ..default
    };
    // For a log in tables; never connected.
    let no_tables = sqlx::PgPool::connect_lazy_with(sqlx::postgres::PgConnectOptions::new());
    Ok(peep_log::open(&config, Topic::Events, &no_tables).await?)
}

/// A few megabytes.
const UNANSWERED_MAX: usize = 500;
