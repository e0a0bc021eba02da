#![no_main]

#[path = "../../ingest/tests/fuzz/decompressor.rs"]
mod decompressor;

libfuzzer_sys::fuzz_target!(|data: &[u8]| decompressor::check(data));
