//! The case classes 1 to 7, 9 and 10 of the Autobahn test suite as a table, each case sent whole and cut in several ways; and
//! the opening handshake. Results are in docs/live-protocol.md.

use axum::http::HeaderMap;

use super::frame::{self, Opcode};
use super::inbound::{Event, Inbound, Violation};
use super::*;

/// What a server that echoes has said.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    /// The last thing said.
    Close(Option<u16>),
}

use Said::{Binary, Close, Pong, Text};

/// A server that echoes, with the inbound side of the product.
struct Echo {
    inbound: Inbound,
    kept: Vec<u8>,
    said: Vec<Said>,
}

impl Echo {
    fn new(message_bytes_max: u64) -> Self {
        Self { inbound: Inbound::new(message_bytes_max), kept: Vec::new(), said: Vec::new() }
    }

    /// Answers whether the connection is still open.
    fn hear(&mut self, bytes: &[u8]) -> bool {
        let (kept, said) = (&mut self.kept, &mut self.said);
        let read = self.inbound.read(&mut bytes.to_vec(), |event| match event {
            Event::Piece { opcode, bytes, is_last } => {
                kept.extend_from_slice(bytes);
                if is_last {
                    let message = std::mem::take(kept);
                    said.push(if opcode == Opcode::Text { Text(message) } else { Binary(message) });
                }
            }
            Event::Ping(payload) => said.push(Pong(payload.to_vec())),
            Event::Close(code) => said.push(Close(code)),
            Event::Frame | Event::Pong => {}
        });
        if let Err(Violation { code, .. }) = read {
            said.push(Close(Some(code)));
        }
        !matches!(said.last(), Some(Close(_)))
    }
}

/// A frame of a client, with any first byte.
fn raw(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn text(payload: &[u8]) -> Vec<u8> {
    raw(0x81, payload)
}

fn binary(payload: &[u8]) -> Vec<u8> {
    raw(0x82, payload)
}

fn ping(payload: &[u8]) -> Vec<u8> {
    raw(0x89, payload)
}

fn pong(payload: &[u8]) -> Vec<u8> {
    raw(0x8a, payload)
}

fn closing(code: u16, reason: &[u8]) -> Vec<u8> {
    raw(0x88, &[&code.to_be_bytes(), reason].concat())
}

/// A text in pieces of this size.
fn fragments(opcode: u8, payload: &[u8], size: usize) -> Vec<u8> {
    let count = payload.len().div_ceil(size).max(1);
    let piece = |number: usize| {
        let first = if number == 0 { opcode } else { 0 };
        let fin = if number + 1 == count { 0x80 } else { 0 };
        raw(fin | first, &payload[number * size..payload.len().min((number + 1) * size)])
    };
    (0..count).flat_map(piece).collect()
}

/// Sends a case whole, byte by byte and in chops of odd sizes, and expects the same each time.
#[track_caller]
fn case(id: &str, sends: &[Vec<u8>], expects: &[Said]) {
    let bytes = sends.concat();
    let mut chops = vec![bytes.len().max(1), 997, 4096];
    if bytes.len() < 200_000 {
        chops.extend([1, 3]);
    }
    for chop in chops {
        let mut echo = Echo::new(32 << 20);
        for piece in bytes.chunks(chop) {
            if !echo.hear(piece) {
                break;
            }
        }
        assert!(echo.said == expects, "case {id} in chops of {chop}: {:?}", shortened(&echo.said));
    }
}

fn shortened(said: &[Said]) -> Vec<String> {
    said.iter().map(|one| format!("{one:?}").chars().take(120).collect()).collect()
}

const PROTOCOL: Said = Close(Some(1002));
const NOT_TEXT: Said = Close(Some(1007));

#[test]
fn class_1_framing() {
    for (n, length) in [0, 125, 126, 127, 128, 65_535, 65_536].into_iter().enumerate() {
        let stars = vec![b'*'; length];
        case(&format!("1.1.{}", n + 1), &[text(&stars)], &[Text(stars)]);
        let bytes = vec![0xfe; length];
        case(&format!("1.2.{}", n + 1), &[binary(&bytes)], &[Binary(bytes)]);
    }
}

#[test]
fn class_2_pings_and_pongs() {
    case("2.1", &[ping(b"")], &[Pong(vec![])]);
    case("2.2", &[ping(b"Hello, world!")], &[Pong(b"Hello, world!".to_vec())]);
    let bytes = [0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff];
    case("2.3", &[ping(&bytes)], &[Pong(bytes.to_vec())]);
    case("2.4 and 2.6", &[ping(&[0xfe; 125])], &[Pong(vec![0xfe; 125])]);
    case("2.5", &[ping(&[0xfe; 126])], &[PROTOCOL]);
    case("2.7", &[pong(b""), ping(b"")], &[Pong(vec![])]);
    case("2.8", &[pong(b"unsolicited")], &[]);
    case("2.9", &[pong(b"unsolicited"), ping(b"asked")], &[Pong(b"asked".to_vec())]);
    let ten: Vec<Vec<u8>> = (0..10).map(|n| format!("payload-{n}").into_bytes()).collect();
    let pongs: Vec<Said> = ten.iter().cloned().map(Pong).collect();
    case("2.10 and 2.11", &ten.iter().map(|payload| ping(payload)).collect::<Vec<_>>(), &pongs);
}

#[test]
fn class_3_reserved_bits() {
    for bits in 1..=7u8 {
        let sends = [text(b"before"), raw(0x81 | (bits << 4), b"reserved"), ping(b"")];
        case(&format!("3.{bits}"), &sends, &[Text(b"before".to_vec()), PROTOCOL]);
        case(&format!("3.{bits} on a ping"), &[raw(0x89 | (bits << 4), b"")], &[PROTOCOL]);
    }
}

#[test]
fn class_4_opcodes() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15u8] {
        let sends = [text(b"before"), raw(0x80 | opcode, b"reserved"), ping(b"")];
        case(&format!("4, opcode {opcode}"), &sends, &[Text(b"before".to_vec()), PROTOCOL]);
        case(&format!("4, opcode {opcode} without payload"), &[raw(0x80 | opcode, b"")], &[PROTOCOL]);
    }
}

