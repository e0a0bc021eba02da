//! TLS on ingest's port: who gets through, who is told why not, and certificates that change.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use peep_chassis::config::Settings;
use peep_ingest::Config;
use peep_testkit::h2;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use support::{Ingest, config, start_with};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const EVENT: &str = r#"{"service":"a"}"#;

/// An ingest with TLS, and the certificate that its clients trust.
struct Secure {
    ingest: Ingest,
    folder: TempDir,
}

/// Writes a new certificate and its key; clients trust the certificate itself.
fn issue(folder: &Path) -> String {
    let key = KeyPair::generate().unwrap();
    let pem = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), &pem).unwrap();
    pem
}

async fn start(settings: &[(&str, &str)]) -> Secure {
    let folder = TempDir::new().unwrap();
    issue(folder.path());
    let path = |name| folder.path().join(name).to_string_lossy().into_owned();
    let mut env =
        BTreeMap::from([("PEEP_INGEST_TLS_CERT", path("cert.pem")), ("PEEP_INGEST_TLS_KEY", path("key.pem"))]);
    env.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let mut settings = Settings::new(&env);
    let config = Config { workers: config().workers, ..Config::read(&mut settings) };
    settings.finish().unwrap();
    Secure { ingest: start_with(config).await, folder }
}

impl Secure {
    async fn plain(&self) -> TcpStream {
        TcpStream::connect(self.ingest.address).await.unwrap()
    }

    async fn connect(&self, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let trusted = std::fs::read(self.folder.path().join("cert.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&trusted).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.plain().await).await
    }

    /// Status of one event over HTTP/1.1.
    async fn post(&self) -> std::io::Result<u16> {
        let mut stream = self.connect(&["http/1.1"]).await?;
        let key = &self.ingest.key;
        let request = format!(
            "POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{EVENT}",
            EVENT.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer[9..]).parse().unwrap_or(0))
    }
}

/// Reads until the server closes.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.expect("it is closed");
    rest
}

/// The beginning of a ClientHello of 512 bytes.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03half";

#[tokio::test]
async fn both_protocols_are_agreed_on_and_take_events() {
    let secure = start(&[]).await;
    assert_eq!(secure.post().await.unwrap(), 202);
    let stream = secure.connect(&["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let head = h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::head(&secure.ingest.key));
    let body = h2::frame(h2::DATA, h2::END_STREAM, 1, EVENT.as_bytes());
    let end = h2::converse(stream, &[], [head, body], Duration::from_secs(1)).await;
    assert_eq!((end.answers, end.closed), (1, false), "{end:?}");
    assert_eq!(secure.ingest.events().await, 2);
    assert!(secure.connect(&["spdy/3"]).await.is_err(), "nothing in common");
}

#[tokio::test]
async fn plain_http_is_told_that_the_port_speaks_tls() {
    let secure = start(&[]).await;
    for request in ["POST /v1/events HTTP/1.1\r\nHost: t\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = secure.plain().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = String::from_utf8(rest(stream).await).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("this port speaks TLS; use https:// instead\n")
        );
    }
    let mut nonsense = secure.plain().await;
    nonsense.write_all(&[0xff; 100]).await.unwrap();
    rest(nonsense).await;
    assert_eq!(secure.post().await.unwrap(), 202);
}

#[tokio::test]
async fn handshakes_that_do_not_end_are_cut() {
    let secure = start(&[("PEEP_TLS_HANDSHAKE_TIMEOUT", "300ms")]).await;
    for hello in [&b""[..], b"\x16", HALF_A_HELLO] {
        let mut stream = secure.plain().await;
        stream.write_all(hello).await.unwrap();
        rest(stream).await;
    }
}

#[tokio::test]
async fn handshakes_that_do_not_end_keep_nobody_out() {
    let secure = start(&[("PEEP_TLS_HANDSHAKES_MAX", "10")]).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut stream = secure.plain().await;
        stream.write_all(HALF_A_HELLO).await.unwrap();
        idle.push(stream);
    }
    let made_room = async {
        while idle.iter().filter(|stream| is_closed(stream)).count() < 190 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(2), made_room).await.expect("all but ten have made room, long before their deadline");
    for _ in 0..5 {
        let answered = timeout(Duration::from_secs(2), secure.post()).await;
        assert_eq!(answered.expect("at once, and not after their deadline").unwrap(), 202);
    }
}

fn is_closed(stream: &TcpStream) -> bool {
    loop {
        match stream.try_read(&mut [0; 64]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[tokio::test]
async fn whoever_agrees_and_then_asks_nothing_is_closed() {
    let secure = start(&[("PEEP_INGEST_HEADER_TIMEOUT", "300ms")]).await;
    for alpn in [&["h2"][..], &["http/1.1"]] {
        let mut stream = secure.connect(alpn).await.unwrap();
        let closed = timeout(Duration::from_secs(5), stream.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "{alpn:?}");
    }
}

/// Each wait goes on until it comes true; the client trusts the file's certificate only.
#[tokio::test]
async fn a_new_certificate_is_used_without_a_restart_and_a_bad_one_is_not() {
    let secure = start(&[("PEEP_TLS_RELOAD_INTERVAL", "100ms")]).await;
    let mut kept = secure.connect(&["http/1.1"]).await.unwrap();
    let good = issue(secure.folder.path());
    while secure.post().await.is_err() {
        sleep(Duration::from_millis(50)).await;
    }

    std::fs::write(secure.folder.path().join("cert.pem"), "nonsense").unwrap();
    while !secure.ingest.health.is_degraded() {
        sleep(Duration::from_millis(50)).await;
    }
    assert!(secure.ingest.health.is_ready());
    std::fs::write(secure.folder.path().join("cert.pem"), good).unwrap();
    assert_eq!(secure.post().await.unwrap(), 202, "the one before is still in use");
    while secure.ingest.health.is_degraded() {
        sleep(Duration::from_millis(50)).await;
    }

    kept.write_all(b"GET /v1/events HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
    assert_eq!(kept.read(&mut [0; 12]).await.unwrap(), 12, "connections stay as they were");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_handshakes() {
    let secure = start(&[]).await;
    let mut idle = secure.plain().await;
    idle.write_all(HALF_A_HELLO).await.unwrap();
    let agreed = secure.connect(&["h2"]).await.unwrap();
    secure.ingest.shutdown.request();
    timeout(Duration::from_secs(3), secure.ingest.done).await.expect("soon").unwrap().unwrap();
    drop((idle, agreed));
}
