//! One moment of Postgres: every query of a verification sees the same committed state.
//!
//! Promises: read only, one repeatable-read transaction. The time-partitioned tables are locked against being dropped (and
//! against nothing else) before the snapshot is taken: a dropped partition would vanish even from an old snapshot. Retention
//! waits meanwhile and tries again.
//!
//! Does not: interpret. Rows come as they are.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{PgPool, Postgres, Row as _, Transaction};

use crate::count::{DeadLetter, Duplicate, FacetSeen};
use crate::findings::Row;
use crate::ledger::{DayRow, LedgerRow, ProjectRow};
use crate::memory::{SeenFacets, SeenRows};
use crate::producers::{Producer, Verdict};
use crate::record::Series;
use crate::report::{Books, instant};

/// See the module.
pub(crate) struct Snapshot {
    pub(crate) transaction: Transaction<'static, Postgres>,
    /// When it was taken, by the database's clock, Unix milliseconds.
    pub(crate) taken_ms: i64,
}

/// A row of `rollup_cursor`.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    pub(crate) partition: u32,
    pub(crate) next: u64,
    pub(crate) fingerprint: Option<Vec<u8>>,
    pub(crate) log_ms: i64,
    pub(crate) broken: Option<String>,
}

/// A row of `log_break`.
#[derive(Debug, Clone)]
pub(crate) struct LogBreak {
    pub(crate) partition: u32,
    pub(crate) after: u64,
    pub(crate) kind: String,
}

impl Snapshot {
    pub(crate) async fn take(pool: &PgPool) -> sqlx::Result<Self> {
        let mut transaction = pool.begin().await?;
        for sql in [
            "set transaction isolation level repeatable read, read only",
            // Between two queries the log is read, which takes as long as it takes.
            "set local idle_in_transaction_session_timeout = 0",
            "set local statement_timeout = 0",
            "lock table rollup_10s, rollup_1m, rollup_1h, facet_10s, facet_1m, facet_1h, ledger, ledger_project
                in access share mode",
        ] {
            sqlx::query(sql).execute(&mut *transaction).await?;
        }
        let now = "select floor(extract(epoch from now()) * 1000)::bigint";
        let taken_ms = sqlx::query_scalar(now).fetch_one(&mut *transaction).await?;
        Ok(Self { transaction, taken_ms })
    }

    pub(crate) async fn cursors(&mut self) -> sqlx::Result<Vec<Cursor>> {
        let sql = "select log_partition, next_offset, fingerprint, log_ms, broken_reason from rollup_cursor order by 1";
        let rows = sqlx::query(sql).fetch_all(&mut *self.transaction).await?;
        let cursor = |row: sqlx::postgres::PgRow| {
            Ok(Cursor {
                partition: row.try_get::<i32, _>(0)? as u32,
                next: row.try_get::<i64, _>(1)? as u64,
                fingerprint: row.try_get(2)?,
                log_ms: row.try_get(3)?,
                broken: row.try_get(4)?,
            })
        };
        rows.into_iter().map(cursor).collect()
    }

    pub(crate) async fn breaks(&mut self) -> sqlx::Result<Vec<LogBreak>> {
        let sql = "select log_partition, position_after, kind from log_break order by position_after";
        let rows = sqlx::query(sql).fetch_all(&mut *self.transaction).await?;
        let log_break = |row: sqlx::postgres::PgRow| {
            Ok(LogBreak {
                partition: row.try_get::<i32, _>(0)? as u32,
                after: row.try_get::<i64, _>(1)? as u64,
                kind: row.try_get(2)?,
            })
        };
        rows.into_iter().map(log_break).collect()
    }

    /// Every series by its id, with its project.
    pub(crate) async fn series(&mut self) -> sqlx::Result<BTreeMap<i64, (i64, Series)>> {
        let sql = "select series_id, project_id, service, env, route, method, status from series";
        let rows = sqlx::query(sql).fetch_all(&mut *self.transaction).await?;
        let series = |row: sqlx::postgres::PgRow| {
            let series = Series {
                service: row.try_get(2)?,
                env: row.try_get(3)?,
                route: row.try_get(4)?,
                method: row.try_get(5)?,
                status: row.try_get::<i16, _>(6)? as u16,
            };
            Ok((row.try_get(0)?, (row.try_get(1)?, series)))
        };
        rows.into_iter().map(series).collect()
    }

