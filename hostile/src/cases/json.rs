//! Every way of getting JSON right or wrong, over the socket: the corpus of the JSON tests, each text as the value of a field
//! nobody knows, between two good events.

use crate::cases::{Case, case};
use crate::scene::Scene;
use crate::talk::Until;

pub(super) fn cases() -> Vec<Case> {
    vec![case(
        "H06",
        "a corpus of good and bad JSON",
        "every good text is taken, every bad one costs its own event only",
        |scene| Box::pin(corpus(scene)),
    )]
}

const CORPUS: &str = include_str!("../../../wire/fixtures/json/corpus.txt");

async fn corpus(scene: &mut Scene) -> anyhow::Result<()> {
    let (mut good, mut bad, mut open) = (0, 0, 0);
    let mut expected = 0;
    for line in CORPUS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut parts = line.splitn(3, ' ');
        let (verdict, name, text) =
            (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let text = unfold(text);
        // A text with a line end in it is two lines here.
        if text.contains(&b'\n') {
            continue;
        }
        let neighbour = b"{\"service\":\"neighbour\"}\n";
        let body = [neighbour, &b"{\"service\":\"corpus\",\"unknown\":"[..], &text, b"}\n", neighbour].concat();
        let request = scene.post_body("Content-Type: application/x-ndjson\r\n", body);
        let exchange = scene.talk(&request, Until::replies(1)).await?;
        let answer = exchange.replies.first().map(|reply| reply.json()).unwrap_or_default();
        let (accepted, rejected) = (answer["accepted"].as_u64().unwrap_or(0), &answer["rejected"]);
        let is_deep = name.starts_with("depth_");
        let is_right = match verdict.as_bytes().first() {
            Some(b'y') if !is_deep => accepted == 3,
            Some(b'n') => accepted == 2 && rejected[0]["index"] == 1,
            _ => accepted >= 2,
        };
        match verdict.as_bytes().first() {
            Some(b'y') => good += 1,
            Some(b'n') => bad += 1,
            _ => open += 1,
        }
        expected += accepted;
        scene.expect(
            exchange.status() == 202 && is_right,
            format!("{verdict} {name}: answered {} {answer}", exchange.status()),
        );
    }
    let taken: u64 = scene.taken().await?.values().sum();
    scene.note(format!("{good} good, {bad} bad, {open} left open by the RFC"));
    scene.expect(good + bad + open > 300, "the corpus is not what it was");
    scene.expect(taken == expected, format!("{taken} of {expected} accepted events are in the log"));
    Ok(())
}

/// `<80ff>` to bytes, `<x*3>` to `xxx`, as its README says.
fn unfold(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        let Some((folded, after)) = after.split_once('>') else { break };
        bytes.extend_from_slice(before.as_bytes());
        match folded.rsplit_once('*') {
            Some((text, times)) => bytes.extend(text.repeat(times.parse().unwrap_or(1)).bytes()),
            None => bytes.extend(
                folded
                    .as_bytes()
                    .chunks(2)
                    .filter_map(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()),
            ),
        }
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
