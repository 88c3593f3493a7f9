//! Why connections and streams ended, in the core's terms.

use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::transport::{Closed, Target};
use oxymoq_tls::words::{self, NO_APPLICATION_PROTOCOL};
use s2n_quic::connection::Error;
use s2n_quic::provider::connection_close_formatter::{
    self as formatter, ConnectionClose, Formatter, Production,
};
use s2n_quic::provider::event::Location;
use s2n_quic::{application, stream};
use s2n_quic_core::transport;

use crate::door::Ended;

/// TLS alerts reach QUIC as transport error codes from here on (RFC 9001 § 4.8).
const TLS_ALERT: u64 = 0x100;
/// By how much s2n-quic's deadlines may be early.
const ROUNDING: Duration = Duration::from_millis(20);
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

/// Whether it is not the stream that is over but the connection, which is told elsewhere.
pub(crate) const fn is_of_connection(error: &stream::Error) -> bool {
    matches!(error, stream::Error::ConnectionError { .. })
}

/// The code with which the peer abandoned a stream.
pub(crate) fn reset_code(error: &stream::Error) -> Option<u64> {
    if let stream::Error::StreamReset { error, .. } = error {
        Some((*error).into())
    } else {
        None
    }
}

/// Why an attempt to connect failed, in one sentence; `refusal` is what TLS has against the server's certificate.
/// `None`: nobody answered.
pub(crate) fn of_client(cause: &Error, target: &Target, refusal: Option<String>) -> Option<String> {
    if let Some(why) = refusal {
        return Some(words::untrusted(target, why));
    }
    if let Error::MaxHandshakeDurationExceeded { .. } = cause {
        return None;
    }
    Some(sentence_of_client(cause, target))
}

fn sentence_of_client(cause: &Error, target: &Target) -> String {
    let Error::Transport { code, .. } = *cause else {
        return words::handshake_failed(target, sentence(cause));
    };
    if code.as_u64() == CONNECTION_REFUSED {
        return words::refused(target);
    }
    if alert(code.as_u64()) == Some(NO_APPLICATION_PROTOCOL) {
        return words::no_common_protocol(target);
    }
    words::handshake_failed(target, sentence(cause))
}

/// Why a client's handshake failed, in one sentence.
pub(crate) fn of_server(ended: &Ended, timeout: Duration, alpns: &[Bytes]) -> String {
    match ended.cause {
        Some(cause) if alert(cause.code.as_u64()) == Some(NO_APPLICATION_PROTOCOL) => {
            words::client_has_no_common_protocol(alpns)
        }
        Some(cause) => words::client_handshake_failed(cause),
        None if ended.after + ROUNDING >= timeout => {
            "the client did not finish its handshake in time".to_owned()
        }
        None => "the client broke off the handshake".to_owned(),
    }
}

fn alert(code: u64) -> Option<u8> {
    u8::try_from(code.checked_sub(TLS_ALERT)?).ok()
}

fn sentence(error: &Error) -> String {
    if let Error::StatelessReset { .. } = error {
        words::peer_forgot()
    } else if let Error::Transport {
        code,
        reason,
        initiator,
        ..
    } = *error
    {
        let mut what = transport::Error::new(code.as_varint());
        what.reason = reason;
        if initiator == Location::Local {
            words::peer_broke_the_rules(what)
        } else {
            words::peer_gave_up(what)
        }
    } else {
        error.to_string()
    }
}

/// Writes the last frame of a connection: TLS alerts as they are, everything else as s2n-quic does by itself.
#[derive(Debug)]
pub(crate) struct Frank;

impl Formatter for Frank {
    fn format_transport_error(
        &self,
        context: &formatter::Context<'_>,
        error: transport::Error,
    ) -> ConnectionClose<'_> {
        if error.try_into_tls_error().is_some() {
            return transport::Error::new(error.code.as_varint()).into();
        }
        Production.format_transport_error(context, error)
    }

    fn format_application_error(
        &self,
        context: &formatter::Context<'_>,
        error: application::Error,
    ) -> ConnectionClose<'_> {
        Production.format_application_error(context, error)
    }

    fn format_early_transport_error(
        &self,
        context: &formatter::Context<'_>,
        error: transport::Error,
    ) -> ConnectionClose<'_> {
        self.format_transport_error(context, error)
    }

    fn format_early_application_error(
        &self,
        context: &formatter::Context<'_>,
        error: application::Error,
    ) -> ConnectionClose<'_> {
        Production.format_early_application_error(context, error)
    }
}
