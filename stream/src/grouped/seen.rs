//! When something was last seen, as exactly as is known.

/// When the newest of some requests ended: at `from_ms` or later, and at `to_ms` or earlier. What is said of it is `from_ms`, which
/// stays where it is while nothing arrives, and never lies after the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Unix milliseconds.
    pub from_ms: i64,
    /// The last millisecond that is possible.
    pub to_ms: i64,
}

impl Seen {
    /// No request yet.
    pub const NEVER: Seen = Seen { from_ms: i64::MIN, to_ms: i64::MIN };

    /// To the millisecond.
    pub fn at(ms: i64) -> Self {
        Self { from_ms: ms, to_ms: ms }
    }

    /// Somewhere in so many seconds.
    pub fn within(start_s: i64, width_s: i64) -> Self {
        Self { from_ms: start_s * 1000, to_ms: (start_s + width_s) * 1000 - 1 }
    }

    /// Of both together.
    pub fn or(self, other: Self) -> Self {
        Self { from_ms: self.from_ms.max(other.from_ms), to_ms: self.to_ms.max(other.to_ms) }
    }

    /// The newest of more requests than these ended at that millisecond: when these can be meant, they are.
    pub fn settle(&mut self, newest_ms: i64) {
        if (self.from_ms..=self.to_ms).contains(&newest_ms) {
            *self = Self::at(newest_ms);
        }
    }

    /// What is said of it.
    pub fn known_ms(self) -> Option<i64> {
        (self != Self::NEVER).then_some(self.from_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_said_to_the_millisecond_only_where_it_can_be_meant() {
        let bucket = || Seen::within(1020, 10);
        let settled = |ms| {
            let mut seen = bucket();
            seen.settle(ms);
            seen
        };
        assert_eq!(settled(1_029_999), Seen::at(1_029_999));
        assert_eq!((settled(1_030_000), settled(1_019_999)), (bucket(), bucket()), "of another time");
        assert_eq!(Seen::NEVER.or(bucket()).or(Seen::at(1_021_500)), Seen { from_ms: 1_021_500, to_ms: 1_029_999 });
        assert_eq!((Seen::NEVER.known_ms(), bucket().known_ms()), (None, Some(1_020_000)));
    }
}
