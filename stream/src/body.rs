//! Bodies of requests, field by field.
//!
//! Arrives: the bytes of a small JSON object. Leaves: its fields as they are asked for. Promises: what is wrong with it names the
//! field, what it should be, and the fields there are; `null` is a field that was left out. Does not: know which values make
//! sense.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// What is left of an object.
pub struct Fields {
    left: Map<String, Value>,
    /// In front of names: `target.`; empty for the body itself.
    prefix: &'static str,
    known: Vec<&'static str>,
    refuse: Refuse,
}

/// The error about a field.
pub type Refuse = fn(field: &str, why: &str) -> ApiError;

impl Fields {
    /// The body, which has to be an object; `wanted` says what to send.
    pub fn of(body: Result<Bytes, BytesRejection>, wanted: &'static str, refuse: Refuse) -> Result<Self, ApiError> {
        let body = bytes(body)?;
        match serde_json::from_slice(&body) {
            Ok(Value::Object(left)) => Ok(Self::of_object(left, "", refuse)),
            _ => Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", wanted)),
        }
    }

    /// An object that was read already.
    pub fn of_object(left: Map<String, Value>, prefix: &'static str, refuse: Refuse) -> Self {
        Self { left, prefix, known: Vec::new(), refuse }
    }

    /// An object inside; `prefix` is its name with a dot.
    pub fn inner(&mut self, name: &'static str, prefix: &'static str) -> Result<Option<Self>, ApiError> {
        let refuse = self.refuse;
        let of = |value: Value| match value {
            Value::Object(left) => Some(Self::of_object(left, prefix, refuse)),
            _ => None,
        };
        self.take(name, "write an object", of)
    }

    /// A string.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, ApiError> {
        let of = |value: Value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        self.take(name, "write a text, in quotes", of)
    }

    /// Some strings.
    pub fn texts(&mut self, name: &'static str) -> Result<Option<Vec<String>>, ApiError> {
        let of = |value: Value| match value {
            Value::Array(values) => {
                values.into_iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>()
            }
            _ => None,
        };
        self.take(name, "write a list of texts", of)
    }

    /// A whole number.
    pub fn integer(&mut self, name: &'static str) -> Result<Option<i64>, ApiError> {
        self.take(name, "write a whole number", |value| value.as_i64())
    }

    /// A number.
    pub fn number(&mut self, name: &'static str) -> Result<Option<f64>, ApiError> {
        self.take(name, "write a number", |value| value.as_f64())
    }

    /// A yes or no.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>, ApiError> {
        self.take(name, "write true or false", |value| value.as_bool())
    }

    /// Fields that may be there and mean nothing.
    pub fn ignore(&mut self, names: &[&str]) {
        self.left.retain(|name, _| !names.contains(&name.as_str()));
    }

    /// Refuses fields that nobody asked for: a misspelt one must not be taken for one that was left out.
    pub fn end(self) -> Result<(), ApiError> {
        let Some(name) = self.left.keys().next() else { return Ok(()) };
        let shown: String = name.chars().take(60).collect();
        let why = format!("is no field here; there are {}", self.known.join(", "));
        Err((self.refuse)(&format!("{}{shown}", self.prefix), &why))
    }

    /// A field that must not be missing.
    pub fn missing(&self, name: &str, what: &str) -> ApiError {
        (self.refuse)(&format!("{}{name}", self.prefix), &format!("is missing; {what}"))
    }

    fn take<T>(
        &mut self,
        name: &'static str,
        what: &str,
        of: impl Fn(Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        self.known.push(name);
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match of(value) {
                Some(value) => Ok(Some(value)),
                None => Err((self.refuse)(&format!("{}{name}", self.prefix), what)),
            },
        }
    }
}

/// All of the body.
pub fn bytes(body: Result<Bytes, BytesRejection>) -> Result<Bytes, ApiError> {
    body.map_err(|rejected| match rejected.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "a body here is smaller than 4 KiB")
        }
        _ => ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", "the body could not be read"),
    })
}

/// A field of a body that cannot be used.
pub fn invalid(field: &str, why: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", format!("`{field}`: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &'static str) -> Result<Fields, ApiError> {
        Fields::of(Ok(Bytes::from_static(body.as_bytes())), "send an object", invalid)
    }

    #[test]
    fn what_is_wrong_names_the_field_and_what_it_should_be() {
        let mut read =
            fields(r#"{"name": 7, "count": 1.5, "on": "yes", "inner": {"x": 1}, "lost": null}"#).expect("an object");
        assert_eq!(read.text("name").expect_err("a number").message, "`name`: write a text, in quotes");
        assert_eq!(read.integer("count").expect_err("a fraction").message, "`count`: write a whole number");
        assert_eq!(read.flag("on").expect_err("a text").message, "`on`: write true or false");
        assert_eq!(read.number("lost").expect("left out"), None);
        let inner = read.inner("inner", "inner.").expect("an object").expect("there");
        assert_eq!(inner.missing("y", "write one").message, "`inner.y`: is missing; write one");
        assert_eq!(inner.end().expect_err("unknown").message, "`inner.x`: is no field here; there are ");
        assert!(read.end().is_ok(), "everything was asked for");
    }

    #[test]
    fn what_is_no_object_is_told_what_to_send() {
        for body in ["[]", "7", "null", "{", ""] {
            let error = fields(body).err().expect("refused");
            assert_eq!((error.code, &*error.message), ("invalid_json", "send an object"), "{body}");
        }
    }
}
