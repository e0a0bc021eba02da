//! Requests whose end can be read in more than one way, straight to ingest and through real proxies.
//!
//! Every variant is one conversation of one client: the request itself (`v`), hidden in its body or behind it another one (`x`),
//! and a last one (`s`). Each carries an event with a service of its own and names itself in its target, so that the log
//! of ingest tells which requests it has taken and the log of the proxy which ones it knows of. They disagree when the two
//! differ, or when a client is given an answer to a request that is not its own: `v` has one event, `x` two, `s` three
//! and the requests of bystanders on the same proxy four, and every answer says how many it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use crate::cases::{Case, case};
use crate::proxies::{Kind, Proxy};
use crate::reference::{self, Ending, Request};
use crate::scene::Scene;
use crate::talk::{self, Exchange, Until};

pub(super) fn cases() -> Vec<Case> {
    let long = |case: Case| Case { long: true, ..case };
    vec![
        case(
            "H08a",
            "smuggling, straight to ingest",
            "what has two readings is 400 and the end of the connection",
            |scene| Box::pin(direct(scene)),
        ),
        long(case("H08b", "smuggling through nginx", AGREE, |scene| Box::pin(through(scene, Kind::Nginx)))),
        long(case("H08c", "smuggling through haproxy", AGREE, |scene| Box::pin(through(scene, Kind::Haproxy)))),
        long(case("H08d", "smuggling through apache2", AGREE, |scene| Box::pin(through(scene, Kind::Apache)))),
    ]
}

const AGREE: &str = "0 disagreements about any message boundary";

/// One conversation.
struct Variant {
    number: usize,
    /// How it is framed, for people.
    name: String,
    bytes: Vec<u8>,
}

/// Builds the bytes of the requests of one run.
struct Writer<'s> {
    host: &'s str,
    key: &'s str,
}

impl Writer<'_> {
    fn event(class: char, number: usize) -> String {
        let events = vec![format!("{{\"service\":\"{class}-{number}\"}}"); events_of(class)];
        // One value: with anything before or behind it no event of it is taken.
        format!("[{}]", events.join(","))
    }

    fn head(&self, class: char, number: usize, version: &str, first: &str, last: &str) -> String {
        format!(
            "POST /v1/events?r={class}-{number} {version}\r\n{first}Host: {}\r\nAuthorization: Bearer {}\r\n{last}\r\n",
            self.host, self.key
        )
    }

    fn plain(&self, class: char, number: usize) -> String {
        let event = Self::event(class, number);
        self.head(class, number, "HTTP/1.1", "", &format!("Content-Length: {}\r\n", event.len())) + &event
    }
}

fn events_of(class: char) -> usize {
    match class {
        'v' => 1,
        'x' => 2,
        's' => 3,
        _ => 4,
    }
}

/// Header lines that announce chunks, more or less. Each ends in a line end, or in what might be one.
const CODINGS: &[&str] = &[
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding:chunked\r\n",
    "TRANSFER-ENCODING: CHUNKED\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding\t: chunked\r\n",
    "Transfer-Encoding:\tchunked\t\r\n",
    "Transfer-Encoding:\u{b}chunked\r\n",
    "Transfer-Encoding:\u{c}chunked\r\n",
    "Transfer-Encoding:\0chunked\r\n",
    "Transfer-Encoding: chunked\0\r\n",
    "Transfer-Encoding: chun\0ked\r\n",
    "\0Transfer-Encoding: chunked\r\n",
    "Transfer\0-Encoding: chunked\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: chunkedx\r\n",
    "Transfer-Encoding: \"chunked\"\r\n",
    "Transfer-Encoding: 'chunked'\r\n",
    "Transfer-Encoding: chunked;q=1\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: identity, chunked\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked,\r\n",
    "Transfer-Encoding: ,chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding:\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
    "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "X: y\nTransfer-Encoding: chunked\r\n",
    "X: y\rTransfer-Encoding: chunked\r\n",
    "X: y\r\n Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding:\r\n chunked\r\n",
    "Transfer-Encoding\r\n: chunked\r\n",
    "Transfer-Encoding: chunked\n",
    "Transfer-Encoding: chunked\r",
    " Transfer-Encoding: chunked\r\n",
    "Transfer_Encoding: chunked\r\n",
    "Transfer Encoding: chunked\r\n",
    "X-Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunk\u{e9}d\r\n",
    "Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
];

