//! A door for the fuzz target of access logs: one line, the whole way to its event.

use crate::args::Format;
use crate::detect::LineFormat;
use crate::event::EventWriter;
use crate::route;

/// The event of a line as NDJSON; `None` when the line is none.
pub fn event_of(line: &[u8]) -> Option<Vec<u8>> {
    let line = LineFormat::new(Format::Auto, None).parse(line).ok()?;
    let mut template = String::new();
    route::write_template(&line.request.target, &[], &mut template);
    let mut out = Vec::new();
    EventWriter::new("shop", None, None, 0).write(&line, &template, &mut out);
    Some(out)
}
