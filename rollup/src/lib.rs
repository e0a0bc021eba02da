//! From the log to windows of histograms in Postgres, each event counted exactly once.
//!
//! In the order a record meets them:
//! - [`lease`]: which partitions are mine; [`position`]: how far each is counted;
//! - [`consumer`]: one partition at work: when to read, to publish and to flush;
//! - [`partition`]: all state of one partition, a function of the log; [`dedup`]: what was counted before; [`poison`]: what
//!   cannot be counted; [`books`]: what became of every event;
//! - [`cardinality`]: how many series there may be; [`key`]: series; [`window`]: cells of counts and latencies; [`facet`]: the same for versions and hosts; [`raw`]: the weighted sample of the events themselves;
//! - [`publish`]: live frames to whoever streams them;
//! - [`flush`]: slots and deadlines; [`store`]: the compare-and-swap that counts each flush once; [`postgres`]: the same as SQL;
//! - [`level`]: minutes out of ten seconds, hours out of minutes;
//! - [`breaks`]: a log that is not the one that was counted, and the person who accepts it;
//! - [`limits`]: the byte budget; [`retention`]: partitions of the tables; [`metrics`]: what it says about itself.
//!
//! Next station: `peep-stream`, which reads the tables, takes the frames, and stitches both at the cursor.

pub mod config;

pub mod app;

pub mod lease;

pub mod position;

pub mod consumer;

pub mod partition;

pub mod dedup;

pub mod poison;

pub mod books;

pub mod cardinality;

pub mod key;

pub mod window;

pub mod facet;

pub mod raw;

pub mod publish;

pub mod flush;

pub mod store;

pub mod postgres;

pub mod breaks;

pub mod level;

pub mod limits;

pub mod retention;

pub mod metrics;

#[cfg(test)]
mod testing;

pub use app::run;
pub use config::Config;
