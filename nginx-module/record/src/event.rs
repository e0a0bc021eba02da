//! One finished request, in terms of what nginx knows.
//!
//! In: bytes that a client may have chosen. Out: an [`Event`] of bounded size. Promised: no query string gets into it.

/// A request that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Empty: the shipper's own.
    pub service: &'a [u8],
    pub ended_ms: u64,
    pub duration_us: u64,
    pub method: Method,
    /// 0: unknown.
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub route: Route<'a>,
    pub trace: Option<Trace>,
}

/// What a route was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `peep_route` said it.
    Template(&'a [u8]),
    /// The path as it was asked for, from which the shipper makes a template; empty when there was none.
    Path(&'a [u8]),
}

/// The ids of a `traceparent` header: trace and parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
}

/// A longer service name is not one.
pub const SERVICE_BYTES_MAX: usize = 128;

/// What of a path is passed on; templates end long before.
const PATH_BYTES_MAX: usize = 1024;

/// What a template may have.
const TEMPLATE_BYTES_MAX: usize = 256;

impl<'a> Route<'a> {
    /// The template that the location names, else the path of the request target.
    pub fn choose(template: Option<&'a [u8]>, target: &'a [u8]) -> Self {
        match template {
            Some(template) if !template.is_empty() => {
                Self::Template(&template[..template.len().min(TEMPLATE_BYTES_MAX)])
            }
            _ => Self::Path(path_of(target)),
        }
    }
}

/// Up to the query or the fragment, which are private.
fn path_of(target: &[u8]) -> &[u8] {
    let target = &target[..target.len().min(PATH_BYTES_MAX)];
    let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
    &target[..end]
}

/// Method and target of a request line that nginx refused, as the shipper reads it in a log: what is no HTTP has no method, and a
/// target that is no path; nothing at all has neither.
pub fn refused(line: &[u8]) -> (Method, &[u8]) {
    if line.trim_ascii().is_empty() {
        return (Method::None, b"");
    }
    let Some(space) = line.iter().position(|&byte| byte == b' ') else { return (Method::None, NO_PATH) };
    let name = &line[..space];
    if name.is_empty()
        || name.len() > 32
        || !name.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_'))
    {
        return (Method::None, NO_PATH);
    }
    let end = match line.iter().rposition(|&byte| byte == b' ') {
        Some(last) if last > space && line[last + 1..].starts_with(b"HTTP/") => last,
        _ => line.len(),
    };
    (Method::from_name(name), Some(&line[space + 1..end]).filter(|target| !target.is_empty()).unwrap_or(NO_PATH))
}

/// The shipper calls such a route invalid.
const NO_PATH: &[u8] = b"-";

/// The methods that events know by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Method {
    /// There was no request line.
    None = 0,
    Get = 1,
    Head = 2,
    Post = 3,
    Put = 4,
    Delete = 5,
    Connect = 6,
    Options = 7,
    Trace = 8,
    Patch = 9,
    Other = 10,
}

impl Method {
    pub const ALL: [Self; 11] = [
        Self::None,
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Delete,
        Self::Connect,
        Self::Options,
        Self::Trace,
        Self::Patch,
        Self::Other,
    ];

    pub fn from_name(name: &[u8]) -> Self {
        match name {
            b"" => Self::None,
            _ => Self::ALL.into_iter().find(|method| method.name().as_bytes() == name).unwrap_or(Self::Other),
        }
    }

    /// As events have it; empty for none.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other => "_OTHER",
        }
    }

    pub(crate) fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Other)
    }
}

impl Trace {
    /// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`; later versions may go on behind that.
    pub fn from_header(value: &[u8]) -> Option<Self> {
        let [a, b, b'-', rest @ ..] = value else { return None };
        let (trace, rest) = rest.split_at_checked(32)?;
        let (span, rest) = rest.strip_prefix(b"-")?.split_at_checked(16)?;
        let [b'-', c, d, more @ ..] = rest else { return None };
        let version = byte(*a, *b)?;
        byte(*c, *d)?;
        let ends = if version == 0 { more.is_empty() } else { version != 0xff && matches!(more, [] | [b'-', ..]) };
        let (trace_id, span_id) = (bytes(trace)?, bytes(span)?);
        (ends && trace_id != [0; 16] && span_id != [0; 8]).then_some(Self { trace_id, span_id })
    }
}

fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    for (index, pair) in text.chunks_exact(2).enumerate() {
        *out.get_mut(index)? = byte(pair[0], pair[1])?;
    }
    Some(out)
}

/// Lower case only, as the specification has it.
fn byte(high: u8, low: u8) -> Option<u8> {
    Some(digit(high)? << 4 | digit(low)?)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_never_gets_into_an_event() {
        for (target, path) in
            [("/a?token=1", "/a"), ("/a#b", "/a"), ("/a", "/a"), ("*", "*"), ("", ""), ("http://h/a?b", "http://h/a")]
        {
            assert_eq!(Route::choose(None, target.as_bytes()), Route::Path(path.as_bytes()), "{target}");
        }
        let long = format!("/{}?secret", "x".repeat(2000));
        let Route::Path(path) = Route::choose(None, long.as_bytes()) else { panic!("it is a path") };
        assert_eq!(path.len(), PATH_BYTES_MAX);
    }

    #[test]
    fn the_template_of_the_location_goes_first() {
        assert_eq!(Route::choose(Some(b"/items/{id}"), b"/items/7"), Route::Template(b"/items/{id}"));
        assert_eq!(Route::choose(Some(b""), b"/items/7"), Route::Path(b"/items/7"));
    }

    #[test]
    fn a_refused_request_line_is_read_as_far_as_it_is_http() {
        for (line, method, target) in [
            ("GET /with space HTTP/1.1", Method::Get, "/with space"),
            ("PROPFIND /a?b HTTP/1.1", Method::Other, "/a?b"),
            ("GET /zero-nine", Method::Get, "/zero-nine"),
            ("GET ", Method::Get, "-"),
            (" ", Method::None, ""),
            (" GET / HTTP/1.1", Method::None, "-"),
            ("", Method::None, ""),
            ("GARBAGE", Method::None, "-"),
            ("\u{16}\u{3}\u{1} x", Method::None, "-"),
            ("G\"T /a HTTP/1.1", Method::None, "-"),
        ] {
            assert_eq!(refused(line.as_bytes()), (method, target.as_bytes()), "{line}");
        }
    }

    #[test]
    fn methods_are_known_by_name_and_others_are_other() {
        for method in Method::ALL {
            assert_eq!(Method::from_name(method.name().as_bytes()), method);
            assert_eq!(Method::from_number(method as u8), method);
        }
        assert_eq!(Method::from_name(b"PROPFIND"), Method::Other);
        assert_eq!(Method::from_name(b"get"), Method::Other);
        assert_eq!(Method::from_number(99), Method::Other);
    }

    #[test]
    fn a_traceparent_is_taken_as_the_specification_says() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = Trace::from_header(good.as_bytes()).unwrap();
        assert_eq!((trace.trace_id[0], trace.span_id[7]), (0x4b, 0xb7));
        assert!(Trace::from_header(b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some());
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Trace::from_header(bad.as_bytes()), None, "{bad}");
        }
    }
}
