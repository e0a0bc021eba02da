//! The thorough way: one event's text through `serde_json`, each field checked, each error named.
//!
//! Slower than [`super::scan`] and right about everything: escapes, nested unknown values, `null`, repeated keys
//! (the last one counts), numbers in any notation. It is also the oracle the scanner is tested against.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{
    BEGINS_WITH_A_MARK, BYTE_ORDER_MARK, Context, Outcome, RejectionCode, check_time, duration_us, hex, is_name,
    is_plain, time,
};
use crate::event::{AttrValue, EncodedAttrs, Event};
use crate::limits;
use crate::method::Method;
use crate::record::RecordBuilder;

type Refusal = (RejectionCode, String);

/// Decodes, checks and pushes one event.
pub(super) fn event(
    text: &str,
    context: &Context<'_>,
    attrs: &mut EncodedAttrs,
    record: &mut RecordBuilder,
) -> Outcome {
    attrs.clear();
    let fields: Fields<'_> = match serde_json::from_str(text) {
        Ok(fields) => Fields { fields },
        Err(error) => return Err(explain(text, &error)),
    };
    let service = fields.text("service", RejectionCode::InvalidService)?.ok_or_else(|| {
        refuse(RejectionCode::MissingService, "`service` is missing; name the service that handled the request")
    })?;
    if !is_name(&service, limits::SERVICE_BYTES_MAX) {
        let message = format!("`service` is {}; use 1 to 128 characters of A-Z a-z 0-9 . _ / -", shown(&service));
        return Err((RejectionCode::InvalidService, message));
    }
    let env = fields.env(context)?;
    let route = fields.text("route", RejectionCode::InvalidRoute)?.unwrap_or_else(|| limits::ROUTE_DEFAULT.to_owned());
    if route.is_empty() || !is_plain(&route, limits::ROUTE_BYTES_MAX) {
        let message =
            format!("`route` is {}; send the route template, 1 to 512 bytes without control characters", shown(&route));
        return Err((RejectionCode::InvalidRoute, message));
    }
    let method = fields.text("method", RejectionCode::InvalidMethod)?.unwrap_or_default();
    let error = fields.text("error", RejectionCode::InvalidError)?.filter(|error| !error.is_empty());
    if error.as_ref().is_some_and(|error| error.len() > limits::ERROR_BYTES_MAX) {
        return Err(refuse(RejectionCode::InvalidError, "`error` is longer than 8192 bytes; shorten it"));
    }
    let host = fields.short("host", RejectionCode::InvalidHost, limits::NAME_BYTES_MAX)?;
    let version = fields.short("version", RejectionCode::InvalidVersion, limits::NAME_BYTES_MAX)?;
    let source = fields.short("source", RejectionCode::InvalidSource, limits::SOURCE_BYTES_MAX)?;
    let ended_ms = fields.ended_ms()?.unwrap_or(record.received_ms());
    // Before the one check that a clock decides: a retry must go where the first try went, whatever is refused by then.
    record.route_by(&service);
    check_time(ended_ms, record.received_ms(), context)?;
    fields.attrs(attrs)?;
    let event = Event {
        service: &service,
        env: &env,
        route: &route,
        method: Method::from_name(&method),
        status: fields.status()?,
        ended_ms,
        duration_us: fields.duration_us()?,
        error: error.as_deref(),
        host: host.as_deref(),
        version: version.as_deref(),
        source: source.as_deref(),
        bytes_in: fields.bytes("bytes_in")?,
        bytes_out: fields.bytes("bytes_out")?,
        trace_id: fields.id("trace_id", RejectionCode::InvalidTraceId)?,
        span_id: fields.id("span_id", RejectionCode::InvalidSpanId)?,
        attrs,
    };
    record.push(&event);
    Ok(())
}

/// The top level of one event; values still as text, so that an error can show them.
struct Fields<'t> {
    fields: BTreeMap<String, &'t RawValue>,
}

