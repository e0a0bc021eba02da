//! Key to project: who sends, answered from memory.
//!
//! There are two sorts of keys. A key for browsers lists origins and works only with an `Origin` header that it lists; any other
//! key is a secret and works only without one, so that a secret that was put into a page fails the first time it is tried.
//! Servers, SDKs and shippers never send `Origin`.

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use peep_chassis::keys::{ApiKey, KeyError, KeyStore};

use crate::browser::Page;
use crate::outcome::{Reason, Refused};

/// A request's key that may send events.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) key: Arc<ApiKey>,
    /// The key came in the query, from a page that cannot set headers.
    pub(crate) is_beacon: bool,
}

/// Finds the key of a request and whether it may be used from where it comes.
pub(crate) async fn authenticate(keys: &KeyStore, head: &Parts, page: Option<&Page>) -> Result<Tenant, Refused> {
    let in_query = page.and_then(|_| in_query(head.uri.query()?));
    let (presented, is_beacon) = match (in_header(&head.headers), in_query) {
        (Some(presented), _) => (presented, false),
        (None, Some(presented)) => (presented, true),
        (None, None) => {
            return Err(Refused::new(
                Reason::Unauthorized,
                "no API key; send `Authorization: Bearer <ingest key>`, made with `peep key create --scope ingest`",
            ));
        }
    };
    let key = keys.check(presented).await.map_err(|error| match error {
        KeyError::Unavailable(_) => Refused::new(Reason::KeysUnavailable, error.to_string()),
        _ => Refused::new(Reason::Unauthorized, format!("{error}; check the key, or make one with `peep key create`")),
    })?;
    if !key.scope.may_ingest() {
        let message = format!("the key has scope `{}`, sending events needs scope `ingest`", key.scope);
        return Err(Refused::new(Reason::Forbidden, message));
    }
    check_page(&key, page)?;
    Ok(Tenant { key, is_beacon })
}

fn check_page(key: &ApiKey, page: Option<&Page>) -> Result<(), Refused> {
    let message = match page {
        None if key.origins.is_empty() => return Ok(()),
        Some(page) if key.origins.iter().any(|origin| origin.admits(page.origin())) => return Ok(()),
        None => "the key is for web pages and the request has no `Origin` header; a server needs a key without origins",
        Some(_) if key.origins.is_empty() => {
            "the key is a secret and not for web pages (the request has an `Origin` header); revoke it if a page shows it, and \
             make one with `peep key create --scope ingest --origin https://…`"
        }
        Some(_) => "the key is for pages of other origins than this one; `peep key list` shows which",
    };
    Err(Refused::new(Reason::Forbidden, message))
}

static PEEP_KEY: HeaderName = HeaderName::from_static("peep-key");

/// `Authorization: Bearer <key>`, or `Peep-Key: <key>`, which needs no space in it and so no escaping where headers are set
/// in an environment variable (`OTEL_EXPORTER_OTLP_HEADERS`).
fn in_header(headers: &HeaderMap) -> Option<&str> {
    bearer(headers).or_else(|| headers.get(&PEEP_KEY)?.to_str().ok().map(str::trim).filter(|key| !key.is_empty()))
}

/// `?key=<key>`. Keys need no escaping.
fn in_query(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("key=")).filter(|key| !key.is_empty())
}

/// The token of an `Authorization: Bearer` header; the scheme in any case (RFC 9110). Some exporters send the escaped space
/// of their environment variable as it is.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ').or_else(|| value.split_once("%20"))?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
