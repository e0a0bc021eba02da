//! CPU of `peep ship` per line of a log that it follows, against reading the same file and finding its lines.
//!
//! The shipper is the product as it runs all day: a state folder, compression, HTTP. What it sends to is a sink of this process,
//! which takes everything, so that the shipper is what is measured.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use peep_chassis::clock::Clock;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::cpu;
use crate::rows::{Row, Rows};
use crate::statistics::Spread;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Lines of each log.
    #[arg(long, default_value_t = 1_000_000)]
    lines: u64,
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// The program to measure (default: the one beside this).
    #[arg(long)]
    peep: Option<PathBuf>,
}

/// # Errors
/// When the shipper does not run, or does not send every line.
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    let peep = match &args.peep {
        Some(peep) => peep.clone(),
        None => std::env::current_exe()?.with_file_name("peep"),
    };
    let dir = tempfile::TempDir::with_prefix("peep-bench-ship-")?;
    let sink = Sink::start()?;
    let mut rows = Rows::new();
    for (name, line) in [("JSON", json_line as Line), ("combined with a request time", combined_line)] {
        let log = dir.path().join("access.log");
        let bytes = write_log(&log, args.lines, line)?;
        let [mut ours, mut floor, mut ratio] = [const { Spread::new() }; 3];
        for _ in 0..args.repeats {
            let found = floor_us(&log, args.lines)?;
            let mine = ship_us(&peep, &log, args.lines, &sink)?;
            ours.push(mine);
            floor.push(found);
            ratio.push(mine / found);
        }
        println!(
            "peep ship, {name}, {} bytes a line; CPU, µs per line (min / median / max)\n\
             read and find lines   {floor}\n\
             peep ship             {ours}\n",
            bytes / args.lines
        );
        let work = format!("peep ship: a log that is followed, {name}");
        rows.push(Row::ratio(work, &ours, "read and find lines", &floor, &ratio).per_core_min(500_000.0));
    }
    Ok(rows)
}

/// Takes everything until it is killed, for `make nginx-bench`; prints its address.
///
/// # Errors
/// When there is no address to listen on.
pub fn take_all() -> anyhow::Result<()> {
    let sink = Sink::start()?;
    println!("{}", sink.address);
    loop {
        std::thread::park();
    }
}

/// What everybody has to do who reads a log.
fn floor_us(log: &Path, lines: u64) -> anyhow::Result<f64> {
    let before = cpu::of_this_thread();
    let (mut file, mut buffer, mut found) = (File::open(log)?, vec![0; 256 << 10], 0);
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        found += memchr::memchr_iter(b'\n', &buffer[..length]).count() as u64;
    }
    let spent = cpu::of_this_thread() - before;
    ensure!(found == lines, "{found} lines of {lines}");
    Ok(spent.as_secs_f64() * 1e6 / lines as f64)
}

/// From the start of the process until everything is answered and nothing more happens.
fn ship_us(peep: &Path, log: &Path, lines: u64, sink: &Sink) -> anyhow::Result<f64> {
    let state = tempfile::TempDir::with_prefix("peep-bench-state-")?;
    let before = sink.events();
    let mut shipper = Shipper::start(peep, log, state.path(), sink.address)?;
    let deadline = Instant::now() + LONGEST;
    while sink.events() - before < lines {
        ensure!(Instant::now() < deadline, "{} lines of {lines} in {LONGEST:?}", sink.events() - before);
        if let Some(status) = shipper.0.try_wait()? {
            bail!("the shipper has ended: {status}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // The last answers are written down.
    std::thread::sleep(Duration::from_millis(200));
    let spent = cpu::of_process(shipper.0.id())?;
    ensure!(sink.events() - before == lines, "{} events of {lines} lines", sink.events() - before);
    Ok(spent.as_secs_f64() * 1e6 / lines as f64)
}

const LONGEST: Duration = Duration::from_secs(60);

/// Killed when the measurement is over.
struct Shipper(Child);

impl Shipper {
    fn start(peep: &Path, log: &Path, state: &Path, ingest: SocketAddr) -> anyhow::Result<Self> {
        let mut command = Command::new(peep);
        command.args(["ship", "--follow", "--from-start", "--service", "shop", "--url", &format!("http://{ingest}")]);
        command.arg("--state").arg(state).arg(log).env("PEEP_INGEST_KEY", "peep_ing_bench");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        child.map(Self).with_context(|| format!("start {}", peep.display()))
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Takes every batch and answers 202.
struct Sink {
    address: SocketAddr,
    events: Arc<AtomicU64>,
}

impl Sink {
    fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, events) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let counter = Arc::clone(&events);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let counter = Arc::clone(&counter);
                // A shipper that is killed ends its connections in the middle.
                std::thread::spawn(move || drop(serve(&connection, &counter)));
            }
        });
        Ok(Self { address, events })
    }

    fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }
}

