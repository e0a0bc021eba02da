//! TLS for listeners: the certificate and its key from two files, read again when they change.
//!
//! What arrives: connections of strangers. What leaves: TLS streams with the protocol that was agreed on, or a [`Refused`] with the
//! reason. Promised: a handshake takes at most a configured time and holds a session only once the client said something; at most
//! a configured number of them is under way, and one more pushes out the oldest, so that many that never end cannot lock out
//! one that does. A client that speaks plain HTTP is told so.
//!
//! A certificate that cannot be used refuses to start; one that cannot be used later is ignored, loudly: the one before stays.
//! Not done: client certificates, names (SNI), OCSP.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::admin::{Health, HealthHandle};
use crate::clock::Clock;
use crate::config::Settings;
use crate::lifecycle::Shutdown;
use crate::metrics;
use crate::socket::PatientStream;

use handshakes::Handshakes;
use identity::Identity;

mod handshakes;

mod identity;

mod validity;

/// A listener's two settings and its name in metrics.
#[derive(Debug, Clone, Copy)]
pub struct TlsNames {
    pub service: &'static str,
    pub certificate: &'static str,
    pub key: &'static str,
}

/// TLS of one listener. Cheap to clone; clones share the certificate.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    service: &'static str,
    files: Files,
    alpn: Vec<Vec<u8>>,
    handshake_timeout: Duration,
    reload_interval: Duration,
    handshakes: Handshakes,
    current: RwLock<Current>,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Clone)]
struct Current {
    config: Arc<ServerConfig>,
    identity: Arc<Identity>,
}

/// Why there is no TLS on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The handshake was not over in time.
    Timeout,
    /// Too many newer handshakes were under way.
    PushedOut,
    /// The client speaks HTTP without TLS.
    Plain,
    /// What the client sent is no TLS, or none that we speak.
    Failed,
    /// The client left before it said anything.
    Gone,
}

impl Refused {
    pub const ALL: [Self; 5] = [Self::Timeout, Self::PushedOut, Self::Plain, Self::Failed, Self::Gone];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::PushedOut => "pushed_out",
            Self::Plain => "plain_http",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }
}

impl Tls {
    /// TLS when both settings are set, none when neither is; anything else is a problem of the configuration. `alpn` are the
    /// protocols the listener speaks, the preferred one first.
    pub fn read(settings: &mut Settings<'_>, names: TlsNames, alpn: &[&str]) -> Option<Self> {
        let certificate = settings.string(
            names.certificate,
            "",
            "PEM file with the certificate and the chain behind it. With it and its key the port speaks TLS and nothing else; read again when it changes.",
        );
        let key = settings.string(names.key, "", "PEM file with the private key of the certificate, not encrypted.");
        let handshake_timeout = settings.duration_ms(
            "PEEP_TLS_HANDSHAKE_TIMEOUT",
            5_000,
            100..=60_000,
            "How long a client may take to agree on TLS.",
        );
        let handshakes_max = settings.u64(
            "PEEP_TLS_HANDSHAKES_MAX",
            1_000,
            1..=100_000,
            "Handshakes of one listener under way; one more ends the oldest. Up to 64 KiB each.",
        ) as usize;
        let reload_interval = settings.duration_ms(
            "PEEP_TLS_RELOAD_INTERVAL",
            5_000,
            100..=3_600_000,
            "How often to look whether certificate or key have changed.",
        );
        match (certificate.is_empty(), key.is_empty()) {
            (true, true) => return None,
            (false, true) => {
                settings.problem(names.key, format!("is missing beside {}", names.certificate));
                return None;
            }
            (true, false) => {
                settings.problem(names.certificate, format!("is missing beside {}", names.key));
                return None;
            }
            (false, false) => {}
        }
        let files = Files { certificate: certificate.into(), key: key.into() };
        let alpn = alpn.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
        match files.load(&alpn) {
            Ok(current) => {
                let shared = Shared {
                    service: names.service,
                    files,
                    alpn,
                    handshake_timeout,
                    reload_interval,
                    handshakes: Handshakes::new(handshakes_max),
                    current: RwLock::new(current),
                };
                Some(Self { shared: Arc::new(shared) })
            }
            Err(unusable) => {
                let name = if unusable.is_key { names.key } else { names.certificate };
                settings.problem(name, unusable.message);
                None
            }
        }
    }

