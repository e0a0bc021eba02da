//! Lines to events: the part of a run that neither reads nor sends.
//!
//! In: a line and the input it came from. Out: the event, appended to the open batch, and an entry in the books.
//! Promised: each line is counted exactly once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::args::Config;
use crate::batch::{Batch, Batcher};
use crate::detect::{LineFormat, detect};
use crate::event::EventWriter;
use crate::line::Malformed;
use crate::progress::Progress;
use crate::report::{DAYS_ACCEPTED, Report};
use crate::route::{Admission, OTHER, Pattern, Routes, write_template};
use crate::source::{LINE_BYTES_MAX, Message};
use crate::time::{DurationUnit, now_ms};

pub(super) struct Intake {
    inputs: Vec<InputState>,
    /// By service.
    routes: HashMap<String, Routes>,
    patterns: Vec<Pattern>,
    format: LineFormat,
    duration_unit: Option<DurationUnit>,
    oldest_accepted_ms: i64,
    report: Report,
    progress: Arc<Progress>,
    template: String,
}

struct InputState {
    name: String,
    service: String,
    writer: EventWriter,
    line_number: u64,
    /// The format was named, or announced.
    format_known: bool,
}

impl Intake {
    pub(super) fn new(config: &Config, shift_ms: i64, progress: Arc<Progress>) -> Self {
        let inputs = config.inputs.iter().map(|input| InputState {
            name: input.name(),
            service: input.service.clone(),
            writer: EventWriter::new(&input.service, config.env.as_deref(), config.host.as_deref(), shift_ms),
            line_number: 0,
            format_known: config.format_named,
        });
        let routes = config.inputs.iter().map(|input| (input.service.clone(), Routes::new(config.routes_max)));
        Self {
            inputs: inputs.collect(),
            routes: routes.collect(),
            patterns: config.patterns.clone(),
            format: config.format,
            duration_unit: config.duration_unit,
            oldest_accepted_ms: now_ms() - DAYS_ACCEPTED * 86_400_000,
            report: Report { shift_ms, ..Report::default() },
            progress,
            template: String::new(),
        }
    }

    /// Says what an input looks like, once it looks like something.
    pub(super) fn inspect(&mut self, input: usize, text: &[u8]) {
        let state = &mut self.inputs[input];
        if state.format_known {
            return;
        }
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

    /// One line; gives back the batch that it filled.
    pub(super) fn line(&mut self, input: usize, line: &[u8], batcher: &mut Batcher) -> Option<Batch> {
        let state = &mut self.inputs[input];
        state.line_number += 1;
        self.report.lines += 1;
        let line = trimmed(line);
        if line.is_empty() {
            self.report.blank += 1;
            return None;
        }
        let parsed = if line.len() > LINE_BYTES_MAX { Err(Malformed::TooLong) } else { self.format.parse(line) };
        let access = match parsed {
            Ok(access) => access,
            Err(reason) => {
                self.report.malformed(reason, line, &state.name, state.line_number);
                return None;
            }
        };
        self.template.clear();
        write_template(&access.request.target, &self.patterns, &mut self.template);
        let route = match self.routes.get_mut(&state.service).map(|routes| routes.admit(&self.template)) {
            Some(Admission::Other { explanation }) => {
                if let Some(explanation) = explanation {
                    self.progress.say(&format!("{}: {explanation}", state.service));
                }
                OTHER
            }
            Some(Admission::Known) | None => &self.template,
        };
        let ended_ms = state.writer.ended_ms(&access);
        if ended_ms < self.oldest_accepted_ms {
            if self.report.too_old == 0 {
                self.progress.say(&format!(
                    "{}: events of more than {DAYS_ACCEPTED} days ago are refused by default; --rebase now moves a log to the present",
                    state.name
                ));
            }
            self.report.too_old += 1;
        }
        let overlong = EventWriter::is_overlong(&access);
        self.report.event(&access, ended_ms, overlong);
        batcher.push(|out| state.writer.write(&access, route, out))
    }

    /// Everything from the reading thread that is no line.
    pub(super) fn note(&mut self, message: Message) {
        match message {
            Message::Lines { .. } => debug_assert!(false, "lines are taken one by one"),
            Message::Oversized { input, head } => {
                let state = &mut self.inputs[input];
                state.line_number += 1;
                self.report.lines += 1;
                self.report.malformed(Malformed::TooLong, &head, &state.name, state.line_number);
            }
            Message::Note(text) => self.progress.say(&text),
            Message::Failed(problem) => {
                self.report.unreadable += 1;
                self.progress.say(&problem);
            }
        }
    }

    pub(super) fn report(&self) -> &Report {
        &self.report
    }

    pub(super) fn into_report(mut self) -> Report {
        self.report.routes = self.routes.values().map(Routes::len).sum();
        self.report.routes_refused = self.routes.values().map(Routes::refused).sum();
        self.report
    }
}

/// Without carriage return, spaces, the NULs that a truncated file is padded with, and a byte order mark.
pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let padding = line.iter().take_while(|&&byte| byte == 0).count();
    line[padding..].trim_ascii()
}
