//! Query strings to questions that cannot be wrong.
//!
//! Arrives: decoded `name=value` pairs and the present moment. Leaves: one type per endpoint whose values are checked,
//! aligned to what is stored, and bounded. Promises: an unknown or repeated parameter, or a value out of bounds, is an
//! error that names the parameter and says what to write instead; nothing is dropped or corrected silently. Does not:
//! read a clock, know HTTP beyond the error type, or touch the database.

mod books;

mod compare;

mod distributions;

mod findings;

mod parameters;

mod suggest;

mod time;

use std::sync::Arc;

use peep_wire::histogram::Quantile;
use peep_wire::method::Method;

use crate::error::ApiError;
use crate::labels::{Dimension, Filters, GroupBy, StatusFilter};
use crate::levels::Horizons;

pub use self::books::{FiringsQuery, ReconcileQuery, RejectsQuery, RejectsSummaryQuery};
pub use self::compare::{CompareQuery, Side};
pub use self::distributions::{DiffersQuery, HeatmapQuery, ReleasesQuery, Selection};
pub use self::findings::FindingsQuery;
pub use self::parameters::Parameters;
pub use self::suggest::{SuggestQuery, Suggested};
use self::time::{Moment, parse_moment, parse_span_ms};

/// Width of a stored bucket: the finest step of history.
pub const BUCKET_S: i64 = 10;

/// A stretch of time in whole steps, `[from, to)`; both ends are multiples of the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// First second.
    pub from_s: i64,
    /// First second after it.
    pub to_s: i64,
    /// Width of one step; the whole window for answers without steps.
    pub step_s: i64,
}

impl Window {
    /// How many steps.
    pub fn points(&self) -> i64 {
        (self.to_s - self.from_s) / self.step_s
    }

    /// First second of the step that holds this second, `None` outside of the window.
    pub fn step_of(&self, second: i64) -> Option<i64> {
        let inside = (self.from_s..self.to_s).contains(&second);
        inside.then(|| self.from_s + (second - self.from_s).div_euclid(self.step_s) * self.step_s)
    }

    /// Seconds of it that have passed: what a rate divides by, so that an open last step does not look like a dip. All of them when
    /// it lies in the future, or when its newest event does by more than clocks differ.
    pub fn elapsed_s(&self, now_ms: i64, newest_ms: Option<i64>) -> f64 {
        let (from_ms, to_ms) = (self.from_s * 1000, self.to_s * 1000);
        let newest_ms = newest_ms.unwrap_or(now_ms);
        let is_ahead = now_ms <= from_ms || newest_ms > now_ms + CLOCKS_DIFFER_MS;
        let end_ms = if is_ahead { to_ms } else { to_ms.min(now_ms.max(newest_ms)) };
        (end_ms - from_ms).max(ELAPSED_MS_MIN) as f64 / 1000.0
    }
}

/// A range and its steps as they were asked for. Which window that is depends on what is still kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    range: Range,
    steps: Steps,
}

/// How a range is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Steps {
    /// Not at all.
    One,
    /// As the caller says, seconds.
    Of(i64),
    /// As a chart can show.
    Default,
}

impl Asked {
    /// A range without steps, for questions that nobody typed.
    pub fn whole(from_ms: i64, to_ms: i64) -> Self {
        Self { range: Range { from_ms, to_ms, slides: true }, steps: Steps::One }
    }

    /// The same in steps.
    pub fn in_steps(from_ms: i64, to_ms: i64, step_s: i64) -> Self {
        Self { range: Range { from_ms, to_ms, slides: true }, steps: Steps::Of(step_s) }
    }

    /// One step from one moment to the next, Unix seconds, which stay where they are.
    pub fn between(from_s: i64, to_s: i64) -> Self {
        Self { range: Range { from_ms: from_s * 1000, to_ms: to_s * 1000, slides: false }, steps: Steps::One }
    }

    /// The same in steps of this width, seconds.
    pub fn between_in_steps(from_s: i64, to_s: i64, step_s: i64) -> Self {
        Self { steps: Steps::Of(step_s), ..Self::between(from_s, to_s) }
    }

    /// The window that is answered, as fine as what is kept allows.
    pub fn window(&self, horizons: &Horizons) -> Result<Window, ApiError> {
        match self.steps {
            Steps::One => Ok(horizons.widen(self.range.whole())),
            Steps::Of(step_s) => self.range.in_steps(step_s),
            Steps::Default => Ok(self.range.in_default_steps(horizons)),
        }
    }
}

