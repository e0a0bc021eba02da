//! The dashboard's files, embedded at build time.
//!
//! Arrives: a path. Leaves: a file with its type, its freshness and a content security policy. Promises: no inline
//! script runs but those of the export itself (their hashes are in the policy), so injected markup stays dead; hashed
//! files are cached for good, pages are always revalidated; text travels compressed, compressed once per file. Does not:
//! render anything. Paths are looked up in a table, never in the file system of a release build.

use std::borrow::Cow;
use std::io::Write;
use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    LOCATION, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use foldhash::HashMap;
use parking_lot::Mutex;
use rust_embed::{EmbeddedFile, RustEmbed};
use sha2::{Digest, Sha256};

/// The static export. The build script makes sure that the folder exists.
#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../dashboard/out"]
struct Export;

/// The file at a path, or a page that says why there is none.
pub fn respond(path: &str, query: Option<&str>, headers: &HeaderMap) -> Response {
    let path = path.trim_start_matches('/');
    let name =
        if path.is_empty() || path.ends_with('/') { Cow::from(format!("{path}index.html")) } else { path.into() };
    if let Some(file) = Export::get(&name) {
        return found(&name, file, StatusCode::OK, headers);
    }
    if !path.is_empty() && !path.ends_with('/') && Export::get(&format!("{path}/index.html")).is_some() {
        return moved(&format!("/{path}/"), query);
    }
    if Export::get("index.html").is_none() {
        return not_built();
    }
    match Export::get("404.html") {
        Some(page) => found("404.html", page, StatusCode::NOT_FOUND, headers),
        None => (StatusCode::NOT_FOUND, "there is no page at this address\n").into_response(),
    }
}

fn found(name: &str, file: EmbeddedFile, status: StatusCode, headers: &HeaderMap) -> Response {
    let media_type = mime_guess::from_path(name).first_or_octet_stream();
    let is_compressed = is_text(&media_type) && file.data.len() > COMPRESS_BYTES_MIN && takes_gzip(headers);
    let etag = etag(&file, is_compressed);
    let is_known = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let mut response = if is_known && status == StatusCode::OK {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let charset = if media_type.type_() == mime_guess::mime::TEXT { "; charset=utf-8" } else { "" };
        let content_type = format!("{}{charset}", media_type.essence_str());
        let body = if is_compressed { compressed(name, &file) } else { bytes(&file) };
        (status, [(CONTENT_TYPE, content_type)], body).into_response()
    };
    let headers = response.headers_mut();
    if is_compressed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    // Names below carry a hash of the content.
    let is_hashed = name.starts_with("_next/static/");
    let cache = if is_hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    if name.ends_with(".html")
        && let Ok(policy) = HeaderValue::from_str(&policy_of(name, &file))
    {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn is_text(media_type: &mime_guess::Mime) -> bool {
    let subtype = media_type.subtype().as_str();
    media_type.type_() == mime_guess::mime::TEXT
        || ["javascript", "json", "svg", "xml", "manifest+json"].contains(&subtype)
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|all| all.split(',')).any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        name.trim().eq_ignore_ascii_case("gzip") && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
    })
}

/// The file as gzip, made at the first request for it.
fn compressed(name: &str, file: &EmbeddedFile) -> Bytes {
    let hash = file.metadata.sha256_hash();
    COMPRESSED.get(name, hash, || {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(COMPRESS_LEVEL));
        encoder.write_all(&file.data).and_then(|()| encoder.finish()).expect("writing to memory does not fail").into()
    })
}

fn bytes(file: &EmbeddedFile) -> Bytes {
    match &file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.clone().into(),
    }
}

fn etag(file: &EmbeddedFile, is_compressed: bool) -> String {
    let hash = file.metadata.sha256_hash();
    let hex: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let form = if is_compressed { "-gzip" } else { "" };
    format!("\"{hex}{form}\"")
}

/// `/service` and `/service/` are one page; relative links only work on the latter.
fn moved(to: &str, query: Option<&str>) -> Response {
    let location = match query {
        Some(query) => format!("{to}?{query}"),
        None => to.to_owned(),
    };
    // A path that starts with two slashes would be another host.
    let is_local = !location.starts_with("//");
    match HeaderValue::from_str(&location) {
        Ok(location) if is_local => (StatusCode::PERMANENT_REDIRECT, [(LOCATION, location)]).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn not_built() -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    ];
    (StatusCode::SERVICE_UNAVAILABLE, headers, NOT_BUILT).into_response()
}

fn policy_of(name: &str, file: &EmbeddedFile) -> Arc<str> {
    let hash = file.metadata.sha256_hash();
    POLICIES.get(name, hash, || policy(&String::from_utf8_lossy(&file.data)).into())
}

/// What was computed from a file, by its content: a debug build reads files from disk, and they change. As many entries
/// as the export has files.
struct Derived<T> {
    known: OnceLock<Mutex<HashMap<String, Known<T>>>>,
}

/// The hash of the file, and what was computed from it.
type Known<T> = ([u8; 32], T);

impl<T: Clone> Derived<T> {
    const fn new() -> Self {
        Self { known: OnceLock::new() }
    }

