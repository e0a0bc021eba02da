//! Heads that are too long, too many or too slow.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::cases::{Case, case};
use crate::scene::Scene;
use crate::talk::{self, Until};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("H10a", "100 headers of 8 KiB, 101 headers, one of 400 KB", "431", |scene| Box::pin(large_heads(scene))),
        case("H10b", "a head of 400 KB in writes of one byte", "431 within 64 KiB, linear processor time", |scene| {
            Box::pin(single_bytes(scene))
        }),
    ]
}

async fn large_heads(scene: &mut Scene) -> anyhow::Result<()> {
    let address = scene.address.clone();
    let head = |lines: usize, bytes: usize| {
        let lines: String = (0..lines).map(|number| format!("X-{number}: {}\r\n", "y".repeat(bytes))).collect();
        format!("GET /v1/events HTTP/1.1\r\nHost: t\r\n{lines}\r\n")
    };
    let attack = async {
        let mut seen = Vec::new();
        for (name, lines, bytes) in [("100 of 8 KiB", 100, 8 << 10), ("101", 101, 8), ("1 of 400 KB", 1, 400 << 10)] {
            let mut reset = 0;
            for _ in 0..20 {
                let exchange = talk::talk(&address, head(lines, bytes).as_bytes(), Until::closed()).await?;
                // What is sent after the answer resets the connection and may take the answer along.
                match (exchange.status(), exchange.is_over()) {
                    (431, true) => {}
                    (0, true) => reset += 1,
                    (status, _) => anyhow::bail!("{name}: answered {status}, {:?}", exchange.end),
                }
            }
            seen.push(format!("{name}: 431 ({reset} of 20 reset)"));
        }
        anyhow::Ok(seen)
    };
    let (seen, cost) = scene.beside_honest(attack).await?;
    match seen {
        Ok(seen) => seen.into_iter().for_each(|line| scene.note(line)),
        Err(error) => scene.expect(false, error.to_string()),
    }
    scene.judge_cost(&cost, EXTRA_BYTES_MAX);
    Ok(())
}

async fn single_bytes(scene: &mut Scene) -> anyhow::Result<()> {
    let mut costs = Vec::new();
    for bytes in [15 << 10, 60 << 10, 400 << 10] {
        let address = scene.address.clone();
        let attack = async {
            let mut stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: t\r\nX: ").await?;
            let mut sent = 0;
            while sent < bytes && stream.write_all(b"y").await.is_ok() {
                sent += 1;
                // One packet each, as far as the kernel lets us.
                tokio::task::yield_now().await;
            }
            let rest = talk::exchange(&mut stream, b"\r\n\r\n", Until::replies(1)).await;
            anyhow::Ok((sent, rest))
        };
        let (result, cost) = scene.beside_honest(attack).await?;
        let (sent, exchange) = result?;
        let (status, cpu) = (exchange.status(), cost.processor_time);
        scene.note(format!("{bytes}: {status} after {sent}, cpu {} ms", cpu.as_millis()));
        let expected: &[u16] = if bytes < 64 << 10 { &[405] } else { &[431, 0] };
        scene.expect(expected.contains(&status), format!("{bytes} bytes: answered {status}"));
        scene.expect(bytes < 64 << 10 || sent < bytes, format!("{bytes} bytes were all taken"));
        costs.push(cpu);
    }
    scene.expect(costs[1] < costs[0] * 10 + Duration::from_millis(500), format!("not linear: {costs:?}"));
    Ok(())
}

const EXTRA_BYTES_MAX: u64 = 16 << 20;
