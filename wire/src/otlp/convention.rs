//! What resources and spans say, by OpenTelemetry's semantic conventions: names of attributes to fields of an event.
//!
//! HTTP in its stable names (`http.request.method`) and the older ones (`http.method`), the stable one first where both
//! are set. A route is a route only when the instrumentation says so (`http.route`): a path never becomes one. Operations of
//! RPC, messaging and FaaS have a span name that their conventions promise to be of low cardinality; it is their route.

use crate::event::{AttrValue, EncodedAttrs, Event};
use crate::json::{Context, RejectionCode, is_name, is_plain, shown, told_apart};
use crate::limits;
use crate::method::Method;
use crate::otlp::NoEvent;

/// An attribute's value; arrays, maps and bytes are `Other`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<T> {
    Text(T),
    Flag(bool),
    Int(i64),
    Double(f64),
    Other,
}

impl<T: AsRef<str>> Value<T> {
    fn text(self) -> Option<T> {
        match self {
            Value::Text(text) if !text.as_ref().is_empty() => Some(text),
            _ => None,
        }
    }

    /// Some instrumentations send numbers as text.
    fn int(&self) -> Option<i64> {
        match self {
            Value::Int(int) => Some(*int),
            Value::Double(double) if double.fract() == 0.0 && double.abs() < INTS_MAX as f64 => Some(*double as i64),
            Value::Text(text) => text.as_ref().trim().parse().ok(),
            _ => None,
        }
    }

    /// Sizes: anything but a whole number of bytes is none.
    fn bytes(&self) -> Option<u64> {
        self.int().and_then(|int| u64::try_from(int).ok())
    }
}

/// What was read of a resource.
#[derive(Debug)]
pub(super) struct Resource<T> {
    service: Option<T>,
    env: Option<T>,
    env_old: Option<T>,
    version: Option<T>,
    host: Option<T>,
    instance: Option<T>,
}

impl<T> Default for Resource<T> {
    fn default() -> Self {
        Resource { service: None, env: None, env_old: None, version: None, host: None, instance: None }
    }
}

impl<T: AsRef<str>> Resource<T> {
    pub(super) fn take(&mut self, key: &str, value: Value<T>) {
        match key {
            "service.name" => self.service = value.text(),
            "deployment.environment.name" => self.env = value.text(),
            "deployment.environment" => self.env_old = value.text(),
            "service.version" => self.version = value.text(),
            "host.name" => self.host = value.text(),
            "service.instance.id" => self.instance = value.text(),
            _ => {}
        }
    }
}

/// Where spans come from, in the contract's terms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) service: &'a str,
    env: &'a str,
    /// The environment that the key is bound to, when `env` is another one.
    bound_to: Option<&'a str>,
    version: Option<&'a str>,
    host: Option<&'a str>,
}

/// Room for names that had to be changed.
#[derive(Debug, Default)]
pub(super) struct Names {
    service: String,
    env: String,
}

impl<'a> Origin<'a> {
    pub(super) fn new<T: AsRef<str>>(
        resource: &'a Resource<T>,
        context: &Context<'a>,
        names: &'a mut Names,
    ) -> Origin<'a> {
        let service = resource.service.as_ref().map_or(SERVICE_UNKNOWN, AsRef::as_ref);
        let env = resource.env.as_ref().or(resource.env_old.as_ref()).map(AsRef::as_ref);
        let env = env.map(|env| contract_name(env, limits::ENV_BYTES_MAX, &mut names.env));
        Origin {
            service: contract_name(service, limits::SERVICE_BYTES_MAX, &mut names.service),
            env: env.or(context.bound_env).unwrap_or(limits::ENV_DEFAULT),
            bound_to: context.bound_env.filter(|bound| env.is_some_and(|env| env != *bound)),
            version: plain(resource.version.as_ref()),
            host: plain(resource.host.as_ref()).or_else(|| plain(resource.instance.as_ref())),
        }
    }
}

/// A trace or span id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Id<const N: usize> {
    /// Empty, or all zeros, which W3C calls invalid.
    #[default]
    Absent,
    Valid([u8; N]),
    /// Of another length, or not hex.
    Unreadable,
}

impl<const N: usize> Id<N> {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        match <[u8; N]>::try_from(bytes) {
            Ok(id) if id == [0; N] => Id::Absent,
            Ok(id) => Id::Valid(id),
            Err(_) if bytes.is_empty() => Id::Absent,
            Err(_) => Id::Unreadable,
        }
    }

    fn checked(self, name: &str, code: RejectionCode) -> Result<Option<[u8; N]>, Refusal> {
        match self {
            Id::Absent => Ok(None),
            Id::Valid(id) => Ok(Some(id)),
            Id::Unreadable => Err((code, format!("`{name}` must be {N} bytes; in JSON {} hex digits", 2 * N))),
        }
    }
}

