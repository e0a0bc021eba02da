//! What is in the log and not counted yet.
//!
//! Arrives: the cursors of a snapshot. Leaves: how many events of one project lie beyond them, by the headers of their
//! records. Promises: bounded in bytes and time; a number that is only a lower bound says so, and why. Does not: look at
//! events, or decide what will become of them (some may prove to be duplicates).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use peep_log::{Log, Offset, Partition, ReadError};
use peep_wire::ProjectId;
use peep_wire::record;
use tokio::time::{Instant, timeout_at};

use super::Cursor;
use crate::position::offset;
use crate::query::ReconcileQuery;

/// What reading may cost.
#[derive(Debug, Clone, Copy)]
pub struct TailLimits {
    /// Of all partitions together.
    pub bytes_max: usize,
    /// From the first question to the last record.
    pub time_max: Duration,
}

/// Events beyond the cursors.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Of the project, in the range asked for.
    pub events: u64,
    /// Why there may be more.
    short: Option<String>,
}

impl Tail {
    /// Reads all partitions at once.
    pub async fn read(
        events: Option<&Arc<dyn Log>>,
        project: ProjectId,
        cursors: &[Cursor],
        query: ReconcileQuery,
        limits: TailLimits,
    ) -> Self {
        let Some(log) = events else {
            return Self { events: 0, short: Some("this process does not read the event log".to_owned()) };
        };
        let deadline = Instant::now() + limits.time_max;
        let bytes_max = limits.bytes_max / (log.partitions().max(1) as usize);
        // Partitions that the rollup has not opened yet are counted from their beginning.
        let next = |partition: u32| {
            let cursor = cursors.iter().find(|cursor| cursor.partition == partition);
            (partition, cursor.map_or(0, |cursor| cursor.next), cursor.and_then(|cursor| cursor.blocked.clone()))
        };
        let one = |(partition, next, blocked): (u32, u64, Option<String>)| async move {
            let from = Offset(offset(next));
            let mut tail = Self::default();
            let read = tail.read_one(&**log, Partition(partition), from, project, query, bytes_max);
            let why = match timeout_at(deadline, read).await {
                Ok(Ok(())) => None,
                Ok(Err(why)) => Some(why),
                Err(_) => Some("reading it takes too long".to_owned()),
            };
            if let Some(why) = blocked.or(why) {
                tail.short = Some(format!("partition {partition}: {why}"));
            }
            tail
        };
        let all = join_all((0..log.partitions()).map(next).map(one)).await;
        all.into_iter()
            .fold(Self::default(), |sum, one| Self { events: sum.events + one.events, short: sum.short.or(one.short) })
    }

    /// Whether it is the number, and not only a lower bound.
    pub fn is_exact(&self) -> bool {
        self.short.is_none()
    }

    /// Why it is only a lower bound.
    pub fn note(&self) -> Option<&str> {
        self.short.as_deref()
    }

    async fn read_one(
        &mut self,
        log: &dyn Log,
        partition: Partition,
        from: Offset,
        project: ProjectId,
        query: ReconcileQuery,
        bytes_max: usize,
    ) -> Result<(), String> {
        let marks = log.watermarks(partition).await.map_err(say)?;
        if marks.high == from {
            return Ok(());
        }
        let mut reader = log.reader(partition, from).await.map_err(say)?;
        let (mut next, mut left) = (from, bytes_max);
        while next < marks.high {
            if left == 0 {
                return Err("there is more than one answer may read".to_owned());
            }
            let records = reader.next(left.min(READ_BYTES), READ_WAIT).await.map_err(say)?;
            for read in &records {
                next = read.offset.plus(1);
                left = left.saturating_sub(read.payload.len());
                if read.offset >= marks.high || !(query.from_ms..query.to_ms).contains(&read.appended_ms) {
                    continue;
                }
                // A record that cannot be read is nobody's.
                let Ok(opened) = record::open(&read.payload) else { continue };
                let ours = opened.batches().filter(|batch| batch.header.project == project);
                self.events += ours.map(|batch| u64::from(batch.header.event_count)).sum::<u64>();
            }
        }
        Ok(())
    }
}

fn say(error: ReadError) -> String {
    match error {
        ReadError::OutOfRange { .. } => "the log does not hold what is due to be counted".to_owned(),
        ReadError::Unavailable { .. } => "the log cannot be read at the moment".to_owned(),
    }
}

