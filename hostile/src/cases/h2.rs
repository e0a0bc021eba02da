//! HTTP/2 used against the server, frame by frame, on the plain port.

use std::time::{Duration, Instant};

use anyhow::Context;
use peep_testkit::h2::{self, End, attack};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::cases::{Case, case};
use crate::scene::Scene;

pub(super) fn cases() -> Vec<Case> {
    let long = |case: Case| Case { long: true, ..case };
    vec![
        case("H09a", "requests cancelled at once (rapid reset)", CLOSED, |scene| {
            Box::pin(flood(scene, vec![("rapid reset", |key| attack::rapid_reset(key))]))
        }),
        case("H09b", "errors that make the server cancel (MadeYouReset)", CLOSED, |scene| {
            Box::pin(made_you_reset(scene))
        }),
        case("H09c", "heads without an end (CONTINUATION)", CLOSED, |scene| {
            Box::pin(flood(
                scene,
                vec![("large", |key| attack::continuation(key, 100)), ("empty", |key| attack::continuation(key, 0))],
            ))
        }),
        case("H09d", "bodies of empty frames and of padding", CLOSED, |scene| {
            Box::pin(flood(
                scene,
                vec![("empty", |key| attack::data(key, 0, 0)), ("padding", |key| attack::data(key, 0, 255))],
            ))
        }),
        case("H09e", "SETTINGS, PING, PRIORITY, WINDOW_UPDATE, unknown frames", CLOSED, |scene| {
            Box::pin(flood(
                scene,
                vec![
                    ("settings", |_| attack::frames(h2::SETTINGS, 0, &[])),
                    ("ping", |_| attack::frames(h2::PING, 0, &[0; 8])),
                    ("priority", |_| attack::frames(h2::PRIORITY, 1, &[0, 0, 0, 3, 9])),
                    ("window", |_| attack::frames(h2::WINDOW_UPDATE, 0, &[0, 0, 0, 1])),
                    ("unknown", |_| attack::frames(0xbe, 0, &[])),
                ],
            ))
        }),
        case("H09f", "HPACK: 16 kB that become 64 MB", CLOSED, |scene| {
            Box::pin(flood(scene, vec![("bomb", |_| attack::hpack_bomb())]))
        }),
        case("H09g", "answers that nobody takes: windows of 0, sockets that are not read", CUT, |scene| {
            Box::pin(zero_windows(scene))
        }),
        case("H09h", "1 000 connections that ask nothing", CUT, |scene| Box::pin(silence(scene))),
        long(case("H09i", "h2spec, the conformance suite", "0 failures but the known ones", |scene| {
            Box::pin(h2spec(scene))
        })),
    ]
}

const CLOSED: &str = "connection closed, < 32 MiB, others' p99 < 2x";
const CUT: &str = "cut by their deadline, < 32 MiB, others' p99 < 2x";

type Flood = fn(&str) -> attack::Pieces;

