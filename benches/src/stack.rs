//! The product itself: the `peep` program beside this one, with a database of its own whose commits reach the disk.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use peep_testkit::Client;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tempfile::TempDir;

/// An installation: a migrated database, an ingest key, and processes.
pub struct Stack {
    /// Ended first, in order.
    processes: Vec<Process>,
    pub database_url: String,
    pub key: String,
    pub ingest: SocketAddr,
    log: Vec<(&'static str, String)>,
    dir: TempDir,
    /// The script stops the database when nobody holds this any more, however the bench has ended.
    _user: File,
}

/// One of its processes.
pub struct Process {
    child: Child,
    said: PathBuf,
}

impl Stack {
    /// With `log` in the environment of every process: which log, and where.
    ///
    /// # Errors
    /// When the database or the program does not start.
    pub fn new(log: impl IntoIterator<Item = (&'static str, String)>) -> anyhow::Result<Stack> {
        let dir = TempDir::with_prefix("peep-bench-stack-")?;
        // The server may run as another user.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755))?;
        let users = dir.path().join("users");
        let user = File::create(&users)?;
        user.lock_shared()?;
        eprintln!("starting a database for this bench …");
        let database_url = postgres(&["start", "--fresh", "--while-locked"], &users, dir.path())?;
        let log = log.into_iter().collect();
        let ingest = free_address()?;
        let mut stack =
            Stack { processes: Vec::new(), database_url, key: String::new(), ingest, log, dir, _user: user };
        stack.once(&["migrate"])?;
        let said = stack.once(&["key", "create", "--quiet", "--project", "bench", "--scope", "ingest"])?;
        said.trim().clone_into(&mut stack.key);
        Ok(stack)
    }

    /// Starts `peep <service>` and waits until it is ready. Returns its process id.
    ///
    /// # Errors
    /// With its last words.
    pub fn start(&mut self, service: &str, settings: &[(&str, &str)]) -> anyhow::Result<u32> {
        let admin = free_address()?;
        let said = self.dir.path().join(format!("{service}.log"));
        let output = File::create(&said)?;
        let mut command = self.command(&[service])?;
        let child = command
            .env("PEEP_ADMIN_LISTEN", admin.to_string())
            .env("PEEP_INGEST_LISTEN", self.ingest.to_string())
            .env("PEEP_STREAM_LISTEN", free_address()?.to_string())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("start peep")?;
        let mut process = Process { child, said };
        process.wait_until_ready(admin)?;
        let id = process.child.id();
        self.processes.push(process);
        Ok(id)
    }

    /// A read key of the project.
    ///
    /// # Errors
    /// When the program refuses.
    pub fn read_key(&self) -> anyhow::Result<String> {
        let said = self.once(&["key", "create", "--quiet", "--project", "bench", "--scope", "read"])?;
        Ok(said.trim().to_owned())
    }

    /// Ends the processes, so that others can take their place.
    pub fn stop(&mut self) {
        self.processes.clear();
    }

    /// A pool on the runtime of the caller.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn pool(&self) -> anyhow::Result<PgPool> {
        Ok(PgPoolOptions::new().max_connections(2).connect(&self.database_url).await?)
    }

    /// Everything that the processes have said, for whoever has to explain a failure.
    pub fn said(&self) -> String {
        self.processes.iter().map(|process| std::fs::read_to_string(&process.said).unwrap_or_default()).collect()
    }

    fn once(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(arguments)?.output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "peep {}: {complained}{said}", arguments.join(" "));
        Ok(said)
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let program = std::env::current_exe()?.with_file_name("peep");
        ensure!(program.exists(), "{} is missing: cargo build --release --package peep", program.display());
        // On Linux the kernel ends the child when the bench is killed; elsewhere only `drop` does.
        let mut command = if cfg!(target_os = "linux") {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command
            .args(arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("DATABASE_URL", &self.database_url)
            .env("PEEP_TELEMETRY_FORMAT", "text")
            .envs(self.log.iter().map(|(name, value)| (*name, value.as_str())));
        Ok(command)
    }
}

impl Process {
    fn wait_until_ready(&mut self, admin: SocketAddr) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = Client::new(format!("http://{admin}"));
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if runtime.block_on(client.try_get("/readyz")).is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                bail!("peep is not ready:\n{}", std::fs::read_to_string(&self.said).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.processes.clear();
        let _ = postgres(&["stop", "--kill", "--while-locked"], &self.dir.path().join("users"), self.dir.path());
    }
}

fn postgres(arguments: &[&str], users: &Path, dir: &Path) -> anyhow::Result<String> {
    crate::broker::script("postgres.sh", arguments, users, dir)
}

/// Nobody listens there at the moment.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

const READY_WITHIN: Duration = Duration::from_secs(60);
