use super::*;
use crate::admission::Admission;
use crate::config::Limits;
use peep_wire::ProjectId;
use std::io::Write;

const LIMITS: BodyLimits = BodyLimits { bytes_max: 8 << 20, ratio_max: 100, time_max: Duration::from_secs(1) };

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn admission(bytes: usize) -> Admission {
    Admission::new(&Limits { body_bytes_in_flight_max: bytes, ..Limits::of_tests() })
}

fn open(body: Vec<u8>, encoding: Encoding) -> Result<Bytes, Reason> {
    let mut permit = admission(64 << 20).admit(ProjectId(1), body.len()).unwrap();
    decompress(body.into(), encoding, &mut permit, LIMITS).map_err(|refused| refused.reason)
}

#[test]
fn every_encoding_gives_the_body_back() {
    let text: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    for (body, encoding) in [
        (text.clone(), Encoding::Identity),
        (gzip(&text), Encoding::Gzip),
        (zlib(&text), Encoding::Deflate),
        (raw_deflate(&text), Encoding::Deflate),
        (zstd::encode_all(&*text, 3).unwrap(), Encoding::Zstd),
    ] {
        assert_eq!(open(body, encoding).unwrap(), text, "{encoding:?}");
    }
}

#[test]
fn a_bomb_is_refused_before_it_goes_off() {
    let zeros = vec![0; 200 << 20];
    for (body, encoding) in [
        (gzip(&zeros), Encoding::Gzip),
        (zlib(&zeros), Encoding::Deflate),
        (zstd::encode_all(&*zeros, 3).unwrap(), Encoding::Zstd),
        (gzip(&zeros[..2 << 20]), Encoding::Gzip),
    ] {
        assert_eq!(open(body, encoding), Err(Reason::PayloadTooLarge), "{encoding:?}");
    }
}

#[test]
fn a_body_that_is_not_what_it_says_is_refused() {
    let mut cut = gzip(b"{\"service\":\"a\"}");
    cut.truncate(20);
    for (body, encoding) in [
        (b"plain".to_vec(), Encoding::Gzip),
        (cut, Encoding::Gzip),
        (b"plain".to_vec(), Encoding::Zstd),
        (b"\xff\xff".to_vec(), Encoding::Deflate),
    ] {
        assert_eq!(open(body, encoding), Err(Reason::InvalidEncoding), "{encoding:?}");
    }
}

#[test]
fn a_zstd_window_beyond_8_mib_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&vec![1; 1 << 16]).unwrap();
    assert_eq!(open(encoder.finish().unwrap(), Encoding::Zstd), Err(Reason::InvalidEncoding));
}

#[test]
fn output_beyond_the_budget_sheds() {
    let mut permit = admission(100 << 10).admit(ProjectId(1), 0).unwrap();
    let body = gzip(&[7; 500_000]);
    let refused = decompress(body.into(), Encoding::Gzip, &mut permit, LIMITS).err().map(|refused| refused.reason);
    assert_eq!(refused, Some(Reason::Overloaded));
}

#[test]
fn a_refused_connection_rests_in_proportion_to_what_it_sent() {
    let rests_ms = |bytes, pace| pause(bytes, pace).as_millis();
    assert_eq!(rests_ms(0, 64 << 10), 250);
    assert_eq!(rests_ms(100_000, 64 << 10), 1775);
    assert_eq!(rests_ms(1 << 20, 64 << 10), 2000);
    assert_eq!(rests_ms(1 << 20, 0), 0);
}
