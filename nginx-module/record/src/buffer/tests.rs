use proptest::prelude::*;

use super::*;
use crate::{Malformed, Method, Trace, read};

fn event(path: &[u8]) -> Event<'_> {
    Event {
        service: b"shop",
        ended_ms: 1_795_196_652_167,
        duration_us: 19_250,
        method: Method::Get,
        status: 200,
        bytes_in: 71,
        bytes_out: 1234,
        route: Route::Path(path),
        trace: None,
    }
}

#[test]
fn events_come_out_as_they_went_in() {
    let trace = Trace { trace_id: [7; 16], span_id: [9; 8] };
    let events = [
        event(b"/a"),
        Event { ended_ms: 1_795_196_652_100, service: b"", route: Route::Template(b"/items/{id}"), ..event(b"") },
        Event { trace: Some(trace), status: 0, duration_us: u64::MAX, bytes_out: u64::MAX, ..event(b"\xff\"") },
    ];
    let mut buffer = Buffer::new(42);
    assert!(events.iter().all(|event| buffer.push(event)));
    let (header, records) = read(buffer.datagram()).unwrap();
    assert_eq!((header.worker, header.sent, header.dropped), (42, 0, 0));
    let read: Vec<_> = records.map(|record| record.unwrap().event(header.base_ms).unwrap()).collect();
    assert_eq!(read, events);
}

#[test]
fn what_was_sent_and_dropped_is_told_by_the_next_datagram() {
    let mut buffer = Buffer::new(1);
    buffer.push(&event(b"/a"));
    buffer.push(&event(b"/b"));
    buffer.sent();
    buffer.push(&event(b"/c"));
    buffer.drop_all();
    assert!(buffer.is_empty() && buffer.has_untold_drops());
    buffer.push(&event(b"/d"));
    let (header, records) = read(buffer.datagram()).unwrap();
    assert_eq!((header.sent, header.dropped, records.count()), (2, 1, 1));
    buffer.sent();
    assert!(!buffer.has_untold_drops());
}

#[test]
fn a_full_buffer_gives_the_event_back_and_takes_no_more_memory() {
    let path = vec![b'x'; 5000];
    let mut buffer = Buffer::new(1);
    let capacity = buffer.bytes.capacity();
    let mut events = 0;
    while buffer.push(&event(&path)) {
        events += 1;
    }
    assert!(events > 10);
    assert!(buffer.datagram().len() <= DATAGRAM_BYTES_MAX);
    assert_eq!(buffer.bytes.capacity(), capacity);
    buffer.drop_all();
    assert!(buffer.push(&event(&path)));
}

#[test]
fn foreign_datagrams_are_refused() {
    assert_eq!(read(b"").err(), Some(Malformed));
    assert_eq!(read(&[b'x'; 100]).err(), Some(Malformed));
}

#[test]
fn what_a_newer_writer_adds_is_passed_over() {
    let mut buffer = Buffer::new(1);
    buffer.push(&event(b"/a"));
    let mut datagram = buffer.datagram().to_vec();
    datagram.extend_from_slice(b"new");
    datagram[HEADER_BYTES] += 3;
    let (header, mut records) = read(&datagram).unwrap();
    assert_eq!(records.next().unwrap().unwrap().event(header.base_ms).unwrap(), event(b"/a"));
    assert_eq!(records.next(), None);
}

proptest! {
    #[test]
    fn any_event_comes_out_as_it_went_in(
        service in proptest::collection::vec(any::<u8>(), 0..=SERVICE_BYTES_MAX),
        path in proptest::collection::vec(any::<u8>(), 0..=1024),
        numbers in any::<[u64; 4]>(),
        status in any::<u16>(),
        method in 0_usize..11,
        trace in any::<Option<([u8; 16], [u8; 8])>>(),
    ) {
        let first = event(b"/first");
        let event = Event {
            service: &service,
            ended_ms: numbers[0],
            duration_us: numbers[1],
            method: Method::ALL[method],
            status,
            bytes_in: numbers[2],
            bytes_out: numbers[3],
            route: Route::Path(&path),
            trace: trace.map(|(trace_id, span_id)| Trace { trace_id, span_id }),
        };
        let mut buffer = Buffer::new(1);
        prop_assert!(buffer.push(&first));
        prop_assert!(buffer.push(&event));
        let (header, records) = read(buffer.datagram()).unwrap();
        let read: Vec<_> = records.map(|record| record.unwrap().event(header.base_ms).unwrap()).collect();
        prop_assert_eq!(read[1], event);
    }

    #[test]
    fn arbitrary_datagrams_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let datagram = [&MAGIC[..], &bytes].concat();
        if let Ok((header, records)) = read(&datagram) {
            for record in records.flatten() {
                let _ = record.event(header.base_ms);
            }
        }
    }
}
