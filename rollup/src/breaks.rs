//! Logs that are not the ones that were counted, and the person who accepts it.
//!
//! Arrives: a partition whose consumer stopped (`consumer` calls it broken). Leaves: what exactly is wrong with its log
//! ([`examine`]), what going on would cost ([`Examination::plan`]), and, once a person agrees, a cursor in a new generation of
//! positions and a row that says so for ever ([`accept`]).
//!
//! How it is found out: the log's own range tells what expired. The fingerprints in the ledger tell how far the log is still
//! the one that was counted: up to the last one that matches the record before it, everything is the same; when none matches,
//! the log is another one.
//!
//! Promises: nothing is moved that a worker could still count, that changed since it was examined, or that is not damaged.
//! Losses are exact where they can be known, and said to be unknown where not.
//!
//! Does not: decide. No program calls [`accept`] by itself.

use std::fmt;
use std::time::Duration;

use peep_log::{Log, LogRecord, Offset, Partition, ReadError, Watermarks};
use sqlx::PgPool;

use crate::partition::Fingerprint;
use crate::position::Position;
use crate::postgres::breaks as sql;

pub use sql::PartitionRow;

/// What is wrong with the log of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Records between the cursor and `found` are gone: expired, or missing in the middle.
    Expired {
        /// The first record that is still there.
        found: Offset,
    },
    /// The log is the same up to `common`; what was counted beyond is not in it any more.
    Truncated {
        /// The last place at which log and ledger agree.
        common: Offset,
    },
    /// Nothing in the log is what was counted.
    Replaced,
}

/// Where to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResumeAt {
    /// Where nothing is lost that is still there.
    Best,
    /// At the first record of the log.
    Low,
    /// Behind its last record.
    High,
    /// At an offset in between.
    Offset(Offset),
}

/// A partition with a damaged log.
#[derive(Debug, Clone)]
pub struct Examination {
    /// As it was; [`accept`] refuses when it has moved.
    pub row: PartitionRow,
    /// The readable range of the log.
    pub low: Offset,
    /// One behind the last record.
    pub high: Offset,
    /// What is wrong.
    pub damage: Damage,
}

/// What [`accept`] will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Partition of the event log.
    pub partition: u32,
    /// The cursor now.
    pub before: Position,
    /// The cursor then.
    pub after: Position,
    /// For the table.
    pub kind: &'static str,
    /// Records that were acknowledged and will never be counted; `None` when nobody can know.
    pub records_lost: Option<u64>,
    /// Records that may have been counted and will be read again.
    pub records_read_again: u64,
    /// For people.
    pub reason: String,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum BreakError {
    /// No such partition.
    #[error("partition {0} has never been counted; `peep log status` shows all")]
    Unknown(u32),
    /// There is nothing to accept.
    #[error("partition {partition} is not broken: the log has what the cursor says{hint}")]
    NotBroken {
        /// Of the log.
        partition: u32,
        /// Why it may have been called broken all the same.
        hint: String,
    },
    /// An offset outside of the log.
    #[error("offset {0} is outside of the log, which holds {1} to {2}")]
    Outside(Offset, Offset, Offset),
    /// A worker, or another person, was faster.
    #[error("the cursor has moved meanwhile; nothing was changed, look again")]
    Moved,
    /// The log does not answer.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The database does not answer, or refuses.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

/// Every partition, as the database knows it.
///
/// # Errors
/// When the database does not answer.
pub async fn status(pool: &PgPool) -> sqlx::Result<Vec<PartitionRow>> {
    sql::partitions(pool).await
}

/// Finds out what is wrong with the log of a partition. Changes nothing.
///
/// # Errors
/// [`BreakError::NotBroken`] when nothing is, and when log or database do not answer.
pub async fn examine(pool: &PgPool, log: &dyn Log, partition: u32) -> Result<Examination, BreakError> {
    let rows = sql::partitions(pool).await?;
    let row = rows.into_iter().find(|row| row.partition == partition).ok_or(BreakError::Unknown(partition))?;
    let Watermarks { low, high } = log.watermarks(Partition(partition)).await?;
    let next = row.next.offset();
    let damage = if next < low {
        Some(Damage::Expired { found: low })
    } else if next <= high && is_same(log, partition, low, next, row.fingerprint.as_ref()).await? {
        gap(log, partition, next, high).await?
    } else {
        Some(diverged(pool, log, &row, low, high).await?)
    };
    let not_broken = || {
        let hint = row.broken_reason.as_ref().map_or_else(String::new, |reason| format!(" (a worker said: {reason})"));
        BreakError::NotBroken { partition, hint }
    };
    let damage = damage.ok_or_else(not_broken)?;
    Ok(Examination { row, low, high, damage })
}

/// Moves the cursor as planned and books the break.
///
/// # Errors
/// [`BreakError::Moved`] when the partition is not as it was examined.
pub async fn accept(pool: &PgPool, log: &dyn Log, plan: &Plan, by: &str) -> Result<(), BreakError> {
    let resume = plan.after.offset();
    let before = match resume.0.checked_sub(1) {
        Some(before) if Offset(before) >= log.watermarks(Partition(plan.partition)).await?.low => {
            record_at(log, plan.partition, Offset(before)).await?
        }
        _ => None,
    };
    let fingerprint = before.map(|record| Fingerprint::of(&record.payload));
    if sql::accept(pool, plan, fingerprint.as_ref(), by).await? { Ok(()) } else { Err(BreakError::Moved) }
}

impl Examination {
    /// What going on at a place would cost.
    ///
    /// # Errors
    /// [`BreakError::Outside`].
    pub fn plan(&self, resume: ResumeAt) -> Result<Plan, BreakError> {
        let best = match self.damage {
            Damage::Expired { found } => found,
            // Read again from there: batches with an identity are recognised, so that nothing is lost and nothing doubled.
            Damage::Truncated { common } => common,
            Damage::Replaced => self.low,
        };
        let at = match resume {
            ResumeAt::Best => best,
            ResumeAt::Low => self.low,
            ResumeAt::High => self.high,
            ResumeAt::Offset(offset) => offset,
        };
        if at < self.low || at > self.high {
            return Err(BreakError::Outside(at, self.low, self.high));
        }
        let next = self.row.next.offset();
        let (kind, records_lost, records_read_again) = match self.damage {
            Damage::Expired { .. } => ("expired", Some(at.0.saturating_sub(next.0)), next.0.saturating_sub(at.0)),
            // Beyond the common part nobody knows which records were counted.
            Damage::Truncated { common } if at > common => ("truncated", None, 0),
            Damage::Truncated { .. } => ("truncated", Some(0), self.high.0.min(next.0) - at.0.min(next.0)),
            Damage::Replaced => ("replaced", None, 0),
        };
        Ok(Plan {
            partition: self.row.partition,
            before: self.row.next,
            after: Position::new(self.row.next.generation() + 1, at),
            kind,
            records_lost,
            records_read_again,
            reason: self.to_string(),
        })
    }
}

impl fmt::Display for Examination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (next, low, high) = (self.row.next.offset(), self.low, self.high);
        match self.damage {
            Damage::Expired { found } => {
                write!(f, "the cursor is at offset {next}, the log goes on at {found}: what was between is gone")
            }
            Damage::Truncated { common } => write!(
                f,
                "the cursor is at offset {next}, the log holds {low} to {high} and is the one that was counted only up to {common}"
            ),
            Damage::Replaced => write!(
                f,
                "the cursor is at offset {next}, the log holds {low} to {high}, and none of it is what was counted"
            ),
        }
    }
}

