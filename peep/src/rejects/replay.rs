//! Dead letters back into the log.
//!
//! Arrives: which letters. Leaves: one new record for each that can be read, and the time of it in the letter. Promises:
//! replaying a letter twice counts it once. Its record carries an identity made from the letter's place, so that the rollup
//! recognises the second one; and a letter that was marked is not taken again. The first protects while the rollup remembers
//! producers (a day), also against a crash between append and mark; the second from then on.
//!
//! Events keep the time at which they happened. Whether they are counted now is the rollup's decision, by the rules of now:
//! what is refused again becomes a new dead letter.
//!
//! Does not: repair anything, or replay what would be counted twice. Of a record that was counted in part, only letters of
//! single events go back. Batches whose identity was in doubt go back only when they are named.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use peep_chassis::config::{ProcessEnv, Settings};
use peep_chassis::database::DatabaseConfig;
use peep_log::{AppendError, Backend, Log, LogConfig, Partition, Topic};
use peep_stream::rejects::contents::Contents;
use peep_wire::partition::partition_of;
use peep_wire::record::RecordBuilder;
use peep_wire::{Identity, KeyId, ProjectId};
use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::postgres::PgPool;

use crate::cli::{LetterId, Replay};
use crate::configuration::print;
use crate::schema;

/// `peep rejects replay`.
///
/// # Errors
/// When the configuration makes no sense, or the database or the log cannot be reached.
pub(super) fn main(arguments: &Replay) -> anyhow::Result<ExitCode> {
    let mut settings = Settings::new(&ProcessEnv);
    let _ = DatabaseConfig::read(&mut settings);
    let log = LogConfig::read(&mut settings);
    let lanes = peep_ingest::Config::read(&mut settings).lanes;
    settings.finish()?;
    anyhow::ensure!(
        log.backend != Backend::Memory,
        "PEEP_LOG=memory: there is no log that another process could append to"
    );
    schema::with_database("peep-rejects", async |pool| {
        let mut report = Report::default();
        let log = if arguments.dry_run {
            None
        } else {
            Some(peep_log::open(&log, Topic::Events, &pool).await.context("open the log")?)
        };
        let outcome = replay(&pool, log.as_ref(), lanes, arguments, &mut report).await;
        if let Some(log) = log {
            log.close().await;
        }
        print(&report.text(arguments.dry_run))?;
        outcome
    })
}

async fn replay(
    pool: &PgPool,
    log: Option<&Arc<dyn Log>>,
    lanes: u32,
    arguments: &Replay,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut taken: Vec<LetterId> = select(pool, arguments).await?;
    report.more = taken.len() > arguments.limit as usize;
    taken.truncate(arguments.limit as usize);
    for chunk in taken.chunks(CHUNK) {
        let mut appends = Vec::with_capacity(chunk.len());
        for id in chunk {
            let letter = Letter::read(pool, *id).await?;
            let Some(letter) = letter else { continue };
            match letter.revive() {
                Ok(revived) => appends.push((letter, revived)),
                Err(why) => report.skip(&letter, why),
            }
        }
        let Some(log) = log else {
            appends.iter().for_each(|(letter, revived)| report.replayed(letter, revived.events));
            continue;
        };
        // At once, so that they share the log's commits; then marked together.
        let waiting: Vec<_> = appends.iter().map(|(_, revived)| revived.append(&**log, lanes)).collect();
        let (mut done, mut failure) = (Vec::new(), None);
        for ((letter, revived), append) in appends.iter().zip(waiting) {
            match append.await {
                Ok(_) => {
                    done.push(letter.id);
                    report.replayed(letter, revived.events);
                }
                Err(error) => failure = failure.or(Some((letter.id, error))),
            }
        }
        mark(pool, &done).await?;
        if let Some((id, error)) = failure {
            return Err(anyhow::Error::new(error))
                .with_context(|| format!("replay {id}; run it again, nothing is counted twice"));
        }
    }
    Ok(())
}

