//! Drives an [`Application`] of the core with quinn-proto on tokio.
//!
//! One task owns the UDP socket, the QUIC endpoint and all its connections. Each round it receives a batch of packets,
//! feeds them all to quinn-proto, tells the application what came of it, pumps every dirty connection once, and sends
//! what that made. There is no protocol logic here, and no queue: bytes that QUIC cannot take now stay in the core.
//!
//! ```no_run
//! use oxymoq_core::runtime::{ServerSettings, Settings};
//! use oxymoq_core::transport::Application;
//! use oxymoq_tokio::{Endpoint, Error};
//!
//! fn serve(app: &mut impl Application) -> Result<(), Error> {
//!     let endpoint = Endpoint::bind(Settings {
//!         server: Some(ServerSettings::new(4433, vec!["moqt-18".into(), "h3".into()])),
//!         ..Settings::default()
//!     })?;
//!     println!("listening on {}", endpoint.local_address());
//!     let exit = oxymoq_tokio::run(endpoint, app)?;
//!     println!("{exit:?}");
//!     Ok(())
//! }
//! ```

mod admission;
mod bell;
mod budget;
mod config;
mod connection;
mod dial;
mod endpoint;
mod ids;
mod reason;
mod serve;
mod slot;
mod socket;
mod timer;

use oxymoq_core::transport::{Application, Exit};
use oxymoq_tls::words;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub use endpoint::Endpoint;
pub use oxymoq_tls::Error;

/// Drives `app` on this thread until it exits.
///
/// SIGINT (Ctrl-C) or SIGTERM tells the application to come to an end; a second one ends at once.
///
/// # Errors
/// If the socket or the runtime fails.
pub fn run<A: Application>(endpoint: Endpoint, app: &mut A) -> Result<Exit, Error> {
    let system = |cause| Error::System {
        what: "starting the runtime",
        cause,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system)?;
    let result = runtime.block_on(async {
        let interrupt = || signal(SignalKind::interrupt()).map_err(system);
        let terminate = || signal(SignalKind::terminate()).map_err(system);
        let mut first = Stop(interrupt()?, terminate()?);
        let mut second = Stop(interrupt()?, terminate()?);
        let work = endpoint.run(app, async move {
            first.received().await;
            words::coming_to_an_end();
        });
        tokio::select! {
            exit = work => exit,
            () = async { second.received().await; second.received().await } => {
                Ok(Exit::Failure("stopped before the work was finished".to_owned()))
            }
        }
    });
    // A name that is still being resolved must not hold up the end.
    runtime.shutdown_background();
    result
}

/// The signals that ask a program to stop.
struct Stop(Signal, Signal);

impl Stop {
    async fn received(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}
