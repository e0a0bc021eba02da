//! Text to values and back, for units people write: bytes, spans of time, addresses. Pure.

use std::net::{Ipv4Addr, SocketAddr};

const BYTE_UNITS: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];

pub(super) fn parse_bytes(text: &str) -> Result<usize, String> {
    // Decimal units are refused rather than guessed: 8MB read as 8MiB is a limit five percent off.
    let expected = || "is not a number of bytes; write 65536, 64KiB, 8MiB or 1GiB".to_owned();
    let (digits, unit) = split_unit(text);
    let factor = match unit {
        "" | "B" => 1,
        unit => BYTE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(expected)?.1,
    };
    let number: usize = digits.parse().map_err(|_| expected())?;
    number.checked_mul(factor).ok_or_else(expected)
}

pub(super) fn show_bytes(value: usize) -> String {
    let unit = BYTE_UNITS.iter().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    unit.map_or_else(|| value.to_string(), |(name, factor)| format!("{}{name}", value / factor))
}

pub(super) fn parse_ms(text: &str) -> Result<u64, String> {
    let expected = || "is not a span of time; write 250ms, 10s, 5min, 24h, 7d, or a number of milliseconds".to_owned();
    let (digits, unit) = split_unit(text);
    let factor = match unit {
        "" => 1,
        unit => TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(expected)?.1,
    };
    let number: u64 = digits.parse().map_err(|_| expected())?;
    number.checked_mul(factor).ok_or_else(expected)
}

pub(super) fn show_ms(value: u64) -> String {
    // Days only from two on: 24h says "a day" more plainly than 1d.
    let fits = |factor: u64| value.is_multiple_of(factor) && value >= factor && (factor < 86_400_000 || value > factor);
    let unit = TIME_UNITS.iter().find(|(_, factor)| fits(*factor));
    unit.map_or_else(|| format!("{value}ms"), |(name, factor)| format!("{}{name}", value / factor))
}

pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    // `localhost` without a resolver: start-up must not depend on DNS.
    let by_name = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    by_name
        .map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .or_else(|| text.parse().ok())
        .ok_or_else(|| "is not an address; write host:port such as 127.0.0.1:4318 or 0.0.0.0:4318".to_owned())
}

fn split_unit(text: &str) -> (&str, &str) {
    let at = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(at);
    (digits, unit.trim_start())
}

/// Whether two names differ by at most two insertions, deletions or replacements (Levenshtein, early exit by length).
pub(super) fn at_most_two_edits(left: &str, right: &str) -> bool {
    if left.len().abs_diff(right.len()) > 2 {
        return false;
    }
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let replace = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replace.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()] <= 2
}
