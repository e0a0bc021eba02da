//! An ingest on a real socket with a memory log, and a client that can misbehave.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use peep_chassis::ExposeSecret;
use peep_chassis::admin::Health;
use peep_chassis::clock::Clock;
use peep_chassis::config::Settings;
use peep_chassis::keys::format;
use peep_chassis::keys::{ApiKey, KeyStore, Scope};
use peep_chassis::lifecycle::Shutdown;
use peep_ingest::Config;
use peep_log::memory::MemoryLog;
use peep_log::{Log, LogConfig, LogRecord, Offset, Partition, Topic};

pub(crate) struct Ingest {
    pub(crate) address: SocketAddr,
    pub(crate) log: MemoryLog,
    pub(crate) key: String,
    pub(crate) bound_key: String,
    pub(crate) read_key: String,
    /// Sends for another project.
    pub(crate) other_key: String,
    /// For pages of <https://shop.example> and of one label more.
    pub(crate) browser_key: String,
    pub(crate) health: Health,
    pub(crate) shutdown: Shutdown,
    pub(crate) done: tokio::task::JoinHandle<anyhow::Result<()>>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) json: serde_json::Value,
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        self.json["error"]["code"].as_str().unwrap_or("-")
    }

    /// 0 without the header.
    pub(crate) fn retry_after_s(&self) -> u32 {
        self.head.lines().find_map(|line| line.strip_prefix("retry-after: ")?.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or("-")
    }

    pub(crate) fn message(&self) -> &str {
        self.json["error"]["message"].as_str().unwrap_or("-")
    }
}

pub(crate) fn config() -> Config {
    let env = std::collections::BTreeMap::<String, String>::new();
    let mut settings = Settings::new(&env);
    let config = Config::read(&mut settings);
    settings.finish().expect("the defaults are valid");
    Config { workers: 2, ..config }
}

pub(crate) async fn start() -> Ingest {
    start_with(config()).await
}

pub(crate) async fn start_with(config: Config) -> Ingest {
    start_at(config, Clock::system()).await
}

pub(crate) async fn start_at(config: Config, clock: Clock) -> Ingest {
    start_on(config, clock, |log| Arc::new(log)).await
}

/// With another log in front of the memory.
pub(crate) async fn start_on(config: Config, clock: Clock, log_of: impl FnOnce(MemoryLog) -> Arc<dyn Log>) -> Ingest {
    let key = |project, env: Option<&str>, scope| {
        let secret = format::new_key(env).expose_secret().to_owned();
        let (project_name, env) = ("test".into(), env.map(str::to_owned));
        (secret, ApiKey { key: 1, project, project_name, env, scope, origins: Vec::new() })
    };
    let mut keys = [
        key(7, None, Scope::Ingest),
        key(7, Some("production"), Scope::Ingest),
        key(7, None, Scope::Read),
        key(8, None, Scope::Ingest),
        key(7, None, Scope::Ingest),
    ];
    keys[4].1.origins = ["https://shop.example", "https://*.shop.example"].map(|text| text.parse().unwrap()).into();
    let store = KeyStore::fixed(keys.iter().map(|(secret, key)| (secret.as_str(), key.clone())));
    let [(key, _), (bound_key, _), (read_key, _), (other_key, _), (browser_key, _)] = keys;
    let log = MemoryLog::open(&LogConfig { partitions: 4, ..LogConfig::default() }, Topic::Events);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let health = Health::new();
    let (shared, stop, reported) = (log_of(log.clone()), shutdown.clone(), health.clone());
    let done =
        tokio::spawn(async move { peep_ingest::run_at(config, listener, shared, store, &reported, stop, clock).await });
    Ingest { address, log, key, bound_key, read_key, other_key, browser_key, health, shutdown, done }
}

impl Ingest {
    /// Posts a body with the ingest key and any further header lines.
    pub(crate) async fn post(&self, headers: &[&str], body: impl AsRef<[u8]>) -> Answer {
        let auth = format!("Authorization: Bearer {}", self.key);
        let mut all = vec![auth.as_str()];
        all.extend(headers);
        self.request("POST", "/v1/events", &all, body).await
    }

    pub(crate) async fn request(&self, method: &str, path: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Answer {
        let body = body.as_ref();
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n", body.len()).into_bytes();
        for header in headers {
            request.extend_from_slice(header.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        self.raw(request).await
    }

    /// Sends bytes as they are and reads one answer.
    pub(crate) async fn raw(&self, request: Vec<u8>) -> Answer {
        let address = self.address;
        tokio::task::spawn_blocking(move || exchange(address, &request)).await.unwrap()
    }

    /// Every record of the log, over all partitions.
    pub(crate) async fn records(&self) -> Vec<LogRecord> {
        let mut all = Vec::new();
        for partition in 0..self.log.partitions() {
            let mut reader = self.log.reader(Partition(partition), Offset(0)).await.unwrap();
            all.extend(reader.next(64 << 20, Duration::ZERO).await.unwrap());
        }
        all
    }

    pub(crate) async fn events(&self) -> usize {
        let records = self.records().await;
        let of_record = |record: &LogRecord| {
            let opened = peep_wire::record::open(&record.payload).unwrap();
            opened.batches().map(|batch| batch.events().count()).sum::<usize>()
        };
        records.iter().map(of_record).sum()
    }
}

pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request);
    read_answer(&mut stream)
}

pub(crate) fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let body = &bytes[end + 4..];
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
                let json = serde_json::from_slice(body).unwrap_or_default();
                return Answer { status, head: head.to_ascii_lowercase(), body: body.to_vec(), json };
            }
        }
        match stream.read(&mut chunk) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&chunk[..read]),
            _ => return Answer { status: 0, head: String::new(), body: Vec::new(), json: serde_json::Value::Null },
        }
    }
}
