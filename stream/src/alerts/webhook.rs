//! Sends one message to an address that a user chose, and to nothing the user has no business with.
//!
//! Arrives: an address, a body, perhaps a secret. Leaves: what the receiver answered, or why nothing was sent. Promises, because
//! whoever may write a rule could otherwise make this process knock on doors inside: the name is looked up once, every address it has
//! must be a public one ([`address`]), and the connection goes to one of those addresses and to no other, whatever the name
//! means a moment later; redirects are not followed; no proxy of the environment is used; all of it takes 5 s and reads 64 KiB at
//! most. Hosts that the operator lists are let through.
//! Does not: retry ([`super::deliver`] does), or keep connections.

mod address;

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::Semaphore;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::rule::Receiver;

/// Sends messages. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    /// Hosts, with or without a port, that may have any address.
    allowed: Arc<[String]>,
    lookup: Lookup,
    at_once: Arc<Semaphore>,
}

/// Finds the addresses of a host and port.
pub type Lookup = Arc<dyn Fn(&str, u16) -> std::io::Result<Vec<SocketAddr>> + Send + Sync>;

/// What a receiver said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// HTTP status.
    pub status: u16,
    /// Its beginning, as text.
    pub body: String,
    /// Time of the whole exchange.
    pub took: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// Nothing was sent, and nothing will be.
    #[error("{0}")]
    Refused(String),
    /// It may work later.
    #[error("{0}")]
    Failed(String),
}

/// An address that could be one of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    uri: Uri,
    host: String,
    port: u16,
}

impl Target {
    /// Checks what can be checked without asking anybody.
    ///
    /// # Errors
    /// A sentence that says what to write instead.
    pub fn parse(url: &str) -> Result<Self, String> {
        if url.len() > URL_BYTES_MAX {
            return Err(format!("the address is longer than {URL_BYTES_MAX} bytes"));
        }
        if url.bytes().any(|byte| byte <= b' ' || byte >= 0x7f || byte == b'\\') {
            return Err("the address has characters that no address has; write it as a browser shows it".into());
        }
        let uri: Uri = url.parse().map_err(|_| "this is no address; write https://host/path".to_owned())?;
        let port = match uri.scheme_str() {
            Some("https") => 443,
            Some("http") => 80,
            _ => return Err("write an address that begins with https:// or http://".into()),
        };
        let authority = uri.authority().ok_or("the address names no host")?;
        if authority.as_str().contains('@') {
            return Err("leave user and password out of the address; a secret signs what is sent".into());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        // No name has one; a resolver need not be asked what it makes of it.
        if host.contains('%') {
            return Err("write the host without percent signs".into());
        }
        if host.is_empty() || authority.as_str().ends_with(':') {
            return Err("the address names no host, or a colon without a port".into());
        }
        let port = authority.port_u16().unwrap_or(port);
        if port == 0 {
            return Err("port 0 cannot be reached".into());
        }
        Ok(Self { host, port, uri })
    }

    /// Scheme, host and port as they were written.
    pub fn origin(&self) -> String {
        format!(
            "{}://{}",
            self.uri.scheme_str().unwrap_or("https"),
            self.uri.authority().map_or("", |one| one.as_str())
        )
    }
}

impl Webhooks {
    /// `allowed` as in `PEEP_WEBHOOK_ALLOW`.
    pub fn new(allowed: Vec<String>) -> Self {
        Self::with_lookup(allowed, Arc::new(|host, port| (host, port).to_socket_addrs().map(Iterator::collect)))
    }

