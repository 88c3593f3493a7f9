//! The protocol core of Oxymoq, a Media over QUIC Transport (MoQT) relay: bytes and time in, bytes, events and
//! deadlines out. It does no I/O, reads no clock, starts no thread and contains no `unsafe` code.
#![forbid(unsafe_code)]

pub mod code;
pub mod draft;
pub mod fanout;
pub mod h3;
pub mod ledger;
pub mod peer;
pub mod peers;
pub mod publisher;
pub mod relay;
pub mod runtime;
pub mod schedule;
pub mod session;
#[cfg(feature = "sim")]
pub mod sim;
pub mod time;
pub mod transport;
pub mod wire;
