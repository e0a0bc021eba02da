//! Access logs to events: `peep ship`.
//!
//! What arrives: lines of nginx or Apache access logs, from files (plain or gzip), from standard input, or followed
//! as they grow. What leaves: batches of events for `POST /v1/events`, each with an identity (producer, sequence
//! number) so that a retry counts once.
//!
//! Promised: every line has exactly one outcome (event, malformed with a reason, blank); a batch never
//! changes once it was first sent; query strings, addresses, referrers and user agents never leave the host; memory
//! is bounded (a few chunks of input, a few batches in flight), because a slow ingest stops the reading.
//!
//! Not done: no position file. A run that starts again starts at the end of a followed file, or at the beginning of
//! a plain one, and counts as a new producer.
//!
//! One line on its way: `source` or `follow` → `detect` → `combined` or `json` → `route` → `event` → `batch` → `send` →
//! the ingest service (`POST /v1/events`), with `report` keeping the books and `app` putting it all together.

// Modules in the order in which a line meets them, not in alphabetical order.
mod args;

mod app;

mod source;

mod follow;

mod line;

mod detect;

mod combined;

mod json;

mod time;

mod route;

mod event;

mod batch;

mod send;

mod backoff;

mod progress;

mod report;

mod interrupt;

#[doc(hidden)]
pub mod fuzz;

#[cfg(test)]
mod fake_ingest;

pub use app::run;
pub use args::{Args, Compress, Format, Rebase};
pub use time::DurationUnit;
