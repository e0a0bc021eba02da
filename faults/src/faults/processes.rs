//! Processes of peep that die, freeze and are replaced.

use std::time::Duration;

use tokio::time::sleep;

use super::Fault;
use crate::auditor::load::Settings;
use crate::scene::Scene;
use crate::world::Shape;

pub(super) fn faults() -> Vec<Fault> {
    vec![Fault {
        id: "F01",
        title: "kill -9 of ingest at random instants",
        shape: Shape::default(),
        load: Settings::default(),
        deed: |scene| Box::pin(kill_ingest(scene)),
    }]
}

/// Thirty times, at instants of no pattern; at most one of the two is away at a time.
async fn kill_ingest(scene: &mut Scene) -> anyhow::Result<()> {
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
    scene.note(format!("{kills} kills, ready again within {slowest:.1?}"));
    Ok(())
}
