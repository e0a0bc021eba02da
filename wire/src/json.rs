//! JSON bodies to events.
