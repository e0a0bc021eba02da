//! What tests need from the outside world: a real Postgres, a real Kafka, the real `peep` binary, and clients.
//!
//! Arrives: a test that asks, for example `Database::fresh().await`. Leaves: something of its own for that test (a
//! migrated database, a topic prefix nobody else uses) on a server that all tests of a run share.
//!
//! Promises: servers start when the first test asks, are found again by the next test process, and stop by themselves a
//! minute after the last test process has ended, even when it was killed. Nothing is shared between two tests.
//! Whatever cannot be had is a panic that says what is missing: a test is never skipped.
//!
//! What a test may break it gets for itself: [`Broker`], [`Cluster`] and [`Server`] can be killed, frozen and started again, a
//! [`Proxy`] breaks the network between two of them.
//!
//! Deliberately absent: mocks and fakes. `PEEP_TEST_DATABASE_URL` names a server to use instead of a private one (its user
//! must be allowed to create databases); `PEEP_TEST_DIR` moves the servers' files (default `target/testkit`).

mod place;

mod shared;

pub mod postgres;

pub mod kafka;

pub mod chaos;

pub mod process;

pub mod http;

pub mod h2;

pub mod flood;

pub mod live;

pub use crate::chaos::Proxy;
pub use crate::http::{Answer, Client};
pub use crate::kafka::{Broker, Cluster, Topics};
pub use crate::live::{EventStream, WebSocket};
pub use crate::postgres::{Database, Server};
pub use crate::process::Peep;
