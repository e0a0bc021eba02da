//! `ts`: RFC 3339 text to Unix milliseconds, and spans of time as errors show them.

use jiff::civil;
use jiff::fmt::temporal::{Pieces, PiecesOffset};

/// Reads a timestamp with its zone; `None` when it is none.
pub(super) fn unix_ms(text: &str) -> Option<i64> {
    // jiff also takes a few friendly variants (a space for the `T`, a lower-case `z`); harmless, so kept.
    match text.parse::<jiff::Timestamp>() {
        Ok(timestamp) if text.ends_with('Z') || is_offset_of_a_day(text) => Some(timestamp.as_millisecond()),
        Ok(_) => None,
        Err(_) => unusual(text),
    }
}

/// RFC 3339 has offsets of up to 23 hours; jiff takes up to 25.
fn is_offset_of_a_day(text: &str) -> bool {
    let time = text.find(['T', 't', ' ']).map_or("", |at| &text[at..]);
    let hours = time.find(['+', '-']).and_then(|at| time.get(at + 1..at + 3));
    hours.is_none_or(|hours| hours < "24")
}

/// What is RFC 3339 and yet nothing jiff makes a timestamp of: the last hours of the year 9999, and fractions finer than
/// nanoseconds, which are cut.
#[cold]
fn unusual(text: &str) -> Option<i64> {
    let text = without_fine_digits(text);
    let pieces = Pieces::parse(text.as_str()).ok().filter(|_| is_offset_of_a_day(&text))?;
    let offset_s = match pieces.offset()? {
        PiecesOffset::Zulu => 0,
        PiecesOffset::Numeric(offset) => i64::from(offset.offset().seconds()),
        _ => return None,
    };
    let since = pieces.date().to_datetime(pieces.time()?).duration_since(EPOCH);
    Some(i64::try_from(since.as_millis()).ok()? - offset_s * 1000)
}

/// The text without the digits of a fraction that follow the ninth.
fn without_fine_digits(text: &str) -> String {
    let Some(point) = text.find('.') else { return text.to_owned() };
    let (whole, fraction) = text.split_at(point + 1);
    let end = fraction.find(|char: char| !char.is_ascii_digit()).unwrap_or(fraction.len());
    format!("{whole}{}{}", &fraction[..end.min(9)], &fraction[end..])
}

const EPOCH: civil::DateTime = civil::date(1970, 1, 1).at(0, 0, 0, 0);

/// Two spans of time, of which the first is the longer one, in the largest unit that shows it; `unit` at most, and one in
/// which the second is a whole number.
pub(crate) fn told_apart(longer_ms: i64, shorter_ms: i64, unit: &str) -> (String, String) {
    let units = UNITS.iter().skip_while(|(name, _)| *name != unit);
    let shows = |ms: i64| shorter_ms % ms == 0 && longer_ms / ms > shorter_ms / ms;
    let (name, ms) = units.copied().find(|(_, ms)| shows(*ms)).unwrap_or(("ms", 1));
    (format!("{} {name}", longer_ms / ms), format!("{} {name}", shorter_ms / ms))
}

/// From the largest, in milliseconds.
const UNITS: [(&str, i64); 4] = [("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rfc_3339_allows_is_read() {
        for (text, ms) in [
            ("1970-01-01T00:00:01Z", 1000),
            ("1970-01-01T00:00:01.1234567891Z", 1123),
            ("1970-01-01T00:00:01.99999999999999999999+00:00", 1999),
            ("1970-01-01T23:59:00+23:59", 0),
            ("1969-12-31T00:00:00-23:59", -60_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
            ("9999-12-31T23:59:59.5-12:00", 253_402_343_999_500),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
        ] {
            assert_eq!(unix_ms(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn what_it_does_not_allow_is_not() {
        for text in [
            "1970-01-02T00:00:00+24:00",
            "1970-01-02T00:00:00+25:00",
            "1970-01-02T00:00:00-25:59",
            "9999-12-31T23:59:59+24:00",
            "9999-12-31T23:59:59",
            "9999-12-31",
            "10000-01-01T00:00:00Z",
            "1970-01-01T00:00:01.1234567891",
            "1970-01-01T24:00:00Z",
            "1.1234567891",
            "",
        ] {
            assert_eq!(unix_ms(text), None, "{text}");
        }
    }

    #[test]
    fn a_limit_and_what_is_beyond_it_never_look_the_same() {
        let apart = |longer, shorter, unit| {
            let (longer, shorter) = told_apart(longer, shorter, unit);
            format!("{longer}, {shorter}")
        };
        let month = 720 * 3_600_000;
        assert_eq!(apart(month + 7_200_000, month, "h"), "722 h, 720 h");
        assert_eq!(apart(month + 60_000, month, "h"), "43201 min, 43200 min");
        assert_eq!(apart(month + 1, month, "h"), "2592000001 ms, 2592000000 ms");
        assert_eq!(apart(10 * 3_600_000, 90 * 60_000, "h"), "600 min, 90 min");
        assert_eq!(apart(86_400_000, 300_000, "s"), "86400 s, 300 s");
    }
}
