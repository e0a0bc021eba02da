//! A TCP proxy that misbehaves on command: the network between two processes, to be broken.
//!
//! Arrives: connections to [`Proxy::address`]. Leaves: the same bytes to the target and back, unless told otherwise:
//! swallowed in one direction or both, refused, reset, late, slow, or cut at a word in the stream (`COMMIT`, say) before it
//! arrives, after it, or when its answer comes back.
//!
//! Promises: what it does to one connection depends on the commands, the bytes and a seed. Bytes are never changed,
//! reordered or doubled, because TCP does not do that either.
//!
//! Does not: drop single packets. Without netem in the kernel that is out of reach, and TCP would hide it anyway.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// A listening proxy; everything through it ends when it is dropped.
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// Which bytes do not arrive.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Blackhole {
    #[default]
    None,
    /// What clients send.
    Requests,
    /// What the target answers.
    Answers,
    Both,
}

/// Where a connection is cut.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cut {
    /// ASCII, of any case, in what a client sends.
    pub word: &'static str,
    /// One occurrence in this many.
    pub one_in: u64,
}

#[derive(Clone, Debug, Default)]
struct Mode {
    blackhole: Blackhole,
    refuse: bool,
    /// Least and most of what each chunk waits.
    delay: Option<(Duration, Duration)>,
    /// Bytes per second that a client gets through, on each connection.
    bandwidth: Option<f64>,
    cut: Option<Cut>,
    /// Connections of an older generation are reset.
    generation: u64,
}

struct Shared {
    target: String,
    mode: watch::Sender<Mode>,
    random: AtomicU64,
    cuts: AtomicU64,
    connections: AtomicU64,
}

impl Proxy {
    /// Listens on a port of its own choice, on the runtime of the caller.
    pub async fn start(target: impl Into<String>, seed: u64) -> Self {
        Self::start_at(&crate::process::free_address(), target, seed).await
    }

    pub async fn start_at(address: &str, target: impl Into<String>, seed: u64) -> Self {
        let listener = TcpListener::bind(address).await.unwrap_or_else(|error| panic!("listen on {address}: {error}"));
        let shared = Arc::new(Shared {
            target: target.into(),
            mode: watch::Sender::new(Mode::default()),
            random: AtomicU64::new(seed),
            cuts: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address: address.to_owned(), shared, accepting }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn port(&self) -> u16 {
        self.address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("an address has a port")
    }

    /// Bytes of this direction stay away until `heal`; connections stay open.
    pub fn blackhole(&self, direction: Blackhole) {
        self.change(|mode| mode.blackhole = direction);
    }

    /// New connections are reset, and the old ones too.
    pub fn refuse(&self) {
        self.change(|mode| {
            mode.refuse = true;
            mode.generation += 1;
        });
    }

    /// Every connection is reset; new ones are served.
    pub fn reset_all(&self) {
        self.change(|mode| mode.generation += 1);
    }

    /// Each chunk of bytes waits between `least` and `most`.
    pub fn delay(&self, least: Duration, most: Duration) {
        self.change(|mode| mode.delay = Some((least, most)));
    }

    /// So many bytes per second arrive from the client of each connection.
    pub fn throttle(&self, bytes_per_second: f64) {
        self.change(|mode| mode.bandwidth = Some(bytes_per_second));
    }

    /// Connections are reset at a word, from now on.
    pub fn cut(&self, cut: Cut) {
        self.change(|mode| mode.cut = Some(cut));
    }

    /// As if nothing had been.
    pub fn heal(&self) {
        self.change(|mode| *mode = Mode { generation: mode.generation, ..Mode::default() });
    }

    /// How often a connection was cut at a word.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }

    /// How many connections there were.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut Mode)) {
        self.shared.mode.send_modify(change);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.mode.send_modify(|mode| mode.generation += 1);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors: the next close makes room.
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if shared.mode.borrow().refuse {
                reset(&client);
                return;
            }
            match TcpStream::connect(&shared.target).await {
                Ok(target) => carry(client, target, &shared).await,
                Err(_) => reset(&client),
            }
        });
    }
}