    /// Every version and host by its id, with its project.
    pub(crate) async fn facets(&mut self) -> sqlx::Result<BTreeMap<i64, (i64, Series)>> {
        let sql = "select facet_id, project_id, env, service, kind, value from facet";
        let rows = sqlx::query(sql).fetch_all(&mut *self.transaction).await?;
        let facet = |row: sqlx::postgres::PgRow| {
            let facet = Series::facet(row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
            Ok((row.try_get(0)?, (row.try_get(1)?, facet)))
        };
        rows.into_iter().map(facet).collect()
    }

    /// Rows of `facet_seen`, by facet.
    pub(crate) async fn facets_seen(
        &mut self,
        partition: u32,
        facets: &BTreeMap<i64, (i64, Series)>,
    ) -> sqlx::Result<BTreeMap<(i64, Series), FacetSeen>> {
        let sql = "select facet_id, first_ms, last_ms from facet_seen where log_partition = $1";
        let mut seen = BTreeMap::new();
        for row in sqlx::query(sql).bind(partition as i32).fetch_all(&mut *self.transaction).await? {
            let id: i64 = row.try_get(0)?;
            let unknown = || (0, Series::facet("", "", "facet", &id.to_string()));
            let facet = facets.get(&id).cloned().unwrap_or_else(unknown);
            seen.insert(facet, FacetSeen { first_ms: row.try_get(1)?, last_ms: row.try_get(2)? });
        }
        Ok(seen)
    }

    /// Rows of `facet_budget` of a day and the day before, by day, project and scope.
    pub(crate) async fn facets_budgeted(&mut self, partition: u32, day: i64) -> sqlx::Result<SeenFacets> {
        let sql = "select day::bigint, project_id, scope, hashes from facet_budget
            where log_partition = $1 and day between $2 - 1 and $2";
        let mut seen = SeenFacets::new();
        for row in sqlx::query(sql).bind(partition as i32).bind(day).fetch_all(&mut *self.transaction).await? {
            let hashes: &[u8] = row.try_get(3)?;
            let hashes = hashes.as_chunks::<8>().0.iter().map(|hash| u64::from_be_bytes(*hash));
            let scope = row.try_get::<i64, _>(2)? as u64;
            seen.entry((row.try_get(0)?, row.try_get(1)?, scope)).or_default().0.extend(hashes);
        }
        Ok(seen)
    }

    /// Ranges that were counted without versions and hosts.
    pub(crate) async fn facetless(&mut self, partition: u32) -> sqlx::Result<Vec<std::ops::Range<u64>>> {
        let sql = "select from_offset, to_offset from ledger where log_partition = $1 and not has_facets";
        let rows = sqlx::query(sql).bind(partition as i32).fetch_all(&mut *self.transaction).await?;
        rows.iter().map(|row| Ok(row.try_get::<i64, _>(0)? as u64..row.try_get::<i64, _>(1)? as u64)).collect()
    }

    /// Rows of `ledger` of a partition that end after a position, by where they end.
    pub(crate) async fn ledger(&mut self, partition: u32, after: u64) -> sqlx::Result<BTreeMap<u64, LedgerRow>> {
        let sql =
            "select to_offset, from_offset, records, records_unreadable, accepted, rolled_up, dead_lettered, duplicate,
                unidentified, uncertain, folded, fingerprint, floor(extract(epoch from appended_at) * 1000)::bigint
            from ledger where log_partition = $1 and to_offset > $2";
        let rows = sqlx::query(sql).bind(partition as i32).bind(after as i64).fetch_all(&mut *self.transaction).await?;
        let ledger_row = |row: sqlx::postgres::PgRow| {
            let number = |at: usize| row.try_get::<i64, _>(at).map(|number| number as u64);
            let events = Books {
                records: number(2)?,
                records_unreadable: number(3)?,
                accepted: number(4)?,
                rolled_up: number(5)?,
                dead_lettered: number(6)?,
                duplicate: number(7)?,
                unidentified: number(8)?,
                uncertain: number(9)?,
                folded: number(10)?,
            };
            let ledger_row =
                LedgerRow { from: number(1)?, events, fingerprint: row.try_get(11)?, appended_ms: row.try_get(12)? };
            Ok((number(0)?, ledger_row))
        };
        rows.into_iter().map(ledger_row).collect()
    }

    /// Rows of `ledger_project` that end after a position, by project, minute (Unix seconds) and where they end.
    pub(crate) async fn ledger_project(
        &mut self,
        partition: u32,
        after: u64,
    ) -> sqlx::Result<BTreeMap<(i64, i64, u64), ProjectRow>> {
        let sql =
            "select project_id, extract(epoch from minute)::bigint, to_offset, accepted, rolled_up, dead_lettered,
                duplicate, unidentified, uncertain, folded
            from ledger_project where log_partition = $1 and to_offset > $2";
        let rows = sqlx::query(sql).bind(partition as i32).bind(after as i64).fetch_all(&mut *self.transaction).await?;
        let project_row = |row: sqlx::postgres::PgRow| {
            let number = |at: usize| row.try_get::<i64, _>(at).map(|number| number as u64);
            let events = Books {
                accepted: number(3)?,
                rolled_up: number(4)?,
                dead_lettered: number(5)?,
                duplicate: number(6)?,
                unidentified: number(7)?,
                uncertain: number(8)?,
                folded: number(9)?,
                ..Books::default()
            };
            Ok(((row.try_get(0)?, row.try_get(1)?, number(2)?), ProjectRow(events)))
        };
        rows.into_iter().map(project_row).collect()
    }

    /// Rows of `ledger_day`, by project and day since 1970.
    pub(crate) async fn ledger_day(&mut self, partition: u32) -> sqlx::Result<BTreeMap<(i64, i64), DayRow>> {
        let sql =
            "select project_id, (day - date '1970-01-01')::bigint, rolled_up from ledger_day where log_partition = $1";
        let rows = sqlx::query(sql).bind(partition as i32).fetch_all(&mut *self.transaction).await?;
        let day_row = |row: sqlx::postgres::PgRow| {
            Ok(((row.try_get(0)?, row.try_get(1)?), DayRow(row.try_get::<i64, _>(2)? as u64)))
        };
        rows.into_iter().map(day_row).collect()
    }

    /// Rows of `dead_letter` from a position on.
    pub(crate) async fn dead_letters(
        &mut self,
        partition: u32,
        from: u64,
    ) -> sqlx::Result<BTreeMap<(u64, u32), DeadLetter>> {
        let sql = "select log_offset, event_index, reason, project_id, events, bytes, key_id, received_ms,
                coalesce(floor(extract(epoch from appended_at) * 1000)::bigint, 0)
            from dead_letter where log_partition = $1 and log_offset >= $2";
        let rows = sqlx::query(sql).bind(partition as i32).bind(from as i64).fetch_all(&mut *self.transaction).await?;
        let dead_letter = |row: sqlx::postgres::PgRow| {
            let bytes: &[u8] = row.try_get(5)?;
            let dead_letter = DeadLetter {
                reason: row.try_get(2)?,
                project: row.try_get(3)?,
                key: row.try_get(6)?,
                received_ms: row.try_get(7)?,
                appended_ms: row.try_get(8)?,
                events: row.try_get::<Option<i32>, _>(4)?.map(|events| events as u32),
                bytes_len: bytes.len() as u64,
                bytes_crc32: crc32fast::hash(bytes),
            };
            Ok(((row.try_get::<i64, _>(0)? as u64, row.try_get::<i32, _>(1)? as u32), dead_letter))
        };
        rows.into_iter().map(dead_letter).collect()
    }

    /// Rows of `duplicate_batch` from a position on.
    pub(crate) async fn duplicates(
        &mut self,
        partition: u32,
        from: u64,
    ) -> sqlx::Result<BTreeMap<(u64, u32), Duplicate>> {
        let sql = "select log_offset, project_id, producer, seq, part, events, event_index
            from duplicate_batch where log_partition = $1 and log_offset >= $2";
        let rows = sqlx::query(sql).bind(partition as i32).bind(from as i64).fetch_all(&mut *self.transaction).await?;
        let duplicate = |row: sqlx::postgres::PgRow| {
            let duplicate = Duplicate {
                project: row.try_get(1)?,
                producer: row.try_get::<uuid::Uuid, _>(2)?.into_bytes(),
                seq: row.try_get::<i64, _>(3)? as u64,
                part: row.try_get::<i32, _>(4)? as u32,
                events: row.try_get::<i32, _>(5)? as u32,
            };
            Ok(((row.try_get::<i64, _>(0)? as u64, row.try_get::<i32, _>(6)? as u32), duplicate))
        };
        rows.into_iter().map(duplicate).collect()
    }

    /// Rows of `dedup_window`; `None` for one that makes no sense.
    pub(crate) async fn windows(
        &mut self,
        partition: u32,
    ) -> sqlx::Result<BTreeMap<(i64, [u8; 16]), Option<Producer>>> {
        let sql = "select project_id, producer, high_seq, begun_seq, last_offset, last_ms, seen, partial, last_event
            from dedup_window where log_partition = $1";
        let rows = sqlx::query(sql).bind(partition as i32).fetch_all(&mut *self.transaction).await?;
        let window = |row: sqlx::postgres::PgRow| {
            let number = |at: usize| row.try_get::<i64, _>(at).map(|number| number as u64);
            let numbers = [number(2)?, number(3)?, number(4)?];
            let producer = Producer::stored(
                numbers,
                row.try_get::<i32, _>(8)? as u32,
                row.try_get(5)?,
                row.try_get(6)?,
                row.try_get(7)?,
            );
            Ok(((row.try_get(0)?, row.try_get::<uuid::Uuid, _>(1)?.into_bytes()), producer))
        };
        rows.into_iter().map(window).collect()
    }

    /// Rows of `series_budget` of a day and the day before, by day and project.
    pub(crate) async fn seen(&mut self, partition: u32, day: i64) -> sqlx::Result<SeenRows> {
        let sql = "select day::bigint, project_id, hashes from series_budget
            where log_partition = $1 and day between $2 - 1 and $2";
        let mut seen = SeenRows::new();
        for row in sqlx::query(sql).bind(partition as i32).bind(day).fetch_all(&mut *self.transaction).await? {
            let hashes: &[u8] = row.try_get(2)?;
            let hashes = hashes.as_chunks::<8>().0.iter().map(|hash| u64::from_be_bytes(*hash));
            seen.entry((row.try_get(0)?, row.try_get(1)?)).or_default().0.extend(hashes);
        }
        Ok(seen)
    }

    /// Since when each level is complete by itself.
    pub(crate) async fn horizons(&mut self) -> sqlx::Result<Horizons> {
        let mut horizons = Horizons::default();
        let sql = "select level, extract(epoch from since)::bigint from rollup_horizon";
        for row in sqlx::query(sql).fetch_all(&mut *self.transaction).await? {
            match row.try_get(0)? {
                "10s" => horizons.ten_seconds_s = row.try_get(1)?,
                "1m" => horizons.minute_s = row.try_get(1)?,
                _ => horizons.hour_s = row.try_get(1)?,
            }
        }
        Ok(horizons)
    }

    /// How far the levels of series, or those of facets, of a partition are made.
    pub(crate) async fn done(&mut self, partition: u32, [minute, hour]: [&str; 2]) -> sqlx::Result<Done> {
        let mut done = Done::default();
        let sql = "select level, done_offset from rollup_level where log_partition = $1";
        for row in sqlx::query(sql).bind(partition as i32).fetch_all(&mut *self.transaction).await? {
            let (level, offset): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
            if level == minute {
                done.minute = offset as u64;
            } else if level == hour {
                done.hour = offset as u64;
            }
        }
        Ok(done)
    }

    /// What the rows of `rollup_touched` say is still to be raised, by level, project and flush.
    pub(crate) async fn touched(&mut self, partition: u32) -> sqlx::Result<BTreeMap<TouchedKey, Touched>> {
        let sql =
            "select level, project_id, up_to_offset, buckets, events from rollup_touched where log_partition = $1";
        self.touched_rows(sql, partition).await
    }

    /// What they should say, by the pieces themselves.
    pub(crate) async fn untouched(&mut self, partition: u32) -> sqlx::Result<BTreeMap<TouchedKey, Touched>> {
        let sql = "
            select '10s', project_id, up_to_offset,
                array_agg(distinct floor(extract(epoch from bucket) / 60)::bigint * 60), sum(count)::bigint
            from rollup_10s
            where log_partition = $1 and up_to_offset >
                coalesce((select done_offset from rollup_level where log_partition = $1 and level = '1m'), 0)
            group by project_id, up_to_offset
            union all
            select '1m', project_id, up_to_offset,
                array_agg(distinct floor(extract(epoch from bucket) / 3600)::bigint * 3600), sum(count)::bigint
            from rollup_1m
            where log_partition = $1 and up_to_offset >
                coalesce((select done_offset from rollup_level where log_partition = $1 and level = '1h'), 0)
            group by project_id, up_to_offset
            union all
            select 'facet_10s', project_id, up_to_offset,
                array_agg(distinct floor(extract(epoch from bucket) / 60)::bigint * 60), sum(count)::bigint
            from facet_10s
            where log_partition = $1 and up_to_offset >
                coalesce((select done_offset from rollup_level where log_partition = $1 and level = 'facet_1m'), 0)
            group by project_id, up_to_offset
            union all
            select 'facet_1m', project_id, up_to_offset,
                array_agg(distinct floor(extract(epoch from bucket) / 3600)::bigint * 3600), sum(count)::bigint
            from facet_1m
            where log_partition = $1 and up_to_offset >
                coalesce((select done_offset from rollup_level where log_partition = $1 and level = 'facet_1h'), 0)
            group by project_id, up_to_offset";
        self.touched_rows(sql, partition).await
    }

    async fn touched_rows(&mut self, sql: &'static str, partition: u32) -> sqlx::Result<BTreeMap<TouchedKey, Touched>> {
        let rows = sqlx::query(sql).bind(partition as i32).fetch_all(&mut *self.transaction).await?;
        let touched = |row: sqlx::postgres::PgRow| {
            let buckets: Vec<i64> = row.try_get(3)?;
            let touched = Touched { buckets: buckets.into_iter().collect(), events: row.try_get::<i64, _>(4)? as u64 };
            Ok(((row.try_get(0)?, row.try_get(1)?, row.try_get::<i64, _>(2)? as u64), touched))
        };
        rows.into_iter().map(touched).collect()
    }

    /// Where the first range of the ledger begins that begins at or after a position.
    pub(crate) async fn first_range(&mut self, partition: u32, position: u64) -> sqlx::Result<Option<u64>> {
        let sql = "select min(from_offset) from ledger where log_partition = $1 and from_offset >= $2";
        let query = sqlx::query_scalar(sql).bind(partition as i32).bind(position as i64);
        let first: Option<i64> = query.fetch_one(&mut *self.transaction).await?;
        Ok(first.map(|first| first as u64))
    }

    /// When the log had taken every record before a position, Unix milliseconds; `None` when no book knows.
    pub(crate) async fn appended_before(&mut self, partition: u32, position: u64) -> sqlx::Result<Option<i64>> {
        let sql = "select floor(extract(epoch from max(appended_at)) * 1000)::bigint
            from ledger where log_partition = $1 and to_offset <= $2";
        sqlx::query_scalar(sql).bind(partition as i32).bind(position as i64).fetch_one(&mut *self.transaction).await
    }
}

/// Since when each level holds every event, Unix seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Horizons {
    pub(crate) ten_seconds_s: i64,
    pub(crate) minute_s: i64,
    pub(crate) hour_s: i64,
}

