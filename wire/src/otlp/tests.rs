use std::fmt::Write;

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::record::{EventRow, parse};
use crate::{KeyId, ProjectId};

/// The part of opentelemetry-proto that a trace request needs, as a protobuf library sees it.
mod generated {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request {
        #[prost(message, repeated, tag = "1")]
        pub(super) resource_spans: Vec<ResourceSpans>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ResourceSpans {
        #[prost(message, optional, tag = "1")]
        pub(super) resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub(super) scope_spans: Vec<ScopeSpans>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ScopeSpans {
        #[prost(message, repeated, tag = "2")]
        pub(super) spans: Vec<Span>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) span_id: Vec<u8>,
        #[prost(string, tag = "5")]
        pub(super) name: String,
        #[prost(int32, tag = "6")]
        pub(super) kind: i32,
        #[prost(fixed64, tag = "7")]
        pub(super) start_time_unix_nano: u64,
        #[prost(fixed64, tag = "8")]
        pub(super) end_time_unix_nano: u64,
        #[prost(message, repeated, tag = "9")]
        pub(super) attributes: Vec<KeyValue>,
        #[prost(message, optional, tag = "15")]
        pub(super) status: Option<Status>,
        #[prost(fixed32, tag = "16")]
        pub(super) flags: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Status {
        #[prost(string, tag = "2")]
        pub(super) message: String,
        #[prost(int32, tag = "3")]
        pub(super) code: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct KeyValue {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(message, optional, tag = "2")]
        pub(super) value: Option<AnyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct AnyValue {
        #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5, 7")]
        pub(super) value: Option<Value>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ArrayValue {
        #[prost(message, repeated, tag = "1")]
        pub(super) values: Vec<AnyValue>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Value {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(bool, tag = "2")]
        Flag(bool),
        #[prost(int64, tag = "3")]
        Int(i64),
        #[prost(double, tag = "4")]
        Double(f64),
        #[prost(message, tag = "5")]
        Array(ArrayValue),
        #[prost(bytes = "vec", tag = "7")]
        Bytes(Vec<u8>),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Response {
        #[prost(message, optional, tag = "1")]
        pub(super) partial_success: Option<PartialSuccess>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct PartialSuccess {
        #[prost(int64, tag = "1")]
        pub(super) rejected_spans: i64,
        #[prost(string, tag = "2")]
        pub(super) error_message: String,
    }
}

use generated::{AnyValue, KeyValue, Request, Resource, ResourceSpans, ScopeSpans, Span, Status, Value};

const NOW_MS: i64 = 1_795_196_300_000;

const CONTEXT: Context<'static> = Context {
    bound_env: None,
    age_ms_max: 86_400_000,
    ahead_ms_max: 300_000,
    events_max: 5_000,
    event_bytes_max: 64 << 10,
    depth_max: 32,
    lines: false,
};

/// Everything a body comes to.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    record: Vec<bytes::Bytes>,
    rejected: Vec<Rejection>,
    ignored: Ignored,
}

fn decode_with(body: &[u8], encoding: Encoding, context: &Context<'_>) -> Result<Outcome, RequestError> {
    let (mut record, mut rejected) = (RecordBuilder::default(), Vec::new());
    record.start(NOW_MS);
    let ignored = Decoder::default().decode(body, encoding, context, &mut record, &mut rejected)?;
    let record = if record.is_empty() { Vec::new() } else { record.finish(ProjectId(1), KeyId(1), None) };
    Ok(Outcome { record, rejected, ignored })
}

fn decode(body: &[u8], encoding: Encoding) -> Result<Outcome, RequestError> {
    decode_with(body, encoding, &CONTEXT)
}

impl Outcome {
    fn rows(&self) -> Vec<EventRow<'_>> {
        self.record.iter().flat_map(|record| parse(record).unwrap().events()).map(Result::unwrap).collect()
    }
}

/// The same through the messages of a protobuf library: what the walk over bytes must agree with.
fn through_messages(request: &Request, context: &Context<'_>) -> Result<Outcome, RequestError> {
    let (mut record, mut rejected, mut attrs) = (RecordBuilder::default(), Vec::new(), EncodedAttrs::default());
    record.start(NOW_MS);
    let mut batch = Batch {
        context,
        record: &mut record,
        rejected: &mut rejected,
        attrs: &mut attrs,
        ignored: Ignored::default(),
        index: 0,
        events: 0,
    };
    let mut names = convention::Names::default();
    for resource_spans in &request.resource_spans {
        let mut resource = convention::Resource::default();
        for pair in resource_spans.resource.iter().flat_map(|resource| &resource.attributes) {
            resource.take(&pair.key, value(pair));
        }
        let origin = convention::Origin::new(&resource, context, &mut names);
        for sent in resource_spans.scope_spans.iter().flat_map(|scope| &scope.spans) {
            batch.attrs.clear();
            let mut span = convention::Span::default();
            span.kind = sent.kind;
            span.name = Some(sent.name.as_str());
            (span.start_ns, span.end_ns) = (sent.start_time_unix_nano, sent.end_time_unix_nano);
            span.trace_id = convention::Id::from_bytes(&sent.trace_id);
            span.span_id = convention::Id::from_bytes(&sent.span_id);
            span.outcome = sent.status.as_ref().map_or(0, |status| status.code);
            span.outcome_message = sent.status.as_ref().map(|status| status.message.as_str());
            for pair in &sent.attributes {
                span.take(&pair.key, value(pair), batch.attrs);
            }
            batch.finish(&origin, &span)?;
        }
    }
    let ignored = batch.ignored;
    let record = if record.is_empty() { Vec::new() } else { record.finish(ProjectId(1), KeyId(1), None) };
    Ok(Outcome { record, rejected, ignored })
}

fn value(pair: &KeyValue) -> convention::Value<&str> {
    match pair.value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(Value::Text(text)) => convention::Value::Text(text),
        Some(Value::Flag(flag)) => convention::Value::Flag(*flag),
        Some(Value::Int(int)) => convention::Value::Int(*int),
        Some(Value::Double(double)) => convention::Value::Double(*double),
        Some(Value::Array(_) | Value::Bytes(_)) | None => convention::Value::Other,
    }
}

/// As OTLP writes it: hex ids, 64-bit numbers as text.
fn to_json(request: &Request) -> String {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02X}");
            text
        })
    };
    let any = |value: &Value| match value {
        Value::Text(text) => serde_json::json!({"stringValue": text}),
        Value::Flag(flag) => serde_json::json!({"boolValue": flag}),
        Value::Int(int) => serde_json::json!({"intValue": int.to_string()}),
        Value::Double(double) if double.is_finite() => serde_json::json!({"doubleValue": double}),
        Value::Double(double) => serde_json::json!({"doubleValue": double.to_string()}),
        Value::Array(_) => serde_json::json!({"arrayValue": {"values": [{"kvlistValue": {"values": []}}]}}),
        Value::Bytes(_) => serde_json::json!({"bytesValue": "AAE="}),
    };
    let attributes = |pairs: &[KeyValue]| -> Vec<serde_json::Value> {
        let value = |pair: &KeyValue| pair.value.as_ref().and_then(|value| value.value.as_ref()).map(any);
        pairs.iter().map(|pair| serde_json::json!({"value": value(pair), "key": pair.key, "new": [{}]})).collect()
    };
    let span = |span: &Span| {
        serde_json::json!({
            "attributes": attributes(&span.attributes), "traceId": hex(&span.trace_id), "spanId": hex(&span.span_id),
            "name": span.name, "kind": span.kind, "startTimeUnixNano": span.start_time_unix_nano.to_string(),
            "endTimeUnixNano": span.end_time_unix_nano, "flags": span.flags,
            "status": span.status.as_ref().map(|status| serde_json::json!({"message": status.message, "code": status.code})),
        })
    };
    let resource_spans = |of: &ResourceSpans| {
        let scopes: Vec<_> = of
            .scope_spans
            .iter()
            .map(|scope| serde_json::json!({"scope": {"name": "x"}, "spans": scope.spans.iter().map(span).collect::<Vec<_>>()}))
            .collect();
        let resource = of.resource.as_ref().map(|resource| attributes(&resource.attributes));
        // The resource last.
        let scopes = serde_json::to_string(&scopes).unwrap();
        format!("{{\"scopeSpans\":{scopes},\"resource\":{}}}", serde_json::json!({"attributes": resource}))
    };
    let all: Vec<String> = request.resource_spans.iter().map(resource_spans).collect();
    format!("{{\"unknown\":[[{{}}]],\"resourceSpans\":[{}]}}", all.join(","))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z/{}:.-]{1,20}", 2 => "[45]0[0-9]", 1 => Just(String::new()), 1 => "\\PC{1,60}",
        1 => "[\\x00-\\x7f]{1,20}", 1 => "[a-z]{500,600}", 1 => Just("x".repeat(9000))
    ]
}

