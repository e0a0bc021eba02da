//! Decides before a body is read whether there is room for it.
//!
//! Two budgets for the whole process: requests in flight and body bytes in flight. A permit holds its share until the
//! answer is on its way; a body that turns out larger than announced grows its permit step by step. Nothing waits here:
//! no room is an answer (`Shed`), at once, so that overload cannot pile up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The two budgets. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    shared: Arc<Budgets>,
}

#[derive(Debug)]
struct Budgets {
    requests: AtomicUsize,
    requests_max: usize,
    bytes: AtomicUsize,
    bytes_max: usize,
}

/// Why a request was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shed {
    Requests,
    Bytes,
}

impl Shed {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Shed::Requests => "requests_in_flight",
            Shed::Bytes => "body_bytes_in_flight",
        }
    }
}

impl Admission {
    pub(crate) fn new(requests_max: usize, bytes_max: usize) -> Self {
        let shared = Budgets { requests: AtomicUsize::new(0), requests_max, bytes: AtomicUsize::new(0), bytes_max };
        Admission { shared: Arc::new(shared) }
    }

    /// Admits one request whose body announces `bytes`.
    pub(crate) fn admit(&self, bytes: usize) -> Result<Permit, Shed> {
        if !reserve(&self.shared.requests, 1, self.shared.requests_max) {
            return Err(Shed::Requests);
        }
        let mut permit = Permit { shared: Arc::clone(&self.shared), bytes: 0 };
        permit.grow(bytes)?;
        Ok(permit)
    }

    pub(crate) fn requests_in_flight(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_in_flight(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

/// One request's share of both budgets, given back on drop.
#[derive(Debug)]
pub(crate) struct Permit {
    shared: Arc<Budgets>,
    bytes: usize,
}

impl Permit {
    /// Reserves `more` bytes.
    pub(crate) fn grow(&mut self, more: usize) -> Result<(), Shed> {
        if !reserve(&self.shared.bytes, more, self.shared.bytes_max) {
            return Err(Shed::Bytes);
        }
        self.bytes += more;
        Ok(())
    }

    /// Makes sure that `bytes` are reserved in all.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Shed> {
        match bytes.checked_sub(self.bytes) {
            None | Some(0) => Ok(()),
            Some(more) => self.grow(more),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.shared.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Adds `amount` unless that would pass `max`.
fn reserve(used: &AtomicUsize, amount: usize, max: usize) -> bool {
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| now.checked_add(amount).filter(|sum| *sum <= max))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_budget_sheds_at_once_and_a_dropped_permit_makes_room() {
        let admission = Admission::new(2, 100);
        let first = admission.admit(60).unwrap();
        assert_eq!(admission.admit(60).err(), Some(Shed::Bytes));
        let mut second = admission.admit(40).unwrap();
        assert_eq!(admission.admit(0).err(), Some(Shed::Requests));
        assert_eq!(second.grow_to(41), Err(Shed::Bytes));
        drop(first);
        assert_eq!(second.grow_to(100), Ok(()));
        drop(second);
        assert_eq!((admission.requests_in_flight(), admission.bytes_in_flight()), (0, 0));
    }
}
