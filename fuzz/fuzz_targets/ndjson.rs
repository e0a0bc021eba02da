#![no_main]

#[path = "../../wire/tests/fuzz/events.rs"]
mod events;
#[path = "../../wire/tests/fuzz/ndjson.rs"]
mod ndjson;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndjson::check(data));
