//! Decoded `name=value` pairs of one request.

use axum::extract::Query;
use axum::http::Uri;

use crate::error::ApiError;

/// The parameters as they were sent, in order, repetitions included.
#[derive(Debug, Clone, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Decodes the query string of a request.
    pub fn of(uri: &Uri) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| {
            let message = "the query string is not of the form name=value&name=value";
            ApiError::new(axum::http::StatusCode::BAD_REQUEST, "invalid_query", message)
        })?;
        if let Some((name, _)) = pairs.iter().find(|(_, value)| value.len() > VALUE_BYTES_MAX) {
            return Err(ApiError::invalid_parameter(name, format!("is longer than {VALUE_BYTES_MAX} bytes")));
        }
        Ok(Self(pairs))
    }

    /// Refuses names that the endpoint does not know: a misspelt filter must not silently widen the answer.
    pub fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        let Some((name, _)) = self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) else { return Ok(()) };
        let shown: String = name.chars().take(60).collect();
        let takes = if known.is_empty() { "no parameters".to_owned() } else { known.join(", ") };
        let message = format!("`{shown}` is not a parameter of this endpoint; it takes {takes}");
        Err(ApiError::new(axum::http::StatusCode::BAD_REQUEST, "unknown_parameter", message))
    }

    /// Refuses all of them.
    pub fn none(uri: &Uri) -> Result<(), ApiError> {
        Self::of(uri)?.only(&[])
    }

    /// The value of a parameter that may be given once.
    pub fn one(&self, name: &'static str) -> Result<Option<&str>, ApiError> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(ApiError::invalid_parameter(name, "is given more than once; give it once")),
        }
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

const VALUE_BYTES_MAX: usize = 4096;
