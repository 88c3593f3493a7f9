//! Endpoints of this runtime against each other over loopback, under scripted applications.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests may fail loudly"
)]

mod connections;
mod harness;
mod streams;
