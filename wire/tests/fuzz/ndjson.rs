//! `POST /v1/events` with one event a line.

use peep_wire::json::Decoder;

use crate::events::{context, count, decoded};

/// Every line has one outcome, and the good lines around it are taken whatever it is.
pub(crate) fn check(data: &[u8]) {
    let good = r#"{"service":"good"}"#.as_bytes();
    let body = [good, b"\n", data, b"\n", good].concat();
    let outcome = decoded(|record, rejected| Decoder::default().decode(&body, &context(true), record, rejected));
    let blank = |line: &[u8]| line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
    let lines = body.split(|&byte| byte == b'\n').filter(|line| !blank(line)).count();
    match outcome {
        Some((record, rejected)) => {
            let accepted = count(&record);
            assert_eq!(accepted + rejected.len(), lines, "one outcome a line");
            assert!(rejected.iter().all(|rejection| (1..lines - 1).contains(&rejection.index)), "{rejected:?}");
        }
        None => assert!(lines > context(true).events_max, "a line never costs the body"),
    }
}
