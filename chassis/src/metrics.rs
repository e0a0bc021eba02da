//! The catalogue of what the chassis measures: the process, its readiness and its keys. The only place with these names.
//!
//! Process metrics carry the names every Prometheus dashboard expects. They are read from `/proc` when somebody scrapes;
//! elsewhere (macOS) they are absent rather than zero.

use std::sync::OnceLock;
use std::time::Instant;

use ::metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::tls::Refused;

/// Always 1; the labels say what runs.
pub const BUILD_INFO: &str = "peep_build_info";
/// Seconds since the recorder was installed.
pub const UPTIME_SECONDS: &str = "peep_uptime_seconds";
/// 1 when the part is ready.
pub const READY: &str = "peep_ready";
/// Keys that may be used now.
pub const KEYS_ACTIVE: &str = "peep_keys_active";
/// Attempts to read the keys from the database that failed.
pub const KEYS_REFRESH_FAILURES_TOTAL: &str = "peep_keys_refresh_failures_total";
/// Keys that had the right form and were not known, after asking the database.
pub const KEYS_UNKNOWN_TOTAL: &str = "peep_keys_unknown_total";
/// Connections on which TLS was not agreed on.
pub const TLS_REFUSED_TOTAL: &str = "peep_tls_refused_total";
/// Looks at a certificate that could not be used.
pub const TLS_RELOAD_FAILURES_TOTAL: &str = "peep_tls_reload_failures_total";
/// When the certificate in use expires.
pub const TLS_CERTIFICATE_EXPIRY: &str = "peep_tls_certificate_expiry_timestamp_seconds";

const RESIDENT_BYTES: &str = "process_resident_memory_bytes";
const CPU_SECONDS: &str = "process_cpu_seconds_total";
const OPEN_FILES: &str = "process_open_fds";

pub(crate) fn describe() {
    STARTED.get_or_init(Instant::now);
    describe_gauge!(BUILD_INFO, "Always 1; the labels say what runs.");
    describe_gauge!(UPTIME_SECONDS, Unit::Seconds, "Seconds since the process started.");
    describe_gauge!(READY, "1 when this part of the process is ready, 0 when not.");
    describe_gauge!(KEYS_ACTIVE, "API keys that may be used now.");
    describe_counter!(KEYS_REFRESH_FAILURES_TOTAL, "Failed attempts to read the keys from the database.");
    describe_counter!(KEYS_UNKNOWN_TOTAL, "Well-formed keys the database does not know.");
    describe_counter!(TLS_REFUSED_TOTAL, "Connections on which TLS was not agreed on, by listener and reason.");
    describe_counter!(TLS_RELOAD_FAILURES_TOTAL, "Looks at a new certificate that cannot be used; the old one stays.");
    describe_gauge!(
        TLS_CERTIFICATE_EXPIRY,
        Unit::Seconds,
        "Unix time at which the certificate in use expires, by listener."
    );
    describe_gauge!(RESIDENT_BYTES, Unit::Bytes, "Resident memory size in bytes.");
    describe_gauge!(OPEN_FILES, "Number of open file descriptors.");
    describe_counter!(CPU_SECONDS, Unit::Seconds, "Total user and system CPU time spent in seconds.");
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

pub(crate) fn ready(part: &str, ready: bool) {
    gauge!(READY, "part" => part.to_owned()).set(if ready { 1.0 } else { 0.0 });
}

pub(crate) fn keys_active(count: usize) {
    gauge!(KEYS_ACTIVE).set(count as f64);
}

pub(crate) fn keys_refresh_failed() {
    counter!(KEYS_REFRESH_FAILURES_TOTAL).increment(1);
}

pub(crate) fn key_unknown() {
    counter!(KEYS_UNKNOWN_TOTAL).increment(1);
}

/// Makes every series of a listener with TLS appear at zero.
pub(crate) fn tls_register(service: &'static str) {
    for reason in Refused::ALL {
        counter!(TLS_REFUSED_TOTAL, "service" => service, "reason" => reason.as_str()).increment(0);
    }
    counter!(TLS_RELOAD_FAILURES_TOTAL, "service" => service).increment(0);
}

pub(crate) fn tls_refused(service: &'static str, reason: Refused) {
    counter!(TLS_REFUSED_TOTAL, "service" => service, "reason" => reason.as_str()).increment(1);
}

pub(crate) fn tls_reload_failed(service: &'static str) {
    counter!(TLS_RELOAD_FAILURES_TOTAL, "service" => service).increment(1);
}

pub(crate) fn tls_valid_until(service: &'static str, unix_s: i64) {
    gauge!(TLS_CERTIFICATE_EXPIRY, "service" => service).set(unix_s as f64);
}

pub(crate) fn uptime_seconds() -> f64 {
    STARTED.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Called by every scrape, before rendering.
pub(crate) fn observe_process() {
    gauge!(UPTIME_SECONDS).set(uptime_seconds());
    if let Some(bytes) = resident_bytes() {
        gauge!(RESIDENT_BYTES).set(bytes as f64);
    }
    if let Some(seconds) = cpu_seconds() {
        // Whole seconds: the recorder's counters are integers.
        counter!(CPU_SECONDS).absolute(seconds);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        gauge!(OPEN_FILES).set(entries.count() as f64);
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

fn cpu_seconds() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The program name in parentheses may contain blanks: count the fields behind it. utime and stime are 14 and 15 of all.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// `USER_HZ`: 100 on every Linux architecture we build for.
const TICKS_PER_SECOND: u64 = 100;

static STARTED: OnceLock<Instant> = OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_is_measured() {
        let (recorder, handle) = crate::telemetry::local_metrics(&[]).expect("no bucket list is no error");
        let text = ::metrics::with_local_recorder(&recorder, || {
            describe();
            handle.render()
        });
        for name in [RESIDENT_BYTES, CPU_SECONDS, OPEN_FILES, UPTIME_SECONDS, BUILD_INFO] {
            assert!(text.lines().any(|line| line.starts_with(name)), "{name} is missing in {text}");
        }
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
