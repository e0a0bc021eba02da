//! What counting costs without log and database: nanoseconds and bytes for each station of a partition, once with batches that
//! carry an identity of one of a thousand producers, once with the same batches without.
//!
//! `cargo run --release -p peep-rollup --example floor [series] [events]`
//!
//! CPU time of the process where Linux tells it (other work on the machine then only costs cache), wall time elsewhere. Read it
//! as ratios: the same run prints decoding alone. Single thread, seeded traffic, batches of 100 events, frames every 20 000
//! events, a cut at the end (memory is printed just before it).

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use peep_chassis::config::Settings;
use peep_log::{LogRecord, Offset};
use peep_rollup::Config;
use peep_rollup::partition::Partition;
use peep_wire::event::{EncodedAttrs, Event};
use peep_wire::method::Method;
use peep_wire::record::{RecordBuilder, parse};
use peep_wire::{Identity, KeyId, ProjectId};

const NOW_MS: i64 = 1_795_212_000_000;
const BATCH: u64 = 100;
const PRODUCERS: u64 = 1_000;
const PUBLISH_EVERY: u64 = 20_000 / BATCH;

fn main() {
    let argument =
        |at: usize, default: u64| std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (series, events) = (argument(1, 1_000), argument(2, 2_000_000));
    let records = traffic(series, events, false);
    let bytes: usize = records.iter().map(|record| record.payload.len()).sum();
    println!("{series} series, {events} events, {} B per event in the log", bytes as u64 / events);

    let started = cpu();
    let mut seen = 0u64;
    for record in &records {
        let batch = parse(&record.payload).expect("our own records");
        seen += batch.events().map(|event| event.expect("our own events").series.as_bytes().len() as u64).sum::<u64>();
    }
    report("decode alone", started, events);
    assert!(seen > 0);

    count("without identities", &records, events);
    drop(records);
    count("with identities", &traffic(series, events, true), events);
}

fn count(what: &str, records: &[LogRecord], events: u64) {
    println!("{what}:");
    let no_env: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    let config = Config::read(&mut Settings::new(&no_env));
    let mut partition = Partition::new(0, Offset(0), config.partition_limits(4));
    let mut publishing = Duration::ZERO;
    let mut frame_bytes = 0;
    let started = cpu();
    for (number, record) in records.iter().enumerate() {
        partition.apply(record).expect("offsets line up");
        if number as u64 % PUBLISH_EVERY == PUBLISH_EVERY - 1 {
            let publish = cpu();
            frame_bytes += partition.publish(1, NOW_MS).map_or(0, |frame| frame.payload.len());
            publishing += cpu() - publish;
        }
    }
    report("decode, count, sample, publish", started, events);
    println!(
        "  of that publish: {} ns/event, {} B/event",
        publishing.as_nanos() as u64 / events,
        frame_bytes as u64 / events
    );

    partition.publish(1, NOW_MS);
    println!(
        "  {} open windows: {} KiB in memory, {} of it for {} producers",
        partition.open_windows(),
        partition.memory_bytes() >> 10,
        partition.dedup().memory_bytes() >> 10,
        partition.dedup().len()
    );
    let started = cpu();
    let cut = partition.cut().expect("something was counted");
    report("cut, per event", started, events);
    let started = cpu();
    let mut encoded = Vec::new();
    cut.pieces.iter().for_each(|piece| piece.cell.histogram.encode_v2(&mut encoded));
    report("encode V2, per piece", started, cut.pieces.len() as u64);
    println!("  {} B per piece; {} raw rows kept", encoded.len() / cut.pieces.len(), cut.raw.rows.len());
}

fn report(what: &str, started: Duration, count: u64) {
    println!("{what}: {} ns", (cpu() - started).as_nanos() as u64 / count.max(1));
}

/// Time spent so far.
fn cpu() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    let wall = START.get_or_init(Instant::now).elapsed();
    let on_cpu = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = on_cpu.and_then(|text| text.split(' ').next()?.parse().ok());
    nanoseconds.map_or(wall, Duration::from_nanos)
}

/// Log-normal-like durations over twenty seconds of event time, popular series more often than others.
fn traffic(series: u64, events: u64, identified: bool) -> Vec<LogRecord> {
    let routes: Vec<String> = (0..series).map(|number| format!("/api/v1/resource-{number}/{{id}}")).collect();
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut builder = RecordBuilder::new(1 << 20);
    let record = |offset: u64| {
        builder.start(NOW_MS);
        for n in 0..BATCH {
            let duration_us = (1 << (8 + random() % 8)) + random() % 4096;
            builder.push(&Event {
                service: "checkout",
                env: "production",
                route: &routes[(random() % series).min(random() % series) as usize],
                method: Method::from_name("GET"),
                status: if random() % 200 == 0 { 500 } else { 200 },
                ended_ms: NOW_MS - 20_000 + ((offset * BATCH + n) * 20_000 / events) as i64,
                duration_us: Some(duration_us),
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
        let producer = (offset % PRODUCERS).to_le_bytes();
        let producer: [u8; 16] = std::array::from_fn(|at| producer[at % producer.len()]);
        let identity = identified.then_some(Identity { producer, seq: offset / PRODUCERS });
        let payload: Bytes = builder.finish(ProjectId(1), KeyId(1), identity).remove(0);
        LogRecord { offset: Offset(offset), appended_ms: NOW_MS + (offset * BATCH * 20_000 / events) as i64, payload }
    };
    (0..events / BATCH).map(record).collect()
}