/// Every piece of the level below up to these positions is in the level.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    pub(crate) minute: u64,
    pub(crate) hour: u64,
}

/// Level, project and where the flush ended.
pub(crate) type TouchedKey = (String, i64, u64);

/// A row of `rollup_touched`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Touched {
    buckets: BTreeSet<i64>,
    events: u64,
}

impl Row for Touched {
    fn columns(&self) -> Vec<(&'static str, String)> {
        let text = |bucket: Option<&i64>| bucket.map_or_else(|| "nowhere".to_owned(), |bucket| instant(*bucket));
        let (first, last) = (text(self.buckets.first()), text(self.buckets.last()));
        let sum: i128 = self.buckets.iter().map(|bucket| i128::from(*bucket)).sum();
        let buckets = format!("{} from {first} to {last}, sum {sum}", self.buckets.len());
        vec![("buckets", buckets), ("events", self.events.to_string())]
    }
}

/// What the tables say about whole batches.
pub(crate) fn told(
    duplicates: &BTreeMap<(u64, u32), Duplicate>,
    dead_letters: &BTreeMap<(u64, u32), DeadLetter>,
) -> BTreeMap<(u64, u32), Verdict> {
    let came_again = duplicates.keys().map(|batch| (*batch, Verdict::Duplicate));
    let refused = dead_letters.iter().filter_map(|(batch, dead_letter)| match dead_letter.reason.as_str() {
        crate::count::BELOW_WINDOW => Some((*batch, Verdict::BelowWindow)),
        crate::count::CONFLICT => Some((*batch, Verdict::Conflict)),
        _ => None,
    });
    came_again.chain(refused).collect()
}
