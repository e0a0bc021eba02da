//! Parts of the range that are read once: whole days, quarters of days and hours in the table of hours, tens of minutes in that
//! of minutes.
//!
//! One short statement tells how many events each hour, or ten minutes, has gained. Time that has gained none since its sums were
//! read is taken from memory ([`crate::closed`]).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use sqlx::Row;

use super::{HistoryError, Part, Reading, pour_part, signed, unsigned};
use crate::closed::{Closed, Remembered, Span, View};
use crate::grouped::Grouped;
use crate::levels::{Horizons, Level};
use crate::query::Window;

/// Pours a part, from memory where it can. Answers how many rows there were, read or not; `None` when there are more than
/// `rows_max`.
pub(super) async fn pour(
    reading: &mut Reading<'_>,
    grouped: &mut Grouped,
    part: &Part,
    closed: &Closed,
    rows_max: u64,
) -> Result<Option<u64>, HistoryError> {
    let spans = match part.above {
        None if closed.remembers() => spans(grouped.question().window, part, &reading.horizons, reading.now_ms / 1000),
        _ => Vec::new(),
    };
    let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
        return pour_part(reading, grouped, part, rows_max).await;
    };
    let buckets = (last.1 - first.0) / part.level.width_s();
    // So few rows that a statement for each span would cost more.
    if !closed.is_worth(reading.series.len() as u64 * buckets.unsigned_abs(), spans.len()) {
        return pour_part(reading, grouped, part, rows_max).await;
    }
    let gained = gained(reading, grouped, part.level, first.0..last.1).await?;
    let view = View::new(grouped.question(), reading.tables.of(part.level));
    let mut aside = grouped.aside();
    let mut seen = 0;
    for &(from_s, to_s) in &spans {
        let gained = gained.range(from_s..to_s).map(|(_, events)| events).sum();
        let what = match closed.get(&view, (from_s, to_s), gained) {
            Some(what) => {
                crate::metrics::closed_span("remembered");
                what
            }
            None => {
                crate::metrics::closed_span("read");
                let rows = pour_part(reading, &mut aside, &part.between(from_s, to_s), rows_max - seen).await?;
                let Some(rows) = rows else { return Ok(None) };
                let what = Remembered { sums: Arc::new(aside.take_sums()), rows };
                closed.put(&view, (from_s, to_s), gained, what.clone());
                what
            }
        };
        grouped.add_sums(from_s, &what.sums)?;
        seen += what.rows;
        if seen > rows_max {
            return Ok(None);
        }
    }
    for edge in [part.from_s..first.0, last.1..part.to_s] {
        if !edge.is_empty() {
            match pour_part(reading, grouped, &part.between(edge.start, edge.end), rows_max - seen).await? {
                Some(rows) => seen += rows,
                None => return Ok(None),
            }
        }
    }
    Ok(Some(seen))
}

/// What is over, in spans as wide as fit into a step of the window: neighbours, ascending, inside of the part.
fn spans(window: Window, part: &Part, horizons: &Horizons, now_s: i64) -> Vec<Span> {
    let widths: &[i64] = match part.level {
        Level::TenSeconds => &[],
        Level::Minute => &[600],
        Level::Hour => &[86_400, 21_600, 3_600],
    };
    let in_a_step =
        |width_s: &&i64| window.points() == 1 || (window.from_s % **width_s == 0 && window.step_s % **width_s == 0);
    let widths: Vec<i64> = widths.iter().filter(in_a_step).copied().collect();
    // What lies before the horizon may go at any time.
    let kept_s = if part.level == Level::Hour { horizons.hour_s } else { horizons.minute_s };
    let mut spans = Vec::new();
    cover(&widths, part.from_s.max(kept_s)..part.to_s.min(now_s), &mut spans);
    spans
}

/// With the widest in the middle and the next at its ends; what is narrower than all is left out, at both ends.
fn cover(widths: &[i64], range: Range<i64>, spans: &mut Vec<Span>) {
    let Some((&width_s, narrower)) = widths.split_first() else { return };
    let (from_s, to_s) = (-(-range.start).div_euclid(width_s) * width_s, range.end.div_euclid(width_s) * width_s);
    if from_s >= to_s {
        return cover(narrower, range, spans);
    }
    cover(narrower, range.start..from_s, spans);
    spans.extend((from_s..to_s).step_by(width_s as usize).map(|at_s| (at_s, at_s + width_s)));
    cover(narrower, to_s..range.end, spans);
}

/// How many events the rows of a level have gained, by hour or ten minutes.
async fn gained(
    reading: &mut Reading<'_>,
    grouped: &Grouped,
    level: Level,
    range: Range<i64>,
) -> Result<BTreeMap<i64, u64>, sqlx::Error> {
    let sql = "select span_start, sum(events)::bigint from rollup_gain
        where project_id = $1 and level = $2 and span_start >= $3 and span_start < $4 group by span_start";
    let rows = sqlx::query(sql)
        .bind(signed(grouped.question().project.0))
        .bind(reading.tables.level_name(level))
        .bind(range.start)
        .bind(range.end)
        .fetch_all(&mut *reading.connection)
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, unsigned(row.try_get(1)?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    const NEVER: Horizons = Horizons { ten_seconds_s: 0, minute_s: 0, hour_s: 0 };

    fn part(level: Level, from_s: i64, to_s: i64) -> Part {
        Part { level, from_s, to_s, buckets: None, above: None }
    }

    fn whole(part: &Part) -> Window {
        Window { from_s: part.from_s, to_s: part.to_s, step_s: part.to_s - part.from_s }
    }

    #[test]
    fn a_range_is_days_with_parts_of_days_at_its_ends_and_without_what_is_not_over() {
        let part = part(Level::Hour, 16 * HOUR, 3 * DAY + 9 * HOUR);
        let found = spans(whole(&part), &part, &NEVER, 3 * DAY + 7 * HOUR + 1);
        let hours = [16, 17, 18, 24, 48, 72, 78, 79].map(|hour| hour * HOUR);
        assert_eq!(found, hours.windows(2).map(|pair| (pair[0], pair[1])).collect::<Vec<Span>>());
    }

    #[test]
    fn a_span_lies_in_one_step() {
        let part = part(Level::Hour, 0, 2 * DAY);
        let steps = |step_s| spans(Window { from_s: 0, to_s: 2 * DAY, step_s }, &part, &NEVER, 9 * DAY).len();
        assert_eq!([steps(2 * DAY), steps(DAY), steps(6 * HOUR), steps(HOUR)], [2, 2, 8, 48]);
    }

    #[test]
    fn what_may_be_dropped_is_not_remembered() {
        let part = part(Level::Hour, 0, 2 * DAY);
        let horizons = Horizons { hour_s: DAY, ..NEVER };
        assert_eq!(spans(whole(&part), &part, &horizons, 9 * DAY), [(DAY, 2 * DAY)]);
    }

    #[test]
    fn minutes_that_are_not_ten_are_left_out() {
        let edge = part(Level::Minute, 60 * 7, 60 * 34);
        assert_eq!(spans(whole(&edge), &edge, &NEVER, HOUR), [(600, 1200), (1200, 1800)]);
        let short = part(Level::Minute, 60 * 7, 60 * 13);
        assert_eq!(spans(whole(&short), &short, &NEVER, HOUR), []);
        assert_eq!(spans(whole(&short), &part(Level::TenSeconds, 0, HOUR), &NEVER, HOUR), []);
    }
}
