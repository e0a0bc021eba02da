//! `facet`, `facet_seen` and `facet_budget`. The pieces of facets are written beside those of series (`level`).
//!
//! Arrives: what a cut says of versions and hosts. Leaves: before the transaction their row ids ([`resolve`], harmless without
//! it); inside of it since when and until when each has had events, and those that are new.
//!
//! Does not: decide how many there may be (`crate::facet`).

use std::sync::Arc;

use futures_util::TryStreamExt;
use peep_wire::ProjectId;
use sqlx::{PgConnection, Row};

use super::cursor::int4;
use crate::facet::{Facet, FacetSeen, SeenFacets};
use crate::partition::{Cut, Restored};

/// Gives every facet of the cut its row id.
pub(super) async fn resolve(connection: &mut PgConnection, cut: &Cut) -> sqlx::Result<()> {
    let facets = cut.facets.seen.iter().map(|seen| &seen.facet);
    let mut missing: Vec<&Arc<Facet>> = facets.filter(|facet| facet.row().is_none()).collect();
    // One order for all workers: two that add the same wait for each other and never deadlock.
    missing.sort_by(|left, right| left.key().cmp(&right.key()));
    for chunk in missing.chunks(ROWS_PER_STATEMENT) {
        let unknown = look_up(connection, chunk.to_vec()).await?;
        if unknown.is_empty() {
            continue;
        }
        let sql = "insert into facet (project_id, env, service, kind, value)
            select * from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[])
            order by 1, 2, 3, 4, 5
            on conflict do nothing";
        bind(sqlx::query(sql), &unknown).execute(&mut *connection).await?;
        let lost = look_up(connection, unknown).await?;
        debug_assert!(lost.is_empty(), "a facet that was inserted is found");
    }
    Ok(())
}

/// Keeps when the facets of a cut had events, and which of them are new.
pub(super) async fn upsert(connection: &mut PgConnection, cut: &Cut) -> sqlx::Result<()> {
    for seen in cut.facets.seen.chunks(ROWS_PER_STATEMENT) {
        upsert_seen(connection, cut.partition, seen).await?;
    }
    for budgets in cut.facets.budgets.chunks(ROWS_PER_STATEMENT) {
        insert_budgets(connection, cut, budgets).await?;
    }
    Ok(())
}

/// Reads the facets that have a place on a partition.
pub(super) async fn restore(
    connection: &mut PgConnection,
    partition: u32,
    restored: &mut Restored,
) -> sqlx::Result<()> {
    let sql = "select day, project_id, scope, hashes from facet_budget b join rollup_cursor c using (log_partition)
        where log_partition = $1 and day >= floor(c.log_ms / 86400000.0) - 1";
    let mut rows = sqlx::query(sql).bind(int4(partition)).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let hashes: &[u8] = row.try_get(3)?;
        restored.facet_budgets.push(SeenFacets {
            day: row.try_get(0)?,
            project: ProjectId(row.try_get::<i64, _>(1)?.cast_unsigned()),
            scope: row.try_get::<i64, _>(2)?.cast_unsigned(),
            hashes: hashes.as_chunks::<8>().0.iter().map(|hash| u64::from_be_bytes(*hash)).collect(),
        });
    }
    Ok(())
}

/// Deletes the budgets of days that no cursor can come back to, and facets whose last event is older than what is kept; answers
/// how many rows. Rows that a flush is about to write are left to the next sweep.
pub(crate) async fn sweep(connection: &mut PgConnection, kept_since_s: i64) -> sqlx::Result<u64> {
    let mut swept = 0;
    let budgets = "delete from facet_budget where ctid = any (array(
            select b.ctid from facet_budget b join rollup_cursor c using (log_partition)
            where b.day < floor(c.log_ms / 86400000.0) - 1 limit $1 for update of b skip locked))";
    loop {
        let rows = sqlx::query(budgets).bind(ROWS_PER_SWEEP).execute(&mut *connection).await?.rows_affected();
        swept += rows;
        if rows < ROWS_PER_SWEEP as u64 {
            break;
        }
    }
    // By partition, because that is how the index begins; there are few.
    let seen = "delete from facet_seen where ctid = any (array(
            select s.ctid from rollup_cursor c join facet_seen s using (log_partition)
            where s.last_ms < $1 limit $2 for update of s skip locked))";
    loop {
        let query = sqlx::query(seen).bind(kept_since_s.saturating_mul(1000)).bind(ROWS_PER_SWEEP);
        let rows = query.execute(&mut *connection).await?.rows_affected();
        swept += rows;
        if rows < ROWS_PER_SWEEP as u64 {
            return Ok(swept);
        }
    }
}

