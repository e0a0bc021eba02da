//! The books: what became of every event.
//!
//! Arrives: the outcome of each record and of each event in it. Leaves: with every cut, [`Books`]: the sums of the flush, the
//! same by project and minute of the log, and what was rolled up by project and day of the event.
//!
//! Promises: accepted = rolled up + dead-lettered + duplicate, in the sum and in every line; the lines add up to the sum;
//! however the same records are cut, the lines of all cuts add up to the same. The days are counted event by event and not
//! taken from the windows, so that they can tell whether the windows are right.
//!
//! Does not: know why something was dead-lettered; each dead letter says that itself.

use std::collections::BTreeMap;

use peep_wire::ProjectId;

/// Events by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// As the records announce them.
    pub accepted: u64,
    /// In a window.
    pub rolled_up: u64,
    /// In a dead letter.
    pub dead_lettered: u64,
    /// In a batch that was counted before.
    pub duplicate: u64,
    /// Of `rolled_up`: of clients that send no identity, so that a retry of theirs cannot be recognised.
    pub unidentified: u64,
    /// Of `rolled_up`: of producers that were unknown and did not begin at 0: an earlier try may have been forgotten.
    pub uncertain: u64,
    /// Of `rolled_up`: in an `(other)` series.
    pub folded: u64,
}

impl Counts {
    /// Every event has exactly one outcome.
    pub fn balance(&self) -> bool {
        self.accepted == self.rolled_up + self.dead_lettered + self.duplicate
            && self.unidentified + self.uncertain <= self.rolled_up
            && self.folded <= self.rolled_up
    }

    /// Adds others.
    pub fn add(&mut self, other: &Counts) {
        self.accepted += other.accepted;
        self.rolled_up += other.rolled_up;
        self.dead_lettered += other.dead_lettered;
        self.duplicate += other.duplicate;
        self.unidentified += other.unidentified;
        self.uncertain += other.uncertain;
        self.folded += other.folded;
    }
}

/// The books of one flush.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Books {
    /// Log records.
    pub records: u64,
    /// Of those, unreadable ones, whose number of events is unknown. They are dead letters with their bytes.
    pub records_unreadable: u64,
    /// Events of all projects.
    pub total: Counts,
    /// Rows of `ledger_project`, by project and minute.
    pub minutes: Vec<ProjectMinute>,
    /// Rows of `ledger_day`, by project and day.
    pub days: Vec<ProjectDay>,
}

/// What became of a project's events that the log took within one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectMinute {
    /// The tenant.
    pub project: ProjectId,
    /// Start of the minute by the log's stamps, Unix seconds.
    pub minute_s: i64,
    /// Its events.
    pub events: Counts,
}

/// A project's events that happened on one day (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectDay {
    /// The tenant.
    pub project: ProjectId,
    /// Start of the day, Unix seconds.
    pub day_s: i64,
    /// Events in its windows.
    pub rolled_up: u64,
}

impl Books {
    /// Every event has exactly one outcome, and every line is in the sum.
    pub fn balance(&self) -> bool {
        let mut sum = Counts::default();
        self.minutes.iter().for_each(|minute| sum.add(&minute.events));
        let of_days: u64 = self.days.iter().map(|day| day.rolled_up).sum();
        let each = self.minutes.iter().all(|minute| minute.events.balance());
        each && self.total.balance() && sum == self.total && of_days == self.total.rolled_up
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.minutes.capacity() * size_of::<ProjectMinute>() + self.days.capacity() * size_of::<ProjectDay>()
    }
}

/// The books since the last cut.
#[derive(Debug, Default)]
pub struct OpenBooks {
    records: u64,
    records_unreadable: u64,
    total: Counts,
    minutes: BTreeMap<(ProjectId, i64), Counts>,
    days: BTreeMap<(ProjectId, i64), u64>,
    line: Line,
    page: Page,
}

/// The minute of the last record, apart from `minutes`: records of a minute come one after the other.
#[derive(Debug)]
struct Line {
    project: ProjectId,
    minute_s: i64,
    batches: u64,
    events: Counts,
}

impl Default for Line {
    fn default() -> Self {
        Self { project: ProjectId(0), minute_s: 0, batches: 0, events: Counts::default() }
    }
}

/// The day that the last event fell into, apart from `days`: almost every event falls into the same.
#[derive(Debug)]
struct Page {
    project: ProjectId,
    day_ms: i64,
    rolled_up: u64,
}

impl Default for Page {
    fn default() -> Self {
        Self { project: ProjectId(0), day_ms: 0, rolled_up: 0 }
    }
}

impl OpenBooks {
    /// One event went into a window.
    #[inline]
    pub fn roll_up(&mut self, project: ProjectId, ended_ms: i64) {
        let into_day = ended_ms.wrapping_sub(self.page.day_ms) as u64;
        if into_day >= DAY_MS as u64 || self.page.project != project {
            self.turn_page(project, ended_ms);
        }
        self.page.rolled_up += 1;
    }

    /// A readable record, whose batches are [posted](Self::post) one by one.
    pub fn open_record(&mut self) {
        self.records += 1;
    }

