//! Not faults of peep: the campaign itself is on trial.

use std::time::Duration;

use super::{Fault, fault};
use crate::scene::Scene;
use crate::tamper::Tamper;

pub(super) fn faults() -> Vec<Fault> {
    vec![
        fault("S01", "the judges, when one event is lost behind their backs", |scene| {
            Box::pin(lie(scene, Tamper::LoseEvent))
        }),
        fault("S02", "the judges, when one event is counted twice", |scene| Box::pin(lie(scene, Tamper::DoubleEvent))),
        fault("S03", "the judges, when a flush is applied twice", |scene| Box::pin(lie(scene, Tamper::DoublePiece))),
    ]
}

/// Nothing breaks until everything is counted.
async fn lie(scene: &mut Scene<'_>, tamper: Tamper) -> anyhow::Result<()> {
    // Nobody looks at the numbers: what matters is that there are some.
    scene.events = scene.events.min(5_000);
    scene.tamper = Some(tamper);
    scene.load.wait_for(scene.events, Duration::from_secs(60)).await
}
