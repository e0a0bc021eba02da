//! `peep-bench`: ratios against floors, each measured in one session. `make bench` runs all of them.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use peep_benches::closed_loop::Load;
use peep_benches::statistics::Spread;
use peep_benches::{corpus, cpu, exactly_once, floor, freshness, memory, otlp};
use peep_chassis::ExposeSecret;
use peep_chassis::admin::Health;
use peep_chassis::clock::Clock;
use peep_chassis::config::{ProcessEnv, Settings};
use peep_chassis::keys::format::{self, Kind};
use peep_chassis::keys::{ApiKey, KeyStore, Scope};
use peep_chassis::lifecycle::Shutdown;
use peep_wire::json::{Context, Decoder};
use peep_wire::otlp::Encoding;
use peep_wire::record::RecordBuilder;
use peep_wire::{KeyId, ProjectId};

#[derive(Parser)]
#[command(about = "Measures peep against floors, as ratios in one run")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// CPU of ingest per event against a bare hyper server plus the JSON step, log in memory.
    Ingest {
        #[arg(long, default_value_t = 100)]
        batch: usize,
        #[arg(long, default_value_t = 64)]
        connections: usize,
        #[arg(long, default_value_t = 5)]
        repeats: usize,
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
    /// The JSON step alone: parse, check and encode, against serde_json borrowing the same bytes.
    Json {
        #[arg(long, default_value_t = 100)]
        batch: usize,
        #[arg(long, default_value_t = 7)]
        repeats: usize,
    },
    /// The OTLP step alone: a request of server spans in protobuf to a record, against a bare prost decode of the same bytes.
    Otlp {
        #[arg(long, default_value_t = 512)]
        batch: usize,
        #[arg(long, default_value_t = 7)]
        repeats: usize,
    },
    /// Memory of the rollup with 10 000 series in open windows.
    Memory {
        #[arg(long, default_value_t = 10_000)]
        series: u32,
        /// Per series and 10 s window; two windows are open.
        #[arg(long, default_value_t = 500)]
        events_per_window: u32,
    },
    /// CPU of the rollup per event with everything that makes it exactly once, and without.
    ExactlyOnce {
        #[arg(long, default_value_t = 1_000_000)]
        events: u64,
        #[arg(long, default_value_t = 100)]
        batch: u64,
        #[arg(long, default_value_t = 1_000)]
        series: u64,
        #[arg(long, default_value_t = 100)]
        producers: u64,
        /// 250 000 is five seconds, the default interval, at 50 000 events a second.
        #[arg(long, default_value_t = 250_000)]
        flush_every: u64,
        #[arg(long, default_value_t = 7)]
        repeats: u32,
    },
    /// From sending an event to the live frame that shows it, on the stack that the environment names.
    Freshness {
        #[arg(long, default_value_t = 300)]
        events: usize,
    },
    /// Serves the bare floor; started by `ingest`.
    #[command(hide = true)]
    ServeFloor,
    /// Serves ingest on a memory log; started by `ingest`.
    #[command(hide = true)]
    ServeIngest,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().bench {
        Bench::Ingest { batch, connections, repeats, seconds } => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(ingest(batch, connections, repeats, Duration::from_secs_f64(seconds)))
        }
        Bench::Json { batch, repeats } => {
            json(batch, repeats);
            Ok(())
        }
        Bench::Otlp { batch, repeats } => otlp(batch, repeats),
        Bench::Memory { series, events_per_window } => open_windows(series, events_per_window),
        Bench::ExactlyOnce { events, batch, series, producers, flush_every, repeats } => {
            let traffic = exactly_once::Traffic { events, batch, series, producers, flush_every };
            // One thread: its CPU is the worker's.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(exactly_once(traffic, repeats))
        }
        Bench::Freshness { events } => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let ways = runtime.block_on(freshness::measure(&freshness::Target::from_env()?, events))?;
            let at = |share: f64| ways[((ways.len() as f64 * share).ceil() as usize).clamp(1, ways.len()) - 1];
            println!(
                "event to live frame, {events} events: p50 {:?}, p90 {:?}, p99 {:?}, max {:?}   (p99 must be below 1 s)",
                at(0.5),
                at(0.9),
                at(0.99),
                at(1.0)
            );
            anyhow::ensure!(at(0.99) < Duration::from_secs(1), "the p99 is not below one second");
            Ok(())
        }
        Bench::ServeFloor => floor::serve(announce()?, WORKERS),
        Bench::ServeIngest => serve_ingest(),
    }
}

