//! What is asked of the books: a range of the log's time, and which dead letters.

use super::{Parameters, Range, invalid, texts};
use crate::error::ApiError;
use crate::rejects::REASONS;

/// `GET /v1/reconcile`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconcileQuery {
    /// First minute, Unix milliseconds.
    pub from_ms: i64,
    /// End of the last minute.
    pub to_ms: i64,
}

/// `GET /v1/rejects`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectsQuery {
    /// Oldest moment of setting aside, inclusive.
    pub from_ms: i64,
    /// Newest moment, exclusive.
    pub to_ms: i64,
    /// Only these reasons; empty = all.
    pub reasons: Vec<String>,
    /// Where the previous page ended.
    pub cursor: Option<String>,
    /// Page size.
    pub limit: usize,
}

/// `GET /v1/alerts/firings`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FiringsQuery {
    /// Oldest moment, inclusive.
    pub from_ms: i64,
    /// Newest moment, exclusive.
    pub to_ms: i64,
}

/// `GET /v1/rejects/summary`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectsSummaryQuery {
    /// Oldest moment, inclusive.
    pub from_ms: i64,
    /// Newest moment, exclusive.
    pub to_ms: i64,
}

impl FiringsQuery {
    /// Reads `from` and `to`.
    pub fn parse(parameters: &Parameters, now_ms: i64) -> Result<Self, ApiError> {
        parameters.only(&["from", "to"])?;
        let range = Range::parse_with_default(parameters, now_ms, FIRINGS_RANGE_DEFAULT_MS)?;
        // What began this very moment is part of "until now".
        let to_ms = if parameters.one("to")?.is_none() { range.to_ms + 1 } else { range.to_ms };
        Ok(Self { from_ms: range.from_ms, to_ms })
    }
}

impl RejectsSummaryQuery {
    /// Reads the range.
    pub fn parse(parameters: &Parameters, now_ms: i64) -> Result<Self, ApiError> {
        parameters.only(&["from", "to"])?;
        let range = Range::parse_with_default(parameters, now_ms, REJECTS_RANGE_DEFAULT_MS)?;
        Ok(Self { from_ms: range.from_ms, to_ms: to_ms(parameters, range)? })
    }
}

/// What is set aside is written a moment after the present of whoever asks, when their clocks differ.
fn to_ms(parameters: &Parameters, range: Range) -> Result<i64, ApiError> {
    Ok(if parameters.one("to")?.is_none() { range.to_ms + 60_000 } else { range.to_ms })
}

impl ReconcileQuery {
    /// Reads `from` and `to`, and widens them to whole minutes: what the books are kept by.
    pub fn parse(parameters: &Parameters, now_ms: i64) -> Result<Self, ApiError> {
        parameters.only(&["from", "to"])?;
        let range = Range::parse_with_default(parameters, now_ms, RECONCILE_RANGE_DEFAULT_MS)?;
        let window = range.aligned(60);
        Ok(Self { from_ms: window.from_s * 1000, to_ms: window.to_s * 1000 })
    }
}

impl RejectsQuery {
    /// Reads the range, `reason`, `cursor` and `limit`.
    pub fn parse(parameters: &Parameters, now_ms: i64) -> Result<Self, ApiError> {
        parameters.only(&["from", "to", "reason", "cursor", "limit"])?;
        let range = Range::parse_with_default(parameters, now_ms, REJECTS_RANGE_DEFAULT_MS)?;
        let limit = match parameters.one("limit")? {
            None => REJECTS_LIMIT_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=REJECTS_LIMIT_MAX).contains(limit))
                .ok_or_else(|| invalid("limit", text, &format!("write a number from 1 to {REJECTS_LIMIT_MAX}")))?,
        };
        let to_ms = to_ms(parameters, range)?;
        let reasons = texts(parameters, "reason")?;
        if let Some(reason) = reasons.iter().find(|reason| !REASONS.contains(&reason.as_str())) {
            return Err(invalid("reason", reason, &format!("write one of {}", REASONS.join(", "))));
        }
        Ok(Self { from_ms: range.from_ms, to_ms, reasons, cursor: parameters.one("cursor")?.map(str::to_owned), limit })
    }
}

const FIRINGS_RANGE_DEFAULT_MS: i64 = 7 * 86_400_000;
const RECONCILE_RANGE_DEFAULT_MS: i64 = 3_600_000;
const REJECTS_RANGE_DEFAULT_MS: i64 = 7 * 86_400_000;
const REJECTS_LIMIT_DEFAULT: usize = 50;
const REJECTS_LIMIT_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-20T14:00:03.500Z
    const NOW_MS: i64 = 1_795_183_203_500;

    fn parameters(query: &str) -> Parameters {
        Parameters::of(&format!("/v1/x?{query}").parse().expect("a URI")).expect("a query string")
    }

    #[test]
    fn books_are_asked_for_by_whole_minutes() {
        let query = ReconcileQuery::parse(&parameters("from=1795179601000&to=1795183201000"), NOW_MS).expect("valid");
        assert_eq!((query.from_ms, query.to_ms), (1_795_179_600_000, 1_795_183_260_000));
        let sliding = ReconcileQuery::parse(&parameters(""), NOW_MS).expect("valid");
        assert_eq!((sliding.to_ms - sliding.from_ms, sliding.to_ms >= NOW_MS), (3_600_000, true));
        assert_eq!(ReconcileQuery::parse(&parameters("env=a"), NOW_MS).expect_err("unknown").code, "unknown_parameter");
    }

    #[test]
    fn rejects_take_reasons_and_a_bounded_page() {
        let query = RejectsQuery::parse(&parameters("reason=too_old&reason=checksum&limit=7"), NOW_MS).expect("valid");
        assert_eq!((query.reasons.len(), query.limit), (2, 7));
        for query in ["limit=0", "limit=501", "reason=", "reason=nope", "reason=too_old&reason=nope"] {
            assert!(RejectsQuery::parse(&parameters(query), NOW_MS).is_err(), "{query}");
        }
        let error = RejectsQuery::parse(&parameters("reason=nope"), NOW_MS).expect_err("no reason");
        assert!(error.message.contains("identity_conflict"), "{}", error.message);
    }
}
