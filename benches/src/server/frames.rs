//! The floor of the fan-out: one runtime on one thread, a task for each connection, and one buffer, encoded once, written to all of
//! them with `write_all`.
//!
//! It answers any request with an upgrade, never reads again, and knows neither keys, views nor slow readers: whoever does not read
//! stalls its task for ever.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::Context;
use bytes::{BufMut, Bytes, BytesMut};
use peep_chassis::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Serves for ever: a message of `bytes` to everybody, once in each `interval`.
///
/// # Errors
/// When the socket fails.
pub fn serve(listener: TcpListener, bytes: usize, interval: Duration) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    socket2::SockRef::from(&listener).listen(4096)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (frames, _) = watch::channel(Bytes::new());
        let sender = frames.clone();
        tokio::spawn(async move {
            let clock = Clock::system();
            let mut ticks = tokio::time::interval(interval);
            loop {
                ticks.tick().await;
                sender.send_replace(message(clock.now_ms(), bytes));
            }
        });
        loop {
            let (stream, _) = listener.accept().await.context("accept")?;
            let frames = frames.subscribe();
            tokio::spawn(async move {
                // Whatever ends it, ends it.
                let _ = write(stream, frames).await;
            });
        }
    })
}

async fn write(mut stream: TcpStream, mut frames: watch::Receiver<Bytes>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    {
        let mut head = Vec::with_capacity(1024);
        while memchr::memmem::find(&head, b"\r\n\r\n").is_none() {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
    }
    stream.write_all(ANSWER).await?;
    loop {
        if frames.changed().await.is_err() {
            return Ok(());
        }
        let frame = frames.borrow_and_update().clone();
        stream.write_all(&frame).await?;
    }
}

/// As long as peep's, and with the same time in it.
fn message(at_ms: i64, bytes: usize) -> Bytes {
    let head = format!("{{\"type\":\"frame\",\"id\":\"0\",\"at_ms\":{at_ms},\"rows\":\"");
    let text = format!("{head}{}\"}}", "x".repeat(bytes.saturating_sub(head.len() + 2)));
    let mut frame = BytesMut::with_capacity(text.len() + 10);
    frame.put_u8(0x81);
    match text.len() {
        length @ 0..=125 => frame.put_u8(length as u8),
        length @ 126..=0xffff => {
            frame.put_u8(126);
            frame.put_u16(length as u16);
        }
        length => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    frame.put_slice(text.as_bytes());
    frame.freeze()
}

/// Nobody checks the key's answer.
const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
