//! Names for the numbers that cross a border: parsed once, then trusted.

use std::fmt;

/// A project (the tenant): who owns the events. `project.project_id` in Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectId(pub u64);

/// The API key that an event came in with. `api_key.key_id` in Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub u64);

/// What makes a retry recognisable: the same pair sent again is the same batch.
///
/// `producer` is a random UUID per client process, `seq` counts its batches from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// `Peep-Producer`, the 16 bytes of the UUID.
    pub producer: [u8; 16],
    /// `Peep-Seq`.
    pub seq: u64,
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
