//! What is compared with what.

use super::{Asked, Parameters, Range, Steps, filters, invalid, parse_moment};
use crate::error::ApiError;
use crate::labels::Filters;
use crate::words;

/// `GET /v1/compare`
#[derive(Debug, Clone, PartialEq)]
pub struct CompareQuery {
    /// What was.
    pub a: Side,
    /// What it is compared with.
    pub b: Side,
    /// For sides that are no windows.
    pub asked: Asked,
    /// For both.
    pub filters: Filters,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq)]
pub enum Side {
    /// A stretch of time.
    Window(Asked),
    /// A release.
    Version(String),
    /// An instance.
    Host(String),
    /// An environment.
    Env(String),
}

impl CompareQuery {
    /// Reads `a`, `b`, the range and the filters.
    pub fn parse(parameters: &Parameters, now_ms: i64) -> Result<Self, ApiError> {
        parameters.only(&["a", "b", "from", "to", "env", "service", "route", "method", "status"])?;
        let asked = Asked { range: Range::parse(parameters, now_ms)?, steps: Steps::One };
        let filters = filters(parameters)?;
        let side = |name: &'static str| match parameters.one(name)? {
            None => Err(ApiError::invalid_parameter(name, format!("is missing; {WANTED}"))),
            Some(text) => Side::parse(name, text, now_ms),
        };
        let (a, b) = (side("a")?, side("b")?);
        for (name, side) in [("a", &a), ("b", &b)] {
            side.check_against(name, &filters)?;
        }
        if a == b {
            return Err(ApiError::invalid_parameter("b", "is the same as `a`; name something else to compare with"));
        }
        Ok(Self { a, b, asked, filters })
    }
}

impl Side {
    fn parse(name: &'static str, text: &str, now_ms: i64) -> Result<Self, ApiError> {
        let wrong = || invalid(name, text, WANTED);
        let (kind, value) = text.split_once(':').ok_or_else(wrong)?;
        if value.is_empty() || value.contains('\0') {
            return Err(wrong());
        }
        Ok(match kind {
            "version" => Self::Version(value.to_owned()),
            "host" => Self::Host(value.to_owned()),
            "env" => Self::Env(value.to_owned()),
            "window" => {
                let (from, to) = value.split_once(',').ok_or_else(wrong)?;
                let moment = |text: &str| match parse_moment(text) {
                    Ok(moment) => Ok(moment.at(now_ms)),
                    Err(why) => Err(ApiError::invalid_parameter(name, why)),
                };
                let (from_ms, to_ms) = (moment(from)?, moment(to)?);
                let range = Range::between(from_ms, to_ms)
                    .map_err(|error| ApiError { message: format!("`{name}`: {}", error.message).into(), ..error })?;
                Self::Window(Asked { range, steps: Steps::One })
            }
            _ => return Err(wrong()),
        })
    }

    /// An environment must be among those that the filters let pass.
    fn check_against(&self, name: &'static str, filters: &Filters) -> Result<(), ApiError> {
        let Self::Env(env) = self else { return Ok(()) };
        let is_refused = filters.without.as_deref().is_some_and(|without| without.env.contains(env));
        if (filters.env.is_empty() || filters.env.contains(env)) && !is_refused {
            return Ok(());
        }
        Err(invalid(name, &format!("env:{env}"), "it contradicts `env`; leave `env` out, or name it there as well"))
    }

    /// As sentences call it.
    pub fn label(&self) -> String {
        match self {
            Self::Version(value) | Self::Host(value) | Self::Env(value) => value.clone(),
            Self::Window(asked) => {
                let time = |ms: i64| words::clock_time(ms.div_euclid(1000));
                format!("{} to {} UTC", time(asked.range.from_ms), time(asked.range.to_ms))
            }
        }
    }
}

const WANTED: &str = "write `window:<from>,<to>`, `version:<version>`, `host:<host>` or `env:<env>`";
