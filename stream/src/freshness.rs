//! How old a number is when it can be seen: measured, all the time, by events of peep's own.
//!
//! ```text
//! append to the log ──▶ rollup ──▶ live frame held here
//! ├──────────── age ─────────────┤
//! ```
//!
//! Arrives: an interval. Leaves: the age of the newest probe, a histogram in `/metrics`, and history: each probe is an ordinary event
//! whose duration is the age of the one before, so the rollups keep it like any other number, over restarts and with exact
//! quantiles. Promises: probes belong to project 0, which has no keys and no viewers: no book of any other project has them, and
//! they are counted, booked and verified like everything else. They go around the partitions; one that does not come within ten
//! seconds is a failure of its own and ages on until its partition moves again.
//! Does not: count the pause between two frames of a view, or the way to the browser, which knows that part itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use peep_chassis::clock::Clock;
use peep_chassis::lifecycle::Shutdown;
use peep_log::{Log, Offset, Partition};
use peep_wire::event::{EncodedAttrs, Event};
use peep_wire::histogram::Quantile;
use peep_wire::method::Method;
use peep_wire::record::RecordBuilder;
use peep_wire::{KeyId, ProjectId};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::answer::Answers;
use crate::error::ApiError;
use crate::feed::Feed;
use crate::figures::Figures;
use crate::labels::{Filters, GroupBy};
use crate::metrics;
use crate::position;
use crate::query::FreshnessQuery;

/// Whom probes belong to: nobody.
pub const PROJECT: ProjectId = ProjectId(0);

/// The ages of probes. Cheap to clone; clones share.
#[derive(Clone, Default)]
pub struct Freshness {
    shared: Arc<Mutex<Ages>>,
}

#[derive(Default)]
struct Ages {
    running: bool,
    /// The last ones that were seen: when, by the wall clock, and how old.
    seen: VecDeque<(i64, Duration)>,
    /// By partition: since when its oldest probe is missing.
    missing: BTreeMap<u32, Instant>,
}

impl Ages {
    fn age(&self) -> Option<Duration> {
        let missing = self.missing.values().map(Instant::elapsed).max();
        let seen = self.seen.back().map(|(_, age)| *age);
        if self.running { missing.max(seen) } else { None }
    }

    fn see(&mut self, partition: u32, at_ms: i64, age: Duration) {
        self.missing.remove(&partition);
        self.seen.push_back((at_ms, age));
        if self.seen.len() > SEEN_KEPT {
            self.seen.pop_front();
        }
    }
}

impl Freshness {
    /// How old a number is at the moment; `None` before the first probe came, and without probes.
    pub fn age_ms(&self) -> Option<u64> {
        self.shared.lock().age().map(millis)
    }

    /// Whether what is shown is so old that nothing can be concluded from what is missing in it.
    pub fn is_behind(&self) -> bool {
        self.shared.lock().age().is_some_and(|age| age > BEHIND)
    }

    /// Sends probes until shutdown.
    pub async fn run(&self, interval: Duration, log: Arc<dyn Log>, feed: &Feed, clock: &Clock, shutdown: &Shutdown) {
        self.shared.lock().running = true;
        let mut before = Before::Nothing;
        for number in 0.. {
            let started = Instant::now();
            let partition = Partition(number % log.partitions().max(1));
            let probe = self.probe(&*log, partition, feed, before, clock);
            before = tokio::select! {
                () = shutdown.requested() => return,
                outcome = probe => outcome,
            };
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep_until(started + interval) => {}
            }
        }
    }

    /// Sends one and waits for it.
    async fn probe(&self, log: &dyn Log, partition: Partition, feed: &Feed, before: Before, clock: &Clock) -> Before {
        let started = Instant::now();
        let deadline = started + LOST_AFTER;
        let payload = record(before, clock.now_ms());
        // From before the append: what takes long there is waited for as well.
        self.shared.lock().missing.entry(partition.0).or_insert(started);
        let appended = timeout_at(deadline, log.append(partition, payload)).await;
        let seen = match appended {
            Ok(Ok(offset)) => timeout_at(deadline, seen_in(feed, partition, offset)).await.is_ok(),
            Ok(Err(error)) => {
                tracing::debug!(%partition, %error, "a freshness probe was not taken");
                // Not at once again: a full log has other worries.
                sleep(REFUSED_PAUSE).await;
                false
            }
            Err(_) => false,
        };
        if !seen {
            metrics::probe_lost();
            return Before::Lost;
        }
        let age = started.elapsed();
        metrics::probe_seen(age);
        self.shared.lock().see(partition.0, clock.now_ms(), age);
        Before::Seen(age)
    }

    /// `GET /v1/freshness`
    pub async fn answer(&self, answers: &Answers, query: FreshnessQuery) -> Result<Value, ApiError> {
        let answer = answers.ask(PROJECT, query.asked, Filters::default(), GroupBy::default()).await?;
        let window = answer.question().window;
        let steps = answer.into_groups(1).into_iter().next().map(|group| group.steps).unwrap_or_default();
        let ends = (window.from_s..window.to_s).step_by(window.step_s.unsigned_abs() as usize);
        let t: Vec<i64> = ends.collect();
        let quantile = |quantile: Quantile| -> Vec<Option<f64>> {
            let value = |figures: &Figures| figures.latency.value_at(quantile).map(|us| us as f64 / 1000.0);
            t.iter().map(|at| steps.get(at).and_then(value)).collect()
        };
        let count =
            |of: fn(&Figures) -> u64| -> Vec<Option<u64>> { t.iter().map(|at| steps.get(at).map(of)).collect() };
        Ok(json!({
            "probe": self.now(),
            "step_ms": window.step_s * 1000,
            "from_ms": window.from_s * 1000,
            "to_ms": window.to_s * 1000,
            "t": t.iter().map(|at| at * 1000).collect::<Vec<_>>(),
            "p50_ms": quantile(Quantile::P50),
            "p99_ms": quantile(Quantile::P99),
            "count": count(|figures| figures.count),
            "lost": count(|figures| figures.errors),
        }))
    }

    /// The present, from memory; `null` without probes.
    fn now(&self) -> Value {
        let ages = self.shared.lock();
        let Some(age) = ages.age() else { return Value::Null };
        let mut sorted: Vec<Duration> = ages.seen.iter().map(|(_, age)| *age).collect();
        sorted.sort_unstable();
        let rank = |share: usize| {
            let rank = (sorted.len() * share).div_ceil(100).max(1) - 1;
            sorted.get(rank).map(|age| millis(*age))
        };
        json!({
            "age_ms": millis(age),
            "p50_ms": rank(50),
            "p99_ms": rank(99),
            "at_ms": ages.seen.back().map(|(at_ms, _)| *at_ms),
        })
    }
}

