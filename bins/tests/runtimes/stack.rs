//! The runtimes under test with one face, any two of which run in one thread.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::runtime::{ClientSettings, ServerSettings, Settings, Trust};
use oxymoq_core::sim::contract::Actor;
use oxymoq_core::transport::{Application, Exit};

/// Longer than any test takes: only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

/// A QUIC stack with its executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stack {
    #[cfg(feature = "tokio")]
    Tokio,
    #[cfg(feature = "smol")]
    Smol,
}

impl Stack {
    /// All that this package was built with.
    pub(crate) const ALL: &[Self] = &[
        #[cfg(feature = "tokio")]
        Self::Tokio,
        #[cfg(feature = "smol")]
        Self::Smol,
    ];

    /// Every server with every client.
    pub(crate) fn pairs() -> impl Iterator<Item = (Self, Self)> {
        let clients = |server: Self| Self::ALL.iter().map(move |client| (server, *client));
        Self::ALL.iter().copied().flat_map(clients)
    }

    /// An endpoint that these settings describe.
    pub(crate) fn bind(self, settings: Settings) -> Endpoint {
        self.try_bind(settings).unwrap()
    }

    /// The same; the error is for the operator.
    pub(crate) fn try_bind(self, settings: Settings) -> Result<Endpoint, String> {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio => oxymoq_tokio::Endpoint::bind(settings)
                .map(|endpoint| Endpoint::Tokio(Box::new(endpoint)))
                .map_err(|error| error.to_string()),
            #[cfg(feature = "smol")]
            Self::Smol => oxymoq_smol::Endpoint::bind(settings)
                .map(|endpoint| Endpoint::Smol(Box::new(endpoint)))
                .map_err(|error| error.to_string()),
        }
    }

    /// A server of so many shards.
    pub(crate) fn bind_shards(self, settings: Settings, shards: u8) -> Vec<Endpoint> {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio => oxymoq_tokio::Endpoint::bind_shards(settings, shards)
                .unwrap()
                .into_iter()
                .map(|endpoint| Endpoint::Tokio(Box::new(endpoint)))
                .collect(),
            #[cfg(feature = "smol")]
            Self::Smol => oxymoq_smol::Endpoint::bind_shards(settings, shards)
                .unwrap()
                .into_iter()
                .map(|endpoint| Endpoint::Smol(Box::new(endpoint)))
                .collect(),
        }
    }

    /// In what it differs from what the contract's list takes for granted.
    pub(crate) const fn is_limited(self) -> bool {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio => false,
            #[cfg(feature = "smol")]
            Self::Smol => true,
        }
    }
}

/// A bound endpoint.
pub(crate) enum Endpoint {
    #[cfg(feature = "tokio")]
    Tokio(Box<oxymoq_tokio::Endpoint>),
    #[cfg(feature = "smol")]
    Smol(Box<oxymoq_smol::Endpoint>),
}

impl Endpoint {
    /// Where a server listens.
    pub(crate) fn local_address(&self) -> SocketAddr {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio(endpoint) => endpoint.local_address(),
            #[cfg(feature = "smol")]
            Self::Smol(endpoint) => endpoint.local_address(),
        }
    }

    /// Drives the application until it exits; must be polled within [`block_on`].
    pub(crate) async fn run(
        self,
        application: &mut impl Application,
        shutdown: impl Future<Output = ()>,
    ) -> Exit {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio(endpoint) => endpoint.run(application, shutdown).await.unwrap(),
            #[cfg(feature = "smol")]
            Self::Smol(endpoint) => endpoint.run(application, shutdown).await.unwrap(),
        }
    }

    /// Whether [`block_on`] must be told so.
    pub(crate) const fn needs_tokio(&self) -> bool {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio(_) => true,
            #[cfg(feature = "smol")]
            Self::Smol(_) => false,
        }
    }
}

/// A server on a free port of the loopback interface.
pub(crate) fn server_settings(alpns: Vec<Bytes>) -> Settings {
    let mut server = ServerSettings::new(0, alpns);
    server.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Settings {
        server: Some(server),
        ..Settings::default()
    }
}

/// A client that believes the server's certificate, whatever it is.
pub(crate) fn client_settings() -> Settings {
    Settings {
        client: ClientSettings {
            trust: Trust::Anyone,
            ..ClientSettings::default()
        },
        ..Settings::default()
    }
}

/// Runs both applications in this thread until both exit, as the contract list wants it: see
/// [`Bench::run`](oxymoq_core::sim::contract::Bench::run).
pub(crate) fn run_actors(server: (Endpoint, &Actor), client: (Endpoint, &Actor)) -> (Exit, Exit) {
    let needs_tokio = server.0.needs_tokio() || client.0.needs_tokio();
    let [server_ended, client_ended] = [Cell::new(false), Cell::new(false)];
    let asked = poll_fn(|_| ready_if(client_ended.get() || server.1.is_to_end()));
    let told = poll_fn(|_| ready_if(client.1.is_to_end()));
    let serving = act(server.0, server.1, asked, &server_ended, &client_ended);
    let calling = act(client.0, client.1, told, &client_ended, &server_ended);
    block_on(needs_tokio, smol::future::zip(serving, calling))
}

/// Runs one, unless it is held and the other has not ended.
async fn act(
    endpoint: Endpoint,
    actor: &Actor,
    shutdown: impl Future<Output = ()>,
    ended: &Cell<bool>,
    other_ended: &Cell<bool>,
) -> Exit {
    let mut application = actor.clone();
    let mut run = pin!(endpoint.run(&mut application, shutdown));
    let exit = poll_fn(|cx| {
        if other_ended.get() {
            actor.release();
        }
        if actor.is_held() {
            return Poll::Pending;
        }
        run.as_mut().poll(cx)
    });
    let exit = exit.await;
    ended.set(true);
    // The other one, which shares this task, looks at that.
    smol::future::yield_now().await;
    exit
}

fn ready_if(is_ready: bool) -> Poll<()> {
    if is_ready {
        Poll::Ready(())
    } else {
        Poll::Pending
    }
}

/// Waits for the future on an executor that both of its endpoints can work on, or panics when a test hangs.
pub(crate) fn block_on<T>(needs_tokio: bool, future: impl Future<Output = T>) -> T {
    let hang = async {
        smol::Timer::after(HANG).await;
        panic!("the test hangs");
    };
    let future = smol::future::or(future, hang);
    if !needs_tokio {
        return smol::block_on(future);
    }
    // An endpoint on smol does not mind: its reactor has a thread of its own then.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            #[cfg(feature = "tokio")]
            Self::Tokio => "tokio",
            #[cfg(feature = "smol")]
            Self::Smol => "smol",
        })
    }
}
