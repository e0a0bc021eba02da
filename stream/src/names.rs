//! Names as sentences say them: whatever whoever sends events calls a thing, the words around the name keep their order.
//!
//! The same rule as in the dashboard (`dashboard/lib/format/isolate.ts`).

use std::borrow::Cow;

/// First strong isolate, and what ends it.
const OPEN: char = '\u{2068}';
const CLOSE: char = '\u{2069}';

/// Unchanged as long as nothing in it turns the direction of text; else between marks that keep the turn inside, with what
/// it opens closed after it and what it closes opened before.
pub fn isolated(name: &str) -> Cow<'_, str> {
    if !name.contains(turns) {
        return Cow::Borrowed(name);
    }
    let (mut opened, mut before) = (0_usize, 0_usize);
    for char in name.chars() {
        match char {
            '\u{2066}'..=OPEN => opened += 1,
            CLOSE if opened > 0 => opened -= 1,
            CLOSE => before += 1,
            _ => {}
        }
    }
    let mut text = String::with_capacity(name.len() + OPEN.len_utf8() * (before + opened + 2));
    text.extend(std::iter::repeat_n(OPEN, before + 1));
    // The end of a paragraph would end any isolate.
    text.extend(name.chars().map(|char| if char == '\u{2029}' { char::REPLACEMENT_CHARACTER } else { char }));
    text.extend(std::iter::repeat_n(CLOSE, opened + 1));
    Cow::Owned(text)
}

/// Scripts that run from right to left, marks of direction, and the end of a paragraph.
fn turns(char: char) -> bool {
    matches!(char,
        '\u{590}'..='\u{8ff}' | '\u{200e}' | '\u{200f}' | '\u{2029}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_name_stays_as_it_is() {
        for name in ["checkout", "GET /büy/{id}", "商店", "v1.0.0 “beta”", "👩‍💻", ""] {
            assert!(matches!(isolated(name), Cow::Borrowed(same) if same == name), "{name}");
        }
    }

    #[test]
    fn a_name_that_turns_is_kept_to_itself() {
        assert_eq!(isolated("\u{5d0}\u{5d1}"), "\u{2068}\u{5d0}\u{5d1}\u{2069}");
        assert_eq!(isolated("/\u{202e}xeslaf"), "\u{2068}/\u{202e}xeslaf\u{2069}");
    }

    #[test]
    fn a_name_can_neither_leave_its_isolate_nor_keep_it_open() {
        assert_eq!(isolated("a\u{2069}\u{202e}b"), "\u{2068}\u{2068}a\u{2069}\u{202e}b\u{2069}");
        assert_eq!(isolated("a\u{2067}b"), "\u{2068}a\u{2067}b\u{2069}\u{2069}");
        assert_eq!(
            isolated("\u{2069}a\u{2066}\u{2069}\u{2068}"),
            "\u{2068}\u{2068}\u{2069}a\u{2066}\u{2069}\u{2068}\u{2069}\u{2069}"
        );
        assert_eq!(isolated("a\u{2029}\u{202e}b"), "\u{2068}a\u{fffd}\u{202e}b\u{2069}");
    }
}
