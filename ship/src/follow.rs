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
//! - a file is read once, whatever the number of names that it has, or gets, under which it is followed;
//! - a line is passed on only when its line feed is there; a slow receiver stops the reading.
//!
//! Not done: a file that was deleted, or copied nowhere and truncated, before it was read; a gzip file, which does not grow.

mod claim;
pub(crate) mod glob;
mod open;
mod rotated;

use std::collections::BTreeMap;
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
use crate::position::{HEAD_BYTES, Identity, Likeness, Position};
use crate::source::{Message, read_input};
use crate::time::now_ms;

use claim::{Claim, furthest};
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

/// How long a path that a pattern found may be missing, and its file quiet, before it is given up; logrotate is done within a second.
const GONE_AFTER: Duration = Duration::from_secs(60);

/// How often a file that is compressed, or another path's, is looked at again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

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
    /// Patterns were looked at before: what they find from now on is new.
    searched: bool,
    reader: Reader,
}

/// What every file needs for reading.
struct Reader {
    /// All that is followed, without the one that is being looked at: it may ask the others whether a file is theirs.
    others: BTreeMap<PathBuf, Followed>,
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
        let mut reader =
            Reader { others: BTreeMap::new(), sender, buffer: vec![0; BUFFER_BYTES], next_id, more: false };
        for (index, input) in plan.inputs.iter().enumerate() {
            match &input.path {
                Some(path) => {
                    let named = Followed::new(index, path.clone(), false, plan.from, &plan);
                    reader.others.insert(path.clone(), named);
                }
                None => follow_stdin(index, input.clone(), reader.sender.clone()),
            }
        }
        Self { plan, searched: false, reader }
    }

    /// Takes up what the patterns find now, and gives up what has been gone for long.
    fn search(&mut self) -> Sent {
        let files = self.reader.others.iter();
        let gone: Vec<PathBuf> = files.filter(|(_, file)| file.is_gone()).map(|(path, _)| path.clone()).collect();
        gone.iter().try_for_each(|path| self.give_up(path))?;
        let first = !std::mem::replace(&mut self.searched, true);
        let from = if first { self.plan.from } else { FollowFrom::Start };
        let mut found = Vec::new();
        for pattern in &self.plan.patterns {
            let matching = pattern.find();
            if first && matching.is_empty() {
                self.reader.note(Path::new(&pattern.to_string()), "no file has such a name yet; waiting for one")?;
            }
            found.extend(matching);
        }
        if first {
            found.extend(self.left_behind());
        }
        found.into_iter().try_for_each(|path| self.take_on(path, from))
    }

    /// Paths that a pattern found in an earlier run, whether they are still there or not: what was not read of them may lie
    /// beside them under another name.
    fn left_behind(&self) -> Vec<PathBuf> {
        let known = self.plan.known.keys().map(PathBuf::from);
        known.filter(|path| self.plan.patterns.iter().any(|pattern| pattern.means(path))).collect()
    }

    /// Follows a path that a pattern found, unless it is followed already.
    fn take_on(&mut self, path: PathBuf, from: FollowFrom) -> Sent {
        if self.reader.others.contains_key(&path) {
            return Ok(());
        }
        let index = self.plan.numbers.fetch_add(1, Ordering::Relaxed);
        let service = self.plan.service.clone().unwrap_or_else(|| service_from(&path));
        let as_input = Input { path: Some(path.clone()), service };
        self.reader.sender.send(Message::Opened { input: index, as_input })?;
        let found = Followed::new(index, path.clone(), true, from, &self.plan);
        self.reader.others.insert(path, found);
        Ok(())
    }

    /// Forgets a path, once those that wait for its files have taken them over.
    fn give_up(&mut self, path: &Path) -> Sent {
        let Some(mut file) = self.reader.others.remove(path) else { return Ok(()) };
        let let_go = file.let_go();
        let others = self.reader.others.iter_mut();
        let heirs: Vec<PathBuf> =
            others.filter_map(|(path, other)| other.stop_waiting_for(&file).then(|| path.clone())).collect();
        if heirs.is_empty()
            && let Some(mut open) = let_go
        {
            open.finish(&self.reader)?;
        }
        self.reader.others.insert(path.to_owned(), file);
        heirs.iter().try_for_each(|heir| self.look_at(heir))?;
        let Some(file) = self.reader.others.remove(path) else { return Ok(()) };
        self.plan.known.remove(&file.name);
        self.reader.sender.send(Message::Closed { input: file.index, path: file.name })
    }

    fn poll(&mut self) -> Sent {
        let paths: Vec<PathBuf> = self.reader.others.keys().cloned().collect();
        paths.iter().try_for_each(|path| self.look_at(path))
    }

    fn look_at(&mut self, path: &Path) -> Sent {
        let Some((path, mut file)) = self.reader.others.remove_entry(path) else { return Ok(()) };
        let looked = file.poll(&mut self.reader);
        self.reader.others.insert(path, file);
        looked
    }

    /// Tells the metrics how far behind reading is.
    fn measure(&self) {
        let open = self.reader.others.values().flat_map(Followed::opened);
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
    /// By a pattern; else it was named.
    found: bool,
    current: Option<Open>,
    /// When the current file last grew.
    grew: Instant,
    /// Files that were renamed away, while they may still grow.
    retiring: Vec<Retiring>,
    /// Files that were read and closed, oldest first.
    closed: Vec<Position>,
    since_ms: i64,
    /// The first file may start at its end; every later one is new and starts at its start.
    from: FollowFrom,
    last_run_ms: Option<i64>,
    looked: bool,
    /// The file and its length at the first look, which was not allowed to read it: that is where its end was.
    unread: Option<(Identity, u64)>,
    /// The file under the path that is not read, being compressed or another path's, and since when.
    put_off: Option<(Identity, Instant)>,
    gzip_said: bool,
    missing_since: Option<Instant>,
    failed: bool,
}

