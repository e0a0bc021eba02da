//! The admin port: what a scraper, an orchestrator or a person asks a process about itself.

mod health;

pub use health::{Health, HealthHandle};
