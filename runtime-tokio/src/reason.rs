//! Why a connection ended, in the core's terms and in words for the operator.

use bytes::Bytes;
use oxymoq_core::transport::{Closed, Target};
use quinn_proto::{ConnectionError, TransportErrorCode};

/// TLS alert 120: no application protocol in common (RFC 7301).
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// Why an established connection ended.
pub(crate) fn closed(cause: &ConnectionError) -> Closed {
    match cause {
        ConnectionError::ApplicationClosed(close) => Closed::ByPeer {
            code: close.error_code.into_inner(),
            reason: close.reason.clone(),
        },
        ConnectionError::TimedOut => Closed::TimedOut,
        ConnectionError::LocallyClosed => Closed::ByUs,
        ConnectionError::Reset => {
            Closed::Lost("the peer does not know this connection any more".to_owned())
        }
        ConnectionError::ConnectionClosed(close) => {
            Closed::Lost(format!("the peer's transport gave up: {close}"))
        }
        ConnectionError::TransportError(error) => {
            Closed::Lost(format!("the peer broke the rules of QUIC: {error}"))
        }
        ConnectionError::VersionMismatch | ConnectionError::CidsExhausted => {
            Closed::Lost(cause.to_string())
        }
    }
}

/// Why an attempt to connect failed, in one sentence.
pub(crate) fn of_client(cause: &ConnectionError, target: &Target) -> String {
    let server = format!("{}, port {}", target.host, target.port);
    if is_no_common_protocol(cause) {
        return format!(
            "the server at {server} speaks none of {}",
            names(&target.alpns)
        );
    }
    match cause {
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
        {
            format!(
                "the server at {server} refused the connection; it may be full, try again later"
            )
        }
        ConnectionError::ConnectionClosed(close) => {
            format!("the server at {server} broke off the handshake: {close}")
        }
        ConnectionError::ApplicationClosed(close) => {
            format!("the server at {server} closed the connection during the handshake: {close}")
        }
        ConnectionError::TransportError(error) if error.reason.contains("certificate") => format!(
            "the server at {server} is not trusted: {}; trust its certificate or the authority that issued it",
            error.reason
        ),
        ConnectionError::TransportError(error) => {
            format!("the handshake with {server} failed: {error}")
        }
        ConnectionError::TimedOut => format!("the server at {server} stopped answering"),
        ConnectionError::VersionMismatch => {
            format!("the server at {server} does not speak QUIC version 1")
        }
        ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => {
            format!("the connection to {server} failed: {cause}")
        }
    }
}

/// Why a client's handshake failed, in one sentence.
pub(crate) fn of_server(cause: &ConnectionError, alpns: &[Bytes]) -> String {
    if is_no_common_protocol(cause) {
        return format!("the client offers none of {}", names(alpns));
    }
    match cause {
        ConnectionError::ConnectionClosed(close) => {
            format!("the client broke off the handshake: {close}")
        }
        ConnectionError::ApplicationClosed(close) => {
            format!("the client closed the connection during the handshake: {close}")
        }
        ConnectionError::TimedOut => "the client stopped answering during the handshake".to_owned(),
        ConnectionError::TransportError(_)
        | ConnectionError::VersionMismatch
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => format!("the handshake failed: {cause}"),
    }
}

fn is_no_common_protocol(cause: &ConnectionError) -> bool {
    let alert = TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL);
    match cause {
        ConnectionError::ConnectionClosed(close) => close.error_code == alert,
        ConnectionError::TransportError(error) => error.code == alert,
        ConnectionError::VersionMismatch
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => false,
    }
}

fn names(alpns: &[Bytes]) -> String {
    let names: Vec<String> = alpns
        .iter()
        .map(|alpn| alpn.escape_ascii().to_string())
        .collect();
    names.join(", ")
}