/// Whether the record before `next` is the one that was counted, as far as that can be known.
async fn is_same(
    log: &dyn Log,
    partition: u32,
    low: Offset,
    next: Offset,
    fingerprint: Option<&Fingerprint>,
) -> Result<bool, ReadError> {
    let Some(fingerprint) = fingerprint.filter(|_| next > low) else { return Ok(true) };
    let before = record_at(log, partition, Offset(next.0 - 1)).await?;
    Ok(before.is_some_and(|record| Fingerprint::of(&record.payload) == *fingerprint))
}

/// Missing records at the cursor.
async fn gap(log: &dyn Log, partition: u32, next: Offset, high: Offset) -> Result<Option<Damage>, ReadError> {
    if next == high {
        return Ok(None);
    }
    let mut reader = log.reader(Partition(partition), next).await?;
    let records = reader.next(1, READ_WAIT).await?;
    match records.first() {
        Some(first) if first.offset > next => Ok(Some(Damage::Expired { found: first.offset })),
        Some(_) => Ok(None),
        None => Err(late(next)),
    }
}

/// The last place at which log and ledger agree. What is the same is the same from the beginning on, so the ledger's rows
/// are searched from the end in strides that double, and then by halves.
async fn diverged(
    pool: &PgPool,
    log: &dyn Log,
    row: &PartitionRow,
    low: Offset,
    high: Offset,
) -> Result<Damage, BreakError> {
    let highest = row.next.at(high.min(row.next.offset()));
    let lowest = row.next.at(low);
    let mut differs = 0;
    let mut matches: Option<(u64, Offset)> = None;
    loop {
        let back = match matches {
            None if differs == 0 => 0,
            None => differs * 2,
            Some((back, common)) if back <= differs => return Ok(Damage::Truncated { common }),
            Some((back, _)) => differs + (back - differs) / 2,
        };
        // `differs` counts rows that are known to differ: 0 to differs - 1, from the end.
        let Some((at, fingerprint)) = sql::ledger_row(pool, row.partition, lowest, highest, back).await? else {
            // Fewer rows than that: the oldest one decides.
            let Some((oldest, at, fingerprint)) = sql::oldest_row(pool, row.partition, lowest, highest).await? else {
                return Ok(Damage::Replaced);
            };
            if oldest < differs || !is_same(log, row.partition, low, at.offset(), Some(&fingerprint)).await? {
                return Ok(Damage::Replaced);
            }
            matches = Some((oldest, at.offset()));
            continue;
        };
        if is_same(log, row.partition, low, at.offset(), Some(&fingerprint)).await? {
            matches = Some((back, at.offset()));
        } else {
            differs = back + 1;
        }
    }
}

async fn record_at(log: &dyn Log, partition: u32, offset: Offset) -> Result<Option<LogRecord>, ReadError> {
    let mut reader = log.reader(Partition(partition), offset).await?;
    let records = reader.next(1, READ_WAIT).await?;
    let first = records.into_iter().next().ok_or_else(|| late(offset))?;
    // Missing in the middle of a log.
    Ok(Some(first).filter(|record| record.offset == offset))
}

fn late(offset: Offset) -> ReadError {
    ReadError::Unavailable { reason: format!("the record at offset {offset} was not delivered in time") }
}

const READ_WAIT: Duration = Duration::from_secs(10);
