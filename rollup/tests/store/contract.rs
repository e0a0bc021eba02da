//! What every store promises: the same assertions for the real one and for a simulated one, which includes this file by its
//! path.
//!
//! Arrives: a [`Subject`] with nothing in it. [`cases`] are the promises, one by one.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use peep_chassis::config::Settings;
use peep_log::{LogRecord, Offset};
use peep_rollup::Config;
use peep_rollup::partition::{Cut, Fingerprint, Partition, Restored};
use peep_rollup::position::Position;
use peep_rollup::store::{Claim, Flushed, Lease, Owner, Report, Store, Verdict};
use peep_wire::event::{EncodedAttrs, Event};
use peep_wire::method::Method;
use peep_wire::record::RecordBuilder;
use peep_wire::{Identity, KeyId, ProjectId};
use uuid::Uuid;

/// A store to judge, and what cannot be asked through the trait.
pub(crate) trait Subject: Sync {
    /// Always the same one.
    fn store(&self) -> Arc<dyn Store>;

    /// As if nobody had been heard of for longer than a lease.
    fn let_leases_expire(&self) -> BoxFuture<'_, ()>;

    /// Everything that is kept of a partition.
    fn kept(&self, partition: u32) -> BoxFuture<'_, Kept>;

    /// Why the partition is not counted.
    fn broken(&self, partition: u32) -> BoxFuture<'_, Option<String>>;
}

/// Numbers of events, each taken from where it is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// In the rollups.
    pub(crate) rolled_up: u64,
    /// In versions and on hosts, each of them twice.
    pub(crate) in_facets: u64,
    /// Rolled up, by the books.
    pub(crate) booked: u64,
    /// Duplicate, by the rows of duplicates.
    pub(crate) duplicate: u64,
}

type Case<S> = for<'s> fn(&'s S) -> BoxFuture<'s, ()>;

/// Every case by name; each wants a new subject of three partitions that nobody opened.
pub(crate) fn cases<S: Subject>() -> Vec<(&'static str, Case<S>)> {
    vec![
        ("opening twice changes nothing", |subject| Box::pin(opening_twice(subject))),
        ("a partition has one holder until the lease expires", |subject| Box::pin(one_holder(subject))),
        ("of many who claim at once each partition goes to one", |subject| Box::pin(claims_at_once(subject))),
        ("only the holder writes, from where the cursor is", |subject| Box::pin(only_the_holder(subject))),
        ("of two flushes of the same cut one is kept", |subject| Box::pin(the_same_cut_twice(subject))),
        ("claiming again fences the attempt before", |subject| Box::pin(claiming_again(subject))),
        ("a renewal tells what is held and who is alive", |subject| Box::pin(renewals(subject))),
        ("a flush keeps the lease", |subject| Box::pin(a_flush_keeps_the_lease(subject))),
        ("what is released is free at once", |subject| Box::pin(releases(subject))),
        ("what was counted is known to the successor", |subject| Box::pin(restores(subject))),
        ("reports count only from the holder", |subject| Box::pin(reports(subject))),
    ]
}

async fn opening_twice(subject: &impl Subject) {
    let store = opened(subject).await;
    let lease = claim_one(&*store, owner(1)).await;
    flush(&*store, owner(1), &lease, &[0]).await;
    store.open(PARTITIONS).await.unwrap();
    let held = store.renew(owner(1), 9).await.unwrap().held;
    assert_eq!(held.iter().map(|lease| lease.next).collect::<Vec<_>>(), [Position(1)]);
}

async fn one_holder(subject: &impl Subject) {
    let store = opened(subject).await;
    let first = store.claim(owner(1), everything()).await.unwrap();
    let partitions: Vec<u32> = first.iter().map(|lease| lease.partition).collect();
    assert_eq!(partitions, [0, 1, 2], "in order");
    assert!(first.iter().all(|lease| lease.next == Position(0) && lease.fingerprint.is_none()));
    assert!(store.claim(owner(2), everything()).await.unwrap().is_empty(), "the leases still run");
    assert!(store.claim(owner(1), everything()).await.unwrap().is_empty(), "nothing to claim again");
    subject.let_leases_expire().await;
    let second = store.claim(owner(2), Claim { count_max: 2, ..everything() }).await.unwrap();
    assert_eq!(second.len(), 2, "as many as asked for");
    assert!(second.iter().all(|lease| lease.epoch > first[lease.partition as usize].epoch));
    let left = store.renew(owner(1), 9).await.unwrap().held;
    assert_eq!(left.iter().map(|lease| lease.partition).collect::<Vec<_>>(), [2]);
    let beyond = Claim { partitions: 1, ..everything() };
    subject.let_leases_expire().await;
    let only = store.claim(owner(3), beyond).await.unwrap();
    assert_eq!(only.iter().map(|lease| lease.partition).collect::<Vec<_>>(), [0], "the log has no others");
}