const READ_BYTES: usize = 4 << 20;
const READ_WAIT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use peep_log::memory::MemoryLog;
    use peep_log::{LogConfig, Topic};
    use peep_wire::KeyId;
    use peep_wire::json::{Context, Decoder};
    use peep_wire::record::RecordBuilder;

    use super::*;

    const LIMITS: TailLimits = TailLimits { bytes_max: 1 << 20, time_max: Duration::from_secs(2) };
    const ALWAYS: ReconcileQuery = ReconcileQuery { from_ms: 0, to_ms: i64::MAX };

    fn batch(project: u64, events: usize) -> bytes::Bytes {
        let context = Context {
            bound_env: None,
            age_ms_max: i64::MAX,
            ahead_ms_max: i64::MAX,
            events_max: 1000,
            event_bytes_max: 1 << 16,
            depth_max: 8,
            lines: true,
        };
        let mut builder = RecordBuilder::default();
        builder.start(1);
        let body = "{\"service\":\"a\",\"duration_ms\":1}\n".repeat(events);
        Decoder::default().decode(body.as_bytes(), &context, &mut builder, &mut Vec::new()).expect("valid");
        builder.finish(ProjectId(project), KeyId(1), None).remove(0)
    }

    async fn log(batches: &[(u32, u64, usize)]) -> (MemoryLog, Arc<dyn Log>) {
        let log = MemoryLog::open(&LogConfig { partitions: 2, ..LogConfig::default() }, Topic::Events);
        for (partition, project, events) in batches {
            log.append(Partition(*partition), batch(*project, *events)).await.expect("memory takes it");
        }
        (log.clone(), Arc::new(log))
    }

    fn cursor(partition: u32, next: u64) -> Cursor {
        Cursor { partition, next, blocked: None }
    }

    async fn read(log: &Arc<dyn Log>, cursors: &[Cursor], query: ReconcileQuery, limits: TailLimits) -> Tail {
        Tail::read(Some(log), ProjectId(7), cursors, query, limits).await
    }

    #[tokio::test]
    async fn only_events_of_the_project_beyond_the_cursor_and_in_the_range_count() {
        let (_, log) = log(&[(0, 7, 5), (0, 8, 100), (0, 7, 3), (1, 7, 2)]).await;
        assert_eq!(read(&log, &[], ALWAYS, LIMITS).await, Tail { events: 10, short: None });
        assert_eq!(read(&log, &[cursor(0, 1)], ALWAYS, LIMITS).await.events, 5);
        let second_generation = cursor(0, (1 << 40) + 1);
        assert_eq!(read(&log, &[second_generation], ALWAYS, LIMITS).await.events, 5);
        assert_eq!(read(&log, &[cursor(0, 3), cursor(1, 1)], ALWAYS, LIMITS).await, Tail::default());
        let past = ReconcileQuery { from_ms: 0, to_ms: 60_000 };
        assert_eq!(read(&log, &[], past, LIMITS).await.events, 0);
    }

    #[tokio::test]
    async fn a_lower_bound_says_so_and_why() {
        let (memory, log) = log(&[(0, 7, 500), (0, 7, 500), (0, 7, 500), (1, 7, 1)]).await;
        let small = TailLimits { bytes_max: 2000, ..LIMITS };
        let cut = read(&log, &[], ALWAYS, small).await;
        assert!((1..1501).contains(&cut.events) && cut.note().is_some_and(|why| why.contains("more than")), "{cut:?}");
        memory.truncate(Partition(0), Offset(1));
        let expired = read(&log, &[], ALWAYS, LIMITS).await;
        assert_eq!((expired.events, expired.is_exact()), (1, false));
        let broken = Cursor { blocked: Some("the log was replaced".to_owned()), ..cursor(1, 1) };
        assert_eq!(
            read(&log, &[cursor(0, 3), broken], ALWAYS, LIMITS).await.note(),
            Some("partition 1: the log was replaced")
        );
        memory.stop();
        assert!(!read(&log, &[], ALWAYS, LIMITS).await.is_exact());
        assert!(!Tail::read(None, ProjectId(7), &[], ALWAYS, LIMITS).await.is_exact());
    }
}
