//! A tiny HTTP/1.1 server for tests: remembers what it was sent and answers as the test says.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) headers: HashMap<String, String>,
    /// As sent, still compressed.
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn seq(&self) -> u64 {
        self.headers["peep-seq"].parse().unwrap()
    }

    pub(crate) fn events(&self) -> Vec<serde_json::Value> {
        let mut text = Vec::new();
        match self.headers.get("content-encoding").map(String::as_str) {
            Some("gzip") => {
                flate2::read::GzDecoder::new(self.body.as_slice()).read_to_end(&mut text).map(drop).unwrap()
            }
            Some("zstd") => text = zstd::stream::decode_all(self.body.as_slice()).unwrap(),
            _ => text.clone_from(&self.body),
        }
        text.split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

/// Status, header lines, body. Status 0 hangs up without an answer.
pub(crate) type Reply = (u16, &'static str, String);

pub(crate) struct FakeIngest {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl FakeIngest {
    /// `answer` gets the request and how many came before it.
    pub(crate) fn start(answer: impl Fn(&Received, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let log = Arc::clone(&received);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                std::thread::spawn(move || serve(stream, &*answer, &log));
            }
        });
        Self { url, received }
    }

    /// One that takes everything.
    pub(crate) fn accepting() -> Self {
        Self::start(|request, _| accepted(request))
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Of each batch once, by its number.
    pub(crate) fn events(&self) -> Vec<serde_json::Value> {
        let (mut received, mut seen) = (self.received(), HashSet::new());
        received.retain(|request| seen.insert((request.headers["peep-producer"].clone(), request.seq())));
        received.sort_by_key(Received::seq);
        received.iter().flat_map(Received::events).collect()
    }
}

pub(crate) fn accepted(request: &Received) -> Reply {
    let body = serde_json::json!({"accepted": request.events().len(), "rejected": [], "receipt": "r"});
    (202, "", body.to_string())
}

fn serve(stream: TcpStream, answer: &dyn Fn(&Received, usize) -> Reply, log: &Mutex<Vec<Received>>) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        assert_eq!(line.trim_end(), "POST /v1/events HTTP/1.1");
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let mut body = vec![0; headers["content-length"].parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        let request = Received { headers, body };
        let before = {
            let mut log = log.lock().ok()?;
            log.push(request.clone());
            log.len() - 1
        };
        let (status, headers, body) = answer(&request, before);
        if status == 0 {
            return None;
        }
        let reply = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len());
        writer.write_all(reply.as_bytes()).ok()?;
    }
}
