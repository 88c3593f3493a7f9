//! The settings that every adapter understands: addresses, certificates, trust and the limits of the transport.
//!
//! Plain data: nothing here reads a file, resolves a name or knows a TLS library. A program fills in [`Settings`] once and
//! hands it to whichever adapter it was built with, so that all adapters are configured alike.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

/// What an adapter's endpoint is to be: a server, a client, or both on one UDP socket.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Accept connections. Without it the endpoint only connects, from a port that the system picks.
    pub server: Option<ServerSettings>,
    /// Trust and patience for outgoing connections. Without it they use [`ClientSettings::default`].
    pub client: ClientSettings,
    /// How connections behave, whoever opened them.
    pub transport: TransportSettings,
}

/// The accepting side of an endpoint.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Local UDP address; port 0 lets the system pick one.
    ///
    /// The unspecified IPv6 address `[::]` serves IPv4 and IPv6 on one socket. On a machine without IPv6 it falls back to
    /// `0.0.0.0`.
    pub listen: SocketAddr,
    /// What the server proves its identity with.
    pub certificate: Certificate,
    /// Application protocols that the server speaks, most wanted first: **its** order decides, not the client's.
    pub alpns: Vec<Bytes>,
}

impl ServerSettings {
    /// A server on this port of every local address, with a certificate made in memory.
    pub fn new(port: u16, alpns: Vec<Bytes>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
            certificate: Certificate::SelfSigned,
            alpns,
        }
    }
}

/// What a server proves its identity with.
#[derive(Clone, Debug)]
pub enum Certificate {
    /// A certificate and its private key, as files hold them.
    Pem {
        /// The server's certificate, followed by the certificates that issued it.
        chain: Pem,
        /// The private key of the first certificate: PKCS#8, SEC1 or PKCS#1.
        key: Pem,
    },
    /// Make one in memory: ECDSA P-256, valid from a day ago for 13 days in all, for `localhost`, `127.0.0.1` and `::1`.
    ///
    /// That is short enough for browsers to accept it by its SHA-256 fingerprint alone.
    SelfSigned,
}

/// The content of a PEM file, and what error messages call it.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// Where it came from, usually the file's name; used in error messages only.
    pub origin: String,
    /// The text. Its `Debug` form is left out, as it may be a private key.
    pub content: Vec<u8>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// The connecting side of an endpoint.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Which servers to believe.
    pub trust: Trust,
    /// How long resolving the name, trying its addresses and the handshake may take together. Default: 10 s, enough for a
    /// far server on a path that drops the first packets, while a mistyped address is noticed soon.
    pub connect_timeout: Duration,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            trust: Trust::default(),
            connect_timeout: Duration::from_secs(10),
        }
    }
}

/// Which servers a client believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Servers with a valid certificate for the host's name that one of these issued or is.
    Certificates {
        /// The certificate authorities that the operating system trusts.
        system: bool,
        /// Further certificates. Each counts as an authority, and as the exact certificate of a server: a self-signed one is
        /// enough, whether or not it may sign others. Its names and dates are checked all the same.
        extra: Vec<Pem>,
    },
    /// Whoever answers. For tests on one machine: an attacker on the path is believed too.
    Anyone,
}

impl Default for Trust {
    /// The authorities of the operating system.
    fn default() -> Self {
        Self::Certificates {
            system: true,
            extra: Vec::new(),
        }
    }
}

/// Which algorithm decides how fast to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Congestion {
    /// CUBIC (RFC 9438): slows down on loss.
    #[default]
    Cubic,
    /// BBR: models rate and delay of the path; keeps going on paths that lose packets for other reasons than load.
    Bbr,
}

