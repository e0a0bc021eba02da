//! Reads one partition forward, segment after segment.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::{Instant, sleep, timeout};

use super::tail::Follow;
use super::{Background, READ_TIMEOUT, store};
use crate::{BoxFuture, LogRecord, Offset, Partition, ReadError, Reader};

pub(super) struct PostgresReader {
    topic: Arc<str>,
    partition: Partition,
    next: Offset,
    /// The segment of the last record, where the next one most probably is.
    segment: Option<i64>,
    /// How many records to ask for: what does not fit into an answer was read for nothing.
    records_max: i64,
    reads: PgPool,
    tail: Follow,
    // Somebody has to look for new records as long as this reader waits for some.
    _background: Arc<Background>,
}

impl PostgresReader {
    pub(super) fn new(
        topic: Arc<str>,
        partition: Partition,
        from: Offset,
        reads: PgPool,
        tail: Follow,
        background: Arc<Background>,
    ) -> Self {
        Self {
            topic,
            partition,
            next: from,
            segment: None,
            records_max: RECORDS_MAX_MIN,
            reads,
            tail,
            _background: background,
        }
    }

    async fn take(&mut self, bytes_max: usize) -> Result<Vec<LogRecord>, ReadError> {
        if let Some(segment) = self.segment {
            let records = self.read(segment, bytes_max).await?;
            if !records.is_empty() {
                return Ok(records);
            }
        }
        // The first read, or the segment is exhausted, or retention has removed it.
        self.segment = store::segment_of(&self.reads, &self.topic, self.partition, self.next).await?;
        let records = match self.segment {
            Some(segment) => self.read(segment, bytes_max).await?,
            None => Vec::new(),
        };
        if records.is_empty() {
            let marks = store::watermarks(&self.reads, &self.topic, self.partition).await?;
            marks.check(self.next)?;
        }
        Ok(records)
    }

    async fn read(&mut self, segment: i64, bytes_max: usize) -> Result<Vec<LogRecord>, ReadError> {
        let asked = self.records_max;
        let records = store::read(&self.reads, segment, self.partition, self.next, asked, bytes_max).await?;
        self.records_max = match records.len() as i64 {
            got if got == asked => (asked * 2).min(RECORDS_MAX_MAX),
            got if got < asked / 4 => (asked / 2).max(RECORDS_MAX_MIN),
            _ => asked,
        };
        match records.first() {
            // Offsets are gapless: a hole means that somebody else has had their hands in the table.
            Some(first) if first.offset != self.next => {
                Err(ReadError::Unavailable { reason: format!("record {} is missing from the log", self.next) })
            }
            _ => Ok(records),
        }
    }

    async fn next_until(&mut self, bytes_max: usize, deadline: Instant) -> Result<Vec<LogRecord>, ReadError> {
        loop {
            if !self.tail.beyond(self.partition, self.next, deadline).await? {
                return Ok(Vec::new());
            }
            let records = timeout(READ_TIMEOUT, self.take(bytes_max))
                .await
                .map_err(|_| ReadError::Unavailable { reason: "the database gave no answer in time".to_owned() })??;
            if let Some(last) = records.last() {
                self.next = last.offset.plus(1);
                return Ok(records);
            }
            // The tail was announced, yet is not there: the database was set back, or a replica lags behind.
            if Instant::now() + LOOK_AGAIN > deadline {
                return Ok(records);
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

impl Reader for PostgresReader {
    fn next(&mut self, bytes_max: usize, wait: Duration) -> BoxFuture<'_, Result<Vec<LogRecord>, ReadError>> {
        Box::pin(self.next_until(bytes_max, Instant::now() + wait))
    }
}

/// Where a reader begins, and what is enough for one that keeps up.
const RECORDS_MAX_MIN: i64 = 64;
/// Beyond this the byte limit is not what bounds an answer: records of a few hundred bytes.
const RECORDS_MAX_MAX: i64 = 4096;

const LOOK_AGAIN: Duration = Duration::from_millis(20);
