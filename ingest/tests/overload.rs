//! Four times what the log takes, in short. `make hostile` does the same to a whole process.

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use peep_chassis::clock::Clock;
use peep_log::memory::MemoryLog;
use peep_log::{AppendError, BoxFuture, Log, Offset, Partition, ReadError, Reader, Watermarks};
use peep_testkit::flood::{Flood, Outcome};
use peep_wire::json::{Context, Decoder};
use peep_wire::record::RecordBuilder;
use peep_wire::{KeyId, ProjectId};
use support::{Ingest, config, start_on};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// What the slow log takes.
const REQUESTS_PER_SECOND: f64 = 40.0;
const EVENTS: usize = 100;

/// A log behind a narrow line: what waits is written in groups, in order, and whatever waits for too long is lost time.
struct SlowLog {
    inner: MemoryLog,
    queue: mpsc::Sender<Waiting>,
}

struct Waiting {
    partition: Partition,
    payload: Bytes,
    deadline: Instant,
    answer: oneshot::Sender<Result<Offset, AppendError>>,
}

impl SlowLog {
    fn start(inner: MemoryLog, bytes_per_second: f64) -> SlowLog {
        let (queue, waiting) = mpsc::channel(100_000);
        tokio::spawn(drain(inner.clone(), waiting, bytes_per_second));
        SlowLog { inner, queue }
    }
}

async fn drain(log: MemoryLog, mut queue: mpsc::Receiver<Waiting>, bytes_per_second: f64) {
    let mut group = Vec::new();
    while queue.recv_many(&mut group, 4096).await > 0 {
        let bytes: usize = group.iter().map(|waiting| waiting.payload.len()).sum();
        let done = Instant::now() + Duration::from_secs_f64(bytes as f64 / bytes_per_second);
        let deadline = group.iter().map(|waiting| waiting.deadline).min().unwrap_or(done);
        sleep_until(done.min(deadline)).await;
        for waiting in group.drain(..) {
            let answer = match done <= deadline {
                true => log.append(waiting.partition, waiting.payload).await,
                false => Err(AppendError::Unavailable { reason: "too late".to_owned() }),
            };
            let _ = waiting.answer.send(answer);
        }
    }
}

impl Log for SlowLog {
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    fn record_bytes_max(&self) -> usize {
        self.inner.record_bytes_max()
    }

    fn append(&self, partition: Partition, payload: Bytes) -> BoxFuture<'static, Result<Offset, AppendError>> {
        let (answer, answered) = oneshot::channel();
        let sent =
            self.queue.try_send(Waiting { partition, payload, deadline: Instant::now() + APPEND_TIMEOUT, answer });
        Box::pin(async move {
            sent.map_err(|_| AppendError::Full { what: "queue" })?;
            answered.await.unwrap_or(Err(AppendError::Full { what: "queue" }))
        })
    }

    fn reader(&self, partition: Partition, from: Offset) -> BoxFuture<'_, Result<Box<dyn Reader>, ReadError>> {
        self.inner.reader(partition, from)
    }

    fn watermarks(&self, partition: Partition) -> BoxFuture<'_, Result<Watermarks, ReadError>> {
        self.inner.watermarks(partition)
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

/// As every log has it.
const APPEND_TIMEOUT: Duration = Duration::from_secs(4);