/// Header lines that announce a length, more or less; `{n}` stands for the number.
const LENGTHS: &[&str] = &[
    "Content-Length: {n}\r\n",
    "content-length:{n}\r\n",
    "Content-Length:\t{n} \t\r\n",
    "Content-Length: +{n}\r\n",
    "Content-Length: -{n}\r\n",
    "Content-Length: 0x{x}\r\n",
    "Content-Length: 0{n}\r\n",
    "Content-Length: 0000000000000000000000000{n}\r\n",
    "Content-Length: {n}.0\r\n",
    "Content-Length: {n}e0\r\n",
    "Content-Length: {n}_0\r\n",
    "Content-Length: {n}, {n}\r\n",
    "Content-Length: {n},{n}\r\n",
    "Content-Length: {n}, 0\r\n",
    "Content-Length: {n} {n}\r\n",
    "Content-Length: {n};x\r\n",
    "Content-Length: \"{n}\"\r\n",
    "Content-Length:\r\n",
    "Content-Length: x\r\n",
    "Content-Length: {n}\0\r\n",
    "Content-Length: \u{b}{n}\r\n",
    "Content-Length : {n}\r\n",
    "Content-Length\t: {n}\r\n",
    " Content-Length: {n}\r\n",
    "Content_Length: {n}\r\n",
    "X: y\nContent-Length: {n}\r\n",
    "X: y\rContent-Length: {n}\r\n",
    "X: y\r\n Content-Length: {n}\r\n",
    "Content-Length:\r\n {n}\r\n",
    "Content-Length: {n}\n",
    "Content-Length: {n}\r\nContent-Length: {n}\r\n",
    "Content-Length: {n}\r\nContent-Length: 0\r\n",
    "Content-Length: 0\r\nContent-Length: {n}\r\n",
    "Content-Length: {n}\r\nX: y\r\ncontent-length: 1\r\n",
    "Content-Length: 18446744073709551616\r\n",
    "Content-Length: 99999999999999999999999\r\n",
    "Content-Length: {wide}\r\n",
    "Connection: close, Content-Length\r\nContent-Length: {n}\r\n",
];

/// Chunked bodies, well and badly formed; `{n}` and `{d}` stand for size and data, `{e}` for one with a long extension.
const CHUNKS: &[&str] = &[
    "{n}\r\n{d}\r\n0\r\n\r\n",
    "{N}\r\n{d}\r\n0\r\n\r\n",
    "000{n}\r\n{d}\r\n000\r\n\r\n",
    "00000000000000000000{n}\r\n{d}\r\n0\r\n\r\n",
    "1000000000000000{n}\r\n{d}\r\n0\r\n\r\n",
    "10000000000000000{n}\r\n{d}\r\n0\r\n\r\n",
    "fffffffffffffff{n}\r\n{d}\r\n0\r\n\r\n",
    "-{n}\r\n{d}\r\n0\r\n\r\n",
    "+{n}\r\n{d}\r\n0\r\n\r\n",
    "0x{n}\r\n{d}\r\n0\r\n\r\n",
    " {n}\r\n{d}\r\n0\r\n\r\n",
    "\t{n}\r\n{d}\r\n0\r\n\r\n",
    "{n} \r\n{d}\r\n0\r\n\r\n",
    "{n}\t\r\n{d}\r\n0\r\n\r\n",
    "{n}\0\r\n{d}\r\n0\r\n\r\n",
    "{n}g\r\n{d}\r\n0\r\n\r\n",
    "{n};a\r\n{d}\r\n0\r\n\r\n",
    "{n} ;a=b\r\n{d}\r\n0;c\r\n\r\n",
    "{n};a=\"b\"\r\n{d}\r\n0\r\n\r\n",
    "{n};a=\"\r\n{d}\r\n0\r\n\r\n",
    "{n};\n{d}\r\n0\r\n\r\n",
    "{n};a\nb\r\n{d}\r\n0\r\n\r\n",
    "{n};a\rb\r\n{d}\r\n0\r\n\r\n",
    "{n};\0\r\n{d}\r\n0\r\n\r\n",
    "{n}\n{d}\n0\n\n",
    "{n}\n{d}\r\n0\r\n\r\n",
    "{n}\r{d}\r\n0\r\n\r\n",
    "{n}\r\r\n{d}\r\n0\r\n\r\n",
    "{n}\r\n{d}\n0\r\n\r\n",
    "{n}\r\n{d}\r0\r\n\r\n",
    "{n}\r\n{d}0\r\n\r\n",
    "{n}\r\n{d}xx0\r\n\r\n",
    "{n}\r\n{d}\r\n\r\n0\r\n\r\n",
    "{n}\r\n{d}\r\n0\n\r\n",
    "{n}\r\n{d}\r\n0\r\n\n",
    "{n}\r\n{d}\r\n0\n\n",
    "{n}\r\n{d}\r\n0\r\nX: y\r\n\r\n",
    "{n}\r\n{d}\r\n0\r\nX: y\n\r\n",
    "{n}\r\n{d}\r\n0\r\nX: y\r\n z\r\n\r\n",
    "{n}\r\n{d}\r\n0\r\nContent-Length: 5\r\n\r\n",
    "{n}\r\n{d}\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "{n}\r\n{d}\r\n0\r\nHost: other\r\n\r\n",
    "{n}\r\n{d}\r\n0\r\nnothing\r\n\r\n",
    "\r\n{n}\r\n{d}\r\n0\r\n\r\n",
    ";a\r\n{d}\r\n0\r\n\r\n",
    "{n}\r\n{d}\r\n0;a=\"\r\n\r\n\"\r\n\r\n",
    "{e}",
];

