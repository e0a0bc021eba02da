//! An honest client, beside whatever is going on: one event per request, on a connection that it keeps and now and then on a
//! new one. Every answer but 202 is a failure, and so is one that takes too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::talk::{self, Until};

/// A running client.
pub struct Honest {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Experience>,
}

/// What it went through.
#[derive(Clone, Debug, Default)]
pub struct Experience {
    pub requests: u64,
    pub failures: Vec<String>,
    /// Sorted.
    latencies: Vec<Duration>,
}

impl Experience {
    pub fn p99(&self) -> Duration {
        let rank = (self.latencies.len() * 99).div_ceil(100).saturating_sub(1);
        self.latencies.get(rank).copied().unwrap_or_default()
    }

    /// `honest 812 of 812, p99 4 ms`
    pub fn summary(&self) -> String {
        let good = self.requests - self.failures.len() as u64;
        format!("honest {good} of {}, p99 {} ms", self.requests, self.p99().as_millis())
    }
}

impl Honest {
    pub fn start(address: &str, key: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (address, key, stopping) = (address.to_owned(), key.to_owned(), Arc::clone(&stop));
        Self { stop, task: tokio::spawn(async move { go_on(&address, &key, &stopping).await }) }
    }

    /// Ends it after its last answer.
    pub async fn stop(self) -> Experience {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap_or_else(|error| Experience {
            failures: vec![format!("the honest client ended: {error}")],
            ..Experience::default()
        })
    }
}

async fn go_on(address: &str, key: &str, stop: &AtomicBool) -> Experience {
    let body = r#"{"service":"honest","duration_ms":1}"#;
    let request = format!(
        "POST /v1/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut experience = Experience::default();
    let mut kept: Option<TcpStream> = None;
    // Never without having asked at all.
    while !stop.load(Ordering::Relaxed) || experience.requests == 0 {
        if experience.requests % NEW_CONNECTION_EVERY == 0 {
            kept = None;
        }
        let started = Instant::now();
        let answered = timeout(PATIENCE, ask(address, request.as_bytes(), &mut kept)).await;
        experience.requests += 1;
        match answered.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}"))) {
            Ok(()) => experience.latencies.push(started.elapsed()),
            Err(why) => {
                kept = None;
                experience.failures.push(why);
            }
        }
        sleep(PAUSE).await;
    }
    experience.latencies.sort_unstable();
    experience
}

async fn ask(address: &str, request: &[u8], kept: &mut Option<TcpStream>) -> Result<(), String> {
    let stream = match kept {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
            let _ = stream.set_nodelay(true);
            kept.insert(stream)
        }
    };
    let exchange = talk::exchange_one(stream, request, Until::replies(1).patient(PATIENCE)).await;
    match exchange.final_replies().next() {
        Some(reply) if reply.status == 202 && reply.accepted() == Some(1) => Ok(()),
        Some(reply) => Err(format!("{} {}", reply.status, reply.code())),
        None => Err(format!("the connection ended ({:?})", exchange.end)),
    }
}

const PAUSE: Duration = Duration::from_millis(20);
const NEW_CONNECTION_EVERY: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(10);
