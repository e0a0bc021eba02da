//! Real proxies in front of ingest, each with a private configuration in a temporary directory and a port of its own.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use peep_testkit::process::free_address;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Which program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Nginx,
    Haproxy,
    Apache,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Nginx, Kind::Haproxy, Kind::Apache];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
            Kind::Apache => "apache2",
        }
    }
}

/// A running proxy; killed when dropped.
pub struct Proxy {
    pub kind: Kind,
    /// `host:port`
    pub address: String,
    dir: TempDir,
    child: Child,
}

/// One line of its log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Passed {
    pub status: u16,
    /// As the proxy has read it: method, target and version.
    pub request_line: String,
}

impl Proxy {
    /// In front of `target`, with connections that it keeps and shares between clients, as in production.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub async fn start(kind: Kind, target: &str) -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix("peep-hostile-")?;
        open_to_all(dir.path())?;
        let address = free_address();
        let path = dir.path().display().to_string();
        let fill = |text: &str| text.replace("{dir}", &path).replace("{address}", &address).replace("{target}", target);
        let file = dir.path().join("proxy.conf");
        let (text, program, arguments) = match kind {
            Kind::Nginx => (NGINX, "nginx", vec!["-p".to_owned(), path.clone(), "-c".to_owned()]),
            Kind::Haproxy => (HAPROXY, "haproxy", vec!["-db".to_owned(), "-f".to_owned()]),
            Kind::Apache => (APACHE, "apache2", vec!["-DFOREGROUND".to_owned(), "-f".to_owned()]),
        };
        std::fs::write(&file, fill(text))?;
        let output = std::fs::File::create(dir.path().join("output"))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", program]).args(arguments).arg(&file);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin")).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("start {program}"))?;
        let mut proxy = Self { kind, address, dir, child };
        proxy.wait_until_it_listens().await?;
        Ok(proxy)
    }

    /// Everything it has passed on or refused.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn log(&self) -> anyhow::Result<Vec<Passed>> {
        let file = if self.kind == Kind::Haproxy { "output" } else { "access.log" };
        let bytes = std::fs::read(self.dir.path().join(file)).context("read the proxy's log")?;
        let text = String::from_utf8_lossy(&bytes);
        let passed = |line: &str| {
            let (status, request_line) = line.strip_prefix("passed ")?.split_once(' ')?;
            Some(Passed { status: status.parse().ok()?, request_line: request_line.to_owned() })
        };
        Ok(text.lines().filter_map(passed).collect())
    }

    /// Ends it; what is not in its log by now never was.
    pub async fn stop(&mut self) {
        let _ = self.child.kill().await;
    }

    async fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        while TcpStream::connect(&self.address).await.is_err() {
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let said = std::fs::read_to_string(self.dir.path().join("output")).unwrap_or_default();
                anyhow::bail!("{} does not start: {said}", self.kind.name());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// Its workers run as another user.
fn open_to_all(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777))?)
}

const START: Duration = Duration::from_secs(15);

const NGINX: &str = r#"
daemon off;
master_process off;
pid {dir}/pid;
error_log {dir}/error.log;
events { worker_connections 4096; }
http {
    log_format passed escape=none 'passed $status $request';
    access_log {dir}/access.log passed;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    client_header_timeout 1s;
    client_body_timeout 1s;
    keepalive_timeout 2s;
    lingering_close off;
    client_max_body_size 16m;
    upstream ingest {
        server {target};
        keepalive 16;
        keepalive_timeout 2s;
    }
    server {
        listen {address};
        location / {
            proxy_pass http://ingest;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_request_buffering off;
            proxy_ignore_client_abort on;
        }
    }
}
"#;

/// One thread: several of them drop lines of a log on stdout rather than wait for each other (haproxy/haproxy issue 1861), and a
/// request that is not in the log looks like one that was smuggled.
const HAPROXY: &str = "
global
    nbthread 1
    log stdout format raw local0
    maxconn 4096
defaults
    mode http
    log global
    log-format \"passed %ST %r\"
    timeout connect 5s
    timeout client 1500ms
    timeout http-request 1s
    timeout server 10s
    timeout http-keep-alive 2s
    http-reuse always
frontend front
    bind {address}
    default_backend ingest
backend ingest
    server ingest {target} pool-purge-delay 2s
";

const APACHE: &str = r#"
ServerRoot {dir}
ServerName localhost
PidFile {dir}/pid
DefaultRuntimeDir {dir}
Mutex file:{dir}
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule reqtimeout_module /usr/lib/apache2/modules/mod_reqtimeout.so
Listen {address}
ErrorLog {dir}/error.log
LogFormat "passed %>s %r" passed
CustomLog {dir}/access.log passed
Timeout 2
RequestReadTimeout header=1-2,MinRate=500 body=1-2,MinRate=500
KeepAlive On
KeepAliveTimeout 2
MaxKeepAliveRequests 0
ProxyPass / http://{target}/ ttl=2 timeout=10
"#;
