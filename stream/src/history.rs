//! SQL reads of the rollups: the only place that knows their tables.
//!
//! Arrives: a [`Question`]. Leaves: its committed part, poured into a [`Grouped`], and the cursors up to which it is
//! complete.
//!
//! Each part of the range is read from the level that [`crate::levels`] chose. What that level does not have yet is added from
//! the finer ones, by offset, partition by partition:
//!
//! ```text
//! offsets of a partition   0 ─────────────┬─────────────────┬──────────────┬─────────▶
//! an hour is               rows of 1h ────┘ + rows of 1m ───┘ + rows of 10s┘ + live frames
//!                              done_offset of 1h    done_offset of 1m   cursor
//! ```
//!
//! `rollup_touched` says which buckets those are, so that a question about a month does not search it for late events.
//!
//! Whole services are the sum of their versions, to the unit (`peep verify` holds the rollup to it), and there are far fewer
//! versions than series: a week of ten thousand series is some thousand rows.
//!
//! Promises: rows, done offsets and cursors come from one snapshot (repeatable read), so every event below the cursor is
//! counted once whatever is being committed, merged or dropped meanwhile; the level changes how many rows are read and never
//! the answer; a statement that takes too long or a result that is too wide is an error with a way out. Label values are bound
//! parameters, never text. Does not: know live frames ([`crate::stitch`] joins the two).

use std::collections::BTreeMap;
use std::time::Duration;

use foldhash::HashMap;
use futures_util::TryStreamExt;
use peep_wire::ProjectId;
use peep_wire::histogram::Totals;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::closed::Closed;
use crate::error::ApiError;
use crate::grouped::{Grouped, Piece, PourError, Question};
use crate::labels::{Dimension, Labels, Source};
use crate::levels::{Horizons, Level, Segment, TooFine, plan, spans};
use crate::query::{Window, show_span};
use crate::stitch::Position;

mod units;

/// Per partition of the event log: everything below is committed.
pub type Cursors = BTreeMap<u32, Position>;

/// What one question may cost.
#[derive(Debug, Clone, Copy)]
pub struct HistoryLimits {
    /// Rollup rows read for one answer.
    pub rows_max: u64,
    /// Longest time for one statement.
    pub statement_timeout: Duration,
}

