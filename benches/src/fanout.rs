//! What a delivery costs: one live view, many WebSockets, a message a second.
//!
//! The stream service as it ships, with its database, and the floor are measured in turns with the same clients and messages of the
//! same length. A delivery is one message written to one client; whatever else the process does meanwhile is charged to it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::cpu;
use crate::crowd::{Crowd, Pace, Seen};
use crate::rows::{Bound, Row, Rows};
use crate::server::{FRAME_BYTES, Kind, Server};
use crate::stack::{Stack, free_address};
use crate::statistics::Spread;
use crate::traffic::Traffic;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 10_000)]
    viewers: usize,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
    /// Rows that change with each message: its length.
    #[arg(long, default_value_t = 5)]
    changed: usize,
}

/// One turn of one server.
struct Turn {
    /// CPU in µs per delivery.
    cost: f64,
    seen: Seen,
    /// What a connection has added to the process, in KiB.
    held_kib: f64,
    machine: f64,
}

/// # Errors
/// When the stack does not start or clients are refused.
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    let Args { viewers, rounds, seconds, changed } = *args;
    let mut stack = Stack::new([])?;
    let key = stack.read_key()?;
    let address = free_address()?;
    let listen = address.to_string();
    let traffic = Traffic::start(&stack, changed, Duration::from_secs(1))?;
    stack.start("stream", &[("PEEP_STREAM_LISTEN", &listen)])?;
    let target = "/v1/live?window=1m&group_by=route";
    let frame_bytes = frame_bytes(address, target, &key)?;
    println!("{viewers} viewers, messages of {frame_bytes:.0} bytes once a second, {seconds} s a turn");

    let (mut costs, mut floors, mut ratios) = (Spread::new(), Spread::new(), Spread::new());
    let (mut p99, mut floor_p99, mut held, mut floor_held) =
        (Spread::new(), Spread::new(), Spread::new(), Spread::new());
    for round in 1..=rounds {
        let floor = {
            let server = Server::start(Kind::Frames, [(FRAME_BYTES, format!("{frame_bytes:.0}"))])?;
            turn(server.address, server.id(), "/", "none", viewers, seconds)?
        };
        // A process of its own for each turn, as for the floor: what a crowd left behind is not counted for the next one.
        stack.stop();
        let pid = stack.start("stream", &[("PEEP_STREAM_LISTEN", &listen)])?;
        let peep = turn(address, pid, target, &key, viewers, seconds)?;
        println!(
            "round {round}: peep {:.2} µs ({} frames, {} heartbeats, p99 {} ms, max {} ms, {:.1} KiB each), floor {:.2} µs (p99 {} ms, \
             {:.1} KiB each); machine {:.0} % and {:.0} % busy",
            peep.cost,
            peep.seen.frames,
            peep.seen.heartbeats,
            peep.seen.way_ms(0.99),
            peep.seen.way_ms(1.0),
            peep.held_kib,
            floor.cost,
            floor.seen.way_ms(0.99),
            floor.held_kib,
            peep.machine * 100.0,
            floor.machine * 100.0,
        );
        costs.push(peep.cost);
        floors.push(floor.cost);
        ratios.push(peep.cost / floor.cost);
        p99.push(peep.seen.way_ms(0.99));
        floor_p99.push(floor.seen.way_ms(0.99));
        held.push(peep.held_kib);
        floor_held.push(floor.held_kib);
    }
    drop(traffic);
    let work = format!("live delivery to {viewers} WebSockets, one message a second");
    Ok(vec![
        Row::ratio(work.clone(), &costs, "bare writer of one shared buffer", &floors, &ratios)
            .must(Bound::AtMost(1.3))
            .aim(Bound::AtMost(1.1)),
        Row::figure(format!("{work}, p99"), "ms", &p99).must(Bound::AtMost(250.0)),
        Row::figure("the same of the bare writer, p99", "ms", &floor_p99),
        Row::figure(format!("memory of a connection, {viewers} connected"), "KiB", &held)
            .must(Bound::AtMost(12.0))
            .aim(Bound::AtMost(4.0)),
        Row::figure("the same of the bare writer", "KiB", &floor_held),
    ])
}

fn turn(address: SocketAddr, pid: u32, target: &str, key: &str, viewers: usize, seconds: f64) -> anyhow::Result<Turn> {
    let before = cpu::resident_bytes(pid)?;
    let crowd = Crowd::open(address, target, key, viewers, Pace::AtOnce)?;
    crowd.wait_until_open(viewers, Duration::from_secs(60))?;
    // What the handshakes left behind.
    std::thread::sleep(SETTLE);
    crowd.look();
    let (started, used, machine) = (Instant::now(), cpu::of_process(pid)?, cpu::of_machine()?);
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let (seen, used) = (crowd.look(), cpu::of_process(pid)? - used);
    let machine = cpu::of_machine()?.since(machine);
    let expected = (viewers as f64 * started.elapsed().as_secs_f64().floor()) as u64;
    ensure!(seen.open == viewers, "{} of {viewers} are left: {:?}", seen.open, seen.closed);
    ensure!(seen.messages() >= expected * 9 / 10, "{} messages, expected {expected}", seen.messages());
    let held_kib = (cpu::resident_bytes(pid)?.saturating_sub(before)) as f64 / 1024.0 / viewers as f64;
    let cost = used.as_secs_f64() * 1e6 / seen.messages() as f64;
    crowd.close()?;
    Ok(Turn { cost, seen, held_kib, machine })
}

/// How long the messages of this view are.
fn frame_bytes(address: SocketAddr, target: &str, key: &str) -> anyhow::Result<f64> {
    let crowd = Crowd::open(address, target, key, 1, Pace::AtOnce)?;
    crowd.wait_until_open(1, Duration::from_secs(10))?;
    // The snapshot is not one of them.
    std::thread::sleep(Duration::from_millis(1500));
    crowd.look();
    std::thread::sleep(Duration::from_secs(5));
    let seen = crowd.look();
    ensure!(seen.frames > 0, "no frames come: {seen:?}");
    crowd.close()?;
    Ok((seen.bytes as f64 - seen.heartbeats as f64 * HEARTBEAT_BYTES) / seen.frames as f64)
}

const SETTLE: Duration = Duration::from_secs(3);
/// About; it is subtracted from two thousand.
const HEARTBEAT_BYTES: f64 = 105.0;
