use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::Receiver;

use super::*;
use crate::source::start;

/// A followed file and the lines that came out so far.
struct Bench {
    folder: tempfile::TempDir,
    receiver: Receiver<Message>,
    interrupt: Interrupt,
}

impl Bench {
    fn new(content: &str, from: FollowFrom) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        std::fs::write(&path, content).unwrap();
        let interrupt = Interrupt::default();
        let input = Input { path: Some(path), service: "s".to_owned() };
        let receiver = start(vec![input], Some(from), interrupt.clone()).unwrap();
        // The position is taken at the first poll.
        std::thread::sleep(3 * POLL_INTERVAL);
        Self { folder, receiver, interrupt }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    /// The lines up to and including one that ends in `last`.
    fn lines_until(&self, last: &str) -> String {
        let mut all = String::new();
        while !all.trim_end().ends_with(last) {
            match self.receiver.recv_timeout(Duration::from_secs(10)) {
                Ok(Message::Lines { text, .. }) => all.push_str(std::str::from_utf8(&text).unwrap()),
                Ok(_) => {}
                Err(error) => panic!("waiting for {last}: {error}; so far {all:?}"),
            }
        }
        all
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.interrupt.raise();
    }
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn only_new_and_only_whole_lines_come() {
    let bench = Bench::new("old\n", FollowFrom::End);
    append(&bench.path(), "one\ntw");
    assert_eq!(bench.lines_until("one"), "one\n");
    append(&bench.path(), "o\n");
    assert_eq!(bench.lines_until("two"), "two\n");
}

#[test]
fn the_rest_of_a_line_that_was_begun_before_is_no_line() {
    let bench = Bench::new("old\nbeg", FollowFrom::End);
    append(&bench.path(), "un\nnew\n");
    assert_eq!(bench.lines_until("new"), "new\n");
}

#[test]
fn from_the_start_everything_comes() {
    let bench = Bench::new("old\n", FollowFrom::Start);
    assert_eq!(bench.lines_until("old"), "old\n");
}

#[test]
fn rotation_by_rename_loses_nothing_written_to_either_file() {
    let bench = Bench::new("", FollowFrom::End);
    let rotated = bench.folder.path().join("access.log.1");
    append(&bench.path(), "one\n");
    std::fs::rename(bench.path(), &rotated).unwrap();
    append(&bench.path(), "three\n");
    std::thread::sleep(3 * POLL_INTERVAL);
    append(&rotated, "two\n");
    let mut lines: Vec<String> = bench.lines_until("two").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["one", "three", "two"]);
}

#[test]
fn copytruncate_starts_again() {
    let bench = Bench::new("", FollowFrom::End);
    append(&bench.path(), "a long first line\n");
    bench.lines_until("line");
    OpenOptions::new().write(true).truncate(true).open(bench.path()).unwrap();
    append(&bench.path(), "new\n");
    assert_eq!(bench.lines_until("new"), "new\n");
}

#[test]
fn an_interrupt_ends_it_after_a_last_look() {
    let bench = Bench::new("", FollowFrom::End);
    append(&bench.path(), "last\n");
    bench.interrupt.raise();
    assert_eq!(bench.lines_until("last"), "last\n");
    assert!(bench.receiver.recv_timeout(Duration::from_secs(5)).is_err());
}
