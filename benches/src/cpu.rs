//! CPU time of a process or of this thread: what a bench divides by events. Wall clock on a shared machine says little.

use std::time::Duration;

/// User and system time of all live threads of a process, from the scheduler's own nanosecond books.
///
/// # Errors
/// When the process is gone.
pub fn of_process(pid: u32) -> std::io::Result<Duration> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between listing and reading; what it used is then missing from both readings.
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        total += text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// The same of the calling thread.
pub fn of_this_thread() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0))
}

/// Resident memory of a process in bytes.
///
/// # Errors
/// When the process is gone.
pub fn resident_bytes(pid: u32) -> std::io::Result<u64> {
    memory(pid, "VmRSS:")
}

/// The most that has been resident since the process began.
///
/// # Errors
/// When the process is gone.
pub fn resident_bytes_max(pid: u32) -> std::io::Result<u64> {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, field: &str) -> std::io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("0 kB");
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024)
}

/// A reading of how much all cores together have worked and rested.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    busy: u64,
    idle: u64,
}

impl Machine {
    /// Share of the cores in use since an earlier reading.
    pub fn since(self, earlier: Machine) -> f64 {
        let (busy, idle) = (self.busy - earlier.busy, self.idle - earlier.idle);
        busy as f64 / (busy + idle).max(1) as f64
    }
}

/// # Errors
/// When the kernel does not say.
pub fn of_machine() -> std::io::Result<Machine> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let idle = ticks.iter().skip(3).take(2).sum::<u64>();
    Ok(Machine { busy: ticks.iter().sum::<u64>() - idle, idle })
}

/// User and system time of a process and its children, also of those that have ended: for a server of many processes. In steps
/// of the scheduler's tick, a hundredth of a second.
///
/// # Errors
/// When the process is gone.
pub fn of_family(pid: u32) -> std::io::Result<Duration> {
    let mut ticks: u64 = stat(pid)?[11..15].iter().sum();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that has ended meanwhile is among the parent's from the next reading on.
        if let Ok(fields) = stat(child)
            && fields[1] == u64::from(pid)
        {
            ticks += fields[11] + fields[12];
        }
    }
    Ok(Duration::from_millis(ticks * 10))
}

/// The parent of a process.
///
/// # Errors
/// When the process is gone.
pub fn parent(pid: u32) -> std::io::Result<u32> {
    Ok(stat(pid)?[1] as u32)
}

/// The fields of `/proc/<pid>/stat` after the name, which may hold anything; those that are no numbers are 0.
fn stat(pid: u32) -> std::io::Result<Vec<u64>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let mut fields: Vec<u64> = fields.map(|field| field.parse().unwrap_or(0)).collect();
    fields.resize(fields.len().max(16), 0);
    Ok(fields)
}
