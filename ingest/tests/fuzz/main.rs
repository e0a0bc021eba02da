//! The check of the fuzz target `decompressor`, replayed on seeds and seeded mutations of them.

mod decompressor;
#[path = "../../../wire/tests/fuzz/replay.rs"]
mod replay;

use std::io::Write;

#[test]
fn compressed_bodies() {
    let text = br#"{"service":"shop","duration_ms":1}"#;
    let zeros = [0; 60_000];
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    raw.write_all(text).unwrap();
    let seeds = [
        gzip(text),
        gzip(&zeros),
        [gzip(text), gzip(text)].concat(),
        gzip(&gzip(&zeros)),
        raw.finish().unwrap(),
        zstd::encode_all(&text[..], 1).unwrap(),
        zstd::encode_all(&zeros[..], 1).unwrap(),
        // A frame of nine bytes that announces a window of 512 MiB.
        vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x98, 0x01, 0x00, 0x00],
        vec![0x78, 0x9c],
    ];
    replay::replay("decompressor", &seeds, &[b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x78\x9c"], decompressor::check);
}
