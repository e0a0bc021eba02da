//! What is asked about findings: of the present, or of a range that is over.

use super::{Parameters, Range, texts};
use crate::error::ApiError;
use crate::labels::Filters;

/// `GET /v1/findings`
#[derive(Debug, Clone, PartialEq)]
pub struct FindingsQuery {
    /// `[from, to)` in Unix seconds, whole buckets; `None`: the present.
    pub range_s: Option<(i64, i64)>,
    /// Only `env` can be set.
    pub filters: Filters,
    /// Only findings of these; empty = all.
    pub services: Vec<String>,
}

impl FindingsQuery {
    /// Reads `env`, `service`, and a range, whose presence asks for history.
    pub fn parse(parameters: &Parameters, now_ms: i64) -> Result<Self, ApiError> {
        parameters.only(&["from", "to", "env", "service"])?;
        let is_asked = parameters.one("from")?.is_some() || parameters.one("to")?.is_some();
        let range_s = if is_asked {
            let window = Range::parse(parameters, now_ms)?.whole();
            if window.to_s - window.from_s > RANGE_S_MAX + super::BUCKET_S {
                return Err(ApiError::too_wide("findings are about at most one day; use a range of at most 24h"));
            }
            Some((window.from_s, window.to_s))
        } else {
            None
        };
        let filters = Filters { env: texts(parameters, "env")?, ..Filters::default() };
        Ok(Self { range_s, filters, services: texts(parameters, "service")? })
    }
}

/// What is usual is the same time of the day before: a longer range would overlap it.
const RANGE_S_MAX: i64 = 86_400;
