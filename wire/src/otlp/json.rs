//! `ExportTraceServiceRequest` in OTLP's JSON: ids in hex, enums as numbers, 64-bit numbers as text or numbers.
//!
//! Streamed: of a list only the element at hand is in memory. A resource may come after its spans, so those are first
//! found as text and read once it is known. What is of no use is skipped without recursion, however deep it nests; a span that
//! nests deeper than an event may is refused by itself, and with anything else too deep the body.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::convention::{Id, Names, Origin, Resource, Span, Value};
use super::{Batch, RequestError};
use crate::event::EncodedAttrs;
use crate::json::{BEGINS_WITH_A_MARK, BYTE_ORDER_MARK, depth_of, hex, shown};

type Text<'de> = Cow<'de, str>;

/// Reads a whole body.
pub(super) fn request(body: &[u8], batch: &mut Batch<'_>, names: &mut Names) -> Result<(), RequestError> {
    let text = simdutf8::basic::from_utf8(body).map_err(|_| RequestError::InvalidJson("it is not UTF-8".to_owned()))?;
    let mut request = Request { batch, names, stopped: None };
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Whole(&mut request).deserialize(&mut json).and_then(|()| json.end());
    match (request.stopped, read) {
        (Some(stopped), _) => Err(stopped),
        (None, Err(_)) if text.starts_with(BYTE_ORDER_MARK) => {
            Err(RequestError::InvalidJson(format!("it {BEGINS_WITH_A_MARK}")))
        }
        (None, read) => read.map_err(|error| RequestError::InvalidJson(error.to_string())),
    }
}

/// What an object's fields are read into.
trait Object<'de> {
    /// For errors.
    const NAME: &'static str;

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;

    /// Before the first field: objects of a list are read into the same place one after the other.
    fn begin(&mut self) {}

    /// After the last field.
    fn end<E: Error>(&mut self) -> Result<(), E> {
        Ok(())
    }
}

/// One object, or `null`, which is the same as no field.
struct Whole<'o, O>(&'o mut O);

impl<'de, O: Object<'de>> DeserializeSeed<'de> for Whole<'_, O> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, O: Object<'de>> Visitor<'de> for Whole<'_, O> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, a JSON object", O::NAME)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.begin();
        self.0.end()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.begin();
        while let Some(Name(name)) = map.next_key()? {
            self.0.field(&name, &mut map)?;
        }
        self.0.end()
    }
}

/// A list of objects, each read into the same place, or `null`.
struct Each<'o, O>(&'o mut O);

impl<'de, O: Object<'de>> DeserializeSeed<'de> for Each<'_, O> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, O: Object<'de>> Visitor<'de> for Each<'_, O> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of {}", O::NAME)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Whole(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

struct Request<'r, 'd> {
    batch: &'r mut Batch<'d>,
    names: &'r mut Names,
    /// Why reading was given up, when it was not for the JSON.
    stopped: Option<RequestError>,
}

impl<'de> Object<'de> for Request<'_, '_> {
    const NAME: &'static str = "ExportTraceServiceRequest";

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "resourceSpans" => {
                map.next_value_seed(Each(&mut ResourceSpans { request: self, resource: None, spans: None }))
            }
            _ => skip_shallow(map, name, self.batch.context.depth_max),
        }
    }
}

struct ResourceSpans<'o, 'r, 'd, 'de> {
    request: &'o mut Request<'r, 'd>,
    resource: Option<&'de RawValue>,
    spans: Option<&'de RawValue>,
}

impl<'de> Object<'de> for ResourceSpans<'_, '_, '_, 'de> {
    const NAME: &'static str = "ResourceSpans";

    fn begin(&mut self) {
        (self.resource, self.spans) = (None, None);
    }

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "resource" => self.resource = Some(map.next_value()?),
            "scopeSpans" => self.spans = Some(map.next_value()?),
            _ => skip_shallow(map, name, self.request.batch.context.depth_max)?,
        }
        Ok(())
    }

    fn end<E: Error>(&mut self) -> Result<(), E> {
        let mut resource = Resource::default();
        if let Some(text) = self.resource {
            let mut fields = ResourceFields { resource: &mut resource, depth: 0 };
            within("resource", text, |json| Whole(&mut fields).deserialize(json))?;
            check_depth("resource", fields.depth, self.request.batch.context.depth_max)?;
        }
        let Some(spans) = self.spans else { return Ok(()) };
        let request = &mut *self.request;
        let origin = Origin::new(&resource, request.batch.context, request.names);
        let span = Span::default();
        let mut spans_of =
            ScopeSpans { spans: Spans { batch: request.batch, origin, span, stopped: &mut request.stopped } };
        within("scopeSpans", spans, |json| Each(&mut spans_of).deserialize(json))
    }
}

/// Reads text that was found earlier.
fn within<'de, E: Error>(
    name: &str,
    text: &'de RawValue,
    read: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::StrRead<'de>>) -> Result<(), serde_json::Error>,
) -> Result<(), E> {
    read(&mut serde_json::Deserializer::from_str(text.get()))
        .map_err(|error| E::custom(format_args!("in `{name}`: {error} of it")))
}

