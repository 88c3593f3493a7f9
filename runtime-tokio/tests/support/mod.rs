//! Two applications over real sockets of this machine.

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use oxymoq_core::runtime::{ClientSettings, ServerSettings, Settings, Trust};
use oxymoq_core::transport::{Application, Exit};
use oxymoq_tokio::Endpoint;

/// Longer than any test takes: only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

/// A server on a free port of the loopback interface.
pub(crate) fn server_settings() -> Settings {
    let mut server = ServerSettings::new(0, vec!["test".into()]);
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

/// Runs both applications in one thread until both exit, and returns how they did.
pub(crate) fn run_bound(
    server: (Endpoint, &mut impl Application),
    client: (Settings, &mut impl Application),
) -> (Exit, Exit) {
    let client_endpoint = Endpoint::bind(client.0).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let both = async {
        let (server, client) = tokio::join!(
            server.0.run(server.1, pending()),
            client_endpoint.run(client.1, pending())
        );
        (server.unwrap(), client.unwrap())
    };
    runtime.block_on(async { tokio::time::timeout(HANG, both).await.expect("hung") })
}
