//! The JSON step alone: parse, check and encode, against `serde_json` borrowing the same bytes.

use peep_chassis::clock::Clock;
use peep_wire::json::{Context, Decoder};
use peep_wire::record::RecordBuilder;
use peep_wire::{KeyId, ProjectId};

use crate::corpus;
use crate::cost::of_step_us;
use crate::rows::{Bound, Row, Rows};
use crate::statistics::Spread;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 100)]
    batch: usize,
    #[arg(long, default_value_t = 7)]
    repeats: usize,
}

/// # Errors
/// Never.
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    let Args { batch, repeats } = *args;
    let bodies = corpus::bodies(&corpus::ndjson_lines(10_000, 1, Clock::system().now_ms()), batch);
    let bytes: usize = bodies.iter().map(Vec::len).sum();
    let [mut ours, mut serde, mut ratio] = [const { Spread::new() }; 3];
    for _ in 0..repeats {
        let (mine, other) = (step_us(&bodies, batch), serde_us(&bodies, batch));
        ours.push(mine);
        serde.push(other);
        ratio.push(mine / other);
    }
    println!(
        "JSON, {} bytes an event, batches of {batch}; thread CPU, µs per event (min / median / max)",
        bytes / (bodies.len() * batch)
    );
    println!("serde_json into borrowed struct   {serde}");
    println!("parse + check + encode            {ours}");
    println!("ours / serde_json                 {ratio}");
    Ok(vec![
        Row::ratio(
            format!("parse + check + encode, JSON, batches of {batch}"),
            &ours,
            "serde_json, borrowed",
            &serde,
            &ratio,
        )
        .must(Bound::AtMost(0.5))
        .aim(Bound::AtMost(0.42)),
    ])
}

/// Parse, check, encode: everything between body and record.
pub(crate) fn step_us(bodies: &[Vec<u8>], batch: usize) -> f64 {
    let context = limits();
    let (mut decoder, mut record) = (Decoder::default(), RecordBuilder::default());
    let now_ms = Clock::system().now_ms();
    of_step_us(bodies, batch, |body| {
        let mut rejected = Vec::new();
        record.start(now_ms);
        decoder.decode(body, &context, &mut record, &mut rejected).expect("the corpus is valid");
        assert!(rejected.is_empty(), "the corpus is valid: {rejected:?}");
        std::hint::black_box(record.finish(ProjectId(1), KeyId(1), None));
    })
}

/// What a library that knows the fields makes of the same bytes.
pub(crate) fn serde_us(bodies: &[Vec<u8>], batch: usize) -> f64 {
    of_step_us(bodies, batch, |body| {
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            std::hint::black_box(serde_json::from_slice::<Borrowed<'_>>(line).expect("the corpus is valid"));
        }
    })
}

/// The defaults of ingest.
pub(crate) fn limits() -> Context<'static> {
    Context {
        bound_env: None,
        age_ms_max: 30 * 86_400_000,
        ahead_ms_max: 300_000,
        events_max: 5_000,
        event_bytes_max: 64 << 10,
        depth_max: 32,
        lines: true,
    }
}

#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "parsed for the time it takes")]
struct Borrowed<'a> {
    service: &'a str,
    env: &'a str,
    route: &'a str,
    method: &'a str,
    status: u16,
    duration_ms: f64,
    ts: i64,
    host: &'a str,
    trace_id: &'a str,
}
