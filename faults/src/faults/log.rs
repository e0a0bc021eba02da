//! Kafka: nodes that freeze and die, leaders that move, topics that go away.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use peep_testkit::{Cluster, Peep};
use tokio::time::sleep;

use super::{Fault, fault};
use crate::books;
use crate::scene::Scene;
use crate::world::Shape;

pub(super) fn faults() -> Vec<Fault> {
    let cluster = Shape { cluster: true, ..Shape::default() };
    let on_cluster = |id, title, deed| Fault { shape: cluster, ..fault(id, title, deed) };
    vec![
        on_cluster("F09", "two of three brokers frozen", |scene| Box::pin(freeze_brokers(scene))),
        on_cluster("F10", "kill -9 of the leader of a partition", |scene| Box::pin(kill_leaders(scene))),
        on_cluster("F11", "leaders that move all the time", |scene| Box::pin(move_leaders(scene))),
        on_cluster("F12", "rolling restart of the brokers", |scene| Box::pin(restart_brokers(scene))),
        fault("F16", "the topic deleted and created again", |scene| Box::pin(replace_topic(scene))),
        fault("F17", "records that expire while no rollup runs", |scene| Box::pin(expire_records(scene))),
    ]
}

async fn freeze_brokers(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let times = scene.scaled(3);
    scene.pace(Duration::from_secs(10) * times).await;
    let cluster = scene.site.cluster().await;
    for _ in 0..times {
        sleep(Duration::from_secs(6)).await;
        let spared = scene.random.between(1, Cluster::NODES as u64 + 1) as usize;
        let frozen: Vec<usize> = (1..=Cluster::NODES).filter(|node| *node != spared).collect();
        for node in &frozen {
            cluster.freeze(*node);
        }
        sleep(Duration::from_secs(20)).await;
        for node in &frozen {
            cluster.thaw(*node);
        }
        wait_for_acks(scene).await?;
    }
    let silence = scene.load.progress().await.longest_silence;
    scene.note(format!("{times} times 20 s; longest time without a 202: {:.1} s", silence.as_secs_f64()));
    Ok(())
}

async fn kill_leaders(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let kills = scene.scaled(6);
    scene.pace(Duration::from_secs(11) * kills).await;
    let cluster = scene.site.cluster().await;
    for number in 0..kills {
        sleep(Duration::from_millis(scene.random.between(500, 2_500))).await;
        let placements = scene.world.kafka.placements().await?;
        let partition = number % placements.len() as u32;
        let leader = placements.get(&partition).map_or(1, |placement| placement.leader).max(1);
        cluster.kill(leader as usize).await;
        sleep(Duration::from_secs(2)).await;
        cluster.start_again(leader as usize).await;
        wait_until_in_sync(scene).await?;
    }
    let silence = scene.load.progress().await.longest_silence;
    anyhow::ensure!(silence < Duration::from_secs(15), "no 202 for {silence:?}");
    scene.note(format!("{kills} kills; longest time without a 202: {:.1} s", silence.as_secs_f64()));
    Ok(())
}

async fn move_leaders(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let moves = scene.scaled(60);
    scene.pace(Duration::from_millis(700) * moves).await;
    let mut moved = 0;
    for number in 0..moves {
        sleep(Duration::from_millis(scene.random.between(200, 800))).await;
        let before = scene.world.kafka.placements().await?;
        let partition = number % before.len() as u32;
        let Some(placement) = before.get(&partition) else { continue };
        scene.world.kafka.move_leader(partition, placement).await?;
        let after = scene.world.kafka.placements().await?;
        moved += u32::from(after.get(&partition).is_some_and(|now| now.leader != placement.leader));
    }
    anyhow::ensure!(moved * 2 > moves, "of {moves} leaders only {moved} moved");
    scene.note(format!("{moved} moves"));
    Ok(())
}

async fn restart_brokers(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let rounds = scene.scaled(2).min(2);
    scene.pace(Duration::from_secs(30) * rounds).await;
    let cluster = scene.site.cluster().await;
    for _ in 0..rounds {
        for node in 1..=Cluster::NODES {
            cluster.stop(node).await;
            cluster.start_again(node).await;
            wait_until_in_sync(scene).await?;
        }
    }
    let silence = scene.load.progress().await.longest_silence;
    scene.note(format!("{rounds} rounds; longest time without a 202: {:.1} s", silence.as_secs_f64()));
    Ok(())
}

/// Every partition has a leader again, and a moment later so have the clients.
async fn wait_until_in_sync(scene: &Scene<'_>) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let placements = scene.world.kafka.placements().await;
        if placements.is_ok_and(|placements| placements.values().all(|placement| placement.in_sync == Cluster::NODES)) {
            return wait_for_acks(scene).await;
        }
        anyhow::ensure!(Instant::now() < deadline, "the cluster does not come back");
        sleep(Duration::from_millis(200)).await;
    }
}

/// Something is acknowledged again.
async fn wait_for_acks(scene: &Scene<'_>) -> anyhow::Result<()> {
    let acked = scene.load.progress().await.acked_events;
    scene.load.wait_for(acked + 1, Duration::from_secs(60)).await
}