async fn exactly_once(traffic: exactly_once::Traffic, repeats: u32) -> anyhow::Result<()> {
    println!(
        "rollup, {} events in batches of {}, {} series, {} producers, a flush every {}; worker CPU, ns per event (min / median / max)",
        traffic.events, traffic.batch, traffic.series, traffic.producers, traffic.flush_every
    );
    let bench = exactly_once::Bench::new(repeats).await?;
    let [mut with, mut without, mut ratio] = [const { Spread::new() }; 3];
    for round in 0..repeats {
        let cost = bench.round(round, traffic, Clock::system().now_ms()).await?;
        with.push(cost.with);
        without.push(cost.without);
        ratio.push(cost.with / cost.without);
    }
    println!("without cursor, dedup and ledger   {without}");
    println!("with                               {with}");
    println!("with / without                     {ratio}   (the median must be at most 1.15)");
    anyhow::ensure!(ratio.median() <= 1.15, "exactly-once costs more than 15 % of the rollup's CPU");
    Ok(())
}

async fn ingest(batch: usize, connections: usize, repeats: usize, span: Duration) -> anyhow::Result<()> {
    let bodies = corpus::bodies(&corpus::ndjson_lines(10_000, 1, Clock::system().now_ms()), batch);
    println!(
        "ingest, NDJSON batches of {batch}, {connections} connections, log in memory; server CPU, µs per event (min / median / max)"
    );
    let [mut bare, mut ours, mut json, mut serde] = [const { Spread::new() }; 4];
    for round in 0..repeats {
        // In turns, so that a noisy minute hits both.
        bare.push(measure_server("serve-floor", &bodies, batch, connections, span).await?);
        ours.push(measure_server("serve-ingest", &bodies, batch, connections, span).await?);
        json.push(json_step_us(&bodies, batch));
        serde.push(serde_step_us(&bodies, batch));
        println!(
            "  round {} of {repeats}: floor {:.3}, ingest {:.3}, json {:.3}",
            round + 1,
            bare.median(),
            ours.median(),
            json.median()
        );
    }
    // Our own step would be a floor that rises with our own slowness; a scanner for one schema was measured at this
    // share of serde_json before ours existed.
    let json_floor = json.median().min(SCANNER_SHARE_OF_SERDE * serde.median());
    let ratio = ours.median() / (bare.median() + json_floor);
    println!("bare hyper server            {bare}");
    println!("JSON to record               {json}");
    println!(
        "serde_json, the same bytes   {serde}, and {SCANNER_SHARE_OF_SERDE} of it: {:.3}",
        SCANNER_SHARE_OF_SERDE * serde.median()
    );
    println!("ingest                       {ours}");
    println!("ingest / (bare + the cheaper JSON step) = {ratio:.2}   (must be at most 2)");
    anyhow::ensure!(ratio <= 2.0, "ingest costs more than twice its floor");
    Ok(())
}

/// Runs one server process under load and returns its CPU per event in µs.
async fn measure_server(
    mode: &str,
    bodies: &[Vec<u8>],
    batch: usize,
    connections: usize,
    span: Duration,
) -> anyhow::Result<f64> {
    let mut server = Server::start(mode)?;
    let mut load = Load::start(server.address, &server.key, bodies, connections).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (cpu_before, requests_before) = (cpu::of_process(server.child.id())?, load.requests());
    tokio::time::sleep(span).await;
    let (cpu_after, requests_after) = (cpu::of_process(server.child.id())?, load.requests());
    load.check()?;
    drop(load);
    server.child.kill()?;
    server.child.wait()?;
    let events = (requests_after - requests_before) * batch as u64;
    anyhow::ensure!(events > 0, "the {mode} process answered nothing");
    Ok((cpu_after - cpu_before).as_secs_f64() * 1e6 / events as f64)
}

/// A copy of this program that serves.
struct Server {
    child: Child,
    address: std::net::SocketAddr,
    key: String,
}

impl Server {
    fn start(mode: &str) -> anyhow::Result<Server> {
        let mut child = Command::new(std::env::current_exe()?).arg(mode).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("read the server's address")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
        let mut words = line.split_whitespace();
        let address = words.next().context("the server announced no address")?.parse()?;
        let key = words.next().unwrap_or("none").to_owned();
        Ok(Server { child, address, key })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn announce() -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    Ok(listener)
}

fn serve_ingest() -> anyhow::Result<()> {
    peep_chassis::telemetry::install_metrics(peep_ingest::BUCKETS)?;
    let secret = format::generate(Kind::Key(Scope::Ingest));
    let api = ApiKey {
        key: 1,
        project: 1,
        project_name: "bench".into(),
        env: None,
        scope: Scope::Ingest,
        origins: Vec::new(),
    };
    let keys = KeyStore::fixed([(secret.expose_secret(), api)]);
    let env = ProcessEnv;
    let mut settings = Settings::new(&env);
    let config = peep_ingest::Config { workers: WORKERS, ..peep_ingest::Config::read(&mut settings) };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{} {}", listener.local_addr()?, secret.expose_secret());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let log: Arc<dyn peep_log::Log> = peep_log::memory(4);
        peep_ingest::run(config, listener, log, keys, &Health::new(), Shutdown::new()).await
    })
}

