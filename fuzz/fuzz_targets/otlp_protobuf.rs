#![no_main]

#[path = "../../wire/tests/fuzz/events.rs"]
mod events;
#[path = "../../wire/tests/fuzz/otlp_protobuf.rs"]
mod otlp_protobuf;
#[path = "../../wire/tests/fuzz/spans.rs"]
mod spans;

libfuzzer_sys::fuzz_target!(|data: &[u8]| otlp_protobuf::check(data));