/// Why history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Connection lost, statement refused, pool exhausted.
    #[error("read rollups")]
    Database(#[from] sqlx::Error),
    /// Too many rows; how many seconds of range would fit, if that could be told.
    #[error("more rollup rows than one answer may read")]
    TooManyRows {
        /// A shorter range that would have been answered.
        fitting_s: Option<i64>,
    },
    /// Beyond the memory for one answer, or unreadable.
    #[error(transparent)]
    Pour(#[from] PourError),
    /// Older than what is kept in steps this fine.
    #[error(transparent)]
    TooFine(#[from] TooFine),
    /// Neither the rollups nor the events that were kept can tell.
    #[error(transparent)]
    NotExact(#[from] crate::sampled::NotExact),
}

impl HistoryError {
    /// What the caller is told; the rest belongs into the log.
    pub fn to_api(&self) -> ApiError {
        match self {
            Self::TooManyRows { fitting_s: Some(fitting_s) } => ApiError::too_wide(format!(
                "the range holds more rows than one answer may read; use a range of at most {}, or filter by \
                 `service`, `route` or `env`",
                show_span(*fitting_s)
            )),
            Self::TooManyRows { fitting_s: None } | Self::Pour(PourError::TooWide) => ApiError::too_wide(
                "the answer would be too large; use a shorter range, a wider `step`, fewer `group_by`, or filter by \
                 `service`, `route` or `env`",
            ),
            Self::Database(sqlx::Error::Database(error)) if error.code().as_deref() == Some(QUERY_CANCELED) => {
                ApiError::too_wide(
                    "the database did not finish in time; use a shorter range, or filter by `service`, `route` or `env`",
                )
            }
            Self::Database(_) => ApiError::unavailable(),
            Self::TooFine(error) => error.to_api(),
            Self::NotExact(error) => error.to_api(),
            Self::Pour(PourError::NoRoom) => {
                ApiError::overloaded("too many large questions at once; try again in a moment, or use a shorter range")
            }
            Self::Pour(PourError::Histogram(_)) => ApiError::new(
                axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                "corrupt_history",
                "a stored histogram cannot be read; the log of this server names it",
            ),
        }
    }
}

/// How far an answer reaches.
#[derive(Debug)]
pub struct Reached {
    /// Everything below is in it.
    pub cursors: Cursors,
    /// For answers that live frames cannot continue: the log's own time at the cursor of each partition, Unix milliseconds, and
    /// whether its owner has seen records beyond.
    pub log_ms: BTreeMap<u32, (i64, bool)>,
}

/// Pours the committed part of the answer into `grouped`.
///
/// Must run to its end: sqlx 0.9.0 puts a connection back into the pool with its transaction open when `begin` is
/// cancelled. Callers therefore run it in a task of its own ([`crate::answer`]).
pub async fn read(
    pool: &PgPool,
    grouped: &mut Grouped,
    now_ms: i64,
    limits: HistoryLimits,
    closed: &Closed,
) -> Result<Reached, HistoryError> {
    let mut snapshot = pool.begin_with("begin isolation level repeatable read, read only").await?;
    set_statement_timeout(&mut snapshot, limits.statement_timeout).await?;
    let cursors = read_cursors(&mut *snapshot).await?;
    let question = grouped.question().clone();
    for env in envs(&mut snapshot, question.project).await? {
        grouped.add_env(&env);
    }
    let source = question.source();
    let log_ms = match source {
        Source::Series => BTreeMap::new(),
        Source::Facets(_) | Source::Kept => read_log_times(&mut snapshot).await?,
    };
    if source == Source::Kept {
        crate::sampled::pour(&mut snapshot, grouped, limits.rows_max).await?;
    } else {
        let horizons = read_horizons(&mut snapshot).await?;
        let segments = plan(question.window, horizons)?;
        let (tables, series) = match source {
            Source::Facets(kind) => {
                grouped.set_complete_since(facets_since(&mut snapshot).await?);
                (Tables::FACETS, matching_facets(&mut snapshot, grouped, kind, true).await?)
            }
            _ => match versions_instead(&mut snapshot, grouped).await? {
                Some(versions) => (Tables::FACETS, versions),
                None => (Tables::SERIES, matching_series(&mut snapshot, grouped).await?),
            },
        };
        if !series.is_empty() {
            let parts = parts(&mut snapshot, tables, question.project, &segments).await?;
            let is_part = !question.filters.is_empty() || tables == Tables::FACETS;
            let ids = is_part.then(|| series.keys().copied().collect());
            let mut reading = Reading { connection: &mut snapshot, tables, series, ids, horizons, now_ms };
            closed.begin(&cursors);
            pour_pieces(&mut reading, grouped, &parts, limits.rows_max, closed).await?;
            if question.filters_whole_services() {
                learn_newest(&mut snapshot, grouped).await?;
            }
        }
    }
    snapshot.commit().await?;
    Ok(Reached { cursors, log_ms })
}

/// When the log took the newest record that is counted, by partition, and whether there are newer ones.
async fn read_log_times(connection: &mut PgConnection) -> Result<BTreeMap<u32, (i64, bool)>, sqlx::Error> {
    let sql = "select log_partition, log_ms, coalesce(log_high > next_offset, false) from rollup_cursor";
    let rows = sqlx::query(sql).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get::<i32, _>(0)?.unsigned_abs(), (row.try_get(1)?, row.try_get(2)?)))).collect()
}

/// Unix milliseconds of the log up to which a rollup was at work that knew neither versions nor hosts.
async fn facets_since(connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    let sql = "select floor(extract(epoch from max(appended_at)) * 1000)::bigint from ledger where not has_facets";
    sqlx::query_scalar(sql).fetch_one(connection).await
}

/// How far every partition is committed.
pub async fn read_cursors(connection: impl sqlx::PgExecutor<'_>) -> Result<Cursors, sqlx::Error> {
    let rows = sqlx::query("select log_partition, next_offset, epoch from rollup_cursor").fetch_all(connection).await?;
    let cursor = |row: &PgRow| -> Result<(u32, Position), sqlx::Error> {
        let partition: i32 = row.try_get(0)?;
        let position = Position { offset: unsigned(row.try_get(1)?), epoch: unsigned(row.try_get(2)?) };
        Ok((partition.unsigned_abs(), position))
    };
    rows.iter().map(cursor).collect()
}

