//! What a batch of the auditor holds: a pure function of its producer and number.
//!
//! Every event is numbered so that sums tell which ones are missing. Each producer is a service of its own, and each ten
//! batches of it are a *page*: a route of their own, so that count and sum of durations of a page are in the rollups. The
//! n-th event of a page (n from 1) lasts `n + SPREAD * n * n` microseconds: a difference in the sum is then a difference in
//! the sum of n *and* in the sum of n squared, which names one or two lost or doubled events exactly.
//!
//! Promises: the same bytes at every call, so that a retry is the same batch.

use std::fmt::Write;

/// Events in each batch.
pub const BATCH_EVENTS: u64 = 96;
/// Batches in each page.
pub const PAGE_BATCHES: u64 = 10;
pub const PAGE_EVENTS: u64 = BATCH_EVENTS * PAGE_BATCHES;
/// Larger than any sum of two numbers of a page, either sign; small enough that the longest event lasts less than an hour,
/// which is the longest that peep takes.
pub const SPREAD: i64 = 4 * PAGE_EVENTS as i64;
const _: () = assert!(PAGE_EVENTS as i64 + SPREAD * (PAGE_EVENTS * PAGE_EVENTS) as i64 <= 3_600_000_000);

/// Which batch of which producer. The number is also its `Peep-Seq`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Batch {
    pub producer: u32,
    pub seq: u64,
}

/// Ten batches of a producer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Page {
    pub producer: u32,
    pub number: u64,
}

/// What the rollups say about a page, or should.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sums {
    pub count: i64,
    pub sum_us: i64,
}

impl Batch {
    pub fn page(self) -> Page {
        Page { producer: self.producer, number: self.seq / PAGE_BATCHES }
    }

    /// The numbers of its events within the page.
    pub fn numbers(self) -> std::ops::RangeInclusive<u64> {
        let first = self.seq % PAGE_BATCHES * BATCH_EVENTS + 1;
        first..=first + BATCH_EVENTS - 1
    }

    pub fn sums(self) -> Sums {
        let sum_us = self.numbers().map(duration_us).sum();
        Sums { count: BATCH_EVENTS as i64, sum_us }
    }

    /// NDJSON, every event at `ts_ms`.
    pub fn body(self, ts_ms: i64) -> Vec<u8> {
        let page = self.page();
        let (service, route) = (page.service(), page.route());
        let mut body = String::with_capacity(BATCH_EVENTS as usize * 128);
        for number in self.numbers() {
            let us = duration_us(number);
            let _ = writeln!(
                body,
                "{{\"service\":\"{service}\",\"route\":\"{route}\",\"method\":\"GET\",\"status\":200,\"ts\":{ts_ms},\
                 \"duration_ms\":{}.{:03}}}",
                us / 1000,
                us % 1000
            );
        }
        body.into_bytes()
    }
}

impl Page {
    pub fn batches(self) -> impl Iterator<Item = Batch> {
        let first = self.number * PAGE_BATCHES;
        (first..first + PAGE_BATCHES).map(move |seq| Batch { producer: self.producer, seq })
    }

    pub fn service(self) -> String {
        format!("{SERVICE_PREFIX}{:03}", self.producer)
    }

    pub fn route(self) -> String {
        format!("{ROUTE_PREFIX}{}", self.number)
    }

    /// The way back; `None` for a series that the auditor did not send.
    pub fn of_series(service: &str, route: &str) -> Option<Self> {
        let producer = service.strip_prefix(SERVICE_PREFIX)?.parse().ok()?;
        let number = route.strip_prefix(ROUTE_PREFIX)?.parse().ok()?;
        Some(Self { producer, number })
    }

    /// The batch an event of this page belongs to.
    pub fn batch_of(self, number: u64) -> Batch {
        Batch { producer: self.producer, seq: self.number * PAGE_BATCHES + (number - 1) / BATCH_EVENTS }
    }
}

/// Of the n-th event of a page.
pub fn duration_us(number: u64) -> i64 {
    let number = number as i64;
    number + SPREAD * number * number
}

impl std::ops::Add for Sums {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { count: self.count + other.count, sum_us: self.sum_us + other.sum_us }
    }
}

impl std::ops::Sub for Sums {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { count: self.count - other.count, sum_us: self.sum_us - other.sum_us }
    }
}

pub const SERVICE_PREFIX: &str = "audit-";
const ROUTE_PREFIX: &str = "/page/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batches_of_a_page_hold_each_number_once() {
        let page = Page { producer: 3, number: 7 };
        let numbers: Vec<u64> = page.batches().flat_map(Batch::numbers).collect();
        assert_eq!(numbers, (1..=PAGE_EVENTS).collect::<Vec<_>>());
        assert!(page.batches().all(|batch| batch.page() == page));
        assert!(numbers.iter().all(|number| page.batch_of(*number).numbers().contains(number)));
    }

    #[test]
    fn a_page_is_found_again_by_its_series() {
        let page = Page { producer: 12, number: 345 };
        assert_eq!(Page::of_series(&page.service(), &page.route()), Some(page));
        assert_eq!(Page::of_series("checkout", "/page/1"), None);
    }

    #[test]
    fn the_body_says_what_the_sums_say() {
        let batch = Batch { producer: 0, seq: 19 };
        let body = String::from_utf8(batch.body(1_000)).unwrap();
        let durations_ms: Vec<f64> = body
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|event| event["duration_ms"].as_f64().unwrap())
            .collect();
        assert_eq!(durations_ms.len() as i64, batch.sums().count);
        let sum_us: i64 = durations_ms.iter().map(|ms| (ms * 1000.0).round() as i64).sum();
        assert_eq!(sum_us, batch.sums().sum_us);
    }
}
