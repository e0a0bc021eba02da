//! Sends batches as a good client does, and has the journal know about each of them first.
//!
//! Arrives: addresses of ingest and a rate. Leaves: journal entries, and counters for the report. A batch is sent until it
//! has an answer that is not "try again", with the same bytes and the same identity each time, at another ingest each time.
//! Three kinds stand out: one in sixteen is given up after the first attempt without an answer (it may be counted or not),
//! one in fifty is sent with a key that nobody knows (it must not be counted), and with [`Habit::Copies`] each is sent
//! several times, in any order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use peep_testkit::Client;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use super::batch::{BATCH_EVENTS, Batch};
use super::journal::{Entry, Journal, Outcome};
use crate::random::Random;

/// How a producer sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Habit {
    /// Each batch until it is answered.
    Once,
    /// Each batch one to this many times, shuffled with its neighbours and side by side.
    Copies(u32),
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub producers: u32,
    pub events_per_second: u64,
    pub habit: Habit,
    /// Longest wait for one answer.
    pub answer_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { producers: 24, events_per_second: 10_000, habit: Habit::Once, answer_timeout: Duration::from_secs(6) }
    }
}

/// A load that runs until it is told to stop.
pub struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<anyhow::Result<()>>,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    pub acked_events: u64,
    pub attempts: u64,
    /// Answers that ask to try again: 429, 503 and their like.
    pub refusals: u64,
    /// No answer at all: timeouts and broken connections.
    pub unanswered: u64,
    /// Nobody listened.
    pub unreachable: u64,
    /// The longest time an ingest took to say no.
    pub slowest_refusal: Duration,
    /// The longest time without any 202.
    pub longest_silence: Duration,
}

struct Shared {
    settings: Settings,
    journal: Journal,
    targets: Vec<Client>,
    events_per_second: AtomicU64,
    stop: AtomicBool,
    paused: AtomicBool,
    /// Sends under way or being retried.
    busy: AtomicU64,
    progress: Mutex<(Progress, Instant)>,
    /// Some of those that came with a 202.
    receipts: Mutex<Vec<String>>,
}

enum Attempt {
    Acked,
    Final,
    /// Certainly not taken.
    NotTaken,
    /// May or may not have been taken.
    Unclear,
}

impl Load {
    /// `targets` are clients of ingest without a key.
    pub fn start(settings: Settings, journal: Journal, targets: &[String], key: &str, random: &mut Random) -> Self {
        let with_key = |address: &String| {
            Client::new(format!("http://{address}")).with_timeout(settings.answer_timeout).with_key(key)
        };
        let shared = Arc::new(Shared {
            targets: targets.iter().map(with_key).collect(),
            events_per_second: AtomicU64::new(settings.events_per_second),
            stop: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            busy: AtomicU64::new(0),
            progress: Mutex::new((Progress::default(), Instant::now())),
            receipts: Mutex::new(Vec::new()),
            journal,
            settings,
        });
        let mut tasks = JoinSet::new();
        for number in 0..shared.settings.producers {
            let random = random.fork(u64::from(number));
            tasks.spawn(Producer::new(Arc::clone(&shared), number, random).run());
        }
        Self { shared, tasks }
    }

    pub async fn progress(&self) -> Progress {
        self.shared.progress.lock().await.0
    }

    /// From the next batch of each producer on.
    pub fn set_rate(&self, events_per_second: u64) {
        self.shared.events_per_second.store(events_per_second.max(1), Ordering::Relaxed);
    }

