//! Drives an [`Application`] of the core with s2n-quic on smol.
//!
//! One task owns all connections of an endpoint. s2n-quic's wakers fill a queue of events; each round the task tells the
//! application what happened and carries out what it wants, one output at a time. The sockets are this crate's own, on
//! async-io: no tokio runtime is ever started. There is no protocol logic here, and no queue: bytes that QUIC cannot take
//! now stay in the core.
//!
//! ```no_run
//! use oxymoq_core::runtime::{ServerSettings, Settings};
//! use oxymoq_core::transport::Application;
//! use oxymoq_smol::{Endpoint, Error};
//!
//! fn serve(app: &mut impl Application) -> Result<(), Error> {
//!     let endpoint = Endpoint::bind(Settings {
//!         server: Some(ServerSettings::new(4433, vec!["moqt-18".into(), "h3".into()])),
//!         ..Settings::default()
//!     })?;
//!     println!("listening on {}", endpoint.local_address());
//!     let exit = oxymoq_smol::run(endpoint, app)?;
//!     println!("{exit:?}");
//!     Ok(())
//! }
//! ```
//!
//! What s2n-quic cannot do, and what that means for a user. Everything else is as with `oxymoq-tokio`.
//!
//! | not there | effect |
//! |---|---|
//! | raising the number of streams later | [`Output::AllowStreams`] does nothing: a peer may open 1024 streams of each kind from the start, which costs memory only as they are opened |
//! | raising the window of a connection later | [`Output::ReceiveWindow`] does nothing: an accepted connection keeps `receive_window`, so a publisher gets no more than that in each round trip (512 KiB over 100 ms are 42 Mbit/s), and a subscriber is reserved as much |
//! | telling what a connection's flow control allows | a write may take more than the peer's window allows now, up to the bound on un-acknowledged bytes; what was taken waits in the stack, where nothing more urgent overtakes it |
//! | stream priorities | [`Output::Priority`] does nothing: streams take turns within what was handed over; the order of writes decides, which the bound keeps late |
//! | Retry at the application's wish | a client waits for the application with its TLS session begun, which is too late; the stack itself asks for a Retry above `retry_above` handshakes, and what would be [`Admission::Retry`] refuses |
//! | connecting from a server's socket | outgoing connections have sockets of their own, one per list of protocols and address family |
//! | reading on after an idle timeout or an error of the transport | what had arrived and was not read of unfinished streams is lost then; what comes together with a peer's close is read first |
//! | forgetting a client's old addresses | a connection outlives four changes of its client's address; after the fifth nothing arrives any more, and it times out |
//! | stateless reset | a client that is not known any more is not answered, and notices by its idle timeout |
//! | 0-RTT | a returning client waits for the same round trips as a new one (as with `oxymoq-tokio`, which does not offer it either) |
//!
//! What waits where, and how much of it at most. Per connection unless told otherwise.
//!
//! | buffer | bound |
//! |---|---|
//! | bytes written and not acknowledged, in the stack | one and a half congestion windows, `max_unacked` at most; twice that with urgent ones |
//! | bytes received and not read, in the stack | `receive_window` or `publisher_window`; on one stream `stream_window` |
//! | what a read did not ask for of a piece that the stack gave | 64 KiB on a stream |
//! | streams that the peer opened and the adapter did not look at | 1024 of each kind |
//! | datagrams to send and received | `datagram_send_buffer`, `datagram_receive_buffer` |
//! | things to look at | one for each waker, so two per stream and a few per connection |
//! | news of the peer's credit and stops | 65 536 streams |
//! | words of a close | those of the connections that are being closed |
//! | clients at the door, and failed handshakes, per endpoint | `max_handshakes` |
//! | packets between socket and stack, per socket | 4 MiB received, 1 MiB to send |
//!
//! [`Output::AllowStreams`]: oxymoq_core::transport::Output::AllowStreams
//! [`Output::ReceiveWindow`]: oxymoq_core::transport::Output::ReceiveWindow
//! [`Admission::Retry`]: oxymoq_core::transport::Admission::Retry
//! [`Output::Priority`]: oxymoq_core::transport::Output::Priority

mod admission;
mod budget;
mod close;
mod config;
mod connection;
mod datagram;
mod dial;
mod door;
mod endpoint;
mod ids;
mod observe;
mod ready;
mod reason;
mod serve;
mod slot;
mod socket;

use async_signal::{Signal, Signals};
use oxymoq_core::transport::{Application, Exit};
use oxymoq_tls::words;
use smol::future::FutureExt as _;
use smol::stream::StreamExt as _;

pub use endpoint::Endpoint;
pub use oxymoq_tls::Error;

/// Drives `app` on this thread until it exits.
///
/// SIGINT (Ctrl-C) or SIGTERM tells the application to come to an end; a second one ends at once.
///
/// # Errors
/// If signals cannot be watched.
pub fn run<A: Application>(endpoint: Endpoint, app: &mut A) -> Result<Exit, Error> {
    let signals = || {
        Signals::new([Signal::Int, Signal::Term]).map_err(|cause| Error::System {
            what: "watching for signals",
            cause,
        })
    };
    let mut first = signals()?;
    let mut second = signals()?;
    let work = endpoint.run(app, async move {
        first.next().await;
        words::coming_to_an_end();
    });
    let stop = async move {
        second.next().await;
        second.next().await;
        Ok(Exit::Failure(
            "stopped before the work was finished".to_owned(),
        ))
    };
    async_io::block_on(work.or(stop))
}
