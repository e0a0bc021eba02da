//! Live views at full size: W01 to W04 of docs/live-protocol.md, against the stream service as it ships.
//!
//! `idle` is ten thousand viewers of a view in which nothing happens; `slow` a thousand that take 1 KiB/s of 50; `silent` a thousand
//! that take nothing; `frozen` the same for what they cost and whom they delay; `storm` everybody coming back after a restart.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use sqlx::PgPool;

use crate::cpu;
use crate::crowd::{Crowd, Pace};
use crate::rows::{Bound, Row, Rows};
use crate::stack::{Stack, free_address};
use crate::statistics::Spread;
use crate::traffic::Traffic;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long the idle ones are watched; 1800 is the whole case.
    #[arg(long, default_value_t = 30.0)]
    idle_seconds: f64,
    #[arg(long, default_value_t = 10_000)]
    viewers: usize,
    #[arg(long, default_value_t = 1000)]
    slow: usize,
}

struct Site {
    stack: Stack,
    key: String,
    address: SocketAddr,
}

/// # Errors
/// When the stack does not start, or clients are treated otherwise than promised.
pub fn run(args: &Args) -> anyhow::Result<Rows> {
    let stack = Stack::new([])?;
    let key = stack.read_key()?;
    let address = free_address()?;
    let mut site = Site { stack, key, address };
    let mut rows = Rows::new();
    rows.extend(idle(&mut site, args.viewers, args.idle_seconds)?);
    rows.extend(storm(&mut site, args.viewers)?);
    rows.extend(slow(&mut site, args.slow)?);
    rows.extend(silent(&mut site, args.slow)?);
    Ok(rows)
}

impl Site {
    /// Ends the service, if it runs, and starts it again.
    fn start(&mut self) -> anyhow::Result<u32> {
        self.stack.stop();
        self.stack.start("stream", &[("PEEP_STREAM_LISTEN", &self.address.to_string())])
    }

    fn crowd(&self, count: usize, pace: Pace) -> anyhow::Result<Crowd> {
        Crowd::open(self.address, VIEW, &self.key, count, pace)
    }
}

/// W01.
fn idle(site: &mut Site, viewers: usize, seconds: f64) -> anyhow::Result<Rows> {
    let pid = site.start()?;
    let before = cpu::resident_bytes(pid)?;
    let crowd = site.crowd(viewers, Pace::AtOnce)?;
    crowd.wait_until_open(viewers, Duration::from_secs(60))?;
    std::thread::sleep(SETTLE);
    let used = cpu::of_process(pid)?;
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let share = (cpu::of_process(pid)? - used).as_secs_f64() / seconds * 100.0;
    let held = kib(cpu::resident_bytes(pid)?.saturating_sub(before)) / viewers as f64;
    let seen = crowd.look();
    crowd.close()?;
    println!("W01: {viewers} idle for {seconds} s: {held:.1} KiB each, {share:.1} % of a core, {} left", seen.open);
    ensure!(seen.open == viewers && seen.closed.is_empty(), "some were dropped: {:?}", seen.closed);
    let work = format!("W01: {viewers} idle WebSockets");
    Ok(vec![
        Row::figure(format!("{work}, memory each"), "KiB", &one(held))
            .must(Bound::AtMost(12.0))
            .aim(Bound::AtMost(4.0)),
        Row::figure(format!("{work}, a heartbeat a second"), "% of a core", &one(share)).must(Bound::AtMost(10.0)),
    ])
}

/// W04: the service is killed and started again, and everybody comes at once, without any of the patience that real clients have.
fn storm(site: &mut Site, viewers: usize) -> anyhow::Result<Rows> {
    site.start()?;
    let crowd = site.crowd(viewers, Pace::AtOnce)?;
    crowd.wait_until_open(viewers, Duration::from_secs(60))?;
    site.start()?;
    drop(crowd);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let pool = runtime.block_on(site.stack.pool())?;
    // The service asks the database on its own as well; how often is measured without anybody.
    let quiet = runtime.block_on(statements(&pool, Duration::from_secs(12), async { Ok(()) }))?.1;
    let started = Instant::now();
    let back = async {
        let crowd = site.crowd(viewers, Pace::AtOnce)?;
        crowd.wait_until_open(viewers, Duration::from_secs(60))?;
        anyhow::Ok((crowd, started.elapsed().as_secs_f64()))
    };
    let ((crowd, took), busy) = runtime.block_on(statements(&pool, Duration::from_secs(12), back))?;
    let seen = crowd.look();
    crowd.close()?;
    // What it asks on its own is not the same every time.
    let quiet = quiet.max(runtime.block_on(statements(&pool, Duration::from_secs(12), async { Ok(()) }))?.1);
    runtime.block_on(pool.close());
    let more = busy as f64 - quiet as f64;
    println!("W04: {viewers} back within {took:.1} s; {busy} transactions in 12 s, {quiet} in 12 s without anybody");
    ensure!(seen.open == viewers, "{} of {viewers} are back: {:?}", seen.open, seen.refused);
    let work = format!("W04: {viewers} viewers of a view back after a restart");
    Ok(vec![
        Row::figure(work.clone(), "s", &one(took)).must(Bound::AtMost(60.0)),
        // One question, and what notices chance.
        Row::figure(format!("{work}, transactions beyond the usual"), "", &one(more)).must(Bound::AtMost(10.0)),
    ])
}

