//! One server for all tests, also for those of other test processes.
//!
//! Two files do it. `<name>.users` is locked, shared, by every process that uses the server; the script that runs the
//! server stops it once nobody has held that lock for a while (the kernel lets go of it when a process dies, however it
//! dies). `<name>.starting` is locked, exclusively, by the one process that is just starting the server.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::OnceLock;

use crate::place::{script, test_dir, text};

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

pub(crate) fn open(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap_or_else(|error| panic!("open {}: {error}", path.display()))
}
