//! One record of the journal: length, checksum, kind and a payload.
//!
//! In: what happened. Out: bytes, and back. Promised: bytes that were not written whole are not read.

use serde::{Deserialize, Serialize};

use crate::parcel::{Encoding, Identity, Parcel};
use crate::position::Position;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Batch { parcel: Parcel, positions: Vec<Position> },
    Standing { path: String, since_ms: i64, positions: Vec<Position> },
    Reached { positions: Vec<Position> },
    Gone { path: String },
    Answered(Identity),
}

/// Marks the beginning of a record: no byte of JSON, and rare in compressed data.
const MAGIC: [u8; 4] = *b"\xffPJ1";

/// Magic, length of head, length of body, checksum of all that follows.
const PREFIX_BYTES: usize = 16;

/// What precedes the bytes of a batch, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum Head {
    Batch { identity: Identity, events: u32, encoding: Encoding, positions: Vec<Position> },
    Standing { path: String, since_ms: i64, positions: Vec<Position> },
    Reached { positions: Vec<Position> },
    Gone { path: String },
    Answered { identity: Identity },
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (head, body): (Head, &[u8]) = match self.clone() {
            Self::Batch { parcel, positions } => {
                let Parcel { identity, events, encoding, .. } = parcel;
                let Self::Batch { parcel, .. } = self else { unreachable!("it was a batch") };
                (Head::Batch { identity, events, encoding, positions }, &parcel.bytes)
            }
            Self::Standing { path, since_ms, positions } => (Head::Standing { path, since_ms, positions }, &[]),
            Self::Reached { positions } => (Head::Reached { positions }, &[]),
            Self::Gone { path } => (Head::Gone { path }, &[]),
            Self::Answered(identity) => (Head::Answered { identity }, &[]),
        };
        let head = serde_json::to_vec(&head).expect("plain values have a JSON form");
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + head.len() + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&(head.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(body);
        let sum = crc32fast::hash(&bytes[PREFIX_BYTES..]);
        bytes[12..PREFIX_BYTES].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The first record and its length; `None` when it is not whole.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let prefix = bytes.get(..PREFIX_BYTES)?;
        if prefix[..4] != MAGIC {
            return None;
        }
        let number = |at: usize| u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]);
        let (head_end, body_end) =
            (PREFIX_BYTES + number(4) as usize, PREFIX_BYTES + number(4) as usize + number(8) as usize);
        let payload = bytes.get(PREFIX_BYTES..body_end)?;
        if crc32fast::hash(payload) != number(12) {
            return None;
        }
        let record = match serde_json::from_slice(&bytes[PREFIX_BYTES..head_end]).ok()? {
            Head::Batch { identity, events, encoding, positions } => {
                let bytes = bytes[head_end..body_end].to_vec();
                Self::Batch { parcel: Parcel { identity, events, encoding, bytes }, positions }
            }
            Head::Standing { path, since_ms, positions } => Self::Standing { path, since_ms, positions },
            Head::Reached { positions } => Self::Reached { positions },
            Head::Gone { path } => Self::Gone { path },
            Head::Answered { identity } => Self::Answered(identity),
        };
        Some((record, body_end))
    }
}

/// Whether a whole record lies anywhere in `bytes`.
pub(super) fn follows(bytes: &[u8]) -> bool {
    memchr::memmem::find_iter(bytes, &MAGIC).any(|at| Record::decode(&bytes[at..]).is_some())
}
