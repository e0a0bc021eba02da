//! What a person sees while it runs: a moving line on a terminal, a plain line every few seconds elsewhere.
//!
//! All of it goes to standard error, so that `--dry-run` can be piped. Messages from any thread pass through [`say`]
//! and never tear the moving line.
//!
//! [`say`]: Progress::say

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

#[derive(Debug)]
pub(crate) struct Progress {
    view: View,
    last_line: Mutex<LastLine>,
}

/// When a plain line was printed, and at which mark.
#[derive(Debug)]
struct LastLine {
    at: Instant,
    mark: u64,
}

impl LastLine {
    fn new() -> Mutex<Self> {
        Mutex::new(Self { at: Instant::now(), mark: 0 })
    }
}

#[derive(Debug)]
enum View {
    Bar(ProgressBar),
    Plain,
    /// For tests: everything said, in order.
    #[cfg(test)]
    Captured(Mutex<Vec<String>>),
}

/// Between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

impl Progress {
    pub(crate) fn new(quiet_bar: bool) -> Self {
        let view = if std::io::stderr().is_terminal() && !quiet_bar {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(
                ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            View::Bar(bar)
        } else {
            View::Plain
        };
        Self { view, last_line: LastLine::new() }
    }

    #[cfg(test)]
    pub(crate) fn captured() -> Self {
        Self { view: View::Captured(Mutex::default()), last_line: LastLine::new() }
    }

    /// One message that stays on the screen.
    pub(crate) fn say(&self, text: &str) {
        match &self.view {
            View::Bar(bar) => bar.suspend(|| eprintln!("{text}")),
            View::Plain => eprintln!("{text}"),
            #[cfg(test)]
            View::Captured(said) => said.lock().unwrap().push(text.to_owned()),
        }
    }

    /// The current state, in words; rendered only when it is going to be shown. A plain line appears only when `mark`
    /// has changed since the last: a quiet log fills no other log.
    pub(crate) fn update(&self, mark: u64, state: impl FnOnce() -> String) {
        match &self.view {
            View::Bar(bar) => {
                bar.set_message(state());
                bar.tick();
            }
            View::Plain => {
                let Ok(mut last) = self.last_line.lock() else { return };
                if last.at.elapsed() >= LINE_INTERVAL && last.mark != mark {
                    *last = LastLine { at: Instant::now(), mark };
                    eprintln!("{}", state());
                }
            }
            #[cfg(test)]
            View::Captured(_) => {}
        }
    }

    /// Takes the moving line away.
    pub(crate) fn finish(&self) {
        if let View::Bar(bar) = &self.view {
            bar.finish_and_clear();
        }
    }

    #[cfg(test)]
    pub(crate) fn said(&self) -> String {
        match &self.view {
            View::Captured(said) => said.lock().unwrap().join("\n"),
            _ => String::new(),
        }
    }
}
