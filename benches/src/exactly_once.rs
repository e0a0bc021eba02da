//! What exactly-once costs: the rollup's CPU per event with cursor, dedup and ledger, and without.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use peep_chassis::clock::Clock;
use peep_chassis::config::Settings;
use peep_log::{LogRecord, Offset};
use peep_rollup::Config;
use peep_rollup::books::{Counts, OpenBooks};
use peep_rollup::partition::{Cut, Partition};
use peep_rollup::postgres::PostgresStore;
use peep_rollup::store::{Claim, Flushed, Lease, Owner, Store};
use peep_testkit::Database;
use peep_wire::event::{EncodedAttrs, Event};
use peep_wire::method::Method;
use peep_wire::record::RecordBuilder;
use peep_wire::{Identity, KeyId, ProjectId};

use crate::cpu;
use crate::rows::{Bound, Row, Rows};
use crate::statistics::Spread;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    traffic: Traffic,
    #[arg(long, default_value_t = 7)]
    repeats: u32,
}

/// One round.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Traffic {
    #[arg(long, default_value_t = 1_000_000)]
    pub events: u64,
    /// Events of a batch.
    #[arg(long, default_value_t = 100)]
    pub batch: u64,
    #[arg(long, default_value_t = 1_000)]
    pub series: u64,
    /// Client processes, each with an identity.
    #[arg(long, default_value_t = 100)]
    pub producers: u64,
    /// Events between two flushes; 250 000 is five seconds, the default interval, at 50 000 events a second.
    #[arg(long, default_value_t = 250_000)]
    pub flush_every: u64,
}

/// # Errors
/// When the database does not do what it should.
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    // One thread: its CPU is the worker's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(args.traffic, args.repeats))
}

async fn measure(traffic: Traffic, repeats: u32) -> anyhow::Result<Rows> {
    println!(
        "rollup, {} events in batches of {}, {} series, {} producers, a flush every {}; worker CPU, µs per event (min / median / max)",
        traffic.events, traffic.batch, traffic.series, traffic.producers, traffic.flush_every
    );
    let bench = Bench::new(repeats).await?;
    let [mut with, mut without, mut ratio] = [const { Spread::new() }; 3];
    for round in 0..repeats {
        let cost = bench.round(round, traffic, Clock::system().now_ms()).await?;
        with.push(cost.with);
        without.push(cost.without);
        ratio.push(cost.with / cost.without);
    }
    println!("without cursor, dedup and ledger   {without}");
    println!("with                               {with}");
    println!("with / without                     {ratio}");
    let work = "rollup with cursor, dedup and ledger";
    Ok(vec![Row::ratio(work, &with, "the same without", &without, &ratio).must(Bound::AtMost(1.15))])
}

/// CPU of the worker per event in microseconds, Postgres not included.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Decode, dedup, count, book, and flush with cursor, windows and ledger.
    pub with: f64,
    /// Decode, count, and flush the rows alone.
    pub without: f64,
}

/// A database and a worker's lease on one partition for each round.
pub struct Bench {
    // Dropped last: the store's connections go first.
    store: PostgresStore,
    owner: Owner,
    leases: Vec<Lease>,
    config: Config,
    _database: Database,
}

impl Bench {
    /// # Errors
    /// When the database does not do what it should.
    pub async fn new(rounds: u32) -> anyhow::Result<Bench> {
        let database = Database::fresh().await;
        let store = PostgresStore::new(database.pool().await, database.options(), 1);
        let owner = Owner(uuid::Uuid::from_u128(1));
        store.open(rounds).await?;
        store.renew(owner, rounds).await?;
        let claim = Claim { partitions: rounds, again: Vec::new(), count_max: u64::from(rounds) };
        let leases = store.claim(owner, claim).await?;
        anyhow::ensure!(leases.len() == rounds as usize, "not all partitions were leased");
        let no_env: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
        let config = Config::read(&mut Settings::new(&no_env));
        Ok(Bench { store, owner, leases, config, _database: database })
    }

    /// The same traffic both ways, one after the other, each way first in every other round.
    ///
    /// # Errors
    /// When the database does not do what it should.
    pub async fn round(&self, round: u32, traffic: Traffic, now_ms: i64) -> anyhow::Result<Cost> {
        let lease = self.leases.get(round as usize).context("a round has a lease of its own")?;
        let (with, without) = if round.is_multiple_of(2) {
            let without = self.without(round, lease, traffic, now_ms).await?;
            (self.with(round, lease, traffic, now_ms).await?, without)
        } else {
            (self.with(round, lease, traffic, now_ms).await?, self.without(round, lease, traffic, now_ms).await?)
        };
        let per_event = |time: Duration| time.as_secs_f64() * 1e6 / traffic.events as f64;
        Ok(Cost { with: per_event(with), without: per_event(without) })
    }