fn key() -> impl Strategy<Value = String> {
    static KNOWN: [&str; 16] = [
        "http.route",
        "error.type",
        "http.method",
        "http.status_code",
        "http.request.method",
        "http.target",
        "http.request.body.size",
        "http.response.body.size",
        "http.response.status_code",
        "url.path",
        "url.query",
        "http.request_content_length",
        "http.response_content_length",
        "rpc.method",
        "messaging.system",
        "net.host.name",
    ];
    prop_oneof![8 => proptest::sample::select(&KNOWN[..]).prop_map(str::to_owned), 2 => text()]
}

/// Such as a JSON parser reads to the last bit.
fn doubles() -> impl Strategy<Value = f64> {
    prop_oneof![(-1e6f64..1e6).prop_map(|double| (double * 8.0).round() / 8.0), Just(f64::NAN), Just(f64::INFINITY)]
}

fn any_value() -> impl Strategy<Value = Value> {
    let array = proptest::collection::vec(text(), 0..3).prop_map(|texts| generated::ArrayValue {
        values: texts.into_iter().map(|text| AnyValue { value: Some(Value::Text(text)) }).collect(),
    });
    prop_oneof![
        4 => text().prop_map(Value::Text), 1 => any::<bool>().prop_map(Value::Flag), 2 => (0i64..700).prop_map(Value::Int),
        1 => any::<i64>().prop_map(Value::Int), 1 => doubles().prop_map(Value::Double),
        1 => (0i32..600).prop_map(|whole| Value::Double(f64::from(whole))),
        1 => array.prop_map(Value::Array), 1 => any::<Vec<u8>>().prop_map(Value::Bytes)
    ]
}

