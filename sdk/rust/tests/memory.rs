//! All memory of the SDK, whatever the server does: one test, because it counts what the process holds.

mod counting;
mod scripted;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use peep_sdk::{Client, Config, Event};
use scripted::quick;

const LIMIT: isize = 1 << 20;

/// An address at which every connection gets `answer`, on threads that are not counted.
fn server(answer: fn(&mut TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        counting::leave_this_thread_out();
        for mut stream in listener.incoming().flatten() {
            // Enough of the request to be in the middle of it.
            let _ = stream.read(&mut [0; 4096]);
            answer(&mut stream);
        }
    });
    url
}

/// Endless JSON, such as a list of rejections, of `status`.
fn endless(stream: &mut TcpStream, status: &str, start: &str, more: &str) {
    let more = more.repeat(1000);
    let _ = write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 900000000\r\n\r\n{start}");
    for _ in 0..1000 {
        if stream.write_all(more.as_bytes()).is_err() {
            return;
        }
    }
}

/// For two seconds at least, and on a slow machine until the buffer has been full.
fn busy(client: &Client) {
    let started = Instant::now();
    let (least, most) = (Duration::from_secs(2), Duration::from_secs(60));
    let (route, error) = ("/é".repeat(200), "x".repeat(4000));
    let mut index = 0_usize;
    while started.elapsed() < least || (started.elapsed() < most && client.stats().dropped() == 0) {
        for _ in 0..200 {
            index += 1;
            let error = if index.is_multiple_of(50) { &error[..] } else { "" };
            client
                .record(&Event::new(&route[..index % 3 * 6]).duration(Duration::from_nanos(index as u64)).error(error));
        }
        // Many small batches are no way around the limit either.
        if index.is_multiple_of(20_000) {
            client.flush(Duration::ZERO);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn nothing_that_a_server_does_makes_it_hold_more_than_a_mebibyte() {
    let servers: [(&str, String); 6] = [
        ("nobody listens", "http://127.0.0.1:9".to_owned()),
        ("silence", server(|_| std::thread::sleep(Duration::from_secs(1)))),
        ("hangs up", server(|_| {})),
        ("503", server(|stream| drop(write!(stream, "HTTP/1.1 503 x\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n")))),
        (
            "endless rejections",
            server(|stream| endless(stream, "202", "{\"accepted\":1,\"rejected\":[", "{\"code\":\"a\"},")),
        ),
        ("an endless message", server(|stream| endless(stream, "503", "{\"error\":{\"code\":\"", "xxxxxxxxxxxx"))),
    ];
    for (name, url) in servers {
        let before = counting::held();
        counting::take_held_max();
        let config = Config { attempt_timeout: Duration::from_millis(500), ..quick(&url) };
        let client = Client::new(config);
        busy(&client);
        let most = counting::take_held_max() - before;
        let stats = client.stats();
        println!("{name}: at most {most} bytes; {stats:?}");
        assert!(most <= LIMIT, "{name}: {most} bytes, {stats:?}");
        assert_eq!(stats.recorded, stats.accepted + stats.rejected + stats.dropped() + stats.held, "{name}");
        assert!(stats.dropped() > 0 && stats.requests > 0, "{name} was no trouble: {stats:?}");
        client.shutdown(Duration::ZERO);
    }
}
