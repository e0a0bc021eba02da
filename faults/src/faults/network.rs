//! Networks between peep and its servers that lose everything for a while.

use std::time::Duration;

use peep_testkit::chaos::Blackhole;
use tokio::time::sleep;

use super::{Fault, fault};
use crate::books;
use crate::scene::Scene;
use crate::world::Shape;

pub(super) fn faults() -> Vec<Fault> {
    let doors = Shape { kafka_doors: true, ..Shape::default() };
    vec![
        Fault {
            shape: doors,
            ..fault("F18", "ingest cut off from Kafka, both ways and one way", |scene| Box::pin(cut_ingest_off(scene)))
        },
        Fault { shape: doors, ..fault("F20", "rollups cut off from Kafka", |scene| Box::pin(cut_rollups_off(scene))) },
    ]
}

async fn cut_ingest_off(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let span = if scene.is_short() { 8 } else { 20 };
    scene.pace(Duration::from_secs(25)).await;
    let door = scene.site.ingest_door().await;
    for direction in [Blackhole::Both, Blackhole::Requests, Blackhole::Answers] {
        sleep(Duration::from_secs(4)).await;
        door.blackhole(direction);
        sleep(Duration::from_secs(span)).await;
        door.heal();
        let acked = scene.load.progress().await.acked_events;
        scene.load.wait_for(acked + 1, Duration::from_secs(30)).await?;
    }
    let progress = scene.load.progress().await;
    anyhow::ensure!(progress.refusals > 0, "nobody was told to try again");
    let slowest = progress.slowest_refusal;
    anyhow::ensure!(slowest < Duration::from_millis(5_500), "a 503 took {slowest:?}");
    scene.note(format!("three times {span} s; slowest 503 after {:.1} s", slowest.as_secs_f64()));
    Ok(())
}

/// The lease is a matter between rollup and Postgres: nobody else could read the log any better.
async fn cut_rollups_off(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let span = if scene.is_short() { 8 } else { 25 };
    scene.pace(Duration::from_secs(span + 10)).await;
    sleep(Duration::from_secs(3)).await;
    let owners = owners(scene).await?;
    let door = scene.site.rollup_door().await;
    door.blackhole(Blackhole::Both);
    sleep(Duration::from_secs(span)).await;
    let still = self::owners(scene).await?;
    let behind: u64 = lag(scene).await?;
    door.heal();
    anyhow::ensure!(owners == still, "leases changed hands: {owners:?}, then {still:?}");
    anyhow::ensure!(behind > 0, "nothing was cut off");
    scene.note(format!("{span} s; leases kept, {behind} records behind"));
    Ok(())
}

async fn owners(scene: &Scene<'_>) -> anyhow::Result<Vec<(i32, Option<uuid::Uuid>)>> {
    let owners = sqlx::query_as("select log_partition, owner from rollup_cursor order by 1");
    Ok(owners.fetch_all(&scene.world.pool).await?)
}

async fn lag(scene: &Scene<'_>) -> anyhow::Result<u64> {
    let (ends, cursors) = (scene.world.kafka.ends().await?, books::cursors(&scene.world.pool).await?);
    Ok(ends.iter().map(|(partition, end)| end.saturating_sub(cursors.get(partition).copied().unwrap_or(0))).sum())
}
