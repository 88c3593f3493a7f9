//! What the programs share: flags, logging, URLs, the choice of a runtime, and the programs themselves without their
//! sockets.

pub mod catalog;
pub mod cli;
pub mod client;
pub mod date;
pub mod date_server;
pub mod flags;
pub mod flv_receiver;
pub mod flv_streamer;
pub mod limits;
pub mod logging;
pub mod mlog;
pub mod runtime;
pub mod shards;
#[cfg(test)]
mod tests;
pub mod text_client;
pub mod url;
pub mod web;
