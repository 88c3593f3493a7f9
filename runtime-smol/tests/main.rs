//! Tests over real sockets of this machine, in one binary.
//!
//! The contract with the application is tested where both runtimes are at hand, see `bins/tests/runtimes`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod conformance;
mod endpoint;
mod signals;
mod support;
