//! `peep rejects …`: what could not be counted, for an operator: of every project, and of none.
//!
//! `list` and `show` only read. `replay` appends again what may be counted now ([`replay`]).

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use peep_stream::rejects::advice;
use peep_stream::rejects::contents::{Contents, event};
use sqlx::Row;
use sqlx::postgres::{PgPool, PgRow};

use crate::cli::{LetterFilter, LetterId, RejectsCommand};
use crate::configuration::print;
use crate::schema;

mod replay;

mod text;

use text::{cell, hex_dump, safe};

/// # Errors
/// When the configuration makes no sense, the database or the log cannot be reached, or a letter does not exist.
pub(crate) fn main(command: RejectsCommand) -> anyhow::Result<ExitCode> {
    match command {
        RejectsCommand::List { filter, limit } => {
            schema::with_database("peep-rejects", async |pool| list(&pool, &filter, limit).await)
        }
        RejectsCommand::Show { id, hex } => {
            schema::with_database("peep-rejects", async |pool| show(&pool, id, hex).await)
        }
        RejectsCommand::Replay(arguments) => replay::main(&arguments),
    }
}

async fn list(pool: &PgPool, filter: &LetterFilter, limit: u32) -> anyhow::Result<()> {
    let rows = sqlx::query(
        "select d.log_partition, d.log_offset, d.event_index, d.reason, d.events, octet_length(d.bytes) as size, d.received_ms,
            case when octet_length(d.bytes) <= 65536 then d.bytes end as bytes,
            to_char(d.recorded_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') as recorded,
            to_char(d.replayed_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI') as replayed,
            coalesce(p.name, d.project_id::text) as project
        from dead_letter d left join project p using (project_id)
        where ($1::text is null or p.name = $1)
            and (cardinality($2::text[]) = 0 or d.reason = any ($2))
            and ($3::double precision is null or d.recorded_at >= now() - $3 * interval '1 second')
        order by d.recorded_at desc, d.log_partition, d.log_offset, d.event_index
        limit $4",
    )
    .bind(&filter.project)
    .bind(&filter.reason)
    .bind(filter.since.map(|since| since.as_secs_f64()))
    .bind(i64::from(limit) + 1)
    .fetch_all(pool)
    .await
    .context("read the dead letters")?;
    let shown = rows.len().min(limit as usize);
    let mut table = String::new();
    if rows.is_empty() {
        table.push_str("no dead letters\n");
    } else {
        let heads = ["ID", "SET ASIDE (UTC)", "PROJECT", "REASON", "EVENTS", "BYTES", "REPLAYED"];
        let [id, recorded, project, reason, events, bytes, replayed] = heads;
        let _ = writeln!(
            table,
            "{id:<18} {recorded:<19} {project:<16} {reason:<22} {events:>6} {bytes:>8} {replayed:<16} FIRST EVENT"
        );
    }
    for row in &rows[..shown] {
        table.push_str(&line(row)?);
    }
    if rows.len() > shown {
        let _ = writeln!(table, "… and more; `--limit` shows them");
    }
    print(&table)
}

fn line(row: &PgRow) -> anyhow::Result<String> {
    let id = LetterId::of(row)?;
    let bytes: Option<Vec<u8>> = row.try_get("bytes")?;
    let text = |name: &str| row.try_get::<Option<String>, _>(name);
    let events: Option<i32> = row.try_get("events")?;
    let contents = bytes.as_deref().map(|bytes| Contents::of(bytes, row.try_get("received_ms").ok().flatten()));
    let first = contents.as_ref().and_then(|contents| contents.events().first().copied());
    let first = match first.as_ref().map(|first| first.series.decode()) {
        Some(Ok(series)) => format!("{} {} {}", series.service, series.method, series.route),
        _ => "-".to_owned(),
    };
    Ok(format!(
        "{:<18} {:<19} {:<16} {:<22} {:>6} {:>8} {:<16} {}\n",
        id.to_string(),
        text("recorded")?.unwrap_or_default(),
        cell(&text("project")?.unwrap_or_else(|| "-".to_owned()), 16),
        cell(&text("reason")?.unwrap_or_default(), 22),
        events.map_or_else(|| "?".to_owned(), |events| events.to_string()),
        row.try_get::<i32, _>("size")?,
        text("replayed")?.unwrap_or_else(|| "-".to_owned()),
        cell(&first, 60),
    ))
}

async fn show(pool: &PgPool, id: LetterId, all_bytes: bool) -> anyhow::Result<()> {
    let row = sqlx::query(
        "select d.reason, d.events, d.bytes, d.received_ms, d.key_id, coalesce(p.name, d.project_id::text) as project,
            to_char(d.appended_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') as appended,
            to_char(d.recorded_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') as recorded,
            to_char(d.replayed_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') as replayed
        from dead_letter d left join project p using (project_id)
        where d.log_partition = $1 and d.log_offset = $2 and d.event_index = $3",
    )
    .bind(id.partition)
    .bind(id.position)
    .bind(id.index)
    .fetch_optional(pool)
    .await
    .context("read the dead letter")?;
    let row = row.with_context(|| format!("there is no dead letter {id}; `peep rejects list` shows them"))?;
    let bytes: Vec<u8> = row.try_get("bytes")?;
    let contents = Contents::of(&bytes, row.try_get("received_ms")?);
    let mut page = fields(&row, id)?;
    page.push_str(&body(&contents));
    if all_bytes || contents.events().is_empty() {
        let shown = if all_bytes { bytes.len() } else { bytes.len().min(HEX_BYTES) };
        let _ = write!(page, "\n{} bytes:\n{}", bytes.len(), hex_dump(&bytes[..shown]));
        if shown < bytes.len() {
            let _ = writeln!(page, "… and {} more; `--hex` shows all", bytes.len() - shown);
        }
    }
    print(&page)
}

fn fields(row: &PgRow, id: LetterId) -> anyhow::Result<String> {
    let mut fields = String::new();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(fields, "{name:<10} {}", safe(&value));
        }
    };
    let reason: String = row.try_get("reason")?;
    put("id", Some(id.to_string()));
    put("reason", Some(reason.clone()));
    put("advice", advice(&reason).map(str::to_owned));
    put("project", row.try_get("project")?);
    put("key", row.try_get::<Option<i64>, _>("key_id")?.map(|key| key.to_string()));
    put("events", row.try_get::<Option<i32>, _>("events")?.map(|events| events.to_string()));
    put("accepted", row.try_get::<Option<String>, _>("appended")?.map(|at| format!("{at} UTC")));
    put("set aside", row.try_get::<Option<String>, _>("recorded")?.map(|at| format!("{at} UTC")));
    put("replayed", row.try_get::<Option<String>, _>("replayed")?.map(|at| format!("{at} UTC")));
    Ok(fields)
}

fn body(contents: &Contents<'_>) -> String {
    let (what, is_timed) = match contents {
        Contents::Record(batch) => (format!("a record of {} events", batch.header.event_count), true),
        Contents::Event { is_timed, .. } => ("one event".to_owned(), *is_timed),
        Contents::Unreadable => ("nothing that can be read".to_owned(), false),
    };
    let events = contents.events();
    let mut body = format!("contents   {what}\n");
    for row in events.iter().take(EVENTS_SHOWN) {
        let _ = writeln!(body, "  {}", safe(&event(row, is_timed).to_string()));
    }
    if events.len() > EVENTS_SHOWN {
        let _ = writeln!(body, "  … and {} more", events.len() - EVENTS_SHOWN);
    }
    body
}

impl LetterId {
    fn of(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            partition: row.try_get("log_partition")?,
            position: row.try_get("log_offset")?,
            index: row.try_get("event_index")?,
        })
    }
}

/// For `--since`: `90s`, `15m`, `24h`, `7d`.
///
/// # Errors
/// What to write instead.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let unit_s = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => 0,
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_s)).filter(|s| *s > 0);
    seconds.map(Duration::from_secs).ok_or_else(|| "write a number and a unit, such as 15m, 24h or 7d".to_owned())
}

const EVENTS_SHOWN: usize = 20;
const HEX_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_nonsense_is_not() {
        assert_eq!(parse_span("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse_span("7d"), Ok(Duration::from_secs(604_800)));
        assert!(
            ["", "5", "h", "0s", "-1h", "1y", "99999999999999999999d"].iter().all(|text| parse_span(text).is_err())
        );
    }
}
