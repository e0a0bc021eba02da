use super::*;

fn request(line: &str) -> (Option<&'static str>, Target<'_>) {
    let request = Request::parse(Cow::Borrowed(line.as_bytes()));
    (request.method, request.target)
}

fn path(text: &str) -> Target<'_> {
    Target::Path(Cow::Borrowed(text.as_bytes()))
}

#[test]
fn a_request_line_splits_into_method_and_target() {
    assert_eq!(request("GET /a?b=1 HTTP/1.1"), (Some("GET"), path("/a?b=1")));
    assert_eq!(request("GET /with space HTTP/1.1"), (Some("GET"), path("/with space")));
    assert_eq!(request("GET /zero-nine"), (Some("GET"), path("/zero-nine")));
    assert_eq!(request("M-SEARCH /odd HTTP/1.1"), (Some("_OTHER"), path("/odd")));
}

#[test]
fn what_is_no_http_has_no_method() {
    assert_eq!(request(""), (None, Target::Missing));
    assert_eq!(request("-"), (None, Target::Missing));
    assert_eq!(request("GARBAGE"), (None, Target::NotHttp));
    assert_eq!(request("\u{16}\u{3}\u{1} x"), (None, Target::NotHttp));
    assert_eq!(request("{\"json\":true} x"), (None, Target::NotHttp));
}

#[test]
fn status_outside_the_range_is_unknown_not_malformed() {
    assert_eq!(parse_status(b"499"), Ok(Some(499)));
    assert_eq!(parse_status(b"000"), Ok(None));
    assert_eq!(parse_status(b"-"), Ok(None));
    assert_eq!(parse_status(b"2xx"), Err(Malformed::BadStatus));
    assert_eq!(parse_status(b"1234"), Err(Malformed::BadStatus));
}

#[test]
fn escapes_of_all_three_writers_are_undone() {
    assert_eq!(unescape(br"a\x22\xC3\xA9").as_ref(), b"a\"\xC3\xA9");
    assert_eq!(unescape(br#"say \"hi\" \\ \/"#).as_ref(), br#"say "hi" \ /"#);
    assert_eq!(unescape(br"\u00e9\ud800").as_ref(), "\u{e9}\u{fffd}".as_bytes());
    assert_eq!(unescape(br"cut\").as_ref(), br"cut\");
    // Not the letters: `/b/x` is another path.
    assert_eq!(unescape(br"/\b\f\n\r\t\v").as_ref(), b"/\x08\x0c\n\r\t\x0b");
}

#[test]
fn addresses_are_no_host_names() {
    assert_eq!(host_name(b"web-1.example"), Some("web-1.example"));
    for address in ["172.31.7.82", "::1", "2001:db8::1", "", "a b"] {
        assert_eq!(host_name(address.as_bytes()), None, "{address}");
    }
}

#[test]
fn an_excerpt_cannot_reach_the_terminal_as_control_bytes() {
    let text = excerpt(b"\x1b[31mred\x07\xff \xe2\x80\xae", 40);
    assert!(text.chars().all(|c| !c.is_control() && !is_direction_mark(c)), "{text:?}");
}
