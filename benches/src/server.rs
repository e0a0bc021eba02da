//! Servers to measure: each a process of its own, a copy of this program, so that its CPU and memory are its own.

pub mod bare;

pub mod acknowledged;

pub mod frames;

pub mod peep;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use peep_log::Topic;

/// Which server a copy of this program is.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Kind {
    /// Reads the body, answers.
    Bare,
    /// Scans the body, hands one message to Kafka, answers when it is confirmed.
    Acknowledged,
    /// Writes one shared buffer to everybody once a second; how large, the environment says.
    Frames,
    /// Ingest, with the log that the environment names.
    Peep,
}

/// A running copy; ends when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// The ingest key; any word where there are none.
    pub key: String,
}

impl Server {
    /// # Errors
    /// When it does not come up.
    pub fn start(kind: Kind, environment: impl IntoIterator<Item = (&'static str, String)>) -> anyhow::Result<Server> {
        let name = kind.to_possible_value().context("every kind has a name")?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", name.get_name()])
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("read the server's address")?;
        let mut server = Server { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), key: String::new() };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let mut words = line.split_whitespace();
        server.address = words.next().context("the server announced no address")?.parse()?;
        server.key = words.next().unwrap_or("none").to_owned();
        Ok(server)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a copy does.
///
/// # Errors
/// When the server ends.
pub fn serve(kind: Kind) -> anyhow::Result<()> {
    std::thread::spawn(end_with_the_bench);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    match kind {
        Kind::Bare => {
            println!("{}", listener.local_addr()?);
            bare::serve(listener, WORKERS)
        }
        Kind::Acknowledged => {
            let log = crate::broker::log_from_environment()?;
            println!("{}", listener.local_addr()?);
            acknowledged::serve(listener, WORKERS, &log.kafka.brokers, &log.topic_name(Topic::Events))
        }
        Kind::Frames => {
            let bytes = std::env::var(FRAME_BYTES).context(FRAME_BYTES)?.parse()?;
            println!("{}", listener.local_addr()?);
            frames::serve(listener, bytes, Duration::from_secs(1))
        }
        Kind::Peep => peep::serve(listener, WORKERS),
    }
}

/// The bench holds the other end and never writes: it closes when the bench is gone, however that came.
fn end_with_the_bench() {
    let _ = std::io::stdin().read_line(&mut String::new());
    std::process::exit(0);
}

/// For [`Kind::Frames`].
pub const FRAME_BYTES: &str = "PEEP_BENCH_FRAME_BYTES";
/// As many as this kind of machine has cores; the load shares them.
const WORKERS: usize = 2;
