//! Which level of the rollups answers which part of a range.
//!
//! Arrives: a [`Window`] and since when each level is kept. Leaves: segments that cover it without gap or overlap, each to be
//! read from the coarsest table whose buckets lie wholly inside one step.
//!
//! ```text
//! 09:58:40      10:00                     14:00   14:07  14:07:30
//!    ├─10s─┬─1m──┼───────────1h─────────────┼──1m───┼──10s──┤       one step: the edges are finer than the middle
//! ```
//!
//! Promises: the answer does not depend on the choice. A segment is exact, because what a coarse level does not have yet is
//! taken from the finer one by offset ([`crate::history`]); a time whose fine level is gone is never answered from it.
//! Does not: read anything.

use axum::http::StatusCode;

use crate::error::ApiError;
use crate::query::{BUCKET_S, Window, show_span};

/// A width of stored buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Complete up to the cursors.
    TenSeconds,
    /// A minute or so behind.
    Minute,
    /// Some minutes more.
    Hour,
}

impl Level {
    /// From fine to coarse.
    pub const ALL: [Level; 3] = [Level::TenSeconds, Level::Minute, Level::Hour];

    /// As the database calls it.
    pub fn name(self) -> &'static str {
        match self {
            Level::TenSeconds => "10s",
            Level::Minute => "1m",
            Level::Hour => "1h",
        }
    }

    /// Width of a bucket.
    pub fn width_s(self) -> i64 {
        match self {
            Level::TenSeconds => BUCKET_S,
            Level::Minute => 60,
            Level::Hour => 3_600,
        }
    }

    fn down(self, second: i64) -> i64 {
        second - second.rem_euclid(self.width_s())
    }

    fn up(self, second: i64) -> i64 {
        self.down(second + self.width_s() - 1)
    }
}

/// Since when each level is complete: Unix seconds, whole days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Horizons {
    /// Of ten seconds.
    pub ten_seconds_s: i64,
    /// Of minutes.
    pub minute_s: i64,
    /// Of hours: what is older is gone.
    pub hour_s: i64,
}

impl Horizons {
    /// The finest level that is kept of a second.
    pub fn finest_at(&self, second: i64) -> Level {
        if second >= self.ten_seconds_s {
            Level::TenSeconds
        } else if second >= self.minute_s {
            Level::Minute
        } else {
            Level::Hour
        }
    }

    /// The narrowest step that a window from that second on can have.
    pub fn step_s_min(&self, from_s: i64) -> i64 {
        self.finest_at(from_s).width_s()
    }

    /// The window of one step that covers this one and begins and ends with whole buckets of what is kept there.
    pub fn widen(&self, window: Window) -> Window {
        let (mut from_s, mut to_s) = (window.from_s, window.to_s);
        for level in [Level::Minute, Level::Hour] {
            if self.finest_at(from_s) >= level {
                from_s = level.down(from_s);
            }
            if self.finest_at(level.down(to_s)) >= level {
                to_s = level.up(to_s);
            }
        }
        Window { from_s, to_s, step_s: to_s - from_s }
    }
}

/// A part of a window that is read from one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Which one.
    pub level: Level,
    /// First second, a multiple of the level's width.
    pub from_s: i64,
    /// First second after it, likewise.
    pub to_s: i64,
}

/// The steps of the window are finer than what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the steps are finer than what is kept")]
pub struct TooFine {
    /// Since when each level is kept.
    pub horizons: Horizons,
    /// The narrowest step that would do.
    pub step_s_min: i64,
}

impl TooFine {
    /// What the caller is told.
    pub fn to_api(self) -> ApiError {
        let since_s = match self.step_s_min {
            60 => self.horizons.ten_seconds_s,
            _ => self.horizons.minute_s,
        };
        let since = jiff::Timestamp::from_second(since_s).map_or_else(|_| since_s.to_string(), |time| time.to_string());
        let step = show_span(self.step_s_min);
        let message = format!(
            "times before {since} are only kept in buckets of {step}; use a `step` that is a multiple of {step}, or a later \
             `from`"
        );
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "step_too_fine", message)
    }
}

/// Covers a window, ascending.
pub fn plan(window: Window, horizons: Horizons) -> Result<Vec<Segment>, TooFine> {
    let mut segments = Vec::new();
    cover(window, horizons, Level::Hour, window.from_s, window.to_s, &mut segments);
    for segment in &segments {
        let finest = horizons.finest_at(segment.from_s);
        if segment.level < finest {
            return Err(TooFine { horizons, step_s_min: finest.width_s() });
        }
    }
    Ok(segments)
}

/// Covers `[from, to)` with buckets of this level and, at the edges, finer ones.
fn cover(window: Window, horizons: Horizons, level: Level, from_s: i64, to_s: i64, segments: &mut Vec<Segment>) {
    if from_s >= to_s {
        return;
    }
    let finer = match level {
        Level::TenSeconds => return segments.push(Segment { level, from_s, to_s }),
        Level::Minute => Level::TenSeconds,
        Level::Hour => Level::Minute,
    };
    let (inner_from_s, inner_to_s) = (level.up(from_s), level.down(to_s));
    let is_worth_it = inner_to_s - inner_from_s >= worth_s(level);
    let is_needed = horizons.finest_at(from_s) >= level;
    if inner_from_s < inner_to_s && fits(window, level) && (is_worth_it || is_needed) {
        cover(window, horizons, finer, from_s, inner_from_s, segments);
        segments.push(Segment { level, from_s: inner_from_s, to_s: inner_to_s });
        cover(window, horizons, finer, inner_to_s, to_s, segments);
    } else {
        cover(window, horizons, finer, from_s, to_s, segments);
    }
}

/// Whether every bucket of the level that lies in the window lies in one of its steps.
fn fits(window: Window, level: Level) -> bool {
    window.points() == 1 || (window.from_s % level.width_s() == 0 && window.step_s % level.width_s() == 0)
}

/// Below it, reading the finer level is no dearer than finding out what the coarser one lacks.
fn worth_s(level: Level) -> i64 {
    match level {
        Level::TenSeconds => 0,
        Level::Minute => 30 * 60,
        Level::Hour => 6 * 3_600,
    }
}

/// Ascending buckets as spans `[from, to)`, neighbours joined, and at most `spans_max` of them: the nearest are joined over the
/// gap between them, which reads some rows for nothing and never a wrong one.
pub fn spans(buckets: &[i64], width_s: i64, spans_max: usize) -> Vec<(i64, i64)> {
    let mut spans: Vec<(i64, i64)> = Vec::new();
    for &bucket_s in buckets {
        match spans.last_mut() {
            Some((_, to_s)) if *to_s >= bucket_s => *to_s = (*to_s).max(bucket_s + width_s),
            _ => spans.push((bucket_s, bucket_s + width_s)),
        }
    }
    if spans.len() > spans_max.max(1) {
        let mut gaps: Vec<i64> = spans.windows(2).map(|pair| pair[1].0 - pair[0].1).collect();
        gaps.sort_unstable();
        // The widest gaps stay; of equally wide ones some may go too.
        let bridged_s = gaps[spans.len() - spans_max.max(1) - 1];
        let mut joined: Vec<(i64, i64)> = Vec::new();
        for (from_s, to_s) in spans {
            match joined.last_mut() {
                Some((_, end_s)) if from_s - *end_s <= bridged_s => *end_s = to_s,
                _ => joined.push((from_s, to_s)),
            }
        }
        return joined;
    }
    spans
}

#[cfg(test)]
mod tests;
