//! Sums of time that is over: what a question need not read again when it, or one like it, was asked before.
//!
//! Arrives: the sums of a question over a day, a part of one or ten minutes, and how many events the rows of that time had gained
//! when they were read (`rollup_gain`). Leaves: the same sums, as long as that number is the same.
//!
//! Why that is enough: the rows of a bucket only ever gain events. Levels are raised into it and late events added to it, and
//! both are counted by the transaction that does it; merged pieces hold what their parts held; a partition goes as a whole, and
//! what lies before the horizon is not asked for. Two exceptions. A database that was put back to an earlier state could gain as
//! many other events: its cursors go back with it, and all is forgotten. A worker of a release that did not count its gains may
//! be at work in the minutes of an upgrade: nothing is remembered for longer than an hour.
//!
//! Promises: no answer depends on what is remembered. Memory is bounded; what was not asked for longest goes first.
//! Does not: read, or decide which time is remembered ([`crate::history`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use parking_lot::Mutex;
use peep_wire::ProjectId;

use crate::grouped::{Question, Sums};
use crate::history::Cursors;
use crate::labels::{Filters, GroupBy};
use crate::metrics;

/// A question without its window, and the rows that answer it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct View {
    project: ProjectId,
    filters: Filters,
    group_by: GroupBy,
    table: &'static str,
}

impl View {
    /// Answered from a table.
    pub fn new(question: &Question, table: &'static str) -> Self {
        let Question { project, filters, group_by, .. } = question.clone();
        Self { project, filters, group_by, table }
    }
}

/// First second, and the first after it.
pub type Span = (i64, i64);

/// Cheap to clone; clones share the memory.
#[derive(Debug, Clone)]
pub struct Closed {
    held: Arc<Mutex<Held>>,
    bytes_max: usize,
    rows_per_span_min: u64,
}

/// What was read of a span.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// By group.
    pub sums: Arc<Sums>,
    /// Rows they were in: what may be read for one answer is limited, whether it is read or not.
    pub rows: u64,
}

#[derive(Debug, Default)]
struct Held {
    by_view: HashMap<View, HashMap<Span, Entry>>,
    bytes: usize,
    /// Counts questions, to tell what was asked longest ago.
    asked: u64,
    /// Spans that were not read again.
    remembered: u64,
    /// The furthest that any question saw.
    cursors: Cursors,
}

#[derive(Debug)]
struct Entry {
    /// Gained by the rows, when they were summed up.
    gained: u64,
    what: Remembered,
    bytes: usize,
    read_at: Instant,
    asked: u64,
}

impl Closed {
    /// Remembers nothing yet; with 0 it never does.
    pub fn new(bytes_max: usize) -> Self {
        Self { held: Arc::default(), bytes_max, rows_per_span_min: ROWS_PER_SPAN_MIN }
    }

    /// Also where reading the rows would cost less than asking whether they changed.
    pub fn at_any_cost(bytes_max: usize) -> Self {
        Self { rows_per_span_min: 0, ..Self::new(bytes_max) }
    }

    /// Whether anything can be remembered.
    pub fn remembers(&self) -> bool {
        self.bytes_max > 0
    }

    /// Whether so many rows, as there may be at most, are worth so many spans.
    pub fn is_worth(&self, rows: u64, spans: usize) -> bool {
        rows >= self.rows_per_span_min * spans as u64
    }

    /// How many spans did not have to be read so far.
    pub fn remembered(&self) -> u64 {
        self.held.lock().remembered
    }

    /// To be told before a question looks for anything: how far the rows of its snapshot go.
    pub fn begin(&self, cursors: &Cursors) {
        let mut held = self.held.lock();
        held.asked += 1;
        let went_back = |(partition, known): (&u32, &crate::stitch::Position)| {
            cursors.get(partition).is_none_or(|now| now.offset < known.offset)
        };
        if held.cursors.iter().any(went_back) {
            held.by_view.clear();
            held.bytes = 0;
        }
        held.cursors.clone_from(cursors);
    }

    /// What was read of a span whose rows have gained that many events.
    pub fn get(&self, view: &View, span: Span, gained: u64) -> Option<Remembered> {
        let mut guard = self.held.lock();
        let held = &mut *guard;
        let is_current = |entry: &&mut Entry| entry.gained == gained && entry.read_at.elapsed() < AGE_MAX;
        let entry = held.by_view.get_mut(view)?.get_mut(&span).filter(is_current)?;
        entry.asked = held.asked;
        held.remembered += 1;
        Some(entry.what.clone())
    }

