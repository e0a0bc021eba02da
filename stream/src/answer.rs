//! Questions to answers: history and live parts joined, as JSON.
//!
//! Arrives: a parsed query and whose project it is about. Leaves: the body of `/v1/services`, `/v1/summary` and
//! `/v1/series`, and the snapshot a live topic starts from. Promises: an answer counts every event below some offset of
//! each partition exactly once, also what is not committed yet; at most a configured number of questions run at once,
//! the others wait briefly and are then told to come back. Does not: parse, authenticate or stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use peep_chassis::clock::Clock;
use peep_wire::ProjectId;
use peep_wire::histogram::ERROR_BOUND;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::closed::Closed;
use crate::columns::{Columns, Totals};
use crate::error::ApiError;
use crate::feed::Feed;
use crate::figures::Figures;
use crate::grouped::{Group, Grouped, Origin, Question, Room};
use crate::history::{self, Cursors, HistoryLimits, Reached};
use crate::labels::{Dimension, Filters, GroupBy, Source};
use crate::levels::Horizons;
use crate::metrics;
use crate::query::{Asked, Quantiles, SeriesQuery, ServicesQuery, SummaryQuery, Window};
use crate::releases::{self, ServiceFacets};

/// The bounds of one answer, and of all together.
#[derive(Debug, Clone, Copy)]
pub struct AnswerLimits {
    /// Questions that run at once.
    pub queries_max: usize,
    /// How long a question waits for its turn.
    pub queue_wait: Duration,
    /// Rows and time in the database.
    pub history: HistoryLimits,
    /// Memory of one answer.
    pub bytes_max: usize,
    /// Memory of all answers together.
    pub all_bytes_max: usize,
    /// Memory of sums that need not be read again.
    pub closed_bytes_max: usize,
    /// Groups in one answer; the rest is one group `(other)`.
    pub groups_max: usize,
}

/// Answers questions. Cheap to clone; clones share the limits.
#[derive(Clone)]
pub struct Answers {
    pool: PgPool,
    feed: Feed,
    clock: Clock,
    limits: AnswerLimits,
    turns: Arc<Semaphore>,
    room: Room,
    closed: Closed,
    /// As of the last answer: a question that finds others is planned again.
    horizons: Arc<Mutex<Horizons>>,
}

impl Answers {
    /// `pool` is only read from.
    pub fn new(pool: PgPool, feed: Feed, clock: Clock, limits: AnswerLimits) -> Self {
        let turns = Arc::new(Semaphore::new(limits.queries_max));
        let room = Room::new(limits.all_bytes_max);
        let closed = Closed::new(limits.closed_bytes_max);
        Self { pool, feed, clock, limits, turns, room, closed, horizons: Arc::default() }
    }

    /// `GET /v1/services`. With `env_shown`, other environments are not mentioned.
    pub async fn services(
        &self,
        project: ProjectId,
        query: ServicesQuery,
        env_shown: Option<&str>,
    ) -> Result<Vec<u8>, ApiError> {
        let group_by = GroupBy::new([Dimension::Service]);
        let filters = query.filters.clone();
        let answer = self.ask(project, query.asked, query.filters, group_by).await?;
        let facets = releases::of_services(&self.pool, project, &filters, answer.question().window).await?;
        let envs: Vec<String> =
            answer.envs().iter().filter(|env| env_shown.is_none_or(|shown| shown == *env)).cloned().collect();
        let quantiles = Quantiles::usual();
        self.table(answer, &quantiles, "services", Some((envs.as_slice(), &facets)))
    }

    /// `GET /v1/summary`
    pub async fn summary(&self, project: ProjectId, query: SummaryQuery) -> Result<Vec<u8>, ApiError> {
        let SummaryQuery { asked, filters, group_by, quantiles } = query;
        let answer = self.ask(project, asked, filters, group_by).await?;
        self.table(answer, &quantiles, "rows", None)
    }

    fn table(
        &self,
        answer: Grouped,
        quantiles: &Quantiles,
        name: &'static str,
        of_services: Option<(&[String], &BTreeMap<String, ServiceFacets>)>,
    ) -> Result<Vec<u8>, ApiError> {
        let (window, origin) = (answer.question().window, answer.origin());
        let elapsed_s = window.elapsed_s(self.clock.now_ms(), answer.newest().known_ms());
        let groups = answer.into_groups(self.limits.groups_max);
        let row = |group| {
            let facets = of_services.map(|(_, facets)| facets);
            Row { group, total: Group::total(group), elapsed_s, quantiles, facets }
        };
        let rows: Vec<Row<'_>> = groups.iter().map(row).collect();
        to_json(&Table { window, origin, name, envs: of_services.map(|(envs, _)| envs), rows })
    }

