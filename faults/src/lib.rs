//! The fault campaign: breaks real processes under load, and proves that nothing is lost or doubled.
//!
//! Arrives: a fault and a number of events. Leaves: a verdict, "0 of N acknowledged lost, 0 doubled, balanced", or the
//! producer and the batch that it fails for.
//!
//! Four judges, none of which knows the others: the *auditor* compares what its clients were told with the sums in the
//! rollups; the *books* are checked by SQL; the *oracle* (`peep verify`) counts the whole log again with code of its own; and
//! peep itself is asked, by the receipts that its clients were given and for its own reconciliation.
//!
//! Promises: every run can be repeated from its seed (the chances taken, that is; processes keep their own time), a
//! judge that cannot judge is a failure, and [`tamper`] shows that the judges see what they are there for.
//!
//! Does not: lose what a disk has not written yet. `kill -9` leaves the kernel's page cache alone, so a power cut is not
//! what is tested here.
//!
//! The tour: [`faults`] is the catalogue, [`campaign`] runs it, each in a [`scene`] with a [`world`] of processes on the
//! servers of a [`site`], under the load of the [`auditor`].

pub mod auditor;

pub mod books;

pub mod kafka;

pub mod observer;

pub mod random;

pub mod site;

pub mod world;

pub mod tamper;

pub mod scene;

pub mod faults;

pub mod campaign;

pub mod report;