    /// What became of the events of a batch. Those in windows were [rolled up](Self::roll_up) before.
    pub fn post(&mut self, project: ProjectId, appended_ms: i64, events: &Counts) {
        debug_assert!(events.balance(), "every event of a batch has exactly one outcome");
        self.total.add(events);
        let minute_s = ledger_ms(appended_ms).div_euclid(MINUTE_MS) * (MINUTE_MS / 1000);
        if self.line.minute_s != minute_s || self.line.project != project {
            self.turn_line(project, minute_s);
        }
        self.line.batches += 1;
        self.line.events.add(events);
    }

    /// A record that nobody can read.
    pub fn post_unreadable(&mut self) {
        self.records += 1;
        self.records_unreadable += 1;
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.minutes.len() * MINUTE_BYTES + self.days.len() * DAY_BYTES
    }

    /// Closes the books of a flush and opens new ones.
    pub fn cut(&mut self) -> Books {
        self.turn_line(ProjectId(0), 0);
        self.turn_page(ProjectId(0), 0);
        let open = std::mem::take(self);
        let minute = |((project, minute_s), events)| ProjectMinute { project, minute_s, events };
        let day = |((project, day_s), rolled_up)| ProjectDay { project, day_s, rolled_up };
        Books {
            records: open.records,
            records_unreadable: open.records_unreadable,
            total: open.total,
            minutes: open.minutes.into_iter().map(minute).collect(),
            days: open.days.into_iter().map(day).collect(),
        }
    }

    fn turn_line(&mut self, project: ProjectId, minute_s: i64) {
        let line = std::mem::replace(&mut self.line, Line { project, minute_s, ..Line::default() });
        if line.batches > 0 {
            self.minutes.entry((line.project, line.minute_s)).or_default().add(&line.events);
        }
    }

    #[cold]
    fn turn_page(&mut self, project: ProjectId, ended_ms: i64) {
        let day_ms = ended_ms.div_euclid(DAY_MS).saturating_mul(DAY_MS);
        let page = std::mem::replace(&mut self.page, Page { project, day_ms, rolled_up: 0 });
        if page.rolled_up > 0 {
            *self.days.entry((page.project, page.day_ms / 1000)).or_default() += page.rolled_up;
        }
    }
}

/// The log's stamp as the books take it: a log whose clock is mad must not make a row that no table can hold.
pub fn ledger_ms(appended_ms: i64) -> i64 {
    appended_ms.clamp(0, LEDGER_MS_MAX)
}

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// The last day of the year 9998.
const LEDGER_MS_MAX: i64 = 253_370_764_799_999;
/// Key and counts in a B-tree that is half full, and the row they become.
const MINUTE_BYTES: usize = 2 * (16 + size_of::<Counts>()) + size_of::<ProjectMinute>();
const DAY_BYTES: usize = 2 * 24 + size_of::<ProjectDay>();

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: ProjectId = ProjectId(1);
    const BLOG: ProjectId = ProjectId(2);

    #[test]
    fn events_are_booked_on_the_utc_day_in_which_they_happened() {
        let mut books = OpenBooks::default();
        for (project, ended_ms) in [(SHOP, 0), (SHOP, DAY_MS - 1), (BLOG, 5), (SHOP, DAY_MS), (SHOP, -1), (SHOP, 1)] {
            books.roll_up(project, ended_ms);
        }
        let days: Vec<_> = books.cut().days.iter().map(|day| (day.project, day.day_s, day.rolled_up)).collect();
        assert_eq!(days, [(SHOP, -86_400, 1), (SHOP, 0, 3), (SHOP, 86_400, 1), (BLOG, 0, 1)]);
        assert!(books.cut().days.is_empty(), "each event is in one cut");
    }

    #[test]
    fn lines_add_up_to_the_sum_and_a_line_that_is_off_is_noticed() {
        let mut books = OpenBooks::default();
        let events = Counts { accepted: 3, dead_lettered: 1, duplicate: 2, ..Counts::default() };
        books.open_record();
        books.post(SHOP, 59_999, &events);
        // Two batches of one record.
        books.open_record();
        books.post(SHOP, 60_000, &events);
        books.post(BLOG, 60_000, &events);
        books.post_unreadable();
        let mut cut = books.cut();
        assert_eq!((cut.records, cut.records_unreadable, cut.total.accepted), (3, 1, 9));
        let lines: Vec<_> = cut.minutes.iter().map(|minute| (minute.project, minute.minute_s)).collect();
        assert_eq!(lines, [(SHOP, 0), (SHOP, 60), (BLOG, 60)]);
        assert!(cut.balance());
        cut.minutes[1].events.duplicate += 1;
        assert!(!cut.balance());
    }

    #[test]
    fn a_log_with_a_mad_clock_is_booked_where_a_table_can_hold_it() {
        let mut books = OpenBooks::default();
        for appended_ms in [i64::MIN, -1, i64::MAX] {
            books.post(SHOP, appended_ms, &Counts::default());
        }
        let minutes: Vec<_> = books.cut().minutes.iter().map(|minute| minute.minute_s).collect();
        assert_eq!(minutes, [0, LEDGER_MS_MAX / 60_000 * 60]);
    }
}
