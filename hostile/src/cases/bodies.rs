//! Bodies that are too large, too many or too deep.

use std::time::Duration;

use crate::cases::{Case, case};
use crate::meter::mebibytes;
use crate::scene::Scene;
use crate::talk::{self, Until};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("H04a", "one line of 100 MB", "413 before it is read", |scene| Box::pin(long_line(scene))),
        case("H04b", "millions of empty lines", "refused, in linear time", |scene| Box::pin(empty_lines(scene))),
        case("H04c", "5 001 events", "413", |scene| Box::pin(too_many(scene))),
        case("H04d", "one event of 100 KB among good ones", "refused by its index, the others are taken", |scene| {
            Box::pin(large_event(scene))
        }),
        case("H05a", "JSON nested 1 to 1 000 000 deep", "32 levels are taken, more are 400", |scene| {
            Box::pin(nested(scene))
        }),
    ]
}

async fn long_line(scene: &mut Scene) -> anyhow::Result<()> {
    let event = format!("{{\"service\":\"a\",\"x\":\"{}\"}}\n", "y".repeat(100_000_000));
    for (name, request) in [
        ("announced", scene.post_body("Content-Type: application/x-ndjson\r\n", &event)),
        (
            "in chunks",
            scene.post("Transfer-Encoding: chunked\r\n", format!("{:x}\r\n{event}\r\n0\r\n\r\n", event.len())),
        ),
    ] {
        let address = scene.address.clone();
        let (exchange, cost) = scene.beside_honest(talk::talk(&address, &request, Until::closed())).await?;
        let exchange = exchange?;
        scene.note(format!(
            "{name}: {} in {} ms, +{}",
            exchange.status(),
            exchange.took.as_millis(),
            mebibytes(cost.extra_bytes())
        ));
        // The reset that follows may overtake the answer.
        let is_refused = exchange.status() == 413 || (exchange.replies.is_empty() && exchange.is_over());
        scene.expect(is_refused, format!("{name}: answered {:?}", exchange.statuses()));
        scene.expect(cost.extra_bytes() <= EXTRA_BYTES_MAX, format!("{name}: +{}", mebibytes(cost.extra_bytes())));
    }
    Ok(())
}

async fn empty_lines(scene: &mut Scene) -> anyhow::Result<()> {
    let mut took = Vec::new();
    for lines in [1_250_000, 5_000_000] {
        let request = scene.post_body("Content-Type: application/x-ndjson\r\n", vec![b'\n'; lines]);
        let address = scene.address.clone();
        let (exchange, cost) = scene.beside_honest(talk::talk(&address, &request, Until::replies(1))).await?;
        let exchange = exchange?;
        took.push(cost.processor_time);
        let (status, cpu) = (exchange.status(), cost.processor_time.as_millis());
        scene.note(format!("{lines}: {status}, cpu {cpu} ms, +{}", mebibytes(cost.extra_bytes())));
        scene.expect(matches!(status, 400 | 422), format!("{lines} empty lines: answered {status}"));
    }
    // Four times the lines; what is not linear would be sixteen times the time.
    scene.expect(took[1] < took[0] * 8 + Duration::from_millis(200), format!("not linear: {took:?}"));
    Ok(())
}

async fn too_many(scene: &mut Scene) -> anyhow::Result<()> {
    for (events, status) in [(5_000, 202), (5_001, 413), (300_000, 413)] {
        let body = "{\"service\":\"many\"}\n".repeat(events);
        let exchange =
            scene.talk(&scene.post_body("Content-Type: application/x-ndjson\r\n", body), Until::replies(1)).await?;
        let answered = exchange.status();
        scene.note(format!("{events}: {answered}"));
        scene.expect(answered == status, format!("{events} events: answered {answered}"));
    }
    let taken = scene.taken().await?;
    scene.expect(taken.get("many") == Some(&5_000), format!("taken {taken:?}"));
    Ok(())
}

async fn large_event(scene: &mut Scene) -> anyhow::Result<()> {
    let large = format!("{{\"service\":\"large\",\"x\":\"{}\"}}", "y".repeat(100_000));
    let body = format!("{{\"service\":\"good\"}}\n{large}\n{{\"service\":\"good\"}}\n");
    let exchange =
        scene.talk(&scene.post_body("Content-Type: application/x-ndjson\r\n", body), Until::replies(1)).await?;
    let answer = exchange.replies.first().map(|reply| reply.json()).unwrap_or_default();
    let rejected = &answer["rejected"];
    scene.note(format!("{} accepted {}, rejected {}", exchange.status(), answer["accepted"], rejected[0]["code"]));
    scene.expect(exchange.status() == 202 && answer["accepted"] == 2, format!("answered {answer}"));
    scene.expect(rejected[0]["index"] == 1 && rejected[1].is_null(), format!("rejected {rejected}"));
    Ok(())
}

async fn nested(scene: &mut Scene) -> anyhow::Result<()> {
    let forms: [(&str, &str, &str, &str, &str); 6] = [
        // What stands before, one level, its end, what stands behind, and where that is.
        ("{\"service\":\"deep\",\"other\":", "[", "]", "}", "ignored field"),
        ("{\"service\":\"deep\",\"other\":", "{\"a\":", "}", "}", "ignored field, objects"),
        ("{\"service\":\"deep\",\"duration_ms\":", "[", "]", "}", "known field"),
        ("{\"service\":\"deep\",\"attrs\":", "{\"a\":", "}", "}", "attrs"),
        ("", "[", "]", "", "whole body"),
        ("", "{\"a\":", "}", "", "whole event"),
    ];
    let address = scene.address.clone();
    let mut slowest = Duration::ZERO;
    for (before, open, close, behind, place) in forms {
        for depth in [1, 16, 30, 31, 32, 33, 64, 1_000, 100_000, 1_000_000] {
            for is_closed in [true, false] {
                let middle = if open.ends_with(':') { "1" } else { "" };
                let close = if is_closed { close.repeat(depth) } else { String::new() };
                let body = format!("{before}{}{middle}{close}{behind}", open.repeat(depth));
                let exchange = talk::talk(&address, &scene.post_body("", &body), Until::replies(1)).await?;
                slowest = slowest.max(exchange.took);
                let status = exchange.status();
                // The event itself is one level, and `attrs` are flat.
                let depth_max = if place.starts_with("ignored") { 31 } else { usize::from(place == "attrs") };
                let is_taken = is_closed && depth <= depth_max;
                let expected: &[u16] = match () {
                    () if is_taken => &[202],
                    () if body.len() > 8 << 20 => &[413],
                    () => &[400, 422],
                };
                let what = format!("{depth} deep in {place}, closed {is_closed}");
                scene.expect(expected.contains(&status), format!("{what}: answered {status}"));
            }
        }
    }
    scene.note(format!("120 bodies, slowest answer {} ms", slowest.as_millis()));
    scene.expect(slowest < Duration::from_secs(5), format!("an answer took {slowest:?}"));
    Ok(())
}

const EXTRA_BYTES_MAX: u64 = 24 << 20;
