//! What an answer of the ingest service means for the batch.
//!
//! In: the HTTP answer, or why there is none. Out: counted, try again, or final with a sentence on cause and remedy.
//! Anything unexpected is tried again: the identity of the batch makes that safe.

use std::time::Duration;

use serde::Deserialize;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The events were judged one by one.
    Counted {
        accepted: u64,
        rejected: Vec<Rejection>,
    },
    Retry {
        reason: String,
        after: Option<Duration>,
    },
    Final {
        reason: String,
        concerns: Concerns,
    },
}

/// What a final answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concerns {
    /// This batch alone; the next may well be taken.
    Batch,
    /// Key, address, settings: every later batch would be answered alike.
    Run,
}

/// One event that was refused.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) index: usize,
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) message: String,
}

#[derive(Debug, Default, Deserialize)]
struct Body {
    #[serde(default)]
    accepted: u64,
    #[serde(default)]
    rejected: Vec<Rejection>,
    error: Option<ErrorBody>,
}

#[derive(Debug, Deserialize)]
struct ErrorBody {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    rejected: Vec<Rejection>,
}

/// 5 000 rejections of some 200 bytes, with room.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

pub(crate) fn read(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>, events: u32) -> Answer {
    let mut response = match result {
        Ok(response) => response,
        Err(error) => return read_failure(&error),
    };
    let status = response.status().as_u16();
    let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    match response.body_mut().with_config().limit(ANSWER_BYTES_MAX).lossy_utf8(true).read_to_string() {
        Ok(body) => judge(status, header.as_deref(), &body, events),
        Err(error) => Answer::Retry { reason: format!("the answer of ingest broke off ({error})"), after: None },
    }
}

/// Pure: status, `Retry-After` and body to a decision.
pub(crate) fn judge(status: u16, retry_after: Option<&str>, body: &str, events: u32) -> Answer {
    let parsed: Option<Body> = serde_json::from_str(body).ok();
    let error = parsed.as_ref().and_then(|body| body.error.as_ref());
    let said = match error {
        Some(error) if error.message.is_empty() => error.code.clone(),
        Some(error) => format!("{}: {}", error.code, error.message),
        None => String::new(),
    };
    let named = |sentence: &str| {
        let said = if said.is_empty() { String::new() } else { format!(" ({})", printable(&said)) };
        let concerns = if matches!(status, 400 | 413 | 422) { Concerns::Batch } else { Concerns::Run };
        Answer::Final { reason: format!("ingest answered {status}{said}: {sentence}"), concerns }
    };
    match status {
        200..=299 => counted(parsed, events),
        422 => match parsed {
            Some(body) => {
                let mut rejected = body.rejected;
                rejected.extend(body.error.map(|error| error.rejected).unwrap_or_default());
                if rejected.is_empty() {
                    let code = "no_valid_event".to_owned();
                    rejected = (0..events as usize)
                        .map(|index| Rejection { index, code: code.clone(), message: String::new() })
                        .collect();
                }
                Answer::Counted { accepted: 0, rejected }
            }
            None => named("the batch was refused without a reason that can be read; is --url the ingest service?"),
        },
        408 | 425 | 429 | 500..=599 => Answer::Retry {
            reason: match said.as_str() {
                "" => format!("ingest answered {status}"),
                said => format!("ingest answered {status} ({})", printable(said)),
            },
            after: retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs),
        },
        401 => named(
            "the key is missing, unknown or revoked; check PEEP_INGEST_KEY, or make one with `peep key create --scope ingest`",
        ),
        403 => named(
            "the key may not do this: it needs the scope ingest, and --env must be its environment if it is bound to one",
        ),
        404 | 405 => named(
            "there is no ingest service under this address; --url takes its origin, such as http://127.0.0.1:4318",
        ),
        413 => named("the batch is larger than ingest takes; lower --batch-bytes or --batch-events"),
        415 => named("ingest does not take this encoding; try --compress none"),
        300..=399 => {
            named("redirects are not followed, so that the key goes nowhere else; give --url the final address")
        }
        _ => named("the request was refused for good"),
    }
}

fn counted(parsed: Option<Body>, events: u32) -> Answer {
    let Some(body) = parsed else {
        return Answer::Final {
            reason: "the answer to a batch is not that of an ingest service; does --url point at something else?"
                .to_owned(),
            concerns: Concerns::Run,
        };
    };
    let judged = body.accepted + body.rejected.len() as u64;
    if judged != u64::from(events) {
        return Answer::Final {
            reason: format!(
                "ingest accounts for {judged} of the {events} events of a batch; is --url the ingest service?"
            ),
            concerns: Concerns::Run,
        };
    }
    Answer::Counted { accepted: body.accepted, rejected: body.rejected }
}

fn read_failure(error: &ureq::Error) -> Answer {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::InvalidProxyUrl | ureq::Error::Http(_) => Answer::Final {
            reason: format!("the request cannot be made ({error}); check --url, the key and the proxy settings"),
            concerns: Concerns::Run,
        },
        error => Answer::Retry { reason: format!("ingest does not answer ({error})"), after: None },
    }
}

/// A server may say anything; the terminal gets only what can be printed.
fn printable(text: &str) -> String {
    crate::line::excerpt(text.as_bytes(), 300)
}