fn attributes(key: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<KeyValue>> {
    let value = proptest::option::weighted(0.9, any_value()).prop_map(|value| AnyValue { value });
    let pair = (key, proptest::option::weighted(0.9, value)).prop_map(|(key, value)| KeyValue { key, value });
    proptest::collection::vec(pair, 0..12)
}

fn span() -> impl Strategy<Value = Span> {
    let id = |len| prop_oneof![8 => proptest::collection::vec(any::<u8>(), len), 1 => Just(vec![0; len]), 1 => any::<Vec<u8>>()];
    let end = prop_oneof![
        8 => ((NOW_MS - 1000) as u64..NOW_MS as u64).prop_map(|ms| ms * 1_000_000 + 999_999), 1 => Just(0), 1 => any::<u64>()
    ];
    let took = prop_oneof![8 => 0u64..10_000_000_000, 1 => any::<u64>()];
    let status = (text(), 0i32..4).prop_map(|(message, code)| Status { message, code });
    let kind = prop_oneof![4 => Just(2), 2 => Just(5), 2 => 0i32..7, 1 => any::<i32>()];
    (id(16), id(8), text(), kind, end, took, attributes(key()), proptest::option::of(status), any::<u32>()).prop_map(
        |(trace_id, span_id, name, kind, end, took, attributes, status, flags)| Span {
            trace_id,
            span_id,
            name,
            kind,
            start_time_unix_nano: end.wrapping_sub(took),
            end_time_unix_nano: end,
            attributes,
            status,
            flags,
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    static NAMES: [&str; 5] =
        ["service.name", "deployment.environment", "deployment.environment.name", "service.version", "host.name"];
    let resource = attributes(proptest::sample::select(&NAMES[..]).prop_map(str::to_owned));
    let scope = proptest::collection::vec(span(), 0..4).prop_map(|spans| ScopeSpans { spans });
    let of = (proptest::option::of(resource), proptest::collection::vec(scope, 0..3)).prop_map(
        |(attributes, scope_spans)| ResourceSpans {
            resource: attributes.map(|attributes| Resource { attributes }),
            scope_spans,
        },
    );
    proptest::collection::vec(of, 0..3).prop_map(|resource_spans| Request { resource_spans })
}

proptest! {
    #[test]
    fn the_walk_over_bytes_agrees_with_a_protobuf_library(request in request(), events_max in prop_oneof![9 => Just(5000), 1 => 0usize..5]) {
        let context = Context { events_max, ..CONTEXT };
        let decoded = decode_with(&request.encode_to_vec(), Encoding::Protobuf, &context);
        prop_assert_eq!(decoded, through_messages(&request, &context));
    }

    #[test]
    fn json_and_protobuf_mean_the_same(request in request()) {
        let json = to_json(&request);
        let (json, protobuf) = (decode(json.as_bytes(), Encoding::Json), decode(&request.encode_to_vec(), Encoding::Protobuf));
        prop_assert_eq!(json, protobuf);
    }

    /// Repeated fields merge, orders change, unknown fields appear, lengths break: what a library reads, we read the same.
    #[test]
    fn damaged_bytes_mean_what_a_protobuf_library_makes_of_them(
        request in request(),
        other in request(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in proptest::option::weighted(0.2, any::<proptest::sample::Index>()),
    ) {
        let mut body = [request.encode_to_vec(), other.encode_to_vec()].concat();
        for (at, byte) in damage.into_iter().filter(|_| !body.is_empty()).collect::<Vec<_>>() {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Some(cut) = cut.filter(|_| !body.is_empty()) {
            body.truncate(cut.index(body.len()));
        }
        let ours = decode(&body, Encoding::Protobuf);
        if let Ok(request) = Request::decode(body.as_slice()) {
            prop_assert_eq!(ours, through_messages(&request, &CONTEXT));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(body: Vec<u8>) {
        let _ = decode(&body, Encoding::Protobuf);
        let _ = decode(&body, Encoding::Json);
    }
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/fixtures/otlp/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn encoding_of(name: &str) -> Encoding {
    if name.ends_with(".json") { Encoding::Json } else { Encoding::Protobuf }
}

#[test]
fn what_real_sdks_send_becomes_their_server_spans() {
    let expected: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&fixture("expected.json")).unwrap();
    for (name, expected) in &expected {
        let outcome = decode(&fixture(name), encoding_of(name)).unwrap();
        let rows = outcome.rows();
        let events = expected["events"].as_array().unwrap();
        assert_eq!((rows.len(), outcome.rejected.len()), (events.len(), 0), "{name}");
        assert_eq!(outcome.ignored.total() as u64 + rows.len() as u64, expected["spans"].as_u64().unwrap(), "{name}");
        for (row, event) in rows.iter().zip(events) {
            let series = row.series.decode().unwrap();
            assert_eq!(series.service, event["service"].as_str().unwrap());
            assert_eq!(series.method, event["method"].as_str().unwrap());
            assert_eq!(series.route, event["route"].as_str().unwrap_or("(none)"));
            assert_eq!(u64::from(series.status), event["status"].as_u64().unwrap());
            assert_eq!(row.duration_us, Some((event["duration_ns"].as_u64().unwrap() + 500) / 1000));
            assert_eq!(row.ended_ms, event["end_ms"].as_i64().unwrap());
            assert_eq!(row.trace_id, crate::json::hex(event["trace_id"].as_str().unwrap().as_bytes()));
            assert_eq!(row.span_id, crate::json::hex(event["span_id"].as_str().unwrap().as_bytes()));
            assert_eq!((row.source, row.is_error().unwrap()), (Some("otlp"), series.status >= 500), "{name} {event}");
        }
    }
}

#[test]
fn the_official_example_is_taken_and_is_no_event() {
    for name in ["official-trace.json", "official-trace.pb"] {
        let outcome = decode(&fixture(name), encoding_of(name)).unwrap();
        assert!(
            outcome.record.is_empty() && outcome.rejected.is_empty() && outcome.ignored.total() > 0,
            "{name}: {outcome:?}"
        );
    }
}

#[test]
fn a_request_is_routed_by_its_first_event_even_when_a_clock_refuses_that_one() {
    let of = |service: &str| one(&text_attribute("http.method", "GET"), &text_attribute("service.name", service));
    let inner = |one: String| one["{\"resourceSpans\":[".len()..one.len() - 2].to_owned();
    let end = (NOW_MS * 1_000_000).to_string();
    let old =
        inner(of("first").replace(&end, "2000000000").replace(&(NOW_MS * 1_000_000 - 1_000_000_000).to_string(), "1"));
    let body = format!("{{\"resourceSpans\":[{old},{}]}}", inner(of("second")));
    let (mut record, mut rejected) = (RecordBuilder::default(), Vec::new());
    record.start(NOW_MS);
    Decoder::default().decode(body.as_bytes(), Encoding::Json, &CONTEXT, &mut record, &mut rejected).unwrap();
    assert_eq!((rejected[0].code, record.event_count()), (RejectionCode::TimestampTooOld, 1), "{rejected:?}");
    assert_eq!(record.routing_service(), "first");
}

/// One server span in JSON, a second long, with these attributes of span and resource.
fn one(attributes: &str, resource: &str) -> String {
    let end = NOW_MS * 1_000_000;
    format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{resource}]}},"scopeSpans":[{{"spans":[{{"kind":2,"name":"the name",
        "startTimeUnixNano":"{}","endTimeUnixNano":"{end}","attributes":[{attributes}]}}]}}]}}]}}"#,
        end - 1_000_000_000
    )
}