struct ResourceFields<'o, 'de> {
    resource: &'o mut Resource<Text<'de>>,
    depth: usize,
}

impl<'de> Object<'de> for ResourceFields<'_, 'de> {
    const NAME: &'static str = "Resource";

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let depth = match name {
            "attributes" => attributes(map, |key, value| self.resource.take(key, value))?,
            _ => skip(map)?,
        };
        self.depth = self.depth.max(depth);
        Ok(())
    }
}

struct ScopeSpans<'o, 'd, 'a, 'de> {
    spans: Spans<'o, 'd, 'a, 'de>,
}

impl<'de> Object<'de> for ScopeSpans<'_, '_, '_, 'de> {
    const NAME: &'static str = "ScopeSpans";

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "spans" => map.next_value_seed(Each(&mut self.spans)),
            _ => skip_shallow(map, name, self.spans.batch.context.depth_max),
        }
    }
}

struct Spans<'o, 'd, 'a, 'de> {
    batch: &'o mut Batch<'d>,
    origin: Origin<'a>,
    span: Span<Text<'de>>,
    stopped: &'o mut Option<RequestError>,
}

impl<'de> Object<'de> for Spans<'_, '_, '_, 'de> {
    const NAME: &'static str = "Span";

    fn begin(&mut self) {
        self.span = Span::default();
        self.batch.attrs.clear();
    }

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let span = &mut self.span;
        match name {
            "traceId" => span.trace_id = id(&scalar(map)?.text("traceId")?),
            "spanId" => span.span_id = id(&scalar(map)?.text("spanId")?),
            "name" => span.name = Some(scalar(map)?.text("name")?),
            "kind" => span.kind = scalar(map)?.int("kind")? as i32,
            "startTimeUnixNano" => span.start_ns = scalar(map)?.nanoseconds("startTimeUnixNano")?,
            "endTimeUnixNano" => span.end_ns = scalar(map)?.nanoseconds("endTimeUnixNano")?,
            "status" => map.next_value_seed(Whole(&mut Status(span)))?,
            "attributes" => {
                let attrs: &mut EncodedAttrs = self.batch.attrs;
                let depth = attributes(map, |key, value| span.take(key, value, attrs))?;
                span.depth = span.depth.max(depth);
            }
            _ => span.depth = span.depth.max(skip(map)?),
        }
        Ok(())
    }

    fn end<E: Error>(&mut self) -> Result<(), E> {
        self.batch.finish(&self.origin, &self.span).map_err(|stopped| {
            *self.stopped = Some(stopped);
            E::custom("given up")
        })
    }
}

struct Status<'o, 'de>(&'o mut Span<Text<'de>>);

impl<'de> Object<'de> for Status<'_, 'de> {
    const NAME: &'static str = "Status";

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "code" => self.0.outcome = scalar(map)?.int("status.code")? as i32,
            "message" => self.0.outcome_message = Some(scalar(map)?.text("status.message")?),
            _ => self.0.depth = self.0.depth.max(skip(map)?),
        }
        Ok(())
    }
}

/// Hands on the attributes of a list, and returns how deep the deepest of them nests.
fn attributes<'de, A: MapAccess<'de>>(
    map: &mut A,
    take: impl FnMut(&str, Value<Text<'de>>),
) -> Result<usize, A::Error> {
    let mut pairs = KeyValue::new(take);
    map.next_value_seed(Each(&mut pairs))?;
    Ok(pairs.depth)
}

/// One attribute, handed on when it is complete.
struct KeyValue<'de, F> {
    key: Text<'de>,
    value: AnyValue<'de>,
    take: F,
    /// Of all that were read.
    depth: usize,
}

impl<'de, F: FnMut(&str, Value<Text<'de>>)> KeyValue<'de, F> {
    fn new(take: F) -> Self {
        KeyValue { key: Cow::Borrowed(""), value: AnyValue::default(), take, depth: 0 }
    }
}

impl<'de, F: FnMut(&str, Value<Text<'de>>)> Object<'de> for KeyValue<'de, F> {
    const NAME: &'static str = "KeyValue";

    fn begin(&mut self) {
        (self.key, self.value) = (Cow::Borrowed(""), AnyValue::default());
    }

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "key" => self.key = scalar(map)?.text("key")?,
            "value" => {
                map.next_value_seed(Whole(&mut self.value))?;
                self.depth = self.depth.max(self.value.depth);
            }
            _ => self.depth = self.depth.max(skip(map)?),
        }
        Ok(())
    }

    fn end<E: Error>(&mut self) -> Result<(), E> {
        (self.take)(&self.key, std::mem::replace(&mut self.value.value, Value::Other));
        Ok(())
    }
}

struct AnyValue<'de> {
    value: Value<Text<'de>>,
    depth: usize,
}

impl Default for AnyValue<'_> {
    fn default() -> Self {
        AnyValue { value: Value::Other, depth: 0 }
    }
}

