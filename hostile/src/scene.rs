//! One case at work: an ingest of its own with a fresh database, and what is found out about it.
//!
//! Promises: a process that has ended or has panicked is a failure, whatever else was seen.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use peep_testkit::process::{PeepCommand, free_address};
use peep_testkit::{Client, Database, Peep};
use sqlx::PgPool;

use crate::honest::{Experience, Honest};
use crate::ledger;
use crate::meter::{Meter, mebibytes};
use crate::site::Site;
use crate::talk::{self, Exchange, Until};

/// A running ingest and what is known of it.
pub struct Scene {
    pub database: Database,
    pub pool: PgPool,
    /// `host:port` of ingest.
    pub address: String,
    /// `host:port` of its metrics.
    pub admin: String,
    pub key: String,
    process: Peep,
    settings: Vec<(String, String)>,
    findings: Findings,
}

/// What came out so far.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub notes: Vec<String>,
    pub failures: Vec<String>,
}

/// What an attack cost, and what the honest client noticed of it.
#[derive(Clone, Debug)]
pub struct Cost {
    pub honest: Experience,
    pub resident_before: u64,
    pub resident_peak: u64,
    pub processor_time: Duration,
    pub took: Duration,
}

impl Cost {
    /// Resident memory that was not there before.
    pub fn extra_bytes(&self) -> u64 {
        self.resident_peak.saturating_sub(self.resident_before)
    }
}

impl Scene {
    pub(crate) async fn start(site: &Site) -> anyhow::Result<Self> {
        let database = site.database().await;
        let command = Peep::command(["key", "create", "--quiet", "--project", "hostile", "--scope", "ingest"]);
        let (status, said) = command.env("DATABASE_URL", database.url()).run(START).await;
        anyhow::ensure!(status.success(), "create a key: {said}");
        let (address, admin) = (free_address(), free_address());
        let process = command_of(&database, &address, &admin, &[]).start().await;
        let pool = database.pool().await;
        let key = said.trim().to_owned();
        let mut scene =
            Self { database, pool, address, admin, key, process, settings: Vec::new(), findings: Findings::default() };
        scene.process.wait_until_ready(START).await;
        scene.warm_up().await?;
        Ok(scene)
    }

    /// Starts ingest again with these settings beside the usual ones.
    ///
    /// # Errors
    /// When it takes no event afterwards.
    pub async fn restart_with(&mut self, settings: &[(&str, &str)]) -> anyhow::Result<()> {
        self.look_at_process();
        self.process.kill().await;
        self.settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.process = command_of(&self.database, &self.address, &self.admin, &self.settings).start().await;
        self.process.wait_until_ready(START).await;
        self.warm_up().await
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn meter(&self) -> Meter {
        Meter::of(self.pid())
    }

    /// A client for further calls, as patient as 30 s.
    pub fn client(&self) -> Client {
        Client::new(format!("http://{}", self.address)).with_key(&self.key)
    }

    /// Everything ingest has said.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// A request for `/v1/events` with these header lines, each ended by CRLF, beside `Host` and the key.
    pub fn post(&self, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
        let mut request = format!(
            "POST /v1/events HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{headers}\r\n",
            self.address, self.key
        )
        .into_bytes();
        request.extend_from_slice(body.as_ref());
        request
    }

    /// The same with the body's length.
    pub fn post_body(&self, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
        let length = body.as_ref().len();
        self.post(&format!("Content-Length: {length}\r\n{headers}"), body)
    }

    /// Sends bytes on a connection of their own.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn talk(&self, request: &[u8], until: Until) -> anyhow::Result<Exchange> {
        talk::talk(&self.address, request, until).await.context("connect to ingest")
    }

    /// Events in the log by their service; those of the honest client are not among them.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn taken(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut services = ledger::by_service(&self.pool).await?;
        services.remove("honest");
        Ok(services)
    }

    /// Something is wrong unless it holds.
    pub fn expect(&mut self, holds: bool, otherwise: impl Into<String>) {
        if !holds {
            self.findings.failures.push(otherwise.into());
        }
    }

    /// A figure for the line.
    pub fn note(&mut self, figure: impl Into<String>) {
        self.findings.notes.push(figure.into());
    }

    /// Carries an attack out beside an honest client, which must not notice: every request of its is answered 202. What it
    /// cost is measured.
    ///
    /// # Errors
    /// When the process is gone.
    pub async fn beside_honest<T>(&mut self, attack: impl Future<Output = T>) -> anyhow::Result<(T, Cost)> {
        let meter = self.meter();
        let (resident_before, processor_before) = (meter.resident_bytes()?, meter.processor_time()?);
        meter.forget_peak()?;
        let (honest, started) = (Honest::start(&self.address, &self.key), Instant::now());
        let result = attack.await;
        let took = started.elapsed();
        let honest = honest.stop().await;
        let resident_peak = meter.peak_bytes().context("after the attack")?;
        let processor_time = meter.processor_time()?.saturating_sub(processor_before);
        let cost = Cost { honest, resident_before, resident_peak, processor_time, took };
        let failures = cost.honest.failures.len();
        if failures > 0 {
            let some: Vec<&str> = cost.honest.failures.iter().take(3).map(String::as_str).collect();
            let requests = cost.honest.requests;
            self.expect(false, format!("the honest client failed {failures} times of {requests}: {}", some.join("; ")));
        }
        Ok((result, cost))
    }

    /// Notes the usual figures of an attack; resident memory may have grown by this much.
    pub fn judge_cost(&mut self, cost: &Cost, extra_bytes_max: u64) {
        let extra = cost.extra_bytes();
        self.note(format!("+{} of {}", mebibytes(extra), mebibytes(extra_bytes_max)));
        self.note(format!("cpu {:.1} s in {:.1} s", cost.processor_time.as_secs_f64(), cost.took.as_secs_f64()));
        self.note(cost.honest.summary());
        self.expect(extra <= extra_bytes_max, format!("resident memory grew by {}", mebibytes(extra)));
    }

    /// Ends the process and says what came out.
    pub(crate) async fn finish(mut self) -> Findings {
        match self.warm_up().await {
            Ok(()) => {}
            Err(error) => self.expect(false, format!("afterwards an honest request fails: {error:#}")),
        }
        self.look_at_process();
        let status = self.process.terminate(STOP).await;
        self.expect(status.success(), format!("it ended with {status}"));
        self.findings
    }

    fn look_at_process(&mut self) {
        let said = self.said();
        let panics: Vec<&str> = said.lines().filter(|line| line.contains("panicked at")).collect();
        let said = panics.first().map_or_else(String::new, |line| (*line).to_owned());
        self.expect(panics.is_empty(), said);
    }

    /// One honest event on a connection of its own.
    async fn warm_up(&self) -> anyhow::Result<()> {
        let request = self.post_body("", r#"{"service":"honest","duration_ms":1}"#);
        let exchange = self.talk(&request, Until::replies(1)).await?;
        anyhow::ensure!(exchange.status() == 202, "an honest request was answered {:?}", exchange.statuses());
        Ok(())
    }
}

fn command_of(database: &Database, address: &str, admin: &str, settings: &[(String, String)]) -> PeepCommand {
    let mut command = Peep::command(["ingest"])
        .env("DATABASE_URL", database.url())
        .env("PEEP_LOG", "postgres")
        .env("PEEP_TELEMETRY_FORMAT", "text")
        .env("PEEP_INGEST_LISTEN", address)
        .env("PEEP_ADMIN_LISTEN", admin);
    for (name, value) in settings {
        command = command.env(name, value);
    }
    command
}

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(30);
