//! How many events per second a key may send: a token bucket for each key that sends.
//!
//! Arrives: whose request it is and roughly how many events it announces. Leaves: a [`Charge`] for that many, or how long the
//! key is in debt. Once the body is decoded the charge becomes the true number, and it lasts only when the request is
//! accepted: a refused one costs nothing.
//!
//! Promises: a key that is in debt is refused before its body is read, and over any time `t` a key gets no more in than rate
//! times `t`, the burst, and what its last requests before the debt brought beyond their announcement. A bucket goes into debt
//! instead of asking for as many tokens as a request has events, which nobody knows before reading it, and which may be more
//! than a whole burst. Bounded: a full bucket is no different from none and is forgotten when others need the room, so there are
//! at most a thousand, or twice as many as keys whose bucket was not full at the last look.
//!
//! Does not: know what other ingest processes take. Off (a rate of 0) it costs one comparison.

use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt};
use parking_lot::Mutex;
use peep_wire::KeyId;

use crate::config::Limits;

/// The buckets of this process.
#[derive(Debug)]
pub(crate) struct Rates {
    /// 0 is off.
    events_per_second: u64,
    burst_ns: i64,
    start: Instant,
    buckets: Mutex<Buckets>,
}

/// For each key the moment, in nanoseconds from the start, when what it sent is paid for: ahead of now is debt, a burst behind
/// now is a full bucket.
#[derive(Debug)]
struct Buckets {
    paid_at: HashMap<KeyId, i64>,
    /// When to look for full ones.
    sweep_at: usize,
}

/// The key sends more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InDebt {
    /// Until it is paid.
    pub(crate) remaining: Duration,
}

impl Rates {
    pub(crate) fn new(limits: &Limits) -> Self {
        Rates {
            events_per_second: limits.key_events_per_second_max,
            burst_ns: nanos(limits.key_burst),
            start: Instant::now(),
            buckets: Mutex::new(Buckets { paid_at: HashMap::new(), sweep_at: SWEEP_AT_MIN }),
        }
    }

    /// Lets a request in whose body announces `bytes`. What it is charged for so far is a guess, and a low one: it is there so
    /// that many requests at once cannot all pass before the first is counted.
    pub(crate) fn charge(&self, key: KeyId, bytes: u64) -> Result<Charge<'_>, InDebt> {
        self.charge_at(key, bytes / EVENT_BYTES + 1, self.now())
    }

    fn charge_at(&self, key: KeyId, events: u64, now: i64) -> Result<Charge<'_>, InDebt> {
        let mut charge = Charge { rates: self, key, cost_ns: 0, is_kept: false };
        if self.events_per_second == 0 {
            return Ok(charge);
        }
        let mut buckets = self.buckets.lock();
        let paid_at = buckets.of(key, now, self.burst_ns);
        if let Ok(debt_ns @ 1..) = u64::try_from(*paid_at - now) {
            return Err(InDebt { remaining: Duration::from_nanos(debt_ns) });
        }
        charge.cost_ns = self.cost_ns(events);
        *paid_at += charge.cost_ns;
        drop(buckets);
        Ok(charge)
    }

    fn cost_ns(&self, events: u64) -> i64 {
        let cost = events.saturating_mul(NANOS_PER_SECOND) / self.events_per_second.max(1);
        i64::try_from(cost).unwrap_or(i64::MAX).min(COST_NS_MAX)
    }

    fn now(&self) -> i64 {
        nanos(self.start.elapsed())
    }
}

impl Buckets {
    /// The bucket of a key, not fuller than full.
    fn of(&mut self, key: KeyId, now: i64, burst_ns: i64) -> &mut i64 {
        let full = now - burst_ns;
        if self.paid_at.len() >= self.sweep_at {
            self.paid_at.retain(|_, paid_at| *paid_at > full);
            self.sweep_at = (self.paid_at.len() * 2).max(SWEEP_AT_MIN);
        }
        let paid_at = self.paid_at.entry(key).or_insert(full);
        *paid_at = full.max(*paid_at);
        paid_at
    }
}

/// What a request under way costs its key; given back on drop, unless it was kept.
#[derive(Debug)]
pub(crate) struct Charge<'r> {
    rates: &'r Rates,
    key: KeyId,
    cost_ns: i64,
    is_kept: bool,
}

