//! One path segment: name or value?
//!
//! In: a decoded segment of plain ASCII. Out: the segment as it is, or with its variable parts replaced. The order of
//! the rules is the order of the code; the prose is in `wire/fixtures/route_templates.json`.

/// Appends the template of one segment.
pub(super) fn write_segment(segment: &str, out: &mut String) {
    let is_word = |byte: &u8| byte.is_ascii_alphabetic() || is_separator(*byte);
    if segment.len() < TOKEN_BYTES_MIN && segment.as_bytes().iter().all(is_word) {
        // Most segments. No rule makes anything else of them; they only take longer to say so.
        out.push_str(segment);
    } else {
        write_by_rules(segment, out);
    }
}

fn write_by_rules(segment: &str, out: &mut String) {
    let bytes = segment.as_bytes();
    match bytes {
        [b'@', _, ..] => return out.push_str("@{name}"),
        [b'~', _, ..] => return out.push_str("~{name}"),
        _ if bytes.contains(&b'@') => return out.push_str("{email}"),
        // Somebody's template already.
        _ if bytes.contains(&b'{') && segment.len() <= SEGMENT_BYTES_MAX => return out.push_str(segment),
        _ => {}
    }
    let (stem, extension) = split_extension(segment);
    write_stem(stem, out);
    out.push_str(extension);
}

/// A shorter piece of letters alone is a word.
const TOKEN_BYTES_MIN: usize = 32;

/// A longer name is content: a title, an encoded query, a token in pieces.
const SEGMENT_BYTES_MAX: usize = 64;

fn write_stem(stem: &str, out: &mut String) {
    let bytes = stem.as_bytes();
    let name = if is_uuid(bytes) {
        "{uuid}"
    } else if is_date(bytes) {
        "{date}"
    } else if is_number(bytes) {
        "{id}"
    } else if is_hex(bytes) {
        "{hex}"
    } else if is_token(bytes) {
        "{token}"
    } else if stem.len() > SEGMENT_BYTES_MAX {
        "{text}"
    } else {
        return write_pieces(stem, out);
    };
    out.push_str(name);
}

/// A name of several pieces, of which some may be values: `order-12345`, `main.3f2a9c1b`, `report-2024-10-12`.
fn write_pieces(stem: &str, out: &mut String) {
    let mut rest = stem;
    loop {
        let length = leading_value(rest.as_bytes(), out);
        let length = length.unwrap_or_else(|| {
            let end = rest.bytes().position(is_separator).unwrap_or(rest.len());
            out.push_str(&rest[..end]);
            end
        });
        rest = &rest[length..];
        let Some(separator) = rest.chars().next() else { return };
        out.push(separator);
        rest = &rest[separator.len_utf8()..];
    }
}

/// When `rest` begins with a piece that is a value, appends its name and returns the bytes it takes.
fn leading_value(rest: &[u8], out: &mut String) -> Option<usize> {
    let ends_at = |length: usize| rest.get(length).is_none_or(|&byte| is_separator(byte));
    if rest.len() >= UUID_LENGTH && is_uuid(&rest[..UUID_LENGTH]) && ends_at(UUID_LENGTH) {
        out.push_str("{uuid}");
        return Some(UUID_LENGTH);
    }
    if rest.len() >= DATE_LENGTH && is_date(&rest[..DATE_LENGTH]) && ends_at(DATE_LENGTH) {
        out.push_str("{date}");
        return Some(DATE_LENGTH);
    }
    let length = rest.iter().position(|&byte| is_separator(byte)).unwrap_or(rest.len());
    let piece = &rest[..length];
    if is_hex(piece) {
        out.push_str("{hex}");
    } else if is_numbered(piece) {
        out.push_str("{id}");
    } else {
        return None;
    }
    Some(length)
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'_' | b'.' | b':' | b'+')
}

/// `.json`, `.woff2`, `.m3u8`: up to four letters and digits, or up to eight letters with at most one digit behind.
fn split_extension(segment: &str) -> (&str, &str) {
    let Some(point) = segment.rfind('.').filter(|&point| point > 0) else {
        return (segment, "");
    };
    let extension = &segment.as_bytes()[point + 1..];
    let starts_well = extension.first().is_some_and(u8::is_ascii_alphabetic);
    let short = extension.len() <= 4 && extension.iter().all(u8::is_ascii_alphanumeric);
    let letters = extension.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let wordy =
        extension.len() <= 8 && extension.len() - letters <= 1 && extension[letters..].iter().all(u8::is_ascii_digit);
    if starts_well && (short || wordy) { segment.split_at(point) } else { (segment, "") }
}

