//! Hostile input: what no honest client would send, sent to a real process, beside an honest client that must not notice.
//!
//! Arrives: a case, such as a zstd frame that asks for a window of 512 MiB. Leaves: a verdict and its figures, in one line.
//!
//! Promises: everything happens on the loopback of this machine, with a database, ports and configuration files of the case's
//! own; every case states what it expects before it runs, and an attack that could not be carried out is a failure.
//!
//! The tour: [`cases`] is the catalogue, [`campaign`] runs it, each in a [`scene`] with one ingest on the server of a
//! [`site`]. [`meter`] watches that process, [`honest`] sends what everybody sends, [`talk`] puts any bytes on a
//! socket and reads what comes back, and [`ledger`] tells which events were really taken.
//! [`reference`](mod@reference) reads a conversation as strictly as the RFC allows, and [`proxies`] are real ones. [`report`] writes it down.

pub mod meter;

pub mod talk;

pub mod honest;

pub mod ledger;

pub mod reference;

pub mod proxies;

pub mod site;

pub mod scene;

pub mod cases;

pub mod campaign;

pub mod report;
