//! How a request ends: exactly one of these, each with one status, one code and one way to go on.

use std::time::Duration;

use hyper::{HeaderMap, StatusCode};
use peep_wire::json::Rejection;
use peep_wire::receipt::Receipt;

use crate::admission::Permit;

/// Accepted: every event that counts is durable.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) events: u32,
    pub(crate) rejected: Vec<Rejection>,
    /// None when there was nothing to make durable.
    pub(crate) receipt: Option<Receipt>,
    pub(crate) delivery: Delivery,
    /// Empty, with room for those of the answer.
    pub(crate) headers: HeaderMap,
    /// The budget that a large answer takes until the client has it.
    pub(crate) room: Option<Permit>,
}

/// What a retry of the same batch would mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// It has an identity: counted once, however often it is sent.
    ExactlyOnce,
    /// It has none: another try is another batch.
    AtLeastOnce,
}

impl Delivery {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Delivery::ExactlyOnce => "exactly_once",
            Delivery::AtLeastOnce => "at_least_once",
        }
    }
}

/// Refused: nothing of the request is known to be kept.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    /// Filled when events were readable and each was refused.
    pub(crate) rejected: Vec<Rejection>,
    /// When more is known than what the reason says.
    pub(crate) retry_after: Option<Duration>,
    /// The budget that a large answer takes until the client has it.
    pub(crate) room: Option<Permit>,
}

/// The stable code of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    InvalidRequest,
    InvalidJson,
    InvalidProtobuf,
    InvalidEncoding,
    InvalidIdentity,
    NoValidEvent,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    LengthRequired,
    PayloadTooLarge,
    UnsupportedMediaType,
    UnsupportedEncoding,
    ExpectationFailed,
    RateLimited,
    TooManyProducers,
    Overloaded,
    LogUnavailable,
    KeysUnavailable,
    ClientGone,
}

impl Reason {
    /// Every reason, for metrics and documentation.
    pub(crate) const ALL: &'static [Reason] = &[
        Reason::InvalidRequest,
        Reason::InvalidJson,
        Reason::InvalidProtobuf,
        Reason::InvalidEncoding,
        Reason::InvalidIdentity,
        Reason::NoValidEvent,
        Reason::Unauthorized,
        Reason::Forbidden,
        Reason::NotFound,
        Reason::MethodNotAllowed,
        Reason::RequestTimeout,
        Reason::LengthRequired,
        Reason::PayloadTooLarge,
        Reason::UnsupportedMediaType,
        Reason::UnsupportedEncoding,
        Reason::ExpectationFailed,
        Reason::RateLimited,
        Reason::TooManyProducers,
        Reason::Overloaded,
        Reason::LogUnavailable,
        Reason::KeysUnavailable,
        Reason::ClientGone,
    ];

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Reason::InvalidRequest
            | Reason::InvalidJson
            | Reason::InvalidProtobuf
            | Reason::InvalidEncoding
            | Reason::InvalidIdentity
            | Reason::ClientGone => StatusCode::BAD_REQUEST,
            Reason::NoValidEvent => StatusCode::UNPROCESSABLE_ENTITY,
            Reason::Unauthorized => StatusCode::UNAUTHORIZED,
            Reason::Forbidden => StatusCode::FORBIDDEN,
            Reason::NotFound => StatusCode::NOT_FOUND,
            Reason::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Reason::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Reason::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Reason::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::UnsupportedMediaType | Reason::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Reason::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Reason::RateLimited | Reason::TooManyProducers => StatusCode::TOO_MANY_REQUESTS,
            Reason::Overloaded | Reason::LogUnavailable | Reason::KeysUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The code in answers and metric labels.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Reason::InvalidRequest => "invalid_request",
            Reason::InvalidJson => "invalid_json",
            Reason::InvalidProtobuf => "invalid_protobuf",
            Reason::InvalidEncoding => "invalid_encoding",
            Reason::InvalidIdentity => "invalid_identity",
            Reason::NoValidEvent => "no_valid_event",
            Reason::Unauthorized => "unauthorized",
            Reason::Forbidden => "forbidden",
            Reason::NotFound => "not_found",
            Reason::MethodNotAllowed => "method_not_allowed",
            Reason::RequestTimeout => "request_timeout",
            Reason::LengthRequired => "length_required",
            Reason::PayloadTooLarge => "payload_too_large",
            Reason::UnsupportedMediaType => "unsupported_media_type",
            Reason::UnsupportedEncoding => "unsupported_encoding",
            Reason::ExpectationFailed => "expectation_failed",
            Reason::RateLimited => "rate_limited",
            Reason::TooManyProducers => "too_many_producers",
            Reason::Overloaded => "overloaded",
            Reason::LogUnavailable => "log_unavailable",
            Reason::KeysUnavailable => "keys_unavailable",
            Reason::ClientGone => "client_gone",
        }
    }

    /// Seconds to wait before the same request is worth sending again, if nothing more is known; `None` when it never is.
    pub(crate) fn retry_after_s(self) -> Option<u32> {
        match self {
            Reason::Overloaded | Reason::RateLimited | Reason::RequestTimeout => Some(1),
            Reason::LogUnavailable | Reason::KeysUnavailable => Some(2),
            // Places become free within hours; asking every minute costs nobody anything.
            Reason::TooManyProducers => Some(60),
            _ => None,
        }
    }
}

impl Refused {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Refused {
        Refused { reason, message: message.into(), rejected: Vec::new(), retry_after: None, room: None }
    }
}
