//! Everything a caller may be told, as one type: a status, a stable code and a sentence that says what to do.

use std::borrow::Cow;

use axum::Json;
use axum::http::header::{CONNECTION, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An answer other than success. The request id is added where answers leave ([`crate::http`]).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable, for machines.
    pub code: &'static str,
    /// For people: what is wrong and what to do.
    pub message: Cow<'static, str>,
    /// Seconds after which the same request may succeed.
    pub retry_after_s: Option<u32>,
}

impl ApiError {
    /// Any status and code.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), retry_after_s: None }
    }

    /// A parameter that is known, with a value that cannot be used.
    pub fn invalid_parameter(name: &str, why: impl AsRef<str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", format!("`{name}`: {}", why.as_ref()))
    }

    /// No key, no session, or one that is not valid (any more).
    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// Known, but not allowed.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// A limit on what one question may cost.
    pub fn too_wide(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "query_too_wide", message)
    }

    /// All places are taken; try again soon.
    pub fn overloaded(message: impl Into<Cow<'static, str>>) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message);
        Self { retry_after_s: Some(1), ..error }
    }

    /// The database did not answer; the cause is in the log, not in the answer.
    pub fn unavailable() -> Self {
        let message = "the database does not answer at the moment; try again";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", message);
        Self { retry_after_s: Some(2), ..error }
    }

    /// A statement that failed; said in the log here, because the answer leaves the cause out.
    pub fn of_database(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(cause) if cause.code().as_deref() == Some(QUERY_CANCELED) => {
                Self::too_wide("the database did not finish in time; use a shorter range")
            }
            _ => {
                tracing::warn!(%error, "a question to the database failed");
                Self::unavailable()
            }
        }
    }
}

/// SQLSTATE of a statement that ran into its time limit.
const QUERY_CANCELED: &str = "57014";

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after_s.map(HeaderValue::from);
        let body = Json(json!({"error": {"code": self.code, "message": self.message}}));
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, seconds);
        }
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // The only thing to be upgraded to (RFC 9110, section 15.5.22; RFC 6455, section 4.4).
            StatusCode::UPGRADE_REQUIRED => {
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            _ => {}
        }
        // The layer that knows the request id writes the body again with it.
        response.extensions_mut().insert(self);
        response
    }
}
