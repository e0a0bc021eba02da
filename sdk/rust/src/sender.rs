//! The thread that sends.
//!
//! Arrives: sealed batches, and the time at which the open one is due. Leaves: requests to ingest, one at a time. Promised: a batch
//! keeps its bytes and its identity until there is a final answer, so that a retry is never counted twice; while one
//! fails, those that wait are compressed, so that more of them fit. Not done: anything on the threads of requests.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::answer::{self, Verdict};
use crate::backoff;
use crate::client::{Shared, State};
use crate::identity::Producer;
use crate::queue::{Batch, Form};

/// The longest pause while somebody waits for a flush.
const URGENT_PAUSE: Duration = Duration::from_millis(250);

/// Less than this is sent as it is: compression would save less than a packet.
#[cfg(feature = "gzip")]
const GZIP_BYTES_MIN: usize = 1024;

pub(crate) fn run(shared: &Arc<Shared>) {
    let _ended = Ended(shared);
    let agent = agent(shared);
    let mut producer = Producer::new(shared.config.producer_age_max);
    // Refusals in a row: a wrong key is tried seldom, not with every batch.
    let mut refusals = 0;
    while let Some(batch) = next_batch(shared) {
        let batch = smaller_if_it_waits(shared, batch);
        if deliver(shared, &agent, &mut producer, batch) == Delivery::Refused {
            refusals += 1;
            pause(shared, refusals, None);
        } else {
            refusals = 0;
        }
        say_what_was_dropped(shared);
    }
}

/// Whoever flushes does not wait for a thread that is gone, whatever ended it.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.ended = true;
        state.abandon();
        drop(state);
        self.0.progress.notify_all();
    }
}

fn say_what_was_dropped(shared: &Shared) {
    let mut state = shared.lock();
    let dropped = state.stats.dropped_full;
    if dropped > std::mem::replace(&mut state.full_known, dropped) {
        let url = &shared.config.url;
        shared.say(
            state,
            "full",
            &format!("the buffer is full; {dropped} events were dropped so far. Is ingest at {url}?"),
        );
    }
}

