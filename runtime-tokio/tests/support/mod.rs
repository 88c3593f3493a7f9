//! Endpoints on this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use oxymoq_core::runtime::{ClientSettings, ServerSettings, Settings, Trust};

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

/// Completes with the future, or panics when a test hangs.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(HANG, future).await.expect("hung") })
}