fn text_attribute(key: &str, value: &str) -> String {
    format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#)
}

fn int_attribute(key: &str, value: i64) -> String {
    format!(r#"{{"key":"{key}","value":{{"intValue":"{value}"}}}}"#)
}

fn decoded(attributes: &[String], resource: &[String]) -> Outcome {
    decode(one(&attributes.join(","), &resource.join(",")).as_bytes(), Encoding::Json).unwrap()
}

#[test]
fn stable_names_come_before_older_ones_whatever_the_order() {
    let (stable, old) = (int_attribute("http.response.status_code", 201), int_attribute("http.status_code", 500));
    let methods = [text_attribute("http.request.method", "PUT"), text_attribute("http.method", "GET")];
    for statuses in [[stable.clone(), old.clone()], [old, stable]] {
        let outcome = decoded(&[&statuses[..], &methods[..]].concat(), &[]);
        let series = outcome.rows()[0].series.decode().unwrap();
        assert_eq!(
            (series.status, series.method, series.route, series.service),
            (201, "PUT", "(none)", "unknown_service")
        );
    }
}

#[test]
fn a_path_never_becomes_a_route_and_queries_and_headers_are_not_kept() {
    let outcome = decoded(
        &[
            text_attribute("http.method", "GET"),
            text_attribute("http.target", "/users/17?token=secret"),
            text_attribute("url.full", "https://x/users/17?token=secret"),
            text_attribute("http.request.header.authorization", "secret"),
            text_attribute("shop.tenant", "acme"),
            int_attribute("shop.order", 9_007_199_254_740_993),
        ],
        &[],
    );
    let row = outcome.rows()[0];
    assert_eq!(row.series.decode().unwrap().route, "(none)");
    let attrs: serde_json::Value = serde_json::from_str(&row.attrs.to_json().unwrap().unwrap()).unwrap();
    assert_eq!(
        attrs,
        serde_json::json!({"http.target": "/users/17", "shop.tenant": "acme", "shop.order": "9007199254740993"})
    );
}

#[test]
fn operations_of_rpc_and_messaging_are_named_by_their_span() {
    for attribute in ["rpc.method", "messaging.system", "faas.trigger"] {
        let outcome = decoded(&[text_attribute(attribute, "x")], &[]);
        let row = outcome.rows()[0];
        let series = row.series.decode().unwrap();
        assert_eq!((series.route, series.method, series.status), ("the name", "", 0));
        assert_eq!(row.duration_us, Some(1_000_000));
    }
}

#[test]
fn the_resource_says_where_it_came_from() {
    let get = text_attribute("http.request.method", "GET");
    let resource = [
        text_attribute("service.name", "unknown_service:node ü"),
        text_attribute("deployment.environment", "old"),
        text_attribute("deployment.environment.name", "prod eu"),
        text_attribute("service.version", "1.2.3"),
        text_attribute("service.instance.id", "pod-1"),
    ];
    let outcome = decoded(std::slice::from_ref(&get), &resource);
    let row = outcome.rows()[0];
    let series = row.series.decode().unwrap();
    assert_eq!((series.service, series.env), ("unknown_service_node__", "prod_eu"));
    assert_eq!((row.version, row.host), (Some("1.2.3"), Some("pod-1")));
}

#[test]
fn a_bound_key_takes_its_environment_and_no_other() {
    let context = Context { bound_env: Some("production"), ..CONTEXT };
    let get = text_attribute("http.request.method", "GET");
    let bound = |env: &str| decode_with(one(&get, env).as_bytes(), Encoding::Json, &context).unwrap();
    for resource in ["".to_owned(), text_attribute("deployment.environment.name", "production")] {
        assert_eq!(bound(&resource).rows()[0].series.decode().unwrap().env, "production");
    }
    let refused = bound(&text_attribute("deployment.environment", "dev"));
    assert_eq!(refused.rejected[0].code, RejectionCode::EnvMismatch);
    assert!(refused.record.is_empty() && refused.rejected[0].message.contains("the name"), "{refused:?}");
}

#[test]
fn what_failed_is_an_error_and_a_404_is_none() {
    let with = |status, more: &[String]| {
        let attributes = [&[int_attribute("http.response.status_code", status)], more].concat();
        let outcome = decoded(&attributes, &[]);
        let row = outcome.rows()[0];
        (row.is_error().unwrap(), row.error.map(str::to_owned))
    };
    assert_eq!(with(404, &[text_attribute("error.type", "404")]), (false, None));
    assert_eq!(with(200, &[text_attribute("error.type", "Timeout")]), (true, Some("Timeout".to_owned())));
    assert_eq!(with(500, &[text_attribute("error.type", "500")]), (true, None));
    let failed = one(&text_attribute("rpc.method", "x"), "").replace("\"kind\"", "\"status\":{\"code\":2},\"kind\"");
    let outcome = decode(failed.as_bytes(), Encoding::Json).unwrap();
    assert_eq!(outcome.rows()[0].error, Some("error"));
}

#[test]
fn bad_spans_are_refused_with_a_reason_and_the_good_ones_kept() {
    let good = one(&text_attribute("http.method", "GET"), "");
    let start = format!("\"startTimeUnixNano\":\"{}\"", (NOW_MS - 1000) * 1_000_000);
    let end = format!("\"endTimeUnixNano\":\"{}\"", NOW_MS * 1_000_000);
    for (from, to, code) in [
        (start.as_str(), "\"startTimeUnixNano\":\"1\"", RejectionCode::InvalidDuration),
        (&start, "\"startTimeUnixNano\":\"18446744073709551615\"", RejectionCode::InvalidDuration),
        (&end, "\"endTimeUnixNano\":0", RejectionCode::InvalidDuration),
        (&end, "\"endTimeUnixNano\":\"18446744073709551615\"", RejectionCode::InvalidDuration),
        (&start, "\"startTimeUnixNano\":null,\"endTimeUnixNano\":0,\"x\":1", RejectionCode::InvalidTimestamp),
        ("\"name\"", "\"traceId\":\"abc\",\"name\"", RejectionCode::InvalidTraceId),
        (
            "http.method\",\"value\":{\"stringValue\":\"GET\"",
            "http.status_code\",\"value\":{\"intValue\":999",
            RejectionCode::InvalidStatus,
        ),
        (
            "http.method\",\"value\":{\"stringValue\":\"GET\"",
            "http.route\",\"value\":{\"stringValue\":\"a\\nb\"",
            RejectionCode::InvalidRoute,
        ),
    ] {
        assert!(good.contains(from), "{from}");
        let bad = good.replacen(from, to, 1);
        let bad = if code == RejectionCode::InvalidTimestamp { bad.replacen(&end, "\"y\":1", 1) } else { bad };
        let [good, bad] = [&good, &bad].map(|one| one["{\"resourceSpans\":[".len()..one.len() - 2].to_owned());
        let both = format!("{{\"resourceSpans\":[{good},{bad}]}}");
        let outcome = decode(both.as_bytes(), Encoding::Json).unwrap();
        let codes: Vec<_> = outcome.rejected.iter().map(|rejection| (rejection.index, rejection.code)).collect();
        assert_eq!((outcome.rows().len(), codes), (1, vec![(1, code)]), "{to}");
    }
}

#[test]
fn hostile_protobuf_is_refused_without_harm() {
    let groups = [vec![0x0b; 1 << 20], vec![0x0c; 1 << 20]].concat();
    let mut nested = Vec::new();
    for _ in 0..1000 {
        let array = [
            &[0x2a][..],
            &length(nested.len() + 1 + length(nested.len()).len()),
            &[0x0a],
            &length(nested.len()),
            &nested,
        ]
        .concat();
        nested = array;
    }
    let deep = Span { kind: 2, end_time_unix_nano: NOW_MS as u64 * 1_000_000, ..Span::default() };
    let value = [&[0x0a, 1, b'x', 0x12][..], &length(nested.len()), &nested].concat();
    let span = [deep.encode_to_vec(), vec![0x4a], length(value.len()), value].concat();
    let scope = [&[0x12][..], &length(span.len()), &span].concat();
    let resource = [&[0x12][..], &length(scope.len()), &scope].concat();
    let deep = [&[0x0a][..], &length(resource.len()), &resource].concat();
    assert_eq!(decode(&deep, Encoding::Protobuf).unwrap().ignored.total(), 1, "a thousand arrays deep is one length");
    for body in [
        &groups[..],
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\x05\x12\x03\x12\x7f\x00",
        b"\x0f\x00",
        b"\x00\x00",
        b"\x0c",
        b"\x08\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"plain text",
        b"{\"resourceSpans\":[]}",
    ] {
        assert!(matches!(decode(body, Encoding::Protobuf), Err(RequestError::InvalidProtobuf(_))), "{body:.20?}");
    }
    assert!(decode(b"", Encoding::Protobuf).unwrap().record.is_empty());
}

fn length(bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    crate::varint::put(&mut out, bytes as u64);
    out
}

#[test]
fn every_prefix_of_a_real_body_is_refused_or_shorter() {
    let body = fixture("python-flask-traces-semconv-stable.pb");
    let whole = decode(&body, Encoding::Protobuf).unwrap();
    for end in 0..body.len() {
        if let Ok(outcome) = decode(&body[..end], Encoding::Protobuf) {
            assert!(outcome.rows().len() < whole.rows().len(), "{end}");
        }
    }
}

#[test]
fn hostile_json_is_refused_without_harm() {
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(1 << 20), "]".repeat(1 << 20));
    assert!(matches!(decode(deep.as_bytes(), Encoding::Json), Err(RequestError::InvalidJson(_))));
    let many = format!("{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{}{{}}]}}]}}]}}", "{},".repeat(1 << 20));
    assert_eq!(decode(many.as_bytes(), Encoding::Json).unwrap().ignored.total(), (1 << 20) + 1);
    for body in [
        "",
        "[]",
        "1",
        "{",
        "{\"resourceSpans\":{}}",
        "{\"resourceSpans\":[1]}",
        "{\"resourceSpans\":[]}x",
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"kind\":\"SPAN_KIND_SERVER\"}]}]}]}",
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"endTimeUnixNano\":-1}]}]}]}",
    ] {
        assert!(matches!(decode(body.as_bytes(), Encoding::Json), Err(RequestError::InvalidJson(_))), "{body:.80}");
    }
    assert!(matches!(decode(b"{\"a\":\"\xff\"}", Encoding::Json), Err(RequestError::InvalidJson(_))));
}