/// `set local` takes no bound parameters; `set_config` does, and `true` means "this transaction".
pub async fn set_statement_timeout(connection: &mut PgConnection, timeout: Duration) -> Result<(), sqlx::Error> {
    sqlx::query("select set_config('statement_timeout', $1, true)")
        .bind(timeout.as_millis().to_string())
        .execute(connection)
        .await
        .map(|_| ())
}

/// The environments of a project, by skipping through the unique index (project_id, env, …): as many probes as there
/// are environments, however many series each has.
async fn envs(connection: &mut PgConnection, project: ProjectId) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "with recursive found as (
            (select env from series where project_id = $1 order by env limit 1)
            union all
            select (select env from series where project_id = $1 and env > found.env order by env limit 1)
            from found where found.env is not null
        )
        select env from found where env is not null",
    )
    .bind(signed(project.0))
    .fetch_all(connection)
    .await
}

/// Group and status by series id, of the series that pass the filters.
type MatchingSeries = HashMap<i64, (usize, u16)>;

async fn matching_series(connection: &mut PgConnection, grouped: &mut Grouped) -> Result<MatchingSeries, sqlx::Error> {
    let Question { project, filters, .. } = grouped.question().clone();
    let mut rows = sqlx::query(
        "select series_id, env, service, route, method, status from series
        where project_id = $1
            and (cardinality($2::text[]) = 0 or env = any ($2))
            and (cardinality($3::text[]) = 0 or service = any ($3))
            and (cardinality($4::text[]) = 0 or route = any ($4))
            and (cardinality($5::text[]) = 0 or method = any ($5))
            and (cardinality($6::smallint[]) + cardinality($7::smallint[]) = 0
                or status = any ($6) or status / 100 = any ($7))",
    )
    .bind(signed(project.0))
    .bind(filters.env.clone())
    .bind(filters.service.clone())
    .bind(filters.route.clone())
    .bind(filters.method.clone())
    .bind(filters.statuses())
    .bind(filters.status_classes())
    .fetch(connection);
    let mut series = MatchingSeries::default();
    while let Some(row) = rows.try_next().await? {
        let status: i16 = row.try_get(5)?;
        let labels = Labels {
            env: row.try_get(1)?,
            service: row.try_get(2)?,
            route: row.try_get(3)?,
            method: row.try_get(4)?,
            status: status.unsigned_abs(),
            version: "",
            host: "",
        };
        if let Some(group) = grouped.group_of(&labels) {
            series.insert(row.try_get(0)?, (group, labels.status));
        }
    }
    Ok(series)
}

/// The versions to read in the place of the series, when the answer is the same: nothing below a service was asked for, every
/// flush that can have counted an event of the range knew versions, and there are no more of them than series.
async fn versions_instead(
    connection: &mut PgConnection,
    grouped: &mut Grouped,
) -> Result<Option<MatchingSeries>, sqlx::Error> {
    if !grouped.question().is_of_whole_services() {
        return Ok(None);
    }
    let from_ms = grouped.question().window.from_s * 1000;
    if facets_since(connection).await?.is_some_and(|since_ms| since_ms >= from_ms - AHEAD_MS_MAX) {
        return Ok(None);
    }
    let versions = matching_facets(connection, grouped, Dimension::Version, false).await?;
    let Question { project, filters, .. } = grouped.question();
    // Counts no further than it has to.
    let series: i64 = sqlx::query_scalar(
        "select count(*) from (
            select from series
            where project_id = $1
                and (cardinality($2::text[]) = 0 or env = any ($2))
                and (cardinality($3::text[]) = 0 or service = any ($3))
            limit $4
        ) counted",
    )
    .bind(signed(project.0))
    .bind(filters.env.clone())
    .bind(filters.service.clone())
    .bind(signed(versions.len() as u64))
    .fetch_one(connection)
    .await?;
    Ok((unsigned(series) >= versions.len() as u64).then_some(versions))
}

