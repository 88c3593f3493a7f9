//! s2n-quic as this crate sets it up: limits, address validation, congestion control.

use std::sync::Arc;
use std::time::Duration;

use oxymoq_core::runtime::{Congestion, TransportSettings};
use oxymoq_tls::{Handshakes, Shard};
use s2n_quic::provider::congestion_controller::{Bbr, Cubic};
use s2n_quic::provider::endpoint_limits::{ConnectionAttempt, Limiter, Outcome};
use s2n_quic::provider::limits::Limits;
use s2n_quic::provider::tls::rustls as quic_tls;
use s2n_quic::{Client, Server};

use s2n_quic_core::connection::limits::ValidationError;

use crate::budget::send_buffer;
use crate::close::{Closes, Interceptor};
use crate::datagram::Datagrams;
use crate::door::{Door, DoorTls};
use crate::ids::SteeringIds;
use crate::observe::Observer;
use crate::reason::Frank;
use crate::socket::SmolIo;

/// Why s2n-quic did not start.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Streams that a peer may have open at once at least, in each direction: s2n-quic cannot allow more later.
const MIN_STREAMS: u64 = 1024;
/// Streams that this side may have open at once whatever the peer allows; the core has tighter limits of its own.
const LOCAL_STREAMS: u64 = 65_536;

/// A server on this socket.
pub(crate) fn server(
    io: SmolIo,
    tls: Arc<rustls::ServerConfig>,
    door: Arc<Door>,
    shard: Shard,
    transport: &TransportSettings,
) -> Result<Server, Failure> {
    let gate = Gate {
        handshakes: door.handshakes().clone(),
        retry_above: transport.retry_above,
        max_handshakes: transport.max_handshakes,
    };
    let tls = quic_tls::Server::from(tls);
    let closes = Arc::new(Closes::default());
    let builder = Server::builder()
        .with_tls(DoorTls { tls, door })?
        .with_limits(limits(
            transport,
            transport.receive_window,
            transport.handshake_timeout,
        )?)?
        .with_endpoint_limits(gate)?
        .with_connection_id(SteeringIds::new(shard))?
        .with_connection_close_formatter(Frank)?
        .with_event(Observer(Arc::clone(&closes)))?
        .with_packet_interceptor(Interceptor(closes))?
        .with_datagram(Datagrams::new(transport))?
        .with_io(io)?;
    Ok(match transport.congestion {
        Congestion::Cubic => builder
            .with_congestion_controller(Cubic::default())?
            .start()?,
        Congestion::Bbr => builder
            .with_congestion_controller(Bbr::default())?
            .start()?,
    })
}

/// A client on this socket.
pub(crate) fn client(
    io: SmolIo,
    tls: Arc<rustls::ClientConfig>,
    transport: &TransportSettings,
    handshake: Duration,
) -> Result<Client, Failure> {
    let closes = Arc::new(Closes::default());
    let builder = Client::builder()
        .with_tls(quic_tls::Client::from(tls))?
        .with_limits(limits(transport, transport.publisher_window, handshake)?)?
        .with_connection_close_formatter(Frank)?
        .with_event(Observer(Arc::clone(&closes)))?
        .with_packet_interceptor(Interceptor(closes))?
        .with_datagram(Datagrams::new(transport))?
        .with_io(io)?;
    Ok(match transport.congestion {
        Congestion::Cubic => builder
            .with_congestion_controller(Cubic::default())?
            .start()?,
        Congestion::Bbr => builder
            .with_congestion_controller(Bbr::default())?
            .start()?,
    })
}

/// The window of a connection stays as it is: s2n-quic cannot raise it later.
fn limits(
    transport: &TransportSettings,
    window: u64,
    handshake: Duration,
) -> Result<Limits, ValidationError> {
    let window = window.min(u32::MAX.into());
    let stream = transport.stream_window.min(u32::MAX.into());
    let keep_alive = if transport.keep_alive.is_zero() {
        transport.idle_timeout
    } else {
        transport.keep_alive
    };
    Limits::new()
        .with_data_window(window)?
        .with_unidirectional_data_window(stream)?
        .with_bidirectional_local_data_window(stream)?
        .with_bidirectional_remote_data_window(stream)?
        .with_max_open_remote_unidirectional_streams(transport.max_uni_streams.max(MIN_STREAMS))?
        .with_max_open_remote_bidirectional_streams(transport.max_bidi_streams.max(MIN_STREAMS))?
        .with_max_open_local_unidirectional_streams(LOCAL_STREAMS)?
        .with_max_open_local_bidirectional_streams(LOCAL_STREAMS)?
        .with_max_send_buffer_size(send_buffer(transport.max_unacked))?
        .with_max_idle_timeout(transport.idle_timeout)?
        .with_max_keep_alive_period(keep_alive)?
        .with_max_handshake_duration(handshake)
}

/// Decides on each client's first packet, before any handshake work.
#[derive(Debug)]
struct Gate {
    /// Those of all shards, of which the stack knows its own.
    handshakes: Handshakes,
    retry_above: usize,
    max_handshakes: usize,
}

impl Limiter for Gate {
    fn on_connection_attempt(&mut self, attempt: &ConnectionAttempt<'_>) -> Outcome {
        // The stack counts until the client has confirmed that it is through.
        let under_way = self.handshakes.under_way();
        let under_way = under_way.max(attempt.inflight_handshakes);
        if under_way >= self.max_handshakes {
            Outcome::close()
        } else if under_way >= self.retry_above {
            Outcome::retry()
        } else {
            Outcome::allow()
        }
    }
}