struct Retiring {
    open: Open,
    quiet_since: Instant,
}

impl Followed {
    fn new(index: usize, path: PathBuf, found: bool, from: FollowFrom, plan: &Plan) -> Self {
        let name = path.to_string_lossy().into_owned();
        let known = plan.known.get(&name).cloned();
        let (since_ms, closed) = known.map_or((now_ms(), Vec::new()), |state| (state.since_ms, state.files));
        Self {
            index,
            path,
            name,
            found,
            current: None,
            grew: Instant::now(),
            retiring: Vec::new(),
            closed,
            since_ms,
            from,
            last_run_ms: plan.last_run_ms,
            looked: false,
            unread: None,
            put_off: None,
            gzip_said: false,
            missing_since: None,
            failed: false,
        }
    }

    /// A pattern found it, it has been away for long, and nobody has written to its file for as long.
    fn is_gone(&self) -> bool {
        let is_over = |since: Instant| since.elapsed() > GONE_AFTER;
        let quiet = self.current.is_none() || is_over(self.grew);
        self.found && self.retiring.is_empty() && quiet && self.missing_since.is_some_and(is_over)
    }

    /// Closes the current file; where reading it stands is remembered until the path itself is forgotten.
    fn let_go(&mut self) -> Option<Open> {
        let open = self.current.take()?;
        self.close(&open);
        Some(open)
    }

    /// True: it has waited for a file of `other`, and looks at it again at the next poll.
    fn stop_waiting_for(&mut self, other: &Self) -> bool {
        let waits =
            |(identity, _): &(Identity, Instant)| other.closed.iter().any(|closed| closed.identity == *identity);
        self.put_off.take_if(|put_off| waits(put_off)).is_some()
    }

    fn poll(&mut self, reader: &mut Reader) -> Sent {
        if !std::mem::replace(&mut self.looked, true) {
            return self.take_up(reader);
        }
        self.poll_retiring(reader)?;
        if let Some(open) = &mut self.current {
            let before = open.offset();
            let ended = open.advance(reader)?;
            if open.offset() != before {
                self.grew = Instant::now();
            }
            match ended {
                Ended::Rewritten => return self.truncated(reader),
                Ended::Compressed => self.current = None,
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
                if self.last_run_ms.is_some_and(|last_run_ms| candidate.is_younger_than(last_run_ms)) {
                    self.from = FollowFrom::Start;
                }
                match self.unread.take() {
                    Some((identity, end)) if identity == candidate.identity && end <= candidate.bytes => {
                        candidate.bytes = end;
                    }
                    Some(_) => self.from = FollowFrom::Start,
                    None => {}
                }
                self.consider(candidate, Candidate::is_surely, reader)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.from = FollowFrom::Start;
                self.missing_since = Some(Instant::now());
                self.stand(reader)?;
            }
            Err(error) => {
                self.looked = false;
                if self.unread.is_none()
                    && let Ok(metadata) = std::fs::metadata(&self.path)
                {
                    self.unread = Some((Identity::of(&metadata), metadata.len()));
                }
                return self.fail(&error, reader);
            }
        }
        self.search_rotated(reader)
    }

