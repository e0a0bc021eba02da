//! Log text from files and standard input.
//!
//! In: the inputs, in order. Out: [`Message`]s on a bounded channel, from one thread: whole lines in chunks, so that
//! reading and inflating overlap with parsing and sending. Promised: no line is split over two messages, none is lost;
//! a line over 1 MiB is announced, not collected; when the receiver is slow, reading stops. Not done: a blocking read
//! of standard input cannot be called off; the process ends around it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};

use crate::args::{FollowFrom, Input};
use crate::follow;
use crate::interrupt::Interrupt;

/// What happened to the input with this index.
#[derive(Debug)]
pub(crate) enum Message {
    /// Complete lines; at the end of an input the last one may lack its line feed.
    Lines { input: usize, text: Vec<u8> },
    /// The beginning of a line that is too long to be one.
    Oversized { input: usize, head: Vec<u8> },
    /// For people: rotated, truncated.
    Note(String),
    /// An input cannot be read, or not to its end.
    Failed(String),
}

/// Chunks under way between the reading and the parsing thread: with the chunk size, 1 MiB of input.
const CHUNKS: usize = 4;
const CHUNK_BYTES: usize = 256 << 10;

/// Longest line; nginx's own limits make lines of about 32 KiB possible.
pub(crate) const LINE_BYTES_MAX: usize = 1 << 20;

/// Starts the reading thread. The channel closes when everything was read, or, when following, on interrupt.
pub(crate) fn start(
    inputs: Vec<Input>,
    follow: Option<FollowFrom>,
    interrupt: Interrupt,
) -> std::io::Result<Receiver<Message>> {
    let (sender, receiver) = sync_channel(CHUNKS);
    std::thread::Builder::new().name("read".to_owned()).spawn(move || {
        // A closed receiver means that nobody wants more: nothing to report.
        let _ = match follow {
            Some(from) => follow::run(&inputs, from, &sender, &interrupt),
            None => inputs.iter().enumerate().try_for_each(|(index, input)| read_input(index, input, &sender)),
        };
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
                messages.push(Message::Lines { input: self.input, text });
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
        (!text.is_empty()).then_some(Message::Lines { input: self.input, text })
    }

    /// Passes over everything up to the next line feed.
    pub(crate) fn skip_line(&mut self) {
        self.skipping = true;
    }

    /// Forgets a torn line; true when there was one.
    pub(crate) fn discard(&mut self) -> bool {
        let torn = !self.pending.is_empty();
        self.pending.clear();
        self.skipping = false;
        torn
    }
}

/// Whether a path names a gzip file, which cannot be followed.
pub(crate) fn is_gzip(path: &Path) -> bool {
    let mut magic = [0; 2];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == [0x1f, 0x8b]
}

#[cfg(test)]
mod tests;
