//! A real shipper process, killed at any moment, behind logs that are rotated in every way, before an ingest that fails, forgets
//! to answer and answers late: each line arrives exactly once.
//!
//! `KILLS`, `ROTATIONS` and `LINES_PER_SECOND` make it longer; `scripts/ship.sh` does.

#[path = "../src/fake_ingest.rs"]
#[allow(dead_code, unreachable_pub)]
mod fake_ingest;

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser as _;
use fake_ingest::{FakeIngest, Received, accepted};

/// Not a test: the process that the test starts, being this same program.
#[test]
#[ignore = "the shipper process of the other tests"]
fn the_shipper_process() {
    #[derive(clap::Parser)]
    struct Words {
        #[command(flatten)]
        args: peep_ship::Args,
    }
    let Ok(words) = std::env::var("PEEP_SHIP_TEST_WORDS") else { return };
    let words = Words::parse_from(std::iter::once("ship").chain(words.lines()));
    peep_ship::run(words.args).unwrap();
}

fn start_shipper(words: &[&str]) -> Child {
    start(Command::new(std::env::current_exe().unwrap()), words)
}

/// One whose files cannot grow beyond so many blocks of 512 bytes, which is what a full disk looks like.
fn start_shipper_on_a_full_disk(words: &[&str], blocks: u64) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$@\""), "sh"]);
    shell.arg(std::env::current_exe().unwrap());
    start(shell, words)
}

