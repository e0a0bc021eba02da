//! The person who is called when a partition is broken, looks, and accepts what cannot be undone.
//!
//! Arrives: partitions that the store says are broken. Leaves: breaks, as `peep_rollup::breaks` makes them: on where nothing is
//! lost that is still there. Examines by brute force what the real one finds by search.

use std::time::Duration;

use peep_log::Offset;
use peep_rollup::partition::Fingerprint;
use peep_rollup::position::Position;
use tokio::time::sleep;

use crate::log::Kept;
use crate::random::Random;
use crate::store::{Break, CursorRow, State};
use crate::storm::Targets;

/// Never ends: on call for ever.
pub(crate) async fn watch(targets: Targets, mut random: Random) {
    let partitions = targets.world.shape.partitions;
    loop {
        sleep(LOOK_INTERVAL).await;
        let is_broken = |partition: &u32| {
            targets.store.look(|state| state.cursors.get(*partition as usize).is_some_and(|row| row.broken.is_some()))
        };
        let Some(partition) = (0..partitions).find(is_broken) else { continue };
        sleep(random.millis(500..=15_000)).await;
        accept(&targets, partition);
    }
}

fn accept(targets: &Targets, partition: u32) {
    let kept = targets.events.kept(partition);
    targets.store.change(partition, |state, now_ms| {
        let row = &state.cursors[partition as usize];
        // Whatever it was, it is over: nobody may accept the loss of a log that is sound.
        let Some(at) = resume_at(state, partition, row, &kept) else { return };
        let before = row.next;
        let after = Position::new(before.generation() + 1, Offset(at));
        let fingerprint = (at > kept.low).then(|| Fingerprint::of(&kept.life()[at as usize - 1].record.payload));
        let row = &mut state.cursors[partition as usize];
        *row =
            CursorRow { next: after, epoch: (row.epoch + 1).max(now_ms as u64), fingerprint, ..CursorRow::default() };
        state.breaks.push(Break { partition, before, after });
        let numbers = [("partition", u64::from(partition)), ("before", before.0), ("at", at)];
        targets.world.trace.note("break accepted", &numbers);
    });
}

/// `None`: the log is the one that was counted.
fn resume_at(state: &State, partition: u32, row: &CursorRow, kept: &Kept) -> Option<u64> {
    let (next, low, high) = (row.next.offset().0, kept.low, kept.high());
    let is_same = |at: u64, fingerprint: &Option<Fingerprint>| {
        at <= low || *fingerprint == Some(Fingerprint::of(&kept.life()[at as usize - 1].record.payload))
    };
    if next < low {
        return Some(low);
    }
    if next <= high && is_same(next, &row.fingerprint) {
        return None;
    }
    let ends = state.flushes_of(partition).filter(|flush| Position(flush.cut.to).generation() == row.next.generation());
    let common = ends
        .map(|flush| (Position(flush.cut.to).offset().0, &flush.cut.fingerprint))
        .filter(|(to, fingerprint)| (low + 1..=high).contains(to) && is_same(*to, fingerprint))
        .map(|(to, _)| to)
        .max();
    Some(common.unwrap_or(low))
}

const LOOK_INTERVAL: Duration = Duration::from_secs(1);
