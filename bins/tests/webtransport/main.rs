//! WebTransport against other people's: the crates `web-transport-quinn` and `wtransport`, each as client and as server,
//! on both runtimes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else a library reports is a failure"
)]

mod machine;
mod ours;
mod quinn_peer;
mod runtime;
mod scenario;
mod script;
mod session;
mod wtransport_peer;

use quinn_peer::WebTransportQuinn;
use runtime::Runtime;
use script::Closer;
use wtransport_peer::WTransport;

/// All scenarios with one library, and those named that it alone can take part in.
macro_rules! with_library {
    ($name:ident, $library:ty, $runtime:expr $(, $own:ident)*) => {
        mod $name {
            use super::*;

            #[test]
            fn session_with_our_server_that_the_client_closes() {
                scenario::session_with_our_server::<$library>($runtime, Closer::Client);
            }

            #[test]
            fn session_with_our_server_that_the_server_closes() {
                scenario::session_with_our_server::<$library>($runtime, Closer::Server);
            }

            #[test]
            fn session_with_our_client_that_the_client_closes() {
                scenario::session_with_our_client::<$library>($runtime, Closer::Client);
            }

            #[test]
            fn session_with_our_client_that_the_server_closes() {
                scenario::session_with_our_client::<$library>($runtime, Closer::Server);
            }

            with_library!(@each $library, $runtime,
                our_server_speaks_its_default_with_a_client_that_offers_nothing
                our_server_does_not_have_other_paths
                our_server_refuses_a_client_without_a_common_protocol
                our_client_tells_that_a_path_is_not_there
                our_client_refuses_a_server_that_chooses_nothing
                $($own)*
            );
        }
    };
    (@each $library:ty, $runtime:expr, $($scenario:ident)*) => {
        $(
            #[test]
            fn $scenario() {
                scenario::$scenario::<$library>($runtime);
            }
        )*
    };
}

#[cfg(feature = "tokio")]
mod tokio_runtime {
    use super::*;

    with_library!(web_transport_quinn, WebTransportQuinn, Runtime::Tokio);
    with_library!(
        wtransport,
        WTransport,
        Runtime::Tokio,
        our_client_refuses_a_protocol_that_it_did_not_offer
    );
}

#[cfg(feature = "smol")]
mod smol_runtime {
    use super::*;

    with_library!(web_transport_quinn, WebTransportQuinn, Runtime::Smol);
    with_library!(
        wtransport,
        WTransport,
        Runtime::Smol,
        our_client_refuses_a_protocol_that_it_did_not_offer
    );
}