/// What was read of a span, attributes included.
#[derive(Debug)]
pub(super) struct Span<T> {
    pub(super) kind: i32,
    pub(super) name: Option<T>,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) trace_id: Id<16>,
    pub(super) span_id: Id<8>,
    pub(super) outcome: i32,
    pub(super) outcome_message: Option<T>,
    /// How deep the deepest value nests that is not entered. Protobuf does not know, as it goes by a length.
    pub(super) depth: usize,
    method: Option<T>,
    method_old: Option<T>,
    route: Option<T>,
    error_type: Option<T>,
    /// `Some(None)`: there, but no number.
    status: Option<Option<i64>>,
    status_old: Option<Option<i64>>,
    bytes_in: Option<u64>,
    bytes_in_old: Option<u64>,
    bytes_out: Option<u64>,
    bytes_out_old: Option<u64>,
    http: bool,
    /// RPC, messaging or FaaS.
    named: bool,
}

impl<T> Default for Span<T> {
    fn default() -> Self {
        Span {
            kind: 0,
            name: None,
            start_ns: 0,
            end_ns: 0,
            trace_id: Id::Absent,
            span_id: Id::Absent,
            outcome: 0,
            outcome_message: None,
            depth: 0,
            method: None,
            method_old: None,
            route: None,
            error_type: None,
            status: None,
            status_old: None,
            bytes_in: None,
            bytes_in_old: None,
            bytes_out: None,
            bytes_out_old: None,
            http: false,
            named: false,
        }
    }
}

impl<T: AsRef<str>> Span<T> {
    /// One attribute: into its field, among those kept for search, or nowhere.
    #[inline]
    pub(super) fn take(&mut self, key: &str, value: Value<T>, attrs: &mut EncodedAttrs) {
        // The length first: one jump instead of a comparison with every name.
        match (key.len(), key) {
            (10, "http.route") => self.http(|span| span.route = value.text()),
            (10, "error.type") => self.error_type = value.text(),
            (11, "http.method") => self.http(|span| span.method_old = value.text()),
            (16, "http.status_code") => self.http(|span| span.status_old = Some(value.int())),
            (19, "http.request.method") => self.http(|span| span.method = value.text()),
            (22, "http.request.body.size") => self.bytes_in = value.bytes(),
            (23, "http.response.body.size") => self.bytes_out = value.bytes(),
            (25, "http.response.status_code") => self.http(|span| span.status = Some(value.int())),
            (27, "http.request_content_length") => self.bytes_in_old = value.bytes(),
            (28, "http.response_content_length") => self.bytes_out_old = value.bytes(),
            // What follows the question mark may be a secret.
            (11, "http.target") => {
                if let Value::Text(target) = &value {
                    let path = target.as_ref().split('?').next().unwrap_or_default();
                    keep(attrs, key, AttrValue::Text(path));
                }
            }
            _ => {
                self.named |= NAMED_PREFIXES.iter().any(|prefix| key.starts_with(prefix));
                self.keep(key, &value, attrs);
            }
        }
    }

    #[inline]
    fn http(&mut self, set: impl FnOnce(&mut Self)) {
        self.http = true;
        set(self);
    }

    fn keep(&self, key: &str, value: &Value<T>, attrs: &mut EncodedAttrs) {
        if is_noise(key) {
            return;
        }
        match value {
            Value::Text(text) => keep(attrs, key, AttrValue::Text(text.as_ref())),
            Value::Flag(flag) => keep(attrs, key, AttrValue::Flag(*flag)),
            Value::Int(int) if int.unsigned_abs() <= INTS_MAX => keep(attrs, key, AttrValue::Number(*int as f64)),
            // A number would lose digits, and whoever searches for an id wants all of them.
            Value::Int(int) => keep(attrs, key, AttrValue::Text(&int.to_string())),
            Value::Double(double) if double.is_finite() => keep(attrs, key, AttrValue::Number(*double)),
            Value::Double(_) | Value::Other => {}
        }
    }

    /// Set when no convention says what the operation is.
    pub(super) fn unconventional(&self) -> Option<NoEvent> {
        (!self.http && !self.named).then_some(NoEvent::Unconventional)
    }

    fn name(&self) -> Option<&str> {
        self.name.as_ref().map(AsRef::as_ref).filter(|name| !name.is_empty())
    }

