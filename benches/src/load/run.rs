//! One run: history first, then live traffic by the clock, then the report.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Options;
use super::books::Loop;
use super::client::Target;
use super::schedule::Schedule;
use super::sender::{Batch, HISTORY_QUEUE, LIVE_QUEUE, Senders};
use super::traffic::Traffic;

/// True when everything that was sent was accepted.
pub(crate) async fn run(options: &Options, key: &str) -> anyhow::Result<bool> {
    let target = Target::new(&options.url, key)?;
    let stop = stop_on_signal()?;
    let backfill = options.backfill.and_then(super::Length::finite).unwrap_or_default();
    let start_ms = now_ms() - i64::try_from(backfill.as_millis()).unwrap_or(0);
    let mut source = Source {
        schedule: Schedule::new(options.seed, options.rate, options.steady, start_ms),
        traffic: Traffic::new(options.seed, options.env_name.clone(), !options.steady),
    };
    let mut clean = true;
    if !backfill.is_zero() {
        clean &= send_history(options, &target, &mut source, &stop).await;
    }
    if options.length.finite() != Some(Duration::ZERO) {
        clean &= send_live(options, &target, &mut source, &stop).await;
    }
    Ok(clean)
}

/// What happens, and when.
struct Source {
    schedule: Schedule,
    traffic: Traffic,
}

/// Large batches make history fast; ingest takes 5 000 events a request.
const HISTORY_BATCH: u64 = 1_000;

/// History pushes ingest to its limits on purpose, so it is patient when told to slow down.
const HISTORY_RETRY: Duration = Duration::from_secs(60);

/// From the start of history to now, as fast as ingest takes it; now moves on meanwhile, and so does the end.
async fn send_history(options: &Options, target: &Target, source: &mut Source, stop: &CancellationToken) -> bool {
    let started = Instant::now();
    let senders =
        Senders::start(target, options.connections, HISTORY_QUEUE, retry_for(options).max(HISTORY_RETRY), now_id());
    let mut said = Instant::now();
    let mut open = OpenBatch::default();
    let mut now = now_ms() as f64;
    while source.schedule.peek() < now && !stop.is_cancelled() {
        let at = source.schedule.next();
        open.add(&mut source.traffic, at);
        if open.events >= HISTORY_BATCH {
            senders.push(open.close(Instant::now())).await;
            if !options.quiet && said.elapsed() > Duration::from_secs(2) {
                said = Instant::now();
                let left = Duration::from_millis((now - at).max(0.0) as u64);
                eprintln!("backfill: {} ({} s of history left)", senders.line(started.elapsed()), left.as_secs());
            }
            now = now_ms() as f64;
        }
    }
    if open.events > 0 {
        senders.push(open.close(Instant::now())).await;
    }
    let books = senders.finish().await;
    print!("{}", books.report("backfill", Loop::Closed, started.elapsed()));
    books.clean()
}

/// By the clock, until the time is up or a signal comes.
async fn send_live(options: &Options, target: &Target, source: &mut Source, stop: &CancellationToken) -> bool {
    let clock = Clock::start();
    let senders = Senders::start(target, options.connections, LIVE_QUEUE, retry_for(options), now_id());
    let linger_ms = options.linger.finite().map_or(250.0, |linger| linger.as_secs_f64() * 1000.0);
    let end_ms = options.length.finite().map_or(f64::INFINITY, |length| clock.start_ms + length.as_secs_f64() * 1000.0);
    let mut said = Instant::now();
    let mut open = OpenBatch::default();
    loop {
        // The next thing to happen: an event, or the open batch has waited long enough.
        let flush_ms = open.first_ms + linger_ms;
        let event_ms = source.schedule.peek();
        let flush = open.events > 0 && flush_ms <= event_ms;
        let due_ms = if flush { flush_ms } else { event_ms };
        if due_ms >= end_ms || !clock.wait_until(due_ms, stop).await {
            break;
        }
        if !flush {
            let at = source.schedule.next();
            open.add(&mut source.traffic, at);
        }
        if flush || open.events >= u64::from(options.batch) {
            senders.offer(open.close(clock.instant(due_ms)));
        }
        if !options.quiet && said.elapsed() > Duration::from_secs(10) {
            said = Instant::now();
            eprintln!("{}", senders.line(clock.started.elapsed()));
        }
    }
    if open.events > 0 {
        senders.offer(open.close(Instant::now()));
    }
    let books = senders.finish().await;
    print!("{}", books.report("live", Loop::Open, clock.started.elapsed()));
    books.clean()
}

#[derive(Default)]
struct OpenBatch {
    text: String,
    events: u64,
    first_ms: f64,
}

impl OpenBatch {
    fn add(&mut self, traffic: &mut Traffic, at_ms: f64) {
        if self.events == 0 {
            self.first_ms = at_ms;
        }
        traffic.write_event(at_ms as i64, &mut self.text);
        self.events += 1;
    }

    fn close(&mut self, due: Instant) -> Batch {
        let capacity = self.text.len();
        let text = std::mem::replace(&mut self.text, String::with_capacity(capacity));
        Batch { body: Bytes::from(text), events: std::mem::take(&mut self.events), due }
    }
}

/// Wall clock and monotonic clock, read together once; a jump of the wall clock does not move the schedule.
struct Clock {
    start_ms: f64,
    started: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { start_ms: now_ms() as f64, started: Instant::now() }
    }

    /// A point in time before the start is the start.
    fn instant(&self, at_ms: f64) -> Instant {
        self.started + Duration::from_secs_f64((at_ms - self.start_ms).max(0.0) / 1000.0)
    }

    /// False: told to stop.
    async fn wait_until(&self, at_ms: f64, stop: &CancellationToken) -> bool {
        let instant = self.instant(at_ms);
        // The timer counts whole milliseconds: what is due now is not worth a sleep, but the senders must get a turn.
        if instant <= Instant::now() {
            tokio::task::yield_now().await;
            return !stop.is_cancelled();
        }
        tokio::select! {
            () = sleep_until(instant) => true,
            () = stop.cancelled() => false,
        }
    }
}

/// Ctrl-C or SIGTERM end the sending; a second one ends the program.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for signals")?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if told.is_cancelled() {
                std::process::exit(130);
            }
            told.cancel();
        }
    });
    Ok(stop)
}

fn retry_for(options: &Options) -> Duration {
    options.retry_for.finite().unwrap_or(Duration::MAX)
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Two runs, even within one process, never share an identity.
fn now_id() -> u64 {
    let now = jiff::Timestamp::now();
    (now.as_millisecond() as u64) | (u64::from(now.subsec_nanosecond().unsigned_abs()) << 48)
}
