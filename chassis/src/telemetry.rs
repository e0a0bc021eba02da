//! What a process says about itself: log lines on standard error and the metrics recorder.
//!
//! Log lines are JSON for machines by default and text for people on request. Standard error, so that the standard output of
//! a command stays its answer. A panic becomes an error line like any other.
//!
//! Metrics are recorded through the `metrics` macros and rendered by the admin port. Histograms always have explicit buckets:
//! without them the exporter would fall back to summaries, whose quantiles cannot be merged across processes.
//!
//! Not done: traces, pushing anything anywhere, sampling of log lines.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::config::Settings;
use crate::exposition::{Exposition, Format, to_openmetrics};

/// How and what to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryConfig {
    pub text: bool,
    pub filter: String,
}

impl TelemetryConfig {
    pub fn read(settings: &mut Settings<'_>) -> Self {
        let format = settings.choice(
            "PEEP_TELEMETRY_FORMAT",
            "json",
            &["json", "text"],
            "Form of log lines: json for machines, text for people.",
        );
        let filter = settings.string(
            FILTER,
            "info",
            "Which log lines appear, as level or target=level pairs: info, or info,peep_ingest=debug.",
        );
        if let Err(error) = EnvFilter::try_new(&filter) {
            settings.problem(FILTER, format!("{filter:?} is not a filter: {error}"));
        }
        Self { text: format == "text", filter }
    }
}

/// Starts logging. Once per process; a second call (tests) changes nothing.
pub fn init(config: &TelemetryConfig) {
    // The server's notices ("already exists, skipping") are its small talk. Named first, so that a filter can ask for them.
    let filter = format!("sqlx::postgres::notice=warn,{}", config.filter);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_timer(SystemTime);
    let started = if config.text {
        // Colours are for a terminal; in a file they are noise.
        lines.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init()
    } else {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
}

fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("panic with a payload that is not text");
    tracing::error!(place, "panic: {message}");
}

/// A histogram and its upper bucket bounds.
pub type Buckets = (&'static str, &'static [f64]);

/// Installs the recorder behind the `metrics` macros. Call before any service holds a metric handle.
///
/// # Errors
/// When a recorder is already installed, or a bucket list is empty.
pub fn install_metrics(buckets: &[Buckets]) -> Result<MetricsHandle, metrics_exporter_prometheus::BuildError> {
    let builder = prometheus(buckets)?;
    let handle = MetricsHandle { prometheus: builder.install_recorder()?, exposition: Exposition::default() };
    crate::metrics::describe();
    Ok(handle)
}

/// A recorder for one test, to be used with `metrics::with_local_recorder`, and the handle that renders it.
///
/// # Errors
/// When a bucket list is empty.
pub fn local_metrics(
    buckets: &[Buckets],
) -> Result<(metrics_exporter_prometheus::PrometheusRecorder, MetricsHandle), metrics_exporter_prometheus::BuildError> {
    let recorder = prometheus(buckets)?.build_recorder();
    let handle = MetricsHandle { prometheus: recorder.handle(), exposition: Exposition::default() };
    Ok((recorder, handle))
}

/// Renders what was recorded.
#[derive(Clone)]
pub struct MetricsHandle {
    prometheus: PrometheusHandle,
    exposition: Exposition,
}

impl MetricsHandle {
    /// The Prometheus text format, with the process metrics as of now.
    pub fn render(&self) -> String {
        self.render_as(Format::Text)
    }

    /// The same as a scraper wants it.
    pub fn render_as(&self, format: Format) -> String {
        crate::metrics::observe_process();
        crate::tally::collect();
        let mut recorded = self.prometheus.render();
        if format == Format::OpenMetrics {
            let mut converted = String::with_capacity(recorded.len());
            to_openmetrics(&recorded, &mut converted);
            recorded = converted;
        }
        self.exposition.write(format, &mut recorded);
        if format == Format::OpenMetrics {
            recorded.push_str("# EOF\n");
        }
        recorded
    }

    /// Where services add what is made at the scrape.
    pub fn exposition(&self) -> &Exposition {
        &self.exposition
    }

    /// Moves recorded samples into the histograms; call every few seconds, or samples pile up until the next scrape.
    pub fn upkeep(&self) {
        crate::tally::collect();
        self.prometheus.run_upkeep();
    }
}

fn prometheus(buckets: &[Buckets]) -> Result<PrometheusBuilder, metrics_exporter_prometheus::BuildError> {
    let mut builder = PrometheusBuilder::new().set_buckets(SECONDS)?;
    for (name, bounds) in buckets {
        builder = builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), bounds)?;
    }
    Ok(builder)
}

const FILTER: &str = "PEEP_TELEMETRY_FILTER";

/// For a histogram nobody chose buckets for: from half a millisecond (one commit) to ten seconds (every deadline is shorter).
const SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn histograms_are_rendered_with_buckets_and_never_as_summaries() {
        let (recorder, handle) = local_metrics(&[("peep_test_seconds", &[0.1, 1.0])]).expect("buckets are not empty");
        ::metrics::with_local_recorder(&recorder, || {
            ::metrics::histogram!("peep_test_seconds").record(0.5);
            ::metrics::histogram!("peep_other_seconds").record(0.5);
        });
        let text = handle.prometheus.render();
        assert!(text.contains("peep_test_seconds_bucket{le=\"0.1\"} 0"), "{text}");
        assert!(text.contains("peep_test_seconds_bucket{le=\"1\"} 1"), "{text}");
        assert!(text.contains("peep_other_seconds_bucket{le=\"0.5\"} 1"), "{text}");
        assert!(!text.contains("quantile"), "{text}");
    }

    #[test]
    fn a_filter_that_cannot_be_parsed_is_a_problem() {
        let env = BTreeMap::from([("PEEP_TELEMETRY_FILTER", "peep=loud")]);
        let mut settings = Settings::new(&env);
        TelemetryConfig::read(&mut settings);
        let errors = settings.finish().expect_err("loud is no level");
        assert!(errors.to_string().starts_with("PEEP_TELEMETRY_FILTER: \"peep=loud\" is not a filter"), "{errors}");
    }
}