async fn claims_at_once(subject: &impl Subject) {
    let store = opened(subject).await;
    for _ in 0..5 {
        let claims = (1..=6).map(|number| store.claim(owner(number), everything()));
        let mut taken: Vec<u32> = join_all(claims)
            .await
            .into_iter()
            .flat_map(|claim| claim.expect("claims do not disturb each other"))
            .map(|lease| lease.partition)
            .collect();
        taken.sort_unstable();
        let once = taken.windows(2).all(|pair| pair[0] != pair[1]);
        assert!(once && taken.len() <= PARTITIONS as usize, "{taken:?}");
        subject.let_leases_expire().await;
    }
}

async fn only_the_holder(subject: &impl Subject) {
    let store = opened(subject).await;
    let old = claim_one(&*store, owner(1)).await;
    subject.let_leases_expire().await;
    let lease = claim_one(&*store, owner(2)).await;
    assert_eq!(old.partition, lease.partition);
    let first = cut(lease.partition, 0, None, &[0, 1]);
    for (who, epoch) in [(1, old.epoch), (1, lease.epoch), (2, old.epoch), (2, lease.epoch + 1), (3, lease.epoch)] {
        let fenced = store.flush(owner(who), epoch, Arc::clone(&first)).await.unwrap();
        assert_eq!(fenced, Flushed::Fenced, "owner {who} with epoch {epoch} of {}", lease.epoch);
    }
    let ahead = cut(lease.partition, 1, None, &[1]);
    assert_eq!(store.flush(owner(2), lease.epoch, ahead).await.unwrap(), Flushed::Fenced, "the cursor is behind");
    assert_eq!(subject.kept(lease.partition).await, Kept::default(), "who is fenced leaves nothing");

    assert_eq!(store.flush(owner(2), lease.epoch, Arc::clone(&first)).await.unwrap(), Flushed::Committed);
    let kept = Kept { rolled_up: 2 * EVENTS, in_facets: 4 * EVENTS, booked: 2 * EVENTS, duplicate: 0 };
    assert_eq!(subject.kept(lease.partition).await, kept);
    assert_eq!(store.flush(owner(2), lease.epoch, first).await.unwrap(), Flushed::Fenced, "the cursor has moved on");
    let overlapping = cut(lease.partition, 1, None, &[7, 8]);
    assert_eq!(store.flush(owner(2), lease.epoch, overlapping).await.unwrap(), Flushed::Fenced);
    assert_eq!(subject.kept(lease.partition).await, kept);
    let next = cut(lease.partition, 2, None, &[9]);
    assert_eq!(store.flush(owner(2), lease.epoch, next).await.unwrap(), Flushed::Committed);
    let held = store.renew(owner(2), 9).await.unwrap().held;
    assert_eq!(held[0].next, Position(3));
    assert!((0..PARTITIONS).any(|other| other != lease.partition), "there are others");
    for other in (0..PARTITIONS).filter(|other| *other != lease.partition) {
        assert_eq!(subject.kept(other).await, Kept::default());
    }
}

async fn the_same_cut_twice(subject: &impl Subject) {
    let store = opened(subject).await;
    let lease = claim_one(&*store, owner(1)).await;
    let cut = cut(lease.partition, 0, None, &[0]);
    let both = join_all((0..2).map(|_| store.flush(owner(1), lease.epoch, Arc::clone(&cut)))).await;
    let committed = both.iter().filter(|flushed| **flushed == Ok(Flushed::Committed)).count();
    assert_eq!(committed, 1, "{both:?}");
    assert_eq!(subject.kept(lease.partition).await.rolled_up, EVENTS);
}

