//! What gRPC says beside HTTP: how a call went, and which paths are its methods.
//!
//! Arrives: headers, codes, the first bytes of bodies; and paths of calls that a method has answered, which is to say with a message or
//! with success. Leaves: statuses of HTTP; and whether a path is such a method, also of a call that failed. Promised: a path that only a
//! client made up is no method, whatever failure it was answered; nothing is allocated and nobody waits. Kept are hashes of at most
//! `METHODS_MAX` paths, for as long as the client lives.

use std::array;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, header};

use crate::layer::CLIENT_CLOSED;

/// How gRPC writes a message down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Bytes,
    /// gRPC-Web for clients that get no bytes.
    Base64,
}

impl Framing {
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let rest = headers.get(header::CONTENT_TYPE)?.as_bytes().strip_prefix(b"application/grpc")?;
        Some(if rest.starts_with(b"-web-text") { Self::Base64 } else { Self::Bytes })
    }

    /// Whether a body that begins so begins with a message: as it is, or compressed.
    pub(crate) fn is_message(self, bytes: &[u8]) -> bool {
        match self {
            Self::Bytes => matches!(bytes.first(), Some(0 | 1)),
            // Of either.
            Self::Base64 => bytes.first() == Some(&b'A'),
        }
    }
}

/// What Google's API gateways make of a code.
pub(crate) fn http_status(code: u8) -> u16 {
    match code {
        0 => 200,
        1 => CLIENT_CLOSED,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// The paths that are known to be methods.
pub(crate) struct Methods {
    /// Of this process alone: nobody can look for a path that has the hash of another.
    hasher: RandomState,
    /// 0 is a free place.
    known: [AtomicU64; METHODS_MAX],
}

/// 8 KiB; services have tens of methods.
const METHODS_MAX: usize = 1024;

/// So many places a path may be found in. When others have them all, it is forgotten, and its failures have no name.
const PLACES: usize = 16;

impl Methods {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::new(), known: array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Whether a method of this path has answered before.
    pub(crate) fn is_known(&self, path: &str) -> bool {
        let hash = self.hash(path);
        self.places(hash)
            .map(|place| place.load(Ordering::Relaxed))
            .take_while(|found| *found != 0)
            .any(|found| found == hash)
    }

    /// A call of this path was answered as only a method answers. False: it is none all the same.
    pub(crate) fn has_answered(&self, path: &str) -> bool {
        let is_known = self.is_known(path);
        let is_new = !is_known && is_method(path);
        if is_new {
            self.remember(path);
        }
        is_known || is_new
    }

    fn remember(&self, path: &str) {
        let hash = self.hash(path);
        // Somebody else may take the place meanwhile, and for the same path.
        let takes = |place: &AtomicU64| match place.compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(found) => found == hash,
        };
        // Without room it is not remembered, and that is all.
        let _ = self.places(hash).any(takes);
    }

    fn hash(&self, path: &str) -> u64 {
        self.hasher.hash_one(path).max(1)
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = &AtomicU64> {
        let first = hash as usize % METHODS_MAX;
        (first..first + PLACES).map(|place| &self.known[place % METHODS_MAX])
    }
}

/// `/package.Service/Method`, in names of protobuf.
fn is_method(path: &str) -> bool {
    let parts = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    parts.is_some_and(|(service, method)| service.split('.').all(is_name) && is_name(method))
}

fn is_name(text: &str) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    text.as_bytes().first().is_some_and(is_letter) && text.bytes().all(|byte| is_letter(&byte) || byte.is_ascii_digit())
}
