//! Counters by label set: pure state, no I/O, no clock of its own.
//!
//! Arrives: cells of committed frames, rows of the rollups, kept events as exemplars. Leaves: metric families as text. Promises: what a
//! label set shows only grows as long as it is kept; a new one shows 0 first; label values are escaped, so that any text comes out
//! as it went in. Beyond three quarters of the bound a new route is counted as `(other)` of its service, beyond all of it as
//! `(other)` altogether: the sum over all label sets is exact in any case.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use foldhash::HashMap;
use peep_chassis::exposition::{Format, bound_text, write_head, write_label_value};
use peep_wire::ProjectId;
use peep_wire::histogram::Histogram;
use peep_wire::live::LiveFrame;
use peep_wire::record::SeriesKey;

use super::PrometheusLimits;
use crate::figures::StatusClass;
use crate::freshness;
use crate::labels::Labels;
use crate::metrics;

/// What tells counters apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LabelSet {
    /// `None`: of several.
    project: Option<ProjectId>,
    env: Arc<str>,
    service: Arc<str>,
    route: Arc<str>,
    method: Arc<str>,
    /// One of [`StatusClass::NAMES`].
    class: &'static str,
}

impl LabelSet {
    pub(super) fn of(project: ProjectId, labels: &Labels<'_>) -> Self {
        Self {
            project: Some(project),
            env: labels.env.into(),
            service: labels.service.into(),
            route: labels.route.into(),
            method: labels.method.into(),
            class: StatusClass::of(labels.status).name(),
        }
    }

    fn of_service(&self) -> Self {
        Self { route: OTHER.into(), method: OTHER.into(), ..self.clone() }
    }

    fn of_all(&self) -> Self {
        Self { project: None, env: OTHER.into(), service: OTHER.into(), ..self.of_service() }
    }
}

/// A kept event that shows what a bucket holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Exemplar {
    pub(super) trace_id: [u8; 16],
    pub(super) duration_us: u64,
    pub(super) ts_ms: i64,
}

#[derive(Debug, Default)]
struct Set {
    count: u64,
    errors: u64,
    latency_count: u64,
    sum_us: u64,
    /// Not cumulative; the last one is beyond all bounds.
    buckets: [u64; BOUNDS_US.len() + 1],
    exemplars: [Option<Exemplar>; BOUNDS_US.len() + 1],
    shown_ms: Option<i64>,
    last_ms: i64,
}

/// All label sets.
pub(super) struct Counters {
    limits: PrometheusLimits,
    sets: BTreeMap<Arc<LabelSet>, Set>,
    /// Where a series of a project is counted: the bytes of a key are looked up, not read.
    by_series: HashMap<ProjectId, HashMap<Vec<u8>, Arc<LabelSet>>>,
    series_known: usize,
    project_names: BTreeMap<ProjectId, String>,
    unnamed_projects: bool,
    swept_ms: i64,
}

impl Counters {
    pub(super) fn new(limits: PrometheusLimits) -> Self {
        Self {
            limits,
            sets: BTreeMap::new(),
            by_series: HashMap::default(),
            series_known: 0,
            project_names: BTreeMap::new(),
            unnamed_projects: false,
            swept_ms: i64::MIN,
        }
    }

