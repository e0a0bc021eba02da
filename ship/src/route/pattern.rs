//! Templates that the user knows better: `--route '/product/{name}'`.
//!
//! In: such a pattern, then paths. Out: whether a path matches; then the pattern itself is the route. A `{…}` stands
//! for one segment, or for a part of one (`/post/{slug}.html`); a last `{*rest}` stands for all that follows.

use super::TEMPLATE_BYTES_MAX;

#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    text: String,
    segments: Vec<Segment>,
    open_end: bool,
}

#[derive(Clone, Debug)]
enum Segment {
    Literal(String),
    Variable { before: String, behind: String },
}

impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') || text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("a route pattern starts with / and has at most {TEMPLATE_BYTES_MAX} bytes"));
        }
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'?' | b'#');
        if !text.bytes().all(plain) {
            return Err("a route pattern has no spaces, quotes, backslashes, ? or #".to_owned());
        }
        let mut parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
        let open_end = parts.last().is_some_and(|last| last.starts_with("{*") && last.ends_with('}'));
        if open_end {
            parts.pop();
        }
        let segments = parts.into_iter().map(segment).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), segments, open_end })
    }
}

impl Pattern {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// `path` without its query string.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        let mut parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty());
        let fixed = self.segments.iter().all(|segment| parts.next().is_some_and(|part| segment.matches(part)));
        fixed && (parts.next().is_some() == self.open_end)
    }
}

fn segment(part: &str) -> Result<Segment, String> {
    let Some((before, rest)) = part.split_once('{') else {
        return Ok(Segment::Literal(part.to_owned()));
    };
    match rest.split_once('}') {
        Some((name, behind)) if !name.is_empty() && !behind.contains('{') && !name.starts_with('*') => {
            Ok(Segment::Variable { before: before.to_owned(), behind: behind.to_owned() })
        }
        _ => Err(format!("segment '{part}': one {{name}} per segment, and {{*rest}} only as the last one")),
    }
}

impl Segment {
    fn matches(&self, part: &[u8]) -> bool {
        match self {
            Self::Literal(text) => text.as_bytes() == part,
            Self::Variable { before, behind } => {
                part.len() > before.len() + behind.len()
                    && part.starts_with(before.as_bytes())
                    && part.ends_with(behind.as_bytes())
            }
        }
    }
}