/// Heads that are odd beside their framing: version and a line more.
const HEADS: &[(&str, &str)] = &[
    ("HTTP/1.0", ""),
    ("HTTP/1.0", "Connection: keep-alive\r\n"),
    ("HTTP/1.2", ""),
    ("HTTP/0.9", ""),
    ("HTTP/2.0", ""),
    ("HTTP/1.1 ", ""),
    ("http/1.1", ""),
    ("HTTP/1.1", "Host: other\r\n"),
    ("HTTP/1.1", "X: y\n"),
    ("HTTP/1.1", "X: y\r"),
    ("HTTP/1.1", "X\r\n"),
    ("HTTP/1.1", ": y\r\n"),
    ("HTTP/1.1", "X Y: z\r\n"),
    ("HTTP/1.1", "X: a\0b\r\n"),
    ("HTTP/1.1", "X: \u{7f}\r\n"),
    ("HTTP/1.1", "X: y\r\n z\r\n"),
    ("HTTP/1.1", " X: y\r\n"),
    ("HTTP/1.1", "\tX: y\r\n"),
    ("HTTP/1.1", "X: \r\r\n"),
    ("HTTP/1.1", "Upgrade: websocket\r\nConnection: upgrade\r\n"),
    ("HTTP/1.1", "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n"),
    ("HTTP/1.1", "Expect: 100-continue\r\n"),
    ("HTTP/1.1", "Expect: 100-continue, 100-continue\r\n"),
    ("HTTP/1.1", "Expect: x\r\n"),
    ("HTTP/1.1", "Connection: close\r\n"),
    ("HTTP/1.1", "Connection: Content-Length\r\n"),
    ("HTTP/1.1", "Connection: Host, Authorization\r\n"),
];

