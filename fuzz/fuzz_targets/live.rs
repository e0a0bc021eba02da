#![no_main]

#[path = "../../wire/tests/fuzz/live.rs"]
mod live;

libfuzzer_sys::fuzz_target!(|data: &[u8]| live::check(data));
