//! Every way of getting JSON right or wrong (`fixtures/json/corpus.txt`), in every place where a value can stand.
//!
//! A valid value is taken where its type fits, an invalid one costs its own event and nothing beside it, and where the RFC
//! leaves it open the answer is the one of `docs/json.md`. `serde_json` judges the corpus itself; every event goes
//! through the decoder twice, once as it is and once with an escaped key that keeps it off the fast way.

use std::fmt;

use peep_wire::json::{BodyError, Context, Decoder, Rejection, RejectionCode};
use peep_wire::record::{self, RecordBuilder};
use peep_wire::{KeyId, ProjectId};
use serde_json::Value;

const NOW_MS: i64 = 1_795_200_000_000;
const GOOD: &[u8] = br#"{"service":"good","duration_ms":1}"#;

/// One line of the corpus.
struct Case {
    name: String,
    verdict: Verdict,
    text: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Valid,
    Invalid,
    /// Open; whether peep takes it in an unknown field, in a known one whose type fits, and inside `attrs`.
    Open([bool; 3]),
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = String::from_utf8_lossy(&self.text).chars().take(60).collect();
        write!(f, "{} {text:?}", self.name)
    }
}

impl Case {
    fn read(line: &str) -> Case {
        let mut parts = line.splitn(3, ' ');
        let mut part = || parts.next().expect("verdict, name and text");
        let verdict = match part().split_at(1) {
            ("y", "") => Verdict::Valid,
            ("n", "") => Verdict::Invalid,
            ("i", taken) => {
                let taken: Vec<bool> = taken[1..].bytes().map(|letter| letter == b'y').collect();
                Verdict::Open([0, 1, 2].map(|place| *taken.get(place).unwrap_or(&taken[0])))
            }
            other => panic!("{other:?} is no verdict"),
        };
        Case { verdict, name: part().to_owned(), text: unfold(part()) }
    }

    fn value(&self) -> Option<Value> {
        serde_json::from_slice(&self.text).ok()
    }

    fn is_utf8(&self) -> bool {
        std::str::from_utf8(&self.text).is_ok()
    }

    /// Deeper than an event may be, wherever it stands.
    fn is_deep(&self) -> bool {
        self.name.starts_with("depth_") && !matches!(self.name.as_str(), "depth_thirty" | "depth_close_brackets")
    }

    fn starts_object(&self) -> bool {
        self.text.trim_ascii_start().starts_with(b"{") && self.text.first() != Some(&0x0c)
    }

    /// What an event that is this text is refused with.
    fn code_as_event(&self) -> RejectionCode {
        match () {
            () if self.is_deep() => RejectionCode::TooDeep,
            () if !self.is_utf8() => RejectionCode::InvalidUtf8,
            () if !self.starts_object() => RejectionCode::NotAnObject,
            () if self.verdict == Verdict::Valid => RejectionCode::MissingService,
            () => RejectionCode::InvalidJson,
        }
    }

    /// What an event that holds this invalid text is refused with.
    fn is_code_inside(&self, field: &str, code: RejectionCode) -> bool {
        match () {
            () if self.is_deep() => code == RejectionCode::TooDeep,
            () if !self.is_utf8() => code == RejectionCode::InvalidUtf8,
            // NaN and its kind: the message names the field, and so does the code.
            () if field == "duration_ms" && code == RejectionCode::InvalidDuration => self.name.starts_with("number_"),
            () => code == RejectionCode::InvalidJson,
        }
    }

