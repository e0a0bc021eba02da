//! Lines to events: the part of a run that neither reads nor sends.
//!
//! In: a line and the input it came from. Out: the event, appended to the open batch of its service, and an entry in the books.
//! Promised: each line is counted exactly once.

use std::sync::Arc;
use std::time::Duration;

use crate::args::{Config, Input};
use crate::batch::{Batch, Lane};
use crate::detect::{LineFormat, detect};
use crate::event::EventWriter;
use crate::line::{AccessLine, Malformed};
use crate::metrics;
use crate::nginx::Requested;
use crate::position::Position;
use crate::progress::Progress;
use crate::report::{DAYS_ACCEPTED, Report};
use crate::route::{Admission, OTHER, Pattern, Routes, write_template};
use crate::source::{LINE_BYTES_MAX, Message, Place};
use crate::time::{DurationUnit, now_ms};

pub(super) struct Intake {
    /// By number; one that was closed leaves a gap.
    inputs: Vec<Option<InputState>>,
    services: Vec<Service>,
    patterns: Vec<Pattern>,
    format: LineFormat,
    format_named: bool,
    duration_unit: Option<DurationUnit>,
    env: Option<String>,
    host: Option<String>,
    routes_max: usize,
    batch_events: u32,
    batch_bytes: usize,
    oldest_accepted_ms: i64,
    report: Report,
    progress: Arc<Progress>,
    template: String,
}

struct InputState {
    name: String,
    /// Index of its service.
    service: usize,
    writer: EventWriter,
    line_number: u64,
    /// The format was named, or announced.
    format_known: bool,
}

/// What the inputs of one service share.
struct Service {
    name: String,
    routes: Routes,
    lane: Lane,
}

impl Intake {
    pub(super) fn new(config: &Config, shift_ms: i64, progress: Arc<Progress>) -> Self {
        let mut intake = Self {
            inputs: Vec::new(),
            services: Vec::new(),
            patterns: config.patterns.clone(),
            format: config.format,
            format_named: config.format_named,
            duration_unit: config.duration_unit,
            env: config.env.clone(),
            host: config.host.clone(),
            routes_max: config.routes_max,
            batch_events: config.batch_events,
            batch_bytes: config.batch_bytes,
            oldest_accepted_ms: now_ms() - DAYS_ACCEPTED * 86_400_000,
            report: Report { shift_ms, ..Report::default() },
            progress,
            template: String::new(),
        };
        for (number, input) in config.inputs.iter().enumerate() {
            intake.open_input(number, input);
        }
        intake
    }

    fn open_input(&mut self, number: usize, input: &Input) {
        let service = self.service(&input.service);
        if self.inputs.len() <= number {
            self.inputs.resize_with(number + 1, || None);
        }
        let shift_ms = self.report.shift_ms;
        self.inputs[number] = Some(InputState {
            name: input.name(),
            service,
            writer: EventWriter::new(&input.service, self.env.as_deref(), self.host.as_deref(), shift_ms),
            line_number: 0,
            format_known: self.format_named,
        });
    }

    fn service(&mut self, name: &str) -> usize {
        if let Some(index) = self.services.iter().position(|service| service.name == name) {
            return index;
        }
        self.services.push(Service {
            name: name.to_owned(),
            routes: Routes::new(self.routes_max),
            lane: Lane::new(self.batch_events, self.batch_bytes),
        });
        self.services.len() - 1
    }

    /// Nothing more will come from it.
    pub(super) fn close_input(&mut self, number: usize) {
        if let Some(input) = self.inputs.get_mut(number) {
            *input = None;
        }
    }

    /// Says what an input looks like, once it looks like something.
    pub(super) fn inspect(&mut self, input: usize, text: &[u8]) {
        let Some(state) = self.inputs[input].as_mut().filter(|state| !state.format_known) else { return };
        match detect(text, self.duration_unit) {
            Some(sentence) => {
                state.format_known = true;
                self.progress.say(&format!("{}: {sentence}", state.name));
            }
            None if state.line_number == 0 && !text.trim_ascii().is_empty() => {
                self.progress.say(&format!(
                    "{}: the first lines are no access log lines (nginx or Apache combined, or JSON); looking further",
                    state.name
                ));
            }
            None => {}
        }
    }

    /// One line; true when its event has filled the batch.
    pub(super) fn line(&mut self, input: usize, line: &[u8]) -> bool {
        let Some(state) = self.inputs[input].as_mut() else { return false };
        state.line_number += 1;
        self.report.lines += 1;
        let line = trimmed(line);
        if line.is_empty() {
            self.report.blank += 1;
            return false;
        }
        let parsed = if line.len() > LINE_BYTES_MAX { Err(Malformed::TooLong) } else { self.format.parse(line) };
        match parsed {
            Ok(access) => self.access(input, &access),
            Err(reason) => {
                self.report.malformed(reason, line, &state.name, state.line_number);
                false
            }
        }
    }

