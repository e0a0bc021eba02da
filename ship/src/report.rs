//! The books of a run, and the summary that closes it.
//!
//! In: what happened to each line ([`Report`]) and to each event ([`Delivery`]). Out: the summary for people and the
//! exit code. Promised, and asserted at the end: lines read = events + malformed + blank, and events, with those that the run
//! before left over, = accepted + rejected + undelivered + kept for the next run; when they do not, the summary says so and
//! the exit code is 1.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::line::{AccessLine, Malformed, excerpt};
use crate::parcel::Parcel;
use crate::send::Rejection;

/// What became of the lines.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) lines: u64,
    pub(crate) blank: u64,
    pub(crate) events: u64,
    pub(crate) malformed: BTreeMap<Malformed, Counted>,
    /// Events that carry a duration.
    pub(crate) timed: u64,
    /// Durations over an hour, left out of their events.
    pub(crate) overlong: u64,
    /// Ended longer ago than ingest takes by default, after any shift.
    pub(crate) too_old: u64,
    /// Of the events as sent.
    pub(crate) first_ms: Option<i64>,
    pub(crate) last_ms: Option<i64>,
    pub(crate) shift_ms: i64,
    /// Index 0: unknown; 1..=5: by class.
    pub(crate) statuses: [u64; 6],
    pub(crate) routes: usize,
    pub(crate) routes_refused: u64,
    /// Inputs that could not be read to their end.
    pub(crate) unreadable: u64,
}

/// A number and the first case of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) count: u64,
    pub(crate) example: String,
}

/// What became of the events that were sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) accepted: u64,
    pub(crate) rejected: BTreeMap<String, Counted>,
    pub(crate) undelivered: u64,
    /// From the journal: made by the run before, and without an answer then.
    pub(crate) recovered: u64,
    /// Without an answer when the run ended; the next run sends them.
    pub(crate) kept: u64,
    pub(crate) batches: u64,
    pub(crate) retries: u64,
    pub(crate) final_error: Option<String>,
    /// The final error is that somebody ended the run while ingest was away, and nothing is lost by it.
    pub(crate) interrupted: bool,
}

impl Report {
    pub(crate) fn malformed(&mut self, reason: Malformed, line: &[u8], input: &str, number: u64) {
        let counted = self.malformed.entry(reason).or_default();
        if counted.count == 0 {
            counted.example = format!("{input} line {number}: {}", excerpt(line, 100));
        }
        counted.count += 1;
    }

    pub(crate) fn event(&mut self, line: &AccessLine<'_>, ended_ms: i64, overlong: bool) {
        self.events += 1;
        self.timed += u64::from(line.duration_us.is_some() && !overlong);
        self.overlong += u64::from(overlong);
        self.statuses[usize::from(line.status.unwrap_or(0) / 100).min(5)] += 1;
        self.first_ms = Some(self.first_ms.map_or(ended_ms, |first| first.min(ended_ms)));
        self.last_ms = Some(self.last_ms.map_or(ended_ms, |last| last.max(ended_ms)));
    }

    pub(crate) fn malformed_count(&self) -> u64 {
        self.malformed.values().map(|counted| counted.count).sum()
    }

    fn balanced(&self) -> bool {
        self.lines == self.events + self.malformed_count() + self.blank
    }

    /// Everything a person wants to know at the end. `delivery` is missing in a dry run.
    pub(crate) fn summary(&self, delivery: Option<&Delivery>, took: Duration) -> String {
        let mut text = String::new();
        self.write_lines(&mut text);
        if let Some(delivery) = delivery {
            delivery.write(&mut text, took);
        }
        self.write_events(&mut text);
        if !self.balanced() || delivery.is_some_and(|delivery| !delivery.balanced(self.events)) {
            row(&mut text, "BOOKS", "do not balance: please report this as a bug of peep");
        }
        text.pop();
        text
    }

    /// True: exit code 0. Malformed lines are counted, not fatal.
    pub(crate) fn succeeded(&self, delivery: Option<&Delivery>) -> bool {
        let delivered = delivery.is_none_or(|delivery| {
            let settled = delivery.accepted + delivery.kept == self.events + delivery.recovered;
            settled && delivery.is_done() && delivery.balanced(self.events)
        });
        delivered && self.balanced() && self.unreadable == 0
    }

    fn write_lines(&self, text: &mut String) {
        row(
            text,
            "lines",
            &format!(
                "{} read: {} events, {} malformed, {} blank",
                grouped(self.lines),
                grouped(self.events),
                grouped(self.malformed_count()),
                grouped(self.blank)
            ),
        );
        for (reason, counted) in &self.malformed {
            row(text, "  malformed", &format!("{} {reason}", grouped(counted.count)));
            row(text, "", &format!("first: {}", counted.example));
        }
    }

