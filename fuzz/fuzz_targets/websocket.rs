#![no_main]

#[path = "../../stream/tests/fuzz/websocket.rs"]
mod websocket;

libfuzzer_sys::fuzz_target!(|data: &[u8]| websocket::check(data));
