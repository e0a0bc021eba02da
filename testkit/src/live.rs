//! Readers for the two live transports: WebSocket and server-sent events. Both hand out one JSON message at a time.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::postgres::blocking;

/// A WebSocket that speaks JSON text messages.
pub struct WebSocket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl WebSocket {
    /// `url` is `ws://host:port/path`. The error of a refused upgrade is its HTTP status.
    pub async fn connect(url: &str, key: Option<&str>) -> Result<Self, u16> {
        let mut request = url.into_client_request().expect("a WebSocket URL");
        if let Some(key) = key {
            let value = format!("Bearer {key}").parse().expect("a header value");
            request.headers_mut().insert("authorization", value);
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((stream, _)) => Ok(Self { stream }),
            Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("connect to {url}: {error}"),
        }
    }

    /// The next message, or `None` when the other side closed. Panics when nothing comes within `within`.
    pub async fn next(&mut self, within: Duration) -> Option<Value> {
        loop {
            let message = timeout(within, self.stream.next())
                .await
                .unwrap_or_else(|_| panic!("no WebSocket message within {within:?}"))?;
            match message {
                Ok(Message::Text(text)) => return Some(parse(&text)),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub async fn send(&mut self, message: &Value) {
        self.stream.send(Message::text(message.to_string())).await.expect("send a WebSocket message");
    }

    pub async fn close(mut self) {
        // The other side may have gone first.
        let _ = self.stream.close(None).await;
    }
}

/// A stream of server-sent events.
pub struct EventStream {
    events: mpsc::Receiver<Event>,
}

/// One server-sent event.
#[derive(Clone, Debug)]
pub struct Event {
    pub name: String,
    pub id: Option<String>,
    pub data: Value,
}

impl EventStream {
    /// The error of a refused request is its HTTP status.
    pub async fn connect(url: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let mut request = agent.get(url).header("accept", "text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = blocking(move || request.call()).await.unwrap_or_else(|error| panic!("GET {url}: {error}"));
        if response.status() != 200 {
            return Err(response.status().as_u16());
        }
        let (sender, events) = mpsc::channel(64);
        let lines = BufReader::new(response.into_body().into_reader()).lines();
        // Ends when the server closes, or at the first event after this stream was dropped.
        std::thread::spawn(move || read_events(lines, &sender));
        Ok(Self { events })
    }

    /// The next event, or `None` when the other side closed. Panics when nothing comes within `within`.
    pub async fn next(&mut self, within: Duration) -> Option<Event> {
        timeout(within, self.events.recv()).await.unwrap_or_else(|_| panic!("no server-sent event within {within:?}"))
    }
}

fn read_events(lines: impl Iterator<Item = std::io::Result<String>>, sender: &mpsc::Sender<Event>) -> Option<()> {
    let (mut name, mut id, mut data) = (String::new(), None, String::new());
    for line in lines {
        let line = line.ok()?;
        if let Some(value) = field(&line, "event") {
            name = value.to_owned();
        } else if let Some(value) = field(&line, "id") {
            id = Some(value.to_owned());
        } else if let Some(value) = field(&line, "data") {
            if !data.is_empty() {
                data.push('\n');
            }
            data.push_str(value);
        } else if line.is_empty() && !data.is_empty() {
            let event =
                Event { name: std::mem::take(&mut name), id: id.clone(), data: parse(&std::mem::take(&mut data)) };
            sender.blocking_send(event).ok()?;
        }
    }
    Some(())
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let value = line.strip_prefix(name)?.strip_prefix(':')?;
    Some(value.strip_prefix(' ').unwrap_or(value))
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in the message {text}"))
}