/// Waits for a batch. `None`: the client was closed and nothing is left.
fn next_batch(shared: &Shared) -> Option<Batch> {
    let mut state = shared.lock();
    let mut due: Option<Instant> = None;
    loop {
        if let Some(batch) = state.queue.take() {
            return Some(batch);
        }
        if state.closed {
            return None;
        }
        if state.queue.is_open_empty() {
            due = None;
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let now = Instant::now();
        let until = *due.get_or_insert(now + shared.config.flush_interval);
        let left = until.saturating_duration_since(now);
        if left.is_zero() {
            state.queue.seal();
            due = None;
        } else {
            state = shared.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Delivery {
    Done,
    Refused,
}

/// Tries until there is a final answer, the time is over, or the client was closed.
fn deliver(shared: &Shared, agent: &ureq::Agent, producer: &mut Producer, mut batch: Batch) -> Delivery {
    let started = Instant::now();
    let identity = *batch.identity.get_or_insert_with(|| producer.next(started));
    let mut failures = 0;
    loop {
        let (verdict, asked) = attempt(shared, agent, &batch, identity, failures > 0);
        match verdict {
            Verdict::Counted { accepted, rejected, example } => {
                let state = settle(shared, batch, |stats, _| {
                    stats.accepted += accepted;
                    stats.rejected += rejected;
                });
                if rejected > 0 {
                    shared.say(
                        state,
                        "rejected",
                        &format!("ingest rejected {rejected} events, the first as {example}"),
                    );
                }
                return Delivery::Done;
            }
            Verdict::Final { reason } => {
                let events = batch.events;
                let state = settle(shared, batch, |stats, events| stats.dropped_refused += events);
                shared.say(state, "refused", &format!("{events} events were dropped: {reason}"));
                return Delivery::Refused;
            }
            Verdict::Retry { reason } => {
                failures += 1;
                if started.elapsed() >= shared.config.give_up_after {
                    let events = batch.events;
                    let state = settle(shared, batch, |stats, events| stats.dropped_expired += events);
                    shared.say(state, "expired", &format!("{events} events were dropped: {reason}, for too long"));
                    return Delivery::Done;
                }
                shared.say(shared.lock(), "retry", &format!("{reason}; trying again"));
                say_what_was_dropped(shared);
                make_waiting_smaller(shared);
                if pause(shared, failures, asked) {
                    drop(settle(shared, batch, |stats, events| stats.dropped_shutdown += events));
                    return Delivery::Done;
                }
            }
        }
    }
}

/// Books the end of a batch.
fn settle(
    shared: &Shared,
    batch: Batch,
    book: impl FnOnce(&mut crate::Stats, u64),
) -> std::sync::MutexGuard<'_, State> {
    let mut state = shared.lock();
    book(&mut state.stats, batch.events);
    state.queue.done(batch);
    shared.progress.notify_all();
    state
}

fn attempt(
    shared: &Shared,
    agent: &ureq::Agent,
    batch: &Batch,
    identity: crate::identity::Identity,
    again: bool,
) -> (Verdict, Option<Duration>) {
    {
        let mut state = shared.lock();
        state.stats.requests += 1;
        state.stats.retried += u64::from(again);
        state.stats.bytes_sent += batch.body.len() as u64;
    }
    let mut request = agent
        .post(format!("{}/v1/events", shared.config.url))
        .header("peep-key", &shared.config.key)
        .header("content-type", "application/x-ndjson")
        .header("peep-producer", identity.producer.to_string())
        .header("peep-seq", identity.seq.to_string());
    if batch.form == Form::Gzip {
        request = request.header("content-encoding", "gzip");
    }
    let unanswered = |error: ureq::Error| {
        (Verdict::Retry { reason: format!("ingest does not answer ({})", answer::printable(&error.to_string())) }, None)
    };
    let mut response = match request.send(&batch.body[..]) {
        Ok(response) => response,
        Err(error) => return unanswered(error),
    };
    let status = response.status().as_u16();
    let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let asked = header.and_then(|header| answer::retry_after(header, SystemTime::now()));
    let body = response.body_mut().with_config().limit(u64::MAX).reader();
    match answer::judge(status, body, batch.events) {
        Ok(verdict) => (verdict, asked),
        Err(error) => unanswered(ureq::Error::Io(error)),
    }
}

/// Waits before the next try. Somebody who flushes does not sit out a pause that only the SDK wanted; what the server asked
/// for stands. True: the client was closed meanwhile.
fn pause(shared: &Shared, failures: u32, asked: Option<Duration>) -> bool {
    let config = &shared.config;
    let pause = backoff::pause(config.backoff_first, config.backoff_max, failures, asked, backoff::random());
    let started = Instant::now();
    let mut state = shared.lock();
    loop {
        let whole = if state.urgent > 0 && asked.is_none() { pause.min(URGENT_PAUSE) } else { pause };
        let left = whole.saturating_sub(started.elapsed());
        if state.closed || left.is_zero() {
            return state.closed;
        }
        // Every event that opens a batch wakes this up; a look at the clock, and on with waiting.
        state = shared.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        // So that the request that filled a chunk finds another one.
        if state.queue.sealed() > 0 {
            drop(state);
            make_waiting_smaller(shared);
            state = shared.lock();
        }
    }
}

fn agent(shared: &Shared) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(shared.config.attempt_timeout))
        .max_idle_connections(1)
        .input_buffer_size(16 << 10)
        .output_buffer_size(16 << 10)
        .user_agent(concat!("peep-sdk-rust/", env!("CARGO_PKG_VERSION")));
    if shared.config.is_local() {
        config = config.proxy(None);
    }
    config.build().into()
}

/// To the same machine only what has to wait is made smaller: it is less to hold, but nothing to save on the way.
fn smaller_if_it_waits(shared: &Shared, batch: Batch) -> Batch {
    let waits = !shared.config.is_local() || shared.lock().queue.sealed() > 0;
    if waits { smaller(shared, batch) } else { batch }
}

/// Makes room for what comes while a batch fails.
fn make_waiting_smaller(shared: &Shared) {
    loop {
        let Some((at, batch)) = shared.lock().queue.take_plain() else { return };
        let batch = smaller(shared, batch);
        shared.lock().queue.put_back(at, batch);
    }
}

/// Compressed, or at least without the rest of its chunk. Only what was never sent may change.
fn smaller(shared: &Shared, mut batch: Batch) -> Batch {
    if batch.form != Form::Plain || batch.identity.is_some() {
        return batch;
    }
    // Whatever comes of it, it is not tried again.
    batch.form = Form::Kept;
    let body = match packed(&batch.body) {
        Some(packed) => {
            batch.form = Form::Gzip;
            packed
        }
        None if batch.body.len() * 2 <= batch.body.capacity() => batch.body[..].to_vec(),
        None => return batch,
    };
    let chunk = std::mem::replace(&mut batch.body, body);
    shared.lock().queue.replaced(chunk, &batch.body);
    batch
}

#[cfg(feature = "gzip")]
fn packed(body: &[u8]) -> Option<Vec<u8>> {
    use std::io::Write as _;

    if body.len() < GZIP_BYTES_MIN {
        return None;
    }
    // A tenth to an eighth is what is left of lines that are so alike.
    let room = Vec::with_capacity(body.len() / 8);
    let mut encoder = flate2::write::GzEncoder::new(room, flate2::Compression::fast());
    encoder.write_all(body).ok()?;
    let mut packed = encoder.finish().ok()?;
    packed.shrink_to_fit();
    (packed.len() < body.len()).then_some(packed)
}

#[cfg(not(feature = "gzip"))]
fn packed(_: &[u8]) -> Option<Vec<u8>> {
    None
}
