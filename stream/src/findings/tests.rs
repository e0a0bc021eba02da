use super::causes::testing::chosen;
use super::causes::{Part, Place};
use super::*;
use crate::verdict::{Step, Usual};

fn part(value: &str, count: f64, excess: f64) -> Part {
    Part { value: value.to_owned(), count, excess }
}

fn finding(kind: Kind, affected: u64, recovered_s: Option<i64>) -> Finding {
    let judged = Step { at_s: 0, count: 10_000, errors: 421, timed: 10_000, slow: 500, very_slow: 500 };
    let until_s = recovered_s.unwrap_or(1_795_183_500);
    Finding {
        key: ServiceKey { service: "checkout".into(), env: "production".into() },
        verdict: Verdict { kind, since_s: 1_795_183_200, is_open: false, recovered_s, judged, affected, until_s },
        usual: Usual { count: 30_000, errors: 36, timed: 30_000, p99_us: Some(596_000), seconds: 300.0 },
        usual_kind: UsualKind::Yesterday,
        p99_ms: Some(1430.0),
        status: None,
        place: None,
        after: None,
        alert: None,
    }
}

fn fired(rule: i64, kind: &str, service: Option<&str>, began_s: i64, ended_s: Option<i64>) -> alerts::store::Fired {
    alerts::store::Fired {
        rule,
        name: format!("rule {rule}"),
        kind: kind.into(),
        service: service.map(str::to_owned),
        env: None,
        began_ms: began_s * 1000,
        ended_ms: ended_s.map(|at_s| at_s * 1000),
        sentence: String::new(),
        budget: None,
    }
}

#[test]
fn a_finding_names_the_alert_about_the_same_trouble_while_it_lasted() {
    let since_s = 1_795_183_200;
    let of = |fired: &[alerts::store::Fired], recovered_s| {
        let mut findings = [finding(Kind::Failing, 9, recovered_s)];
        covered::name(fired, (since_s + 600) * 1000, &mut findings);
        findings[0].alert.as_ref().map(|alert| alert.id)
    };
    let budget = |rule, service, began_s, ended_s| fired(rule, "error_budget", service, began_s, ended_s);
    assert_eq!(of(&[budget(1, Some("checkout"), since_s + 60, None)], None), Some(1));
    assert_eq!(of(&[budget(1, None, since_s + 60, None)], None), Some(1), "a rule about every service");
    assert_eq!(of(&[budget(1, Some("search"), since_s + 60, None)], None), None);
    assert_eq!(of(&[fired(1, "latency", Some("checkout"), since_s + 60, None)], None), None, "other trouble");
    assert_eq!(of(&[budget(1, Some("checkout"), since_s - 900, Some(since_s - 60))], None), None, "over before");
    assert_eq!(of(&[budget(1, Some("checkout"), since_s + 60, Some(since_s + 400))], Some(since_s + 300)), Some(1));
    assert_eq!(of(&[budget(1, Some("checkout"), since_s + 400, None)], Some(since_s + 300)), None, "another one");
}

#[test]
fn a_title_is_a_sentence_with_its_usual() {
    let at = Some(1_795_184_340);
    for (finding, title) in [
        (finding(Kind::Failing, 9, None), "4.21 % of requests fail, usually 0.12 %"),
        (finding(Kind::Slower, 9, None), "p99 is 1.43 s, usually 596 ms"),
        (finding(Kind::Silent, 0, None), "no requests for 5 min, usually 100 /s"),
        (finding(Kind::Failing, 63_204, at), "recovered at 14:19 after 19 min, 63,204 requests failed"),
        (finding(Kind::Silent, 0, at), "recovered at 14:19 after 19 min of silence"),
    ] {
        assert_eq!(finding.title(), title);
    }
}

#[test]
fn failing_comes_before_silent_before_slower_before_what_is_over() {
    let mut findings = vec![
        finding(Kind::Failing, 900_000, Some(1_795_184_340)),
        finding(Kind::Slower, 90_000, None),
        finding(Kind::Silent, 0, None),
        finding(Kind::Failing, 10, None),
        finding(Kind::Failing, 20, None),
    ];
    sort(&mut findings);
    let order: Vec<(Kind, u64)> = findings.iter().map(|one| (one.verdict.kind, one.verdict.affected)).collect();
    assert_eq!(
        order,
        [(Kind::Failing, 20), (Kind::Failing, 10), (Kind::Silent, 0), (Kind::Slower, 90_000), (Kind::Failing, 900_000)]
    );
}

#[test]
fn where_is_what_stands_out_from_its_share_of_the_traffic() {
    let one = |dimension, value: &str, share| Some(Place::One { dimension, value: value.into(), share });
    let even = [part("GET /", 50.0, 5.0), part("POST /buy", 50.0, 5.0)];
    let buy = [part("GET /", 90.0, 0.4), part("POST /buy", 10.0, 9.6)];
    let hosts = [part("web-1", 50.0, 1.0), part("web-2", 50.0, 9.0)];
    let released = [part("v2", 100.0, 10.0), part("v1", 1.0, 0.0)];
    assert_eq!(chosen(&buy, &hosts, &released), one("route", "POST /buy", 0.96));
    assert_eq!(chosen(&even, &hosts, &released), one("host", "web-2", 0.9));
    assert_eq!(chosen(&[part("GET /", 9.0, 5.0)], &[part("web-1", 9.0, 5.0)], &[]), one("route", "GET /", 1.0));
    let three = [part("a", 1.0, 3.0), part("b", 1.0, 3.0), part("c", 1.0, 3.0), part("d", 1.0, 0.0)];
    assert_eq!(chosen(&three, &[], &[]), Some(Place::Spread { routes: 3 }));
    assert_eq!(chosen(&[], &[], &[]), None);
}
