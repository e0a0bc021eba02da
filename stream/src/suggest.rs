//! Values for filters, most frequent first, and templates for routes that should have been some.
//!
//! Arrives: a [`SuggestQuery`]. Leaves: at most ten values with how often each was seen in the last hour, or in the last day
//! when the hour has none. Promises: labels of series are counted exactly; hosts, versions and attributes by the weights of
//! the newest kept raw events, a bounded number of them. Does not: suggest anything that is beyond a budget.

pub mod templates;

use std::time::Duration;

use foldhash::HashMap;
use peep_wire::ProjectId;
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{AssertSqlSafe, Row};

use crate::answer::Answers;
use crate::error::ApiError;
use crate::history::set_statement_timeout;
use crate::labels::{Dimension, GroupBy};
use crate::query::{Asked, SuggestQuery, Suggested};

/// The answer of `GET /v1/suggest`. Must run to its end, like [`crate::history::read`].
pub async fn suggest(
    answers: &Answers,
    pool: &PgPool,
    project: ProjectId,
    query: SuggestQuery,
    now_ms: i64,
    time_max: Duration,
) -> Result<Value, ApiError> {
    let now_s = now_ms.div_euclid(1000);
    let mut values = Vec::new();
    for back_s in [3600, 86_400] {
        let range_s = ((now_s - back_s).max(0), now_s + 10);
        values = match &query.field {
            Suggested::Label(dimension) => labels(answers, project, *dimension, &query, range_s).await?,
            Suggested::Host => raw(pool, project, "host", None, &query, range_s, time_max).await?,
            Suggested::Version => raw(pool, project, "version", None, &query, range_s, time_max).await?,
            Suggested::Attr(key) => {
                raw(pool, project, "attrs ->> $7::text", Some(key), &query, range_s, time_max).await?
            }
        };
        if !values.is_empty() {
            break;
        }
    }
    let value = |(value, count): (Value, u64)| json!({"value": value, "count": count});
    Ok(json!({"values": values.into_iter().map(value).collect::<Vec<_>>()}))
}

async fn labels(
    answers: &Answers,
    project: ProjectId,
    dimension: Dimension,
    query: &SuggestQuery,
    (from_s, to_s): (i64, i64),
) -> Result<Vec<(Value, u64)>, ApiError> {
    let group_by = GroupBy::new([dimension]);
    let asked = Asked::between(from_s, to_s);
    let (_, groups) = answers.groups(project, asked, query.filters.clone(), group_by, GROUPS_MAX).await?;
    let mut found = Vec::new();
    for group in groups {
        let count = group.total().count;
        let value = match group.key.text_of(dimension) {
            Some("(other)") => continue,
            Some(text) => text.to_owned(),
            None => match group.key.status_of() {
                Some(0) | None => "unknown".to_owned(),
                Some(status) => status.to_string(),
            },
        };
        found.push((value, count));
    }
    Ok(best(found, &query.prefix).into_iter().map(|(value, count)| (value.into(), count)).collect())
}

/// What begins so first, then what contains it.
fn best(mut found: Vec<(String, u64)>, prefix: &str) -> Vec<(String, u64)> {
    let wanted = prefix.to_lowercase();
    found.retain(|(value, _)| value.to_lowercase().contains(&wanted));
    found.sort_by_cached_key(|(value, count)| {
        (!value.to_lowercase().starts_with(&wanted), std::cmp::Reverse(*count), value.clone())
    });
    found.truncate(VALUES_MAX);
    found
}

async fn raw(
    pool: &PgPool,
    project: ProjectId,
    value: &'static str,
    key: Option<&str>,
    query: &SuggestQuery,
    (from_s, to_s): (i64, i64),
    time_max: Duration,
) -> Result<Vec<(Value, u64)>, ApiError> {
    let read = async {
        let mut snapshot = pool.begin_with("begin isolation level repeatable read, read only").await?;
        set_statement_timeout(&mut snapshot, time_max).await?;
        // The expression is one of three of ours; the key of an attribute is a parameter.
        let sql = format!(
            "with newest as (
                select {value} as value, weight from raw_event
                where project_id = $1 and ts >= to_timestamp($2) and ts < to_timestamp($3)
                    and (cardinality($4::text[]) = 0 or env = any ($4))
                    and (cardinality($5::text[]) = 0 or service = any ($5))
                    and $7::text is not distinct from $7
                order by ts desc limit $8
            )
            select value, sum(weight)::double precision from newest
            where value is not null and strpos(lower(value), lower($6)) > 0
            group by value order by strpos(lower(value), lower($6)) > 1, 2 desc, 1 limit $9"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(project.0.cast_signed())
            .bind(from_s as f64)
            .bind(to_s as f64)
            .bind(&query.filters.env)
            .bind(&query.filters.service)
            .bind(&query.prefix)
            .bind(key)
            .bind(EVENTS_MAX)
            .bind(VALUES_MAX as i64)
            .fetch_all(&mut *snapshot)
            .await?;
        snapshot.commit().await?;
        let value = |row: &PgRow| -> Result<(Value, u64), sqlx::Error> {
            let (value, count): (String, f64) = (row.try_get(0)?, row.try_get(1)?);
            Ok((value.into(), count.round() as u64))
        };
        rows.iter().map(value).collect::<Result<Vec<_>, sqlx::Error>>()
    };
    read.await.map_err(|error| ApiError::of_database(&error))
}

