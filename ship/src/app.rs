//! One run of `peep ship`, from the command line to the exit code.
//!
//! The main thread parses; one thread reads ahead, a few threads send. All queues between them are short and bounded:
//! when ingest is slow, sending waits, then parsing, then reading.

mod intake;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::args::{Args, Config};
use crate::batch::{Batch, Batcher};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::report::{DAYS_ACCEPTED, Delivery, instant, span};
use crate::send::Senders;
use crate::source::{self, Message};
use crate::time::now_ms;

use intake::Intake;

/// Runs `peep ship`. Messages and the summary go to standard error, the events of a dry run to standard output.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let key = std::env::var("PEEP_INGEST_KEY").ok();
    let config = match Config::new(args, key) {
        Ok(config) => config,
        Err(problem) => {
            eprintln!("peep ship: {problem}");
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let interrupt = Interrupt::on_signal().context("listen for signals")?;
    let progress = Arc::new(Progress::new(config.target.is_none()));
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    let succeeded = ship(&config, &progress, &interrupt, &mut output)?;
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `EX_USAGE` of sysexits.h, as everywhere in peep.
const EXIT_USAGE: u8 = 64;

/// No event waits longer than this for its batch to fill.
const FLUSH_AFTER: Duration = Duration::from_millis(500);

/// True when every event was accepted.
fn ship(
    config: &Config,
    progress: &Arc<Progress>,
    interrupt: &Interrupt,
    output: &mut dyn Write,
) -> anyhow::Result<bool> {
    announce(config, progress);
    let shift_ms = if config.rebase { rebase(config, progress, interrupt)? } else { 0 };
    let started = Instant::now();
    let mut intake = Intake::new(config, shift_ms, Arc::clone(progress));
    let sink = match &config.target {
        Some(target) => Sink::Ingest(Senders::start(target, progress, interrupt).context("start sending threads")?),
        None => Sink::Output(output),
    };
    let messages =
        source::start(config.inputs.clone(), config.follow, interrupt.clone()).context("start reading thread")?;
    let delivery = Run { config, progress, interrupt, started, sink }.drive(messages, &mut intake)?;
    let report = intake.into_report();
    progress.finish();
    progress.say(&report.summary(delivery.as_ref(), started.elapsed()));
    Ok(report.succeeded(delivery.as_ref()))
}

fn announce(config: &Config, progress: &Progress) {
    if config.service_guessed {
        for input in &config.inputs {
            progress.say(&format!("{}: service {} (--service names another)", input.name(), input.service));
        }
    }
    if let Some(target) = &config.target
        && target.url.starts_with("http://")
        && !target.loopback
    {
        progress.say(&format!("the key travels unencrypted to {}; prefer https outside a trusted network", target.url));
    }
}

/// Reads everything once for the last point in time, and says what the shift means.
fn rebase(config: &Config, progress: &Arc<Progress>, interrupt: &Interrupt) -> anyhow::Result<i64> {
    let messages = source::start(config.inputs.clone(), None, interrupt.clone()).context("start reading thread")?;
    let mut range: Option<(i64, i64)> = None;
    for message in messages {
        let Message::Lines { text, .. } = message else { continue };
        for line in text.split(|&byte| byte == b'\n') {
            if let Ok(line) = config.format.parse(intake::trimmed(line)) {
                let at = line.ended_ms;
                range = Some(range.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
            }
        }
        if interrupt.is_raised() {
            break;
        }
    }
    let Some((first, last)) = range else { return Ok(0) };
    let shift_ms = now_ms() - last;
    let length = last - first;
    let fits = match length > DAYS_ACCEPTED * 86_400_000 {
        true => format!(
            "; that is longer than the {DAYS_ACCEPTED} days that ingest looks back by default, the oldest events will be rejected"
        ),
        false => String::new(),
    };
    progress.say(&format!(
        "rebase: the log runs from {} to {} ({}); shifted by {} so that it ends now{fits}",
        instant(first),
        instant(last),
        span(length),
        span(shift_ms)
    ));
    Ok(shift_ms)
}

/// Where closed batches go.
enum Sink<'a> {
    Ingest(Senders),
    Output(&'a mut dyn Write),
}

struct Run<'a> {
    config: &'a Config,
    progress: &'a Progress,
    interrupt: &'a Interrupt,
    started: Instant,
    sink: Sink<'a>,
}

impl Run<'_> {
    /// Parses what is read and hands on what is full or due, until the input ends or nothing more can be sent.
    fn drive(mut self, messages: Receiver<Message>, intake: &mut Intake) -> anyhow::Result<Option<Delivery>> {
        let mut batcher = Batcher::new(self.config.batch_events, self.config.batch_bytes);
        let mut pace = self.config.rate.map(Pace::new);
        let mut going = true;
        while going {
            let wait = batcher.due_in(FLUSH_AFTER).unwrap_or(FLUSH_AFTER);
            match messages.recv_timeout(wait) {
                Ok(message) => going = self.take(message, intake, &mut batcher, &mut pace)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if batcher.due_in(FLUSH_AFTER).is_some_and(|due| due.is_zero()) {
                going &= self.flush(&mut batcher)?;
            }
            self.show(intake);
            // A plain file stops at once. A followed one is ended by its reader, after a last look.
            going &= !self.interrupt.is_raised() || (self.config.follow.is_some() && !reads_stdin(self.config));
        }
        self.flush(&mut batcher)?;
        // Unblocks the reading thread.
        drop(messages);
        match self.sink {
            Sink::Ingest(senders) => Ok(Some(senders.finish())),
            Sink::Output(output) => output.flush().or_else(ignore_closed_pipe).map(|()| None).context("write events"),
        }
    }

    fn take(
        &mut self,
        message: Message,
        intake: &mut Intake,
        batcher: &mut Batcher,
        pace: &mut Option<Pace>,
    ) -> anyhow::Result<bool> {
        let Message::Lines { input, text } = message else {
            intake.note(message);
            return Ok(true);
        };
        intake.inspect(input, &text);
        for line in lines(&text) {
            if let Some(pace) = pace {
                self.keep_pace(pace, batcher)?;
            }
            let Some(batch) = intake.line(input, line, batcher) else { continue };
            if !self.hand_on(batch)? {
                return Ok(false);
            }
            self.show(intake);
            if self.interrupt.is_raised() && self.config.follow.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits for this line's turn; an open batch that would wait too long goes first.
    fn keep_pace(&mut self, pace: &mut Pace, batcher: &mut Batcher) -> anyhow::Result<()> {
        let pause = pace.next();
        if batcher.due_in(FLUSH_AFTER).is_some_and(|due| due <= pause) {
            self.flush(batcher)?;
        }
        if !pause.is_zero() {
            self.interrupt.sleep(pause);
        }
        Ok(())
    }

    fn flush(&mut self, batcher: &mut Batcher) -> anyhow::Result<bool> {
        batcher.close().map_or(Ok(true), |batch| self.hand_on(batch))
    }

    /// False: no use to go on.
    fn hand_on(&mut self, batch: Batch) -> anyhow::Result<bool> {
        match &mut self.sink {
            Sink::Ingest(senders) => Ok(senders.send(batch)),
            Sink::Output(output) => match output.write_all(&batch.body).and_then(|()| output.flush()) {
                Ok(()) => Ok(true),
                Err(error) => ignore_closed_pipe(error).map(|()| false).context("write events"),
            },
        }
    }

    fn show(&self, intake: &Intake) {
        if let Sink::Ingest(senders) = &self.sink {
            self.progress
                .update(intake.report().lines, || senders.delivery().progress(intake.report(), self.started.elapsed()));
        }
    }
}

/// `--dry-run | head` is no error.
fn ignore_closed_pipe(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

fn reads_stdin(config: &Config) -> bool {
    config.inputs.iter().any(|input| input.path.is_none())
}

/// The lines of a chunk, without their line feeds.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        Some(line)
    })
}

/// An even pace of so many lines a second.
struct Pace {
    interval: Duration,
    due: Instant,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second, due: Instant::now() }
    }

    /// How long to wait now. What was lost while ingest was slow is not caught up.
    fn next(&mut self) -> Duration {
        let now = Instant::now();
        self.due = (self.due + self.interval).max(now.checked_sub(Duration::from_millis(100)).unwrap_or(now));
        self.due.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests;
