//! Both runtimes side by side, and one with the other: what a user sees of them must differ in speed alone.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod conformance;
mod contract;
mod path;
mod priorities;
mod proxy;
mod shards;
mod stack;