#[test]
fn class_5_fragments() {
    let whole = Text(b"fragment1fragment2".to_vec());
    let (first, last) = (raw(0x01, b"fragment1"), raw(0x80, b"fragment2"));
    case("5.1", &[raw(0x09, b"frag"), raw(0x80, b"ment")], &[PROTOCOL]);
    case("5.2", &[raw(0x0a, b"frag"), raw(0x80, b"ment")], &[PROTOCOL]);
    case("5.3 to 5.5", &[first.clone(), last.clone()], std::slice::from_ref(&whole));
    let between = [first.clone(), ping(b"pinged"), last.clone()];
    case("5.6 to 5.8", &between, &[Pong(b"pinged".to_vec()), whole.clone()]);
    case("5.9 to 5.11", &[raw(0x80, b"nothing to continue"), text(b"x")], &[PROTOCOL]);
    case("5.12 to 5.14", &[raw(0x00, b"nothing to continue"), text(b"x")], &[PROTOCOL]);
    let after = [first.clone(), last.clone(), raw(0x00, b"more"), text(b"x")];
    case("5.15", &after, &[whole.clone(), PROTOCOL]);
    case("5.16", &[raw(0x00, b"a"), raw(0x01, b"b"), raw(0x80, b"c")], &[PROTOCOL]);
    case("5.17", &[raw(0x80, b"a"), raw(0x01, b"b"), raw(0x80, b"c")], &[PROTOCOL]);
    case("5.18", &[first.clone(), text(b"fragment2")], &[PROTOCOL]);
    let five = [
        raw(0x01, b"f1"),
        raw(0x00, b"f2"),
        ping(b"one"),
        raw(0x00, b"f3"),
        raw(0x00, b"f4"),
        ping(b"two"),
        raw(0x80, b"f5"),
    ];
    case("5.19 and 5.20", &five, &[Pong(b"one".to_vec()), Pong(b"two".to_vec()), Text(b"f1f2f3f4f5".to_vec())]);
    case("empty fragments", &[raw(0x01, b""), raw(0x00, b""), raw(0x80, b"")], &[Text(vec![])]);
}

