//! Clients that take their time: 4 000 connections of slowhttptest, and what they are cut after.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::cases::{Case, case};
use crate::scene::Scene;

pub(super) fn cases() -> Vec<Case> {
    let long = |case: Case| Case { long: true, ..case };
    vec![
        long(case("H01a", "4 000 connections with slow heads (slowhttptest -H)", UNNOTICED, |scene| {
            Box::pin(flood(scene, &["-H", "-i", "2"]))
        })),
        long(case("H01b", "4 000 connections with slow bodies (slowhttptest -B)", UNNOTICED, |scene| {
            Box::pin(flood(scene, &["-B", "-f", "application/json", "-i", "2", "-s", "8192", "-x", "10"]))
        })),
        long(case("H01c", "4 000 connections with many ranges (slowhttptest -R)", UNNOTICED, |scene| {
            Box::pin(flood(scene, &["-R", "-a", "5", "-b", "3000"]))
        })),
        long(case("H01d", "4 000 connections that read slowly (slowhttptest -X)", UNNOTICED, |scene| {
            Box::pin(flood(scene, &["-X", "-w", "1", "-y", "1", "-n", "5", "-z", "32", "-k", "3"]))
        })),
        case(
            "H01e",
            "a head a byte a second, a body of 100 bytes a second",
            "head cut within 5 s, body within 10 s",
            |scene| Box::pin(dripping(scene)),
        ),
        case("H01f", "50 clients that send requests and take no answers", "cut within 25 s, memory bounded", |scene| {
            Box::pin(never_reading(scene))
        }),
    ]
}

const UNNOTICED: &str = "honest client 100 %, < 256 MiB resident";

async fn flood(scene: &mut Scene, arguments: &[&str]) -> anyhow::Result<()> {
    let url = format!("http://{}/v1/events", scene.address);
    // It has no option for the key, without which nobody waits for a body.
    let cookie = format!("a=b\r\nAuthorization: Bearer {}", scene.key);
    let dir = tempfile::TempDir::with_prefix("peep-hostile-")?;
    // It may open as many files as it wants to, and so may ingest: both inherit from whoever raised the limit.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 20000 2>/dev/null; exec slowhttptest \"$@\"", "sh"]);
    command.args(arguments).args(["-j", &cookie, "-c", "4000", "-r", "1000", "-l", "25", "-p", "3", "-u", &url]);
    command.current_dir(dir.path()).stdin(Stdio::null()).kill_on_drop(true);
    let (output, cost) = scene.beside_honest(command.output()).await?;
    let output = output.context("run slowhttptest")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(output.status.success(), "slowhttptest: {said}{}", String::from_utf8_lossy(&output.stderr));
    // Its own figures, of its last look: connected and closed.
    let figure =
        |name: &str| said.lines().rev().find_map(|line| plain(line).strip_prefix(name)?.trim().parse::<u64>().ok());
    let (connected, closed) = (figure("connected:").unwrap_or(0), figure("closed:").unwrap_or(0));
    scene.note(format!("at the end {connected} connected, {closed} closed"));
    scene.expect(
        closed + connected > 2_000,
        format!("slowhttptest came to {connected} connected and {closed} closed only"),
    );
    let peak = cost.resident_peak;
    scene.judge_cost(&cost, RESIDENT_MAX.saturating_sub(cost.resident_before));
    scene.expect(peak <= RESIDENT_MAX, "more than the budget of the process");
    Ok(())
}

/// Without colours.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, escape)) = rest.split_once('\u{1b}') {
        text.push_str(before);
        rest = escape.split_once('m').map_or("", |(_, after)| after);
    }
    (text + rest).trim().to_owned()
}

async fn dripping(scene: &mut Scene) -> anyhow::Result<()> {
    let address = scene.address.clone();
    let head = drip(&address, b"POST /v1/events HTTP/1.1\r\nHost: t\r\nX: ", Duration::from_secs(1));
    let body = scene.post("Content-Length: 100000\r\n", "");
    let body = drip(&address, &body, Duration::from_millis(10));
    let chunks = scene.post("Transfer-Encoding: chunked\r\n", "5000\r\n");
    let chunks = drip(&address, &chunks, Duration::from_millis(10));
    let ((head, body, chunks), cost) = scene.beside_honest(async { tokio::join!(head, body, chunks) }).await?;
    for (name, took, max) in [("head", head?, 5.9), ("body", body?, 10.9), ("chunks", chunks?, 10.9)] {
        let took = took.as_secs_f64();
        scene.note(format!("{name} cut after {took:.1} s"));
        scene.expect(took <= max, format!("the {name} was cut after {took:.1} s"));
    }
    scene.note(cost.honest.summary());
    Ok(())
}

/// Sends the beginning and then one byte after the other until the server closes.
async fn drip(address: &str, beginning: &[u8], pause: Duration) -> anyhow::Result<Duration> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(beginning).await?;
    let started = Instant::now();
    let mut answer = [0; 4096];
    loop {
        tokio::select! {
            read = stream.read(&mut answer) => match read {
                Ok(0) | Err(_) => return Ok(started.elapsed()),
                Ok(_) => {}
            },
            () = tokio::time::sleep(pause) => {
                if stream.write_all(b"y").await.is_err() {
                    return Ok(started.elapsed());
                }
            }
        }
        anyhow::ensure!(started.elapsed() < Duration::from_secs(60), "not cut within a minute");
    }
}

async fn never_reading(scene: &mut Scene) -> anyhow::Result<()> {
    let address = scene.address.clone();
    let requests = b"GET /v1/nothing HTTP/1.1\r\nHost: t\r\n\r\n".repeat(10_000);
    let attack = async {
        let clients = (0..50).map(|_| async {
            let mut stream = TcpStream::connect(&address).await?;
            let started = Instant::now();
            // Goes on until nobody reads any more, and then until the connection is cut.
            let send = async { while stream.write_all(&requests).await.is_ok() {} };
            let is_cut = tokio::time::timeout(Duration::from_secs(40), send).await.is_ok();
            anyhow::Ok((started.elapsed(), is_cut))
        });
        futures_util::future::join_all(clients).await
    };
    let (clients, cost) = scene.beside_honest(attack).await?;
    let clients = clients.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let cut = clients.iter().filter(|(_, cut)| *cut).count();
    let slowest = clients.iter().map(|(took, _)| took.as_secs_f64()).fold(0.0, f64::max);
    scene.note(format!("{cut} of 50 cut, the last after {slowest:.1} s"));
    scene.expect(cut == 50 && slowest <= 25.0, format!("{cut} of 50 cut, the last after {slowest:.1} s"));
    scene.judge_cost(&cost, 64 << 20);
    Ok(())
}

/// The budget of ingest at ten thousand connections.
const RESIDENT_MAX: u64 = 256 << 20;
