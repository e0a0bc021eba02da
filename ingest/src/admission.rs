//! Decides before a body is read whether there is room for it.
//!
//! Arrives: whose request it is and how many bytes it announces. Leaves: a permit that holds its share until the answer is
//! on its way, or why not (`Shed`), at once: nothing waits here, so that overload cannot pile up. A body that turns out
//! larger than announced grows its permit step by step.
//!
//! Promises: requests and body bytes in flight stay within the process's two budgets, and what waits for the log within what
//! the log takes in a while (see [`Drain`]): a longer queue would only make everybody late. While somebody else is sending
//! too, one project holds at most its share of each of the three, so that one flood does not shut the others out. A project that
//! is alone may fill all: the first request of another one counts as company even when it is turned away, and
//! from then on the flood shrinks to its share. Whoever is turned away is told when there may be room, from how fast bytes
//! were given back lately.

use std::collections::VecDeque;
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
    project_requests_max: usize,
    /// Bytes given back since the start.
    released: AtomicU64,
    drain: AtomicU64,
    backlog: Backlog,
    projects: Mutex<Projects>,
}

/// Requests whose events wait for the log, by the size of their bodies.
#[derive(Debug)]
struct Backlog {
    bytes: AtomicUsize,
    /// [`UNBOUNDED`] unless the log is behind.
    bytes_max: AtomicUsize,
    /// In company, percent.
    project_share_max: usize,
    /// What the log takes longer for is too much.
    wait_max: Duration,
    /// Bytes answered by the log since the start.
    answered: AtomicU64,
    /// Milliseconds until what waits now will have been answered.
    wait_ms: AtomicU64,
}

/// What one project holds.
#[derive(Debug, Default)]
struct Holding {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    backlog_bytes: AtomicUsize,
}

/// Who is sending. Taken once per request, for a look-up.
#[derive(Debug)]
struct Projects {
    /// Only keys of the database make entries, so there are as many as there are projects.
    holdings: HashMap<ProjectId, Arc<Holding>>,
    /// The last request, and the last one of any other project.
    last: Option<(ProjectId, Instant)>,
    last_other: Option<(ProjectId, Instant)>,
}

/// Why a request was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shed {
    Requests,
    Bytes,
    /// The log takes less than arrives.
    Backlog,
    ProjectShare,
}

impl Shed {
    /// Every reason, for the metrics.
    pub(crate) const ALL: [Shed; 4] = [Shed::Requests, Shed::Bytes, Shed::Backlog, Shed::ProjectShare];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Shed::Requests => "requests_in_flight",
            Shed::Bytes => "body_bytes_in_flight",
            Shed::Backlog => "log_backlog",
            Shed::ProjectShare => "project_share",
        }
    }
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        let bytes_max = limits.body_bytes_in_flight_max;
        let share = bytes_max / 100 * limits.project_share_max;
        // The largest body, sent and decompressed, must fit into a share, or it could never be sent in company.
        let project_bytes_max = share.max(limits.body_bytes_max.saturating_mul(2)).min(bytes_max);
        let projects = Projects { holdings: HashMap::new(), last: None, last_other: None };
        let backlog = Backlog {
            bytes: AtomicUsize::new(0),
            bytes_max: AtomicUsize::new(UNBOUNDED),
            project_share_max: limits.project_share_max,
            wait_max: limits.log_wait_max,
            answered: AtomicU64::new(0),
            wait_ms: AtomicU64::new(0),
        };
        let shared = Budgets {
            requests: AtomicUsize::new(0),
            requests_max: limits.requests_in_flight_max,
            bytes: AtomicUsize::new(0),
            bytes_max,
            project_bytes_max,
            project_requests_max: (limits.requests_in_flight_max * limits.project_share_max).div_ceil(100),
            released: AtomicU64::new(0),
            drain: AtomicU64::new(DRAIN_UNKNOWN),
            backlog,
            projects: Mutex::new(projects),
        };
        Admission { shared: Arc::new(shared) }
    }

    /// Admits one request whose body announces `bytes`.
    pub(crate) fn admit(&self, project: ProjectId, bytes: usize) -> Result<Permit, Shed> {
        let (holding, in_company) = self.shared.projects.lock().enter(project, Instant::now());
        self.shared.backlog.admit(&holding, in_company)?;
        let requests_max = if in_company { self.shared.project_requests_max } else { self.shared.requests_max };
        if !reserve(&holding.requests, 1, requests_max) {
            return Err(if in_company { Shed::ProjectShare } else { Shed::Requests });
        }
        if !reserve(&self.shared.requests, 1, self.shared.requests_max) {
            holding.requests.fetch_sub(1, Ordering::Relaxed);
            return Err(Shed::Requests);
        }
        let bytes_max = if in_company { self.shared.project_bytes_max } else { self.shared.bytes_max };
        let mut permit = Permit { shared: Arc::clone(&self.shared), holding, bytes: 0, bytes_max, backlog_bytes: 0 };
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

    /// How long until what is in flight will have shrunk to one project's share, and what waits for the log is answered, at the
    /// rates of the last seconds.
    pub(crate) fn retry_after(&self) -> Duration {
        let millis = self.bytes_over().saturating_mul(1000) / self.shared.drain.load(Ordering::Relaxed).max(1);
        Duration::from_millis(millis.max(self.shared.backlog.wait_ms.load(Ordering::Relaxed)))
            .clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
    }
}

