//! What the nginx module sends to `peep ship`, and how it gathers it.
//!
//! In the module: a finished request as an [`Event`], written into the worker's [`Buffer`], which goes out as one datagram when
//! it is full or a tenth of a second old. In the shipper: the datagram as a [`Header`] and its [`Record`]s.
//!
//! Promised: writing an event allocates nothing and never fails, it fits or it does not; reading never panics on any bytes;
//! each datagram says how many events its worker has sent before it and how many it had to drop, so that what is missing can be
//! counted by whoever reads. Not done: sockets and timers, which are the module's; templates of routes, which are the shipper's.
//!
//! The form, all numbers little-endian or LEB128:
//!
//! ```text
//! datagram  "PNX1"  worker u64  sent u64  dropped u64  base_ms u64  then records
//! record    length  service  ended_ms-base_ms (zigzag)  duration_us  method u8  status  bytes_in  bytes_out  route  trace
//! service   length  bytes          empty: the shipper's own
//! route     0 length bytes (a template)  or  1 length bytes (a path)
//! trace     0  or  1 and 24 bytes
//! ```
//!
//! A record may be longer than what is known of it: a reader passes over what a newer writer has added.

mod buffer;

mod event;

mod read;

mod varint;

pub use buffer::{Buffer, DATAGRAM_BYTES_MAX};
pub use event::{Event, Method, Route, SERVICE_BYTES_MAX, Trace, refused};
pub use read::{Header, Malformed, Record, Records, read, records};

/// Begins every datagram.
const MAGIC: [u8; 4] = *b"PNX1";

/// Magic, worker, sent, dropped, base.
const HEADER_BYTES: usize = 36;
