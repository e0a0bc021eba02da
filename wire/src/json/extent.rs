//! Where a JSON value ends, without judging it.
//!
//! Brackets and strings only: enough to keep a broken event from taking its neighbours along. Iterative, so a
//! body of a million brackets costs a counter and no stack.

/// A value's end (exclusive) and how deep it nests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) end: usize,
    pub(super) depth: usize,
}

/// JSON's white space, which is less than ASCII's: no form feed.
#[inline]
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// First position from `at` that is not JSON white space.
#[inline]
pub(super) fn skip_blank(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|&byte| is_blank(byte)) {
        at += 1;
    }
    at
}

/// The extent of the value that starts at `at`; `None` when it does not end.
pub(super) fn of_value(bytes: &[u8], at: usize) -> Option<Extent> {
    let mut depth = 0usize;
    let mut deepest = 0;
    let mut position = at;
    loop {
        match *bytes.get(position)? {
            b'"' => position = string_end(bytes, position + 1)?,
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
                position += 1;
            }
            b'}' | b']' if depth == 0 => break,
            b'}' | b']' => {
                depth -= 1;
                position += 1;
            }
            b',' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => break,
            _ => position += 1,
        }
        let ended = bytes.get(position).is_none() || (depth == 0 && !is_scalar(bytes[at]));
        if depth == 0 && ended {
            break;
        }
    }
    (position > at).then_some(Extent { end: position, depth: deepest })
}

/// How deep the brackets of `bytes` nest, whether or not they match.
pub(crate) fn depth_of(bytes: &[u8]) -> usize {
    let mut depth = 0usize;
    let mut deepest = 0;
    let mut position = 0;
    while let Some(&byte) = bytes.get(position) {
        position += 1;
        match byte {
            b'"' => match string_end(bytes, position) {
                Some(end) => position = end,
                None => break,
            },
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn is_scalar(first: u8) -> bool {
    !matches!(first, b'{' | b'[' | b'"')
}

/// Position after the closing quote of a string whose text starts at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let found = memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        match bytes[at + found] {
            b'"' => return Some(at + found + 1),
            _ => at += found + 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_they_end() {
        for (text, end, depth) in [
            ("{}", 2, 1),
            (r#"{"a":"}\"]"} ,"#, 12, 1),
            ("[[],{}],1", 7, 2),
            ("12,3", 2, 0),
            ("true]", 4, 0),
            (r#""a\\" x"#, 5, 0),
            ("NaN", 3, 0),
        ] {
            assert_eq!(of_value(text.as_bytes(), 0), Some(Extent { end, depth }), "{text}");
        }
    }

    #[test]
    fn what_does_not_end_has_no_extent() {
        for text in ["{", "[1,2", r#"{"a":"b"#, r#""\"#, "", "]"] {
            assert_eq!(of_value(text.as_bytes(), 0), None, "{text}");
        }
    }

    #[test]
    fn a_million_brackets_are_only_counted() {
        assert_eq!(depth_of(&vec![b'['; 1_000_000]), 1_000_000);
    }
}
