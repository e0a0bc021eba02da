//! The event contract: what an event may hold, how it travels, how it is counted.
//!
//! In the order an event meets them:
//! - [`json`]: the body of `POST /v1/events` to checked events, decoded once, borrowed;
//! - [`otlp`]: the same for the body of `POST /v1/traces`;
//! - [`event`], [`method`], [`limits`]: what a checked event is;
//! - [`record`]: one accepted batch as one record of the log (`record.proto`);
//! - [`histogram`]: durations as HdrHistogram buckets; quantiles; the V2 encoding;
//! - [`live`]: what the rollup announces about events not yet committed;
//! - [`partition`]: which partition of the log a request goes to;
//! - [`receipt`]: the place in the log, for the client to keep;
//! - [`hash`]: hashes that never change.
//!
//! Next station: `peep-log`. This crate does no I/O and depends on nothing of ours.

pub mod json;

pub mod otlp;

pub mod event;

pub mod method;

pub mod limits;

pub mod record;

pub mod histogram;

pub mod live;

pub mod partition;

pub mod receipt;

pub mod hash;

pub mod ids;

mod varint;

pub use ids::{Identity, KeyId, ProjectId};
