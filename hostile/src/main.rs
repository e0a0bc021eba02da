//! `peep-hostile`: which cases, and what to write where.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::Parser;
use peep_hostile::campaign::{self, Run};
use peep_hostile::cases::{self, Case};
use peep_hostile::report::{self, About};
use peep_hostile::site::Site;

/// Sends peep what no honest client would, and proves that the answer is the defined one, that it costs little, and that an
/// honest client beside it does not notice.
#[derive(Debug, Parser)]
#[command(name = "peep-hostile", version, arg_required_else_help = true)]
struct Arguments {
    /// List the cases.
    #[arg(long)]
    list: bool,
    /// Run all of them.
    #[arg(long, conflicts_with_all = ["case", "short"])]
    all: bool,
    /// Run those that need no other programs and little time.
    #[arg(long, conflicts_with = "case")]
    short: bool,
    /// Run these: H03 or H03,H05 or H03b.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    case: Vec<String>,
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
        for case in cases::all() {
            println!("{:4}  {}: {}", case.id, case.title, case.expects);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let runs = run_all(choose(&arguments)?).await;
    let about = About { date: date(), commit: commit() };
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
    let failures = if failed.is_empty() { String::new() } else { format!("; failed: {}", failed.join(", ")) };
    println!("\n{} of {} cases passed{failures}", runs.len() - failed.len(), runs.len());
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `H03` names all its parts, `H03b` one.
fn choose(arguments: &Arguments) -> anyhow::Result<Vec<Case>> {
    let mut known = cases::all();
    if arguments.all {
        return Ok(known);
    }
    let is_named = |case: &Case, id: &str| {
        case.id.strip_prefix(id).is_some_and(|part| !part.starts_with(|c: char| c.is_ascii_digit()))
    };
    for id in &arguments.case {
        anyhow::ensure!(known.iter().any(|case| is_named(case, id)), "there is no case {id}; --list names them");
    }
    known.retain(|case| match arguments.short {
        true => !case.long,
        false => arguments.case.iter().any(|id| is_named(case, id)),
    });
    anyhow::ensure!(!known.is_empty(), "name cases with --case, or take --all or --short");
    Ok(known)
}

async fn run_all(cases: Vec<Case>) -> Vec<Run> {
    let site = Site::default();
    let mut runs = Vec::new();
    for case in cases {
        let run = campaign::run(&site, case).await;
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
