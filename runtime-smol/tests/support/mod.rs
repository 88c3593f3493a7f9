//! Two applications over real sockets of this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use oxymoq_core::runtime::{ClientSettings, ServerSettings, Settings, Trust};
use oxymoq_smol::Endpoint;

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
pub(crate) fn within_a_minute<T>(future: impl Future<Output = T>) -> T {
    let hang = async {
        async_io::Timer::after(HANG).await;
        panic!("the test hangs");
    };
    async_io::block_on(smol::future::or(future, hang))
}

pub(crate) async fn never() {
    std::future::pending::<()>().await;
}

/// An endpoint that these settings describe.
pub(crate) fn bind(settings: Settings) -> Endpoint {
    Endpoint::bind(settings).unwrap()
}
