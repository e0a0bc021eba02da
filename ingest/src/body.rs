//! Reads and decompresses a body under hard limits.
//!
//! Arrives: a body in frames, maybe compressed, from anyone. Leaves: the whole decompressed body, or why not.
//! Promises: never more than `body_bytes_max` bytes of output, never more memory than the permit reserved, never longer
//! than `body_timeout`. Identity bodies that come in one piece are not copied.

use std::io::Read;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Version;
use hyper::body::{Body, Incoming};

use crate::admission::{Permit, Shed};
use crate::deadline::{Overdue, Patience, Wait};
use crate::manners::Manners;
use crate::outcome::{Reason, Refused};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
    Deflate,
}

impl Encoding {
    /// From the `Content-Encoding` header; `None` for one that is not taken.
    pub(crate) fn from_header(value: Option<&str>) -> Option<Encoding> {
        match value.map(str::trim) {
            None | Some("" | "identity") => Some(Encoding::Identity),
            Some("gzip" | "x-gzip") => Some(Encoding::Gzip),
            Some("zstd") => Some(Encoding::Zstd),
            Some("deflate") => Some(Encoding::Deflate),
            Some(_) => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
            Encoding::Deflate => "deflate",
        }
    }
}

/// What a body may become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) bytes_max: usize,
    pub(crate) ratio_max: usize,
    pub(crate) time_max: Duration,
}

/// Reads a whole body as sent.
pub(crate) async fn read(
    body: Incoming,
    permit: &mut Permit,
    limits: BodyLimits,
    patience: &Patience,
) -> Result<Bytes, Refused> {
    let announced = body.size_hint().exact();
    let collected = collect(body, permit, limits, announced, patience);
    patience.within(Wait::Body, collected).await.unwrap_or_else(|Overdue| Err(too_slow(limits)))
}

async fn collect(
    mut body: Incoming,
    permit: &mut Permit,
    limits: BodyLimits,
    announced: Option<u64>,
    patience: &Patience,
) -> Result<Bytes, Refused> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    let (mut since, mut progress) = (None, 0);
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| Refused::new(Reason::ClientGone, "the body broke off; send the request again"))?;
        let Ok(data) = frame.into_data() else { continue };
        let size = first.len() + whole.len() + data.len();
        if size > limits.bytes_max {
            return Err(too_large(limits));
        }
        permit.grow_to(size).map_err(shed)?;
        progress += data.len();
        if progress >= PROGRESS_BYTES {
            progress = 0;
            patience.renew();
        }
        if whole.is_empty() && first.is_empty() {
            first = data;
        } else {
            // Most bodies are one piece and need no clock.
            if since.get_or_insert_with(Instant::now).elapsed() > limits.time_max {
                return Err(too_slow(limits));
            }
            if whole.is_empty() {
                // One allocation for a body whose length is known; it was reserved before reading.
                whole.reserve(announced.map_or(size * 2, |bytes| bytes as usize).min(limits.bytes_max));
                whole.extend_from_slice(&first);
                first = Bytes::new();
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// Lets the rest of a body come and go when its request is turned away for now, while the answer is on its way. Otherwise HTTP/1.1
/// could only close the connection: the client may lose the answer to the reset, and opening another one costs both sides more
/// than these bytes, just when there is too much to do. A stream of HTTP/2 ends alone.
///
/// The bytes are taken at a pace, after the answer: until then the rest of the body, and the next request of a client that does
/// not care for `Retry-After`, wait in the kernel, and then in the client. Taking a refused body of 100 KB off its connection costs
/// an eighth of what accepting it does, and who is turned away comes back at once: without a pace a flood of such bodies takes
/// a quarter of the processor from the requests that are accepted. A client that waits as it was told, `retry_after`, notices
/// nothing; the connection of one that does not rests longer each time.
pub(crate) fn discard(
    mut body: Incoming,
    version: Version,
    bytes_per_second: usize,
    retry_after: Duration,
    manners: &Manners,
) {
    let short = body.size_hint().exact().filter(|bytes| *bytes <= DISCARDED_BYTES_MAX);
    let Some(bytes) = short.filter(|_| version == Version::HTTP_11 && !body.is_end_stream()) else { return };
    let pause = manners.rest(Instant::now(), pause(bytes, bytes_per_second), retry_after);
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        tokio::time::timeout(DISCARD_TIMEOUT, async move { while let Some(Ok(_)) = body.frame().await {} }).await
    });
}

/// How long a connection rests after a refused body of so many bytes; 0 bytes per second: not at all.
fn pause(bytes: u64, bytes_per_second: usize) -> Duration {
    match bytes_per_second {
        0 => Duration::ZERO,
        pace => Duration::from_secs_f64((bytes + REFUSAL_BYTES) as f64 / pace as f64).min(PAUSE_MAX),
    }
}