impl Projects {
    /// What a project holds, and whether another one sent something lately.
    fn enter(&mut self, project: ProjectId, now: Instant) -> (Arc<Holding>, bool) {
        if self.last.is_some_and(|(last, _)| last != project) {
            self.last_other = self.last;
        }
        self.last = Some((project, now));
        let in_company = self.last_other.is_some_and(|(_, at)| now.duration_since(at) < COMPANY);
        (Arc::clone(self.holdings.entry(project).or_default()), in_company)
    }
}

/// One request's share of the budgets, given back on drop.
#[derive(Debug)]
pub(crate) struct Permit {
    shared: Arc<Budgets>,
    holding: Arc<Holding>,
    bytes: usize,
    /// For the project.
    bytes_max: usize,
    /// 0 before the log was asked.
    backlog_bytes: usize,
}

impl Permit {
    /// Reserves `more` bytes.
    pub(crate) fn grow(&mut self, more: usize) -> Result<(), Shed> {
        if !reserve(&self.holding.bytes, more, self.bytes_max) {
            let alone = self.bytes_max == self.shared.bytes_max;
            return Err(if alone { Shed::Bytes } else { Shed::ProjectShare });
        }
        if !reserve(&self.shared.bytes, more, self.shared.bytes_max) {
            self.holding.bytes.fetch_sub(more, Ordering::Relaxed);
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

    /// From here on the request waits for the log, until it is answered. Refused when more has come meanwhile than could be
    /// foreseen when it was admitted: it would only wait in vain.
    pub(crate) fn waits_for_log(&mut self) -> Result<(), Shed> {
        let backlog = &self.shared.backlog;
        let bytes_max = with_overshoot(backlog.bytes_max.load(Ordering::Relaxed));
        if !reserve(&backlog.bytes, self.bytes, bytes_max) {
            return Err(Shed::Backlog);
        }
        self.holding.backlog_bytes.fetch_add(self.bytes, Ordering::Relaxed);
        self.backlog_bytes = self.bytes;
        Ok(())
    }

    /// The log will not be asked after all, and what this request would have brought says nothing about its pace.
    pub(crate) fn forgoes_log(&mut self) {
        self.holding.backlog_bytes.fetch_sub(self.backlog_bytes, Ordering::Relaxed);
        self.shared.backlog.bytes.fetch_sub(self.backlog_bytes, Ordering::Relaxed);
        self.backlog_bytes = 0;
    }

    /// What is left once the log has answered and the body is gone: `bytes` of an answer that the client has yet to take. They
    /// must have been reserved.
    pub(crate) fn of_answer(mut self, bytes: usize) -> Permit {
        let answered = self.backlog_bytes as u64;
        self.forgoes_log();
        self.shared.backlog.answered.fetch_add(answered, Ordering::Relaxed);
        let released = self.bytes.saturating_sub(bytes);
        self.holding.bytes.fetch_sub(released, Ordering::Relaxed);
        self.shared.bytes.fetch_sub(released, Ordering::Relaxed);
        self.shared.released.fetch_add(released as u64, Ordering::Relaxed);
        self.bytes -= released;
        self
    }
}

impl Backlog {
    fn admit(&self, holding: &Holding, in_company: bool) -> Result<(), Shed> {
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        if bytes_max == UNBOUNDED {
            return Ok(());
        }
        let (bytes, held) = (self.bytes.load(Ordering::Relaxed), holding.backlog_bytes.load(Ordering::Relaxed));
        match in_company {
            false if bytes < bytes_max => Ok(()),
            true if held >= bytes_max / 100 * self.project_share_max => Err(Shed::ProjectShare),
            // Who holds less than its share did not make the backlog, and need not wait until it is gone.
            true if bytes < with_overshoot(bytes_max) => Ok(()),
            _ => Err(Shed::Backlog),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.backlog_bytes > 0 {
            self.shared.backlog.answered.fetch_add(self.backlog_bytes as u64, Ordering::Relaxed);
            self.forgoes_log();
        }
        self.holding.requests.fetch_sub(1, Ordering::Relaxed);
        self.holding.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.shared.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.shared.released.fetch_add(self.bytes as u64, Ordering::Relaxed);
        self.shared.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Half as much again: for bodies that were on their way when the bound was reached, and for who is not to blame.
fn with_overshoot(bytes_max: usize) -> usize {
    bytes_max.saturating_add(bytes_max / 2)
}

/// Adds `amount` unless that would pass `max`.
fn reserve(used: &AtomicUsize, amount: usize, max: usize) -> bool {
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| now.checked_add(amount).filter(|sum| *sum <= max))
        .is_ok()
}

/// How fast bytes are given back, seen by who looks in from time to time, so that requests only count.
///
/// Two averages. Of everything in flight, while there is more than a share of it: below that it would only tell how little
/// arrives. And of what the log answers, over the last seconds in which something waited for it. When what waits would take the
/// log longer than half of what is allowed, twice in a row, then as much may wait as it takes in that time, and no more until it
/// has caught up: a log that has time for every request in turn and for none in time has time for nothing.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    released: Option<u64>,
    bytes_per_second: Option<f64>,
    log: LogPace,
}

/// What the log answered lately.
#[derive(Debug, Default)]
struct LogPace {
    answered: u64,
    /// Bytes and seconds of each look.
    looks: VecDeque<(u64, f64)>,
    /// Looks in a row that found too much waiting.
    behind: u32,
}

impl LogPace {
    fn look(&mut self, backlog: &Backlog, passed: Duration) {
        let (waiting, answered) = (backlog.bytes.load(Ordering::Relaxed), backlog.answered.load(Ordering::Relaxed));
        let fresh = answered - std::mem::replace(&mut self.answered, answered);
        if waiting > 0 || fresh > 0 {
            self.looks.push_back((fresh, passed.as_secs_f64()));
            if self.looks.len() > LOOKS_MAX {
                self.looks.pop_front();
            }
        }
        let (bytes, seconds) = self.looks.iter().fold((0, 0.0), |(b, s), (bytes, seconds)| (b + bytes, s + seconds));
        let bytes_per_second = bytes as f64 / f64::max(seconds, 0.001);
        let (wait_s, wait_max_s) = (waiting as f64 / bytes_per_second.max(1.0), backlog.wait_max.as_secs_f64());
        let was_bounded = backlog.bytes_max.load(Ordering::Relaxed) != UNBOUNDED;
        // A log that has not answered anything yet is getting ready: nothing is known of its pace.
        let is_behind = answered > 0 && wait_s > wait_max_s / 2.0;
        self.behind = if is_behind { self.behind + 1 } else { 0 };
        let bytes_max = match was_bounded {
            false if self.behind < BEHIND_MIN => UNBOUNDED,
            true if wait_s < wait_max_s / 10.0 => UNBOUNDED,
            _ => ((bytes_per_second * wait_max_s) as usize).max(BACKLOG_BYTES_MIN),
        };
        let wait_ms = if bytes_max == UNBOUNDED { 0 } else { (wait_s * 1000.0) as u64 };
        backlog.bytes_max.store(bytes_max, Ordering::Relaxed);
        backlog.wait_ms.store(wait_ms, Ordering::Relaxed);
        if was_bounded != (bytes_max != UNBOUNDED) {
            tracing::info!(waiting_bytes = waiting, bytes_per_second, is_behind = !was_bounded, "the log's pace");
        }
    }
}

impl Drain {
    /// Looks after another `passed`; returns the average, once there is one.
    pub(crate) fn look(&mut self, admission: &Admission, passed: Duration) -> Option<u64> {
        let released = admission.shared.released.load(Ordering::Relaxed);
        let average = (admission.bytes_over() > 0).then(|| self.observe(released, passed));
        if average.is_none() {
            (self.released, self.bytes_per_second) = (None, None);
        }
        self.log.look(&admission.shared.backlog, passed);
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

/// No bound.
const UNBOUNDED: usize = usize::MAX;
/// A single slow commit is no backlog.
const BACKLOG_BYTES_MIN: usize = 256 << 10;
/// Four looks a second: three seconds, which is a few commits of a slow log. In fewer there may be none, and a log without a pace takes
/// from nobody.
const LOOKS_MAX: usize = 12;
const BEHIND_MIN: u32 = 2;
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
    fn an_answer_keeps_its_room_until_the_last_of_its_bytes_is_gone() {
        let admission = admission(2, 100, 100);
        let mut permit = admission.admit(A, 60).unwrap();
        permit.waits_for_log().unwrap();
        permit.grow(30).unwrap();
        let permit = permit.of_answer(30);
        assert_eq!((admission.bytes_in_flight(), admission.shared.backlog.bytes.load(Ordering::Relaxed)), (30, 0));
        assert_eq!(
            admission.shared.backlog.answered.load(Ordering::Relaxed),
            60,
            "what the log has answered is its pace"
        );
        let body = crate::answer::held("a long answer".to_owned(), Some(permit));
        let rest = body.slice(7..);
        drop(body);
        assert_eq!(admission.bytes_in_flight(), 30);
        drop(rest);
        assert_eq!((admission.requests_in_flight(), admission.bytes_in_flight()), (0, 0));
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
        assert_eq!(admission.admit(A, 100).err(), Some(Shed::ProjectShare), "the room is not for the flood");
        let other: Vec<Permit> = (0..2).map(|_| admission.admit(B, 100).unwrap()).collect();
        assert_eq!(admission.admit(B, 100).err(), Some(Shed::ProjectShare), "a share for everybody");
        drop((flood, other));
        assert_eq!((admission.requests_in_flight(), admission.bytes_in_flight()), (0, 0));
        let back: Vec<Permit> = (0..2).map(|_| admission.admit(A, 100).unwrap()).collect();
        assert_eq!(back.len(), 2);
    }

    #[test]
    fn company_is_forgotten_after_a_while() {
        let mut projects = Projects { holdings: HashMap::new(), last: None, last_other: None };
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

    #[test]
    fn many_small_requests_of_one_project_leave_places_for_others() {
        let admission = admission(8, 1 << 20, 50);
        let _company = admission.admit(B, 0).unwrap();
        let flood: Vec<_> = (0..8).map(|_| admission.admit(A, 1)).collect();
        assert_eq!(flood.iter().filter(|admitted| admitted.is_ok()).count(), 4);
        assert_eq!(flood.last().map(|last| last.as_ref().err().copied()), Some(Some(Shed::ProjectShare)));
        assert!(admission.admit(B, 0).is_ok());
    }

    /// A quarter of a second of a log that takes a mebibyte per second, while `arriving` as many come.
    fn quarter(admission: &Admission, drain: &mut Drain, queue: &mut VecDeque<Permit>, arriving: usize) -> usize {
        let mut refused = 0;
        for _ in 0..arriving / 4 {
            match admission.admit(A, 64 << 10).and_then(|mut permit| permit.waits_for_log().map(|()| permit)) {
                Ok(permit) => queue.push_back(permit),
                Err(shed) => {
                    assert_eq!(shed, Shed::Backlog);
                    refused += 1;
                }
            }
        }
        queue.drain(..4.min(queue.len()));
        drain.look(admission, Duration::from_millis(250));
        refused
    }

    #[test]
    fn what_waits_for_the_log_is_what_it_takes_in_time() {
        let admission = admission(10_000, 1 << 30, 25);
        let (mut drain, mut queue) = (Drain::default(), VecDeque::new());
        for _ in 0..8 {
            assert_eq!(quarter(&admission, &mut drain, &mut queue, 16), 0, "as much as it takes");
        }
        let refused: usize = (0..40).map(|_| quarter(&admission, &mut drain, &mut queue, 64)).sum();
        assert!(refused > 400, "three of four: {refused}");
        assert!((16..=40).contains(&queue.len()), "no more than it takes in two seconds: {}", queue.len());
        assert!((1..=3).contains(&admission.retry_after().as_secs()), "{:?}", admission.retry_after());
        for _ in 0..10 {
            quarter(&admission, &mut drain, &mut queue, 8);
        }
        assert_eq!(quarter(&admission, &mut drain, &mut queue, 16), 0, "it has caught up");
    }

    #[test]
    fn a_log_that_gets_ready_is_not_judged_by_it() {
        let admission = admission(10_000, 1 << 30, 25);
        let mut drain = Drain::default();
        let mut first: Vec<Permit> = (0..64).map(|_| admission.admit(A, 20 << 10).unwrap()).collect();
        first.iter_mut().for_each(|permit| permit.waits_for_log().unwrap());
        for _ in 0..8 {
            drain.look(&admission, Duration::from_millis(250));
        }
        assert!(admission.admit(A, 1).is_ok(), "two seconds without a first answer");
    }

    #[test]
    fn a_project_in_company_may_not_fill_the_backlog() {
        let admission = admission(10_000, 1 << 30, 25);
        let (mut drain, mut queue) = (Drain::default(), VecDeque::new());
        (0..20).for_each(|_| assert!(quarter(&admission, &mut drain, &mut queue, 64) <= 16));
        let _heard = admission.admit(B, 1);
        queue.drain(..queue.len() - 10);
        assert_eq!(admission.admit(A, 1).err(), Some(Shed::ProjectShare));
        assert!(admission.admit(B, 1).is_ok());
    }

    #[test]
    fn a_burst_on_a_fast_log_is_no_backlog() {
        let admission = admission(10_000, 1 << 30, 25);
        let mut drain = Drain::default();
        for burst in [1, 1, 1, 1, 1, 1, 1, 1, 400, 400, 400] {
            let mut permits: Vec<Permit> = (0..burst).map(|_| admission.admit(A, 64 << 10).unwrap()).collect();
            permits.iter_mut().for_each(|permit| permit.waits_for_log().unwrap());
            // All but the last few are answered by the time somebody looks.
            permits.drain(..burst * 9 / 10);
            drain.look(&admission, Duration::from_millis(250));
        }
        assert!(admission.admit(A, 1).is_ok());
    }
}