/// Versions or hosts that pass the filters; none of them has a status of its own.
async fn matching_facets(
    connection: &mut PgConnection,
    grouped: &mut Grouped,
    kind: Dimension,
    with_seen: bool,
) -> Result<MatchingSeries, sqlx::Error> {
    let Question { project, filters, .. } = grouped.question().clone();
    let mut rows = sqlx::query(
        "select f.facet_id, f.env, f.service, f.value, s.first_ms, s.last_ms from facet f
        left join lateral (
            select min(first_ms) first_ms, max(last_ms) last_ms from facet_seen s where s.facet_id = f.facet_id) s on $6
        where f.project_id = $1 and f.kind = $2
            and (cardinality($3::text[]) = 0 or f.env = any ($3))
            and (cardinality($4::text[]) = 0 or f.service = any ($4))
            and (cardinality($5::text[]) = 0 or f.value = any ($5))",
    )
    .bind(signed(project.0))
    .bind(kind.name())
    .bind(filters.env.clone())
    .bind(filters.service.clone())
    .bind(filters.texts(kind).to_vec())
    .bind(with_seen)
    .fetch(connection);
    let mut facets = MatchingSeries::default();
    while let Some(row) = rows.try_next().await? {
        let value: &str = row.try_get(3)?;
        let (version, host) = if kind == Dimension::Version { (value, "") } else { ("", value) };
        let (env, service) = (row.try_get(1)?, row.try_get(2)?);
        let labels = Labels { env, service, route: "", method: "", status: 0, version, host };
        if let Some(group) = grouped.group_of(&labels) {
            let seen: (Option<i64>, Option<i64>) = (row.try_get(4)?, row.try_get(5)?);
            if let (Some(first_ms), Some(last_ms)) = seen {
                grouped.learn_seen(group, first_ms, last_ms);
            }
            facets.insert(row.try_get(0)?, (group, NO_STATUS));
        }
    }
    Ok(facets)
}

/// When the newest event of each service ended: every event is in exactly one version of its service.
async fn learn_newest(connection: &mut PgConnection, grouped: &mut Grouped) -> Result<(), sqlx::Error> {
    if grouped.newest().known_ms().is_none() {
        return Ok(());
    }
    let Question { project, filters, .. } = grouped.question();
    let rows = sqlx::query(
        "select f.env, f.service, max(s.last_ms) from facet f join facet_seen s using (facet_id)
        where f.project_id = $1 and f.kind = 'version'
            and (cardinality($2::text[]) = 0 or f.env = any ($2))
            and (cardinality($3::text[]) = 0 or f.service = any ($3))
        group by 1, 2",
    )
    .bind(signed(project.0))
    .bind(filters.env.clone())
    .bind(filters.service.clone())
    .fetch_all(connection)
    .await?;
    let newest = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
    let newest: Vec<(&str, &str, i64)> = newest.collect::<Result<_, sqlx::Error>>()?;
    grouped.learn_newest(newest);
    Ok(())
}

/// Since when each level is complete.
pub async fn read_horizons(connection: &mut PgConnection) -> Result<Horizons, sqlx::Error> {
    let sql = "select level, extract(epoch from since)::bigint from rollup_horizon";
    let mut horizons = Horizons::default();
    for row in sqlx::query(sql).fetch_all(connection).await? {
        let since_s = row.try_get(1)?;
        match row.try_get(0)? {
            "10s" => horizons.ten_seconds_s = since_s,
            "1m" => horizons.minute_s = since_s,
            _ => horizons.hour_s = since_s,
        }
    }
    Ok(horizons)
}

/// Events of a project by day (UTC, its first second) and partition of the log, from the rollups of all levels: what the books
/// of that day must say. `[from, to)` are whole days; those before the horizon of the hours are not kept whole. The
/// connection is in a snapshot.
pub async fn events_by_day(
    connection: &mut PgConnection,
    project: ProjectId,
    from_s: i64,
    to_s: i64,
) -> Result<BTreeMap<(i64, u32), u64>, sqlx::Error> {
    let hours = [Segment { level: Level::Hour, from_s, to_s }];
    let mut days: BTreeMap<(i64, u32), u64> = BTreeMap::new();
    for part in parts(connection, Tables::SERIES, project, &hours).await? {
        let sql = format!(
            "select floor(extract(epoch from bucket) / 86400)::bigint * 86400, log_partition, sum(count)::bigint
            from {} where {} group by 1, 2",
            Tables::SERIES.of(part.level),
            part.condition()
        );
        let rows = part.bind(sqlx::query(AssertSqlSafe(sql)), project).fetch_all(&mut *connection).await?;
        for row in &rows {
            let partition: i32 = row.try_get(1)?;
            *days.entry((row.try_get(0)?, partition.unsigned_abs())).or_default() += unsigned(row.try_get(2)?);
        }
    }
    Ok(days)
}

