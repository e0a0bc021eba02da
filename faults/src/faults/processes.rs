//! Processes of peep that die, freeze and are replaced.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use peep_testkit::Client;
use tokio::time::sleep;

use super::{Fault, fault};
use crate::scene::Scene;
use crate::world::Shape;

pub(super) fn faults() -> Vec<Fault> {
    // Three to die, and one to live on: without any there would be nobody to take over.
    let four_rollups = Shape { rollups: 4, ..Shape::default() };
    vec![
        fault("F01", "kill -9 of ingest at random instants", |scene| Box::pin(kill_ingest(scene))),
        Fault {
            shape: four_rollups,
            ..fault("F02", "kill -9 of a rollup at every step of a flush", |scene| Box::pin(kill_rollups(scene)))
        },
        fault("F06", "a rollup frozen for longer than its lease, which then wakes up", |scene| {
            Box::pin(freeze_rollup(scene))
        }),
        fault("F07", "a rollup frozen inside its transaction", |scene| Box::pin(freeze_in_transaction(scene))),
        fault("F08", "ingest frozen while clients wait", |scene| Box::pin(freeze_ingest(scene))),
        fault("F43", "kill -9 of a rollup while it makes a coarser level", |scene| Box::pin(kill_leveler(scene))),
        fault("F36", "ingest out of file descriptors", |scene| Box::pin(exhaust_descriptors(scene))),
        fault("F38", "rolling upgrade, with SIGTERM and with kill -9", |scene| Box::pin(upgrade(scene))),
    ]
}

/// Thirty times, at instants of no pattern; at most one of the two is away at a time. Then exactly between the log's
/// acknowledgement and the answer, and before the log has it.
async fn kill_ingest(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let kills = scene.scaled(30);
    scene.pace(Duration::from_millis(1_200) * kills).await;
    let mut slowest = Duration::ZERO;
    for number in 0..kills as usize {
        sleep(Duration::from_millis(scene.random.between(100, 900))).await;
        let pods = scene.world.ingests.len();
        let pod = &mut scene.world.ingests[number % pods];
        pod.kill().await;
        slowest = slowest.max(pod.start().await?);
    }
    for point in ["ingest.before_append", "ingest.before_reply"] {
        let passage = scene.random.between(5, 30);
        let pod = &mut scene.world.ingests[0];
        pod.kill().await;
        pod.set("PEEP_FAILPOINTS", format!("{point}=kill@{passage}"));
        // It may end before it has been asked whether it is ready.
        pod.launch().await;
        anyhow::ensure!(pod.wait_for_end(HIT).await, "{point} was not passed {passage} times");
        pod.unset("PEEP_FAILPOINTS");
        slowest = slowest.max(pod.start().await?);
    }
    scene.note(format!("{} kills, ready again within {:.1} s", kills + 2, slowest.as_secs_f64()));
    Ok(())
}

/// Every place of a flush where an end could hurt.
const FLUSH_STEPS: &[&str] = &[
    "rollup.flush.after_cas",
    "rollup.flush.before_commit",
    "rollup.flush.after_commit",
    "rollup.flush.begin",
    "rollup.flush.after_rows",
    "rollup.publish",
    "rollup.lease.before_renew",
];

/// Three rollups at a time, each with a step of its own to die at; then the next three. The fourth lives.
async fn kill_rollups(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let together = scene.world.rollups.len() - 1;
    let rounds = scene.scaled(3);
    let mut steps: Vec<&str> = (0..rounds).flat_map(|_| FLUSH_STEPS).copied().collect();
    if scene.is_short() {
        steps.truncate(together);
    }
    scene.pace(Duration::from_secs(13) * steps.len().div_ceil(together) as u32).await;
    let kills = steps.len();
    for chunk in steps.chunks(together) {
        for (number, step) in chunk.iter().enumerate() {
            scene.kill_rollup(number).await;
            let passage = scene.random.between(1, 6);
            let pod = &mut scene.world.rollups[number];
            pod.set("PEEP_FAILPOINTS", format!("{step}=kill@{passage}"));
            pod.launch().await;
        }
        for (number, step) in chunk.iter().enumerate() {
            // Behind a lease that has to expire first.
            anyhow::ensure!(
                scene.rollup_ends(number, HIT).await,
                "{step} was never passed: is this a build with failpoints?"
            );
        }
    }
    for pod in &mut scene.world.rollups {
        pod.unset("PEEP_FAILPOINTS");
        pod.start().await?;
    }
    scene.wait_for_takeover().await;
    scene.note(format!("{kills} kills at {} steps", steps.iter().collect::<std::collections::BTreeSet<_>>().len()));
    Ok(())
}

