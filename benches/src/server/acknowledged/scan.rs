//! The floor's own scanner: one schema, strict, straight to rows.
//!
//! Takes lines with exactly the nine fields of the corpus, in any order, without white space and escapes; everything else
//! is refused with the whole body. What it takes is checked: UTF-8, no control characters, JSON's numbers, bounds of each
//! field, nothing missing and nothing twice. So this is the least that a server which refuses bad events has to do, and a
//! real one, with its slow path for the rest of JSON, can only come close.

/// Rows of varints: time as the difference to the row before, then the five fields that make a series (contiguous, so that
/// a reader's key is a slice), then the rest. About 70 bytes an event.
#[derive(Default)]
pub struct Rows {
    bytes: Vec<u8>,
    count: usize,
    last_ms: i64,
}

impl Rows {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Replaces the rows by those of a body. `None` when any line is malformed.
    pub fn scan(&mut self, body: &[u8]) -> Option<()> {
        self.bytes.clear();
        (self.count, self.last_ms) = (0, 0);
        simdutf8::basic::from_utf8(body).ok()?;
        let mut rest = Cursor { bytes: body, at: 0 };
        while rest.at < body.len() {
            let event = rest.line()?;
            self.push(&event);
        }
        (self.count > 0).then_some(())
    }

    fn push(&mut self, event: &Event<'_>) {
        let since_ms = event.ended_ms - std::mem::replace(&mut self.last_ms, event.ended_ms);
        self.varint(((since_ms << 1) ^ (since_ms >> 63)) as u64);
        for text in [event.service, event.env, event.route, event.method] {
            self.text(text);
        }
        self.varint(event.status);
        self.varint(event.duration_us);
        self.text(event.host);
        self.bytes.extend_from_slice(&event.trace_id);
        self.count += 1;
    }

    fn text(&mut self, text: &[u8]) {
        self.varint(text.len() as u64);
        self.bytes.extend_from_slice(text);
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

#[derive(Default)]
struct Event<'a> {
    service: &'a [u8],
    env: &'a [u8],
    route: &'a [u8],
    method: &'a [u8],
    status: u64,
    duration_us: u64,
    ended_ms: i64,
    host: &'a [u8],
    trace_id: [u8; 16],
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// One event and its newline.
    fn line(&mut self) -> Option<Event<'a>> {
        let mut event = Event::default();
        let mut seen = 0u16;
        self.take(b"{")?;
        loop {
            let field = self.field(&mut event)?;
            if seen & field != 0 {
                return None;
            }
            seen |= field;
            match self.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        if self.at < self.bytes.len() {
            self.take(b"\n")?;
        }
        (seen == ALL_FIELDS).then_some(event)
    }

    /// One key and its value; returns the field's bit. The first two letters of the nine keys differ.
    #[inline]
    fn field(&mut self, event: &mut Event<'a>) -> Option<u16> {
        match self.bytes.get(self.at..self.at + 3)? {
            b"\"se" => {
                self.take(b"\"service\":")?;
                event.service = self.text()?;
                Some(1)
            }
            b"\"en" => {
                self.take(b"\"env\":")?;
                event.env = self.text()?;
                Some(1 << 1)
            }
            b"\"ro" => {
                self.take(b"\"route\":")?;
                event.route = self.text()?;
                Some(1 << 2)
            }
            b"\"me" => {
                self.take(b"\"method\":")?;
                event.method = self.text()?;
                Some(1 << 3)
            }
            b"\"st" => {
                self.take(b"\"status\":")?;
                event.status = self.integer()?;
                (100..=599).contains(&event.status).then_some(1 << 4)
            }
            b"\"du" => {
                self.take(b"\"duration_ms\":")?;
                event.duration_us = self.thousandths()?;
                Some(1 << 5)
            }
            b"\"ts" => {
                self.take(b"\"ts\":")?;
                event.ended_ms = i64::try_from(self.integer()?).ok()?;
                Some(1 << 6)
            }
            b"\"ho" => {
                self.take(b"\"host\":")?;
                event.host = self.text()?;
                Some(1 << 7)
            }
            b"\"tr" => {
                self.take(b"\"trace_id\":")?;
                event.trace_id = hex(self.text()?.try_into().ok()?)?;
                Some(1 << 8)
            }
            _ => None,
        }
    }

    #[inline]
    fn take<const N: usize>(&mut self, wanted: &[u8; N]) -> Option<()> {
        let found: &[u8; N] = self.bytes.get(self.at..self.at + N)?.try_into().ok()?;
        if found != wanted {
            return None;
        }
        self.at += N;
        Some(())
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// A string that is not empty, without what JSON would have escaped.
    #[inline]
    fn text(&mut self) -> Option<&'a [u8]> {
        self.take(b"\"")?;
        let start = self.at;
        while let Some(chunk) = self.bytes.get(self.at..self.at + 8) {
            let chunk = u64::from_le_bytes(chunk.try_into().ok()?);
            let special = special_bytes(chunk);
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                break;
            }
            self.at += 8;
        }
        // The last seven bytes of the body, or the special byte itself.
        while !matches!(self.bytes.get(self.at)?, b'"' | b'\\' | ..0x20) {
            self.at += 1;
        }
        let text = &self.bytes[start..self.at];
        self.take(b"\"")?;
        (!text.is_empty()).then_some(text)
    }

