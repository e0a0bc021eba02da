//! HTTP request methods as OpenTelemetry names them.

/// A method of the closed set that peep keeps; the number is its value in the record.
///
/// Source: OpenTelemetry HTTP semantic conventions, `http.request.method`: anything unknown becomes `_OTHER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Method(u8);

const NAMES: [&str; 12] =
    ["", "_OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

impl Method {
    /// No method was sent.
    pub const ABSENT: Method = Method(0);
    /// A method outside the standard set.
    pub const OTHER: Method = Method(1);

    /// Recognises a method in any case; whatever is not standard becomes [`Method::OTHER`].
    #[inline]
    pub fn from_name(name: &str) -> Method {
        // What nearly every event says, without walking the list.
        match name {
            "" => return Method::ABSENT,
            "GET" => return Method(2),
            "POST" => return Method(4),
            _ => {}
        }
        let known = NAMES.iter().skip(2).position(|known| known.eq_ignore_ascii_case(name));
        known.map_or(Method::OTHER, |at| Method(at as u8 + 2))
    }

    /// [`Method::from_name`] of up to eight bytes of text, the first lowest and zeros behind it; `None` when it is not one of
    /// the names in capitals. No branch tells the methods apart: which one comes next cannot be predicted.
    #[inline]
    pub(crate) fn from_word(word: u64) -> Option<Method> {
        let number = NUMBERS[slot(word)];
        (WORDS[usize::from(number)] == word).then_some(Method(number))
    }

    /// The name in capitals; empty when absent.
    pub fn as_str(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }

    pub(crate) fn number(self) -> u64 {
        u64::from(self.0)
    }

    pub(crate) fn from_number(number: u64) -> Option<Method> {
        (number < NAMES.len() as u64).then_some(Method(number as u8))
    }
}

/// Where [`NUMBERS`] has the number of a name: a multiplier under which no two names meet, found by trying.
const fn slot(word: u64) -> usize {
    (word.wrapping_mul(0xf3c64af775a89295) >> 60) as usize
}

/// The names as words, by number; `_OTHER` is none.
static WORDS: [u64; NAMES.len()] = {
    let mut words = [0; NAMES.len()];
    let mut number = 2;
    while number < NAMES.len() {
        let name = NAMES[number].as_bytes();
        let mut at = 0;
        while at < name.len() {
            words[number] |= (name[at] as u64) << (8 * at);
            at += 1;
        }
        number += 1;
    }
    words
};

/// The number of the name in each slot.
static NUMBERS: [u8; 16] = {
    let mut numbers = [0; 16];
    let mut number = 2;
    while number < NAMES.len() {
        numbers[slot(WORDS[number])] = number as u8;
        number += 1;
    }
    numbers
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_in_any_case_and_the_rest_is_other() {
        for (number, name) in NAMES.iter().enumerate().filter(|(number, _)| *number != 1) {
            assert_eq!(Method::from_name(name), Method(number as u8));
            assert_eq!(Method::from_name(&name.to_lowercase()), Method(number as u8));
        }
        assert_eq!(Method::from_name("BREW"), Method::OTHER);
    }

    #[test]
    fn a_word_is_a_method_only_if_it_is_its_name() {
        let word = |name: &str| name.bytes().rev().fold(0, |word, byte| word << 8 | u64::from(byte));
        for name in NAMES.iter().skip(2) {
            assert_eq!(Method::from_word(word(name)), Some(Method::from_name(name)));
        }
        for name in ["BREW", "get", "GETS", "_OTHER", "OPTIONSX"] {
            assert_eq!(Method::from_word(word(name)), None, "{name}");
        }
    }
}
