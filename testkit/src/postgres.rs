//! Databases for tests: one per test, migrated, on a shared server; or a whole server to mistreat.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::str::FromStr;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

use crate::place::{script, stop_quietly, text, try_script};
use crate::shared::{Shared, private_dir};

static SERVER: Shared = Shared::new();

/// An empty database with the current schema, for one test.
pub struct Database {
    options: PgConnectOptions,
    url: String,
}

impl Database {
    pub async fn fresh() -> Self {
        Self::create(&server_url().await).await
    }

    /// The value for `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// A pool of a few connections. Belongs to the runtime of the caller, like every pool.
    pub async fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(8)
            .connect_with(self.options())
            .await
            .expect("connect to the test database")
    }

    async fn create(server_url: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let server = PgConnectOptions::from_str(server_url).expect("parse the server's URL");
        let mut admin = connect(&server).await;
        let template = ensure_template(&mut admin, &server).await;
        // A process number comes round again: an earlier owner of this one may have left a database behind.
        execute(&mut admin, &format!("drop database if exists {name} with (force)")).await;
        execute(&mut admin, &format!("create database {name} template {template}")).await;
        sweep(&mut admin).await;
        admin.close().await.expect("close the admin connection");
        Self { options: server.database(&name), url: with_database(server_url, &name) }
    }
}

/// A server for one test, which may stop it, kill it and start it again.
pub struct Server {
    /// Where the script keeps the server: `dir`, or a volume in it.
    place: PathBuf,
    url: String,
    volume: Option<Volume>,
    dir: TempDir,
    // Held so that the server ends by itself should this process be killed.
    _user: std::fs::File,
}

impl Server {
    pub async fn start() -> Self {
        blocking(|| Self::start_in(None)).await
    }

    /// The same on a volume of its own of so many bytes, which can be filled up. Needs root: it is a tmpfs.
    pub async fn start_on_volume(bytes: u64) -> Self {
        blocking(move || Self::start_in(Some(bytes))).await
    }

    fn start_in(volume_bytes: Option<u64>) -> Self {
        let (dir, user) = private_dir("postgres");
        // Created with access for this user only; the server may run as another.
        open_to_all(dir.path());
        let volume = volume_bytes.map(|bytes| Volume::mount(dir.path().join("volume"), bytes));
        let place = volume.as_ref().map_or(dir.path(), |volume| &volume.path).to_owned();
        let url = start_script(&place, dir.path(), None);
        Self { place, url, volume, dir, _user: user }
    }

    /// A fresh database on this server.
    pub async fn database(&self) -> Database {
        Database::create(&self.url).await
    }

    /// `host:port`, as a proxy wants it.
    pub fn address(&self) -> String {
        let options = PgConnectOptions::from_str(&self.url).expect("parse the server's URL");
        format!("{}:{}", options.get_host(), options.get_port())
    }

    /// A setting of the whole server, in force when this returns; `name` must be one that a reload is enough for.
    pub async fn set(&self, name: &str, value: &str) {
        let mut admin = connect(&PgConnectOptions::from_str(&self.url).expect("parse the server's URL")).await;
        execute(&mut admin, &format!("alter system set {name} = '{value}'")).await;
        execute(&mut admin, "select pg_reload_conf()").await;
        admin.close().await.expect("close the admin connection");
    }

    /// Ends all sessions and shuts down.
    pub async fn stop(&self) {
        self.run(&["stop"]).await;
    }

    /// Ends at once, as after a crash: the next start recovers.
    pub async fn kill(&self) {
        self.run(&["stop", "--kill"]).await;
    }

