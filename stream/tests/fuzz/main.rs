//! The checks of the fuzz targets `query`, `letter` and `websocket`, replayed on their corpora, seeds and seeded mutations of them.

mod letter;
mod query;
#[path = "../../../wire/tests/fuzz/replay.rs"]
mod replay;
mod websocket;

use peep_wire::json::{Context, Decoder};
use peep_wire::record::{self, RecordBuilder};
use peep_wire::{KeyId, ProjectId};

#[test]
fn query_strings() {
    let seeds = [
        "from=-15m&to=now&env=prod&service=a&service=b&route=%2Fa&method=GET&status=5xx&group_by=service,route",
        "from=2026-11-20T14:00:00%2B01:00&to=2026-11-20T15:00:00Z&step=10s&quantiles=0.5,0.999",
        "window=15m&step=10s&since=abc-1",
        "min_duration_ms=1.5&q=x&trace_id=4bf92f3577b34da6a3ce929d0e0e4736&limit=100&cursor=abc",
        "reason=undecodable&limit=1&from=1795199000000",
        "",
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    let tokens: &[&[u8]] = &[
        b"&",
        b"=",
        b",",
        b"%",
        b"%00",
        b"%ff",
        b"+",
        b"from=",
        b"to=",
        b"step=",
        b"window=",
        b"status=",
        b"quantiles=",
        b"group_by=",
        b"9223372036854775807",
        b"-",
        b"now",
        b"253402300799000",
        b"w",
        b"ms",
        b"1e309",
        b"NaN",
        b"2xx",
    ];
    replay::replay("query", &seeds, tokens, query::check);
}

#[test]
fn dead_letters() {
    let mut builder = RecordBuilder::default();
    builder.start(1_795_200_000_000);
    let body = br#"[{"service":"a","duration_ms":1},{"service":"b","env":"e","route":"/r","method":"GET","status":500,"error":"x","host":"h","version":"1","bytes_in":1,"bytes_out":2,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","source":"sdk","attrs":{"k":"v","n":3.5,"b":true}}]"#;
    let context = Context {
        bound_env: None,
        age_ms_max: 1 << 40,
        ahead_ms_max: 1 << 40,
        events_max: 10,
        event_bytes_max: 4096,
        depth_max: 8,
        lines: false,
    };
    Decoder::default().decode(body, &context, &mut builder, &mut Vec::new()).expect("good events");
    let bytes = builder.finish(ProjectId(7), KeyId(1), None).remove(0).to_vec();
    let rows = record::parse(&bytes)
        .expect("a record")
        .events()
        .map(|row| row.expect("an event").raw.to_vec())
        .collect::<Vec<_>>();
    let seeds: Vec<Vec<u8>> = rows.into_iter().chain([bytes, Vec::new()]).collect();
    replay::replay("letter", &seeds, &[b"\x0a", b"\x12", b"\x62", b"\x39"], letter::check);
}

#[test]
fn what_clients_send_over_a_websocket() {
    let masked = |first: u8, payload: &[u8]| {
        let length = 0x80 | u8::try_from(payload.len()).expect("seeds are short");
        [&[first, length, 0, 0, 0, 0], payload].concat()
    };
    let seeds = [
        masked(0x81, b"hello"),
        [masked(0x01, b"h\xc3"), masked(0x89, b"ping"), masked(0x80, b"\xbc")].concat(),
        masked(0x88, b"\x03\xe8bye"),
        masked(0x82, &[0xff; 125]),
    ];
    let tokens: &[&[u8]] = &[
        b"\x81\xfe\x00\x7e\x00\x00\x00\x00",
        b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00",
        b"\x80\x80\x00\x00\x00\x00",
        b"\x89\x80\x00\x00\x00\x00",
        b"\x88\x82\x00\x00\x00\x00\x03\xe8",
        b"\xed\xa0\x80",
    ];
    replay::replay("websocket", &seeds, tokens, websocket::check);
}
