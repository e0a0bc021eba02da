//! What came out: what was compared, and every difference with the place where it lies.
//!
//! Promises: all differences are counted, the first ones described. A report without differences still says what it could not
//! look at ([`Report::not_compared`]), because silence about a part of the log is not a verdict.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::record::Series;
use crate::suspects::Clue;

/// The verdict on a log and its tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether everything that was compared is equal.
    pub equal: bool,
    /// Whether everything there is was compared.
    pub complete: bool,
    /// Sum of all partitions.
    pub events: Books,
    /// One entry for each partition.
    pub partitions: Vec<PartitionReport>,
    /// Rows compared, by table.
    pub compared: BTreeMap<&'static str, u64>,
    /// How many differences there are.
    pub differences_total: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// What could not be compared, and why. For people.
    pub not_compared: Vec<String>,
}

/// What was read of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PartitionReport {
    /// Its number.
    pub partition: u32,
    /// First position that was counted again.
    pub from: u64,
    /// The cursor: everything before it was compared, nothing after it.
    pub to: u64,
    /// Records in the log beyond the cursor.
    pub records_beyond: u64,
    /// Whether the log was read from its first record on, so that nothing had to be taken on trust.
    pub whole: bool,
    /// Why counting has stopped, when it has.
    pub broken: Option<String>,
    /// What became of the events, as the oracle counts.
    pub events: Books,
    /// Records whose outcome depends on a past that can no longer be read; the tables were believed.
    pub records_on_trust: u64,
}

/// Where events went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Books {
    /// Log records.
    pub records: u64,
    /// Of those, unreadable ones.
    pub records_unreadable: u64,
    /// Events announced by the readable records.
    pub accepted: u64,
    /// Events in a rollup.
    pub rolled_up: u64,
    /// Events in a dead letter.
    pub dead_lettered: u64,
    /// Events of batches that came again.
    pub duplicate: u64,
    /// Of `rolled_up`: without an identity.
    pub unidentified: u64,
    /// Of `rolled_up`: of an unknown producer that did not begin at 0.
    pub uncertain: u64,
    /// Of `rolled_up`: in an `(other)` series.
    pub folded: u64,
}

/// One row that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The table.
    pub table: &'static str,
    /// Where in it.
    pub place: Place,
    /// What differs.
    pub columns: Vec<Column>,
    /// Which events it might be about, when they could be narrowed down.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suspects: Vec<Suspect>,
    /// How to find them.
    #[serde(skip)]
    pub(crate) clue: Option<Clue>,
}

/// One value that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its name in the table, or what was compared.
    pub name: String,
    /// According to the log.
    pub expected: String,
    /// According to the table.
    pub found: String,
}

/// What a row is about; only what applies is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are the columns'")]
pub struct Place {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Start of a window, minute, hour or day, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

/// An event that went into the row by the log's account, and fits what is missing or too much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suspect {
    /// Who sent it; absent for clients without an identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer: Option<String>,
    /// The batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The record.
    pub position: u64,
    /// The event in it.
    pub event_index: u32,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// Its batch came again: it should not have been counted.
    pub came_again: bool,
}

impl Books {
    /// Sets to nothing what can only be said with the past.
    pub(crate) fn forget_the_past(&mut self) {
        self.uncertain = 0;
        self.folded = 0;
    }

    /// Adds other books.
    pub(crate) fn add(&mut self, other: &Books) {
        self.records += other.records;
        self.records_unreadable += other.records_unreadable;
        self.accepted += other.accepted;
        self.rolled_up += other.rolled_up;
        self.dead_lettered += other.dead_lettered;
        self.duplicate += other.duplicate;
        self.unidentified += other.unidentified;
        self.uncertain += other.uncertain;
        self.folded += other.folded;
    }
}

impl Place {
    /// A partition.
    pub(crate) fn of(partition: u32) -> Place {
        Place { partition: Some(partition), ..Place::default() }
    }

