//! One flush, as SQL.
//!
//! Arrives: a [`Cut`] and a connection that nobody else uses. Leaves: all of it committed together with the cursor, or
//! nothing.
//!
//! Two things happen before the transaction, each committed by itself, because both are harmless without it and would
//! otherwise hold locks that other partitions' flushes need: partitions of the tables are made (`partitions`), and new series
//! get their ids ([`resolve_series`]; ids are remembered only here, after their commit).
//!
//! The transaction ([`write()`]): time limits, the compare-and-swap of the cursor first (a fenced worker writes nothing and
//! the row lock keeps a successor waiting until we are done), then the rows: pieces, raw events, dead letters, and what the
//! neighbouring files add.
//!
//! Does not: retry, time out as a whole, or reuse a connection after an error; see [`super::PostgresStore`].

use std::fmt::Write as _;
use std::sync::Arc;

use peep_chassis::failpoint;
use sqlx::{PgConnection, Row};

use super::cursor::{self, Step};
use super::partitions::execute;
use super::{budget, copy, dedup, facet, ledger, level};
use crate::key::Series;
use crate::level::Horizons;
use crate::partition::Cut;
use crate::poison::DeadLetter;
use crate::raw;
use crate::store::{Flushed, Owner};

/// Gives every series of the cut its row id.
pub(super) async fn resolve_series(connection: &mut PgConnection, cut: &Cut) -> sqlx::Result<()> {
    let unknown = |series: &Arc<Series>| series.row().is_none();
    let mut missing: Vec<Arc<Series>> =
        cut.pieces.iter().map(|piece| &piece.series).filter(|series| unknown(series)).cloned().collect();
    // One order for all workers, so that two that add the same series wait for each other and never deadlock.
    missing.sort_by(|left, right| (left.project, left.key()).cmp(&(right.project, right.key())));
    missing.dedup_by(|left, right| Arc::ptr_eq(left, right));
    for chunk in missing.chunks(SERIES_PER_STATEMENT) {
        let unknown = look_up(connection, chunk.iter().collect()).await?;
        if unknown.is_empty() {
            continue;
        }
        let columns = SeriesColumns::of(&unknown);
        let sql = "insert into series (project_id, env, service, route, method, status)
            select * from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::smallint[])
            order by 1, 2, 3, 4, 5, 6
            on conflict do nothing";
        columns.bind(sqlx::query(sql)).execute(&mut *connection).await?;
        let lost = look_up(connection, unknown).await?;
        debug_assert!(lost.is_empty(), "a series that was inserted is found");
    }
    Ok(())
}

/// Writes the cut in one transaction, or, when fenced, nothing. `None`: nothing either, the horizons have moved meanwhile.
pub(super) async fn write(
    connection: &mut PgConnection,
    owner: Owner,
    epoch: u64,
    cut: &Cut,
    horizons: &Horizons,
) -> sqlx::Result<Option<Flushed>> {
    failpoint::hit("rollup.flush.begin");
    // The last limit cuts off a worker that froze while it held the cursor's lock; for one that froze within a COPY there is
    // `cursor::evict`.
    let begin = format!(
        "begin; set local lock_timeout = '2s'; set local statement_timeout = '10s'; \
         set local idle_in_transaction_session_timeout = '5s'; {}; {}",
        cursor::flush_lock(cut.partition),
        level::HOLD_HORIZONS
    );
    execute(connection, begin).await?;
    let Cut { partition, from, to, .. } = *cut;
    let step = Step { partition, epoch, from, to, fingerprint: cut.fingerprint.as_ref(), log_ms: cut.log_ms };
    if !cursor::advance(connection, owner, step).await? {
        sqlx::raw_sql("rollback").execute(&mut *connection).await?;
        return Ok(Some(Flushed::Fenced));
    }
    failpoint::hit("rollup.flush.after_cas");
    if level::horizons(connection).await? != *horizons {
        sqlx::raw_sql("rollback").execute(&mut *connection).await?;
        return Ok(None);
    }
    level::copy_pieces(connection, cut, horizons).await?;
    copy_raw(connection, cut).await?;
    copy_dead_letters(connection, cut).await?;
    failpoint::hit("rollup.flush.after_rows");
    level::touched(connection, cut, horizons).await?;
    dedup::upsert(connection, cut).await?;
    budget::upsert(connection, cut).await?;
    facet::upsert(connection, cut).await?;
    ledger::insert(connection, owner, epoch, cut).await?;
    failpoint::hit("rollup.flush.before_commit");
    sqlx::raw_sql("commit").execute(&mut *connection).await?;
    failpoint::hit("rollup.flush.after_commit");
    Ok(Some(Flushed::Committed))
}

