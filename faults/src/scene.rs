//! One fault from curtain to curtain: a world, a load on it, something that breaks, and the verdict.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use peep_testkit::Peep;
use tempfile::TempDir;

use crate::auditor::audit::{self, Findings};
use crate::auditor::batch::BATCH_EVENTS;
use crate::auditor::journal::{self, Journal};
use crate::auditor::load::{Load, Progress, Settings};
use crate::books;
use crate::observer::Observer;
use crate::random::Random;
use crate::site::Site;
use crate::tamper::Tamper;
use crate::world::{Role, Shape, World};

/// What a fault has in its hands.
pub struct Scene<'s> {
    pub site: &'s Site,
    pub world: World,
    pub random: Random,
    pub load: Load,
    pub observer: Observer,
    /// Acknowledged events to reach.
    pub events: u64,
    /// What the report says beside the verdict.
    pub notes: Vec<String>,
    pub expect: Expectations,
    /// What to do behind the judges' backs.
    pub tamper: Option<Tamper>,
    journal: PathBuf,
    _dir: TempDir,
}

/// What the verdict demands beyond "0 lost, 0 doubled, balanced".
#[derive(Clone, Copy, Debug)]
pub struct Expectations {
    /// Duplicates in the books are exactly the 202 answers beyond the first of each batch.
    pub exact_duplicates: bool,
    pub takeover_max: Duration,
    /// Acknowledged batches that are lost by design, because the log itself lost them: exactly so many.
    pub lost_batches: u64,
}

impl Default for Expectations {
    fn default() -> Self {
        Self { exact_duplicates: false, takeover_max: Duration::from_secs(12), lost_batches: 0 }
    }
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub findings: Findings,
    /// Of the lost ones: gone from the log itself, and on record.
    pub lost_by_design: u64,
    pub progress: Progress,
    /// From the last batch sent to everything counted.
    pub settled: Duration,
    pub takeover: Option<Duration>,
    pub imbalances: Vec<String>,
    pub oracle: Oracle,
    /// Most memory that any process of each kind was seen with.
    pub memory: Vec<(Role, u64)>,
    /// The numbers were changed on purpose.
    pub on_trial: bool,
    pub failures: Vec<String>,
    pub notes: Vec<String>,
}

/// What `peep verify` says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Oracle {
    Agrees(String),
    Differs(String),
}

impl Verdict {
    /// Acknowledged events that nobody can account for.
    pub fn lost(&self) -> u64 {
        self.findings.lost().saturating_sub(self.lost_by_design)
    }

    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

impl<'s> Scene<'s> {
    pub async fn start(site: &'s Site, shape: Shape, load: Settings, events: u64, seed: u64) -> anyhow::Result<Self> {
        let mut random = Random::new(seed);
        let world = World::start(site, shape).await?;
        let dir = tempfile::Builder::new().prefix("peep-faults-").tempdir()?;
        let path = dir.path().join("journal");
        let load =
            Load::start(load, Journal::create(&path)?, &world.ingest_addresses(), &world.ingest_key, &mut random);
        // The keys are read once a few seconds have passed, at the latest.
        load.wait_for(1, Duration::from_secs(30)).await?;
        load.forget_silence().await;
        let observer = Observer::start(world.pool.clone());
        Ok(Self {
            site,
            world,
            random,
            load,
            observer,
            events,
            notes: Vec::new(),
            expect: Expectations::default(),
            tamper: None,
            journal: path,
            _dir: dir,
        })
    }

    /// Spreads the events that are still missing over a time, so that the load lasts as long as the fault.
    pub async fn pace(&self, over: Duration) {
        let missing = self.events.saturating_sub(self.load.progress().await.acked_events);
        let rate = missing as f64 / over.as_secs_f64();
        self.load.set_rate((rate as u64).clamp(RATE_MIN, RATE_MAX));
    }

