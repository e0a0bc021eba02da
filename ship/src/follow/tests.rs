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
    /// To people.
    said: Vec<String>,
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
        Self { folder, known: BTreeMap::new(), run: None, said: Vec::new() }
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

    /// Follows whatever is called like this in the folder.
    fn start_pattern(&mut self, from: FollowFrom, pattern: &str) {
        let glob = Glob::new(&format!("{}/{pattern}", self.folder.path().display())).unwrap();
        self.start_with(from, Vec::new(), vec![glob]);
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
            Message::Closed { path, .. } => {
                self.known.remove(&path);
            }
            Message::Note(text) | Message::Failed(text) => self.said.push(text),
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

    fn said(&self, what: &str) -> usize {
        self.said.iter().filter(|text| text.contains(what)).count()
    }

    fn compress(&self, from: &str, to: &str) {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&std::fs::read(self.path(from)).unwrap()).unwrap();
        std::fs::write(self.path(to), encoder.finish().unwrap()).unwrap();
        std::fs::remove_file(self.path(from)).unwrap();
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
    let mut bench = Bench::started("", FollowFrom::End);
    bench.append("", "one\n");
    bench.expect(&["one"]);
    bench.stop();
    bench.append("", "two\n");
    bench.compress("", ".2.gz");
    bench.append("", "three\n");
    bench.compress("", ".1.gz");
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
    bench.start_pattern(FollowFrom::End, "*.log");
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

/// Longer than every interval at which something is looked at again.
fn a_while() {
    std::thread::sleep(LOOK_AGAIN_AFTER + SEARCH_INTERVAL / 2);
}

/// Long lines, so that a few are all that is remembered of a beginning.
fn lines(tag: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{tag} {number} {}", "x".repeat(300))).collect()
}

fn expect_all(bench: &mut Bench, expected: &[String]) {
    bench.expect(&expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_named_gzip_file_is_refused_once_and_not_read() {
    let mut bench = Bench::new("old\n");
    bench.append(".old", "long ago\n");
    bench.compress(".old", ".named.gz");
    let input = |suffix| Input { path: Some(bench.path(suffix)), service: "s".to_owned() };
    let inputs = vec![input(""), input(".named.gz")];
    bench.start_with(FollowFrom::End, inputs, Vec::new());
    a_while();
    bench.append("", "one\n");
    bench.expect(&["one"]);
    bench.stop();
    assert_eq!(bench.said("a gzip file does not grow"), 1);
}

#[test]
fn files_that_a_pattern_matches_may_be_compressed() {
    let mut bench = Bench::new("");
    bench.start_pattern(FollowFrom::End, "*");
    bench.append("", "one\n");
    bench.expect(&["one"]);
    bench.rename("", ".1");
    bench.append("", "two\n");
    bench.expect(&["two"]);
    bench.compress(".1", ".1.gz");
    // Another one, which is found while nothing is in it yet.
    std::fs::write(bench.path(".upload"), "").unwrap();
    a_while();
    bench.append(".new", "of somebody else\n");
    std::thread::sleep(Duration::from_millis(50));
    bench.compress(".new", ".upload");
    a_while();
    let text = bench.run.as_ref().unwrap().receiver.try_iter().collect::<Vec<_>>();
    let text: String = text.into_iter().map(|message| bench.remember(message)).collect();
    assert!(text.is_empty() || text == "of somebody else\n", "{text}");
    bench.stop();
    assert_eq!(bench.said("a gzip file does not grow"), 1, "{:?}", bench.said);
}

#[test]
fn a_pattern_may_match_rotated_names() {
    let mut bench = Bench::new("");
    bench.append(".1", "old\n");
    bench.start_pattern(FollowFrom::End, "access.log*");
    bench.append("", "one\n");
    bench.expect(&["one"]);
    for round in ["two", "three"] {
        bench.rename(".1", ".2");
        bench.rename("", ".1");
        bench.append("", &format!("{round}\n"));
        bench.expect(&[round]);
        bench.append(".1", &format!("{round} late\n"));
        bench.expect(&[&format!("{round} late")]);
        a_while();
    }
    bench.stop();
    bench.append("", "four\n");
    bench.rename(".1", ".2");
    bench.rename("", ".1");
    bench.append("", "five\n");
    bench.start_pattern(FollowFrom::Start, "access.log*");
    bench.expect(&["four", "five"]);
    a_while();
    bench.stop();
}

#[test]
fn a_copy_that_a_pattern_matches_is_no_new_file() {
    let mut bench = Bench::new("");
    bench.start_pattern(FollowFrom::End, "access.log*");
    let before = lines("before", 10);
    bench.append("", &format!("{}\n", before.join("\n")));
    expect_all(&mut bench, &before);
    std::fs::copy(bench.path(""), bench.path(".1")).unwrap();
    a_while();
    bench.truncate();
    bench.append("", "after\n");
    bench.expect(&["after"]);
    a_while();
    bench.stop();
    bench.start_pattern(FollowFrom::Start, "access.log*");
    a_while();
    bench.stop();
}

#[test]
fn a_file_that_gets_another_matching_name_is_taken_over() {
    let bench = Bench::new("");
    let glob = Glob::new(&format!("{}/*.log", bench.folder.path().display())).unwrap();
    let (sender, receiver) = sync_channel(1000);
    let numbers = Arc::new(AtomicUsize::new(0));
    let (known, from) = (BTreeMap::new(), FollowFrom::End);
    let plan =
        Plan { inputs: Vec::new(), patterns: vec![glob], service: None, from, known, last_run_ms: None, numbers };
    let mut follower = Follower::new(plan, sender);
    let look = |follower: &mut Follower| {
        follower.search().unwrap();
        follower.poll().unwrap();
        let text = receiver.try_iter().filter_map(|message| match message {
            Message::Lines { text, .. } => Some(String::from_utf8(text).unwrap()),
            _ => None,
        });
        text.collect::<String>()
    };
    look(&mut follower);
    bench.append("", "one\n");
    assert_eq!(look(&mut follower), "one\n");
    let renamed = bench.folder.path().join("shop-old.log");
    std::fs::rename(bench.path(""), &renamed).unwrap();
    assert_eq!(look(&mut follower), "");
    // A minute later the first name is given up.
    let old = follower.reader.others.get_mut(&bench.path("")).unwrap();
    old.missing_since = Instant::now().checked_sub(GONE_AFTER * 2);
    assert!(!old.is_gone(), "somebody may still write to it");
    old.grew = Instant::now().checked_sub(GONE_AFTER * 2).unwrap();
    assert!(old.is_gone());
    assert_eq!(look(&mut follower), "");
    assert!(!follower.reader.others.contains_key(&bench.path("")));
    OpenOptions::new().append(true).open(renamed).unwrap().write_all(b"two\n").unwrap();
    assert_eq!(look(&mut follower), "two\n");
}

#[test]
fn a_deleted_log_that_a_pattern_found_is_kept_while_it_grows() {
    let bench = Bench::new("one\n");
    let plan = Plan {
        inputs: Vec::new(),
        patterns: Vec::new(),
        service: None,
        from: FollowFrom::Start,
        known: BTreeMap::new(),
        last_run_ms: None,
        numbers: Arc::new(AtomicUsize::new(0)),
    };
    let (sender, _receiver) = sync_channel(1000);
    let mut file = Followed::new(0, bench.path(""), true, FollowFrom::Start, &plan);
    let mut reader = Follower::new(plan, sender).reader;
    file.poll(&mut reader).unwrap();
    let mut writer = OpenOptions::new().append(true).open(bench.path("")).unwrap();
    std::fs::remove_file(bench.path("")).unwrap();
    let long_ago = Instant::now().checked_sub(GONE_AFTER * 2).unwrap();
    (file.missing_since, file.grew) = (Some(long_ago), long_ago);
    assert!(file.is_gone());
    writer.write_all(b"two\n").unwrap();
    file.poll(&mut reader).unwrap();
    assert!(!file.is_gone());
}

#[test]
fn a_log_and_a_link_to_it_are_one_file() {
    let mut bench = Bench::new("");
    std::os::unix::fs::symlink(bench.path(""), bench.folder.path().join("latest.log")).unwrap();
    bench.start_pattern(FollowFrom::End, "*.log");
    bench.append("", "one\n");
    bench.expect(&["one"]);
    a_while();
    bench.stop();
    bench.append("", "two\n");
    bench.start_pattern(FollowFrom::End, "*.log");
    bench.expect(&["two"]);
    a_while();
    bench.stop();
}

#[test]
fn a_copy_of_what_was_read_is_not_read_again() {
    for (before, after) in [(lines("before", 50), lines("after", 50)), (lines("before", 1), lines("after", 1))] {
        let mut bench = Bench::started("", FollowFrom::End);
        bench.append("", &format!("{}\n", before.join("\n")));
        std::fs::copy(bench.path(""), bench.path(".bak")).unwrap();
        bench.append("", &format!("{}\n", after.join("\n")));
        expect_all(&mut bench, &[before, after].concat());
        bench.rename("", ".1");
        bench.append("", "new\n");
        bench.expect(&["new"]);
        bench.stop();
        bench.rename(".1", ".2");
        bench.rename("", ".1");
        bench.append("", "newer\n");
        bench.start(FollowFrom::End);
        bench.expect(&["newer"]);
        bench.stop();
        assert_eq!(bench.said("rotated while nobody looked"), 0);
    }
}

#[test]
fn what_is_rotated_beside_the_target_of_a_link_is_found() {
    let mut bench = Bench::new("");
    let (pods, links) = (bench.folder.path().join("pods"), bench.folder.path().join("containers"));
    std::fs::create_dir(&pods).unwrap();
    std::fs::create_dir(&links).unwrap();
    let target = pods.join("0.log");
    let append = |text: &str| {
        let file = OpenOptions::new().append(true).create(true).open(&target);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    };
    append("");
    std::os::unix::fs::symlink("../pods/0.log", links.join("web.log")).unwrap();
    bench.start_pattern(FollowFrom::End, "containers/*.log");
    append("one\n");
    bench.expect(&["one"]);
    bench.stop();
    append("two\n");
    std::fs::rename(&target, pods.join("0.log.20261129-121212")).unwrap();
    append("three\n");
    std::fs::rename(&target, pods.join("0.log.20261129-131313")).unwrap();
    append("four\n");
    bench.start_pattern(FollowFrom::End, "containers/*.log");
    bench.expect(&["two", "three", "four"]);
    bench.stop();
}

#[test]
fn a_file_that_cannot_be_read_at_first_begins_where_its_end_was() {
    // What stands in the way here is a folder; where it is the rights, the file itself is there all the time.
    let mut bench = Bench::new("other\n");
    std::fs::create_dir(bench.path(".named")).unwrap();
    let input = |suffix| Input { path: Some(bench.path(suffix)), service: "s".to_owned() };
    let inputs = vec![input(""), input(".named")];
    bench.start_with(FollowFrom::End, inputs, Vec::new());
    std::thread::sleep(POLL_INTERVAL * 3);
    std::fs::remove_dir(bench.path(".named")).unwrap();
    bench.append(".made", "one\n");
    bench.rename(".made", ".named");
    bench.expect(&["one"]);
    bench.stop();
}

#[test]
fn lines_that_came_before_a_file_could_be_read_are_not_skipped() {
    let bench = Bench::new("old\n");
    let (sender, receiver) = sync_channel(1000);
    let input = Input { path: Some(bench.path("")), service: "s".to_owned() };
    let plan = Plan {
        inputs: vec![input],
        patterns: Vec::new(),
        service: None,
        from: FollowFrom::End,
        known: BTreeMap::new(),
        last_run_ms: None,
        numbers: Arc::new(AtomicUsize::new(1)),
    };
    let mut follower = Follower::new(plan, sender);
    let identity = Identity::of(&std::fs::metadata(bench.path("")).unwrap());
    // As the first look leaves it that may not read: nobody can take the right from root, as which tests may run.
    follower.reader.others.get_mut(&bench.path("")).unwrap().unread = Some((identity, 4));
    bench.append("", "one\n");
    follower.poll().unwrap();
    let texts = receiver.try_iter().filter_map(|message| match message {
        Message::Lines { text, .. } => Some(text),
        _ => None,
    });
    assert_eq!(texts.collect::<Vec<_>>(), [b"one\n"]);
}

#[test]
fn a_pattern_that_matches_nothing_says_so_once() {
    let mut bench = Bench::new("");
    let globs = ["*.log", "*.nothing"].map(|name| Glob::new(&format!("{}/{name}", bench.folder.path().display())));
    bench.start_with(FollowFrom::End, Vec::new(), globs.map(Option::unwrap).to_vec());
    a_while();
    bench.stop();
    assert_eq!((bench.said("no file has such a name yet"), bench.said("*.nothing")), (1, 1));
}
