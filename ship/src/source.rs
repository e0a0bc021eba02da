//! Log text from files and standard input, as far as it ends.
//!
//! In: the inputs, in order. Out: [`Message`]s on a bounded channel, from one thread: whole lines in chunks, so that
//! reading and inflating overlap with parsing and sending. Promised: no line is split over two messages, none is lost;
//! a line over 1 MiB is announced, not collected; when the receiver is slow, reading stops. What does not end (logs that
//! grow, sockets) is the matter of `follow` and `listen`, which send the same messages. Not done: a blocking read
//! of standard input cannot be called off; the process ends around it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};

use crate::args::Input;
use crate::position::{Identity, Mark, Position};

/// What happened to the input with this number.
#[derive(Debug)]
pub(crate) enum Message {
    /// There is one more input. Its number is higher than all before.
    Opened { input: usize, as_input: Input },
    /// Complete lines; at the end of an input the last one may lack its line feed.
    Lines { input: usize, text: Vec<u8>, place: Option<Place> },
    /// Whole records of the nginx module, all of one service; their times are relative to `base_ms`.
    Records { input: usize, base_ms: u64, bytes: Vec<u8> },
    /// A datagram, or the end of one, that holds no record.
    Unreadable { input: usize, bytes: Vec<u8> },
    /// The beginning of a line that is too long to be one.
    Oversized { input: usize, head: Vec<u8> },
    /// Where reading begins, to be remembered before anything is read.
    Standing { path: String, since_ms: i64, positions: Vec<Position> },
    /// Nothing more comes from this input.
    Closed { input: usize, path: String },
    /// For people: rotated, truncated.
    Note(String),
    /// An input cannot be read, or not to its end.
    Failed(String),
}

/// Where in which file the first of some lines begins.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: Arc<FileFacts>,
    pub(crate) start: u64,
}

/// What a position says of a file beside the offset.
#[derive(Debug)]
pub(crate) struct FileFacts {
    pub(crate) id: u64,
    pub(crate) path: String,
    pub(crate) identity: Identity,
    pub(crate) head: Mark,
}

impl Place {
    /// Behind `text`, which starts here and ends with the end of a line.
    pub(crate) fn behind(&self, text: &[u8]) -> Position {
        let FileFacts { id, path, identity, head } = &*self.file;
        let line = text.strip_suffix(b"\n").unwrap_or(text);
        let line_start = memchr::memrchr(b'\n', line).map_or(0, |before| before + 1);
        Position {
            id: *id,
            path: path.clone(),
            identity: *identity,
            head: *head,
            offset: self.start + text.len() as u64,
            tail: Mark::of_end(&text[line_start..]),
        }
    }
}

/// Chunks under way between the reading and the parsing thread: with the chunk size, 1 MiB of input.
pub(crate) const CHUNKS: usize = 4;
const CHUNK_BYTES: usize = 256 << 10;

/// Longest line; nginx's own limits make lines of about 32 KiB possible.
pub(crate) const LINE_BYTES_MAX: usize = 1 << 20;

/// Starts the reading thread. The channel closes when everything was read.
pub(crate) fn start(inputs: Vec<Input>) -> std::io::Result<Receiver<Message>> {
    let (sender, receiver) = sync_channel(CHUNKS);
    std::thread::Builder::new().name("read".to_owned()).spawn(move || {
        // A closed receiver means that nobody wants more: nothing to report.
        let _ = inputs.iter().enumerate().try_for_each(|(index, input)| read_input(index, input, &sender));
    })?;
    Ok(receiver)
}

/// Reads one input to its end.
pub(crate) fn read_input(index: usize, input: &Input, sender: &SyncSender<Message>) -> Result<(), SendError<Message>> {
    let result = match &input.path {
        None => read_all(index, std::io::stdin(), sender),
        Some(path) => match File::open(path) {
            Ok(file) => read_all(index, file, sender),
            Err(error) => Ok(Err(error)),
        },
    };
    match result? {
        Ok(()) => Ok(()),
        Err(error) => sender.send(Message::Failed(format!("{}: {error}", input.name()))),
    }
}

/// The outer error: the receiver is gone. The inner: the input cannot be read (further).
fn read_all<R: Read + 'static>(
    index: usize,
    input: R,
    sender: &SyncSender<Message>,
) -> Result<std::io::Result<()>, SendError<Message>> {
    let mut text = match inflated(input) {
        Ok(text) => text,
        Err(error) => return Ok(Err(error)),
    };
    let mut splitter = Splitter::new(index);
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match text.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => splitter.push(&buffer[..length]).into_iter().try_for_each(|message| sender.send(message))?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                // What could be read before a torn gzip ends still counts.
                splitter.finish().into_iter().try_for_each(|message| sender.send(message))?;
                return Ok(Err(error));
            }
        }
    }
    splitter.finish().into_iter().try_for_each(|message| sender.send(message))?;
    Ok(Ok(()))
}

/// Looks at the first two bytes: gzip is inflated whatever the file is called.
fn inflated<R: Read + 'static>(input: R) -> std::io::Result<Box<dyn Read>> {
    let mut input = BufReader::with_capacity(64 << 10, input);
    if input.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(input)));
    }
    Ok(Box::new(input))
}

/// Cuts a stream of bytes behind its last line feed and keeps the rest for the next time.
#[derive(Debug)]
pub(crate) struct Splitter {
    input: usize,
    /// The beginning of a line whose end is still to come.
    pending: Vec<u8>,
    /// Inside a line that was announced as oversized.
    skipping: bool,
}

impl Splitter {
    pub(crate) fn new(input: usize) -> Self {
        Self { input, pending: Vec::new(), skipping: false }
    }

    /// At most two messages: whole lines, and then a line that is already too long.
    pub(crate) fn push(&mut self, mut data: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        if self.skipping {
            let Some(end) = memchr::memchr(b'\n', data) else { return messages };
            self.skipping = false;
            data = &data[end + 1..];
        }
        match memchr::memrchr(b'\n', data) {
            Some(last) => {
                let mut text = std::mem::take(&mut self.pending);
                text.extend_from_slice(&data[..=last]);
                messages.push(Message::Lines { input: self.input, text, place: None });
                self.pending.extend_from_slice(&data[last + 1..]);
            }
            None => self.pending.extend_from_slice(data),
        }
        if self.pending.len() > LINE_BYTES_MAX {
            let mut head = std::mem::take(&mut self.pending);
            head.truncate(1024);
            head.shrink_to_fit();
            self.skipping = true;
            messages.push(Message::Oversized { input: self.input, head });
        }
        messages
    }

    /// A last line without a line feed.
    pub(crate) fn finish(&mut self) -> Option<Message> {
        let text = std::mem::take(&mut self.pending);
        (!text.is_empty()).then_some(Message::Lines { input: self.input, text, place: None })
    }

    /// Passes over everything up to the next line feed.
    pub(crate) fn skip_line(&mut self) {
        self.skipping = true;
    }
}

#[cfg(test)]
mod tests;
