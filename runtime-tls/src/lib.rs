//! What both adapters share: TLS set-up with rustls, and errors in words.
//!
//! Nothing here knows a QUIC stack or an executor. An adapter hands the configurations to its stack, and says with
//! [`words`] what went wrong, so that an operator reads the same sentence whichever stack runs.

mod error;
mod tls;
pub mod words;

pub use error::Error;
pub use tls::{Client, server};
