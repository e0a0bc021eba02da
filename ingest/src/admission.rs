//! Decides before a body is read whether there is room for it.
//!
//! Arrives: whose request it is and how many bytes it announces. Leaves: a permit that holds its share until the answer is
//! on its way, or why not (`Shed`), at once: nothing waits here, so that overload cannot pile up. A body that turns out
//! larger than announced grows its permit step by step.
//!
//! Promises: requests and body bytes in flight stay within the process's two budgets; and while somebody else is sending
//! too, one project holds at most its share of the bytes, so that one flood does not shut the others out. A project that
//! is alone may fill the whole budget: the first request of another one counts as company even when it is turned away, and
//! from then on the flood shrinks to its share. Whoever is turned away is told when there may be room, from how fast bytes
//! were given back lately.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt};
use parking_lot::Mutex;
use peep_wire::ProjectId;

use crate::config::Limits;

/// The budgets. Cheap to clone.
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
    /// For one project in company.
    project_bytes_max: usize,
    /// Bytes given back since the start.
    released: AtomicU64,
    drain: AtomicU64,
    projects: Mutex<Projects>,
}

/// Who is sending. Taken once per request, for a look-up.
#[derive(Debug)]
struct Projects {
    /// Bytes in flight of each. Only keys of the database make entries, so there are as many as there are projects.
    bytes: HashMap<ProjectId, Arc<AtomicUsize>>,
    /// The last request, and the last one of any other project.
    last: Option<(ProjectId, Instant)>,
    last_other: Option<(ProjectId, Instant)>,
}

/// Why a request was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shed {
    Requests,
    Bytes,
    ProjectBytes,
}

