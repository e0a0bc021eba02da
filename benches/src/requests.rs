//! Requests as the load sends them: whole ones, whose events are never older than a second.

use uuid::Uuid;

/// A body with its head, and where the time stamps are in it.
pub struct Request {
    bytes: Vec<u8>,
    stamps: Vec<usize>,
    stamped_ms: i64,
}

impl Request {
    /// Without an identity: what it sends may be sent again and again.
    pub fn new(key: &str, body: &[u8]) -> Request {
        let mut bytes = head(key, "", body.len()).into_bytes();
        bytes.extend_from_slice(body);
        Request { stamps: stamps(&bytes), bytes, stamped_ms: 0 }
    }

    /// The whole request, with the time put in again when the last one is a second old. Real events happen at different
    /// times, and a rollup that saw a single moment would have a single window to write.
    pub fn at(&mut self, now_ms: i64) -> &[u8] {
        if now_ms - self.stamped_ms >= 1000 {
            stamp(&mut self.bytes, &self.stamps, now_ms);
            self.stamped_ms = now_ms;
        }
        &self.bytes
    }

    /// What [`Request::at`] gave last.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A client process: everything it sends has its name and a number.
pub struct Producer {
    head: String,
    seq: u64,
}

impl Producer {
    pub fn new(key: &str) -> Producer {
        Producer { head: format!("Authorization: Bearer {key}\r\nPeep-Producer: {}\r\n", Uuid::new_v4()), seq: 0 }
    }

    /// The next request with this body, into `request`.
    pub fn write(&mut self, body: &[u8], request: &mut Vec<u8>) {
        use std::io::Write;
        request.clear();
        let seq = self.seq;
        self.seq += 1;
        // Into memory: cannot fail.
        let _ = write!(
            request,
            "POST /v1/events HTTP/1.1\r\nHost: bench\r\n{}Peep-Seq: {seq}\r\nContent-Type: application/x-ndjson\r\n\
             Content-Length: {}\r\n\r\n",
            self.head,
            body.len()
        );
        request.extend_from_slice(body);
    }
}

/// A body whose time can be put in again.
pub struct Body {
    bytes: Vec<u8>,
    stamps: Vec<usize>,
}

impl Body {
    pub fn new(bytes: Vec<u8>) -> Body {
        Body { stamps: stamps(&bytes), bytes }
    }

    pub fn at(&mut self, now_ms: i64) -> &[u8] {
        stamp(&mut self.bytes, &self.stamps, now_ms);
        &self.bytes
    }
}

fn head(key: &str, headers: &str, length: usize) -> String {
    format!(
        "POST /v1/events HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n{headers}\
         Content-Type: application/x-ndjson\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Where the digits of the times begin.
fn stamps(bytes: &[u8]) -> Vec<usize> {
    memchr::memmem::find_iter(bytes, STAMP).map(|at| at + STAMP.len()).collect()
}

/// Writes `now_ms` over every stamp: today's times all have as many digits.
fn stamp(bytes: &mut [u8], stamps: &[usize], now_ms: i64) {
    let digits = format!("{now_ms:0DIGITS$}");
    for at in stamps {
        bytes[*at..at + DIGITS].copy_from_slice(digits.as_bytes());
    }
}

const STAMP: &[u8] = b"\"ts\":";
const DIGITS: usize = 13;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn every_event_gets_the_new_time_and_nothing_else_changes() {
        let lines = corpus::ndjson_lines(10, 1, 1_700_000_000_000);
        let mut body = Body::new(lines.concat().into_bytes());
        let text = std::str::from_utf8(body.at(1_800_000_000_123)).unwrap().to_owned();
        assert_eq!(text.matches("\"ts\":1800000000123,").count(), 10);
        assert_eq!(text.len(), lines.concat().len());
    }

    #[test]
    fn a_producer_counts_its_requests_from_zero() {
        let (mut producer, mut request) = (Producer::new("key"), Vec::new());
        for seq in 0..3 {
            producer.write(b"body", &mut request);
            let text = std::str::from_utf8(&request).unwrap();
            assert!(
                text.contains(&format!("\r\nPeep-Seq: {seq}\r\n")) && text.ends_with("Content-Length: 4\r\n\r\nbody")
            );
        }
    }
}
