//! Releases: the first event of a version of a service.
//!
//! Arrives: a range of time, or services. Leaves: which versions began in it, and what each service runs. Promises: a release
//! is as old as the earliest event that named it, however late that event came; what is not committed yet is missing for as
//! long as a flush takes. Does not: know who deployed what. A version is whatever the events call it.

use std::collections::BTreeMap;
use std::time::Duration;

use peep_wire::ProjectId;
use serde::ser::SerializeMap;
use serde_json::{Value, json};
use sqlx::{PgPool, Row};

use crate::error::ApiError;
use crate::history::set_statement_timeout;
use crate::labels::Filters;
use crate::query::{ReleasesQuery, Window};

/// Versions that began in a range, newest first. Must run to its end, like [`crate::history::read`].
pub async fn list(
    pool: &PgPool,
    project: ProjectId,
    query: &ReleasesQuery,
    time_max: Duration,
) -> Result<Value, ApiError> {
    let sql = "with seen as (
            select f.env, f.service, f.kind, f.value, min(s.first_ms) first_ms, max(s.last_ms) last_ms
            from facet f join facet_seen s using (facet_id)
            where f.project_id = $1 and f.value <> '' and f.value <> '(other)'
                and (cardinality($2::text[]) = 0 or f.env = any ($2)) and not f.env = any ($3)
                and (cardinality($4::text[]) = 0 or f.service = any ($4)) and not f.service = any ($5)
            group by 1, 2, 3, 4),
        versions as (
            select *, lag(value) over (partition by env, service order by first_ms, value) previous
            from seen where kind = 'version')
        select env, service, value, first_ms, last_ms, previous,
            (select count(*) from seen h where h.kind = 'host' and h.env = v.env and h.service = v.service
                and h.last_ms >= v.first_ms and h.first_ms <= v.last_ms) hosts
        from versions v where first_ms >= $6 and first_ms < $7
        order by first_ms desc, service, env, value
        limit $8";
    let refused = query.filters.without.as_deref();
    let (env, service) = (&query.filters.env, &query.filters.service);
    let mut transaction = begin(pool, time_max).await.map_err(|error| ApiError::of_database(&error))?;
    let rows = sqlx::query(sql)
        .bind(project.0.cast_signed())
        .bind(env)
        .bind(refused.map(|without| without.env.clone()).unwrap_or_default())
        .bind(service)
        .bind(refused.map(|without| without.service.clone()).unwrap_or_default())
        .bind(query.from_ms)
        .bind(query.to_ms)
        .bind(RELEASES_MAX)
        .fetch_all(&mut *transaction)
        .await
        .map_err(|error| ApiError::of_database(&error))?;
    let release = |row: &sqlx::postgres::PgRow| -> Result<Value, sqlx::Error> {
        Ok(json!({
            "service": row.try_get::<&str, _>("service")?,
            "env": row.try_get::<&str, _>("env")?,
            "version": row.try_get::<&str, _>("value")?,
            "first_seen_ms": row.try_get::<i64, _>("first_ms")?,
            "last_seen_ms": row.try_get::<i64, _>("last_ms")?,
            "hosts": row.try_get::<i64, _>("hosts")?,
            "previous": row.try_get::<Option<&str>, _>("previous")?,
        }))
    };
    let releases: Result<Vec<Value>, sqlx::Error> = rows.iter().map(release).collect();
    transaction.commit().await.map_err(|error| ApiError::of_database(&error))?;
    let releases = releases.map_err(|error| ApiError::of_database(&error))?;
    Ok(json!({"from_ms": query.from_ms, "to_ms": query.to_ms, "releases": releases}))
}

/// What is known of the versions and hosts of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceFacets {
    /// The one that began last, of those with events in the range.
    version: Option<String>,
    versions: i64,
    hosts: i64,
    /// Ever.
    first_seen_ms: Option<i64>,
}

impl ServiceFacets {
    /// Writes its entries into an open map; `first_seen_ms` only when nobody has written it.
    pub fn serialize_into<M: SerializeMap>(&self, map: &mut M, with_first: bool) -> Result<(), M::Error> {
        map.serialize_entry("version", &self.version)?;
        map.serialize_entry("versions", &self.versions)?;
        map.serialize_entry("hosts", &self.hosts)?;
        if with_first {
            map.serialize_entry("first_seen_ms", &self.first_seen_ms)?;
        }
        Ok(())
    }
}

/// The versions and hosts of all services of some environments (all, when none is named) that had events in a range.
pub async fn of_services(
    pool: &PgPool,
    project: ProjectId,
    filters: &Filters,
    window: Window,
) -> Result<BTreeMap<String, ServiceFacets>, ApiError> {
    let refused = filters.without.as_deref().map(|without| without.env.clone()).unwrap_or_default();
    let (pool, env) = (pool.clone(), filters.env.clone());
    // A task of its own, so that a client that leaves does not cancel it in the middle.
    let task = tokio::spawn(async move {
        let sql = "with seen as (
                select f.service, f.kind, f.value, min(s.first_ms) first_ms, max(s.last_ms) last_ms
                from facet f join facet_seen s using (facet_id)
                where f.project_id = $1 and (cardinality($2::text[]) = 0 or f.env = any ($2)) and not f.env = any ($5)
                group by 1, 2, 3)
            select service,
                (array_agg(value order by first_ms desc, value desc)
                    filter (where kind = 'version' and value not in ('', '(other)') and first_ms < $4 and last_ms >= $3))[1],
                count(*) filter (where kind = 'version' and value <> '' and first_ms < $4 and last_ms >= $3),
                count(*) filter (where kind = 'host' and value <> '' and first_ms < $4 and last_ms >= $3),
                min(first_ms)
            from seen group by service";
        let query = sqlx::query(sql).bind(project.0.cast_signed()).bind(env);
        let rows = query.bind(window.from_s * 1000).bind(window.to_s * 1000).bind(refused).fetch_all(&pool).await?;
        let of_service = |row: &sqlx::postgres::PgRow| {
            let facets = ServiceFacets {
                version: row.try_get(1)?,
                versions: row.try_get(2)?,
                hosts: row.try_get(3)?,
                first_seen_ms: row.try_get(4)?,
            };
            Ok((row.try_get(0)?, facets))
        };
        rows.iter().map(of_service).collect::<Result<BTreeMap<String, ServiceFacets>, sqlx::Error>>()
    });
    match task.await {
        Ok(facets) => facets.map_err(|error| ApiError::of_database(&error)),
        Err(_) => Err(ApiError::unavailable()),
    }
}

async fn begin(pool: &PgPool, time_max: Duration) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, sqlx::Error> {
    let mut transaction = pool.begin_with("begin isolation level repeatable read, read only").await?;
    set_statement_timeout(&mut transaction, time_max).await?;
    Ok(transaction)
}

/// More markers than a chart can show.
const RELEASES_MAX: i64 = 1_000;
