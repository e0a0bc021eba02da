//! Live messages over a WebSocket, as JSON text.
//!
//! Arrives: an accepted upgrade and a [`Subscriber`]. Leaves: its messages, one at a time. Promises: the next message is
//! taken only when the last one was written, so nothing piles up here; a write that takes too long ends the connection
//! (the deadline lies outside of the write, where a stalled client cannot stop it); a viewer whose key is revoked is
//! sent away within seconds; shutdown says "going away". Does not: listen to the client beyond closing.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use peep_chassis::lifecycle::Shutdown;
use tokio::time::{Instant, interval_at, timeout};

use crate::http::Service;
use crate::metrics;
use crate::session::Viewer;
use crate::subscriber::Subscriber;

/// Answers the upgrade and serves the subscriber on it.
pub fn upgrade(upgrade: WebSocketUpgrade, service: Service, viewer: Viewer, subscriber: Subscriber) -> Response {
    upgrade
        // Defaults would be 128 KiB read and write buffers per socket: ours only says "close" and "ping".
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(service.limits().message_bytes_max)
        .max_message_size(INBOUND_BYTES_MAX)
        .max_frame_size(INBOUND_BYTES_MAX)
        .on_upgrade(move |socket| serve(socket, service, viewer, subscriber))
}

async fn serve(mut socket: WebSocket, service: Service, mut viewer: Viewer, mut subscriber: Subscriber) {
    let _open = metrics::viewer_connected("websocket");
    let shutdown: Shutdown = service.shutdown().clone();
    // Whoever takes nothing at all is cut by the listener; this bounds whoever takes a little now and then.
    let write_timeout = service.limits().write_timeout * SLOW_FACTOR;
    let mut recheck = interval_at(Instant::now() + RECHECK, RECHECK);
    loop {
        tokio::select! {
            () = shutdown.requested() => return close(socket, close_code::AWAY, "restarting").await,
            received = socket.recv() => match received {
                None | Some(Err(_) | Ok(Message::Close(_))) => return,
                Some(Ok(_)) => {}
            },
            _ = recheck.tick() => if !service.gate().may_stay(&mut viewer).await {
                return close(socket, close_code::POLICY, "the key or session is not valid any more").await;
            },
            message = subscriber.next() => {
                let Some(message) = message else { return close(socket, close_code::AWAY, "view closed").await };
                match timeout(write_timeout, socket.send(Message::Text(message.text))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return,
                    // Not even a goodbye would get through.
                    Err(_) => return metrics::viewer_cut("websocket"),
                }
            }
        }
    }
}

async fn close(mut socket: WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
    // The client has a second to take it; if it does not, it learns from the closed connection.
    let _ = timeout(CLOSE_WAIT, socket.send(Message::Close(Some(frame)))).await;
}

const READ_BUFFER_BYTES: usize = 4096;
const INBOUND_BYTES_MAX: usize = 4096;
/// How long a revoked key may go on looking after its process knows: a look-up in memory each time.
pub const RECHECK: Duration = Duration::from_secs(1);
/// A snapshot of 4 MB within a minute is a line of 0.5 Mbit/s.
const SLOW_FACTOR: u32 = 6;
const CLOSE_WAIT: Duration = Duration::from_secs(1);
