//! TLS that is begun and not ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use peep_testkit::Peep;
use peep_testkit::process::free_address;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::cases::{Case, case};
use crate::meter::{Meter, mebibytes};
use crate::scene::Scene;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("H02a", "10 000 handshakes that are never begun", CUT, |scene| Box::pin(idle(scene, b"", 10_000))),
        case("H02b", "10 000 handshakes that stop in the middle", CUT, |scene| {
            Box::pin(idle(scene, HALF_A_HELLO, 10_000))
        }),
    ]
}

const CUT: &str = "cut within 5 s, honest handshakes succeed, < 128 MiB";

/// The beginning of a ClientHello of 512 bytes.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03half";

/// A certificate for `localhost` and its key in a folder of their own.
pub(super) fn issue() -> anyhow::Result<TempDir> {
    let folder = TempDir::new()?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["localhost".to_owned()])?.self_signed(&key)?;
    std::fs::write(folder.path().join("cert.pem"), certificate.pem())?;
    std::fs::write(folder.path().join("key.pem"), key.serialize_pem())?;
    Ok(folder)
}

pub(super) fn settings(folder: &TempDir) -> [(&'static str, String); 2] {
    let path = |name| folder.path().join(name).to_string_lossy().into_owned();
    [("PEEP_INGEST_TLS_CERT", path("cert.pem")), ("PEEP_INGEST_TLS_KEY", path("key.pem"))]
}

/// A second ingest beside the scene's, which stays without TLS, and its address.
pub(super) async fn server(scene: &Scene, settings: &[(&str, &str)]) -> anyhow::Result<(Peep, String)> {
    let (address, admin) = (free_address(), free_address());
    let mut command = Peep::command(["ingest"])
        .env("DATABASE_URL", scene.database.url())
        .env("PEEP_LOG", "postgres")
        .env("PEEP_INGEST_LISTEN", &address)
        .env("PEEP_ADMIN_LISTEN", &admin);
    for (name, value) in settings {
        command = command.env(name, value);
    }
    let mut server = command.start().await;
    server.wait_until_ready(Duration::from_secs(60)).await;
    Ok((server, address))
}

async fn idle(scene: &mut Scene, hello: &'static [u8], count: usize) -> anyhow::Result<()> {
    let folder = issue()?;
    let paths = settings(&folder);
    let mut settings: Vec<(&str, &str)> = paths.iter().map(|(name, value)| (*name, value.as_str())).collect();
    settings.push(("PEEP_INGEST_CONNECTIONS_MAX", "20000"));
    let (mut server, address) = server(scene, &settings).await?;
    let client = Honest::new(&folder, &address, &scene.key)?;
    client.ask().await?;
    let meter = Meter::of(server.id());
    let before = meter.resident_bytes()?;
    meter.forget_peak()?;

    let mut idle = JoinSet::new();
    for _ in 0..count {
        let address = address.clone();
        idle.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(hello).await?;
            let started = Instant::now();
            let _ = timeout(Duration::from_secs(20), stream.read(&mut [0; 64])).await;
            Ok::<_, std::io::Error>(started.elapsed())
        });
    }
    let (mut asked, mut slowest, mut failed) = (0, Duration::ZERO, Vec::new());
    while !idle.is_empty() || asked < 20 {
        let started = Instant::now();
        match timeout(Duration::from_secs(10), client.ask()).await {
            Ok(Ok(())) => slowest = slowest.max(started.elapsed()),
            Ok(Err(error)) => failed.push(format!("{error:#}")),
            Err(_) => failed.push("no answer within 10 s".to_owned()),
        }
        asked += 1;
        sleep(Duration::from_millis(50)).await;
        while idle.try_join_next().is_some() {}
    }
    let extra = meter.peak_bytes()?.saturating_sub(before);
    scene.note(format!(
        "honest {} of {asked}, slowest {} ms, +{}",
        asked - failed.len(),
        slowest.as_millis(),
        mebibytes(extra)
    ));
    scene.expect(failed.is_empty(), format!("honest handshakes failed: {failed:?}"));
    scene.expect(extra <= EXTRA_BYTES_MAX, format!("resident memory grew by {}", mebibytes(extra)));
    server.terminate(Duration::from_secs(30)).await;
    Ok(())
}

/// A client that agrees on TLS for every event.
struct Honest {
    connector: TlsConnector,
    address: String,
    request: String,
}

impl Honest {
    fn new(folder: &TempDir, address: &str, key: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(folder.path().join("cert.pem")).context("read the certificate")?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let body = r#"{"service":"honest","duration_ms":1}"#;
        let request = format!(
            "POST /v1/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), address: address.to_owned(), request })
    }

    async fn ask(&self) -> anyhow::Result<()> {
        let stream = TcpStream::connect(&self.address).await.context("connect")?;
        let mut stream =
            self.connector.connect(ServerName::try_from("localhost")?, stream).await.context("handshake")?;
        stream.write_all(self.request.as_bytes()).await.context("send")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.context("read the answer")?;
        anyhow::ensure!(answer.ends_with(b"202"), "answered {}", String::from_utf8_lossy(&answer));
        Ok(())
    }
}

/// About 10 KiB for each of 10 000 sockets.
const EXTRA_BYTES_MAX: u64 = 128 << 20;