#[test]
fn class_6_utf8() {
    case("6.1.1", &[text(b"")], &[Text(vec![])]);
    case("6.1.3", &[raw(0x01, b""), raw(0x00, b"middle"), raw(0x80, b"")], &[Text(b"middle".to_vec())]);
    let greeting = "Hello-µ@ßöäüàá-UTF-8!!".as_bytes();
    case("6.2.1", &[text(greeting)], &[Text(greeting.to_vec())]);
    case("6.2.3, a character cut by fragments", &[fragments(1, greeting, 1)], &[Text(greeting.to_vec())]);
    let surrogate = [b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5".as_slice(), b"\xed\xa0\x80", b"edited"].concat();
    case("6.3.1", &[text(&surrogate)], &[NOT_TEXT]);
    case("6.3.2", &[fragments(1, &surrogate, 1)], &[NOT_TEXT]);
    // Told before the message ends: nothing after the bad fragment is needed.
    let greek = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";
    case("6.4.1 and 6.4.3", &[raw(0x01, greek), raw(0x00, b"\xf4\x90\x80\x80")], &[NOT_TEXT]);
    case("6.4.2 and 6.4.4, at the first byte that is wrong", &[raw(0x01, greek), raw(0x00, b"\xf4\x90")], &[NOT_TEXT]);
    case("6.5", &[text(greek)], &[Text(greek.to_vec())]);
    for cut in 1..greek.len() {
        let whole = std::str::from_utf8(&greek[..cut]).is_ok();
        let expected = if whole { Text(greek[..cut].to_vec()) } else { NOT_TEXT };
        case(&format!("6.6, {cut} bytes"), &[text(&greek[..cut])], &[expected]);
    }
    // 6.7 to 6.11 and 6.22, 6.23: the ends of each length, and what is just outside.
    let valid: [&[u8]; 14] = [
        b"\x00",
        b"\x7f",
        b"\xc2\x80",
        b"\xdf\xbf",
        b"\xe0\xa0\x80",
        b"\xed\x9f\xbf",
        b"\xee\x80\x80",
        b"\xef\xbf\xbd",
        b"\xef\xbf\xbf",
        b"\xf0\x90\x80\x80",
        b"\xf0\x9f\xbf\xbe",
        b"\xf4\x8f\xbf\xbe",
        b"\xf4\x8f\xbf\xbf",
        b"\xef\xb7\x90",
    ];
    for bytes in valid {
        case(&format!("6.7 to 6.23, {bytes:x?}"), &[text(bytes)], &[Text(bytes.to_vec())]);
    }
    let invalid: [&[u8]; 27] = [
        // 6.8, 6.10, 6.11.5: beyond four bytes, and beyond the last character.
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xf7\xbf\xbf\xbf",
        b"\xfb\xbf\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf\xbf",
        b"\xf4\x90\x80\x80",
        // 6.12: continuation bytes alone.
        b"\x80",
        b"\xbf",
        b"\x80\xbf\x80\xbf",
        // 6.13: first bytes alone.
        b"\xc0 \xc1 ",
        b"\xe0 \xef ",
        b"\xf0 \xf7 ",
        b"\xf8 ",
        b"\xfc ",
        // 6.14, 6.15: the last byte is missing.
        b"\xc0",
        b"\xe0\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        // 6.16: impossible.
        b"\xfe",
        b"\xff",
        // 6.17 to 6.19: longer than needed.
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x8f\xbf\xbf",
        b"\xe0\x9f\xbf",
        // 6.20, 6.21: surrogates.
        b"\xed\xa0\x80",
        b"\xed\xaf\xbf\xed\xbf\xbf",
    ];
    for bytes in invalid {
        case(&format!("6.8 to 6.21, {bytes:x?}"), &[text(bytes)], &[NOT_TEXT]);
        case(&format!("6.8 to 6.21 as binary, {bytes:x?}"), &[binary(bytes)], &[Binary(bytes.to_vec())]);
    }
}

#[test]
fn class_7_closing() {
    let hello = Text(b"Hello World!".to_vec());
    case("7.1.1", &[text(b"Hello World!"), closing(1000, b"")], &[hello, Close(Some(1000))]);
    case("7.1.2", &[closing(1000, b""), closing(1000, b"")], &[Close(Some(1000))]);
    case("7.1.3", &[closing(1000, b""), ping(b"late")], &[Close(Some(1000))]);
    case("7.1.4", &[closing(1000, b""), text(b"late")], &[Close(Some(1000))]);
    case("7.1.5", &[raw(0x01, b"half"), closing(1000, b""), raw(0x80, b"late")], &[Close(Some(1000))]);
    let big = vec![b'*'; 256 << 10];
    case("7.1.6", &[text(&big), closing(1000, b""), ping(b"")], &[Text(big), Close(Some(1000))]);
    case("7.3.1", &[raw(0x88, b"")], &[Close(None)]);
    case("7.3.2", &[raw(0x88, b"a")], &[PROTOCOL]);
    case("7.3.3 and 7.3.4", &[closing(1000, b"Hello World!")], &[Close(Some(1000))]);
    case("7.3.5", &[closing(1000, &[b'*'; 123])], &[Close(Some(1000))]);
    case("7.3.6", &[closing(1000, &[b'*'; 124])], &[PROTOCOL]);
    case("7.5.1", &[closing(1000, b"\xce\xba\xed\xa0\x80")], &[NOT_TEXT]);
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        case(&format!("7.7, {code}"), &[closing(code, b"")], &[Close(Some(code))]);
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        case(&format!("7.9 and 7.13, {code}"), &[closing(code, b"")], &[PROTOCOL]);
    }
}

