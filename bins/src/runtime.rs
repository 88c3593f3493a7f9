//! Which QUIC stack and executor a program runs on.

use std::net::SocketAddr;
use std::task::Waker;

use clap::ValueEnum;
use oxymoq_core::runtime::{Certificate, Settings, TransportSettings};
use oxymoq_core::transport::{Application, Exit};

use crate::shards::run_threads;

#[cfg(not(any(feature = "tokio", feature = "smol")))]
compile_error!("choose a runtime: build with the feature `tokio`, the feature `smol`, or both");

/// The most threads that [`serve_threads`] divides clients among.
pub const MAX_THREADS: u8 = oxymoq_tls::Shard::MAX;

/// The runtimes that this program was built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// quinn-proto on tokio
    #[cfg(feature = "tokio")]
    Tokio,
    /// s2n-quic on smol
    #[cfg(feature = "smol")]
    Smol,
}

impl Default for Runtime {
    fn default() -> Self {
        #[cfg(feature = "tokio")]
        return Self::Tokio;
        #[cfg(not(feature = "tokio"))]
        return Self::Smol;
    }
}

impl Runtime {
    /// What a relay should be run with unless it is told otherwise, given what holds for all.
    ///
    /// Windows stay as they are with s2n-quic, so subscribers and publishers get the same: less than is good for those, and
    /// more than is needed for these.
    #[must_use]
    pub fn prepare(self, transport: TransportSettings) -> TransportSettings {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio => transport,
            #[cfg(feature = "smol")]
            Self::Smol => TransportSettings {
                receive_window: 512 << 10,
                stream_window: 256 << 10,
                ..transport
            },
        }
    }

    /// What connections may cost with these settings: a window that cannot be raised is the widest.
    #[must_use]
    pub fn costs(self, transport: &TransportSettings) -> TransportSettings {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio => transport.clone(),
            #[cfg(feature = "smol")]
            Self::Smol => TransportSettings {
                publisher_window: transport.receive_window,
                max_uni_streams: transport.max_uni_streams.max(SMOL_STREAMS),
                max_bidi_streams: transport.max_bidi_streams.max(SMOL_STREAMS),
                ..transport.clone()
            },
        }
    }
}

/// Streams of each kind that s2n-quic lets a peer open from the start, see [`oxymoq_smol`].
#[cfg(feature = "smol")]
const SMOL_STREAMS: u64 = 1024;

/// A program's socket, ready to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The UDP address in use.
    pub address: SocketAddr,
    /// SHA-256 of the certificate in hexadecimal, if it was made in memory.
    pub fingerprint: Option<String>,
    /// SHA-256 of the server's certificate in hexadecimal, wherever it came from.
    pub certificate: Option<String>,
}

/// Runs a client until its work is over.
///
/// # Errors
///
/// A sentence that says what the system or the settings did not allow.
pub fn run(
    runtime: Runtime,
    settings: Settings,
    application: impl Application,
) -> Result<Exit, String> {
    run_with(runtime, settings, |_bell| application)
}

/// Runs a client that other threads want to wake, see [`Application::handle_wake`], until its work is over.
///
/// # Errors
///
/// A sentence that says what the system or the settings did not allow.
pub fn run_with<A: Application>(
    runtime: Runtime,
    settings: Settings,
    application: impl FnOnce(Waker) -> A,
) -> Result<Exit, String> {
    launch(runtime, settings, application, |_| Ok(()))
}

/// Runs a server until it is told to stop; `announce` is called once its socket is bound, and may fail.
///
/// # Errors
///
/// A sentence that says what the system or the settings did not allow.
pub fn serve(
    runtime: Runtime,
    settings: Settings,
    application: impl Application,
    announce: impl FnOnce(&Bound) -> Result<(), String>,
) -> Result<Exit, String> {
    launch(runtime, settings, |_bell| application, announce)
}

