#![no_main]

#[allow(dead_code, reason = "only its limits and its time are needed here")]
#[path = "../../wire/tests/fuzz/events.rs"]
mod events;
#[path = "../../wire/tests/fuzz/timestamp.rs"]
mod timestamp;

libfuzzer_sys::fuzz_target!(|data: &[u8]| timestamp::check(data));
