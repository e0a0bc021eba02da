//! How long an event takes from the call that sends it to the live frame that shows it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use parking_lot::Mutex;
use peep_testkit::{Client, WebSocket};
use rand::RngExt;

use crate::rows::{Bound, Row, Rows};
use crate::statistics::Spread;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 300)]
    events: usize,
}

/// # Errors
/// When the stack refuses something.
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    let events = args.events;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ways = runtime.block_on(measure(&Target::from_env()?, events))?;
    let at = |share: f64| ways[((ways.len() as f64 * share).ceil() as usize).clamp(1, ways.len()) - 1];
    println!(
        "event to live frame, {events} events: p50 {:?}, p90 {:?}, p99 {:?}, max {:?}",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    let p99 = Spread::from_iter([at(0.99).as_secs_f64()]);
    Ok(vec![Row::figure(format!("event to live frame, p99 of {events}"), "s", &p99).must(Bound::AtMost(1.0))])
}

/// A running stack, from the environment that `make up` writes.
#[derive(Debug, Clone)]
pub struct Target {
    pub ingest_url: String,
    pub url: String,
    pub ingest_key: String,
    pub read_key: String,
}

impl Target {
    /// # Errors
    /// Names the variable that is missing.
    pub fn from_env() -> anyhow::Result<Target> {
        let get = |name: &'static str| {
            std::env::var(name).with_context(|| format!("{name} is not set; run `make up`, then `. .peep/dev.env`"))
        };
        Ok(Target {
            ingest_url: get("PEEP_INGEST_URL")?,
            url: get("PEEP_URL")?,
            ingest_key: get("PEEP_INGEST_KEY")?,
            read_key: get("PEEP_READ_KEY")?,
        })
    }
}

/// Sends `events` single events at random moments, open loop, and returns each one's way to a frame, sorted.
///
/// # Errors
/// When the stack refuses something or frames stop coming.
pub async fn measure(target: &Target, events: usize) -> anyhow::Result<Vec<Duration>> {
    let service = format!("freshness-{}", std::process::id());
    let socket_url = target.url.replacen("http", "ws", 1);
    let question = format!("/v1/live?service={service}&window=15m&step=10s");
    let mut socket = WebSocket::connect(&format!("{socket_url}{question}"), Some(&target.read_key))
        .await
        .map_err(|status| anyhow::anyhow!("the live socket answered {status}"))?;
    socket.next(PATIENCE).await.context("the live socket closed")?;

    let sent: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let sending = tokio::spawn(send(target.clone(), service, events, Arc::clone(&sent)));
    let mut ways = Vec::with_capacity(events);
    while ways.len() < events {
        let message = socket.next(PATIENCE).await.context("the live socket closed")?;
        let arrived = Instant::now();
        let Some(count) = message["total"]["window"]["count"].as_u64() else { continue };
        let sent = sent.lock();
        ensure!(count as usize <= sent.len(), "{count} events shown, {} sent", sent.len());
        let shown = ways.len()..count as usize;
        ways.extend(sent[shown].iter().map(|sent| arrived - *sent));
    }
    sending.await??;
    ways.sort_unstable();
    Ok(ways)
}

async fn send(target: Target, service: String, events: usize, sent: Arc<Mutex<Vec<Instant>>>) -> anyhow::Result<()> {
    let client = Client::new(&target.ingest_url).with_key(&target.ingest_key);
    for _ in 0..events {
        let pause_ms = rand::rng().random_range(20..300);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        // Before the call: the wait for the 202 is part of the way.
        sent.lock().push(Instant::now());
        let body = format!("{{\"service\":\"{service}\",\"duration_ms\":5}}");
        let answer = client.post("/v1/events", "application/json", body).await;
        ensure!(answer.status == 202, "ingest answered {}: {}", answer.status, answer.body);
    }
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(20);
