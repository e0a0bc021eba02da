//! What a flush costs per (series, window), worker and database together, against a COPY of the same rows.
//!
//! Peep: the store's whole flush of a real cut, with cursor, dedup windows, ledger and what the coarser levels need. The floor:
//! one transaction on the same server with a binary COPY of the same rows into the same tables, each histogram written as
//! HdrHistogram V2 from buckets that were sorted beforehand. A server of its own, so that its CPU is ours alone. Once the
//! rollup rows alone, once with the sample of raw events that goes with them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use peep_chassis::clock::Clock;
use peep_chassis::config::Settings;
use peep_log::{LogRecord, Offset};
use peep_rollup::Config;
use peep_rollup::facet::FacetPiece;
use peep_rollup::partition::{Cut, Partition, Piece};
use peep_rollup::postgres::PostgresStore;
use peep_rollup::raw;
use peep_rollup::store::{Claim, Flushed, Lease, Owner, Store};
use peep_rollup::window::Cell;
use peep_testkit::{Database, Server};
use sqlx::{ConnectOptions as _, PgConnection};

use crate::cpu;
use crate::rollup::traffic::Traffic;
use crate::rows::{Bound, Row, Rows};
use crate::statistics::Spread;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 10_000)]
    series: u64,
    /// Of each flush, over ten seconds of event time.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    #[arg(long, default_value_t = 7)]
    repeats: u32,
}

/// # Errors
/// When the database does not do what it should.
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    // One thread: its CPU is the worker's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(args))
}

async fn measure(args: &Args) -> anyhow::Result<Rows> {
    println!(
        "flush of {} series, {} events; CPU of worker and database, µs per (series, window) (min / median / max)",
        args.series, args.events
    );
    let mut bench = Bench::new().await?;
    let mut rows = Rows::new();
    for (partition, with_raw) in [(0, false), (1, true)] {
        let [mut floor, mut ours, mut ours_worker, mut floor_worker, mut ratio] = [const { Spread::new() }; 5];
        let mut worker = Worker::new(&bench, partition, args, with_raw);
        // Makes series and partitions of the tables known.
        let first = worker.cut()?;
        bench.flush(partition, first).await?;
        for round in 0..args.repeats {
            let cut = worker.cut()?;
            let copy = Copy::of(&cut, u64::from(round));
            anyhow::ensure!(copy.rows.len() as u64 >= args.series / 2, "most series are in every cut");
            let (by_copy, by_flush);
            if round.is_multiple_of(2) {
                by_copy = bench.copy(&copy).await?;
                by_flush = bench.flush(partition, cut).await?;
            } else {
                by_flush = bench.flush(partition, cut).await?;
                by_copy = bench.copy(&copy).await?;
            }
            let per_piece = |time: Duration| time.as_secs_f64() * 1e6 / copy.rows.len() as f64;
            floor.push(per_piece(by_copy.worker + by_copy.database));
            ours.push(per_piece(by_flush.worker + by_flush.database));
            floor_worker.push(per_piece(by_copy.worker));
            ours_worker.push(per_piece(by_flush.worker));
            ratio.push(
                (by_flush.worker + by_flush.database).as_secs_f64() / (by_copy.worker + by_copy.database).as_secs_f64(),
            );
        }
        let what = if with_raw { "with raw events" } else { "rollup rows alone" };
        println!("{what}:");
        println!("  COPY of the same rows   {floor}, of that the worker {floor_worker}");
        println!("  flush                   {ours}, of that the worker {ours_worker}");
        println!("  flush / COPY            {ratio}");
        let work = format!("flush per (series, window), {what}");
        let name = "COPY of the same rows + V2 encode";
        rows.push(Row::ratio(work, &ours, name, &floor, &ratio).must(Bound::AtMost(1.5)).aim(Bound::AtMost(1.2)));
    }
    Ok(rows)
}

/// CPU time.
#[derive(Debug, Clone, Copy)]
struct Spent {
    worker: Duration,
    database: Duration,
}

/// A server and a worker's leases.
struct Bench {
    // Dropped last to first: connections go before the server.
    connection: PgConnection,
    store: PostgresStore,
    owner: Owner,
    leases: Vec<Lease>,
    config: Config,
    postmaster: u32,
    _database: Database,
    _server: Server,
}

