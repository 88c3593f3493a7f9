//! Why connections and streams ended, in the core's terms.

use bytes::Bytes;
use oxymoq_core::transport::{Closed, Target};
use s2n_quic::connection::Error;
use s2n_quic::provider::event::Location;
use s2n_quic::stream;

/// TLS alerts reach QUIC as transport error codes from here on (RFC 9001 § 4.8).
const TLS_ALERT: u64 = 0x100;
/// TLS alert 120: no application protocol in common (RFC 7301).
const NO_APPLICATION_PROTOCOL: u8 = 120;
/// The server does not want the connection (RFC 9000 § 20.1).
const CONNECTION_REFUSED: u64 = 0x2;

/// Why an established connection ended; `None`: s2n-quic does not tell.
pub(crate) fn closed(error: Option<Error>) -> Closed {
    let Some(error) = error else {
        return Closed::Lost("the connection ended without a reason".to_owned());
    };
    if let Error::Application {
        error, initiator, ..
    } = error
    {
        return if initiator == Location::Local {
            Closed::ByUs
        } else {
            // The peer's words exist, but s2n-quic does not pass them on.
            Closed::ByPeer {
                code: error.into(),
                reason: Bytes::new(),
            }
        };
    }
    if let Error::Closed {
        initiator: Location::Local,
        ..
    } = error
    {
        return Closed::ByUs;
    }
    if let Error::IdleTimerExpired { .. } = error {
        return Closed::TimedOut;
    }
    Closed::Lost(sentence(&error))
}

/// The code with which the peer abandoned a stream.
pub(crate) fn reset_code(error: &stream::Error) -> Option<u64> {
    if let stream::Error::StreamReset { error, .. } = error {
        Some((*error).into())
    } else {
        None
    }
}

/// Why an attempt to connect failed, in one sentence.
pub(crate) fn of_client(cause: &Error, target: &Target) -> String {
    let server = format!("{}, port {}", target.host, target.port);
    let Error::Transport {
        code,
        reason,
        initiator,
        ..
    } = *cause
    else {
        return format!("the handshake with {server} failed: {}", sentence(cause));
    };
    if code.as_u64() == CONNECTION_REFUSED {
        return format!(
            "the server at {server} refused the connection; it may be full, try again later"
        );
    }
    let alert = code
        .as_u64()
        .checked_sub(TLS_ALERT)
        .and_then(|alert| u8::try_from(alert).ok());
    if alert == Some(NO_APPLICATION_PROTOCOL) {
        let offered: Vec<_> = target
            .alpns
            .iter()
            .map(|alpn| alpn.escape_ascii().to_string())
            .collect();
        return format!(
            "the server at {server} speaks none of {}",
            offered.join(", ")
        );
    }
    if initiator == Location::Local && alert.is_some() {
        // rustls has the exact reason, but s2n-quic passes on its alert alone.
        let why = match alert {
            Some(45) => "its certificate has expired or is not valid yet",
            Some(48) => "nobody who is trusted here signed its certificate",
            _ => reason,
        };
        return format!(
            "the server at {server} is not trusted: {why}; trust its certificate or the authority that issued it"
        );
    }
    format!("the handshake with {server} failed: {}", sentence(cause))
}

fn sentence(error: &Error) -> String {
    if let Error::StatelessReset { .. } = error {
        "the peer has forgotten the connection, for instance because it was restarted".to_owned()
    } else if let Error::MaxHandshakeDurationExceeded {
        max_handshake_duration,
        ..
    } = error
    {
        format!("no answer within {max_handshake_duration:?}")
    } else {
        error.to_string()
    }
}
