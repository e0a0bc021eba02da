//! Runs faults one after the other, each to its verdict, whatever became of the one before.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use crate::faults::Fault;
use crate::scene::{Scene, Verdict};
use crate::site::Site;

/// One fault and what came of it.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: &'static str,
    pub title: &'static str,
    pub seed: u64,
    pub took: Duration,
    /// The harness itself failing is a failure too.
    pub verdict: Result<Verdict, String>,
}

impl Run {
    pub fn passed(&self) -> bool {
        self.verdict.as_ref().is_ok_and(Verdict::passed)
    }
}

/// One fault.
pub async fn run(site: &Site, fault: Fault, events: u64, seed: u64) -> Run {
    let (id, title, started) = (fault.id, fault.title, Instant::now());
    // A panic of the harness ends one fault and not the campaign; nothing of the scene is used afterwards.
    let played = AssertUnwindSafe(play(site, &fault, events, seed)).catch_unwind();
    let verdict = match tokio::time::timeout(LIMIT, played).await {
        Ok(Ok(verdict)) => verdict.map_err(|error| format!("{error:#}")),
        Ok(Err(panic)) => Err(format!("the harness panicked: {}", words(panic.as_ref()))),
        Err(_) => Err(format!("not finished within {LIMIT:?}")),
    };
    Run { id, title, seed, took: started.elapsed(), verdict }
}

async fn play(site: &Site, fault: &Fault, events: u64, seed: u64) -> anyhow::Result<Verdict> {
    let mut scene = Scene::start(site, fault.shape, fault.load.clone(), events, seed).await?;
    let verdict = match (fault.deed)(&mut scene).await {
        Ok(()) => scene.finish().await,
        Err(error) => Err(error),
    };
    if !verdict.as_ref().is_ok_and(Verdict::passed) {
        scene.world.keep_logs(&site.logs, fault.id)?;
    }
    verdict
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("?").to_owned()
}

/// No fault takes longer, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);
