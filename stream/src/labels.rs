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
}

impl<'a> From<Series<'a>> for Labels<'a> {
    fn from(series: Series<'a>) -> Self {
        Labels {
            env: series.env,
            service: series.service,
            route: series.route,
            method: series.method,
            status: series.status,
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
}

impl Dimension {
    /// All, as a message lists them.
    pub const NAMES: &'static str = "env, service, route, method, status";

    /// The name in queries and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Service => "service",
            Self::Route => "route",
            Self::Method => "method",
            Self::Status => "status",
        }
    }

    /// The dimension of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Env, Self::Service, Self::Route, Self::Method, Self::Status]
            .into_iter()
            .find(|dimension| dimension.name() == name)
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
        };
        GroupKey { by: self.clone(), values: self.0.iter().map(value).collect() }
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

    /// Writes each label as an entry of an open map; a status that is unknown is `null`.
    pub fn serialize_into<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        for (dimension, value) in self.by.0.iter().zip(&self.values) {
            match value {
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
}

/// `502`, `5xx` or `unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusFilter {
    /// Exactly this status.
    Exact(u16),
    /// This first digit; 0 = no status was sent.
    Class(u8),
}

impl Filters {
    /// Whether a series takes part.
    pub fn matches(&self, labels: &Labels<'_>) -> bool {
        let passes = |wanted: &[String], value: &str| wanted.is_empty() || wanted.iter().any(|one| one == value);
        let status = |filter: &StatusFilter| match *filter {
            StatusFilter::Exact(status) => status == labels.status,
            StatusFilter::Class(class) => u16::from(class) == labels.status / 100,
        };
        passes(&self.env, labels.env)
            && passes(&self.service, labels.service)
            && passes(&self.route, labels.route)
            && passes(&self.method, labels.method)
            && (self.status.is_empty() || self.status.iter().any(status))
    }

    /// Whether every series passes.
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
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

    const BUY: Labels<'_> = Labels { env: "default", service: "shop", route: "/buy", method: "POST", status: 502 };

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
