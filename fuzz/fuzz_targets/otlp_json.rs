#![no_main]

#[path = "../../wire/tests/fuzz/events.rs"]
mod events;
#[path = "../../wire/tests/fuzz/otlp_json.rs"]
mod otlp_json;
#[path = "../../wire/tests/fuzz/spans.rs"]
mod spans;

libfuzzer_sys::fuzz_target!(|data: &[u8]| otlp_json::check(data));
