//! Runs cases one after the other, each to its verdict, whatever became of the one before.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use crate::cases::Case;
use crate::scene::{Findings, Scene};
use crate::site::Site;

/// One case and what came of it.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: &'static str,
    pub title: &'static str,
    pub expects: &'static str,
    pub took: Duration,
    /// The harness itself failing is a failure too.
    pub findings: Result<Findings, String>,
}

impl Run {
    pub fn passed(&self) -> bool {
        self.findings.as_ref().is_ok_and(|findings| findings.failures.is_empty())
    }
}

/// One case.
pub async fn run(site: &Site, case: Case) -> Run {
    let started = Instant::now();
    // A panic of the harness ends one case and not the campaign; nothing of the scene is used afterwards.
    let played = AssertUnwindSafe(play(site, case)).catch_unwind();
    let findings = match tokio::time::timeout(LIMIT, played).await {
        Ok(Ok(findings)) => findings.map_err(|error| format!("{error:#}")),
        Ok(Err(panic)) => Err(format!("the harness panicked: {}", words(panic.as_ref()))),
        Err(_) => Err(format!("not finished within {LIMIT:?}")),
    };
    Run { id: case.id, title: case.title, expects: case.expects, took: started.elapsed(), findings }
}

async fn play(site: &Site, case: Case) -> anyhow::Result<Findings> {
    let mut scene = Scene::start(site).await?;
    (case.attack)(&mut scene).await?;
    Ok(scene.finish().await)
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("?").to_owned()
}

/// No case takes longer, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);