/// Levels are made when the log has passed a minute, so this takes one or two.
async fn kill_leveler(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    scene.pace(Duration::from_secs(120)).await;
    let step = "rollup.level.before_commit";
    for number in 0..scene.world.rollups.len() {
        let pod = &mut scene.world.rollups[number];
        pod.terminate().await?;
        pod.set("PEEP_FAILPOINTS", format!("{step}=kill@{}", number + 1));
        pod.launch().await;
    }
    for number in 0..scene.world.rollups.len() {
        anyhow::ensure!(scene.rollup_ends(number, Duration::from_secs(150)).await, "{step} was never passed");
        let pod = &mut scene.world.rollups[number];
        pod.unset("PEEP_FAILPOINTS");
        pod.start().await?;
    }
    scene.wait_for_takeover().await;
    Ok(())
}

async fn freeze_rollup(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let frozen = if scene.is_short() { Duration::from_secs(16) } else { Duration::from_secs(30) };
    scene.pace(frozen + Duration::from_secs(6)).await;
    sleep(Duration::from_secs(2)).await;
    scene.freeze_rollup(0).await?;
    sleep(frozen).await;
    scene.wait_for_takeover().await;
    scene.world.rollups[0].thaw();
    let fenced = zombie_gives_up(scene).await?;
    scene.note(format!("frozen for {} s; {fenced} flushes of the zombie fenced", frozen.as_secs()));
    Ok(())
}

async fn freeze_in_transaction(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    scene.pace(Duration::from_secs(40)).await;
    let pod = &mut scene.world.rollups[0];
    pod.terminate().await?;
    let passage = scene.random.between(2, 8);
    pod.set("PEEP_FAILPOINTS", format!("rollup.flush.after_rows=stop@{passage}"));
    pod.launch().await;
    let deadline = Instant::now() + HIT;
    while !scene.world.rollups[0].is_frozen() {
        anyhow::ensure!(
            Instant::now() < deadline,
            "rollup.flush.after_rows was never passed: is this a build with failpoints?"
        );
        sleep(Duration::from_millis(50)).await;
    }
    scene.rollup_is_gone(0);
    scene.wait_for_takeover().await;
    let counted = scene.observer.longest().1.context("another rollup goes on with its partitions")?;
    anyhow::ensure!(counted < scene.expect.takeover_max, "counted again only after {counted:?}");
    scene.note(format!("another had committed within {:.1} s", counted.as_secs_f64()));
    scene.world.rollups[0].thaw();
    zombie_gives_up(scene).await?;
    scene.world.rollups[0].unset("PEEP_FAILPOINTS");
    Ok(())
}

/// It finds out that its partitions are no longer its own; says how many flushes it had to try for that.
async fn zombie_gives_up(scene: &Scene<'_>) -> anyhow::Result<u64> {
    let pod = &scene.world.rollups[0];
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let fenced = pod.metric("peep_rollup_flushes_total{outcome=\"fenced\"}").await.unwrap_or(0.0) as u64;
        if fenced > 0 || pod.said().contains("partition lost") {
            // Time for whatever else it was about to do.
            sleep(Duration::from_secs(2)).await;
            return Ok(fenced);
        }
        anyhow::ensure!(Instant::now() < deadline, "the zombie does not notice that it is one");
        sleep(Duration::from_millis(200)).await;
    }
}