/// All of them, over two thousand.
fn variants(writer: &Writer<'_>) -> Vec<Variant> {
    let mut all: Vec<Variant> = Vec::new();
    let mut add = |name: String, build: &dyn Fn(usize) -> String| {
        let number = all.len();
        // What stands for a byte above 127 is one byte.
        let text = build(number) + &writer.plain('s', number);
        all.push(Variant { number, name, bytes: text.chars().map(|c| c as u8).collect() });
    };
    // A length and chunks, in either order: by the length the body is all of it, by the chunks it ends before `x`, or the other
    // way round.
    for coding in CODINGS {
        for length in LENGTHS {
            for length_first in [true, false] {
                add(format!("{coding:?} {length:?} {length_first}"), &|number| {
                    let event = Writer::event('v', number);
                    let chunks = format!("{:x}\r\n{event}\r\n0\r\n\r\n", event.len());
                    let hidden = writer.plain('x', number);
                    // Every other one is longer by its length than by its chunks.
                    let all_of_it = number.is_multiple_of(2);
                    let announced = if all_of_it { chunks.len() + hidden.len() } else { chunks.len() - 5 };
                    let length = fill_length(length, announced);
                    let lines = if length_first { format!("{length}{coding}") } else { format!("{coding}{length}") };
                    writer.head('v', number, "HTTP/1.1", "", &lines) + &chunks + &hidden
                });
            }
        }
    }
    // A length alone, above or below the body; once before all other lines.
    for length in LENGTHS {
        for (first, hides) in [(true, true), (true, false), (false, true), (false, false)] {
            add(format!("{length:?} first {first} hides {hides}"), &|number| {
                let (event, hidden) = (Writer::event('v', number), writer.plain('x', number));
                let length = fill_length(length, event.len() + if hides { hidden.len() } else { 0 });
                let (before, behind) = if first { (length.as_str(), "") } else { ("", length.as_str()) };
                writer.head('v', number, "HTTP/1.1", before, behind) + &event + &hidden
            });
        }
    }
    // Codings alone, for each version and place.
    for coding in CODINGS {
        for (version, first) in [("HTTP/1.1", true), ("HTTP/1.1", false), ("HTTP/1.0", false)] {
            add(format!("{coding:?} {version} first {first}"), &|number| {
                let event = Writer::event('v', number);
                let (before, behind) = if first { (*coding, "") } else { ("", *coding) };
                writer.head('v', number, version, before, behind)
                    + &format!("{:x}\r\n{event}\r\n0\r\n\r\n", event.len())
                    + &writer.plain('x', number)
            });
        }
    }
    // Chunks that hide a request in their data, or behind what may be their end.
    for chunks in CHUNKS {
        for hides in [false, true] {
            add(format!("{chunks:?} hides {hides}"), &|number| {
                let data = Writer::event('v', number) + &if hides { writer.plain('x', number) } else { String::new() };
                let body = chunks
                    .replace("{n}", &format!("{:x}", data.len()))
                    .replace("{N}", &format!("{:X}", data.len()))
                    .replace("{e}", &format!("{:x};{}\r\n{data}\r\n0\r\n\r\n", data.len(), "e".repeat(1 << 20)))
                    .replace("{d}", &data);
                let head = writer.head('v', number, "HTTP/1.1", "", "Transfer-Encoding: chunked\r\n");
                head + &body + &writer.plain('x', number)
            });
        }
    }
    // Odd heads with either framing.
    for (version, line) in HEADS {
        for (first, is_chunked) in [(true, true), (true, false), (false, true), (false, false)] {
            add(format!("{version:?} {line:?} first {first} chunked {is_chunked}"), &|number| {
                let event = Writer::event('v', number);
                let (framing, body) = match is_chunked {
                    true => (
                        "Transfer-Encoding: chunked\r\n".to_owned(),
                        format!("{:x}\r\n{event}\r\n0\r\n\r\n", event.len()),
                    ),
                    false => (format!("Content-Length: {}\r\n", event.len()), event),
                };
                let (before, behind) = if first { (*line, framing) } else { ("", framing + line) };
                writer.head('v', number, version, before, &behind) + &body + &writer.plain('x', number)
            });
        }
    }
    // Targets, and line ends before and within.
    for (from, to) in [
        ("POST /v1", "\r\nPOST /v1"),
        ("POST /v1", "\nPOST /v1"),
        ("POST /v1", "\r\n\r\n\r\nPOST /v1"),
        ("POST /v1", "POST  /v1"),
        ("POST /v1", "POST\t/v1"),
        ("POST /v1", " POST /v1"),
        ("POST /v1", "POST http://elsewhere/v1"),
        ("POST /v1", "POST http://a@elsewhere:1/v1"),
        ("POST /v1", "POST ftp://elsewhere/v1"),
        ("POST /v1", "POST //v1"),
        ("POST /v1", "POST /%2e/v1"),
        ("POST /v1/events", "GET /v1/events"),
        ("POST /v1/events", "PUT /v1/events"),
        ("POST /v1/events", "post /v1/events"),
        (" HTTP/1.1", "\u{a0}HTTP/1.1"),
        (" HTTP/1.1", ""),
        (" HTTP/1.1", " \0HTTP/1.1"),
        (" HTTP/1.1", "#f HTTP/1.1"),
        (" HTTP/1.1", "%0d%0aX:%20y HTTP/1.1"),
        ("Content-Length", "Content-Length: 0\r\n\r\nContent-Length"),
        ("\r\n\r\n", "\n\n"),
        ("\r\n\r\n", "\r\n\n"),
        ("\r\n\r\n", "\n\r\n"),
        ("\r\n\r\n", "\r\r\n\r\n"),
        ("\r\nHost: ", "\nHost: "),
        ("\r\nHost: ", "\rHost: "),
    ] {
        add(format!("{from:?} {to:?}"), &|number| {
            writer.plain('v', number).replacen(from, to, 1) + &writer.plain('x', number)
        });
    }
    all
}

