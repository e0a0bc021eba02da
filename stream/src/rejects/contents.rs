//! The bytes of a dead letter, as far as they can be read.
//!
//! A letter holds one event as it lay in its record, or a whole record. Arrives: bytes that were set aside because something
//! was wrong with them, so nothing about them is trusted. Leaves: events, or the statement that there are none to be read.

use jiff::Timestamp;
use peep_wire::event::AttrValue;
use peep_wire::record::{self, Batch, EventRow};
use serde_json::{Map, Value, json};

/// What the bytes are.
#[derive(Debug)]
pub enum Contents<'a> {
    /// A whole record with an intact checksum.
    Record(Batch<'a>),
    /// One event.
    Event {
        /// The event; its time is right only when `is_timed`.
        row: EventRow<'a>,
        /// Whether it is known when the batch was received, to which an event's time is relative.
        is_timed: bool,
    },
    /// Neither.
    Unreadable,
}

impl<'a> Contents<'a> {
    /// Reads what can be read. A record checks itself, so an event cannot be mistaken for one.
    pub fn of(bytes: &'a [u8], received_ms: Option<i64>) -> Self {
        if let Ok(batch) = record::parse(bytes) {
            return Self::Record(batch);
        }
        match EventRow::decode(bytes, received_ms.unwrap_or(0)) {
            Ok(row) => Self::Event { row, is_timed: received_ms.is_some() },
            Err(_) => Self::Unreadable,
        }
    }

    /// The events, up to the first that cannot be read.
    pub fn events(&self) -> Vec<EventRow<'a>> {
        match self {
            Self::Record(batch) => batch.events().map_while(Result::ok).collect(),
            Self::Event { row, .. } => vec![*row],
            Self::Unreadable => Vec::new(),
        }
    }

    /// The first `count` events as JSON.
    pub fn preview(&self, count: usize) -> Value {
        let is_timed = !matches!(self, Self::Event { is_timed: false, .. });
        let rows = match self {
            Self::Record(batch) => batch.events().map_while(Result::ok).take(count).collect(),
            _ => self.events(),
        };
        rows.iter().map(|row| event(row, is_timed)).collect()
    }
}

/// An event as its sender would write it; fields that were not sent are left out.
pub fn event(row: &EventRow<'_>, is_timed: bool) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    let ts = Timestamp::from_millisecond(row.ended_ms).ok().filter(|_| is_timed);
    put("ts", ts.map(|ts| ts.to_string().into()));
    match row.series.decode() {
        Ok(series) => {
            put("service", Some(text(series.service)));
            put("env", Some(text(series.env)));
            put("route", Some(text(series.route)));
            put("method", Some(series.method).filter(|method| !method.is_empty()).map(Value::from));
            put("status", Some(series.status).filter(|status| *status != 0).map(Value::from));
        }
        Err(_) => put("series_bytes", Some(hex(row.series.as_bytes()).into())),
    }
    put("duration_ms", row.duration_us.map(|us| json!(us as f64 / 1000.0)));
    put("error", row.error.map(text));
    put("host", row.host.map(text));
    put("version", row.version.map(text));
    put("source", row.source.map(text));
    put("bytes_in", row.bytes_in.map(Value::from));
    put("bytes_out", row.bytes_out.map(Value::from));
    put("trace_id", row.trace_id.map(|id| hex(&id).into()));
    put("span_id", row.span_id.map(|id| hex(&id).into()));
    let attrs: Map<String, Value> = row.attrs.iter().map_while(Result::ok).map(attr).collect();
    put("attrs", (!attrs.is_empty()).then_some(Value::Object(attrs)));
    Value::Object(fields)
}

fn attr((name, value): (&str, AttrValue<'_>)) -> (String, Value) {
    let value = match value {
        AttrValue::Text(value) => text(value),
        AttrValue::Number(number) => json!(number),
        AttrValue::Flag(flag) => json!(flag),
    };
    (name.to_owned(), value)
}

/// Long texts are cut: a preview is for recognising.
fn text(text: &str) -> Value {
    let mut shown: String = text.chars().take(TEXT_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TEXT_CHARS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use peep_wire::event::{EncodedAttrs, Event};
    use peep_wire::method::Method;
    use peep_wire::record::RecordBuilder;
    use peep_wire::{KeyId, ProjectId};

    use super::*;

    fn record() -> bytes::Bytes {
        let mut builder = RecordBuilder::default();
        builder.start(1_795_183_200_000);
        for number in 0..5u16 {
            builder.push(&Event {
                service: "shop",
                env: "default",
                route: "/buy",
                method: Method::from_name("POST"),
                status: 200 + number,
                ended_ms: 1_795_183_199_000,
                duration_us: Some(12_500),
                error: Some("x".repeat(600).as_str()),
                host: None,
                version: None,
                source: None,
                bytes_in: None,
                bytes_out: Some(7),
                trace_id: Some([0xab; 16]),
                span_id: None,
                attrs: EncodedAttrs::EMPTY,
            });
        }
        builder.finish(ProjectId(7), KeyId(1), None).remove(0)
    }

    #[test]
    fn a_record_and_an_event_of_it_are_told_apart_and_read_alike() {
        let record = record();
        let whole = Contents::of(&record, None);
        let preview = whole.preview(2);
        assert_eq!(preview.as_array().map(Vec::len), Some(2));
        assert_eq!((&preview[1]["status"], &preview[1]["ts"]), (&json!(201), &json!("2026-11-20T13:59:59Z")));
        assert_eq!(preview[0]["error"].as_str().map(|text| text.chars().count()), Some(501));
        let first = whole.events()[0].raw;
        assert_eq!(Contents::of(first, Some(1_795_183_200_000)).preview(9)[0], preview[0]);
        assert_eq!(Contents::of(first, None).preview(9)[0]["ts"], Value::Null, "nobody knows when");
    }

    #[test]
    fn bytes_that_are_neither_have_no_preview() {
        let mut flipped = record().to_vec();
        flipped[40] ^= 1;
        for bytes in [&flipped[..], b"", b"\x0d", b"hello"] {
            assert!(matches!(Contents::of(bytes, Some(0)), Contents::Unreadable), "{bytes:?}");
        }
    }
}
