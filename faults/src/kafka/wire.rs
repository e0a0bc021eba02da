//! Two requests of the Kafka protocol that librdkafka has no call for: another order of replicas, and an election.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// `AlterPartitionReassignments`, version 0.
pub(super) async fn reassign(broker: &str, topic: &str, partition: i32, replicas: &[i32]) -> anyhow::Result<()> {
    let mut request = Request::new(45, 0);
    // A flexible version: its header ends with tags, its arrays and texts begin with their length plus one.
    request.byte(0);
    request.i32(TIMEOUT_MS);
    request.byte(2);
    request.byte(topic.len() as u8 + 1);
    request.bytes(topic.as_bytes());
    request.byte(2);
    request.i32(partition);
    request.byte(replicas.len() as u8 + 1);
    for replica in replicas {
        request.i32(*replica);
    }
    // No tags: of the partition, the topic, the request.
    request.bytes(&[0, 0, 0]);
    let answer = request.send(broker).await?;
    // Tags, throttle time, then the error.
    error_at(&answer, 1 + 4)
}

/// `ElectLeaders`, version 1: the preferred one of a partition.
pub(super) async fn elect_preferred(broker: &str, topic: &str, partition: i32) -> anyhow::Result<()> {
    let mut request = Request::new(43, 1);
    request.byte(0);
    request.i32(1);
    request.text(topic);
    request.i32(1);
    request.i32(partition);
    request.i32(TIMEOUT_MS);
    let answer = request.send(broker).await?;
    error_at(&answer, 4)
}

struct Request(Vec<u8>);

impl Request {
    fn new(key: i16, version: i16) -> Self {
        // Room for the length.
        let mut request = Self(vec![0; 4]);
        request.bytes(&key.to_be_bytes());
        request.bytes(&version.to_be_bytes());
        request.i32(1);
        request.text("peep-faults");
        request
    }

    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn i32(&mut self, number: i32) {
        self.bytes(&number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.bytes(&(text.len() as i16).to_be_bytes());
        self.bytes(text.as_bytes());
    }

    /// What comes back, behind the number of the request.
    async fn send(mut self, broker: &str) -> anyhow::Result<Vec<u8>> {
        let length = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        let exchange = async {
            let mut stream = TcpStream::connect(broker).await?;
            stream.write_all(&self.0).await?;
            let length = stream.read_u32().await?;
            anyhow::ensure!((4..1 << 20).contains(&length), "an answer of {length} bytes");
            let mut answer = vec![0; length as usize];
            stream.read_exact(&mut answer).await?;
            answer.drain(..4);
            anyhow::Ok(answer)
        };
        timeout(Duration::from_secs(10), exchange).await.with_context(|| format!("{broker} does not answer"))?
    }
}

fn error_at(answer: &[u8], at: usize) -> anyhow::Result<()> {
    match answer.get(at..at + 2) {
        Some([0, 0]) => Ok(()),
        Some(code) => bail!("Kafka answers error {}", i16::from_be_bytes([code[0], code[1]])),
        None => bail!("Kafka's answer is too short"),
    }
}

const TIMEOUT_MS: i32 = 8_000;
