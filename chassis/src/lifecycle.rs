//! The life of a process: it runs until a signal, a failed task or the end of its work asks it to stop.
//!
//! [`Shutdown`] is handed to everything that runs and carries the one message there is: "stop now, within your budget".

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
        Self {
            token: self.token.child_token(),
        }
    }
}

#[cfg(test)]
mod tests;
