//! A reading of HTTP/1.1 that takes what RFC 9112 allows without a second meaning, and nothing else.
//!
//! Written for judging: the whole conversation at once, in no hurry, shares nothing with any server. What it takes everybody
//! has to take in the same way; what it refuses nobody may act on.

/// What a client's bytes are, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reading {
    /// As far as they can be told.
    pub requests: Vec<Request>,
    pub end: Ending,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Ending {
    /// The last request is whole.
    #[default]
    Whole,
    /// More bytes would be needed.
    Torn,
    /// What comes next is no request.
    Refused,
}

/// Reads all requests up to the first that is none.
pub fn read(mut bytes: &[u8]) -> Reading {
    let mut reading = Reading::default();
    loop {
        while let Some(rest) = bytes.strip_prefix(b"\r\n") {
            bytes = rest;
        }
        if bytes.is_empty() {
            return reading;
        }
        match request(bytes) {
            Ok((request, Ok(rest))) => {
                reading.requests.push(request);
                bytes = rest;
            }
            // The body is there, and only what follows its last chunk is not as it should be.
            Ok((request, Err(end))) => {
                reading.requests.push(request);
                reading.end = end;
                return reading;
            }
            Err(end) => {
                reading.end = end;
                return reading;
            }
        }
    }
}

/// What follows a request, or why nothing can.
type Rest<'b> = Result<&'b [u8], Ending>;

fn request(bytes: &[u8]) -> Result<(Request, Rest<'_>), Ending> {
    let (request_line, mut rest) = line(bytes)?;
    let is_old = match request_line.rsplit(|byte| *byte == b' ').next() {
        Some(b"HTTP/1.1") => false,
        Some(b"HTTP/1.0") => true,
        _ => return Err(Ending::Refused),
    };
    let parts: Vec<&[u8]> = request_line.split(|byte| *byte == b' ').collect();
    let is_plain = request_line.iter().all(|byte| matches!(byte, 0x20..=0x7e));
    let [method, target, _] = parts[..] else { return Err(Ending::Refused) };
    if !is_plain || !is_token(method) || target.is_empty() {
        return Err(Ending::Refused);
    }
    let (mut lengths, mut codings, mut hosts) = (Vec::new(), Vec::new(), 0);
    loop {
        let (text, behind) = line(rest)?;
        rest = behind;
        if text.is_empty() {
            break;
        }
        let (name, value) = field(text).ok_or(Ending::Refused)?;
        match name.as_str() {
            "content-length" => lengths.push(value),
            "transfer-encoding" => codings.push(value),
            "host" => hosts += 1,
            _ => {}
        }
    }
    if hosts > 1 || (hosts == 0 && !is_old) {
        return Err(Ending::Refused);
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let request = |body: &[u8]| Request { method: text(method), target: text(target), body: body.to_vec() };
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok((request(b""), Ok(rest))),
        ([length], []) => {
            let length = digits(length).ok_or(Ending::Refused)?;
            let body = rest.get(..length).ok_or(Ending::Torn)?;
            Ok((request(body), Ok(&rest[length..])))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && !is_old => {
            let (body, rest) = chunks(rest)?;
            Ok((request(&body), trailers(rest)))
        }
        _ => Err(Ending::Refused),
    }
}

fn chunks(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), Ending> {
    let mut body = Vec::new();
    loop {
        let (text, behind) = line(rest)?;
        rest = behind;
        let size_text = text.split(|byte| *byte == b';').next().unwrap_or_default();
        // White space behind it stands in no grammar, and means the same to all who let it pass.
        let size_text = size_text.trim_ascii_end();
        let leading = size_text.iter().take_while(|byte| **byte == b'0').count();
        let is_number = !size_text.is_empty() && size_text.iter().all(u8::is_ascii_hexdigit);
        let size = match std::str::from_utf8(&size_text[leading..]) {
            Ok("") if is_number => 0,
            Ok(digits) if is_number && digits.len() <= 16 => {
                u64::from_str_radix(digits, 16).map_err(|_| Ending::Refused)?
            }
            _ => return Err(Ending::Refused),
        };
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).map_err(|_| Ending::Torn)?;
        let data = rest.get(..size).ok_or(Ending::Torn)?;
        body.extend_from_slice(data);
        rest = match &rest[size..] {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Err(Ending::Torn),
            _ => return Err(Ending::Refused),
        };
    }
    Ok((body, rest))
}

fn trailers(mut rest: &[u8]) -> Rest<'_> {
    loop {
        let (text, behind) = line(rest)?;
        rest = behind;
        if text.is_empty() {
            return Ok(rest);
        }
        field(text).ok_or(Ending::Refused)?;
    }
}

/// Up to CRLF; a bare LF or CR is no line end and belongs nowhere.
fn line(bytes: &[u8]) -> Result<(&[u8], &[u8]), Ending> {
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')).ok_or(Ending::Torn)?;
    match &bytes[end..] {
        [b'\r', b'\n', rest @ ..] => Ok((&bytes[..end], rest)),
        [b'\r'] => Err(Ending::Torn),
        _ => Err(Ending::Refused),
    }
}

/// Name in lower case, and value.
fn field(text: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&text[..colon], text[colon + 1..].trim_ascii());
    let is_text = |byte: &u8| matches!(byte, b'\t' | 0x20..=0x7e | 0x80..);
    let fits = is_token(name) && text[colon + 1..].iter().all(is_text);
    fits.then(|| (String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()))
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn digits(text: &[u8]) -> Option<usize> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_clear_is_taken_and_what_is_not_ends_it() {
        let head = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let clear = head("Content-Length: 2\r\n")
            + "ab"
            + &head("Transfer-Encoding: chunked\r\n")
            + "1;x\r\nc\r\n0\r\nT: u\r\n\r\n";
        let reading = read(clear.as_bytes());
        let bodies: Vec<&[u8]> = reading.requests.iter().map(|request| &request.body[..]).collect();
        assert_eq!((bodies, reading.end), (vec![&b"ab"[..], b"c"], Ending::Whole));
        for lines in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: +1\r\n",
            "X: y\nZ: a\r\n",
            "X : y\r\n",
        ] {
            assert_eq!(read(head(lines).as_bytes()).end, Ending::Refused, "{lines:?}");
        }
        assert_eq!(read(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab").end, Ending::Torn);
    }
}
