//! Clocks that jump.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio::time::sleep;

use super::{Fault, fault};
use crate::scene::Scene;

pub(super) fn faults() -> Vec<Fault> {
    vec![fault("F33", "the wall clock of each process jumps by hours and years", |scene| Box::pin(jump(scene)))]
}

/// Hours, years and a little backwards; each for a while, and back again.
const JUMPS: &[&str] = &["+3600", "-3600", "+31536000", "-31536000", "-10"];

async fn jump(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let library = library()?;
    let dir = tempfile::Builder::new().prefix("peep-clock-").tempdir()?;
    let span = Duration::from_secs(if scene.is_short() { 1 } else { 3 });
    scene.pace(Duration::from_secs(50)).await;
    // One of each kind is skewed; the other has the right time, as in a cluster.
    let (ingest, rollup) = (dir.path().join("ingest"), dir.path().join("rollup"));
    scene.world.ingests[0].terminate().await?;
    set_clock(&ingest, "+0")?;
    skew(&mut scene.world.ingests[0], &library, &ingest);
    scene.world.ingests[0].start().await?;
    scene.world.rollups[0].terminate().await?;
    set_clock(&rollup, "+0")?;
    skew(&mut scene.world.rollups[0], &library, &rollup);
    scene.world.rollups[0].start().await?;

    let (mut left, mut returned) = (0, 0);
    for clock in [&rollup, &ingest] {
        for offset in JUMPS {
            set_clock(clock, offset)?;
            sleep(span).await;
            if clock == &ingest {
                left += u32::from(!scene.world.ingests[0].is_ready().await);
            }
            set_clock(clock, "+0")?;
            sleep(Duration::from_secs(1)).await;
        }
    }
    // Back in rotation once the clock has been right for a while.
    for _ in 0..60 {
        if scene.world.ingests[0].is_ready().await {
            returned = 1;
            break;
        }
        sleep(Duration::from_millis(500)).await;
    }
    anyhow::ensure!(left as usize == JUMPS.len(), "ingest left the rotation at {left} of {} jumps", JUMPS.len());
    anyhow::ensure!(returned == 1, "ingest does not come back into rotation");
    scene.note(format!("{} jumps; the skewed ingest left the rotation each time and came back", JUMPS.len() * 2));
    Ok(())
}

fn skew(pod: &mut crate::world::Pod, library: &Path, clock: &Path) {
    pod.set("LD_PRELOAD", library.display());
    pod.set("FAKETIME_TIMESTAMP_FILE", clock.display());
    pod.set("FAKETIME_NO_CACHE", "1");
    // Timers do not jump when a wall clock does.
    pod.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

/// Renamed into place: a reader never sees half of it.
fn set_clock(file: &Path, offset: &str) -> anyhow::Result<()> {
    let draft = file.with_extension("draft");
    std::fs::write(&draft, offset)?;
    std::fs::rename(&draft, file).context("set a clock")
}

fn library() -> anyhow::Result<PathBuf> {
    let found = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists());
    found.context("libfaketime is not installed: scripts/faults.sh install, or apt-get install libfaketime")
}
