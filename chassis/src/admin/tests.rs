use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Health, serve};
use crate::lifecycle::Shutdown;
use crate::telemetry::local_metrics;

struct Admin {
    address: SocketAddr,
    health: Health,
    shutdown: Shutdown,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

fn start() -> Admin {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    let (health, shutdown) = (Health::new(), Shutdown::new());
    let (_, metrics) = local_metrics(&[]).expect("no bucket list is no error");
    let server = tokio::spawn(serve(listener, health.clone(), metrics, shutdown.clone()));
    Admin { address, health, shutdown, server }
}

impl Admin {
    async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(self.address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        let status = answer[9..12].parse().expect("a status line");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        (status, body.unwrap_or_default())
    }

    async fn get_json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.get(path).await;
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("not JSON: {body}")))
    }
}

#[tokio::test]
async fn readiness_names_every_part_and_its_reason() {
    let admin = start();
    admin.health.register("listener").set_ready();
    let log = admin.health.register("log");
    log.set_not_ready("no broker reachable");
    let (status, body) = admin.get_json("/readyz").await;
    assert_eq!(status, 503);
    assert_eq!(
        body,
        json!({ "status": "not_ready", "components": [
            { "name": "listener", "ready": true, "reason": null },
            { "name": "log", "ready": false, "reason": "no broker reachable" },
        ]})
    );
    log.set_ready();
    assert_eq!(admin.get_json("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_draining_process_is_alive_and_not_ready() {
    let admin = start();
    admin.health.register("listener").set_ready();
    admin.health.drain();
    let (status, body) = admin.get_json("/readyz").await;
    assert_eq!((status, &body["status"]), (503, &json!("draining")));
    assert_eq!(admin.get_json("/healthz").await.0, 200);
}

#[tokio::test]
async fn metrics_are_text_and_other_paths_are_a_clear_404() {
    let admin = start();
    assert_eq!(admin.get("/metrics").await.0, 200);
    let (status, body) = admin.get_json("/elsewhere").await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("not_found")));
}

#[tokio::test]
async fn it_stops_on_request_even_with_an_idle_connection_open() {
    let admin = start();
    let _idle = tokio::net::TcpStream::connect(admin.address).await.expect("it listens");
    admin.shutdown.request();
    admin.server.await.expect("no panic").expect("no error");
}
