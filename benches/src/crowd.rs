//! Many WebSocket clients on one thread: as little as a client can be, because they share the cores with the server under test.
//!
//! A client sends its handshake, reads what comes and looks at no more of a message than its type and its time. It never closes by
//! itself, and notes how the server does.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use parking_lot::Mutex;
use peep_chassis::clock::Clock;

/// How clients read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Whatever comes, at once.
    AtOnce,
    /// So many bytes a second, and with a small window.
    Slowly(usize),
    /// Nothing after the handshake, and with a small window.
    Never,
}

/// Clients that are connected, or try to be.
pub struct Crowd {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

/// What they have seen since it was last asked.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Connected at the moment.
    pub open: usize,
    /// Handshakes that were answered otherwise, by status.
    pub refused: BTreeMap<u16, usize>,
    /// Connections that ended, by the code of the close frame; 0 without one.
    pub closed: BTreeMap<u16, usize>,
    /// Close frames whose reason said when to come back.
    pub told_to_come_back: usize,
    pub snapshots: u64,
    pub frames: u64,
    pub heartbeats: u64,
    pub bytes: u64,
    /// From the time in a frame to its arrival, in ms, by how many.
    pub ways_ms: BTreeMap<u64, u64>,
}

impl Seen {
    pub fn messages(&self) -> u64 {
        self.snapshots + self.frames + self.heartbeats
    }

    /// A quantile of the ways.
    pub fn way_ms(&self, quantile: f64) -> f64 {
        let total: u64 = self.ways_ms.values().sum();
        let rank = ((total as f64 * quantile).ceil() as u64).max(1);
        let mut passed = 0;
        for (ms, count) in &self.ways_ms {
            passed += count;
            if passed >= rank {
                return *ms as f64;
            }
        }
        f64::NAN
    }
}

