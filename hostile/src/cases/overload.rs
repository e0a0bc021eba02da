//! Four times what can be sustained, with an honest client of another project beside it.

use std::time::Duration;

use anyhow::Context;
use peep_testkit::flood::{Flood, LOST, Outcome, UNSENT};
use peep_testkit::{Peep, Proxy};
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::cases::{Case, case};
use crate::meter::mebibytes;
use crate::scene::{Cost, Scene};

pub(super) fn cases() -> Vec<Case> {
    let long = |case: Case| Case { long: true, ..case };
    vec![
        long(case(
            "H20a",
            "four times what a slow log takes, of one project",
            "goodput >= 90 % of the peak, 429 or 503 with Retry-After, all 202 again within 5 s",
            |scene| Box::pin(slow_log(scene)),
        )),
        long(case(
            "H20b",
            "four times what one processor core takes, on 1024 connections",
            "goodput >= 90 % of the peak for the same processor time, over nine turns, all 202 again within 5 s",
            |scene| Box::pin(one_core(scene)),
        )),
    ]
}

/// The log is behind a line of so many bytes per second.
async fn slow_log(scene: &mut Scene) -> anyhow::Result<()> {
    let direct = scene.database.url().to_owned();
    let server = direct.split_once("://").and_then(|(_, rest)| rest.split('/').next()?.rsplit('@').next());
    let server = server.context("the database has an address")?.to_owned();
    let proxy = Proxy::start(server.clone(), 1).await;
    let slow = direct.replacen(&server, proxy.address(), 1);
    scene.restart_with(&[&[("DATABASE_URL", slow.as_str())][..], &BOUNDS].concat()).await?;
    proxy.throttle(LOG_BYTES_PER_SECOND);
    overload(scene, 256, 100, "", Peak::PerSecond).await?;
    // Without the proxy, which ends here.
    scene.restart_with(&BOUNDS).await
}

