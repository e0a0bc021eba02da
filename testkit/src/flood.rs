//! A load that does not wait: requests at a fixed rate, whatever becomes of those before.
//!
//! Arrives: one request and how often. Leaves: what became of each, by when it was due. Promises: open loop, so an answer that takes
//! long delays no other request; latency counts from the moment a request was due. A request that finds every connection waiting for
//! an answer is not sent, and counted. Connections are kept as long as the server keeps them; a request that an idle connection
//! could not take any more is sent on a new one.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};

/// The same request over and over.
#[derive(Clone)]
pub struct Flood {
    pub address: String,
    pub request: Arc<[u8]>,
    pub per_second: f64,
    pub connections_max: usize,
}

/// What became of a request.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// When it was due, from the start.
    pub due: Duration,
    pub took: Duration,
    /// [`LOST`], [`UNSENT`], or what was answered.
    pub status: u16,
    pub retry_after_s: Option<u32>,
}

/// The connection ended without an answer, or there was none in time.
pub const LOST: u16 = 0;
/// Every connection was waiting for an answer.
pub const UNSENT: u16 = 1;

/// Everything that was sent, in the order of being due.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub sent: Vec<Sent>,
    /// Connections opened, beyond one for each that was open at once.
    pub reconnects: usize,
}

impl Flood {
    /// Closed loop, whatever `per_second` says: how many requests per second are accepted when every connection sends the next one
    /// after an answer.
    pub async fn saturate(&self, connections: usize, during: Duration) -> f64 {
        let (pool, until) = (Arc::new(self.pool()), Instant::now() + during);
        let mut sending = tokio::task::JoinSet::new();
        for _ in 0..connections {
            let (pool, request) = (Arc::clone(&pool), Arc::clone(&self.request));
            sending.spawn(async move {
                let mut accepted = 0_u32;
                while Instant::now() < until {
                    let answered = timeout(PATIENCE, pool.send(&request)).await.ok().flatten();
                    accepted += u32::from(answered.is_some_and(|(status, _)| status == 202));
                }
                accepted
            });
        }
        let started = until - during;
        let accepted: u32 = sending.join_all().await.into_iter().sum();
        f64::from(accepted) / started.elapsed().as_secs_f64()
    }

    fn pool(&self) -> Pool {
        Pool {
            address: self.address.clone(),
            idle: Mutex::default(),
            places: Semaphore::new(self.connections_max),
            opened: Mutex::new((0, 0, 0)),
        }
    }

    /// Sends for so long, and waits for the last answers.
    pub async fn run(&self, during: Duration) -> Outcome {
        let (start, count) = (Instant::now(), (self.per_second * during.as_secs_f64()) as u32);
        let pool = Arc::new(self.pool());
        let mut sending = tokio::task::JoinSet::new();
        let mut sent = Vec::with_capacity(count as usize);
        for number in 0..count {
            let due = Duration::from_secs_f64(f64::from(number) / self.per_second);
            sleep_until(start + due).await;
            let (pool, request) = (Arc::clone(&pool), Arc::clone(&self.request));
            sending.spawn(async move {
                let (status, retry_after_s) = match pool.places.try_acquire() {
                    Ok(_place) => timeout(PATIENCE, pool.send(&request)).await.ok().flatten().unwrap_or((LOST, None)),
                    Err(_) => (UNSENT, None),
                };
                Sent { due, took: (start + due).elapsed(), status, retry_after_s }
            });
            while let Some(done) = sending.try_join_next() {
                sent.push(done.expect("a request does not panic"));
            }
        }
        while let Some(done) = sending.join_next().await {
            sent.push(done.expect("a request does not panic"));
        }
        sent.sort_by_key(|sent| sent.due);
        let (opened, _, open_max) = *pool.opened.lock();
        Outcome { sent, reconnects: opened - open_max }
    }
}

impl Outcome {
    pub fn count(&self, status: impl Fn(u16) -> bool) -> usize {
        self.sent.iter().filter(|sent| status(sent.status)).count()
    }

    /// Requests that were accepted in this stretch of time, per second. By when they were answered: how many wait at its ends is
    /// no work done.
    pub fn goodput(&self, from: Duration, to: Duration) -> f64 {
        let good = self.sent.iter().filter(|sent| sent.status == 202 && (from..to).contains(&(sent.due + sent.took)));
        good.count() as f64 / (to - from).as_secs_f64()
    }

    /// Of the accepted ones; the largest for 1.0.
    pub fn accepted_within(&self, quantile: f64) -> Duration {
        let mut took: Vec<Duration> =
            self.sent.iter().filter(|sent| sent.status == 202).map(|sent| sent.took).collect();
        took.sort_unstable();
        let rank = (took.len() as f64 * quantile).ceil() as usize;
        took.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// When the last request was due that was not accepted.
    pub fn last_refused(&self) -> Option<Duration> {
        self.sent.iter().rev().find(|sent| sent.status != 202).map(|sent| sent.due)
    }

    /// `812 x 202, 2400 x 503`
    pub fn statuses(&self) -> String {
        let mut counts = std::collections::BTreeMap::new();
        self.sent.iter().for_each(|sent| *counts.entry(sent.status).or_insert(0) += 1);
        let shown: Vec<String> = counts.iter().map(|(status, count)| format!("{count} x {status}")).collect();
        shown.join(", ")
    }
}

/// Connections to one server.
struct Pool {
    address: String,
    idle: Mutex<Vec<TcpStream>>,
    places: Semaphore,
    /// So far, now, and at most at once.
    opened: Mutex<(usize, usize, usize)>,
}

impl Pool {
    async fn send(&self, request: &[u8]) -> Option<(u16, Option<u32>)> {
        loop {
            let kept = self.idle.lock().pop();
            let was_kept = kept.is_some();
            let mut stream = match kept {
                Some(stream) => stream,
                None => self.open().await?,
            };
            match exchange(&mut stream, request).await {
                Some(reply) if reply.keeps => {
                    self.idle.lock().push(stream);
                    return Some((reply.status, reply.retry_after_s));
                }
                answered => {
                    self.opened.lock().1 -= 1;
                    match answered {
                        Some(reply) => return Some((reply.status, reply.retry_after_s)),
                        // Closed while it lay idle; a fresh one that ends without an answer has lost the request.
                        None if was_kept => {}
                        None => return None,
                    }
                }
            }
        }
    }

    async fn open(&self) -> Option<TcpStream> {
        let stream = TcpStream::connect(&self.address).await.ok()?;
        let _ = stream.set_nodelay(true);
        let (opened, now, most) = &mut *self.opened.lock();
        *opened += 1;
        *now += 1;
        *most = (*now).max(*most);
        Some(stream)
    }
}

struct Reply {
    status: u16,
    retry_after_s: Option<u32>,
    keeps: bool,
}

/// `None` when the connection ended first.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Option<Reply> {
    // The server may answer before it has taken all of it.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::with_capacity(512);
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let length: usize = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while bytes.len() < end + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Reply {
        status: head.split(' ').nth(1)?.parse().ok()?,
        retry_after_s: header("retry-after").and_then(|text| text.parse().ok()),
        keeps: header("connection") != Some("close"),
    })
}

/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
