//! How long a client waits for its 202 at half of the load that saturates the server, and how much of that is the broker's own
//! acknowledgement: a bare producer of librdkafka that sends records of the same size at the same rate, in turns with peep.
//!
//! Both sides count from the moment a record was due, so a machine that is busy with something else lengthens both; short rounds
//! in turns, because the tail of a round belongs to the worst moment in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use peep_chassis::clock::Clock;
use peep_log::Topic;
use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use crate::broker::{Broker, Topics};
use crate::corpus;
use crate::cost::of_server;
use crate::open_loop::{OpenLoop, Outcome, Plan, quantile};
use crate::rows::{Bound, Row, Rows};
use crate::server::acknowledged::{self, scan};
use crate::server::{Kind, Server};
use crate::statistics::Spread;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Share of the saturated rate.
    #[arg(long, default_value_t = 0.5)]
    share: f64,
    #[arg(long, default_value_t = 256)]
    connections: usize,
    #[arg(long, default_value_t = 9)]
    repeats: usize,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

/// # Errors
/// When the broker or a server refuses something.
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    let Args { batch, share, connections, repeats, seconds } = *args;
    let span = Duration::from_secs_f64(seconds);
    let bodies = corpus::bodies(&corpus::ndjson_lines(10_000, 1, Clock::system().now_ms()), batch);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let broker = Broker::find()?;
    let topics = runtime.block_on(broker.topics())?;
    let server = Server::start(Kind::Peep, topics.environment())?;
    // Twice: the first warms the broker up.
    let _ = of_server(&server, &bodies, batch, 64, Duration::from_secs(3))?;
    let saturated = of_server(&server, &bodies, batch, 64, Duration::from_secs(3))?;
    let requests_per_second = saturated.events_per_second * share / batch as f64;
    println!(
        "saturated: {saturated}\nacknowledgement at {:.0} k events/s in batches of {batch}, open loop; ms",
        saturated.events_per_second * share / 1000.0
    );
    let [mut ours, mut broker_alone, mut beyond] = [const { Spread::new() }; 3];
    for round in 1..=repeats {
        let bare = bare_producer(&topics, &bodies, requests_per_second, span)?;
        let plan = Plan {
            address: server.address,
            key: server.key.clone(),
            bodies: bodies.clone(),
            requests_per_second,
            span,
            connections,
        };
        let outcome = OpenLoop::start(plan)?.finish()?;
        anyhow::ensure!(outcome.refused.is_empty(), "refused at half load: {:?}", outcome.refused);
        let [peep_p50, peep_p99] = [0.5, 0.99].map(|share| ms(outcome.at(share)));
        let [bare_p50, bare_p99] = [0.5, 0.99].map(|share| ms(quantile(&bare, share)));
        println!(
            "  round {round}: broker p50 {bare_p50:.2} p99 {bare_p99:.2}, peep p50 {peep_p50:.2} p99 {peep_p99:.2}   ({})",
            conditions(&outcome, span)
        );
        ours.push(peep_p99);
        broker_alone.push(bare_p99);
        beyond.push(peep_p99 - bare_p99);
    }
    println!("broker's own ack, p99   {broker_alone}");
    println!("peep, p99               {ours}");
    println!("beyond the broker       {beyond}");
    drop(server);
    runtime.block_on(topics.remove())?;
    let work = format!("acknowledgement at {share} of saturation, batches of {batch}, p99");
    let unit = format!("ms beyond the broker's own ({:.1})", broker_alone.median());
    Ok(vec![Row::figure(work, &unit, &beyond).must(Bound::AtMost(5.0)).aim(Bound::AtMost(2.0))])
}

fn conditions(outcome: &Outcome, span: Duration) -> String {
    format!(
        "load {:.2} cores and at most {:.1} ms late, {} answers",
        outcome.cpu.as_secs_f64() / span.as_secs_f64(),
        ms(outcome.late_max),
        outcome.accepted
    )
}

/// From due to delivery report, sorted. The records are the rows of the floor: about the size and the compressibility of peep's,
/// and sent as peep sends its own, without linger.
fn bare_producer(
    topics: &Topics,
    bodies: &[Vec<u8>],
    per_second: f64,
    span: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let mut config = acknowledged::producer_config(&topics.config.kafka.brokers);
    config.set("linger.ms", "0");
    let waits = Arc::<Mutex<Vec<Duration>>>::default();
    let producer = ThreadedProducer::from_config_and_context(&config, Timed { waits: Arc::clone(&waits) })?;
    let topic = topics.config.topic_name(Topic::Events);
    let mut rows = scan::Rows::default();
    let payloads: Vec<Vec<u8>> = bodies
        .iter()
        .map(|body| rows.scan(body).map(|()| rows.bytes().to_vec()).context("the corpus is valid"))
        .collect::<anyhow::Result<_>>()?;
    let send = |due: Instant, number: usize| {
        let payload = &payloads[number % payloads.len()];
        let record = BaseRecord::<(), [u8], _>::with_opaque_to(&topic, Box::new(due)).payload(payload);
        producer.send(record).map_err(|(error, _)| error)
    };
    // Opens the connection and finds the leaders.
    (0..64).try_for_each(|number| send(Instant::now(), number))?;
    producer.flush(PATIENCE)?;
    waits.lock().clear();
    let (started, total) = (Instant::now(), (per_second * span.as_secs_f64()) as usize);
    for number in 0..total {
        let due = started + Duration::from_secs_f64(number as f64 / per_second);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        send(due, number)?;
    }
    producer.flush(PATIENCE)?;
    let mut waits = std::mem::take(&mut *waits.lock());
    anyhow::ensure!(waits.len() == total, "the broker refused {} records", total - waits.len());
    waits.sort_unstable();
    Ok(waits)
}

/// Writes down how long each record took.
struct Timed {
    waits: Arc<Mutex<Vec<Duration>>>,
}

impl ClientContext for Timed {}

impl ProducerContext for Timed {
    /// When the record was due.
    type DeliveryOpaque = Box<Instant>;

    fn delivery(&self, result: &DeliveryResult<'_>, due: Box<Instant>) {
        if result.is_ok() {
            self.waits.lock().push(due.elapsed());
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

const PATIENCE: Duration = Duration::from_secs(10);
