//! An open loop: requests leave when they are due, whether or not earlier ones have their answers, as from many clients that
//! do not know of each other. A latency counts from the moment the request was due.
//!
//! Two threads: one that sleeps until the next is due and writes it, one that reads answers.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use mio::{Events, Interest, Poll, Token};
use peep_chassis::clock::Clock;

use crate::closed_loop::answer_length;
use crate::cpu;
use crate::requests::{Body, Producer};

/// What to send.
pub struct Plan {
    pub address: SocketAddr,
    pub key: String,
    /// In turn.
    pub bodies: Vec<Vec<u8>>,
    pub requests_per_second: f64,
    pub span: Duration,
    /// Each is a producer with an identity. So many that one is always free, unless the server falls behind.
    pub connections: usize,
}

/// What came back.
#[derive(Debug, Default)]
pub struct Outcome {
    pub accepted: u64,
    /// By status.
    pub refused: BTreeMap<u16, u64>,
    /// From due to answered, of those that were accepted, sorted.
    pub latencies: Vec<Duration>,
    /// The longest that a request left after it was due: the load's own lateness, or no free connection.
    pub late_max: Duration,
    /// From when the first request was due to the last answer.
    pub took: Duration,
    /// What the load itself used.
    pub cpu: Duration,
}

impl Outcome {
    /// A quantile of the latencies.
    pub fn at(&self, share: f64) -> Duration {
        quantile(&self.latencies, share)
    }

    pub fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }
}

/// Of sorted values; zero of none.
pub fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or_default()
}

/// A plan being carried out.
pub struct OpenLoop {
    accepted: Arc<AtomicU64>,
    sender: JoinHandle<anyhow::Result<Sent>>,
    reader: JoinHandle<anyhow::Result<Outcome>>,
}

struct Sent {
    late_max: Duration,
    cpu: Duration,
}

impl OpenLoop {
    /// # Errors
    /// When a connection cannot be opened.
    pub fn start(plan: Plan) -> anyhow::Result<OpenLoop> {
        let shared = Arc::new(Shared {
            started: Instant::now() + LEAD,
            due_ns: (0..plan.connections).map(|_| AtomicU64::new(0)).collect(),
            all_sent: AtomicBool::new(false),
            sent: AtomicU64::new(0),
        });
        let accepted = Arc::<AtomicU64>::default();
        let (free, next_free) = sync_channel(plan.connections);
        let (mut to_write, mut to_read) = (Vec::new(), Vec::new());
        for number in 0..plan.connections {
            let stream = std::net::TcpStream::connect(plan.address).context("connect to the server under test")?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            to_read.push(mio::net::TcpStream::from_std(stream.try_clone()?));
            to_write.push(stream);
            free.send(number).context("the list holds all connections")?;
        }
        let reader = {
            let (shared, accepted) = (Arc::clone(&shared), Arc::clone(&accepted));
            std::thread::Builder::new()
                .name("load-read".to_owned())
                .spawn(move || read(to_read, &shared, &free, &accepted))?
        };
        let sender = std::thread::Builder::new()
            .name("load-write".to_owned())
            .spawn(move || write(plan, &to_write, &shared, &next_free))?;
        Ok(OpenLoop { accepted, sender, reader })
    }

    /// Requests that got their 202 so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub fn is_finished(&self) -> bool {
        self.reader.is_finished()
    }

    /// Waits for the last answer.
    ///
    /// # Errors
    /// When a connection broke or answers stopped coming.
    pub fn finish(self) -> anyhow::Result<Outcome> {
        let outcome = self.reader.join().map_err(|_| anyhow::anyhow!("the load's reader panicked"))?;
        let sent = self.sender.join().map_err(|_| anyhow::anyhow!("the load's sender panicked"))?;
        let (mut outcome, sent) = (outcome?, sent?);
        outcome.latencies.sort_unstable();
        outcome.late_max = sent.late_max;
        outcome.cpu += sent.cpu;
        Ok(outcome)
    }
}