/// Runs a server on so many threads until it is told to stop; `applications` makes one for each of these wakers, whose number
/// is smaller where the system cannot divide clients among threads. `announce` as with [`serve`].
///
/// # Errors
///
/// A sentence that says what the system or the settings did not allow, or which thread failed.
pub fn serve_threads<A: Application + Send + 'static>(
    runtime: Runtime,
    settings: Settings,
    threads: u8,
    applications: impl FnOnce(&[Waker]) -> Vec<A>,
    announce: impl FnOnce(&Bound) -> Result<(), String>,
) -> Result<Exit, String> {
    let is_self_signed = is_self_signed(&settings);
    let endpoints = Endpoint::bind(runtime, settings, threads)?;
    if let Some(endpoint) = endpoints.first() {
        announce(&endpoint.bound(is_self_signed))?;
    }
    let wakers: Vec<Waker> = endpoints.iter().map(Endpoint::waker).collect();
    log::info!("serving on {} threads", wakers.len());
    let mut shards = endpoints.into_iter().zip(applications(&wakers));
    if wakers.len() == 1
        && let Some((endpoint, mut application)) = shards.next()
    {
        return endpoint.run(&mut application);
    }
    run_threads(shards.map(|(endpoint, mut application)| move || endpoint.run(&mut application)))
}

fn launch<A: Application>(
    runtime: Runtime,
    settings: Settings,
    application: impl FnOnce(Waker) -> A,
    announce: impl FnOnce(&Bound) -> Result<(), String>,
) -> Result<Exit, String> {
    let is_self_signed = is_self_signed(&settings);
    let endpoint = Endpoint::bind(runtime, settings, 1)?.pop();
    let endpoint = endpoint.ok_or("no socket was opened")?;
    announce(&endpoint.bound(is_self_signed))?;
    let mut application = application(endpoint.waker());
    endpoint.run(&mut application)
}

fn is_self_signed(settings: &Settings) -> bool {
    let server = settings.server.as_ref();
    server.is_some_and(|server| matches!(server.certificate, Certificate::SelfSigned))
}

/// A bound endpoint of either runtime.
enum Endpoint {
    #[cfg(feature = "tokio")]
    Tokio(Box<oxymoq_tokio::Endpoint>),
    #[cfg(feature = "smol")]
    Smol(Box<oxymoq_smol::Endpoint>),
}

impl Endpoint {
    fn bind(runtime: Runtime, settings: Settings, shards: u8) -> Result<Vec<Self>, String> {
        match runtime {
            #[cfg(feature = "tokio")]
            Runtime::Tokio => oxymoq_tokio::Endpoint::bind_shards(settings, shards)
                .map(|all| all.into_iter().map(Box::new).map(Self::Tokio).collect())
                .map_err(|error| error.to_string()),
            #[cfg(feature = "smol")]
            Runtime::Smol => oxymoq_smol::Endpoint::bind_shards(settings, shards)
                .map(|all| all.into_iter().map(Box::new).map(Self::Smol).collect())
                .map_err(|error| error.to_string()),
        }
    }

    fn bound(&self, is_self_signed: bool) -> Bound {
        let (address, certificate) = match self {
            #[cfg(feature = "tokio")]
            Self::Tokio(endpoint) => (endpoint.local_address(), endpoint.fingerprint()),
            #[cfg(feature = "smol")]
            Self::Smol(endpoint) => (endpoint.local_address(), endpoint.fingerprint()),
        };
        let certificate = certificate.map(hexadecimal);
        Bound {
            address,
            fingerprint: certificate.clone().filter(|_| is_self_signed),
            certificate,
        }
    }

    fn waker(&self) -> Waker {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio(endpoint) => endpoint.waker(),
            #[cfg(feature = "smol")]
            Self::Smol(endpoint) => endpoint.waker(),
        }
    }

    fn run(self, application: &mut impl Application) -> Result<Exit, String> {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio(endpoint) => oxymoq_tokio::run(*endpoint, application),
            #[cfg(feature = "smol")]
            Self::Smol(endpoint) => oxymoq_smol::run(*endpoint, application),
        }
        .map_err(|error| error.to_string())
    }
}

fn hexadecimal(bytes: [u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