/// `GET /v1/services`
#[derive(Debug, Clone, PartialEq)]
pub struct ServicesQuery {
    /// One step: the whole window.
    pub asked: Asked,
    /// `env`, `version` and `host` can be set.
    pub filters: Filters,
}

/// `GET /v1/summary`
#[derive(Debug, Clone, PartialEq)]
pub struct SummaryQuery {
    /// One step: the whole window.
    pub asked: Asked,
    /// Which series take part.
    pub filters: Filters,
    /// One row per group.
    pub group_by: GroupBy,
    /// Asked quantiles.
    pub quantiles: Quantiles,
}

/// `GET /v1/series`
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesQuery {
    /// With the step asked for, or the default one.
    pub asked: Asked,
    /// Which series take part.
    pub filters: Filters,
    /// `None`: one series of everything.
    pub group_by: Option<GroupBy>,
    /// Asked quantiles.
    pub quantiles: Quantiles,
}

/// `GET /v1/live`: equal queries of one project share a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LiveQuery {
    /// Which series take part.
    pub filters: Filters,
    /// One row per group.
    pub group_by: GroupBy,
    /// Slot width.
    pub step_s: i64,
    /// How much time is on screen, whole steps.
    pub window_s: i64,
    /// Asked quantiles.
    pub quantiles: Quantiles,
    /// The viewer may see no other environment than the one in the filters, not even by name.
    pub env_bound: bool,
}

/// `GET /v1/events`
#[derive(Debug, Clone, PartialEq)]
pub struct EventsQuery {
    /// Oldest moment, inclusive.
    pub from_ms: i64,
    /// Newest moment, exclusive.
    pub to_ms: i64,
    /// Which series take part.
    pub filters: Filters,
    /// Only events at least this long.
    pub duration_us_min: Option<i64>,
    /// Only events at most this long.
    pub duration_us_max: Option<i64>,
    /// Only events that contain this text.
    pub text: Option<String>,
    /// Only events of this trace.
    pub trace_id: Option<[u8; 16]>,
    /// Where the previous page ended.
    pub cursor: Option<String>,
    /// Page size.
    pub limit: usize,
}

/// Quantiles in the order asked, without repetitions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Quantiles(Arc<[Quantile]>);

impl Quantiles {
    /// What the list of services shows.
    pub fn usual() -> Self {
        Self([Quantile::P50, Quantile::P90, Quantile::P95, Quantile::P99].into())
    }

    /// What live charts draw unless told otherwise.
    pub fn of_a_chart() -> Self {
        Self([Quantile::P50, Quantile::P95, Quantile::P99].into())
    }

    /// What a heatmap draws on top unless told otherwise.
    pub fn of_a_heatmap() -> Self {
        Self([Quantile::P50, Quantile::P99].into())
    }

    /// In the order asked.
    pub fn as_slice(&self) -> &[Quantile] {
        &self.0
    }
}

impl ServicesQuery {
    /// Reads `from`, `to`, `env`, `version`, `host`.
    pub fn parse(parameters: &Parameters, now_ms: i64) -> Result<Self, ApiError> {
        parameters.only(&["from", "to", "env", "version", "host"])?;
        let asked = Asked { range: Range::parse(parameters, now_ms)?, steps: Steps::One };
        let filters = filters(parameters)?;
        Ok(Self { asked, filters })
    }
}

impl SummaryQuery {
    /// Reads the range, the filters, `group_by` and `quantiles`.
    pub fn parse(parameters: &Parameters, now_ms: i64) -> Result<Self, ApiError> {
        parameters.only(&[
            "from",
            "to",
            "env",
            "service",
            "route",
            "method",
            "status",
            "version",
            "host",
            "group_by",
            "quantiles",
        ])?;
        Ok(Self {
            asked: Asked { range: Range::parse(parameters, now_ms)?, steps: Steps::One },
            filters: filters(parameters)?,
            group_by: group_by(parameters)?.unwrap_or_else(|| GroupBy::new([Dimension::Service])),
            quantiles: quantiles(parameters)?.unwrap_or_else(Quantiles::usual),
        })
    }
}

