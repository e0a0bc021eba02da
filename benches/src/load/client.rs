//! One connection to ingest: HTTP/1.1, keep-alive, one request at a time.
//!
//! In: a body and its identity. Out: how ingest judged it, or why it did not. Promised: no hidden retries and no
//! pooling, so that a latency is one request on one connection; a broken connection is opened again at the next
//! request. Not done: TLS; a load test through a proxy measures the proxy.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

/// Where to send, parsed once.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `host:port`.
    pub(crate) authority: String,
    pub(crate) authorization: header::HeaderValue,
}

impl Target {
    pub(crate) fn new(url: &str, key: &str) -> anyhow::Result<Self> {
        let Some(rest) = url.trim().trim_end_matches('/').strip_prefix("http://") else {
            bail!("--url {url}: expected http://host:port (TLS is not supported)");
        };
        let host = rest.split('/').next().unwrap_or_default();
        if host.is_empty() || host.contains('@') {
            bail!("--url {url}: expected http://host:port");
        }
        let authority = if has_port(host) { host.to_owned() } else { format!("{host}:80") };
        let mut authorization = header::HeaderValue::from_str(&format!("Bearer {}", key.trim()))
            .context("the key in PEEP_INGEST_KEY has characters that no key has")?;
        authorization.set_sensitive(true);
        Ok(Self { authority, authorization })
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// Producer and sequence number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'a> {
    pub(crate) producer: &'a str,
    pub(crate) seq: u64,
}

#[derive(Debug)]
pub(crate) enum Answer {
    Judged {
        accepted: u64,
        rejected: u64,
        first_code: Option<String>,
    },
    /// Safe to send again under the same identity.
    Retry {
        reason: String,
        after: Option<Duration>,
    },
    Final {
        reason: String,
    },
}

#[derive(Debug, Default, Deserialize)]
struct Body {
    #[serde(default)]
    accepted: u64,
    #[serde(default)]
    rejected: Vec<Rejection>,
    error: Option<Error>,
}

#[derive(Debug, Deserialize)]
struct Rejection {
    code: String,
}

#[derive(Debug, Deserialize)]
struct Error {
    code: String,
}

pub(crate) struct Connection {
    target: Target,
    sender: Option<SendRequest<Full<Bytes>>>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 8 << 20;

impl Connection {
    pub(crate) fn new(target: Target) -> Self {
        Self { target, sender: None }
    }

    pub(crate) async fn post(&mut self, body: Bytes, identity: Identity<'_>) -> Answer {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(body, identity)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                self.sender = None;
                Answer::Retry { reason: format!("{error:#}"), after: None }
            }
            Err(_) => {
                self.sender = None;
                Answer::Retry { reason: format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()), after: None }
            }
        }
    }

    async fn exchange(&mut self, body: Bytes, identity: Identity<'_>) -> anyhow::Result<Answer> {
        let request = Request::post("/v1/events")
            .header(header::HOST, &self.target.authority)
            .header(header::AUTHORIZATION, &self.target.authorization)
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .header("peep-producer", identity.producer)
            .header("peep-seq", identity.seq)
            .body(Full::new(body))
            .context("make the request")?;
        let response = self.sender().await?.send_request(request).await.context("send")?;
        let status = response.status();
        let after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!(error))
            .context("read the answer")?;
        Ok(judge(status, after, &body.to_bytes()))
    }

    async fn sender(&mut self) -> anyhow::Result<&mut SendRequest<Full<Bytes>>> {
        if let Some(sender) = &mut self.sender
            && sender.ready().await.is_err()
        {
            self.sender = None;
        }
        match &mut self.sender {
            Some(sender) => Ok(sender),
            empty => Ok(empty.insert(connect(&self.target.authority).await?)),
        }
    }
}

async fn connect(authority: &str) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(authority))
        .await
        .context("connect: timed out")?
        .context("connect")?;
    stream.set_nodelay(true).context("connect")?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.context("connect")?;
    // Ends with the connection; its error reaches the request that needed it.
    tokio::spawn(connection);
    Ok(sender)
}

fn judge(status: StatusCode, after: Option<Duration>, body: &[u8]) -> Answer {
    let parsed: Option<Body> = serde_json::from_slice(body).ok();
    let code = parsed.as_ref().and_then(|body| body.error.as_ref()).map(|error| format!(" {}", error.code));
    let reason = || format!("{}{}", status.as_u16(), code.clone().unwrap_or_default());
    match (status.as_u16(), parsed) {
        (202 | 422, Some(body)) => Answer::Judged {
            accepted: body.accepted,
            rejected: body.rejected.len() as u64,
            first_code: body.rejected.into_iter().next().map(|rejection| rejection.code),
        },
        (408 | 429 | 500..=599, _) => Answer::Retry { reason: reason(), after },
        _ => Answer::Final { reason: reason() },
    }
}
