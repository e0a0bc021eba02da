//! Clients that send what they have sent before.

use std::time::Duration;

use super::{Fault, fault};
use crate::auditor::load::{Habit, Settings};
use crate::scene::Scene;
use crate::world::Shape;

pub(super) fn faults() -> Vec<Fault> {
    let load = Settings { habit: Habit::Copies(5), ..Settings::default() };
    let shape = Shape { ingests: 3, ..Shape::default() };
    vec![Fault {
        shape,
        load,
        ..fault("F32", "every batch sent one to five times, shuffled, through three ingests", |scene| {
            Box::pin(send_copies(scene))
        })
    }]
}

/// Nothing breaks; the clients are the fault.
async fn send_copies(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    scene.expect.exact_duplicates = true;
    scene.pace(Duration::from_secs(30)).await;
    scene.load.wait_for(scene.events, Duration::from_secs(200)).await
}