    /// So many times at the full number of events, and fewer in a short run, but at least three.
    pub fn scaled(&self, times: u32) -> u32 {
        let scaled = u64::from(times) * self.events / FULL_EVENTS;
        u32::try_from(scaled).unwrap_or(times).clamp(3.min(times), times)
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub fn is_short(&self) -> bool {
        self.events < FULL_EVENTS / 2
    }

    /// Ends the life of a rollup and has the observer wait for its partitions.
    pub async fn kill_rollup(&mut self, number: usize) {
        self.rollup_is_gone(number);
        self.world.rollups[number].kill().await;
    }

    /// Stops it until somebody thaws it; its partitions are waited for.
    pub async fn freeze_rollup(&self, number: usize) -> anyhow::Result<()> {
        let pod = &self.world.rollups[number];
        let owner = pod.owner().context("a rollup says who it is when it starts")?;
        // The first to come takes all; it takes a few seconds until every one has its share.
        let deadline = Instant::now() + SHARE_WAIT;
        while !self.observer.owns_something(owner) {
            anyhow::ensure!(Instant::now() < deadline, "the rollup to freeze has nothing to do");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        pod.freeze();
        self.observer.gone(owner);
        Ok(())
    }

    /// It is dead or frozen already, or is about to be.
    pub fn rollup_is_gone(&self, number: usize) {
        if let Some(owner) = self.world.rollups[number].owner() {
            self.observer.gone(owner);
        }
    }

    /// Waits until a rollup ends at a failpoint.
    pub async fn rollup_ends(&mut self, number: usize, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while !self.world.rollups[number].has_ended() {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.rollup_is_gone(number);
        self.world.rollups[number].kill().await;
        true
    }

    /// No new batches, every one under way answered and counted. Says how far that is; `load.resume` goes on.
    pub async fn settle_paused(&self) -> anyhow::Result<BTreeMap<u32, u64>> {
        self.load.pause().await;
        settle(&self.world).await?;
        Ok(books::cursors(&self.world.pool).await?)
    }

    /// Every partition of an owner that is gone is counted by another one, or the time is over.
    pub async fn wait_for_takeover(&self) {
        let deadline = Instant::now() + self.expect.takeover_max + Duration::from_secs(8);
        while !self.observer.all_counted() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The curtain: the load reaches its number and ends, everything is counted, and then compared.
    pub async fn finish(&mut self) -> anyhow::Result<Verdict> {
        self.load.set_rate(RATE_MAX);
        self.load.wait_for(self.events, REACH).await?;
        let progress = self.load.finish().await?;
        let started = Instant::now();
        self.wait_for_owners().await;
        let settled = settle(&self.world).await;
        let took = started.elapsed();
        for pod in self.world.pods_mut() {
            pod.look_at_memory();
        }

        let entries = journal::read(&self.journal)?;
        let lie = match self.tamper {
            Some(tamper) => Some(tamper.apply(&self.world.pool, &entries, &mut self.random).await?),
            None => None,
        };
        let findings = audit::audit(&entries, &books::counted(&self.world.pool).await?);
        let imbalances = books::imbalances(&self.world.pool).await?;
        let ledger = books::ledger(&self.world.pool).await?;
        let oracle = verify(&self.world).await;
        let (takeover, _) = self.observer.longest();

        let mut failures = Vec::new();
        if let Err(error) = settled {
            failures.push(format!("{error:#}"));
        }
        let by_design = self.expect.lost_batches * BATCH_EVENTS;
        if by_design == 0 {
            failures.extend(findings.findings.iter().take(20).map(ToString::to_string));
        } else if (findings.lost(), findings.doubled()) != (by_design, 0) {
            let (lost, doubled) = (findings.lost(), findings.doubled());
            failures.push(format!("{lost} lost and {doubled} doubled, where the log itself lost {by_design}"));
        }
        failures.extend(imbalances.iter().cloned());
        if let Oracle::Differs(said) = &oracle {
            failures.push(format!("peep verify: {said}"));
        }
        failures.extend(self.world.panics());
        if let Some(takeover) = takeover.filter(|takeover| *takeover > self.expect.takeover_max) {
            failures.push(format!("a partition was without an owner for {takeover:.1?}"));
        }
        for (partition, waited) in self.observer.unowned() {
            failures.push(format!("partition {partition} has had no owner for {waited:.1?}"));
        }
        let extra = findings.extra_acks as i64 * BATCH_EVENTS as i64;
        if self.expect.exact_duplicates && ledger.duplicate != extra {
            failures.push(format!("{} events are booked as duplicates, {extra} were sent again", ledger.duplicate));
        }
        failures.extend(self.ask_peep().await.err().map(|error| format!("{error:#}")));
        let memory: Vec<(Role, u64)> = BUDGETS.iter().map(|(role, _)| (*role, self.world.memory_of(*role))).collect();
        for ((role, used), (_, budget)) in memory.iter().zip(BUDGETS) {
            if used > budget {
                failures.push(format!(
                    "a {role:?} had {} MiB in memory, {} MiB is its budget",
                    used >> 20,
                    budget >> 20
                ));
            }
        }
        let mut notes = std::mem::take(&mut self.notes);
        if ledger.duplicate > 0 {
            notes.push(format!("{} duplicates recognised", ledger.duplicate));
        }
        self.world.stop().await;
        let on_trial = lie.is_some();
        let mut verdict = Verdict {
            memory,
            on_trial,
            findings,
            lost_by_design: by_design,
            progress,
            settled: took,
            takeover,
            imbalances,
            oracle,
            failures,
            notes,
        };
        if let Some(lie) = lie {
            lie.judge_the_judges(&mut verdict)?;
        }
        Ok(verdict)
    }

    /// Its own books, and what it says to whoever holds a receipt.
    async fn ask_peep(&self) -> anyhow::Result<()> {
        let answer = self.world.read.get("/v1/reconcile").await;
        let books = answer.json();
        anyhow::ensure!(books["balanced"] == true && books["in_flight"] == 0, "/v1/reconcile: {}", answer.body);
        if self.expect.lost_batches > 0 {
            return Ok(());
        }
        for receipt in self.load.receipts().await {
            let answer = self.world.read.get(&format!("/v1/receipts/{receipt}")).await;
            let said = answer.json();
            // Another try may have been counted, and this one be the duplicate.
            let settled = said["status"] == "duplicate" || (said["status"] == "applied" && said["counted"] == "all");
            anyhow::ensure!(settled, "/v1/receipts/{receipt}: {} {}", answer.status, answer.body);
        }
        Ok(())
    }

    /// Nothing is sent any more, so a partition may have nothing left to count: an owner is enough.
    async fn wait_for_owners(&self) {
        let deadline = Instant::now() + self.expect.takeover_max;
        while !self.observer.unowned().is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Waits until every record in the log is below the cursor of its partition.
async fn settle(world: &World) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let ends = world.kafka.ends().await;
        let cursors = books::cursors(&world.pool).await;
        if let (Ok(ends), Ok(cursors)) = (&ends, &cursors) {
            let behind: Vec<String> = ends
                .iter()
                .filter(|(partition, end)| cursors.get(partition).copied().unwrap_or(0) != **end)
                .map(|(partition, end)| {
                    format!("partition {partition} at {} of {end}", cursors.get(partition).copied().unwrap_or(0))
                })
                .collect();
            if behind.is_empty() {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "not counted within {SETTLE:?}: {}", behind.join(", "));
        }
        if Instant::now() > deadline {
            ends.context("ask Kafka for the end of the log")?;
            cursors.context("read the cursors")?;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The oracle counts the whole log again with code of its own.
async fn verify(world: &World) -> Oracle {
    let command = world.command(Peep::command(["verify"]));
    let (status, said) = command.run(VERIFY).await;
    let last: Vec<&str> = said.lines().rev().take(10).collect();
    let last = last.into_iter().rev().collect::<Vec<_>>().join(" | ");
    if status.success() { Oracle::Agrees(last) } else { Oracle::Differs(format!("{status}: {last}")) }
}

/// The number of events for which repetitions are written down.
const FULL_EVENTS: u64 = 200_000;
/// Resident, of one process.
const BUDGETS: &[(Role, u64)] = &[(Role::Ingest, 256 << 20), (Role::Rollup, 512 << 20), (Role::Stream, 512 << 20)];
/// Until a rollup that was just started has partitions.
const SHARE_WAIT: Duration = Duration::from_secs(20);
/// Enough to notice a fault, and not so much that two cores do nothing else.
const RATE_MIN: u64 = 1_000;
const RATE_MAX: u64 = 25_000;
const REACH: Duration = Duration::from_secs(240);
const SETTLE: Duration = Duration::from_secs(90);
const VERIFY: Duration = Duration::from_secs(180);
