//! The body of `POST /v1/events` to checked events, decoded once.
//!
//! Arrives: the decompressed body (one object, an array, or NDJSON). Leaves: accepted events pushed straight
//! into a [`RecordBuilder`], and one [`Rejection`] with index, code and message for every other event. The good
//! events of a body are never lost to a bad one beside them.
//!
//! Two ways through, one result. `scan` is a scanner for exactly this schema: it borrows, allocates nothing
//! and gives up at the first thing out of the ordinary (an escape, a nested value, a wrong type). `field` then
//! decodes that one event with `serde_json` and knows how to name what is wrong. A property test holds the two
//! against each other. A plain event costs about a third of what `serde_json` alone does (see `benches/`).
//!
//! Does not: read sockets, decompress, know about keys beyond the environment an event must name.

use wide::{i16x8, u8x16};

use crate::limits;
use crate::record::RecordBuilder;

mod extent;

mod scan;

mod field;

mod time;

pub(crate) use extent::depth_of;
pub(crate) use field::shown;
pub(crate) use time::told_apart;

/// What the receiver knows and the event must agree with.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The environment the key is bound to, if it is.
    pub bound_env: Option<&'a str>,
    /// Events that ended longer ago than this are refused, milliseconds.
    pub age_ms_max: i64,
    /// Events that end further ahead than this are refused (clock skew), milliseconds.
    pub ahead_ms_max: i64,
    /// Events in one body.
    pub events_max: usize,
    /// Bytes of one event's JSON.
    pub event_bytes_max: usize,
    /// Nesting of one event's JSON.
    pub depth_max: usize,
    /// Whether the sender says that each line is an event (`application/x-ndjson`).
    pub lines: bool,
}

/// An event that was not accepted, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Position in the body, from 0.
    pub index: usize,
    /// Stable and machine-readable.
    pub code: RejectionCode,
    /// Names the field and the fix.
    pub message: String,
}

/// The whole body was refused; nothing was accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not JSON in any of the accepted shapes.
    #[error("{0}")]
    InvalidJson(String),
    /// More events than one request may carry.
    #[error("the body holds more than {0} events; send them in several requests")]
    TooManyEvents(usize),
}

macro_rules! codes {
    ($($name:ident = $code:literal),+ $(,)?) => {
        /// Why one event was refused. The text is part of the API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum RejectionCode { $(#[doc = concat!("`", $code, "`")] $name),+ }

        impl RejectionCode {
            /// Every code, for documentation and metrics.
            pub const ALL: &'static [RejectionCode] = &[$(RejectionCode::$name),+];

            /// The code in answers and metric labels.
            pub fn as_str(self) -> &'static str {
                match self { $(RejectionCode::$name => $code),+ }
            }
        }
    };
}

codes! {
    InvalidJson = "invalid_json",
    InvalidUtf8 = "invalid_utf8",
    TooDeep = "too_deep",
    EventTooLarge = "event_too_large",
    NotAnObject = "not_an_object",
    MissingService = "missing_service",
    InvalidService = "invalid_service",
    InvalidDuration = "invalid_duration",
    InvalidTimestamp = "invalid_ts",
    TimestampTooOld = "ts_too_old",
    TimestampInFuture = "ts_in_future",
    InvalidRoute = "invalid_route",
    InvalidMethod = "invalid_method",
    InvalidStatus = "invalid_status",
    InvalidError = "invalid_error",
    InvalidEnv = "invalid_env",
    EnvMismatch = "env_mismatch",
    InvalidHost = "invalid_host",
    InvalidVersion = "invalid_version",
    InvalidBytes = "invalid_bytes",
    InvalidTraceId = "invalid_trace_id",
    InvalidSpanId = "invalid_span_id",
    InvalidSource = "invalid_source",
    InvalidAttrs = "invalid_attrs",
}

/// What one event's text comes to: pushed, or why not.
type Outcome = Result<(), (RejectionCode, String)>;

/// Decodes bodies. Keeps its scratch memory between calls; one per connection or thread.
#[derive(Debug, Default)]
pub struct Decoder {
    scratch: scan::Scratch,
}

