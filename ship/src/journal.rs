//! The journal: what must outlive a `kill -9` of the shipper.
//!
//! In: batches as they will be sent, each with the positions of the files behind its last line; answers. Out: after a
//! restart, the batches that have no answer yet, byte for byte, and where reading goes on. Promised:
//! - a batch and the positions behind it are one record: either both are known later or neither, so that no line is lost
//!   between them and none is read twice;
//! - what a sync of the [`Journal::handle`] has returned for is on the disk, and only such a batch may be sent. A record that a crash tore
//!   was therefore never sent, and is dropped;
//! - a write that fails, because the disk is full, leaves no half record behind: it can be tried again;
//! - the file stays small: it is written anew with what is alive when more than [`GARBAGE_BYTES_MAX`] of it is not, and, on a full
//!   disk, when more than half of it is not. A full disk keeps nobody from starting: the file is then gone on with as it is;
//! - one shipper uses a state folder at a time.
//!
//! Not done: holding what ingest cannot take for hours; the logs themselves do that.

mod record;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, bail};

use crate::parcel::{Identity, Parcel};
use crate::position::Position;
use record::Record;

pub(crate) struct Journal {
    folder: PathBuf,
    file: File,
    /// Held for the life of the process; the kernel lets go of it however that ends.
    _lock: File,
    bytes: u64,
    live: Live,
    /// A failed write has left bytes behind that could not be taken back: nothing may follow them.
    torn: bool,
    /// Why the start could not write it anew, where the disk was full.
    postponed: Option<String>,
}

/// What a restart would need.
#[derive(Default)]
struct Live {
    paths: BTreeMap<String, PathState>,
    /// In the order in which they were made.
    unanswered: Vec<Parcel>,
}

/// What is known of a path that is followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PathState {
    /// A rotated file that was last written before this is none that still has to be read, in Unix milliseconds.
    pub(crate) since_ms: i64,
    /// Oldest first.
    pub(crate) files: Vec<Position>,
}

/// Files remembered per path; a daily rotation that keeps a year of files fits.
const FILES_MAX: usize = 400;

/// Written anew when this much of it is no longer needed: a second of full speed.
const GARBAGE_BYTES_MAX: u64 = 16 << 20;

/// A journal of positions alone; to write that anew frees nothing.
const SMALL_BYTES: u64 = 8 << 10;

const NAME: &str = "journal";

impl Journal {
    /// Opens the state folder, or makes it.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let name = folder.display();
        std::fs::create_dir_all(folder).with_context(|| format!("make the state folder {name}"))?;
        let lock = OpenOptions::new().create(true).append(true).open(folder.join("lock"));
        let lock = lock.with_context(|| format!("open the state folder {name}"))?;
        if lock.try_lock().is_err() {
            bail!("another peep ship uses the state folder {name}; give each its own with --state");
        }
        let path = folder.join(NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let (live, whole) = Live::restore(&bytes).with_context(|| {
            format!(
                "read {}; if the disk is sound, move the file away to start anew at the end of the logs",
                path.display()
            )
        })?;
        let (folder, file) = (folder.to_owned(), lock.try_clone()?);
        let mut journal = Self { folder, file, _lock: lock, bytes: 0, live, torn: false, postponed: None };
        // Whatever a crash left at the end is gone with this.
        match journal.rewrite() {
            Err(error) if is_full(&error) => {
                journal.go_on(whole).context("open the journal")?;
                journal.postponed = Some(format!("{error:#}"));
            }
            other => other?,
        }
        Ok(journal)
    }

    /// Goes on behind the last whole record of the file that is there, without what a crash left at its end.
    fn go_on(&mut self, whole: usize) -> std::io::Result<()> {
        self.file = OpenOptions::new().create(true).write(true).truncate(false).open(self.folder.join(NAME))?;
        self.bytes = whole as u64;
        self.take_back()
    }

    /// Why the disk has to be looked after, though nothing had to be written yet.
    pub(crate) fn postponed(&mut self) -> Option<String> {
        self.postponed.take()
    }

    /// When the run before wrote to the journal of this folder.
    pub(crate) fn last_written_ms(folder: &Path) -> Option<i64> {
        let modified = std::fs::metadata(folder.join(NAME)).and_then(|metadata| metadata.modified()).ok()?;
        i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
    }

    pub(crate) fn paths(&self) -> &BTreeMap<String, PathState> {
        &self.live.paths
    }

    pub(crate) fn unanswered(&self) -> &[Parcel] {
        &self.live.unanswered
    }

    pub(crate) fn unanswered_events(&self) -> u64 {
        self.live.unanswered.iter().map(|parcel| u64::from(parcel.events)).sum()
    }

    /// Remembers a batch and the positions behind it; durable after the next sync of the [`Journal::handle`].
    pub(crate) fn append(&mut self, parcel: &Parcel, positions: &[Position]) -> anyhow::Result<()> {
        self.write(Record::Batch { parcel: parcel.clone(), positions: positions.to_vec() })
    }

    /// Remembers where reading a path begins.
    pub(crate) fn stand(&mut self, path: &str, since_ms: i64, positions: &[Position]) -> anyhow::Result<()> {
        self.write(Record::Standing { path: path.to_owned(), since_ms, positions: positions.to_vec() })
    }

    /// Remembers how far files are read, where no batch does.
    pub(crate) fn reached(&mut self, positions: &[Position]) -> anyhow::Result<()> {
        if positions.is_empty() { Ok(()) } else { self.write(Record::Reached { positions: positions.to_vec() }) }
    }