/// Oldest first; one more than the limit.
async fn select(pool: &PgPool, arguments: &Replay) -> anyhow::Result<Vec<LetterId>> {
    let filter = &arguments.filter;
    let ids = &arguments.ids;
    let rows = sqlx::query(
        "select d.log_partition, d.log_offset, d.event_index
        from dead_letter d left join project p using (project_id)
        where d.replayed_at is null
            and (cardinality($1::int[]) = 0 or (d.log_partition, d.log_offset, d.event_index)
                in (select * from unnest($1::int[], $2::bigint[], $3::int[])))
            and ($4::text is null or p.name = $4)
            and (cardinality($5::text[]) = 0 or d.reason = any ($5))
            and ($6::double precision is null or d.recorded_at >= now() - $6 * interval '1 second')
            and (cardinality($1::int[]) > 0 or cardinality($5::text[]) > 0 or not d.reason = any ($7))
        order by d.log_partition, d.log_offset, d.event_index
        limit $8",
    )
    .bind(ids.iter().map(|id| id.partition).collect::<Vec<_>>())
    .bind(ids.iter().map(|id| id.position).collect::<Vec<_>>())
    .bind(ids.iter().map(|id| id.index).collect::<Vec<_>>())
    .bind(&filter.project)
    .bind(&filter.reason)
    .bind(filter.since.map(|since| since.as_secs_f64()))
    .bind(IN_DOUBT.map(str::to_owned).to_vec())
    .bind(i64::from(arguments.limit) + 1)
    .fetch_all(pool)
    .await
    .context("read the dead letters")?;
    rows.iter().map(|row| LetterId::of(row).context("read a dead letter")).collect()
}

async fn mark(pool: &PgPool, done: &[LetterId]) -> anyhow::Result<()> {
    sqlx::query(
        "update dead_letter d set replayed_at = now()
        from unnest($1::int[], $2::bigint[], $3::int[]) as i (log_partition, log_offset, event_index)
        where (d.log_partition, d.log_offset, d.event_index) = (i.log_partition, i.log_offset, i.event_index)",
    )
    .bind(done.iter().map(|id| id.partition).collect::<Vec<_>>())
    .bind(done.iter().map(|id| id.position).collect::<Vec<_>>())
    .bind(done.iter().map(|id| id.index).collect::<Vec<_>>())
    .execute(pool)
    .await
    .context("mark what was replayed; run it again, nothing is counted twice")?;
    Ok(())
}

/// One row of `dead_letter`.
struct Letter {
    id: LetterId,
    reason: String,
    project: Option<i64>,
    key: Option<i64>,
    received_ms: Option<i64>,
    events: Option<i32>,
    bytes: Vec<u8>,
}

/// A letter as a record again.
struct Revived {
    project: ProjectId,
    identity: Identity,
    service: String,
    record: bytes::Bytes,
    events: u32,
}

impl Letter {
    /// `None`: swept meanwhile.
    async fn read(pool: &PgPool, id: LetterId) -> anyhow::Result<Option<Self>> {
        let row = sqlx::query(
            "select reason, project_id, key_id, received_ms, events, bytes from dead_letter
            where log_partition = $1 and log_offset = $2 and event_index = $3",
        )
        .bind(id.partition)
        .bind(id.position)
        .bind(id.index)
        .fetch_optional(pool)
        .await
        .context("read a dead letter")?;
        let letter = |row: sqlx::postgres::PgRow| -> sqlx::Result<Self> {
            Ok(Self {
                id,
                reason: row.try_get(0)?,
                project: row.try_get(1)?,
                key: row.try_get(2)?,
                received_ms: row.try_get(3)?,
                events: row.try_get(4)?,
                bytes: row.try_get(5)?,
            })
        };
        row.map(letter).transpose().context("read a dead letter")
    }

