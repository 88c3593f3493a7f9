//! The programs as their users run them: processes on loopback, told apart by what they print and how they end.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[cfg(target_os = "linux")]
mod audience;
#[cfg(target_os = "linux")]
mod crowd;
mod dates;
mod discovery;
mod limits;
mod matrix;
mod media_receive;
mod media_send;
mod media_through;
mod mistakes;
mod past;
mod process;
mod same;
#[cfg(target_os = "linux")]
mod soak;
#[cfg(target_os = "linux")]
mod threads;
#[cfg(target_os = "linux")]
mod throng;
