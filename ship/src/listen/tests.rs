use std::sync::mpsc::{Receiver, sync_channel};

use super::*;
use crate::source::CHUNKS;

struct Bench {
    receiver: Receiver<Message>,
    interrupt: Interrupt,
    services: HashMap<usize, String>,
}

impl Bench {
    fn start(listener: Listener) -> Self {
        let (sender, receiver) = sync_channel(CHUNKS);
        let interrupt = Interrupt::default();
        let raised = interrupt.clone();
        std::thread::spawn(move || listener.run(&sender, &raised));
        Self { receiver, interrupt, services: HashMap::new() }
    }

    /// Lines with their services, sorted.
    fn expect(&mut self, expected: &[(&str, &str)]) {
        let mut lines: Vec<(String, String)> = Vec::new();
        while lines.len() < expected.len() {
            match self.receiver.recv_timeout(Duration::from_secs(30)).expect("a line") {
                Message::Opened { input, as_input } => {
                    self.services.insert(input, as_input.service);
                }
                Message::Lines { input, text, .. } => {
                    let text = String::from_utf8(text).unwrap();
                    lines.extend(text.lines().map(|line| (self.services[&input].clone(), line.to_owned())));
                }
                other => panic!("{other:?}"),
            }
        }
        lines.sort();
        let lines: Vec<_> = lines.iter().map(|(service, line)| (service.as_str(), line.as_str())).collect();
        assert_eq!(lines, expected);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.interrupt.raise();
    }
}

fn listener(address: &str, service: Option<&str>) -> Listener {
    let numbers = Arc::new(AtomicUsize::new(0));
    Listener::bind(&Address::parse(address).unwrap(), service.map(str::to_owned), numbers).unwrap()
}

#[test]
fn udp_datagrams_are_lines_and_their_tags_are_services() {
    let listener = listener("udp:127.0.0.1:0", None);
    let Socket::Udp(socket) = &listener.socket else { panic!("it is UDP") };
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(socket.local_addr().unwrap()).unwrap();
    let mut bench = Bench::start(listener);
    sender.send(b"<190>Nov 20 17:44:12 web-1 shop: one\nand more").unwrap();
    sender.send(b"<190>Nov 20 17:44:12 web-1 nginx: two").unwrap();
    sender.send(b"three").unwrap();
    bench.expect(&[("nginx", "three"), ("nginx", "two"), ("shop", "one and more")]);
}

#[test]
fn an_interrupt_ends_it_when_the_socket_is_empty() {
    let listener = listener("udp:127.0.0.1:0", None);
    let Socket::Udp(socket) = &listener.socket else { panic!("it is UDP") };
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(socket.local_addr().unwrap()).unwrap();
    for number in 0..50 {
        sender.send(format!("{number}").as_bytes()).unwrap();
    }
    let (messages, receiver) = sync_channel(CHUNKS);
    let interrupt = Interrupt::default();
    interrupt.raise();
    listener.run(&messages, &interrupt).unwrap();
    drop(messages);
    let lines = receiver.iter().map(|message| match message {
        Message::Lines { text, .. } => text.iter().filter(|&&byte| byte == b'\n').count(),
        _ => 0,
    });
    assert_eq!(lines.sum::<usize>(), 50);
}

#[test]
fn a_unix_socket_is_taken_over_from_a_dead_process_and_from_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("syslog.sock");
    drop(UnixDatagram::bind(&path).unwrap());
    let address = format!("unix:{}", path.display());
    let mut bench = Bench::start(listener(&address, Some("web")));
    let sender = UnixDatagram::unbound().unwrap();
    sender.send_to(b"<190>Nov 20 17:44:12 shop: one", &path).unwrap();
    bench.expect(&[("web", "one")]);
    let numbers = Arc::new(AtomicUsize::new(0));
    let refused = Listener::bind(&Address::parse(&address).unwrap(), None, numbers).err().unwrap();
    assert!(format!("{refused:#}").contains("another process listens"), "{refused:#}");
}

#[test]
fn a_file_is_not_replaced_by_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    std::fs::write(&path, "content").unwrap();
    assert!(bind_unix(&path).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"content");
}

#[test]
fn the_kernels_drops_are_read_by_the_inode_of_the_socket() {
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
        170: 0100007F:1538 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 42\n\
        171: 0100007F:1539 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 0\n";
    assert_eq!(dropped_in(table, "4711"), Some(42));
    assert_eq!(dropped_in(table, "1"), None);
}

#[test]
#[cfg(target_os = "linux")]
fn datagrams_that_nobody_takes_in_time_are_counted_by_the_kernel() {
    let listener = listener("udp:127.0.0.1:0", None);
    let Socket::Udp(socket) = &listener.socket else { panic!("it is UDP") };
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let datagram = vec![b'x'; 32 << 10];
    for _ in 0..2000 {
        let _ = sender.send_to(&datagram, socket.local_addr().unwrap());
    }
    assert!(listener.dropped().is_some_and(|dropped| dropped > 0), "{:?}", listener.dropped());
}
