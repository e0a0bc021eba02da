#![no_main]

#[path = "../../wire/tests/fuzz/histogram.rs"]
mod histogram;

libfuzzer_sys::fuzz_target!(|data: &[u8]| histogram::check(data));
