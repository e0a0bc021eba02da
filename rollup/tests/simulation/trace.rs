//! What happened, as a hash always and as lines when somebody wants to read it.

use std::fmt::Write as _;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The history of one run.
pub(crate) struct Trace {
    started: Instant,
    state: Mutex<State>,
}

struct State {
    hash: u64,
    notes: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// `readable`: keep the lines.
    pub(crate) fn new(readable: bool) -> Self {
        let state = State { hash: FNV_OFFSET, notes: 0, lines: readable.then(Vec::new) };
        Self { started: Instant::now(), state: Mutex::new(state) }
    }

    /// One thing that happened now.
    pub(crate) fn note(&self, what: &str, numbers: &[(&str, u64)]) {
        let at_us = self.started.elapsed().as_micros() as u64;
        let mut state = self.state.lock();
        state.notes += 1;
        state.mix(at_us);
        what.bytes().for_each(|byte| state.mix(u64::from(byte)));
        numbers.iter().for_each(|(_, number)| state.mix(*number));
        if let Some(lines) = &mut state.lines {
            let mut line = format!("{:>10.3}  {what}", at_us as f64 / 1000.0);
            for (name, number) in numbers {
                let _ = write!(line, " {name}={number}");
            }
            lines.push(line);
        }
    }

    /// Only for readers: never part of the hash.
    pub(crate) fn remark(&self, what: impl FnOnce() -> String) {
        let at_ms = self.started.elapsed().as_micros() as f64 / 1000.0;
        if let Some(lines) = &mut self.state.lock().lines {
            lines.push(format!("{at_ms:>10.3}    {}", what()));
        }
    }

    /// Two runs with the same hash went the same way.
    pub(crate) fn hash(&self) -> u64 {
        self.state.lock().hash
    }

    pub(crate) fn notes(&self) -> u64 {
        self.state.lock().notes
    }

    pub(crate) fn take_lines(&self) -> Vec<String> {
        self.state.lock().lines.take().unwrap_or_default()
    }
}

impl State {
    fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