/// Sets the ids that are in the table and answers the facets that are not.
async fn look_up<'f>(connection: &mut PgConnection, wanted: Vec<&'f Arc<Facet>>) -> sqlx::Result<Vec<&'f Arc<Facet>>> {
    let sql = "select i.n, f.facet_id
        from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[]) with ordinality
            as i (project_id, env, service, kind, value, n)
        join facet f using (project_id, env, service, kind, value)";
    for row in bind(sqlx::query(sql), &wanted).fetch_all(connection).await? {
        let at = row.try_get::<i64, _>(0)? as usize - 1;
        wanted[at].set_row(row.try_get(1)?);
    }
    Ok(wanted.into_iter().filter(|facet| facet.row().is_none()).collect())
}

type PgQuery<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn bind<'q>(query: PgQuery<'q>, facets: &[&'q Arc<Facet>]) -> PgQuery<'q> {
    query
        .bind(facets.iter().map(|facet| bigint(facet.project.0)).collect::<Vec<_>>())
        .bind(facets.iter().map(|facet| &*facet.env).collect::<Vec<&str>>())
        .bind(facets.iter().map(|facet| &*facet.service).collect::<Vec<&str>>())
        .bind(facets.iter().map(|facet| facet.kind.name()).collect::<Vec<&str>>())
        .bind(facets.iter().map(|facet| &*facet.value).collect::<Vec<&str>>())
}

async fn upsert_seen(connection: &mut PgConnection, partition: u32, seen: &[FacetSeen]) -> sqlx::Result<()> {
    let sql = "insert into facet_seen as s (facet_id, log_partition, first_ms, last_ms)
        select facet_id, $1, first_ms, last_ms from unnest($2::bigint[], $3::bigint[], $4::bigint[])
            as i (facet_id, first_ms, last_ms)
        order by facet_id
        on conflict (facet_id, log_partition) do update
        set first_ms = least(s.first_ms, excluded.first_ms), last_ms = greatest(s.last_ms, excluded.last_ms)";
    let id = |seen: &FacetSeen| seen.facet.row().expect("ids were resolved before the transaction");
    sqlx::query(sql)
        .bind(int4(partition))
        .bind(seen.iter().map(id).collect::<Vec<_>>())
        .bind(seen.iter().map(|seen| seen.first_ms).collect::<Vec<_>>())
        .bind(seen.iter().map(|seen| seen.last_ms).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

async fn insert_budgets(connection: &mut PgConnection, cut: &Cut, seen: &[SeenFacets]) -> sqlx::Result<()> {
    let sql = "insert into facet_budget (log_partition, up_to_offset, day, project_id, scope, hashes)
        select $1, $2, * from unnest($3::int[], $4::bigint[], $5::bigint[], $6::bytea[])";
    let bytes = |seen: &SeenFacets| seen.hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect::<Vec<u8>>();
    sqlx::query(sql)
        .bind(int4(cut.partition))
        .bind(bigint(cut.to))
        .bind(seen.iter().map(|seen| seen.day).collect::<Vec<_>>())
        .bind(seen.iter().map(|seen| bigint(seen.project.0)).collect::<Vec<_>>())
        // A hash, and so all 64 bits.
        .bind(seen.iter().map(|seen| seen.scope.cast_signed()).collect::<Vec<_>>())
        .bind(seen.iter().map(bytes).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

fn bigint(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

const ROWS_PER_STATEMENT: usize = 1_000;
const ROWS_PER_SWEEP: i64 = 10_000;
