//! The least that a consumer of the topic must do: librdkafka's own poll loop, the shortest decoder that finds series, time and
//! duration in a record, one map from the bytes of a series to its histogram, and one addition.
//!
//! No checksum, no window, no project, no retry recognised, no error counted, nothing that could ever be written.

use std::time::Duration;

use anyhow::Context as _;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::ReaderArgs;
use crate::cpu;

/// Reads the topic to its end and answers the CPU time of this process from `warm_up` on.
///
/// # Errors
/// When the topic holds something else.
pub fn read(args: &ReaderArgs) -> anyhow::Result<Duration> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &args.brokers)
        .set("group.id", "floor")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(&format!("{}.events", args.prefix), 0, Offset::Beginning)?;
    consumer.assign(&assignment)?;
    let mut histograms = Histograms::default();
    let mut started = Duration::ZERO;
    for record in 0..args.records {
        if record == args.warm_up {
            started = cpu::of_process(std::process::id())?;
        }
        let message = consumer.poll(Duration::from_secs(10)).context("the topic ends early")??;
        histograms.add_record(message.payload().unwrap_or_default()).context("not a record of peep")?;
    }
    let spent = cpu::of_process(std::process::id())? - started;
    std::hint::black_box(&histograms);
    Ok(spent)
}

/// Log-linear histograms of 32-bit counters, one for each series.
#[derive(Debug, Default)]
pub struct Histograms {
    index: HashMap<Box<[u8]>, u32, RandomState>,
    counts: Vec<u32>,
    newest_ms: i64,
}

impl Histograms {
    /// Counts every event of a record; `None` when it is not one.
    pub fn add_record(&mut self, record: &[u8]) -> Option<()> {
        // Behind the checksum.
        let mut input = record.get(5..)?;
        let mut received_ms = 0;
        while let [tag, rest @ ..] = input {
            input = rest;
            match tag {
                // The time of receipt is eight bytes, the producer and the events have a length, the rest are varints.
                0x39 => {
                    let (bytes, rest) = input.split_first_chunk::<8>()?;
                    (received_ms, input) = (i64::from_le_bytes(*bytes), rest);
                }
                0x2a => {
                    bytes(&mut input)?;
                }
                0x5a => {
                    let event = bytes(&mut input)?;
                    self.add_event(event, received_ms)?;
                }
                _ => {
                    varint(&mut input)?;
                }
            }
        }
        Some(())
    }

    #[inline]
    fn add_event(&mut self, mut event: &[u8], received_ms: i64) -> Option<()> {
        // Fields come in ascending order: series, time, duration.
        event = event.strip_prefix(&[0x0a])?;
        let series = bytes(&mut event)?;
        if let Some(rest) = event.strip_prefix(&[0x10]) {
            event = rest;
            let delta = varint(&mut event)?;
            let delta_ms = (delta >> 1) as i64 ^ -((delta & 1) as i64);
            self.newest_ms = self.newest_ms.max(received_ms + delta_ms);
        }
        let Some(mut rest) = event.strip_prefix(&[0x18]) else { return Some(()) };
        let duration_us = varint(&mut rest)?;
        let at = match self.index.get(series) {
            Some(at) => *at as usize,
            None => {
                let at = self.index.len();
                self.index.insert(series.into(), at as u32);
                self.counts.resize((at + 1) * BUCKETS, 0);
                at
            }
        };
        self.counts[at * BUCKETS + bucket_of(duration_us)] += 1;
        Some(())
    }
}

/// 128 buckets for each power of two: within 1 %.
#[inline]
fn bucket_of(value: u64) -> usize {
    let shift = 56 - (value | 255).leading_zeros();
    ((shift as usize) << 7) + (value >> shift) as usize
}

#[inline]
fn bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = varint(input)? as usize;
    let (bytes, rest) = input.split_at_checked(len)?;
    *input = rest;
    Some(bytes)
}

#[inline]
fn varint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (place, byte) in input.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if *byte < 0x80 {
            *input = &input[place + 1..];
            return Some(value);
        }
    }
    None
}

/// Values below 2^32.
const BUCKETS: usize = 26 * 128;