fn fill_length(line: &str, bytes: usize) -> String {
    line.replace("{n}", &bytes.to_string())
        .replace("{x}", &format!("{bytes:x}"))
        // The same in 32 and in 64 bits.
        .replace("{wide}", &((1_u128 << if bytes.is_multiple_of(2) { 32 } else { 64 }) + bytes as u128).to_string())
}

/// What a client was told, by the requests that the answers are for.
fn answered(exchange: &Exchange) -> Vec<char> {
    let class = |events: u64| ['v', 'x', 's', 'c'].into_iter().find(|class| events_of(*class) as u64 == events);
    exchange
        .replies
        .iter()
        .filter(|reply| reply.status == 202)
        .map(|reply| reply.accepted().and_then(class).unwrap_or('?'))
        .collect()
}

/// The requests that ingest has taken: name and how many times.
async fn taken(scene: &Scene) -> anyhow::Result<BTreeMap<String, u64>> {
    let events = scene.taken().await?;
    let requests = events.into_iter().map(|(service, events)| {
        let each = service.chars().next().map_or(1, events_of) as u64;
        // A part of a request's events would be a disagreement about its body: it shows as one more.
        (service, events.div_ceil(each) + u64::from(!events.is_multiple_of(each)))
    });
    Ok(requests.collect())
}

async fn direct(scene: &mut Scene) -> anyhow::Result<()> {
    scene.restart_with(&[("PEEP_INGEST_HEADER_TIMEOUT", "1500ms"), ("PEEP_INGEST_BODY_TIMEOUT", "1500ms")]).await?;
    let (address, key) = (scene.address.clone(), scene.key.clone());
    let variants = variants(&Writer { host: &address, key: &key });
    let talks = stream::iter(&variants).map(|variant| talk::talk(&address, &variant.bytes, UNTIL_CLOSED));
    let (exchanges, cost) = scene.beside_honest(talks.buffered(AT_ONCE).collect::<Vec<_>>()).await?;
    let taken = taken(scene).await?;
    let (mut refused, mut served, mut differing) = (0, 0, Vec::new());
    for (variant, exchange) in variants.iter().zip(exchanges) {
        let exchange = exchange?;
        let reading = reference::read(&variant.bytes);
        let expected: Vec<char> = reading.requests.iter().filter_map(class_of).collect();
        let told = answered(&exchange);
        let name = |class: &char| format!("{class}-{}", variant.number);
        let in_log: BTreeSet<char> =
            ['v', 'x', 's'].into_iter().filter(|class| taken.contains_key(&name(class))).collect();
        // Fewer only when the connection has ended, by somebody's wish: nothing that was never sent as a request, no order
        // but that of the requests, nothing done that was not answered.
        let is_whole = told.len() == expected.len();
        let agrees = expected.starts_with(&told)
            && (is_whole || exchange.is_over())
            && told.iter().copied().collect::<BTreeSet<char>>() == in_log;
        let is_refused = exchange.is_over() && exchange.final_replies().last().is_none_or(|reply| reply.status >= 400);
        // A wish for the end before what is no request is the end, too.
        let ends_well = reading.end != Ending::Refused || is_refused || !is_whole;
        refused += usize::from(reading.end == Ending::Refused);
        served += usize::from(reading.end == Ending::Whole && is_whole);
        if !agrees || !ends_well {
            let statuses = exchange.statuses();
            differing.push(format!(
                "{}: in the log {in_log:?}, answered {statuses:?} {:?}, to be read as {expected:?} {:?}",
                variant.name, exchange.end, reading.end
            ));
        }
    }
    let (all, differ) = (variants.len(), differing.len());
    scene.note(format!("{all} variants, {refused} to be refused, {served} clear and served, {differ} read otherwise"));
    scene.expect(served >= SERVED_MIN, format!("only {served} clear ones were served"));
    scene.note(cost.honest.summary());
    scene.expect(variants.len() >= VARIANTS_MIN, "too few variants");
    for difference in differing.into_iter().take(SHOWN) {
        scene.expect(false, difference);
    }
    Ok(())
}

