//! `peep verify`: has the oracle count the log again and says whether the tables agree.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use peep_chassis::config::{ProcessEnv, Settings};
use peep_chassis::database::DatabaseConfig;
use peep_log::{Backend, Log, LogConfig, Topic};
use peep_verify::{Options, Progress, Report, Rules};

use crate::cli::Verify;
use crate::configuration::print;
use crate::schema;

/// What to verify with, out of the environment.
struct Configuration {
    database: DatabaseConfig,
    log: LogConfig,
    rollup: peep_rollup::Config,
}

/// Exit code 0 when everything agrees, 1 when it does not.
///
/// # Errors
/// When the configuration makes no sense, or log or database cannot be read.
pub(crate) fn main(arguments: &Verify) -> anyhow::Result<ExitCode> {
    let mut settings = Settings::new(&ProcessEnv);
    let configuration = Configuration {
        database: DatabaseConfig::read(&mut settings),
        log: LogConfig::read(&mut settings),
        rollup: peep_rollup::Config::read(&mut settings),
    };
    settings.finish()?;
    anyhow::ensure!(configuration.log.backend != Backend::Memory, "PEEP_LOG=memory: such a log ends with its process");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let report = runtime.context("start the runtime")?.block_on(run(&configuration, arguments))?;
    if arguments.json {
        print(&format!("{}\n", serde_json::to_string(&report).context("write the report")?))?;
    } else {
        print(&format!("{report}\n"))?;
    }
    Ok(if report.equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run(configuration: &Configuration, arguments: &Verify) -> anyhow::Result<Report> {
    let mut connection = schema::connect(configuration.database.connect_options("peep-verify")).await?;
    let missing = schema::missing(&mut connection).await?;
    drop(connection);
    anyhow::ensure!(missing.is_empty(), "the database schema is behind this build; run `peep migrate`");
    let pool = configuration.database.pool("peep-verify");
    let log = peep_log::open(&configuration.log, Topic::Events, &pool).await.context("open the log")?;
    let options = Options {
        rules: rules(&configuration.rollup, &log),
        partitions: (!arguments.partitions.is_empty()).then(|| arguments.partitions.clone()),
        differences_max: arguments.differences_max,
        cells_max: arguments.cells_max,
    };
    let mut display = Display::new();
    let verified = peep_verify::verify(&*log, &pool, &options, &mut |progress| display.show(progress)).await;
    display.end();
    log.close().await;
    pool.close().await;
    Ok(verified?)
}

/// The rollup's settings, as the oracle calls them.
fn rules(config: &peep_rollup::Config, log: &Arc<dyn Log>) -> Rules {
    let limits = config.partition_limits(log.partitions());
    Rules {
        event_age_max: config.event_age_max,
        event_ahead_max: config.event_ahead_max,
        dedup_retention: config.dedup_retention,
        producers_max: limits.dedup.producers_max,
        dedup_bytes_max: limits.dedup.bytes_max,
        series_max: limits.series.series_max,
        series_total_max: limits.series.total_max,
        facets_max: limits.facets.per_scope_max,
        facets_total_max: limits.facets.total_max,
        folds_max: limits.series.folds_max,
        letters_kept: config.retention_1m,
        books_kept: config.retention_1h,
    }
}

/// Progress on standard error: one line that changes on a terminal, a line now and then elsewhere.
struct Display {
    terminal: bool,
    shown_at: Instant,
    shown: bool,
}

impl Display {
    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), shown_at: Instant::now(), shown: false }
    }

    fn show(&mut self, progress: Progress) {
        let pause = if self.terminal { Duration::from_millis(200) } else { Duration::from_secs(10) };
        if self.shown_at.elapsed() < pause {
            return;
        }
        (self.shown_at, self.shown) = (Instant::now(), true);
        let Progress { partition, records, records_total } = progress;
        let line = format!("peep: partition {partition}: {records} of {records_total} records read");
        let (start, end) = if self.terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        // Nobody reads on: no reason to stop.
        let _ = write!(std::io::stderr(), "{start}{line}{end}");
    }

    fn end(&self) {
        if self.terminal && self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
