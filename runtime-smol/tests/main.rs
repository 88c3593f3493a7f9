//! Tests over real sockets of this machine, in one binary.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests may fail loudly"
)]

mod conformance;
mod failures;
mod loopback;
mod path;
mod signals;
mod support;
