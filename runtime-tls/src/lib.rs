//! What both adapters share: TLS set-up with rustls, sockets, shards, errors in words, and the clock.
//!
//! Nothing here knows a QUIC stack or an executor. An adapter hands the configurations to its stack, and says with
//! [`words`] what went wrong, so that an operator reads the same sentence whichever stack runs.

mod clock;
mod error;
mod refusal;
mod shard;
pub mod sockets;
mod tls;
pub mod words;

pub use clock::Clock;
pub use error::Error;
pub use shard::{Handshake, Handshakes, Shard};
pub use tls::{Client, is_host_name, server};
