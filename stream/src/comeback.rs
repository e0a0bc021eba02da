//! When somebody who is sent away may come back: never all at once.

use std::hash::{BuildHasher, RandomState};

/// Seconds, for one that was too slow.
pub fn after_slowness_s() -> u32 {
    5 + chance() % 10
}

/// Seconds, when the service restarts: it is back within a few.
pub fn after_restart_s() -> u32 {
    1 + chance() % 5
}

/// Different each time; for spreading, not for secrets.
fn chance() -> u32 {
    RandomState::new().hash_one(()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_spread() {
        let mut seconds: Vec<u32> = (0..200).map(|_| after_slowness_s()).collect();
        seconds.sort_unstable();
        seconds.dedup();
        assert_eq!(seconds, (5..15).collect::<Vec<_>>());
        assert!((0..200).all(|_| (1..=5).contains(&after_restart_s())));
    }
}
