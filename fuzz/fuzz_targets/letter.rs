#![no_main]

#[path = "../../stream/tests/fuzz/letter.rs"]
mod letter;

libfuzzer_sys::fuzz_target!(|data: &[u8]| letter::check(data));