    pub(super) fn is_off(&self) -> bool {
        self.limits.sets_max == 0
    }

    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }

    pub(super) fn has_unnamed_projects(&self) -> bool {
        self.unnamed_projects
    }

    /// All names there are. A project that is gone is called by its number.
    pub(super) fn name_projects(&mut self, named: impl IntoIterator<Item = (u64, String)>) {
        self.project_names = named.into_iter().map(|(id, name)| (ProjectId(id), name)).collect();
        for project in self.sets.keys().filter_map(|set| set.project) {
            self.project_names.entry(project).or_insert_with(|| project.to_string());
        }
        self.unnamed_projects = false;
    }

    /// Counts a frame that is committed.
    pub(super) fn add_frame(&mut self, frame: &LiveFrame, now_ms: i64) {
        // Freshness probes are no service of anybody's.
        for cell in frame.cells.iter().filter(|cell| cell.project != freshness::PROJECT) {
            let known = self.by_series.get(&cell.project).and_then(|known| known.get(&cell.series)).cloned();
            let set = match known {
                Some(set) => set,
                None => {
                    let Ok(series) = SeriesKey::parse(&cell.series).and_then(|key| key.decode()) else {
                        metrics::live_cell_unreadable();
                        continue;
                    };
                    let set = self.admit(LabelSet::of(cell.project, &Labels::from(series)));
                    self.remember(cell.project, &cell.series, &set);
                    set
                }
            };
            self.add_to(set, cell.count, cell.errors, &cell.histogram, now_ms);
        }
    }

    /// Counts requests that share their labels.
    pub(super) fn add(&mut self, wanted: LabelSet, count: u64, errors: u64, latency: &Histogram, now_ms: i64) {
        let set = self.admit(wanted);
        self.add_to(set, count, errors, latency, now_ms);
    }

    fn add_to(&mut self, set: Arc<LabelSet>, count: u64, errors: u64, latency: &Histogram, now_ms: i64) {
        if &*set.route == OTHER {
            metrics::prometheus_folded(count);
        }
        self.unnamed_projects |= set.project.is_some_and(|project| !self.project_names.contains_key(&project));
        let set = self.sets.entry(set).or_default();
        set.count += count;
        set.errors += errors;
        set.latency_count += latency.count();
        set.sum_us = set.sum_us.saturating_add(latency.sum_us());
        set.last_ms = now_ms;
        latency.for_each(|lowest_us, _, count| set.buckets[bucket_of(lowest_us)] += count);
    }

    /// The label set that counts for this one, with the room there is.
    fn admit(&self, wanted: LabelSet) -> Arc<LabelSet> {
        let room = |share: usize| self.sets.len() < share;
        let max = self.limits.sets_max;
        let known = |set: &LabelSet| self.sets.contains_key(set);
        if known(&wanted) || room((max - max / 4).max(1)) {
            return Arc::new(wanted);
        }
        let of_service = wanted.of_service();
        Arc::new(if known(&of_service) || room(max) { of_service } else { wanted.of_all() })
    }

    fn remember(&mut self, project: ProjectId, series: &[u8], set: &Arc<LabelSet>) {
        if self.series_known >= SERIES_KNOWN_MAX {
            self.forget_series();
        }
        self.series_known += 1;
        self.by_series.entry(project).or_default().insert(series.to_vec(), Arc::clone(set));
    }

    fn forget_series(&mut self) {
        self.by_series.clear();
        self.series_known = 0;
    }

    /// Lets go of label sets without a request for a day: routes come and go over the months a process lives. One that comes back
    /// begins at 0.
    pub(super) fn forget_idle(&mut self, now_ms: i64) {
        if now_ms < self.swept_ms.saturating_add(SWEEP_INTERVAL_MS) {
            return;
        }
        self.swept_ms = now_ms;
        let before = self.sets.len();
        self.sets.retain(|_, set| set.last_ms > now_ms - IDLE_MS_MAX);
        if self.sets.len() < before {
            // Series that were counted as `(other)` may have a place now.
            self.forget_series();
        }
    }

    /// Shows an event with the bucket it lies in; the newest one stays.
    pub(super) fn show(&mut self, set: &LabelSet, exemplar: Exemplar) {
        let Some(set) = self.sets.get_mut(set) else { return };
        let shown = &mut set.exemplars[bucket_of(exemplar.duration_us)];
        if shown.as_ref().is_none_or(|shown| shown.ts_ms <= exemplar.ts_ms) {
            *shown = Some(exemplar);
        }
    }

    /// All families.
    pub(super) fn write(&mut self, format: Format, out: &mut String, now_ms: i64) {
        if self.is_off() {
            return;
        }
        let zero_for_ms = i64::try_from(self.limits.zero_for.as_millis()).unwrap_or(i64::MAX);
        let zero = Set::default();
        let mut sets: Vec<(String, &Set)> = Vec::with_capacity(self.sets.len());
        // Under a number first and a name later a project would have two series each, and the second would not begin at 0.
        let is_named = |set: &LabelSet| set.project.is_none_or(|project| self.project_names.contains_key(&project));
        for (labels, set) in self.sets.iter_mut().filter(|(labels, _)| is_named(labels)) {
            // The scrape that shows it first shows 0, and so does every other scraper that comes soon.
            let is_new = match set.shown_ms {
                None => {
                    set.shown_ms = Some(now_ms);
                    true
                }
                Some(shown_ms) => (shown_ms..shown_ms.saturating_add(zero_for_ms)).contains(&now_ms),
            };
            sets.push((labels_text(labels, &self.project_names), if is_new { &zero } else { set }));
        }
        let bounds = BOUNDS_US.map(|bound_us| bound_text(format, bound_us as f64 / 1e6));

        let name = "http_server_request_duration_seconds";
        write_head(format, out, name, "histogram", "Duration of HTTP server requests of the observed services.");
        for (labels, set) in &sets {
            let mut below = 0;
            for (index, count) in set.buckets.iter().enumerate() {
                below += count;
                let bound = bounds.get(index).map_or("+Inf", String::as_str);
                let _ = write!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
                if let (Format::OpenMetrics, Some(exemplar)) = (format, &set.exemplars[index]) {
                    write_exemplar(out, exemplar);
                }
                out.push('\n');
            }
            let _ = writeln!(out, "{name}_sum{{{labels}}} {}", set.sum_us as f64 / 1e6);
            let _ = writeln!(out, "{name}_count{{{labels}}} {}", set.latency_count);
        }
        let name = "http_server_requests_total";
        write_head(format, out, name, "counter", "Requests of the observed services, with or without a duration.");
        for (labels, set) in &sets {
            let _ = writeln!(out, "{name}{{{labels}}} {}", set.count);
        }
        let name = "http_server_request_errors_total";
        write_head(
            format,
            out,
            name,
            "counter",
            "Requests of the observed services that failed, by status or by an error text.",
        );
        for (labels, set) in &sets {
            let _ = writeln!(out, "{name}{{{labels}}} {}", set.errors);
        }
    }
}

