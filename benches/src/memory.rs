//! How much the rollup holds while 10 000 series have open windows.

use std::collections::BTreeMap;

use peep_chassis::clock::Clock;
use peep_chassis::config::Settings;
use peep_log::{LogRecord, Offset};
use peep_rollup::Config;
use peep_rollup::partition::Partition;
use peep_wire::event::{EncodedAttrs, Event};
use peep_wire::method::Method;
use peep_wire::record::RecordBuilder;
use peep_wire::{KeyId, ProjectId};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::cpu;
use crate::rows::{Bound, Row, Rows};
use crate::statistics::Spread;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 10_000)]
    series: u32,
    /// Per series and 10 s window; two windows are open.
    #[arg(long, default_value_t = 500)]
    events_per_window: u32,
}

/// # Errors
/// As [`open_windows`].
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    const MIB: f64 = (1 << 20) as f64;
    let Args { series, events_per_window } = *args;
    let held = open_windows(series, events_per_window, Clock::system().now_ms())?;
    let resident = held.resident_bytes as f64 / MIB;
    println!(
        "{series} series, {} open windows of {events_per_window} events: {resident:.0} MiB resident, {:.0} MiB by the partition's own books",
        held.windows,
        held.counted_bytes as f64 / MIB
    );
    let work = format!("memory of {series} series with open windows");
    Ok(vec![Row::figure(work, "MiB", &Spread::from_iter([resident])).must(Bound::AtMost(256.0))])
}

/// What one run held.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Resident memory that the windows added to this process.
    pub resident_bytes: u64,
    /// What the partition itself says.
    pub counted_bytes: usize,
    /// Windows open at the end.
    pub windows: usize,
}

/// Applies `events_per_window` log-normal durations to each of `series` series in each of two windows, publishing every
/// second of event time as the worker does, and never flushing.
///
/// # Errors
/// When the partition refuses a record or the process cannot be looked at.
pub fn open_windows(series: u32, events_per_window: u32, now_ms: i64) -> anyhow::Result<Held> {
    let before = cpu::resident_bytes(std::process::id())?;
    let no_env: BTreeMap<String, String> = BTreeMap::new();
    let limits = Config::read(&mut Settings::new(&no_env)).partition_limits(1);
    let mut partition = Partition::new(0, Offset(0), limits);
    let mut builder = RecordBuilder::default();
    let mut random = SmallRng::seed_from_u64(7);
    let start_ms = now_ms / 10_000 * 10_000;
    let routes: Vec<String> = (0..series).map(|number| format!("/api/v1/resource-{number}/{{id}}")).collect();
    for second in 0..20i64 {
        let second_ms = start_ms + second * 1000;
        for chunk in routes.chunks(500) {
            builder.start(second_ms);
            for route in chunk {
                for _ in 0..events_per_window / 10 {
                    let duration_us = log_normal_us(&mut random);
                    builder.push(&event(route, second_ms, duration_us));
                }
            }
            for payload in builder.finish(ProjectId(1), KeyId(1), None) {
                let offset = partition.next();
                partition.apply(&LogRecord { offset, appended_ms: second_ms, payload })?;
            }
        }
        partition.publish(1, second_ms);
    }
    let after = cpu::resident_bytes(std::process::id())?;
    Ok(Held {
        resident_bytes: after.saturating_sub(before),
        counted_bytes: partition.memory_bytes(),
        windows: partition.open_windows(),
    })
}

fn event<'a>(route: &'a str, ended_ms: i64, duration_us: u64) -> Event<'a> {
    Event {
        service: "service",
        env: "production",
        route,
        method: Method::from_name("GET"),
        status: 200,
        ended_ms,
        duration_us: Some(duration_us),
        error: None,
        host: Some("web-1"),
        version: None,
        source: None,
        bytes_in: None,
        bytes_out: None,
        trace_id: None,
        span_id: None,
        attrs: EncodedAttrs::EMPTY,
    }
}

/// Median 20 ms, σ 0.8: about the spread of a real route.
fn log_normal_us(random: &mut SmallRng) -> u64 {
    let (u, v): (f64, f64) = (random.random::<f64>().max(1e-12), random.random());
    let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    (20_000.0 * (0.8 * normal).exp()) as u64
}
