//! Positions of the books and offsets of the log.
//!
//! Everything that is stored says where it lies by a position: generation × 2^40 + offset. The generation rises when a
//! person accepts that a log is another one than the one that was counted (`log_break`); a log that never was replaced has
//! generation 0, and there the two are the same number.

/// The position of an offset.
pub fn position(generation: u64, offset: u64) -> u64 {
    (generation << OFFSET_BITS) | offset.min(OFFSET_MAX)
}

/// How often the log began anew before this position.
pub fn generation(position: u64) -> u64 {
    position >> OFFSET_BITS
}

/// The offset in the log of its generation.
pub fn offset(position: u64) -> u64 {
    position & OFFSET_MAX
}

/// As the rollup has it.
const OFFSET_BITS: u32 = 40;
const OFFSET_MAX: u64 = (1 << OFFSET_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_its_offset_until_the_log_begins_anew() {
        assert_eq!(position(0, 77), 77);
        let second = position(3, 5);
        assert_eq!((generation(second), offset(second)), (3, 5));
        assert!(second > position(2, OFFSET_MAX) && position(0, u64::MAX) < position(1, 0));
    }
}
