//! `peep log …`: how far each partition is counted, and what to do when its log is not the one that was counted.
//!
//! `status` only reads. `accept-break` says what is wrong and what going on costs, asks, and only then moves the cursor.

use std::fmt::Write as _;
use std::future::Future;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use peep_chassis::config::{ProcessEnv, Settings};
use peep_chassis::database::DatabaseConfig;
use peep_log::{Backend, Log, LogConfig, Offset, Partition, Topic, Watermarks};
use peep_rollup::breaks::{self, PartitionRow, Plan, ResumeAt};
use sqlx::postgres::PgPool;
use tokio::time::timeout;

use crate::cli::{AcceptBreak, LogCommand};
use crate::configuration::print;
use crate::schema;

/// # Errors
/// When the configuration makes no sense, the database or the log cannot be reached, or there is nothing to accept.
pub(crate) fn main(command: LogCommand) -> anyhow::Result<ExitCode> {
    match command {
        LogCommand::Status => with_log(async |pool, log| status(&pool, &*log).await),
        LogCommand::AcceptBreak(arguments) => with_log(async |pool, log| accept_break(&pool, &*log, &arguments).await),
    }
}

fn with_log<F: Future<Output = anyhow::Result<()>>>(
    work: impl FnOnce(PgPool, Arc<dyn Log>) -> F,
) -> anyhow::Result<ExitCode> {
    let mut settings = Settings::new(&ProcessEnv);
    let _ = DatabaseConfig::read(&mut settings);
    let config = LogConfig::read(&mut settings);
    settings.finish()?;
    anyhow::ensure!(
        config.backend != Backend::Memory,
        "PEEP_LOG=memory: there is no log that another process could read"
    );
    schema::with_database("peep-log", async |pool| {
        let log = peep_log::open(&config, Topic::Events, &pool).await.context("open the log")?;
        let outcome = work(pool, Arc::clone(&log)).await;
        log.close().await;
        outcome
    })
}

async fn status(pool: &PgPool, log: &dyn Log) -> anyhow::Result<()> {
    let rows = breaks::status(pool).await.context("read the cursors")?;
    if rows.is_empty() {
        return print("no partition has been counted yet\n");
    }
    let mut table = String::new();
    let heads = ["PARTITION", "STATE", "GENERATION", "CURSOR", "LOG BEGINS", "LOG ENDS", "LAG", "EPOCH", "OWNER"];
    let _ = writeln!(table, "{}", line(&heads.map(str::to_owned)));
    let mut notes = String::new();
    for row in &rows {
        let range = match timeout(WATERMARKS_WAIT, log.watermarks(Partition(row.partition))).await {
            Ok(Ok(Watermarks { low, high })) => Some((low, high)),
            Ok(Err(_)) | Err(_) => seen(row, &mut notes),
        };
        let next = row.next.offset();
        let or_unknown = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
        let state = match (&row.broken_reason, &row.owner) {
            (Some(_), _) => "BROKEN",
            (None, Some(_)) => "running",
            (None, None) => "unowned",
        };
        let cells = [
            row.partition.to_string(),
            state.to_owned(),
            row.next.generation().to_string(),
            next.to_string(),
            or_unknown(range.map(|(low, _)| low.0)),
            or_unknown(range.map(|(_, high)| high.0)),
            or_unknown(range.map(|(_, high)| high.0.saturating_sub(next.0))),
            row.epoch.to_string(),
            row.owner.clone().unwrap_or_else(|| "-".to_owned()),
        ];
        let _ = writeln!(table, "{}", line(&cells));
        if let Some(reason) = &row.broken_reason {
            let since = row.broken_s.map_or_else(String::new, |seconds| format!(" for {seconds} s"));
            let _ = writeln!(notes, "partition {} is broken{since}: {reason}", row.partition);
            let _ = writeln!(
                notes,
                "  `peep log accept-break --partition {}` says what going on would cost",
                row.partition
            );
        }
    }
    if !notes.is_empty() {
        table.push('\n');
        table.push_str(&notes);
    }
    print(&table)
}

/// What the owner saw last, when the log does not answer.
fn seen(row: &PartitionRow, notes: &mut String) -> Option<(Offset, Offset)> {
    let (low, high, age_s) = row.seen?;
    let _ = writeln!(notes, "partition {}: the log does not answer; as its owner saw it {age_s} s ago", row.partition);
    Some((low.offset(), high.offset()))
}

fn line(cells: &[String; 9]) -> String {
    let [partition, state, generation, cursor, low, high, lag, epoch, owner] = cells;
    format!(
        "{partition:>9}  {state:<8} {generation:>10} {cursor:>13} {low:>13} {high:>13} {lag:>9} {epoch:>14}  {owner}"
    )
}

async fn accept_break(pool: &PgPool, log: &dyn Log, arguments: &AcceptBreak) -> anyhow::Result<()> {
    let examined = breaks::examine(pool, log, arguments.partition).await?;
    let resume = arguments.resume_at.map_or(ResumeAt::Best, |at| at.0);
    let plan = examined.plan(resume)?;
    print(&offer(&plan))?;
    if !arguments.yes && !agreed(plan.partition)? {
        anyhow::bail!("nothing was changed");
    }
    let by = arguments.by.clone().unwrap_or_else(whoever);
    breaks::accept(pool, log, &plan, &by).await?;
    print(&format!("accepted by {by}: partition {} goes on at {}\n", plan.partition, plan.after))
}

fn offer(plan: &Plan) -> String {
    let mut text = format!("partition {}: {} ({})\n", plan.partition, plan.reason, plan.kind);
    let _ = writeln!(text, "  counting goes on at {}", plan.after);
    let _ = match plan.records_lost {
        Some(0) => writeln!(text, "  no record that was acknowledged is lost by it"),
        Some(lost) => writeln!(text, "  {lost} records that were acknowledged will never be counted"),
        None => writeln!(
            text,
            "  acknowledged records that were not counted before the log changed are lost; nobody can know how many"
        ),
    };
    if plan.records_read_again > 0 {
        let _ = writeln!(
            text,
            "  up to {} records are read again: batches with an identity are recognised and counted once, others twice",
            plan.records_read_again
        );
    }
    text.push_str("  what was counted before stays counted; the break stays in the books\n");
    text
}

fn agreed(partition: u32) -> anyhow::Result<bool> {
    anyhow::ensure!(std::io::stdin().is_terminal(), "not asked, because there is no terminal; `--yes` agrees");
    print(&format!("Type {partition} to accept: "))?;
    std::io::stdout().flush().context("ask")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("read the answer")?;
    Ok(answer.trim() == partition.to_string())
}

/// Who sits there, as far as the environment knows.
fn whoever() -> String {
    let of = |name| std::env::var(name).ok().filter(|name: &String| !name.is_empty());
    of("SUDO_USER").or_else(|| of("USER")).or_else(|| of("LOGNAME")).unwrap_or_else(|| "unknown".to_owned())
}

const WATERMARKS_WAIT: Duration = Duration::from_secs(5);
