//! What the nginx module sends, through a whole run.

use std::os::unix::net::UnixDatagram;

use peep_nginx_record::{Buffer, Event, Method, Route, Trace};

use super::*;

fn event(route: Route<'static>) -> Event<'static> {
    Event {
        service: b"shop",
        ended_ms: now_ms() as u64,
        duration_us: 1417,
        method: Method::Post,
        status: 201,
        bytes_in: 80,
        bytes_out: 2,
        route,
        trace: Some(Trace { trace_id: [0xab; 16], span_id: [1; 8] }),
    }
}

/// Runs the shipper on a socket until as many events as expected have arrived.
fn run(ingest: &FakeIngest, expected: usize, send: impl FnOnce(&dyn Fn(&[u8]))) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nginx.sock");
    let address = format!("unix:{}", path.display());
    let interrupt = Interrupt::default();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| run_with(&["--nginx", &address, "--url", &ingest.url], &interrupt));
        let raised = RaisedAtTheEnd(&interrupt);
        let started = Instant::now();
        while !path.exists() {
            assert!(started.elapsed() < Duration::from_secs(30), "it does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        let worker = UnixDatagram::unbound().unwrap();
        send(&|datagram| assert_eq!(worker.send_to(datagram, &path).unwrap(), datagram.len()));
        while ingest.events().len() < expected {
            assert!(started.elapsed() < Duration::from_secs(30), "{} events arrived", ingest.events().len());
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(raised);
        run.join().unwrap()
    })
}

#[test]
fn what_the_module_sends_arrives_as_events() {
    let ingest = FakeIngest::accepting();
    let mut buffer = Buffer::new(1);
    let outcome = run(&ingest, 3, |send| {
        for route in [Route::Path(b"/orders/4711"), Route::Template(b"/orders/{number}")] {
            buffer.push(&event(route));
        }
        send(buffer.datagram());
        buffer.sent();
        buffer.push(&Event { service: b"", ..event(Route::Path(b"/")) });
        send(buffer.datagram());
    });
    assert!(outcome.succeeded, "{}", outcome.said);
    assert!(outcome.said.contains("3 read: 3 events, 0 malformed, 0 blank"), "{}", outcome.said);
    let mut events = ingest.events();
    events.sort_by_key(|event| event["route"].as_str().unwrap().to_owned());
    let word = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
    let routes: Vec<_> = events.iter().map(|event| (word(event, "service"), word(event, "route"))).collect();
    let expected = [("nginx", "/"), ("shop", "/orders/{id}"), ("shop", "/orders/{number}")];
    assert_eq!(routes, expected.map(|(service, route)| (service.to_owned(), route.to_owned())));
    assert_eq!(events[1]["trace_id"], "ab".repeat(16));
    assert_eq!((&events[1]["status"], &events[1]["duration_ms"]), (&Value::from(201), &Value::from(1.417)));
}

#[test]
fn what_is_no_record_is_malformed_and_stops_nothing() {
    let ingest = FakeIngest::accepting();
    let mut buffer = Buffer::new(1);
    let outcome = run(&ingest, 1, |send| {
        send(b"PNX1 and then nothing");
        buffer.push(&event(Route::Path(b"/a")));
        // Its length is right, its numbers are not.
        send(&[buffer.datagram(), [3, 0, 0xff, 0xff].as_slice()].concat());
    });
    assert!(outcome.succeeded, "{}", outcome.said);
    assert!(outcome.said.contains("3 read: 1 events, 2 malformed, 0 blank"), "{}", outcome.said);
    assert!(outcome.said.contains("2 no_record"), "{}", outcome.said);
}
