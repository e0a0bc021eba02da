//! Journeys through the running service: a real socket, a real Postgres, frames as the rollup publishes them.

mod world;

mod access;

mod attention;

mod questions;

mod distributions;

mod raw;

mod books;

mod keys;

mod live;

mod viewers;

mod nginx;
mod prometheus;

mod alerts;