async fn start() -> (Ingest, Flood) {
    let body: String = (0..EVENTS)
        .map(|number| format!(r#"{{"service":"shop","route":"/{number}","duration_ms":1}}"#) + "\n")
        .collect();
    // As the log gets it.
    let record_bytes = record_bytes(&body);
    let ingest = start_on(config(), Clock::system(), |log| {
        Arc::new(SlowLog::start(log, record_bytes as f64 * REQUESTS_PER_SECOND))
    })
    .await;
    let flood = flood_of(&ingest, &ingest.key, &body);
    (ingest, flood)
}

fn flood_of(ingest: &Ingest, key: &str, body: &str) -> Flood {
    let head = "Host: t\r\nContent-Type: application/x-ndjson";
    let length = body.len();
    let request =
        format!("POST /v1/events HTTP/1.1\r\n{head}\r\nPeep-Key: {key}\r\nContent-Length: {length}\r\n\r\n{body}");
    Flood {
        address: ingest.address.to_string(),
        request: request.into_bytes().into(),
        per_second: REQUESTS_PER_SECOND,
        connections_max: 1024,
    }
}

fn record_bytes(body: &str) -> usize {
    let context = Context {
        bound_env: None,
        age_ms_max: 1000,
        ahead_ms_max: 1000,
        events_max: EVENTS,
        event_bytes_max: 4096,
        depth_max: 8,
        lines: true,
    };
    let mut record = RecordBuilder::default();
    record.start(1_795_200_000_000);
    Decoder::default().decode(body.as_bytes(), &context, &mut record, &mut Vec::new()).expect("good events");
    record.finish(ProjectId(7), KeyId(1), None)[0].len()
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_times_what_the_log_takes_is_turned_away_and_the_rest_goes_on() {
    let (ingest, flood) = start().await;
    let other =
        Flood { per_second: 4.0, ..flood_of(&ingest, &ingest.other_key, r#"{"service":"quiet","duration_ms":1}"#) };
    let four = Flood { per_second: 4.0 * REQUESTS_PER_SECOND, ..flood.clone() };

    // Long enough that the second before the log is seen to be behind, in which everybody's requests pile up, does not decide.
    let (flooded, quiet) = tokio::join!(four.run(15 * SECOND), other.run(15 * SECOND));
    let after = flood_at(&flood, 0.5).run(6 * SECOND).await;
    eprintln!(
        "flood {}, accepted within {:?}, {} reconnects",
        flooded.statuses(),
        flooded.accepted_within(0.99),
        flooded.reconnects
    );
    eprintln!(
        "quiet {}, accepted within {:?}; after {}",
        quiet.statuses(),
        quiet.accepted_within(0.99),
        after.statuses()
    );

    let goodput = flooded.goodput(3 * SECOND, 15 * SECOND);
    assert!(goodput >= 0.9 * REQUESTS_PER_SECOND, "{goodput} of {REQUESTS_PER_SECOND} requests per second");
    assert!(flooded.accepted_within(0.99) < 4 * SECOND, "{:?}", flooded.accepted_within(0.99));
    every_refusal_says_when_to_come_back(&flooded);
    assert!(quiet.count(|status| status == 202) * 10 >= quiet.sent.len() * 9, "{}", quiet.statuses());
    assert!(after.last_refused().is_none_or(|at| at < 5 * SECOND), "{:?}", after.last_refused());
}

fn flood_at(flood: &Flood, share: f64) -> Flood {
    Flood { per_second: flood.per_second * share, ..flood.clone() }
}

fn every_refusal_says_when_to_come_back(outcome: &Outcome) {
    let refused: Vec<_> = outcome.sent.iter().filter(|sent| sent.status != 202).collect();
    assert!(!refused.is_empty(), "there was no overload");
    for sent in refused {
        assert!([429, 503].contains(&sent.status), "{sent:?}");
        assert!(sent.retry_after_s.is_some_and(|seconds| (1..=31).contains(&seconds)), "{sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_turned_away_keeps_the_connection_whatever_was_in_the_body() {
    let mut full = config();
    full.limits.body_bytes_in_flight_max = 0;
    let ingest = start_on(full, Clock::system(), |log| Arc::new(log)).await;
    let flood = Flood { per_second: 50.0, ..flood_of(&ingest, &ingest.key, &" ".repeat(300 << 10)) };
    let refused = flood.run(2 * SECOND).await;
    every_refusal_says_when_to_come_back(&refused);
    assert_eq!((refused.count(|status| status == 503), refused.reconnects), (100, 0), "{}", refused.statuses());
}
