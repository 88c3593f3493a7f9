//! Tests over real sockets of this machine, in one binary.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "scripts name what they react to"
)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod conformance;
mod failures;
mod loopback;
mod path;
mod signals;
mod support;
