//! Key to project: who sends, answered from memory.

use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use peep_chassis::keys::{ApiKey, KeyError, KeyStore};

use crate::outcome::{Reason, Refused};

/// The key of a request that may send events.
pub(crate) async fn authenticate(keys: &KeyStore, headers: &HeaderMap) -> Result<Arc<ApiKey>, Refused> {
    let Some(presented) = presented(headers) else {
        return Err(Refused::new(
            Reason::Unauthorized,
            "no API key; send `Authorization: Bearer <ingest key>`, made with `peep key create --scope ingest`",
        ));
    };
    let key = keys.check(presented).await.map_err(|error| match error {
        KeyError::Unavailable(_) => Refused::new(Reason::KeysUnavailable, error.to_string()),
        _ => Refused::new(Reason::Unauthorized, format!("{error}; check the key, or make one with `peep key create`")),
    })?;
    if !key.scope.may_ingest() {
        let message = format!("the key has scope `{}`, sending events needs scope `ingest`", key.scope);
        return Err(Refused::new(Reason::Forbidden, message));
    }
    Ok(key)
}

/// `Authorization: Bearer <key>`, or `Peep-Key: <key>`, which needs no space in it and so no escaping where headers are set
/// in an environment variable (`OTEL_EXPORTER_OTLP_HEADERS`).
fn presented(headers: &HeaderMap) -> Option<&str> {
    bearer(headers).or_else(|| headers.get("peep-key")?.to_str().ok().map(str::trim).filter(|key| !key.is_empty()))
}

/// The token of an `Authorization: Bearer` header; the scheme in any case (RFC 9110). Some exporters send the escaped space
/// of their environment variable as it is.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ').or_else(|| value.split_once("%20"))?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