    /// A JSON integer that is not negative, of at most 18 digits.
    #[inline]
    fn integer(&mut self) -> Option<u64> {
        let start = self.at;
        let mut value = 0u64;
        while let Some(digit) = self.digit() {
            value = value.wrapping_mul(10).wrapping_add(digit);
        }
        let digits = self.at - start;
        let leading_zero = digits > 1 && self.bytes[start] == b'0';
        ((1..=18).contains(&digits) && !leading_zero).then_some(value)
    }

    /// A JSON number that is not negative, without exponent, times a thousand; digits after the third are cut off.
    #[inline]
    fn thousandths(&mut self) -> Option<u64> {
        let whole = self.integer()?;
        let mut value = whole.checked_mul(1000)?;
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            let start = self.at;
            let mut place = 100;
            while let Some(digit) = self.digit() {
                value += digit * place;
                place /= 10;
            }
            if self.at == start {
                return None;
            }
        }
        (value <= DURATION_US_MAX).then_some(value)
    }

    #[inline]
    fn digit(&mut self) -> Option<u64> {
        let digit = self.bytes.get(self.at)?.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        self.at += 1;
        Some(u64::from(digit))
    }
}

/// The high bit of each byte that is a quote, a backslash or a control character. Bytes above the first such one may be
/// marked wrongly, so only the lowest mark counts.
#[inline]
fn special_bytes(chunk: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let zero_in = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes & HIGH;
    let control = chunk.wrapping_sub(ONES * 0x20) & !chunk & HIGH;
    zero_in(chunk ^ (ONES * u64::from(b'"'))) | zero_in(chunk ^ (ONES * u64::from(b'\\'))) | control
}

/// 32 hexadecimal digits; one branch at the end instead of one a digit.
#[inline]
fn hex(digits: &[u8; 32]) -> Option<[u8; 16]> {
    let (mut bytes, mut wrong) = ([0; 16], 0);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (HEX[pair[0] as usize], HEX[pair[1] as usize]);
        wrong |= high | low;
        *byte = (high << 4) | (low & 0xf);
    }
    (wrong & 0x80 == 0).then_some(bytes)
}

