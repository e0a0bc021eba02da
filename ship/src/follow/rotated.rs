//! Files beside a log that were the log once: `access.log.1`, `access.log-20261120`, `access.log.2.gz`.
//!
//! In: the path of the log. Out: what lies beside it under such a name, oldest first, in a form that can be compared with
//! what is known. Promised: a name is believed only as far as digits follow the log's own name, so that `access.log.json`
//! is nobody's past; where the path is a link, what lies beside the file that it leads to counts as well, because that is what
//! is rotated (the kubelet makes `0.log.20261129-121212` of `0.log`). Not done: rotation into another folder.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use flate2::bufread::MultiGzDecoder;

use crate::position::{Content, HEAD_BYTES, Identity, Likeness, Position};

/// A file that may be known under another name.
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    /// On disk.
    pub(super) bytes: u64,
    pub(super) modified_ms: i64,
    file: File,
    gzip: bool,
}

/// What every gzip file begins with.
pub(super) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Links behind one another; the kernel itself follows 40.
const LINKS_MAX: usize = 40;

/// Everything beside `path`, or beside the file that it is a link to, that was rotated away from it, oldest first.
pub(super) fn candidates(path: &Path) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = beside(path);
    if let Some(target) = target(path) {
        found.extend(beside(&target));
    }
    found.sort_by_key(|candidate| candidate.modified_ms);
    let mut seen = HashSet::new();
    found.retain(|candidate| seen.insert((candidate.identity.device, candidate.identity.inode)));
    found
}

fn beside(path: &Path) -> Vec<Candidate> {
    let Some((folder, name)) = folder_and_name(path) else { return Vec::new() };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let rotated = entries.filter(|entry| entry.file_name().to_str().is_some_and(|other| is_rotated(name, other)));
    rotated.filter_map(|entry| Candidate::at(&entry.path()).ok()).collect()
}

fn folder_and_name(path: &Path) -> Option<(&Path, &str)> {
    let folder = path.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    folder.zip(path.file_name().and_then(|name| name.to_str()))
}

/// Where a link leads, also when there is nothing for a moment; `None`: the path is no link.
fn target(path: &Path) -> Option<PathBuf> {
    let beyond = |link: &PathBuf| Some(link.parent()?.join(std::fs::read_link(link).ok()?));
    std::iter::successors(Some(path.to_owned()), beyond).skip(1).take(LINKS_MAX).last()
}

/// Whether `other` lies beside `path` under a rotated name of it.
pub(super) fn is_rotated_from(path: &Path, other: &Path) -> bool {
    let names = folder_and_name(path).zip(folder_and_name(other));
    names.is_some_and(|((folder, name), (other_folder, other))| folder == other_folder && is_rotated(name, other))
}

fn is_rotated(name: &str, other: &str) -> bool {
    let plain = other.strip_suffix(".gz").unwrap_or(other);
    // `access.log` becomes `access.log.1`; some set the date before the ending: `access-20261120.log`.
    let suffix = plain.strip_prefix(name).or_else(|| {
        let (stem, ending) = name.rsplit_once('.')?;
        plain.strip_prefix(stem)?.strip_suffix(ending)?.strip_suffix('.')
    });
    let Some(suffix) = suffix else { return false };
    let Some(rest) = suffix.strip_prefix(['.', '-', '_']) else { return suffix.is_empty() && other.ends_with(".gz") };
    let mark = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_' | b'T' | b'Z' | b':');
    matches!(rest, "old" | "bak") || (rest.starts_with(|first: char| first.is_ascii_digit()) && rest.bytes().all(mark))
}

