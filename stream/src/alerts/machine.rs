//! Whether a rule fires: pure, no I/O, no clock of its own.
//!
//! Arrives: with every look, whether the rule's condition is true, false or unknown, and the present moment. Leaves: the state.
//!
//! ```text
//!          true                 true for `for`
//!   ok ───────────▶ pending ───────────────────▶ firing
//!    ▲ ◀─────────── false                          │
//!    └──────────────────────────── false for `keep firing`
//! ```
//!
//! Promises: it does not flap. A rule fires only after every look since a first true one was not false, for at least `for`; it stops
//! only after every look since a first false one was false, for at least `keep firing`. So within a time t it fires at most
//! t / (for + keep firing) + 1 times. What is unknown changes nothing: a pipeline that stands still neither alarms nor reassures.

/// Where a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Nothing to say.
    #[default]
    Ok,
    /// True, but not for long enough.
    Pending {
        /// First true look.
        since_ms: i64,
    },
    /// Told.
    Firing {
        /// Since it fired.
        since_ms: i64,
        /// First false look of the present row of them.
        quiet_since_ms: Option<i64>,
    },
}

/// How long until a rule changes its mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// True for this long before it fires.
    pub for_ms: i64,
    /// False for this long before it stops.
    pub keep_firing_ms: i64,
}

impl State {
    /// The state after one more look. A clock that steps back makes waits longer, never shorter.
    #[must_use]
    pub fn after(self, condition: Option<bool>, now_ms: i64, patience: Patience) -> Self {
        let firing = Self::Firing { since_ms: now_ms, quiet_since_ms: None };
        match (self, condition) {
            (Self::Ok, Some(true)) if patience.for_ms == 0 => firing,
            (Self::Ok, Some(true)) => Self::Pending { since_ms: now_ms },
            (Self::Ok, _) => Self::Ok,
            (Self::Pending { .. }, Some(false)) => Self::Ok,
            (Self::Pending { since_ms }, Some(true)) if now_ms - since_ms >= patience.for_ms => firing,
            (Self::Pending { .. }, _) => self,
            (Self::Firing { since_ms, .. }, Some(true)) => Self::Firing { since_ms, quiet_since_ms: None },
            (Self::Firing { since_ms, quiet_since_ms }, Some(false)) => {
                let quiet_since_ms = quiet_since_ms.unwrap_or(now_ms);
                if now_ms - quiet_since_ms >= patience.keep_firing_ms {
                    Self::Ok
                } else {
                    Self::Firing { since_ms, quiet_since_ms: Some(quiet_since_ms) }
                }
            }
            // Quiet that was not seen does not count as quiet.
            (Self::Firing { since_ms, .. }, None) => Self::Firing { since_ms, quiet_since_ms: None },
        }
    }

    /// Whether somebody should look.
    pub fn is_firing(self) -> bool {
        matches!(self, Self::Firing { .. })
    }

    /// As the API and the database call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Pending { .. } => "pending",
            Self::Firing { .. } => "firing",
        }
    }
}

#[cfg(test)]
mod tests;
