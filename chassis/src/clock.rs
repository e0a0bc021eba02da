//! The only wall clock. Code that needs "now" takes a [`Clock`], so that a test can hold the hands.
//!
//! Durations and deadlines do not come from here: they use `tokio::time`, which never jumps.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Cheap to clone; clones of a manual clock share their hands.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual: Option<Arc<AtomicI64>>,
}

impl Clock {
    pub fn system() -> Self {
        Self { manual: None }
    }

    /// Stands still at `now_ms` until told otherwise.
    pub fn manual(now_ms: i64) -> Self {
        Self { manual: Some(Arc::new(AtomicI64::new(now_ms))) }
    }

    /// Unix time in milliseconds.
    pub fn now_ms(&self) -> i64 {
        match &self.manual {
            Some(hands) => hands.load(Ordering::Acquire),
            None => system_now_ms(),
        }
    }

    /// Moves a manual clock forward; the system's clock does not listen.
    pub fn advance(&self, by: Duration) {
        debug_assert!(self.manual.is_some(), "only a manual clock can be advanced");
        if let Some(hands) = &self.manual {
            hands.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::AcqRel);
        }
    }
}

fn system_now_ms() -> i64 {
    let signed = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    // A machine set to before 1970 still gets a number that goes up.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or_else(|before| -signed(before.duration()), signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told_and_for_every_clone() {
        let clock = Clock::manual(1_000);
        let other = clock.clone();
        clock.advance(Duration::from_millis(250));
        assert_eq!((clock.now_ms(), other.now_ms()), (1_250, 1_250));
    }

    #[test]
    fn the_system_clock_is_past_2025() {
        assert!(Clock::system().now_ms() > 1_735_689_600_000);
    }
}
