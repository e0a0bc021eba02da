#![no_main]

#[path = "../../wire/tests/fuzz/events.rs"]
mod events;
#[path = "../../wire/tests/fuzz/timestamp.rs"]
mod timestamp;

libfuzzer_sys::fuzz_target!(|data: &[u8]| timestamp::check(data));
