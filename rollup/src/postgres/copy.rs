//! Rows in the binary format of `COPY … FROM STDIN (FORMAT binary)`.
//!
//! Arrives: typed fields. Leaves: the bytes Postgres reads (manual, "COPY", binary format). Written by hand because it is
//! forty lines, and because a row can then be encoded straight from borrowed event bytes, once, before it is known whether
//! it will be kept.
//!
//! Does not: check column order; that is one constant and one function side by side in `write` and `raw`.

/// Starts a COPY.
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Ends a COPY.
pub(crate) const TRAILER: &[u8] = &(-1i16).to_be_bytes();

/// Starts a row.
#[inline]
pub(crate) fn row(out: &mut Vec<u8>, fields: i16) {
    out.extend(fields.to_be_bytes());
}

/// SQL null.
#[inline]
pub(crate) fn null(out: &mut Vec<u8>) {
    out.extend((-1i32).to_be_bytes());
}

/// `bytea`, and the base of the others.
#[inline]
pub(crate) fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = i32::try_from(bytes.len()).expect("a field is smaller than a log record");
    out.extend(len.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// `smallint`.
#[inline]
pub(crate) fn int2(out: &mut Vec<u8>, value: i16) {
    bytes(out, &value.to_be_bytes());
}

/// `int`.
#[inline]
pub(crate) fn int4(out: &mut Vec<u8>, value: i32) {
    bytes(out, &value.to_be_bytes());
}

/// `bigint`.
#[inline]
pub(crate) fn int8(out: &mut Vec<u8>, value: i64) {
    bytes(out, &value.to_be_bytes());
}

/// An unsigned number in a `bigint`; what does not fit becomes the largest that does.
#[inline]
pub(crate) fn uint8(out: &mut Vec<u8>, value: u64) {
    int8(out, i64::try_from(value).unwrap_or(i64::MAX));
}

/// `real`.
#[inline]
pub(crate) fn float4(out: &mut Vec<u8>, value: f32) {
    bytes(out, &value.to_be_bytes());
}

/// `timestamptz`: microseconds since 2000.
#[inline]
pub(crate) fn timestamp_ms(out: &mut Vec<u8>, unix_ms: i64) {
    int8(out, unix_ms.saturating_sub(POSTGRES_EPOCH_MS).saturating_mul(1000));
}

/// `text`. Postgres has no NUL character: it becomes the replacement character.
#[inline]
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    if text.contains('\0') {
        bytes(out, text.replace('\0', "\u{fffd}").as_bytes());
    } else {
        bytes(out, text.as_bytes());
    }
}

/// `jsonb` from JSON text. An escaped NUL is legal JSON and illegal `jsonb`.
pub(crate) fn jsonb(out: &mut Vec<u8>, json: &str) {
    let replaced;
    let json = if json.contains("\\u0000") {
        replaced = replace_escaped_nul(json);
        &replaced
    } else {
        json
    };
    let len = i32::try_from(json.len() + 1).expect("a field is smaller than a log record");
    out.extend(len.to_be_bytes());
    out.push(JSONB_VERSION);
    out.extend_from_slice(json.as_bytes());
}

/// Either the field or null.
#[inline]
pub(crate) fn optional<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        Some(value) => put(out, value),
        None => null(out),
    }
}

/// `\u0000` where the backslash is not itself escaped.
fn replace_escaped_nul(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        let len = if let Some(tail) = escape.strip_prefix("\\u0000") {
            out.push_str("\\ufffd");
            escape.len() - tail.len()
        } else {
            // The backslash and the character after it, which may be a second backslash.
            let len = escape.char_indices().nth(2).map_or(escape.len(), |(at, _)| at);
            out.push_str(&escape[..len]);
            len
        };
        rest = &escape[len..];
    }
    out.push_str(rest);
    out
}

/// 2000-01-01T00:00:00Z.
const POSTGRES_EPOCH_MS: i64 = 946_684_800_000;
const JSONB_VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_nul_is_replaced_and_an_escaped_backslash_is_not() {
        assert_eq!(replace_escaped_nul(r#"{"a":"x\u0000y"}"#), r#"{"a":"x\ufffdy"}"#);
        assert_eq!(replace_escaped_nul(r#"{"a":"\\u0000 \n é"}"#), r#"{"a":"\\u0000 \n é"}"#);
        assert_eq!(replace_escaped_nul(r#"\\\u0000\"#), r#"\\\ufffd\"#);
    }

    #[test]
    fn fields_are_length_prefixed_and_null_is_minus_one() {
        let mut out = Vec::new();
        row(&mut out, 3);
        text(&mut out, "a\0");
        optional(&mut out, None, int8);
        timestamp_ms(&mut out, POSTGRES_EPOCH_MS + 1);
        let mut expected = vec![0, 3, 0, 0, 0, 4, b'a', 0xef, 0xbf, 0xbd, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 8];
        expected.extend(1000i64.to_be_bytes());
        assert_eq!(out, expected);
    }
}