/// W02, with the frozen ones of W03 beside it: what they cost and whom they delay.
fn slow(site: &mut Site, count: usize) -> anyhow::Result<Rows> {
    let pid = site.start()?;
    let traffic = Traffic::start(&site.stack, MANY_ROWS, Duration::from_secs(1))?;
    let fast = site.crowd(FAST, Pace::AtOnce)?;
    fast.wait_until_open(FAST, Duration::from_secs(20))?;
    std::thread::sleep(SETTLE);
    fast.look();
    std::thread::sleep(Duration::from_secs(5));
    let alone = fast.look();
    let (before, kernel) = (cpu::resident_bytes(pid)?, kernel_bytes()?);
    let crowd = site.crowd(count, Pace::Slowly(1024))?;
    crowd.wait_until_open(count, Duration::from_secs(30))?;
    let (started, mut most, mut most_kernel, mut seen) = (Instant::now(), 0, 0, crowd.look());
    while started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(500));
        most = most.max(cpu::resident_bytes(pid)?.saturating_sub(before));
        most_kernel = most_kernel.max(kernel_bytes()?.saturating_sub(kernel));
        if crowd.connected() == 0 {
            break;
        }
    }
    let news = crowd.look();
    seen.closed.extend(news.closed);
    let beside = fast.look();
    let all_ended_s = started.elapsed().as_secs_f64();
    crowd.close()?;
    fast.close()?;
    drop(traffic);
    let each = kib(most) / count as f64;
    println!(
        "W02: {count} at 1 KiB/s of {:.0} KiB/s: at most {each:.1} KiB each in the process and {:.1} KiB in the kernel; {} open after \
         {all_ended_s:.0} s, closed {:?}, {} told when to come back; fast ones p99 {} ms, {} ms before",
        kib(beside.bytes) / all_ended_s / FAST as f64,
        kib(most_kernel) / count as f64,
        news.open,
        seen.closed,
        news.told_to_come_back,
        beside.way_ms(0.99),
        alone.way_ms(0.99),
    );
    let work = format!("W02: {count} readers of 1 KiB/s");
    Ok(vec![
        Row::figure(format!("{work}, memory each at most"), "KiB", &one(each)).must(Bound::AtMost(256.0)),
        Row::figure(format!("{work}, p99 of the others"), "ms", &one(beside.way_ms(0.99))).must(Bound::AtMost(250.0)),
        Row::figure(format!("{work}, not sent away after a minute"), "", &one(news.open as f64))
            .must(Bound::AtMost(0.0)),
    ])
}

/// W03.
fn silent(site: &mut Site, count: usize) -> anyhow::Result<Rows> {
    let pid = site.start()?;
    let traffic = Traffic::start(&site.stack, MANY_ROWS, Duration::from_secs(1))?;
    let fast = site.crowd(FAST, Pace::AtOnce)?;
    fast.wait_until_open(FAST, Duration::from_secs(20))?;
    std::thread::sleep(SETTLE);
    fast.look();
    let before = cpu::resident_bytes(pid)?;
    let started = Instant::now();
    let crowd = site.crowd(count, Pace::Never)?;
    crowd.wait_until_open(count, Duration::from_secs(30))?;
    let opened_s = started.elapsed().as_secs_f64();
    let mut most = 0;
    while crowd.connected() > 0 && started.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(100));
        most = most.max(cpu::resident_bytes(pid)?.saturating_sub(before));
    }
    let ended_s = started.elapsed().as_secs_f64();
    let left = crowd.connected();
    let beside = fast.look();
    crowd.close()?;
    fast.close()?;
    drop(traffic);
    let each = kib(most) / count as f64;
    println!(
        "W03: {count} that never read, opened within {opened_s:.1} s: {left} left after {ended_s:.1} s, at most {each:.1} KiB each; fast \
         ones p99 {} ms",
        beside.way_ms(0.99)
    );
    let work = format!("W03: {count} that never read");
    Ok(vec![
        // Their first message does not fit; opening takes its time as well.
        Row::figure(format!("{work}, all cut"), "s after the last came", &one(ended_s - opened_s))
            .must(Bound::AtMost(10.5)),
        Row::figure(format!("{work}, left"), "", &one(left as f64)).must(Bound::AtMost(0.0)),
        Row::figure(format!("{work}, memory each at most"), "KiB", &one(each)).must(Bound::AtMost(256.0)),
        Row::figure(format!("{work}, p99 of the others"), "ms", &one(beside.way_ms(0.99))).must(Bound::AtMost(250.0)),
    ])
}

/// Runs `what`, and waits until `at_least` has passed. Answers the transactions of the whole database meanwhile.
async fn statements<T>(
    pool: &PgPool,
    at_least: Duration,
    what: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(T, i64)> {
    let before = transactions(pool).await?;
    let started = Instant::now();
    let found = what.await?;
    tokio::time::sleep(at_least.saturating_sub(started.elapsed())).await;
    Ok((found, transactions(pool).await? - before))
}

async fn transactions(pool: &PgPool) -> anyhow::Result<i64> {
    // Sessions hand their counts in every second, at the latest when they are idle for ten.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let sql = "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()";
    Ok(sqlx::query_scalar(sql).fetch_one(pool).await?)
}

/// Memory of all TCP sockets of this machine, both ends of each connection.
fn kernel_bytes() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/net/sockstat")?;
    let tcp = text.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or_default();
    let mut fields = tcp.split_whitespace().skip_while(|field| *field != "mem").skip(1);
    Ok(fields.next().and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096)
}

fn one(value: f64) -> Spread {
    Spread::from_iter([value])
}

fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

const VIEW: &str = "/v1/live?window=1m&group_by=route";
/// 50 KB a message.
const MANY_ROWS: usize = 130;
const FAST: usize = 200;
const SETTLE: Duration = Duration::from_secs(3);