    /// No new batches, and every one under way has its answer. `resume` goes on.
    pub async fn pause(&self) {
        self.shared.paused.store(true, Ordering::SeqCst);
        while self.shared.busy.load(Ordering::SeqCst) > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn resume(&self) {
        self.shared.paused.store(false, Ordering::SeqCst);
    }

    /// The silence so far is by design and does not count.
    pub async fn forget_silence(&self) {
        self.shared.progress.lock().await.1 = Instant::now();
    }

    /// One receipt in many.
    pub async fn receipts(&self) -> Vec<String> {
        self.shared.receipts.lock().await.clone()
    }

    pub async fn wait_for(&self, acked_events: u64, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let acked = self.progress().await.acked_events;
            if acked >= acked_events {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "only {acked} of {acked_events} events were acknowledged within {within:?}"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Every batch under way gets its answer, or is given up after a while.
    pub async fn finish(&mut self) -> anyhow::Result<Progress> {
        self.shared.paused.store(false, Ordering::SeqCst);
        self.shared.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(self.shared.progress.lock().await.0)
    }
}

struct Producer {
    shared: Arc<Shared>,
    number: u32,
    id: Uuid,
    next_seq: u64,
    random: Random,
}

impl Producer {
    fn new(shared: Arc<Shared>, number: u32, mut random: Random) -> Self {
        let id = Uuid::from_u64_pair(random.number(), random.number());
        Self { shared, number, id, next_seq: 0, random }
    }

    async fn run(mut self) -> anyhow::Result<()> {
        // Not all at the same instant.
        sleep(Duration::from_millis(self.random.between(0, 200))).await;
        let mut due = Instant::now();
        while !self.shared.stop.load(Ordering::SeqCst) {
            if self.shared.paused.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(10)).await;
                due = Instant::now();
                continue;
            }
            self.shared.busy.fetch_add(1, Ordering::SeqCst);
            let sent = match self.shared.settings.habit {
                Habit::Once => self.send_one().await,
                Habit::Copies(most) => self.send_copies(most).await,
            };
            self.shared.busy.fetch_sub(1, Ordering::SeqCst);
            due += self.pause_for(sent?);
            // A server that was away is not flooded with what was missed.
            due = due.max(Instant::now() - Duration::from_millis(200));
            tokio::time::sleep_until(due.into()).await;
        }
        Ok(())
    }

    fn pause_for(&self, batches: u64) -> Duration {
        let of_all = self.shared.events_per_second.load(Ordering::Relaxed) as f64;
        let mine = of_all / f64::from(self.shared.settings.producers);
        Duration::from_secs_f64((batches * BATCH_EVENTS) as f64 / mine)
    }

    fn next_batch(&mut self) -> Batch {
        let batch = Batch { producer: self.number, seq: self.next_seq };
        self.next_seq += 1;
        batch
    }

    async fn send_one(&mut self) -> anyhow::Result<u64> {
        let batch = self.next_batch();
        let (stranger, patient) = (self.random.once_in(50), !self.random.once_in(16));
        self.shared.journal.intent(batch).await?;
        let body = batch.body(now_ms());
        let outcome = self.shared.send(&self.id, batch, &body, stranger, patient, &mut self.random).await;
        let acks = u32::from(outcome == Outcome::Acked);
        self.shared.journal.outcome(batch, Entry { outcome, acks }).await?;
        self.shared.count(&[outcome]).await;
        Ok(1)
    }

    /// Eight batches, each several times, in any order and side by side.
    async fn send_copies(&mut self, most: u32) -> anyhow::Result<u64> {
        let mut sends = Vec::new();
        let mut entries: Vec<(Batch, Entry)> = Vec::new();
        for position in 0..COPIES_TOGETHER {
            let batch = self.next_batch();
            self.shared.journal.intent(batch).await?;
            let body = batch.body(now_ms());
            let copies = self.random.between(1, u64::from(most) + 1);
            sends.extend((0..copies).map(|_| (position, batch, body.clone())));
            entries.push((batch, Entry { outcome: Outcome::Unknown, acks: 0 }));
        }
        self.random.shuffle(&mut sends);
        let (shared, id) = (&self.shared, &self.id);
        let sending = sends.into_iter().enumerate().map(|(number, (position, batch, body))| {
            let mut random = self.random.fork(number as u64);
            async move { (position, shared.send(id, batch, &body, false, true, &mut random).await) }
        });
        for (position, outcome) in join_all(sending).await {
            if outcome == Outcome::Acked {
                let entry = &mut entries[position].1;
                *entry = Entry { outcome, acks: entry.acks + 1 };
            }
        }
        for (batch, entry) in &entries {
            self.shared.journal.outcome(*batch, *entry).await?;
        }
        let outcomes: Vec<Outcome> = entries.iter().map(|(_, entry)| entry.outcome).collect();
        self.shared.count(&outcomes).await;
        Ok(COPIES_TOGETHER as u64)
    }
}

impl Shared {
    /// One batch, until there is an answer to keep.
    async fn send(
        &self,
        producer: &Uuid,
        batch: Batch,
        body: &[u8],
        stranger: bool,
        patient: bool,
        random: &mut Random,
    ) -> Outcome {
        let mut unclear = false;
        let mut give_up = None;
        let mut target = random.between(0, self.targets.len() as u64) as usize;
        for attempt in 0.. {
            match self.attempt(&self.targets[target], producer, batch, body, stranger).await {
                Attempt::Acked => return Outcome::Acked,
                // A refusal says nothing about an earlier attempt.
                Attempt::Final if unclear => return Outcome::Unknown,
                Attempt::Final => return Outcome::Final,
                Attempt::NotTaken => {}
                Attempt::Unclear if !patient => return Outcome::Unknown,
                Attempt::Unclear => unclear = true,
            }
            if self.stop.load(Ordering::SeqCst) {
                let deadline = *give_up.get_or_insert_with(|| Instant::now() + GIVE_UP);
                if Instant::now() > deadline {
                    return Outcome::Unknown;
                }
            }
            let longest_ms = 50_u64 << attempt.min(5);
            sleep(Duration::from_millis(random.between(10, longest_ms))).await;
            target = (target + 1) % self.targets.len();
        }
        Outcome::Unknown
    }