/// Each flood by several attackers at once, who come back as soon as they are closed.
async fn flood(scene: &mut Scene, floods: Vec<(&'static str, Flood)>) -> anyhow::Result<()> {
    for (name, pieces) in floods {
        let (address, key) = (scene.address.clone(), scene.key.clone());
        let attack = attackers(move || {
            let (address, pieces) = (address.clone(), pieces(&key));
            converse(address, Vec::new(), pieces)
        });
        judge(scene, name, attack).await?;
    }
    Ok(())
}

async fn made_you_reset(scene: &mut Scene) -> anyhow::Result<()> {
    for (name, error) in attack::stream_errors() {
        let (address, key) = (scene.address.clone(), scene.key.clone());
        let attack = attackers(move || {
            let (address, pieces) = (address.clone(), attack::made_you_reset(&key, error));
            converse(address, Vec::new(), pieces)
        });
        judge(scene, name, attack).await?;
    }
    Ok(())
}

async fn zero_windows(scene: &mut Scene) -> anyhow::Result<()> {
    let settings = [
        ("PEEP_INGEST_WRITE_TIMEOUT", "1s"),
        ("PEEP_INGEST_BODY_TIMEOUT", "1s"),
        ("PEEP_INGEST_HEADER_TIMEOUT", "1s"),
        ("PEEP_INGEST_APPEND_TIMEOUT", "1s"),
    ];
    scene.restart_with(&settings).await?;
    // Refused for their keys: what an answer may hold for somebody with a key is a matter of budgets.
    let requests = |count: usize| -> attack::Pieces {
        let head = h2::head("nobody");
        Box::new((0..count).map(move |number| {
            let stream = h2::stream(number);
            let head = h2::frame(h2::HEADERS, h2::END_HEADERS, stream, &head);
            [head, h2::frame(h2::DATA, h2::END_STREAM, stream, b"{}")].concat()
        }))
    };
    for window in [0, 1] {
        let address = scene.address.clone();
        let attack = attackers(move || {
            let (address, pieces) = (address.clone(), requests(100));
            converse(address, vec![(4, window)], pieces)
        });
        judge(scene, &format!("window {window}"), attack).await?;
    }
    let address = scene.address.clone();
    let attack = attackers(move || {
        let hello = [h2::PREFACE, &h2::frame(h2::SETTINGS, 0, 0, &[])].concat();
        let (address, pieces) = (address.clone(), requests(100_000));
        async move {
            let mut stream = TcpStream::connect(address).await?;
            Ok(h2::shout(&mut stream, std::iter::once(hello).chain(pieces), PATIENCE).await)
        }
    });
    judge(scene, "not read", attack).await
}

async fn silence(scene: &mut Scene) -> anyhow::Result<()> {
    scene.restart_with(&[("PEEP_INGEST_HEADER_TIMEOUT", "2s")]).await?;
    let address = scene.address.clone();
    let attack = async move {
        let mut silent = JoinSet::new();
        for number in 0..1_000 {
            let address = address.clone();
            let half_a_head = h2::frame(h2::HEADERS, 0, 1, &h2::head("k"));
            let piece = if number % 2 == 0 { Vec::new() } else { half_a_head };
            silent.spawn(converse(address, Vec::new(), std::iter::once(piece)));
        }
        silent.join_all().await
    };
    judge(scene, "silent", attack).await
}

/// An attack beside an honest client, which is measured alone before and afterwards: what the machine itself adds counts.
async fn judge(
    scene: &mut Scene,
    name: &str,
    attack: impl Future<Output = Vec<std::io::Result<End>>> + Send + 'static,
) -> anyhow::Result<()> {
    let ((), alone) = scene.beside_honest(sleep(ALONE)).await?;
    let (ends, cost) = scene.beside_honest(elsewhere(attack)).await?;
    let ends = ends?;
    let ends: Vec<End> = ends.into_iter().filter_map(Result::ok).collect();
    let open = ends.iter().filter(|end| !end.closed).count();
    let longest = ends.iter().map(|end| end.took).max().unwrap_or_default();
    scene.note(format!("{name}: {} connections, the longest {} ms", ends.len(), longest.as_millis()));
    scene
        .expect(!ends.is_empty() && open == 0, format!("{name}: {open} of {} connections were not closed", ends.len()));
    scene.judge_cost(&cost, EXTRA_BYTES_MAX);
    let ((), again) = scene.beside_honest(sleep(ALONE)).await?;
    let (alone, beside) = (alone.honest.p99().max(again.honest.p99()), cost.honest.p99());
    let most = (alone * 2).max(NOISE);
    scene.expect(beside < most, format!("{name}: the honest client's p99 rose from {alone:?} to {beside:?}"));
    Ok(())
}

/// On a thread of its own: what the honest client notices should come from the server.
async fn elsewhere<T: Send + 'static>(attack: impl Future<Output = T> + Send + 'static) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(tokio::task::spawn_blocking(move || runtime.block_on(attack)).await?)
}

/// Several at once, again and again for a while.
async fn attackers<F>(mut attack: impl FnMut() -> F + Send + 'static) -> Vec<std::io::Result<End>>
where
    F: Future<Output = std::io::Result<End>> + Send + 'static,
{
    let (started, mut running, mut ends) = (Instant::now(), JoinSet::new(), Vec::new());
    for _ in 0..ATTACKERS {
        running.spawn(attack());
    }
    while let Some(end) = running.join_next().await {
        ends.extend(end.ok());
        if started.elapsed() < SPAN {
            // An attacker has a way to go as well; without it this measures how fast connections can be made.
            sleep(COME_BACK).await;
            running.spawn(attack());
        }
    }
    ends
}

async fn converse(
    address: String,
    settings: Vec<(u16, u32)>,
    pieces: impl Iterator<Item = Vec<u8>> + Send,
) -> std::io::Result<End> {
    Ok(h2::converse(TcpStream::connect(address).await?, &settings, pieces, PATIENCE).await)
}

/// On the plain port and under TLS; the program is `h2spec` of the search path or of the variable `H2SPEC`.
async fn h2spec(scene: &mut Scene) -> anyhow::Result<()> {
    let folder = super::tls::issue()?;
    let paths = super::tls::settings(&folder);
    let settings: Vec<(&str, &str)> = paths.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (mut server, secure) = super::tls::server(scene, &settings).await?;
    for (address, tls) in [(scene.address.clone(), false), (secure, true)] {
        let name = if tls { "TLS" } else { "plain" };
        let (summary, failures) = run_h2spec(&address, tls, None).await?;
        scene.note(format!("{name}: {summary}"));
        let mut late = 0;
        for failure in failures.iter().filter(|failure| !failure.is_known(tls)) {
            // Refused for its head, a request may be answered before the test comes to the error in it: see docs/tls.md. A
            // check that is not there is never seen.
            let mut is_seen = false;
            for _ in 0..H2SPEC_AGAIN_MAX {
                // It says so also of a test that there is not: 0 tests, 0 failed.
                if run_h2spec(&address, tls, Some(&failure.id)).await?.0.starts_with("1 tests, 1 passed") {
                    is_seen = true;
                    break;
                }
            }
            late += usize::from(is_seen);
            scene.expect(is_seen, format!("{name}: {} {}", failure.id, failure.text));
        }
        scene.note(format!("{name}: {late} of them seen when asked again"));
    }
    server.terminate(Duration::from_secs(30)).await;
    Ok(())
}

/// A test of the suite that failed.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    /// As the program takes it: `http2/8.1.2.6/2`.
    id: String,
    text: String,
}

