//! Text from strangers on an operator's terminal.
//!
//! What lies in a dead letter may have been written to do something to whoever looks at it: escape sequences that rewrite
//! the screen, marks that reverse the reading direction. Nothing of that gets through.

use std::fmt::Write as _;

/// The text with everything that does not simply take up room replaced by its code.
pub(super) fn safe(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_plain(character) {
            shown.push(character);
        } else {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
        }
    }
    shown
}

/// `safe`, cut to a width.
pub(super) fn cell(text: &str, width: usize) -> String {
    let cut: String = text.chars().take(width + 1).collect();
    if cut.chars().count() <= width {
        return safe(&cut);
    }
    format!("{}…", safe(&cut.chars().take(width.saturating_sub(1)).collect::<String>()))
}

/// Sixteen bytes to a line: place, hexadecimal, and what is printable ASCII.
pub(super) fn hex_dump(bytes: &[u8]) -> String {
    let mut dump = String::with_capacity(bytes.len() * 5);
    for (number, line) in bytes.chunks(16).enumerate() {
        let _ = write!(dump, "{:08x} ", number * 16);
        for place in 0..16 {
            match line.get(place) {
                Some(byte) => _ = write!(dump, " {byte:02x}"),
                None => dump.push_str("   "),
            }
        }
        let printable = |byte: &u8| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' };
        let _ = writeln!(dump, "  |{}|", line.iter().map(printable).collect::<String>());
    }
    dump
}

fn is_plain(character: char) -> bool {
    let code = u32::from(character);
    let is_invisible = matches!(
        code,
        // Soft hyphen, joiners and directions, separators, invisible operators, byte order mark, annotations, tags.
        0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb
            | 0xe0000..=0xe0fff
    );
    !character.is_control() && !is_invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_the_cursor_gets_through() {
        assert_eq!(safe("a\u{1b}[2Jb\r\n\u{9b}c\u{7f}"), "a\\u{1b}[2Jb\\u{d}\\u{a}\\u{9b}c\\u{7f}");
        assert_eq!(safe("user\u{202e}gpj.exe\u{200b}"), "user\\u{202e}gpj.exe\\u{200b}");
        assert_eq!(safe("Grüße, 世界 🦀"), "Grüße, 世界 🦀");
    }

    #[test]
    fn a_cell_is_cut_and_says_so() {
        assert_eq!((cell("abc", 3), cell("abcd", 3)), ("abc".to_owned(), "ab…".to_owned()));
    }

    #[test]
    fn a_dump_shows_every_byte_and_only_printable_ascii() {
        let dump = hex_dump(b"GET \x1b[31m /caf\xc3\xa9\n");
        assert_eq!(
            dump,
            "00000000  47 45 54 20 1b 5b 33 31 6d 20 2f 63 61 66 c3 a9  |GET .[31m /caf..|\n\
             00000010  0a                                               |.|\n"
        );
    }
}
