//! Routes with values in them, and the templates they should have been.
//!
//! Arrives: routes of one service. Leaves: templates that stand for several of them, most routes first. Promises: a pure
//! function; a template never joins routes of different lengths, and a part is only called a value when it looks like one
//! (a number, a uuid, a long word of hexadecimal digits) or when very many stand in the same place.

use std::collections::BTreeMap;

/// One template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// `/users/{id}`
    pub template: String,
    /// Routes that it stands for.
    pub matches: u64,
    /// One of them.
    pub example: String,
}

/// Templates for these routes.
pub fn of(routes: &[String]) -> Vec<Suggestion> {
    let mut found: BTreeMap<String, (u64, &str)> = BTreeMap::new();
    let by_looks: Vec<(Vec<String>, &str)> =
        routes.iter().filter(|route| route.starts_with('/')).map(|route| (parts(route), route.as_str())).collect();
    // Where very many different words stand in one place, they are values whatever they look like.
    let mut siblings: BTreeMap<Vec<&str>, BTreeMap<&str, u64>> = BTreeMap::new();
    for (parts, _) in &by_looks {
        for at in (0..parts.len()).filter(|at| parts[*at] != VALUE) {
            let mut around: Vec<&str> = parts.iter().map(String::as_str).collect();
            let word = std::mem::replace(&mut around[at], MANY);
            *siblings.entry(around).or_default().entry(word).or_default() += 1;
        }
    }
    for (parts, route) in &by_looks {
        let mut template: Vec<&str> = parts.iter().map(String::as_str).collect();
        for at in 0..parts.len() {
            let mut around: Vec<&str> = parts.iter().map(String::as_str).collect();
            around[at] = MANY;
            if parts[at] != VALUE && siblings.get(&around).is_some_and(|words| words.len() >= SIBLINGS_MIN) {
                template[at] = VALUE;
            }
        }
        if template.contains(&VALUE) {
            let (matches, _) = found.entry(format!("/{}", template.join("/"))).or_insert((0, route));
            *matches += 1;
        }
    }
    let mut suggestions: Vec<Suggestion> = found
        .into_iter()
        // One route that was sent like this is the template already.
        .filter(|(template, (matches, example))| *matches >= MATCHES_MIN && template != example)
        .map(|(template, (matches, example))| Suggestion { template, matches, example: example.to_owned() })
        .collect();
    suggestions.sort_by_key(|suggestion| std::cmp::Reverse(suggestion.matches));
    suggestions
}

/// What the rollup calls the part with too many values, as a template; `None` for what is no path.
pub fn of_segment(segment: &str) -> Option<String> {
    let path = segment.split_once("?*").map_or(segment, |(path, _)| path);
    (path.starts_with('/')).then(|| path.replace('*', VALUE))
}

fn parts(route: &str) -> Vec<String> {
    let path = route.split(['?', '#']).next().unwrap_or_default();
    let part = |part: &str| if is_value(part) { VALUE.to_owned() } else { part.to_owned() };
    path[1..].split('/').map(part).collect()
}

fn is_value(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_uuid = part.len() == 36 && part.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && part.split('-').all(is_hex);
    match part.len() {
        0 => false,
        len if digits == len => true,
        _ if is_uuid => true,
        // `deadbeef` is a word, `3f2a9c01` is not.
        len => len >= 8 && is_hex(part) && digits > 0,
    }
}

const VALUE: &str = "{id}";
/// No part of a path: they are between slashes.
const MANY: &str = "/";
const SIBLINGS_MIN: usize = 20;
const MATCHES_MIN: u64 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn templates(routes: impl IntoIterator<Item = String>) -> Vec<(String, u64)> {
        of(&routes.into_iter().collect::<Vec<_>>()).into_iter().map(|one| (one.template, one.matches)).collect()
    }

    #[test]
    fn values_are_told_by_their_looks_or_their_number() {
        let orders = (0..40).map(|id| format!("/users/{id}/orders"));
        assert_eq!(templates(orders), [("/users/{id}/orders".to_owned(), 40)]);
        let uuids = (0..5).map(|id| format!("/files/7d444840-9dc0-11d1-b245-5ffdce74fad{id}?x=1"));
        assert_eq!(templates(uuids), [("/files/{id}".to_owned(), 5)]);
        let names = ('a'..='z').map(|letter| format!("/people/{letter}nna"));
        assert_eq!(templates(names), [("/people/{id}".to_owned(), 26)]);
        let words = ["/login", "/logout", "/cart", "/cart/buy", "/deadbeef", "/v2/items/{id}", "(none)"];
        assert_eq!(templates(words.map(str::to_owned)), []);
        assert_eq!(of_segment("/api/orders/*"), Some("/api/orders/{id}".to_owned()));
        assert_eq!((of_segment("/search?*"), of_segment("(env)")), (Some("/search".to_owned()), None));
    }

    proptest! {
        #[test]
        fn a_route_counts_for_one_template(routes in proptest::collection::btree_set("(/[a-c0-9]{0,3}){1,4}", 0..200)) {
            let routes: Vec<String> = routes.into_iter().collect();
            let found = of(&routes);
            prop_assert!(found.iter().map(|one| one.matches).sum::<u64>() <= routes.len() as u64);
            for one in &found {
                prop_assert!(routes.contains(&one.example));
                prop_assert_eq!(one.example.matches('/').count(), one.template.matches('/').count());
            }
        }
    }
}
