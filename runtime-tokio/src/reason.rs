//! Why a connection ended, in the core's terms and in words for the operator.

use bytes::Bytes;
use oxymoq_core::transport::{Closed, Target};
use oxymoq_tls::words::{self, NO_APPLICATION_PROTOCOL};
use quinn_proto::{ConnectionError, TransportErrorCode};

/// Why an established connection ended.
pub(crate) fn closed(cause: &ConnectionError) -> Closed {
    match cause {
        ConnectionError::ApplicationClosed(close) => Closed::ByPeer {
            code: close.error_code.into_inner(),
            reason: close.reason.clone(),
        },
        ConnectionError::TimedOut => Closed::TimedOut,
        ConnectionError::LocallyClosed => Closed::ByUs,
        ConnectionError::Reset => Closed::Lost(words::peer_forgot()),
        ConnectionError::ConnectionClosed(close) => Closed::Lost(words::peer_gave_up(close)),
        ConnectionError::TransportError(error) => Closed::Lost(words::peer_broke_the_rules(error)),
        ConnectionError::VersionMismatch | ConnectionError::CidsExhausted => {
            Closed::Lost(cause.to_string())
        }
    }
}

/// Why an attempt to connect failed, in one sentence; `refusal` is what TLS has against the server's certificate.
pub(crate) fn of_client(
    cause: &ConnectionError,
    target: &Target,
    refusal: Option<String>,
) -> String {
    if let Some(why) = refusal {
        return words::untrusted(target, why);
    }
    let server = words::server(target);
    if is_no_common_protocol(cause) {
        return words::no_common_protocol(target);
    }
    match cause {
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
        {
            words::refused(target)
        }
        ConnectionError::ConnectionClosed(close) => {
            format!("{server} broke off the handshake: {close}")
        }
        ConnectionError::ApplicationClosed(close) => {
            format!("{server} closed the connection during the handshake: {close}")
        }
        ConnectionError::TransportError(error) => words::handshake_failed(target, error),
        ConnectionError::TimedOut => format!("{server} stopped answering"),
        ConnectionError::VersionMismatch => {
            format!("{server} does not speak QUIC version 1")
        }
        ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => words::handshake_failed(target, cause),
    }
}

/// Why a client's handshake failed, in one sentence.
pub(crate) fn of_server(cause: &ConnectionError, alpns: &[Bytes]) -> String {
    if is_no_common_protocol(cause) {
        return words::client_has_no_common_protocol(alpns);
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
        | ConnectionError::CidsExhausted => words::client_handshake_failed(cause),
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
