//! One open file and how far it is read.
//!
//! In: bytes of the file. Out: whole lines with their place. Promised: before new bytes are taken, the last ones that were
//! read are looked at again; if they have changed, the file was truncated and written anew, and nothing of it is passed on.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::mpsc::SendError;

use super::rotated::{Candidate, GZIP_MAGIC};
use super::{Reader, Sent};
use crate::args::FollowFrom;
use crate::position::{HEAD_BYTES, Identity, Mark, Position, TAIL_BYTES};
use crate::source::{FileFacts, Message, Place, Splitter};

pub(super) struct Open {
    content: Reading,
    splitter: Splitter,
    /// Everything before this was read, if perhaps not passed on as a line.
    offset: u64,
    /// The last bytes before the offset, as they were read.
    before: Vec<u8>,
    /// The first bytes of the file.
    head: Vec<u8>,
    facts: Arc<FileFacts>,
    /// Behind the last line that was passed on.
    position: Position,
    finished: bool,
}

enum Reading {
    Plain(File),
    /// A compressed file does not grow; it is read once, and then it is finished.
    Gzip(Box<dyn Read + Send>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// At the end of the file, for now.
    AtEnd,
    /// There is more, but others want to be read too.
    More,
    /// The bytes before the place where reading stands are not what was read.
    Rewritten,
    /// What looked empty begins as a gzip file does, and nothing of it was passed on.
    Compressed,
}

/// How much of one file is read before it is the turn of the others.
const TURN_BYTES: u64 = 4 << 20;

impl Open {
    /// A file of which nothing is known.
    pub(super) fn anew(
        index: usize,
        candidate: Candidate,
        id: u64,
        path: &str,
        from: FollowFrom,
    ) -> std::io::Result<Self> {
        let start = Position { id, ..Position::unread(path, candidate.identity) };
        let end = match from {
            FollowFrom::Start => return Self::resume(index, candidate, start),
            FollowFrom::End => candidate.bytes,
        };
        let mut open = Self::resume(index, candidate, start)?;
        let Reading::Plain(file) = &open.content else { return Ok(open) };
        open.head = read_at(file, 0, end.min(HEAD_BYTES as u64))?;
        open.before = read_at(file, end - end.min(TAIL_BYTES as u64), end.min(TAIL_BYTES as u64))?;
        open.offset = end;
        if !open.before.is_empty() && !open.before.ends_with(b"\n") {
            // The rest of a line whose beginning was not read is no line.
            open.splitter.skip_line();
        }
        open.facts = Arc::new(FileFacts { head: Mark::of(&open.head), ..open.plain_facts() });
        open.position = Position { head: open.facts.head, offset: end, tail: Mark::of(&open.before), ..open.position };
        Ok(open)
    }

    /// A file that was read up to `position`, under whatever name.
    pub(super) fn resume(index: usize, candidate: Candidate, position: Position) -> std::io::Result<Self> {
        let position = Position { identity: candidate.identity, ..position };
        let (content, head, before) = if candidate.is_gzip() {
            let mut content = candidate.inflated()?;
            let head = read_up_to(&mut content, position.offset.min(HEAD_BYTES as u64))?;
            std::io::copy(&mut (&mut content).take(position.offset - head.len() as u64), &mut std::io::sink())?;
            (Reading::Gzip(content), head, Vec::new())
        } else {
            let file = candidate.into_file();
            let head = read_at(&file, 0, position.head.length.into())?;
            let length = position.offset.min(TAIL_BYTES as u64);
            let before = read_at(&file, position.offset - length, length)?;
            (Reading::Plain(file), head, before)
        };
        let facts = FileFacts {
            id: position.id,
            path: position.path.clone(),
            identity: position.identity,
            head: position.head,
        };
        Ok(Self {
            content,
            splitter: Splitter::new(index),
            offset: position.offset,
            before,
            head,
            facts: Arc::new(facts),
            position,
            finished: false,
        })
    }

    pub(super) fn identity(&self) -> Identity {
        self.facts.identity
    }

