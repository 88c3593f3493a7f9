//! Why a connection could not be made, in one sentence that names what was tried and what to do next.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use log::info;
use oxymoq_core::transport::Target;

/// TLS alert 120: no application protocol in common (RFC 7301). [`no_common_protocol`] says so.
pub const NO_APPLICATION_PROTOCOL: u8 = 120;

/// Somebody asked the program to come to an end. Each thread notices; one says so.
pub fn coming_to_an_end() {
    static SAID: Once = Once::new();
    SAID.call_once(|| info!("coming to an end; once more to stop at once"));
}

/// A server, as the sentences call it.
pub fn server(target: &Target) -> String {
    format!("the server at {}, port {}", target.host, target.port)
}

/// What was to be resolved is no name that a host can have.
pub fn no_host_name(host: &str) -> String {
    unresolved(host, "it is not a host name")
}

/// The host's name leads nowhere.
pub fn unresolved(host: &str, cause: impl Display) -> String {
    format!("the name {host} cannot be resolved ({cause}); check its spelling and the network")
}

/// Time ran out before the host's name led anywhere.
pub fn unresolved_in_time(host: &str, timeout: Duration) -> String {
    format!("the name {host} was not resolved within {timeout:?}; check the network")
}

/// Time ran out and none of the addresses answered.
pub fn no_answer(target: &Target, tried: &[SocketAddr], timeout: Duration) -> String {
    let tried: Vec<String> = tried.iter().map(SocketAddr::to_string).collect();
    format!(
        "no answer from {}, port {} ({}) within {timeout:?}; check that a server listens there and that UDP gets through",
        target.host,
        target.port,
        tried.join(", ")
    )
}

/// The server has no room.
pub fn refused(target: &Target) -> String {
    format!(
        "{} refused the connection; it may be full, try again later",
        server(target)
    )
}

/// The server speaks nothing of what was offered.
pub fn no_common_protocol(target: &Target) -> String {
    format!("{} speaks none of {}", server(target), names(&target.alpns))
}

/// The server's certificate is not believed.
pub fn untrusted(target: &Target, why: impl Display) -> String {
    format!(
        "{} is not trusted: {why}; trust its certificate or the authority that issued it",
        server(target)
    )
}

/// The handshake with a server failed for another reason.
pub fn handshake_failed(target: &Target, why: impl Display) -> String {
    format!(
        "the handshake with {}, port {} failed: {why}",
        target.host, target.port
    )
}

/// A client offers nothing of what this server speaks.
pub fn client_has_no_common_protocol(alpns: &[Bytes]) -> String {
    format!("the client offers none of {}", names(alpns))
}

/// A client's handshake failed because of what it did.
pub fn client_handshake_failed(why: impl Display) -> String {
    format!("the handshake failed: {why}")
}

/// The peer's QUIC stack ended an established connection.
pub fn peer_gave_up(why: impl Display) -> String {
    format!("the peer's transport gave up: {why}")
}

/// This side's QUIC stack ended an established connection.
pub fn peer_broke_the_rules(why: impl Display) -> String {
    format!("the peer broke the rules of QUIC: {why}")
}

/// The peer answered with a stateless reset.
pub fn peer_forgot() -> String {
    "the peer has forgotten the connection, for instance because it was restarted".to_owned()
}

fn names(alpns: &[Bytes]) -> String {
    let names: Vec<String> = alpns
        .iter()
        .map(|alpn| alpn.escape_ascii().to_string())
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            host: "example.org".to_owned(),
            port: 4433,
            alpns: vec!["moqt-18".into(), Bytes::from_static(b"x\n\xff")],
        }
    }

    #[test]
    fn protocols_are_named_and_whatever_does_not_print_is_escaped() {
        assert_eq!(
            no_common_protocol(&target()),
            "the server at example.org, port 4433 speaks none of moqt-18, x\\n\\xff"
        );
        assert_eq!(
            client_has_no_common_protocol(&target().alpns),
            "the client offers none of moqt-18, x\\n\\xff"
        );
    }

    #[test]
    fn all_addresses_that_were_tried_are_named() {
        let tried = ["[::1]:4433", "127.0.0.1:4433"].map(|address| address.parse().unwrap());
        assert_eq!(
            no_answer(&target(), &tried, Duration::from_millis(1500)),
            "no answer from example.org, port 4433 ([::1]:4433, 127.0.0.1:4433) within 1.5s; check that a server \
             listens there and that UDP gets through"
        );
    }
}
