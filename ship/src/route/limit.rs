//! A bound on the number of distinct routes, per service and run.
//!
//! In: a template. Out: whether it may be sent by name, or as `(other)`. Promised: the first `routes_max` templates
//! keep their names for the whole run; counts stay exact either way; at the first refusal there is an explanation that
//! names the path segment which varies most. Not done: forgetting routes that went quiet.

use std::collections::{BTreeSet, HashMap, HashSet};

/// The name under which refused routes are counted.
pub(crate) const OTHER: &str = "(other)";

/// The templates of one service.
#[derive(Debug)]
pub(crate) struct Routes {
    known: HashSet<Box<str>>,
    routes_max: usize,
    refused: u64,
}

/// What to do with a template.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Known,
    /// Counted as `(other)`; the first time with an explanation.
    Other {
        explanation: Option<String>,
    },
}

impl Routes {
    pub(crate) fn new(routes_max: usize) -> Self {
        Self { known: HashSet::new(), routes_max, refused: 0 }
    }

    pub(crate) fn admit(&mut self, route: &str) -> Admission {
        if self.known.contains(route) {
            return Admission::Known;
        }
        if self.known.len() < self.routes_max {
            self.known.insert(route.into());
            return Admission::Known;
        }
        self.refused += 1;
        Admission::Other { explanation: (self.refused == 1).then(|| self.explain(route)) }
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Events whose route was refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// Finds the parent path below which most known routes differ: that is where the identifiers hide.
    fn explain(&self, route: &str) -> String {
        let mut children: HashMap<String, BTreeSet<&str>> = HashMap::new();
        for known in self.known.iter().map(AsRef::as_ref).chain([route]) {
            let mut parent = String::new();
            for segment in known.split('/').skip(1) {
                children.entry(parent.clone()).or_default().insert(segment);
                parent.push('/');
                parent.push_str(segment);
            }
        }
        let worst = children.iter().max_by_key(|(parent, names)| (names.len(), std::cmp::Reverse(parent.len())));
        let Some((parent, names)) = worst else {
            return format!("more than {} distinct routes: new ones are counted as {OTHER}", self.routes_max);
        };
        let examples: Vec<String> = names.iter().take(3).map(|name| format!("{parent}/{name}")).collect();
        format!(
            "more than {} distinct routes: new ones are counted as {OTHER}. Segment {} varies most: {} values below {}/ \
             (such as {}). Put an identifier there into the template with --route '{parent}/{{name}}', or raise --routes-max",
            self.routes_max,
            parent.matches('/').count() + 1,
            names.len(),
            if parent.is_empty() { "" } else { parent },
            examples.join(", "),
        )
    }
}