/// Rows of one table to read.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    level: Level,
    from_s: i64,
    to_s: i64,
    /// Only these buckets. `None`: all from end to end.
    buckets: Option<Vec<f64>>,
    /// By partition: only pieces beyond this offset. `None`: all.
    above: Option<Vec<i64>>,
}

type PgQuery<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

impl Part {
    /// The same, of a shorter time.
    fn between(&self, from_s: i64, to_s: i64) -> Part {
        Part { from_s, to_s, ..self.clone() }
    }

    /// Whether it costs less to ask for each bucket and series than to search the range.
    fn is_worth_naming(&self, series: usize) -> bool {
        let buckets = (self.to_s - self.from_s).min(DAY_S) / self.level.width_s();
        series <= NAMED_SERIES_MAX && series as i64 * buckets <= NAMED_MAX
    }

    /// For rows of some series: day by day, each bucket by its name. Given a range of buckets, an index that begins with the
    /// bucket is searched from end to end for each series; given their names, it is asked once for each series and bucket. A day,
    /// because each partition of a table is asked for all of them.
    fn by_name(&self) -> Vec<Part> {
        let width_s = self.level.width_s();
        let mut parts = Vec::new();
        let mut from_s = self.from_s;
        while from_s < self.to_s {
            let to_s = (from_s.div_euclid(DAY_S) * DAY_S + DAY_S).min(self.to_s);
            let buckets = (from_s..to_s).step_by(width_s as usize).map(|bucket_s| bucket_s as f64).collect();
            parts.push(Part { buckets: Some(buckets), ..self.between(from_s, to_s) });
            from_s = to_s;
        }
        parts
    }

    /// For the parameters of [`Part::bind`]. Each case has a text of its own: a condition that may or may not apply would keep
    /// the planner from the index. The ends are there in any case, to leave out partitions of the table.
    fn condition(&self) -> &'static str {
        match (&self.above, &self.buckets) {
            (None, None) => {
                "project_id = $1 and bucket >= to_timestamp($2) and bucket < to_timestamp($3)
                    and $4::bigint[] is null and $5::double precision[] is null"
            }
            (None, Some(_)) => {
                "project_id = $1 and bucket >= to_timestamp($2) and bucket < to_timestamp($3) and $4::bigint[] is null
                    and bucket = any (array(select to_timestamp(b) from unnest($5::double precision[]) as b))"
            }
            (Some(_), None) => {
                "project_id = $1 and bucket >= to_timestamp($2) and bucket < to_timestamp($3)
                    and up_to_offset > ($4::bigint[])[log_partition + 1] and $5::double precision[] is null"
            }
            (Some(_), Some(_)) => {
                "project_id = $1 and bucket >= to_timestamp($2) and bucket < to_timestamp($3)
                    and up_to_offset > ($4::bigint[])[log_partition + 1]
                    and bucket = any (array(select to_timestamp(b) from unnest($5::double precision[]) as b))"
            }
        }
    }

    /// Parameters 1 to 5.
    fn bind<'q>(&'q self, query: PgQuery<'q>, project: ProjectId) -> PgQuery<'q> {
        query
            .bind(signed(project.0))
            .bind(self.from_s as f64)
            .bind(self.to_s as f64)
            .bind(self.above.as_deref())
            .bind(self.buckets.as_deref())
    }

    /// Of the finer level, what lies in these buckets of the target and beyond its offsets.
    fn beyond(target: Level, finer: Level, touched: &[i64], above: &[i64]) -> Vec<Part> {
        let part = |(from_s, to_s)| Part { level: finer, from_s, to_s, buckets: None, above: Some(above.to_vec()) };
        let width_s = target.width_s();
        let each = spans(touched, width_s, usize::MAX);
        if each.len() <= SPANS_MAX {
            return each.into_iter().map(part).collect();
        }
        // An old log is being shipped. Beyond a bound, more is looked at than was touched.
        let per_bucket = width_s / finer.width_s();
        if touched.len() as i64 * per_bucket > BUCKETS_MAX {
            return spans(touched, width_s, SPANS_MAX).into_iter().map(part).collect();
        }
        let inside = |bucket_s: &i64| {
            let bucket_s = *bucket_s;
            (0..per_bucket).map(move |number| (bucket_s + number * finer.width_s()) as f64)
        };
        let ends = (each[0].0, each[each.len() - 1].1);
        vec![Part { buckets: Some(touched.iter().flat_map(inside).collect()), ..part(ends) }]
    }
}

