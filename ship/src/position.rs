//! Where reading a file stands, in terms that outlive a rename, a restart and a recycled inode.
//!
//! In: what the file system says of a file, and bytes of it. Out: [`Position`]s, which the journal keeps, and whether a file
//! found later is the one that a position speaks of. Promised: a number that the file system gives away again (an inode)
//! is never believed alone: the first bytes of the file and the last bytes before the position must be the same too.
//! Not done: finding the files; that is `follow`.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How far the lines of one file, under whatever name, have become events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Tells the files apart that had the same path one after the other; grows.
    pub(crate) id: u64,
    /// The path that is followed, which may be another file's by now.
    pub(crate) path: String,
    pub(crate) identity: Identity,
    /// The first bytes of the file, as far as it was read, up to [`HEAD_BYTES`].
    pub(crate) head: Mark,
    /// Behind the last line that was taken.
    pub(crate) offset: u64,
    /// The last bytes before the offset.
    pub(crate) tail: Mark,
}

/// What stays the same when a file is renamed, and usually differs between two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Nanoseconds since 1970, where the file system knows; two files that had one inode differ in it.
    pub(crate) birth_ns: Option<u64>,
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let birth_ns = metadata
            .created()
            .ok()
            .and_then(|birth| birth.duration_since(UNIX_EPOCH).ok())
            .and_then(|since| u64::try_from(since.as_nanos()).ok());
        Self { device: metadata.dev(), inode: metadata.ino(), birth_ns }
    }
}

/// A run of bytes by its length and hash: enough to recognise it, nothing to read in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) length: u16,
    hash: u64,
}

/// Some five lines of a log, each with its time: no two files share them.
pub(crate) const HEAD_BYTES: usize = 1024;

/// Of the last line before a position.
pub(crate) const TAIL_BYTES: usize = 64;

impl Mark {
    /// `bytes` are at most [`HEAD_BYTES`].
    pub(crate) fn of(bytes: &[u8]) -> Self {
        debug_assert!(bytes.len() <= HEAD_BYTES, "marks are of short runs");
        if bytes.is_empty() {
            return Self::default();
        }
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let (first, _) = digest.split_first_chunk::<8>().expect("SHA-256 has 32 bytes");
        Self { length: bytes.len() as u16, hash: u64::from_le_bytes(*first) }
    }

    /// Of the end of a line; a longer one counts with its last [`TAIL_BYTES`].
    pub(crate) fn of_end(line: &[u8]) -> Self {
        Self::of(&line[line.len().saturating_sub(TAIL_BYTES)..])
    }

    pub(crate) fn matches(self, bytes: &[u8]) -> bool {
        bytes.len() == usize::from(self.length) && Self::of(bytes) == self
    }
}

/// What of an older position a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// The same file: inode and content agree.
    Same,
    /// The same content in another file: copied, restored, compressed.
    Copy,
    Different,
}

/// A file as far as comparing needs it.
pub(crate) trait Content {
    /// The bytes from `offset` on, exactly `length` of them, or `None` when the file does not reach that far.
    fn bytes(&mut self, offset: u64, length: usize) -> Option<Vec<u8>>;
}

impl Position {
    /// At the start of a file of which nothing was read.
    pub(crate) fn unread(path: &str, identity: Identity) -> Self {
        Self { id: 0, path: path.to_owned(), identity, head: Mark::default(), offset: 0, tail: Mark::default() }
    }

    pub(crate) fn likeness(&self, identity: Identity, content: &mut dyn Content) -> Likeness {
        let same_file = self.identity == identity;
        if self.offset == 0 && self.head.length == 0 {
            // Nothing was read of it: nothing but its number can be compared.
            return if same_file { Likeness::Same } else { Likeness::Different };
        }
        let mut agrees = |offset: u64, mark: Mark| {
            content.bytes(offset, mark.length.into()).is_some_and(|bytes| mark.matches(&bytes))
        };
        let tail_from = self.offset - u64::from(self.tail.length).min(self.offset);
        match agrees(0, self.head) && agrees(tail_from, self.tail) {
            true if same_file => Likeness::Same,
            true => Likeness::Copy,
            false => Likeness::Different,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Content for &[u8] {
        fn bytes(&mut self, offset: u64, length: usize) -> Option<Vec<u8>> {
            self.get(offset as usize..offset as usize + length).map(<[u8]>::to_vec)
        }
    }

    const FILE: Identity = Identity { device: 1, inode: 2, birth_ns: Some(3) };
    const OTHER: Identity = Identity { device: 1, inode: 2, birth_ns: Some(4) };

    fn position(content: &[u8], offset: usize) -> Position {
        Position {
            id: 1,
            path: "access.log".to_owned(),
            identity: FILE,
            head: Mark::of(&content[..offset.min(HEAD_BYTES)]),
            offset: offset as u64,
            tail: Mark::of_end(&content[..offset]),
        }
    }

    #[test]
    fn a_file_that_grew_is_the_same() {
        let position = position(b"one\ntwo\n", 8);
        assert_eq!(position.likeness(FILE, &mut b"one\ntwo\nthree\n".as_slice()), Likeness::Same);
    }

    #[test]
    fn an_inode_that_was_given_away_again_is_another_file() {
        let position = position(b"one\ntwo\n", 8);
        assert_eq!(position.likeness(FILE, &mut b"new\nlines\n".as_slice()), Likeness::Different);
        assert_eq!(position.likeness(FILE, &mut b"one\n".as_slice()), Likeness::Different, "truncated");
        assert_eq!(position.likeness(FILE, &mut b"one\nnew\nlog\n".as_slice()), Likeness::Different, "grown again");
    }

    #[test]
    fn the_same_content_elsewhere_is_a_copy() {
        let position = position(b"one\ntwo\n", 8);
        assert_eq!(position.likeness(OTHER, &mut b"one\ntwo\n".as_slice()), Likeness::Copy);
    }

    #[test]
    fn of_an_empty_file_only_the_number_is_known() {
        let position = position(b"", 0);
        assert_eq!(position.likeness(FILE, &mut b"anything\n".as_slice()), Likeness::Same);
        assert_eq!(position.likeness(OTHER, &mut b"anything\n".as_slice()), Likeness::Different);
    }
}