    /// A path that is gone, with all of its files.
    pub(crate) fn forget(&mut self, path: &str) -> anyhow::Result<()> {
        self.write(Record::Gone { path: path.to_owned() })
    }

    /// The batch has its answer. Need not be durable: sent again, it is recognised as a duplicate. So a full disk is no
    /// trouble here, nor for writing anew, which can wait.
    pub(crate) fn answered(&mut self, identity: Identity) -> anyhow::Result<()> {
        match self.write(Record::Answered(identity)) {
            Err(error) if is_full(&error) => self.live.apply(Record::Answered(identity)),
            other => other?,
        }
        if self.bytes <= self.live_bytes() + GARBAGE_BYTES_MAX {
            return Ok(());
        }
        match self.rewrite() {
            Err(error) if is_full(&error) => Ok(()),
            other => other,
        }
    }

    /// Of the batches, which are nearly all of it.
    fn live_bytes(&self) -> u64 {
        self.live.unanswered.iter().map(|parcel| parcel.bytes.len() as u64).sum()
    }

    /// The file, to wait for the disk without holding up the answers. Should it be written anew meanwhile, that waits itself.
    pub(crate) fn handle(&self) -> anyhow::Result<File> {
        self.file.try_clone().context("write the journal to disk")
    }

    /// Keeps a batch that ingest refused as a whole, for a person to look at.
    pub(crate) fn set_aside(&self, parcel: &Parcel) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join("refused");
        std::fs::create_dir_all(&folder).context("make the folder for refused batches")?;
        let path = folder.join(format!("{}-{}.ndjson", parcel.identity.producer, parcel.identity.seq));
        let mut file = File::create(&path).context("keep a refused batch")?;
        file.write_all(&parcel.unpacked()).and_then(|()| file.sync_all()).context("keep a refused batch")?;
        Ok(path)
    }

    fn write(&mut self, record: Record) -> anyhow::Result<()> {
        if self.torn {
            bail!("the journal could not be written, nor mended");
        }
        let bytes = record.encode();
        match self.put(&bytes) {
            // What fills the disk may be the journal itself, with batches that have their answer.
            Err(error) if is_full(&error) && self.bytes > 2 * self.live_bytes() + SMALL_BYTES => {
                self.rewrite()?;
                self.put(&bytes)?;
            }
            other => other?,
        }
        self.live.apply(record);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            self.torn = self.take_back().is_err();
            return Err(error).context("write to the journal");
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Half a record at the end is a torn end only as long as nothing follows.
    fn take_back(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.bytes)?;
        self.file.seek(SeekFrom::Start(self.bytes)).map(drop)
    }

    /// A new file with what is alive takes the place of the old one, at once.
    fn rewrite(&mut self) -> anyhow::Result<()> {
        let (path, fresh) = (self.folder.join(NAME), self.folder.join("journal.new"));
        let mut file = File::create(&fresh).context("write the journal anew")?;
        let bytes: Vec<u8> = self.live.records().flat_map(|record| record.encode()).collect();
        if let Err(error) = file.write_all(&bytes).and_then(|()| file.sync_all()) {
            // Where the disk is full, this is room for the old one to go on.
            let _ = std::fs::remove_file(&fresh);
            return Err(error).context("write the journal anew");
        }
        std::fs::rename(&fresh, &path).context("put the new journal in place")?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).context("put the new journal in place")?;
        self.file = file;
        self.bytes = bytes.len() as u64;
        self.torn = false;
        Ok(())
    }
}

/// There is no room on the disk, which may change: nobody need give up.
pub(crate) fn is_full(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    matches!(kind, Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge))
}

impl Live {
    /// What the records say, and how many bytes they are.
    fn restore(mut bytes: &[u8]) -> anyhow::Result<(Self, usize)> {
        let (mut live, all) = (Self::default(), bytes.len());
        while !bytes.is_empty() {
            match Record::decode(bytes) {
                Some((record, length)) => {
                    live.apply(record);
                    bytes = &bytes[length..];
                }
                // The end that a crash tore. A good record behind a bad one is no torn end: the disk lost something.
                None if record::follows(&bytes[1..]) => bail!("the journal is damaged in its middle"),
                None => break,
            }
        }
        Ok((live, all - bytes.len()))
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Batch { parcel, positions } => {
                self.unanswered.push(parcel);
                positions.into_iter().for_each(|position| self.place(position));
            }
            Record::Standing { path, since_ms, positions } => {
                self.paths.entry(path).or_default().since_ms = since_ms;
                positions.into_iter().for_each(|position| self.place(position));
            }
            Record::Reached { positions } => positions.into_iter().for_each(|position| self.place(position)),
            Record::Gone { path } => {
                self.paths.remove(&path);
            }
            Record::Answered(identity) => self.unanswered.retain(|parcel| parcel.identity != identity),
        }
    }

    fn place(&mut self, position: Position) {
        let files = &mut self.paths.entry(position.path.clone()).or_default().files;
        match files.iter_mut().find(|known| known.id == position.id) {
            Some(known) => *known = position,
            None => {
                files.push(position);
                if files.len() > FILES_MAX {
                    files.remove(0);
                }
            }
        }
    }

    fn records(&self) -> impl Iterator<Item = Record> {
        let standing = self.paths.iter().map(|(path, state)| Record::Standing {
            path: path.clone(),
            since_ms: state.since_ms,
            positions: state.files.clone(),
        });
        let batches =
            self.unanswered.iter().map(|parcel| Record::Batch { parcel: parcel.clone(), positions: Vec::new() });
        standing.chain(batches)
    }
}

#[cfg(test)]
mod tests;
