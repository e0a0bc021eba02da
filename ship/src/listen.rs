//! Log lines that come as datagrams: syslog over UDP or a unix socket, as nginx sends it.
//!
//! In: `access_log syslog:server=127.0.0.1:5514,tag=shop peep;` and the like, and any other sender of RFC 3164 or RFC 5424.
//! Out: the lines inside, per tag. Promised: a slow ingest stops the reading, and nothing is thrown away here. Then the
//! kernel's buffer fills: UDP datagrams beyond it are dropped and counted by the kernel, and that count is in the metrics;
//! on a unix socket nginx is told at once, drops the line and says so in its error log. An interrupt ends the reading only when
//! the socket is empty. Not done: TCP, TLS.

mod module;
mod syslog;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SendError, SyncSender};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::args::{Input, is_service_name};
use crate::interrupt::Interrupt;
use crate::metrics;
use crate::source::Message;

pub(crate) use module::ModuleListener;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Udp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// `udp:127.0.0.1:5514` or `unix:/run/peep/syslog.sock`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("udp", address)) => address
                .parse()
                .map(Self::Udp)
                .map_err(|_| format!("{text}: expected an address and a port, such as udp:127.0.0.1:5514")),
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            _ => Err(format!("{text}: expected udp:ADDRESS:PORT or unix:/PATH")),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Udp(address) => format!("syslog on {address}"),
            Self::Unix(path) => format!("syslog on {}", path.display()),
        }
    }
}

/// A socket, bound, and whose lines come from it.
pub(crate) struct Listener {
    address: Address,
    socket: Socket,
    /// Of every line; else the tag names it.
    service: Option<String>,
    numbers: Arc<AtomicUsize>,
    /// Input numbers by tag.
    tags: HashMap<String, usize>,
}

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// Asked for; the kernel gives what `net.core.rmem_max` allows. At 200 bytes a line and 100 000 lines a second, a tenth of
/// a second and more.
const RECEIVE_BYTES: usize = 4 << 20;

/// Datagrams that are passed on as one chunk.
const CHUNK_BYTES: usize = 256 << 10;

/// The longest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// How long a chunk may wait for company, and how long a reader is deaf to the interrupt.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long an interrupt waits for a socket to be empty. Senders that go on would keep it filled for ever.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Services that senders may bring by their tags; beyond that it is the tag `nginx`.
const TAGS_MAX: usize = 64;