impl Charge<'_> {
    /// Replaces the guess by the number of events.
    pub(crate) fn correct(&mut self, events: u32) {
        if self.rates.events_per_second > 0 {
            let cost_ns = self.rates.cost_ns(u64::from(events));
            self.add(cost_ns - self.cost_ns);
            self.cost_ns = cost_ns;
        }
    }

    /// The log is being asked. From here on the events count, also when the client goes away before the answer is there.
    pub(crate) fn keep(&mut self) {
        self.is_kept = true;
    }

    /// The log did not take the events: they count for nothing.
    pub(crate) fn give_back(mut self) {
        self.is_kept = false;
    }

    fn add(&self, more_ns: i64) {
        let mut buckets = self.rates.buckets.lock();
        *buckets.of(self.key, self.rates.now(), self.rates.burst_ns) += more_ns;
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        if self.cost_ns != 0 && !self.is_kept {
            self.add(-self.cost_ns);
        }
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// An event as JSON, uncompressed. Compressed ones are smaller, so the guess is low.
const EVENT_BYTES: u64 = 150;
/// No single request puts its key in debt for longer than a day, and no sum of them overflows.
const COST_NS_MAX: i64 = 86_400 * NANOS_PER_SECOND as i64;
/// Below this many buckets (16 bytes each) there is nothing to gain by looking.
const SWEEP_AT_MIN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyId = KeyId(1);
    const SECOND: i64 = NANOS_PER_SECOND as i64;

    /// 100 events per second, and as many at once.
    fn rates() -> Rates {
        Rates::new(&Limits { key_events_per_second_max: 100, key_burst: Duration::from_secs(1), ..Limits::of_tests() })
    }

    fn send(rates: &Rates, events: u64, now: i64) -> Result<(), InDebt> {
        rates.charge_at(KEY, events, now).map(|mut charge| charge.keep())
    }

    #[test]
    fn a_burst_passes_then_the_rate_does() {
        let rates = rates();
        assert!((0..10).all(|_| send(&rates, 10, 0).is_ok()), "a burst");
        assert!(send(&rates, 50, 0).is_ok(), "empty is no debt yet");
        let debt = InDebt { remaining: Duration::from_millis(500) };
        assert_eq!(send(&rates, 1, 0), Err(debt));
        assert!(rates.charge_at(KeyId(2), 1, 0).is_ok(), "others are not concerned");
        assert!(send(&rates, 1, SECOND / 2).is_ok(), "paid");
        let passed = (0..6000).filter(|tick| send(&rates, 5, SECOND + tick * SECOND / 100).is_ok()).count();
        assert!((1200..=1221).contains(&passed), "100 events a second for a minute, and a burst: {passed}");
    }

    #[test]
    fn silence_fills_a_bucket_no_further_than_its_burst() {
        let rates = rates();
        assert!(send(&rates, 100, 3600 * SECOND).is_ok());
        assert!(send(&rates, 1, 3600 * SECOND).is_ok());
        assert!(send(&rates, 1, 3600 * SECOND).is_err());
    }

    #[test]
    fn a_refused_request_costs_nothing_and_a_wrong_guess_is_corrected() {
        let rates = rates();
        drop(rates.charge_at(KEY, 1_000_000, rates.now()).unwrap());
        let mut asked = rates.charge_at(KEY, 1_000_000, rates.now()).unwrap();
        asked.keep();
        asked.give_back();
        let mut charge = rates.charge_at(KEY, 1_000_000, rates.now()).unwrap();
        assert!(rates.charge_at(KEY, 1, rates.now()).is_err(), "what is under way counts");
        charge.correct(5);
        charge.keep();
        assert!(rates.charge_at(KEY, 1, rates.now()).is_ok());
        let mut charge = rates.charge_at(KEY, 1, rates.now()).unwrap();
        charge.correct(5000);
        charge.keep();
        assert!(rates.charge_at(KEY, 1, rates.now()).unwrap_err().remaining > Duration::from_secs(40));
    }

    #[test]
    fn a_million_keys_leave_a_bounded_set() {
        let rates = rates();
        for number in 0..1_000_000 {
            // A thousand keys a second, each of which is full again a moment later.
            rates.charge_at(KeyId(number), 1, number as i64 * SECOND / 1000).map(|mut charge| charge.keep()).unwrap();
        }
        assert!(rates.buckets.lock().paid_at.capacity() <= 8192);
    }

    #[test]
    fn off_means_off() {
        let rates = Rates::new(&Limits::of_tests());
        assert!((0..100).all(|_| send(&rates, u64::MAX, 0).is_ok()));
        assert!(rates.buckets.lock().paid_at.is_empty());
    }
}