/// The answer of `GET /v1/suggest/routes`: from the routes that are series, and from those that found no place.
pub async fn routes(
    pool: &PgPool,
    project: ProjectId,
    service: Option<&str>,
    time_max: Duration,
) -> Result<Value, ApiError> {
    read_routes(pool, project, service, time_max).await.map_err(|error| ApiError::of_database(&error))
}

async fn read_routes(
    pool: &PgPool,
    project: ProjectId,
    service: Option<&str>,
    time_max: Duration,
) -> Result<Value, sqlx::Error> {
    let mut snapshot = pool.begin_with("begin isolation level repeatable read, read only").await?;
    set_statement_timeout(&mut snapshot, time_max).await?;
    let rows = sqlx::query(
        "select service, route from series where project_id = $1 and ($2::text is null or service = $2)
        group by service, route order by max(series_id) desc limit $3",
    )
    .bind(project.0.cast_signed())
    .bind(service)
    .bind(ROUTES_MAX)
    .fetch_all(&mut *snapshot)
    .await?;
    let overflow = sqlx::query(
        "select service, segment, max(distinct_values), (array_agg(example order by last_at desc))[1]
        from series_overflow where project_id = $1 and ($2::text is null or service = $2)
        group by service, segment order by 3 desc limit $3",
    )
    .bind(project.0.cast_signed())
    .bind(service)
    .bind(SEGMENTS_MAX)
    .fetch_all(&mut *snapshot)
    .await?;
    snapshot.commit().await?;
    let mut by_service: HashMap<String, Vec<String>> = HashMap::default();
    for row in &rows {
        by_service.entry(row.try_get(0)?).or_default().push(row.try_get(1)?);
    }
    let mut suggestions: Vec<(String, templates::Suggestion)> = Vec::new();
    for (service, routes) in by_service {
        suggestions.extend(templates::of(&routes).into_iter().map(|one| (service.clone(), one)));
    }
    for row in &overflow {
        let (service, segment): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (values, example): (i64, String) = (row.try_get(2)?, row.try_get(3)?);
        if let Some(template) = templates::of_segment(&segment) {
            let known = suggestions.iter_mut().find(|(of, one)| *of == service && one.template == template);
            match known {
                Some((_, one)) => one.matches = one.matches.max(values.unsigned_abs()),
                None => {
                    let one = templates::Suggestion { template, matches: values.unsigned_abs(), example };
                    suggestions.push((service, one));
                }
            }
        }
    }
    suggestions.sort_by(|(left_of, left), (right_of, right)| {
        right.matches.cmp(&left.matches).then_with(|| (left_of, &left.template).cmp(&(right_of, &right.template)))
    });
    suggestions.truncate(SUGGESTIONS_MAX);
    let row = |(service, one): &(String, templates::Suggestion)| json!({"service": service, "template": one.template, "matches": one.matches, "example": one.example});
    Ok(json!({"suggestions": suggestions.iter().map(row).collect::<Vec<_>>()}))
}

/// As many as a list below a field shows.
const VALUES_MAX: usize = 10;
const GROUPS_MAX: usize = 5000;
/// Read for one list.
const EVENTS_MAX: i64 = 50_000;
const ROUTES_MAX: i64 = 20_000;
const SEGMENTS_MAX: i64 = 200;
const SUGGESTIONS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_so_comes_before_what_contains_it() {
        let found = [("/cart/buy", 9), ("/buy", 1), ("/Buy-again", 5), ("/", 99)];
        let found: Vec<(String, u64)> = found.map(|(value, count)| (value.to_owned(), count)).into();
        let best = best(found, "/buy");
        assert_eq!(
            best.iter().map(|(value, _)| value.as_str()).collect::<Vec<_>>(),
            ["/Buy-again", "/buy", "/cart/buy"]
        );
    }
}
