//! The labels of a series, and what a question does with them: filter and group.
//!
//! Arrives: label values from Postgres or from a live cell. Leaves: whether a series takes part, and the key of the
//! group it belongs to. Promises: the same answer for the same labels, wherever they came from. Does not: touch SQL;
//! values are data and reach the database as bound parameters only ([`crate::history`]).

use std::fmt;
use std::sync::Arc;

use peep_wire::record::Series;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// What identifies a series inside a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labels<'a> {
    /// Environment.
    pub env: &'a str,
    /// Service.
    pub service: &'a str,
    /// Route template.
    pub route: &'a str,
    /// HTTP method, empty when none was sent.
    pub method: &'a str,
    /// HTTP status, 0 when none was sent.
    pub status: u16,
    /// Release, empty when none was sent. Only known of versions (`facet`) and of single events.
    pub version: &'a str,
    /// Emitting instance, likewise.
    pub host: &'a str,
}

impl<'a> From<Series<'a>> for Labels<'a> {
    fn from(series: Series<'a>) -> Self {
        Labels {
            env: series.env,
            service: series.service,
            route: series.route,
            method: series.method,
            status: series.status,
            version: "",
            host: "",
        }
    }
}

/// A label by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// `env`
    Env,
    /// `service`
    Service,
    /// `route`
    Route,
    /// `method`
    Method,
    /// `status`
    Status,
    /// `version`
    Version,
    /// `host`
    Host,
}

impl Dimension {
    /// All, as a message lists them.
    pub const NAMES: &'static str = "env, service, route, method, status, version, host";

    /// Those of live views.
    pub const NAMES_LIVE: &'static str = "env, service, route, method, status";
    /// The same as values.
    pub const ALL: [Dimension; 7] =
        [Self::Env, Self::Service, Self::Route, Self::Method, Self::Status, Self::Version, Self::Host];

    /// The name in queries and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Service => "service",
            Self::Route => "route",
            Self::Method => "method",
            Self::Status => "status",
            Self::Version => "version",
            Self::Host => "host",
        }
    }

    /// The dimension of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.name() == name)
    }
}

/// Which labels tell groups apart; empty = one group of everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct GroupBy(Arc<[Dimension]>);

impl GroupBy {
    /// Keeps the first of repeated dimensions.
    pub fn new(dimensions: impl IntoIterator<Item = Dimension>) -> Self {
        let mut kept: Vec<Dimension> = Vec::new();
        for dimension in dimensions {
            if !kept.contains(&dimension) {
                kept.push(dimension);
            }
        }
        Self(kept.into())
    }

    /// The group these labels belong to.
    pub fn key_of(&self, labels: &Labels<'_>) -> GroupKey {
        let value = |dimension: &Dimension| match dimension {
            Dimension::Env => Value::text(labels.env),
            Dimension::Service => Value::text(labels.service),
            Dimension::Route => Value::text(labels.route),
            Dimension::Method => Value::text(labels.method),
            Dimension::Status => Value::Status(labels.status),
            Dimension::Version => Value::text(labels.version),
            Dimension::Host => Value::text(labels.host),
        };
        GroupKey { by: self.clone(), values: self.0.iter().map(value).collect() }
    }

    /// Whether it is one of the labels.
    pub fn has(&self, dimension: Dimension) -> bool {
        self.0.contains(&dimension)
    }

    /// The group that takes what does not fit any more.
    pub fn other_key(&self) -> GroupKey {
        GroupKey { by: self.clone(), values: self.0.iter().map(|_| Value::text(OTHER)).collect() }
    }
}

/// The labels all members of a group share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupKey {
    by: GroupBy,
    values: Vec<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Value {
    Text(Arc<str>),
    Status(u16),
}

