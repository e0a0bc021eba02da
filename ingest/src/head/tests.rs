use super::*;

/// Number of whole heads, and from which request on nothing is trusted; the same however the bytes are cut.
fn follow(bytes: &[u8]) -> (u64, Option<u64>) {
    let followed = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut framing = Framing::default();
        pieces.for_each(|piece| framing.follow(piece));
        (framing.heads, framing.refused_from)
    };
    let whole = followed(&mut std::iter::once(bytes));
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(
            followed(&mut bytes.chunks(size)),
            whole,
            "in pieces of {size}: {:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    whole
}

fn head(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn each_request_ends_where_its_length_or_its_last_chunk_says() {
    let requests = [
        head(""),
        head("Content-Length: 0\r\n"),
        head("Content-Length: 5\r\n") + "ab\r\nc",
        head("content-length:\t 3 \t\r\n") + "\n\r\n",
        head("Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n0A;ext=\"x\"\r\n0123\r\n6789\r\n0\r\nTrailer: x\r\n\r\n",
        "\r\n".to_owned() + &head("TRANSFER-ENCODING:CHUNKED\r\n") + "0\r\n\r\n",
        head(&format!("Cookie: {}\r\nContent-Type: a\r\nTE: trailers\r\n", "c".repeat(5000))),
        head("Content-Length-Of-Something: 7\r\nTransfer-Encodings: x\r\n"),
    ];
    assert_eq!(follow(requests.concat().as_bytes()), (8, None));
    assert_eq!(follow(requests.concat().repeat(3).as_bytes()), (24, None));
}

#[test]
fn a_head_has_begun_with_its_first_byte_and_ends_with_its_last() {
    let mut framing = Framing::default();
    let mut within = |bytes: &[u8]| {
        framing.follow(bytes);
        framing.is_within_head()
    };
    assert_eq!(
        [within(b""), within(b"P"), within(b"OST / HTTP/1.1\r\n"), within(b"Content-Length: 3\r\n\r")],
        [false, true, true, true]
    );
    assert_eq!([within(b"\n"), within(b"ab"), within(b"c"), within(b"G")], [false, false, false, true]);
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_with_everything_behind_it() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "transfer-encoding:chunked\r\nX: y\r\ncontent-LENGTH:0\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "X: y\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\r\n Content-Length: 5\r\n",
    ] {
        let good = head("Content-Length: 2\r\n") + "ab";
        let bytes = good.clone() + &head(lines) + "0\r\n\r\n" + &good;
        assert_eq!(follow(bytes.as_bytes()), (1, Some(1)), "{lines:?}");
    }
    let padded = format!("Content-Length:{}5\r\n", " ".repeat(300));
    assert_eq!(follow(head(&padded).as_bytes()), (0, Some(0)), "padded beyond reason");
    assert_eq!(follow(b"POST / HTTP/1.1\nHost: a\n\n"), (0, Some(0)), "bare line ends");
}

#[test]
fn behind_a_broken_chunk_nothing_is_trusted() {
    for chunks in ["10000000000000000f\r\n", "-1\r\n", "0x2\r\n", "\r\n", "2\n", " 2\r\n", "2 2\r\n", "2g\r\n"] {
        let bytes = head("Transfer-Encoding: chunked\r\n") + chunks + &head("");
        assert_eq!(follow(bytes.as_bytes()), (1, Some(1)), "{chunks:?}");
    }
    let zeros = head("Transfer-Encoding: chunked\r\n") + &"0".repeat(40) + "2 ;x\r\nab\r\n0\r\n\r\n" + &head("");
    assert_eq!(follow(zeros.as_bytes()), (2, None));
    // A chunk of almost all the bytes there can be is waited for.
    assert_eq!(follow((head("Transfer-Encoding: chunked\r\n") + "ffffffffffffffff\r\nabc").as_bytes()), (1, None));
}

#[test]
fn another_protocol_is_left_alone() {
    assert_eq!(follow(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\n\n\x04"), (0, None));
    let second = head("") + "PRI * HTTP/2.0\r\n\r\nSM\n";
    assert_eq!(follow(second.as_bytes()), (2, Some(2)), "only as the first bytes");
}

#[test]
fn a_line_without_end_is_not_kept() {
    let mut framing = Framing::default();
    framing.follow(b"GET / HTTP/1.1\r\nX: ");
    for _ in 0..100_000 {
        framing.follow(b"yyyyyyyyyy");
    }
    assert!(framing.line.capacity() <= 2 * LINE_BYTES_MAX, "{}", framing.line.capacity());
}

#[test]
fn a_watch_refuses_from_the_unclear_request_on() {
    let watch = Watch::new();
    watch.refused_from.store(2, Ordering::Relaxed);
    let answers: Vec<bool> = (0..4).map(|_| watch.next_request().is_ok()).collect();
    assert_eq!(answers, [true, true, false, false]);
}

#[test]
fn one_host_that_is_one() {
    let status = |version, hosts: &[&str]| {
        let mut request = Request::post("/v1/events").version(version);
        for host in hosts {
            request = request.header("host", *host);
        }
        check(&request.body(()).unwrap()).map_err(|refused| refused.reason)
    };
    let refused = Err(Reason::InvalidRequest);
    for host in ["a", "a.example:4318", "[::1]:80", "xn--bcher-kva.example", ""] {
        assert_eq!(status(Version::HTTP_11, &[host]), Ok(()), "{host}");
    }
    for host in ["a b", "a,b", "a/b", "u@a", "a\tb", "ä", "a?b", "a\"b"] {
        assert_eq!(status(Version::HTTP_11, &[host]), refused, "{host}");
    }
    assert_eq!(status(Version::HTTP_11, &[]), refused);
    assert_eq!(status(Version::HTTP_11, &["a", "a"]), refused);
    assert_eq!(status(Version::HTTP_10, &[]), Ok(()));
    assert_eq!(status(Version::HTTP_10, &["a", "b"]), refused);
    assert_eq!(status(Version::HTTP_2, &[]), Ok(()));
}

#[test]
fn targets_and_expectations() {
    let reason = |method: &str, target: &str, expected: Option<&str>| {
        let request = Request::builder().method(method).uri(target).header("host", "a");
        let request = expected.into_iter().fold(request, |request, value| request.header("expect", value));
        check(&request.body(()).unwrap()).map_err(|refused| refused.reason)
    };
    assert_eq!(reason("POST", "/v1/events", Some("100-Continue")), Ok(()));
    assert_eq!(reason("POST", "/v1/events", Some("the unexpected")), Err(Reason::ExpectationFailed));
    assert_eq!(reason("POST", "http://elsewhere/v1/events", None), Ok(()));
    assert_eq!(reason("POST", "ftp://elsewhere/v1/events", None), Err(Reason::InvalidRequest));
    assert_eq!(reason("OPTIONS", "*", None), Ok(()));
    assert_eq!(reason("POST", "*", None), Err(Reason::InvalidRequest));
    assert_eq!(reason("CONNECT", "elsewhere:443", None), Err(Reason::MethodNotAllowed));
}
