//! Compressed bodies that become much larger than they look.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::cases::{Case, case};
use crate::meter::mebibytes;
use crate::scene::Scene;
use crate::talk::{self, Until};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("H03a", "gzip, 1 MB that becomes 1 GB", "413, < 16 MiB", |scene| Box::pin(gzip_bomb(scene))),
        case(
            "H03b",
            "gzip in gzip, and two encodings announced",
            "415 or 413, one layer is undone, < 16 MiB",
            |scene| Box::pin(layers(scene)),
        ),
        case("H03c", "gzip of 100 000 members", "413 or taken within a second, < 16 MiB", |scene| {
            Box::pin(members(scene))
        }),
        case("H03d", "zstd frames that declare windows up to 512 MiB", "400, < 16 MiB", |scene| {
            Box::pin(windows(scene))
        }),
        case("H03e", "zstd, 32 KB that become 1 GB", "413, < 16 MiB", |scene| Box::pin(zstd_bomb(scene))),
        case("H03f", "brotli", "415, < 16 MiB", |scene| Box::pin(brotli(scene))),
    ]
}

/// Sends one body four times, one after the other, and judges the answers and the memory that the costliest took.
async fn send(scene: &mut Scene, name: &str, encoding: &str, body: &[u8], statuses: &[u16]) -> anyhow::Result<()> {
    let request = scene.post_body(&format!("Content-Encoding: {encoding}\r\n"), body);
    let address = scene.address.clone();
    let (mut seen, mut slowest, mut extra) = (Vec::new(), Duration::ZERO, 0);
    for _ in 0..4 {
        let (exchange, cost) = scene.beside_honest(talk::talk(&address, &request, Until::replies(1))).await?;
        let exchange = exchange?;
        seen.push(exchange.status());
        (slowest, extra) = (slowest.max(exchange.took), extra.max(cost.extra_bytes()));
    }
    let (status, bytes) = (seen[0], body.len());
    scene.note(format!("{name}: {status} to {bytes} bytes in {} ms, +{}", slowest.as_millis(), mebibytes(extra)));
    scene.expect(seen.iter().all(|status| statuses.contains(status)), format!("{name}: answered {seen:?}"));
    scene.expect(extra <= EXTRA_BYTES_MAX, format!("{name}: resident memory grew by {}", mebibytes(extra)));
    scene.expect(slowest <= SLOWEST, format!("{name}: an answer took {slowest:?}"));
    Ok(())
}

async fn gzip_bomb(scene: &mut Scene) -> anyhow::Result<()> {
    send(scene, "gzip", "gzip", &gzip(1 << 30)?, &[413]).await
}

async fn layers(scene: &mut Scene) -> anyhow::Result<()> {
    let twice = gzip_of(&gzip(1 << 30)?)?;
    // What is left after one layer is no JSON; two layers are not undone, whatever is announced.
    send(scene, "one announced", "gzip", &twice, &[400, 422]).await?;
    send(scene, "two announced", "gzip, gzip", &twice, &[415]).await
}

async fn members(scene: &mut Scene) -> anyhow::Result<()> {
    let empty = gzip_of(b"")?.repeat(100_000);
    send(scene, "empty members", "gzip", &empty, &[400]).await?;
    let lines = gzip_of(&vec![b'\n'; 1 << 20])?.repeat(200);
    send(scene, "members of 1 MiB", "gzip", &lines, &[413]).await
}

async fn windows(scene: &mut Scene) -> anyhow::Result<()> {
    for window_log in [24, 27, 29] {
        // Magic number; no content size, no checksum; window of 2^n; one last block of one repeated byte.
        let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0, (window_log - 10) << 3][..], &[0x0b, 0, 0]].concat();
        send(scene, &format!("2^{window_log}"), "zstd", &frame, &[400]).await?;
    }
    Ok(())
}

async fn zstd_bomb(scene: &mut Scene) -> anyhow::Result<()> {
    let body = zstd::stream::encode_all(std::io::Read::take(std::io::repeat(b' '), 1 << 30), 3)?;
    send(scene, "zstd", "zstd", &body, &[413]).await
}

async fn brotli(scene: &mut Scene) -> anyhow::Result<()> {
    // One meta-block of 16 MiB of one byte, as any encoder writes it: it is not even looked at.
    let body = [0xcb, 0xff, 0xff, 0xff, 0x7f, 0x00, 0x3c, 0x00];
    for encoding in ["br", "BR", "compress", "gzip, br", "br, gzip"] {
        send(scene, encoding, encoding, &body, &[415]).await?;
    }
    Ok(())
}

fn gzip(spaces: u64) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(b' '), spaces), &mut encoder)?;
    Ok(encoder.finish()?)
}

fn gzip_of(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

const EXTRA_BYTES_MAX: u64 = 16 << 20;
const SLOWEST: Duration = Duration::from_secs(2);