#[test]
fn too_many_events_are_refused_and_other_spans_do_not_count() {
    let server = Span { kind: 2, attributes: vec![pair("http.method", "GET")], ..Span::default() };
    let client = Span { kind: 3, ..server.clone() };
    let request = |servers, clients| {
        let spans = [vec![server.clone(); servers], vec![client.clone(); clients]].concat();
        let resource_spans = vec![ResourceSpans { resource: None, scope_spans: vec![ScopeSpans { spans }] }];
        Request { resource_spans }
    };
    let context = Context { events_max: 10, ..CONTEXT };
    for (servers, clients, refused) in [(10, 50, false), (11, 0, true)] {
        let request = request(servers, clients);
        for (body, encoding) in
            [(request.encode_to_vec(), Encoding::Protobuf), (to_json(&request).into_bytes(), Encoding::Json)]
        {
            let outcome = decode_with(&body, encoding, &context);
            assert_eq!(outcome.err(), refused.then_some(RequestError::TooManySpans(10)));
        }
    }
}

fn pair(key: &str, text: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::Text(text.to_owned())) }) }
}

#[test]
fn a_talkative_span_stays_within_the_limits_of_an_event() {
    let mut attributes = vec![text_attribute("http.method", "GET")];
    attributes.extend((0..100).map(|number| text_attribute(&format!("a{number}"), &"ä".repeat(3000))));
    let outcome = decoded(&attributes, &[]);
    let rows = outcome.rows();
    assert!(rows[0].raw.len() < 20 << 10 && rows[0].attrs.iter().count() == 3, "{}", rows[0].raw.len());
}

