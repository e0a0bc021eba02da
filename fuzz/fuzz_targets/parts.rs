#![no_main]

#[path = "../../wire/tests/fuzz/events.rs"]
mod events;
#[path = "../../wire/tests/fuzz/parts.rs"]
mod parts;

libfuzzer_sys::fuzz_target!(|data: &[u8]| parts::check(data));
