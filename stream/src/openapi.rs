//! The description of the read API, as OpenAPI 3.1.
//!
//! `openapi.json` beside this file is written by hand and embedded. A test compares its paths and methods with those of the
//! router, and `scripts/openapi.sh` asks a running peep whatever the description allows, and what it does not.

use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;
use crate::query::Parameters;

/// `GET /v1/openapi.json`; needs no key: it is in every copy of peep.
pub async fn describe(uri: Uri) -> Result<Response, ApiError> {
    Parameters::none(&uri)?;
    Ok(([(CONTENT_TYPE, "application/json")], DESCRIPTION).into_response())
}

const DESCRIPTION: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn described() -> Value {
        serde_json::from_str(DESCRIPTION).expect("JSON")
    }

    /// Paths and methods as the sources have them: a router does not tell its own.
    fn routed() -> BTreeSet<(String, &'static str)> {
        let mut routes = BTreeSet::new();
        for line in [include_str!("http.rs"), include_str!("alerts/endpoints.rs")].into_iter().flat_map(str::lines) {
            let Some((path, handlers)) = line.trim().strip_prefix(".route(\"").and_then(|rest| rest.split_once("\", "))
            else {
                continue;
            };
            for method in ["get", "post", "put", "delete", "patch"] {
                if handlers.starts_with(&format!("{method}(")) || handlers.contains(&format!(".{method}(")) {
                    routes.insert((path.to_owned(), method));
                }
            }
        }
        routes
    }

    #[test]
    fn every_path_and_method_is_described_and_no_other() {
        let document = described();
        let mut described = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for method in ["get", "post", "put", "delete", "patch"] {
                if operations.get(method).is_some() {
                    described.insert((path.clone(), method));
                }
            }
        }
        assert!(described.len() > 10);
        assert_eq!(described, routed());
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_part_is_used() {
        let document = described();
        let mut wanted = BTreeSet::new();
        collect(&document, &mut wanted);
        for reference in &wanted {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
        }
        for kind in ["schemas", "parameters", "responses"] {
            for name in document["components"][kind].as_object().expect("components").keys() {
                assert!(wanted.contains(&format!("#/components/{kind}/{name}")), "nobody refers to {kind}/{name}");
            }
        }
    }

    #[test]
    fn what_may_be_null_may_be_so_in_one_of_its_shapes() {
        let null = Value::from("null");
        let is_null = |schema: &Value| schema["type"] == null;
        let is_contradicted = |schema: &Value| {
            let may_be = schema["type"].as_array().is_some_and(|types| types.contains(&null));
            may_be && schema["oneOf"].as_array().is_some_and(|shapes| !shapes.iter().any(is_null))
        };
        let document = described();
        let mut left = vec![&document];
        while let Some(value) = left.pop() {
            assert!(!is_contradicted(value), "{value}");
            left.extend(value.as_array().into_iter().flatten());
            left.extend(value.as_object().into_iter().flat_map(|fields| fields.values()));
        }
        let shapes = document["components"]["schemas"]["Finding"]["properties"]["where"]["oneOf"].as_array();
        assert!(shapes.is_some_and(|shapes| shapes.iter().any(is_null)), "a finding may be everywhere");
    }

    #[test]
    fn steps_of_freshness_and_tickets_of_live_views_are_described() {
        let document = described();
        let has = |path: &str, name: &str| {
            let parameters = document["paths"][path]["get"]["parameters"].as_array().expect("parameters");
            let reference = format!("#/components/parameters/{name}");
            parameters.iter().any(|parameter| parameter["name"] == name || parameter["$ref"] == *reference)
        };
        assert!(has("/v1/freshness", "step") && has("/v1/live", "ticket"));
        assert!(document["paths"]["/v1/live"]["get"]["responses"]["422"].is_object());
    }

    fn collect(value: &Value, references: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| collect(value, references));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
            _ => {}
        }
    }
}