#[test]
fn answers_read_back_with_a_protobuf_library() {
    let answer = success(Encoding::Protobuf, Some((300, "span x: why")));
    let partial = generated::Response::decode(answer.as_slice()).unwrap().partial_success.unwrap();
    assert_eq!((partial.rejected_spans, partial.error_message.as_str()), (300, "span x: why"));
    assert!(success(Encoding::Protobuf, None).is_empty() && success(Encoding::Json, None) == b"{}");
    let answer: serde_json::Value = serde_json::from_slice(&success(Encoding::Json, Some((3, "\"x\"")))).unwrap();
    assert_eq!(answer, serde_json::json!({"partialSuccess": {"rejectedSpans": "3", "errorMessage": "\"x\""}}));
    // `code` and `message` lie in a status as `rejected_spans` and `error_message` in a partial success.
    let status = generated::PartialSuccess::decode(failure(Encoding::Protobuf, 16, "who").as_slice()).unwrap();
    assert_eq!((status.rejected_spans, status.error_message.as_str()), (16, "who"));
}

/// A value of so many levels.
fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[test]
fn a_span_that_nests_too_deep_costs_itself_only() {
    let get = text_attribute("http.request.method", "GET");
    let deep = |depth| format!(r#"{{"key":"a","value":{{"arrayValue":{}}}}}"#, nested(depth));
    let in_attribute = |depth| one(&format!("{get},{}", deep(depth)), "");
    let in_span = |depth| one(&get, "").replace("\"kind\"", &format!("\"events\":{},\"kind\"", nested(depth)));
    for of_depth in [&in_attribute as &dyn Fn(usize) -> String, &in_span] {
        let taken = decode(of_depth(32).as_bytes(), Encoding::Json).unwrap();
        assert_eq!((taken.rows().len(), taken.rejected.len()), (1, 0));
        let refused = decode(of_depth(33).as_bytes(), Encoding::Json).unwrap();
        assert_eq!(refused.rejected[0].code, RejectionCode::TooDeep, "{refused:?}");
        assert!(refused.rejected[0].message.contains("33 levels deep, at most 32"), "{refused:?}");
    }
    let (deep, good) = (in_span(100_000), one(&get, ""));
    let both = format!("{},{}", deep.strip_suffix("]}]}]}").unwrap(), &good[good.find("{\"kind\"").unwrap()..]);
    let outcome = decode(both.as_bytes(), Encoding::Json).unwrap();
    assert_eq!((outcome.rows().len(), outcome.rejected.len()), (1, 1));
    let client = in_span(33).replace("\"kind\":2", "\"kind\":3");
    assert_eq!(decode(client.as_bytes(), Encoding::Json).unwrap().ignored.total(), 1, "what is no event is let be");
}

#[test]
fn what_is_in_no_span_and_nests_too_deep_costs_the_body() {
    let get = text_attribute("http.request.method", "GET");
    let deep = |depth| format!("\"new\":{},", nested(depth));
    let body = one(&get, "");
    for place in ["\"resourceSpans\"", "\"resource\"", "\"scopeSpans\"", "\"attributes\":[]", "\"spans\""] {
        let with = |depth| body.replace(place, &format!("{}{place}", deep(depth)));
        assert_eq!(decode(with(32).as_bytes(), Encoding::Json).unwrap().rows().len(), 1, "{place}");
        let refused = decode(with(33).as_bytes(), Encoding::Json).unwrap_err().to_string();
        assert!(refused.contains("33 levels deep, at most 32"), "{place}: {refused}");
    }
}

#[test]
fn a_byte_order_mark_is_named() {
    let body = format!("\u{feff}{}", one("", ""));
    let refused = decode(body.as_bytes(), Encoding::Json).unwrap_err().to_string();
    assert!(refused.contains("it begins with a byte order mark"), "{refused}");
}
