//! What a process costs: memory now and at its highest, processor time. Read from `/proc`, so Linux only.

use std::time::Duration;

use anyhow::Context;

/// Readings of one process.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    pid: u32,
}

impl Meter {
    pub fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// Resident bytes now.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident_bytes(self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    /// Highest resident bytes since [`Meter::forget_peak`].
    ///
    /// # Errors
    /// When the process is gone.
    pub fn peak_bytes(self) -> anyhow::Result<u64> {
        self.status("VmHWM:")
    }

    /// The peak begins again at what is resident now.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn forget_peak(self) -> anyhow::Result<()> {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid), "5").context("reset the peak of resident memory")
    }

    /// User and system time of all threads, from the scheduler's own books.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn processor_time(self) -> anyhow::Result<Duration> {
        let mut nanoseconds = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.pid)).context("list threads")? {
            let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
            nanoseconds += text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    fn status(self, field: &str) -> anyhow::Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).context("the process is gone")?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}

/// `3.2 MiB`
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