    /// A series of a project.
    pub(crate) fn series(self, project: i64, series: &Series) -> Place {
        Place {
            project: Some(project),
            service: Some(series.service.clone()),
            env: Some(series.env.clone()),
            route: Some(series.route.clone()),
            method: Some(series.method.clone()),
            status: Some(series.status),
            ..self
        }
    }
}

impl Column {
    pub(crate) fn new(name: impl Into<String>, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self { name: name.into(), expected: expected.to_string(), found: found.to_string() }
    }
}

/// As people and RFC 3339 write an instant.
pub(crate) fn instant(unix_s: i64) -> String {
    jiff::Timestamp::from_second(unix_s).map_or_else(|_| format!("second {unix_s}"), |at| at.to_string())
}

/// A producer as clients write it.
pub(crate) fn producer(bytes: [u8; 16]) -> String {
    uuid::Uuid::from_bytes(bytes).to_string()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for one in &self.partitions {
            writeln!(f, "{one}")?;
        }
        let compared: Vec<String> = self.compared.iter().map(|(table, rows)| format!("{rows} {table}")).collect();
        writeln!(f, "compared: {}", compared.join(", "))?;
        let Books { accepted, rolled_up, dead_lettered, duplicate, .. } = self.events;
        writeln!(
            f,
            "events: {accepted} accepted = {rolled_up} rolled up + {dead_lettered} dead-lettered + {duplicate} duplicate"
        )?;
        for gap in &self.not_compared {
            writeln!(f, "not compared: {gap}")?;
        }
        for difference in &self.differences {
            writeln!(f, "difference: {difference}")?;
        }
        let untold = self.differences_total - self.differences.len() as u64;
        if untold > 0 {
            writeln!(f, "and {untold} more")?;
        }
        write!(f, "{} differences", self.differences_total)
    }
}

impl fmt::Display for PartitionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, from, to, records_beyond, events, .. } = self;
        write!(
            f,
            "partition {partition}: positions {from} to {to}, {} records, {} events",
            events.records, events.accepted
        )?;
        if *records_beyond > 0 {
            write!(f, ", {records_beyond} records not counted yet")?;
        }
        if self.records_on_trust > 0 {
            write!(f, ", {} records judged by an unreadable past: believed", self.records_on_trust)?;
        }
        if let Some(reason) = &self.broken {
            write!(f, "; BROKEN: {reason}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.table, self.place)?;
        for column in &self.columns {
            write!(f, "; {}: expected {}, found {}", column.name, column.expected, column.found)?;
        }
        for (at, suspect) in self.suspects.iter().enumerate() {
            write!(f, "{}{suspect}", if at == 0 { "; perhaps " } else { " or " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.method.as_deref().filter(|method| !method.is_empty());
        let parts = [
            self.partition.map(|partition| format!("partition {partition}")),
            self.position.map(|position| format!("position {position}")),
            self.event_index.map(|index| format!("event {index}")),
            self.project.map(|project| format!("project {project}")),
            self.service.as_ref().map(|service| format!("service {service:?}")),
            self.env.as_ref().map(|env| format!("env {env:?}")),
            self.route.as_ref().map(|route| format!("route {route:?}")),
            method.map(str::to_owned),
            self.status.filter(|status| *status != 0).map(|status| format!("status {status}")),
            self.level.as_ref().map(|level| format!("level {level}")),
            self.bucket.clone(),
            self.producer.as_ref().map(|producer| format!("producer {producer}")),
            self.seq.map(|seq| format!("seq {seq}")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.producer, self.seq) {
            (Some(producer), Some(seq)) => write!(f, "producer {producer} seq {seq}")?,
            _ => f.write_str("a client without an identity")?,
        }
        write!(f, " (position {}, event {}", self.position, self.event_index)?;
        if let Some(duration_us) = self.duration_us {
            write!(f, ", {duration_us} µs")?;
        }
        if self.came_again {
            f.write_str(", a duplicate")?;
        }
        f.write_str(")")
    }
}
