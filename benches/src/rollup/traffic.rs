//! The records that both readers read: many live series, skewed like real traffic, an event about 215 bytes of JSON.

use bytes::Bytes;
use peep_wire::event::{EncodedAttrs, Event};
use peep_wire::method::Method;
use peep_wire::record::RecordBuilder;
use peep_wire::{Identity, KeyId, ProjectId};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Traffic {
    #[arg(long, default_value_t = 4_000_000)]
    pub events: u64,
    /// Events of a record.
    #[arg(long, default_value_t = 100)]
    pub batch: u64,
    #[arg(long, default_value_t = 10_000)]
    pub series: u64,
    /// Client processes, each with an identity.
    #[arg(long, default_value_t = 64)]
    pub producers: u64,
    /// Of event time.
    #[arg(long, default_value_t = 1_000_000)]
    pub events_per_second: u64,
    /// Every batch is of all services and hosts, as that of a proxy is; otherwise of the one process that sends it.
    #[arg(long)]
    pub mixed: bool,
    /// Batches that each producer has sent before.
    #[arg(skip)]
    pub sent_before: u64,
}

impl Traffic {
    pub fn records(self) -> u64 {
        self.events / self.batch
    }

    /// The records of one partition, received from `start_ms` on.
    pub fn payloads(self, start_ms: i64) -> impl Iterator<Item = Bytes> {
        let series: Vec<(String, String)> = (0..self.series)
            .map(|number| (format!("service-{:02}", number % SERVICES), format!("/api/v1/resource-{number}/{{id}}")))
            .collect();
        let hosts: Vec<String> = (0..12).map(|number| format!("web-{number}")).collect();
        let mut random = SmallRng::seed_from_u64(7);
        let mut builder = RecordBuilder::default();
        (0..self.records()).map(move |record| {
            let received_ms = start_ms + (record * self.batch * 1000 / self.events_per_second) as i64;
            builder.start(received_ms);
            let process = record % self.producers;
            for _ in 0..self.batch {
                // Squaring a uniform number skews towards the low routes, as traffic is.
                let any = (random.random::<f64>().powi(2) * self.series as f64) as usize;
                let of_process = any - any % SERVICES as usize + (process % SERVICES) as usize;
                let number = if self.mixed || of_process >= series.len() { any } else { of_process };
                let host = if self.mixed { number } else { process as usize };
                let (service, route) = &series[number];
                builder.push(&Event {
                    service,
                    env: "production",
                    route,
                    method: Method::from_name(METHODS[number % METHODS.len()]),
                    status: if number.is_multiple_of(100) { 500 } else { STATUSES[number % STATUSES.len()] },
                    // Clients wait up to a quarter of a second for a batch to fill.
                    ended_ms: received_ms - random.random_range(0..250),
                    duration_us: Some(log_normal_us(&mut random)),
                    error: None,
                    host: Some(&hosts[host % hosts.len()]),
                    version: None,
                    source: None,
                    bytes_in: None,
                    bytes_out: None,
                    trace_id: Some(random.random()),
                    span_id: None,
                    attrs: EncodedAttrs::EMPTY,
                });
            }
            let producer = u128::from(process) + 1;
            let identity =
                Identity { producer: producer.to_be_bytes(), seq: self.sent_before + record / self.producers };
            builder.finish(ProjectId(1), KeyId(1), Some(identity)).remove(0)
        })
    }
}

/// Median 20 ms, long tail; at most one minute.
fn log_normal_us(random: &mut SmallRng) -> u64 {
    // Box–Muller.
    let (u, v): (f64, f64) = (random.random::<f64>().max(1e-12), random.random());
    let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    (20_000.0 * (0.8 * normal).exp()).min(60_000_000.0) as u64
}

const SERVICES: u64 = 30;
const METHODS: [&str; 6] = ["GET", "GET", "GET", "POST", "PUT", "DELETE"];
const STATUSES: [u16; 6] = [200, 200, 200, 201, 304, 404];