/// How connections behave and what they may cost. Every limit is per connection unless its text says otherwise.
///
/// Units, defaults and the reason for each: [`limits`](crate::limits).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportSettings {
    /// Give up on a peer from which nothing arrived for this long.
    pub idle_timeout: Duration,
    /// Send something after this much silence, so that the idle timeout is not reached; zero: never.
    pub keep_alive: Duration,
    /// Which algorithm decides how fast to send.
    pub congestion: Congestion,
    /// Unidirectional streams that a peer may have open at once, until [`Output::AllowStreams`] allows more.
    ///
    /// Adapters whose stack cannot raise it later use 1024 from the start instead if this is lower.
    ///
    /// [`Output::AllowStreams`]: crate::transport::Output::AllowStreams
    pub max_uni_streams: u64,
    /// Bidirectional streams that a peer may have open at once, until [`Output::AllowStreams`] allows more.
    ///
    /// Adapters whose stack cannot raise it later use 1024 from the start instead if this is lower.
    ///
    /// [`Output::AllowStreams`]: crate::transport::Output::AllowStreams
    pub max_bidi_streams: u64,
    /// Bytes that an accepted connection may have sent and this side not yet read, over all its streams, until
    /// [`Output::ReceiveWindow`] allows more, if the adapter's stack can.
    ///
    /// [`Output::ReceiveWindow`]: crate::transport::Output::ReceiveWindow
    pub receive_window: u64,
    /// The same for connections that this side opened; and what a relay allows those who publish to it.
    pub publisher_window: u64,
    /// Bytes that a peer may have sent and this side not yet read on one stream. The window of the connection counts as well.
    pub stream_window: u64,
    /// Bytes handed to the transport and not yet acknowledged, whatever the congestion window would allow.
    pub max_unacked: u64,
    /// Hold data back until the congestion window has room for it or soon will, so that something more urgent can still
    /// overtake it. Without this only `max_unacked` bounds what is handed to the transport: to measure what it is worth.
    pub write_late: bool,
    /// Bytes of received datagrams that wait to be handed to the application; the oldest are dropped beyond it.
    pub datagram_receive_buffer: usize,
    /// Bytes of datagrams that wait to be sent; beyond it the application is told to wait.
    pub datagram_send_buffer: usize,
    /// A client that has not finished its handshake after this time is given up.
    pub handshake_timeout: Duration,
    /// While more handshakes than this are under way, clients must prove their address with a Retry first.
    pub retry_above: usize,
    /// While more handshakes than this are under way, clients are refused.
    pub max_handshakes: usize,
    /// Size of the UDP socket's buffers, each way. The system may grant less.
    pub socket_buffer: usize,
    /// Hand several packets to the network card in one call, where the system can.
    pub gso: bool,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(10),
            congestion: Congestion::Cubic,
            max_uni_streams: 64,
            max_bidi_streams: 32,
            receive_window: 256 << 10,
            publisher_window: 8 << 20,
            stream_window: 512 << 10,
            max_unacked: 4 << 20,
            write_late: true,
            datagram_receive_buffer: 256 << 10,
            datagram_send_buffer: 64 << 10,
            handshake_timeout: Duration::from_secs(10),
            retry_above: 100,
            max_handshakes: 1000,
            socket_buffer: 4 << 20,
            gso: true,
        }
    }
}

impl TransportSettings {
    /// How many streams of a publisher may be left unread while half of its window is for the rest; at least 1.
    pub fn pausable_streams(&self) -> usize {
        let half = self.publisher_window.max(self.receive_window) / 2;
        let streams = half.checked_div(self.stream_window).unwrap_or(u64::MAX);
        usize::try_from(streams).unwrap_or(usize::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_key_is_not_printed() {
        let key = Pem {
            origin: "server.key".to_owned(),
            content: b"SECRET".to_vec(),
        };
        let certificate = Certificate::Pem {
            chain: key.clone(),
            key,
        };
        let text = format!("{certificate:?}");
        assert!(text.contains("server.key"), "{text}");
        assert!(
            !text.contains("SECRET") && !text.contains("83, 69"),
            "{text}"
        );
    }

    #[test]
    fn server_listens_on_every_address_unless_told() {
        let server = ServerSettings::new(4433, vec![Bytes::from_static(b"moqt-18")]);
        assert_eq!(server.listen.to_string(), "[::]:4433");
        assert!(matches!(server.certificate, Certificate::SelfSigned));
    }

    #[test]
    fn as_many_streams_may_be_paused_as_leave_half_of_the_window() {
        let transport = TransportSettings::default();
        let paused = crate::session::Limits::default().max_paused_streams;
        assert_eq!(transport.pausable_streams(), paused);
        let narrow = TransportSettings {
            publisher_window: 1,
            receive_window: 1,
            ..transport
        };
        assert_eq!(narrow.pausable_streams(), 1);
    }

    #[test]
    fn keep_alive_survives_two_losses_before_the_idle_timeout() {
        let transport = TransportSettings::default();
        assert!(transport.keep_alive * 3 <= transport.idle_timeout);
    }
}