impl Listener {
    pub(crate) fn bind(address: &Address, service: Option<String>, numbers: Arc<AtomicUsize>) -> anyhow::Result<Self> {
        let name = address.name();
        let socket = match address {
            Address::Udp(address) => {
                let socket = UdpSocket::bind(address).with_context(|| format!("listen for {name}"))?;
                // As much as it gives; what it refuses shows in the drops.
                let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BYTES);
                socket.set_read_timeout(Some(PATIENCE))?;
                Socket::Udp(socket)
            }
            Address::Unix(path) => {
                let socket = bind_unix(path).with_context(|| format!("listen for {name}"))?;
                let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BYTES);
                socket.set_read_timeout(Some(PATIENCE))?;
                Socket::Unix(socket)
            }
        };
        Ok(Self { address: address.clone(), socket, service, numbers, tags: HashMap::new() })
    }

    /// Reads until the interrupt, or until the receiver is gone.
    pub(crate) fn run(mut self, sender: &SyncSender<Message>, interrupt: &Interrupt) -> Result<(), SendError<Message>> {
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        let mut chunks: HashMap<usize, Vec<u8>> = HashMap::new();
        let (mut due, mut taken) = (None::<Instant>, 0);
        let mut last_look = None::<Instant>;
        loop {
            if interrupt.is_raised() && last_look.is_none() {
                last_look = Some(Instant::now() + LAST_LOOK);
                self.stop_waiting();
            }
            let mut empty = false;
            match self.receive(&mut datagram) {
                Ok(length) => {
                    taken += 1;
                    let (tag, line) = syslog::split(&datagram[..length]);
                    let input = self.input(tag, sender)?;
                    let chunk = chunks.entry(input).or_default();
                    // A line feed inside a datagram would make two lines of one.
                    chunk.extend(line.iter().map(|&byte| if byte == b'\n' { b' ' } else { byte }));
                    chunk.push(b'\n');
                    due.get_or_insert_with(|| Instant::now() + PATIENCE);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => empty = true,
                Err(error) => return sender.send(Message::Failed(format!("{}: {error}", self.address.name()))),
            }
            let full = chunks.values().any(|chunk| chunk.len() >= CHUNK_BYTES);
            let over = last_look.is_some_and(|until| empty || until <= Instant::now());
            if full || over || due.is_some_and(|due| due <= Instant::now()) {
                due = None;
                metrics::datagrams(self.label(), std::mem::take(&mut taken));
                if let Some(dropped) = self.dropped() {
                    metrics::datagrams_dropped(self.label(), dropped);
                }
                for (input, text) in chunks.drain() {
                    sender.send(Message::Lines { input, text, place: None })?;
                }
            }
            if over {
                return Ok(());
            }
        }
    }

    fn stop_waiting(&self) {
        // A socket that goes on waiting for a tenth of a second does no harm.
        let _ = match &self.socket {
            Socket::Udp(socket) => socket.set_nonblocking(true),
            Socket::Unix(socket) => socket.set_nonblocking(true),
        };
    }

    fn receive(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match &self.socket {
            Socket::Udp(socket) => socket.recv(buffer),
            Socket::Unix(socket) => socket.recv(buffer),
        }
    }

    /// The input of a tag; the first line of a tag opens it.
    fn input(&mut self, tag: &str, sender: &SyncSender<Message>) -> Result<usize, SendError<Message>> {
        let tag = if self.service.is_none() && is_service_name(tag) { tag } else { FALLBACK };
        if let Some(&input) = self.tags.get(tag) {
            return Ok(input);
        }
        if self.tags.len() >= TAGS_MAX && tag != FALLBACK {
            return self.input(FALLBACK, sender);
        }
        let input = self.numbers.fetch_add(1, Ordering::Relaxed);
        let service = self.service.clone().unwrap_or_else(|| tag.to_owned());
        let as_input = Input { path: Some(PathBuf::from(format!("{} ({tag})", self.address.name()))), service };
        sender.send(Message::Opened { input, as_input })?;
        self.tags.insert(tag.to_owned(), input);
        Ok(input)
    }

    fn label(&self) -> &'static str {
        match self.socket {
            Socket::Udp(_) => "syslog_udp",
            Socket::Unix(_) => "syslog_unix",
        }
    }

    /// What the kernel says it dropped, by the inode of the socket.
    fn dropped(&self) -> Option<u64> {
        let Socket::Udp(socket) = &self.socket else { return None };
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok()?;
        let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
        ["/proc/self/net/udp", "/proc/self/net/udp6"]
            .iter()
            .filter_map(|table| std::fs::read_to_string(table).ok())
            .find_map(|table| dropped_in(&table, &inode))
    }
}

/// The last column of the row with this inode, which is the tenth.
fn dropped_in(table: &str, inode: &str) -> Option<u64> {
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        (fields.nth(9) == Some(inode)).then(|| fields.last()?.parse().ok()).flatten()
    })
}

/// The tag that nginx gives unless told otherwise.
const FALLBACK: &str = "nginx";

/// A socket that is left over from a killed process is replaced; one that somebody listens on is not.
pub(crate) fn bind_unix(path: &Path) -> anyhow::Result<UnixDatagram> {
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            bail!("{} is there already and is no socket", path.display());
        }
        if UnixDatagram::unbound()?.connect(path).is_ok() {
            bail!("another process listens on {}", path.display());
        }
        std::fs::remove_file(path).with_context(|| format!("remove the old socket {}", path.display()))?;
    }
    let socket = UnixDatagram::bind(path)?;
    // nginx opens it as its workers' user. Whoever may enter the folder may write log lines, as with any log.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
