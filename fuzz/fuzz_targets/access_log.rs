#![no_main]

#[path = "../../ship/tests/fuzz/access_log.rs"]
mod access_log;

libfuzzer_sys::fuzz_target!(|data: &[u8]| access_log::check(data));
