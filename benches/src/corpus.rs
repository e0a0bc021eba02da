//! The events that benches send: seeded, skewed like real traffic, about 215 bytes of JSON each.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// `count` NDJSON lines (with their newline), the same for the same seed. 30 services, 400 routes, log-normal durations.
pub fn ndjson_lines(count: usize, seed: u64, now_ms: i64) -> Vec<String> {
    let mut random = SmallRng::seed_from_u64(seed);
    (0..count)
        .map(|number| {
            // Squaring a uniform number skews towards the low routes, as traffic is.
            let route = (random.random::<f64>().powi(2) * 400.0) as u32;
            let service = route % 30;
            let method = ["GET", "GET", "GET", "POST", "PUT", "DELETE"][route as usize % 6];
            let status = if random.random::<f64>() < 0.01 { 500 } else { [200, 200, 200, 201, 304, 404][route as usize % 6] };
            let duration_ms = log_normal_ms(&mut random);
            let ts = now_ms - (number as i64 % 1000);
            let host = route % 12;
            let trace_id: u128 = random.random();
            format!(
                "{{\"service\":\"service-{service:02}\",\"env\":\"production\",\"route\":\"/api/v1/resource-{route}/{{id}}\",\
                 \"method\":\"{method}\",\"status\":{status},\"duration_ms\":{duration_ms:.3},\"ts\":{ts},\
                 \"host\":\"web-{host}\",\"trace_id\":\"{trace_id:032x}\"}}\n"
            )
        })
        .collect()
}

/// Lines joined into bodies of `batch` events each.
pub fn bodies(lines: &[String], batch: usize) -> Vec<Vec<u8>> {
    lines.chunks_exact(batch).map(|lines| lines.concat().into_bytes()).collect()
}

/// Median 20 ms, long tail; at most one minute.
fn log_normal_ms(random: &mut SmallRng) -> f64 {
    // Box–Muller.
    let (u, v): (f64, f64) = (random.random::<f64>().max(1e-12), random.random());
    let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    (20.0 * (0.8 * normal).exp()).min(60_000.0)
}
