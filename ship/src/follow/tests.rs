use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::mpsc::{Receiver, sync_channel};

use super::*;
use crate::position::Mark;
use crate::source::CHUNKS;

/// A folder with a log, and a shipper that may be stopped and started again.
struct Bench {
    folder: tempfile::TempDir,
    known: BTreeMap<String, PathState>,
    run: Option<Run>,
}

/// What comes out between a start and a stop.
struct Run {
    receiver: Receiver<Message>,
    interrupt: Interrupt,
}

impl Bench {
    fn new(content: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("access.log"), content).unwrap();
        Self { folder, known: BTreeMap::new(), run: None }
    }

    fn started(content: &str, from: FollowFrom) -> Self {
        let mut bench = Self::new(content);
        bench.start(from);
        bench
    }

    fn start(&mut self, from: FollowFrom) {
        let input = Input { path: Some(self.path("")), service: "s".to_owned() };
        self.start_with(from, vec![input], Vec::new());
    }

    fn start_with(&mut self, from: FollowFrom, inputs: Vec<Input>, patterns: Vec<Glob>) {
        let (sender, receiver) = sync_channel(CHUNKS);
        let interrupt = Interrupt::default();
        let numbers = Arc::new(AtomicUsize::new(inputs.len()));
        let known = self.known.clone();
        let plan = Plan { inputs, patterns, service: None, from, known, last_run_ms: None, numbers };
        let raised = interrupt.clone();
        std::thread::spawn(move || run(plan, &sender, &raised));
        // The first look is over when it says where it stands.
        loop {
            let message = receiver.recv_timeout(Duration::from_secs(10)).unwrap();
            let standing = matches!(message, Message::Standing { .. });
            self.remember(message);
            if standing {
                break;
            }
        }
        self.run = Some(Run { receiver, interrupt });
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("access.log{suffix}"))
    }

    fn append(&self, suffix: &str, text: &str) {
        let file = OpenOptions::new().append(true).create(true).open(self.path(suffix));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn truncate(&self) {
        OpenOptions::new().write(true).truncate(true).open(self.path("")).unwrap();
    }

    /// Keeps what the journal would, and returns the lines.
    fn remember(&mut self, message: Message) -> String {
        match message {
            Message::Standing { path, since_ms, positions } => {
                self.known.entry(path).or_default().since_ms = since_ms;
                positions.into_iter().for_each(|position| self.place(position));
            }
            Message::Lines { text, place, .. } => {
                self.place(place.unwrap().behind(&text));
                return String::from_utf8(text).unwrap();
            }
            _ => {}
        }
        String::new()
    }

    fn place(&mut self, position: Position) {
        let files = &mut self.known.entry(position.path.clone()).or_default().files;
        files.retain(|known| known.id != position.id);
        files.push(position);
        files.sort_by_key(|known| known.id);
    }

    /// The lines, sorted, once there are as many as expected. Files come in any order; lines of a file do not.
    fn expect(&mut self, expected: &[&str]) {
        let mut lines: Vec<String> = Vec::new();
        while lines.len() < expected.len() {
            let receiver = &self.run.as_ref().unwrap().receiver;
            let message = receiver.recv_timeout(Duration::from_secs(30));
            let message = message.unwrap_or_else(|error| panic!("{error}; expected {expected:?}, got {lines:?}"));
            lines.extend(self.remember(message).lines().map(str::to_owned));
        }
        lines.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }

    /// Ends it; nothing that was not expected may have come.
    fn stop(&mut self) {
        let run = self.run.take().unwrap();
        run.interrupt.raise();
        while let Ok(message) = run.receiver.recv_timeout(Duration::from_secs(10)) {
            let text = self.remember(message);
            assert_eq!(text, "", "these lines were not expected");
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(run) = &self.run {
            run.interrupt.raise();
        }
    }
}

#[test]
fn only_new_and_only_whole_lines_come() {
    let mut bench = Bench::started("old\n", FollowFrom::End);
    bench.append("", "one\ntw");
    bench.expect(&["one"]);
    bench.append("", "o\n");
    bench.expect(&["two"]);
    bench.stop();
}

#[test]
fn the_rest_of_a_line_that_was_begun_before_is_no_line() {
    let mut bench = Bench::started("old\nbeg", FollowFrom::End);
    bench.append("", "un\nnew\n");
    bench.expect(&["new"]);
}

#[test]
fn from_the_start_everything_comes() {
    Bench::started("old\n", FollowFrom::Start).expect(&["old"]);
}

#[test]
fn rotation_by_rename_loses_nothing_written_to_either_file() {
    let mut bench = Bench::started("", FollowFrom::End);
    bench.append("", "one\n");
    bench.rename("", ".1");
    bench.append("", "three\n");
    bench.expect(&["one", "three"]);
    bench.append(".1", "two\n");
    bench.expect(&["two"]);
    bench.stop();
}

#[test]
fn copytruncate_starts_again() {
    let mut bench = Bench::started("", FollowFrom::End);
    bench.append("", "a long first line\n");
    bench.expect(&["a long first line"]);
    bench.truncate();
    bench.append("", "new\n");
    bench.expect(&["new"]);
    bench.stop();
}

#[test]
fn a_truncated_file_that_has_outgrown_its_old_length_is_noticed_by_its_bytes() {
    let mut bench = Bench::started("", FollowFrom::End);
    bench.append("", "old\n");
    bench.expect(&["old"]);
    // In one step, so that no look falls in between.
    std::fs::write(bench.path(".new"), "a new and longer line\nand another\n").unwrap();
    std::fs::copy(bench.path(".new"), bench.path("")).unwrap();
    bench.expect(&["a new and longer line", "and another"]);
    bench.stop();
}

#[test]
fn a_deleted_file_is_read_to_its_end() {
    let mut bench = Bench::started("", FollowFrom::End);
    let mut file = OpenOptions::new().append(true).open(bench.path("")).unwrap();
    std::fs::remove_file(bench.path("")).unwrap();
    file.write_all(b"written after\n").unwrap();
    bench.expect(&["written after"]);
    bench.append("", "a new file\n");
    bench.expect(&["a new file"]);
    bench.stop();
}

#[test]
fn a_restart_goes_on_where_it_stood() {
    let mut bench = Bench::started("old\n", FollowFrom::End);
    bench.append("", "one\n");
    bench.expect(&["one"]);
    bench.stop();
    bench.append("", "two\n");
    bench.start(FollowFrom::End);
    bench.expect(&["two"]);
    bench.stop();
}

#[test]
fn what_was_written_before_the_first_line_was_read_is_not_lost_by_a_restart() {
    let mut bench = Bench::started("old\n", FollowFrom::End);
    bench.stop();
    bench.append("", "one\n");
    bench.start(FollowFrom::End);
    bench.expect(&["one"]);
}

#[test]
fn rotations_while_it_was_stopped_lose_and_double_nothing() {
    let mut bench = Bench::started("", FollowFrom::End);
    bench.append("", "one\n");
    bench.expect(&["one"]);
    bench.stop();
    bench.append("", "two\n");
    bench.rename("", ".1");
    bench.append("", "three\n");
    bench.rename(".1", ".2");
    bench.rename("", ".1");
    bench.append("", "four\n");
    bench.start(FollowFrom::End);
    bench.expect(&["two", "three", "four"]);
    bench.stop();
    bench.start(FollowFrom::End);
    bench.stop();
}

#[test]
fn a_copy_holds_what_was_not_read_before_the_truncation() {
    let mut bench = Bench::started("", FollowFrom::End);
    bench.append("", "one\n");
    bench.expect(&["one"]);
    bench.stop();
    bench.append("", "two\n");
    std::fs::copy(bench.path(""), bench.path(".1")).unwrap();
    bench.truncate();
    bench.append("", "three, longer than all before\n");
    bench.start(FollowFrom::End);
    bench.expect(&["two", "three, longer than all before"]);
    // The copy grows old, is renamed as every rotation does, and is not read again.
    bench.rename(".1", ".2");
    bench.rename("", ".1");
    bench.append("", "four\n");
    bench.expect(&["four"]);
    bench.stop();
    bench.start(FollowFrom::End);
    bench.stop();
}

#[test]
fn compressed_files_are_known_by_what_is_in_them() {
    let compress = |bench: &Bench, from: &str, to: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&std::fs::read(bench.path(from)).unwrap()).unwrap();
        std::fs::write(bench.path(to), encoder.finish().unwrap()).unwrap();
        std::fs::remove_file(bench.path(from)).unwrap();
    };
    let mut bench = Bench::started("", FollowFrom::End);
    bench.append("", "one\n");
    bench.expect(&["one"]);
    bench.stop();
    bench.append("", "two\n");
    compress(&bench, "", ".2.gz");
    bench.append("", "three\n");
    compress(&bench, "", ".1.gz");
    bench.append("", "four\n");
    bench.start(FollowFrom::End);
    bench.expect(&["two", "three", "four"]);
    bench.stop();
    bench.start(FollowFrom::End);
    bench.stop();
}