    fn write_events(&self, text: &mut String) {
        if let (Some(first), Some(last)) = (self.first_ms, self.last_ms) {
            let shifted = match self.shift_ms {
                0 => String::new(),
                shift => format!(", shifted by {}", span(shift)),
            };
            row(text, "times", &format!("{} to {} ({}){shifted}", instant(first), instant(last), span(last - first)));
        }
        if self.events == 0 {
            return;
        }
        let statuses: Vec<String> = ["unknown", "1xx", "2xx", "3xx", "4xx", "5xx"]
            .iter()
            .zip(self.statuses)
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name} {}", grouped(count)))
            .collect();
        row(text, "statuses", &format!("{} (5xx count as errors)", statuses.join("  ")));
        let refused = match self.routes_refused {
            0 => String::new(),
            refused => format!("; {} events beyond the limit are counted as (other)", grouped(refused)),
        };
        row(text, "routes", &format!("{}{refused}", self.routes));
        row(text, "latency", &self.latency());
        if self.too_old > 0 {
            row(
                text,
                "age",
                &format!(
                    "{} events ended more than {DAYS_ACCEPTED} days ago, which ingest refuses by default; --rebase now moves a log to the present",
                    grouped(self.too_old)
                ),
            );
        }
    }

    fn latency(&self) -> String {
        let overlong = match self.overlong {
            0 => String::new(),
            overlong => format!("; {} over one hour left out (long-lived connections)", grouped(overlong)),
        };
        match self.timed {
            0 => format!(
                "none: this log holds no request times, so there are counts and errors but no latency{overlong}. \
                 To log them, append $request_time to nginx's log_format (Apache: %{{ms}}T with --duration-unit ms)"
            ),
            timed => format!("{} of {} events have a duration{overlong}", grouped(timed), grouped(self.events)),
        }
    }
}

/// How old an event may be for an ingest service with default settings.
pub(crate) const DAYS_ACCEPTED: i64 = 30;

impl Delivery {
    /// Enters the answer to one batch.
    pub(crate) fn settle(&mut self, parcel: &Parcel, accepted: u64, rejected: Vec<Rejection>) {
        self.batches += 1;
        self.accepted += accepted;
        for rejection in rejected {
            let counted = self.rejected.entry(excerpt(rejection.code.as_bytes(), 64)).or_default();
            if counted.count == 0 {
                let message = excerpt(rejection.message.as_bytes(), 200);
                counted.example = format!("{message}: {}", excerpt(&parcel.event(rejection.index), 300));
            }
            counted.count += 1;
        }
    }

    /// Enters a batch that was refused as a whole.
    pub(crate) fn refuse(&mut self, parcel: &Parcel, reason: &str) {
        self.batches += 1;
        let counted = self.rejected.entry("batch_refused".to_owned()).or_default();
        if counted.count == 0 {
            counted.example = reason.to_owned();
        }
        counted.count += u64::from(parcel.events);
    }

    fn rejected_count(&self) -> u64 {
        self.rejected.values().map(|counted| counted.count).sum()
    }

    /// Nothing more was to be sent, or the next run will send it.
    fn is_done(&self) -> bool {
        self.final_error.is_none() || self.interrupted
    }

    fn balanced(&self, events: u64) -> bool {
        events + self.recovered == self.accepted + self.rejected_count() + self.undelivered + self.kept
    }

    fn write(&self, text: &mut String, took: Duration) {
        let seconds = took.as_secs_f64().max(0.001);
        row(
            text,
            "sent",
            &format!(
                "{} accepted, {} rejected, {} undelivered; {} batches, {} retries, {seconds:.1} s ({} events/s)",
                grouped(self.accepted),
                grouped(self.rejected_count()),
                grouped(self.undelivered),
                grouped(self.batches),
                grouped(self.retries),
                grouped((self.accepted as f64 / seconds) as u64),
            ),
        );
        for (code, counted) in &self.rejected {
            row(text, "  rejected", &format!("{} {code}", grouped(counted.count)));
            row(text, "", &format!("first: {}", counted.example));
        }
        if self.recovered > 0 {
            row(text, "  recovered", &format!("{} of them made by the run before", grouped(self.recovered)));
        }
        if self.kept > 0 {
            row(text, "  kept", &format!("{} without an answer; the next run sends them", grouped(self.kept)));
        }
        if let Some(error) = &self.final_error {
            row(text, "  stopped", error);
        }
    }

    /// One line while it runs.
    pub(crate) fn progress(&self, report: &Report, took: Duration) -> String {
        let seconds = took.as_secs_f64().max(0.001);
        format!(
            "{} lines, {} accepted, {} rejected, {} malformed, {} events/s",
            grouped(report.lines),
            grouped(self.accepted),
            grouped(self.rejected_count()),
            grouped(report.malformed_count()),
            grouped((self.accepted as f64 / seconds) as u64),
        )
    }
}

fn row(text: &mut String, label: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{label:<12} {value}");
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn instant(milliseconds: i64) -> String {
    jiff::Timestamp::from_millisecond(milliseconds)
        .map_or_else(|_| format!("{milliseconds} ms"), |timestamp| timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// `3 d 11 h`, `5 min 51 s`, `250 ms`.
pub(crate) fn span(milliseconds: i64) -> String {
    let sign = if milliseconds < 0 { "-" } else { "" };
    let total = milliseconds.unsigned_abs();
    let seconds = total / 1000;
    let text = match seconds {
        0 => format!("{total} ms"),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests;
