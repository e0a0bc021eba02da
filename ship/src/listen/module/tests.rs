use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use peep_nginx_record::{Buffer, Event, Method, Route, records};

use super::*;
use crate::source::CHUNKS;

fn event(service: &'static str, path: &'static str) -> Event<'static> {
    Event {
        service: service.as_bytes(),
        ended_ms: 1_760_000_000_123,
        duration_us: 417,
        method: Method::Get,
        status: 200,
        bytes_in: 80,
        bytes_out: 2,
        route: Route::Path(path.as_bytes()),
        trace: None,
    }
}

/// A listener on a real socket, and one worker of nginx.
struct Bench {
    path: PathBuf,
    worker: UnixDatagram,
    buffer: Buffer,
    receiver: Receiver<Message>,
    interrupt: Interrupt,
    services: HashMap<usize, String>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn start(service: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nginx.sock");
        let numbers = Arc::new(AtomicUsize::new(0));
        let listener = ModuleListener::bind(&path, service.map(str::to_owned), numbers).unwrap();
        let (sender, receiver) = sync_channel(CHUNKS);
        let interrupt = Interrupt::default();
        let raised = interrupt.clone();
        std::thread::spawn(move || listener.run(&sender, &raised));
        let worker = UnixDatagram::unbound().unwrap();
        let (buffer, services) = (Buffer::new(7), HashMap::new());
        Self { path, worker, buffer, receiver, interrupt, services, _folder: folder }
    }

    fn send(&mut self, events: &[Event<'_>]) {
        for event in events {
            assert!(self.buffer.push(event));
        }
        self.worker.send_to(self.buffer.datagram(), &self.path).unwrap();
        self.buffer.sent();
    }

    /// What comes next, in words.
    fn next(&mut self) -> Option<String> {
        loop {
            match self.receiver.recv_timeout(Duration::from_secs(30)).ok()? {
                Message::Opened { input, as_input } => {
                    self.services.insert(input, as_input.service);
                }
                Message::Records { input, base_ms, bytes } => {
                    let mut words = vec![self.services[&input].clone()];
                    for record in records(&bytes) {
                        let Route::Path(path) = record.unwrap().event(base_ms).unwrap().route else { panic!("a path") };
                        words.push(String::from_utf8(path.to_vec()).unwrap());
                    }
                    return Some(words.join(" "));
                }
                Message::Unreadable { input, bytes } => {
                    return Some(format!("{} unreadable {}", self.services[&input], bytes.len()));
                }
                Message::Note(text) => return Some(text),
                other => panic!("{other:?}"),
            }
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.interrupt.raise();
    }
}

#[test]
fn records_come_by_service_and_those_without_are_the_shippers() {
    let mut bench = Bench::start(Some("edge"));
    bench.send(&[event("shop", "/a"), event("", "/b"), event("shop", "/c"), event("not a name", "/d")]);
    assert_eq!(bench.next().unwrap(), "shop /a /c");
    assert_eq!(bench.next().unwrap(), "edge /b /d");
}

#[test]
fn what_is_no_datagram_of_the_module_is_handed_on_as_such() {
    let mut bench = Bench::start(None);
    bench.worker.send_to(b"GET / HTTP/1.1", &bench.path).unwrap();
    assert_eq!(bench.next().unwrap(), "nginx unreadable 14");
    assert!(bench.buffer.push(&event("shop", "/a")));
    let cut_off = [bench.buffer.datagram(), b"\x09torn".as_slice()].concat();
    bench.worker.send_to(&cut_off, &bench.path).unwrap();
    assert_eq!(bench.next().unwrap(), "shop /a");
    assert_eq!(bench.next().unwrap(), format!("nginx unreadable {}", cut_off.len()));
}

#[test]
fn what_a_worker_dropped_is_said() {
    let mut bench = Bench::start(None);
    bench.buffer.push(&event("", "/lost"));
    bench.buffer.drop_all();
    bench.send(&[event("", "/a")]);
    assert_eq!(bench.next().unwrap(), "nginx /a");
    let note = bench.next().unwrap();
    assert!(note.contains("had to drop 1 events, and 0 did not arrive"), "{note}");
}

#[test]
fn an_interrupt_leaves_nothing_in_the_socket() {
    let mut bench = Bench::start(None);
    // More than the channel takes, so that some are in the socket when the interrupt comes.
    for _ in 0..CHUNKS + 3 {
        bench.send(&[event("", "/a")]);
    }
    bench.interrupt.raise();
    let found = std::iter::from_fn(|| bench.next()).count();
    assert_eq!(found, CHUNKS + 3);
}

fn header(worker: u64, sent: u64, dropped: u64) -> Header {
    Header { worker, sent, dropped, base_ms: 0 }
}

#[test]
fn gaps_in_a_workers_numbers_are_events_that_are_missing() {
    let mut workers = Workers::default();
    let lost = |dropped, missing| Lost { dropped, missing };
    assert_eq!(
        workers.settle(&header(1, 1000, 5), 10),
        lost(5, 0),
        "sent to another shipper, dropped under nobody's eyes"
    );
    assert_eq!(workers.settle(&header(1, 1010, 5), 10), lost(0, 0));
    assert_eq!(workers.settle(&header(2, 0, 0), 3), lost(0, 0), "workers do not disturb each other");
    assert_eq!(workers.settle(&header(1, 1050, 8), 1), lost(3, 30));
    assert_eq!(workers.settle(&header(1, 3, 0), 1), lost(0, 0), "numbers that go back are no loss");
}

#[test]
fn so_many_workers_are_remembered_and_the_most_silent_goes_first() {
    let mut workers = Workers::default();
    for number in 0..WORKERS_MAX as u64 {
        workers.settle(&header(number, 0, 0), 1);
    }
    workers.settle(&header(0, 1, 0), 1);
    workers.settle(&header(u64::MAX, u64::MAX, u64::MAX), 1);
    assert_eq!(workers.known.len(), WORKERS_MAX);
    assert!(workers.known.contains_key(&0) && !workers.known.contains_key(&1));
}
