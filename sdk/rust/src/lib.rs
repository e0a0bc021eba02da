//! Sends one small event for each finished request of your service to peep: route template, method, status, duration.
//!
//! In the order an event meets them:
//! - [`PeepLayer`]: a tower layer for axum, hyper, tonic and any other tower service; measures to the end of the body;
//! - [`Client`]: takes events, of the layer or of your own ([`Event`]), and has the books ([`Stats`]);
//! - `grpc`: how a call of gRPC went, and whether its path is a method's and may be told;
//! - `lines`: an event as a line of JSON; `queue`: what waits, bounded in bytes;
//! - `sender`: one thread that sends, compresses and tries again; `answer`, `backoff`, `identity`: what it goes by.
//!
//! It never panics into your code, never makes a request wait for ingest, holds at most [`Config::buffer_bytes`], and allocates
//! nothing per request. Query strings, headers, bodies and raw paths never leave the process.
//!
//! # axum
//!
//! ```
//! use axum::{Router, extract::Path, routing::get};
//! use peep_sdk::{Client, PeepLayer};
//!
//! // PEEP_INGEST_URL, PEEP_INGEST_KEY, PEEP_SERVICE; without them it does nothing, and says so once.
//! let peep = Client::from_env();
//! let app: Router = Router::new()
//!     .route("/users/{id}", get(|Path(id): Path<u64>| async move { format!("user {id}") }))
//!     .layer(PeepLayer::new(peep.clone()));
//! # let _ = app;
//! ```
//!
//! # Any other tower service
//!
//! ```
//! use http::{Request, Response};
//! use peep_sdk::{Client, PeepLayer, Route};
//! use tower::{ServiceBuilder, service_fn};
//!
//! let service = ServiceBuilder::new().layer(PeepLayer::new(Client::from_env())).service(service_fn(
//!     |_request: Request<String>| async {
//!         let mut response = Response::new(String::from("hello"));
//!         response.extensions_mut().insert(Route("/hello"));
//!         Ok::<_, std::convert::Infallible>(response)
//!     },
//! ));
//! # let _ = service;
//! ```
//!
//! # Anything else that takes time
//!
//! ```
//! use std::time::{Duration, Instant};
//! use peep_sdk::{Client, Event};
//!
//! let peep = Client::from_env();
//! let started = Instant::now();
//! // … the work …
//! peep.record(&Event::new("nightly-report").duration(started.elapsed()).attrs(&[("rows", 1200.into())]));
//!
//! // Last, when the server has stopped: what is left is sent, for at most this long.
//! let books = peep.shutdown(Duration::from_secs(5));
//! assert_eq!(books.recorded, books.accepted + books.rejected + books.dropped() + books.held);
//! ```

#![warn(missing_docs)]

mod layer;

mod grpc;

mod client;

mod config;

mod event;

mod lines;

mod queue;

mod sender;

mod answer;

mod backoff;

mod identity;

mod trace;

#[cfg(test)]
mod tests;

pub use client::{Client, Stats};
pub use config::Config;
pub use event::{Event, Value};
pub use layer::{Observed, Peep, PeepLayer, Responding, Route};
