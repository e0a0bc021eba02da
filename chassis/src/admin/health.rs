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
    /// `None` = ready; otherwise the reason why not. Ordered, so that answers and logs are stable.
    parts: BTreeMap<String, Option<String>>,
    draining: bool,
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

    /// Ready = at least one part, all of them ready, and not draining.
    pub fn is_ready(&self) -> bool {
        let shared = self.shared.lock();
        !shared.draining && !shared.parts.is_empty() && shared.parts.values().all(Option::is_none)
    }

    /// Each part with the reason why it is not ready, if it is not.
    pub fn parts(&self) -> BTreeMap<String, Option<String>> {
        self.shared.lock().parts.clone()
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
        self.set(None);
    }

    /// `reason` is read by people: say what is missing, not what happened inside.
    pub fn set_not_ready(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    /// Changes are logged, repetitions are not: a part may report every second.
    fn set(&self, state: Option<String>) {
        let mut shared = self.health.shared.lock();
        let before = shared.parts.insert(self.name.clone(), state.clone());
        drop(shared);
        crate::metrics::ready(&self.name, state.is_none());
        match (&before, &state) {
            (Some(before), now) if before == now => {}
            (_, None) => tracing::info!(part = %self.name, "ready"),
            (None, Some(reason)) => tracing::debug!(part = %self.name, %reason, "registered"),
            (Some(_), Some(reason)) => tracing::warn!(part = %self.name, %reason, "not ready"),
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
    fn a_draining_process_is_not_ready() {
        let health = Health::new();
        health.register("listener").set_ready();
        health.drain();
        assert!(!health.is_ready());
    }
}