impl Value {
    fn text(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl GroupKey {
    /// The key of the group of everything.
    pub fn everything() -> Self {
        GroupBy::default().other_key()
    }

    /// The value of a label, when groups have it and it is text.
    pub fn text(&self, dimension: Dimension) -> Option<&str> {
        let at = self.by.0.iter().position(|known| *known == dimension)?;
        match self.values.get(at)? {
            Value::Text(text) => Some(text),
            Value::Status(_) => None,
        }
    }

    /// The value of a dimension that groups are told apart by and that is a text.
    pub fn text_of(&self, dimension: Dimension) -> Option<&str> {
        self.by.0.iter().zip(&self.values).find_map(|(by, value)| match value {
            Value::Text(text) if *by == dimension => Some(&**text),
            _ => None,
        })
    }

    /// The status, when groups are told apart by it; 0 = none was sent.
    pub fn status_of(&self) -> Option<u16> {
        self.values.iter().find_map(|value| match value {
            Value::Status(status) => Some(*status),
            Value::Text(_) => None,
        })
    }

    /// Whether this is the group beyond the budget.
    pub fn is_other(&self) -> bool {
        !self.values.is_empty()
            && self.values.iter().all(|value| matches!(value, Value::Text(text) if &**text == OTHER))
    }

    /// Bytes kept, roughly.
    pub fn memory_bytes(&self) -> usize {
        let text = |value: &Value| match value {
            Value::Text(text) => text.len() + 16,
            Value::Status(_) => 0,
        };
        size_of::<Self>() + self.values.iter().map(|value| size_of::<Value>() + text(value)).sum::<usize>()
    }

    /// What its members share, as text, in the order of the labels; empty when they have none.
    pub fn texts(&self) -> Vec<String> {
        let text = |value: &Value| match value {
            Value::Text(text) => text.to_string(),
            Value::Status(0) => String::new(),
            Value::Status(status) => status.to_string(),
        };
        self.values.iter().map(text).collect()
    }

    /// Writes each label as an entry of an open map; a status, version or host that is unknown is `null`.
    pub fn serialize_into<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        for (dimension, value) in self.by.0.iter().zip(&self.values) {
            match value {
                Value::Text(text) if text.is_empty() && matches!(dimension, Dimension::Version | Dimension::Host) => {
                    map.serialize_entry(dimension.name(), &None::<&str>)?;
                }
                Value::Text(text) => map.serialize_entry(dimension.name(), &**text)?,
                Value::Status(0) => map.serialize_entry(dimension.name(), &None::<u16>)?,
                Value::Status(status) => map.serialize_entry(dimension.name(), status)?,
            }
        }
        Ok(())
    }
}

impl Serialize for GroupKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.values.len()))?;
        self.serialize_into(&mut map)?;
        map.end()
    }
}

/// Which series take part: an empty list lets everything pass, otherwise one of the list must match.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Filters {
    /// Environments.
    pub env: Vec<String>,
    /// Services.
    pub service: Vec<String>,
    /// Route templates.
    pub route: Vec<String>,
    /// Methods.
    pub method: Vec<String>,
    /// Statuses and status classes.
    pub status: Vec<StatusFilter>,
    /// Releases; the empty one stands for events that named none.
    pub version: Vec<String>,
    /// Emitting instances, likewise.
    pub host: Vec<String>,
    /// What must not match: none of any of its lists. It has no such list itself.
    pub without: Option<Box<Filters>>,
}

/// `502`, `5xx` or `unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusFilter {
    /// Exactly this status.
    Exact(u16),
    /// This first digit; 0 = no status was sent.
    Class(u8),
}

/// What knows the answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The rollups of series.
    Series,
    /// The rollups of versions, or those of hosts.
    Facets(Dimension),
    /// Nothing but the events that were kept.
    Kept,
}

impl Source {
    /// Versions and hosts are exact per service and environment, and crossed with nothing else.
    pub fn of(filters: &Filters, group_by: &GroupBy) -> Self {
        let asks = |dimension| filters.mentions(dimension) || group_by.has(dimension);
        let crosses = [Dimension::Route, Dimension::Method, Dimension::Status].into_iter().any(asks);
        match (asks(Dimension::Version), asks(Dimension::Host)) {
            (false, false) => Self::Series,
            (true, false) if !crosses => Self::Facets(Dimension::Version),
            (false, true) if !crosses => Self::Facets(Dimension::Host),
            _ => Self::Kept,
        }
    }
}

impl Filters {
    /// Whether a series takes part.
    pub fn matches(&self, labels: &Labels<'_>) -> bool {
        let is_wanted = |dimension| !self.limits(dimension) || self.names(dimension, labels);
        let is_refused =
            |without: &Filters| Dimension::ALL.into_iter().any(|dimension| without.names(dimension, labels));
        Dimension::ALL.into_iter().all(is_wanted) && !self.without.as_deref().is_some_and(is_refused)
    }

    /// Whether every series passes.
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// Whether a dimension has a say, for or against.
    pub fn mentions(&self, dimension: Dimension) -> bool {
        self.limits(dimension) || self.without.as_deref().is_some_and(|without| without.limits(dimension))
    }

    /// Whether there is a list for the dimension.
    fn limits(&self, dimension: Dimension) -> bool {
        match dimension {
            Dimension::Status => !self.status.is_empty(),
            _ => !self.texts(dimension).is_empty(),
        }
    }

    /// Whether the list of the dimension names what a series has.
    fn names(&self, dimension: Dimension, labels: &Labels<'_>) -> bool {
        let value = match dimension {
            Dimension::Env => labels.env,
            Dimension::Service => labels.service,
            Dimension::Route => labels.route,
            Dimension::Method => labels.method,
            Dimension::Version => labels.version,
            Dimension::Host => labels.host,
            Dimension::Status => {
                return self.status.iter().any(|filter| match *filter {
                    StatusFilter::Exact(status) => status == labels.status,
                    StatusFilter::Class(class) => u16::from(class) == labels.status / 100,
                });
            }
        };
        self.texts(dimension).iter().any(|one| one == value)
    }

    /// The list of a dimension; the statuses are not texts.
    pub fn texts(&self, dimension: Dimension) -> &[String] {
        match dimension {
            Dimension::Env => &self.env,
            Dimension::Service => &self.service,
            Dimension::Route => &self.route,
            Dimension::Method => &self.method,
            Dimension::Version => &self.version,
            Dimension::Host => &self.host,
            Dimension::Status => &[],
        }
    }