impl<'t> Fields<'t> {
    /// The text of a value; `null` is absent.
    fn get(&self, name: &str) -> Option<&'t str> {
        self.fields.get(name).map(|value| value.get()).filter(|text| *text != "null")
    }

    fn text(&self, name: &str, code: RejectionCode) -> Result<Option<String>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|_| {
            let why = if text.starts_with('"') { HALF_A_PAIR } else { "it must be a string" };
            (code, format!("`{name}` is {}; {why}", shown(text)))
        })
    }

    fn short(&self, name: &str, code: RejectionCode, bytes_max: usize) -> Result<Option<String>, Refusal> {
        let text = self.text(name, code)?;
        match text {
            Some(text) if !is_plain(&text, bytes_max) => {
                let message =
                    format!("`{name}` is {}; send at most {bytes_max} bytes without control characters", shown(&text));
                Err((code, message))
            }
            text => Ok(text),
        }
    }

    fn env(&self, context: &Context<'_>) -> Result<String, Refusal> {
        let env = self.text("env", RejectionCode::InvalidEnv)?;
        match (env, context.bound_env) {
            (Some(env), _) if !is_name(&env, limits::ENV_BYTES_MAX) => {
                let message = format!("`env` is {}; use 1 to 64 characters of A-Z a-z 0-9 . _ / -", shown(&env));
                Err((RejectionCode::InvalidEnv, message))
            }
            (Some(env), Some(bound)) if env != bound => {
                let message = format!(
                    "`env` is {}, but the key is bound to `{bound}`; leave `env` out or use another key",
                    shown(&env)
                );
                Err((RejectionCode::EnvMismatch, message))
            }
            (Some(env), _) => Ok(env),
            (None, bound) => Ok(bound.unwrap_or(limits::ENV_DEFAULT).to_owned()),
        }
    }

    fn status(&self) -> Result<u16, Refusal> {
        let Some(text) = self.get("status") else { return Ok(0) };
        text.parse().ok().filter(|status| (100..=599).contains(status)).ok_or_else(|| {
            let message = format!("`status` is {}; it must be an integer from 100 to 599", shown(text));
            (RejectionCode::InvalidStatus, message)
        })
    }

    fn duration_us(&self) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.get("duration_ms") else { return Ok(None) };
        let duration = text.parse().ok().and_then(duration_us);
        duration.map(Some).ok_or_else(|| {
            let message =
                format!("`duration_ms` is {}; it must be a number from 0 to 3600000 (milliseconds)", shown(text));
            (RejectionCode::InvalidDuration, message)
        })
    }

    fn ended_ms(&self) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.get("ts") else { return Ok(None) };
        let ended_ms = match serde_json::from_str::<String>(text) {
            Ok(text) => time::unix_ms(&text),
            Err(_) => text.parse().ok(),
        };
        ended_ms.map(Some).ok_or_else(|| {
            let message =
                format!("`ts` is {}; send integer Unix milliseconds or an RFC 3339 string with its zone", shown(text));
            (RejectionCode::InvalidTimestamp, message)
        })
    }

    fn bytes(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        // Postgres keeps them as bigint.
        text.parse::<u64>().ok().filter(|bytes| i64::try_from(*bytes).is_ok()).map(Some).ok_or_else(|| {
            (
                RejectionCode::InvalidBytes,
                format!("`{name}` is {}; it must be an integer of 0 or more (bytes)", shown(text)),
            )
        })
    }

    fn id<const N: usize>(&self, name: &str, code: RejectionCode) -> Result<Option<[u8; N]>, Refusal> {
        let Some(text) = self.text(name, code)? else { return Ok(None) };
        hex(text.as_bytes()).map(Some).ok_or_else(|| {
            (code, format!("`{name}` is {}; it must be {} hex digits (W3C trace context)", shown(&text), 2 * N))
        })
    }

    fn attrs(&self, attrs: &mut EncodedAttrs) -> Result<(), Refusal> {
        let Some(text) = self.get("attrs") else { return Ok(()) };
        let refusal = |message: String| (RejectionCode::InvalidAttrs, message);
        let object: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|_| refusal(explain_attrs(text)))?;
        if object.len() > limits::ATTRS_MAX {
            return Err(refusal(format!("`attrs` has {} keys, at most {} are kept", object.len(), limits::ATTRS_MAX)));
        }
        for (key, value) in &object {
            let value = match value {
                serde_json::Value::Null => continue,
                serde_json::Value::Bool(flag) => AttrValue::Flag(*flag),
                serde_json::Value::Number(number) => AttrValue::Number(number.as_f64().unwrap_or(f64::NAN)),
                serde_json::Value::String(text) if text.len() <= limits::ATTR_VALUE_BYTES_MAX => AttrValue::Text(text),
                serde_json::Value::String(_) => {
                    return Err(refusal(format!(
                        "`attrs.{}` is longer than {} bytes",
                        shown(key),
                        limits::ATTR_VALUE_BYTES_MAX
                    )));
                }
                _ => return Err(refusal(format!("`attrs.{}` is {NESTED}", shown(key)))),
            };
            if key.len() > limits::ATTR_KEY_BYTES_MAX {
                return Err(refusal(format!(
                    "`attrs` has a key longer than {} bytes: {}",
                    limits::ATTR_KEY_BYTES_MAX,
                    shown(key)
                )));
            }
            attrs.push(key, value);
        }
        Ok(())
    }
}

