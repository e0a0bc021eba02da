//! What browsers want to know before they show an answer to a page (CORS).
//!
//! Arrives: the `Origin` header. Leaves: the headers that let the page read the answer, when any key lists that origin; a question
//! asked beforehand (preflight) carries no key, so all keys together answer it. Promises: the origin itself and never `*`, no
//! credentials, and `Vary: Origin` on all answers to pages, so that no cache gives one page's answer to another. It grants
//! nothing: whether a key may be used from a page is decided in `tenant`.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue,
    ORIGIN, VARY,
};
use hyper::{Method, Request, Response, StatusCode};
use peep_chassis::keys::KeyStore;

/// The page a request comes from.
#[derive(Debug)]
pub(crate) struct Page {
    origin: HeaderValue,
}

impl Page {
    /// `None` for everything that is no browser. Two origins are none that any key lists, and so is one that is no text.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Page> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let origin = origins.next()?.clone();
        let is_one = origins.next().is_none();
        Some(Page { origin: if is_one { origin } else { HeaderValue::from_static("null") } })
    }

    pub(crate) fn origin(&self) -> &str {
        self.origin.to_str().unwrap_or_default()
    }

    /// Lets the page read the answer, if its origin is one we know.
    pub(crate) fn may_read(&self, keys: &KeyStore, response: &mut Response<Full<Bytes>>) {
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("origin"));
        if keys.knows_origin(self.origin()) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after, peep-receipt"));
        }
    }
}

/// Whether this is a browser's question beforehand.
pub(crate) fn is_preflight<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What may be sent. An origin nobody listed gets the same answer without a permission, which is how a browser is refused.
pub(crate) fn preflight() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
    // Ten minutes: a key that lists a new origin, or does no more, is noticed soon.
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

const HEADERS: &str = "authorization, content-type, content-encoding, peep-producer, peep-seq, peep-key";
