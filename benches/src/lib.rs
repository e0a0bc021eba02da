//! Floors, ratios and the load generator.
//!
//! Absolute numbers belong to a machine; ratios travel. So each bench runs peep and a *floor* — the least that any
//! program doing this job must do — in turns in one session, and prints peep as a multiple of the floor. See
//! `README.md` here for the question that each bench answers.
//!
//! Each bench is a module with its arguments and a function `run`, which prints what it sees and returns [`rows::Rows`].

pub mod corpus;

pub mod cpu;

pub mod statistics;

pub mod rows;

pub mod requests;

pub mod closed_loop;

pub mod open_loop;

pub mod crowd;

pub mod traffic;

pub mod broker;

pub mod stack;

pub mod server;

pub mod cost;

// The benches.

pub mod json;

pub mod otlp;

pub mod ingest;

pub mod acknowledged;

pub mod resident;

pub mod latency;

pub mod pipeline;

pub mod single;

pub mod memory;

pub mod rollup;

pub mod flush;

pub mod exactly_once;

pub mod freshness;

pub mod fanout;

pub mod viewers;

pub mod ship;

pub mod summary;
