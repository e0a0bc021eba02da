//! An ingest that answers as a test tells it to, and remembers what it was sent.
#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use peep_sdk::{Client, Config};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) producer: String,
    pub(crate) seq: u64,
    pub(crate) is_gzip: bool,
    pub(crate) body: Vec<u8>,
    pub(crate) events: Vec<Value>,
}

#[derive(Clone)]
pub(crate) struct Ingest {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// What becomes of a request; the number counts from 1.
pub(crate) enum Answer {
    Accept,
    /// Status, headers, body.
    Say(u16, &'static str, String),
    HangUp,
    /// For so long.
    Silence(Duration),
}

impl Ingest {
    pub(crate) fn start(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let ingest =
            Self { url: format!("http://{}", listener.local_addr().expect("an address")), requests: Arc::default() };
        let (serving, answer) = (ingest.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (serving, answer) = (serving.clone(), Arc::clone(&answer));
                std::thread::spawn(move || while serving.serve(&stream, &*answer).unwrap_or(false) {});
            }
        });
        ingest
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("requests").clone()
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.requests().into_iter().flat_map(|request| request.events).collect()
    }

    /// False: the connection is over.
    fn serve(&self, stream: &TcpStream, answer: &dyn Fn(usize) -> Answer) -> std::io::Result<bool> {
        let mut reader = BufReader::new(stream);
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(false);
            }
            if line.trim().is_empty() {
                break;
            }
            headers.push(line.trim().to_ascii_lowercase());
        }
        let header = |name: &str| {
            let found = headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            found.unwrap_or_default().to_owned()
        };
        let mut body = vec![0; header("content-length").parse().expect("a length")];
        reader.read_exact(&mut body)?;
        let is_gzip = header("content-encoding") == "gzip";
        let mut text = String::new();
        if is_gzip {
            flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text)?;
        } else {
            text = String::from_utf8(body.clone()).expect("UTF-8");
        }
        let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        let count = events.len();
        let (producer, seq) = (header("peep-producer"), header("peep-seq").parse().expect("a number"));
        let number = {
            let mut requests = self.requests.lock().expect("requests");
            requests.push(Request { producer, seq, is_gzip, body, events });
            requests.len()
        };
        let (status, headers, body) = match answer(number) {
            Answer::Accept => (202, "", format!(r#"{{"accepted":{count},"rejected":[]}}"#)),
            Answer::Say(status, headers, body) => (status, headers, body),
            Answer::HangUp => return Ok(false),
            Answer::Silence(pause) => {
                std::thread::sleep(pause);
                return Ok(false);
            }
        };
        let length = body.len();
        let mut stream = stream;
        write!(stream, "HTTP/1.1 {status} Scripted\r\ncontent-length: {length}\r\n{headers}\r\n{body}")?;
        Ok(true)
    }
}

/// In a hurry, and silent.
pub(crate) fn quick(url: &str) -> Config {
    let mut config = Config::from_lookup(|_| None);
    config.url = url.to_owned();
    config.key = "peep_any_x".to_owned();
    config.service = "shop".to_owned();
    config.flush_interval = Duration::from_millis(10);
    config.backoff_first = Duration::from_millis(5);
    config.backoff_max = Duration::from_millis(20);
    config.log = Arc::new(|_| {});
    config
}

/// Waits until `condition` holds; the limit is for a broken program on a busy machine.
pub(crate) fn until(client: &Client, condition: impl Fn(&peep_sdk::Stats) -> bool) -> peep_sdk::Stats {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let stats = client.stats();
        let balance = stats.accepted + stats.rejected + stats.dropped() + stats.held;
        assert_eq!(stats.recorded, balance, "the books balance at every moment: {stats:?}");
        if condition(&stats) {
            return stats;
        }
        assert!(Instant::now() < end, "not within two minutes: {stats:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
