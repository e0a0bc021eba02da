//! `POST /v1/traces` in JSON.

use peep_wire::otlp::Encoding;

/// See [`crate::spans::check`].
pub(crate) fn check(data: &[u8]) {
    crate::spans::check(data, Encoding::Json);
}