impl Candidate {
    pub(super) fn at(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(std::io::Error::other("is no regular file; it cannot be followed"));
        }
        let mut magic = [0; 2];
        let gzip = file.read_exact_at(&mut magic, 0).is_ok() && magic == GZIP_MAGIC;
        let modified_ms = metadata
            .modified()
            .ok()
            .and_then(|modified| modified.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_millis() as i64);
        let (identity, bytes) = (Identity::of(&metadata), metadata.len());
        Ok(Self { path: path.to_owned(), identity, bytes, modified_ms, file, gzip })
    }

    pub(super) fn is_younger_than(&self, instant_ms: i64) -> bool {
        self.identity
            .birth_ns
            .is_some_and(|birth_ns| i64::try_from(birth_ns / 1_000_000).is_ok_and(|ms| ms >= instant_ms))
    }

    pub(super) fn is_gzip(&self) -> bool {
        self.gzip
    }

    pub(super) fn into_file(self) -> File {
        self.file
    }

    /// The text inside, from its start.
    pub(super) fn inflated(self) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(MultiGzDecoder::new(BufReader::new(File::open(&self.path)?))))
    }

    pub(super) fn likeness(&mut self, position: &Position) -> Likeness {
        if self.gzip {
            let Ok(file) = File::open(&self.path) else { return Likeness::Different };
            let content = MultiGzDecoder::new(BufReader::new(file));
            return position.likeness(self.identity, &mut Inflated { content, at: 0, head: Vec::new() });
        }
        position.likeness(self.identity, &mut Plain(&self.file))
    }

    /// Whether it can be taken for the file of `position` without looking at others: by its number and its content, or,
    /// where the number is another (another mount, a restored disk), by a long and equal beginning.
    pub(super) fn is_surely(&self, likeness: Likeness, position: &Position) -> bool {
        match likeness {
            Likeness::Same => true,
            Likeness::Copy => usize::from(position.head.length) == HEAD_BYTES,
            Likeness::Different => false,
        }
    }

    /// A copy in the making, or a made one: equal as far as it goes.
    pub(super) fn begins_like(&mut self, position: &Position) -> bool {
        position.head.length > 0 && {
            let beginning = Position { offset: position.head.length.into(), tail: position.head, ..position.clone() };
            self.likeness(&beginning) != Likeness::Different
        }
    }

    /// Everything in it is the beginning of what was read up to `position`.
    pub(super) fn is_beginning_of(&mut self, position: &Position) -> bool {
        self.text_bytes().is_some_and(|bytes| bytes <= position.offset) && self.begins_like(position)
    }

    /// The first bytes of its text.
    pub(super) fn head(&mut self) -> Option<Vec<u8>> {
        let mut head = Vec::new();
        if self.gzip {
            let content = MultiGzDecoder::new(BufReader::new(File::open(&self.path).ok()?));
            content.take(HEAD_BYTES as u64).read_to_end(&mut head).ok()?;
        } else {
            head = Plain(&self.file).bytes(0, self.bytes.min(HEAD_BYTES as u64) as usize)?;
        }
        Some(head)
    }

    /// Whether everything in it lies before `position`.
    pub(super) fn holds_no_more_than(&self, position: &Position) -> bool {
        match self.gzip {
            true => self.text_bytes().is_some_and(|bytes| bytes == u64::from(position.offset as u32)),
            false => self.bytes <= position.offset,
        }
    }

    /// Of a compressed file the length of the text is written at its end, in 32 bits.
    fn text_bytes(&self) -> Option<u64> {
        if !self.gzip {
            return Some(self.bytes);
        }
        let mut length = [0; 4];
        self.file.read_exact_at(&mut length, self.bytes.saturating_sub(4)).ok()?;
        Some(u32::from_le_bytes(length).into())
    }
}

struct Plain<'a>(&'a File);

impl Content for Plain<'_> {
    fn bytes(&mut self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }
}

/// Reads forward only; the beginning is kept.
struct Inflated<R> {
    content: R,
    at: u64,
    head: Vec<u8>,
}

impl<R: Read> Content for Inflated<R> {
    fn bytes(&mut self, offset: u64, length: usize) -> Option<Vec<u8>> {
        if self.at == 0 {
            (&mut self.content).take(HEAD_BYTES as u64).read_to_end(&mut self.head).ok()?;
            self.at = self.head.len() as u64;
        }
        let end = offset + length as u64;
        if end <= self.head.len() as u64 {
            return Some(self.head[offset as usize..end as usize].to_vec());
        }
        let kept = self.head.get(offset as usize..).unwrap_or_default().to_vec();
        let skip = offset.saturating_sub(self.at);
        let skipped = std::io::copy(&mut (&mut self.content).take(skip), &mut std::io::sink()).ok()?;
        let mut bytes = kept;
        (&mut self.content).take((length - bytes.len()) as u64).read_to_end(&mut bytes).ok()?;
        self.at = end;
        (skipped == skip && bytes.len() == length).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_names_are_told_from_neighbours() {
        for name in [
            "access.log.1",
            "access.log.12.gz",
            "access.log-20261120",
            "access.log-20261120.gz",
            "access.log.gz",
            "access.log.2026-11-20T17:44",
            "access.log.old",
            "access-20261120.log",
            "access.1.log",
        ] {
            assert!(is_rotated("access.log", name), "{name}");
        }
        for name in [
            "access.log",
            "access.log.json",
            "access.log1",
            "access.logs.1",
            "error.log.1",
            "access-shop.log",
            "xaccess.log.1",
        ] {
            assert!(!is_rotated("access.log", name), "{name}");
        }
    }
}
