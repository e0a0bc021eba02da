//! `peep-faults`: which faults, how many events, and what to write where.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::Parser;
use peep_faults::campaign::{self, Run};
use peep_faults::faults::{self, Fault};
use peep_faults::report::{self, About};
use peep_faults::site::Site;

/// Breaks peep in every way we know, under load, and proves that no acknowledged event is lost or counted twice.
#[derive(Debug, Parser)]
#[command(name = "peep-faults", version, arg_required_else_help = true)]
struct Arguments {
    /// List the faults.
    #[arg(long)]
    list: bool,
    /// Run all of them.
    #[arg(long, conflicts_with_all = ["fault", "short"])]
    all: bool,
    /// Run the short selection that `make test` runs.
    #[arg(long, conflicts_with = "fault")]
    short: bool,
    /// Run these: F01 or F01,F06.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    fault: Vec<String>,
    /// Acknowledged events for each fault.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    events: u64,
    /// Where chance begins; printed with every verdict.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Where the processes of failed runs leave what they said.
    #[arg(long, value_name = "DIR", default_value = "target/faults")]
    logs: PathBuf,
    /// Write the results here as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table of the results here; into a page with markers for it, between them.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list {
        for fault in faults::all() {
            println!("{}  {}", fault.id, fault.title);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let faults = choose(&arguments)?;
    let seed = arguments.seed.unwrap_or_else(|| std::process::id().into());
    let runs = run_all(faults, arguments.events, seed, arguments.logs.clone()).await;
    let about = About { date: date(), commit: commit(), events: arguments.events };
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report::json(&runs, &about))?;
        std::fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(path) = &arguments.markdown {
        let page = std::fs::read_to_string(path).ok();
        let text = report::into_page(page.as_deref(), &report::markdown(&runs, &about));
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    let failed: Vec<&str> = runs.iter().filter(|run| !run.passed()).map(|run| run.id).collect();
    println!(
        "\n{} of {} faults passed{}",
        runs.len() - failed.len(),
        runs.len(),
        match failed.len() {
            0 => String::new(),
            _ => format!("; failed: {}", failed.join(", ")),
        }
    );
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn choose(arguments: &Arguments) -> anyhow::Result<Vec<Fault>> {
    let mut known = faults::all();
    if arguments.all {
        return Ok(known);
    }
    let wanted: Vec<&str> =
        if arguments.short { faults::SHORT.to_vec() } else { arguments.fault.iter().map(String::as_str).collect() };
    for id in &wanted {
        anyhow::ensure!(known.iter().any(|fault| fault.id == *id), "there is no fault {id}; --list names them");
    }
    known.retain(|fault| wanted.contains(&fault.id));
    anyhow::ensure!(!known.is_empty(), "name faults with --fault, or take --all");
    Ok(known)
}

async fn run_all(faults: Vec<Fault>, events: u64, seed: u64, logs: PathBuf) -> Vec<Run> {
    let site = Site::new(logs);
    let mut runs = Vec::new();
    for fault in faults {
        println!("{} {} …", fault.id, fault.title);
        let run = campaign::run(&site, fault, events, seed).await;
        println!("{}", report::line(&run));
        runs.push(run);
    }
    runs
}

fn date() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty=+"]).output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
