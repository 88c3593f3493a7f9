//! What s2n-quic's streams do not tell but its events do: what is under way, the path, and the peer's credit per stream.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use s2n_quic::provider::event::events::{
    ConnectionClosed, ConnectionStarted, Frame, FrameReceived, FrameSent, MtuUpdated, PacketLost,
    Path, RecoveryMetrics, SocketAddress, TransportParametersReceived,
};
use s2n_quic::provider::event::{ConnectionInfo, ConnectionMeta, Subscriber};

use crate::budget::Budget;
use crate::close::{Closes, Place};
use crate::ready::lock;

/// Credits and stops that wait to be looked at; more streams than that are never open at once.
const MAX_NEWS: usize = 65_536;
/// Smallest QUIC packet that every path carries, in bytes.
const MIN_PACKET: u16 = 1200;
/// Bytes of a packet that a datagram cannot use: first byte, packet number (4), AEAD tag (16), frame type, length (2).
const DATAGRAM_OVERHEAD: usize = 1 + 4 + 16 + 1 + 2;

/// Changes of the round-trip time that nobody wants to know.
const RTT_NOISE: Duration = Duration::from_millis(2);

/// The subscriber of an endpoint's events.
#[derive(Debug)]
pub(crate) struct Observer(pub(crate) Arc<Closes>);

/// What was seen of one connection, shared between s2n-quic's callbacks and the adapter.
pub(crate) type Shared = Arc<Mutex<Observed>>;

/// What was seen of one connection.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// How much may be written.
    pub(crate) budget: Budget,
    /// Smoothed round-trip time; zero: not measured yet.
    pub(crate) rtt: Duration,
    /// Largest QUIC packet of the path, in bytes.
    packet: u16,
    /// Length of the connection id that packets to the peer carry.
    connection_id: usize,
    /// How many bytes the peer takes on each stream at first.
    pub(crate) initial_credit: InitialCredit,
    /// How many bytes the peer takes on a stream by now, by s2n-quic's stream id, for streams where that rose.
    pub(crate) credit: BTreeMap<u64, u64>,
    /// Streams that the peer does not want any more, by s2n-quic's stream id, with its code.
    pub(crate) stopped: BTreeMap<u64, u64>,
    /// The adapter waits for room in the budget.
    pub(crate) data_waits: bool,
    /// It waits for room for something urgent.
    pub(crate) urgent_waits: bool,
    /// What the application was last told of the path.
    pub(crate) told_rtt: Duration,
    pub(crate) told_datagram: usize,
    remote: Option<SocketAddr>,
    /// The peer's close: code and words.
    close: Option<(u64, Bytes)>,
    place: Option<Place>,
    waker: Option<Waker>,
}

/// How many bytes the peer takes on each stream at first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InitialCredit {
    /// On unidirectional streams that this side opens.
    pub(crate) uni: u64,
    /// On bidirectional streams that this side opens.
    pub(crate) local_bidi: u64,
    /// On bidirectional streams that the peer opens.
    pub(crate) peer_bidi: u64,
}

impl Observed {
    /// Names who is to be woken for news.
    pub(crate) fn listen(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }

    /// The peer closed the connection.
    pub(crate) fn closed(&mut self, code: u64, words: Bytes) {
        // Peers say it again as long as something is sent to them.
        self.close.get_or_insert((code, words));
        self.wake();
    }

    /// The peer's close, if it has come.
    pub(crate) const fn take_close(&mut self) -> Option<(u64, Bytes)> {
        self.close.take()
    }

    /// What to tell the peer when the connection is closed, which must follow.
    pub(crate) fn say(&self, words: Bytes) {
        if let Some(place) = &self.place {
            place.say(words);
        }
    }

    /// Largest datagram payload that a packet of the path carries, in bytes.
    pub(crate) fn datagram_room(&self) -> usize {
        usize::from(self.packet.max(MIN_PACKET))
            .saturating_sub(DATAGRAM_OVERHEAD.saturating_add(self.connection_id))
    }

    /// Whether the path changed by so much that the application wants to know.
    pub(crate) fn path_news(&self) -> bool {
        let drift = self.rtt.abs_diff(self.told_rtt);
        drift > self.told_rtt / 4 + RTT_NOISE || self.datagram_room() != self.told_datagram
    }

    /// Wakes the adapter if there is the room that it waits for.
    fn offer_room(&self) {
        let data = self.data_waits && self.budget.has_room(false);
        if data || self.urgent_waits && self.budget.has_room(true) {
            self.wake();
        }
    }

    fn credit_rose(&mut self, stream: u64, credit: u64) {
        if self.credit.len() < MAX_NEWS || self.credit.contains_key(&stream) {
            let known = self.credit.entry(stream).or_default();
            *known = credit.max(*known);
            self.wake();
        }
    }