    /// The same with names that mean what `lookup` says.
    pub fn with_lookup(allowed: Vec<String>, lookup: Lookup) -> Self {
        let allowed = allowed.into_iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { allowed, lookup, at_once: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }

    /// Sends a JSON body. `at_ms` is signed with it, so that an old message cannot be sent again by somebody else.
    pub async fn send(&self, receiver: &Receiver, body: String, at_ms: i64) -> Result<Answered, WebhookError> {
        let Ok(_place) = self.at_once.acquire().await else {
            return Err(WebhookError::Failed("the service is going away".into()));
        };
        let (webhooks, receiver) = (self.clone(), receiver.clone());
        let sent = tokio::task::spawn_blocking(move || webhooks.send_now(&receiver, &body, at_ms)).await;
        sent.unwrap_or_else(|_| Err(WebhookError::Failed("sending ended without an answer".into())))
    }

    fn send_now(&self, receiver: &Receiver, body: &str, at_ms: i64) -> Result<Answered, WebhookError> {
        let started = Instant::now();
        let target = Target::parse(&receiver.url).map_err(WebhookError::Refused)?;
        let addresses = self.addresses(&target)?;
        let left = TIME_MAX.saturating_sub(started.elapsed()).max(Duration::from_millis(1));
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // What the environment names is a door inside.
            .proxy(None)
            .timeout_global(Some(left))
            .max_response_header_size(HEADER_BYTES_MAX)
            .max_idle_connections(0)
            .user_agent(concat!("peep/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), Pinned(addresses));
        let mut request = ureq::http::Request::post(target.uri)
            .header("content-type", "application/json")
            .header(TIMESTAMP, at_ms.to_string());
        if let Some(secret) = &receiver.secret {
            request = request.header(SIGNATURE, signature(secret, at_ms, body));
        }
        let request =
            request.body(body.as_bytes().to_vec()).map_err(|error| WebhookError::Refused(error.to_string()))?;
        let response = agent.run(request).map_err(|error| WebhookError::Failed(format!("sending failed: {error}")))?;
        let status = response.status().as_u16();
        let body = read_body(response)?;
        Ok(Answered { status, body, took: started.elapsed() })
    }

    /// Where the connection may go.
    fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, WebhookError> {
        let (answer, asked) = sync_channel(1);
        let (lookup, host, port) = (Arc::clone(&self.lookup), target.host.clone(), target.port);
        // A lookup has no time limit of its own. At most as many threads wait as messages are sent at once, and the resolver gives
        // up in the end.
        std::thread::spawn(move || answer.send(lookup(&host, port)));
        let found = asked.recv_timeout(TIME_MAX).map_err(|_| {
            WebhookError::Failed(format!("looking up {} took more than {} s", target.host, TIME_MAX.as_secs()))
        })?;
        let found =
            found.map_err(|error| WebhookError::Failed(format!("looking up {} failed: {error}", target.host)))?;
        if found.is_empty() {
            return Err(WebhookError::Failed(format!("{} has no address", target.host)));
        }
        if self.allows(target) {
            return Ok(found);
        }
        // All of them: a name that means a public and a private address is not half good.
        match found.iter().find_map(|address| refusal(target, address.ip())) {
            Some(why) => Err(WebhookError::Refused(why)),
            None => Ok(found),
        }
    }

    /// Why nothing will ever be sent there, as far as the address itself says so. What a name means is only known when something is
    /// sent: it may mean something else then.
    pub fn refuses(&self, url: &str) -> Option<String> {
        let target = Target::parse(url).ok()?;
        let ip: IpAddr = target.host.parse().ok()?;
        if self.allows(&target) { None } else { refusal(&target, ip) }
    }

    fn allows(&self, target: &Target) -> bool {
        let with_port = format!("{}:{}", target.host, target.port);
        let in_brackets = [format!("[{}]", target.host), format!("[{}]:{}", target.host, target.port)];
        self.allowed.iter().any(|one| *one == target.host || *one == with_port || in_brackets.contains(one))
    }
}

/// What is said when one of the addresses is not a public one.
fn refusal(target: &Target, ip: IpAddr) -> Option<String> {
    let what = address::forbidden(ip)?;
    let named = if target.host == ip.to_string() {
        format!("{ip} is {what}")
    } else {
        format!("{} is {ip}, {what}", target.host)
    };
    Some(format!("{named}. Alerts only go to public ones, or to hosts listed in PEEP_WEBHOOK_ALLOW"))
}

/// Names mean what was checked, however often somebody asks.
#[derive(Debug)]
struct Pinned(Vec<SocketAddr>);

impl Resolver for Pinned {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        self.0.iter().take(ADDRESSES_MAX).for_each(|address| addresses.push(*address));
        Ok(addresses)
    }
}

/// The beginning of the body; a longer one is not read to its end.
fn read_body(response: ureq::http::Response<ureq::Body>) -> Result<String, WebhookError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let mut reader = response.into_body().into_reader().take(BODY_BYTES_MAX);
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| WebhookError::Failed(format!("reading the answer failed: {error}")))?;
    let shown = &bytes[..bytes.len().min(BODY_BYTES_SHOWN)];
    Ok(String::from_utf8_lossy(shown).into_owned())
}

/// `v1=` and the HMAC-SHA256 of `<timestamp>.<body>` in hexadecimal.
fn signature(secret: &str, at_ms: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length will do");
    mac.update(at_ms.to_string().as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    let digits = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("v1={digits}")
}

const TIMESTAMP: &str = "peep-timestamp";
const SIGNATURE: &str = "peep-signature";
/// For looking up, connecting, sending and reading, together.
const TIME_MAX: Duration = Duration::from_secs(5);
const URL_BYTES_MAX: usize = 2000;
const HEADER_BYTES_MAX: usize = 16 << 10;
const BODY_BYTES_MAX: u64 = 64 << 10;
/// What a person is shown of it.
const BODY_BYTES_SHOWN: usize = 1 << 10;
/// What the client takes.
const ADDRESSES_MAX: usize = 16;
/// Each is a thread that mostly waits, and one that looks up a name.
const AT_ONCE_MAX: usize = 4;

#[cfg(test)]
mod tests;
