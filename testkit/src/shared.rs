//! One server for all tests, also for those of other test processes.
//!
//! Two files do it. `<name>.users` is locked, shared, by every process that uses the server; the script that runs the
//! server stops it once nobody has held that lock for a while (the kernel lets go of it when a process dies, however it
//! dies). `<name>.starting` is locked, exclusively, by the one process that is just starting the server.

use std::env;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::place::{script, stop_quietly, test_dir, text};

/// A server that this process may use; a `static` holds it until the process ends.
pub(crate) struct Shared {
    address: OnceLock<(String, File)>,
}

impl Shared {
    pub(crate) const fn new() -> Self {
        Self { address: OnceLock::new() }
    }

    /// What the script printed: the server's address. Blocks while the server starts, which takes seconds.
    pub(crate) fn address(&self, name: &str) -> &str {
        let (address, _users) = self.address.get_or_init(|| start(name));
        address
    }
}

fn start(name: &str) -> (String, File) {
    let dir = test_dir();
    let users_path = dir.join(format!("{name}.users"));
    let users = open(&users_path);
    // Waits while a server that nobody used any more is being stopped.
    users.lock_shared().expect("lock the list of users");
    let starting = open(&dir.join(format!("{name}.starting")));
    starting.lock().expect("lock the start of a server");
    let address = script(
        &format!("{name}.sh"),
        &["start", "--dir", text(&dir.join(name)), "--fresh", "--fast", "--while-locked", text(&users_path)],
    );
    (address, users)
}

/// A directory for a server of one test, and the lock that says it is in use. Removes first what killed tests have left
/// behind: their servers have stopped by themselves, their files have not.
pub(crate) fn private_dir(name: &str) -> (TempDir, File) {
    let prefix = format!("peep-{name}-");
    let entries = std::fs::read_dir(env::temp_dir()).into_iter().flatten().flatten();
    for dir in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)) {
        if is_abandoned(&dir.path()) {
            stop_quietly(&format!("{name}.sh"), &dir.path());
            // A volume of its own, see `postgres`; mostly there is none.
            let _ = Command::new("umount").args(["--quiet", "--lazy"]).arg(dir.path().join("volume")).output();
            // Somebody else may be removing it too.
            let _ = std::fs::remove_dir_all(dir.path());
        }
    }
    let dir = TempDir::with_prefix(prefix).expect("create a directory");
    let users = open(&dir.path().join("users"));
    users.lock_shared().expect("lock the list of users");
    (dir, users)
}

/// Made by `private_dir` a while ago, and locked by nobody.
fn is_abandoned(dir: &Path) -> bool {
    let Ok(users) = File::open(dir.join("users")) else { return false };
    let age = users.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
    age.is_some_and(|age| age > Duration::from_mins(2)) && users.try_lock().is_ok()
}

pub(crate) fn open(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap_or_else(|error| panic!("open {}: {error}", path.display()))
}
