//! A closed loop over keep-alive connections: the next request leaves when the answer is there.
//!
//! Saturates a server to measure its CPU per event. One thread and one epoll for all connections and nothing allocated per
//! request, because it shares the cores with what it loads. For latency under a given rate use an open loop.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use peep_chassis::clock::Clock;

use crate::cpu;
use crate::requests::Request;

/// Connections at work until stopped.
pub struct Load {
    requests: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<Duration>>>,
}

impl Load {
    /// Opens `connections` and starts sending `bodies` in turn. Every answer must be a 202.
    ///
    /// # Errors
    /// When a connection cannot be opened.
    pub fn start(address: SocketAddr, key: &str, bodies: &[Vec<u8>], connections: usize) -> anyhow::Result<Load> {
        let mut bytes: Vec<Request> = bodies.iter().map(|body| Request::new(key, body)).collect();
        let connections = (0..connections)
            .map(|number| Connection::open(address, number * bytes.len() / connections))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (requests, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let thread = {
            let (requests, stop) = (Arc::clone(&requests), Arc::clone(&stop));
            std::thread::Builder::new()
                .name("load".to_owned())
                .spawn(move || work(connections, &mut bytes, &requests, &stop))
                .context("start the load")?
        };
        Ok(Load { requests, stop, thread: Some(thread) })
    }

    /// Requests answered so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// True once it has failed; only `stop` ends it otherwise.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Sends no more, waits for the answers that are due, and returns the number of requests and the CPU they cost here.
    ///
    /// # Errors
    /// What the first failed connection saw.
    pub fn stop(mut self) -> anyhow::Result<(u64, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a load is stopped once")?;
        let cpu = thread.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        Ok((self.requests(), cpu))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn work(
    mut connections: Vec<Connection>,
    requests: &mut [Request],
    done: &AtomicU64,
    stop: &AtomicBool,
) -> anyhow::Result<Duration> {
    let clock = Clock::system();
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(connections.len());
    for (number, connection) in connections.iter_mut().enumerate() {
        poll.registry().register(&mut connection.stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
    }
    // How many have an answer to come; all of them send their first request with their first event.
    let mut busy = connections.len();
    let mut heard = Instant::now();
    while busy > 0 {
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        if events.is_empty() {
            ensure!(heard.elapsed() < PATIENCE, "no answer for {PATIENCE:?}");
            continue;
        }
        heard = Instant::now();
        for event in &events {
            let connection = &mut connections[event.token().0];
            busy -= connection.advance(requests, &clock, done, stop)? as usize;
        }
    }
    Ok(cpu::of_this_thread())
}

struct Connection {
    stream: TcpStream,
    /// Which request is next or under way.
    turn: usize,
    /// Bytes of it that have left.
    sent: usize,
    answer: Box<[u8; 4096]>,
    answered: usize,
    idle: bool,
}

impl Connection {
    fn open(address: SocketAddr, turn: usize) -> anyhow::Result<Connection> {
        let stream = std::net::TcpStream::connect(address).context("connect to the server under test")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream);
        Ok(Connection { stream, turn, sent: 0, answer: Box::new([0; 4096]), answered: 0, idle: false })
    }

    /// As far as the socket lets it. True when this connection has just become idle for good.
    fn advance(
        &mut self,
        requests: &mut [Request],
        clock: &Clock,
        done: &AtomicU64,
        stop: &AtomicBool,
    ) -> anyhow::Result<bool> {
        if self.idle {
            return Ok(false);
        }
        loop {
            let turn = self.turn % requests.len();
            let request = if self.sent == 0 { requests[turn].at(clock.now_ms()) } else { requests[turn].bytes() };
            if self.sent < request.len() {
                match self.stream.write(&request[self.sent..]) {
                    Ok(written) => self.sent += written,
                    Err(error) if is_transient(&error) => return Ok(false),
                    Err(error) => return Err(error).context("send a request"),
                }
                continue;
            }
            match self.stream.read(&mut self.answer[self.answered..]) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(read) => self.answered += read,
                Err(error) if is_transient(&error) => return Ok(false),
                Err(error) => return Err(error).context("read an answer"),
            }
            let answer = &self.answer[..self.answered];
            if answer_length(answer).is_some_and(|length| length <= answer.len()) {
                ensure!(answer.starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(answer));
                done.fetch_add(1, Ordering::Relaxed);
                (self.sent, self.answered) = (0, 0);
                self.turn += 1;
                self.idle = stop.load(Ordering::Relaxed);
                if self.idle {
                    return Ok(true);
                }
            }
        }
    }
}

fn is_transient(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Head and body, once the whole head is there. Both servers write header names in lower case.
pub(crate) fn answer_length(answer: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(answer, b"\r\n\r\n")? + 4;
    let length = memchr::memmem::find(&answer[..head], b"\r\ncontent-length: ").map_or(0, |at| {
        let digits = answer[at + 18..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
    });
    Some(head + length)
}

const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_announced_body() {
        let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 12\r\ndate: today\r\n\r\n{\"taken\":10}";
        assert_eq!(answer_length(answer), Some(answer.len()));
        assert_eq!(answer_length(&answer[..answer.len() - 1]), Some(answer.len()));
        assert_eq!(answer_length(&answer[..40]), None);
        assert_eq!(answer_length(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(27));
    }
}
