//! Logs that grow: what `tail -F` does, and what it does not.
//!
//! In: paths and patterns, and what the journal knows of them. Out: the lines written to them, as they come, each chunk with
//! its place in its file. Promised:
//! - rotation by rename loses nothing: the old file is read on for a while, because nginx writes to it until it is told
//!   to reopen its logs, and the new one from its start;
//! - copytruncate is noticed by the file getting shorter or by other bytes before the place where reading stands, and what
//!   was not read yet is read from the copy, if there is one. What is written between the copy and the truncation is in
//!   neither: that is the nature of copytruncate;
//! - a file that was rotated away, several times even, while nobody looked (the shipper was stopped, or waited for ingest) is
//!   found by its content under its new name, compressed or not, and read from where reading stood;
//! - a file that was deleted is read to its end as long as it is open;
//! - a path that does not exist (yet, or for a moment) is waited for; patterns are looked at again every second;
//! - a line is passed on only when its line feed is there; a slow receiver stops the reading.
//!
//! Not done: a file that was deleted, or copied nowhere and truncated, before it was read.

pub(crate) mod glob;
mod open;
mod rotated;

use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SendError, SyncSender};
use std::time::{Duration, Instant};

use crate::args::{FollowFrom, Input, service_from};
use crate::interrupt::Interrupt;
use crate::journal::PathState;
use crate::metrics;
use crate::position::{Identity, Likeness, Position};
use crate::source::{Message, read_input};
use crate::time::now_ms;

use glob::Glob;
use open::{Ended, Open};
use rotated::{Candidate, candidates};

pub(crate) type Sent = Result<(), SendError<Message>>;

/// What to follow.
pub(crate) struct Plan {
    /// The inputs that were named, numbered from 0.
    pub(crate) inputs: Vec<Input>,
    pub(crate) patterns: Vec<Glob>,
    /// The service of whatever a pattern finds; else its name says it.
    pub(crate) service: Option<String>,
    pub(crate) from: FollowFrom,
    pub(crate) known: BTreeMap<String, PathState>,
    /// When the run before last wrote to its journal: a file that is younger has not been seen, and is read from its start.
    pub(crate) last_run_ms: Option<i64>,
    /// Numbers for inputs that are found later, shared with the other readers.
    pub(crate) numbers: Arc<AtomicUsize>,
}

/// Well below the half second within which an event is to be on its way.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How often patterns are looked at.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

/// How long a renamed file is read on after it last grew; `postrotate` scripts signal nginx within a second or two.
const RETIRE_AFTER: Duration = Duration::from_secs(10);

/// How long a path that a pattern found may be missing before it is given up; logrotate is done within a second.
const GONE_AFTER: Duration = Duration::from_secs(60);

/// Files that one path has open at the same time.
const RETIRING_MAX: usize = 16;

const BUFFER_BYTES: usize = 256 << 10;

/// Follows everything until the interrupt, or until the receiver is gone.
pub(crate) fn run(plan: Plan, sender: &SyncSender<Message>, interrupt: &Interrupt) -> Sent {
    let mut follower = Follower::new(plan, sender.clone());
    let mut searched = None::<Instant>;
    // One last look after the interrupt, so that what was written before Ctrl-C is sent.
    loop {
        let last = interrupt.is_raised();
        if searched.is_none_or(|searched| searched.elapsed() >= SEARCH_INTERVAL) {
            follower.search()?;
            follower.measure();
            searched = Some(Instant::now());
        }
        follower.poll()?;
        if last {
            return Ok(());
        }
        if !std::mem::take(&mut follower.reader.more) {
            interrupt.sleep(POLL_INTERVAL);
        }
    }
}

struct Follower {
    plan: Plan,
    files: HashMap<PathBuf, Followed>,
    /// Patterns were looked at before: what they find from now on is new.
    searched: bool,
    reader: Reader,
}

/// What every file needs for reading.
struct Reader {
    sender: SyncSender<Message>,
    buffer: Vec<u8>,
    next_id: u64,
    /// Some file has more than was read of it.
    more: bool,
}

impl Reader {
    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn note(&self, path: &Path, what: &str) -> Sent {
        self.sender.send(Message::Note(format!("{}: {what}", path.display())))
    }
}

