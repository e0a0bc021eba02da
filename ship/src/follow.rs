//! Logs that grow: what `tail -F` does.
//!
//! In: paths. Out: the lines written to them from now on (or from their start), as they come. Promised:
//! - rotation by rename loses nothing: the old file is read on for a while, because nginx writes to it until it is told
//!   to reopen its logs, and the new one from its start;
//! - copytruncate is noticed by the file getting shorter, and reading starts again at its start. What was written
//!   between the copy and the truncation, and not yet read, is gone: that is the nature of copytruncate;
//! - a path that does not exist (yet, or for a moment) is waited for;
//! - a line is passed on only when its line feed is there.
//!
//! Not done: remembering the position over a restart; finding a file that came and went by rotation while reading stood
//! still because ingest was away.

use std::fs::{File, Metadata};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::mpsc::{SendError, SyncSender};
use std::time::{Duration, Instant};

use crate::args::{FollowFrom, Input};
use crate::interrupt::Interrupt;
use crate::source::{Message, Splitter, is_gzip, read_input};

type Sent = Result<(), SendError<Message>>;

/// Well below the half second within which an event is to be on its way.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long a renamed file is read on after it last grew; `postrotate` scripts signal nginx within a second or two.
const RETIRE_AFTER: Duration = Duration::from_secs(10);

const BUFFER_BYTES: usize = 256 << 10;

/// Follows all inputs until the interrupt, or until the receiver is gone.
pub(crate) fn run(inputs: &[Input], from: FollowFrom, sender: &SyncSender<Message>, interrupt: &Interrupt) -> Sent {
    let mut files = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        match &input.path {
            Some(path) if is_gzip(path) => {
                let problem = format!("{}: a gzip file does not grow; ship it without --follow", input.name());
                sender.send(Message::Failed(problem))?;
            }
            Some(path) => files.push(Followed::new(index, path.clone(), from)),
            None => follow_stdin(index, input.clone(), sender.clone()),
        }
    }
    let mut buffer = vec![0; BUFFER_BYTES];
    // One last look after the interrupt, so that what was written before Ctrl-C is sent.
    loop {
        let last = interrupt.is_raised();
        for file in &mut files {
            file.poll(&mut buffer, sender)?;
        }
        if last {
            return Ok(());
        }
        interrupt.sleep(POLL_INTERVAL);
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

struct Followed {
    index: usize,
    path: PathBuf,
    current: Option<Open>,
    /// The file that was renamed away, while it may still grow.
    retiring: Option<(Open, Instant)>,
    /// The first file may start at its end; every later one is new and starts at its start.
    from: FollowFrom,
    failed: bool,
}

struct Open {
    file: File,
    identity: Identity,
    offset: u64,
    splitter: Splitter,
}

impl Followed {
    fn new(index: usize, path: PathBuf, from: FollowFrom) -> Self {
        Self { index, path, current: None, retiring: None, from, failed: false }
    }

    fn poll(&mut self, buffer: &mut [u8], sender: &SyncSender<Message>) -> Sent {
        self.poll_retiring(buffer, sender)?;
        if let Some(open) = &mut self.current {
            open.read_to_end(buffer, sender)?;
        }
        match std::fs::metadata(&self.path) {
            Ok(metadata) => self.compare(&metadata, buffer, sender),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // Renamed and not yet created again: the open file is still the log. A file that appears later is new.
                self.from = FollowFrom::Start;
                Ok(())
            }
            Err(error) => self.fail(&error, sender),
        }
    }

    fn poll_retiring(&mut self, buffer: &mut [u8], sender: &SyncSender<Message>) -> Sent {
        let Some((open, quiet_since)) = &mut self.retiring else { return Ok(()) };
        if open.read_to_end(buffer, sender)? > 0 {
            *quiet_since = Instant::now();
        }
        if quiet_since.elapsed() >= RETIRE_AFTER {
            if let Some(message) = open.splitter.finish() {
                sender.send(message)?;
            }
            self.retiring = None;
        }
        Ok(())
    }

    /// Is the path still the file that is open, and has it only grown?
    fn compare(&mut self, metadata: &Metadata, buffer: &mut [u8], sender: &SyncSender<Message>) -> Sent {
        match &mut self.current {
            None => self.open(buffer, sender),
            Some(open) if open.identity != identity(metadata) => {
                sender.send(Message::Note(format!("{}: rotated; reading the new file", self.path.display())))?;
                if let Some((mut old, _)) = self.retiring.take() {
                    old.splitter.finish().into_iter().try_for_each(|message| sender.send(message))?;
                }
                self.retiring = self.current.take().map(|open| (open, Instant::now()));
                self.from = FollowFrom::Start;
                self.open(buffer, sender)
            }
            Some(open) if metadata.len() < open.offset => {
                let torn = if open.splitter.discard() { ", an unfinished line was dropped" } else { "" };
                open.offset = 0;
                let path = self.path.display();
                sender.send(Message::Note(format!("{path}: truncated{torn}; reading from its start")))?;
                match open.file.seek(SeekFrom::Start(0)) {
                    Ok(_) => open.read_to_end(buffer, sender).map(drop),
                    Err(error) => self.fail(&error, sender),
                }
            }
            Some(_) => Ok(()),
        }
    }

    fn open(&mut self, buffer: &mut [u8], sender: &SyncSender<Message>) -> Sent {
        match Open::new(self.index, &self.path, self.from) {
            Ok(mut open) => {
                self.failed = false;
                open.read_to_end(buffer, sender)?;
                self.current = Some(open);
                Ok(())
            }
            Err(error) => self.fail(&error, sender),
        }
    }

    /// Says it once, and tries again at the next poll.
    fn fail(&mut self, error: &std::io::Error, sender: &SyncSender<Message>) -> Sent {
        if std::mem::replace(&mut self.failed, true) {
            return Ok(());
        }
        sender.send(Message::Note(format!("{}: {error}; trying again", self.path.display())))
    }
}

impl Open {
    fn new(index: usize, path: &std::path::Path, from: FollowFrom) -> std::io::Result<Self> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let mut splitter = Splitter::new(index);
        let offset = match from {
            FollowFrom::Start => 0,
            FollowFrom::End => {
                let end = file.seek(SeekFrom::End(0))?;
                if end > 0 && !ends_with_line_feed(&mut file, end)? {
                    // The rest of a line whose beginning was not read is no line.
                    splitter.skip_line();
                }
                end
            }
        };
        Ok(Self { file, identity: identity(&metadata), offset, splitter })
    }

    /// Passes on all whole lines up to the end of the file; returns the bytes read.
    fn read_to_end(&mut self, buffer: &mut [u8], sender: &SyncSender<Message>) -> Result<u64, SendError<Message>> {
        let before = self.offset;
        loop {
            match self.file.read(buffer) {
                Ok(0) => break,
                Ok(length) => {
                    self.offset += length as u64;
                    self.splitter.push(&buffer[..length]).into_iter().try_for_each(|message| sender.send(message))?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // A passing trouble of a network file system: the next poll tries again at the same place.
                Err(_) => break,
            }
        }
        Ok(self.offset - before)
    }
}

fn ends_with_line_feed(file: &mut File, end: u64) -> std::io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::Start(end - 1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// What stays the same when a file is renamed, and differs between two files.
#[cfg(unix)]
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
type Identity = Option<std::time::SystemTime>;

#[cfg(not(unix))]
fn identity(metadata: &Metadata) -> Identity {
    metadata.created().ok()
}

#[cfg(test)]
mod tests;
