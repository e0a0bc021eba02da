//! What the nginx module sends: records in datagrams on a unix socket.
//!
//! In: datagrams of nginx's workers. Out: their records, per service, and how many events did not get here. Promised: a slow ingest
//! stops the reading, and nothing is thrown away here; then the socket fills, nginx drops, and says so in the header of the next
//! datagram, so that every loss is counted by whoever reads; an interrupt ends the reading only when the socket is empty. Not
//! done: remembering workers over a restart.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SendError, SyncSender};
use std::time::Instant;

use anyhow::Context as _;
use peep_nginx_record::{Header, read};

use super::{DATAGRAM_BYTES_MAX, FALLBACK, LAST_LOOK, PATIENCE, TAGS_MAX, bind_unix};
use crate::args::{Input, is_service_name};
use crate::interrupt::Interrupt;
use crate::metrics;
use crate::source::Message;

/// A socket, bound, and whose events come from it.
pub(crate) struct ModuleListener {
    name: String,
    socket: UnixDatagram,
    /// Where nginx names none.
    service: String,
    numbers: Arc<AtomicUsize>,
    /// Input numbers by service.
    services: HashMap<String, usize>,
    workers: Workers,
    /// Said once that events are lost; the metrics have the rest.
    complained: bool,
}

impl ModuleListener {
    pub(crate) fn bind(path: &Path, service: Option<String>, numbers: Arc<AtomicUsize>) -> anyhow::Result<Self> {
        let name = format!("nginx on {}", path.display());
        let socket = bind_unix(path).with_context(|| format!("listen for {name}"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let service = service.unwrap_or_else(|| FALLBACK.to_owned());
        let (services, workers) = (HashMap::new(), Workers::default());
        Ok(Self { name, socket, service, numbers, services, workers, complained: false })
    }

    /// Reads until the interrupt, or until the receiver is gone.
    pub(crate) fn run(mut self, sender: &SyncSender<Message>, interrupt: &Interrupt) -> Result<(), SendError<Message>> {
        metrics::nginx_lost(0, 0);
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        let mut last_look = None;
        loop {
            if interrupt.is_raised() && last_look.is_none() {
                last_look = Some(Instant::now() + LAST_LOOK);
                let _ = self.socket.set_nonblocking(true);
            }
            match self.socket.recv(&mut datagram) {
                Ok(length) => self.take(&datagram[..length], sender)?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if last_look.is_some() {
                        return Ok(());
                    }
                }
                Err(error) => return sender.send(Message::Failed(format!("{}: {error}", self.name))),
            }
            if last_look.is_some_and(|until| until <= Instant::now()) {
                return Ok(());
            }
        }
    }

    /// One datagram, its records by service.
    fn take(&mut self, datagram: &[u8], sender: &SyncSender<Message>) -> Result<(), SendError<Message>> {
        metrics::datagrams("nginx", 1);
        let Ok((header, records)) = read(datagram) else { return self.refuse(datagram, sender) };
        let mut by_input: Vec<(usize, Vec<u8>)> = Vec::new();
        let (mut events, mut cut_off) = (0, false);
        for record in records {
            let Ok(record) = record else {
                cut_off = true;
                break;
            };
            events += 1;
            let input = self.input(record.service, sender)?;
            match by_input.iter_mut().find(|(known, _)| *known == input) {
                Some((_, bytes)) => bytes.extend_from_slice(record.bytes),
                None => by_input.push((input, record.bytes.to_vec())),
            }
        }
        for (input, bytes) in by_input {
            sender.send(Message::Records { input, base_ms: header.base_ms, bytes })?;
        }
        if cut_off {
            self.refuse(datagram, sender)?;
        }
        self.settle(&header, events, sender)
    }

    fn refuse(&mut self, bytes: &[u8], sender: &SyncSender<Message>) -> Result<(), SendError<Message>> {
        let input = self.input(b"", sender)?;
        sender.send(Message::Unreadable { input, bytes: bytes[..bytes.len().min(EXCERPT_BYTES)].to_vec() })
    }

    fn settle(&mut self, header: &Header, events: u64, sender: &SyncSender<Message>) -> Result<(), SendError<Message>> {
        let lost = self.workers.settle(header, events);
        metrics::nginx_lost(lost.dropped, lost.missing);
        if self.complained || lost == Lost::default() {
            return Ok(());
        }
        self.complained = true;
        sender.send(Message::Note(format!(
            "{}: a worker had to drop {} events, and {} did not arrive; the metrics count what follows",
            self.name, lost.dropped, lost.missing
        )))
    }

    /// The input of a service; its first event opens it.
    fn input(&mut self, service: &[u8], sender: &SyncSender<Message>) -> Result<usize, SendError<Message>> {
        let named = std::str::from_utf8(service).ok().filter(|name| is_service_name(name));
        let service = named.unwrap_or(&self.service);
        if let Some(&input) = self.services.get(service) {
            return Ok(input);
        }
        if self.services.len() >= TAGS_MAX && service != self.service {
            return self.input(b"", sender);
        }
        let input = self.numbers.fetch_add(1, Ordering::Relaxed);
        let service = service.to_owned();
        let as_input = Input { path: Some(PathBuf::from(&self.name)), service: service.clone() };
        sender.send(Message::Opened { input, as_input })?;
        self.services.insert(service, input);
        Ok(input)
    }
}

/// Of what cannot be read, for the message about it.
const EXCERPT_BYTES: usize = 1024;

/// What each worker has told so far.
#[derive(Debug, Default)]
struct Workers {
    known: HashMap<u64, Worker>,
    datagrams: u64,
}

#[derive(Debug)]
struct Worker {
    /// Events up to and with its last datagram.
    sent: u64,
    dropped: u64,
    /// The number of its last datagram among all.
    heard: u64,
}

/// Events that got as far as a worker and not here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lost {
    dropped: u64,
    missing: u64,
}

/// Each reload of nginx brings new ones and nobody says farewell.
const WORKERS_MAX: usize = 1024;

impl Workers {
    /// Enters a datagram with so many events; what has been lost since the one before.
    fn settle(&mut self, header: &Header, events: u64) -> Lost {
        self.datagrams += 1;
        let told = Worker { sent: header.sent.saturating_add(events), dropped: header.dropped, heard: self.datagrams };
        if self.known.len() >= WORKERS_MAX && !self.known.contains_key(&header.worker) {
            self.forget_one();
        }
        match self.known.insert(header.worker, told) {
            Some(before) => Lost {
                dropped: header.dropped.saturating_sub(before.dropped),
                missing: header.sent.saturating_sub(before.sent),
            },
            // What it has sent before was for another shipper; what it has dropped before, perhaps nobody has counted.
            None => Lost { dropped: header.dropped, missing: 0 },
        }
    }

    /// The one that was silent longest.
    fn forget_one(&mut self) {
        if let Some(oldest) = self.known.iter().min_by_key(|(_, worker)| worker.heard).map(|(&number, _)| number) {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests;
