//! What goes wrong in the made-up shop, and when.
//!
//! In: a point in time, the service, the host, the route. Out: how this request differs from a good day. Pure and a
//! function of the wall clock alone, so that history sent by `--backfill` and live traffic tell one story, and every
//! window of a quarter of an hour shows each incident at least once.

use super::random::Random;

/// How a request differs from a good day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Effect {
    /// Durations are multiplied by this.
    pub(crate) slowdown: f64,
    /// An extra status with its probability.
    pub(crate) status: Option<(u16, f64)>,
    /// A failure of this kind takes this long instead.
    pub(crate) failure_ms: Option<f64>,
    /// Another version than usual runs here.
    pub(crate) version: Option<&'static str>,
    pub(crate) error: Option<&'static str>,
}

const NONE: Effect = Effect { slowdown: 1.0, status: None, failure_ms: None, version: None, error: None };

const MINUTE_MS: i64 = 60_000;

/// The effect on a request that ends at `at_ms`.
pub(crate) fn effect(at_ms: i64, service: &str, host: &str, method: &str, template: &str) -> Effect {
    match service {
        "checkout" => checkout_rollout(at_ms, host, method, template),
        "search" if host == "search-3" && within(at_ms, 9, 2.0, 2.5) => Effect { slowdown: 6.0, ..NONE },
        "search" => NONE,
        "orders" | "sessions" if within(at_ms, 14, 9.0, 1.0) => {
            let error = Some("connection pool timed out");
            Effect { slowdown: 4.0, status: Some((503, 0.03)), failure_ms: Some(2_000.0), error, ..NONE }
        }
        "images" if host == "images-2" && within(at_ms, 13, 4.0, 0.7) => {
            let error = Some("object store: no route to host");
            Effect { status: Some((503, 0.35)), failure_ms: Some(30.0), error, ..NONE }
        }
        "auth" if template == "/login" && within(at_ms, 11, 6.0, 1.2) => {
            Effect { status: Some((401, 0.7)), failure_ms: Some(88.0), ..NONE }
        }
        "gateway" if template == "/api/checkout" && within(at_ms, 12, 5.0, 3.0) => {
            let error = Some("upstream checkout answered 502");
            Effect { status: Some((502, 0.12)), failure_ms: Some(61.0), error, ..NONE }
        }
        _ => NONE,
    }
}

/// Minute 4 of 12: v2.14.0 goes to one host, a minute later to all; minute 8: rolled back. It fails on `POST /buy`.
fn checkout_rollout(at_ms: i64, host: &str, method: &str, template: &str) -> Effect {
    let canary = host == "checkout-2" && within(at_ms, 12, 4.0, 1.0);
    if !canary && !within(at_ms, 12, 5.0, 3.0) {
        return NONE;
    }
    let version = Some("v2.14.0");
    if method == "POST" && template == "/buy" {
        let error = Some("payment provider: tls handshake failed");
        return Effect { slowdown: 1.4, status: Some((502, 0.22)), failure_ms: Some(54.0), version, error };
    }
    Effect { version, ..NONE }
}

/// Is `at_ms` in the part of a cycle of so many minutes that starts at `from` and takes `length` minutes?
fn within(at_ms: i64, cycle: i64, from: f64, length: f64) -> bool {
    let minute = at_ms.rem_euclid(cycle * MINUTE_MS) as f64 / MINUTE_MS as f64;
    (from..from + length).contains(&minute)
}

/// How busy the shop is at a point in time, around 1: a slow wave like a day, and a quicker one.
pub(crate) fn busyness(at_ms: i64) -> f64 {
    let wave = |period_s: f64| (at_ms as f64 / 1000.0 / period_s * std::f64::consts::TAU).sin();
    1.0 + 0.22 * wave(780.0) + 0.08 * wave(131.0)
}

impl Effect {
    /// Rolls the dice of the incident: the status it brings, if it strikes.
    pub(crate) fn strike(&self, random: &mut Random) -> Option<u16> {
        self.status.filter(|(_, probability)| random.chance(*probability)).map(|(status, _)| status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(minute: f64) -> i64 {
        (minute * MINUTE_MS as f64) as i64
    }

    #[test]
    fn the_rollout_starts_with_a_canary_and_is_rolled_back() {
        let version = |at: f64, host: &str| effect(minute(at), "checkout", host, "GET", "/cart").version;
        assert_eq!(version(3.0, "checkout-2"), None);
        assert_eq!([version(4.5, "checkout-1"), version(4.5, "checkout-2")], [None, Some("v2.14.0")]);
        assert_eq!(version(6.0, "checkout-1"), Some("v2.14.0"));
        assert_eq!(version(8.5, "checkout-2"), None);
    }

    #[test]
    fn buying_fails_on_the_new_version_only() {
        assert_eq!(effect(minute(6.0), "checkout", "checkout-1", "POST", "/buy").status, Some((502, 0.22)));
        assert_eq!(effect(minute(6.0), "checkout", "checkout-1", "GET", "/cart").status, None);
        assert_eq!(effect(minute(9.0), "checkout", "checkout-1", "POST", "/buy"), NONE);
    }

    #[test]
    fn one_search_host_is_slow_and_the_others_are_not() {
        assert_eq!(effect(minute(3.0), "search", "search-3", "GET", "/search").slowdown, 6.0);
        assert_eq!(effect(minute(3.0), "search", "search-1", "GET", "/search"), NONE);
    }

    #[test]
    fn the_waves_average_to_one() {
        let seconds = 780 * 131;
        let mean = (0..seconds).map(|second| busyness(second * 1000)).sum::<f64>() / seconds as f64;
        assert!((mean - 1.0).abs() < 0.001, "{mean}");
    }
}