/// One connection, until either side or a command ends it.
async fn carry(client: TcpStream, target: TcpStream, shared: &Arc<Shared>) {
    let _ = (client.set_nodelay(true), target.set_nodelay(true));
    let generation = shared.mode.borrow().generation;
    let (client_read, client_write) = client.into_split();
    let (target_read, target_write) = target.into_split();
    // Set when the next answer is to be lost.
    let doomed = AtomicBool::new(false);
    let requests = Pump { shared, generation, doomed: &doomed, requests: true };
    let answers = Pump { requests: false, ..requests };
    let (mut up, mut down) = ((client_read, target_write), (target_read, client_write));
    let cut = {
        let up = requests.run(&mut up.0, &mut up.1);
        let down = answers.run(&mut down.0, &mut down.1);
        tokio::pin!(up, down);
        tokio::select! {
            end = &mut up => match end { End::Cut => true, End::Closed => down.await == End::Cut },
            end = &mut down => match end { End::Cut => true, End::Closed => up.await == End::Cut },
        }
    };
    if cut {
        reset(up.0.as_ref());
        reset(down.0.as_ref());
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// One side said that it will send no more.
    Closed,
    /// Both are to be told nothing but a reset.
    Cut,
}

#[derive(Clone, Copy)]
struct Pump<'p> {
    shared: &'p Shared,
    generation: u64,
    doomed: &'p AtomicBool,
    requests: bool,
}

impl Pump<'_> {
    async fn run(&self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> End {
        let mut modes = self.shared.mode.subscribe();
        let mut buffer = vec![0; CHUNK_BYTES];
        // The end of what went before, in case a word lies across two chunks.
        let mut tail = Vec::new();
        loop {
            let mode = modes.borrow_and_update().clone();
            if mode.generation != self.generation {
                return End::Cut;
            }
            if self.is_swallowed(&mode) {
                if modes.changed().await.is_err() {
                    return End::Cut;
                }
                continue;
            }
            let read = tokio::select! {
                biased;
                changed = modes.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return End::Cut,
                },
                read = from.read(&mut buffer) => read,
            };
            let bytes = match read {
                Ok(0) => {
                    let _ = to.shutdown().await;
                    return End::Closed;
                }
                Ok(length) => &buffer[..length],
                Err(_) => return End::Cut,
            };
            if !self.requests && self.doomed.load(Ordering::SeqCst) {
                return End::Cut;
            }
            if let Some((least, most)) = mode.delay {
                sleep(least + (most - least).mul_f64(self.shared.chance())).await;
            }
            if let Some(bytes_per_second) = mode.bandwidth.filter(|_| self.requests) {
                sleep(Duration::from_secs_f64(bytes.len() as f64 / bytes_per_second)).await;
            }
            let fate = match &mode.cut {
                Some(cut) if self.requests && contains(&mut tail, bytes, cut.word) => self.shared.fate(cut.one_in),
                _ => Fate::Spared,
            };
            match fate {
                Fate::Spared => {}
                Fate::BeforeIt => return End::Cut,
                Fate::AtItsAnswer => self.doomed.store(true, Ordering::SeqCst),
                Fate::BehindIt => {
                    let _ = to.write_all(bytes).await;
                    return End::Cut;
                }
            }
            // A write must not outlast a command that ends it.
            let written = tokio::select! {
                written = to.write_all(bytes) => written,
                () = self.generation_ends(&mut modes) => return End::Cut,
            };
            if written.is_err() {
                return End::Cut;
            }
        }
    }

    fn is_swallowed(&self, mode: &Mode) -> bool {
        match mode.blackhole {
            Blackhole::None => false,
            Blackhole::Both => true,
            Blackhole::Requests => self.requests,
            Blackhole::Answers => !self.requests,
        }
    }

    async fn generation_ends(&self, modes: &mut watch::Receiver<Mode>) {
        // An error means that the proxy is gone.
        let _ = modes.wait_for(|mode| mode.generation != self.generation).await;
    }
}

enum Fate {
    Spared,
    /// The word never arrives.
    BeforeIt,
    /// The word is on its way when the connection ends.
    BehindIt,
    /// The word arrives and is answered; the answer does not arrive.
    AtItsAnswer,
}

