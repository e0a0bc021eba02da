//! CPU of ingest per event with its log in memory, against a bare hyper server plus the JSON step: what peep itself adds
//! to a request, without a log's cost on either side.

use std::time::Duration;

use peep_chassis::clock::Clock;

use crate::corpus;
use crate::cost::of_server;
use crate::json;
use crate::rows::{Bound, Row, Rows};
use crate::server::{Kind, Server};
use crate::statistics::Spread;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 100)]
    batch: usize,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

/// # Errors
/// When a server refuses something.
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    let Args { batch, connections, repeats, seconds } = *args;
    let span = Duration::from_secs_f64(seconds);
    let bodies = corpus::bodies(&corpus::ndjson_lines(10_000, 1, Clock::system().now_ms()), batch);
    println!(
        "ingest, NDJSON batches of {batch}, {connections} connections, log in memory; server CPU, µs per event (min / median / max)"
    );
    let [mut bare, mut ours, mut json, mut floor, mut ratio] = [const { Spread::new() }; 5];
    for round in 1..=repeats {
        // In turns, so that a noisy minute hits both.
        let http_us = of_server(&Server::start(Kind::Bare, [])?, &bodies, batch, connections, span)?.us;
        let ours_us = of_server(&Server::start(Kind::Peep, in_memory())?, &bodies, batch, connections, span)?.us;
        let json_us = json::step_us(&bodies, batch);
        // Our own step would be a floor that rises with our own slowness; a scanner for one schema was measured at this
        // share of serde_json before ours existed.
        let floor_us = http_us + json_us.min(SCANNER_SHARE_OF_SERDE * json::serde_us(&bodies, batch));
        println!("  round {round} of {repeats}: bare {http_us:.3}, ingest {ours_us:.3}, json {json_us:.3}");
        bare.push(http_us);
        ours.push(ours_us);
        json.push(json_us);
        floor.push(floor_us);
        ratio.push(ours_us / floor_us);
    }
    println!("bare hyper server            {bare}");
    println!("JSON to record               {json}");
    println!("bare + cheapest JSON step    {floor}");
    println!("ingest                       {ours}");
    println!("ingest / floor               {ratio}");
    Ok(vec![
        Row::ratio(
            format!("ingest without a log, batches of {batch}"),
            &ours,
            "bare hyper + JSON step",
            &floor,
            &ratio,
        )
        .must(Bound::AtMost(2.0)),
    ])
}

fn in_memory() -> [(&'static str, String); 1] {
    [("PEEP_LOG", "memory".to_owned())]
}

/// A hand-written schema scanner with row encoding against `serde_json` into borrowed strings.
const SCANNER_SHARE_OF_SERDE: f64 = 0.44;