impl Follower {
    fn new(plan: Plan, sender: SyncSender<Message>) -> Self {
        let next_id = plan.known.values().flat_map(|state| &state.files).map(|position| position.id).max().unwrap_or(0);
        let reader = Reader { sender, buffer: vec![0; BUFFER_BYTES], next_id, more: false };
        let mut files = HashMap::new();
        for (index, input) in plan.inputs.iter().enumerate() {
            match &input.path {
                Some(path) => {
                    let known = plan.known.get(&path.to_string_lossy().into_owned()).cloned();
                    files.insert(path.clone(), Followed::new(index, path.clone(), plan.from, known, plan.last_run_ms));
                }
                None => follow_stdin(index, input.clone(), reader.sender.clone()),
            }
        }
        Self { plan, files, searched: false, reader }
    }

    /// Takes up what the patterns find now, and gives up what has been gone for long.
    fn search(&mut self) -> Sent {
        let gone: Vec<PathBuf> =
            self.files.iter().filter(|(_, file)| file.is_gone(&self.plan)).map(|(path, _)| path.clone()).collect();
        for path in gone {
            if let Some(file) = self.files.remove(&path) {
                self.plan.known.remove(&file.name);
                self.reader.sender.send(Message::Closed { input: file.index, path: file.name })?;
            }
        }
        let from = if std::mem::replace(&mut self.searched, true) { FollowFrom::Start } else { self.plan.from };
        for path in self.plan.patterns.iter().flat_map(Glob::find) {
            if self.files.contains_key(&path) {
                continue;
            }
            let index = self.plan.numbers.fetch_add(1, Ordering::Relaxed);
            let service = self.plan.service.clone().unwrap_or_else(|| service_from(&path));
            let known = self.plan.known.get(&path.to_string_lossy().into_owned()).cloned();
            let as_input = Input { path: Some(path.clone()), service };
            self.reader.sender.send(Message::Opened { input: index, as_input })?;
            self.files.insert(path.clone(), Followed::new(index, path, from, known, self.plan.last_run_ms));
        }
        Ok(())
    }

    fn poll(&mut self) -> Sent {
        self.files.values_mut().try_for_each(|file| file.poll(&mut self.reader))
    }

    /// Tells the metrics how far behind reading is.
    fn measure(&self) {
        let open = self.files.values().flat_map(Followed::opened);
        let (mut files, mut lag_bytes) = (0, 0);
        for open in open {
            files += 1;
            lag_bytes += open.lag_bytes();
        }
        metrics::reading(files, lag_bytes);
    }
}

/// Standard input blocks, so it gets a thread of its own.
fn follow_stdin(index: usize, input: Input, sender: SyncSender<Message>) {
    let spawned = std::thread::Builder::new().name("read-stdin".to_owned()).spawn({
        let sender = sender.clone();
        move || {
            let _ = read_input(index, &input, &sender);
        }
    });
    if let Err(error) = spawned {
        let _ = sender.send(Message::Failed(format!("standard input: {error}")));
    }
}

/// One path, and every file that has been under it.
struct Followed {
    index: usize,
    path: PathBuf,
    name: String,
    current: Option<Open>,
    /// Files that were renamed away, while they may still grow.
    retiring: Vec<Retiring>,
    /// Files that were read and closed, oldest first.
    closed: Vec<Position>,
    since_ms: i64,
    /// The first file may start at its end; every later one is new and starts at its start.
    from: FollowFrom,
    last_run_ms: Option<i64>,
    looked: bool,
    missing_since: Option<Instant>,
    failed: bool,
}

struct Retiring {
    open: Open,
    quiet_since: Instant,
}

impl Followed {
    fn new(index: usize, path: PathBuf, from: FollowFrom, known: Option<PathState>, last_run_ms: Option<i64>) -> Self {
        let (since_ms, closed) = known.map_or((now_ms(), Vec::new()), |state| (state.since_ms, state.files));
        let name = path.to_string_lossy().into_owned();
        Self {
            index,
            path,
            name,
            current: None,
            retiring: Vec::new(),
            closed,
            since_ms,
            from,
            last_run_ms,
            looked: false,
            missing_since: None,
            failed: false,
        }
    }

    /// A pattern found it, and it has been away for long.
    fn is_gone(&self, plan: &Plan) -> bool {
        let named = plan.inputs.iter().any(|input| input.path.as_ref() == Some(&self.path));
        !named
            && self.retiring.is_empty()
            && self.missing_since.is_some_and(|missing_since| missing_since.elapsed() > GONE_AFTER)
    }