fn json(batch: usize, repeats: usize) {
    let bodies = corpus::bodies(&corpus::ndjson_lines(10_000, 1, Clock::system().now_ms()), batch);
    let bytes: usize = bodies.iter().map(Vec::len).sum();
    let (mut ours, mut serde) = (Spread::default(), Spread::default());
    for _ in 0..repeats {
        ours.push(json_step_us(&bodies, batch));
        serde.push(serde_step_us(&bodies, batch));
    }
    println!(
        "JSON, {} bytes an event, batches of {batch}; thread CPU, µs per event (min / median / max)",
        bytes / 10_000
    );
    println!("serde_json into borrowed struct   {serde}");
    println!("parse + check + encode            {ours}");
    println!("ratio = {:.2}", ours.median() / serde.median());
}

fn otlp(batch: usize, repeats: usize) -> anyhow::Result<()> {
    let bodies = otlp::bodies(10_240, batch, 1, Clock::system().now_ms());
    let spans = bodies.len() * batch;
    let bytes: usize = bodies.iter().map(Vec::len).sum();
    let (mut decoder, mut record) = (peep_wire::otlp::Decoder::default(), RecordBuilder::default());
    let [mut ours, mut prost, mut ratio] = [const { Spread::new() }; 3];
    for _ in 0..repeats {
        let now_ms = Clock::system().now_ms();
        let bare = timed_us(&bodies, batch, |body| {
            let request: otlp::message::Request = prost::Message::decode(body).expect("the corpus is valid");
            std::hint::black_box(request);
        });
        let mine = timed_us(&bodies, batch, |body| {
            let mut rejected = Vec::new();
            record.start(now_ms);
            let ignored = decoder.decode(body, Encoding::Protobuf, &limits(), &mut record, &mut rejected);
            assert!(rejected.is_empty() && ignored.is_ok_and(|ignored| ignored.total() == 0), "{rejected:?}");
            std::hint::black_box(record.finish(ProjectId(1), KeyId(1), None));
        });
        prost.push(bare);
        ours.push(mine);
        ratio.push(mine / bare);
    }
    println!(
        "OTLP in protobuf, {} bytes a span, batches of {batch}; thread CPU, µs per span (min / median / max)",
        bytes / spans
    );
    println!("prost into messages        {prost}");
    println!("walk + check + encode      {ours}   = {:.0} spans/s and core", 1e6 / ours.median());
    println!("ours / prost               {ratio}   (the median must be at most 2)");
    anyhow::ensure!(ratio.median() <= 2.0, "reading OTLP costs more than twice a bare decode");
    Ok(())
}

fn open_windows(series: u32, events_per_window: u32) -> anyhow::Result<()> {
    const MIB: f64 = (1 << 20) as f64;
    let held = memory::open_windows(series, events_per_window, Clock::system().now_ms())?;
    let resident = held.resident_bytes as f64 / MIB;
    println!(
        "{series} series, {} open windows of {events_per_window} events: {resident:.0} MiB resident, {:.0} MiB by the partition's own books   (must be at most 256 MiB)",
        held.windows,
        held.counted_bytes as f64 / MIB
    );
    anyhow::ensure!(resident <= 256.0, "the windows hold more than 256 MiB");
    Ok(())
}

/// Parse, check, encode: everything between body and record.
fn json_step_us(bodies: &[Vec<u8>], batch: usize) -> f64 {
    let context = limits();
    let (mut decoder, mut record) = (Decoder::default(), RecordBuilder::default());
    let now_ms = Clock::system().now_ms();
    timed_us(bodies, batch, |body| {
        let mut rejected = Vec::new();
        record.start(now_ms);
        decoder.decode(body, &context, &mut record, &mut rejected).expect("the corpus is valid");
        assert!(rejected.is_empty(), "the corpus is valid: {rejected:?}");
        std::hint::black_box(record.finish(ProjectId(1), KeyId(1), None));
    })
}

/// The defaults of ingest.
fn limits() -> Context<'static> {
    Context {
        bound_env: None,
        age_ms_max: 30 * 86_400_000,
        ahead_ms_max: 300_000,
        events_max: 5_000,
        event_bytes_max: 64 << 10,
        depth_max: 32,
        lines: true,
    }
}

#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "parsed for the time it takes")]
struct Borrowed<'a> {
    service: &'a str,
    env: &'a str,
    route: &'a str,
    method: &'a str,
    status: u16,
    duration_ms: f64,
    ts: i64,
    host: &'a str,
    trace_id: &'a str,
}

fn serde_step_us(bodies: &[Vec<u8>], batch: usize) -> f64 {
    timed_us(bodies, batch, |body| {
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            std::hint::black_box(serde_json::from_slice::<Borrowed<'_>>(line).expect("the corpus is valid"));
        }
    })
}

/// Thread CPU per event over at least 200 ms.
fn timed_us(bodies: &[Vec<u8>], batch: usize, mut step: impl FnMut(&[u8])) -> f64 {
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

/// A hand-written schema scanner with row encoding against `serde_json` into borrowed strings.
const SCANNER_SHARE_OF_SERDE: f64 = 0.44;
/// As many as this kind of machine has cores; the load shares them.
const WORKERS: usize = 2;
