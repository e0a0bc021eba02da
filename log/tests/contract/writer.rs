//! A writer in a process of its own, to be killed in mid-stream.
//!
//! The process is this test binary again, running only [`writer_process`], which writes down every acknowledgement it got.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use peep_chassis::config::{ProcessEnv, Settings};
use peep_log::{LogConfig, Partition, Topic};
use sqlx::postgres::PgPoolOptions;

use crate::world::World;

/// What was acknowledged, by partition: offset and payload.
pub(crate) type Acknowledged = BTreeMap<Partition, Vec<(u64, String)>>;

/// Starts the writer, kills it after `count` acknowledgements and returns all it got out.
pub(crate) async fn run_and_kill(world: &World, count: usize) -> Acknowledged {
    let mut command = Command::new(env::current_exe().expect("this binary"));
    command
        .args(["--exact", "writer::writer_process", "--nocapture"])
        .env(ROLE, count.to_string())
        .envs(world.environment())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("start the writer");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut acknowledged = Acknowledged::new();
        let mut seen = 0;
        // Whole lines only: what was written before the kill is still read after it.
        for line in lines.map_while(Result::ok) {
            if let Some((partition, offset, payload)) = parse(&line) {
                let records = acknowledged.entry(partition).or_default();
                records.push((offset, payload));
                seen += 1;
                if seen == count {
                    child.kill().expect("kill the writer");
                }
            }
        }
        child.wait().expect("wait for the writer");
        assert!(seen >= count, "the writer ended after {seen} records");
        acknowledged
    })
    .await
    .expect("writer task")
}

/// Not a test: the body of the other process, and nothing at all in this one.
#[tokio::test]
async fn writer_process() {
    let Ok(role) = env::var(ROLE) else { return };
    let mut settings = Settings::new(&ProcessEnv);
    let config = LogConfig::read(&mut settings);
    settings.finish().expect("settings");
    let pool = PgPoolOptions::new().connect_lazy(&env::var("DATABASE_URL").expect("DATABASE_URL")).expect("a URL");
    let log = peep_log::open(&config, Topic::Events, &pool).await.expect("open the log");
    let mut waiting = FuturesUnordered::new();
    let mut out = std::io::stdout();
    for n in 0_u64.. {
        let partition = Partition(n as u32 % log.partitions());
        let payload = format!("writer-{role}-record-{n}");
        let append = log.append(partition, payload.clone().into());
        waiting.push(async move { (partition, append.await, payload) });
        // Always some in flight, so that the kill hits appends in every state.
        if waiting.len() == 64
            && let Some((partition, result, payload)) = waiting.next().await
        {
            let offset = result.expect("append").0;
            // One write per line: a line is never half out.
            let line = format!("acknowledged {partition} {offset} {payload}\n");
            out.write_all(line.as_bytes()).expect("report");
            out.flush().expect("report");
        }
    }
}

fn parse(line: &str) -> Option<(Partition, u64, String)> {
    let mut words = line.strip_prefix("acknowledged ")?.split(' ');
    Some((Partition(words.next()?.parse().ok()?), words.next()?.parse().ok()?, words.next()?.to_owned()))
}

const ROLE: &str = "PEEP_TEST_LOG_WRITER";
