//! Which request heads are taken: those that mean the same to everybody who reads them.
//!
//! A proxy in front of ingest and ingest itself must agree on where each request ends. Where they do not, what one of them takes
//! for a body is the next request of somebody else to the other (request smuggling). So whatever could be read in two ways
//! is answered 400 and the connection ends: a length *and* chunks, two lengths, two or unknown transfer encodings, lines that end
//! in a bare LF.
//!
//! hyper repairs most of these silently, before a service sees the head. [`Framing`] therefore follows the bytes of a
//! connection by itself, a second reading of the framing beside hyper's: [`Watched`] shows them to it, and a [`Watch`] tells
//! the service from which request on the connection is not to be trusted. Heads are looked at line by line and bodies are skipped by their length, so
//! it costs a search for a handful of line ends per request.
//!
//! [`check`] is about what the head says: one host, no expectation but `100-continue`, a target that is a path.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use hyper::header::{EXPECT, HOST};
use hyper::{Method, Request, Version};
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::outcome::{Reason, Refused};

/// Whether the head of a request can be taken as it is.
pub(crate) fn check<B>(request: &Request<B>) -> Result<(), Refused> {
    check_host(request)?;
    check_target(request)?;
    match request.headers().get(EXPECT) {
        Some(expected) if !expected.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            let message = "the only expectation that can be met is `Expect: 100-continue`";
            Err(Refused::new(Reason::ExpectationFailed, message))
        }
        _ => Ok(()),
    }
}

/// RFC 9112, 3.2: exactly one `Host`, and one that can be a host.
fn check_host<B>(request: &Request<B>) -> Result<(), Refused> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let message = match (hosts.next(), hosts.next()) {
        (Some(host), None) if host.as_bytes().iter().all(|byte| HOST_BYTES[usize::from(*byte)]) => return Ok(()),
        // HTTP/1.0 had no hosts, and HTTP/2 names it in the target.
        (None, None) if request.version() != Version::HTTP_11 => return Ok(()),
        (None, _) => "the request has no `Host` header",
        (Some(_), None) => "the `Host` header is no host",
        (Some(_), Some(_)) => "the request has more than one `Host` header",
    };
    Err(Refused::new(Reason::InvalidRequest, message))
}

/// RFC 9112, 3.2: a path, a whole `http` URL, or an asterisk for `OPTIONS`. Tunnels are none of our business.
fn check_target<B>(request: &Request<B>) -> Result<(), Refused> {
    let (method, uri) = (request.method(), request.uri());
    match uri.scheme_str() {
        _ if method == Method::CONNECT => Err(Refused::new(Reason::MethodNotAllowed, "CONNECT is not possible here")),
        Some(scheme) if !matches!(scheme, "http" | "https") => {
            Err(Refused::new(Reason::InvalidRequest, "the request target is neither a path nor an http URL"))
        }
        _ if uri.path() == "*" && method != Method::OPTIONS => {
            Err(Refused::new(Reason::InvalidRequest, "the request target `*` is for OPTIONS only"))
        }
        _ => Ok(()),
    }
}

/// What a host and a port can consist of (RFC 3986), without the comma, which is what joined headers look like.
const HOST_BYTES: [bool; 256] = {
    let mut allowed = [false; 256];
    let bytes = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+;=:[]%";
    let mut at = 0;
    while at < bytes.len() {
        allowed[bytes[at] as usize] = true;
        at += 1;
    }
    allowed
};

/// What the service of a connection knows of the framing of its requests.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Number of the first request that is not to be trusted, from 0.
    refused_from: AtomicU64,
    served: AtomicU64,
    is_within_head: AtomicBool,
}

impl Watch {
    pub(crate) fn new() -> Arc<Watch> {
        let refused_from = AtomicU64::new(u64::MAX);
        Arc::new(Watch { refused_from, served: AtomicU64::new(0), is_within_head: AtomicBool::new(false) })
    }

    /// Whether some of a head has arrived, and not all of it.
    pub(crate) fn is_within_head(&self) -> bool {
        self.is_within_head.load(Ordering::Relaxed)
    }

    /// To be asked once for each request, in order.
    pub(crate) fn next_request(&self) -> Result<(), Refused> {
        // One connection is on one thread: nothing here is contended, or ordered with anything else.
        let number = self.served.fetch_add(1, Ordering::Relaxed);
        if number < self.refused_from.load(Ordering::Relaxed) {
            return Ok(());
        }
        let message = "where this request ends can be read in more than one way; send one `Content-Length`, or one \
                       `Transfer-Encoding: chunked` and no length, and end every line with CRLF";
        Err(Refused::new(Reason::InvalidRequest, message))
    }
}

/// A connection whose bytes are followed.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    framing: Framing,
    watch: Arc<Watch>,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, watch: Arc<Watch>) -> Watched<S> {
        Watched { stream, framing: Framing::default(), watch }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        this.framing.follow(&buffer.filled()[before..]);
        if let Some(number) = this.framing.refused_from {
            this.watch.refused_from.store(number, Ordering::Relaxed);
        }
        this.watch.is_within_head.store(this.framing.is_within_head(), Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Where each request of a connection ends, strictly by RFC 9112.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    place: Place,
    /// The line that is not complete yet: its beginning, as much as anything of interest can be long.
    line: Vec<u8>,
    /// The byte before what was read last, and whether `line` is only the beginning.
    last: u8,
    is_cut: bool,
    head: Head,
    /// Complete heads so far.
    heads: u64,
    refused_from: Option<u64>,
}

/// What the next bytes are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Or an empty line before it, which is ignored.
    #[default]
    RequestLine,
    Header,
    Body(u64),
    ChunkSize,
    /// With the line end behind it.
    Chunk(u64),
    Trailer,
    /// Not followed any further: HTTP/2, or not to be trusted.
    Lost,
}

