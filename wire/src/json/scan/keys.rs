//! Which key comes next: mostly the one that came next in the event before.
//!
//! A client writes its events with one piece of code, so their keys come in one order. What followed each key last time
//! is expected again, and `,"key":` with the opening quote of a string is then one comparison of sixteen bytes. Anything
//! else is read the long way and expected the next time.

use wide::u8x16;

use super::text::{self, CHUNK};
use crate::json::extent;

macro_rules! keys {
    ($($key:ident = $name:literal $begin:literal),+ $(,)?) => {
        /// What can stand at the place of a key.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Key { $($key,)+ Unknown, End, Start }

        impl Key {
            /// The key that a string of the text is.
            fn named(name: &[u8]) -> Key {
                // By length first: the comparisons that remain are of known size and need no call.
                match name.len() {
                    $(len if len == $name.len() && name == $name.as_bytes() => Key::$key,)+
                    _ => Key::Unknown,
                }
            }
        }

        /// In the order of [`Key`].
        static TOKENS: [Token; KEYS] = [
            $(Token::of(concat!(",\"", $name, "\":", $begin)),)+
            Token::IMPOSSIBLE,
            Token::of("}"),
            Token::IMPOSSIBLE,
        ];

        /// Whether a key's value begins with a quote, in the order of [`Key`].
        static QUOTED: [bool; KEYS] = [$(!$begin.is_empty(),)+ false, false, false];
    };
}

keys! {
    Service = "service" "\"",
    Env = "env" "\"",
    Route = "route" "\"",
    Method = "method" "\"",
    Status = "status" "",
    DurationMs = "duration_ms" "",
    Ts = "ts" "",
    Error = "error" "\"",
    Host = "host" "\"",
    Version = "version" "\"",
    Source = "source" "\"",
    BytesIn = "bytes_in" "",
    BytesOut = "bytes_out" "",
    TraceId = "trace_id" "\"",
    SpanId = "span_id" "\"",
    Attrs = "attrs" "",
}

const OPENING: u8x16 = u8x16::new([b'{' ^ b',', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
const KEYS: usize = Key::Start as usize + 1;

/// What stands before a value, ready to be compared in one step.
#[derive(Debug)]
struct Token {
    text: [u8; CHUNK],
    mask: [u8; CHUNK],
    len: usize,
}

impl Token {
    const IMPOSSIBLE: Token = Token { text: [1; CHUNK], mask: [0; CHUNK], len: 0 };

    const fn of(text: &str) -> Token {
        let mut bytes = [0; CHUNK];
        let mut mask = [0; CHUNK];
        let mut at = 0;
        while at < text.len() {
            bytes[at] = text.as_bytes()[at];
            mask[at] = 0xff;
            at += 1;
        }
        Token { text: bytes, mask, len: text.len() }
    }
}

/// Which key followed each key the last time.
#[derive(Debug)]
pub(super) struct Foresight {
    next: [Key; KEYS],
}

impl Default for Foresight {
    fn default() -> Self {
        Foresight { next: [Key::Unknown; KEYS] }
    }
}

impl Foresight {
    /// The key after `last` and where its value begins: behind the quote if it must be a string.
    #[inline(always)]
    pub(super) fn next(&mut self, bytes: &[u8], at: usize, last: Key, lines: bool) -> Option<(Key, usize)> {
        let expected = self.next[last as usize];
        let token = &TOKENS[expected as usize];
        if let Some(mut found) = text::chunk(bytes, at) {
            if last == Key::Start {
                // An object opens where otherwise a comma stands.
                found ^= OPENING;
            }
            if (found & u8x16::new(token.mask)).simd_eq(u8x16::new(token.text)).all() {
                return Some((expected, at + token.len));
            }
        }
        let (key, at) = read(bytes, at, last, lines)?;
        self.next[last as usize] = key;
        Some((key, at))
    }
}

/// Any key, however it is spaced.
#[inline(never)]
fn read(bytes: &[u8], at: usize, last: Key, lines: bool) -> Option<(Key, usize)> {
    let at = match last {
        Key::Start => take(bytes, at, b'{')?,
        _ => {
            let at = blank(bytes, at, lines);
            match bytes.get(at)? {
                b',' => at + 1,
                b'}' => return Some((Key::End, at + 1)),
                _ => return None,
            }
        }
    };
    // An object without a key is refused anyway: it has no service.
    let start = take(bytes, blank(bytes, at, lines), b'"')?;
    let end = text::plain_end(bytes, start)?;
    let key = Key::named(bytes.get(start..end)?);
    let at = colon(bytes, end + 1, lines)?;
    if QUOTED[key as usize] { Some((key, take(bytes, at, b'"')?)) } else { Some((key, at)) }
}

/// The position behind a colon and the white space around it.
#[inline]
pub(super) fn colon(bytes: &[u8], at: usize, lines: bool) -> Option<usize> {
    let at = take(bytes, blank(bytes, at, lines), b':')?;
    Some(blank(bytes, at, lines))
}

#[inline]
pub(super) fn take(bytes: &[u8], at: usize, byte: u8) -> Option<usize> {
    (*bytes.get(at)? == byte).then_some(at + 1)
}

/// The first position that is not white space; in `lines` a line feed is none.
#[inline]
pub(super) fn blank(bytes: &[u8], mut at: usize, lines: bool) -> usize {
    while bytes.get(at).is_some_and(|&byte| extent::is_blank(byte) && !(lines && byte == b'\n')) {
        at += 1;
    }
    at
}