/// What has to be read for some segments: their own tables, and of the finer ones what these do not have yet.
async fn parts(
    connection: &mut PgConnection,
    tables: Tables,
    project: ProjectId,
    segments: &[Segment],
) -> Result<Vec<Part>, sqlx::Error> {
    let own = |segment: &Segment| {
        let Segment { level, from_s, to_s } = *segment;
        Part { level, from_s, to_s, buckets: None, above: None }
    };
    let mut parts: Vec<Part> = segments.iter().map(own).collect();
    let coarse: Vec<Segment> = segments.iter().filter(|segment| segment.level > Level::TenSeconds).copied().collect();
    let (Some(first), Some(last)) = (coarse.first(), coarse.last()) else { return Ok(parts) };
    let sql = "select distinct bucket from rollup_touched, unnest(buckets) as bucket
        where project_id = $1 and level = $2 and bucket >= $3 and bucket < $4 order by bucket";
    for (source, target) in [(Level::TenSeconds, Level::Minute), (Level::Minute, Level::Hour)] {
        if coarse.iter().all(|segment| segment.level < target) {
            continue;
        }
        let buckets: Vec<i64> = sqlx::query_scalar(sql)
            .bind(signed(project.0))
            .bind(tables.level_name(source))
            .bind(first.from_s)
            .bind(last.to_s)
            .fetch_all(&mut *connection)
            .await?;
        if buckets.is_empty() {
            continue;
        }
        let above = done_offsets(connection, tables.level_name(target)).await?;
        for segment in coarse.iter().filter(|segment| segment.level >= target) {
            let inside: Vec<i64> =
                buckets.iter().copied().filter(|bucket| (segment.from_s..segment.to_s).contains(bucket)).collect();
            parts.extend(Part::beyond(target, source, &inside, &above));
        }
    }
    Ok(parts)
}

/// Up to which offset each partition is in a level, by the partition's number; 0 where nothing is.
async fn done_offsets(connection: &mut PgConnection, level: &str) -> Result<Vec<i64>, sqlx::Error> {
    let sql = "select c.log_partition, coalesce(l.done_offset, 0) from rollup_cursor c
        left join rollup_level l on l.log_partition = c.log_partition and l.level = $1";
    let mut offsets = Vec::new();
    for row in sqlx::query(sql).bind(level).fetch_all(connection).await? {
        let partition = row.try_get::<i32, _>(0)?.unsigned_abs() as usize;
        if offsets.len() <= partition {
            offsets.resize(partition + 1, 0);
        }
        offsets[partition] = row.try_get(1)?;
    }
    Ok(offsets)
}

/// The tables of series, or those of versions and hosts.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tables {
    names: [&'static str; 3],
    /// As `rollup_touched` and `rollup_level` call them.
    levels: [&'static str; 3],
}

impl Tables {
    const SERIES: Tables = Tables { names: ["rollup_10s", "rollup_1m", "rollup_1h"], levels: ["10s", "1m", "1h"] };
    const FACETS: Tables =
        Tables { names: ["facet_10s", "facet_1m", "facet_1h"], levels: ["facet_10s", "facet_1m", "facet_1h"] };

    fn of(self, level: Level) -> &'static str {
        self.names[level as usize]
    }

    fn level_name(self, level: Level) -> &'static str {
        self.levels[level as usize]
    }
}

/// What is read for one question, and where.
struct Reading<'c> {
    connection: &'c mut PgConnection,
    tables: Tables,
    series: MatchingSeries,
    /// Without filters the list would name every series: the primary key's prefix does the work alone. With filters the
    /// list must be a condition of its own, not part of an `or`, for the index to skip other series without their rows.
    ids: Option<Vec<i64>>,
    horizons: Horizons,
    now_ms: i64,
}

