//! The frame around a line that comes by syslog.
//!
//! In: one datagram. Out: the tag and the message. Promised: RFC 3164 as nginx, Apache's `logger` and HAProxy write it, with and
//! without a host name, and RFC 5424; what is neither passes as it is, as a message without a tag. Not done: judging
//! priority, time or host; the line inside has better ones.

/// The tag and the message of a datagram.
pub(super) fn split(datagram: &[u8]) -> (&str, &[u8]) {
    let datagram = datagram.trim_ascii_end();
    let Some(rest) = without_priority(datagram) else { return ("", datagram) };
    if let Some(rest) = rest.strip_prefix(b"1 ") {
        return rfc5424(rest).unwrap_or(("", rest));
    }
    rfc3164(rest).unwrap_or(("", rest))
}

/// `<190>`.
fn without_priority(text: &[u8]) -> Option<&[u8]> {
    let rest = text.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|&byte| byte == b'>')?;
    (end > 0 && rest[..end].iter().all(u8::is_ascii_digit)).then(|| &rest[end + 1..])
}

/// `Nov 20 17:44:12 web-1 shop: message`; the host name may be missing, and so may a process number in brackets be there.
fn rfc3164(text: &[u8]) -> Option<(&str, &[u8])> {
    let rest = text.get(TIME_BYTES..)?;
    let rest = (text[3] == b' ' && text[9] == b':' && text[12] == b':').then_some(rest)?.strip_prefix(b" ")?;
    let (first, after) = word(rest)?;
    let (tag, message) = match first.strip_suffix(b":") {
        Some(tag) => (tag, after),
        None => {
            let (second, after) = word(after)?;
            (second.strip_suffix(b":")?, after)
        }
    };
    Some((name(tag), message))
}

/// `Nov 20 17:44:12`.
const TIME_BYTES: usize = 15;

/// `2026-11-20T17:44:12Z web-1 shop 4711 - [data] message`.
fn rfc5424(text: &[u8]) -> Option<(&str, &[u8])> {
    let (_time, rest) = word(text)?;
    let (_host, rest) = word(rest)?;
    let (tag, rest) = word(rest)?;
    let (_process, rest) = word(rest)?;
    let (_message_id, rest) = word(rest)?;
    let rest = match rest.strip_prefix(b"-") {
        Some(rest) => rest,
        None => without_data(rest)?,
    };
    let message = rest.strip_prefix(b" ").unwrap_or(rest);
    Some((name(tag), message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message)))
}

/// Behind any number of `[id name="value"]`.
fn without_data(mut text: &[u8]) -> Option<&[u8]> {
    while text.first() == Some(&b'[') {
        let (mut at, mut quoted) = (1, false);
        loop {
            match text.get(at)? {
                b'\\' if quoted => at += 1,
                b'"' => quoted = !quoted,
                b']' if !quoted => break,
                _ => {}
            }
            at += 1;
        }
        text = &text[at + 1..];
    }
    Some(text)
}

/// Up to the next space, and what follows it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b' ', text)?;
    (end > 0).then(|| (&text[..end], &text[end + 1..]))
}

/// Without a process number: `shop[4711]`.
fn name(tag: &[u8]) -> &str {
    let end = memchr::memchr(b'[', tag).unwrap_or(tag.len());
    std::str::from_utf8(&tag[..end]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_frames_are_taken_off() {
        for (datagram, tag, message) in [
            ("<190>Nov 20 17:44:12 web-1 nginx: {\"a\":1}", "nginx", "{\"a\":1}"),
            ("<190>Nov  2 17:44:12 shop: a - - [x]", "shop", "a - - [x]"),
            ("<13>Nov 20 17:44:12 web-1 httpd[4711]: a: b", "httpd", "a: b"),
            ("<13>1 2026-11-20T17:44:12Z web-1 shop 4711 - - {\"a\":1}\n", "shop", "{\"a\":1}"),
            ("<13>1 2026-11-20T17:44:12Z - shop - - [x@1 a=\"]\\\"\"][y@1 b=\"\"] line", "shop", "line"),
            ("{\"a\":1}", "", "{\"a\":1}"),
            ("<x>what is this", "", "<x>what is this"),
        ] {
            let (found_tag, found) = split(datagram.as_bytes());
            assert_eq!((found_tag, found), (tag, message.as_bytes()), "{datagram}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_datagrams_never_panic(datagram in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            split(&datagram);
            split(&[b"<13>1 ".as_slice(), &datagram].concat());
            split(&[b"<13>Nov 20 17:44:12 ".as_slice(), &datagram].concat());
        }
    }
}