    /// `kill -9` of the postmaster alone: nobody tells its children to stop, they have to notice.
    pub async fn kill_postmaster(&self) {
        let file = self.place.join("data/postmaster.pid");
        let text = std::fs::read_to_string(&file).expect("read the postmaster's pid");
        let pid = text.lines().next().expect("a pid").trim().to_owned();
        let done = Command::new("kill").args(["-s", "KILL", &pid]).status().expect("run kill");
        assert!(done.success(), "kill the postmaster");
        while is_alive(&pid) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts again at the same address. Waits for children of a killed postmaster that are not gone yet.
    pub async fn start_again(&self) {
        let (place, dir) = (self.place.clone(), self.dir.path().to_owned());
        let options = PgConnectOptions::from_str(&self.url).expect("parse the server's URL");
        blocking(move || {
            let mut tries = 0;
            while let Err(said) = try_start_script(&place, &dir, Some(options.get_port())) {
                tries += 1;
                assert!(tries < 20, "{said}");
                std::thread::sleep(Duration::from_millis(500));
            }
        })
        .await;
    }

    /// Whether it lets anybody in.
    pub async fn is_up(&self) -> bool {
        let options = PgConnectOptions::from_str(&self.url).expect("parse the server's URL");
        PgConnection::connect_with(&options).await.is_ok()
    }

    /// Takes all space of the volume but so many bytes; 0 leaves nothing.
    pub fn fill_volume(&self, leave: u64) {
        self.volume.as_ref().expect("the server was started on a volume").fill(leave);
    }

    /// Gives the space back.
    pub fn empty_volume(&self) {
        self.volume.as_ref().expect("the server was started on a volume").empty();
    }

    async fn run(&self, arguments: &'static [&'static str]) {
        let path = self.place.clone();
        blocking(move || {
            let mut all = arguments.to_vec();
            all.extend(["--dir", text(&path)]);
            script("postgres.sh", &all);
        })
        .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop_quietly("postgres.sh", &self.place);
        // Unmounted before the directory goes.
        self.volume = None;
    }
}

/// A file system of its own.
struct Volume {
    path: PathBuf,
}

impl Volume {
    fn mount(path: PathBuf, bytes: u64) -> Self {
        std::fs::create_dir_all(&path).expect("create the mount point");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0755"), "peep-test", text(&path)])
            .output()
            .expect("run mount");
        assert!(done.status.success(), "mount a tmpfs: {}", String::from_utf8_lossy(&done.stderr));
        Self { path }
    }

    fn fill(&self, leave: u64) {
        let output = Command::new("df").args(["--output=avail", "-B1"]).arg(&self.path).output().expect("run df");
        let printed = String::from_utf8_lossy(&output.stdout);
        let available: u64 =
            printed.lines().last().and_then(|line| line.trim().parse().ok()).expect("df says a number");
        let wanted = available.saturating_sub(leave);
        // The server goes on writing meanwhile, and a file that does not fit is not allocated at all: most of it at once...
        let most = wanted.saturating_sub(FILL_SLOWLY_BYTES).to_string();
        let _ = Command::new("fallocate").args(["-l", &most]).arg(self.path.join(FILLER)).output();
        // ... and the rest as far as it goes.
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path.join(FILLER))
            .expect("open what fills the volume");
        let rest = wanted.min(FILL_SLOWLY_BYTES) + if leave == 0 { FILL_SLOWLY_BYTES } else { 0 };
        let chunk = [0; 4096];
        for _ in 0..rest / chunk.len() as u64 {
            if file.write_all(&chunk).is_err() {
                break;
            }
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.path.join(FILLER)).expect("remove what fills the volume");
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy", text(&self.path)]).status();
    }
}

const FILLER: &str = "filler";
/// More than a server writes between two looks at the free space.
const FILL_SLOWLY_BYTES: u64 = 64 << 20;

/// The URL of a server that may be filled with test databases.
async fn server_url() -> String {
    if let Ok(url) = std::env::var("PEEP_TEST_DATABASE_URL") {
        return url;
    }
    blocking(|| SERVER.address("postgres").to_owned()).await
}

/// Migrating takes longer than copying, so it is done once per schema and server.
async fn ensure_template(admin: &mut PgConnection, server: &PgConnectOptions) -> String {
    let schema = peep_migrations::MIGRATIONS
        .iter()
        .flat_map(|migration| migration.checksum.iter().take(4))
        // FNV-1a: a name, not a signature.
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    let template = format!("peep_template_{schema:016x}");
    if exists(admin, &template).await {
        return template;
    }
    execute(admin, "select pg_advisory_lock(7337)").await;
    if !exists(admin, &template).await {
        // Under another name until it is complete.
        let draft = format!("{template}_draft");
        execute(admin, &format!("drop database if exists {draft} with (force)")).await;
        execute(admin, &format!("create database {draft}")).await;
        let mut connection = connect(&server.clone().database(&draft)).await;
        peep_migrations::MIGRATIONS.run(&mut connection).await.expect("migrate the template database");
        connection.close().await.expect("close the template");
        execute(admin, &format!("alter database {draft} rename to {template}")).await;
    }
    execute(admin, "select pg_advisory_unlock(7337)").await;
    template
}