async fn claiming_again(subject: &impl Subject) {
    let store = opened(subject).await;
    let lease = claim_one(&*store, owner(1)).await;
    let again = Claim { again: vec![lease.partition], count_max: 1, ..everything() };
    let leases = store.claim(owner(1), again.clone()).await.unwrap();
    assert_eq!(leases.iter().map(|lease| lease.partition).collect::<Vec<_>>(), [lease.partition], "before free ones");
    assert!(leases[0].epoch > lease.epoch);
    let stale = store.flush(owner(1), lease.epoch, cut(lease.partition, 0, None, &[0])).await.unwrap();
    assert_eq!(stale, Flushed::Fenced);
    let others = store.claim(owner(2), Claim { count_max: 9, ..again }).await.unwrap();
    assert!(others.iter().all(|other| other.partition != lease.partition), "only one's own can be claimed again");
}

async fn renewals(subject: &impl Subject) {
    let store = opened(subject).await;
    let lease = claim_one(&*store, owner(1)).await;
    flush(&*store, owner(1), &lease, &[0, 1]).await;
    store.renew(owner(2), 4).await.unwrap();
    let renewed = store.renew(owner(1), 7).await.unwrap();
    assert_eq!(renewed.workers, [(owner(1), 7), (owner(2), 4)], "in order, with what they can take");
    let [held] = renewed.held[..] else { panic!("{renewed:?}") };
    assert_eq!((held.partition, held.epoch, held.next), (lease.partition, lease.epoch, Position(2)));
    subject.let_leases_expire().await;
    let renewed = store.renew(owner(1), 3).await.unwrap();
    assert_eq!(renewed.workers, [(owner(1), 3)], "the other one was not heard of");
    assert_eq!(renewed.held.len(), 1, "nobody took it meanwhile");
    assert!(claim_all_but(&*store, owner(2), lease.partition).await, "renewed in time");
}

async fn a_flush_keeps_the_lease(subject: &impl Subject) {
    let store = opened(subject).await;
    let lease = claim_one(&*store, owner(1)).await;
    subject.let_leases_expire().await;
    flush(&*store, owner(1), &lease, &[0]).await;
    assert!(claim_all_but(&*store, owner(2), lease.partition).await, "who flushes is alive");
}

async fn releases(subject: &impl Subject) {
    let store = opened(subject).await;
    store.renew(owner(1), 9).await.unwrap();
    let leases = store.claim(owner(1), everything()).await.unwrap();
    store.release(owner(2), Some(vec![0])).await.unwrap();
    assert_eq!(store.renew(owner(1), 9).await.unwrap().held.len(), 3, "somebody else's is not given back");
    store.release(owner(1), Some(vec![1])).await.unwrap();
    let taken = store.claim(owner(2), everything()).await.unwrap();
    assert_eq!(taken.iter().map(|lease| lease.partition).collect::<Vec<_>>(), [1]);
    assert!(taken[0].epoch > leases[1].epoch);
    let late = store.flush(owner(1), leases[1].epoch, cut(1, 0, None, &[0])).await.unwrap();
    assert_eq!(late, Flushed::Fenced);
    store.release(owner(1), None).await.unwrap();
    let renewed = store.renew(owner(2), 9).await.unwrap();
    assert_eq!(renewed.workers, [(owner(2), 9)], "who gives back everything is gone");
    assert_eq!(store.claim(owner(2), everything()).await.unwrap().len(), 2);
}

async fn restores(subject: &impl Subject) {
    let store = opened(subject).await;
    let lease = claim_one(&*store, owner(1)).await;
    let nothing = store.restore(lease.partition).await.unwrap();
    assert!(nothing.windows.is_empty() && nothing.budgets.is_empty() && nothing.log_ms == 0);
    assert!(nothing.facet_budgets.is_empty());
    flush(&*store, owner(1), &lease, &[0, 1]).await;
    subject.let_leases_expire().await;
    let next = claim_one(&*store, owner(2)).await;
    assert_eq!((next.partition, next.next), (lease.partition, Position(2)));
    assert_eq!(next.fingerprint, Some(Fingerprint::of(&batch(1))), "of the record before the cursor");
    let restored = store.restore(next.partition).await.unwrap();
    assert_eq!(restored.log_ms, NOW_MS + 1, "the log's time at the cursor");
    // The first two came before, the third did not.
    assert_eq!(restored.facet_budgets.len(), 2, "a version and a host have a place");
    let cut = cut(next.partition, 2, Some(restored), &[0, 1, 2]);
    assert!(cut.facets.budgets.is_empty(), "and keep it");
    assert_eq!((cut.books.total.duplicate, cut.books.total.rolled_up), (2 * EVENTS, EVENTS));
    assert_eq!(store.flush(owner(2), next.epoch, cut).await.unwrap(), Flushed::Committed);
    let kept = Kept { rolled_up: 3 * EVENTS, in_facets: 6 * EVENTS, booked: 3 * EVENTS, duplicate: 2 * EVENTS };
    assert_eq!(subject.kept(next.partition).await, kept);
}

