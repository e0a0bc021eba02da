//! What an answer of ingest means for the batch.
//!
//! In: status and body. Out: counted, try again, or final with a sentence on cause and remedy. Vectors:
//! `sdk/fixtures/answers.json`. Trying again is safe, because a batch keeps its identity.

use std::fmt;
use std::io::{self, BufReader, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The events were judged one by one.
    Counted {
        accepted: u64,
        rejected: u64,
        /// Of the rejected ones, the first.
        example: String,
    },
    Retry {
        reason: String,
    },
    Final {
        reason: String,
    },
}

/// More of an answer is not read. What is read of it is counted, not kept, except for the first rejection.
const ANSWER_BYTES_MAX: u64 = 256 << 10;

/// What of an answer is looked at. Everything may be absent: whoever answers need not be ingest.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    accepted: Option<u64>,
    rejected: Option<Rejections>,
    error: Option<Refusal>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    code: Option<String>,
    message: Option<String>,
    rejected: Option<Rejections>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Rejection {
    code: Option<String>,
    message: Option<String>,
}

/// How many, and the first.
#[derive(Default)]
struct Rejections {
    count: u64,
    first: Rejection,
}

impl<'de> Deserialize<'de> for Rejections {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counting;
        impl<'de> Visitor<'de> for Counting {
            type Value = Rejections;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of rejections")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Rejections, A::Error> {
                let mut rejections = Rejections::default();
                while let Some(next) = list.next_element()? {
                    if rejections.count == 0 {
                        rejections.first = next;
                    }
                    rejections.count += 1;
                }
                Ok(rejections)
            }
        }
        deserializer.deserialize_seq(Counting)
    }
}

/// An error is one of the connection: the answer did not arrive.
pub(crate) fn judge(status: u16, body: impl Read, events: u64) -> io::Result<Verdict> {
    let body = BufReader::with_capacity(4 << 10, body.take(ANSWER_BYTES_MAX));
    let answer = match serde_json::from_reader::<_, Answer>(body) {
        Ok(answer) => answer,
        Err(error) if error.is_io() => return Err(error.into()),
        // No answer of ingest, or longer than any of them: the status alone decides.
        Err(_) => Answer::default(),
    };
    let said = said_by(&answer);
    Ok(match status {
        200..=299 => counted(&answer, events),
        422 => match rejections(&answer) {
            Some(rejected) => Verdict::Counted { accepted: 0, rejected: events, example: example_of(rejected) },
            None => Verdict::Final { reason: format!("ingest answered 422{said}") },
        },
        408 | 425 | 429 | 500..=599 => Verdict::Retry { reason: format!("ingest answered {status}{said}") },
        _ => Verdict::Final { reason: format!("ingest answered {status}{said}: {}", remedy(status)) },
    })
}

fn remedy(status: u16) -> &'static str {
    match status {
        401 => "the key is missing, unknown or revoked; check PEEP_INGEST_KEY",
        403 => {
            "the key may not do this: it needs the scope ingest, and PEEP_ENV must be its environment if it is bound to one"
        }
        404 | 405 => {
            "there is no ingest service under this address; PEEP_INGEST_URL takes its origin, such as http://127.0.0.1:4318"
        }
        413 => "the batch is larger than ingest takes; lower batch_bytes",
        300..=399 => "redirects are not followed, so that the key goes nowhere else; give the final address",
        _ => "the request was refused for good",
    }
}

fn counted(answer: &Answer, events: u64) -> Verdict {
    match (answer.accepted, rejections(answer)) {
        (Some(accepted), Some(rejected)) if accepted.checked_add(rejected.count) == Some(events) => {
            Verdict::Counted { accepted, rejected: rejected.count, example: example_of(rejected) }
        }
        _ => Verdict::Final {
            reason: "the answer does not account for the batch; is PEEP_INGEST_URL an ingest service?".to_owned(),
        },
    }
}

/// Of a 202 at the top, of a 422 at the top or inside the error.
fn rejections(answer: &Answer) -> Option<&Rejections> {
    answer.rejected.as_ref().or_else(|| answer.error.as_ref()?.rejected.as_ref())
}

fn example_of(rejected: &Rejections) -> String {
    let Rejection { code, message } = &rejected.first;
    let or_unknown = |text: &Option<String>| printable(text.as_deref().unwrap_or("?"));
    format!("{}: {}", or_unknown(code), or_unknown(message))
}

fn said_by(answer: &Answer) -> String {
    let Some(Refusal { code: Some(code), message, .. }) = &answer.error else { return String::new() };
    match message {
        Some(message) => format!(" ({}: {})", printable(code), printable(message)),
        None => format!(" ({})", printable(code)),
    }
}

/// A server may say anything; a log gets only what can be printed.
pub(crate) fn printable(text: &str) -> String {
    let plain = |character: char| if character.is_control() { ' ' } else { character };
    text.chars().take(200).map(plain).collect()
}

/// `Retry-After`: seconds, or a date of HTTP. Anything else is as if it were absent.
pub(crate) fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let text = header.trim();
    if !text.is_empty() && text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let until = UNIX_EPOCH + Duration::from_secs(http_date(text)?);
    Some(until.duration_since(now).unwrap_or_default())
}

/// `Sat, 28 Nov 2026 12:00:30 GMT` in Unix seconds. The two forms that are older than 1999 are not read.
fn http_date(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split(' ').collect();
    let [weekday, day, month, year, time, "GMT"] = words[..] else { return None };
    if weekday.len() != 4 || !weekday.ends_with(',') {
        return None;
    }
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let clock: Vec<u64> = time.split(':').map_while(|part| part.parse().ok()).collect();
    let [hour, minute, second] = clock[..] else { return None };
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970 by the civil calendar; a year begins in March here, so that the leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Some(days.checked_sub(719_468)? * 86_400 + hour * 3600 + minute * 60 + second)
}
