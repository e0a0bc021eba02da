//! Records of one partition, from one position to another.
//!
//! Promises: every record of the range, in order, or an error: a log that does not answer is asked a few times, one that has lost
//! a record in the meantime ends it.

use std::time::Duration;

use peep_log::{Log, LogRecord, Offset, Partition, ReadError};

use crate::VerifyError;

/// See the module.
pub(crate) struct Reading<'a> {
    log: &'a dyn Log,
    partition: u32,
    /// Position of the record that comes next.
    pub(crate) next: u64,
    to: u64,
    reader: Option<Box<dyn peep_log::Reader>>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(log: &'a dyn Log, partition: u32, from: u64, to: u64) -> Self {
        Self { log, partition, next: from, to, reader: None }
    }

    /// The next records; none at the end of the range.
    pub(crate) async fn next(&mut self) -> Result<Vec<LogRecord>, VerifyError> {
        let mut attempts = 0;
        while self.next < self.to {
            match self.attempt().await {
                Ok(records) if records.is_empty() => attempts += 1,
                Ok(mut records) => {
                    records.retain(|record| record.offset.0 < self.to & OFFSET_MASK);
                    self.next += records.len() as u64;
                    return Ok(records);
                }
                Err(source @ ReadError::OutOfRange { .. }) => return Err(self.failed(source)),
                Err(source) => {
                    attempts += 1;
                    self.reader = None;
                    if attempts == ATTEMPTS_MAX {
                        return Err(self.failed(source));
                    }
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
            if attempts == ATTEMPTS_MAX {
                let reason = format!("record {} did not come", self.next & OFFSET_MASK);
                return Err(self.failed(ReadError::Unavailable { reason }));
            }
        }
        Ok(Vec::new())
    }

    /// The position of a record that was read.
    pub(crate) fn position_of(&self, record: &LogRecord) -> u64 {
        (self.to & !OFFSET_MASK) | record.offset.0
    }

    async fn attempt(&mut self) -> Result<Vec<LogRecord>, ReadError> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => {
                let from = Offset(self.next & OFFSET_MASK);
                none.insert(self.log.reader(Partition(self.partition), from).await?)
            }
        };
        reader.next(READ_BYTES_MAX, READ_WAIT).await
    }

    fn failed(&self, source: ReadError) -> VerifyError {
        VerifyError::Log { partition: self.partition, source }
    }
}

/// The part of a position that is the offset in the log; above it, how often the log began anew.
pub(crate) const OFFSET_MASK: u64 = (1 << 40) - 1;
const READ_BYTES_MAX: usize = 4 << 20;
const READ_WAIT: Duration = Duration::from_secs(5);
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(500);
pub(crate) const ATTEMPTS_MAX: u32 = 6;
