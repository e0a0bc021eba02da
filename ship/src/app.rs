//! One run of `peep ship`, from the command line to the exit code.
//!
//! The main thread parses; others read ahead, one packs and remembers, a few send. All queues between them are short and bounded:
//! when ingest is slow, sending waits, then packing, then parsing, then reading.

mod intake;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use peep_chassis::admin::HealthHandle;

use crate::admin;
use crate::args::{Args, Config, FollowFrom};
use crate::batch::Batch;
use crate::follow::{self, Plan};
use crate::interrupt::Interrupt;
use crate::journal::Journal;
use crate::listen::{Listener, ModuleListener};
use crate::outbox::{Item, Outbox};
use crate::progress::Progress;
use crate::report::{DAYS_ACCEPTED, Delivery, instant, span};
use crate::send::{Senders, SharedJournal, lock};
use crate::source::{self, CHUNKS, Message, Place};
use crate::time::now_ms;

use intake::Intake;

/// Runs `peep ship`. Messages and the summary go to standard error, the events of a dry run to standard output.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let key = std::env::var("PEEP_INGEST_KEY").ok();
    let config = match args.complete().and_then(|args| Config::new(args, key)) {
        Ok(config) => config,
        Err(problem) => {
            eprintln!("peep ship: {problem}");
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let interrupt = Interrupt::on_signal().context("listen for signals")?;
    let progress = Arc::new(Progress::new(config.target.is_none()));
    let health = config.admin.as_deref().map(admin::start).transpose()?;
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    let succeeded = ship(&config, &progress, health, &interrupt, &mut output)?;
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `EX_USAGE` of sysexits.h, as everywhere in peep.
const EXIT_USAGE: u8 = 64;

/// No event waits longer than this for its batch to fill.
const FLUSH_AFTER: Duration = Duration::from_millis(500);

/// True when every event was accepted, or is kept for the next run.
fn ship(
    config: &Config,
    progress: &Arc<Progress>,
    health: Option<HealthHandle>,
    interrupt: &Interrupt,
    output: &mut dyn Write,
) -> anyhow::Result<bool> {
    announce(config, progress);
    let shift_ms = if config.rebase { rebase(config, progress, interrupt)? } else { 0 };
    let started = Instant::now();
    let mut intake = Intake::new(config, shift_ms, Arc::clone(progress));
    let last_run_ms = config.state.as_deref().and_then(Journal::last_written_ms);
    let journal = open_journal(config)?;
    let known = journal.as_ref().map(|journal| lock(journal).paths().clone()).unwrap_or_default();
    let messages = start_reading(config, known, last_run_ms, interrupt)?;
    let sink = match &config.target {
        Some(target) => {
            let senders = Senders::start(target, journal.clone(), health, progress, interrupt);
            let outbox = senders.and_then(|senders| Outbox::start(senders, journal, target.compress));
            Sink::Ingest(outbox.context("start sending threads")?)
        }
        None => Sink::Output(output),
    };
    let delivery = Run { config, progress, interrupt, started, sink }.drive(messages, &mut intake)?;
    let report = intake.into_report();
    progress.finish();
    progress.say(&report.summary(delivery.as_ref(), started.elapsed()));
    Ok(report.succeeded(delivery.as_ref()))
}

fn open_journal(config: &Config) -> anyhow::Result<Option<SharedJournal>> {
    match &config.state {
        // Looking changes nothing.
        Some(_) if config.target.is_none() => Ok(None),
        Some(folder) => Ok(Some(Arc::new(Mutex::new(Journal::open(folder)?)))),
        None => Ok(None),
    }
}

/// Starts whatever reads. The channel closes when everything was read, or, if it has no end, on interrupt.
fn start_reading(
    config: &Config,
    known: BTreeMap<String, crate::journal::PathState>,
    last_run_ms: Option<i64>,
    interrupt: &Interrupt,
) -> anyhow::Result<Receiver<Message>> {
    if !config.is_endless() {
        return source::start(config.inputs.clone()).context("start reading thread");
    }
    let numbers = Arc::new(AtomicUsize::new(config.inputs.len()));
    let (sender, receiver) = sync_channel(CHUNKS);
    for address in &config.syslog {
        let listener = Listener::bind(address, config.service.clone(), Arc::clone(&numbers))?;
        let (sender, interrupt) = (sender.clone(), interrupt.clone());
        let run = move || drop(listener.run(&sender, &interrupt));
        std::thread::Builder::new().name("listen".to_owned()).spawn(run).context("start listening thread")?;
    }
    for path in &config.nginx {
        let listener = ModuleListener::bind(path, config.service.clone(), Arc::clone(&numbers))?;
        let (sender, interrupt) = (sender.clone(), interrupt.clone());
        let run = move || drop(listener.run(&sender, &interrupt));
        std::thread::Builder::new().name("nginx".to_owned()).spawn(run).context("start listening thread")?;
    }
    if config.follow.is_some() {
        let plan = Plan {
            inputs: config.inputs.clone(),
            patterns: config.globs.clone(),
            service: config.service.clone(),
            from: config.follow.unwrap_or(FollowFrom::End),
            known,
            last_run_ms,
            numbers,
        };
        let interrupt = interrupt.clone();
        // A closed receiver means that nobody wants more: nothing to report.
        let run = move || drop(follow::run(plan, &sender, &interrupt));
        std::thread::Builder::new().name("follow".to_owned()).spawn(run).context("start reading thread")?;
    }
    Ok(receiver)
}

fn announce(config: &Config, progress: &Progress) {
    if config.service_guessed {
        for input in &config.inputs {
            progress.say(&format!("{}: service {} (--service names another)", input.name(), input.service));
        }
    }
    if config.follow.is_some() && config.state.is_none() && config.target.is_some() {
        progress.say("nothing is remembered over a restart; --state FOLDER does");
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
    let messages = source::start(config.inputs.clone()).context("start reading thread")?;
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
    Ingest(Outbox),
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
        let mut pace = self.config.rate.map(Pace::new);
        let mut going = true;
        while going {
            let wait = intake.due_in(FLUSH_AFTER).unwrap_or(FLUSH_AFTER);
            match messages.recv_timeout(wait) {
                Ok(message) => going = self.take(message, intake, &mut pace)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            going &= self.flush(intake, FLUSH_AFTER)?;
            // A final answer may come when there is nothing more to hand on.
            going &= !self.is_stopped();
            self.show(intake);
            // A plain file stops at once. What has no end is ended by its reader, after a last look.
            going &= !self.interrupt.is_raised() || (self.config.is_endless() && !reads_stdin(self.config));
        }
        self.flush(intake, Duration::ZERO)?;
        // Unblocks the reading threads.
        drop(messages);
        match self.sink {
            Sink::Ingest(outbox) => {
                outbox.put(Item::Reached(intake.take_positions()));
                Ok(Some(outbox.finish()))
            }
            Sink::Output(output) => output.flush().or_else(ignore_closed_pipe).map(|()| None).context("write events"),
        }
    }

    fn take(&mut self, message: Message, intake: &mut Intake, pace: &mut Option<Pace>) -> anyhow::Result<bool> {
        match message {
            Message::Lines { input, text, place } => {
                let going = self.take_lines(input, &text, place.as_ref(), intake, pace);
                intake.count();
                going
            }
            Message::Records { input, base_ms, bytes } => {
                let going = self.take_records(input, base_ms, &bytes, intake, pace);
                intake.count();
                going
            }
            Message::Standing { path, since_ms, positions } => {
                Ok(self.remember(Item::Standing { path, since_ms, positions }))
            }
            Message::Closed { input, path } => {
                intake.close_input(input);
                Ok(self.remember(Item::Gone { path }))
            }
            other => {
                intake.note(other);
                intake.count();
                Ok(true)
            }
        }
    }

    fn take_lines(
        &mut self,
        input: usize,
        text: &[u8],
        place: Option<&Place>,
        intake: &mut Intake,
        pace: &mut Option<Pace>,
    ) -> anyhow::Result<bool> {
        intake.inspect(input, text);
        let mut taken = 0;
        for line in lines(text) {
            if let Some(pace) = pace {
                // What is closed while it waits ends before this line.
                intake.reached(input, place, &text[..taken]);
                self.keep_pace(pace, intake)?;
            }
            taken = text.len().min(taken + line.len() + 1);
            if !intake.line(input, line) {
                continue;
            }
            intake.reached(input, place, &text[..taken]);
            if let Some(batch) = intake.close_batch(input)
                && !self.hand_on(batch)?
            {
                return Ok(false);
            }
            self.show(intake);
            if self.interrupt.is_raised() && !self.config.is_endless() {
                return Ok(false);
            }
        }
        intake.reached(input, place, text);
        Ok(true)
    }

    fn take_records(
        &mut self,
        input: usize,
        base_ms: u64,
        bytes: &[u8],
        intake: &mut Intake,
        pace: &mut Option<Pace>,
    ) -> anyhow::Result<bool> {
        for record in peep_nginx_record::records(bytes).flatten() {
            if let Some(pace) = pace {
                self.keep_pace(pace, intake)?;
            }
            if intake.record(input, base_ms, &record)
                && let Some(batch) = intake.close_batch(input)
                && !self.hand_on(batch)?
            {
                return Ok(false);
            }
        }
        self.show(intake);
        Ok(true)
    }

    /// Waits for this line's turn; an open batch that would wait too long goes first.
    fn keep_pace(&mut self, pace: &mut Pace, intake: &mut Intake) -> anyhow::Result<()> {
        let pause = pace.next();
        self.flush(intake, FLUSH_AFTER.saturating_sub(pause))?;
        if !pause.is_zero() {
            self.interrupt.sleep(pause);
        }
        Ok(())
    }

    /// Hands on every batch whose first event has waited for `waited_max`.
    fn flush(&mut self, intake: &mut Intake, waited_max: Duration) -> anyhow::Result<bool> {
        let mut going = true;
        while let Some(batch) = intake.close_due(waited_max) {
            going &= self.hand_on(batch)?;
        }
        Ok(going)
    }

    /// False: no use to go on.
    fn hand_on(&mut self, batch: Batch) -> anyhow::Result<bool> {
        match &mut self.sink {
            Sink::Ingest(outbox) => Ok(outbox.put(Item::Batch(batch))),
            Sink::Output(output) => match output.write_all(&batch.body).and_then(|()| output.flush()) {
                Ok(()) => Ok(true),
                Err(error) => ignore_closed_pipe(error).map(|()| false).context("write events"),
            },
        }
    }

    fn remember(&self, item: Item) -> bool {
        match &self.sink {
            Sink::Ingest(outbox) => outbox.put(item),
            Sink::Output(_) => true,
        }
    }

    fn is_stopped(&self) -> bool {
        matches!(&self.sink, Sink::Ingest(outbox) if outbox.is_stopped())
    }

    fn show(&self, intake: &Intake) {
        if let Sink::Ingest(outbox) = &self.sink {
            self.progress
                .update(intake.report().lines, || outbox.delivery().progress(intake.report(), self.started.elapsed()));
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
