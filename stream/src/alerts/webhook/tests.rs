use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A receiver that counts who comes and answers everybody the same.
struct Door {
    port: u16,
    hits: Arc<AtomicUsize>,
    heard: Arc<parking_lot::Mutex<String>>,
}

impl Door {
    fn open(address: impl Into<IpAddr>, answer: &'static str) -> Option<Self> {
        Self::at(SocketAddr::new(address.into(), 0), answer)
    }

    fn at(address: SocketAddr, answer: &'static str) -> Option<Self> {
        let listener = TcpListener::bind(address).ok()?;
        let port = listener.local_addr().expect("bound").port();
        let door = Self { port, hits: Arc::default(), heard: Arc::default() };
        let (hits, heard) = (Arc::clone(&door.hits), Arc::clone(&door.heard));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                hits.fetch_add(1, Ordering::SeqCst);
                let Ok(mut stream) = stream else { continue };
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                // Until the body is whole: its length is announced.
                while let Ok(len @ 1..) = stream.read(&mut piece) {
                    request.extend_from_slice(&piece[..len]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let announced = head.lines().find_map(|line| {
                        line.to_ascii_lowercase().strip_prefix("content-length: ").and_then(|len| len.parse().ok())
                    });
                    if body.len() >= announced.unwrap_or(0) {
                        *heard.lock() = text;
                        break;
                    }
                }
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Some(door)
    }

    fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

fn to(url: impl Into<String>) -> Receiver {
    Receiver { url: url.into(), secret: None }
}

async fn send(webhooks: &Webhooks, url: &str) -> Result<Answered, WebhookError> {
    webhooks.send(&to(url), "{}".into(), 0).await
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

#[tokio::test]
async fn no_spelling_of_a_private_address_gets_through() {
    let door = Door::open(Ipv4Addr::UNSPECIFIED, OK).expect("a free port");
    let second = Door::at(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), door.port), OK);
    // Names mean what a hostile name server says; everything else what the system makes of it.
    let lookup: Lookup = Arc::new(|host, port| {
        let named: &[&str] = match host {
            "loop.evil.example" => &["127.0.0.1"],
            "half.evil.example" => &["93.184.215.14", "127.0.0.1"],
            "mapped.evil.example" => &["::ffff:127.0.0.1"],
            "nat64.evil.example" => &["64:ff9b::7f00:1"],
            "sixtofour.evil.example" => &["2002:7f00:1::1"],
            "metadata.google.internal" => &["169.254.169.254"],
            "ula.evil.example" => &["fd00:ec2::254"],
            "link.evil.example" => &["fe80::1"],
            "broadcast.evil.example" => &["255.255.255.255"],
            "shared.evil.example" => &["100.64.0.1"],
            "zero.evil.example" => &["0.0.0.0"],
            _ => return (host, port).to_socket_addrs().map(Iterator::collect),
        };
        Ok(named.iter().map(|ip| SocketAddr::new(ip.parse().expect("an address"), port)).collect())
    });
    let webhooks = Webhooks::with_lookup(Vec::new(), lookup);
    let p = door.port;
    let forms = [
        format!("http://127.0.0.1:{p}/"),
        format!("http://127.1:{p}/"),
        format!("http://127.0.1:{p}/"),
        format!("http://2130706433:{p}/"),
        format!("http://0x7f000001:{p}/"),
        format!("http://0x7f.1:{p}/"),
        format!("http://0x7f.0x0.0x0.0x1:{p}/"),
        format!("http://0177.0.0.1:{p}/"),
        format!("http://017700000001:{p}/"),
        format!("http://00000177.0.0.1:{p}/"),
        format!("http://127.0.0.1.:{p}/"),
        format!("http://0:{p}/"),
        format!("http://0.0.0.0:{p}/"),
        format!("http://127.255.255.254:{p}/"),
        format!("http://localhost:{p}/"),
        format!("http://LOCALHOST:{p}/"),
        format!("http://localhost.:{p}/"),
        format!("http://[::1]:{p}/"),
        format!("http://[::]:{p}/"),
        format!("http://[0:0:0:0:0:0:0:1]:{p}/"),
        format!("http://[::ffff:127.0.0.1]:{p}/"),
        format!("http://[::ffff:7f00:1]:{p}/"),
        format!("http://[0:0:0:0:0:ffff:127.0.0.1]:{p}/"),
        format!("http://[::127.0.0.1]:{p}/"),
        format!("http://[64:ff9b::127.0.0.1]:{p}/"),
        format!("http://[2002:7f00:1::]:{p}/"),
        format!("http://[fe80::1%25lo]:{p}/"),
        format!("http://[::1%lo]:{p}/"),
        format!("http://10.0.0.8:{p}/"),
        format!("http://172.16.0.1:{p}/"),
        format!("http://192.168.1.1:{p}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://2852039166/latest/meta-data/".to_owned(),
        "http://0xa9fea9fe/latest/meta-data/".to_owned(),
        "http://[fd00:ec2::254]/latest/meta-data/".to_owned(),
        "http://metadata.google.internal/computeMetadata/v1/".to_owned(),
        format!("http://user@127.0.0.1:{p}/"),
        format!("http://hooks.example@127.0.0.1:{p}/"),
        format!("http://hooks.example:80@127.0.0.1:{p}/"),
        format!("http://127.0.0.1:{p}#@hooks.example/"),
        format!("http://127.0.0.1:{p}\\@hooks.example/"),
        format!("http://127%2e0%2e0%2e1:{p}/"),
        format!("http://%31%32%37.0.0.1:{p}/"),
        format!("http://①②⑦.⓪.⓪.①:{p}/"),
        format!("http://127。0。0。1:{p}/"),
        format!("http:127.0.0.1:{p}/"),
        format!("//127.0.0.1:{p}/"),
        format!("http:///127.0.0.1:{p}/"),
        format!("http://127.0.0.1\t:{p}/"),
        format!("http://127.0.0.1\r\nhost: hooks.example:{p}/"),
        format!("gopher://127.0.0.1:{p}/"),
        format!("ftp://127.0.0.1:{p}/"),
        "file:///etc/passwd".to_owned(),
        format!("dict://127.0.0.1:{p}/"),
        format!("http+unix://%2Fvar%2Frun%2Fdocker.sock:{p}/"),
        format!("http://loop.evil.example:{p}/"),
        format!("http://half.evil.example:{p}/"),
        format!("http://mapped.evil.example:{p}/"),
        format!("http://nat64.evil.example:{p}/"),
        format!("http://sixtofour.evil.example:{p}/"),
        format!("http://ula.evil.example:{p}/"),
        format!("http://link.evil.example:{p}/"),
        format!("http://broadcast.evil.example:{p}/"),
        format!("http://shared.evil.example:{p}/"),
        format!("http://zero.evil.example:{p}/"),
        format!("https://127.0.0.1:{p}/"),
    ];
    assert!(forms.len() >= 40);
    for form in &forms {
        let started = Instant::now();
        let outcome = send(&webhooks, form).await;
        assert!(outcome.is_err(), "{form}: {outcome:?}");
        // Most are refused; a few are no names, which a lookup finds out.
        let refused = matches!(&outcome, Err(WebhookError::Refused(_)));
        let no_name = matches!(&outcome, Err(WebhookError::Failed(why)) if why.starts_with("looking up"));
        assert!(refused || no_name, "{form}: {outcome:?} after {:?}", started.elapsed());
    }
    assert_eq!(door.hits() + second.as_ref().map_or(0, Door::hits), 0, "somebody was let through");
    // The door is a real one: with leave, the same message gets through.
    let webhooks = Webhooks::new(vec![format!("127.0.0.1:{p}")]);
    assert_eq!(send(&webhooks, &format!("http://127.0.0.1:{p}/")).await.map(|answered| answered.status), Ok(200));
    assert_eq!(door.hits(), 1);
    assert!(send(&webhooks, &format!("http://127.1:{p}/")).await.is_err(), "only as it was written");
}

#[tokio::test]
async fn a_name_is_looked_up_once_and_the_connection_goes_to_what_was_checked() {
    let (good, bad) = (Door::open(Ipv4Addr::LOCALHOST, OK), Door::open(Ipv4Addr::LOCALHOST, OK));
    let (good, bad) = (good.expect("a free port"), bad.expect("a free port"));
    let (first, then) = (good.port, bad.port);
    let lookups = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&lookups);
    // The second answer would lead somewhere else.
    let lookup: Lookup = Arc::new(move |_, _| {
        let port = if counted.fetch_add(1, Ordering::SeqCst) == 0 { first } else { then };
        Ok(vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)])
    });
    let webhooks = Webhooks::with_lookup(vec!["rebind.evil.example".into()], lookup);
    assert_eq!(send(&webhooks, "http://rebind.evil.example/").await.map(|answered| answered.status), Ok(200));
    assert_eq!((lookups.load(Ordering::SeqCst), good.hits(), bad.hits()), (1, 1, 0));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_a_way() {
    let inside = Door::open(Ipv4Addr::LOCALHOST, OK).expect("a free port");
    let answer = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:{}/\r\ncontent-length: 0\r\n\r\n",
        inside.port
    );
    let outside = Door::open(Ipv4Addr::LOCALHOST, answer.leak()).expect("a free port");
    let webhooks = Webhooks::new(vec![format!("127.0.0.1:{}", outside.port)]);
    let answered = send(&webhooks, &format!("http://127.0.0.1:{}/", outside.port)).await;
    assert_eq!(answered.map(|answered| answered.status), Ok(307));
    assert_eq!((outside.hits(), inside.hits()), (1, 0));
}