impl SeriesQuery {
    /// Reads the range, the filters, `step`, `group_by` and `quantiles`.
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
            "group_by",
            "quantiles",
        ])?;
        let range = Range::parse(parameters, now_ms)?;
        let asked = Asked { range, steps: step_s(parameters)?.map_or(Steps::Default, Steps::Of) };
        // Too many points are refused here, whatever is kept.
        asked.window(&Horizons::default())?;
        Ok(Self {
            asked,
            filters: filters(parameters)?,
            group_by: group_by(parameters)?,
            quantiles: quantiles(parameters)?.unwrap_or_else(Quantiles::usual),
        })
    }
}

/// `GET /v1/freshness`
#[derive(Debug, Clone, PartialEq)]
pub struct FreshnessQuery {
    /// With the step asked for, or the default one.
    pub asked: Asked,
}

impl FreshnessQuery {
    /// Reads the range and `step`.
    pub fn parse(parameters: &Parameters, now_ms: i64) -> Result<Self, ApiError> {
        parameters.only(&["from", "to", "step"])?;
        let range = Range::parse_with_default(parameters, now_ms, FRESHNESS_RANGE_DEFAULT_MS)?;
        let asked = Asked { range, steps: step_s(parameters)?.map_or(Steps::Default, Steps::Of) };
        asked.window(&Horizons::default())?;
        Ok(Self { asked })
    }
}

impl LiveQuery {
    /// Reads the filters, `group_by`, `window`, `step` and `quantiles`. `since` is the subscriber's and `ticket` the viewer's, not
    /// the topic's.
    pub fn parse(parameters: &Parameters) -> Result<Self, ApiError> {
        parameters.only(&[
            "env",
            "service",
            "route",
            "method",
            "status",
            "group_by",
            "window",
            "step",
            "quantiles",
            "since",
            "ticket",
        ])?;
        let group_by = group_by_any_of(parameters, Dimension::NAMES_LIVE)?;
        let group_by = group_by.unwrap_or_else(|| GroupBy::new([Dimension::Service]));
        if group_by.has(Dimension::Version) || group_by.has(Dimension::Host) {
            let why = "versions and hosts are counted with each flush and not live; ask `/v1/series`";
            return Err(ApiError::invalid_parameter("group_by", why));
        }
        let step_s = step_s(parameters)?.unwrap_or(BUCKET_S);
        let window_ms = match parameters.one("window")? {
            None => 900_000,
            Some(text) => parse_span_ms(text).map_err(|why| ApiError::invalid_parameter("window", why))?,
        };
        let step_ms = step_s * 1000;
        if window_ms % step_ms != 0 || window_ms == 0 {
            let why = format!("must be a multiple of the step, {step_s} s");
            return Err(ApiError::invalid_parameter("window", why));
        }
        if window_ms / step_ms > LIVE_SLOTS_MAX {
            let why = format!(
                "holds {} steps of {step_s} s, at most {LIVE_SLOTS_MAX} are drawn live; use a wider `step`",
                window_ms / step_ms
            );
            return Err(ApiError::invalid_parameter("window", why));
        }
        Ok(Self {
            filters: filters(parameters)?,
            group_by,
            step_s,
            window_s: window_ms / 1000,
            quantiles: quantiles(parameters)?.unwrap_or_else(Quantiles::of_a_chart),
            env_bound: false,
        })
    }

    /// The slots on screen at a moment: whole steps, the open one included.
    pub fn window_at(&self, now_ms: i64) -> Window {
        let to_s = (now_ms.div_euclid(self.step_s * 1000) + 1) * self.step_s;
        Window { from_s: to_s - self.window_s, to_s, step_s: self.step_s }
    }
}

