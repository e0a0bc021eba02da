//! Numbers as sentences say them: three significant digits, a unit, and never more than is known.
//!
//! The same rules as in the dashboard (`dashboard/lib/format`), so that a title from here and a number beside it agree.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `4.21 %`; none is `0 %`, and only all is `100 %`.
pub fn share(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        p if p <= 0.0 => "0 %".to_owned(),
        p if p < 0.01 => "< 0.01 %".to_owned(),
        p if p < 9.995 => format!("{p:.2} %"),
        p if p < 99.95 => format!("{p:.1} %"),
        p if p < 100.0 => format!("{:.2} %", p.min(99.99)),
        _ => "100 %".to_owned(),
    }
}

/// `840 µs`, `9.82 ms`, `1.84 s`, `2 min 14 s`.
pub fn latency(ms: f64) -> String {
    match ms {
        ms if ms < 0.9995 => format!("{} µs", three_digits(ms * 1000.0)),
        ms if ms < 999.5 => format!("{} ms", three_digits(ms)),
        ms if ms < 119_500.0 => format!("{} s", three_digits(ms / 1000.0)),
        ms => {
            let seconds = (ms / 1000.0).round() as u64;
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
    }
}

/// `12 /min`, `7.20 /s`, `1,284 /s`.
pub fn rate(per_second: f64) -> String {
    match per_second {
        r if r < 1.0 => format!("{} /min", three_digits(r * 60.0)),
        r if r < 999.5 => format!("{} /s", three_digits(r)),
        r if r < 9_999.5 => format!("{} /s", grouped(r.round() as u64)),
        r if r < 999_500.0 => format!("{} k/s", three_digits(r / 1000.0)),
        r => format!("{} M/s", three_digits(r / 1_000_000.0)),
    }
}

/// `63,204`
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `40 s`, `19 min`, `2 h 5 min`, `3 days`.
pub fn span(seconds: i64) -> String {
    match seconds {
        s if s < 120 => format!("{s} s"),
        s if s < 2 * 3600 => format!("{} min", s / 60),
        s if s < 2 * 86_400 && s % 3600 < 60 => format!("{} h", s / 3600),
        s if s < 2 * 86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        s => format!("{} days", s / 86_400),
    }
}

/// `14:15`, or `14:15:10` when seconds matter. UTC.
pub fn clock_time(second: i64) -> String {
    let time = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC);
    match time.second() {
        0 => format!("{:02}:{:02}", time.hour(), time.minute()),
        seconds => format!("{:02}:{:02}:{seconds:02}", time.hour(), time.minute()),
    }
}

fn three_digits(number: f64) -> String {
    match number {
        n if n < 9.995 => format!("{n:.2}"),
        n if n < 99.95 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_claim_no_more_than_three_digits() {
        for (number, text) in [(0.0, "0 %"), (0.00004, "< 0.01 %"), (0.0421, "4.21 %"), (0.309, "30.9 %")] {
            assert_eq!(share(number), text);
        }
        assert_eq!((share(0.999_98), share(1.0)), ("99.99 %".to_owned(), "100 %".to_owned()), "only all is all");
        for (ms, text) in
            [(0.84, "840 µs"), (9.82, "9.82 ms"), (412.4, "412 ms"), (1840.0, "1.84 s"), (134_000.0, "2 min 14 s")]
        {
            assert_eq!(latency(ms), text);
        }
        for (number, text) in [(0.2, "12.0 /min"), (7.2, "7.20 /s"), (1284.0, "1,284 /s"), (12_800.0, "12.8 k/s")] {
            assert_eq!(rate(number), text);
        }
        assert_eq!(
            (grouped(999), grouped(63_204), grouped(1_234_567)),
            ("999".into(), "63,204".into(), "1,234,567".into())
        );
        assert_eq!(
            (span(59), span(1150), span(7500), span(7200)),
            ("59 s".into(), "19 min".into(), "2 h 5 min".into(), "2 h".into())
        );
        assert_eq!((clock_time(1_795_183_200), clock_time(1_795_183_210)), ("14:00".into(), "14:00:10".into()));
    }
}
