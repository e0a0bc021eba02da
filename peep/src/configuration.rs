//! All settings of all services in one place: read, checked, printed.
//!
//! What arrives: the environment. What leaves: a [`Configuration`] for the services that will run, or one line per problem and exit
//! code 64; on request a table of effective values, or the Markdown reference in `docs/configuration.md`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use peep_chassis::config::{ConfigErrors, Env, ProcessEnv, Setting, Settings};
use peep_chassis::database::DatabaseConfig;
use peep_chassis::keys::KeysConfig;
use peep_chassis::telemetry::TelemetryConfig;
use peep_log::LogConfig;

use crate::services::{Service, ServiceConfigs};

/// What a service process needs to know.
pub(crate) struct Configuration {
    pub(crate) telemetry: TelemetryConfig,
    pub(crate) admin: SocketAddr,
    /// Between turning not ready and closing listeners.
    pub(crate) shutdown_delay: Duration,
    pub(crate) database: DatabaseConfig,
    pub(crate) log: LogConfig,
    pub(crate) keys: KeysConfig,
    pub(crate) services: ServiceConfigs,
}

impl Configuration {
    pub(crate) fn read(settings: &mut Settings<'_>, services: &[Service]) -> Self {
        Self {
            telemetry: TelemetryConfig::read(settings),
            admin: settings.address(
                ADMIN_LISTEN,
                "127.0.0.1:9464",
                "Address of the admin port: metrics, health, readiness. It asks for no key: keep it off public networks.",
            ),
            shutdown_delay: settings.duration_ms(
                "PEEP_SHUTDOWN_DELAY",
                0,
                0..=30_000,
                "How long to go on serving after turning not ready at shutdown. A few seconds behind a load balancer that is \
                 slow to notice; 0 stops at once. Add it to the grace period of whoever stops the process.",
            ),
            database: DatabaseConfig::read(settings),
            log: LogConfig::read(settings),
            keys: KeysConfig::read(settings),
            services: ServiceConfigs::read(settings, services),
        }
    }

    /// The configuration and its table, or every problem.
    ///
    /// # Errors
    /// [`ConfigErrors`], which [`exit_code`] turns into 64.
    pub(crate) fn from_env(env: &dyn Env, services: &[Service]) -> Result<(Self, Vec<Setting>), ConfigErrors> {
        let mut settings = Settings::new(env);
        let configuration = Self::read(&mut settings, services);
        configuration.refuse_shared_addresses(&mut settings);
        warn_of_misspelt(&settings);
        for contradiction in configuration.contradictions() {
            eprintln!("peep: warning: {contradiction}");
        }
        Ok((configuration, settings.finish()?))
    }
}

impl Configuration {
    /// Two listeners at one port: the second would find it taken by this very process.
    fn refuse_shared_addresses(&self, settings: &mut Settings<'_>) {
        let listeners: Vec<(&str, SocketAddr)> =
            [(ADMIN_LISTEN, self.admin)].into_iter().chain(self.services.listeners()).collect();
        for (at, (name, address)) in listeners.iter().enumerate() {
            if let Some((other, _)) = listeners[..at].iter().find(|(_, other)| overlap(*other, *address)) {
                settings.problem(name, format!("\"{address}\" is the address of {other} too; give each its own port"));
            }
        }
    }

    /// What can be meant and rarely is: values that fit each by itself, and not each other.
    fn contradictions(&self) -> Vec<String> {
        self.services.contradictions(&self.log, &self.database)
    }
}

/// Whether a socket at one would keep the other from being had. Port 0 is another one each time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (any || one.ip() == other.ip())
}

/// Just the database, for commands that need nothing else.
///
/// # Errors
/// [`ConfigErrors`].
pub(crate) fn database() -> anyhow::Result<DatabaseConfig> {
    let mut settings = Settings::new(&ProcessEnv);
    let database = DatabaseConfig::read(&mut settings);
    settings.finish()?;
    Ok(database)
}

/// `peep check-config`.
///
/// # Errors
/// [`ConfigErrors`].
pub(crate) fn main(markdown: bool) -> anyhow::Result<ExitCode> {
    if markdown {
        print(&reference())?;
        return Ok(ExitCode::SUCCESS);
    }
    let (_, settings) = Configuration::from_env(&ProcessEnv, &Service::ALL)?;
    let changed = settings.iter().filter(|setting| setting.effective != setting.default).count();
    print(&format!("OK: {} settings, {changed} of them not at their default\n", settings.len()))?;
    Ok(ExitCode::SUCCESS)
}