    /// From two files, for tests and programs without an environment.
    ///
    /// # Errors
    /// One line for each problem.
    pub fn from_files(names: TlsNames, certificate: &Path, key: &Path, alpn: &[&str]) -> Result<Self, String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let env = std::collections::BTreeMap::from([(names.certificate, text(certificate)), (names.key, text(key))]);
        let mut settings = Settings::new(&env);
        let tls = Self::read(&mut settings, names, alpn);
        settings.finish().map_err(|errors| errors.to_string())?;
        tls.ok_or_else(|| "certificate and key are missing".to_owned())
    }

    /// Agrees on TLS, or says why not. What a client that speaks plain HTTP is told has been sent then.
    ///
    /// # Errors
    /// [`Refused`], which is counted.
    pub async fn accept(&self, stream: PatientStream) -> Result<TlsStream<PatientStream>, Refused> {
        let agreed = tokio::time::timeout(self.shared.handshake_timeout, self.handshake(stream)).await;
        let agreed = agreed.unwrap_or(Err(Refused::Timeout));
        if let Err(refused) = &agreed {
            metrics::tls_refused(self.shared.service, *refused);
        }
        agreed
    }

    async fn handshake(&self, mut stream: PatientStream) -> Result<TlsStream<PatientStream>, Refused> {
        let mut first = [0];
        // Waits without a TLS session: a client that never says anything costs its socket and nothing else.
        match stream.socket().peek(&mut first).await {
            Ok(0) | Err(_) => return Err(Refused::Gone),
            Ok(_) => {}
        }
        if first[0].is_ascii_alphabetic() {
            Box::pin(tell_plain(&mut stream)).await;
            return Err(Refused::Plain);
        }
        let config = Arc::clone(&self.shared.current.read().config);
        let place = self.shared.handshakes.enter();
        // Boxed: whoever never begins should not hold room for a session.
        let agreeing = Box::pin(async move { TlsAcceptor::from(config).accept(stream).await });
        tokio::select! {
            biased;
            agreed = agreeing => agreed.map_err(|error| {
                tracing::debug!(%error, service = self.shared.service, "TLS was not agreed on");
                Refused::Failed
            }),
            () = place.pushed_out() => Err(Refused::PushedOut),
        }
    }

    /// Keeps the certificate up to date until shutdown, and says how it is.
    pub async fn keep_fresh(&self, health: &Health, clock: &Clock, shutdown: &Shutdown) {
        let part = health.register(format!("{}_tls", self.shared.service));
        metrics::tls_register(self.shared.service);
        for warning in &self.shared.current.read().identity.warnings {
            tracing::warn!(service = self.shared.service, "{warning}");
        }
        let mut failure = None;
        loop {
            self.report(&part, clock, failure.as_deref());
            tokio::select! {
                () = shutdown.requested() => break,
                () = tokio::time::sleep(self.shared.reload_interval) => {}
            }
            failure = self.reload().await;
        }
        part.set_not_ready("draining");
    }

    /// Looks at the files; what is wrong with them, if anything.
    async fn reload(&self) -> Option<String> {
        let shared = Arc::clone(&self.shared);
        // Files may lie on a network: never on a thread that serves.
        let loaded = tokio::task::spawn_blocking(move || {
            let before = shared.current.read().identity.stamp;
            if shared.files.stamp() == Some(before) { Ok(None) } else { shared.files.load(&shared.alpn).map(Some) }
        });
        match loaded.await {
            Ok(Ok(None)) => None,
            Ok(Ok(Some(new))) => {
                for warning in &new.identity.warnings {
                    tracing::warn!(service = self.shared.service, "{warning}");
                }
                let valid_until = validity::show(new.identity.valid_until_s);
                tracing::info!(service = self.shared.service, valid_until, "the certificate was replaced");
                *self.shared.current.write() = new;
                None
            }
            Ok(Err(unusable)) => {
                metrics::tls_reload_failed(self.shared.service);
                Some(unusable.message)
            }
            Err(_) => Some("the certificate's files could not be looked at".to_owned()),
        }
    }

    fn report(&self, part: &HealthHandle, clock: &Clock, failure: Option<&str>) {
        let valid_until_s = self.shared.current.read().identity.valid_until_s;
        metrics::tls_valid_until(self.shared.service, valid_until_s);
        let expired = clock.now_ms() / 1000 >= valid_until_s;
        match failure {
            Some(failure) => part.set_degraded(format!("the old certificate is still used: the new one {failure}")),
            None if expired => {
                part.set_degraded(format!("the certificate has expired on {}", validity::show(valid_until_s)));
            }
            None => part.set_ready(),
        }
    }
}

impl Files {
    fn load(&self, alpn: &[Vec<u8>]) -> Result<Current, identity::Unusable> {
        let (identity, certified) = Identity::load(&self.certificate, &self.key)?;
        let config = identity::server_config(certified, alpn.to_vec())?;
        Ok(Current { config: Arc::new(config), identity: Arc::new(identity) })
    }

    fn stamp(&self) -> Option<identity::Stamp> {
        identity::stamp(&self.certificate, &self.key)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").field("certificate", &self.shared.files.certificate).finish_non_exhaustive()
    }
}

/// Answers whatever was asked in the clear, and takes what was sent so that the answer is not lost to a reset.
async fn tell_plain(stream: &mut PatientStream) {
    if stream.write_all(PLAIN_ANSWER).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    let mut rest = [0; 4096];
    let drain = async {
        for _ in 0..PLAIN_READS_MAX {
            if !matches!(stream.read(&mut rest).await, Ok(read) if read > 0) {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(PLAIN_LINGER, drain).await;
}

const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 43\r\n\
    Connection: close\r\n\r\nthis port speaks TLS; use https:// instead\n";
const PLAIN_READS_MAX: usize = 16;
const PLAIN_LINGER: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