impl Shared {
    fn next(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood).
        let state = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In 0..1.
    fn chance(&self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn fate(&self, one_in: u64) -> Fate {
        if !self.next().is_multiple_of(one_in.max(1)) {
            return Fate::Spared;
        }
        self.cuts.fetch_add(1, Ordering::Relaxed);
        match self.next() % 3 {
            0 => Fate::BeforeIt,
            1 => Fate::BehindIt,
            _ => Fate::AtItsAnswer,
        }
    }
}

/// Whether the word ends in these bytes, wherever it began.
fn contains(tail: &mut Vec<u8>, bytes: &[u8], word: &str) -> bool {
    tail.extend_from_slice(bytes);
    let found = tail.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()));
    let keep = tail.len().min(word.len() - 1);
    tail.drain(..tail.len() - keep);
    found
}

/// The other side learns of the end at once, and not of its reason.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

const CHUNK_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    /// Answers every chunk with itself, and counts what arrives.
    async fn echo() -> (String, Arc<AtomicU64>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let arrived = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&arrived);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    let mut buffer = [0; 1024];
                    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                        counter.fetch_add(length as u64, Ordering::SeqCst);
                        if stream.write_all(&buffer[..length]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        (address, arrived)
    }

    async fn say(stream: &mut TcpStream, text: &str) -> std::io::Result<String> {
        stream.write_all(text.as_bytes()).await?;
        let mut buffer = vec![0; text.len()];
        stream.read_exact(&mut buffer).await?;
        Ok(String::from_utf8(buffer).unwrap())
    }

    const SHORT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_whole_proxy_is_not_there() {
        let (target, _) = echo().await;
        let proxy = Proxy::start(target, 1).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut stream, "hello").await.unwrap(), "hello");
        assert_eq!(proxy.connections(), 1);
    }

    #[tokio::test]
    async fn a_black_hole_keeps_bytes_until_it_is_healed() {
        let (target, arrived) = echo().await;
        let proxy = Proxy::start(target, 1).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut stream, "x").await.unwrap();
        proxy.blackhole(Blackhole::Answers);
        assert!(timeout(SHORT, say(&mut stream, "lost answer")).await.is_err());
        assert_eq!(arrived.load(Ordering::SeqCst), 12, "requests arrive");
        proxy.heal();
        let mut buffer = [0; 11];
        timeout(SHORT * 5, stream.read_exact(&mut buffer)).await.unwrap().unwrap();
        proxy.blackhole(Blackhole::Requests);
        assert!(timeout(SHORT, say(&mut stream, "lost request")).await.is_err());
        assert_eq!(arrived.load(Ordering::SeqCst), 12, "requests do not arrive");
    }

    #[tokio::test]
    async fn resets_and_refusals_end_connections_at_once() {
        let (target, _) = echo().await;
        let proxy = Proxy::start(target, 1).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut stream, "x").await.unwrap();
        proxy.reset_all();
        sleep(SHORT / 4).await;
        assert!(say(&mut stream, "y").await.is_err());
        let mut again = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut again, "z").await.unwrap(), "z");
        proxy.refuse();
        sleep(SHORT / 4).await;
        assert!(say(&mut again, "y").await.is_err());
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(say(&mut refused, "y").await.is_err());
    }

    #[tokio::test]
    async fn a_cut_at_a_word_loses_the_word_or_its_answer() {
        let (target, arrived) = echo().await;
        let proxy = Proxy::start(target, 7).await;
        proxy.cut(Cut { word: "commit", one_in: 1 });
        let (mut with, mut without) = (0, 0);
        for _ in 0..30 {
            let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
            assert_eq!(say(&mut stream, "begin").await.unwrap(), "begin");
            let before = arrived.load(Ordering::SeqCst);
            assert!(say(&mut stream, "COMMIT").await.is_err());
            sleep(Duration::from_millis(5)).await;
            match arrived.load(Ordering::SeqCst) - before {
                0 => without += 1,
                _ => with += 1,
            }
        }
        assert!(with > 0 && without > 0, "{with} arrived, {without} did not");
        assert_eq!(proxy.cuts(), 30);
    }

    #[test]
    fn a_word_is_found_across_two_chunks_and_once() {
        let mut tail = Vec::new();
        assert!(!contains(&mut tail, b"xxCOM", "commit"));
        assert!(contains(&mut tail, b"MITyy", "commit"));
        assert!(!contains(&mut tail, b"zz", "commit"));
    }
}
