#![no_main]

#[path = "../../stream/tests/fuzz/query.rs"]
mod query;

libfuzzer_sys::fuzz_target!(|data: &[u8]| query::check(data));
