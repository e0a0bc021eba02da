//! Alert rules: looked at all the time, told to a webhook when they fire.
//!
//! Arrives: rules that people wrote, and the answers that the API gives. Leaves: states, firings, messages to receivers, and
//! `peep_alert_firing` in `/metrics`. Promises: one process of all evaluates; a state changes together with what has to be told
//! about it; nothing flaps; a message goes to public addresses and listed hosts only.
//!
//! The way of an alert, in order:
//! - [`rule`]: what a person wrote, checked;
//! - [`look`], [`measure`]: the questions, and what the answers mean;
//! - [`machine`]: whether it fires;
//! - [`evaluate`], [`store`]: over and over, and kept;
//! - [`deliver`], [`webhook`]: told;
//! - [`preview`]: what a rule would have done;
//! - [`paths`]: the endpoints.

pub mod rule;

pub mod look;

pub mod measure;

pub mod machine;

pub mod evaluate;

pub mod store;

pub mod deliver;

pub mod webhook;

pub mod preview;

mod endpoints;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use peep_chassis::clock::Clock;
use peep_chassis::exposition::{Exposition, Format, Source, write_head};
use peep_chassis::lifecycle::Shutdown;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

pub use self::endpoints::paths;
use self::evaluate::{Evaluator, RuleFiring};
use self::webhook::Webhooks;
use crate::answer::Answers;
use crate::freshness::Freshness;

/// How often, and to whom.
#[derive(Debug, Clone)]
pub struct AlertsConfig {
    /// Between two looks; zero: never.
    pub interval: Duration,
    /// Hosts that need not be public.
    pub webhook_allow: Vec<String>,
}

/// The part of the service that evaluates and tells.
pub struct Alerts {
    evaluator: Evaluator,
    webhooks: Webhooks,
    firing: Arc<Firing>,
    interval: Duration,
    pool: PgPool,
    clock: Clock,
}

/// What `/metrics` says.
#[derive(Default)]
struct Firing {
    rules: Arc<Mutex<Vec<RuleFiring>>>,
}

impl Source for Firing {
    fn write(&self, format: Format, out: &mut String) {
        let rules = self.rules.lock();
        if rules.is_empty() {
            return;
        }
        write_head(format, out, "peep_alert_firing", "gauge", "Whether an alert rule fires, by rule.");
        for RuleFiring { rule, kind, firing } in rules.iter() {
            let _ = writeln!(out, "peep_alert_firing{{rule=\"{rule}\",kind=\"{kind}\"}} {}", u8::from(*firing));
        }
    }
}

impl Alerts {
    /// Not running.
    pub fn new(
        config: AlertsConfig,
        exposition: &Exposition,
        answers: Answers,
        freshness: Freshness,
        pool: PgPool,
        clock: Clock,
    ) -> Self {
        let firing = Arc::new(Firing::default());
        exposition.register(&firing);
        let rules = Arc::clone(&firing.rules);
        let evaluator = Evaluator::new(pool.clone(), answers, freshness, clock.clone(), config.interval, rules);
        let webhooks = Webhooks::new(config.webhook_allow);
        Self { evaluator, webhooks, firing, interval: config.interval, pool, clock }
    }

    /// What sends messages.
    pub fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    /// Evaluates, and tells, until shutdown.
    pub async fn run(mut self, shutdown: &Shutdown) {
        if self.interval.is_zero() {
            return shutdown.requested().await;
        }
        let pause = self.interval.min(deliver::INTERVAL);
        let mut next_look = Instant::now();
        let mut next_sweep = Instant::now() + SWEEP_INTERVAL;
        let (mut mine, mut failing) = (false, false);
        loop {
            let round = async {
                if Instant::now() >= next_look {
                    next_look = Instant::now() + self.interval;
                    mine = self.evaluator.round().await?;
                }
                if mine {
                    deliver::round(&self.pool, &self.webhooks, &self.clock).await?;
                    if Instant::now() >= next_sweep {
                        next_sweep = Instant::now() + SWEEP_INTERVAL;
                        store::sweep(&self.pool).await?;
                    }
                }
                Ok::<(), sqlx::Error>(())
            };
            let outcome = tokio::select! {
                () = shutdown.requested() => break,
                outcome = round => outcome,
            };
            match (&outcome, failing) {
                (Err(error), false) => tracing::warn!(%error, "alert rules are not looked at: the database fails"),
                (Ok(()), true) => tracing::info!("alert rules are looked at again"),
                _ => {}
            }
            failing = outcome.is_err();
            tokio::select! {
                () = shutdown.requested() => break,
                () = sleep(pause) => {}
            }
        }
        if mine {
            self.evaluator.leave().await;
        }
        self.firing.rules.lock().clear();
    }
}

const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