fn serve(connection: &TcpStream, counter: &AtomicU64) -> anyhow::Result<()> {
    connection.set_nodelay(true)?;
    let (mut input, mut output) = (BufReader::with_capacity(64 << 10, connection), connection);
    loop {
        let (mut length, mut packed) = (0, false);
        loop {
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            packed |= line == "content-encoding: zstd";
        }
        let mut body = vec![0; length];
        input.read_exact(&mut body)?;
        if packed {
            body = zstd::stream::decode_all(body.as_slice())?;
        }
        let accepted = memchr::memchr_iter(b'\n', &body).count() as u64;
        let answer = format!("{{\"accepted\":{accepted},\"rejected\":[],\"receipt\":\"r\"}}");
        write!(
            output,
            "HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
        counter.fetch_add(accepted, Ordering::Relaxed);
    }
}

/// Appends one line.
type Line = fn(&mut String, &mut SmallRng, u64);

fn write_log(path: &Path, lines: u64, line: Line) -> anyhow::Result<u64> {
    let (mut random, mut text) = (SmallRng::seed_from_u64(1), String::new());
    let mut file = BufWriter::new(File::create(path)?);
    // Ends now, at 5 000 requests a second.
    let start_ms = Clock::system().now_ms().unsigned_abs().saturating_sub(lines / 5);
    for number in 0..lines {
        text.clear();
        line(&mut text, &mut random, start_ms + number / 5);
        file.write_all(text.as_bytes())?;
    }
    file.flush()?;
    Ok(std::fs::metadata(path)?.len())
}

/// As `nginx-module/peep.conf` has it.
fn json_line(out: &mut String, random: &mut SmallRng, at_ms: u64) {
    let Request { method, target, status, bytes, duration_ms } = Request::any(random);
    let trace = if random.random::<f64>() < 0.1 {
        format!("00-{:032x}-{:016x}-01", random.random::<u128>(), random.random::<u64>())
    } else {
        String::new()
    };
    let (s, ms) = (at_ms / 1000, at_ms % 1000);
    let _ = writeln!(
        out,
        "{{\"msec\":\"{s}.{ms:03}\",\"request\":\"{method} {target} HTTP/1.1\",\"status\":\"{status}\",\
         \"request_time\":\"{}.{:03}\",\"request_length\":\"{}\",\"body_bytes_sent\":\"{bytes}\",\
         \"hostname\":\"web-1\",\"traceparent\":\"{trace}\"}}",
        duration_ms / 1000,
        duration_ms % 1000,
        200 + bytes % 900,
    );
}

/// As most people have it who want to know how long a request took.
fn combined_line(out: &mut String, random: &mut SmallRng, at_ms: u64) {
    let Request { method, target, status, bytes, duration_ms } = Request::any(random);
    let time = jiff::Timestamp::from_millisecond(at_ms as i64).expect("now is a time").strftime("%d/%b/%Y:%H:%M:%S");
    let _ = writeln!(
        out,
        "192.0.2.{} - - [{time} +0000] \"{method} {target} HTTP/1.1\" {status} {bytes} \
         \"https://shop.example/search?q=shoes\" \"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\" {}.{:03}",
        bytes % 250,
        duration_ms / 1000,
        duration_ms % 1000,
    );
}

struct Request {
    method: &'static str,
    target: String,
    status: u16,
    bytes: u64,
    duration_ms: u64,
}

impl Request {
    /// Of a shop: few routes, many ids, some queries.
    fn any(random: &mut SmallRng) -> Self {
        // Squaring a uniform number skews towards the low routes, as traffic is.
        let route = (random.random::<f64>().powi(2) * 12.0) as usize;
        let id = random.random_range(1..5_000_000);
        let target = match route {
            0 => "/".to_owned(),
            1 => format!("/items/{id}"),
            2 => format!("/search?q=word{}&page={}", id % 5000, id % 9),
            3 => format!("/api/v1/carts/{:08x}-77aa-4bcd-8eef-{:012x}/items", id, u64::from(id as u32) << 9),
            4 => format!("/static/app.{:08x}.js", id % 40),
            5 => format!("/images/{id}/large.webp?w=800"),
            6 => "/api/v1/session".to_owned(),
            _ => format!("/categories/shoes-{route}/{}?sort=price&from={}", id % 300, id % 97),
        };
        let method = if matches!(route, 3 | 6) && id % 3 == 0 { "POST" } else { "GET" };
        let status = [200, 200, 200, 200, 200, 200, 304, 302, 404, 500][(id % 1000 / 100) as usize];
        let duration_ms = (5.0 / (1.001 - random.random::<f64>())) as u64;
        Self { method, target, status, bytes: u64::from((id % 70_000) as u32), duration_ms }
    }
}
