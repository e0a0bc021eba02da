//! What every peep process needs and no process is about: configuration, telemetry, the admin port, the lifecycle of a
//! process, the database pool and the keys of its users.
//!
//! In the order a process meets them:
//!
//! - [`config`]: environment variables become checked values; every knob registers itself;
//! - [`telemetry`]: log lines and the metrics recorder;
//! - [`metrics`]: what the chassis measures, the process included;
//! - [`tally`]: what is counted with every request;
//! - [`exposition`]: what `/metrics` says beside that;
//! - [`clock`]: the only wall clock;
//! - [`lifecycle`]: signals, tasks that must not end, the shutdown steps and their budgets;
//! - [`admin`]: `/metrics`, `/healthz`, `/readyz`;
//! - [`socket`], [`tls`], [`http2`]: what every listener does with connections of strangers;
//! - [`database`]: the Postgres pool;
//! - [`keys`]: API keys, login links and browser sessions;
//! - [`failpoint`]: where tests end or stop a process.
//!
//! Depends on no service and on no event format: the next stations are `log`, then `ingest`, `rollup` and `stream`.

pub mod config;

pub mod telemetry;

pub mod metrics;

pub mod tally;

pub mod exposition;

pub mod clock;

pub mod lifecycle;

pub mod admin;

pub mod socket;

pub mod tls;

pub mod http2;

pub mod database;

pub mod keys;

pub mod failpoint;

pub use secrecy::{ExposeSecret, SecretString};
