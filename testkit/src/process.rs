//! The real `peep` binary as a child process: started with an environment of its own, waited for, ended in every way.

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::http::Client;
use crate::place::{checkout, target_dir};
use crate::postgres::blocking;

/// What to start: a subcommand and its environment. Nothing is inherited except what a program needs to run at all.
pub struct PeepCommand {
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
}

/// A running `peep`; killed when dropped, and by the kernel when the test process is killed (Linux).
pub struct Peep {
    child: Child,
    admin: Option<String>,
    dir: TempDir,
}

impl Peep {
    /// `Peep::command(["ingest"]).env("PEEP_LOG", "kafka").start().await`
    pub fn command<'a>(arguments: impl IntoIterator<Item = &'a str>) -> PeepCommand {
        // Judges count what is in the log; whoever is about freshness asks for probes.
        let environment = BTreeMap::from([("PEEP_STREAM_PROBE_INTERVAL".to_owned(), "0".to_owned())]);
        PeepCommand { arguments: arguments.into_iter().map(str::to_owned).collect(), environment }
    }

    /// Polls `/readyz` on the admin port until it answers 200. Panics with the process's last words when it ends first or
    /// takes longer.
    pub async fn wait_until_ready(&mut self, within: Duration) {
        let admin = self.admin.clone().expect("PEEP_ADMIN_LISTEN was given to the process");
        let client = Client::new(format!("http://{admin}"));
        let deadline = Instant::now() + within;
        let mut last = "no answer".to_owned();
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("ask for the child's state") {
                panic!("peep ended with {status} while starting:\n{}", self.said());
            }
            match client.try_get("/readyz").await {
                Ok(answer) if answer.status == 200 => return,
                Ok(answer) => last = answer.body,
                Err(error) => last = error,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("peep was not ready within {within:?} ({last}):\n{}", self.said());
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Like `kill -9`.
    pub async fn kill(&mut self) {
        self.child.kill().expect("kill peep");
        self.wait(Duration::from_secs(10)).await;
    }

    /// Asks it to stop (SIGTERM) and waits. Panics when it takes longer.
    pub async fn terminate(&mut self, within: Duration) -> ExitStatus {
        self.signal("TERM");
        self.wait(within).await
    }

    /// `signal("STOP")` freezes it, `signal("CONT")` lets it go on.
    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").args(["-s", name, &self.id().to_string()]).status().expect("run kill");
        assert!(done.success(), "send SIG{name} to peep");
    }

    /// Waits for it to end by itself. Panics when it takes longer.
    pub async fn wait(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("ask for the child's state") {
                return status;
            }
            assert!(Instant::now() < deadline, "peep did not end within {within:?}:\n{}", self.said());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Everything it has written to standard output and standard error.
    pub fn said(&self) -> String {
        std::fs::read(self.dir.path().join("output"))
            .map_or_else(|error| format!("(no output: {error})"), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Peep {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl PeepCommand {
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.insert(name.to_owned(), value.to_string());
        self
    }

    pub async fn start(self) -> Peep {
        blocking(move || {
            let dir = TempDir::with_prefix("peep-process-").expect("create a directory");
            let output = File::create(dir.path().join("output")).expect("create the output file");
            let mut command = die_with_us(binary());
            command
                .args(&self.arguments)
                .env_clear()
                .envs(env::var_os("PATH").map(|path| ("PATH", path)))
                .envs(&self.environment)
                .stdin(Stdio::null())
                .stdout(output.try_clone().expect("share the output file"))
                .stderr(output);
            Peep { child: spawn(command), admin: self.environment.get("PEEP_ADMIN_LISTEN").cloned(), dir }
        })
        .await
    }

    /// Runs it to its end, for subcommands that do one thing.
    pub async fn run(self, within: Duration) -> (ExitStatus, String) {
        let mut peep = self.start().await;
        let status = peep.wait(within).await;
        (status, peep.said())
    }
}

/// An address nobody listens on, for `PEEP_*_LISTEN`. Given to nobody else in this process, and outside of the range from which the
/// kernel takes ports for outgoing connections and for port 0: still free later, for what is started again at the same address.
pub fn free_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes that run side by side begin at different places.
    let from = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS {
        let port = FIRST_PORT + from.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let address = format!("127.0.0.1:{port}");
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
    panic!("no free port between {FIRST_PORT} and {}", FIRST_PORT + PORTS);
}

/// Above those of the stacks that scripts start.
const FIRST_PORT: u32 = 28_000;
const PORTS: u32 = 4_000;

/// `PEEP_BIN`, or what cargo built for this test, or the debug binary, brought up to date first: a test against
/// yesterday's binary is worse than none.
fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            for name in ["PEEP_BIN", "CARGO_BIN_EXE_peep"] {
                if let Some(path) = env::var_os(name) {
                    return path.into();
                }
            }
            let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
                .args(["build", "--quiet", "--package", "peep", "--bin", "peep"])
                .current_dir(checkout())
                .status()
                .expect("run cargo");
            assert!(built.success(), "peep does not build");
            target_dir().join("debug/peep")
        })
        .clone()
}

/// On Linux the kernel kills the child when the thread that started it ends, hence `spawn`. Elsewhere `drop` does it.
fn die_with_us(program: PathBuf) -> Command {
    if cfg!(target_os = "linux") {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Starts the child from a thread that lives as long as this process.
fn spawn(command: Command) -> Child {
    type Job = (Command, SyncSender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<SyncSender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = sync_channel::<Job>(1);
        thread::spawn(move || {
            for (mut command, answer) in queue {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let (answer, child) = sync_channel(1);
    spawner.lock().expect("the lock is held for one send").send((command, answer)).expect("the spawner never ends");
    child.recv().expect("the spawner answers").expect("start peep")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_address_is_given_twice_or_taken_by_the_kernel_for_somebody_else() {
        let given: HashSet<String> = (0..200).map(|_| free_address()).collect();
        assert_eq!(given.len(), 200);
        // Linux says which it takes; elsewhere they are above 49151.
        let range =
            std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or("49152 65535".to_owned());
        let [first, last] =
            [0, 1].map(|at| range.split_whitespace().nth(at).and_then(|port| port.parse().ok()).unwrap());
        let ports = given.iter().map(|address| address.rsplit_once(':').unwrap().1.parse::<u32>().unwrap());
        assert_eq!(ports.filter(|port| (first..=last).contains(port)).count(), 0);
    }
}