    async fn attempt(&self, to: &Client, producer: &Uuid, batch: Batch, body: &[u8], stranger: bool) -> Attempt {
        let mut to = to.with_header("peep-producer", producer).with_header("peep-seq", batch.seq);
        if stranger {
            to = to.with_key(STRANGER);
        }
        let started = Instant::now();
        let answer = to.try_post("/v1/events", "application/x-ndjson", body).await;
        let mut progress = self.progress.lock().await;
        progress.0.attempts += 1;
        match answer {
            Ok(answer) if answer.status == 202 => {
                // Anything less than all of it would be a lie of the plan, not of peep.
                let said = answer.json();
                assert_eq!(said["accepted"].as_u64(), Some(BATCH_EVENTS), "{}", answer.body);
                if progress.0.attempts.is_multiple_of(RECEIPTS_ONE_IN) {
                    self.receipts.lock().await.extend(said["receipt"].as_str().map(str::to_owned));
                }
                Attempt::Acked
            }
            Ok(answer) if matches!(answer.status, 408 | 429 | 500..) => {
                progress.0.refusals += 1;
                progress.0.slowest_refusal = progress.0.slowest_refusal.max(started.elapsed());
                let code = answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
                // The log's answer is the only one that leaves the outcome open.
                if code == "log_unavailable" || answer.status == 500 { Attempt::Unclear } else { Attempt::NotTaken }
            }
            Ok(_) => Attempt::Final,
            Err(error) if error.contains("refused") => {
                progress.0.unreachable += 1;
                Attempt::NotTaken
            }
            Err(_) => {
                progress.0.unanswered += 1;
                Attempt::Unclear
            }
        }
    }

    async fn count(&self, outcomes: &[Outcome]) {
        let acked = outcomes.iter().filter(|outcome| **outcome == Outcome::Acked).count() as u64;
        if acked > 0 {
            let (progress, last) = &mut *self.progress.lock().await;
            progress.acked_events += acked * BATCH_EVENTS;
            progress.longest_silence = progress.longest_silence.max(last.elapsed());
            *last = Instant::now();
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as i64
}

/// Well formed, and known to nobody.
const STRANGER: &str = "peep_dev_ingest_nobody";
/// How long a batch may still be tried after the end of the load: whatever was broken is whole again by then.
const GIVE_UP: Duration = Duration::from_secs(60);
/// About a hundred receipts of a full run.
const RECEIPTS_ONE_IN: u64 = 20;
const COPIES_TOGETHER: usize = 8;