impl Failure {
    /// The plain port speaks HTTP/1.1 as well, and answers in it what is not HTTP/2 (summerwind/h2spec#122).
    fn is_known(&self, tls: bool) -> bool {
        !tls && self.text.contains("Sends invalid connection preface")
    }
}

/// Its summary and the tests that failed; of one test, or all.
async fn run_h2spec(address: &str, tls: bool, only: Option<&str>) -> anyhow::Result<(String, Vec<Failure>)> {
    let program = std::env::var("H2SPEC").unwrap_or_else(|_| "h2spec".to_owned());
    let (host, port) = address.rsplit_once(':').context("host and port")?;
    let mut command = Command::new(program);
    command.args(["--strict", "--timeout", "5", "-P", "/v1/events", "-h", host, "-p", port]);
    if tls {
        command.args(["--tls", "--insecure"]);
    }
    command.args(only);
    let output = timeout(H2SPEC_LIMIT, command.output()).await.context("h2spec takes too long")?;
    let said = String::from_utf8_lossy(&output.context("run h2spec; scripts/h2spec.sh gets it")?.stdout).into_owned();
    let summary = said.lines().rev().find(|line| line.contains(" tests, ")).context("h2spec says no result")?;
    Ok((summary.trim().to_owned(), failures(&said)))
}

/// Each failure is told twice, where it happens and at the end, below the titles of its parts.
fn failures(said: &str) -> Vec<Failure> {
    let (mut part, mut section) = ("http2", "");
    let mut found = Vec::new();
    for line in said.split("Failures:").nth(1).unwrap_or_default().lines().map(str::trim) {
        let first = line.split(' ').next().unwrap_or_default();
        if let Some((number, text)) = line.strip_prefix("× ").and_then(|rest| rest.split_once(": ")) {
            found.push(Failure { id: format!("{part}/{section}/{number}"), text: text.to_owned() });
        } else if line.starts_with("Generic") {
            part = "generic";
        } else if line.starts_with("Hypertext") {
            part = "http2";
        } else if line.starts_with("HPACK") {
            part = "hpack";
        } else if first.ends_with('.') && first.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit()) {
            section = first.trim_end_matches('.');
        }
    }
    found
}

/// A second or less each.
const H2SPEC_AGAIN_MAX: usize = 30;
const EXTRA_BYTES_MAX: u64 = 32 << 20;
const ATTACKERS: usize = 8;
const COME_BACK: Duration = Duration::from_millis(10);
const ALONE: Duration = Duration::from_secs(2);
const SPAN: Duration = Duration::from_secs(3);
/// Longer than every deadline in play.
const PATIENCE: Duration = Duration::from_secs(20);
const H2SPEC_LIMIT: Duration = Duration::from_secs(200);
/// A p99 below this is none that anybody notices, and twice a very small one is the machine.
const NOISE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_test_is_known_by_the_name_that_runs_it_alone() {
        let said = "1 tests\nFailures: \n\nHypertext Transfer Protocol Version 2 (HTTP/2)\n  8. HTTP Message Exchanges\n    \
            8.1. HTTP Request/Response Exchange\n      8.1.2. HTTP Header Fields\n        8.1.2.6. Malformed Requests\n          \
            × 2: Sends a HEADERS frame\n            -> The endpoint MUST\n\nHPACK: Header Compression for HTTP/2\n  \
            2. Compression\n    × 1: Sends";
        let ids: Vec<String> = failures(said).into_iter().map(|failure| failure.id).collect();
        assert_eq!(ids, ["http2/8.1.2.6/2", "hpack/2/1"]);
    }
}