    /// Whether the text ends where it ends for somebody who only knows brackets, strings and commas.
    fn stands_alone(&self) -> bool {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let start = self.text.iter().take_while(|byte| blank(byte)).count();
        let end = self.text.len() - self.text[start..].iter().rev().take_while(|byte| blank(byte)).count();
        let text = &self.text[start..end];
        let (mut depth, mut at, mut closed) = (0usize, 0, false);
        while let Some(&byte) = text.get(at) {
            let loose = depth == 0 && (closed || matches!(byte, b',' | b' ' | b'\t' | b'}' | b']'));
            if loose || text.is_empty() {
                return false;
            }
            at += 1;
            match byte {
                b'"' => loop {
                    match text.get(at) {
                        None => return false,
                        Some(b'"') => break at += 1,
                        Some(b'\\') => at += 2,
                        Some(_) => at += 1,
                    }
                },
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            closed = depth == 0 && matches!(text[0], b'"' | b'{' | b'[');
        }
        depth == 0 && !text.is_empty()
    }
}

/// `<80ff>` to bytes, `<x*3>` to `xxx`.
fn unfold(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        let (folded, after) = after.split_once('>').expect("`<` is closed");
        out.extend_from_slice(before.as_bytes());
        match folded.rsplit_once('*') {
            Some((text, times)) => out.extend(text.repeat(times.parse().unwrap()).bytes()),
            None => {
                out.extend((0..folded.len()).step_by(2).map(|at| u8::from_str_radix(&folded[at..at + 2], 16).unwrap()))
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

fn corpus() -> Vec<Case> {
    let lines = include_str!("../fixtures/json/corpus.txt").lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(Case::read).collect()
}

/// An accepted event, as far as these tests fill it.
#[derive(Debug, Clone, PartialEq)]
struct Accepted {
    service: String,
    duration_us: Option<u64>,
    error: Option<String>,
    attrs: Option<Value>,
}

type Decoded = Result<(Vec<Accepted>, Vec<Rejection>), BodyError>;

fn decode(body: &[u8], lines: bool) -> Decoded {
    let context = Context {
        bound_env: None,
        age_ms_max: 30 * 24 * 3_600_000,
        ahead_ms_max: 300_000,
        events_max: 5000,
        event_bytes_max: 64 * 1024,
        depth_max: 32,
        lines,
    };
    let mut record = RecordBuilder::default();
    record.start(NOW_MS);
    let mut rejected = Vec::new();
    Decoder::default().decode(body, &context, &mut record, &mut rejected)?;
    let bytes = &record.finish(ProjectId(1), KeyId(1), None)[0];
    let accepted = record::parse(bytes).unwrap().events().map(|row| {
        let row = row.unwrap();
        let attrs = row.attrs.to_json().unwrap();
        Accepted {
            service: row.series.decode().unwrap().service.to_owned(),
            duration_us: row.duration_us,
            error: row.error.map(str::to_owned),
            attrs: attrs.map(|attrs| serde_json::from_str(&attrs).unwrap()),
        }
    });
    Ok((accepted.collect(), rejected))
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// One event between two good ones, as lines of both kinds of body: its own outcome, and both neighbours there.
fn outcome_of_line(event: &[u8], case: &Case) -> Result<Accepted, RejectionCode> {
    let body = joined(&[GOOD, b"\n", event, b"\n", GOOD, b"\n"]);
    let (mut accepted, rejected) = decode(&body, true).unwrap_or_else(|error| panic!("{case}: {error}"));
    assert_eq!(decode(&body, false), Ok((accepted.clone(), rejected.clone())), "{case}: as application/json");
    assert_eq!(accepted.len() + rejected.len(), 3, "{case}: one outcome for each event");
    let neighbours = [accepted.remove(0), accepted.pop().expect("the good event behind")];
    assert!(neighbours.iter().all(|neighbour| neighbour.service == "good"), "{case} took a neighbour along");
    match (accepted.pop(), rejected.first()) {
        (Some(event), None) => Ok(event),
        (None, Some(rejection)) => {
            assert_eq!(rejection.index, 1, "{case}");
            assert!(
                rejection.message.len() < 400 && !rejection.message.contains(char::is_control),
                "{case}: {rejection:?}"
            );
            Err(rejection.code)
        }
        both => panic!("{case}: {both:?}"),
    }
}

/// The outcome of an event that begins with `{"service":"a",`; the fast way and the thorough way must agree.
fn outcome(fields: &[&[u8]], case: &Case) -> Result<Accepted, RejectionCode> {
    let fields = joined(fields);
    let plain = outcome_of_line(&joined(&[br#"{"service":"a","#, &fields, b"}"]), case);
    let escaped = outcome_of_line(&joined(&[br#"{"\u0073ervice":"a","#, &fields, b"}"]), case);
    assert_eq!(alike(&plain), alike(&escaped), "{case}: the fast way and the thorough way");
    plain
}

/// `serde_json` may be off by the last bit of a number.
fn alike(outcome: &Result<Accepted, RejectionCode>) -> String {
    let number = outcome.as_ref().ok().and_then(|event| event.attrs.as_ref()?.get("k")?.as_f64());
    match (outcome, number) {
        (Ok(event), Some(number)) => format!("{} {number:.12e}", event.service),
        (outcome, _) => format!("{outcome:?}"),
    }
}

#[test]
fn the_corpus_is_right_about_itself() {
    let corpus = corpus();
    let mut names: Vec<&str> = corpus.iter().map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), corpus.len(), "every case has a name of its own");
    assert!(corpus.len() >= 350, "{} cases", corpus.len());
    for case in &corpus {
        let text = std::str::from_utf8(&case.text);
        let ignored = text.is_ok_and(|text| serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok());
        match case.verdict {
            Verdict::Valid => assert!(ignored && case.value().is_some(), "{case}"),
            Verdict::Invalid => assert!(!ignored, "{case}"),
            Verdict::Open(_) => assert!(ignored, "{case} is at least of the right grammar"),
        }
    }
}

#[test]
fn as_a_whole_body() {
    for case in corpus() {
        let value = case.value();
        match (decode(&case.text, false), &value, case.verdict) {
            (Ok((accepted, rejected)), Some(Value::Object(_)), Verdict::Valid) => {
                assert_eq!(
                    (accepted.len(), rejected.len(), rejected[0].code),
                    (0, 1, RejectionCode::MissingService),
                    "{case}"
                );
            }
            (Ok((accepted, rejected)), Some(Value::Array(list)), Verdict::Valid) => {
                assert_eq!((accepted.len(), rejected.len()), (0, list.len()), "{case}");
            }
            (decoded, _, Verdict::Valid) => assert!(matches!(decoded, Err(BodyError::InvalidJson(_))), "{case}"),
            (Err(BodyError::InvalidJson(_)), ..) => {}
            (Ok((accepted, rejected)), ..) => assert!(accepted.is_empty() && !rejected.is_empty(), "{case}"),
            (Err(error), ..) => panic!("{case}: {error}"),
        }
    }
}

#[test]
fn as_a_line() {
    for case in corpus() {
        assert_eq!(outcome_of_line(&case.text, &case), Err(case.code_as_event()), "{case}");
    }
}

#[test]
fn as_an_event_of_an_array() {
    for case in corpus() {
        let decoded = decode(&joined(&[b"[", GOOD, b",", &case.text, b",", GOOD, b"]"]), false);
        if case.verdict != Verdict::Invalid || case.stands_alone() {
            let (accepted, rejected) = decoded.unwrap_or_else(|error| panic!("{case}: {error}"));
            let codes: Vec<_> = rejected.iter().map(|rejection| (rejection.index, rejection.code)).collect();
            assert_eq!((accepted.len(), codes), (2, vec![(1, case.code_as_event())]), "{case}");
            continue;
        }
        // It may break the array; but it never takes away one event and lets the other one through.
        match decoded {
            Err(BodyError::InvalidJson(_)) => {}
            Ok((accepted, rejected)) => assert!(accepted.len() == 2 && !rejected.is_empty(), "{case}: {rejected:?}"),
            Err(error) => panic!("{case}: {error}"),
        }
    }
}

#[test]
fn as_the_value_of_an_unknown_field() {
    for case in corpus() {
        let outcome = outcome(&[br#""zz":"#, &case.text], &case);
        match matches!(case.verdict, Verdict::Valid | Verdict::Open([true, ..])) {
            true => assert!(outcome.is_ok(), "{case}: {outcome:?}"),
            false => assert!(outcome.clone().is_err_and(|code| case.is_code_inside("zz", code)), "{case}: {outcome:?}"),
        }
    }
}

#[test]
fn as_the_value_of_a_text_field() {
    for case in corpus() {
        let outcome = outcome(&[br#""error":"#, &case.text], &case);
        match (case.verdict, case.value()) {
            (Verdict::Valid, Some(Value::String(text))) => {
                assert_eq!(outcome.unwrap().error.unwrap_or_default(), text, "{case}");
            }
            (Verdict::Valid, Some(Value::Null)) => assert_eq!(outcome.unwrap().error, None, "{case}"),
            (Verdict::Valid, _) => assert_eq!(outcome, Err(RejectionCode::InvalidError), "{case}"),
            (Verdict::Open(_), _) if !case.is_deep() => assert_eq!(outcome, Err(RejectionCode::InvalidError), "{case}"),
            _ => assert!(outcome.clone().is_err_and(|code| case.is_code_inside("error", code)), "{case}: {outcome:?}"),
        }
    }
}

#[test]
fn as_the_value_of_a_number_field() {
    for case in corpus() {
        let outcome = outcome(&[br#""duration_ms":"#, &case.text], &case);
        let number = std::str::from_utf8(&case.text).ok().and_then(|text| text.parse::<f64>().ok());
        let number = number.filter(|number| (0.0..=3_600_000.0).contains(number));
        match (case.verdict, number) {
            (Verdict::Valid, _) if case.text == b"null" => assert_eq!(outcome.unwrap().duration_us, None),
            (Verdict::Valid | Verdict::Open([_, true, _]), Some(number)) => {
                assert_eq!(outcome.unwrap().duration_us, Some((number * 1000.0).round() as u64), "{case}");
            }
            (Verdict::Valid, None) => assert_eq!(outcome, Err(RejectionCode::InvalidDuration), "{case}"),
            (Verdict::Open(_), _) if !case.is_deep() => {
                assert_eq!(outcome, Err(RejectionCode::InvalidDuration), "{case}")
            }
            _ => assert!(
                outcome.clone().is_err_and(|code| case.is_code_inside("duration_ms", code)),
                "{case}: {outcome:?}"
            ),
        }
    }
}

#[test]
fn inside_attrs() {
    for case in corpus() {
        let outcome = outcome(&[br#""attrs":{"k":"#, &case.text, b"}"], &case);
        let kept = |outcome: &Result<Accepted, RejectionCode>| {
            let attrs = outcome.as_ref().unwrap_or_else(|code| panic!("{case}: {code:?}")).attrs.clone();
            attrs.and_then(|mut attrs| attrs.get_mut("k").map(Value::take)).unwrap_or_default()
        };
        match (case.verdict, case.value()) {
            (Verdict::Valid, Some(Value::Array(_) | Value::Object(_))) => {
                assert_eq!(outcome, Err(RejectionCode::InvalidAttrs), "{case}");
            }
            (Verdict::Valid, Some(Value::String(text))) if text.len() > 4096 => {
                assert_eq!(outcome, Err(RejectionCode::InvalidAttrs), "{case}");
            }
            (Verdict::Valid | Verdict::Open([_, _, true]), Some(Value::Number(number))) => {
                let (sent, kept) = (number.as_f64().unwrap(), kept(&outcome).as_f64().unwrap());
                assert!((sent - kept).abs() <= sent.abs() * 1e-15, "{case}: {kept}");
            }
            (Verdict::Valid, Some(value)) => assert_eq!(kept(&outcome), value, "{case}"),
            (Verdict::Open(_), _) if !case.is_deep() => assert_eq!(outcome, Err(RejectionCode::InvalidAttrs), "{case}"),
            _ => assert!(outcome.clone().is_err_and(|code| case.is_code_inside("attrs", code)), "{case}: {outcome:?}"),
        }
    }
}

#[test]
fn as_a_key() {
    for case in corpus().iter().filter(|case| case.text.starts_with(b"\"")) {
        let known = outcome(&[&case.text, b":1"], case);
        let attr = outcome(&[br#""attrs":{"#, &case.text, b":1}"], case);
        let long = case.value().is_some_and(|key| key.as_str().is_some_and(|key| key.len() > 128));
        match case.verdict {
            Verdict::Valid => assert!(known.is_ok() && attr.is_err() == long, "{case}: {known:?} {attr:?}"),
            _ => assert!(known.is_err() && attr.is_err(), "{case}: {known:?} {attr:?}"),
        }
    }
}

#[test]
fn of_a_key_sent_twice_the_last_one_counts() {
    for (first, second, error) in
        [("1", "\"x\"", Some("x")), ("\"x\"", "null", None), ("\"x\"", "\"y\"", Some("y")), ("{}", "\"\"", None)]
    {
        let event = format!(r#"{{"error":{first},"service":"a","error":{second}}}"#);
        let (accepted, rejected) = decode(event.as_bytes(), false).unwrap();
        assert_eq!((accepted[0].error.as_deref(), rejected.len()), (error, 0), "{event}");
    }
    let (accepted, _) = decode(br#"{"service":"a","attrs":{"k":1,"k":2},"attrs":{"k":3,"k":4}}"#, false).unwrap();
    assert_eq!(accepted[0].attrs, Some(serde_json::json!({"k": 4})));
}

#[test]
fn a_body_in_another_encoding_is_refused_whole() {
    let event = r#"{"service":"a"}"#;
    let wide = |order: fn(u16) -> [u8; 2]| event.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    let with_mark = [b"\xef\xbb\xbf", event.as_bytes()].concat();
    for body in [wide(u16::to_le_bytes), wide(u16::to_be_bytes), with_mark] {
        match decode(&body, false) {
            Err(BodyError::InvalidJson(_)) => {}
            Ok((accepted, rejected)) => assert!(accepted.is_empty() && !rejected.is_empty()),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn an_object_over_several_lines_means_the_same_the_fast_and_the_thorough_way() {
    for service in ["a", "\\u0061"] {
        let first = format!("{{\n  \"service\": \"{service}\",\n  \"zz\": 1\n}}");
        let (accepted, rejected) = decode(format!("{first}\n{{\"service\":\"b\"}}\n").as_bytes(), false).unwrap();
        assert_eq!((accepted.len(), rejected.len()), (2, 0), "{first}: {rejected:?}");
    }
}