impl Bench {
    async fn new() -> anyhow::Result<Bench> {
        let server = Server::start().await;
        // Its work comes whenever it likes, and would be somebody's.
        server.set("autovacuum", "off").await;
        let database = server.database().await;
        let store = PostgresStore::new(database.pool().await, database.options(), 1);
        let owner = Owner(uuid::Uuid::from_u128(1));
        store.open(2).await?;
        store.renew(owner, 2).await?;
        let mut leases = store.claim(owner, Claim { partitions: 2, again: Vec::new(), count_max: 2 }).await?;
        leases.sort_by_key(|lease| lease.partition);
        let mut connection = database.options().connect().await?;
        let backend: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await?;
        let postmaster = cpu::parent(backend as u32)?;
        let no_env: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
        let config = Config::read(&mut Settings::new(&no_env));
        Ok(Bench { connection, store, owner, leases, config, postmaster, _database: database, _server: server })
    }

    async fn flush(&self, partition: usize, cut: Cut) -> anyhow::Result<Spent> {
        let cut = Arc::new(cut);
        let before = self.now()?;
        let flushed = self.store.flush(self.owner, self.leases[partition].epoch, cut).await?;
        anyhow::ensure!(flushed == Flushed::Committed, "nobody else is here to fence us");
        self.since(before)
    }

    async fn copy(&mut self, copy: &Copy) -> anyhow::Result<Spent> {
        let before = self.now()?;
        sqlx::raw_sql("begin").execute(&mut self.connection).await?;
        for (table, rows) in [("rollup_10s", &copy.rows), ("facet_10s", &copy.facets)] {
            let sql = format!(
                "copy {table} (project_id, bucket, series_id, log_partition, up_to_offset, count, errors, latency_count, sum_us, \
                 min_us, max_us, histogram) from stdin (format binary)"
            );
            let mut copy_in = self.connection.copy_in_raw(&sql).await?;
            let mut chunk = COPY_HEADER.to_vec();
            for row in rows {
                row.encode(&mut chunk);
                if chunk.len() >= CHUNK_BYTES {
                    copy_in.send(chunk.as_slice()).await?;
                    chunk.clear();
                }
            }
            chunk.extend_from_slice(&COPY_TRAILER);
            copy_in.send(chunk.as_slice()).await?;
            anyhow::ensure!(copy_in.finish().await? == rows.len() as u64, "COPY took every row");
        }
        if !copy.raw.is_empty() {
            let sql = format!("copy raw_event ({}) from stdin (format binary)", raw::COLUMNS);
            let mut copy_in = self.connection.copy_in_raw(&sql).await?;
            for chunk in copy.raw.chunks(CHUNK_BYTES) {
                copy_in.send(chunk).await?;
            }
            copy_in.finish().await?;
        }
        sqlx::raw_sql("commit").execute(&mut self.connection).await?;
        self.since(before)
    }

    fn now(&self) -> anyhow::Result<Spent> {
        Ok(Spent { worker: cpu::of_process(std::process::id())?, database: of_server(self.postmaster)? })
    }

    fn since(&self, before: Spent) -> anyhow::Result<Spent> {
        let now = self.now()?;
        Ok(Spent { worker: now.worker - before.worker, database: now.database - before.database })
    }
}

/// The postmaster and its children that are alive, in nanoseconds: the connections of this bench outlive it.
fn of_server(postmaster: u32) -> anyhow::Result<Duration> {
    let mut total = cpu::of_process(postmaster)?;
    for child in std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"))?.split_whitespace() {
        // One may end between listing and reading.
        total += cpu::of_process(child.parse()?).unwrap_or_default();
    }
    Ok(total)
}

/// A partition that is fed ten seconds of traffic for each cut.
struct Worker {
    partition: Partition,
    traffic: Traffic,
    now_ms: i64,
}

impl Worker {
    fn new(bench: &Bench, number: usize, args: &Args, with_raw: bool) -> Worker {
        let mut limits = bench.config.partition_limits(1);
        if !with_raw {
            limits.raw_age_max = Duration::ZERO;
        }
        let traffic = Traffic {
            events: args.events,
            batch: 100,
            series: args.series,
            producers: 64,
            events_per_second: args.events / 10,
            mixed: false,
            sent_before: 0,
        };
        let now_ms = Clock::system().now_ms() / 10_000 * 10_000;
        Worker { partition: Partition::new(number as u32, Offset(0), limits), traffic, now_ms }
    }

    fn cut(&mut self) -> anyhow::Result<Cut> {
        // Each flush has windows of its own, all of them in the past.
        self.now_ms -= 20_000;
        for (number, payload) in self.traffic.payloads(self.now_ms + 250).enumerate() {
            let offset = self.partition.next();
            let appended_ms = self.now_ms + (number as u64 * 10_000 / self.traffic.records()) as i64;
            self.partition.apply(&LogRecord { offset, appended_ms, payload })?;
            if number % PUBLISH_EVERY_RECORDS == PUBLISH_EVERY_RECORDS - 1 {
                self.partition.publish(1, appended_ms);
            }
        }
        self.traffic.sent_before += self.traffic.records().div_ceil(self.traffic.producers);
        self.partition.publish(1, 0);
        self.partition.cut().context("something was counted")
    }
}

