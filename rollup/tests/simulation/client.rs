//! Clients: producers that send batches, hear some of the answers, and send again what they are not sure of.
//!
//! Arrives: nothing but time. Leaves: records in the log, through an ingest that is reduced to its essence (build the records
//! of a request, append all of them, answer), and a [`Journal`] of what was sent and which answers were heard.
//!
//! Every event of a producer has a duration of its own, below 2 048 µs where a histogram is exact. So the merged histogram of
//! a producer's service *is* the multiset of events that were counted, and the checker needs nothing else to find an event
//! that was lost or doubled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use peep_log::{AppendError, Log, Offset, Partition};
use peep_wire::event::{EncodedAttrs, Event};
use peep_wire::method::Method;
use peep_wire::record::{Bundle, RecordBuilder};
use peep_wire::{Identity, KeyId, ProjectId};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::random::Random;
use crate::world::World;

/// What all clients did.
#[derive(Default)]
pub(crate) struct Journal {
    batches: Mutex<Vec<Arc<Batch>>>,
    /// What the ingest of all clients gathers, by partition.
    gathering: Mutex<BTreeMap<u32, Gathering>>,
}

/// Records of different clients that will travel together.
#[derive(Default)]
struct Gathering {
    bundle: Bundle,
    fate: watch::Sender<Option<Result<Offset, AppendError>>>,
}

/// One batch, immutable once made.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) producer: u64,
    pub(crate) project: ProjectId,
    pub(crate) identity: Option<Identity>,
    pub(crate) events: Vec<Sent>,
    partition: Partition,
    /// Records are cut at this size.
    record_bytes_max: usize,
    heard: Mutex<Heard>,
}

/// What the client knows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Heard {
    pub(crate) tries: u64,
    pub(crate) acknowledged: bool,
}

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) duration_us: u64,
    route: String,
    host: Option<String>,
    version: Option<&'static str>,
    method: &'static str,
    status: u16,
    error: bool,
    ended_ms: i64,
    /// Before it was sent; negative for a client whose clock is ahead.
    pub(crate) age_ms: i64,
}

impl Batch {
    pub(crate) fn heard(&self) -> Heard {
        *self.heard.lock()
    }

    /// The records of one try.
    fn records(&self, builder: &mut RecordBuilder, received_ms: i64) -> Vec<Bytes> {
        builder.start(received_ms);
        let service = service_of(self.producer);
        for sent in &self.events {
            builder.push(&Event {
                service: &service,
                env: "default",
                route: &sent.route,
                method: Method::from_name(sent.method),
                status: sent.status,
                ended_ms: sent.ended_ms,
                duration_us: Some(sent.duration_us),
                error: sent.error.then_some("simulated"),
                host: sent.host.as_deref(),
                version: sent.version,
                source: None,
                bytes_in: None,
                bytes_out: None,
                trace_id: None,
                span_id: None,
                attrs: EncodedAttrs::EMPTY,
            });
        }
        builder.finish(self.project, KeyId(7), self.identity)
    }
}

impl Journal {
    pub(crate) fn batches(&self) -> Vec<Arc<Batch>> {
        self.batches.lock().clone()
    }

    /// Appends a record together with those of other clients that come within a moment.
    async fn append_together(
        &self,
        log: &dyn Log,
        partition: Partition,
        record: Bytes,
        events: u32,
        moment: Duration,
    ) -> Result<Offset, AppendError> {
        let (mut fate, is_first) = {
            let mut gathering = self.gathering.lock();
            let gathering = gathering.entry(partition.0).or_default();
            let is_first = gathering.bundle.is_empty();
            gathering.bundle.push(record, events);
            (gathering.fate.subscribe(), is_first)
        };
        if is_first {
            sleep(moment).await;
            let gathered = self.gathering.lock().remove(&partition.0);
            if let Some(Gathering { bundle, fate }) = gathered {
                fate.send_replace(Some(log.append(partition, bundle.finish()).await));
            }
        }
        let landed = fate.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone());
        landed.unwrap_or(Err(AppendError::Unavailable { reason: "who sent it is gone".to_owned() }))
    }
}

