//! Live frames, as the rollup publishes them, at a fixed pace: what the stream service turns into messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use peep_chassis::clock::Clock;
use peep_log::{LogConfig, Partition, Topic};
use peep_wire::ProjectId;
use peep_wire::histogram::Histogram;
use peep_wire::live::{LiveCell, LiveFrame};
use peep_wire::record::Series;

use crate::stack::Stack;

/// Frames are published until this is dropped.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Traffic {
    /// One frame in each `interval` to the live log of this installation, with a request of each of `routes` routes.
    ///
    /// # Errors
    /// When the log cannot be opened.
    pub fn start(stack: &Stack, routes: usize, interval: Duration) -> anyhow::Result<Traffic> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (log, project) = runtime.block_on(async {
            let pool = stack.pool().await?;
            let project = peep_chassis::keys::project_id(&pool, "bench").await?;
            anyhow::Ok((peep_log::open(&LogConfig::default(), Topic::Live, &pool).await?, ProjectId(project)))
        })?;
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let work = move || {
            runtime.block_on(async {
                let clock = Clock::system();
                // A life of its own each time, so that a frame never repeats an offset that was counted.
                let epoch = clock.now_ms().cast_unsigned();
                let (mut next, mut due) = (0, Instant::now());
                while !stopped.load(Ordering::Relaxed) {
                    let frame = frame(project, epoch, next, routes, clock.now_ms());
                    next = frame.to;
                    log.append(Partition(0), frame.encode()).await.context("publish a live frame")?;
                    due += interval;
                    tokio::time::sleep_until(due.into()).await;
                }
                log.close().await;
                Ok(())
            })
        };
        let thread = std::thread::Builder::new().name("traffic".to_owned()).spawn(work).context("start the traffic")?;
        Ok(Traffic { stop, thread: Some(thread) })
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && let Ok(Err(error)) = thread.join()
        {
            eprintln!("the traffic has ended early: {error:#}");
        }
    }
}

fn frame(project: ProjectId, epoch: u64, from: u64, routes: usize, now_ms: i64) -> LiveFrame {
    let cell = |number: usize| {
        let mut histogram = Histogram::new();
        histogram.record(10_000 + 37 * number as u64);
        LiveCell {
            project,
            series: Series {
                service: "shop",
                env: "production",
                route: &format!("/api/v1/resource-{number}/{{id}}"),
                method: "GET",
                status: 200,
            }
            .to_key_bytes(),
            slot_s: now_ms.div_euclid(1000),
            count: 1,
            errors: 0,
            histogram,
        }
    };
    LiveFrame {
        partition: 0,
        epoch,
        from,
        to: from + 1,
        published_ms: now_ms,
        newest_received_ms: now_ms,
        cells: (0..routes).map(cell).collect(),
    }
}
