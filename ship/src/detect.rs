//! Which format a log is in.
//!
//! In: the first lines, or one line. Out: a sentence for people; and for each line the parser that fits it. Promised:
//! with `auto` every line is judged by its first byte, so a log that changes its format half-way is still read, and so
//! is one whose first lines are torn; what a container runtime puts before each line is taken off. Not done: guessing formats in another field order.

use crate::args::Format;
use crate::combined::{self, Trailer};
use crate::json;
use crate::line::{AccessLine, Malformed};
use crate::time::DurationUnit;

/// A format with everything needed to read a line of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineFormat {
    Combined(Trailer),
    Json(DurationUnit),
    /// `{` begins JSON, anything else is combined.
    ByLine(Option<DurationUnit>),
}

impl LineFormat {
    pub(crate) fn parse<'a>(&self, line: &'a [u8]) -> Result<AccessLine<'a>, Malformed> {
        let line = without_container_prefix(line);
        match *self {
            Self::Combined(trailer) => combined::parse(line, trailer),
            Self::Json(unit) => json::parse(line, unit),
            Self::ByLine(unit) if line.trim_ascii_start().starts_with(b"{") => {
                json::parse(line, unit.unwrap_or(DurationUnit::S))
            }
            Self::ByLine(unit) => combined::parse(line, Trailer::Timed(unit)),
        }
    }

    pub(crate) fn new(format: Format, unit: Option<DurationUnit>) -> Self {
        match format {
            Format::Auto => Self::ByLine(unit),
            Format::Combined => Self::Combined(Trailer::Ignored),
            Format::CombinedTimed => Self::Combined(Trailer::Timed(unit)),
            Format::Json => Self::Json(unit.unwrap_or(DurationUnit::S)),
        }
    }
}

/// What Kubernetes writes before each line of a container: `2026-11-20T17:44:12.123456789Z stdout F `. A line that was cut into
/// parts there (over 16 KiB) stays in parts.
fn without_container_prefix(line: &[u8]) -> &[u8] {
    let stripped = || {
        let space = memchr::memchr(b' ', line.get(..40).unwrap_or(line)).filter(|&space| line[space - 1] == b'Z')?;
        let rest = &line[space + 1..];
        let rest = rest.strip_prefix(b"stdout ").or_else(|| rest.strip_prefix(b"stderr "))?;
        rest.strip_prefix(b"F ").or_else(|| rest.strip_prefix(b"P "))
    };
    let dated = line.first().is_some_and(u8::is_ascii_digit) && line.get(10) == Some(&b'T');
    if dated { stripped().unwrap_or(line) } else { line }
}

/// Enough to see past a cut-off first line or a burst of TLS handshakes.
const LINES_MAX: usize = 64;

/// Says what up to 64 non-blank lines of `text` look like; `None` when no line of them is an access log line.
pub(crate) fn detect(text: &[u8], unit: Option<DurationUnit>) -> Option<&'static str> {
    let (mut json_lines, mut combined_lines, mut timed_lines) = (0, 0, 0);
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    for line in lines.take(LINES_MAX) {
        let Ok(read) = LineFormat::ByLine(unit).parse(line) else { continue };
        if without_container_prefix(line).trim_ascii_start().starts_with(b"{") {
            json_lines += 1;
        } else {
            combined_lines += 1;
            timed_lines += usize::from(read.duration_us.is_some());
        }
    }
    match (json_lines, combined_lines, timed_lines) {
        (0, 0, _) => None,
        (json, combined, _) if json >= combined => Some("JSON, one object a line"),
        (_, _, 0) => Some("combined, without a request time"),
        _ => Some("combined with a request time"),
    }
}

#[cfg(test)]
mod tests;
