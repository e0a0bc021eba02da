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
        // What nearly every event says, without walking the list.
        match name {
            "" => return Method::ABSENT,
            "GET" => return Method(2),
            "POST" => return Method(4),
            _ => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_in_any_case_and_the_rest_is_other() {
        for (number, name) in NAMES.iter().enumerate().filter(|(number, _)| *number != 1) {
            assert_eq!(Method::from_name(name), Method(number as u8));
            assert_eq!(Method::from_name(&name.to_lowercase()), Method(number as u8));
        }
        assert_eq!(Method::from_name("BREW"), Method::OTHER);
    }
}
