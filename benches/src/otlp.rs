//! The OTLP step alone: a request of server spans in protobuf to a record, against a bare `prost` decode of the same bytes.

pub mod request;

use peep_chassis::clock::Clock;
use peep_wire::otlp::{Decoder, Encoding};
use peep_wire::record::RecordBuilder;
use peep_wire::{KeyId, ProjectId};
use prost::Message;
use request::message::Request;

use crate::cost::of_step_us;
use crate::json::limits;
use crate::rows::{Bound, Row, Rows};
use crate::statistics::Spread;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 512)]
    batch: usize,
    #[arg(long, default_value_t = 7)]
    repeats: usize,
}

/// # Errors
/// Never.
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    let Args { batch, repeats } = *args;
    let bodies = request::bodies(10_240, batch, 1, Clock::system().now_ms());
    let spans = bodies.len() * batch;
    let bytes: usize = bodies.iter().map(Vec::len).sum();
    let (mut decoder, mut record) = (Decoder::default(), RecordBuilder::default());
    let [mut ours, mut prost, mut ratio] = [const { Spread::new() }; 3];
    for _ in 0..repeats {
        let now_ms = Clock::system().now_ms();
        let bare = of_step_us(&bodies, batch, |body| {
            std::hint::black_box(Request::decode(body).expect("the corpus is valid"));
        });
        let mine = of_step_us(&bodies, batch, |body| {
            let mut rejected = Vec::new();
            record.start(now_ms);
            let ignored = decoder.decode(body, Encoding::Protobuf, &limits(), &mut record, &mut rejected);
            assert!(rejected.is_empty() && ignored.is_ok_and(|ignored| ignored.total() == 0), "{rejected:?}");
            std::hint::black_box(record.finish(ProjectId(1), KeyId(1), None));
        });
        prost.push(bare);
        ours.push(mine);
        ratio.push(mine / bare);
    }
    println!(
        "OTLP in protobuf, {} bytes a span, batches of {batch}; thread CPU, µs per span (min / median / max)",
        bytes / spans
    );
    println!("prost into messages        {prost}");
    println!("walk + check + encode      {ours}   = {:.0} spans/s and core", 1e6 / ours.median());
    println!("ours / prost               {ratio}");
    Ok(vec![
        Row::ratio(format!("OTLP spans, protobuf, batches of {batch}"), &ours, "bare prost decode", &prost, &ratio)
            .must(Bound::AtMost(2.0))
            .aim(Bound::AtMost(1.0))
            .per_core_min(600_000.0),
    ])
}
