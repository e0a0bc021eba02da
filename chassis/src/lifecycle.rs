//! The life of a process: it runs until a signal or a task that ended asks it to stop, then stops step by step.
//!
//! - [`Shutdown`] is handed to everything that runs and carries the one message there is: "stop now, within your budget".
//! - [`Tasks`] holds what must run as long as the process does. A task that ends outside shutdown takes the process down: half a
//!   process that looks alive is worse than a restart.
//! - [`step`] runs one step of a shutdown, says its name and budget before and the outcome after, and goes on when the budget is
//!   spent: a step that hangs must not take the budget of the next one.
//!
//! Promised: the first signal is a request, the second ends the process at once. Not done: restarting a task.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A request to stop, shared by everything that runs in a process. Cheap to clone; once requested it stays requested.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Requested by SIGTERM or SIGINT; a second signal ends the process without waiting for anything.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let requested = shutdown.clone();
        tokio::spawn(async move {
            let name = next_signal(&mut terminate, &mut interrupt).await.0;
            tracing::info!(signal = name, "shutdown requested; a second signal ends the process at once");
            requested.request();
            let (name, code) = next_signal(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = name, "second signal: ending at once");
            std::process::exit(code);
        });
        Ok(shutdown)
    }

    /// Asks everything that holds a clone to stop. Repeating it is harmless.
    pub fn request(&self) {
        self.token.cancel();
    }

    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves once shutdown is requested; at once when it already is.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// A token that fires with this one, for libraries that speak `CancellationToken`.
    pub fn token(&self) -> CancellationToken {
        self.token.child_token()
    }

    /// A part of the process that can be stopped on its own and always stops with the whole.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token() }
    }
}

/// Name and conventional exit code (128 + number) of whichever comes first.
async fn next_signal(
    terminate: &mut tokio::signal::unix::Signal,
    interrupt: &mut tokio::signal::unix::Signal,
) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", 143),
        _ = interrupt.recv() => ("SIGINT", 130),
    }
}

/// Runs one step of a shutdown within its budget. `None`: the budget was spent and the step was abandoned where it stood.
pub async fn step<T>(name: &'static str, budget: Duration, work: impl Future<Output = T>) -> Option<T> {
    let (started, budget_ms) = (Instant::now(), millis(budget));
    tracing::info!(step = name, budget_ms, "shutdown step starts");
    let outcome = tokio::time::timeout(budget, work).await.ok();
    let elapsed_ms = millis(started.elapsed());
    match outcome {
        Some(_) => tracing::info!(step = name, elapsed_ms, "shutdown step done"),
        None => tracing::warn!(step = name, budget_ms, "shutdown step abandoned: its budget is spent"),
    }
    outcome
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Why the process stopped although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    #[error("{task} ended on its own")]
    Ended { task: &'static str },
    #[error("{task} failed: {reason}")]
    Failed { task: &'static str, reason: String },
    #[error("{task} panicked")]
    Panicked { task: &'static str },
}

/// The named tasks that make up a process.
#[derive(Default)]
pub struct Tasks {
    running: JoinSet<Result<(), String>>,
    /// Who is running. Names survive a panic here.
    names: Vec<(Id, &'static str)>,
}

impl Tasks {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn spawn<E: Display>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        // `{:#}` so that a chain of causes is one line.
        let task = self.running.spawn(async move { work.await.map_err(|error| format!("{error:#}")) });
        self.names.push((task.id(), name));
    }

    /// Waits until shutdown is requested (`Ok`) or a task ends before that (`Err`). The other tasks go on running.
    ///
    /// # Errors
    /// The first task that ended.
    pub async fn run_until(&mut self, shutdown: &Shutdown) -> Result<(), TaskError> {
        tokio::select! {
            biased;
            () = shutdown.requested() => Ok(()),
            Some(ended) = self.running.join_next_with_id() => {
                let (task, outcome) = self.name_end(ended);
                let error = outcome.err().unwrap_or(TaskError::Ended { task });
                tracing::error!(error = %error, "a task ended outside shutdown; stopping the process");
                Err(error)
            }
            else => Ok(()),
        }
    }

    /// Waits until the task of this name has ended: after it was asked to, under a budget.
    ///
    /// # Errors
    /// When it, or another one meanwhile, failed or panicked.
    pub async fn finish(&mut self, name: &'static str) -> Result<(), TaskError> {
        let mut first = Ok(());
        while self.names.iter().any(|(_, running)| *running == name) {
            let Some(ended) = self.running.join_next_with_id().await else { break };
            if let (_, Err(error)) = self.name_end(ended) {
                tracing::error!(error = %error, "a task failed during shutdown");
                first = first.and(Err(error));
            }
        }
        first
    }

    /// The name of a task that ended and how; forgets it.
    fn name_end(
        &mut self,
        ended: Result<(Id, Result<(), String>), JoinError>,
    ) -> (&'static str, Result<(), TaskError>) {
        match ended {
            Ok((id, outcome)) => {
                let task = self.forget(id);
                (task, outcome.map_err(|reason| TaskError::Failed { task, reason }))
            }
            Err(error) => {
                let task = self.forget(error.id());
                (task, Err(TaskError::Panicked { task }))
            }
        }
    }

    fn forget(&mut self, id: Id) -> &'static str {
        let place = self.names.iter().position(|(known, _)| *known == id);
        place.map_or("task", |place| self.names.swap_remove(place).1)
    }
}

#[cfg(test)]
mod tests;