#[tokio::test]
async fn an_endless_answer_is_read_to_the_bound_only() {
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n{}", "x".repeat(1 << 20));
    let door = Door::open(Ipv4Addr::LOCALHOST, long.leak()).expect("a free port");
    let webhooks = Webhooks::new(vec!["127.0.0.1".into()]);
    let answered = send(&webhooks, &format!("http://127.0.0.1:{}/", door.port)).await.expect("it answers");
    assert_eq!((answered.status, answered.body), (200, "x".repeat(1024)));
}

#[tokio::test]
async fn a_receiver_that_says_nothing_costs_five_seconds() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let webhooks = Webhooks::new(vec!["127.0.0.1".into()]);
    let started = Instant::now();
    let outcome = send(&webhooks, &format!("http://127.0.0.1:{}/", silent.local_addr().expect("bound").port())).await;
    assert!(matches!(outcome, Err(WebhookError::Failed(_))), "{outcome:?}");
    assert!(started.elapsed() >= Duration::from_secs(4) && started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn what_is_sent_can_be_checked_with_the_secret() {
    let door = Door::open(Ipv4Addr::LOCALHOST, OK).expect("a free port");
    let webhooks = Webhooks::new(vec!["127.0.0.1".into()]);
    let receiver = Receiver { url: format!("http://127.0.0.1:{}/hook?a=b", door.port), secret: Some("key".into()) };
    let body = "The quick brown fox jumps over the lazy dog";
    webhooks.send(&receiver, body.into(), 1_795_183_205_000).await.expect("it answers");
    let heard = door.heard.lock().clone();
    assert!(heard.starts_with("POST /hook?a=b HTTP/1.1\r\n") && heard.ends_with(body), "{heard}");
    assert!(heard.contains("peep-timestamp: 1795183205000\r\n"), "{heard}");
    let signed = signature("key", 1_795_183_205_000, body);
    assert!(heard.contains(&format!("peep-signature: {signed}\r\n")), "{heard}");
}

#[test]
fn the_signature_is_the_hmac_that_others_compute() {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"key").expect("a key");
    mac.update(b"The quick brown fox jumps over the lazy dog");
    let known = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digits, known);
    // printf '0.' | openssl dgst -sha256 -hmac key
    let signed = "v1=85841b4efc3cd7776c3c8f9b7cca9e281c550e5d19889d78e9e669c6337f000d";
    assert_eq!(signature("key", 0, ""), signed);
}

#[test]
fn an_address_that_nothing_will_be_sent_to_is_refused_when_it_is_written() {
    let webhooks = Webhooks::new(vec!["10.0.0.9:8080".into(), "[::1]".into()]);
    let why = |url: &str| webhooks.refuses(url);
    assert_eq!(
        why("http://10.0.0.8/x").as_deref(),
        Some("10.0.0.8 is a private address. Alerts only go to public ones, or to hosts listed in PEEP_WEBHOOK_ALLOW")
    );
    for refused in ["http://127.0.0.1:9000/", "https://169.254.169.254/", "http://[fe80::1]/", "http://10.0.0.9/"] {
        assert!(why(refused).is_some(), "{refused}");
    }
    for allowed in [
        "http://10.0.0.9:8080/x",
        "http://[::1]:9000/",
        "https://1.1.1.1/",
        "https://hooks.example/",
        "http://localhost/",
    ] {
        assert_eq!(why(allowed), None, "{allowed}");
    }
}