/// One event for a partition, from somebody new, when everything is quiet.
pub(crate) async fn probe(world: &World, log: &dyn Log, journal: &Journal, partition: u32) {
    let sent = Sent {
        duration_us: 0,
        route: "/probe".to_owned(),
        host: None,
        version: None,
        method: "GET",
        status: 200,
        error: false,
        ended_ms: world.now_ms(),
        age_ms: 0,
    };
    let batch = Arc::new(Batch {
        producer: PROBES + u64::from(partition),
        project: ProjectId(1),
        identity: None,
        events: vec![sent],
        partition: Partition(partition),
        record_bytes_max: 1 << 20,
        heard: Mutex::default(),
    });
    journal.batches.lock().push(Arc::clone(&batch));
    attempt(world, log, journal, &batch, &mut Random::new(0)).await;
}

/// The service that all events of a producer name.
pub(crate) fn service_of(producer: u64) -> String {
    format!("service-{producer}")
}

/// One client at work. Ends when it is certain of every batch, or has given up.
pub(crate) async fn run(
    world: Arc<World>,
    log: Arc<dyn Log>,
    journal: Arc<Journal>,
    producer: u64,
    mut random: Random,
) {
    let mut producer = Producer::new(&world, producer, &mut random);
    let mut unanswered = JoinSet::new();
    let pause_ms = world.shape.traffic.as_millis() as u64 / world.shape.batches;
    for _ in 0..world.shape.batches {
        sleep(random.millis(0..=2 * pause_ms)).await;
        let batch = Arc::new(producer.batch(&world, &mut random));
        journal.batches.lock().push(Arc::clone(&batch));
        unanswered.spawn(deliver(Arc::clone(&world), Arc::clone(&log), Arc::clone(&journal), batch, random.fork()));
        while unanswered.len() > IN_FLIGHT_MAX {
            unanswered.join_next().await;
        }
    }
    while unanswered.join_next().await.is_some() {}
}

struct Producer {
    number: u64,
    project: ProjectId,
    partition: Partition,
    id: Option<[u8; 16]>,
    seq: u64,
    /// Sequence numbers left out between two batches, so that windows slide far.
    stride: u64,
    events: u64,
    events_per_batch: u64,
    explodes: bool,
    record_bytes_max: usize,
}

impl Producer {
    fn new(world: &World, number: u64, random: &mut Random) -> Self {
        let identified = !random.chance(120);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&random.next().to_be_bytes());
        id[8..].copy_from_slice(&random.next().to_be_bytes());
        let first = *random.pick(&[0, 0, 0, 1, 17, u64::MAX - 100_000]);
        Self {
            number,
            project: ProjectId(random.within(1..=2)),
            partition: Partition(random.below(u64::from(world.shape.partitions)) as u32),
            id: identified.then_some(id),
            seq: first,
            stride: *random.pick(&[1, 1, 1, 1, 2, 300, 1_500]),
            events: 0,
            events_per_batch: *random.pick(&[1, 3, 8]),
            explodes: random.chance(250),
            record_bytes_max: *random.pick(&[1 << 20, 1 << 20, 300, 120]),
        }
    }

    fn batch(&mut self, world: &World, random: &mut Random) -> Batch {
        let now_ms = world.now_ms();
        let count = random.within(1..=self.events_per_batch);
        let events = (0..count).map(|_| self.event(now_ms, random)).collect();
        let seq = self.seq;
        self.seq += if random.chance(900) { self.stride } else { self.stride + 1 };
        Batch {
            producer: self.number,
            project: self.project,
            identity: self.id.map(|producer| Identity { producer, seq }),
            events,
            partition: self.partition,
            record_bytes_max: self.record_bytes_max,
            heard: Mutex::default(),
        }
    }

    fn event(&mut self, now_ms: i64, random: &mut Random) -> Sent {
        let duration_us = self.events;
        self.events += 1;
        debug_assert!(duration_us < EXACT_US, "durations of a producer are exact and differ");
        let route = if self.explodes && random.chance(700) {
            format!("/orders/{}", random.below(100_000))
        } else {
            (*random.pick(&["/cart", "/pay", "/search"])).to_owned()
        };
        // Mostly now, sometimes late, and now and then beyond what is counted.
        let age_ms: i64 = match random.below(100) {
            0 => 40 * DAY_MS,
            1 => -3_600_000,
            2..=9 => random.below(3 * DAY_MS as u64) as i64,
            _ => random.below(3_000) as i64,
        };
        let host = match duration_us % 5 {
            0 => None,
            // Pods come and go.
            _ if self.explodes => Some(format!("pod-{duration_us}")),
            number => Some(format!("web-{number}")),
        };
        Sent {
            duration_us,
            route,
            host,
            // A release now and then.
            version: [None, Some("v1"), Some("v2")][(duration_us / 16 % 3) as usize],
            method: random.pick::<&str>(&["GET", "POST"]),
            status: *random.pick(&[200, 200, 200, 404, 500, 0]),
            error: random.chance(30),
            ended_ms: now_ms - age_ms,
            age_ms,
        }
    }
}

