//! Who is ready to work, and why not.
//!
//! Each part of a process registers itself by name and reports its state; the process is ready when every part is and nobody
//! has asked it to drain. Overload is not a reason to turn red: a busy process must keep its traffic, or its neighbours get it too.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The readiness of a process: the parts and whether it drains. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Ordered, so that answers and logs are stable.
    parts: BTreeMap<String, State>,
    draining: bool,
}

/// How a part is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Ready,
    /// Takes its traffic, and somebody should look.
    Degraded(String),
    NotReady(String),
}

impl State {
    fn is_ready(&self) -> bool {
        !matches!(self, State::NotReady(_))
    }

    fn reason(&self) -> Option<&str> {
        match self {
            State::Ready => None,
            State::Degraded(reason) | State::NotReady(reason) => Some(reason),
        }
    }
}

impl Health {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part, not ready with the reason "starting" until it says otherwise. Registering a name again starts it over.
    pub fn register(&self, name: impl Into<String>) -> HealthHandle {
        let handle = HealthHandle { health: self.clone(), name: name.into() };
        handle.set_not_ready("starting");
        handle
    }

    /// From now on not ready, whatever the parts say: the first step of every shutdown.
    pub fn drain(&self) {
        self.shared.lock().draining = true;
    }

    pub fn is_draining(&self) -> bool {
        self.shared.lock().draining
    }

    /// Ready = at least one part, all of them ready (if perhaps degraded), and not draining.
    pub fn is_ready(&self) -> bool {
        let shared = self.shared.lock();
        !shared.draining && !shared.parts.is_empty() && shared.parts.values().all(State::is_ready)
    }

    /// Whether a part that is ready has something to say.
    pub fn is_degraded(&self) -> bool {
        self.shared.lock().parts.values().any(|state| matches!(state, State::Degraded(_)))
    }

    /// Each part with the reason why it is not ready, or not as it should be.
    pub fn parts(&self) -> BTreeMap<String, Option<String>> {
        let shared = self.shared.lock();
        shared.parts.iter().map(|(name, state)| (name.clone(), state.reason().map(str::to_owned))).collect()
    }

    /// Whether a part may take traffic.
    pub fn is_part_ready(&self, name: &str) -> bool {
        self.shared.lock().parts.get(name).is_some_and(State::is_ready)
    }
}

/// One part's voice. Dropping it leaves the last word standing; clones speak for the same part.
#[derive(Clone, Debug)]
pub struct HealthHandle {
    health: Health,
    name: String,
}

impl HealthHandle {
    pub fn set_ready(&self) {
        self.set(State::Ready);
    }

    /// Ready, but a person should look: taking the traffic away would make it worse.
    pub fn set_degraded(&self, reason: impl Into<String>) {
        self.set(State::Degraded(reason.into()));
    }

    /// `reason` is read by people: say what is missing, not what happened inside.
    pub fn set_not_ready(&self, reason: impl Into<String>) {
        self.set(State::NotReady(reason.into()));
    }

    /// Changes are logged, repetitions are not: a part may report every second.
    fn set(&self, state: State) {
        let mut shared = self.health.shared.lock();
        let before = shared.parts.insert(self.name.clone(), state.clone());
        drop(shared);
        crate::metrics::ready(&self.name, state.is_ready());
        match (&before, &state) {
            (Some(before), now) if before == now => {}
            (_, State::Ready) => tracing::info!(part = %self.name, "ready"),
            (_, State::Degraded(reason)) => tracing::warn!(part = %self.name, %reason, "degraded"),
            (None, State::NotReady(reason)) => tracing::debug!(part = %self.name, %reason, "registered"),
            (Some(_), State::NotReady(reason)) => tracing::warn!(part = %self.name, %reason, "not ready"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_every_part_is() {
        let health = Health::new();
        assert!(!health.is_ready(), "nothing registered yet");
        let listener = health.register("listener");
        let log = health.register("log");
        listener.set_ready();
        assert!(!health.is_ready());
        assert_eq!(health.parts()["log"].as_deref(), Some("starting"));
        log.set_ready();
        assert!(health.is_ready());
        log.set_not_ready("no broker reachable");
        assert!(!health.is_ready());
    }

    #[test]
    fn a_degraded_part_says_why_and_keeps_its_traffic() {
        let health = Health::new();
        health.register("rollup").set_degraded("partition 3 is broken");
        assert!(health.is_ready() && health.is_degraded() && health.is_part_ready("rollup"));
        assert_eq!(health.parts()["rollup"].as_deref(), Some("partition 3 is broken"));
    }

    #[test]
    fn a_draining_process_is_not_ready() {
        let health = Health::new();
        health.register("listener").set_ready();
        health.drain();
        assert!(!health.is_ready());
    }
}
