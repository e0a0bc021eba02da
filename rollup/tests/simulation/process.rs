//! A process as the rest of the world sees it: it runs, it is frozen, or it is dead.
//!
//! Whatever a worker says to the log or to the store, and whatever they answer, passes its [`Process`]. A frozen one says and
//! hears nothing until it thaws, and then goes on with the memory that it had. A dead one never does again: what it had sent
//! before may still arrive. Tasks of a dead process hang for ever, which is as good as being gone.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) number: u64,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    life: Mutex<Life>,
    /// In order of arrival, unlike a `watch`, which wakes whom it likes.
    thawed: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    Frozen,
    Dead,
}

impl Process {
    pub(crate) fn new(number: u64) -> Self {
        Self { number, shared: Arc::new(Shared { life: Mutex::new(Life::Running), thawed: Notify::new() }) }
    }

    /// As by `kill -STOP`.
    pub(crate) fn freeze(&self) {
        self.change(Life::Running, Life::Frozen);
    }

    /// As by `kill -CONT`.
    pub(crate) fn thaw(&self) {
        self.change(Life::Frozen, Life::Running);
        self.shared.thawed.notify_waiters();
    }

    /// As by `kill -9`.
    pub(crate) fn kill(&self) {
        *self.shared.life.lock() = Life::Dead;
    }

    pub(crate) fn is_running(&self) -> bool {
        *self.shared.life.lock() == Life::Running
    }

    /// Waits while frozen; for ever when dead. What is said after it was said while running.
    pub(crate) async fn pass(&self) {
        while !self.is_running() {
            self.shared.thawed.notified().await;
        }
    }

    fn change(&self, from: Life, to: Life) {
        let mut life = self.shared.life.lock();
        if *life == from {
            *life = to;
        }
    }
}