    /// Reads the file under the path, unless it does not grow or is another path's.
    fn consider(
        &mut self,
        mut candidate: Candidate,
        accept: impl Fn(&Candidate, Likeness, &Position) -> bool,
        reader: &mut Reader,
    ) -> Sent {
        if candidate.is_gzip() {
            return self.refuse_gzip(candidate, reader);
        }
        if let Some(index) = self.retiring.iter().position(|retiring| retiring.open.identity() == candidate.identity) {
            // Renamed away and back.
            self.current = Some(self.retiring.remove(index).open);
            return Ok(());
        }
        let own = self.known_as(&mut candidate, accept);
        let resumed = match reader.claim(&mut candidate) {
            Claim::Reading => {
                self.closed.extend(own);
                self.closed.sort_by_key(|closed| closed.id);
                self.put_off(&candidate);
                return Ok(());
            }
            Claim::Read(theirs) => match own {
                Some(own) => Some(furthest(own, Some(theirs))),
                None => Some(Position { id: reader.next_id(), path: self.name.clone(), ..theirs }),
            },
            Claim::Nobody => own,
        };
        self.begin(candidate, resumed, reader)
    }

    /// Says it once. What was read before it was compressed needs no word.
    fn refuse_gzip(&mut self, mut candidate: Candidate, reader: &mut Reader) -> Sent {
        self.put_off(&candidate);
        if std::mem::replace(&mut self.gzip_said, true) || !matches!(reader.claim(&mut candidate), Claim::Nobody) {
            return Ok(());
        }
        let what = "a gzip file does not grow; ship it without --follow";
        match self.found {
            true => reader.note(&self.path, what),
            false => reader.sender.send(Message::Failed(format!("{}: {what}", self.path.display()))),
        }
    }

    fn put_off(&mut self, candidate: &Candidate) {
        self.put_off = Some((candidate.identity, Instant::now()));
        // Whatever is read here later is new.
        self.from = FollowFrom::Start;
    }

    /// It is the file that was put off, and that was a moment ago.
    fn is_put_off(&self, metadata: &Metadata) -> bool {
        self.put_off
            .is_some_and(|(identity, since)| identity == Identity::of(metadata) && since.elapsed() < LOOK_AGAIN_AFTER)
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
        (self.failed, self.put_off, self.grew) = (false, None, Instant::now());
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
                self.current = Some(open).filter(|_| ended != Ended::Compressed);
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
            let another = matches!(ended, Ended::Rewritten | Ended::Compressed);
            if (over && ended == Ended::AtEnd) || another || self.retiring[index].open.is_finished() {
                let mut open = self.retiring.remove(index).open;
                if !another {
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
                self.retire_current();
                self.begin_anew(reader)?;
                if self.current.is_some() {
                    reader.note(&self.path, "rotated; reading the new file")?;
                }
                self.search_rotated(reader)
            }
            Some(open) if metadata.len() < open.offset() => self.truncated(reader),
            Some(_) => Ok(()),
            None if self.is_put_off(metadata) => Ok(()),
            None => {
                let waited = self.put_off.is_some();
                self.begin_anew(reader)?;
                // Nothing new under the path: nothing has come and gone.
                if waited && self.current.is_none() { Ok(()) } else { self.search_rotated(reader) }
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
            Ok(candidate) => self.consider(candidate, |_, likeness, _| likeness == Likeness::Same, reader),
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
        let mut heads = Vec::new();
        found.retain(|candidate| !self.is_open(candidate.identity) && !reader.is_open(candidate.identity));
        // First by number and content, then by content alone: a copy must not take the place of the file itself.
        let mut rest = Vec::new();
        for mut candidate in found {
            match self.known_as(&mut candidate, |_, likeness, _| likeness == Likeness::Same) {
                Some(position) => {
                    heads.extend(candidate.head());
                    let position = furthest(position, reader.claim(&mut candidate).position());
                    self.read_rotated(candidate, position, reader)?;
                }
                None => rest.push(candidate),
            }
        }
        for mut candidate in rest {
            if self.is_copy_of_open(&mut candidate) {
                continue;
            }
            if let Some(position) = self.known_as(&mut candidate, |_, likeness, _| likeness == Likeness::Copy) {
                self.read_rotated(candidate, position, reader)?;
            } else if candidate.modified_ms >= self.since_ms
                && candidate.bytes > 0
                && !self.has_read_all_of(&mut candidate, &heads)
                && matches!(reader.claim(&mut candidate), Claim::Nobody)
            {
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

    /// A copy that somebody made of a file before it was read to its end: the end itself is not in it, so that its beginning has
    /// to do, or, where it is shorter than what is remembered of that, one of the `heads` of files that are still there.
    fn has_read_all_of(&self, candidate: &mut Candidate, heads: &[Vec<u8>]) -> bool {
        let Some(head) = candidate.head().filter(|head| !head.is_empty()) else { return false };
        let mut heads = self.opened().map(Open::head).chain(heads.iter().map(Vec::as_slice));
        (head.len() < HEAD_BYTES && heads.any(|longer| longer.starts_with(&head)))
            || self.closed.iter().any(|closed| candidate.is_beginning_of(closed))
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