/// Removes the databases of test processes that have ended, once per process.
async fn sweep(admin: &mut PgConnection) {
    static ONCE: Once = Once::new();
    let mut first = false;
    ONCE.call_once(|| first = true);
    if !first {
        return;
    }
    let names: Vec<String> =
        sqlx::query_scalar("select datname::text from pg_database where datname ~ '^test_[0-9]+_'")
            .fetch_all(&mut *admin)
            .await
            .expect("list test databases");
    for name in names {
        let owner = name.split('_').nth(1).unwrap_or_default();
        if !is_alive(owner) {
            // Another process may sweep too.
            let _ = sqlx::query(AssertSqlSafe(format!("drop database if exists {name} with (force)")))
                .execute(&mut *admin)
                .await;
        }
    }
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(options).await.expect("connect to the test server")
}

async fn exists(admin: &mut PgConnection, name: &str) -> bool {
    sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(name)
        .fetch_one(admin)
        .await
        .expect("look for a database")
}

async fn execute(connection: &mut PgConnection, statement: &str) {
    sqlx::query(AssertSqlSafe(statement.to_owned()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

fn is_alive(pid: &str) -> bool {
    Command::new("ps").args(["-p", pid]).output().is_ok_and(|output| output.status.success())
}

/// The URL with another path; what follows a `?` stays.
fn with_database(url: &str, name: &str) -> String {
    let (before, parameters) = match url.split_once('?') {
        Some((before, parameters)) => (before, format!("?{parameters}")),
        None => (url, String::new()),
    };
    let authority = before.find("://").map_or(0, |at| at + 3);
    let server = before[authority..].find('/').map_or(before, |at| &before[..authority + at]);
    format!("{server}/{name}{parameters}")
}

fn start_script(place: &Path, dir: &Path, port: Option<u16>) -> String {
    try_start_script(place, dir, port).unwrap_or_else(|said| panic!("{said}"))
}

fn try_start_script(place: &Path, dir: &Path, port: Option<u16>) -> Result<String, String> {
    let users = dir.join("users");
    let mut arguments = vec!["start", "--fast", "--dir", text(place), "--while-locked", text(&users)];
    let port = port.map(|port| port.to_string());
    if let Some(port) = &port {
        arguments.extend(["--port", port]);
    }
    try_script("postgres.sh", &arguments)
}

fn open_to_all(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("open the directory");
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_keeps_the_rest_of_the_url() {
        assert_eq!(
            with_database("postgres://u:p@h:1/peep?sslmode=disable", "t"),
            "postgres://u:p@h:1/t?sslmode=disable"
        );
        assert_eq!(with_database("postgres://h", "t"), "postgres://h/t");
    }

    #[tokio::test]
    async fn two_tests_do_not_see_each_other() {
        let (one, two) = (Database::fresh().await, Database::fresh().await);
        sqlx::query("insert into project (name) values ('mine')").execute(&one.pool().await).await.expect("insert");
        let seen: i64 =
            sqlx::query_scalar("select count(*) from project").fetch_one(&two.pool().await).await.expect("count");
        assert_eq!(seen, 0);
    }

    #[tokio::test]
    async fn a_killed_server_keeps_what_was_committed() {
        let server = Server::start().await;
        let database = server.database().await;
        sqlx::query("insert into project (name) values ('kept')")
            .execute(&database.pool().await)
            .await
            .expect("insert");
        server.kill().await;
        server.start_again().await;
        let kept: String =
            sqlx::query_scalar("select name from project").fetch_one(&database.pool().await).await.expect("read");
        assert_eq!(kept, "kept");
    }
}