#[test]
fn class_9_and_10_sizes() {
    for size in [64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20] {
        let stars = vec![b'*'; size];
        case(&format!("9.1, {size}"), &[text(&stars)], &[Text(stars.clone())]);
        case(&format!("9.2, {size}"), &[binary(&stars)], &[Binary(stars)]);
    }
    let stars = vec![b'*'; 4 << 20];
    for size in [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20] {
        case(&format!("9.3, {size}"), &[fragments(1, &stars, size)], &[Text(stars.clone())]);
        case(&format!("9.4, {size}"), &[fragments(2, &stars, size)], &[Binary(stars.clone())]);
    }
    for size in [0, 16, 64, 256, 1024, 4096] {
        let stars = vec![b'*'; size];
        case(&format!("9.7, {size}"), &vec![text(&stars); 1000], &vec![Text(stars.clone()); 1000]);
        case(&format!("9.8, {size}"), &vec![binary(&stars); 1000], &vec![Binary(stars); 1000]);
    }
    let stars = vec![b'*'; 65_536];
    case("10.1.1", &[fragments(1, &stars, 1300)], &[Text(stars)]);
}

#[test]
fn beyond_autobahn_what_a_strict_server_refuses() {
    case("a frame without a mask", &[vec![0x81, 0x02, b'h', b'i']], &[PROTOCOL]);
    case("an empty frame without a mask", &[vec![0x81, 0x00]], &[PROTOCOL]);
    case("a short length in two bytes", &[vec![0x82, 0xfe, 0, 125]], &[PROTOCOL]);
    case("a short length in eight bytes", &[vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]], &[PROTOCOL]);
    case("a length with the highest bit", &[vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0]], &[PROTOCOL]);
    case("a long control frame, told by its second byte", &[vec![0x89, 0xfe]], &[PROTOCOL]);
}

#[test]
fn a_message_above_the_limit_is_refused_by_its_head() {
    let refused = |bytes: &[u8]| {
        let mut echo = Echo::new(4096);
        echo.hear(bytes);
        echo.said == [Close(Some(1009))]
    };
    assert!(!refused(&text(&[b'*'; 4096])));
    // Not a byte of the payload has come.
    assert!(refused(&raw(0x81, &[b'*'; 4097])[..4]));
    assert!(refused(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
    assert!(refused(&[raw(0x01, &[b'*'; 4000]), raw(0x80, &[b'*'; 97])].concat()), "all fragments together");
    assert!(!refused(&vec![text(&[b'*'; 4000]); 10].concat()), "each message by itself");
}

/// Nothing that comes makes it keep more than a control frame.
#[test]
fn whatever_comes_is_judged_without_being_kept() {
    use proptest::prelude::*;

    proptest!(ProptestConfig::with_cases(2000), |(bytes in proptest::collection::vec(any::<u8>(), 0..300), chop in 1usize..40)| {
        let mut whole = Echo::new(4096);
        whole.hear(&bytes);
        let mut chopped = Echo::new(4096);
        for piece in bytes.chunks(chop) {
            if !chopped.hear(piece) {
                break;
            }
        }
        prop_assert_eq!(whole.said, chopped.said);
    });
}

#[test]
fn our_own_frames_are_what_a_client_expects() {
    assert_eq!(&frame::message(Opcode::Text, b"hi")[..], b"\x81\x02hi");
    assert_eq!(&frame::close(Some(1013), "retry=7")[..], b"\x88\x09\x03\xf5retry=7");
    assert_eq!(&frame::control(Opcode::Pong, b"")[..], b"\x8a\x00");
}

fn handshake(changes: &[(&'static str, Option<&'static str>)]) -> Result<Response, ApiError> {
    let mut headers = HeaderMap::new();
    let usual = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (name, value) in usual {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in changes {
        headers.remove(*name);
        headers.extend(value.map(|value| (HeaderName::from_static(name), HeaderValue::from_static(value))));
    }
    accept(&Method::GET, Version::HTTP_11, &headers)
}

#[test]
fn the_handshake_is_answered_as_the_rfc_shows() {
    let answer = handshake(&[]).expect("a usual handshake");
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(answer.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert!(!answer.headers().contains_key("sec-websocket-extensions"), "frames are shared, so nothing is compressed");
}

#[test]
fn a_handshake_that_is_none_is_refused() {
    let status =
        |changes: &[(&'static str, Option<&'static str>)]| handshake(changes).map_err(|error| error.status).err();
    assert_eq!(status(&[("connection", Some("keep-alive"))]), Some(StatusCode::BAD_REQUEST));
    assert_eq!(status(&[("sec-websocket-version", Some("8"))]), Some(StatusCode::UPGRADE_REQUIRED));
    assert_eq!(status(&[("sec-websocket-version", None)]), Some(StatusCode::UPGRADE_REQUIRED));
    for key in [None, Some("short"), Some("dGhlIHNhbXBsZSBub25jZQ"), Some("dGhlIHNhbXBsZSBub25jZSBhbmQgbW9yZQ==")] {
        assert_eq!(status(&[("sec-websocket-key", key)]), Some(StatusCode::BAD_REQUEST), "{key:?}");
    }
}
