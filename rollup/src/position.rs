//! Positions: offsets that grow for ever, even over a log that began anew.
//!
//! Arrives: an offset of the log, and how often a person accepted that the log is another one. Leaves: one number.
//!
//! Everything that is stored or published speaks of positions; only who talks to the log itself turns them back into
//! offsets. While no log was ever replaced, position and offset are the same number.

use std::fmt;

use peep_log::Offset;

/// A place in all that a partition of the log ever held: generation of the log × 2^40 + offset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// Of an offset in a generation. An offset that does not fit is a log no one can have written; it saturates, and the
    /// log refuses to read there.
    pub fn new(generation: u32, offset: Offset) -> Self {
        Self((u64::from(generation) << OFFSET_BITS) | offset.0.min(OFFSET_MAX))
    }

    /// How often the log began anew.
    pub fn generation(self) -> u32 {
        (self.0 >> OFFSET_BITS) as u32
    }

    /// The offset in the log of that generation.
    pub fn offset(self) -> Offset {
        Offset(self.0 & OFFSET_MAX)
    }

    /// The position of another offset in the same generation.
    pub fn at(self, offset: Offset) -> Self {
        Self::new(self.generation(), offset)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.generation() {
            0 => write!(f, "offset {}", self.offset()),
            generation => write!(f, "offset {} of generation {generation}", self.offset()),
        }
    }
}

/// 10^12 records: at 10 000 a second, three years of one partition. Generations have the 23 bits that are left of a bigint.
const OFFSET_BITS: u32 = 40;
const OFFSET_MAX: u64 = (1 << OFFSET_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_its_offset_until_the_log_begins_anew() {
        let first = Position::new(0, Offset(77));
        assert_eq!((first.0, first.generation(), first.offset()), (77, 0, Offset(77)));
        let second = Position::new(3, Offset(5));
        assert_eq!((second.generation(), second.offset()), (3, Offset(5)));
        assert!(second > first && second.at(Offset(6)) > second);
        assert_eq!((first.to_string(), second.to_string()), ("offset 77".into(), "offset 5 of generation 3".into()));
    }
}
