//! OTLP requests, and the least that reading one can cost a program that has the whole message: a bare `prost` decode.

use prost::Message;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// The part of opentelemetry-proto that such requests hold, as a protobuf library sees it.
pub mod message {
    /// `ExportTraceServiceRequest`
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Request {
        #[prost(message, repeated, tag = "1")]
        pub resource_spans: Vec<ResourceSpans>,
    }

    /// `ResourceSpans`
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ResourceSpans {
        #[prost(message, optional, tag = "1")]
        pub resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub scope_spans: Vec<ScopeSpans>,
    }

    /// `Resource`
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub attributes: Vec<KeyValue>,
    }

    /// `ScopeSpans`
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ScopeSpans {
        #[prost(message, optional, tag = "1")]
        pub scope: Option<Scope>,
        #[prost(message, repeated, tag = "2")]
        pub spans: Vec<Span>,
    }

    /// `InstrumentationScope`
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Scope {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "2")]
        pub version: String,
    }

    /// `Span`, without events and links
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub span_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        pub parent_span_id: Vec<u8>,
        #[prost(string, tag = "5")]
        pub name: String,
        #[prost(int32, tag = "6")]
        pub kind: i32,
        #[prost(fixed64, tag = "7")]
        pub start_time_unix_nano: u64,
        #[prost(fixed64, tag = "8")]
        pub end_time_unix_nano: u64,
        #[prost(message, repeated, tag = "9")]
        pub attributes: Vec<KeyValue>,
        #[prost(message, optional, tag = "15")]
        pub status: Option<Status>,
        #[prost(fixed32, tag = "16")]
        pub flags: u32,
    }

    /// `Status`
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Status {
        #[prost(string, tag = "2")]
        pub message: String,
        #[prost(int32, tag = "3")]
        pub code: i32,
    }

    /// `KeyValue`
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct KeyValue {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(message, optional, tag = "2")]
        pub value: Option<AnyValue>,
    }

    /// `AnyValue`, without arrays and maps
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct AnyValue {
        #[prost(oneof = "Value", tags = "1, 3")]
        pub value: Option<Value>,
    }

    /// The value of an `AnyValue`
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Value {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(int64, tag = "3")]
        Int(i64),
    }
}

use message::{AnyValue, KeyValue, Request, Resource, ResourceSpans, Scope, ScopeSpans, Span, Status, Value};

/// `count` server spans with the twelve attributes of an HTTP instrumentation by the stable conventions, `batch` in a
/// request, all of one service as an SDK sends them.
pub fn bodies(count: usize, batch: usize, seed: u64, now_ms: i64) -> Vec<Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(seed);
    (0..count / batch)
        .map(|number| {
            let resource = Resource {
                attributes: vec![
                    text("service.name", format!("service-{:02}", number % 30)),
                    text("service.version", "2.14.0"),
                    text("deployment.environment.name", "production"),
                    text("host.name", format!("web-{}", number % 12)),
                    text("telemetry.sdk.language", "nodejs"),
                    text("telemetry.sdk.name", "opentelemetry"),
                    text("telemetry.sdk.version", "2.12.0"),
                ],
            };
            let spans = (0..batch).map(|_| span(&mut random, now_ms)).collect();
            let scope = Scope { name: "@opentelemetry/instrumentation-http".into(), version: "0.223.0".into() };
            let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
            Request { resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans }] }.encode_to_vec()
        })
        .collect()
}

fn span(random: &mut SmallRng, now_ms: i64) -> Span {
    let route = (random.random::<f64>().powi(2) * 400.0) as u32;
    let method = ["GET", "GET", "GET", "POST", "PUT", "DELETE"][route as usize % 6];
    let status = if random.random::<f64>() < 0.01 { 500 } else { [200, 200, 200, 201, 304, 404][route as usize % 6] };
    let template = format!("/api/v1/resource-{route}/:id");
    let end = now_ms as u64 * 1_000_000;
    Span {
        trace_id: random.random::<u128>().to_be_bytes().to_vec(),
        span_id: random.random::<u64>().to_be_bytes().to_vec(),
        parent_span_id: random.random::<u64>().to_be_bytes().to_vec(),
        name: format!("{method} {template}"),
        kind: 2,
        start_time_unix_nano: end - random.random_range(1_000_000..100_000_000),
        end_time_unix_nano: end,
        attributes: vec![
            text("http.request.method", method),
            text("url.scheme", "https"),
            text("server.address", "shop.example.com"),
            text("network.peer.address", "10.12.4.17"),
            int("network.peer.port", random.random_range(1024..65_536)),
            text("network.protocol.version", "1.1"),
            text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
            text("url.path", format!("/api/v1/resource-{route}/{}", random.random::<u32>())),
            text("client.address", "203.0.113.9"),
            int("server.port", 443),
            int("http.response.status_code", status),
            text("http.route", template),
        ],
        status: Some(Status { message: String::new(), code: 0 }),
        flags: 0x101,
    }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::Text(value.into())) }) }
}

fn int(key: &str, value: i64) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::Int(value)) }) }
}
