//! The command line, as `--help` shows it. Commands only: everything that can be configured is an environment variable.

use clap::{Args, Parser, Subcommand};
use peep_chassis::keys::{Origin, Scope};
use peep_log::Offset;
use peep_rollup::breaks::ResumeAt;

/// Observe HTTP services: exact counts and percentiles, live.
#[derive(Debug, Parser)]
#[command(name = "peep", version, arg_required_else_help = true)]
#[command(after_help = "Configuration is read from environment variables (PEEP_*, DATABASE_URL).\n\
`peep up --print-config` lists them with their values, `peep check-config` checks them.\n\
Exit codes: 0 done, 1 failed, 2 wrong arguments, 64 wrong configuration.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every service in one process: ingest, rollup, stream. Brings the database schema up to date first.
    Up(ServiceArgs),
    /// Run ingest: takes events over HTTP and appends them to the log.
    Ingest(ServiceArgs),
    /// Run rollup: turns the log into histograms in Postgres and live updates.
    Rollup(ServiceArgs),
    /// Run stream: serves the dashboard, the read API and live updates.
    Stream(ServiceArgs),
    /// Bring the database schema up to date. Safe to run twice and from several machines at once.
    Migrate,
    /// Create, list and revoke API keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Print a link that signs a browser in, once.
    LoginLink(LoginLink),
    /// List, show and replay dead letters: what was accepted and could not be counted.
    #[command(subcommand)]
    Rejects(RejectsCommand),
    /// Show how far the log is counted, and accept a log that is not the one that was counted.
    #[command(subcommand)]
    Log(LogCommand),
    /// Ship nginx or Apache access logs as events.
    Ship(Box<peep_ship::Args>),
    /// Count the log again with independent code and compare every table with it. Reads only; may run beside the services.
    Verify(Verify),
    /// Check the configuration in the environment: prints OK, or one line for each problem.
    CheckConfig(CheckConfig),
}

#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// Print every setting with its effective value (secrets redacted) and exit.
    #[arg(long)]
    pub(crate) print_config: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Create a key and print it: the only time it is shown. The project comes into being with its first key.
    Create {
        /// The project the key belongs to; nothing is visible across projects.
        #[arg(long, value_name = "NAME")]
        project: String,
        /// Bind the key to this environment; without it, events may name any. The key shows it: `peep_production_…`, `peep_any_…`.
        #[arg(long, value_name = "NAME")]
        env: Option<String>,
        /// What the key may be used for: ingest (send), read, or admin (both).
        #[arg(long)]
        scope: Scope,
        /// What people call it, in lists.
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
        /// Make a key for web pages of this origin: `https://shop.example`, or `https://*.shop.example` for one label more. May be
        /// repeated. Such a key is no secret: it can only send, and only from these pages. Needs --scope ingest.
        #[arg(long, value_name = "ORIGIN")]
        origin: Vec<Origin>,
        /// Print the key and nothing else.
        #[arg(long, short)]
        quiet: bool,
    },
    /// List keys, revoked ones included. Shows no secrets.
    List {
        /// Only the keys of this project.
        #[arg(long, value_name = "NAME")]
        project: Option<String>,
    },
    /// Revoke a key. Every process refuses it within a few seconds.
    Revoke {
        /// The id or the prefix, as `peep key list` shows them, or the whole key.
        #[arg(value_name = "ID|PREFIX")]
        which: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RejectsCommand {
    /// List dead letters, newest first.
    List {
        #[command(flatten)]
        filter: LetterFilter,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Show one dead letter: why, what is in it, and what to do.
    Show {
        /// As `peep rejects list` shows it.
        #[arg(value_name = "ID")]
        id: LetterId,
        /// Show all bytes, also when the contents can be read.
        #[arg(long)]
        hex: bool,
    },
    /// Append dead letters to the log again. A letter is counted at most once, however often it is replayed.
    Replay(Replay),
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true).args(["ids", "project", "reason", "since", "all"]))]
pub(crate) struct Replay {
    /// These letters.
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<LetterId>,
    #[command(flatten)]
    pub(crate) filter: LetterFilter,
    /// Everything that can be replayed, but batches whose identity was in doubt: name those by their ID or `--reason`.
    #[arg(long)]
    pub(crate) all: bool,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) limit: u32,
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LetterFilter {
    /// Only letters of this project.
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// Only letters with this reason; may be repeated.
    #[arg(long, value_name = "REASON")]
    pub(crate) reason: Vec<String>,
    /// Only letters that were set aside within this time, such as 24h or 7d.
    #[arg(long, value_name = "SPAN", value_parser = crate::rejects::parse_span)]
    pub(crate) since: Option<std::time::Duration>,
}

