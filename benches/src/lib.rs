//! Floors, ratios and the load generator.
//!
//! Absolute numbers belong to a machine; ratios travel. So each bench runs peep and a *floor* — the least that any
//! program doing this job must do — in turns in one session, and prints peep as a multiple of the floor. See
//! `README.md` here for the question that each bench answers.

pub mod corpus;

pub mod otlp;

pub mod cpu;

pub mod exactly_once;

pub mod closed_loop;

pub mod floor;

pub mod statistics;

pub mod memory;

pub mod freshness;