    fn poll(&mut self, reader: &mut Reader) -> Sent {
        if !std::mem::replace(&mut self.looked, true) {
            return self.take_up(reader);
        }
        self.poll_retiring(reader)?;
        if let Some(open) = &mut self.current {
            match open.advance(reader)? {
                Ended::Rewritten => return self.truncated(reader),
                Ended::More => reader.more = true,
                Ended::AtEnd => {}
            }
        }
        match std::fs::metadata(&self.path) {
            Ok(metadata) => {
                self.missing_since = None;
                self.compare(&metadata, reader)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // Renamed and not yet created again: the open file is still the log. A file that appears later is new.
                self.from = FollowFrom::Start;
                self.missing_since.get_or_insert_with(Instant::now);
                Ok(())
            }
            Err(error) => self.fail(&error, reader),
        }
    }

    /// The first look: where did reading stand, and what has become of that file?
    fn take_up(&mut self, reader: &mut Reader) -> Sent {
        if !self.closed.is_empty() {
            self.from = FollowFrom::Start;
        }
        match Candidate::at(&self.path) {
            Ok(mut candidate) => {
                if candidate.is_gzip() {
                    let problem =
                        format!("{}: a gzip file does not grow; ship it without --follow", self.path.display());
                    return reader.sender.send(Message::Failed(problem));
                }
                if self.last_run_ms.is_some_and(|last_run_ms| candidate.is_younger_than(last_run_ms)) {
                    self.from = FollowFrom::Start;
                }
                let resumed = self.known_as(&mut candidate, Candidate::is_surely);
                self.begin(candidate, resumed, reader)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.from = FollowFrom::Start;
                self.missing_since = Some(Instant::now());
                self.stand(reader)?;
            }
            Err(error) => {
                self.looked = false;
                return self.fail(&error, reader);
            }
        }
        self.search_rotated(reader)
    }

    /// Takes the closed position that `candidate` is the file of.
    fn known_as(
        &mut self,
        candidate: &mut Candidate,
        accept: impl Fn(&Candidate, Likeness, &Position) -> bool,
    ) -> Option<Position> {
        let found = (0..self.closed.len()).rev().find(|&index| {
            let likeness = candidate.likeness(&self.closed[index]);
            accept(candidate, likeness, &self.closed[index])
        })?;
        Some(self.closed.remove(found))
    }

    /// Reads the file under the path from now on: where reading stood, or as `from` says.
    fn begin(&mut self, candidate: Candidate, resumed: Option<Position>, reader: &mut Reader) -> Sent {
        self.failed = false;
        let opened = match resumed {
            Some(position) => Open::resume(self.index, candidate, position),
            None => Open::anew(self.index, candidate, reader.next_id(), &self.name, self.from),
        };
        match opened {
            Ok(mut open) => {
                self.from = FollowFrom::Start;
                // Remembered before anything is read, so that a shipper that dies now begins here again, not at the new end.
                let message = Message::Standing {
                    path: self.name.clone(),
                    since_ms: self.since_ms,
                    positions: vec![open.position()],
                };
                reader.sender.send(message)?;
                let ended = open.advance(reader)?;
                self.current = Some(open);
                reader.more |= ended == Ended::More;
                if ended == Ended::Rewritten { self.truncated(reader) } else { Ok(()) }
            }
            Err(error) => self.fail(&error, reader),
        }
    }

    fn stand(&self, reader: &Reader) -> Sent {
        reader.sender.send(Message::Standing {
            path: self.name.clone(),
            since_ms: self.since_ms,
            positions: Vec::new(),
        })
    }

    fn poll_retiring(&mut self, reader: &mut Reader) -> Sent {
        let mut index = 0;
        while index < self.retiring.len() {
            let retiring = &mut self.retiring[index];
            let before = retiring.open.offset();
            let ended = retiring.open.advance(reader)?;
            if retiring.open.offset() != before {
                retiring.quiet_since = Instant::now();
            }
            reader.more |= ended == Ended::More;
            let over = retiring.quiet_since.elapsed() >= RETIRE_AFTER || self.retiring.len() > RETIRING_MAX;
            if (over && ended == Ended::AtEnd) || ended == Ended::Rewritten || self.retiring[index].open.is_finished() {
                let mut open = self.retiring.remove(index).open;
                if ended != Ended::Rewritten {
                    open.finish(reader)?;
                }
                self.close(&open);
            } else {
                index += 1;
            }
        }
        Ok(())
    }

