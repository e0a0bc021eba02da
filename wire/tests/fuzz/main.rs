//! The checks of the fuzz targets (`fuzz/` at the top), replayed on seeds and seeded mutations of them.

mod events;
mod histogram;
mod json_batch;
mod live;
mod ndjson;
mod otlp_json;
mod otlp_protobuf;
mod parts;
mod receipt;
mod record;
mod replay;
mod spans;
mod timestamp;

use peep_wire::histogram::Histogram;
use peep_wire::live::{LiveCell, LiveFrame};
use peep_wire::record::{Bundle, RecordBuilder};
use peep_wire::{Identity, KeyId, ProjectId};
use replay::replay;

const FULL: &str = r#"{"service":"shop","env":"prod","route":"/a/{id}","method":"GET","status":200,"duration_ms":12.345,"ts":1795199999000,"error":"\u00e9","host":"h","version":"1","bytes_in":1,"bytes_out":2,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","source":"sdk","attrs":{"k":"v","n":3.5,"b":true},"zz":[{}]}"#;
const PLAIN: &str = r#"{"service":"shop","duration_ms":1}"#;

const JSON: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"null",
    b"true",
    b"1e400",
    b"-0",
    b"\\u0000",
    b"\\ud800",
    b"\"attrs\":",
    b"\"ts\":",
    b"\"service\":",
    b"99999999999999999999999",
    b"\xff",
    b"\xef\xbb\xbf",
];

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn json_batches() {
    let array = format!("[{PLAIN},{FULL}]");
    let seeds = texts(&[PLAIN, FULL, &array, &format!("{PLAIN}\n{PLAIN}"), "[]", "{\n\"service\":\"a\"\n}\n{}"]);
    replay("json_batch", &seeds, JSON, json_batch::check);
}

#[test]
fn lines() {
    replay("ndjson", &texts(&[PLAIN, FULL, &format!("{PLAIN}\r\n\n{FULL}\n"), "x"]), JSON, ndjson::check);
}

#[test]
fn otlp_in_protobuf() {
    // One resource with one server span: names, times, attributes, status.
    let text = |tag: u8, bytes: &[u8]| [&[tag, bytes.len() as u8][..], bytes].concat();
    let attr = |key: &str, value: Vec<u8>| [text(0x0a, key.as_bytes()), text(0x12, &value)].concat();
    let time = |tag: u8, ms: u64| [&[tag][..], &(ms * 1_000_000).to_le_bytes()].concat();
    let span = [
        text(0x0a, &[7; 16]),
        text(0x12, &[8; 8]),
        vec![0x30, 2],
        time(0x39, events::NOW_MS as u64 - 20),
        time(0x41, events::NOW_MS as u64),
        text(0x4a, &attr("http.route", text(0x0a, b"/a"))),
        text(0x4a, &attr("http.response.status_code", vec![0x18, 0xc8, 1])),
    ]
    .concat();
    let service = text(0x0a, &text(0x0a, &attr("service.name", text(0x0a, b"shop"))));
    let mut spans = vec![0x12, span.len() as u8 + 2];
    spans.extend(text(0x12, &span));
    let resource = [service, spans].concat();
    let mut request = vec![0x0a, resource.len() as u8 | 0x80, (resource.len() >> 7) as u8];
    request.extend(resource);
    let official = include_bytes!("../../fixtures/otlp/official-trace.pb").to_vec();
    replay(
        "otlp_protobuf",
        &[request, official, Vec::new()],
        &[b"\x0a", b"\x12", b"\x4a", b"http.method"],
        otlp_protobuf::check,
    );
}

#[test]
fn otlp_in_json() {
    let span = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeSpans":[{"spans":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","kind":2,"startTimeUnixNano":"1795199999980000000","endTimeUnixNano":1795200000000000000,"attributes":[{"key":"http.route","value":{"stringValue":"/a"}},{"key":"http.response.status_code","value":{"intValue":"200"}}],"status":{"code":2}}]}]}]}"#;
    let official = include_str!("../../fixtures/otlp/official-trace.json");
    replay("otlp_json", &texts(&[span, official, "{}"]), JSON, otlp_json::check);
}