/// `partition:position:index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LetterId {
    pub(crate) partition: i32,
    pub(crate) position: i64,
    pub(crate) index: i32,
}

impl std::fmt::Display for LetterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.partition, self.position, self.index)
    }
}

impl std::str::FromStr for LetterId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write it as `peep rejects list` shows it, such as 3:88412:0";
        let mut parts = text.split(':');
        let mut part = || parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit())).ok_or(wrong);
        let (partition, position, index) = (part()?, part()?, part()?);
        if parts.next().is_some() {
            return Err(wrong);
        }
        let parse = || Some((partition.parse().ok()?, position.parse().ok()?, index.parse().ok()?));
        let (partition, position, index) = parse().ok_or(wrong)?;
        Ok(Self { partition, position, index })
    }
}

#[derive(Debug, Args)]
pub(crate) struct LoginLink {
    /// The project to look at.
    #[arg(long, value_name = "NAME")]
    pub(crate) project: String,
    /// Where the browser reaches the dashboard (default: the address in PEEP_STREAM_LISTEN).
    #[arg(long, alias = "base-url", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// How long the link can be used, in minutes.
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    pub(crate) minutes: u32,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Verifies with the rollup's settings in the environment; they have to be those the log was counted with.\n\
Exit codes: 0 no difference, 1 differences or a failure, 2 wrong arguments, 64 wrong configuration."
)]
pub(crate) struct Verify {
    /// Only this partition of the log; may be given several times.
    #[arg(long = "partition", value_name = "NUMBER")]
    pub(crate) partitions: Vec<u32>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// How many differences to describe; all are counted.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub(crate) differences_max: usize,
    /// How many series and ten-second windows of a partition to hold in memory, a few hundred bytes each.
    #[arg(long, value_name = "COUNT", default_value_t = 8_000_000)]
    pub(crate) cells_max: usize,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Show every partition: its cursor, its log, who counts it, and why not.
    Status,
    /// Go on with a partition whose log expired unread, was cut off or replaced. Says what that costs, and asks.
    AcceptBreak(AcceptBreak),
}

#[derive(Debug, Args)]
pub(crate) struct AcceptBreak {
    /// The partition, as `peep log status` shows it.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) partition: u32,
    /// Where to go on: low (the first record), high (behind the last one) or an offset. Without it, where least is lost.
    #[arg(long, value_name = "low|high|OFFSET")]
    pub(crate) resume_at: Option<ResumePlace>,
    /// Who accepts it, for the books (default: the user's name).
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// A place in a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResumePlace(pub(crate) ResumeAt);

impl std::str::FromStr for ResumePlace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(match text {
            "low" => ResumeAt::Low,
            "high" => ResumeAt::High,
            offset => ResumeAt::Offset(Offset(offset.parse().map_err(|_| "expected low, high or an offset")?)),
        }))
    }
}

#[derive(Debug, Args)]
pub(crate) struct CheckConfig {
    /// Print the reference of all settings as Markdown instead (docs/configuration.md).
    #[arg(long)]
    pub(crate) markdown: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn a_letter_is_named_as_it_is_shown() {
        let id = super::LetterId { partition: 3, position: 1 << 41, index: 0 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "3", "3:1", "3:1:0:0", "-3:1:0", "3:x:0", "3:99999999999999999999:0"] {
            assert!(wrong.parse::<super::LetterId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_replay_of_everything_has_to_be_asked_for() {
        use clap::Parser;
        let parse =
            |arguments: &[&str]| super::Cli::try_parse_from([&["peep", "rejects", "replay"], arguments].concat());
        assert!(parse(&[]).is_err() && parse(&["--dry-run"]).is_err());
        assert!(parse(&["--all"]).is_ok() && parse(&["--since", "1h"]).is_ok() && parse(&["0:1:2"]).is_ok());
    }
}