    /// `GET /v1/series`
    pub async fn series(&self, project: ProjectId, query: SeriesQuery) -> Result<Vec<u8>, ApiError> {
        let SeriesQuery { asked, filters, group_by, quantiles } = query;
        let is_grouped = group_by.is_some();
        let group_by = group_by.unwrap_or_default();
        let answer = self.ask_with(project, asked, filters, group_by, true).await?;
        let (window, origin) = (answer.question().window, answer.origin());
        // Of versions and hosts nobody counted statuses.
        let has_statuses = !matches!(answer.question().source(), Source::Facets(_));
        let groups = answer.into_groups(self.limits.groups_max);
        let columns = |group: Option<&Group>| {
            let mut columns = Columns::new(&quantiles);
            let steps = (window.from_s..window.to_s).step_by(window.step_s.unsigned_abs() as usize);
            steps.for_each(|at| columns.push(at, group.and_then(|group| group.steps.get(&at))));
            if !has_statuses {
                columns.forget_statuses();
            }
            columns
        };
        if is_grouped {
            let empty = columns(None);
            let groups: Vec<KeyedColumns<'_>> =
                groups.iter().map(|group| KeyedColumns { group, columns: columns(Some(group)) }).collect();
            return to_json(&Series { window, origin, t: empty.t(), columns: None, groups: Some(groups) });
        }
        let columns = columns(groups.first());
        to_json(&Series { window, origin, t: columns.t(), columns: Some(&columns), groups: None })
    }

    /// The figures of history and of everything beyond it that has been announced, with the offsets they reach.
    pub async fn stitched(&self, question: Question) -> Result<(Grouped, Cursors), ApiError> {
        self.answered(question, None).await
    }

    /// The groups of a question, most requests first, and the window that they are about.
    pub async fn groups(
        &self,
        project: ProjectId,
        asked: Asked,
        filters: Filters,
        group_by: GroupBy,
        groups_max: usize,
    ) -> Result<(Window, Vec<Group>), ApiError> {
        let answer = self.ask(project, asked, filters, group_by).await?;
        Ok((answer.question().window, answer.into_groups(groups_max)))
    }

    /// The figures behind `/v1/summary`: in whole buckets of what is kept of that time, without requests by status.
    pub async fn ask(
        &self,
        project: ProjectId,
        asked: Asked,
        filters: Filters,
        group_by: GroupBy,
    ) -> Result<Grouped, ApiError> {
        self.ask_with(project, asked, filters, group_by, false).await
    }

    async fn ask_with(
        &self,
        project: ProjectId,
        asked: Asked,
        filters: Filters,
        group_by: GroupBy,
        statuses: bool,
    ) -> Result<Grouped, ApiError> {
        let horizons = *self.horizons.lock();
        let window = asked.window(&horizons)?;
        let question = Question { project, window, filters, group_by, statuses };
        let (answer, _) = self.answered(question, Some(asked)).await?;
        Ok(answer)
    }

    /// With `asked`, the window may change to what is kept.
    async fn answered(&self, question: Question, asked: Option<Asked>) -> Result<(Grouped, Cursors), ApiError> {
        let turn = self.turn().await?;
        let (answers, timer) = (self.clone(), metrics::query_timer());
        // A task of its own, so that a client that leaves does not cancel it in the middle of a transaction.
        let task = tokio::spawn(async move {
            let answer = answers.read(question, asked).await;
            drop(turn);
            answer
        });
        let answer = task.await.map_err(|error| {
            tracing::error!(%error, "a question ended without an answer");
            ApiError::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer could not be computed")
        })?;
        timer.finish(answer.is_ok());
        answer
    }

    async fn read(&self, mut question: Question, asked: Option<Asked>) -> Result<(Grouped, Cursors), ApiError> {
        for attempt in 1.. {
            let mut answer = Grouped::within(question.clone(), self.limits.bytes_max, self.room.clone());
            let read = history::read(&self.pool, &mut answer, self.clock.now_ms(), self.limits.history, &self.closed);
            let read = read.await;
            let Reached { cursors, log_ms } = match (read, asked) {
                (Ok(reached), _) => reached,
                // Less is kept than was believed: with other steps it can be answered, unless they were asked for.
                (Err(history::HistoryError::TooFine(error)), Some(asked)) if attempt < STITCH_ATTEMPTS => {
                    *self.horizons.lock() = error.horizons;
                    let window = asked.window(&error.horizons)?;
                    if window == question.window {
                        return Err(error.to_api());
                    }
                    question.window = window;
                    continue;
                }
                (Err(error), _) => {
                    log(&error);
                    return Err(error.to_api());
                }
            };
            self.feed.learn_committed(&cursors);
            let continued = self.feed.continue_from(&cursors);
            if question.source() != Source::Series {
                // Frames know neither versions nor hosts: the answer is that of the last flush, and says so.
                let reaches = |partition: &u32, positions: &Cursors| positions.get(partition).map(|at| at.offset);
                let is_behind = |partition: &u32, has_more: bool| {
                    has_more || reaches(partition, &continued.positions) > reaches(partition, &cursors)
                };
                let behind = log_ms.iter().filter(|(partition, (_, has_more))| is_behind(partition, *has_more));
                let as_of_ms = behind.map(|(_, (log_ms, _))| *log_ms).min();
                answer.set_as_of(as_of_ms.unwrap_or_else(|| self.clock.now_ms()));
                return Ok((answer, cursors));
            }
            if (continued.gap || continued.superseded) && attempt < STITCH_ATTEMPTS {
                // The next commit closes a gap; so does a frame that is still on its way.
                metrics::stitch_retried();
                tokio::time::sleep(STITCH_PAUSE).await;
                continue;
            }
            // With a gap left, the frames before it are still right: the answer is exact as of an earlier moment.
            for frame in &continued.frames {
                answer.add_frame(frame).map_err(|error| history::HistoryError::from(error).to_api())?;
            }
            return Ok((answer, continued.positions));
        }
        unreachable!("the last attempt returns")
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        match tokio::time::timeout(self.limits.queue_wait, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(ApiError::overloaded("too many questions at once; try again in a moment")),
        }
    }

