//! `ts`: RFC 3339 text to Unix milliseconds.

/// Reads a timestamp with its zone; `None` when it is none.
pub(super) fn unix_ms(text: &str) -> Option<i64> {
    // jiff also takes a few friendly variants (a space for the `T`, a lower-case `z`); harmless, so kept.
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}
