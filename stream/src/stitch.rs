//! Joins history and live at a cursor, with neither gap nor double.
//!
//! Arrives: live frames of one partition, each the events of an offset range `[from, to)`, in the order of the live
//! log; and a [`Position`], "everything below this offset is already counted". Leaves: the frames that continue that
//! position without a gap, and the position after them.
//!
//! ```text
//! committed rows ────────────┤ cursor
//! epoch 4    [──)[────)[─────)[──)[────)        frames of the owner that crashed
//! epoch 5                     [─────)[──)       its successor starts again at the cursor
//! held       [──)[────)[─────)[─────)[──)       what is kept: a higher epoch replaces from its first `from` on
//! ```
//!
//! Promises, whatever the interleaving of commits, frames, take-overs and eviction: the frames returned line up with
//! the position, so the sum of both counts every event below the new position exactly once. What cannot be continued
//! is said: [`Reach::Gap`] (something between is not held: take a newer snapshot) and [`Reach::Superseded`] (frames
//! that were already counted have been replaced: count again from a snapshot). No clock takes part.
//!
//! Does not: read the log or the database, or know what a frame contains.

use std::collections::VecDeque;
use std::sync::Arc;

use peep_wire::live::LiveFrame;

/// How far one partition is counted, and under which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// First event-log offset that is not counted yet.
    pub offset: u64,
    /// Epoch of what was counted last.
    pub epoch: u64,
}

/// How far the held frames carry a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Through the newest frame there is.
    Newest,
    /// Newer frames exist, but between them and the position something is missing.
    Gap,
    /// Frames counted into the position were replaced by a higher epoch.
    Superseded,
}

/// Frames that continue a position.
#[derive(Debug, Clone, PartialEq)]
pub struct Continuation {
    /// In order, without gap.
    pub frames: Vec<Arc<LiveFrame>>,
    /// The position after them.
    pub position: Position,
    /// What comes next.
    pub reach: Reach,
}

/// What an arriving frame did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Kept.
    Appended,
    /// Kept, and frames of a lower epoch were dropped for it.
    Replaced,
    /// Known already (the live log was read again).
    Known,
    /// From an owner that has been replaced.
    Stale,
}

/// The live frames of one partition, ascending, of at most one epoch per offset.
#[derive(Debug, Default)]
pub struct HeldPartition {
    frames: VecDeque<Arc<LiveFrame>>,
    epoch: u64,
    /// Epochs seen and where each began, newest last.
    epochs: VecDeque<(u64, u64)>,
    /// Highest offset that was held and is no more.
    evicted_to: u64,
}

impl HeldPartition {
    /// Takes the next frame of the live log. `on_drop` sees every frame that is not held any more.
    pub fn insert(&mut self, frame: Arc<LiveFrame>, mut on_drop: impl FnMut(&LiveFrame)) -> Held {
        if frame.epoch < self.epoch {
            return Held::Stale;
        }
        let takes_over = frame.epoch > self.epoch;
        let newest_to = self.frames.back().map_or(0, |newest| newest.to);
        if !takes_over && !self.frames.is_empty() && frame.to <= newest_to {
            return Held::Known;
        }
        if takes_over || self.epochs.is_empty() {
            self.epoch = frame.epoch;
            self.epochs.push_back((frame.epoch, frame.from));
            if self.epochs.len() > EPOCHS_KEPT {
                self.epochs.pop_front();
            }
        }
        // A frame that overlaps held ones replaces them, in its own epoch too: an owner that does not know whether a
        // frame was published may publish a longer one from the same offset.
        let mut replaced = false;
        while let Some(overlapping) = self.frames.pop_back_if(|held| held.to > frame.from) {
            on_drop(&overlapping);
            replaced = true;
        }
        // What the new frame covers is not missing any more, even if it had been evicted in an older shape.
        self.evicted_to = self.evicted_to.min(frame.from);
        self.frames.push_back(frame);
        if replaced { Held::Replaced } else { Held::Appended }
    }

    /// Lets go of the oldest frame.
    pub fn evict(&mut self) -> Option<Arc<LiveFrame>> {
        let frame = self.frames.pop_front()?;
        self.evicted_to = self.evicted_to.max(frame.to);
        Some(frame)
    }

    /// The oldest frame, the next to be evicted.
    pub fn oldest(&self) -> Option<&LiveFrame> {
        self.frames.front().map(|frame| &**frame)
    }

    /// The newest frame.
    pub fn newest(&self) -> Option<&LiveFrame> {
        self.frames.back().map(|frame| &**frame)
    }

    /// The frame that holds what lies at an offset.
    pub fn frame_with(&self, offset: u64) -> Option<&LiveFrame> {
        let next = self.frames.partition_point(|frame| frame.to <= offset);
        self.frames.get(next).map(|frame| &**frame).filter(|frame| frame.from <= offset)
    }

    /// The frames that continue `position`.
    pub fn continue_from(&self, position: Position) -> Continuation {
        let stay = |reach| Continuation { frames: Vec::new(), position, reach };
        if self.superseded(position) {
            return stay(Reach::Superseded);
        }
        let mut next = self.frames.partition_point(|frame| frame.to <= position.offset);
        // Frames below the position's epoch that do not line up with it were replaced before they came.
        let replaced = |frame: &LiveFrame| frame.from != position.offset && frame.epoch < position.epoch;
        while self.frames.get(next).is_some_and(|frame| replaced(frame)) {
            next += 1;
        }
        let mut continuation = stay(Reach::Newest);
        for frame in self.frames.range(next..) {
            if frame.from != continuation.position.offset {
                continuation.reach = Reach::Gap;
                return continuation;
            }
            continuation.position = Position { offset: frame.to, epoch: frame.epoch };
            continuation.frames.push(Arc::clone(frame));
        }
        if continuation.position.offset < self.evicted_to {
            continuation.reach = Reach::Gap;
        }
        continuation
    }

    /// Whether an epoch above the position's began below it: what was counted there is not valid any more.
    fn superseded(&self, position: Position) -> bool {
        let mut newer = self.epochs.iter().filter(|(epoch, _)| *epoch > position.epoch);
        newer.any(|(_, from)| *from < position.offset)
    }
}

/// Take-overs to remember; a position older than all of them has long been a gap.
const EPOCHS_KEPT: usize = 64;

#[cfg(test)]
mod tests;
