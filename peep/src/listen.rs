//! Binding ports, and saying who holds one that is taken.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

/// A listener, or one line with the port, its holder as far as the system tells, and the way out.
///
/// # Errors
/// When the address cannot be bound.
pub(crate) fn bind(address: SocketAddr, setting: &'static str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| anyhow::anyhow!(explain(address, setting, &error)))
}

fn explain(address: SocketAddr, setting: &str, error: &std::io::Error) -> String {
    let port = address.port();
    match error.kind() {
        ErrorKind::AddrInUse => match holder(port) {
            Some((pid, program)) => {
                format!("port {port} is in use by pid {pid} ({program}); stop it or set {setting} to another address")
            }
            None => {
                format!("port {port} is in use; stop the program that holds it or set {setting} to another address")
            }
        },
        ErrorKind::PermissionDenied => {
            format!("this user may not listen on port {port}; set {setting} to a port from 1024 on")
        }
        ErrorKind::AddrNotAvailable => {
            format!(
                "{} is not an address of this machine; set {setting} to one that is, or 0.0.0.0:{port}",
                address.ip()
            )
        }
        _ => format!("cannot listen on {address} ({setting}): {error}"),
    }
}

/// Process id and program that listen on a port, where `/proc` tells (Linux, own processes or root).
fn holder(port: u16) -> Option<(u32, String)> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .collect();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| holds_any(*pid, &inodes))
        .map(|pid| (pid, program(pid)))
}

/// Socket inodes in state LISTEN (0A) on a port, from the kernel's table. Pure.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    let local_end = format!(":{port:04X}");
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&local_end) && *fields.get(3)? == "0A";
        listens.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
    };
    table.lines().skip(1).filter_map(row).collect()
}

fn holds_any(pid: u32, inodes: &[String]) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok()).any(|target| {
        let target = target.to_string_lossy();
        let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        inode.is_some_and(|inode| inodes.iter().any(|wanted| wanted == inode))
    })
}

fn program(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .map_or_else(|_| "unknown program".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_taken_port_names_its_holder_and_the_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("a bound address");
        let message = bind(address, "PEEP_STREAM_LISTEN").expect_err("it is taken").to_string();
        let expected = format!("port {} is in use by pid {} (", address.port(), std::process::id());
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.ends_with("stop it or set PEEP_STREAM_LISTEN to another address"), "{message}");
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 4242 1 0 100 0 0 10 0\n\
             1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000 0 4243 1 0 100 0 0 10 0\n\
             2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 4244 1 0 100 0 0 10 0\n";
        assert_eq!(listening_inodes(table, 8080), ["4242"]);
        assert!(listening_inodes("", 8080).is_empty());
    }
}