/// Twice: once while the rollups look on, and once behind their backs, with a new log that has grown past the cursors when
/// they look again. Whatever was counted before must stay, nothing of the new log may be counted as if it were the old
/// one, and nothing of it may be skipped once a person has accepted the break.
async fn replace_topic(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let quarter = scene.events / 4;
    scene.load.set_rate((quarter / 10).max(1_000));
    scene.load.wait_for(quarter, Duration::from_secs(90)).await?;
    let before = with_traffic(scene.settle_paused().await?);
    scene.world.kafka.delete_topic().await?;
    scene.load.resume();
    sleep(Duration::from_secs(2)).await;
    scene.world.kafka.create_topic().await?;
    let noticed = Instant::now();
    wait_until_broken(scene, &before).await?;
    scene.note(format!("broken within {:.1} s", noticed.elapsed().as_secs_f64()));
    wait_for_acks(scene).await?;
    accept_breaks(scene, &before).await?;

    scene.load.wait_for(scene.events / 2, Duration::from_secs(90)).await?;
    let before = with_traffic(scene.settle_paused().await?);
    for number in 0..scene.world.rollups.len() {
        scene.world.rollups[number].kill().await;
    }
    scene.world.kafka.delete_topic().await?;
    scene.world.kafka.create_topic().await?;
    scene.load.resume();
    scene.load.set_rate(20_000);
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let ends = scene.world.kafka.ends().await.unwrap_or_default();
        if before.iter().all(|(partition, cursor)| ends.get(partition).is_some_and(|end| end > cursor)) {
            break;
        }
        anyhow::ensure!(Instant::now() < deadline, "the new log does not outgrow the old one");
        sleep(Duration::from_millis(200)).await;
    }
    for pod in &mut scene.world.rollups {
        pod.launch().await;
    }
    wait_until_broken(scene, &before).await?;
    scene.note("once more behind the rollups' backs, with a longer log");
    accept_breaks(scene, &before).await
}

/// Time runs out for records that nobody has read: the loss is known to the record, and nothing else is lost.
async fn expire_records(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    scene.load.set_rate((scene.events / 20).max(1_000));
    scene.load.wait_for(scene.events / 4, Duration::from_secs(90)).await?;
    let before = with_traffic(scene.settle_paused().await?);
    for number in 0..scene.world.rollups.len() {
        scene.world.rollups[number].terminate().await?;
    }
    // Behind the stopped rollups, in segments of their own.
    scene.world.kafka.configure_topic(&[("retention.ms", "3000"), ("segment.ms", "1000")]).await?;
    scene.load.resume();
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let ranges = scene.world.kafka.watermarks().await?;
        let expired = |(partition, cursor): (&u32, &u64)| ranges.get(partition).is_some_and(|(low, _)| low > cursor);
        if before.iter().all(expired) {
            break;
        }
        anyhow::ensure!(Instant::now() < deadline, "nothing expires");
        sleep(Duration::from_millis(200)).await;
    }
    scene.load.pause().await;
    scene.world.kafka.configure_topic(&[("retention.ms", "86400000"), ("segment.ms", "86400000")]).await?;
    sleep(Duration::from_secs(3)).await;
    let ranges = scene.world.kafka.watermarks().await?;
    scene.load.resume();
    let gone = |partition: &u32, cursor: &u64| ranges.get(partition).map_or(0, |(low, _)| low.saturating_sub(*cursor));
    let truth: BTreeMap<u32, u64> =
        before.iter().map(|(partition, cursor)| (*partition, gone(partition, cursor))).collect();
    for pod in &mut scene.world.rollups {
        pod.launch().await;
    }
    wait_until_broken(scene, &before).await?;
    accept_breaks(scene, &before).await?;
    let booked: Vec<(i32, String, Option<i64>)> =
        sqlx::query_as("select log_partition, kind, records_lost from log_break order by 1")
            .fetch_all(&scene.world.pool)
            .await?;
    for (partition, lost) in &truth {
        let expected = (*partition as i32, "expired".to_owned(), Some(*lost as i64));
        anyhow::ensure!(
            booked.contains(&expected),
            "partition {partition} lost {lost} records, the books say {booked:?}"
        );
    }
    let lost = truth.values().sum();
    scene.expect.lost_batches = lost;
    scene.note(format!("{lost} records expired unread, and the books say so"));
    Ok(())
}

/// The others have nothing to lose, and nothing to notice.
fn with_traffic(cursors: BTreeMap<u32, u64>) -> BTreeMap<u32, u64> {
    cursors.into_iter().filter(|(_, cursor)| *cursor > 0).collect()
}

/// Every partition that had something to lose waits for a person, and none has moved.
async fn wait_until_broken(scene: &Scene<'_>, before: &BTreeMap<u32, u64>) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        let broken = books::broken(&scene.world.pool).await?;
        let cursors = with_traffic(books::cursors(&scene.world.pool).await?);
        anyhow::ensure!(cursors == *before, "cursors moved from {before:?} to {cursors:?} on a log that is not theirs");
        let waits = |partition: &u32| broken.iter().any(|(known, _)| *known == *partition as i32);
        if before.keys().all(waits) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "only these are broken: {broken:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

async fn accept_breaks(scene: &Scene<'_>, before: &BTreeMap<u32, u64>) -> anyhow::Result<()> {
    for partition in before.keys() {
        let partition = partition.to_string();
        let command = Peep::command(["log", "accept-break", "--partition", &partition, "--by", "peep-faults", "--yes"]);
        let (status, said) = scene.world.command(command).run(Duration::from_secs(30)).await;
        anyhow::ensure!(status.success(), "accept-break of partition {partition}: {said}");
    }
    Ok(())
}
