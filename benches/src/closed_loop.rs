//! A closed loop over keep-alive connections: the next request leaves when the answer is there.
//!
//! Saturates a server to measure its CPU per event. For latency under a given rate use `peep-load`, which is open loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Connections at work until dropped.
pub struct Load {
    requests: Arc<AtomicU64>,
    _connections: JoinSet<anyhow::Result<()>>,
}

impl Load {
    /// Opens `connections` and starts sending `bodies` in turn. Every answer must be a 202.
    ///
    /// # Errors
    /// When a connection cannot be opened.
    pub async fn start(address: SocketAddr, key: &str, bodies: &[Vec<u8>], connections: usize) -> anyhow::Result<Load> {
        let requests: Vec<Arc<[u8]>> = bodies
            .iter()
            .map(|body| {
                let mut request = format!(
                    "POST /v1/events HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n\
                     Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                )
                .into_bytes();
                request.extend_from_slice(body);
                request.into()
            })
            .collect();
        let done = Arc::new(AtomicU64::new(0));
        let mut running = JoinSet::new();
        for number in 0..connections {
            let stream = TcpStream::connect(address).await.context("connect to the server under test")?;
            stream.set_nodelay(true)?;
            running.spawn(work(stream, requests.clone(), number, Arc::clone(&done)));
        }
        Ok(Load { requests: done, _connections: running })
    }

    /// Requests answered so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Fails when a connection broke or got another answer than 202.
    ///
    /// # Errors
    /// What the first failed connection saw.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self._connections.try_join_next() {
            None => Ok(()),
            Some(ended) => ended?,
        }
    }
}

async fn work(
    mut stream: TcpStream,
    requests: Vec<Arc<[u8]>>,
    start: usize,
    done: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let mut answer = vec![0; 4096];
    for turn in start.. {
        stream.write_all(&requests[turn % requests.len()]).await?;
        let mut filled = 0;
        loop {
            let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut answer[filled..])).await??;
            ensure!(read > 0, "the server closed the connection");
            filled += read;
            if is_complete(&answer[..filled]) {
                break;
            }
        }
        ensure!(answer.starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(&answer[..filled]));
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Head and announced body are there.
fn is_complete(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    answer.len() >= end + 4 + length.unwrap_or(0)
}
