//! The oracle: counts the log again, as naively as possible, and compares everything with Postgres.
//!
//! Arrives: the event log, from its first record on, and a database. Leaves: a [`Report`] that names each difference between
//! what the log says and what the tables say, up to the cursors of one moment: rollups of every level down to the histogram
//! bucket, dead letters, duplicates, the ledger, the memory of producers and series.
//!
//! Promises: independent judgement. Records are read with a protobuf library, histograms with a decoder held against the
//! `hdrhistogram` crate, and the rules are written a second time with maps and sets; no code is shared with the rollup or the
//! wire format. One repeatable-read transaction, so the rollup may go on working meanwhile. Nothing is written.
//!
//! Does not: look at the sample of raw events, at live frames, or at what is in the log beyond the cursors (it is counted).
//! Whether the log holds what clients were promised, nobody but the clients can say.
//!
//! The way: [`verify`] takes the snapshot and goes through the partitions one by one, which bounds the memory to one of them:
//! `partition` (what can be verified) → `reading` → `record` → `count` (with `producers`, `budget`, `latency`, `past`) → `ledger`, `rollups`,
//! `memory` (comparison) → `suspects` (a second reading for whoever differs) → `consistency` (what the tables must say to each
//! other, also about what the log no longer has) → [`report`].

mod record;

mod latency;

mod producers;

mod budget;

mod past;

mod count;

mod snapshot;

mod findings;

mod ledger;

mod rollups;

mod memory;

mod consistency;

mod suspects;

mod reading;

mod partition;

mod options;

pub mod report;

use peep_log::{Log, ReadError};
use sqlx::PgPool;

pub use crate::options::{Options, Progress, Rules};
pub use crate::report::Report;

use crate::findings::Findings;
use crate::partition::Verification;
use crate::snapshot::Snapshot;

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The database refused or went away.
    #[error("read the tables")]
    Database(#[from] sqlx::Error),
    /// The log refused or went away.
    #[error("read partition {partition} of the log")]
    Log {
        /// Which one.
        partition: u32,
        /// Why.
        source: ReadError,
    },
    /// More than may be held at once.
    #[error(
        "partition {partition} has more than {cells_max} series and windows at position {position}; allow more, it takes memory"
    )]
    TooManyCells {
        /// Which one.
        partition: u32,
        /// How far it was read.
        position: u64,
        /// The limit.
        cells_max: usize,
    },
    /// There is no such partition.
    #[error("partition {partition} was never counted: the rollup has no cursor for it")]
    NoCursor {
        /// Which one.
        partition: u32,
    },
}

/// Compares log and tables. `progress` is told now and then how far it is.
///
/// # Errors
/// [`VerifyError`]; a difference is none.
pub async fn verify(
    log: &dyn Log,
    pool: &PgPool,
    options: &Options,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, VerifyError> {
    let snapshot = &mut Snapshot::take(pool).await?;
    let cursors = snapshot.cursors().await?;
    let breaks = snapshot.breaks().await?;
    let series = snapshot.series().await?;
    let facets = snapshot.facets().await?;
    let wanted = |partition: u32| options.partitions.as_ref().is_none_or(|only| only.contains(&partition));
    let missing =
        options.partitions.iter().flatten().find(|only| !cursors.iter().any(|cursor| cursor.partition == **only));
    if let Some(partition) = missing {
        return Err(VerifyError::NoCursor { partition: *partition });
    }
    let mut findings = Findings::new(options.differences_max);
    let mut report = Report::default();
    for cursor in cursors.iter().filter(|cursor| wanted(cursor.partition)) {
        let breaks = breaks.iter().filter(|one| one.partition == cursor.partition).cloned().collect();
        let verification = Verification { log, options, cursor, breaks, series: &series, facets: &facets };
        let of_partition = verification.run(snapshot, &mut findings, progress).await?;
        report.events.add(&of_partition.events);
        report.partitions.push(of_partition);
    }
    for partition in (0..log.partitions()).filter(|partition| wanted(*partition)) {
        if !cursors.iter().any(|cursor| cursor.partition == partition) {
            findings.skipped(format!("partition {partition}: the rollup has never counted it"));
        }
    }
    consistency::check(snapshot, &wanted, &mut findings).await?;
    report.equal = findings.total == 0;
    report.complete = findings.not_compared.is_empty() && options.partitions.is_none();
    report.compared = findings.compared;
    report.differences_total = findings.total;
    report.differences = findings.kept;
    report.not_compared = findings.not_compared;
    Ok(report)
}