/// The rows of a cut once more, under another project.
struct Copy {
    /// One for each (series, window).
    rows: Vec<CopyRow>,
    /// Of versions and hosts.
    facets: Vec<CopyRow>,
    /// A whole COPY, encoded.
    raw: Vec<u8>,
}

struct CopyRow {
    numbers: [i64; 11],
    partition: i32,
    /// Bucket and count, ascending.
    buckets: Vec<(i64, i64)>,
}

impl Copy {
    fn of(cut: &Cut, round: u64) -> Copy {
        let of_series = |piece: &Piece| CopyRow::of(piece.series.row(), piece.window_s, &piece.cell, cut, round);
        let of_facet = |piece: &FacetPiece| CopyRow::of(piece.facet.row(), piece.window_s, &piece.cell, cut, round);
        let mut rows: Vec<CopyRow> = cut.pieces.iter().map(of_series).collect();
        let mut facets: Vec<CopyRow> = cut.facets.pieces.iter().map(of_facet).collect();
        // As the flush does: neighbours land on the same index page.
        rows.sort_by_key(|row| row.numbers);
        facets.sort_by_key(|row| row.numbers);
        let mut raw = Vec::new();
        if !cut.raw.rows.is_empty() {
            raw.extend_from_slice(COPY_HEADER);
            cut.raw.rows.iter().for_each(|row| cut.raw.encode_row(row, &mut raw));
            raw.extend_from_slice(&COPY_TRAILER);
        }
        Copy { rows, facets, raw }
    }
}

impl CopyRow {
    fn of(row: Option<i64>, window_s: i64, cell: &Cell, cut: &Cut, round: u64) -> CopyRow {
        let histogram = &cell.histogram;
        let mut buckets = Vec::new();
        // Buckets by their number: below 2048 one each, above that 1024 for each power of two.
        histogram.for_each(|lowest_us, _, count| {
            let octave = (53 - (lowest_us | 2047).leading_zeros()) as i64;
            buckets.push((((octave + 1) << 10) + (lowest_us >> octave) as i64 - 1024, count as i64));
        });
        let bucket_us = (window_s - 946_684_800) * 1_000_000;
        let (min_us, max_us) = (histogram.min_us().unwrap_or(0) as i64, histogram.max_us().unwrap_or(0) as i64);
        CopyRow {
            numbers: [
                1_000_000 + round as i64,
                bucket_us,
                row.unwrap_or(0),
                cut.to as i64,
                cell.count as i64,
                cell.errors as i64,
                histogram.count() as i64,
                histogram.sum_us() as i64,
                min_us,
                max_us,
                0,
            ],
            partition: cut.partition as i32,
            buckets,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let [project, bucket, series, up_to, rest @ ..] = self.numbers;
        out.extend(12i16.to_be_bytes());
        [project, bucket, series].iter().for_each(|number| put_int8(out, *number));
        out.extend(4i32.to_be_bytes());
        out.extend(self.partition.to_be_bytes());
        put_int8(out, up_to);
        rest[..6].iter().for_each(|number| put_int8(out, *number));
        let length_at = out.len();
        out.extend([0; 4]);
        out.extend(0x1c84_9313u32.to_be_bytes());
        out.extend([0; 8]);
        out.extend(3i32.to_be_bytes());
        out.extend(1i64.to_be_bytes());
        out.extend(3_600_000_000i64.to_be_bytes());
        out.extend(1f64.to_be_bytes());
        let payload_at = out.len();
        let mut next = 0;
        for &(bucket, count) in &self.buckets {
            match bucket - next {
                0 => {}
                1 => out.push(0),
                gap => put_zigzag(out, -gap),
            }
            put_zigzag(out, count);
            next = bucket + 1;
        }
        let payload_len = (out.len() - payload_at) as u32;
        out[length_at + 8..length_at + 12].copy_from_slice(&payload_len.to_be_bytes());
        let field_len = (out.len() - length_at - 4) as u32;
        out[length_at..length_at + 4].copy_from_slice(&field_len.to_be_bytes());
    }
}

fn put_int8(out: &mut Vec<u8>, number: i64) {
    out.extend(8i32.to_be_bytes());
    out.extend(number.to_be_bytes());
}

fn put_zigzag(out: &mut Vec<u8>, number: i64) {
    let mut value = ((number << 1) ^ (number >> 63)) as u64;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_TRAILER: [u8; 2] = (-1i16).to_be_bytes();
const CHUNK_BYTES: usize = 128 << 10;
/// A frame for 200 ms at 100 000 events a second.
const PUBLISH_EVERY_RECORDS: usize = 200;