/// Says why `attrs` could not be read: it is JSON, but not an object, or one with a value or a key that cannot be kept.
#[cold]
fn explain_attrs(text: &str) -> String {
    let Ok(fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else {
        return match text.starts_with('{') {
            true => format!("a key of `attrs` cannot be read; {HALF_A_PAIR}"),
            false => format!("`attrs` is {}; it must be a flat object", shown(text)),
        };
    };
    let mut fields = fields.iter().map(|(key, value)| (key, value.get()));
    let unreadable = |value: &str| serde_json::from_str::<serde_json::Value>(value).is_err();
    let Some((key, value)) = fields.find(|(_, value)| unreadable(value)) else {
        // Of a key given twice only the last value is here.
        return format!("`attrs` is {}; a value in it is no text or out of range", shown(text));
    };
    let (key, shown) = (shown(key), shown(value));
    match value.as_bytes().first() {
        Some(b'"') => format!("`attrs.{key}` is {shown}; {HALF_A_PAIR}"),
        Some(b'{' | b'[') => format!("`attrs.{key}` is {NESTED}"),
        _ => format!("`attrs.{key}` is {shown}, which is out of range; numbers go up to 1.7e308"),
    }
}

/// Says what is wrong with text that is no JSON object, naming the field it happened in.
fn explain(text: &str, error: &serde_json::Error) -> Refusal {
    if text.starts_with(BYTE_ORDER_MARK) {
        return (RejectionCode::NotAnObject, format!("the event {BEGINS_WITH_A_MARK}"));
    }
    if !text.starts_with('{') {
        return (RejectionCode::NotAnObject, format!("the event is {}; each event must be a JSON object", shown(text)));
    }
    let position = position_of(text, error);
    if let Some(key) = half_a_pair_in_key(text, position) {
        return (
            RejectionCode::InvalidJson,
            format!("the key {} of the event cannot be read; {HALF_A_PAIR}", shown(key)),
        );
    }
    let Some((name, value)) = field_before(text, position) else {
        return (RejectionCode::InvalidJson, format!("the event is not valid JSON: {error}"));
    };
    let not_json = ["NaN", "nan", "Infinity", "-Infinity", "inf", "-inf", "-NaN", "+"];
    if not_json.iter().any(|word| value.starts_with(word)) {
        let code = code_of(name).unwrap_or(RejectionCode::InvalidJson);
        let literal: String = value.chars().take_while(|char| !",} \t\r\n".contains(*char)).take(20).collect();
        let (name, literal) = (shown(name), shown(&literal));
        return (
            code,
            format!("`{name}` is {literal}, which JSON does not have; send a finite number or leave the field out"),
        );
    }
    (RejectionCode::InvalidJson, format!("the event is not valid JSON near `{}`: {error}", shown(name)))
}

fn position_of(text: &str, error: &serde_json::Error) -> usize {
    let line_start = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
    (line_start + error.column()).min(text.len())
}

/// The key at a position, quotes included, when it is written as JSON is and yet no text.
///
/// Values of the top level are not unescaped before all of it was read, so half of a pair stops the reader in a key only.
fn half_a_pair_in_key(text: &str, position: usize) -> Option<&str> {
    // The reader stops in front of the closing quote or behind it.
    let quotes = text.get(..position)?.rmatch_indices('"').take(2);
    quotes.map(|(at, _)| &text[at..]).find_map(|rest| {
        let key = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>().next()?.ok()?.get();
        let is_key = rest[key.len()..].trim_start().starts_with(':');
        (is_key && serde_json::from_str::<String>(key).is_err()).then_some(key)
    })
}

/// The last `"name":` before a position, and what follows it.
fn field_before(text: &str, position: usize) -> Option<(&str, &str)> {
    let before = text.get(..position).or_else(|| text.get(..position.saturating_sub(1)))?;
    let colon = before.rfind("\":")?;
    let start = text[..colon].rfind('"')? + 1;
    Some((&text[start..colon], text[colon + 2..].trim_start()))
}

fn code_of(name: &str) -> Option<RejectionCode> {
    Some(match name {
        "duration_ms" => RejectionCode::InvalidDuration,
        "ts" => RejectionCode::InvalidTimestamp,
        "status" => RejectionCode::InvalidStatus,
        "bytes_in" | "bytes_out" => RejectionCode::InvalidBytes,
        _ => return None,
    })
}

const HALF_A_PAIR: &str = "half of a surrogate pair (\\ud800 to \\udfff) is no character; send both halves or neither";
const NESTED: &str = "nested; `attrs` takes strings, numbers and booleans";

fn refuse(code: RejectionCode, message: &str) -> Refusal {
    (code, message.to_owned())
}

/// A value as an error shows it: short, and on one line.
pub(crate) fn shown(text: &str) -> String {
    let visible = |char: char| if char.is_control() { '\u{fffd}' } else { char };
    let mut short: String = text.chars().take(40).map(visible).collect();
    if text.chars().nth(40).is_some() {
        short.push('…');
    }
    if short.is_empty() { "empty".to_owned() } else { short }
}