    /// Is the path still the file that is open, and has it only grown?
    fn compare(&mut self, metadata: &Metadata, reader: &mut Reader) -> Sent {
        match &self.current {
            Some(open) if open.identity() != Identity::of(metadata) => {
                reader.note(&self.path, "rotated; reading the new file")?;
                self.retire_current();
                self.begin_anew(reader)?;
                self.search_rotated(reader)
            }
            Some(open) if metadata.len() < open.offset() => self.truncated(reader),
            Some(_) => Ok(()),
            None => {
                self.begin_anew(reader)?;
                self.search_rotated(reader)
            }
        }
    }

    fn retire_current(&mut self) {
        self.retiring.extend(self.current.take().map(|open| Retiring { open, quiet_since: Instant::now() }));
    }

    fn truncated(&mut self, reader: &mut Reader) -> Sent {
        reader.note(&self.path, "truncated; reading from its start")?;
        if let Some(open) = self.current.take() {
            self.close(&open);
        }
        // What was not read of the old content is in a copy, if anywhere.
        self.search_rotated(reader)?;
        self.begin_anew(reader)
    }

    fn begin_anew(&mut self, reader: &mut Reader) -> Sent {
        match Candidate::at(&self.path) {
            Ok(candidate) => self.begin(candidate, None, reader),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => self.fail(&error, reader),
        }
    }

    fn close(&mut self, open: &Open) {
        self.closed.push(open.position());
        if self.closed.len() > CLOSED_MAX {
            self.closed.remove(0);
            // What was forgotten must not be taken for something that was never read.
            self.since_ms = self.since_ms.max(now_ms() - FORGOTTEN_GRACE_MS);
        }
    }

    /// Files that lie beside the path under a rotated name: those that are known may have grown or been copied before they
    /// were read to their end; those that are not known came and went while nobody looked.
    fn search_rotated(&mut self, reader: &mut Reader) -> Sent {
        let mut found = candidates(&self.path);
        found.retain(|candidate| !self.is_open(candidate.identity));
        // First by number and content, then by content alone: a copy must not take the place of the file itself.
        let mut rest = Vec::new();
        for mut candidate in found {
            match self.known_as(&mut candidate, |_, likeness, _| likeness == Likeness::Same) {
                Some(position) => self.read_rotated(candidate, position, reader)?,
                None => rest.push(candidate),
            }
        }
        for mut candidate in rest {
            if self.is_copy_of_open(&mut candidate) {
                continue;
            }
            if let Some(position) = self.known_as(&mut candidate, |_, likeness, _| likeness == Likeness::Copy) {
                self.read_rotated(candidate, position, reader)?;
            } else if candidate.modified_ms >= self.since_ms && candidate.bytes > 0 {
                reader.note(&candidate.path, "rotated while nobody looked; reading it")?;
                let position = Position { id: reader.next_id(), ..Position::unread(&self.name, candidate.identity) };
                self.read_rotated(candidate, position, reader)?;
            }
        }
        Ok(())
    }

    fn is_open(&self, identity: Identity) -> bool {
        self.opened().any(|open| open.identity() == identity)
    }

    fn is_copy_of_open(&self, candidate: &mut Candidate) -> bool {
        self.opened().any(|open| candidate.begins_like(&open.position()))
    }

    fn opened(&self) -> impl Iterator<Item = &Open> {
        self.current.iter().chain(self.retiring.iter().map(|retiring| &retiring.open))
    }

    /// Reads on in a file that is no longer the log.
    fn read_rotated(&mut self, candidate: Candidate, position: Position, reader: &mut Reader) -> Sent {
        if candidate.holds_no_more_than(&position) {
            let identity = candidate.identity;
            self.closed.push(Position { identity, ..position });
            self.closed.sort_by_key(|closed| closed.id);
            return Ok(());
        }
        let path = candidate.path.clone();
        match Open::resume(self.index, candidate, position.clone()) {
            Ok(mut open) => {
                reader.more |= open.advance(reader)? == Ended::More;
                self.retiring.push(Retiring { open, quiet_since: Instant::now() });
                Ok(())
            }
            Err(error) => {
                self.closed.push(position);
                reader.note(&path, &format!("{error}; what is left in it is not read"))
            }
        }
    }

    /// Says it once, and tries again at the next poll.
    fn fail(&mut self, error: &std::io::Error, reader: &Reader) -> Sent {
        if std::mem::replace(&mut self.failed, true) {
            return Ok(());
        }
        reader.note(&self.path, &format!("{error}; trying again"))
    }
}

/// Fewer than the journal keeps: it must not forget what is remembered here.
const CLOSED_MAX: usize = 300;

/// The last files of a path that rotates that often are not older than this.
const FORGOTTEN_GRACE_MS: i64 = 60_000;

#[cfg(test)]
mod tests;