impl Shed {
    /// Every reason, for the metrics.
    pub(crate) const ALL: [Shed; 3] = [Shed::Requests, Shed::Bytes, Shed::ProjectBytes];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Shed::Requests => "requests_in_flight",
            Shed::Bytes => "body_bytes_in_flight",
            Shed::ProjectBytes => "project_share",
        }
    }
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        let bytes_max = limits.body_bytes_in_flight_max;
        let share = bytes_max / 100 * limits.project_share_max;
        // The largest body, sent and decompressed, must fit into a share, or it could never be sent in company.
        let project_bytes_max = share.max(limits.body_bytes_max.saturating_mul(2)).min(bytes_max);
        let projects = Projects { bytes: HashMap::new(), last: None, last_other: None };
        let shared = Budgets {
            requests: AtomicUsize::new(0),
            requests_max: limits.requests_in_flight_max,
            bytes: AtomicUsize::new(0),
            bytes_max,
            project_bytes_max,
            released: AtomicU64::new(0),
            drain: AtomicU64::new(DRAIN_UNKNOWN),
            projects: Mutex::new(projects),
        };
        Admission { shared: Arc::new(shared) }
    }

    /// Admits one request whose body announces `bytes`.
    pub(crate) fn admit(&self, project: ProjectId, bytes: usize) -> Result<Permit, Shed> {
        let (project_bytes, in_company) = self.shared.projects.lock().enter(project, Instant::now());
        if !reserve(&self.shared.requests, 1, self.shared.requests_max) {
            return Err(Shed::Requests);
        }
        let project_bytes_max = if in_company { self.shared.project_bytes_max } else { self.shared.bytes_max };
        let mut permit = Permit { shared: Arc::clone(&self.shared), bytes: 0, project_bytes, project_bytes_max };
        permit.grow(bytes)?;
        Ok(permit)
    }

    pub(crate) fn requests_in_flight(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_in_flight(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Bytes in flight beyond one project's share.
    fn bytes_over(&self) -> u64 {
        self.bytes_in_flight().saturating_sub(self.shared.project_bytes_max) as u64
    }

    /// How long until what is in flight will have shrunk to one project's share, at the rate of the last seconds.
    pub(crate) fn retry_after(&self) -> Duration {
        let millis = self.bytes_over().saturating_mul(1000) / self.shared.drain.load(Ordering::Relaxed).max(1);
        Duration::from_millis(millis).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
    }
}

impl Projects {
    /// The counter of a project, and whether another one sent something lately.
    fn enter(&mut self, project: ProjectId, now: Instant) -> (Arc<AtomicUsize>, bool) {
        if self.last.is_some_and(|(last, _)| last != project) {
            self.last_other = self.last;
        }
        self.last = Some((project, now));
        let in_company = self.last_other.is_some_and(|(_, at)| now.duration_since(at) < COMPANY);
        (Arc::clone(self.bytes.entry(project).or_default()), in_company)
    }
}

/// One request's share of the budgets, given back on drop.
#[derive(Debug)]
pub(crate) struct Permit {
    shared: Arc<Budgets>,
    bytes: usize,
    project_bytes: Arc<AtomicUsize>,
    project_bytes_max: usize,
}

impl Permit {
    /// Reserves `more` bytes.
    pub(crate) fn grow(&mut self, more: usize) -> Result<(), Shed> {
        if !reserve(&self.project_bytes, more, self.project_bytes_max) {
            let alone = self.project_bytes_max == self.shared.bytes_max;
            return Err(if alone { Shed::Bytes } else { Shed::ProjectBytes });
        }
        if !reserve(&self.shared.bytes, more, self.shared.bytes_max) {
            self.project_bytes.fetch_sub(more, Ordering::Relaxed);
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
        self.project_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.shared.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.shared.released.fetch_add(self.bytes as u64, Ordering::Relaxed);
        self.shared.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Adds `amount` unless that would pass `max`.
fn reserve(used: &AtomicUsize, amount: usize, max: usize) -> bool {
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| now.checked_add(amount).filter(|sum| *sum <= max))
        .is_ok()
}

/// The average of bytes given back per second while there is more than a share in flight: below that it would only tell how little
/// arrives. Fed by who looks in from time to time, so that requests only count.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    released: Option<u64>,
    bytes_per_second: Option<f64>,
}

impl Drain {
    /// Looks after another `passed`; returns the average, once there is one.
    pub(crate) fn look(&mut self, admission: &Admission, passed: Duration) -> Option<u64> {
        let released = admission.shared.released.load(Ordering::Relaxed);
        let average = (admission.bytes_over() > 0).then(|| self.observe(released, passed));
        if average.is_none() {
            *self = Drain::default();
        }
        let average = average.flatten();
        admission.shared.drain.store(average.unwrap_or(DRAIN_UNKNOWN), Ordering::Relaxed);
        average
    }

    fn observe(&mut self, released: u64, passed: Duration) -> Option<u64> {
        let before = self.released.replace(released)?;
        let passed_s = passed.as_secs_f64().max(0.001);
        let now = released.saturating_sub(before) as f64 / passed_s;
        let weight = 1.0 - (-passed_s / DRAIN_MEMORY_S).exp();
        let average = self.bytes_per_second.map_or(now, |average| average + weight * (now - average));
        self.bytes_per_second = Some(average);
        Some(average as u64)
    }
}

/// As if it took no time: somebody who is told to wait for a second will soon hear better.
const DRAIN_UNKNOWN: u64 = u64::MAX;
/// A few appends to the log, also slow ones, and less than the longest `Retry-After`.
const DRAIN_MEMORY_S: f64 = 5.0;
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// Beyond this nobody knows what will be, and a client that waits holds its events.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// How long after its last request a project still counts as company: longer than a client that was told to come back in a
/// second or two stays away.
const COMPANY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const A: ProjectId = ProjectId(1);
    const B: ProjectId = ProjectId(2);

    fn admission(requests: usize, bytes: usize, share: usize) -> Admission {
        Admission::new(&Limits {
            requests_in_flight_max: requests,
            body_bytes_in_flight_max: bytes,
            project_share_max: share,
            body_bytes_max: 1,
            ..Limits::of_tests()
        })
    }

    #[test]
    fn a_full_budget_sheds_at_once_and_a_dropped_permit_makes_room() {
        let admission = admission(2, 100, 100);
        let first = admission.admit(A, 60).unwrap();
        assert_eq!(admission.admit(A, 60).err(), Some(Shed::Bytes));
        let mut second = admission.admit(A, 40).unwrap();
        assert_eq!(admission.admit(A, 0).err(), Some(Shed::Requests));
        assert_eq!(second.grow_to(41), Err(Shed::Bytes));
        drop(first);
        assert_eq!(second.grow_to(100), Ok(()));
        drop(second);
        assert_eq!((admission.requests_in_flight(), admission.bytes_in_flight()), (0, 0));
    }

    #[test]
    fn a_project_alone_may_fill_the_budget_and_shrinks_to_its_share_in_company() {
        let admission = admission(100, 1000, 25);
        let flood: Vec<Permit> = (0..10).map(|_| admission.admit(A, 100).unwrap()).collect();
        assert_eq!(admission.admit(B, 100).err(), Some(Shed::Bytes), "turned away, but heard");
        let mut flood = flood.into_iter();
        drop(flood.by_ref().take(3).collect::<Vec<_>>());
        assert_eq!(admission.admit(A, 100).err(), Some(Shed::ProjectBytes), "the room is not for the flood");
        let other: Vec<Permit> = (0..2).map(|_| admission.admit(B, 100).unwrap()).collect();
        assert_eq!(admission.admit(B, 100).err(), Some(Shed::ProjectBytes), "a share for everybody");
        drop((flood, other));
        assert_eq!((admission.requests_in_flight(), admission.bytes_in_flight()), (0, 0));
        let back: Vec<Permit> = (0..2).map(|_| admission.admit(A, 100).unwrap()).collect();
        assert_eq!(back.len(), 2);
    }

    #[test]
    fn company_is_forgotten_after_a_while() {
        let mut projects = Projects { bytes: HashMap::new(), last: None, last_other: None };
        let start = Instant::now();
        assert!(!projects.enter(A, start).1);
        assert!(projects.enter(B, start).1);
        assert!(projects.enter(A, start + Duration::from_secs(29)).1);
        assert!(!projects.enter(A, start + Duration::from_secs(31)).1);
    }

    #[test]
    fn who_is_turned_away_hears_how_long_the_rest_takes_to_drain() {
        let admission = admission(100, 1000, 20);
        let (mut drain, second) = (Drain::default(), Duration::from_secs(1));
        assert_eq!(drain.look(&admission, second), None);
        let mut flood: Vec<Permit> = (0..10).map(|_| admission.admit(A, 100).unwrap()).collect();
        assert_eq!((drain.look(&admission, second), admission.retry_after()), (None, RETRY_AFTER_MIN), "not known yet");
        flood.truncate(9);
        // 700 bytes are over the share of 200.
        assert_eq!((drain.look(&admission, second), admission.retry_after()), (Some(100), Duration::from_secs(7)));
        for _ in 0..60 {
            drain.look(&admission, second);
        }
        assert_eq!(admission.retry_after(), RETRY_AFTER_MAX, "nothing moves any more");
        flood.truncate(2);
        assert_eq!((drain.look(&admission, second), admission.retry_after()), (None, RETRY_AFTER_MIN), "there is room");
    }

    #[test]
    fn the_largest_body_fits_into_a_share() {
        let limits = Limits { body_bytes_in_flight_max: 16 << 20, body_bytes_max: 8 << 20, ..Limits::of_tests() };
        let admission = Admission::new(&limits);
        admission.admit(B, 1).unwrap();
        assert!(admission.admit(A, 16 << 20).is_ok());
    }
}