async fn pour_pieces(
    reading: &mut Reading<'_>,
    grouped: &mut Grouped,
    parts: &[Part],
    rows_max: u64,
    closed: &Closed,
) -> Result<(), HistoryError> {
    let mut left = rows_max;
    for part in parts {
        match units::pour(reading, grouped, part, closed, left).await? {
            Some(rows) => left -= rows,
            None => {
                let all = count_pieces(reading, grouped.question().project, parts, rows_max).await?;
                return Err(HistoryError::TooManyRows {
                    fitting_s: fitting_s(grouped.question().window, rows_max, all),
                });
            }
        }
    }
    Ok(())
}

impl Reading<'_> {
    /// A part as its statements read it.
    fn statements(&self, part: &Part) -> Vec<Part> {
        match &self.ids {
            Some(ids) if part.buckets.is_none() && part.is_worth_naming(ids.len()) => part.by_name(),
            _ => vec![part.clone()],
        }
    }
}

/// How many rows were read; `None` when there are more than `rows_max`.
async fn pour_part(
    reading: &mut Reading<'_>,
    grouped: &mut Grouped,
    part: &Part,
    rows_max: u64,
) -> Result<Option<u64>, HistoryError> {
    let mut seen = 0;
    for part in reading.statements(part) {
        match pour_statement(reading, grouped, &part, rows_max - seen).await? {
            Some(rows) => seen += rows,
            None => return Ok(None),
        }
    }
    crate::metrics::history_rows_read(seen);
    Ok(Some(seen))
}

async fn pour_statement(
    reading: &mut Reading<'_>,
    grouped: &mut Grouped,
    part: &Part,
    rows_max: u64,
) -> Result<Option<u64>, HistoryError> {
    let project = grouped.question().project;
    let last = if part.level == Level::TenSeconds { "bucket" } else { "last_10s" };
    let sql = format!(
        "select date_part('epoch', bucket)::bigint, series_id, count, errors, sum_us, min_us, max_us, histogram,
            date_part('epoch', {last})::bigint
        from {} where {} {} limit $6",
        reading.tables.of(part.level),
        part.condition(),
        reading.ids.as_ref().map_or("", |_| "and series_id = any ($7)")
    );
    let pieces = part
        .bind(sqlx::query(AssertSqlSafe(sql)), project)
        // One more than allowed tells that there were too many; without a limit the rest would have to be read off the
        // wire.
        .bind(signed(rows_max.saturating_add(1)));
    let mut rows = match &reading.ids {
        None => pieces,
        Some(ids) => pieces.bind(ids),
    }
    .fetch(&mut *reading.connection);
    let mut seen = 0u64;
    while let Some(row) = rows.try_next().await? {
        seen += 1;
        if seen > rows_max {
            return Ok(None);
        }
        let id: i64 = row.try_get(1)?;
        let Some(&(group, status)) = reading.series.get(&id) else { continue };
        grouped.add_piece(group, status, piece_of(&row)?)?;
    }
    Ok(Some(seen))
}

/// Only when the answer failed already: how many rows there would have been, counted to a bound.
async fn count_pieces(
    reading: &mut Reading<'_>,
    project: ProjectId,
    parts: &[Part],
    rows_max: u64,
) -> Result<u64, sqlx::Error> {
    let mut all = 0;
    for part in parts {
        let sql = format!(
            "select count(*) from (
                select from {} where {} and ($6::bigint[] is null or series_id = any ($6)) limit $7
            ) counted",
            reading.tables.of(part.level),
            part.condition()
        );
        let row = part
            .bind(sqlx::query(AssertSqlSafe(sql)), project)
            .bind(reading.ids.as_deref())
            .bind(signed(rows_max.saturating_mul(32)))
            .fetch_one(&mut *reading.connection)
            .await?;
        all += unsigned(row.try_get(0)?);
    }
    Ok(all)
}

/// The largest usual range that would fit, assuming rows spread evenly; four fifths of it, because they do not. A shorter range
/// may be read in finer buckets.
fn fitting_s(window: Window, rows_max: u64, rows: u64) -> Option<i64> {
    let width_s = |range_s: i64| {
        let step_s = if window.points() == 1 { range_s } else { window.step_s };
        let range = Window { from_s: window.to_s - range_s, to_s: window.to_s, step_s };
        let segments = plan(range, Horizons::default()).unwrap_or_default();
        segments.iter().map(|segment| segment.level.width_s()).max().unwrap_or(1)
    };
    let range_s = window.to_s - window.from_s;
    let fits = |shorter_s: &i64| {
        let finer = width_s(range_s) as f64 / width_s(*shorter_s) as f64;
        *shorter_s < range_s && rows as f64 * finer * *shorter_s as f64 / range_s as f64 <= rows_max as f64 * 0.8
    };
    RANGES_S.into_iter().rev().find(fits)
}

