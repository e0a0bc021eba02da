//! Looks at every enabled rule, over and over, in one process of all.
//!
//! Arrives: rules, and the answers to their questions. Leaves: states, firings and messages, each with its look in one transaction.
//! Promises: two processes never both tell; when the one that evaluates dies, another goes on from the states it left within two
//! lease times. A look that fails, or happens while live frames are not moving, changes nothing. Does not: send
//! ([`super::deliver`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use peep_chassis::clock::Clock;
use sqlx::PgPool;
use uuid::Uuid;

use super::deliver;
use super::look::{self, Memory};
use super::machine::State;
use super::store::{self, Change, Kept};
use crate::answer::Answers;
use crate::freshness::Freshness;
use crate::metrics;

/// Evaluates rules as long as it holds the lease.
pub struct Evaluator {
    pool: PgPool,
    answers: Answers,
    freshness: Freshness,
    clock: Clock,
    owner: Uuid,
    lease: Duration,
    /// By rule, and by which version of it.
    memories: BTreeMap<(i64, i64), Memory>,
    firing: Arc<Mutex<Vec<RuleFiring>>>,
}

/// What `/metrics` says about a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFiring {
    /// `alert_rule_id`.
    pub rule: i64,
    /// Its kind.
    pub kind: &'static str,
    /// Whether it fires.
    pub firing: bool,
}

impl Evaluator {
    /// Not holding the lease. `firing` is kept up to date, whoever evaluates.
    pub fn new(
        pool: PgPool,
        answers: Answers,
        freshness: Freshness,
        clock: Clock,
        interval: Duration,
        firing: Arc<Mutex<Vec<RuleFiring>>>,
    ) -> Self {
        let lease = (interval * 3).max(LEASE_MIN);
        Self { pool, answers, freshness, clock, owner: Uuid::new_v4(), lease, memories: BTreeMap::new(), firing }
    }

    /// One look at every rule, if this process is the one; tells whether it is.
    pub async fn round(&mut self) -> Result<bool, sqlx::Error> {
        let lease_ms = i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX);
        let mine = store::take_lease(&self.pool, self.owner, lease_ms).await?;
        let mut rules = store::rules(&self.pool, None).await?;
        if mine {
            self.memories
                .retain(|(id, version), _| rules.iter().any(|kept| kept.id == *id && kept.updated_ms == *version));
            for kept in &mut rules {
                // Many rules take a while: nobody else may think that this process is gone.
                store::take_lease(&self.pool, self.owner, lease_ms).await?;
                if let Some(state) = self.look(kept).await? {
                    kept.state = state;
                }
            }
        } else {
            self.memories.clear();
        }
        let firing =
            |kept: &Kept| RuleFiring { rule: kept.id, kind: kept.rule.target.kind(), firing: kept.state.is_firing() };
        *self.firing.lock() = rules.iter().map(firing).collect();
        Ok(mine)
    }

    /// Looks at one rule and writes what that changed; the state it is in then, when it was written.
    async fn look(&mut self, kept: &Kept) -> Result<Option<State>, sqlx::Error> {
        let now_ms = self.clock.now_ms();
        let memory = self.memories.entry((kept.id, kept.updated_ms)).or_default();
        let seen = match look::look(&self.answers, kept.project, &kept.rule, memory, now_ms).await {
            Ok(seen) => seen,
            Err(error) => {
                metrics::alert_look("failed");
                tracing::debug!(rule = kept.id, %error, "an alert rule could not be looked at");
                return Ok(None);
            }
        };
        // Requests that did not arrive here yet look like requests that did not happen.
        let behind = self.freshness.is_behind();
        metrics::alert_look(if behind { "behind" } else { "looked" });
        let condition = (!behind).then_some(seen.breached);
        let state = kept.state.after(condition, now_ms, kept.rule.patience());
        let turned = match (kept.state.is_firing(), state.is_firing()) {
            (false, true) => Some("firing"),
            (true, false) => Some("resolved"),
            _ => None,
        };
        let since_ms = match state {
            State::Pending { since_ms } | State::Firing { since_ms, .. } => since_ms,
            State::Ok if kept.state == State::Ok => kept.since_ms,
            State::Ok => now_ms,
        };
        let message = turned.filter(|_| kept.rule.receiver.is_some()).map(|event| {
            let began_ms = if event == "firing" { now_ms } else { kept.since_ms };
            let id = Uuid::new_v4();
            (id, deliver::message(id, event, kept, &seen, began_ms, now_ms))
        });
        let (pool, owner, kept) = (self.pool.clone(), self.owner, kept.clone());
        // A task of its own: a shutdown must not cancel it in the middle of its transaction.
        let written = tokio::spawn(async move {
            let change = Change { kept: &kept, state, since_ms, seen: &seen, message, now_ms };
            store::write(&pool, owner, &change).await
        });
        let written = written.await.unwrap_or_else(|error| Err(sqlx::Error::Protocol(error.to_string())))?;
        if written && let Some(event) = turned {
            metrics::alert_turned(event);
        }
        Ok(written.then_some(state))
    }

    /// Lets another process go on at once.
    pub async fn leave(&self) {
        // Its lease ends by itself.
        let _ = store::give_lease_back(&self.pool, self.owner).await;
    }
}

const LEASE_MIN: Duration = Duration::from_secs(10);
