//! From the settings that every adapter shares to what quinn-proto wants to know.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use oxymoq_core::runtime::{Congestion, TransportSettings};
use oxymoq_tls::Shard;
use quinn_proto::congestion::{BbrConfig, CubicConfig};
use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn_proto::{EndpointConfig, IdleTimeout, TransportConfig, VarInt};

use crate::Error;
use crate::ids::SteeringIds;

/// What a connection may send before the first pump has measured the congestion window.
const FIRST_SEND_WINDOW: u64 = 16 << 10;
/// Packets of a client that we have not decided on yet; the decision falls at once, so few suffice.
const UNDECIDED_BUFFER: u64 = 64 << 10;
/// Clients that we have not decided on yet; likewise.
const MAX_UNDECIDED: usize = 64;

/// What the endpoints of a server's shards have in common: the key of stateless resets, and that of connection ids.
pub(crate) fn endpoints() -> impl Fn(Shard) -> Arc<EndpointConfig> {
    let common = EndpointConfig::default();
    let key = RandomState::new().build_hasher().finish();
    move |shard| {
        let mut config = common.clone();
        config.cid_generator(move || Box::new(SteeringIds::new(shard, key)));
        Arc::new(config)
    }
}

/// The nearest number that QUIC can carry.
pub(crate) fn varint(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap_or(VarInt::MAX)
}

pub(crate) fn server(
    tls: Arc<rustls::ServerConfig>,
    settings: &TransportSettings,
) -> Result<quinn_proto::ServerConfig, Error> {
    let crypto = QuicServerConfig::try_from(tls)
        .map_err(|cause: NoInitialCipherSuite| Error::Certificate(cause.to_string()))?;
    let mut config = quinn_proto::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport(settings, settings.receive_window)))
        .max_incoming(MAX_UNDECIDED)
        .incoming_buffer_size(UNDECIDED_BUFFER)
        .incoming_buffer_size_total(UNDECIDED_BUFFER);
    Ok(config)
}

/// The error is a sentence.
pub(crate) fn client(
    tls: Arc<rustls::ClientConfig>,
    transport: Arc<TransportConfig>,
) -> Result<quinn_proto::ClientConfig, String> {
    let crypto =
        QuicClientConfig::try_from(tls).map_err(|cause: NoInitialCipherSuite| cause.to_string())?;
    let mut config = quinn_proto::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport);
    Ok(config)
}

pub(crate) fn transport(settings: &TransportSettings, receive_window: u64) -> TransportConfig {
    let mut config = TransportConfig::default();
    let idle = settings.idle_timeout.as_millis();
    let idle = u64::try_from(idle).map_or(VarInt::MAX, varint);
    config
        .max_idle_timeout(Some(IdleTimeout::from(idle)))
        .keep_alive_interval((!settings.keep_alive.is_zero()).then_some(settings.keep_alive))
        .max_concurrent_bidi_streams(varint(settings.max_bidi_streams))
        .max_concurrent_uni_streams(varint(settings.max_uni_streams))
        .stream_receive_window(varint(settings.stream_window))
        .receive_window(varint(receive_window))
        .send_window(FIRST_SEND_WINDOW)
        // The core decides which stream comes first; streams of one priority leave whole, not in slices.
        .send_fairness(false)
        .datagram_receive_buffer_size(Some(settings.datagram_receive_buffer))
        .datagram_send_buffer_size(settings.datagram_send_buffer)
        .enable_segmentation_offload(settings.gso);
    match settings.congestion {
        Congestion::Cubic => config.congestion_controller_factory(Arc::new(CubicConfig::default())),
        Congestion::Bbr => config.congestion_controller_factory(Arc::new(BbrConfig::default())),
    };
    config
}
