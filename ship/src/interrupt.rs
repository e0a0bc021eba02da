//! Ctrl-C and SIGTERM: the first asks for a tidy end (send what was read), the second ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Set once, seen by every thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// One that a signal sets. The listening thread lives as long as the process.
    pub(crate) fn on_signal() -> std::io::Result<Self> {
        let interrupt = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let raised = interrupt.clone();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(listen(raised)))?;
        Ok(interrupt)
    }

    pub(crate) fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sleeps until `pause` is over or the interrupt is raised.
    pub(crate) fn sleep(&self, pause: Duration) {
        let end = Instant::now() + pause;
        while !self.is_raised() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}

async fn listen(interrupt: Interrupt) {
    for count in 0_u32.. {
        if signal().await.is_err() {
            return;
        }
        if count > 0 {
            // What a shell reports for a process that SIGINT ended.
            std::process::exit(130);
        }
        interrupt.raise();
    }
}

#[cfg(unix)]
async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
