//! How much memory a request asks for: a few pieces, however many events it carries.
//!
//! A real server on a real socket with a memory log; the client at the other end of the socket asks for none.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};

use support::{config, start_with};

/// Counts what is asked for, by any thread.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of its own.
#[allow(unsafe_code, reason = "an allocator is an unsafe trait; tests only")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`, which is the same.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations per request once everything is warm.
fn per_request(stream: &mut TcpStream, key: &str, events: usize) -> f64 {
    let event =
        r#"{"service":"checkout","duration_ms":12.5,"route":"/buy/{id}","method":"POST","status":200,"host":"web-1"}"#;
    let body = format!("{event}\n").repeat(events);
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {key}\r\nContent-Type: application/x-ndjson\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let request = (head + &body).into_bytes();
    let mut answer = [0; 4096];
    let mut exchange = |times: usize| {
        for _ in 0..times {
            stream.write_all(&request).unwrap();
            let read = stream.read(&mut answer).unwrap();
            assert!(answer[..read].starts_with(b"HTTP/1.1 202") && answer[..read].ends_with(b"}"));
        }
    };
    exchange(WARM_UP);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    exchange(REQUESTS);
    (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / REQUESTS as f64
}

#[tokio::test]
async fn a_request_of_a_thousand_events_allocates_as_a_request_of_one() {
    let mut config = config();
    config.workers = 1;
    let ingest = start_with(config).await;
    let (address, key) = (ingest.address, ingest.key.clone());
    let measured = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        [1, 10, 100, 1000].map(|events| per_request(&mut stream, &key, events))
    });
    let measured = measured.await.unwrap();
    println!("allocations per request of 1, 10, 100 and 1000 events: {measured:.1?}");
    let [one, _, hundred, thousand] = measured;
    assert!(one <= REQUEST_MAX, "{measured:?}");
    assert!(
        hundred - one <= 0.05 * 99.0 && thousand - one <= 0.02 * 999.0,
        "pieces of the body, not events: {measured:?}"
    );
}

const WARM_UP: usize = 50;
const REQUESTS: usize = 200;
/// hyper's share included: the channel of a body, its buffer, the answer.
const REQUEST_MAX: f64 = 13.0;
