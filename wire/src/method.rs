//! HTTP request methods as OpenTelemetry names them.

/// A method of the closed set that peep keeps; the number is its value in the record.
///
/// Source: OpenTelemetry HTTP semantic conventions, `http.request.method`: anything unknown becomes `_OTHER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Method(u8);

const NAMES: [&str; 12] =
    ["", "_OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

impl Method {
    /// No method was sent.
    pub const ABSENT: Method = Method(0);
    /// A method outside the standard set.
    pub const OTHER: Method = Method(1);

    /// Recognises a method in any case; whatever is not standard becomes [`Method::OTHER`].
    #[inline]
    pub fn from_name(name: &str) -> Method {
        if name.is_empty() {
            return Method::ABSENT;
        }
        let known = NAMES.iter().skip(2).position(|known| known.eq_ignore_ascii_case(name));
        known.map_or(Method::OTHER, |at| Method(at as u8 + 2))
    }

    /// The name in capitals; empty when absent.
    pub fn as_str(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }

    pub(crate) fn number(self) -> u64 {
        u64::from(self.0)
    }

    pub(crate) fn from_number(number: u64) -> Option<Method> {
        (number < NAMES.len() as u64).then_some(Method(number as u8))
    }
}
