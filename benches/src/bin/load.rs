//! `peep-load`: made-up traffic of a web shop, for demonstrations and measurements.
//!
//! Open loop: events happen by the clock and the seed, never by how fast ingest answers; latencies count from the time
//! at which a batch should have left. `--backfill` sends history first, as fast as ingest takes it. Ends with a table
//! and with exit code 1 when anything that was sent was not accepted.

#[path = "../load/books.rs"]
mod books;
#[path = "../load/catalog.rs"]
mod catalog;
#[path = "../load/client.rs"]
mod client;
#[path = "../load/incidents.rs"]
mod incidents;
#[path = "../load/random.rs"]
mod random;
#[path = "../load/run.rs"]
mod run;
#[path = "../load/schedule.rs"]
mod schedule;
#[path = "../load/sender.rs"]
mod sender;
#[path = "../load/traffic.rs"]
mod traffic;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// Send made-up traffic of a web shop to peep
#[derive(Debug, Parser)]
#[command(
    name = "peep-load",
    after_help = "The ingest key is read from PEEP_INGEST_KEY. Exit codes: 0 everything sent was accepted, 1 something was not, 64 usage."
)]
pub(crate) struct Options {
    /// Where ingest listens
    #[arg(long, env = "PEEP_INGEST_URL", default_value = "http://127.0.0.1:4318")]
    url: String,

    /// Events per second, on average: traffic comes in waves of some minutes; --steady keeps it level
    #[arg(long, default_value_t = 500.0, value_parser = rate)]
    rate: f64,

    /// How long: 30s, 10m, 1h, 0s, or forever (until Ctrl-C)
    #[arg(long = "duration", visible_alias = "for", default_value = "30s", value_parser = length)]
    length: Length,

    /// Events per request
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=5000))]
    batch: u32,

    /// A batch leaves after this long even if it is not full
    #[arg(long, default_value = "250ms", value_parser = length)]
    linger: Length,

    /// Connections, each with a producer identity of its own
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    connections: u32,

    /// Send this much history first
    #[arg(long, value_parser = length, value_name = "LENGTH")]
    backfill: Option<Length>,

    /// Same seed, same traffic
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Environment to name in the events (default: that of the key)
    #[arg(long = "env-name", value_name = "ENV")]
    env_name: Option<String>,

    /// Evenly spaced events, no waves, no incidents: for measurements
    #[arg(long)]
    steady: bool,

    /// Try a batch again for this long before it counts as failed; 0s = never again
    #[arg(long, default_value = "10s", value_parser = length)]
    retry_for: Length,

    /// No progress lines
    #[arg(long)]
    quiet: bool,
}

/// A length of time on the command line; `None` is forever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length(Option<Duration>);

impl Length {
    pub(crate) fn finite(self) -> Option<Duration> {
        self.0
    }
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let Some(key) = std::env::var("PEEP_INGEST_KEY").ok().filter(|key| !key.trim().is_empty()) else {
        eprintln!("peep-load: no ingest key: set PEEP_INGEST_KEY (make dev writes one to .peep/dev.env)");
        return ExitCode::from(64);
    };
    // One thread: the generator must not take more of the machine than the service under test.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("peep-load: start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run::run(&options, &key)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("peep-load: {error:#}");
            ExitCode::from(64)
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e7 => Ok(rate),
        _ => Err("events per second: more than 0, at most 10000000".to_owned()),
    }
}

fn length(text: &str) -> Result<Length, String> {
    if text == "forever" {
        return Ok(Length(None));
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a number and ms, s, m or h, such as 30s".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a number and ms, s, m or h, such as 30s".to_owned())?;
    let milliseconds = number.checked_mul(unit_ms).filter(|&ms| ms <= 30 * 86_400_000).ok_or("at most 30 days")?;
    Ok(Length(Some(Duration::from_millis(milliseconds))))
}

#[cfg(test)]
#[path = "../load/tests.rs"]
mod tests;