/// Whose events a request brings, if it brings any.
fn class_of(request: &Request) -> Option<char> {
    let path = request.target.split_once("/v1/events").map(|(before, _)| before)?;
    // With an authority before the path or without, and nothing else that would make it another one.
    let is_ours = path.is_empty() || path.starts_with("http://");
    let events: serde_json::Value = serde_json::from_slice(&request.body).ok()?;
    events[0]["service"].as_str()?.chars().next().filter(|_| is_ours && request.method == "POST")
}

async fn through(scene: &mut Scene, kind: Kind) -> anyhow::Result<()> {
    let mut proxy = Proxy::start(kind, &scene.address).await?;
    let (address, key) = (proxy.address.clone(), scene.key.clone());
    let writer = Writer { host: &address, key: &key };
    let variants = variants(&writer);
    let conversation = async |variant: &Variant| {
        let exchange = talk::talk(&address, &variant.bytes, UNTIL_CLOSED).await?;
        // Somebody else, who may be given the same connection behind the proxy.
        let bystander = talk::talk(&address, writer.plain('c', variant.number).as_bytes(), UNTIL_ANSWERED).await?;
        anyhow::Ok((exchange, bystander))
    };
    let talks = stream::iter(&variants).map(conversation);
    let (conversations, cost) = scene.beside_honest(talks.buffered(AT_ONCE).collect::<Vec<_>>()).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    proxy.stop().await;
    let (mut taken, mut passed) = (taken(scene).await?, BTreeMap::<String, u64>::new());
    for line in proxy.log()?.into_iter().filter(|line| line.status == 202) {
        if let Some((_, rest)) = line.request_line.split_once("?r=") {
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
            *passed.entry(name).or_default() += 1;
        }
    }
    let (mut disagreements, mut refused, mut unserved) = (Vec::new(), 0, 0);
    for (variant, conversation) in variants.iter().zip(conversations) {
        let (exchange, bystander) = conversation?;
        let told = answered(&exchange);
        for class in ['v', 'x', 's', 'c'] {
            let name = format!("{class}-{}", variant.number);
            let (by_ingest, by_proxy) = (taken.remove(&name).unwrap_or(0), passed.remove(&name).unwrap_or(0));
            if by_ingest != by_proxy || by_ingest > 1 {
                disagreements.push(format!(
                    "{}: {class} was passed on {by_proxy} times and taken {by_ingest} times",
                    variant.name
                ));
            }
        }
        if !is_subsequence(&told, &['v', 'x', 's']) {
            disagreements.push(format!("{}: the client was given the answers {told:?}", variant.name));
        }
        match (answered(&bystander).as_slice(), bystander.status()) {
            (['c'], _) => {}
            ([], 502..=504) => unserved += 1,
            (other, status) => {
                disagreements.push(format!("{}: a bystander was given {status} {other:?}", variant.name))
            }
        }
        refused += usize::from(told.is_empty());
    }
    let strangers: Vec<String> = taken.into_keys().chain(passed.into_keys()).collect();
    scene.expect(strangers.is_empty(), format!("requests of nobody: {strangers:?}"));
    scene.note(format!("{} variants, {refused} refused, {} disagreements", variants.len(), disagreements.len()));
    scene.note(format!("bystanders unserved {unserved}"));
    scene.note(cost.honest.summary());
    scene.expect(variants.len() >= VARIANTS_MIN, "too few variants");
    scene.expect(unserved * 100 <= variants.len(), format!("{unserved} bystanders were not served"));
    for disagreement in disagreements.into_iter().take(SHOWN) {
        scene.expect(false, disagreement);
    }
    Ok(())
}

fn is_subsequence(of: &[char], all: &[char]) -> bool {
    let mut all = all.iter();
    of.iter().all(|class| all.any(|other| other == class))
}

const UNTIL_CLOSED: Until = Until::closed().patient(Duration::from_millis(2500));
const UNTIL_ANSWERED: Until = Until::replies(1);
const AT_ONCE: usize = 128;
const VARIANTS_MIN: usize = 2_000;
/// A server that refuses everything is no answer.
const SERVED_MIN: usize = 80;
/// More lines than this help nobody.
const SHOWN: usize = 12;
