//! Places where a test may end or stop the process, to show that no instant is special.
//!
//! Arrives: `PEEP_FAILPOINTS="rollup.flush.before_commit=kill@3"`, a comma-separated list of `name=action[@nth]`. Leaves: at
//! the nth passage of the place (the first by default) the process ends as if by `kill -9`, or stops as if by `kill -STOP`.
//!
//! Only in builds with debug assertions or with the feature `failpoints`; elsewhere [`hit`] is nothing at all. Places are
//! passed once per batch or flush, never per event.

/// Passes the place called `name`.
#[inline(always)]
pub fn hit(name: &'static str) {
    #[cfg(any(debug_assertions, feature = "failpoints"))]
    armed::hit(name);
    #[cfg(not(any(debug_assertions, feature = "failpoints")))]
    let _ = name;
}

#[cfg(any(debug_assertions, feature = "failpoints"))]
mod armed {
    use std::process::Command;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Debug, PartialEq, Eq)]
    enum Action {
        Kill,
        Stop,
    }

    #[derive(Debug)]
    struct Point {
        name: String,
        action: Action,
        nth: u64,
        passed: AtomicU64,
    }

    pub(super) fn hit(name: &str) {
        static POINTS: OnceLock<Vec<Point>> = OnceLock::new();
        let points = POINTS.get_or_init(|| match std::env::var("PEEP_FAILPOINTS") {
            Ok(text) => parse(&text).expect("PEEP_FAILPOINTS: expected a list of name=kill|stop[@nth]"),
            Err(_) => Vec::new(),
        });
        for point in points.iter().filter(|point| point.name == name) {
            if point.passed.fetch_add(1, Ordering::Relaxed) + 1 == point.nth {
                act(&point.action);
            }
        }
    }

    fn act(action: &Action) {
        match action {
            // As abrupt as SIGKILL: no destructor, no handler, no flush.
            Action::Kill => std::process::abort(),
            Action::Stop => {
                let pid = std::process::id().to_string();
                let _ = Command::new("kill").args(["-STOP", &pid]).status();
            }
        }
    }

    fn parse(text: &str) -> Option<Vec<Point>> {
        let point = |item: &str| {
            let (name, rest) = item.split_once('=')?;
            let (action, nth) = rest.split_once('@').unwrap_or((rest, "1"));
            let action = match action {
                "kill" => Action::Kill,
                "stop" => Action::Stop,
                _ => return None,
            };
            Some(Point { name: name.to_owned(), action, nth: nth.parse().ok()?, passed: AtomicU64::new(0) })
        };
        text.split(',').filter(|item| !item.is_empty()).map(point).collect()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_list_names_places_actions_and_passages() {
            let points = parse("a.b=kill,c=stop@3").unwrap();
            assert_eq!((points[0].name.as_str(), &points[0].action, points[0].nth), ("a.b", &Action::Kill, 1));
            assert_eq!((points[1].name.as_str(), &points[1].action, points[1].nth), ("c", &Action::Stop, 3));
            assert!(parse("a=explode").is_none() && parse("a").is_none());
        }
    }
}
