//! What is being typed into a filter.

use super::{Parameters, invalid, texts};
use crate::error::ApiError;
use crate::labels::{Dimension, Filters};

/// `GET /v1/suggest`
#[derive(Debug, Clone, PartialEq)]
pub struct SuggestQuery {
    /// Values of what.
    pub field: Suggested,
    /// How they begin; empty: any.
    pub prefix: String,
    /// `env` and `service` can be set.
    pub filters: Filters,
}

/// What values are suggested of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suggested {
    /// Part of every series: exact.
    Label(Dimension),
    /// `host`, from the kept raw events.
    Host,
    /// `version`, likewise.
    Version,
    /// An attribute by its key, likewise.
    Attr(String),
}

impl SuggestQuery {
    /// Reads `field`, `prefix`, `env` and `service`.
    pub fn parse(parameters: &Parameters) -> Result<Self, ApiError> {
        parameters.only(&["field", "prefix", "env", "service"])?;
        let field = match parameters.one("field")? {
            None => return Err(ApiError::invalid_parameter("field", format!("is missing; {WANTED}"))),
            Some(text) => Suggested::from_name(text).ok_or_else(|| invalid("field", text, WANTED))?,
        };
        let prefix = parameters.one("prefix")?.unwrap_or_default().to_owned();
        if prefix.contains('\0') {
            return Err(ApiError::invalid_parameter("prefix", "contains a zero byte, which no value has"));
        }
        let filters =
            Filters { env: texts(parameters, "env")?, service: texts(parameters, "service")?, ..Filters::default() };
        Ok(Self { field, prefix, filters })
    }
}

impl Suggested {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "host" => Some(Self::Host),
            "version" => Some(Self::Version),
            name => match name.strip_prefix("attr.") {
                Some(key) => {
                    (!key.is_empty() && key.len() <= 256 && !key.contains('\0')).then(|| Self::Attr(key.to_owned()))
                }
                None => Dimension::from_name(name).map(Self::Label),
            },
        }
    }
}

const WANTED: &str = "write `service`, `route`, `method`, `status`, `env`, `host`, `version` or `attr.<key>`";