/// Ingest on one core, the rest of the machine for whom it concerns.
async fn one_core(scene: &mut Scene) -> anyhow::Result<()> {
    scene.restart_with(&BOUNDS).await?;
    let pid = scene.pid().to_string();
    let pinned = Command::new("taskset").args(["-a", "-c", "-p", "0", &pid]).output().await?;
    anyhow::ensure!(pinned.status.success(), "pin ingest to a core: {}", String::from_utf8_lossy(&pinned.stderr));
    // Two processors are often one core's threads, and each is slower while the other has something to do: at the peak it has
    // as much to do as in the flood.
    let _busy = busy_beside(0)?;
    // What is not kept is read all the same, and leaves the log alone.
    let ignored = format!(r#""debug":[{}0],"#, r#"{"key":"value","numbers":[1,2.5,-3e2],"none":null},"#.repeat(40));
    overload(scene, 1024, 50, &ignored, Peak::PerProcessorSecond).await
}

/// Keeps every other processor busy with what gives way to all else, until dropped.
fn busy_beside(processor: usize) -> anyhow::Result<Vec<Child>> {
    let processors = std::thread::available_parallelism()?.get();
    let spin = |other: usize| {
        let mut spin = Command::new("nice");
        spin.args(["-n", "19", "taskset", "-c", &other.to_string(), "sh", "-c", "while :; do :; done"]);
        spin.kill_on_drop(true).spawn()
    };
    Ok((0..processors).filter(|other| *other != processor).map(spin).collect::<Result<_, _>>()?)
}

/// What goodput is compared by.
#[derive(Clone, Copy, PartialEq)]
enum Peak {
    PerSecond,
    /// Of ingest: what turning away costs, whatever else the machine has to do.
    PerProcessorSecond,
}

async fn overload(scene: &mut Scene, connections: usize, events: usize, ignored: &str, by: Peak) -> anyhow::Result<()> {
    let flood = flood(scene, connections, events, ignored).await?;
    // Twice: the first time also opens, allocates and measures the log's pace.
    flood.saturate(64, WARM_UP).await;
    let rounds = match by {
        Peak::PerSecond => vec![round(scene, &flood, by, FLOODED).await?],
        // In turns, and their means: what a processor does in a second of its time differs more from moment to moment than what is
        // asked here.
        Peak::PerProcessorSecond => {
            let mut rounds = Vec::new();
            for _ in 0..ROUNDS {
                rounds.push(round(scene, &flood, by, MEASURED).await?);
            }
            rounds
        }
    };
    let before = rounds.iter().map(|round| round.before).fold(f64::INFINITY, f64::min);
    let after = Flood { per_second: 0.5 * before, ..flood.clone() }.run(RECOVERY + MEASURED).await;

    let unit = if by == Peak::PerSecond { "s" } else { "s of its processor time" };
    for Round { peak, goodput, .. } in &rounds {
        scene.note(format!(
            "peak {peak:.0} requests/{unit}, at four times {goodput:.0} ({:.0} %)",
            100.0 * goodput / peak
        ));
    }
    let all = |of: fn(&Round) -> f64| rounds.iter().map(of).sum::<f64>();
    let share = all(|round| round.goodput) / all(|round| round.peak);
    scene.note(format!("{:.0} % in all", 100.0 * share));
    scene.expect(share >= 0.9, format!("goodput fell to {:.0} %", 100.0 * share));
    let mut flooded = Outcome::default();
    for round in &rounds {
        flooded.sent.extend_from_slice(&round.flooded.sent);
        flooded.reconnects += round.flooded.reconnects;
    }
    scene.note(format!("accepted p99 {} ms; {}", flooded.accepted_within(0.99).as_millis(), statuses(&flooded)));
    scene.expect(flooded.accepted_within(0.99) < LATE, "accepted requests waited for longer than clients do");
    judge_refusals(scene, &flooded);
    let recovered = after.last_refused().unwrap_or_default();
    scene.note(format!("all 202 again after {} ms, {} reconnects", recovered.as_millis(), flooded.reconnects));
    scene.expect(recovered < RECOVERY, format!("still refusing after {recovered:?}: {}", statuses(&after)));
    let mut cost = rounds[0].cost.clone();
    cost.resident_peak = rounds.iter().map(|round| round.cost.resident_peak).max().unwrap_or_default();
    scene.judge_cost(&cost, EXTRA_BYTES_MAX);
    sleep(Duration::from_millis(100)).await;
    scene.note(format!("now {}", mebibytes(scene.meter().resident_bytes()?)));
    Ok(())
}

/// What is accepted at the peak and at four times it, one right after the other.
struct Round {
    /// Per second.
    before: f64,
    peak: f64,
    goodput: f64,
    flooded: Outcome,
    cost: Cost,
}

async fn round(scene: &mut Scene, flood: &Flood, by: Peak, during: Duration) -> anyhow::Result<Round> {
    let meter = scene.meter();
    let processor_before = meter.processor_time()?;
    let before = flood.saturate(64, MEASURED).await;
    let processor_peak = meter.processor_time()?.saturating_sub(processor_before);
    let four = Flood { per_second: 4.0 * before, ..flood.clone() };
    let (flooded, cost) = scene.beside_honest(four.run(during)).await?;
    let (peak, goodput) = match by {
        Peak::PerSecond => (before, flooded.goodput(WARM_UP, during)),
        Peak::PerProcessorSecond => (
            before * MEASURED.as_secs_f64() / processor_peak.as_secs_f64(),
            flooded.count(|status| status == 202) as f64 / cost.processor_time.as_secs_f64(),
        ),
    };
    Ok(Round { before, peak, goodput, flooded, cost })
}

/// Batches of another project than the honest client's.
async fn flood(scene: &Scene, connections_max: usize, events: usize, ignored: &str) -> anyhow::Result<Flood> {
    let create = Peep::command(["key", "create", "--quiet", "--project", "flood", "--scope", "ingest"]);
    let (status, key) = create.env("DATABASE_URL", scene.database.url()).run(WARM_UP * 10).await;
    anyhow::ensure!(status.success(), "create a key: {key}");
    let event = |number: usize| {
        format!(
            r#"{{{ignored}"service":"checkout","route":"/api/orders/{{id}}/{number}","method":"POST","status":201,"duration_ms":12.{number},"#
        ) + r#""host":"web-3.eu.example","version":"2026.11.20-1","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}"#
    };
    let body: String = (0..events).map(|number| event(number) + "\n").collect();
    let request = format!(
        "POST /v1/events HTTP/1.1\r\nHost: {}\r\nPeep-Key: {}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n{body}",
        scene.address,
        key.trim(),
        body.len()
    );
    Ok(Flood { address: scene.address.clone(), request: request.into_bytes().into(), per_second: 1.0, connections_max })
}

/// Whoever is turned away hears it at once, and when to come back.
fn judge_refusals(scene: &mut Scene, outcome: &Outcome) {
    let refused: Vec<_> = outcome.sent.iter().filter(|sent| [429, 503].contains(&sent.status)).collect();
    let silent = refused.iter().filter(|sent| !sent.retry_after_s.is_some_and(|s| (1..=31).contains(&s))).count();
    let longest = refused.iter().filter_map(|sent| sent.retry_after_s).max().unwrap_or(0);
    scene.note(format!("{} refused, Retry-After up to {longest} s", refused.len()));
    scene.expect(silent == 0, format!("{silent} refusals without a sane Retry-After"));
    let other = outcome.count(|status| ![202, 429, 503, UNSENT].contains(&status));
    scene.expect(other == 0, format!("{other} ended otherwise: {}", statuses(outcome)));
}

fn statuses(outcome: &Outcome) -> String {
    let (lost, unsent) = (format!("x {LOST},"), format!("x {UNSENT},"));
    (outcome.statuses() + ",").replace(&lost, "lost,").replace(&unsent, "unsent,").trim_end_matches(',').to_owned()
}

/// Small ones, so that a bound that does not hold is seen.
const BOUNDS: [(&str, &str); 2] =
    [("PEEP_INGEST_BODY_BYTES_IN_FLIGHT_MAX", "32MiB"), ("PEEP_LOG_QUEUE_BYTES_MAX", "16MiB")];
/// Bodies in flight, what the log queues and has three times while it writes, and for each of 1024 connections a read buffer of
/// 64 KiB and what its tasks and its buffer for answers hold.
const EXTRA_BYTES_MAX: u64 = (32 + 3 * 16 + 64 + 16) << 20;
const LOG_BYTES_PER_SECOND: f64 = 400_000.0;
const WARM_UP: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(6);
const FLOODED: Duration = Duration::from_secs(15);
const ROUNDS: usize = 9;
const RECOVERY: Duration = Duration::from_secs(5);
/// The log's own patience.
const LATE: Duration = Duration::from_secs(4);
