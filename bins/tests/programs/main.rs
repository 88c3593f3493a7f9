//! The programs as their users run them: processes on loopback, told apart by what they print and how they end.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod dates;
mod discovery;
mod limits;
mod mistakes;
mod past;
mod process;