impl EventsQuery {
    /// Reads the range, the filters, `min_duration_ms`, `max_duration_ms`, `text` (or `q`), `trace_id`, `cursor` and `limit`.
    pub fn parse(parameters: &Parameters, now_ms: i64) -> Result<Self, ApiError> {
        parameters.only(&[
            "from",
            "to",
            "env",
            "service",
            "route",
            "method",
            "status",
            "version",
            "host",
            "min_duration_ms",
            "max_duration_ms",
            "text",
            "q",
            "trace_id",
            "cursor",
            "limit",
        ])?;
        let range = Range::parse_with_default(parameters, now_ms, EVENTS_RANGE_DEFAULT_MS)?;
        let limit = match parameters.one("limit")? {
            None => EVENTS_LIMIT_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=EVENTS_LIMIT_MAX).contains(limit))
                .ok_or_else(|| invalid("limit", text, &format!("write a number from 1 to {EVENTS_LIMIT_MAX}")))?,
        };
        let trace_id = parameters
            .one("trace_id")?
            .map(|text| trace_id(text).ok_or_else(|| invalid("trace_id", text, "write 32 hexadecimal digits")))
            .transpose()?;
        Ok(Self {
            from_ms: range.from_ms,
            to_ms: range.to_ms,
            filters: filters(parameters)?,
            duration_us_min: duration_us(parameters, "min_duration_ms")?.map(|us| us.ceil() as i64),
            duration_us_max: duration_us(parameters, "max_duration_ms")?.map(|us| us.floor() as i64),
            text: searched_text(parameters)?,
            trace_id,
            cursor: parameters.one("cursor")?.map(str::to_owned),
            limit,
        })
    }
}

impl EventsQuery {
    /// The newest event of a trace, at most that old.
    pub fn newest_of_trace(trace_id: [u8; 16], filters: Filters, from_ms: i64, to_ms: i64) -> Self {
        Self {
            from_ms,
            to_ms,
            filters,
            duration_us_min: None,
            duration_us_max: None,
            text: None,
            trace_id: Some(trace_id),
            cursor: None,
            limit: 1,
        }
    }
}

/// What was asked, before it is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    from_ms: i64,
    to_ms: i64,
    /// "The last so much": whole steps are counted back from the end, so that their number does not change with the
    /// moment of asking. Otherwise the window covers the named moment.
    slides: bool,
}

impl Range {
    fn parse(parameters: &Parameters, now_ms: i64) -> Result<Self, ApiError> {
        Self::parse_with_default(parameters, now_ms, RANGE_DEFAULT_MS)
    }

    fn parse_with_default(parameters: &Parameters, now_ms: i64, default_ms: i64) -> Result<Self, ApiError> {
        let moment = |name: &'static str, default: Moment| match parameters.one(name)? {
            None => Ok(default),
            Some(text) => parse_moment(text).map_err(|why| ApiError::invalid_parameter(name, why)),
        };
        let from = moment("from", Moment::BeforeNow(default_ms))?;
        let to = moment("to", Moment::BeforeNow(0))?;
        let range = Self::between(from.at(now_ms), to.at(now_ms))?;
        Ok(Self { slides: matches!(from, Moment::BeforeNow(_)), ..range })
    }

    fn between(from_ms: i64, to_ms: i64) -> Result<Self, ApiError> {
        if from_ms >= to_ms {
            let why = format!("must be before `to`; {from_ms} is not before {to_ms} (Unix milliseconds)");
            return Err(ApiError::invalid_parameter("from", why));
        }
        if to_ms - from_ms > RANGE_MS_MAX {
            return Err(ApiError::too_wide("the range is longer than 400 days; move `from` closer to `to`"));
        }
        Ok(Self { from_ms, to_ms, slides: false })
    }

    fn whole(&self) -> Window {
        let window = self.aligned(BUCKET_S);
        Window { step_s: window.to_s - window.from_s, ..window }
    }

    fn in_steps(&self, step_s: i64) -> Result<Window, ApiError> {
        let window = self.aligned(step_s);
        if window.points() <= POINTS_MAX {
            return Ok(window);
        }
        let suggestion = show_span(self.in_default_steps(&Horizons::default()).step_s);
        Err(ApiError::too_wide(format!(
            "`step` would give {} points, at most {POINTS_MAX} are answered; use `step={suggestion}` or a shorter range",
            window.points()
        )))
    }

    fn in_default_steps(&self, horizons: &Horizons) -> Window {
        let fits = |step_s: &&i64| {
            let window = self.aligned(**step_s);
            window.points() <= POINTS_DEFAULT_MAX && **step_s % horizons.step_s_min(window.from_s) == 0
        };
        let step_s = STEPS_S.iter().find(fits).unwrap_or(&STEPS_S[STEPS_S.len() - 1]);
        self.aligned(*step_s)
    }

    fn aligned(&self, step_s: i64) -> Window {
        let step_ms = step_s * 1000;
        let up = |ms: i64| ms.div_euclid(step_ms) + i64::from(ms.rem_euclid(step_ms) > 0);
        let to = up(self.to_ms);
        let from = if self.slides { to - up(self.to_ms - self.from_ms) } else { self.from_ms.div_euclid(step_ms) };
        Window { from_s: from * step_s, to_s: to * step_s, step_s }
    }
}

