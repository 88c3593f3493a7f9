//! The core's contract list over real sockets: each runtime with itself and with the other.

use std::any::Any;
use std::net::SocketAddr;

use oxymoq_core::runtime::{Pem, Settings};
use oxymoq_core::sim::contract::{Bench, Differences, Seat, Sockets};
use oxymoq_core::transport::Exit;

use crate::stack::{Stack, run_actors};

/// Streams that a peer of s2n-quic may open from the start.
const STREAMS_OF_SMOL: u64 = 1024;

/// A server and a client.
struct Pair {
    server: Stack,
    client: Stack,
}

impl Bench for Pair {
    fn run(&mut self, server: &Seat, client: &Seat) -> (Exit, Exit) {
        let serving = self.server.bind(server.settings.clone());
        client
            .actor
            .meet("127.0.0.1", serving.local_address().port());
        let calling = self.client.bind(client.settings.clone());
        run_actors((serving, &server.actor), (calling, &client.actor))
    }

    fn differences(&self) -> Differences {
        let fixed_limits = self.server.is_limited();
        Differences {
            least_streams: if fixed_limits { STREAMS_OF_SMOL } else { 0 },
            fixed_limits,
            overruns_windows: self.client.is_limited(),
        }
    }
}

impl Sockets for Pair {
    fn bind(&mut self, settings: Settings) -> Result<(SocketAddr, Box<dyn Any>), String> {
        let endpoint = self.server.try_bind(settings)?;
        Ok((endpoint.local_address(), Box::new(endpoint)))
    }

    fn certificate(&mut self, name: &str) -> (Pem, Pem) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let chain = params.self_signed(&key).unwrap();
        let pem = |origin: &str, text: String| Pem {
            origin: origin.to_owned(),
            content: text.into_bytes(),
        };
        (
            pem("server.pem", chain.pem()),
            pem("server.key", key.serialize_pem()),
        )
    }
}

macro_rules! pairs {
    ($($(#[$build:meta])* $name:ident: $server:ident $client:ident)*) => {
        $(
            $(#[$build])*
            mod $name {
                use super::*;

                oxymoq_core::contract_tests! {
                    sockets: Pair { server: Stack::$server, client: Stack::$client }
                }
            }
        )*
    };
}

pairs! {
    #[cfg(feature = "tokio")]
    tokio_alone: Tokio Tokio
    #[cfg(feature = "smol")]
    smol_alone: Smol Smol
    #[cfg(all(feature = "tokio", feature = "smol"))]
    smol_calls_tokio: Tokio Smol
    #[cfg(all(feature = "tokio", feature = "smol"))]
    tokio_calls_smol: Smol Tokio
}