    /// One record of the nginx module; true when its event has filled the batch.
    pub(super) fn record(&mut self, input: usize, base_ms: u64, record: &peep_nginx_record::Record<'_>) -> bool {
        match Requested::read(record, base_ms) {
            Some(requested) => {
                let Some(state) = self.inputs[input].as_mut() else { return false };
                state.line_number += 1;
                self.report.lines += 1;
                self.access(input, &requested.as_line())
            }
            None => {
                self.refuse(input, Malformed::NoRecord, record.bytes);
                false
            }
        }
    }

    /// What cannot be understood is counted as a line of its own.
    fn refuse(&mut self, input: usize, reason: Malformed, bytes: &[u8]) {
        let Some(state) = self.inputs[input].as_mut() else { return };
        state.line_number += 1;
        self.report.lines += 1;
        self.report.malformed(reason, bytes, &state.name, state.line_number);
    }

    /// The event of a request; true when it has filled the batch.
    fn access(&mut self, input: usize, access: &AccessLine<'_>) -> bool {
        let Some(state) = self.inputs[input].as_ref() else { return false };
        self.template.clear();
        write_template(&access.request.target, &self.patterns, &mut self.template);
        let service = &mut self.services[state.service];
        let route = match service.routes.admit(&self.template) {
            Admission::Other { explanation } => {
                if let Some(explanation) = explanation {
                    self.progress.say(&format!("{}: {explanation}", service.name));
                }
                OTHER
            }
            Admission::Known => &self.template,
        };
        let ended_ms = state.writer.ended_ms(access);
        if ended_ms < self.oldest_accepted_ms {
            if self.report.too_old == 0 {
                self.progress.say(&format!(
                    "{}: events of more than {DAYS_ACCEPTED} days ago are refused by default; --rebase now moves a log to the present",
                    state.name
                ));
            }
            self.report.too_old += 1;
        }
        let overlong = EventWriter::is_overlong(access);
        self.report.event(access, ended_ms, overlong);
        service.lane.push(|out| state.writer.write(access, route, out))
    }

    /// The file of this input is taken up to the end of `text`, which begins at `place`.
    pub(super) fn reached(&mut self, input: usize, place: Option<&Place>, text: &[u8]) {
        if let (Some(place), Some(lane)) = (place, self.lane(input)) {
            lane.reached(place.behind(text));
        }
    }

    /// The batch of this input's service so far.
    pub(super) fn close_batch(&mut self, input: usize) -> Option<Batch> {
        self.lane(input)?.close()
    }

    fn lane(&mut self, input: usize) -> Option<&mut Lane> {
        let service = self.inputs[input].as_ref()?.service;
        Some(&mut self.services[service].lane)
    }

    /// How long the batch that is due first may still wait.
    pub(super) fn due_in(&self, waited_max: Duration) -> Option<Duration> {
        self.services.iter().filter_map(|service| service.lane.due_in(waited_max)).min()
    }

    /// A batch whose first event has waited for `waited_max`.
    pub(super) fn close_due(&mut self, waited_max: Duration) -> Option<Batch> {
        let due = |service: &&mut Service| service.lane.due_in(waited_max).is_some_and(|left| left.is_zero());
        self.services.iter_mut().find(due)?.lane.close()
    }

    /// Of lines that made no event, once every batch is closed.
    pub(super) fn take_positions(&mut self) -> Vec<Position> {
        self.services.iter_mut().flat_map(|service| service.lane.take_positions()).collect()
    }

    /// Tells the metrics how the books stand.
    pub(super) fn count(&self) {
        metrics::lines(self.report.events, self.report.malformed_count(), self.report.blank);
    }

    /// Everything from the reading thread that is no line.
    pub(super) fn note(&mut self, message: Message) {
        match message {
            Message::Opened { input, as_input } => self.open_input(input, &as_input),
            Message::Oversized { input, head } => self.refuse(input, Malformed::TooLong, &head),
            Message::Unreadable { input, bytes } => self.refuse(input, Malformed::NoRecord, &bytes),
            Message::Note(text) => self.progress.say(&text),
            Message::Failed(problem) => {
                self.report.unreadable += 1;
                self.progress.say(&problem);
            }
            Message::Lines { .. } | Message::Records { .. } | Message::Standing { .. } | Message::Closed { .. } => {
                debug_assert!(false, "taken by the run itself");
            }
        }
    }

    pub(super) fn report(&self) -> &Report {
        &self.report
    }

    pub(super) fn into_report(mut self) -> Report {
        self.report.routes = self.services.iter().map(|service| service.routes.len()).sum();
        self.report.routes_refused = self.services.iter().map(|service| service.routes.refused()).sum();
        self.report
    }
}

/// Without carriage return, spaces, the NULs that a truncated file is padded with, and a byte order mark.
pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let padding = line.iter().take_while(|&&byte| byte == 0).count();
    line[padding..].trim_ascii()
}