    async fn with(&self, round: u32, lease: &Lease, traffic: Traffic, now_ms: i64) -> anyhow::Result<Duration> {
        let records = records(traffic, ProjectId(1 + u64::from(round)), true, now_ms);
        let started = cpu::of_this_thread();
        for cut in self.cuts(lease, &records, traffic) {
            let flushed = self.store.flush(self.owner, lease.epoch, Arc::new(cut?)).await?;
            anyhow::ensure!(flushed == Flushed::Committed, "nobody else is here to fence us");
        }
        Ok(cpu::of_this_thread() - started)
    }

    async fn without(&self, round: u32, lease: &Lease, traffic: Traffic, now_ms: i64) -> anyhow::Result<Duration> {
        // Another project, so that the same rows can be written once more.
        let records = records(traffic, ProjectId(1_000_000 + u64::from(round)), false, now_ms);
        let started = cpu::of_this_thread();
        for cut in self.cuts(lease, &records, traffic) {
            self.store.flush_rows_alone(&cut?).await?;
        }
        let without = cpu::of_this_thread() - started;
        // Without an identity there is no dedup, but the partition keeps books in any case.
        Ok(without.saturating_sub(books_alone(traffic, now_ms)))
    }

    /// Everything that a partition makes of the records, cut by cut.
    fn cuts<'r>(
        &self,
        lease: &Lease,
        records: &'r [LogRecord],
        traffic: Traffic,
    ) -> impl Iterator<Item = anyhow::Result<Cut>> + use<'r> {
        let limits = self.config.partition_limits(1);
        let mut partition = Partition::new(lease.partition, Offset(0), limits);
        let records_per_cut = (traffic.flush_every / traffic.batch).max(1) as usize;
        records.chunks(records_per_cut).map(move |chunk| {
            for (number, record) in chunk.iter().enumerate() {
                partition.apply(record)?;
                if number % PUBLISH_EVERY_RECORDS == PUBLISH_EVERY_RECORDS - 1 {
                    black_box(partition.publish(1, record.appended_ms));
                }
            }
            partition.publish(1, 0);
            partition.cut().context("something was counted")
        })
    }
}

/// What the books alone take, for the side that should not have any.
fn books_alone(traffic: Traffic, now_ms: i64) -> Duration {
    let started = cpu::of_this_thread();
    let mut books = OpenBooks::default();
    let counts = Counts { accepted: traffic.batch, rolled_up: traffic.batch, ..Counts::default() };
    let records_per_cut = (traffic.flush_every / traffic.batch).max(1);
    for record in 0..traffic.events / traffic.batch {
        for n in 0..traffic.batch {
            books.roll_up(ProjectId(1), black_box(now_ms - 20_000 + n as i64));
        }
        books.post(ProjectId(1), now_ms, black_box(&counts));
        if record % records_per_cut == records_per_cut - 1 {
            black_box(books.cut());
        }
    }
    cpu::of_this_thread() - started
}

/// Log-normal-like durations over ten seconds, popular series more often than others, producers in turn.
fn records(traffic: Traffic, project: ProjectId, identified: bool, now_ms: i64) -> Vec<LogRecord> {
    let routes: Vec<String> = (0..traffic.series).map(|number| format!("/api/v1/resource-{number}/{{id}}")).collect();
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut builder = RecordBuilder::default();
    let record = |offset: u64| {
        builder.start(now_ms);
        for n in 0..traffic.batch {
            let ended_ms = now_ms - 10_000 + ((offset * traffic.batch + n) * 10_000 / traffic.events) as i64;
            builder.push(&Event {
                service: "checkout",
                env: "production",
                route: &routes[(random() % traffic.series).min(random() % traffic.series) as usize],
                method: Method::from_name("GET"),
                status: if random() % 200 == 0 { 500 } else { 200 },
                ended_ms,
                duration_us: Some((1 << (8 + random() % 8)) + random() % 4096),
                error: None,
                host: Some("web-17.internal"),
                version: None,
                source: None,
                bytes_in: None,
                bytes_out: Some(1_234),
                trace_id: None,
                span_id: None,
                attrs: EncodedAttrs::EMPTY,
            });
        }
        let producer = u128::from(offset % traffic.producers) + 1;
        let identity = Identity { producer: producer.to_be_bytes(), seq: offset / traffic.producers };
        let payload = builder.finish(project, KeyId(1), identified.then_some(identity)).remove(0);
        LogRecord { offset: Offset(offset), appended_ms: now_ms, payload }
    };
    (0..traffic.events / traffic.batch).map(record).collect()
}

/// A frame for about 200 ms at 50 000 events a second.
const PUBLISH_EVERY_RECORDS: usize = 100;
