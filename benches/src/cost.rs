//! CPU per event: of a step on this thread, or of a server under load.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::closed_loop::Load;
use crate::cpu;
use crate::server::Server;

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

/// What a server under full load cost, and under what conditions: two costs compare only when these are alike.
#[derive(Debug, Clone, Copy)]
pub struct ServerCost {
    /// CPU of the server per event in µs.
    pub us: f64,
    pub events_per_second: f64,
    /// How many cores the server used, and the load.
    pub server_cores: f64,
    pub load_cores: f64,
    /// Share of the whole machine that somebody used.
    pub machine_busy: f64,
}

/// Drives a closed loop for `span`, from quiet to quiet: what is still queued when the load stops is charged too.
///
/// # Errors
/// When the server refuses something.
pub fn of_server(
    server: &Server,
    bodies: &[Vec<u8>],
    batch: usize,
    connections: usize,
    span: Duration,
) -> anyhow::Result<ServerCost> {
    // A producer connects to its broker with its first record, which takes a second; a flood at that moment would be turned away.
    let first = Load::start(server.address, &server.key, bodies, 1)?;
    while first.requests() == 0 {
        std::thread::sleep(QUIET_STEP);
        ensure!(!first.is_finished(), "the first request failed: {:?}", first.stop().err());
    }
    std::thread::sleep(WARM_UP);
    first.stop()?;
    let warm_up = Load::start(server.address, &server.key, bodies, connections)?;
    std::thread::sleep(WARM_UP);
    warm_up.stop()?;
    let before = until_quiet(server.id())?;
    let (machine, started) = (cpu::of_machine()?, Instant::now());
    let load = Load::start(server.address, &server.key, bodies, connections)?;
    std::thread::sleep(span);
    let (machine, running) = (cpu::of_machine()?.since(machine), load.requests());
    let loaded = started.elapsed();
    let at_full_load = cpu::of_process(server.id())? - before;
    let (requests, load_cpu) = load.stop()?;
    ensure!(running > 0, "no answer in {span:?}");
    let spent = until_quiet(server.id())? - before;
    Ok(ServerCost {
        us: spent.as_secs_f64() * 1e6 / (requests * batch as u64) as f64,
        events_per_second: (running * batch as u64) as f64 / loaded.as_secs_f64(),
        server_cores: at_full_load.as_secs_f64() / loaded.as_secs_f64(),
        load_cores: load_cpu.as_secs_f64() / loaded.as_secs_f64(),
        machine_busy: machine,
    })
}

/// Waits until a process does next to nothing, and returns its CPU so far.
///
/// # Errors
/// When the process is gone.
pub fn until_quiet(pid: u32) -> anyhow::Result<Duration> {
    let deadline = Instant::now() + QUIET_WITHIN;
    let mut last = cpu::of_process(pid)?;
    loop {
        std::thread::sleep(QUIET_STEP);
        let now = cpu::of_process(pid)?;
        if now.saturating_sub(last) < QUIET_STEP / 50 {
            return Ok(now);
        }
        ensure!(Instant::now() < deadline, "the server is still busy {QUIET_WITHIN:?} after the load");
        last = now;
    }
}

impl fmt::Display for ServerCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.3} µs at {:.0} k events/s (cores: server {:.2}, load {:.2}; machine {:.0} % busy)",
            self.us,
            self.events_per_second / 1000.0,
            self.server_cores,
            self.load_cores,
            self.machine_busy * 100.0
        )
    }
}

const WARM_UP: Duration = Duration::from_millis(700);
const QUIET_STEP: Duration = Duration::from_millis(50);
const QUIET_WITHIN: Duration = Duration::from_secs(10);
