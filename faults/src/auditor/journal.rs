//! The auditor's journal: what it was about to send, and what it was told.
//!
//! Arrives: intents and outcomes, one line each. Leaves: the same, on disk, before the caller goes on: an intent is synced
//! before the first byte of its batch is sent, so that whatever becomes of the auditor, nothing was sent that the journal
//! does not know. Writers share one sync.
//!
//! Does not: decide anything. [`read`] takes the file and nothing else, so a verdict can be repeated from the file alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context, bail};
use tokio::sync::oneshot;

use super::batch::Batch;

/// What a client knows about its batch in the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// A 202: must be counted, once.
    Acked,
    /// An answer that says "never", and no attempt that may have come through: must not be counted.
    Final,
    /// Given up without an answer: may be counted, once.
    Unknown,
}

/// One batch as the journal has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// `Unknown` while there is only the intent.
    pub outcome: Outcome,
    /// How many sends of it were answered 202.
    pub acks: u32,
}

/// All of them, in order.
pub type Entries = BTreeMap<Batch, Entry>;

/// Where tasks write. Cheap to clone; the file is closed when the last clone goes.
#[derive(Clone)]
pub struct Journal {
    lines: SyncSender<Line>,
}

struct Line {
    text: String,
    synced: oneshot::Sender<io::Result<()>>,
}

impl Journal {
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create_new(path).with_context(|| format!("create the journal {}", path.display()))?;
        let (lines, queue) = sync_channel(QUEUE_LINES_MAX);
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || keep(file, &queue))?;
        Ok(Self { lines })
    }

    pub async fn intent(&self, batch: Batch) -> anyhow::Result<()> {
        self.write(format!("> {} {}\n", batch.producer, batch.seq)).await
    }

    pub async fn outcome(&self, batch: Batch, entry: Entry) -> anyhow::Result<()> {
        self.write(format!("< {} {} {} {}\n", batch.producer, batch.seq, entry.outcome.word(), entry.acks)).await
    }

    async fn write(&self, text: String) -> anyhow::Result<()> {
        let (synced, done) = oneshot::channel();
        let lines = self.lines.clone();
        // The queue is full only while the disk stalls; the runtime's threads must not wait for it.
        match lines.try_send(Line { text, synced }) {
            Ok(()) => {}
            Err(std::sync::mpsc::TrySendError::Full(line)) => {
                tokio::task::spawn_blocking(move || lines.send(line)).await?.context("the journal has ended")?;
            }
            Err(std::sync::mpsc::TrySendError::Disconnected(_)) => bail!("the journal has ended"),
        }
        done.await.context("the journal has ended")?.context("write the journal")
    }
}

/// Group commit: whatever waits is written together and synced once.
fn keep(mut file: File, queue: &Receiver<Line>) {
    while let Ok(first) = queue.recv() {
        let mut group = vec![first];
        group.extend(queue.try_iter().take(QUEUE_LINES_MAX));
        let text: String = group.iter().map(|line| line.text.as_str()).collect();
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        for line in group {
            let result = written.as_ref().copied().map_err(|error| io::Error::new(error.kind(), error.to_string()));
            // The writer may have been dropped; the line stands all the same.
            let _ = line.synced.send(result);
        }
    }
}

/// Reads a journal back. A last line that was cut off is a line that nobody acted upon.
pub fn read(path: &Path) -> anyhow::Result<Entries> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read the journal {}", path.display()))?;
    let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let mut entries = Entries::new();
    for (number, line) in complete.lines().enumerate() {
        let (batch, entry) = parse(line).with_context(|| format!("{}: line {}: {line}", path.display(), number + 1))?;
        entries.insert(batch, entry);
    }
    Ok(entries)
}

fn parse(line: &str) -> Option<(Batch, Entry)> {
    let mut words = line.split(' ');
    let kind = words.next()?;
    let batch = Batch { producer: words.next()?.parse().ok()?, seq: words.next()?.parse().ok()? };
    let entry = match kind {
        ">" => Entry { outcome: Outcome::Unknown, acks: 0 },
        "<" => Entry { outcome: Outcome::of_word(words.next()?)?, acks: words.next()?.parse().ok()? },
        _ => return None,
    };
    words.next().is_none().then_some((batch, entry))
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::Final => "final",
            Self::Unknown => "unknown",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        [Self::Acked, Self::Final, Self::Unknown].into_iter().find(|outcome| outcome.word() == word)
    }
}

/// Far more than there are tasks, each of which waits for its line.
const QUEUE_LINES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_journal_reads_back_and_a_torn_last_line_is_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let journal = Journal::create(&path).unwrap();
        let (one, two) = (Batch { producer: 1, seq: 0 }, Batch { producer: 2, seq: 5 });
        journal.intent(one).await.unwrap();
        journal.intent(two).await.unwrap();
        journal.outcome(one, Entry { outcome: Outcome::Acked, acks: 3 }).await.unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"< 2 5 ack").unwrap();
        let entries = read(&path).unwrap();
        assert_eq!(entries[&one], Entry { outcome: Outcome::Acked, acks: 3 });
        assert_eq!(entries[&two], Entry { outcome: Outcome::Unknown, acks: 0 });
    }

    #[test]
    fn nonsense_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        std::fs::write(&path, "> 1 0\n< 1 0 maybe 1\n").unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("line 2"));
    }
}