impl<'de> Object<'de> for AnyValue<'de> {
    const NAME: &'static str = "AnyValue";

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        self.value = match name {
            "stringValue" => Value::Text(scalar(map)?.text("stringValue")?),
            "boolValue" => Value::Flag(scalar(map)?.flag("boolValue")?),
            "intValue" => Value::Int(scalar(map)?.int("intValue")?),
            "doubleValue" => Value::Double(scalar(map)?.double("doubleValue")?),
            known => {
                self.depth = self.depth.max(skip(map)?);
                match known {
                    "arrayValue" | "kvlistValue" | "bytesValue" => Value::Other,
                    _ => return Ok(()),
                }
            }
        };
        Ok(())
    }
}

/// Goes by a value and returns how deep it nests.
fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<usize, A::Error> {
    let text = map.next_value::<&RawValue>()?.get();
    Ok(if text.starts_with(['{', '[']) { depth_of(text.as_bytes()) } else { 0 })
}

/// Goes by a value of something that is not part of any one span.
fn skip_shallow<'de, A: MapAccess<'de>>(map: &mut A, name: &str, depth_max: usize) -> Result<(), A::Error> {
    let depth = skip(map)?;
    check_depth(name, depth, depth_max)
}

fn check_depth<E: Error>(name: &str, depth: usize, depth_max: usize) -> Result<(), E> {
    if depth <= depth_max {
        return Ok(());
    }
    let name = shown(name);
    Err(E::custom(format_args!("a value in `{name}` is nested {depth} levels deep, at most {depth_max} are taken")))
}

fn scalar<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Scalar<'de>, A::Error> {
    map.next_value()
}

fn id<const N: usize>(text: &str) -> Id<N> {
    match hex::<N>(text.as_bytes()) {
        Some(bytes) => Id::from_bytes(&bytes),
        None if text.is_empty() => Id::Absent,
        None => Id::Unreadable,
    }
}

/// The name of a field.
struct Name<'de>(Text<'de>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(ScalarVisitor)? {
            Scalar::Text(name) => Ok(Name(name)),
            _ => Err(D::Error::custom("a name must be text")),
        }
    }
}

/// A value without inner structure. `null` stands for the default of whatever is asked for.
enum Scalar<'de> {
    Null,
    Flag(bool),
    Unsigned(u64),
    Signed(i64),
    Double(f64),
    Text(Text<'de>),
}

impl<'de> Scalar<'de> {
    fn text<E: Error>(self, name: &str) -> Result<Text<'de>, E> {
        match self {
            Scalar::Text(text) => Ok(text),
            Scalar::Null => Ok(Cow::Borrowed("")),
            _ => Err(E::custom(format_args!("`{name}` must be a string"))),
        }
    }

    fn flag<E: Error>(self, name: &str) -> Result<bool, E> {
        match self {
            Scalar::Flag(flag) => Ok(flag),
            Scalar::Null => Ok(false),
            _ => Err(E::custom(format_args!("`{name}` must be true or false"))),
        }
    }

    fn int<E: Error>(self, name: &str) -> Result<i64, E> {
        let int = match &self {
            Scalar::Signed(int) => Some(*int),
            Scalar::Unsigned(int) => i64::try_from(*int).ok(),
            Scalar::Double(double) if double.fract() == 0.0 && double.abs() < 9e18 => Some(*double as i64),
            Scalar::Text(text) => text.parse().ok(),
            Scalar::Null => Some(0),
            _ => None,
        };
        int.ok_or_else(|| E::custom(format_args!("`{name}` must be an integer")))
    }

    fn nanoseconds<E: Error>(self, name: &str) -> Result<u64, E> {
        let int = match &self {
            Scalar::Unsigned(int) => Some(*int),
            Scalar::Double(double) if double.fract() == 0.0 && (0.0..1.8e19).contains(double) => Some(*double as u64),
            Scalar::Text(text) => text.parse().ok(),
            Scalar::Null => Some(0),
            _ => None,
        };
        int.ok_or_else(|| E::custom(format_args!("`{name}` must be nanoseconds since 1970, a string of digits")))
    }

    fn double<E: Error>(self, name: &str) -> Result<f64, E> {
        let double = match &self {
            Scalar::Double(double) => Some(*double),
            Scalar::Unsigned(int) => Some(*int as f64),
            Scalar::Signed(int) => Some(*int as f64),
            // Also "NaN", "Infinity" and "-Infinity".
            Scalar::Text(text) => text.parse().ok(),
            Scalar::Null => Some(0.0),
            Scalar::Flag(_) => None,
        };
        double.ok_or_else(|| E::custom(format_args!("`{name}` must be a number")))
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number or a boolean")
    }

    fn visit_unit<E: Error>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_u64<E: Error>(self, int: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Unsigned(int))
    }

    fn visit_i64<E: Error>(self, int: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Signed(int))
    }

    fn visit_f64<E: Error>(self, double: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Double(double))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text)))
    }
}