impl Decoder {
    /// Decodes a body into `record` (already started) and lists what was refused.
    ///
    /// # Errors
    /// [`BodyError`] when the body as a whole has no readable shape; `record` is then to be thrown away.
    pub fn decode(
        &mut self,
        body: &[u8],
        context: &Context<'_>,
        record: &mut RecordBuilder,
        rejected: &mut Vec<Rejection>,
    ) -> Result<(), BodyError> {
        // One pass over the whole body instead of one per string; a body that is not UTF-8 is checked event by event.
        let text = simdutf8::basic::from_utf8(body).ok();
        let mut batch = Batch { decoder: self, body, text, context, record, rejected, index: 0 };
        let start = extent::skip_blank(body, 0);
        match body.get(start) {
            None => Err(BodyError::InvalidJson("the body is empty; send a JSON object, an array or NDJSON".to_owned())),
            Some(b'[') if !context.lines => batch.array(start + 1),
            Some(b'{') if !context.lines => batch.object_or_lines(start),
            Some(_) if context.lines => batch.lines(start),
            Some(_) => Err(shapeless(&body[start..])),
        }
    }
}

/// One body on its way through.
struct Batch<'d, 'b> {
    decoder: &'d mut Decoder,
    body: &'b [u8],
    text: Option<&'b str>,
    context: &'d Context<'d>,
    record: &'d mut RecordBuilder,
    rejected: &'d mut Vec<Rejection>,
    index: usize,
}

impl Batch<'_, '_> {
    /// `[ event, event, … ]`
    fn array(&mut self, mut at: usize) -> Result<(), BodyError> {
        at = extent::skip_blank(self.body, at);
        if self.body.get(at) == Some(&b']') {
            return self.end(at + 1);
        }
        loop {
            at = self.element(at)?;
            at = extent::skip_blank(self.body, at);
            match self.body.get(at) {
                Some(b',') => at = extent::skip_blank(self.body, at + 1),
                Some(b']') => return self.end(at + 1),
                _ => return Err(self.not_separated(at)),
            }
        }
    }

    /// Behind an event stands neither another one nor the end.
    fn not_separated(&self, at: usize) -> BodyError {
        let after = self.index - 1;
        BodyError::InvalidJson(format!("the array breaks off after event {after} (byte {at}): expected `,` or `]`"))
    }

    /// Where an event must begin stands none, or one without an end.
    fn no_element(&self, at: usize) -> BodyError {
        let index = self.index;
        BodyError::InvalidJson(match self.body.get(at) {
            None => format!("the array breaks off before event {index} (byte {at}): expected an event"),
            Some(b']') => format!("the array ends with a comma: expected event {index} instead of `]` (byte {at})"),
            Some(&byte @ (b',' | b'}')) => {
                format!("event {index} is missing: expected an event instead of `{}` (byte {at})", char::from(byte))
            }
            Some(_) => {
                format!("event {index} (from byte {at} on) has no end: a quote, a brace or a bracket is not closed")
            }
        })
    }

    fn end(&self, at: usize) -> Result<(), BodyError> {
        match extent::skip_blank(self.body, at) {
            end if end == self.body.len() => Ok(()),
            end => Err(BodyError::InvalidJson(format!("unexpected text after the array (byte {end})"))),
        }
    }

    /// One array element: the scanner first, else find its end and ask the slow way.
    fn element(&mut self, at: usize) -> Result<usize, BodyError> {
        if let Some(end) = self.scan(at, scan::Ending::Anything)? {
            return Ok(end);
        }
        let extent = extent::of_value(self.body, at).ok_or_else(|| self.no_element(at))?;
        self.slow(at, extent.end, extent.depth)?;
        Ok(extent.end)
    }

    /// A body that starts with `{`: one object (perhaps over several lines), or NDJSON sent as plain JSON.
    fn object_or_lines(&mut self, at: usize) -> Result<(), BodyError> {
        if let Some(end) = self.scan(at, scan::Ending::Anything)? {
            let next = extent::skip_blank(self.body, end);
            if next == self.body.len() {
                return Ok(());
            }
            return match memchr::memchr(b'\n', &self.body[end..next]) {
                Some(_) => self.lines(next),
                None => Err(BodyError::InvalidJson(format!(
                    "unexpected text after the first object (byte {next}): put each event on a line of its own"
                ))),
            };
        }
        // Broken or unusual. If its first line stands alone as an object, the body is lines.
        let line_end = memchr::memchr(b'\n', &self.body[at..]).map_or(self.body.len(), |found| at + found);
        match extent::of_value(self.body, at) {
            Some(extent) if extent::skip_blank(self.body, extent.end) == self.body.len() => {
                self.slow(at, extent.end, extent.depth)
            }
            Some(extent) if extent.end <= line_end => self.lines(at),
            // An object over several lines, and more behind it. Only of valid JSON is it certain where it ends.
            Some(extent) if self.ends_a_line(extent.end) && is_json(&self.body[at..extent.end]) => {
                self.slow(at, extent.end, extent.depth)?;
                self.lines(extent.end)
            }
            _ if extent::of_value(&self.body[..line_end], at).is_some() || self.looks_like_lines(line_end) => {
                self.lines(at)
            }
            _ => {
                let error = serde_json::from_slice::<serde::de::IgnoredAny>(&self.body[at..]).err();
                let cause = error.map_or_else(|| "cut short".to_owned(), |error| error.to_string());
                Err(BodyError::InvalidJson(format!("the body is not valid JSON: {cause}")))
            }
        }
    }

