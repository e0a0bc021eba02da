//! Origins of web pages, as keys for browsers list them.
//!
//! Arrives: what an operator wrote, and the `Origin` header of a browser. Leaves: whether the one means the other. Promises: only
//! an exact scheme, host and port match, or exactly one label in place of a leading `*.`; a listed origin is written the way
//! browsers write it, so that comparing is comparing texts. Does not: know of paths, which no origin has, nor of `null`, which
//! any sandboxed page may claim to be.

use std::fmt;
use std::str::FromStr;

/// A listed origin: `https://shop.example`, `http://localhost:3000`, `https://*.shop.example`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(String);

/// The text is no origin that a key can list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an origin such as https://shop.example, http://localhost:3000 or https://*.shop.example: {0}")]
pub struct InvalidOrigin(&'static str);

impl Origin {
    /// As browsers write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a browser that presents this `Origin` header is meant.
    pub fn admits(&self, presented: &str) -> bool {
        self.0 == presented || widened(presented).is_some_and(|wide| self.0 == wide)
    }
}

/// The only pattern that could mean this origin: its first label replaced.
pub(super) fn widened(presented: &str) -> Option<String> {
    let (label, rest) = presented.strip_prefix("https://")?.split_once('.')?;
    let is_label = !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_label.then(|| format!("https://*.{rest}"))
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let text = text.to_ascii_lowercase();
        let (scheme, rest) = text.split_once("://").ok_or(InvalidOrigin("the scheme is missing"))?;
        let default_port = match scheme {
            "https" => 443,
            "http" => 80,
            _ => return Err(InvalidOrigin("only http and https are possible")),
        };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, Some(port.parse::<u16>().map_err(|_| InvalidOrigin("the port is no number of a port"))?))
            }
            _ => (rest, None),
        };
        check_host(scheme, host)?;
        // Browsers leave the default port out.
        Ok(Self(match port.filter(|port| *port != default_port) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }))
    }
}

fn check_host(scheme: &str, host: &str) -> Result<(), InvalidOrigin> {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        // Browsers write the short form, as `Display` does.
        let known = address.parse::<std::net::Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address);
        return if known { Ok(()) } else { Err(InvalidOrigin("this is no IPv6 address in its short form")) };
    }
    let labels = match host.strip_prefix("*.") {
        Some(_) if scheme != "https" => return Err(InvalidOrigin("`*.` is possible with https only")),
        Some(rest) if !rest.contains('.') => return Err(InvalidOrigin("`*.` needs two labels or more behind it")),
        Some(rest) => rest,
        None => host,
    };
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if labels.split('.').all(is_label) {
        Ok(())
    } else {
        Err(InvalidOrigin(
            "write the host alone: no path, no user, letters outside ASCII as punycode, `*` only in front",
        ))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse().unwrap()
    }

    #[test]
    fn an_origin_admits_itself_and_nothing_like_it() {
        let shop = origin("https://shop.example");
        assert!(shop.admits("https://shop.example"));
        for foreign in [
            "http://shop.example",
            "https://shop.example:8443",
            "https://shop.example.evil.example",
            "https://evil-shop.example",
            "https://a.shop.example",
            "https://shop.example/",
            "https://shop.example.",
            "null",
            "",
            "*",
        ] {
            assert!(!shop.admits(foreign), "{foreign}");
        }
        assert!(!origin("http://localhost:3000").admits("http://localhost:3001"));
    }

    #[test]
    fn a_star_is_exactly_one_label_in_front() {
        let shops = origin("https://*.shop.example");
        assert!(shops.admits("https://eu.shop.example") && shops.admits("https://xn--bcher-kva.shop.example"));
        for foreign in [
            "https://shop.example",
            "https://.shop.example",
            "https://a.b.shop.example",
            "http://eu.shop.example",
            "https://eu.shop.example:8443",
            "https://evil/eu.shop.example",
            "https://a@b.shop.example",
            "https://eu.shop.example.evil.example",
        ] {
            assert!(!shops.admits(foreign), "{foreign}");
        }
    }

    #[test]
    fn an_origin_is_kept_as_browsers_write_it() {
        for (written, kept) in [
            ("HTTPS://Shop.Example:443", "https://shop.example"),
            ("http://localhost:80", "http://localhost"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("https://[::1]", "https://[::1]"),
        ] {
            assert_eq!(origin(written).as_str(), kept);
        }
    }

    #[test]
    fn what_no_browser_sends_cannot_be_listed() {
        for wrong in [
            "*",
            "null",
            "shop.example",
            "https://",
            "https://*",
            "https://*.example",
            "http://*.shop.example",
            "https://a.*.example",
            "https://s*p.example",
            "https://shop.example/",
            "https://user@shop.example",
            "https://shop.example:port",
            "https://bücher.example",
            "ftp://shop.example",
            "https://[::g]",
        ] {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
    }
}