    /// Remembers what was read of a span whose rows had gained that many events.
    pub fn put(&self, view: &View, span: Span, gained: u64, what: Remembered) {
        let bytes = what.sums.memory_bytes() + size_of::<(Span, Entry)>();
        let mut guard = self.held.lock();
        let held = &mut *guard;
        let entry = Entry { gained, what, bytes, read_at: Instant::now(), asked: held.asked };
        let spans = match held.by_view.get_mut(view) {
            Some(spans) => spans,
            None => held.by_view.entry(view.clone()).or_default(),
        };
        held.bytes += bytes;
        held.bytes -= spans.insert(span, entry).map_or(0, |before| before.bytes);
        if held.bytes > self.bytes_max {
            held.shrink_to(self.bytes_max / 4 * 3);
        }
        metrics::closed_bytes(held.bytes);
    }
}

impl Held {
    /// Lets the entries go that were asked for longest ago; more at once, so that it is rarely done.
    fn shrink_to(&mut self, bytes_max: usize) {
        let mut by_age: Vec<(u64, usize)> =
            self.by_view.values().flat_map(HashMap::values).map(|entry| (entry.asked, entry.bytes)).collect();
        by_age.sort_unstable_by_key(|(asked, _)| *asked);
        let (mut left, mut gone_until) = (self.bytes, None);
        for (asked, bytes) in by_age {
            if left <= bytes_max && gone_until != Some(asked) {
                break;
            }
            left -= bytes;
            gone_until = Some(asked);
        }
        for spans in self.by_view.values_mut() {
            spans.retain(|_, entry| gone_until.is_none_or(|asked| entry.asked > asked));
        }
        self.by_view.retain(|_, spans| !spans.is_empty());
        self.bytes = left;
    }
}

/// See above; also the longest time for which a mistake could be seen.
const AGE_MAX: Duration = Duration::from_secs(3600);
/// With fewer, a statement for each span costs more than one for all their rows.
const ROWS_PER_SPAN_MIN: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grouped::Grouped;
    use crate::query::Window;
    use crate::stitch::Position;

    fn question(service: &str) -> Question {
        let filters = Filters { service: vec![service.to_owned()], ..Default::default() };
        let window = Window { from_s: 0, to_s: 3600, step_s: 3600 };
        Question { project: ProjectId(1), window, filters, group_by: GroupBy::default(), statuses: false }
    }

    fn view(service: &str) -> View {
        View::new(&question(service), "rollup_1h")
    }

    fn nothing() -> Remembered {
        Remembered { sums: Arc::new(Grouped::new(question("a"), 1 << 20).take_sums()), rows: 0 }
    }

    fn cursors(offset: u64) -> Cursors {
        [(0, Position { offset, epoch: 1 })].into()
    }

    const HOUR: Span = (0, 3600);

    #[test]
    fn a_span_is_remembered_until_its_rows_gain_events() {
        let closed = Closed::new(1 << 20);
        closed.put(&view("a"), HOUR, 7, nothing());
        assert!(closed.get(&view("a"), HOUR, 7).is_some());
        assert!(closed.get(&view("a"), HOUR, 8).is_none());
        assert!(closed.get(&view("b"), HOUR, 7).is_none() && closed.get(&view("a"), (3600, 7200), 7).is_none());
    }

    #[test]
    fn rows_that_went_back_are_not_those_that_were_summed_up() {
        let closed = Closed::new(1 << 20);
        closed.begin(&cursors(10));
        closed.put(&view("a"), HOUR, 7, nothing());
        closed.begin(&cursors(11));
        assert!(closed.get(&view("a"), HOUR, 7).is_some());
        closed.begin(&cursors(9));
        assert!(closed.get(&view("a"), HOUR, 7).is_none());
    }

    #[test]
    fn what_was_asked_for_longest_ago_goes_first() {
        let closed = Closed::new(1 << 20);
        closed.put(&view("a"), HOUR, 7, nothing());
        let one = closed.held.lock().bytes;
        let closed = Closed::new(4 * one);
        for number in 0..20 {
            closed.begin(&cursors(number));
            closed.put(&view(&number.to_string()), HOUR, 7, nothing());
            assert!(closed.get(&view("0"), HOUR, 7).is_some(), "asked for all the time");
            let held = closed.held.lock();
            let bytes = held.by_view.values().flat_map(HashMap::values).map(|entry| entry.bytes).sum::<usize>();
            assert!(held.bytes == bytes && bytes <= 4 * one, "{bytes} bytes held, {} counted", held.bytes);
        }
        assert!(closed.get(&view("19"), HOUR, 7).is_some() && closed.get(&view("3"), HOUR, 7).is_none());
    }
}
