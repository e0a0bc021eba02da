//! Whose file is it? One file may come under several followed paths: a pattern that matches rotated names too, a log and a link
//! to it.
//!
//! In: a file that a path is about to read. Out: whether another path reads it, or has, and how far. Promised: a file that
//! is known by its number and content is known under every name; one that is known by its content alone, only under a name
//! that rotation would give it, because two logs may well begin with the same lines. Of several positions in one file the
//! furthest is right: what is behind the others was read under another name.

use super::rotated::{Candidate, is_rotated_from};
use super::{Followed, Reader};
use crate::position::{Identity, Likeness, Position};

/// What another path has to do with a file.
pub(super) enum Claim {
    Nobody,
    /// Reads it, or what it is a copy of; or it holds nothing but the beginning of what was read.
    Reading,
    /// Has read it this far.
    Read(Position),
}

impl Claim {
    pub(super) fn position(self) -> Option<Position> {
        match self {
            Self::Read(position) => Some(position),
            Self::Nobody | Self::Reading => None,
        }
    }
}

impl Reader {
    pub(super) fn is_open(&self, identity: Identity) -> bool {
        self.others.values().any(|other| other.is_open(identity))
    }

    pub(super) fn claim(&self, candidate: &mut Candidate) -> Claim {
        let mut claim = Claim::Nobody;
        for other in self.others.values() {
            match other.claim(candidate) {
                Claim::Nobody => {}
                Claim::Reading => return Claim::Reading,
                Claim::Read(theirs) => claim = Claim::Read(furthest(theirs, claim.position())),
            }
        }
        claim
    }
}

impl Followed {
    fn claim(&self, candidate: &mut Candidate) -> Claim {
        let rotated = is_rotated_from(&self.path, &candidate.path);
        if self.is_open(candidate.identity) || (rotated && self.is_copy_of_open(candidate)) {
            return Claim::Reading;
        }
        let read = self.closed.iter().filter(|closed| match closed.identity == candidate.identity {
            true => candidate.likeness(closed) == Likeness::Same,
            false => rotated && candidate.likeness(closed) == Likeness::Copy,
        });
        if let Some(position) = read.max_by_key(|closed| closed.offset) {
            return Claim::Read(position.clone());
        }
        if rotated && self.has_read_all_of(candidate, &[]) { Claim::Reading } else { Claim::Nobody }
    }
}

/// The one that is further in the same file, under the name of `own`.
pub(super) fn furthest(own: Position, other: Option<Position>) -> Position {
    match other.filter(|other| other.offset > own.offset) {
        Some(other) => Position { id: own.id, path: own.path, ..other },
        None => own,
    }
}