fn step_s(parameters: &Parameters) -> Result<Option<i64>, ApiError> {
    let Some(text) = parameters.one("step")? else { return Ok(None) };
    let step_ms = parse_span_ms(text).map_err(|why| ApiError::invalid_parameter("step", why))?;
    if step_ms == 0 || step_ms % (BUCKET_S * 1000) != 0 {
        return Err(invalid("step", text, "write a multiple of 10 s, such as `10s` or `1m`"));
    }
    if step_ms > RANGE_MS_MAX {
        return Err(invalid("step", text, "write at most `400d`"));
    }
    Ok(Some(step_ms / 1000))
}

/// Reads the filters that the endpoint takes; `!` before a value excludes it.
fn filters(parameters: &Parameters) -> Result<Filters, ApiError> {
    let status = |text: &str| {
        status_filter(text)
            .ok_or_else(|| invalid("status", text, "write a status such as `502`, a class such as `5xx`, or `unknown`"))
    };
    // Empty asks for requests without one, as the keys of groups show it.
    let method = |text: &String| {
        let method = Method::from_name(text);
        if method == Method::OTHER && text != Method::OTHER.as_str() {
            return Err(invalid("method", text, "write a standard HTTP method such as `GET`, or `_OTHER`"));
        }
        Ok(method.as_str().to_owned())
    };
    let of = |excluded: bool| -> Result<Filters, ApiError> {
        let texts = |name| Ok::<_, ApiError>(split(texts(parameters, name)?, excluded));
        Ok(Filters {
            env: texts("env")?,
            service: texts("service")?,
            route: texts("route")?,
            method: texts("method")?.iter().map(method).collect::<Result<_, _>>()?,
            status: texts("status")?.iter().map(|text| status(text)).collect::<Result<_, _>>()?,
            version: texts("version")?,
            host: texts("host")?,
            without: None,
        })
    };
    let without = Some(of(true)?).filter(|without| !without.is_empty()).map(Box::new);
    Ok(Filters { without, ..of(false)? })
}

/// Those with a `!` in front, without it, or the others.
fn split(values: Vec<String>, excluded: bool) -> Vec<String> {
    let wanted = |value: String| match value.strip_prefix('!') {
        Some(refused) => excluded.then(|| refused.to_owned()),
        None => (!excluded).then_some(value),
    };
    values.into_iter().filter_map(wanted).collect()
}

/// A parameter that may be repeated: any of the values. Sorted, so that equal questions are equal values.
fn texts(parameters: &Parameters, name: &'static str) -> Result<Vec<String>, ApiError> {
    let mut values: Vec<String> = parameters.all(name).map(str::to_owned).collect();
    if values.len() > FILTER_VALUES_MAX {
        return Err(ApiError::invalid_parameter(name, format!("given more than {FILTER_VALUES_MAX} times")));
    }
    let may_be_empty = matches!(name, "method" | "status" | "version" | "host");
    if !may_be_empty && values.iter().any(|value| value.is_empty() || value == "!") {
        return Err(ApiError::invalid_parameter(name, "is empty; leave it out to ask for all"));
    }
    if values.iter().any(|value| value.contains('\0')) {
        return Err(ApiError::invalid_parameter(name, "contains a zero byte, which no label has"));
    }
    values.sort_unstable();
    values.dedup();
    Ok(values)
}

