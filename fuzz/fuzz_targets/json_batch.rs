#![no_main]

#[path = "../../wire/tests/fuzz/events.rs"]
mod events;
#[path = "../../wire/tests/fuzz/json_batch.rs"]
mod json_batch;

libfuzzer_sys::fuzz_target!(|data: &[u8]| json_batch::check(data));