/// What the lines of a head say about the body.
#[derive(Debug, Default, Clone, Copy)]
struct Head {
    length: Option<u64>,
    is_chunked: bool,
    is_ambiguous: bool,
}

impl Framing {
    /// Takes the next bytes of the connection, in pieces of any size.
    pub(crate) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match &mut self.place {
                Place::Lost => return,
                Place::Body(left) | Place::Chunk(left) => {
                    let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= skipped as u64;
                    bytes = &bytes[skipped..];
                    if *left == 0 {
                        let is_body = matches!(self.place, Place::Body(_));
                        self.place = if is_body { Place::RequestLine } else { Place::ChunkSize };
                    }
                }
                Place::RequestLine | Place::Header | Place::ChunkSize | Place::Trailer => {
                    let Some(end) = memchr(b'\n', bytes) else {
                        self.keep(bytes);
                        return;
                    };
                    let (line, rest) = bytes.split_at(end + 1);
                    bytes = rest;
                    self.whole_line(line);
                }
            }
        }
    }

    /// Some of a head was read, and not its end.
    fn is_within_head(&self) -> bool {
        self.place == Place::Header || (self.place == Place::RequestLine && !self.line.is_empty())
    }

    /// The beginning of a line, or more of it.
    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.is_cut |= bytes.len() > room;
        self.last = bytes[bytes.len() - 1];
    }

    /// The end of a line: of one that began here, or before.
    fn whole_line(&mut self, end: &[u8]) {
        let last = if end.len() > 1 { end[end.len() - 2] } else { self.last };
        let is_begun = !self.line.is_empty();
        let line = if is_begun {
            self.keep(end);
            std::mem::take(&mut self.line)
        } else {
            Vec::new()
        };
        let text = if is_begun { &line[..] } else { end };
        let is_cut = std::mem::take(&mut self.is_cut) || text.len() > LINE_BYTES_MAX;
        self.last = 0;
        if last != b'\r' {
            // In a head, which hyper would take. In a chunked body it does not, and nothing behind it is taken either.
            return self.refuse(self.heads);
        }
        let text = if is_cut { &text[..LINE_BYTES_MAX] } else { &text[..text.len() - 2] };
        self.line(text, is_cut);
    }

    /// One line without its end. Of a long one only the beginning.
    fn line(&mut self, line: &[u8], is_cut: bool) {
        match self.place {
            Place::RequestLine if line.is_empty() => {}
            // The preface of HTTP/2, which frames by itself.
            Place::RequestLine if self.heads == 0 && line == b"PRI * HTTP/2.0" => self.place = Place::Lost,
            Place::RequestLine => (self.place, self.head) = (Place::Header, Head::default()),
            Place::Header if line.is_empty() => self.end_of_head(),
            Place::Header => self.head.read(line, is_cut),
            Place::ChunkSize => match chunk_size(line) {
                Some(0) => self.place = Place::Trailer,
                Some(size) => self.place = Place::Chunk(size.saturating_add(2)),
                // hyper refuses the body; if it should not, then at least nothing behind it is taken.
                None => self.refuse(self.heads),
            },
            Place::Trailer if line.is_empty() => self.place = Place::RequestLine,
            Place::Trailer | Place::Body(_) | Place::Chunk(_) | Place::Lost => {}
        }
    }

    fn end_of_head(&mut self) {
        let Head { length, is_chunked, is_ambiguous } = self.head;
        if is_ambiguous {
            return self.refuse(self.heads);
        }
        self.heads += 1;
        self.place = match length {
            _ if is_chunked => Place::ChunkSize,
            Some(length @ 1..) => Place::Body(length),
            Some(0) | None => Place::RequestLine,
        };
    }

    /// Nothing from this request on is to be trusted.
    fn refuse(&mut self, number: u64) {
        self.refused_from = Some(number);
        self.place = Place::Lost;
        self.line = Vec::new();
    }
}

impl Head {
    fn read(&mut self, line: &[u8], is_cut: bool) {
        // The first letter decides for most headers.
        match line[0] {
            b'c' | b'C' => {
                let Some(value) = value_of(line, b"content-length") else { return };
                let length = if is_cut { None } else { number(value) };
                self.is_ambiguous |= length.is_none() || self.length.is_some() || self.is_chunked;
                self.length = length;
            }
            b't' | b'T' => {
                let Some(value) = value_of(line, b"transfer-encoding") else { return };
                let is_known = !is_cut && value.eq_ignore_ascii_case(b"chunked");
                self.is_ambiguous |= !is_known || self.length.is_some() || self.is_chunked;
                self.is_chunked = true;
            }
            // A line that goes on in the next one, which some join and others take for a header.
            b' ' | b'\t' => self.is_ambiguous = true,
            _ => {}
        }
    }
}

/// Without the white space around it. A name with white space behind it is refused by hyper.
fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    if !found.eq_ignore_ascii_case(name) {
        return None;
    }
    let value = value.strip_prefix(b":")?;
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    Some(&value[start..end])
}

/// Digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Hexadecimal digits, then nothing or an extension, which is ignored; white space between them as hyper has it.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, rest) = line.split_at(end);
    if digits.is_empty() || !matches!(rest.trim_ascii_start(), [] | [b';', ..]) {
        return None;
    }
    digits.iter().try_fold(0_u64, |size, digit| match size.leading_zeros() {
        0..4 => None,
        _ => Some(size << 4 | u64::from(char::from(*digit).to_digit(16)?)),
    })
}

/// No line that decides about the framing is longer, except to confuse somebody.
const LINE_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests;