    /// The record to append, or why there is none.
    fn revive(&self) -> Result<Revived, &'static str> {
        let project = self.project.ok_or("nobody knows whose it is")?.cast_unsigned();
        let contents = Contents::of(&self.bytes, self.received_ms);
        let (received_ms, key) = match &contents {
            Contents::Unreadable => return Err("it cannot be read"),
            Contents::Event { is_timed: false, .. } => return Err("nobody knows when it was received"),
            Contents::Event { .. } => (self.received_ms.unwrap_or_default(), self.key.unwrap_or_default()),
            Contents::Record(batch) => {
                let header = batch.header;
                let is_whole = self.id.index == 0 && self.events == Some(header.event_count.cast_signed());
                if !is_whole {
                    return Err("other events of its record were counted");
                }
                if header.project.0 != project {
                    return Err("its record is of another project");
                }
                (header.received_ms, header.key.0.cast_signed())
            }
        };
        let mut builder = RecordBuilder::new(usize::MAX);
        builder.start(received_ms);
        for row in &contents.events() {
            builder.push_row(row).map_err(|_| "it cannot be read")?;
        }
        let events = builder.event_count();
        if events == 0 || Some(events.cast_signed()) != self.events {
            return Err("not all of its events can be read");
        }
        let (service, project) = (builder.routing_service().to_owned(), ProjectId(project));
        let identity = identity(project, self.id);
        let record = builder.finish(project, KeyId(key.cast_unsigned()), Some(identity)).remove(0);
        Ok(Revived { project, identity, service, record, events })
    }
}

impl Revived {
    fn append(&self, log: &dyn Log, lanes: u32) -> peep_log::BoxFuture<'static, Result<peep_log::Offset, AppendError>> {
        let partition = partition_of(self.project, &self.service, Some(&self.identity), lanes, log.partitions());
        log.append(Partition(partition), self.record.clone())
    }
}

/// The same letter always has the same one, and no client makes it up by chance: a UUID of version 8 (RFC 9562). Letters of one
/// record share a producer, as many as its window has numbers: a replay of many letters must not push live producers out.
fn identity(project: ProjectId, id: LetterId) -> Identity {
    let index = u64::from(id.index.unsigned_abs());
    let mut digest = Sha256::new();
    digest.update(b"peep replay\0");
    digest.update(project.0.to_be_bytes());
    digest.update(id.partition.to_be_bytes());
    digest.update(id.position.to_be_bytes());
    digest.update((index / WINDOW).to_be_bytes());
    let mut producer = [0; 16];
    producer.copy_from_slice(&digest.finalize()[..16]);
    producer[6] = producer[6] & 0x0f | 0x80;
    producer[8] = producer[8] & 0x3f | 0x80;
    Identity { producer, seq: index % WINDOW }
}

/// What was done, in numbers.
#[derive(Debug, Default)]
struct Report {
    /// By reason: letters and events.
    replayed: BTreeMap<String, (u64, u64)>,
    /// By reason and why not: letters.
    skipped: BTreeMap<(String, &'static str), u64>,
    more: bool,
}

impl Report {
    fn replayed(&mut self, letter: &Letter, events: u32) {
        let (letters, of_them) = self.replayed.entry(letter.reason.clone()).or_default();
        *letters += 1;
        *of_them += u64::from(events);
    }

    fn skip(&mut self, letter: &Letter, why: &'static str) {
        *self.skipped.entry((letter.reason.clone(), why)).or_default() += 1;
    }

    fn text(&self, dry_run: bool) -> String {
        let mut text = String::new();
        let verb = if dry_run { "would replay" } else { "replayed" };
        for (reason, (letters, events)) in &self.replayed {
            let (letters, events) = (count(*letters, "letter"), count(*events, "event"));
            let _ = writeln!(text, "{verb} {letters} with {events}: {}", super::safe(reason));
        }
        for ((reason, why), letters) in &self.skipped {
            let _ = writeln!(text, "left out {} ({why}): {}", count(*letters, "letter"), super::safe(reason));
        }
        if text.is_empty() {
            text.push_str("nothing to replay\n");
        }
        if self.more {
            text.push_str("there are more; run it again, or raise `--limit`\n");
        }
        text
    }
}

/// `1 letter`, `2 letters`.
fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Numbers of a producer that the rollup remembers.
const WINDOW: u64 = peep_rollup::dedup::WINDOW;
/// Somebody has to know that these were not counted: only by name.
const IN_DOUBT: [&str; 2] = ["dedup_window_exceeded", "identity_conflict"];
/// Appends at once; letters hold up to a megabyte each.
const CHUNK: usize = 32;

#[cfg(test)]
mod tests {
    use peep_wire::event::{EncodedAttrs, Event};
    use peep_wire::method::Method;
    use peep_wire::record::parse;

