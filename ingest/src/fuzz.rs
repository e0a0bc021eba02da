//! A door for the fuzz target of decompression: bytes of a socket to bytes of a decoder, under the limits of a process.

use bytes::Bytes;
use peep_wire::ProjectId;

use crate::admission::Admission;
use crate::body::{self, BodyLimits, Encoding};
use crate::config::Config;

/// What a body with this `Content-Encoding` comes to; `None` when it is refused.
pub fn decompress(config: &Config, encoding: &str, body: &[u8]) -> Option<Bytes> {
    let limits = BodyLimits {
        bytes_max: config.limits.body_bytes_max,
        ratio_max: config.limits.ratio_max,
        time_max: config.http.body_timeout,
    };
    let encoding = Encoding::from_header(Some(encoding))?;
    let mut permit = Admission::new(&config.limits).admit(ProjectId(1), body.len()).ok()?;
    body::decompress(Bytes::copy_from_slice(body), encoding, &mut permit, limits).ok()
}