async fn reports(subject: &impl Subject) {
    let store = opened(subject).await;
    let lease = claim_one(&*store, owner(1)).await;
    let partition = lease.partition;
    let report = |epoch: u64, verdict: Verdict| {
        vec![Report { partition, epoch, range: Some((Position(0), Position(9))), verdict }]
    };
    let broken = |reason: &str| Verdict::Broken { reason: reason.to_owned() };
    store.report(owner(2), report(lease.epoch, broken("by a stranger"))).await.unwrap();
    store.report(owner(1), report(lease.epoch + 1, broken("by an epoch to come"))).await.unwrap();
    assert_eq!(subject.broken(partition).await, None);
    store.report(owner(1), report(lease.epoch, broken("by the holder"))).await.unwrap();
    store.report(owner(1), report(lease.epoch, Verdict::Open)).await.unwrap();
    assert_eq!(subject.broken(partition).await.as_deref(), Some("by the holder"), "stays until it is known to be well");
    store.report(owner(1), report(lease.epoch, Verdict::Sound)).await.unwrap();
    assert_eq!(subject.broken(partition).await, None);
    store.report(owner(1), Vec::new()).await.unwrap();
}

async fn opened(subject: &impl Subject) -> Arc<dyn Store> {
    let store = subject.store();
    store.open(PARTITIONS).await.unwrap();
    store
}

fn everything() -> Claim {
    Claim { partitions: PARTITIONS, again: Vec::new(), count_max: 9 }
}

/// The lowest that is free.
async fn claim_one(store: &dyn Store, owner: Owner) -> Lease {
    store.claim(owner, Claim { count_max: 1, ..everything() }).await.unwrap().remove(0)
}

/// Whether everything could be had but one.
async fn claim_all_but(store: &dyn Store, owner: Owner, one: u32) -> bool {
    let taken = store.claim(owner, everything()).await.unwrap();
    taken.iter().all(|lease| lease.partition != one) && taken.len() + 1 == PARTITIONS as usize
}

async fn flush(store: &dyn Store, owner: Owner, lease: &Lease, batches: &[u64]) {
    let cut = cut(lease.partition, lease.next.0, None, batches);
    assert_eq!(store.flush(owner, lease.epoch, cut).await.unwrap(), Flushed::Committed);
}

/// What a partition makes of some batches, beginning at a position.
pub(crate) fn cut(partition: u32, from: u64, restored: Option<Restored>, batches: &[u64]) -> Arc<Cut> {
    let none: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    let limits = Config::read(&mut Settings::new(&none)).partition_limits(PARTITIONS);
    let mut state = Partition::restored(partition, Offset(from), limits, restored.unwrap_or_default());
    for (offset, number) in (from..).zip(batches) {
        let record =
            LogRecord { offset: Offset(offset), appended_ms: NOW_MS + *number as i64, payload: batch(*number) };
        state.apply(&record).expect("it fits");
    }
    state.publish(1, NOW_MS);
    Arc::new(state.cut().expect("something was applied"))
}

/// One batch of a producer, by its number.
fn batch(number: u64) -> Bytes {
    let mut builder = RecordBuilder::new(1 << 20);
    builder.start(NOW_MS);
    for n in 0..EVENTS {
        builder.push(&Event {
            service: "shop",
            env: "default",
            route: "/",
            method: Method::from_name("GET"),
            status: 200,
            ended_ms: NOW_MS,
            duration_us: Some(1000 + n),
            error: None,
            host: Some("web-1"),
            version: Some("v1"),
            source: None,
            bytes_in: None,
            bytes_out: None,
            trace_id: None,
            span_id: None,
            attrs: EncodedAttrs::EMPTY,
        });
    }
    builder.finish(ProjectId(1), KeyId(1), Some(Identity { producer: [7; 16], seq: number })).remove(0)
}

pub(crate) fn owner(number: u128) -> Owner {
    Owner(Uuid::from_u128(number))
}

pub(crate) const PARTITIONS: u32 = 3;
pub(crate) const EVENTS: u64 = 5;
/// A Friday evening.
pub(crate) const NOW_MS: i64 = 1_795_212_000_000;
