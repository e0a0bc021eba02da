//! Parcels that wait for a sending thread: bounded in bytes.
//!
//! In: parcels. Out: the same, in order. Promised: it holds at most `bytes_max`, and one parcel whatever its size; a full queue
//! makes the outbox wait, and with it the parsing and the reading.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::parcel::Parcel;

pub(super) struct Queue {
    bytes_max: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    parcels: VecDeque<Parcel>,
    bytes: usize,
    closed: bool,
}

/// How often a waiting thread looks whether the run was stopped.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits for room; gives the parcel back when `stopped` says that nobody will come for it.
    pub(super) fn push(&self, parcel: Parcel, stopped: impl Fn() -> bool) -> Result<(), Parcel> {
        let mut state = self.lock();
        while !state.parcels.is_empty() && state.bytes + parcel.bytes.len() > self.bytes_max {
            if stopped() {
                return Err(parcel);
            }
            (state, _) = self.changed.wait_timeout(state, LOOK_INTERVAL).unwrap_or_else(PoisonError::into_inner);
        }
        if stopped() {
            return Err(parcel);
        }
        state.bytes += parcel.bytes.len();
        state.parcels.push_back(parcel);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// The next parcel; `None` once the queue is closed and empty.
    pub(super) fn pop(&self) -> Option<Parcel> {
        let mut state = self.lock();
        loop {
            if let Some(parcel) = state.parcels.pop_front() {
                state.bytes -= parcel.bytes.len();
                drop(state);
                self.changed.notify_all();
                return Some(parcel);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