    /// The first bytes, as far as they were read.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Written and not read.
    pub(super) fn lag_bytes(&self) -> u64 {
        match &self.content {
            Reading::Plain(file) => file.metadata().map_or(0, |metadata| metadata.len().saturating_sub(self.offset)),
            Reading::Gzip(_) => 0,
        }
    }

    /// Nothing can come any more.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    pub(super) fn position(&self) -> Position {
        self.position.clone()
    }

    /// Passes on whole lines up to the end of the file, or a fair share of them.
    pub(super) fn advance(&mut self, reader: &mut Reader) -> Result<Ended, SendError<Message>> {
        let until = self.offset + TURN_BYTES;
        while self.offset < until {
            let before = match self.content {
                Reading::Plain(_) => self.before.len(),
                Reading::Gzip(_) => 0,
            };
            let length = match self.read(&mut reader.buffer, before) {
                Ok(length) => length,
                // A passing trouble of a network file system: the next poll tries again at the same place. A torn gzip
                // file will not get better.
                Err(_) => {
                    self.finished = matches!(self.content, Reading::Gzip(_));
                    return Ok(Ended::AtEnd);
                }
            };
            if length < before || reader.buffer[..before] != self.before[..before] {
                return Ok(Ended::Rewritten);
            }
            if length == before {
                self.finished = matches!(self.content, Reading::Gzip(_));
                return Ok(Ended::AtEnd);
            }
            if self.offset == 0 && matches!(self.content, Reading::Plain(_)) {
                match &reader.buffer[..length] {
                    [first, second, ..] if [*first, *second] == GZIP_MAGIC => return Ok(Ended::Compressed),
                    // The next byte tells.
                    [first] if *first == GZIP_MAGIC[0] => return Ok(Ended::AtEnd),
                    _ => {}
                }
            }
            self.take(before..length, reader)?;
        }
        Ok(Ended::More)
    }

    /// Reads once, the last `before` bytes that were read again first.
    fn read(&mut self, buffer: &mut [u8], before: usize) -> std::io::Result<usize> {
        loop {
            let read = match &mut self.content {
                Reading::Plain(file) => file.read_at(buffer, self.offset - before as u64),
                Reading::Gzip(content) => content.read(buffer),
            };
            match read {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn take(&mut self, range: std::ops::Range<usize>, reader: &Reader) -> Sent {
        let data = &reader.buffer[range];
        if self.head.len() < HEAD_BYTES && self.head.len() as u64 == self.offset {
            let wanted = (HEAD_BYTES - self.head.len()).min(data.len());
            self.head.extend_from_slice(&data[..wanted]);
            self.facts = Arc::new(FileFacts { head: Mark::of(&self.head), ..self.plain_facts() });
        }
        let end = memchr::memrchr(b'\n', data).map(|last| self.offset + last as u64 + 1);
        self.offset += data.len() as u64;
        self.before.extend_from_slice(&data[data.len().saturating_sub(TAIL_BYTES)..]);
        self.before.drain(..self.before.len().saturating_sub(TAIL_BYTES));
        for message in self.splitter.push(data) {
            let message = match (message, end) {
                (Message::Lines { input, text, .. }, Some(end)) => self.placed(input, text, end),
                (other, _) => other,
            };
            reader.sender.send(message)?;
        }
        Ok(())
    }

    /// A last line without a line feed, once it is clear that none will come.
    pub(super) fn finish(&mut self, reader: &Reader) -> Sent {
        let end = self.offset;
        match self.splitter.finish() {
            Some(Message::Lines { input, text, .. }) => reader.sender.send(self.placed(input, text, end)),
            _ => Ok(()),
        }
    }

    fn placed(&mut self, input: usize, text: Vec<u8>, end: u64) -> Message {
        let place = Place { file: Arc::clone(&self.facts), start: end - text.len() as u64 };
        self.position = place.behind(&text);
        Message::Lines { input, text, place: Some(place) }
    }

    fn plain_facts(&self) -> FileFacts {
        let FileFacts { id, path, identity, head } = &*self.facts;
        FileFacts { id: *id, path: path.clone(), identity: *identity, head: *head }
    }
}

fn read_at(file: &File, offset: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn read_up_to(content: &mut impl Read, length: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    content.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}
