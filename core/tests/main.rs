//! Integration tests of the core, one module each.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets something unexpected should stop there"
)]

mod embedded;
mod networks;
mod shards;
mod wire;