fn status_filter(text: &str) -> Option<StatusFilter> {
    match text.as_bytes() {
        b"unknown" | b"" => Some(StatusFilter::Class(0)),
        [class @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'] => Some(StatusFilter::Class(class - b'0')),
        [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9'] => {
            text.parse().ok().filter(|status| (100..=599).contains(status)).map(StatusFilter::Exact)
        }
        _ => None,
    }
}

fn group_by(parameters: &Parameters) -> Result<Option<GroupBy>, ApiError> {
    group_by_any_of(parameters, Dimension::NAMES)
}

/// `names` are those to advise.
fn group_by_any_of(parameters: &Parameters, names: &str) -> Result<Option<GroupBy>, ApiError> {
    let Some(text) = parameters.one("group_by")? else { return Ok(None) };
    if text.is_empty() {
        return Ok(Some(GroupBy::default()));
    }
    let expected = || format!("write any of {names}, separated by commas");
    let dimension = |name: &str| Dimension::from_name(name).ok_or_else(|| invalid("group_by", name, &expected()));
    let dimensions: Vec<Dimension> = text.split(',').map(dimension).collect::<Result<_, _>>()?;
    Ok(Some(GroupBy::new(dimensions)))
}

fn quantiles(parameters: &Parameters) -> Result<Option<Quantiles>, ApiError> {
    let Some(text) = parameters.one("quantiles")? else { return Ok(None) };
    let mut quantiles: Vec<Quantile> = Vec::new();
    for part in text.split(',') {
        let quantile = part.parse().map_err(|error| ApiError::invalid_parameter("quantiles", format!("{error}")))?;
        if !quantiles.contains(&quantile) {
            quantiles.push(quantile);
        }
    }
    if quantiles.len() > QUANTILES_MAX {
        return Err(ApiError::invalid_parameter("quantiles", format!("asks for more than {QUANTILES_MAX}")));
    }
    Ok(Some(Quantiles(quantiles.into())))
}

fn duration_us(parameters: &Parameters, name: &'static str) -> Result<Option<f64>, ApiError> {
    let Some(text) = parameters.one(name)? else { return Ok(None) };
    let duration_ms: f64 = text
        .parse()
        .ok()
        .filter(|ms: &f64| ms.is_finite() && (0.0..=3_600_000.0).contains(ms))
        .ok_or_else(|| invalid(name, text, "write milliseconds from 0 to 3600000"))?;
    Ok(Some(duration_ms * 1000.0))
}

/// `text`, which was once called `q`.
fn searched_text(parameters: &Parameters) -> Result<Option<String>, ApiError> {
    let text = match (parameters.one("text")?, parameters.one("q")?) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid_parameter("q", "is `text` by another name; give one of them"));
        }
        (text, q) => text.or(q),
    };
    if text.is_some_and(|text| text.contains('\0')) {
        return Err(ApiError::invalid_parameter("text", "contains a zero byte, which no event has"));
    }
    Ok(text.filter(|text| !text.is_empty()).map(str::to_owned))
}

/// 32 hexadecimal digits.
pub fn trace_id(text: &str) -> Option<[u8; 16]> {
    let hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)).flatten()
}

fn invalid(name: &str, text: &str, fix: &str) -> ApiError {
    let shown: String = text.chars().take(60).collect();
    ApiError::invalid_parameter(name, format!("`{shown}` cannot be used; {fix}"))
}

/// `90` to `90s`, `3600` to `1h`.
pub fn show_span(seconds: i64) -> String {
    match seconds {
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// A newest event that is further ahead is meant to be.
const CLOCKS_DIFFER_MS: i64 = 10_000;
/// A rate over less says nothing.
const ELAPSED_MS_MIN: i64 = 1_000;
const RANGE_DEFAULT_MS: i64 = 15 * 60_000;
const FRESHNESS_RANGE_DEFAULT_MS: i64 = 86_400_000;
const EVENTS_RANGE_DEFAULT_MS: i64 = 24 * 3_600_000;
const RANGE_MS_MAX: i64 = 400 * 86_400_000;
/// Steps to choose from: 1 h at 10 s, 6 h at 1 min, 24 h at 5 min, 7 d at 1 h and 30 d at 6 h are at most 360 points.
const STEPS_S: [i64; 8] = [10, 30, 60, 300, 600, 3600, 6 * 3600, 86_400];
/// As many points as a chart of 1440 px can show apart.
const POINTS_DEFAULT_MAX: i64 = 360;
/// For explicit steps: a day at 10 s, for exports.
const POINTS_MAX: i64 = 8640;
const LIVE_SLOTS_MAX: i64 = 360;
const FILTER_VALUES_MAX: usize = 50;
const QUANTILES_MAX: usize = 10;
const EVENTS_LIMIT_DEFAULT: usize = 100;
const EVENTS_LIMIT_MAX: usize = 1000;

#[cfg(test)]
mod tests;
