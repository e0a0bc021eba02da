//! Which addresses are nobody's but ours, or nobody's at all: pure.
//!
//! A list of what is refused for the old protocol, by the registry of special-purpose addresses; for the new one a list of what is
//! let through, because everything public there lies in one block. Addresses that carry an old one inside (mapped, translated,
//! tunnelled) are refused as they are: no receiver needs them, and each is another spelling of something private.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is wrong with an address; `None` when it is a public one.
pub(super) fn forbidden(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => forbidden_v4(ip),
        IpAddr::V6(ip) => forbidden_v6(ip),
    }
}

fn forbidden_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let address = u32::from(ip);
    let within = |(base, bits, _): &&([u8; 4], u32, &'static str)| {
        let base = u32::from(Ipv4Addr::from(*base));
        (address ^ base) >> (32 - bits) == 0
    };
    SPECIAL_V4.iter().find(within).map(|(_, _, what)| *what)
}

fn forbidden_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let address = u128::from(ip);
    let within = |base: u16, second: u16, bits: u32| {
        let base = u128::from(base) << 112 | u128::from(second) << 96;
        (address ^ base) >> (128 - bits) == 0
    };
    match () {
        () if ip.is_loopback() => Some("a loopback address"),
        () if ip.is_unspecified() => Some("no address"),
        () if ip.to_ipv4_mapped().is_some() => Some("an address of the old protocol inside a new one"),
        () if within(0xfe80, 0, 10) => Some("a link-local address"),
        () if within(0xfc00, 0, 7) => Some("a private address"),
        () if within(0xff00, 0, 8) => Some("a multicast address"),
        () if within(0x0064, 0xff9b, 32) => Some("an address of the old protocol inside a new one"),
        // Global unicast is 2000::/3; the rest is not handed out.
        () if !within(0x2000, 0, 3) => Some("a reserved address"),
        // Teredo and others below 2001:200::/23, 6to4.
        () if within(0x2001, 0, 23) => Some("a reserved address"),
        () if within(0x2002, 0, 16) => Some("an address of the old protocol inside a new one"),
        () if within(0x2001, 0x0db8, 32) || within(0x3fff, 0, 20) => Some("an address for documentation"),
        () => None,
    }
}

const SPECIAL_V4: [([u8; 4], u32, &str); 16] = [
    ([0, 0, 0, 0], 8, "no address"),
    ([10, 0, 0, 0], 8, "a private address"),
    ([100, 64, 0, 0], 10, "a private address"),
    ([127, 0, 0, 0], 8, "a loopback address"),
    // Also where clouds hand out credentials: 169.254.169.254.
    ([169, 254, 0, 0], 16, "a link-local address"),
    ([172, 16, 0, 0], 12, "a private address"),
    ([192, 0, 0, 0], 24, "a reserved address"),
    ([192, 0, 2, 0], 24, "an address for documentation"),
    ([192, 88, 99, 0], 24, "a reserved address"),
    ([192, 168, 0, 0], 16, "a private address"),
    ([198, 18, 0, 0], 15, "a reserved address"),
    ([198, 51, 100, 0], 24, "an address for documentation"),
    ([203, 0, 113, 0], 24, "an address for documentation"),
    // A cloud's metadata, at a public-looking address.
    ([100, 100, 100, 200], 32, "a private address"),
    ([224, 0, 0, 0], 4, "a multicast address"),
    ([240, 0, 0, 0], 4, "a reserved address"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_pass_and_their_neighbours_of_special_use_do_not() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:200::1",
            "2001:4860::8888",
        ] {
            assert_eq!(forbidden(public.parse().expect("an address")), None, "{public}");
        }
        for special in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.8",
            "10.255.255.255",
            "100.64.0.0",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.0.0",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "4000::1",
            "5f00::1",
        ] {
            assert!(forbidden(special.parse().expect("an address")).is_some(), "{special}");
        }
    }
}
