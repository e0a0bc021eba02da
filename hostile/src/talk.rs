//! Any bytes on a socket, and what comes back, reply by reply.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// One reply of a server.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Events taken, when it says so.
    pub fn accepted(&self) -> Option<u64> {
        self.json()["accepted"].as_u64()
    }

    /// The code of a refusal, or nothing.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The server closed it.
    Closed,
    /// The server reset it.
    Reset,
    /// Nothing more came.
    Open,
}

/// A whole exchange.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub replies: Vec<Reply>,
    /// What came and is no whole reply.
    pub rest: Vec<u8>,
    pub end: End,
    pub took: Duration,
}

impl Exchange {
    pub fn statuses(&self) -> Vec<u16> {
        self.replies.iter().map(|reply| reply.status).collect()
    }

    /// Status of the first reply that is no interim one; 0 when there is none.
    pub fn status(&self) -> u16 {
        self.final_replies().next().map_or(0, |reply| reply.status)
    }

    pub fn final_replies(&self) -> impl Iterator<Item = &Reply> {
        self.replies.iter().filter(|reply| reply.status >= 200)
    }

    pub fn is_over(&self) -> bool {
        self.end != End::Open
    }
}

/// When to stop listening.
#[derive(Clone, Copy, Debug)]
pub struct Until {
    /// Enough final replies; a little longer is listened for one too many.
    pub replies: usize,
    /// Nothing came for so long.
    pub silence: Duration,
    one_too_many: Duration,
}

impl Until {
    pub const fn replies(replies: usize) -> Self {
        Self { replies, silence: Duration::from_secs(20), one_too_many: ONE_TOO_MANY }
    }

    /// Until the server closes.
    pub const fn closed() -> Self {
        Self::replies(usize::MAX)
    }

    pub const fn patient(self, silence: Duration) -> Self {
        Self { silence, replies: self.replies, one_too_many: self.one_too_many }
    }
}

/// Connects, sends, listens.
///
/// # Errors
/// When there is no connection at all.
pub async fn talk(address: &str, request: &[u8], until: Until) -> std::io::Result<Exchange> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(exchange(&mut stream, request, until).await)
}

/// The same on a connection that there is.
pub async fn exchange(stream: &mut TcpStream, request: &[u8], until: Until) -> Exchange {
    let (reader, mut writer) = stream.split();
    // Both at once: the server may answer and close before it has read everything.
    let send = async {
        let _ = writer.write_all(request).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        exchange = listen(reader, until) => exchange,
        () = send => unreachable!("sending goes on for ever"),
    }
}

/// The same, without listening for one reply too many.
pub async fn exchange_one(stream: &mut TcpStream, request: &[u8], until: Until) -> Exchange {
    exchange(stream, request, Until { one_too_many: Duration::ZERO, ..until }).await
}

/// Reads replies.
pub async fn listen(mut stream: impl AsyncRead + Unpin, until: Until) -> Exchange {
    let started = Instant::now();
    let (mut replies, mut bytes, mut chunk) = (Vec::new(), Vec::new(), vec![0; 16 << 10]);
    let end = loop {
        let enough = replies.iter().filter(|reply: &&Reply| reply.status >= 200).count() >= until.replies;
        if enough && until.one_too_many.is_zero() {
            break End::Open;
        }
        let read = timeout(if enough { until.one_too_many } else { until.silence }, stream.read(&mut chunk)).await;
        match read {
            Err(_) => break End::Open,
            Ok(Err(_)) => break End::Reset,
            Ok(Ok(0)) => break End::Closed,
            Ok(Ok(read)) => bytes.extend_from_slice(&chunk[..read]),
        }
        while let Some((reply, length)) = first_reply(&bytes, false) {
            replies.push(reply);
            bytes.drain(..length);
        }
    };
    if let Some((reply, length)) = first_reply(&bytes, end == End::Closed) {
        replies.push(reply);
        bytes.drain(..length);
    }
    Exchange { replies, rest: bytes, end, took: started.elapsed() }
}

/// A whole reply at the beginning of what came, and how long it is. Without a length it ends with the connection.
fn first_reply(bytes: &[u8], closed: bool) -> Option<(Reply, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head.strip_prefix("http/1.")?.get(2..5)?.parse().ok()?;
    let reply = |body: &[u8]| Reply { status, head: head.clone(), body: body.to_vec() };
    if status < 200 || status == 204 || status == 304 {
        return Some((reply(b""), end));
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    match length {
        Some(length) => Some((reply(bytes.get(end..end + length)?), end + length)),
        None if head.contains("\r\ntransfer-encoding: chunked") => {
            let body_end = bytes[end..].windows(5).position(|window| window == b"0\r\n\r\n")? + end + 5;
            Some((reply(&bytes[end..body_end]), body_end))
        }
        None if closed => Some((reply(&bytes[end..]), bytes.len())),
        None => None,
    }
}

const ONE_TOO_MANY: Duration = Duration::from_millis(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn replies_are_told_apart_and_the_rest_is_kept() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 A\r\nContent-Length: 14\r\n\r\n{\"accepted\":3}HTTP/1.0 400 B\r\n\r\nxHTT";
        let exchange = listen(&bytes[..], Until::closed()).await;
        assert_eq!(exchange.statuses(), [100, 202, 400]);
        assert_eq!((exchange.status(), exchange.replies[1].accepted()), (202, Some(3)));
        assert_eq!(exchange.replies[2].body, b"xHTT", "without a length it ends with the connection");
        let torn = listen(&b"HTTP/1.1 200 A\r\nContent-Length: 9\r\n\r\nhalf"[..], Until::closed()).await;
        assert!(torn.replies.is_empty() && torn.end == End::Closed && torn.rest.ends_with(b"half"));
    }
}