/// 64 for a configuration that makes no sense, 1 for everything else that went wrong.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    let nonsense = error.chain().any(|cause| cause.is::<ConfigErrors>());
    if nonsense { ExitCode::from(ConfigErrors::EXIT_CODE) } else { ExitCode::FAILURE }
}

/// Effective values as aligned columns.
pub(crate) fn table(settings: &[Setting]) -> String {
    let header = ["NAME", "VALUE", "DEFAULT"];
    let cells = |setting: &Setting| [setting.name.to_owned(), shown(&setting.effective), shown(&setting.default)];
    let widths: [usize; 3] = std::array::from_fn(|column| {
        let longest = settings.iter().map(|setting| cells(setting)[column].len()).max().unwrap_or(0);
        longest.max(header[column].len())
    });
    let line = |cells: [&str; 3], meaning: &str| {
        let [name, value, default] = cells;
        format!("{name:0$}  {value:1$}  {default:2$}  {meaning}\n", widths[0], widths[1], widths[2])
    };
    let rows = settings.iter().map(|setting| line(cells(setting).each_ref().map(String::as_str), setting.meaning));
    std::iter::once(line(header, "MEANING")).chain(rows).collect()
}

fn shown(value: &str) -> String {
    if value.is_empty() { "(empty)".to_owned() } else { value.to_owned() }
}

/// `docs/configuration.md`, from the same registry as everything else.
pub(crate) fn reference() -> String {
    let nothing_set = std::collections::BTreeMap::<String, String>::new();
    let mut settings = Settings::new(&nothing_set);
    Configuration::read(&mut settings, &Service::ALL);
    let mut page = INTRODUCTION.to_owned();
    for setting in settings.registered() {
        let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        let accepts = setting.accepts.replace('|', "\\|");
        let meaning = setting.meaning.replace('|', "\\|").replace('<', "&lt;");
        let _ = writeln!(page, "| `{}` | {default} | {accepts} | {meaning} |", setting.name);
    }
    page
}

const ADMIN_LISTEN: &str = "PEEP_ADMIN_LISTEN";

const INTRODUCTION: &str = "\
# Configuration

Every setting is an environment variable. An empty value counts as not set. Sizes are written `65536`, `64KiB`, `8MiB`; spans of
time `250ms`, `10s`, `5min`, `24h`, `7d`, or as a number of milliseconds. A value that makes no sense stops the process
before it binds a port, with exit code 64 and one line per problem.

`peep up --print-config` prints this table with the values in effect; `peep check-config` only checks. This page is generated:
`peep check-config --markdown > docs/configuration.md`.

| variable | default | accepts | meaning |
| --- | --- | --- | --- |
";

/// A misspelt name is silently the default otherwise. A warning and not an error: other programs may own the prefix too.
fn warn_of_misspelt(settings: &Settings<'_>) {
    for (written, meant) in settings.misspelt() {
        eprintln!("peep: warning: {written} is not a setting; did you mean {meant}?");
    }
}

/// To standard output; a closed pipe (`| head`) is an error and not a panic.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).context("write to standard output")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(extra: &[(&'static str, &'static str)]) -> Result<Configuration, ConfigErrors> {
        let mut env = BTreeMap::from([("DATABASE_URL", "postgres://peep@127.0.0.1/peep")]);
        env.extend(extra.iter().copied());
        Configuration::from_env(&env, &Service::ALL).map(|(configuration, _)| configuration)
    }

    #[test]
    fn the_defaults_do_not_contradict_each_other() {
        assert_eq!(read(&[]).expect("they make sense").contradictions(), Vec::<String>::new());
    }

    #[test]
    fn two_listeners_at_one_port_are_refused_by_name() {
        for address in ["127.0.0.1:4318", "0.0.0.0:4318"] {
            let refused = read(&[("PEEP_STREAM_LISTEN", address)]).err().expect("one port").to_string();
            assert!(refused.contains("PEEP_STREAM_LISTEN") && refused.contains("PEEP_INGEST_LISTEN"), "{refused}");
        }
        assert!(read(&[("PEEP_STREAM_LISTEN", "127.0.0.2:4318")]).is_ok(), "another address");
    }

    #[test]
    fn values_that_do_not_fit_each_other_are_told() {
        for (name, value) in [
            ("PEEP_INGEST_EVENT_AGE_MAX", "500d"),
            ("PEEP_INGEST_EVENT_AHEAD_MAX", "24h"),
            ("PEEP_INGEST_APPEND_TIMEOUT", "1s"),
            ("PEEP_STREAM_QUERIES_MAX", "1000"),
        ] {
            let told = read(&[(name, value)]).expect("each makes sense by itself").contradictions();
            assert!(matches!(&told[..], [one] if one.starts_with(name)), "{told:?}");
        }
    }
}
