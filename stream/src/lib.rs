//! The stream service: what the rollup counted, to people and programs.
//!
//! Arrives: committed rollups and cursors in Postgres, and the live log with what is not committed yet. Leaves: the read
//! API, live views over WebSocket and server-sent events, and the dashboard's files. Promises: an answer and a live view
//! of the same window agree, and count every event once; memory is bounded, whatever viewers do. Writes nothing but
//! sessions, keys, alert rules and what becomes of them.
//!
//! The way of a number, in order:
//! - [`config`], [`app`]: every knob; building and ending;
//! - [`listener`], [`http`], [`session`], [`tickets`], [`standing`]: the socket, the paths, who may look and for how long;
//! - [`query`], [`labels`]: what is asked, in types that cannot be wrong;
//! - [`levels`], [`history`], [`closed`], [`sampled`]: which table answers which part of a range, and its rows; what need not be
//!   read again; kept events where no table does;
//! - [`feed`], [`stitch`]: live frames, and the seam between them and committed rows;
//! - [`figures`], [`grouped`], [`columns`]: sums, sums by group and step, and the shape charts draw;
//! - [`answer`], [`heatmap`], [`differs`], [`releases`], [`events`]: questions answered once;
//! - [`findings`], [`verdict`], [`words`]: what needs attention, by which rules, in which words;
//! - [`compare`], [`significance`], [`rows`]: whether one is worse than the other, and whether that is certain;
//! - [`suggest`]: what could be asked for;
//! - [`receipts`], [`books`], [`rejects`], [`cardinality`], [`position`]: what became of what was sent, and whether it adds up;
//! - [`keys`], [`test_event`]: who may send and read; and the first event, for whoever sets an app up;
//! - [`hub`], [`topic`], [`message`], [`subscriber`]: views that follow the present, and what each viewer has seen;
//! - [`live`], [`websocket`], [`fanout`], [`sse`], [`comeback`]: how they are opened, written to many sockets, and ended;
//! - [`freshness`]: how long that takes;
//! - [`alerts`]: rules about the same answers, and who is told;
//! - [`prometheus`]: the same counts for a scraper;
//! - [`openapi`]: all of it, described for programs;
//! - [`assets`]: the dashboard;
//! - [`body`]: what was sent, field by field;
//! - [`error`], [`metrics`]: what is said when something is wrong, and what the service says about itself.
//!
//! Next station: `dashboard/lib/live/source`.

pub mod config;

pub mod app;

pub mod listener;

pub mod http;

pub mod session;

pub mod tickets;

pub mod standing;

pub mod query;

pub mod labels;

pub mod levels;

pub mod history;

pub mod closed;

pub mod sampled;

pub mod feed;

pub mod stitch;

pub mod figures;

pub mod grouped;

pub mod columns;

pub mod answer;

pub mod heatmap;

pub mod differs;

pub mod releases;

pub mod events;

pub mod findings;

pub mod verdict;

pub mod names;

pub mod words;

pub mod compare;

pub mod significance;

pub mod rows;

pub mod suggest;

pub mod receipts;

pub mod books;

pub mod rejects;

pub mod keys;

pub mod test_event;

pub mod cardinality;

pub mod position;

pub mod hub;

pub mod topic;

pub mod message;

pub mod subscriber;

pub mod live;

pub mod websocket;

pub mod fanout;

pub mod sse;

pub mod comeback;

pub mod freshness;

pub mod alerts;

pub mod prometheus;

pub mod openapi;

pub mod assets;

pub mod body;

pub mod error;

pub mod metrics;

pub use crate::app::{Logs, run, run_at};
pub use crate::config::Config;
