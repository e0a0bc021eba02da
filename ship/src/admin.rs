//! The admin port of the shipper: `/metrics`, `/healthz`, `/readyz`, in a thread of its own.
//!
//! The rest of the shipper is threads that block; this one runs the server that every process of peep has.

use std::net::TcpListener;

use anyhow::Context as _;
use peep_chassis::admin::{Health, HealthHandle, serve};
use peep_chassis::lifecycle::Shutdown;
use peep_chassis::telemetry::install_metrics;

use crate::metrics;

/// Serves until the process ends. The handle speaks for the delivery of batches.
pub(crate) fn start(address: &str) -> anyhow::Result<HealthHandle> {
    let listener = TcpListener::bind(address).with_context(|| format!("listen on --admin {address}"))?;
    let handle = install_metrics(&[]).context("install the metrics recorder")?;
    metrics::describe();
    let health = Health::new();
    let delivery = health.register("delivery");
    delivery.set_ready();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the admin port")?;
    std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || runtime.block_on(serve(listener, health, handle, Shutdown::new())))
        .context("start the admin port")?;
    Ok(delivery)
}