    fn stop_asked(&mut self, stream: u64, code: u64) {
        if self.stopped.len() < MAX_NEWS {
            self.stopped.entry(stream).or_insert(code);
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    fn set_path(&mut self, path: &Path<'_>) {
        self.connection_id = path.remote_cid.bytes.len();
        self.remote = standard(&path.remote_addr);
    }
}

impl Subscriber for Observer {
    type ConnectionContext = Shared;

    fn create_connection_context(
        &mut self,
        meta: &ConnectionMeta,
        _info: &ConnectionInfo<'_>,
    ) -> Shared {
        let seen = Shared::default();
        let place = self.0.watch(meta.id, &seen);
        lock(&seen).place = Some(place);
        seen
    }

    fn on_connection_started(
        &mut self,
        seen: &mut Shared,
        _meta: &ConnectionMeta,
        event: &ConnectionStarted<'_>,
    ) {
        lock(seen).set_path(&event.path);
    }

    fn on_transport_parameters_received(
        &mut self,
        seen: &mut Shared,
        _meta: &ConnectionMeta,
        event: &TransportParametersReceived<'_>,
    ) {
        let peer = &event.transport_parameters;
        // "Local" and "remote" are seen from the peer.
        lock(seen).initial_credit = InitialCredit {
            uni: peer.initial_max_stream_data_uni,
            local_bidi: peer.initial_max_stream_data_bidi_remote,
            peer_bidi: peer.initial_max_stream_data_bidi_local,
        };
    }

    fn on_frame_received(
        &mut self,
        seen: &mut Shared,
        _meta: &ConnectionMeta,
        event: &FrameReceived<'_>,
    ) {
        if let Frame::MaxStreamData { id, value, .. } = event.frame {
            lock(seen).credit_rose(id, value);
        } else if let Frame::StopSending { id, error_code, .. } = event.frame {
            lock(seen).stop_asked(id, error_code);
        }
    }

    fn on_frame_sent(&mut self, seen: &mut Shared, _meta: &ConnectionMeta, event: &FrameSent) {
        if let Frame::Stream {
            id, offset, len, ..
        } = event.frame
        {
            let mut seen = lock(seen);
            let bytes = u64::from(len);
            seen.budget.left(id, bytes, offset.saturating_add(bytes));
            seen.offer_room();
        }
    }

    fn on_packet_lost(
        &mut self,
        seen: &mut Shared,
        _meta: &ConnectionMeta,
        event: &PacketLost<'_>,
    ) {
        if !event.is_mtu_probe {
            lock(seen).budget.lost(event.bytes_lost.into());
        }
    }

    fn on_recovery_metrics(
        &mut self,
        seen: &mut Shared,
        _meta: &ConnectionMeta,
        event: &RecoveryMetrics<'_>,
    ) {
        if !event.path.is_active {
            return;
        }
        let mut seen = lock(seen);
        let (window, in_flight) = (event.congestion_window, event.bytes_in_flight);
        seen.rtt = event.smoothed_rtt;
        seen.budget.measured(window.into(), in_flight.into());
        seen.set_path(&event.path);
        seen.offer_room();
        if seen.path_news() {
            seen.wake();
        }
    }

    fn on_mtu_updated(&mut self, seen: &mut Shared, _meta: &ConnectionMeta, event: &MtuUpdated) {
        let mut seen = lock(seen);
        seen.packet = event.mtu;
        if seen.path_news() {
            seen.wake();
        }
    }

    fn on_connection_closed(
        &mut self,
        seen: &mut Shared,
        _meta: &ConnectionMeta,
        event: &ConnectionClosed,
    ) {
        let seen = lock(seen);
        // The application was never told of this one, so nobody else will mention it.
        if let (None, Some(remote)) = (&seen.waker, seen.remote) {
            log::debug!("{remote}: handshake failed: {}", event.error);
        }
    }
}

fn standard(address: &SocketAddress<'_>) -> Option<SocketAddr> {
    if let SocketAddress::IpV4 { ip, port, .. } = *address {
        Some(SocketAddr::new(IpAddr::from(*ip), port))
    } else if let SocketAddress::IpV6 { ip, port, .. } = *address {
        Some(SocketAddr::new(IpAddr::from(*ip).to_canonical(), port))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_streams_that_do_not_exist_are_bounded() {
        let mut seen = Observed::default();
        for stream in 0..100_000 {
            seen.credit_rose(stream, 10);
            seen.stop_asked(stream, 7);
        }
        assert_eq!(
            (seen.credit.len(), seen.stopped.len()),
            (MAX_NEWS, MAX_NEWS)
        );
        seen.credit_rose(5, 20);
        assert_eq!(seen.credit.get(&5), Some(&20));
    }

    #[test]
    fn credit_never_falls_and_the_first_code_stays() {
        let mut seen = Observed::default();
        seen.credit_rose(4, 20);
        seen.credit_rose(4, 10);
        seen.stop_asked(4, 1);
        seen.stop_asked(4, 2);
        assert_eq!(
            (seen.credit.get(&4), seen.stopped.get(&4)),
            (Some(&20), Some(&1))
        );
    }

    #[test]
    fn small_changes_of_the_round_trip_time_are_not_told() {
        let mut seen = Observed::default();
        seen.told_datagram = seen.datagram_room();
        seen.told_rtt = Duration::from_millis(40);
        seen.rtt = Duration::from_millis(51);
        assert!(!seen.path_news());
        seen.rtt = Duration::from_millis(53);
        assert!(seen.path_news());
    }

    #[test]
    fn datagram_room_is_what_the_smallest_packet_carries_until_more_is_known() {
        let mut seen = Observed {
            connection_id: 16,
            ..Observed::default()
        };
        assert_eq!(seen.datagram_room(), 1200 - 16 - 24);
        seen.packet = 1452;
        assert_eq!(seen.datagram_room(), 1452 - 16 - 24);
        assert!(seen.path_news());
    }
}