const UUID_LENGTH: usize = 36;

fn is_uuid(text: &[u8]) -> bool {
    text.len() == UUID_LENGTH
        && text.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

const DATE_LENGTH: usize = 10;

/// `2024-10-12` or `2024_10_12`, alone or followed by a time of day (`T10:00:00Z`).
fn is_date(text: &[u8]) -> bool {
    let Some((day, time)) = text.split_at_checked(DATE_LENGTH) else { return false };
    let shape = day.iter().enumerate().all(|(index, byte)| match index {
        4 | 7 => matches!(byte, b'-' | b'_'),
        _ => byte.is_ascii_digit(),
    });
    let plausible = matches!(day[0], b'1' | b'2') && matches!(day[5], b'0' | b'1') && day[8] <= b'3';
    let timed = matches!(time, [b'T' | b't', digit, ..] if digit.is_ascii_digit());
    shape && plausible && (time.is_empty() || timed)
}

/// Digits, alone or with separators among them: `42`, `-7`, `12.5`, `10.0.0.1`, `1-2`.
fn is_number(text: &[u8]) -> bool {
    text.iter().any(u8::is_ascii_digit) && text.iter().all(|&byte| byte.is_ascii_digit() || is_separator(byte))
}

/// Eight or more hexadecimal digits, with a digit among them (`facade` and `deadbeef` are words) and a letter.
fn is_hex(text: &[u8]) -> bool {
    text.len() >= 8
        && text.iter().all(u8::is_ascii_hexdigit)
        && text.iter().any(u8::is_ascii_digit)
        && text.iter().any(u8::is_ascii_alphabetic)
}

/// Up to three letters and then four or more digits, but no year: `12345`, `p12601`, `AB123456`.
fn is_numbered(piece: &[u8]) -> bool {
    let letters = piece.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let digits = &piece[letters..];
    let year = letters == 0 && digits.len() == 4 && (digits.starts_with(b"19") || digits.starts_with(b"20"));
    letters <= 3 && digits.len() >= 4 && digits.iter().all(u8::is_ascii_digit) && !year
}

/// Base64, base62, hashes: padding at the end, 32 characters without a separator, or a piece that looks random.
/// Hexadecimal pieces are not meant: `main.3f2a9c1b.js` can still be told from `vendor.3f2a9c1b.js`.
fn is_token(text: &[u8]) -> bool {
    if text.len() >= 8 && text.ends_with(b"=") {
        return true;
    }
    text.split(|&byte| is_separator(byte))
        .any(|piece| !is_hex(piece) && (piece.len() >= TOKEN_BYTES_MIN || is_random(piece)))
}

/// Letters and digits that change their kind more often than names do. A change is lower case to upper case, letter
/// to digit or digit to letter: `UserV2Api` has three, `dQw4w9WgXcQ` has seven.
fn is_random(piece: &[u8]) -> bool {
    let digits = piece.iter().filter(|byte| byte.is_ascii_digit()).count();
    if piece.len() < 8 || digits == 0 || !piece.iter().all(u8::is_ascii_alphanumeric) {
        return false;
    }
    let changes = piece
        .windows(2)
        .filter(|pair| {
            let [a, b] = [pair[0], pair[1]];
            (a.is_ascii_lowercase() && b.is_ascii_uppercase()) || a.is_ascii_digit() != b.is_ascii_digit()
        })
        .count();
    if piece.len() < 16 {
        changes >= 4 && changes * 3 >= piece.len()
    } else {
        changes >= 5 || (piece.len() >= 24 && changes >= 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn the_short_way_says_what_the_rules_say(segment in "[a-fA-Fx._:+-]{1,40}") {
            let (mut short, mut by_rules) = (String::new(), String::new());
            write_segment(&segment, &mut short);
            write_by_rules(&segment, &mut by_rules);
            proptest::prop_assert_eq!(short, by_rules);
        }
    }
}