/// The rows of a cut without anything that makes them count exactly once: what `peep-bench exactly-once` compares with.
pub(super) async fn write_rows_alone(
    connection: &mut PgConnection,
    cut: &Cut,
    horizons: &Horizons,
) -> sqlx::Result<()> {
    sqlx::raw_sql("begin; set local statement_timeout = '10s'").execute(&mut *connection).await?;
    level::copy_pieces(connection, cut, horizons).await?;
    copy_raw(connection, cut).await?;
    copy_dead_letters(connection, cut).await?;
    level::touched(connection, cut, horizons).await?;
    budget::upsert(connection, cut).await?;
    facet::upsert(connection, cut).await?;
    sqlx::raw_sql("commit").execute(&mut *connection).await?;
    Ok(())
}

/// Sets the ids that are in the table and answers the series that are not.
async fn look_up<'s>(
    connection: &mut PgConnection,
    wanted: Vec<&'s Arc<Series>>,
) -> sqlx::Result<Vec<&'s Arc<Series>>> {
    let columns = SeriesColumns::of(&wanted);
    let sql = "select i.n, s.series_id
        from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::smallint[]) with ordinality
            as i (project_id, env, service, route, method, status, n)
        join series s using (project_id, env, service, route, method, status)";
    for row in columns.bind(sqlx::query(sql)).fetch_all(connection).await? {
        let at = row.try_get::<i64, _>(0)? as usize - 1;
        wanted[at].set_row(row.try_get(1)?);
    }
    Ok(wanted.into_iter().filter(|series| series.row().is_none()).collect())
}

type PgQuery<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Series as arrays for `unnest`.
#[derive(Default)]
struct SeriesColumns<'s> {
    project: Vec<i64>,
    env: Vec<&'s str>,
    service: Vec<&'s str>,
    route: Vec<&'s str>,
    method: Vec<&'s str>,
    status: Vec<i16>,
}

impl<'s> SeriesColumns<'s> {
    fn of(series: &[&'s Arc<Series>]) -> Self {
        let mut columns = Self::default();
        for one in series {
            let fields = one.fields();
            columns.project.push(i64::try_from(one.project.0).unwrap_or(i64::MAX));
            columns.env.push(fields.env);
            columns.service.push(fields.service);
            columns.route.push(fields.route);
            columns.method.push(fields.method);
            columns.status.push(i16::try_from(fields.status).expect("checked when the series was new"));
        }
        columns
    }

    fn bind<'q>(self, query: PgQuery<'q>) -> PgQuery<'q>
    where
        's: 'q,
    {
        query.bind(self.project).bind(self.env).bind(self.service).bind(self.route).bind(self.method).bind(self.status)
    }
}

async fn copy_raw(connection: &mut PgConnection, cut: &Cut) -> sqlx::Result<()> {
    let mut sql = String::new();
    write!(sql, "copy raw_event ({}) from stdin (format binary)", raw::COLUMNS).expect("a string takes everything");
    copy_rows(connection, &sql, &cut.raw.rows, |row, out| cut.raw.encode_row(row, out)).await
}

async fn copy_dead_letters(connection: &mut PgConnection, cut: &Cut) -> sqlx::Result<()> {
    let sql = "copy dead_letter (log_partition, log_offset, event_index, reason, project_id, key_id, received_ms, \
               appended_at, events, bytes) from stdin (format binary)";
    copy_rows(connection, sql, &cut.dead_letters, |letter: &DeadLetter, out| {
        copy::row(out, 10);
        copy::int4(out, cut.partition as i32);
        copy::uint8(out, letter.offset);
        copy::int4(out, letter.event_index as i32);
        copy::text(out, letter.reason.as_str());
        copy::optional(out, letter.project, |out, project| copy::uint8(out, project.0));
        copy::optional(out, letter.key, |out, key| copy::uint8(out, key.0));
        copy::optional(out, letter.received_ms, copy::int8);
        copy::timestamp_ms(out, letter.appended_ms);
        copy::optional(out, letter.events, |out, events| copy::int4(out, i32::try_from(events).unwrap_or(i32::MAX)));
        copy::bytes(out, &letter.bytes);
    })
    .await
}

/// One COPY, encoded and sent chunk by chunk: memory stays flat, and each send is a point where other tasks get the thread.
pub(super) async fn copy_rows<T>(
    connection: &mut PgConnection,
    sql: &str,
    rows: &[T],
    mut encode: impl FnMut(&T, &mut Vec<u8>),
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut copy_in = connection.copy_in_raw(sql).await?;
    let mut chunk = Vec::with_capacity(COPY_CHUNK_BYTES + COPY_CHUNK_BYTES / 4);
    chunk.extend_from_slice(copy::HEADER);
    for row in rows {
        encode(row, &mut chunk);
        if chunk.len() >= COPY_CHUNK_BYTES {
            copy_in.send(chunk.as_slice()).await?;
            chunk.clear();
        }
    }
    chunk.extend_from_slice(copy::TRAILER);
    copy_in.send(chunk.as_slice()).await?;
    let written = copy_in.finish().await?;
    debug_assert_eq!(written, rows.len() as u64, "COPY takes every row or fails");
    Ok(())
}

/// Six arrays of this length stay far below a megabyte.
const SERIES_PER_STATEMENT: usize = 2_000;
/// About a hundred rows with histograms.
const COPY_CHUNK_BYTES: usize = 128 << 10;