    use super::*;

    const RECEIVED_MS: i64 = 1_795_183_200_000;

    fn record(events: u16) -> Vec<u8> {
        let mut builder = RecordBuilder::default();
        builder.start(RECEIVED_MS);
        for number in 0..events {
            builder.push(&Event {
                service: "shop",
                env: "default",
                route: "/buy",
                method: Method::from_name("POST"),
                status: 200 + number,
                ended_ms: RECEIVED_MS - 500,
                duration_us: Some(12_500),
                error: None,
                host: None,
                version: None,
                source: None,
                bytes_in: None,
                bytes_out: None,
                trace_id: None,
                span_id: None,
                attrs: EncodedAttrs::EMPTY,
            });
        }
        builder.finish(ProjectId(7), KeyId(3), None).remove(0).to_vec()
    }

    fn letter(bytes: Vec<u8>, index: i32, events: i32) -> Letter {
        let id = LetterId { partition: 1, position: 99, index };
        let (project, key, received_ms) = (Some(7), Some(3), Some(RECEIVED_MS));
        Letter { id, reason: "too_old".into(), project, key, received_ms, events: Some(events), bytes }
    }

    #[test]
    fn an_event_becomes_a_record_with_its_time_and_the_same_identity_every_time() {
        let record = record(3);
        let second = parse(&record).unwrap().events().nth(1).unwrap().unwrap();
        let revived = letter(second.raw.to_vec(), 1, 1).revive().unwrap();
        let again = letter(second.raw.to_vec(), 1, 1).revive().unwrap();
        assert_eq!(revived.record, again.record);
        let batch = parse(&revived.record).unwrap();
        let header = batch.header;
        assert_eq!((header.project, header.key, header.event_count, header.parts), (ProjectId(7), KeyId(3), 1, 0));
        assert_eq!(header.identity, Some(revived.identity));
        let event = batch.events().next().unwrap().unwrap();
        assert_eq!((event.ended_ms, event.raw), (RECEIVED_MS - 500, second.raw));
        assert_ne!(letter(second.raw.to_vec(), 2, 1).revive().unwrap().identity, revived.identity);
    }

    #[test]
    fn a_whole_record_goes_back_whole_and_a_part_of_one_does_not() {
        let revived = letter(record(5), 0, 5).revive().unwrap();
        assert_eq!((revived.events, revived.service.as_str()), (5, "shop"));
        assert_eq!(letter(record(5), 3, 2).revive().err(), Some("other events of its record were counted"));
        assert_eq!(letter(record(5), 0, 2).revive().err(), Some("other events of its record were counted"));
        let foreign = Letter { project: Some(8), ..letter(record(5), 0, 5) };
        assert_eq!(foreign.revive().err(), Some("its record is of another project"));
    }

    #[test]
    fn what_cannot_be_read_or_belongs_to_nobody_stays() {
        let mut flipped = record(5);
        flipped[40] ^= 1;
        assert_eq!(letter(flipped, 0, 5).revive().err(), Some("it cannot be read"));
        let nobodys = Letter { project: None, events: None, ..letter(record(5), 0, 5) };
        assert_eq!(nobodys.revive().err(), Some("nobody knows whose it is"));
        let raw = parse(&record(1)).unwrap().events().next().unwrap().unwrap().raw.to_vec();
        let untimed = Letter { received_ms: None, ..letter(raw, 0, 1) };
        assert_eq!(untimed.revive().err(), Some("nobody knows when it was received"));
    }
}
