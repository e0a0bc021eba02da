//! From the log to windows of histograms in Postgres, each event counted exactly once.
//!
//! In the order a record meets them:
//! - [`lease`]: which partitions are mine; [`cursor`]: how far each is counted, and the compare-and-swap that keeps it exact;
//! - [`consumer`]: one partition at work: when to read, to publish and to flush;
//! - [`partition`]: all state of one partition, a function of the log; [`poison`]: what cannot be counted;
//! - [`key`]: series; [`window`]: cells of counts and latencies; [`raw`]: the weighted sample of the events themselves;
//! - [`publish`]: live frames to whoever streams them;
//! - [`flush`]: connections and deadlines; [`store`]: one flush as SQL; [`copy`]: rows in Postgres' binary format;
//! - [`limits`]: the byte budget; [`retention`]: partitions of the tables; [`metrics`]: what it says about itself.
//!
//! Next station: `peep-stream`, which reads the tables, takes the frames, and stitches both at the cursor.

pub mod config;

pub mod app;

pub mod lease;

pub mod cursor;

pub mod consumer;

pub mod partition;

pub mod poison;

pub mod key;

pub mod window;

pub mod raw;

pub mod publish;

pub mod flush;

pub mod store;

mod copy;

pub mod limits;

pub mod retention;

pub mod metrics;

#[cfg(test)]
mod testing;

pub use app::run;
pub use config::Config;
