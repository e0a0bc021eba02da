//! A small HTTP client: JSON in, JSON out, every status an answer.

use std::time::Duration;

use serde_json::Value;
use ureq::http::Request;
use ureq::{Agent, Body};

use crate::postgres::blocking;

/// Talks to one service, with one key. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    headers: Vec<(String, String)>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// In order of arrival, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Client {
    /// `base` is `http://host:port`.
    pub fn new(base: impl Into<String>) -> Self {
        Self { agent: agent(Duration::from_secs(30)), base: base.into(), headers: Vec::new() }
    }

    /// Another patience than 30 s for one exchange; with connections of its own.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { agent: agent(timeout), ..self.clone() }
    }

    /// The same client with this header on every request.
    #[must_use]
    pub fn with_header(&self, name: &str, value: impl ToString) -> Self {
        let mut client = self.clone();
        client.headers.retain(|(known, _)| known != name);
        client.headers.push((name.to_owned(), value.to_string()));
        client
    }

    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        self.with_header("authorization", format!("Bearer {key}"))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.try_get(path).await.unwrap_or_else(|error| panic!("GET {}{path}: {error}", self.base))
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, None, Vec::new()).await
    }

    pub async fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.post(path, "application/json", body.to_string()).await
    }

    pub async fn post(&self, path: &str, content_type: &'static str, body: impl Into<Vec<u8>>) -> Answer {
        self.request("POST", path, Some(content_type), body.into()).await
    }

    /// For a service that may not be there: the error as text.
    pub async fn try_get(&self, path: &str) -> Result<Answer, String> {
        self.send("GET", path, None, Vec::new()).await
    }

    /// For a service that may be killed meanwhile: the error as text.
    pub async fn try_post(
        &self,
        path: &str,
        content_type: &'static str,
        body: impl Into<Vec<u8>>,
    ) -> Result<Answer, String> {
        self.send("POST", path, Some(content_type), body.into()).await
    }

    async fn request(
        &self,
        method: &'static str,
        path: &str,
        content_type: Option<&'static str>,
        body: Vec<u8>,
    ) -> Answer {
        self.send(method, path, content_type, body)
            .await
            .unwrap_or_else(|error| panic!("{method} {}{path}: {error}", self.base))
    }

    async fn send(
        &self,
        method: &'static str,
        path: &str,
        content_type: Option<&'static str>,
        body: Vec<u8>,
    ) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let agent = self.agent.clone();
        // The service under test may run on the caller's thread, so the caller must not block.
        blocking(move || {
            let request = request.body(body).map_err(|error| error.to_string())?;
            let response = agent.run(request).map_err(|error| error.to_string())?;
            answer(response).map_err(|error| error.to_string())
        })
        .await
    }
}

impl Answer {
    /// The body as JSON. Panics with the body when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the answer {} {}", self.status, self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn agent(timeout: Duration) -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).max_redirects(0).timeout_global(Some(timeout));
    config.build().new_agent()
}

fn answer(mut response: ureq::http::Response<Body>) -> Result<Answer, ureq::Error> {
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect();
    Ok(Answer { status: response.status().as_u16(), headers, body: response.body_mut().read_to_string()? })
}
