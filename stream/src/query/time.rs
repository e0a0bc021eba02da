//! Moments and spans as people write them.

use jiff::Timestamp;

/// A point in time, or a distance from the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Unix milliseconds.
    At(i64),
    /// Milliseconds before the present.
    BeforeNow(i64),
}

impl Moment {
    /// Unix milliseconds.
    pub(super) fn at(self, now_ms: i64) -> i64 {
        match self {
            Self::At(ms) => ms,
            Self::BeforeNow(ms) => now_ms - ms,
        }
    }
}

/// `now`, `-15m`, `now-15m`, Unix milliseconds, or RFC 3339.
pub(super) fn parse_moment(text: &str) -> Result<Moment, String> {
    let wrong = || {
        let shown: String = text.chars().take(60).collect();
        format!(
            "`{shown}` is not a time; write RFC 3339 (2026-11-20T14:00:00Z), Unix milliseconds, `now` or a span before \
             now such as `-15m`"
        )
    };
    if text == "now" {
        return Ok(Moment::BeforeNow(0));
    }
    let relative = text.strip_prefix("now").unwrap_or(text);
    if let Some(span) = relative.strip_prefix('-') {
        return parse_span_ms(span).map(Moment::BeforeNow).map_err(|_| wrong());
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let ms: i64 = text.parse().map_err(|_| wrong())?;
        return if ms <= YEAR_9999_MS { Ok(Moment::At(ms)) } else { Err(wrong()) };
    }
    // A `+` in a query string is a blank; an offset that lost it this way is still an offset.
    let timestamp: Timestamp = text.replace(' ', "+").parse().map_err(|_| wrong())?;
    let ms = timestamp.as_millisecond();
    if (0..=YEAR_9999_MS).contains(&ms) { Ok(Moment::At(ms)) } else { Err(wrong()) }
}

/// `10s`, `15m`, `6h`, `7d`, `2w`, `500ms`.
pub(super) fn parse_span_ms(text: &str) -> Result<i64, String> {
    let wrong = || {
        let shown: String = text.chars().take(60).collect();
        format!("`{shown}` is not a span of time; write a number and a unit, such as `10s`, `15m`, `6h` or `7d`")
    };
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: i64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_ms).filter(|ms| *ms <= YEAR_9999_MS).ok_or_else(wrong)
}

/// Beyond it, arithmetic on times would need care for nobody's benefit.
const YEAR_9999_MS: i64 = 253_402_300_799_000;