#[test]
fn a_recycled_inode_is_another_file() {
    let mut bench = Bench::started("", FollowFrom::End);
    bench.append("", "one\n");
    bench.expect(&["one"]);
    bench.stop();
    // The same number, but not the same bytes: what a file system does that gives inodes away again at once.
    std::fs::write(bench.path(".new"), "different, and longer\n").unwrap();
    std::fs::copy(bench.path(".new"), bench.path("")).unwrap();
    bench.start(FollowFrom::End);
    bench.expect(&["different, and longer"]);
}

#[test]
fn old_files_beside_a_log_are_left_alone() {
    let mut bench = Bench::new("now\n");
    bench.append(".1", "long ago\n");
    std::thread::sleep(Duration::from_millis(20));
    bench.start(FollowFrom::Start);
    bench.expect(&["now"]);
    bench.rename(".1", ".2");
    bench.rename("", ".1");
    bench.append("", "new\n");
    bench.expect(&["new"]);
    bench.stop();
}

#[test]
fn a_pattern_finds_files_that_come_later() {
    let mut bench = Bench::new("there before\n");
    let glob = Glob::new(&format!("{}/*.log", bench.folder.path().display())).unwrap();
    bench.start_with(FollowFrom::End, Vec::new(), vec![glob]);
    std::fs::write(bench.folder.path().join("shop.access.log"), "new\n").unwrap();
    bench.append("", "appended\n");
    bench.expect(&["new", "appended"]);
    bench.stop();
}

#[test]
fn an_interrupt_ends_it_after_a_last_look() {
    let mut bench = Bench::started("", FollowFrom::End);
    bench.append("", "last\n");
    bench.run.as_ref().unwrap().interrupt.raise();
    bench.expect(&["last"]);
    assert!(bench.run.as_ref().unwrap().receiver.recv_timeout(Duration::from_secs(10)).is_err());
}

#[test]
fn a_place_says_where_the_last_line_ends() {
    let identity = Identity { device: 1, inode: 2, birth_ns: None };
    let facts = crate::source::FileFacts { id: 3, path: "p".to_owned(), identity, head: Mark::default() };
    let place = crate::source::Place { file: Arc::new(facts), start: 10 };
    let position = place.behind(b"one\ntwo\n");
    assert_eq!((position.offset, position.tail), (18, Mark::of(b"two\n")));
    assert_eq!(place.behind(b"").offset, 10);
}