fn start(mut program: Command, words: &[&str]) -> Child {
    program
        .args(["--exact", "the_shipper_process", "--ignored", "--nocapture"])
        .env("PEEP_SHIP_TEST_WORDS", words.join("\n"))
        .env("PEEP_INGEST_KEY", "peep_ing_test")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn knob(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// Writes numbered lines as nginx does: appending, and reopening by name when it is told to.
struct Writer {
    path: PathBuf,
    /// Held while a line is written, and by a rotation that must see no half of one.
    file: Arc<Mutex<File>>,
    written: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    fn start(path: &Path, lines_per_second: u64) -> Self {
        let file = Arc::new(Mutex::new(append(path)));
        let (written, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (file, written, stop) = (Arc::clone(&file), Arc::clone(&written), Arc::clone(&stop));
            move || {
                let (started, mut number) = (Instant::now(), 0);
                while !stop.load(Ordering::Relaxed) {
                    let due = started.elapsed().as_millis() as u64 * lines_per_second / 1000;
                    while number < due {
                        file.lock().unwrap().write_all(line(number).as_bytes()).unwrap();
                        number += 1;
                    }
                    written.store(number, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        });
        Self { path: path.to_owned(), file, written, stop, thread: Some(thread) }
    }

    fn beside(&self, number: usize) -> PathBuf {
        PathBuf::from(format!("{}.{number}", self.path.display()))
    }

    fn shift(&self) {
        for number in (1..40).rev() {
            let _ = std::fs::rename(self.beside(number), self.beside(number + 1));
        }
    }

    /// As logrotate with `create`: renamed first, reopened a moment later, with lines in between.
    fn rotate_by_rename(&self) {
        self.shift();
        std::fs::rename(&self.path, self.beside(1)).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        *self.file.lock().unwrap() = append(&self.path);
    }

    /// As logrotate with `copytruncate`, but with nothing written between the copy and the truncation, which would be lost to
    /// everybody.
    fn rotate_by_copy(&self) {
        self.shift();
        let file = self.file.lock().unwrap();
        std::fs::copy(&self.path, self.beside(1)).unwrap();
        file.set_len(0).unwrap();
    }

    fn stop(&mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.written.load(Ordering::Relaxed)
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}

/// The number travels as the bytes sent: it is the one field that comes out as it went in.
fn line(number: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let (seconds, milliseconds) = (now.as_secs(), now.subsec_millis());
    format!(
        "{{\"msec\":\"{seconds}.{milliseconds:03}\",\"request_method\":\"GET\",\"request_uri\":\"/items/{number}?q=1\",\
         \"status\":\"200\",\"request_time\":\"0.00{}\",\"bytes_sent\":\"{number}\"}}\n",
        number % 10
    )
}

/// Fails every fifth request, forgets the answer to every seventh after it has counted it.
fn unreliable_ingest() -> FakeIngest {
    FakeIngest::start(|request, before| match before {
        _ if before % 5 == 4 => {
            (503, "retry-after: 0\r\n", r#"{"error":{"code":"overloaded","message":"x"}}"#.to_owned())
        }
        _ if before % 7 == 6 => (0, "", String::new()),
        _ => accepted(request),
    })
}

/// What an ingest that remembers identities has counted, by number; a batch that changed between two tries is found here.
fn counted(received: &[Received]) -> BTreeMap<u64, u64> {
    let mut batches: HashMap<(String, u64), &Received> = HashMap::new();
    for (index, request) in received.iter().enumerate() {
        if index % 5 == 4 {
            continue;
        }
        let identity = (request.headers["peep-producer"].clone(), request.seq());
        let first = *batches.entry(identity).or_insert(request);
        assert_eq!(first.body, request.body, "a batch is the same for ever");
    }
    let mut counted = BTreeMap::new();
    for event in batches.values().flat_map(|request| request.events()) {
        *counted.entry(event["bytes_out"].as_u64().unwrap()).or_insert(0) += 1;
    }
    counted
}

#[test]
fn every_line_arrives_once_over_kills_and_rotations() {
    arrives_once("access.log");
}

#[test]
fn every_line_arrives_once_where_a_pattern_matches_the_rotated_files_too() {
    arrives_once("access.log*");
}

fn arrives_once(followed: &str) {
    let (kills, rotations) = (knob("KILLS", 5), knob("ROTATIONS", 6));
    let folder = tempfile::tempdir().unwrap();
    let (log, state) = (folder.path().join("access.log"), folder.path().join("state"));
    let ingest = unreliable_ingest();
    let words = ["--follow", "--from-start", "--url", &ingest.url, "--batch-events", "200", "--state"];
    let followed = folder.path().join(followed);
    let words = [&words[..], &[state.to_str().unwrap(), "--file", followed.to_str().unwrap()]].concat();
    let mut writer = Writer::start(&log, knob("LINES_PER_SECOND", 3000));
    let mut shipper = start_shipper(&words);
    for step in 0..kills.max(rotations) {
        // Never in the same place of a batch.
        std::thread::sleep(Duration::from_millis(400 + 37 * (step % 9)));
        let killed = step < kills;
        if killed {
            shipper.kill().unwrap();
            shipper.wait().unwrap();
        }
        if step < rotations {
            // Also while nobody reads.
            if step % 2 == 0 { writer.rotate_by_rename() } else { writer.rotate_by_copy() }
        }
        std::thread::sleep(Duration::from_millis(50 * (step % 3)));
        if killed {
            shipper = start_shipper(&words);
        }
    }
    let written = writer.stop();
    let deadline = Instant::now() + Duration::from_secs(60);
    while (counted(&ingest.received()).len() as u64) < written && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
    }
    // Time for what should not come.
    std::thread::sleep(Duration::from_millis(1500));
    shipper.kill().unwrap();
    shipper.wait().unwrap();
    let counted = counted(&ingest.received());
    let lost = (0..written).filter(|number| !counted.contains_key(number)).count();
    let doubled = counted.values().filter(|count| **count > 1).count();
    println!("{written} lines, {kills} kills, {rotations} rotations: {lost} lost, {doubled} doubled");
    assert_eq!((lost, doubled, counted.len() as u64), (0, 0, written));
}

/// The numbers of the lines that an ingest which refuses nothing has counted: of each batch once.
fn numbers(received: &[Received]) -> Vec<u64> {
    let batches: HashMap<_, _> =
        received.iter().map(|request| ((request.headers["peep-producer"].clone(), request.seq()), request)).collect();
    let events = batches.values().flat_map(|request| request.events());
    events.map(|event| event["bytes_out"].as_u64().unwrap()).collect()
}

fn ingest_that_may_be_away(away: &Arc<AtomicBool>) -> FakeIngest {
    let away = Arc::clone(away);
    FakeIngest::start(move |request, _| match away.load(Ordering::Relaxed) {
        true => (503, "retry-after: 0\r\n", String::new()),
        false => accepted(request),
    })
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_the_reading_and_nothing_is_lost_or_doubled() {
    let folder = tempfile::tempdir().unwrap();
    let (log, state) = (folder.path().join("access.log"), folder.path().join("state"));
    let away = Arc::new(AtomicBool::new(true));
    let ingest = ingest_that_may_be_away(&away);
    let lines = 20_000;
    std::fs::write(&log, (0..lines).map(line).collect::<String>()).unwrap();
    let words = ["--follow", "--from-start", "--url", &ingest.url, "--batch-events", "500", "--state"];
    let words = [&words[..], &[state.to_str().unwrap(), "--file", log.to_str().unwrap()]].concat();
    let journal_bytes = || std::fs::metadata(state.join("journal")).map_or(0, |metadata| metadata.len());
    // Of some 64 KiB that it would write.
    let (blocks, bytes) = (32, 32 * 512);
    let mut shipper = start_shipper_on_a_full_disk(&words, blocks);
    wait_until("the disk fills", || journal_bytes() > bytes - 4096 && !ingest.received().is_empty());
    std::thread::sleep(Duration::from_millis(1500));
    assert!(shipper.try_wait().unwrap().is_none(), "it waits");
    // Killed on a full disk, and again on a full disk: what it has written can be read.
    shipper.kill().unwrap();
    shipper.wait().unwrap();
    let sent = ingest.received().len();
    let mut shipper = start_shipper_on_a_full_disk(&words, blocks);
    wait_until("it goes on where it stood", || ingest.received().len() > sent);
    assert!(shipper.try_wait().unwrap().is_none() && journal_bytes() <= bytes, "it waits again");
    // Somebody makes room.
    let id = shipper.id().to_string();
    assert!(Command::new("prlimit").args(["--pid", &id, "--fsize=unlimited"]).status().unwrap().success());
    wait_until("it goes on when there is room", || journal_bytes() > bytes);
    let before = ingest.received().len();
    away.store(false, Ordering::Relaxed);
    wait_until("all of it arrives", || numbers(&ingest.received()[before..]).len() >= lines as usize);
    std::thread::sleep(Duration::from_millis(500));
    shipper.kill().unwrap();
    shipper.wait().unwrap();
    let mut numbers = numbers(&ingest.received()[before..]);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..lines).collect::<Vec<_>>());
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_at_the_start_keeps_nobody_from_delivering() {
    let folder = tempfile::tempdir().unwrap();
    let (log, state) = (folder.path().join("access.log"), folder.path().join("state"));
    let away = Arc::new(AtomicBool::new(true));
    let ingest = ingest_that_may_be_away(&away);
    let lines = 10_000;
    std::fs::write(&log, (0..lines).map(line).collect::<String>()).unwrap();
    let words = ["--follow", "--from-start", "--url", &ingest.url, "--batch-events", "100", "--state"];
    let words = [&words[..], &[state.to_str().unwrap(), "--file", log.to_str().unwrap()]].concat();
    let journal_bytes = || std::fs::metadata(state.join("journal")).map_or(0, |metadata| metadata.len());
    let mut shipper = start_shipper_on_a_full_disk(&words, 64);
    wait_until("the disk fills", || journal_bytes() > 64 * 512 - 4096);
    shipper.kill().unwrap();
    shipper.wait().unwrap();
    away.store(false, Ordering::Relaxed);
    let before = ingest.received().len();
    // What is in the journal is more than could be written anew, and fits only once it has its answers.
    let mut shipper = start_shipper_on_a_full_disk(&words, 32);
    let delivered = || numbers(&ingest.received()[before..]);
    wait_until("it delivers, and goes on", || delivered().len() >= lines as usize);
    std::thread::sleep(Duration::from_millis(500));
    shipper.kill().unwrap();
    shipper.wait().unwrap();
    let mut delivered = delivered();
    delivered.sort_unstable();
    assert_eq!(delivered, (0..lines).collect::<Vec<_>>());
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_with_room_for_few_batches_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let (log, state) = (folder.path().join("access.log"), folder.path().join("state"));
    let ingest = FakeIngest::accepting();
    let lines = 3_000;
    std::fs::write(&log, (0..lines).map(line).collect::<String>()).unwrap();
    let words = ["--follow", "--from-start", "--url", &ingest.url, "--batch-events", "500", "--compress", "none"];
    let words = [&words[..], &["--state", state.to_str().unwrap(), "--file", log.to_str().unwrap()]].concat();
    // 100 KiB for batches of some 60: those of one group are not written together, and must not wait for one another.
    let mut shipper = start_shipper_on_a_full_disk(&words, 200);
    wait_until("all of it arrives", || numbers(&ingest.received()).len() >= lines as usize);
    shipper.kill().unwrap();
    shipper.wait().unwrap();
    let mut numbers = numbers(&ingest.received());
    numbers.sort_unstable();
    assert_eq!(numbers, (0..lines).collect::<Vec<_>>());
}

#[test]
fn an_ingest_that_is_away_stops_the_reading_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (log, state) = (folder.path().join("access.log"), folder.path().join("state"));
    let away = Arc::new(AtomicBool::new(true));
    let ingest = ingest_that_may_be_away(&away);
    let lines = 30_000;
    std::fs::write(&log, (0..lines).map(line).collect::<String>()).unwrap();
    let words = ["--follow", "--from-start", "--url", &ingest.url, "--buffer-bytes", "20000", "--state"];
    let words = [&words[..], &[state.to_str().unwrap(), "--file", log.to_str().unwrap()]].concat();
    let mut shipper = start_shipper(&words);
    let deadline = Instant::now() + Duration::from_secs(30);
    while ingest.received().is_empty() {
        assert!(Instant::now() < deadline, "it does not even try");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(1));
    let journal = std::fs::metadata(state.join("journal")).unwrap().len();
    assert!(journal < 200_000, "the log waits, not the journal: {journal} bytes");
    let before = ingest.received().len();
    away.store(false, Ordering::Relaxed);
    let events = || {
        let received = ingest.received();
        let answered: HashMap<_, _> = received[before..]
            .iter()
            .map(|request| ((request.headers["peep-producer"].clone(), request.seq()), request))
            .collect();
        answered.values().map(|request| request.events().len()).sum::<usize>()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while events() < lines as usize {
        assert!(Instant::now() < deadline, "{} of {lines}", events());
        std::thread::sleep(Duration::from_millis(100));
    }
    shipper.kill().unwrap();
    shipper.wait().unwrap();
    assert_eq!(events(), lines as usize);
}