    fn route(&self) -> Result<&str, Refusal> {
        let route = match self.route.as_ref() {
            Some(route) => route.as_ref(),
            None if self.named => self.name().map_or(limits::ROUTE_DEFAULT, |name| cut(name, limits::ROUTE_BYTES_MAX)),
            None => limits::ROUTE_DEFAULT,
        };
        if !is_plain(route, limits::ROUTE_BYTES_MAX) {
            let message = format!("the route is {}; it may have 512 bytes and no control characters", shown(route));
            return Err((RejectionCode::InvalidRoute, message));
        }
        Ok(route)
    }

    fn method(&self) -> Method {
        let method = self.method.as_ref().or(self.method_old.as_ref());
        method.map_or(Method::ABSENT, |method| Method::from_name(method.as_ref()))
    }

    /// 0, which some send for "none", is unknown.
    fn status(&self) -> Result<u16, Refusal> {
        match self.status.or(self.status_old) {
            None | Some(Some(0)) => Ok(0),
            Some(Some(status @ 100..=599)) => Ok(status as u16),
            Some(status) => {
                let shown = status.map_or("no number".to_owned(), |status| status.to_string());
                let message = format!("`http.response.status_code` is {shown}; it must be an integer from 100 to 599");
                Err((RejectionCode::InvalidStatus, message))
            }
        }
    }

    /// What makes the event an error beside its status.
    ///
    /// An `error.type` that only repeats the status adds nothing, and would make an error of a 404 that is none to a server.
    fn error(&self, status: u16) -> Option<&str> {
        if let Some(kind) = self.error_type.as_ref().map(AsRef::as_ref)
            && kind.parse() != Ok(status)
        {
            return Some(cut(kind, limits::ERROR_BYTES_MAX));
        }
        if self.outcome != OUTCOME_ERROR {
            return None;
        }
        let message = self.outcome_message.as_ref().map(AsRef::as_ref).filter(|message| !message.is_empty());
        let message = message.map(|message| cut(message, limits::ERROR_BYTES_MAX));
        message.or((status < 500).then_some(ERROR_UNNAMED))
    }

    fn ended_ms(&self, received_ms: i64, context: &Context<'_>) -> Result<i64, Refusal> {
        if self.end_ns == 0 {
            return Err((RejectionCode::InvalidTimestamp, "`endTimeUnixNano` is missing".to_owned()));
        }
        // At most 1.8e13: no overflow here or below.
        let ended_ms = (self.end_ns / 1_000_000) as i64;
        let age_ms = received_ms - ended_ms;
        if age_ms > context.age_ms_max {
            let (age, age_max) = told_apart(age_ms, context.age_ms_max, "h");
            let message = format!(
                "it ended {age} before the time of receipt, at most {age_max} are taken; check the unit (nanoseconds) and the clock"
            );
            return Err((RejectionCode::TimestampTooOld, message));
        }
        if age_ms < -context.ahead_ms_max {
            let (ahead, ahead_max) = told_apart(-age_ms, context.ahead_ms_max, "s");
            let message = format!(
                "it ends {ahead} after the time of receipt, at most {ahead_max} are taken; check the unit (nanoseconds) and the clock"
            );
            return Err((RejectionCode::TimestampInFuture, message));
        }
        Ok(ended_ms)
    }

    /// To the nearest microsecond; a span without a start is counted without a duration.
    fn duration_us(&self) -> Result<Option<u64>, Refusal> {
        if self.start_ns == 0 {
            return Ok(None);
        }
        let refuse = |message: String| Err((RejectionCode::InvalidDuration, message));
        match self.end_ns.checked_sub(self.start_ns) {
            None => refuse("it ends before it starts".to_owned()),
            Some(ns) if ns > limits::DURATION_MS_MAX * 1_000_000 => {
                refuse(format!("it took {} s; durations of up to one hour are taken", ns / 1_000_000_000))
            }
            Some(ns) => Ok(Some((ns + 500) / 1000)),
        }
    }
}

type Refusal = (RejectionCode, String);

/// The event of a server or consumer span, or why there is none.
#[inline]
pub(super) fn event<'a, T: AsRef<str>>(
    origin: &Origin<'a>,
    span: &'a Span<T>,
    attrs: &'a EncodedAttrs,
    context: &Context<'_>,
    received_ms: i64,
) -> Result<Event<'a>, Refusal> {
    checked(origin, span, attrs, context, received_ms).map_err(|(code, message)| {
        let name = span.name().map_or_else(|| "without a name".to_owned(), shown);
        (code, format!("span {name}: {message}"))
    })
}

