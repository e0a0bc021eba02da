//! W08: live views through a real nginx, as people put it in front, with its buffering on and off.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use peep_testkit::process::free_address;
use peep_testkit::{EventStream, WebSocket};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::world::{World, traffic};

const SOON: Duration = Duration::from_secs(10);

/// A running nginx; killed when dropped.
struct Nginx {
    address: String,
    _child: Child,
    _dir: TempDir,
}

impl Nginx {
    async fn start(target: &str, buffering: &str) -> Self {
        let dir = TempDir::with_prefix("peep-nginx-").expect("a directory");
        open_to_all(dir.path());
        let address = free_address();
        let config = CONFIG
            .replace("{dir}", &dir.path().display().to_string())
            .replace("{address}", &address)
            .replace("{target}", target)
            .replace("{buffering}", buffering);
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, config).expect("write the configuration");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir.path()).arg("-c").arg(&file).env("PATH", format!("{path}:/usr/sbin:/sbin"));
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
        let mut child = child.expect("start nginx; it is in Debian's package nginx-light, and `make test` installs it");
        let deadline = Instant::now() + SOON;
        while TcpStream::connect(&address).await.is_err() {
            let ended = child.try_wait().expect("look at nginx");
            assert!(ended.is_none() && Instant::now() < deadline, "nginx does not start: {:?}", log(dir.path()));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { address, _child: child, _dir: dir }
    }
}

fn log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("error.log")).unwrap_or_default()
}

/// Its workers may run as another user.
fn open_to_all(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777)).expect("open the directory");
}

#[tokio::test]
async fn events_come_through_at_once_and_resume_whatever_the_buffering() {
    let world = World::new().await;
    let target = world.url.strip_prefix("http://").expect("an address").to_owned();
    let events = traffic(400);
    let key = format!("Bearer {}", world.keys.read);
    let mut counted = 0;
    for buffering in ["on", "off"] {
        let nginx = Nginx::start(&target, buffering).await;
        let url = format!("http://{}/v1/live?window=15m", nginx.address);
        let mut stream = EventStream::connect(&url, &[("authorization", &key)]).await.expect("accepted");
        let snapshot = stream.next(SOON).await.expect("a snapshot");
        assert_eq!(snapshot.name, "snapshot");
        // Each frame arrives while the stream is open and nothing follows that could push it out: heartbeats are far too small to
        // fill a buffer.
        for _ in 0..2 {
            let to = counted + 50;
            world.publish(0, 1, counted as u64, &events[counted..to]).await;
            counted = to;
            loop {
                let event = stream.next(SOON).await.expect("open");
                if event.data["total"]["window"]["count"] == json!(counted) {
                    break;
                }
            }
        }
        let seen = stream.next(SOON).await.expect("open").id.expect("an id");
        drop(stream);
        let to = counted + 50;
        world.publish(0, 1, counted as u64, &events[counted..to]).await;
        counted = to;
        world.wait_for_count(counted as u64).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        let headers = [("authorization", key.as_str()), ("last-event-id", seen.as_str())];
        let mut again = EventStream::connect(&url, &headers).await.expect("accepted");
        let resumed = again.next(SOON).await.expect("a snapshot").data;
        assert_eq!((&resumed["resumed"], &resumed["total"]["window"]["count"]), (&json!(true), &json!(counted)));
    }
    world.stop().await;
}

#[tokio::test]
async fn sockets_come_through_and_the_page_counts_as_ours() {
    let world = World::new().await;
    let target = world.url.strip_prefix("http://").expect("an address").to_owned();
    let nginx = Nginx::start(&target, "on").await;
    let url = format!("ws://{}/v1/live?window=15m", nginx.address);
    let mut socket = WebSocket::connect(&url, Some(&world.keys.read)).await.expect("accepted");
    assert_eq!(socket.next(SOON).await.expect("a snapshot")["type"], "snapshot");
    assert_eq!(socket.next(SOON).await.expect("a heartbeat")["type"], "heartbeat");
    // The proxy passes the name on that the page was asked for by, so its origin is ours.
    let page = peep_testkit::Client::new(format!("http://{}", nginx.address))
        .with_key(&world.keys.read)
        .with_header("origin", format!("http://{}", nginx.address));
    assert_eq!(page.post_json("/v1/tickets", &json!({})).await.status, 200);
    world.stop().await;
}

const CONFIG: &str = r#"
daemon off;
master_process off;
pid {dir}/pid;
error_log {dir}/error.log;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
    server {
        listen {address};
        location / {
            proxy_pass http://{target};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering {buffering};
            proxy_buffers 8 16k;
        }
    }
}
"#;
