//! The runtimes under test, with one face.

use std::net::{Ipv4Addr, SocketAddr};

use oxymoq_core::runtime::{ClientSettings, ServerSettings, Settings, Trust};
use oxymoq_core::transport::{Application, Exit};

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    #[cfg(feature = "tokio")]
    Tokio,
    #[cfg(feature = "smol")]
    Smol,
}

impl Runtime {
    /// A server on a free port of the loopback interface.
    pub(crate) fn server(self) -> Endpoint {
        let mut server = ServerSettings::new(0, vec!["moqt-18".into(), "h3".into()]);
        server.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        self.bind(Settings {
            server: Some(server),
            ..Settings::default()
        })
    }

    /// A client that believes the server's certificate, whatever it is.
    pub(crate) fn client(self) -> Endpoint {
        self.bind(Settings {
            client: ClientSettings {
                trust: Trust::Anyone,
                ..ClientSettings::default()
            },
            ..Settings::default()
        })
    }

    fn bind(self, settings: Settings) -> Endpoint {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio => {
                Endpoint::Tokio(Box::new(oxymoq_tokio::Endpoint::bind(settings).unwrap()))
            }
            #[cfg(feature = "smol")]
            Self::Smol => Endpoint::Smol(Box::new(oxymoq_smol::Endpoint::bind(settings).unwrap())),
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
    /// The port of a server, and its certificate's SHA-256.
    pub(crate) fn server(&self) -> (u16, [u8; 32]) {
        let (address, fingerprint) = match self {
            #[cfg(feature = "tokio")]
            Self::Tokio(endpoint) => (endpoint.local_address(), endpoint.fingerprint()),
            #[cfg(feature = "smol")]
            Self::Smol(endpoint) => (endpoint.local_address(), endpoint.fingerprint()),
        };
        (address.port(), fingerprint.unwrap())
    }

    /// Drives the application on this thread until it exits.
    pub(crate) fn run(self, app: &mut impl Application) -> Exit {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio(endpoint) => oxymoq_tokio::run(*endpoint, app).unwrap(),
            #[cfg(feature = "smol")]
            Self::Smol(endpoint) => oxymoq_smol::run(*endpoint, app).unwrap(),
        }
    }
}
