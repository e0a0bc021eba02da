//! A stream of requests to the made-up shop, as events.
//!
//! In: a seed and points in time. Out: events as NDJSON lines. The same seed and the same times give the same bytes.

use std::fmt::Write as _;

use super::catalog::{Route, SERVICES, Service};
use super::incidents::effect;
use super::random::Random;

pub(crate) struct Traffic {
    random: Random,
    env: Option<String>,
    incidents: bool,
    /// Of the last request at the gateway: services behind it share it.
    trace: u128,
}

/// Ingest takes no longer ones.
const DURATION_MS_MAX: f64 = 3_600_000.0;

impl Traffic {
    pub(crate) fn new(seed: u64, env: Option<String>, incidents: bool) -> Self {
        Self { random: Random::new(seed), env, incidents, trace: 0 }
    }

    /// Appends one event that ended at `at_ms`.
    pub(crate) fn write_event(&mut self, at_ms: i64, out: &mut String) {
        let service = &SERVICES[self.random.weighted(SERVICES.iter().map(|service| service.share))];
        let route = &service.routes[self.random.weighted(service.routes.iter().map(|route| route.weight))];
        let host = service.hosts[self.random.below(service.hosts.len())];
        let outcome = self.outcome(at_ms, service, route, host);
        if service.name == "gateway" || self.random.chance(0.3) {
            self.trace = (u128::from(self.random.next()) << 64) | u128::from(self.random.next() | 1);
        }
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "{{\"service\":\"{}\",\"ts\":{at_ms},\"duration_ms\":{:.3},\"route\":\"{}\",\"method\":\"{}\",\"status\":{},\
             \"host\":\"{host}\",\"version\":\"{}\",\"bytes_in\":{},\"bytes_out\":{},\"trace_id\":\"{:032x}\",\
             \"span_id\":\"{:016x}\",\"source\":\"sdk\"",
            service.name,
            outcome.duration_ms,
            route.template,
            route.method,
            outcome.status,
            outcome.version,
            self.bytes_in(route),
            self.bytes_out(route, outcome.status),
            self.trace,
            self.random.next() | 1,
        );
        if let Some(error) = outcome.error {
            let _ = write!(out, ",\"error\":\"{error}\"");
        }
        if let Some(env) = &self.env {
            let _ = write!(out, ",\"env\":\"{env}\"");
        }
        let region = if host.ends_with(['1', '3']) { "eu-west" } else { "eu-north" };
        let _ = writeln!(out, ",\"attrs\":{{\"region\":\"{region}\"}}}}");
    }

    fn outcome(&mut self, at_ms: i64, service: &Service, route: &Route, host: &str) -> Outcome {
        let effect = self.incidents.then(|| effect(at_ms, service.name, host, route.method, route.template));
        let mut outcome = Outcome {
            duration_ms: self.random.log_normal(route.median_ms, route.sigma),
            status: self.usual_status(route),
            version: service.version,
            error: None,
        };
        if let Some(effect) = effect {
            outcome.duration_ms *= effect.slowdown;
            outcome.version = effect.version.unwrap_or(service.version);
            if let Some(status) = effect.strike(&mut self.random) {
                outcome.status = status;
                outcome.error = effect.error;
                outcome.duration_ms =
                    effect.failure_ms.map_or(outcome.duration_ms, |median_ms| self.random.log_normal(median_ms, 0.3));
            }
        }
        if outcome.status == 504 {
            // A gateway gives up after its timeout, not before.
            outcome.duration_ms = self.random.log_normal(5_000.0, 0.01);
        }
        outcome.duration_ms = outcome.duration_ms.min(DURATION_MS_MAX);
        outcome
    }

    fn usual_status(&mut self, route: &Route) -> u16 {
        let mut left = self.random.unit();
        for (status, probability) in route.others {
            left -= probability;
            if left < 0.0 {
                return *status;
            }
        }
        route.status
    }

    fn bytes_in(&mut self, route: &Route) -> u64 {
        let median = if matches!(route.method, "POST" | "PUT" | "PATCH") { 900.0 } else { 320.0 };
        self.random.log_normal(median, 0.4) as u64
    }

    fn bytes_out(&mut self, route: &Route, status: u16) -> u64 {
        let median = match status {
            204 | 304 => 0.0,
            400.. => 160.0,
            _ => route.bytes_out,
        };
        self.random.log_normal(median, 0.5) as u64
    }
}

struct Outcome {
    duration_ms: f64,
    status: u16,
    version: &'static str,
    error: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use peep_wire::json::{Context, Decoder};
    use peep_wire::record::RecordBuilder;
    use serde_json::Value;

    use super::*;

    fn events(seed: u64, count: i64, step_ms: i64) -> Vec<Value> {
        let mut traffic = Traffic::new(seed, None, true);
        let mut out = String::new();
        for index in 0..count {
            traffic.write_event(1_795_000_000_000 + index * step_ms, &mut out);
        }
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn ingest_takes_every_event() {
        let mut traffic = Traffic::new(3, Some("prod".to_owned()), true);
        let mut body = String::new();
        (0..20_000).for_each(|index| traffic.write_event(1_795_000_000_000 + index * 40, &mut body));
        let (mut record, mut rejected) = (RecordBuilder::new(1 << 20), Vec::new());
        record.start(1_795_000_800_000);
        let context = Context {
            bound_env: Some("prod"),
            age_ms_max: 86_400_000,
            ahead_ms_max: 60_000,
            events_max: 20_000,
            event_bytes_max: 64 << 10,
            depth_max: 32,
            lines: true,
        };
        Decoder::default().decode(body.as_bytes(), &context, &mut record, &mut rejected).unwrap();
        assert_eq!((record.event_count(), rejected), (20_000, Vec::new()));
    }

    #[test]
    fn a_seed_gives_the_same_traffic() {
        assert_eq!(events(1, 500, 10), events(1, 500, 10));
        assert_ne!(events(1, 500, 10), events(2, 500, 10));
    }

    #[test]
    fn every_service_and_route_of_the_catalog_appears() {
        let routes: usize = SERVICES.iter().map(|service| service.routes.len()).sum();
        let seen: BTreeSet<String> = events(1, 40_000, 25)
            .iter()
            .map(|event| format!("{} {} {}", event["service"], event["method"], event["route"]))
            .collect();
        assert_eq!((SERVICES.len(), seen.len()), (9, routes));
    }

    #[test]
    fn incidents_show_in_a_quarter_of_an_hour_and_only_when_wanted() {
        let bad = |events: &[Value]| events.iter().filter(|event| event["error"].is_string()).count();
        assert!(bad(&events(1, 45_000, 20)) > 50);
        let mut calm = Traffic::new(1, None, false);
        let mut out = String::new();
        (0..45_000).for_each(|index| calm.write_event(1_795_000_000_000 + index * 20, &mut out));
        assert!(!out.contains("v2.14.0") && !out.contains("\"error\""));
    }

    #[test]
    fn the_shares_add_up() {
        assert_eq!(SERVICES.iter().map(|service| service.share).sum::<f64>(), 100.0);
    }
}