impl Crowd {
    /// Opens `count` connections, a few hundred at a time.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn open(address: SocketAddr, target: &str, key: &str, count: usize, pace: Pace) -> anyhow::Result<Crowd> {
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nauthorization: Bearer {key}\r\n\r\n"
        );
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let thread = {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            std::thread::Builder::new()
                .name("crowd".to_owned())
                .spawn(move || work(address, &request, count, pace, &seen, &stop))
                .context("start the clients")?
        };
        Ok(Crowd { seen, stop, thread: Some(thread) })
    }

    /// What they have seen since the last call.
    pub fn look(&self) -> Seen {
        let mut seen = self.seen.lock();
        let open = seen.open;
        std::mem::replace(&mut *seen, Seen { open, ..Seen::default() })
    }

    pub fn connected(&self) -> usize {
        self.seen.lock().open
    }

    /// # Errors
    /// When fewer are connected in time.
    pub fn wait_until_open(&self, count: usize, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        while self.connected() < count {
            ensure!(
                !self.thread.as_ref().is_none_or(JoinHandle::is_finished),
                "the clients have ended: {:?}",
                self.look()
            );
            ensure!(
                Instant::now() < deadline,
                "{} of {count} are connected: {:?}",
                self.connected(),
                self.look().refused
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Hangs up.
    ///
    /// # Errors
    /// What went wrong on the way.
    pub fn close(mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a crowd is closed once")?;
        thread.join().map_err(|_| anyhow::anyhow!("the clients panicked"))?
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(
    address: SocketAddr,
    request: &str,
    count: usize,
    pace: Pace,
    seen: &Mutex<Seen>,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut clients: Vec<Option<Client>> = Vec::with_capacity(count);
    let mut shaking_hands = 0;
    let (clock, mut buffer) = (Clock::system(), vec![0; 64 << 10]);
    let mut fed = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        while clients.len() < count && shaking_hands < AT_ONCE {
            let mut client = Client::connect(address, pace)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut client.stream, Token(clients.len()), interest)?;
            clients.push(Some(client));
            shaking_hands += 1;
        }
        match poll.poll(&mut events, Some(Duration::from_millis(20))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        let mut news = Seen::default();
        let (mut opened, mut ended) = (0, 0);
        for event in &events {
            let Some(client) = &mut clients[event.token().0] else { continue };
            let was = client.stage;
            let goes_on = client.advance(request, &clock, &mut buffer, &mut news);
            let is_open = client.stage == Stage::Open;
            shaking_hands -= usize::from(was != Stage::Open && (is_open || !goes_on));
            opened += usize::from(was != Stage::Open && is_open);
            if is_open && pace != Pace::AtOnce && was != Stage::Open {
                poll.registry().deregister(&mut client.stream)?;
            }
            if !goes_on {
                ended += usize::from(client.stage == Stage::Open);
                clients[event.token().0] = None;
            }
        }
        if let Pace::Slowly(bytes) = pace
            && fed.elapsed() >= Duration::from_secs(1)
        {
            fed = Instant::now();
            for place in &mut clients {
                let Some(client) = place.as_mut().filter(|client| client.stage == Stage::Open) else { continue };
                if !client.read(&clock, &mut buffer[..bytes], &mut news, true) {
                    ended += 1;
                    *place = None;
                }
            }
        }
        if pace == Pace::Never && fed.elapsed() >= Duration::from_millis(250) {
            fed = Instant::now();
            for place in &mut clients {
                // Whoever does not read learns of a reset all the same.
                let cut = place.as_ref().is_some_and(|client| {
                    client.stage == Stage::Open && client.stream.take_error().is_ok_and(|error| error.is_some())
                });
                if cut {
                    end(&mut news, 0);
                    ended += 1;
                    *place = None;
                }
            }
        }
        let mut seen = seen.lock();
        seen.open = (seen.open + opened).saturating_sub(ended);
        add(&mut seen, news);
    }
    Ok(())
}

fn add(seen: &mut Seen, news: Seen) {
    seen.snapshots += news.snapshots;
    seen.frames += news.frames;
    seen.heartbeats += news.heartbeats;
    seen.bytes += news.bytes;
    seen.told_to_come_back += news.told_to_come_back;
    news.refused.into_iter().for_each(|(status, count)| *seen.refused.entry(status).or_default() += count);
    news.closed.into_iter().for_each(|(code, count)| *seen.closed.entry(code).or_default() += count);
    news.ways_ms.into_iter().for_each(|(ms, count)| *seen.ways_ms.entry(ms).or_default() += count);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asking,
    Listening,
    Open,
}

struct Client {
    stream: TcpStream,
    stage: Stage,
    /// Bytes that wait for the rest of a head.
    kept: Vec<u8>,
    /// Payload of the frame that is coming, not to be looked at.
    skip: usize,
}

impl Client {
    fn connect(address: SocketAddr, pace: Pace) -> anyhow::Result<Client> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if pace != Pace::AtOnce {
            socket.set_recv_buffer_size(SMALL_WINDOW)?;
        }
        match socket.connect(&address.into()) {
            // Loopback answers at once or says that it is under way.
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => {}
            Err(error) => return Err(error).context("connect"),
        }
        Ok(Client { stream: TcpStream::from_std(socket.into()), stage: Stage::Asking, kept: Vec::new(), skip: 0 })
    }

    /// Answers whether the connection goes on.
    fn advance(&mut self, request: &str, clock: &Clock, buffer: &mut [u8], news: &mut Seen) -> bool {
        if self.stage == Stage::Asking {
            match self.stream.write(request.as_bytes()) {
                // It always fits into an empty buffer.
                Ok(_) => self.stage = Stage::Listening,
                Err(error) if error.kind() == ErrorKind::WouldBlock || error.kind() == ErrorKind::NotConnected => {
                    return true;
                }
                Err(_) => return end(news, 0),
            }
        }
        self.read(clock, buffer, news, false)
    }

    fn read(&mut self, clock: &Clock, buffer: &mut [u8], news: &mut Seen, only_once: bool) -> bool {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return end(news, 0),
                Ok(length) => {
                    news.bytes += length as u64;
                    if !self.take(&buffer[..length], clock, news) {
                        return false;
                    }
                    if only_once || length < buffer.len() {
                        return true;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return end(news, 0),
            }
        }
    }

    fn take(&mut self, bytes: &[u8], clock: &Clock, news: &mut Seen) -> bool {
        let joined;
        let mut bytes = bytes;
        if !self.kept.is_empty() {
            self.kept.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.kept);
            bytes = &joined;
        }
        if self.stage == Stage::Listening {
            let Some(end_of_head) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
                self.kept = bytes.to_vec();
                return true;
            };
            let status = std::str::from_utf8(&bytes[9..12]).ok().and_then(|status| status.parse().ok()).unwrap_or(0);
            if status != 101 {
                *news.refused.entry(status).or_default() += 1;
                return false;
            }
            self.stage = Stage::Open;
            bytes = &bytes[end_of_head + 4..];
        }
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return true;
            }
            let Some((head, length)) = head_of(bytes) else {
                self.kept = bytes.to_vec();
                return true;
            };
            let payload = &bytes[head..];
            // The type and the time are in front.
            if payload.len() < length.min(FRONT) {
                self.kept = bytes.to_vec();
                return true;
            }
            match bytes[0] & 0x0f {
                1 => count(&payload[..length.min(FRONT)], clock, news),
                8 => {
                    let code = if length >= 2 { u16::from_be_bytes([payload[0], payload[1]]) } else { 1005 };
                    let reason = payload.get(2..length).unwrap_or_default();
                    news.told_to_come_back += usize::from(reason.starts_with(b"retry="));
                    return end(news, code);
                }
                _ => {}
            }
            self.skip = length;
            bytes = payload;
        }
    }
}

fn end(news: &mut Seen, code: u16) -> bool {
    *news.closed.entry(code).or_default() += 1;
    false
}

/// Bytes of the head and of the payload.
fn head_of(frame: &[u8]) -> Option<(usize, usize)> {
    match frame.get(1)? & 0x7f {
        126 => Some((4, u16::from_be_bytes([*frame.get(2)?, *frame.get(3)?]).into())),
        127 => Some((10, usize::try_from(u64::from_be_bytes(frame.get(2..10)?.try_into().ok()?)).ok()?)),
        length => Some((2, length.into())),
    }
}

fn count(front: &[u8], clock: &Clock, news: &mut Seen) {
    if front.starts_with(br#"{"type":"frame""#) {
        news.frames += 1;
        let at_ms = memchr::memmem::find(front, b"\"at_ms\":").map(|at| {
            let digits = front[at + 8..].iter().take_while(|byte| byte.is_ascii_digit());
            digits.fold(0i64, |number, digit| number * 10 + i64::from(digit - b'0'))
        });
        if let Some(at_ms) = at_ms {
            let way_ms = u64::try_from(clock.now_ms() - at_ms).unwrap_or(0);
            *news.ways_ms.entry(way_ms).or_default() += 1;
        }
    } else if front.starts_with(br#"{"type":"snapshot""#) {
        news.snapshots += 1;
    } else {
        news.heartbeats += 1;
    }
}

/// Connections in their handshake at a time.
const AT_ONCE: usize = 500;
const SMALL_WINDOW: usize = 4 << 10;
/// Bytes of a message that are looked at.
const FRONT: usize = 100;
/// EINPROGRESS.
const IN_PROGRESS: i32 = 115;