fn piece_of(row: &PgRow) -> Result<Piece<'_>, sqlx::Error> {
    let histogram: Option<&[u8]> = row.try_get(7)?;
    let totals = || -> Result<Totals, sqlx::Error> {
        let (min_us, max_us): (Option<i64>, Option<i64>) = (row.try_get(5)?, row.try_get(6)?);
        Ok(Totals {
            sum_us: unsigned(row.try_get(4)?),
            min_us: unsigned(min_us.unwrap_or_default()),
            max_us: unsigned(max_us.unwrap_or_default()),
        })
    };
    Ok(Piece {
        bucket_s: row.try_get(0)?,
        last_s: row.try_get(8)?,
        count: unsigned(row.try_get(2)?),
        errors: unsigned(row.try_get(3)?),
        latency: histogram.map(|bytes| totals().map(|totals| (bytes, totals))).transpose()?,
    })
}

/// The tables' checks keep counts and ids at 0 or above.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The furthest that an event can have ended after the log took it: the largest PEEP_INGEST_EVENT_AHEAD_MAX.
const AHEAD_MS_MAX: i64 = 86_400_000;
/// Of a facet: not in any class.
const NO_STATUS: u16 = 0;
const QUERY_CANCELED: &str = "57014";
/// Usually there are two: the last minutes, and a late straggler's.
const SPANS_MAX: usize = 16;
/// Buckets named one by one in a statement: one step down the index each.
const BUCKETS_MAX: i64 = 50_000;
/// With more series, most of the rows of a bucket are likely to be theirs, and many of the series to have none in it.
const NAMED_SERIES_MAX: usize = 2_000;
/// Series and buckets of one statement: beyond, most of what is asked for may not be there, and each miss is a step as well.
const NAMED_MAX: i64 = 500_000;
const DAY_S: i64 = 86_400;
const RANGES_S: [i64; 11] = [60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 7 * 86_400, 30 * 86_400];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_by_name_has_each_bucket_once_and_a_day_in_a_statement() {
        let part = Part { level: Level::Hour, from_s: -3600, to_s: DAY_S + 7200, buckets: None, above: None };
        let parts = part.by_name();
        let spans: Vec<_> = parts.iter().map(|part| (part.from_s, part.to_s)).collect();
        assert_eq!(spans, [(-3600, 0), (0, DAY_S), (DAY_S, DAY_S + 7200)]);
        let named: Vec<f64> = parts.into_iter().flat_map(|part| part.buckets.unwrap_or_default()).collect();
        assert_eq!(named, (-1..26).map(|hour| f64::from(hour * 3600)).collect::<Vec<_>>());
    }

    #[test]
    fn buckets_are_named_while_that_is_less_than_searching_them() {
        let day = |level| Part { level, from_s: 0, to_s: 7 * DAY_S, buckets: None, above: None };
        assert!(day(Level::Hour).is_worth_naming(2_000) && !day(Level::Hour).is_worth_naming(2_001));
        assert!(day(Level::Minute).is_worth_naming(300) && !day(Level::Minute).is_worth_naming(400));
    }

    #[test]
    fn the_suggested_range_would_have_fitted() {
        let whole = |range_s: i64| Window { from_s: 0, to_s: range_s, step_s: range_s };
        // In minutes already: twelve hours of minutes are a fourteenth of a week of hours, and sixty times as dense.
        assert_eq!(fitting_s(whole(7 * 86_400), 1_000_000, 7_000_000), Some(12 * 3600));
        assert_eq!(fitting_s(whole(600), 10, 11), Some(300));
        assert_eq!(fitting_s(whole(60), 10, 1000), None);
        let chart = Window { from_s: 0, to_s: 86_400, step_s: 10 };
        assert_eq!(fitting_s(chart, 1_000_000, 4_000_000), Some(3 * 3600));
    }
}
