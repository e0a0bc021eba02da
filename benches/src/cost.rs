//! CPU per event: of a step on this thread, or of a server under load.

use std::time::Duration;

use crate::closed_loop::Load;
use crate::cpu;
use crate::server::{Kind, Server};

/// Thread CPU per event in µs, over at least 200 ms.
pub fn of_step_us(bodies: &[Vec<u8>], batch: usize, mut step: impl FnMut(&[u8])) -> f64 {
    bodies.iter().for_each(|body| step(body));
    let (started, mut events) = (cpu::of_this_thread(), 0);
    loop {
        for body in bodies {
            step(body);
            events += batch;
        }
        let spent = cpu::of_this_thread() - started;
        if spent > Duration::from_millis(200) {
            return spent.as_secs_f64() * 1e6 / events as f64;
        }
    }
}

/// Starts a server, loads it, and returns its CPU per event in µs.
///
/// # Errors
/// When the server refuses something.
pub async fn of_server_us(
    kind: Kind,
    bodies: &[Vec<u8>],
    batch: usize,
    connections: usize,
    span: Duration,
) -> anyhow::Result<f64> {
    let server = Server::start(kind)?;
    let mut load = Load::start(server.address, &server.key, bodies, connections).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (cpu_before, requests_before) = (cpu::of_process(server.id())?, load.requests());
    tokio::time::sleep(span).await;
    let (cpu_after, requests_after) = (cpu::of_process(server.id())?, load.requests());
    load.check()?;
    let events = (requests_after - requests_before) * batch as u64;
    anyhow::ensure!(events > 0, "the {kind:?} process answered nothing");
    Ok((cpu_after - cpu_before).as_secs_f64() * 1e6 / events as f64)
}
