//! The auditor: a client that writes down everything it does, and compares it with what was counted.
//!
//! [`batch`] says what is sent, [`journal`] keeps it on disk, [`load`] sends it, and [`audit`] judges.

pub mod batch;

pub mod journal;

pub mod load;

pub mod audit;