    /// Whether nothing but white space stands between here and the end of the line.
    fn ends_a_line(&self, at: usize) -> bool {
        let next = extent::skip_blank(self.body, at);
        memchr::memchr(b'\n', &self.body[at..next]).is_some()
    }

    /// Whether another event starts on a later line: then a broken line is one bad event, not a bad body.
    fn looks_like_lines(&self, line_end: usize) -> bool {
        let mut rest = self.body.get(line_end..).unwrap_or_default();
        while let Some(found) = memchr::memchr(b'\n', rest) {
            rest = &rest[found + 1..];
            if rest.first() == Some(&b'{') {
                return true;
            }
        }
        false
    }

    /// One event a line; blank lines are nothing.
    fn lines(&mut self, mut at: usize) -> Result<(), BodyError> {
        loop {
            at = extent::skip_blank(self.body, at);
            if at == self.body.len() {
                return Ok(());
            }
            at = match self.scan(at, scan::Ending::Line)? {
                Some(end) => end,
                None => self.slow_line(at)?,
            };
        }
    }

    /// A line that the scanner passes on; returns where it ends.
    fn slow_line(&mut self, start: usize) -> Result<usize, BodyError> {
        let line_end = memchr::memchr(b'\n', &self.body[start..]).map_or(self.body.len(), |found| start + found);
        let end =
            line_end - self.body[start..line_end].iter().rev().take_while(|byte| extent::is_blank(**byte)).count();
        let depth = depth_of(&self.body[start..end]);
        self.slow(start, end, depth)?;
        Ok(line_end)
    }

    /// The fast way. `Some(end)` when the event was accepted.
    fn scan(&mut self, at: usize, ending: scan::Ending) -> Result<Option<usize>, BodyError> {
        let Some(text) = self.text else { return Ok(None) };
        if self.index >= self.context.events_max {
            return Err(BodyError::TooManyEvents(self.context.events_max));
        }
        let scanned = scan::event(text, at, ending, self.context, &mut self.decoder.scratch, self.record);
        if scanned.is_some() {
            self.index += 1;
        }
        Ok(scanned)
    }

    /// The thorough way: every event gets an outcome with a reason.
    fn slow(&mut self, start: usize, end: usize, depth: usize) -> Result<(), BodyError> {
        if self.index >= self.context.events_max {
            return Err(BodyError::TooManyEvents(self.context.events_max));
        }
        let outcome = self.slow_outcome(&self.body[start..end], depth);
        if let Err((code, message)) = outcome {
            self.rejected.push(Rejection { index: self.index, code, message });
        }
        self.index += 1;
        Ok(())
    }

    fn slow_outcome(&mut self, event: &[u8], depth: usize) -> Outcome {
        if event.len() > self.context.event_bytes_max {
            let message = format!(
                "the event is {} bytes long, at most {} are taken; shorten `error` or `attrs`",
                event.len(),
                self.context.event_bytes_max
            );
            return Err((RejectionCode::EventTooLarge, message));
        }
        if depth > self.context.depth_max {
            let message =
                format!("nested {depth} levels deep, at most {} are taken; send `attrs` flat", self.context.depth_max);
            return Err((RejectionCode::TooDeep, message));
        }
        let text = std::str::from_utf8(event).map_err(|error| {
            let message = format!("not UTF-8 at byte {} of the event; encode text as UTF-8", error.valid_up_to());
            (RejectionCode::InvalidUtf8, message)
        })?;
        field::event(text, self.context, &mut self.decoder.scratch.attrs, self.record)
    }
}

