//! Points in time and spans of time as access logs write them.
//!
//! In: bytes of a log field. Out: Unix milliseconds, or microseconds for durations, as integers; `None` for anything
//! that is not exactly a time. Promised: no panic on any input, no rounding of what was written (a fraction beyond
//! the unit is cut off). Not done: time zones by name, leap seconds (`:60` counts as `:59`).

/// The only clock of the shipper, in Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// `17/May/2015:10:05:03 +0000`, the local time format that nginx and Apache share.
pub(crate) fn parse_common_log(text: &[u8]) -> Option<i64> {
    let text: &[u8; COMMON_LOG_LENGTH] = text.try_into().ok()?;
    let punctuation = [(2, b'/'), (6, b'/'), (11, b':'), (14, b':'), (17, b':'), (20, b' ')];
    if punctuation.iter().any(|&(index, byte)| text[index] != byte) {
        return None;
    }
    let month = month_by_name(&text[3..6])?;
    let seconds = civil_seconds(
        [digits(&text[7..11])?, month, digits(&text[0..2])?],
        [digits(&text[12..14])?, digits(&text[15..17])?, digits(&text[18..20])?],
    )?;
    let offset = zone_seconds(&text[21..26])?;
    Some((seconds - offset) * 1000)
}

/// RFC 3339 or ISO 8601 with a date, a time and a zone: `2024-10-12T23:14:20+09:00`, `…20.123Z`, `… +0900`.
pub(crate) fn parse_iso(text: &[u8]) -> Option<i64> {
    if text.len() < 20 || text[4] != b'-' || text[7] != b'-' || text[13] != b':' || text[16] != b':' {
        return None;
    }
    if !matches!(text[10], b'T' | b't' | b' ') {
        return None;
    }
    let seconds = civil_seconds(
        [digits(&text[0..4])?, digits(&text[5..7])?, digits(&text[8..10])?],
        [digits(&text[11..13])?, digits(&text[14..16])?, digits(&text[17..19])?],
    )?;
    let mut rest = &text[19..];
    let mut milliseconds = 0;
    if let Some(fraction) = rest.strip_prefix(b".").or_else(|| rest.strip_prefix(b",")) {
        let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        milliseconds = fraction_of(&fraction[..length], 3)?;
        rest = &fraction[length..];
    }
    let offset = match rest.trim_ascii_start() {
        b"Z" | b"z" => 0,
        zone => zone_seconds(zone)?,
    };
    Some((seconds - offset) * 1000 + milliseconds as i64)
}

/// Seconds since 1970 with an optional fraction (nginx `$msec`: `1795196652.167`), or milliseconds when the integer
/// has 12 digits or more; fewer than 9 digits is no date of a log anyone still has.
pub(crate) fn parse_epoch(text: &[u8]) -> Option<i64> {
    let (whole, fraction) = split_fraction(text)?;
    let value = i64::try_from(digits_64(whole)?).ok()?;
    match whole.len() {
        9..=11 => value.checked_mul(1000)?.checked_add(fraction_of(fraction, 3)? as i64),
        12..=14 => Some(value),
        _ => None,
    }
}

/// What a duration field counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DurationUnit {
    /// seconds, as nginx writes `$request_time`
    S,
    /// milliseconds
    Ms,
    /// microseconds, as Apache writes `%D`
    Us,
}

/// A decimal number in `unit`, in microseconds.
pub(crate) fn parse_duration_us(text: &[u8], unit: DurationUnit) -> Option<u64> {
    let (whole, fraction) = split_fraction(text)?;
    let (factor, places) = match unit {
        DurationUnit::S => (1_000_000, 6),
        DurationUnit::Ms => (1_000, 3),
        DurationUnit::Us => (1, 0),
    };
    digits_64(whole)?.checked_mul(factor)?.checked_add(fraction_of(fraction, places)?)
}

/// The elements of what nginx writes of its upstreams, one for each server that was asked: `0.001, 0.002 : 0.003`; `-` for one
/// that never answered.
pub(crate) fn upstream_elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = list.split(|&byte| byte == b' ').map(|word| word.strip_suffix(b",").unwrap_or(word));
    words.filter(|word| !matches!(*word, b"" | b":" | b"-"))
}

/// How long all of them took together; a single time is a list of one.
pub(crate) fn parse_upstream_us(list: &[u8], unit: DurationUnit) -> Option<u64> {
    upstream_elements(list)
        .map(|element| parse_duration_us(element, unit))
        .reduce(|sum, next| sum?.checked_add(next?))?
}

/// `dd/Mon/yyyy:HH:MM:SS +zzzz`.
pub(crate) const COMMON_LOG_LENGTH: usize = 26;

/// The digits before and after the point; the point and what follows may be missing.
fn split_fraction(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let point = text.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = match point {
        Some(index) => (&text[..index], &text[index + 1..]),
        None => (text, &[][..]),
    };
    let valid = !whole.is_empty() && point.is_none_or(|_| !fraction.is_empty());
    (valid && fraction.iter().all(u8::is_ascii_digit)).then_some((whole, fraction))
}

/// The first `places` digits of a fraction as an integer: `fraction_of("5", 3)` is 500.
fn fraction_of(fraction: &[u8], places: usize) -> Option<u64> {
    let mut value = 0;
    for index in 0..places {
        let digit = match fraction.get(index) {
            Some(byte) if byte.is_ascii_digit() => byte - b'0',
            Some(_) => return None,
            None => 0,
        };
        value = value * 10 + u64::from(digit);
    }
    Some(value)
}

fn digits(text: &[u8]) -> Option<i64> {
    digits_64(text).and_then(|value| i64::try_from(value).ok())
}

fn digits_64(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 15 {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0')))
}

fn zone_seconds(zone: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match zone {
        [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] => (sign, [*h1, *h2], [*m1, *m2]),
        [sign, h1, h2] => (sign, [*h1, *h2], *b"00"),
        _ => return None,
    };
    let seconds = digits(&hours)? * 3600 + digits(&minutes)? * 60;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

fn month_by_name(name: &[u8]) -> Option<i64> {
    const NAMES: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    NAMES.iter().position(|candidate| name == *candidate).map(|index| index as i64 + 1)
}

/// Seconds since 1970 of a date and a time of day in UTC.
fn civil_seconds([year, month, day]: [i64; 3], [hour, minute, second]: [i64; 3]) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last_day = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if !(1..=last_day).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970 by counting years from March, so that the leap day is the last day of a year.
    let march_year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = march_year * 365 + march_year.div_euclid(4) - march_year.div_euclid(100)
        + march_year.div_euclid(400)
        + day_of_year
        - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second.min(59))
}

#[cfg(test)]
mod tests;