struct Shared {
    started: Instant,
    /// Of each connection, when its request was due, since the start.
    due_ns: Vec<AtomicU64>,
    sent: AtomicU64,
    all_sent: AtomicBool,
}

fn write(
    plan: Plan,
    connections: &[std::net::TcpStream],
    shared: &Shared,
    free: &Receiver<usize>,
) -> anyhow::Result<Sent> {
    let Plan { key, bodies, requests_per_second, span, .. } = plan;
    let mut bodies: Vec<Body> = bodies.into_iter().map(Body::new).collect();
    let mut producers: Vec<Producer> = connections.iter().map(|_| Producer::new(&key)).collect();
    let clock = Clock::system();
    let (mut request, mut late_max) = (Vec::new(), Duration::ZERO);
    let total = (requests_per_second * span.as_secs_f64()) as u64;
    let result = (0..total).try_for_each(|number| {
        let due = Duration::from_secs_f64(number as f64 / requests_per_second);
        std::thread::sleep((shared.started + due).saturating_duration_since(Instant::now()));
        // Ends with an error when the reader has ended with one.
        let connection = free.recv().context("the load's reader has ended")?;
        late_max = late_max.max((shared.started + due).elapsed());
        let turn = number as usize % bodies.len();
        producers[connection].write(bodies[turn].at(clock.now_ms()), &mut request);
        shared.due_ns[connection].store(due.as_nanos() as u64, Ordering::Relaxed);
        shared.sent.fetch_add(1, Ordering::Release);
        write_all(&connections[connection], &request)
    });
    shared.all_sent.store(true, Ordering::Release);
    result?;
    Ok(Sent { late_max, cpu: cpu::of_this_thread() })
}

fn write_all(mut stream: &std::net::TcpStream, mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_micros(50)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("send a request"),
        }
    }
    Ok(())
}

fn read(
    mut connections: Vec<mio::net::TcpStream>,
    shared: &Shared,
    free: &SyncSender<usize>,
    accepted: &AtomicU64,
) -> anyhow::Result<Outcome> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(connections.len());
    for (number, connection) in connections.iter_mut().enumerate() {
        poll.registry().register(connection, Token(number), Interest::READABLE)?;
    }
    let mut answers = vec![Vec::with_capacity(4096); connections.len()];
    let (mut outcome, mut answered, mut heard) = (Outcome::default(), 0, Instant::now());
    let mut chunk = [0; 4096];
    while !shared.all_sent.load(Ordering::Acquire) || answered < shared.sent.load(Ordering::Acquire) {
        poll.poll(&mut events, Some(Duration::from_millis(20)))?;
        if events.is_empty() {
            ensure!(heard.elapsed() < PATIENCE, "no answer for {PATIENCE:?}");
            continue;
        }
        heard = Instant::now();
        for event in &events {
            let number = event.token().0;
            let answer = &mut answers[number];
            loop {
                match connections[number].read(&mut chunk) {
                    Ok(0) => bail!("the server closed a connection: {}", String::from_utf8_lossy(answer)),
                    Ok(read) => answer.extend_from_slice(&chunk[..read]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error).context("read an answer"),
                }
            }
            if answer_length(answer).is_none_or(|length| length > answer.len()) {
                continue;
            }
            answered += 1;
            match status(answer).context("an answer begins with its status")? {
                202 => {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    outcome.accepted += 1;
                    let due = Duration::from_nanos(shared.due_ns[number].load(Ordering::Relaxed));
                    outcome.latencies.push((shared.started + due).elapsed());
                }
                status => *outcome.refused.entry(status).or_default() += 1,
            }
            answer.clear();
            // Fails only when the sender has ended, which needs no more.
            let _ = free.send(number);
        }
    }
    outcome.took = shared.started.elapsed();
    outcome.cpu = cpu::of_this_thread();
    Ok(outcome)
}

fn status(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

const LEAD: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(10);