#[inline]
fn checked<'a, T: AsRef<str>>(
    origin: &Origin<'a>,
    span: &'a Span<T>,
    attrs: &'a EncodedAttrs,
    context: &Context<'_>,
    received_ms: i64,
) -> Result<Event<'a>, Refusal> {
    if let Some(bound) = origin.bound_to {
        let message = format!(
            "`deployment.environment.name` is {}, but the key is bound to `{bound}`; leave it out or use another key",
            origin.env
        );
        return Err((RejectionCode::EnvMismatch, message));
    }
    if span.depth > context.depth_max {
        let (depth, depth_max) = (span.depth, context.depth_max);
        let message =
            format!("a value in it is nested {depth} levels deep, at most {depth_max} are taken; send attributes flat");
        return Err((RejectionCode::TooDeep, message));
    }
    let status = span.status()?;
    Ok(Event {
        service: origin.service,
        env: origin.env,
        route: span.route()?,
        method: span.method(),
        status,
        duration_us: span.duration_us()?,
        error: span.error(status),
        host: origin.host,
        version: origin.version,
        source: Some(SOURCE),
        bytes_in: span.bytes_in.or(span.bytes_in_old),
        bytes_out: span.bytes_out.or(span.bytes_out_old),
        trace_id: span.trace_id.checked("traceId", RejectionCode::InvalidTraceId)?,
        span_id: span.span_id.checked("spanId", RejectionCode::InvalidSpanId)?,
        attrs,
        // Last, because a clock decides it: what comes before must come out the same for a retry.
        ended_ms: span.ended_ms(received_ms, context)?,
    })
}

/// A name in the contract's alphabet: what is not in it becomes `_`, what is too long is cut.
fn contract_name<'a>(text: &'a str, bytes_max: usize, room: &'a mut String) -> &'a str {
    if is_name(text, bytes_max) {
        return text;
    }
    let allowed = |char: char| char.is_ascii() && limits::is_name_byte(char as u8);
    room.clear();
    room.extend(text.chars().map(|char| if allowed(char) { char } else { '_' }).take(bytes_max));
    room
}

fn plain<T: AsRef<str>>(text: Option<&T>) -> Option<&str> {
    text.map(AsRef::as_ref).filter(|text| is_plain(text, limits::NAME_BYTES_MAX))
}

/// At most `bytes_max` bytes, whole characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Adds an attribute while there is room: an event must not grow because its span was talkative.
fn keep(attrs: &mut EncodedAttrs, key: &str, value: AttrValue<'_>) {
    let value = match value {
        AttrValue::Text(text) => AttrValue::Text(cut(text, limits::ATTR_VALUE_BYTES_MAX)),
        value => value,
    };
    let more = key.len() + if let AttrValue::Text(text) = value { text.len() } else { 8 };
    let fits = attrs.count < limits::ATTRS_MAX && attrs.bytes.len() + more <= ATTRS_BYTES_MAX;
    if fits && key.len() <= limits::ATTR_KEY_BYTES_MAX {
        attrs.push(key, value);
    }
}

/// Attributes that are the same on every span or that nobody searches for, and those that may carry secrets or tell who a
/// person is.
fn is_noise(key: &str) -> bool {
    NOISE.contains(&key) || NOISE_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

const NAMED_PREFIXES: [&str; 3] = ["rpc.", "messaging.", "faas."];
const NOISE: [&str; 16] = [
    "url.full",
    "url.query",
    "url.scheme",
    "http.url",
    "http.scheme",
    "http.flavor",
    "http.host",
    "http.server_name",
    "http.client_ip",
    "http.user_agent",
    "http.request.method_original",
    "client.address",
    "client.port",
    "server.address",
    "server.port",
    "client.socket.address",
];
const NOISE_PREFIXES: [&str; 8] = [
    "user_agent.",
    "net.",
    "network.",
    "thread.",
    "code.",
    "telemetry.",
    "http.request.header.",
    "http.response.header.",
];

/// What the conventions call a service without a name.
const SERVICE_UNKNOWN: &str = "unknown_service";
const SOURCE: &str = "otlp";
/// `Status.code` of a span that failed.
const OUTCOME_ERROR: i32 = 2;
/// For a span that failed and does not say why.
const ERROR_UNNAMED: &str = "error";
/// Whole numbers that a double holds exactly.
const INTS_MAX: u64 = 1 << 53;
/// Attributes kept of one span.
const ATTRS_BYTES_MAX: usize = 16 << 10;
