//! The program as its users run it: a process that measures a relay on loopback.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod bench;
mod relay;
mod runs;
