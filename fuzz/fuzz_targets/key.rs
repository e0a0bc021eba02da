#![no_main]

#[path = "../../chassis/tests/fuzz/key.rs"]
mod key;

libfuzzer_sys::fuzz_target!(|data: &[u8]| key::check(data));
