//! What was sent, what became of it, and how long ingest took: the report at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use peep_wire::histogram::{Histogram, Quantile};

/// How the requests were timed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loop {
    /// By the clock: a request has a time at which it should leave.
    Open,
    /// As fast as they are answered: it has none.
    Closed,
}

/// Events unless named otherwise.
#[derive(Default)]
pub(crate) struct Books {
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    pub(crate) rejected: BTreeMap<String, u64>,
    /// Never answered for good, by reason.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Requests.
    pub(crate) requests: u64,
    /// Attempts beyond the first, by reason.
    pub(crate) retries: BTreeMap<String, u64>,
    /// From the intended send time to the last byte of the final answer.
    pub(crate) latency: Histogram,
    /// From when the bytes left to the last byte of that attempt's answer.
    pub(crate) service_time: Histogram,
}

impl Books {
    /// True: everything that was sent was accepted.
    pub(crate) fn clean(&self) -> bool {
        self.sent == self.accepted
    }

    pub(crate) fn count(map: &mut BTreeMap<String, u64>, reason: &str, count: u64) {
        // Few reasons in practice; a server that invents one per answer must not fill the memory.
        let reason = if map.len() < 50 || map.contains_key(reason) { reason } else { "other" };
        *map.entry(reason.to_owned()).or_default() += count;
    }

    /// One line while it runs.
    pub(crate) fn line(&self, took: Duration) -> String {
        format!(
            "{} sent, {} accepted, {} rejected, {} failed, {} retries, {:.0}/s, p99 of answers {}",
            self.sent,
            self.accepted,
            total(&self.rejected),
            total(&self.failed),
            total(&self.retries),
            self.accepted as f64 / took.as_secs_f64().max(0.001),
            milliseconds(self.service_time.value_at(Quantile::P99)),
        )
    }

    pub(crate) fn report(&self, title: &str, kind: Loop, took: Duration) -> String {
        let mut text = format!("{title}: {}\n", self.line(took));
        for (what, reasons) in [("rejected", &self.rejected), ("failed", &self.failed), ("retried", &self.retries)] {
            for (reason, count) in reasons {
                let _ = writeln!(text, "  {what} {count}: {reason}");
            }
        }
        if !self.latency.is_empty() {
            let _ = writeln!(
                text,
                "  {:<34}{:>9}{:>11}{:>11}{:>11}{:>11}{:>11}",
                "answers of ingest", "count", "p50", "p90", "p99", "p99.9", "max"
            );
            if kind == Loop::Open {
                row(&mut text, "from the intended send time", &self.latency);
            }
            row(&mut text, "from the send (service time)", &self.service_time);
        }
        text
    }
}

fn row(text: &mut String, label: &str, histogram: &Histogram) {
    let at = |quantile| milliseconds(histogram.value_at(quantile));
    let _ = writeln!(
        text,
        "  {label:<34}{:>9}{:>11}{:>11}{:>11}{:>11}{:>11}",
        histogram.count(),
        at(Quantile::P50),
        at(Quantile::P90),
        at(Quantile::P99),
        at(Quantile::P999),
        milliseconds(histogram.max_us()),
    );
}

fn milliseconds(value_us: Option<u64>) -> String {
    value_us.map_or_else(|| "-".to_owned(), |us| format!("{:.2} ms", us as f64 / 1000.0))
}

fn total(map: &BTreeMap<String, u64>) -> u64 {
    map.values().sum()
}