    /// For reads that are part of an answer, and the longest time for a statement.
    pub fn pool(&self) -> (&PgPool, Duration) {
        (&self.pool, self.limits.history.statement_timeout)
    }

    /// For other reads of the database that count as a question.
    pub async fn a_turn(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.turn().await
    }
}

/// Once, where it is handled: what the caller is told leaves the cause out.
fn log(error: &history::HistoryError) {
    use history::HistoryError;
    match error {
        HistoryError::Database(cause) => tracing::warn!(%cause, "reading the rollups failed"),
        HistoryError::Pour(cause @ crate::grouped::PourError::Histogram(_)) => {
            tracing::error!(%cause, "a stored histogram is unreadable");
        }
        HistoryError::TooManyRows { .. }
        | HistoryError::TooFine(_)
        | HistoryError::NotExact(_)
        | HistoryError::Pour(_) => {
            tracing::debug!(%error, "refused a question")
        }
    }
}

/// The body of an answer.
pub fn to_json(body: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    Ok(serde_json::to_vec(body).expect("maps with text keys and finite numbers are always JSON"))
}

struct Table<'a> {
    window: Window,
    origin: Origin,
    name: &'static str,
    envs: Option<&'a [String]>,
    rows: Vec<Row<'a>>,
}

impl Serialize for Table<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        serialize_range(&mut map, self.window)?;
        self.origin.serialize_into(&mut map)?;
        if let Some(envs) = self.envs {
            map.serialize_entry("envs", envs)?;
        }
        map.serialize_entry(self.name, &self.rows)?;
        map.end()
    }
}

struct Row<'a> {
    group: &'a Group,
    total: Figures,
    elapsed_s: f64,
    quantiles: &'a Quantiles,
    /// By service, in the list of services.
    facets: Option<&'a BTreeMap<String, ServiceFacets>>,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.group.key.serialize_into(&mut map)?;
        let totals = Totals { figures: &self.total, elapsed_s: self.elapsed_s, quantiles: self.quantiles };
        totals.serialize_into(&mut map)?;
        match self.group.seen_ms {
            Some((first_ms, last_ms)) => {
                map.serialize_entry("first_seen_ms", &first_ms)?;
                map.serialize_entry("last_seen_ms", &last_ms)?;
            }
            None => map.serialize_entry("last_seen_ms", &self.group.last_seen.known_ms())?,
        }
        if let Some(facets) = self.facets {
            let none = ServiceFacets::default();
            let service = self.group.key.texts().into_iter().next().unwrap_or_default();
            facets.get(&service).unwrap_or(&none).serialize_into(&mut map, self.group.seen_ms.is_none())?;
        }
        map.end()
    }
}

struct Series<'a> {
    window: Window,
    origin: Origin,
    t: &'a [i64],
    columns: Option<&'a Columns>,
    groups: Option<Vec<KeyedColumns<'a>>>,
}

impl Serialize for Series<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("step_ms", &(self.window.step_s * 1000))?;
        serialize_range(&mut map, self.window)?;
        self.origin.serialize_into(&mut map)?;
        map.serialize_entry("t", self.t)?;
        if let Some(columns) = self.columns {
            columns.serialize_values_into(&mut map)?;
        }
        if let Some(groups) = &self.groups {
            map.serialize_entry("groups", groups)?;
        }
        map.end()
    }
}

struct KeyedColumns<'a> {
    group: &'a Group,
    columns: Columns,
}

impl Serialize for KeyedColumns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key", &self.group.key)?;
        self.columns.serialize_values_into(&mut map)?;
        map.end()
    }
}

/// What was answered, which may be wider than what was asked: whole buckets.
pub fn serialize_range<M: SerializeMap>(map: &mut M, window: Window) -> Result<(), M::Error> {
    map.serialize_entry("from_ms", &(window.from_s * 1000))?;
    map.serialize_entry("to_ms", &(window.to_s * 1000))?;
    map.serialize_entry("error_bound", &ERROR_BOUND)
}

const STITCH_ATTEMPTS: u32 = 3;
/// Longer than a frame is on its way.
const STITCH_PAUSE: Duration = Duration::from_millis(150);