    /// Statuses that are asked for exactly, as the database stores them.
    pub fn statuses(&self) -> Vec<i16> {
        let exact = |filter: &StatusFilter| match filter {
            StatusFilter::Exact(status) => i16::try_from(*status).ok(),
            StatusFilter::Class(_) => None,
        };
        self.status.iter().filter_map(exact).collect()
    }

    /// First digits that are asked for; 0 = no status.
    pub fn status_classes(&self) -> Vec<i16> {
        let class = |filter: &StatusFilter| match filter {
            StatusFilter::Exact(_) => None,
            StatusFilter::Class(class) => Some(i16::from(*class)),
        };
        self.status.iter().filter_map(class).collect()
    }
}

impl fmt::Display for StatusFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(status) => status.fmt(f),
            Self::Class(0) => f.write_str("unknown"),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

/// The value of every label of the group beyond the budget. Service names cannot look like this, and a route of this
/// name means the same.
const OTHER: &str = "(other)";

#[cfg(test)]
mod tests {
    use super::*;

    const BUY: Labels<'_> =
        Labels { env: "default", service: "shop", route: "/buy", method: "POST", status: 502, version: "v2", host: "" };

    #[test]
    fn a_filter_passes_what_it_names_and_nothing_else() {
        let filters = |status: &[StatusFilter]| Filters { status: status.to_vec(), ..Filters::default() };
        assert!(Filters::default().matches(&BUY));
        assert!(filters(&[StatusFilter::Class(5)]).matches(&BUY));
        assert!(filters(&[StatusFilter::Exact(404), StatusFilter::Exact(502)]).matches(&BUY));
        assert!(!filters(&[StatusFilter::Class(0)]).matches(&BUY));
        assert!(filters(&[StatusFilter::Class(0)]).matches(&Labels { status: 0, ..BUY }));
        let routes = Filters { route: vec!["/".into()], ..Filters::default() };
        assert!(!routes.matches(&BUY));
    }

    #[test]
    fn what_is_excluded_does_not_pass_whatever_else_is_asked() {
        let without = |without: Filters| Filters { without: Some(Box::new(without)), ..Filters::default() };
        let of_version = |version: &str| Filters { version: vec![version.into()], ..Filters::default() };
        assert!(of_version("v2").matches(&BUY) && !of_version("v1").matches(&BUY));
        assert!(without(of_version("v1")).matches(&BUY) && !without(of_version("v2")).matches(&BUY));
        let both = Filters { status: vec![StatusFilter::Class(5)], ..without(of_version("v2")) };
        assert!(!both.matches(&BUY) && both.matches(&Labels { version: "v1", ..BUY }));
        // Either of several is enough to be refused, and so is one of another label.
        let several = Filters { route: vec!["/buy".into()], ..of_version("v9") };
        assert!(!without(several).matches(&BUY));
        let no_host = Filters { host: vec![String::new()], ..Filters::default() };
        assert!(no_host.matches(&BUY) && !without(no_host).matches(&BUY));
    }

    #[test]
    fn versions_and_hosts_are_exact_until_they_are_crossed() {
        let version = Filters { version: vec!["v2".into()], service: vec!["shop".into()], ..Filters::default() };
        let source =
            |filters: &Filters, group_by: &[Dimension]| Source::of(filters, &GroupBy::new(group_by.iter().copied()));
        let nothing = Filters::default();
        assert_eq!(source(&nothing, &[Dimension::Route]), Source::Series);
        assert_eq!(source(&nothing, &[Dimension::Service, Dimension::Host]), Source::Facets(Dimension::Host));
        assert_eq!(source(&version, &[Dimension::Env]), Source::Facets(Dimension::Version));
        assert_eq!(source(&version, &[Dimension::Route]), Source::Kept);
        assert_eq!(source(&version, &[Dimension::Host]), Source::Kept);
        let not_failed = Filters { status: vec![StatusFilter::Class(5)], ..Filters::default() };
        let without = Filters { without: Some(Box::new(not_failed)), ..version };
        assert_eq!(source(&without, &[]), Source::Kept);
    }

    #[test]
    fn a_key_is_an_object_of_its_labels() {
        let by = GroupBy::new([Dimension::Route, Dimension::Status, Dimension::Route]);
        let json = |key: GroupKey| serde_json::to_string(&key).expect("keys are plain text");
        assert_eq!(json(by.key_of(&BUY)), r#"{"route":"/buy","status":502}"#);
        assert_eq!(json(by.key_of(&Labels { status: 0, ..BUY })), r#"{"route":"/buy","status":null}"#);
        assert_eq!(json(by.other_key()), r#"{"route":"(other)","status":"(other)"}"#);
        assert_eq!(json(GroupKey::everything()), "{}");
        assert!(by.other_key().is_other() && !GroupKey::everything().is_other());
    }
}