/// The labels as they stand between the braces. Names follow OpenTelemetry's attributes as its exporters write them; the class has
/// the name of the code, so that `=~"5.."` finds it.
fn labels_text(set: &LabelSet, project_names: &BTreeMap<ProjectId, String>) -> String {
    let project = set.project.map_or(OTHER, |project| project_names.get(&project).map_or("", String::as_str));
    let labels = [
        ("project", project),
        ("env", &set.env),
        ("service", &set.service),
        ("http_route", &set.route),
        ("http_request_method", &set.method),
        ("http_response_status_code", set.class),
    ];
    let mut text = String::with_capacity(160);
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        let _ = write!(text, "{name}=\"");
        write_label_value(&mut text, value);
        text.push('"');
    }
    text
}

fn write_exemplar(out: &mut String, exemplar: &Exemplar) {
    out.push_str(" # {trace_id=\"");
    exemplar.trace_id.iter().for_each(|byte| {
        let _ = write!(out, "{byte:02x}");
    });
    let _ = write!(out, "\"}} {} {}", exemplar.duration_us as f64 / 1e6, exemplar.ts_ms as f64 / 1e3);
}

/// By the lowest value of a histogram's bucket: a duration that is exactly a bound lies below it, as `le` says, and one that is less
/// than 0.1 % above it may.
fn bucket_of(duration_us: u64) -> usize {
    BOUNDS_US.partition_point(|bound_us| *bound_us < duration_us)
}

/// What OpenTelemetry advises for `http.server.request.duration`, in µs.
const BOUNDS_US: [u64; 14] = [
    5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_500_000, 5_000_000,
    7_500_000, 10_000_000,
];
const OTHER: &str = "(other)";
/// As many as a live view remembers.
const SERIES_KNOWN_MAX: usize = 50_000;
const IDLE_MS_MAX: i64 = 86_400_000;
const SWEEP_INTERVAL_MS: i64 = 60_000;

#[cfg(test)]
mod tests;