/// Decompresses; identity bodies pass through.
pub(crate) fn decompress(
    body: Bytes,
    encoding: Encoding,
    permit: &mut Permit,
    limits: BodyLimits,
) -> Result<Bytes, Refused> {
    let sent = body.len();
    match encoding {
        Encoding::Identity => Ok(body),
        Encoding::Gzip => inflate(flate2::read::MultiGzDecoder::new(&*body), encoding, sent, permit, limits),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&*body).map_err(|_| broken(encoding))?;
            // The format allows windows of 128 MB and more, allocated before the first byte comes out.
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| broken(encoding))?;
            inflate(decoder, encoding, sent, permit, limits)
        }
        // "deflate" is zlib by the RFC, and raw deflate by some clients.
        Encoding::Deflate if is_zlib(&body) => {
            inflate(flate2::read::ZlibDecoder::new(&*body), encoding, sent, permit, limits)
        }
        Encoding::Deflate => inflate(flate2::read::DeflateDecoder::new(&*body), encoding, sent, permit, limits),
    }
}

fn inflate(
    mut decoder: impl Read,
    encoding: Encoding,
    sent: usize,
    permit: &mut Permit,
    limits: BodyLimits,
) -> Result<Bytes, Refused> {
    // A byte more than may be, to see that there is more.
    let capacity_max = limits.bytes_max + 1;
    let mut out = Vec::with_capacity((sent * 4).clamp(STEP, capacity_max.max(STEP)));
    loop {
        if out.len() == out.capacity() {
            // Doubled, and from a quarter of the most on at once to that: old and new memory are held at once while it grows.
            let capacity = if out.len() > capacity_max / 4 { capacity_max } else { out.len().max(STEP) * 2 };
            out.reserve_exact(capacity.saturating_sub(out.len()).max(1));
        }
        permit.grow_to(sent + out.capacity()).map_err(shed)?;
        let filled = out.len();
        out.resize(out.capacity().min(filled + STEP), 0);
        let read = decoder.read(&mut out[filled..]).map_err(|_| broken(encoding))?;
        out.truncate(filled + read);
        if read == 0 {
            return Ok(out.into());
        }
        if out.len() > limits.bytes_max {
            return Err(too_large(limits));
        }
        if out.len() > RATIO_FREE_BYTES && out.len() / sent.max(1) > limits.ratio_max {
            let message = format!(
                "the body grows more than {} times when decompressed; send it uncompressed or in smaller batches",
                limits.ratio_max
            );
            return Err(Refused::new(Reason::PayloadTooLarge, message));
        }
    }
}

/// RFC 1950: the first two bytes are a multiple of 31 and name method 8.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0)
}

fn too_slow(limits: BodyLimits) -> Refused {
    let message = format!(
        "the body did not arrive within {} s, or less than 1 KiB of it a second; send smaller batches",
        limits.time_max.as_secs()
    );
    Refused::new(Reason::RequestTimeout, message)
}

pub(crate) fn too_large(limits: BodyLimits) -> Refused {
    let message = format!("the body is larger than {} bytes; send the events in several requests", limits.bytes_max);
    Refused::new(Reason::PayloadTooLarge, message)
}

fn broken(encoding: Encoding) -> Refused {
    let name = encoding.name();
    Refused::new(Reason::InvalidEncoding, format!("the body is not valid {name}, as `Content-Encoding` says it is"))
}

pub(crate) fn shed(shed: Shed) -> Refused {
    crate::metrics::shed(shed);
    match shed {
        Shed::Requests | Shed::Bytes | Shed::Backlog => {
            Refused::new(Reason::Overloaded, "too much is in flight; send the same request again after `Retry-After`")
        }
        Shed::ProjectShare => Refused::new(
            Reason::RateLimited,
            "this project has as much in flight as it may while others send too; send the same request again after \
             `Retry-After`, with fewer at once",
        ),
    }
}

/// About what a new connection costs.
const DISCARDED_BYTES_MAX: u64 = 1 << 20;
/// A refused request costs about as much as this many bytes of its body.
const REFUSAL_BYTES: u64 = 16 << 10;
/// A connection that rests has a body in the kernel. Before it is doubled for who does not wait.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Whoever sends slowly may as well connect again.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// 8 MiB, as HTTP's zstd registration (RFC 9659) demands of decoders.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// How much of a body has to arrive within `body_stall_timeout`: 1 KiB/s with the defaults.
const PROGRESS_BYTES: usize = 10 << 10;
/// Output grows by this much between checks.
const STEP: usize = 64 << 10;
/// Below this size no ratio is suspicious: a thousand equal test events compress 200 to 1.
const RATIO_FREE_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests;
