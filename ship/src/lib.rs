//! Access logs to events: `peep ship`.
//!
//! What arrives: lines of nginx or Apache access logs, from files (plain or gzip), from standard input, followed
//! as they grow, or sent by syslog; and requests that the nginx module tells of. What leaves: batches of events for
//! `POST /v1/events`, each with an identity (producer, sequence number) so that a retry counts once.
//!
//! Promised: every line has exactly one outcome (event, malformed with a reason, blank); a batch never
//! changes once it was first sent; with a state folder, a line of a followed file is sent exactly once over any number
//! of restarts, kills and rotations; query strings, addresses, referrers and user agents never leave the host; memory
//! is bounded (a few chunks of input, a few batches in flight), because a slow ingest stops the reading.
//!
//! Not done: keeping what comes by datagram while ingest is away for longer than the buffer lasts. Files wait; a sender of
//! datagrams does not.
//!
//! One line on its way: `source`, `follow` or `listen` → `detect` → `combined`, `json` or `nginx` → `route` → `event` →
//! `batch` → `outbox` (`parcel`, `journal`) → `send` → the ingest service (`POST /v1/events`), with `position` saying where reading
//! stands, `report` and `metrics` keeping the books and `app` putting it all together.

// Modules in the order in which a line meets them, not in alphabetical order.
mod args;

mod app;

mod admin;

mod source;

mod follow;

mod position;

mod listen;

mod line;

mod detect;

mod combined;

mod json;

mod nginx;

mod time;

mod route;

mod event;

mod batch;

mod outbox;

mod parcel;

mod journal;

mod send;

mod backoff;

mod progress;

mod report;

pub mod metrics;

mod interrupt;

#[doc(hidden)]
pub mod fuzz;

#[cfg(test)]
mod fake_ingest;

pub use app::run;
pub use args::{Args, Compress, Format, Rebase};
pub use time::DurationUnit;
