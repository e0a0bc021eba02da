//! HTTP socket to log: `POST /v1/events` and `POST /v1/traces` (OTLP) become one durable record per batch, or a clear refusal.
//!
//! In the order a request meets them:
//! - `listener`: accept, connection cap, drain;
//! - `connection`: TLS, HTTP/1.1 or HTTP/2, time limits; `streams` are the requests of one HTTP/2 connection;
//! - `deadline`: how long a connection may wait for a head, a body or the log;
//! - `head`: whether it is clear what the request is and where it ends;
//! - `http`: paths and headers, and the way through what follows;
//! - `browser`: what a web page may know;
//! - `tenant`: key to project, from memory;
//! - `rate`: events per second of a key;
//! - `producers`: a place for the sender's identity;
//! - `admission`: room for the body, decided before it is read;
//! - `body`: bounded read and decompression;
//! - `manners`: how long a connection rests that was turned away;
//! - `batch`: decode, check and encode, through `peep_wire`;
//! - `append`: on its way to its partition ([`peep_wire::partition`]), small records together;
//! - then the log, and only its acknowledgement makes the 202. `outcome` names every other end, and `answer` is the only place
//!   that writes them down.
//!
//! Beside the way: `drift` watches the wall clock, whose readings become receive times.
//!
//! Next station: the log, and through it `peep-rollup`. No disk, no database, no retry in here: the log is the only
//! buffer, and clients hold what it has not taken.

mod config;

mod app;

mod listener;

mod connection;

mod streams;

mod head;

mod deadline;

mod http;

mod browser;

mod tenant;

mod rate;

mod producers;

mod admission;

mod body;

mod manners;

mod batch;

mod append;

mod outcome;

mod answer;

mod drift;

mod metrics;

#[doc(hidden)]
pub mod fuzz;

pub use app::{run, run_at};
pub use config::{Config, TLS};
pub use metrics::BUCKETS;
