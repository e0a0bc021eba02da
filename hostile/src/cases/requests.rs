//! Requests that are legal and rare: the answer is a defined one, and what follows on the connection is never in doubt.

use std::time::Duration;

use crate::cases::{Case, case};
use crate::scene::Scene;
use crate::talk::Until;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(
            "H15a",
            "expectations, targets, hosts, upgrades",
            "a defined answer, then the next request or the end",
            |scene| Box::pin(defined(scene)),
        ),
        case("H15b", "200 requests in one write", "200 answers in order", |scene| Box::pin(pipeline(scene))),
    ]
}

/// The statuses that come, the second request's included when there is one, and whether the connection ends.
struct Defined {
    name: &'static str,
    from: &'static str,
    to: &'static str,
    statuses: &'static [u16],
}

const SERVED: &[u16] = &[202, 202];
const REFUSED: &[u16] = &[400];

const DEFINED: &[Defined] = &[
    Defined { name: "as usual", from: "", to: "", statuses: SERVED },
    Defined {
        name: "100-continue",
        from: "Content-Length",
        to: "Expect: 100-continue\r\nContent-Length",
        statuses: &[100, 202, 202],
    },
    Defined {
        name: "another expectation",
        from: "Content-Length",
        to: "Expect: x\r\nContent-Length",
        statuses: &[417],
    },
    Defined { name: "no host", from: "Host: ", to: "X-Host: ", statuses: REFUSED },
    Defined { name: "two hosts", from: "Host: ", to: "Host: other\r\nHost: ", statuses: REFUSED },
    Defined { name: "a host that is none", from: "Host: ", to: "Host: a/", statuses: REFUSED },
    Defined { name: "absolute form", from: "/v1/events", to: "http://elsewhere/v1/events", statuses: SERVED },
    Defined { name: "absolute form of ftp", from: "/v1/events", to: "ftp://elsewhere/v1/events", statuses: REFUSED },
    Defined { name: "asterisk", from: "POST /v1/events", to: "OPTIONS *", statuses: &[404, 202] },
    Defined { name: "asterisk to post to", from: "/v1/events", to: "*", statuses: REFUSED },
    Defined { name: "a tunnel", from: "POST /v1/events", to: "CONNECT elsewhere:443", statuses: &[405] },
    Defined {
        name: "upgrade to WebSocket",
        from: "Content-Length",
        to: "Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length",
        statuses: SERVED,
    },
    Defined {
        name: "upgrade to h2c",
        from: "Content-Length",
        to: "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length",
        statuses: SERVED,
    },
    Defined { name: "HTTP/1.0", from: "HTTP/1.1", to: "HTTP/1.0", statuses: &[202] },
    Defined {
        name: "HTTP/1.0 with chunks",
        from: "HTTP/1.1\r\n",
        to: "HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
        statuses: REFUSED,
    },
];

async fn defined(scene: &mut Scene) -> anyhow::Result<()> {
    let good = String::from_utf8(scene.post_body("", "{\"service\":\"defined\"}"))?;
    let mut expected_events = 0;
    for case in DEFINED {
        let odd = if case.from.is_empty() { good.clone() } else { good.replacen(case.from, case.to, 1) };
        // The second request comes with the first: early bytes of an upgrade look like this.
        let until = Until::replies(2).patient(Duration::from_secs(3));
        let exchange = scene.talk((odd + &good).as_bytes(), until).await?;
        let is_served = case.statuses.len() >= 2;
        expected_events += case.statuses.iter().filter(|status| **status == 202).count() as u64;
        scene.expect(
            exchange.statuses() == case.statuses && exchange.is_over() != is_served,
            format!("{}: answered {:?}, {:?}", case.name, exchange.statuses(), exchange.end),
        );
    }
    let taken = scene.taken().await?;
    let events = taken.get("defined").copied().unwrap_or(0);
    scene.expect(events == expected_events, format!("{events} of {expected_events} events were taken"));
    scene.note(format!("{} requests, {events} of {expected_events} events", DEFINED.len()));
    Ok(())
}

async fn pipeline(scene: &mut Scene) -> anyhow::Result<()> {
    let mut requests = Vec::new();
    for number in 0..200 {
        // The answers differ, so that their order shows.
        let events = "{\"service\":\"pipeline\"}\n".repeat(number % 7 + 1);
        requests.extend(scene.post_body("Content-Type: application/x-ndjson\r\n", events));
    }
    let exchange = scene.talk(&requests, Until::replies(200)).await?;
    let in_order =
        exchange.replies.iter().enumerate().filter(|(number, reply)| reply.accepted() == Some((number % 7 + 1) as u64));
    let in_order = in_order.count();
    scene.note(format!("{in_order} of 200 in order"));
    scene.expect(in_order == 200 && exchange.replies.len() == 200, "answers are missing or out of order");
    Ok(())
}