/// One, then the other, then both: clients give up waiting and try again elsewhere.
async fn freeze_ingest(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    scene.pace(Duration::from_secs(40)).await;
    for (pods, frozen) in [(0..1, 20), (1..2, 10), (0..2, 8)] {
        for number in pods.clone() {
            scene.world.ingests[number].freeze();
        }
        sleep(Duration::from_secs(frozen)).await;
        for number in pods {
            scene.world.ingests[number].thaw();
        }
        sleep(Duration::from_secs(1)).await;
    }
    let unanswered = scene.load.progress().await.unanswered;
    anyhow::ensure!(unanswered > 0, "nobody waited in vain");
    scene.note(format!("{unanswered} requests given up without an answer"));
    Ok(())
}

/// More connections than it may open: it waits, and goes on when there is room.
async fn exhaust_descriptors(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    scene.pace(Duration::from_secs(20)).await;
    let mut slowest = Duration::ZERO;
    for number in 0..scene.world.ingests.len() {
        let pod = &scene.world.ingests[number];
        let id = pod.id().context("ingest runs")?.to_string();
        let address = pod.address.clone();
        limit_descriptors(&id, "64:")?;
        let held = tokio::task::spawn_blocking({
            let address = address.parse().context("an address")?;
            // The kernel completes them, until its queue is full, whether or not they are ever accepted.
            let connect = move |_| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
            move || (0..150).map_while(connect).collect::<Vec<_>>()
        });
        let held = held.await?;
        anyhow::ensure!(held.len() > 64, "only {} connections could be opened", held.len());
        sleep(Duration::from_secs(5)).await;
        drop(held);
        let freed = Instant::now();
        let client = Client::new(format!("http://{address}")).with_timeout(Duration::from_secs(5));
        // Any answer will do: it says that a connection was accepted.
        while client.try_get("/").await.is_err() {
            anyhow::ensure!(freed.elapsed() < Duration::from_secs(10), "no connection is accepted any more");
        }
        slowest = slowest.max(freed.elapsed());
        limit_descriptors(&id, "20000:")?;
        sleep(Duration::from_secs(2)).await;
    }
    let paused = scene.world.said().matches("cannot accept a connection").count();
    anyhow::ensure!(paused > 0, "ingest never ran out of descriptors");
    anyhow::ensure!(slowest < Duration::from_secs(1), "accepting again took {slowest:?}");
    scene.note(format!("accepting again within {} ms", slowest.as_millis()));
    Ok(())
}

fn limit_descriptors(id: &str, limit: &str) -> anyhow::Result<()> {
    let done =
        Command::new("prlimit").args(["--pid", id, &format!("--nofile={limit}")]).output().context("run prlimit")?;
    anyhow::ensure!(done.status.success(), "prlimit: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// Every process is replaced, one after the other: first as an orchestrator does it, then as a machine that dies does it.
async fn upgrade(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    scene.pace(Duration::from_secs(45)).await;
    for kill in [false, true] {
        for number in 0..scene.world.ingests.len() {
            let pod = &mut scene.world.ingests[number];
            if kill {
                pod.kill().await;
            } else {
                pod.terminate().await?;
            }
            pod.start().await?;
            sleep(Duration::from_secs(1)).await;
        }
        for number in 0..scene.world.rollups.len() {
            if kill {
                scene.kill_rollup(number).await;
            } else {
                scene.world.rollups[number].terminate().await?;
            }
            scene.world.rollups[number].start().await?;
            sleep(Duration::from_secs(if kill { 12 } else { 3 })).await;
        }
        if kill {
            scene.world.stream.kill().await;
        } else {
            scene.world.stream.terminate().await?;
            let unanswered = scene.load.progress().await.unanswered;
            scene.note(format!("{unanswered} requests had to be sent again for SIGTERM"));
        }
        scene.world.stream.start().await?;
    }
    Ok(())
}

/// Claiming what a dead owner held takes as long as its lease.
const HIT: Duration = Duration::from_secs(40);
