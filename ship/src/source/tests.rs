use std::io::Write as _;
use std::path::Path;

use super::*;

fn texts(messages: impl IntoIterator<Item = Message>) -> Vec<String> {
    messages
        .into_iter()
        .map(|message| match message {
            Message::Lines { text, .. } => String::from_utf8(text).unwrap(),
            Message::Oversized { head, .. } => format!("oversized {}", head.len()),
            other => format!("{other:?}"),
        })
        .collect()
}

fn read(path: &Path) -> Vec<String> {
    let input = Input { path: Some(path.to_owned()), service: "s".to_owned() };
    texts(start(vec![input]).unwrap())
}

#[test]
fn lines_are_never_split() {
    let mut splitter = Splitter::new(0);
    let mut messages = splitter.push(b"one\ntw");
    messages.extend(splitter.push(b"o"));
    messages.extend(splitter.push(b"\nthree"));
    messages.extend(splitter.finish());
    assert_eq!(texts(messages), ["one\n", "two\n", "three"]);
}

#[test]
fn an_oversized_line_is_announced_and_skipped() {
    let mut splitter = Splitter::new(0);
    let mut messages = splitter.push(b"a\n");
    messages.extend(splitter.push(&vec![b'x'; LINE_BYTES_MAX + 1]));
    messages.extend(splitter.push(b"xxx"));
    messages.extend(splitter.push(b"x\nb\n"));
    assert_eq!(texts(messages), ["a\n", "oversized 1024", "b\n"]);
}

#[test]
fn gzip_is_recognised_by_its_bytes_and_may_have_several_members() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let mut file = File::create(&path).unwrap();
    for part in ["one\ntwo\n", "three\n"] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(part.as_bytes()).unwrap();
        file.write_all(&encoder.finish().unwrap()).unwrap();
    }
    assert_eq!(read(&path).concat(), "one\ntwo\nthree\n");
}

#[test]
fn a_torn_gzip_gives_what_it_holds_and_then_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log.gz");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(b"one\ntwo\n").unwrap();
    let bytes = encoder.finish().unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 6]).unwrap();
    let messages = read(&path);
    assert_eq!(messages[0], "one\ntwo\n");
    assert!(messages[1].starts_with("Failed"), "{messages:?}");
}

#[test]
fn a_missing_file_is_a_message() {
    assert!(read(Path::new("/nonexistent/access.log"))[0].contains("No such file"));
}