/// Says what is wrong with a body that does not begin as one can.
fn shapeless(body: &[u8]) -> BodyError {
    BodyError::InvalidJson(if body.starts_with(BYTE_ORDER_MARK.as_bytes()) {
        format!("the body {BEGINS_WITH_A_MARK}")
    } else {
        "the body must be a JSON object, an array of objects, or NDJSON (one object a line)".to_owned()
    })
}

/// Whether bytes are one JSON value, however deep: nothing is kept and nothing recurses.
fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

/// Whether an event ended neither too long ago nor too far ahead.
#[inline]
fn is_timely(ended_ms: i64, received_ms: i64, context: &Context<'_>) -> bool {
    let age_ms = received_ms.saturating_sub(ended_ms);
    age_ms <= context.age_ms_max && age_ms >= -context.ahead_ms_max
}

/// [`is_timely`] with a reason.
fn check_time(ended_ms: i64, received_ms: i64, context: &Context<'_>) -> Outcome {
    let age_ms = received_ms.saturating_sub(ended_ms);
    if age_ms > context.age_ms_max {
        let (age, age_max) = told_apart(age_ms, context.age_ms_max, "h");
        let message = format!(
            "`ts` is {age} before the time of receipt, at most {age_max} are taken; check the unit (milliseconds) and the clock"
        );
        return Err((RejectionCode::TimestampTooOld, message));
    }
    if age_ms < -context.ahead_ms_max {
        let (ahead, ahead_max) = told_apart(-age_ms, context.ahead_ms_max, "s");
        let message = format!(
            "`ts` is {ahead} after the time of receipt, at most {ahead_max} are taken; check the unit (milliseconds) and the clock"
        );
        return Err((RejectionCode::TimestampInFuture, message));
    }
    Ok(())
}

pub(crate) fn is_name(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(|byte| NAME_BYTES[usize::from(byte)])
}

/// [`limits::is_name_byte`] as a table: one load a byte.
static NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = limits::is_name_byte(byte as u8);
        byte += 1;
    }
    table
};

/// Printable text of a bounded length: no control characters, which break logs and terminals.
pub(crate) fn is_plain(text: &str, bytes_max: usize) -> bool {
    text.len() <= bytes_max && !text.bytes().any(|byte| byte < 0x20 || byte == 0x7f)
}

/// `duration_ms` to µs, rounded to the nearest; `None` outside 0 to one hour.
///
/// For up to three places the product is within a hair of the integer, so rounding is exact.
fn duration_us(duration_ms: f64) -> Option<u64> {
    (duration_ms >= 0.0 && duration_ms <= limits::DURATION_MS_MAX as f64).then(|| (duration_ms * 1000.0).round() as u64)
}

/// `2 * N` hex digits to `N` bytes, sixteen digits at a step; no branch per digit, the verdict comes at the end.
#[inline]
pub(crate) fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut out = [0u8; N];
    let (texts, rest) = text.as_chunks::<16>();
    let (bytes, left) = out.as_chunks_mut::<8>();
    if texts.len() != bytes.len() || !rest.is_empty() || !left.is_empty() {
        return None;
    }
    let mut valid = u8x16::splat(0xff);
    for (bytes, text) in bytes.iter_mut().zip(texts) {
        let text = u8x16::new(*text);
        let digits = text - u8x16::splat(b'0');
        let letters = (text | u8x16::splat(0x20)) - u8x16::splat(b'a');
        let is_digit = digits.min(u8x16::splat(9)).simd_eq(digits);
        let is_letter = letters.min(u8x16::splat(5)).simd_eq(letters);
        valid &= is_digit | is_letter;
        let nibbles = (is_digit & digits) | (is_letter & (letters + u8x16::splat(10)));
        let nibbles = nibbles.to_array();
        let pairs = i16x8::new(std::array::from_fn(|at| i16::from_le_bytes([nibbles[2 * at], nibbles[2 * at + 1]])));
        let joined = ((pairs << 4) | (pairs >> 8)) & i16x8::splat(0xff);
        let joined = u8x16::narrow_i16x8(joined, joined).to_array();
        bytes.copy_from_slice(&joined[..8]);
    }
    valid.all().then_some(out)
}

/// What some editors write in front of a text. JSON has no place for it.
pub(crate) const BYTE_ORDER_MARK: &str = "\u{feff}";
/// What is said of such a text.
pub(crate) const BEGINS_WITH_A_MARK: &str =
    "begins with a byte order mark (EF BB BF), which is no JSON; send it without";

#[cfg(test)]
mod tests;
