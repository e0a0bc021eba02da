//! What is asked of distributions: a heatmap, what differs in a part of it, and when releases began.

use super::{
    Asked, BUCKET_S, Parameters, Quantiles, Range, Steps, Window, filters, invalid, quantiles, show_span, step_s,
};
use crate::error::ApiError;
use crate::labels::Filters;
use crate::levels::Horizons;

/// `GET /v1/heatmap`
#[derive(Debug, Clone, PartialEq)]
pub struct HeatmapQuery {
    /// With the step asked for, or the default one.
    pub asked: Asked,
    /// Which series take part.
    pub filters: Filters,
    /// Lines to draw over it.
    pub quantiles: Quantiles,
}

/// `GET /v1/differs`
#[derive(Debug, Clone, PartialEq)]
pub struct DiffersQuery {
    /// What the selection is a part of.
    pub asked: Asked,
    /// Which series take part.
    pub filters: Filters,
    /// The selection.
    pub selection: Selection,
}

/// A rectangle of a heatmap, `[from, to)` in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// One step.
    pub asked: Asked,
    /// Shortest duration, a bound of the histograms' buckets.
    pub us_min: u64,
    /// Shortest duration that is too long, likewise.
    pub us_max: u64,
}

/// `GET /v1/releases`
#[derive(Debug, Clone, PartialEq)]
pub struct ReleasesQuery {
    /// Earliest first event, Unix milliseconds.
    pub from_ms: i64,
    /// First moment that is too late.
    pub to_ms: i64,
    /// Only `env` and `service` can be set.
    pub filters: Filters,
}

impl HeatmapQuery {
    /// Reads the range, the filters, `step` and `quantiles`.
    pub fn parse(parameters: &Parameters, now_ms: i64) -> Result<Self, ApiError> {
        parameters.only(&[
            "from",
            "to",
            "step",
            "env",
            "service",
            "route",
            "method",
            "status",
            "version",
            "host",
            "quantiles",
        ])?;
        let range = Range::parse(parameters, now_ms)?;
        let asked = Asked { range, steps: step_s(parameters)?.map_or(Steps::Default, Steps::Of) };
        let window = asked.window(&Horizons::default())?;
        if window.points() > COLUMNS_MAX {
            let suggestion = show_span(range.in_default_steps(&Horizons::default()).step_s);
            let message = format!(
                "`step` would give {} columns, at most {COLUMNS_MAX} are answered; use `step={suggestion}` or a shorter range",
                window.points()
            );
            return Err(ApiError::too_wide(message));
        }
        let quantiles = quantiles(parameters)?.unwrap_or_else(Quantiles::of_a_heatmap);
        Ok(Self { asked, filters: filters(parameters)?, quantiles })
    }
}

impl DiffersQuery {
    /// Reads the range, the filters and `sel`.
    pub fn parse(parameters: &Parameters, now_ms: i64) -> Result<Self, ApiError> {
        parameters.only(&["from", "to", "env", "service", "route", "method", "status", "version", "host", "sel"])?;
        let asked = Asked { range: Range::parse(parameters, now_ms)?, steps: Steps::One };
        let whole = asked.window(&Horizons::default())?;
        let text = parameters.one("sel")?.ok_or_else(|| {
            let why = "is missing; write `from,to` in Unix milliseconds and `shortest,longest` in µs: `t0,t1,us0,us1`";
            ApiError::invalid_parameter("sel", why)
        })?;
        let selection = Selection::parse(text, whole)?;
        Ok(Self { asked, filters: filters(parameters)?, selection })
    }
}

impl Selection {
    /// Widens what was drawn to whole stored buckets of time and of duration.
    fn parse(text: &str, whole: Window) -> Result<Self, ApiError> {
        let fix = "write four whole numbers: `t0,t1` in Unix milliseconds and `us0,us1` in µs, each pair ascending";
        let numbers: Vec<i64> = text.split(',').filter_map(|number| number.trim().parse().ok()).collect();
        let [from_ms, to_ms, us_min, us_max] = numbers[..] else { return Err(invalid("sel", text, fix)) };
        let are_numbers = text.split(',').count() == numbers.len();
        let in_order = from_ms < to_ms && us_min < us_max && us_min >= 0 && (0..=YEAR_9999_MS).contains(&to_ms);
        if !are_numbers || !in_order {
            return Err(invalid("sel", text, fix));
        }
        let bucket_ms = BUCKET_S * 1000;
        let from_s = (from_ms.div_euclid(bucket_ms) * BUCKET_S).max(whole.from_s);
        let to_s = ((to_ms + bucket_ms - 1).div_euclid(bucket_ms) * BUCKET_S).min(whole.to_s);
        if from_s >= to_s {
            return Err(invalid("sel", text, "its time has to lie within `from` and `to`"));
        }
        let us_min = peep_wire::histogram::bucket_start(us_min.cast_unsigned());
        let us_max = peep_wire::histogram::bucket_end(us_max.cast_unsigned() - 1);
        let range = Range { from_ms: from_s * 1000, to_ms: to_s * 1000, slides: false };
        Ok(Self { asked: Asked { range, steps: Steps::One }, us_min, us_max })
    }
}

impl ReleasesQuery {
    /// Reads the range, `env` and `service`.
    pub fn parse(parameters: &Parameters, now_ms: i64) -> Result<Self, ApiError> {
        parameters.only(&["from", "to", "env", "service"])?;
        let range = Range::parse_with_default(parameters, now_ms, RELEASES_RANGE_DEFAULT_MS)?;
        // Also a first event of a machine whose clock is ahead.
        let to_ms = if parameters.one("to")?.is_none() { range.to_ms + 60_000 } else { range.to_ms };
        Ok(Self { from_ms: range.from_ms, to_ms, filters: filters(parameters)? })
    }
}

/// As many as a chart can show apart.
const COLUMNS_MAX: i64 = 720;
const RELEASES_RANGE_DEFAULT_MS: i64 = 7 * 24 * 3_600_000;
const YEAR_9999_MS: i64 = 253_402_300_799_000;
