//! Route templates: `/items/49777.json?a=1` becomes `/items/{id}.json`.
//!
//! In: the target of a request. Out: a template of at most 256 bytes that names no person, no thing and no secret.
//! Promised: no query string or fragment gets through; the same path always gives the same template (no learning);
//! a template is its own template; `wire/fixtures/route_templates.json` holds the rules in prose and the vectors that
//! every client of peep agrees on. Not done: knowing the application's real routes; [`Routes`] bounds how many
//! templates one run may bring, in case a site hides identifiers in ways that look like words.

mod classify;
mod limit;
mod pattern;

use std::borrow::Cow;

use crate::line::{Target, hex_value};

pub(crate) use limit::{Admission, OTHER, Routes};
pub(crate) use pattern::Pattern;

/// Appends the template of `target` to `out`, which must be empty: the first pattern of the user that matches, else by
/// the rules.
pub(crate) fn write_template(target: &Target<'_>, patterns: &[Pattern], out: &mut String) {
    debug_assert!(out.is_empty(), "one template per string");
    match target {
        Target::Missing => out.push_str("(none)"),
        Target::NotHttp => out.push_str("(invalid)"),
        Target::Template(template) => out.push_str(template),
        Target::Path(target) => {
            let path = path_of(target);
            match patterns.iter().find(|pattern| pattern.matches(path)) {
                Some(pattern) => out.push_str(pattern.text()),
                None => write_path(path, out),
            }
        }
    }
    debug_assert!(out.len() <= TEMPLATE_BYTES_MAX, "templates are bounded");
}

/// What a template may have at most; also the limit that the vectors state.
pub(crate) const TEMPLATE_BYTES_MAX: usize = 256;

/// Longer paths end in `/{rest}`: real routes are rarely this deep, proxied and probed paths are.
const SEGMENTS_MAX: usize = 8;

const REST: &str = "/{rest}";

fn write_path(path: &[u8], out: &mut String) {
    match path.first() {
        Some(b'/') => {}
        _ if path == b"*" => return out.push('*'),
        _ => return out.push_str("(invalid)"),
    }
    // `;jsessionid=…` and other path parameters are as private as a query string.
    let segments = path.split(|&byte| byte == b'/').map(|segment| {
        let end = memchr::memchr(b';', segment).unwrap_or(segment.len());
        &segment[..end]
    });
    for (index, segment) in segments.filter(|segment| !segment.is_empty()).enumerate() {
        let before = out.len();
        out.push('/');
        if index < SEGMENTS_MAX {
            write_segment(segment, out);
        }
        if index >= SEGMENTS_MAX || out.len() > TEMPLATE_BYTES_MAX - REST.len() - 1 {
            out.truncate(before);
            return out.push_str(REST);
        }
    }
    if out.is_empty() || path.ends_with(b"/") {
        out.push('/');
    }
}

/// The path of a request target: without query and fragment, and without scheme and authority in the absolute form.
fn path_of(target: &[u8]) -> &[u8] {
    let end = memchr::memchr2(b'?', b'#', target).unwrap_or(target.len());
    let target = &target[..end];
    if target.first() == Some(&b'/') {
        return target;
    }
    match memchr::memmem::find(target, b"://") {
        Some(scheme) => {
            let authority = &target[scheme + 3..];
            memchr::memchr(b'/', authority).map_or(b"/", |slash| &authority[slash..])
        }
        None => target,
    }
}

fn write_segment(segment: &[u8], out: &mut String) {
    let segment = percent_decoded(segment);
    match std::str::from_utf8(&segment) {
        Ok(text) if text.bytes().all(is_plain) => classify::write_segment(text, out),
        _ => out.push_str("{text}"),
    }
}

/// Undoes `%41`; an escape that is none stays, and its `%` then marks the segment as not plain.
fn percent_decoded(segment: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', segment).is_none() {
        return Cow::Borrowed(segment);
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push(hex_value(*high) << 4 | hex_value(*low));
                tail
            }
            _ => {
                decoded.push(byte);
                after
            }
        };
    }
    Cow::Owned(decoded)
}

/// What file names, words and framework conventions are made of. Commas, bars, spaces, quotes, anything beyond ASCII
/// are content, not structure. No byte here needs an escape in JSON.
fn is_plain(byte: u8) -> bool {
    PLAIN[usize::from(byte)]
}

const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        plain[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"-._~:@+=$!*()[]{}";
    let mut index = 0;
    while index < marks.len() {
        plain[marks[index] as usize] = true;
        index += 1;
    }
    plain
};

#[cfg(test)]
mod tests;
