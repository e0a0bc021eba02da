//! Whether bytes that come in pieces are UTF-8, told at the first byte that is not (Unicode, table 3-7).

/// What may come next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Utf8 {
    /// Bytes that the character still needs.
    needed: u8,
    /// Bounds of the next one of them.
    low: u8,
    high: u8,
}

impl Default for Utf8 {
    fn default() -> Self {
        Self { needed: 0, low: CONTINUATION.0, high: CONTINUATION.1 }
    }
}

impl Utf8 {
    /// Whether everything so far is UTF-8 or the beginning of it.
    pub(super) fn take(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| self.take_one(*byte))
    }

    /// Whether no character is cut in the middle.
    pub(super) fn is_whole(&self) -> bool {
        self.needed == 0
    }

    fn take_one(&mut self, byte: u8) -> bool {
        if self.needed > 0 {
            let fits = (self.low..=self.high).contains(&byte);
            (self.low, self.high) = CONTINUATION;
            self.needed -= 1;
            return fits;
        }
        let (needed, (low, high)) = match byte {
            0x00..=0x7f => return true,
            0xc2..=0xdf => (1, CONTINUATION),
            // Shorter forms, surrogates and what lies beyond U+10FFFF are excluded by the second byte.
            0xe0 => (2, (0xa0, 0xbf)),
            0xed => (2, (0x80, 0x9f)),
            0xe1..=0xef => (2, CONTINUATION),
            0xf0 => (3, (0x90, 0xbf)),
            0xf1..=0xf3 => (3, CONTINUATION),
            0xf4 => (3, (0x80, 0x8f)),
            _ => return false,
        };
        (self.needed, self.low, self.high) = (needed, low, high);
        true
    }
}

const CONTINUATION: (u8, u8) = (0x80, 0xbf);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The position of the first byte after which the standard library sees an error that more bytes cannot heal.
    fn first_error(bytes: &[u8]) -> Option<usize> {
        (1..=bytes.len())
            .find(|end| std::str::from_utf8(&bytes[..*end]).is_err_and(|error| error.error_len().is_some()))
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library_byte_by_byte(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), 0x80u8..=0xbf, prop::sample::select(vec![0xe0u8, 0xed, 0xf0, 0xf4, 0xc1, 0x41])],
                0..12,
            )
        ) {
            let mut utf8 = Utf8::default();
            let seen = bytes.iter().position(|byte| !utf8.take(&[*byte])).map(|at| at + 1);
            prop_assert_eq!(seen, first_error(&bytes));
            if seen.is_none() {
                prop_assert_eq!(utf8.is_whole(), std::str::from_utf8(&bytes).is_ok());
            }
        }
    }
}