/// Sends until the answer is heard, or patience ends; sometimes once more although it was.
async fn deliver(world: Arc<World>, log: Arc<dyn Log>, journal: Arc<Journal>, batch: Arc<Batch>, mut random: Random) {
    let patience = *random.pick(&[1, 3, 10, 40]);
    let mut pause = Duration::from_millis(100);
    for _ in 0..patience {
        if attempt(&world, &*log, &journal, &batch, &mut random).await {
            break;
        }
        sleep(pause.mul_f64(0.5) + random.millis(0..=pause.as_millis() as u64)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    // A proxy that repeats requests, or a client that was restored from a backup.
    let repeats = if random.chance(250) { random.within(1..=3) } else { 0 };
    for _ in 0..repeats {
        sleep(random.millis(0..=20_000)).await;
        attempt(&world, &*log, &journal, &batch, &mut random).await;
    }
}

/// One request. Whether the client heard that it was accepted.
async fn attempt(world: &World, log: &dyn Log, journal: &Journal, batch: &Batch, random: &mut Random) -> bool {
    let hostile = world.shape.faults.hostile_clients;
    // An ingest whose clock is wrong.
    let skew_ms = if hostile && random.chance(50) { random.within(0..=7_200_000) as i64 - 3_600_000 } else { 0 };
    let mut builder = RecordBuilder::new(batch.record_bytes_max);
    let received_ms = world.now_ms() + skew_ms;
    let mut records = batch.records(&mut builder, received_ms);
    // An ingest of another version cuts the same request elsewhere. Into another number of records: that a request was cut
    // elsewhere into as many is not recognised.
    if hostile && random.chance(50) {
        let anew = batch.records(&mut RecordBuilder::new(200), received_ms);
        if anew.len() != records.len() {
            records = anew;
        }
    }
    let is_damaged = hostile && random.chance(20);
    if is_damaged {
        let record = random.below(records.len() as u64) as usize;
        records[record] = damaged(&records[record], random);
    }
    let seq = batch.identity.map_or(0, |identity| identity.seq);
    world.trace.note(
        "send",
        &[
            ("producer", batch.producer),
            ("seq", seq),
            ("partition", u64::from(batch.partition.0)),
            ("records", records.len() as u64),
        ],
    );
    let travels_in_company = records.len() == 1 && !is_damaged && random.chance(IN_COMPANY_PER_MILLE);
    let accepted = if travels_in_company {
        let (record, events) = (records.remove(0), batch.events.len() as u32);
        let moment = random.millis(0..=MOMENT_MS_MAX);
        journal.append_together(log, batch.partition, record, events, moment).await.is_ok()
    } else {
        let appends: Vec<_> = records.into_iter().map(|record| log.append(batch.partition, record)).collect();
        join_all(appends).await.iter().all(Result::is_ok)
    };
    let mut heard = batch.heard.lock();
    heard.tries += 1;
    let answered = accepted && !is_damaged && !random.chance(ANSWER_LOST_PER_MILLE);
    heard.acknowledged |= answered;
    answered
}

/// A bit flips on the way into the log, and the client never hears of the request again: nobody can count such a record.
fn damaged(record: &Bytes, random: &mut Random) -> Bytes {
    let mut bytes = record.to_vec();
    let at = random.below(bytes.len() as u64) as usize;
    bytes[at] ^= 1 << random.below(8);
    bytes.into()
}

/// Below it every microsecond has a bucket of its own.
pub(crate) const EXACT_US: u64 = 2_048;
/// Numbers of producers that only probe begin here.
const PROBES: u64 = 1_000;
/// Batches of a client without an answer.
const IN_FLIGHT_MAX: usize = 6;
const PAUSE_MAX: Duration = Duration::from_secs(8);
/// Small requests share a record with others that come within this time.
const IN_COMPANY_PER_MILLE: u64 = 500;
const MOMENT_MS_MAX: u64 = 2_000;
/// The request was accepted, and the connection broke.
const ANSWER_LOST_PER_MILLE: u64 = 80;
const DAY_MS: i64 = 86_400_000;