#[test]
fn records() {
    let mut seeds = Vec::new();
    for identity in [None, Some(Identity { producer: [7; 16], seq: 300 })] {
        let mut record = RecordBuilder::default();
        record.start(events::NOW_MS);
        let body = format!("[{PLAIN},{FULL}]");
        let mut decoder = peep_wire::json::Decoder::default();
        decoder.decode(body.as_bytes(), &events::context(false), &mut record, &mut Vec::new()).expect("good events");
        let bytes = record.finish(ProjectId(7), KeyId(1), identity).remove(0).to_vec();
        seeds.push(bytes[5..].to_vec());
        seeds.push(bytes);
    }
    let mut bundle = Bundle::default();
    for at in [1, 3] {
        bundle.push(seeds[at].clone().into(), 2);
    }
    let bundle = bundle.finish().to_vec();
    seeds.push(bundle[5..].to_vec());
    seeds.push(bundle);
    replay("record", &seeds, &[b"\x5a", b"\x0a", b"\x62", b"\x39", b"\x7a", b"\x10\x02"], record::check);
}

fn histograms() -> Vec<Histogram> {
    let of = |values: &mut dyn Iterator<Item = u64>| {
        let mut histogram = Histogram::new();
        values.for_each(|value| histogram.record_n(value, 1 + value % 3));
        histogram
    };
    vec![of(&mut [5].into_iter()), of(&mut (0..40).map(|number| number * number * 977)), of(&mut (0..300))]
}

#[test]
fn histograms_in_v2() {
    let encode = |histogram: &Histogram| {
        let mut bytes = Vec::new();
        histogram.encode_v2(&mut bytes);
        bytes
    };
    let mut seeds: Vec<Vec<u8>> = histograms().iter().map(encode).collect();
    seeds.extend(seeds.clone().iter().map(|bytes| bytes[40..].to_vec()));
    // Counts that only just fit.
    seeds.extend([vec![0xfe; 9], vec![0xff; 9], vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]]);
    replay("histogram", &seeds, &[b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff"], histogram::check);
}

#[test]
fn live_frames() {
    let cell = |histogram: Histogram| LiveCell {
        project: ProjectId(7),
        series: b"\x0a\x01a\x12\x01b".to_vec(),
        slot_s: events::NOW_MS / 1000,
        count: histogram.count() + 1,
        errors: 1,
        histogram,
    };
    let frame = |cells: Vec<LiveCell>| LiveFrame {
        partition: 3,
        epoch: 2,
        from: 100,
        to: 200,
        published_ms: events::NOW_MS,
        newest_received_ms: events::NOW_MS,
        cells,
    };
    let frames = [frame(Vec::new()), frame(histograms().into_iter().map(cell).collect())];
    let mut seeds: Vec<Vec<u8>> = frames.iter().map(|frame| frame.encode().to_vec()).collect();
    seeds.extend(seeds.clone().iter().map(|bytes| bytes[1..].to_vec()));
    replay("live", &seeds, &[b"\x01\x00"], live::check);
}

#[test]
fn receipts() {
    let seeds = texts(&["r1.7.3.1595c.00000000", "7.3.1595c", "ffffffffffffffff.ffffffff.ffffffffffffffff", "0.0.0"]);
    replay("receipt", &seeds, &[b".", b"+", b"-", b"0", b"A", b"ffffffffffffffff"], receipt::check);
}

#[test]
fn requests_of_several_records() {
    let sized = |bytes_max: u16, body: &str| [&bytes_max.to_le_bytes()[..], body.as_bytes()].concat();
    let body = format!("[{PLAIN},{FULL},{PLAIN}]");
    let seeds = [sized(0, &body), sized(128, &body), sized(300, &body), sized(u16::MAX, &body), sized(64, PLAIN)];
    replay("parts", &seeds, JSON, parts::check);
}

#[test]
fn timestamps() {
    let seeds = texts(&[
        "2026-11-20T14:00:00Z",
        "2026-11-20T14:00:00.123456789+05:30",
        "2024-02-29t23:59:60z",
        "9999-12-31T23:59:59.999-23:59",
        "-000001-01-01T00:00:00Z",
        "2026-11-20 14:00:00,5Z[Europe/Berlin]",
    ]);
    replay(
        "timestamp",
        &seeds,
        &[b"T", b"Z", b"-", b":", b".", b"+00:00", b"-00:00", b"60", b"00", b"[UTC]"],
        timestamp::check,
    );
}