/// What the next probe tells about the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Seen(Duration),
    Lost,
}

/// The probe as a record of the log.
fn record(before: Before, now_ms: i64) -> bytes::Bytes {
    let (status, duration_us) = match before {
        Before::Nothing => (0, None),
        Before::Seen(age) => (200, Some(u64::try_from(age.as_micros()).unwrap_or(u64::MAX))),
        Before::Lost => (504, None),
    };
    let mut builder = RecordBuilder::default();
    builder.start(now_ms);
    builder.push(&Event {
        service: "peep",
        env: "default",
        route: "freshness probe",
        method: Method::ABSENT,
        status,
        ended_ms: now_ms,
        duration_us,
        error: None,
        host: None,
        version: None,
        source: Some("probe"),
        bytes_in: None,
        bytes_out: None,
        trace_id: None,
        span_id: None,
        attrs: EncodedAttrs::EMPTY,
    });
    builder.finish(PROJECT, KeyId(0), None).remove(0)
}

/// Resolves when a frame has counted the record.
async fn seen_in(feed: &Feed, partition: Partition, offset: Offset) {
    let mut arrivals = feed.arrivals();
    loop {
        // The feed knows positions, the log offsets; the generation changes only when a person accepts a new log.
        if feed.counted_to(partition.0).is_some_and(|to| position::offset(to) > offset.0) {
            return;
        }
        // The feed outlives everything that listens.
        if arrivals.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

/// Ten minutes, one a second.
const SEEN_KEPT: usize = 600;
const LOST_AFTER: Duration = Duration::from_secs(10);
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// From here on the dashboard says "no data".
const BEHIND: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use peep_log::memory;
    use peep_wire::live::LiveFrame;
    use peep_wire::record::parse;

    use super::*;

    fn frame(partition: u32, to: u64) -> LiveFrame {
        LiveFrame { partition, epoch: 1, from: 0, to, published_ms: 0, newest_received_ms: 0, cells: Vec::new() }
    }

    #[test]
    fn a_probe_is_an_event_of_nobody_that_tells_the_age_of_the_last_one() {
        let events = |before| {
            let payload = record(before, 1_795_183_205_000);
            let batch = parse(&payload).expect("a record");
            assert_eq!(
                (batch.header.project, batch.header.identity, batch.header.event_count),
                (ProjectId(0), None, 1)
            );
            let event = batch.events().next().expect("one event").expect("readable");
            let series = event.series.decode().expect("a series");
            (series.status, event.duration_us)
        };
        assert_eq!(events(Before::Nothing), (0, None));
        assert_eq!(events(Before::Seen(Duration::from_millis(312))), (200, Some(312_000)));
        assert_eq!(events(Before::Lost), (504, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_is_seen_when_a_frame_has_counted_it_and_not_before() {
        let (log, feed, clock) = (memory(2), Feed::new(1 << 20), Clock::manual(1_000));
        let (freshness, shutdown) = (Freshness::default(), Shutdown::new());
        let task = {
            let (freshness, feed, shutdown) = (freshness.clone(), feed.clone(), shutdown.clone());
            tokio::spawn(async move {
                freshness.run(Duration::from_secs(1), log, &feed, &clock, &shutdown).await;
            })
        };
        sleep(Duration::from_millis(300)).await;
        assert_eq!(freshness.age_ms(), Some(300), "the first one is on its way");
        feed.insert([frame(1, 0)]);
        sleep(Duration::from_millis(10)).await;
        assert!(freshness.age_ms() >= Some(310), "another partition's frame does not count");
        feed.insert([frame(0, 1)]);
        sleep(Duration::from_millis(100)).await;
        assert_eq!(freshness.age_ms(), Some(310), "the age is what it took");
        // The second goes to partition 1 and its frame never comes.
        sleep(Duration::from_secs(8)).await;
        assert!(!freshness.is_behind());
        sleep(Duration::from_secs(20)).await;
        assert!(freshness.is_behind(), "{:?}", freshness.age_ms());
        shutdown.request();
        task.await.expect("no panic");
    }

    #[test]
    fn without_probes_nothing_is_known() {
        let freshness = Freshness::default();
        assert_eq!((freshness.age_ms(), freshness.is_behind(), freshness.now()), (None, false, Value::Null));
    }
}