const HEX: [u8; 256] = {
    let mut values = [0x80; 256];
    let mut digit = 0;
    while digit < 16 {
        values[b"0123456789abcdef"[digit] as usize] = digit as u8;
        values[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

const ALL_FIELDS: u16 = (1 << 9) - 1;
/// A day.
const DURATION_US_MAX: u64 = 86_400_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    const GOOD: &str = r#"{"service":"a","env":"p","route":"/x/{id}","method":"GET","status":200,"duration_ms":1.25,"ts":1700000000000,"host":"h","trace_id":"0123456789abcdef0123456789ABCDEF"}"#;

    fn takes(body: &str) -> bool {
        Rows::default().scan(body.as_bytes()).is_some()
    }

    #[test]
    fn the_whole_corpus_becomes_rows_of_about_seventy_bytes() {
        let mut rows = Rows::default();
        for body in corpus::bodies(&corpus::ndjson_lines(1_000, 1, 1_700_000_000_000), 100) {
            assert!(rows.scan(&body).is_some());
            assert_eq!(rows.count(), 100);
            assert!((50..100).contains(&(rows.bytes().len() / 100)), "{} bytes", rows.bytes().len());
        }
    }

    #[test]
    fn a_row_holds_every_field() {
        let mut rows = Rows::default();
        rows.scan(GOOD.as_bytes()).unwrap();
        let mut wanted = vec![0x80, 0xa0, 0xab, 0xfe, 0xf9, 0x62];
        wanted.extend_from_slice(b"\x01a\x01p\x07/x/{id}\x03GET\xc8\x01\xe2\x09\x01h");
        wanted.extend([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef].repeat(2));
        assert_eq!(rows.bytes(), wanted);
    }

    #[test]
    fn keys_may_come_in_any_order_and_the_last_newline_may_be_missing() {
        let fields = GOOD.trim_matches(['{', '}']).split(',').rev().collect::<Vec<_>>().join(",");
        assert!(takes(&format!("{{{fields}}}\n{GOOD}")));
    }

    #[test]
    fn every_truncation_is_refused() {
        let body = format!("{GOOD}\n");
        assert!((0..GOOD.len()).all(|end| !takes(&body[..end])));
    }

    #[test]
    fn malformed_lines_are_refused() {
        let broken = [
            ("\"status\":200", "\"status\":99"),
            ("\"status\":200", "\"status\":0200"),
            ("\"status\":200", "\"status\":2e2"),
            ("\"status\":200", "\"status\":-200"),
            ("\"status\":200", "\"status\":\"200\""),
            ("\"status\":200", "\"status\":200,"),
            ("\"status\":200", "\"status\":200 x"),
            ("\"status\":200,", ""),
            ("\"status\":200", "\"service\":\"b\""),
            ("\"status\":200", "\"status\":200,\"status\":200"),
            ("\"status\":200", "\"status\":200,\"other\":1"),
            ("1.25", "1."),
            ("1.25", ".25"),
            ("1.25", "01.25"),
            ("1.25", "99999999999"),
            ("1700000000000", "17000000000000000000000"),
            ("\"h\"", "\"\""),
            ("\"h\"", "\"h"),
            ("\"h\"", "\"a\u{1}\""),
            ("\"h\"", "\"before and after the line\nbreak\""),
            ("\"h\"", "\"\\q\""),
            ("\"h\"", "null"),
            ("ABCDEF", "ABCDEG"),
            ("ABCDEF", "ABCDE"),
            ("{\"service\"", "[\"service\""),
            ("\"service\":", "\"service\","),
            ("\"service\":", "\"sErvice\":"),
        ];
        for (good, bad) in broken {
            let line = GOOD.replacen(good, bad, 1);
            assert_ne!(line, GOOD);
            assert!(!takes(&format!("{GOOD}\n{line}\n{GOOD}\n")), "{line}");
        }
        assert!(!takes("") && !takes("\n") && !takes(&format!("{GOOD}{GOOD}")));
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused() {
        let mut body = GOOD.as_bytes().to_vec();
        body[13] = 0xff;
        assert!(Rows::default().scan(&body).is_none());
        assert!(takes(&GOOD.replace("\"h\"", "\"hélène-ß-日本\"")));
    }
}