    fn get(&self, name: &str, hash: [u8; 32], derive: impl FnOnce() -> T) -> T {
        let known = self.known.get_or_init(Mutex::default);
        if let Some((_, derived)) = known.lock().get(name).filter(|(known, _)| *known == hash) {
            return derived.clone();
        }
        let derived = derive();
        known.lock().insert(name.to_owned(), (hash, derived.clone()));
        derived
    }
}

static POLICIES: Derived<Arc<str>> = Derived::new();
static COMPRESSED: Derived<Bytes> = Derived::new();

/// Only our own files, and the inline scripts and styles that the page was built with. No `style` attribute is applied: the export has
/// none, and what scripts place they place through the object model, which no policy concerns.
fn policy(html: &str) -> String {
    let hashes = |element: &str| {
        let mut hashes = String::new();
        for content in inline_contents(html, element) {
            let hash = STANDARD.encode(Sha256::digest(content.as_bytes()));
            let source = format!(" 'sha256-{hash}'");
            if !hashes.contains(&source) {
                hashes.push_str(&source);
            }
        }
        hashes
    };
    format!(
        "default-src 'none'; script-src 'self'{}; style-src 'self'{}; img-src 'self' data: blob:; \
         font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'",
        hashes("script"),
        hashes("style"),
    )
}

/// What stands between the tags of an element, for those without `src`. The export is ours and well formed.
fn inline_contents<'h>(html: &'h str, element: &str) -> Vec<&'h str> {
    let (open, close) = (format!("<{element}"), format!("</{element}"));
    let mut contents = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find(&open) {
        rest = &rest[at + open.len()..];
        if !rest.starts_with(|c: char| c == '>' || c.is_ascii_whitespace()) {
            continue;
        }
        let Some(attributes_len) = tag_end(rest) else { break };
        let attributes = &rest[..attributes_len];
        rest = &rest[attributes_len + 1..];
        let Some(len) = rest.find(&close) else { break };
        let has_source = attributes.split_ascii_whitespace().any(|attribute| attribute.starts_with("src="));
        if !has_source && len > 0 {
            contents.push(&rest[..len]);
        }
        rest = &rest[len..];
    }
    contents
}

/// Where the tag ends: the first `>` outside of quotes.
fn tag_end(tag: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in tag.char_indices() {
        match (quote, c) {
            (None, '>') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

/// Below it, headers outweigh the gain.
const COMPRESS_BYTES_MIN: usize = 1024;
/// Each file is compressed once per process.
const COMPRESS_LEVEL: u32 = 9;

const NOT_BUILT: &str = "<!doctype html>
<html lang=\"en\"><meta charset=\"utf-8\"><title>peep</title>
<h1>The dashboard is not part of this build</h1>
<p>The API works: see <code>GET /v1/services</code>. To get the dashboard, run <code>make dashboard</code> and build again;
<code>make dev</code> does both.</p>
</html>
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_scripts_are_named_by_hash_and_nothing_else_may_run() {
        let html = "<head><script src=\"/a.js\" async=\"\"></script><script>self.x=1</script><style>a{}</style>\
                    <script id=\"a>b\" type=\"module\">go()</script><scripty>no</scripty></head>";
        assert_eq!(inline_contents(html, "script"), ["self.x=1", "go()"]);
        let policy = policy(html);
        // printf 'self.x=1' | openssl dgst -sha256 -binary | base64
        assert!(policy.contains("script-src 'self' 'sha256-OeQ5f9lOMes7jOc0cGCXX08CnAERweUkLpVXXpflaLg='"), "{policy}");
        assert!(policy.contains("style-src 'self' 'sha256-"));
        assert!(!policy.contains("unsafe-inline") && !policy.contains("unsafe-eval"), "{policy}");
    }

    #[test]
    fn no_page_needs_what_the_policy_does_not_allow() {
        for name in Export::iter().filter(|name| name.ends_with(".html")) {
            let page = Export::get(&name).expect("listed");
            let html = String::from_utf8_lossy(&page.data);
            // What scripts carry along is set through the object model.
            let mut tags = html.into_owned();
            for content in inline_contents(&tags.clone(), "script") {
                tags = tags.replacen(content, "", 1);
            }
            assert!(!tags.contains(" style=\""), "{name} has a style attribute, which is not applied");
        }
    }

    #[test]
    fn text_is_compressed_for_whoever_takes_it() {
        let headers = |value: &'static str| HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
        assert!(takes_gzip(&headers("br, gzip;q=0.8")) && takes_gzip(&headers("GZIP")));
        assert!(!takes_gzip(&headers("gzip;q=0, br")) && !takes_gzip(&HeaderMap::new()));
        for (name, expected) in [("a.js", true), ("a.css", true), ("a.svg", true), ("a.txt", true), ("a.woff2", false)]
        {
            assert_eq!(is_text(&mime_guess::from_path(name).first_or_octet_stream()), expected, "{name}");
        }
    }

    #[test]
    fn a_missing_path_is_never_a_redirect_to_another_host() {
        for path in ["//evil.example", "/nothing/here", "/../Cargo.toml"] {
            let response = respond(path, None, &HeaderMap::new());
            assert!(!response.status().is_success() && !response.status().is_redirection(), "{path}");
        }
    }
}
