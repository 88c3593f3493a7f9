//! Memory promised to connections: what each may cost at worst in the transport, beyond what the [`Ledger`] counts.
//!
//! A transport cannot be asked how much it holds, so the worst is set aside when a connection is let in, and given back
//! when it ends. Pure accounting: the adapters' windows make it true.
//!
//! [`Ledger`]: crate::ledger::Ledger

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::runtime::TransportSettings;
use crate::transport::ConnectionId;

/// What a connection costs besides its windows and streams, in bytes: the state of QUIC, TLS and the session, and control
/// messages that the peer has not acknowledged.
pub const CONNECTION_BYTES: u64 = 96 << 10;

/// What each stream costs that a peer may open, in bytes, whether it does or not: stacks make their tables in advance.
pub const STREAM_BYTES: u64 = 64;

/// One part in so many of the memory is not for wider windows, so that publishers do not keep subscribers out.
const NOT_FOR_WINDOWS: u64 = 4;

/// What the connections of all shards of a relay have reserved. Clones share one account.
#[derive(Clone, Debug, Default)]
pub struct Reserve(Arc<Totals>);

#[derive(Debug, Default)]
struct Totals {
    bytes: AtomicU64,
    connections: AtomicUsize,
}

impl Reserve {
    /// Bytes set aside by all shards.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Connections of all shards.
    pub fn connections(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// Sets bytes aside, unless there are more than `most` then.
    fn try_add(&self, bytes: u64, most: u64) -> bool {
        let add = |now: u64| now.checked_add(bytes).filter(|sum| *sum <= most);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.0.bytes.fetch_update(set, fetch, add).is_ok()
    }

    fn add(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn subtract(&self, bytes: u64) {
        self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Sets memory aside for connections, and no more than there is.
#[derive(Debug)]
pub struct Reservations {
    limit: u64,
    reserve: Reserve,
    costs: Costs,
    connections: BTreeMap<ConnectionId, Reserved>,
    /// Publishers that got less than a publisher's window.
    wanting: BTreeSet<ConnectionId>,
}

/// From the transport's settings.
#[derive(Clone, Copy, Debug)]
struct Costs {
    /// Without its receive window.
    connection: u64,
    receive_window: u64,
    publisher_window: u64,
    /// More, for a peer that may open streams for data.
    publisher_streams: u64,
}

#[derive(Clone, Copy, Debug)]
struct Reserved {
    window: u64,
    bytes: u64,
}

impl Reservations {
    /// At most `limit` bytes for connections that behave as in `transport`; publishers may open `publisher_streams` at
    /// once.
    pub fn new(limit: u64, transport: &TransportSettings, publisher_streams: u64) -> Self {
        let streams = transport
            .max_uni_streams
            .saturating_add(transport.max_bidi_streams);
        let more = publisher_streams.saturating_sub(transport.max_uni_streams);
        Self {
            limit,
            reserve: Reserve::default(),
            costs: Costs {
                connection: CONNECTION_BYTES.saturating_add(streams.saturating_mul(STREAM_BYTES)),
                receive_window: transport.receive_window,
                publisher_window: transport.publisher_window.max(transport.receive_window),
                publisher_streams: more.saturating_mul(STREAM_BYTES),
            },
            connections: BTreeMap::new(),
            wanting: BTreeSet::new(),
        }
    }

    /// With the other shards' reservations, whose limit is the same. To be called before there are any here.
    #[must_use]
    pub fn sharing(mut self, reserve: Reserve) -> Self {
        self.reserve = reserve;
        self
    }

    /// Bytes set aside, by all shards.
    pub fn reserved(&self) -> u64 {
        self.reserve.bytes()
    }

    /// Connections for which there is something set aside, by all shards.
    pub fn connections(&self) -> usize {
        self.reserve.connections()
    }

    /// The most that may be, in bytes.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes set aside for a connection that is let in.
    pub const fn cost(&self) -> u64 {
        self.costs
            .connection
            .saturating_add(self.costs.receive_window)
    }

    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.cost() <= self.free()
    }

    /// Sets memory aside for a client that is let in. False: there is none.
    pub fn accept(&mut self, connection: ConnectionId) -> bool {
        self.release(connection);
        let has_room = self.hold();
        if has_room {
            self.assign(connection);
        }
        has_room
    }

    /// Sets memory aside for a client that is about to be let in; [`Reservations::assign`] says which. False: there is none.
    #[must_use]
    pub fn hold(&self) -> bool {
        self.reserve.try_add(self.cost(), self.limit)
    }

    /// What was [held](Reservations::hold) is for this connection.
    pub fn assign(&mut self, connection: ConnectionId) {
        self.insert(connection, self.costs.receive_window, self.cost());
    }

    /// Sets memory aside for a connection that this side opens, which has a publisher's window from the start: wanted by
    /// the operator, so even if there is none left.
    pub fn connect(&mut self, connection: ConnectionId) {
        let costs = self.costs;
        let bytes = [
            costs.connection,
            costs.publisher_window,
            costs.publisher_streams,
        ];
        let bytes = bytes.into_iter().fold(0, u64::saturating_add);
        self.release(connection);
        self.reserve.add(bytes);
        self.insert(connection, costs.publisher_window, bytes);
    }

    /// The peer publishes: the window that it may have from now on, if that is wider than before.
    #[must_use = "the transport must be told"]
    pub fn widen(&mut self, connection: ConnectionId) -> Option<u64> {
        let spare = self.spare();
        let reserved = self.connections.get_mut(&connection)?;
        let is_first = reserved.window == self.costs.receive_window
            && self.costs.publisher_window > self.costs.receive_window;
        let streams = if is_first {
            self.costs.publisher_streams
        } else {
            0
        };
        let missing = self.costs.publisher_window.saturating_sub(reserved.window);
        let mut more = missing.min(spare.saturating_sub(streams));
        let most = most_for_windows(self.limit);
        // Another shard may have been faster.
        if more > 0 && !self.reserve.try_add(more.saturating_add(streams), most) {
            more = 0;
        }
        if more < missing {
            self.wanting.insert(connection);
        } else {
            self.wanting.remove(&connection);
        }
        if more == 0 {
            return None;
        }
        let bytes = more.saturating_add(streams);
        reserved.window = reserved.window.saturating_add(more);
        reserved.bytes = reserved.bytes.saturating_add(bytes);
        Some(reserved.window)
    }

    /// A connection is over: what was set aside for it is free.
    pub fn release(&mut self, connection: ConnectionId) {
        self.wanting.remove(&connection);
        if let Some(reserved) = self.connections.remove(&connection) {
            self.reserve.subtract(reserved.bytes);
            let connections = &self.reserve.0.connections;
            connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A publisher that could do with a wider window, and may have it now.
    #[must_use = "the transport must be told"]
    pub fn widen_next(&mut self) -> Option<(ConnectionId, u64)> {
        // A window that grows by little is not worth a word.
        let worthwhile = self.costs.receive_window.max(1);
        if self.spare() < worthwhile.saturating_add(self.costs.publisher_streams) {
            return None;
        }
        let connection = self.wanting.first().copied()?;
        let window = self.widen(connection)?;
        Some((connection, window))
    }

    fn free(&self) -> u64 {
        self.limit.saturating_sub(self.reserve.bytes())
    }

    /// What wider windows may take.
    fn spare(&self) -> u64 {
        most_for_windows(self.limit).saturating_sub(self.reserve.bytes())
    }

    fn insert(&mut self, connection: ConnectionId, window: u64, bytes: u64) {
        self.release(connection);
        self.reserve.0.connections.fetch_add(1, Ordering::Relaxed);
        self.connections
            .insert(connection, Reserved { window, bytes });
    }
}

impl Drop for Reservations {
    /// A shard that ends gives back what its connections had.
    fn drop(&mut self) {
        let connections: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for connection in connections {
            self.release(connection);
        }
    }
}

/// How much may be set aside if some of it is for wider windows.
const fn most_for_windows(limit: u64) -> u64 {
    limit.saturating_sub(limit / NOT_FOR_WINDOWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    /// Room for so many connections that only listen.
    fn room_for(connections: u64) -> Reservations {
        let transport = TransportSettings {
            receive_window: 100 * KIB,
            publisher_window: 1000 * KIB,
            max_uni_streams: 100,
            max_bidi_streams: 100,
            ..TransportSettings::default()
        };
        let one = Reservations::new(0, &transport, 1000).cost();
        Reservations::new(connections * one, &transport, 1000)
    }

    fn accept(reservations: &mut Reservations, connections: std::ops::Range<u64>) {
        for connection in connections {
            assert!(reservations.accept(ConnectionId(connection)));
        }
    }

    #[test]
    fn the_cost_of_a_connection_is_its_window_its_streams_and_what_each_needs() {
        let reservations = room_for(1);
        let expected = 100 * KIB + CONNECTION_BYTES + 200 * STREAM_BYTES;
        assert_eq!(reservations.cost(), expected);
        assert_eq!(reservations.limit(), expected);
    }

    #[test]
    fn no_more_are_let_in_than_there_is_room_for() {
        let mut reservations = room_for(3);
        accept(&mut reservations, 0..3);
        assert_eq!(reservations.reserved(), reservations.limit());
        assert!(!reservations.has_room());
        assert!(!reservations.accept(ConnectionId(3)));
        reservations.release(ConnectionId(1));
        reservations.release(ConnectionId(1));
        assert!(reservations.accept(ConnectionId(3)));
        for connection in 0..4 {
            reservations.release(ConnectionId(connection));
        }
        assert_eq!(reservations.reserved(), 0);
    }

    #[test]
    fn a_publisher_gets_its_window_once_and_gives_it_back_in_the_end() {
        let mut reservations = room_for(100);
        accept(&mut reservations, 0..1);
        assert_eq!(reservations.widen(ConnectionId(0)), Some(1000 * KIB));
        let cost = reservations.cost() + 900 * KIB + 900 * STREAM_BYTES;
        assert_eq!(reservations.reserved(), cost);
        assert_eq!(reservations.widen(ConnectionId(0)), None);
        assert_eq!(reservations.reserved(), cost);
        assert_eq!(reservations.widen(ConnectionId(7)), None, "unknown");
        reservations.release(ConnectionId(0));
        assert_eq!(reservations.reserved(), 0);
    }

    #[test]
    fn publishers_leave_room_for_subscribers_and_get_more_when_there_is_some() {
        let mut reservations = room_for(40);
        accept(&mut reservations, 0..20);
        let windows: Vec<Option<u64>> = (0..20)
            .map(|connection| reservations.widen(ConnectionId(connection)))
            .collect();
        assert_eq!(windows[0], Some(1000 * KIB));
        assert!(windows[4] < Some(1000 * KIB), "{windows:?}");
        assert!(reservations.reserved() <= reservations.limit());
        assert!(reservations.has_room());
        accept(&mut reservations, 20..21);
        // Those that got less come first when others leave.
        for connection in 10..21 {
            reservations.release(ConnectionId(connection));
        }
        let (first, window) = reservations.widen_next().unwrap();
        let got = windows[usize::try_from(first.0).unwrap()];
        assert!(Some(window) > got, "{got:?} {window}");
        while reservations.widen_next().is_some() {}
        assert!(reservations.reserved() <= reservations.limit());
    }

    #[test]
    fn a_connection_of_our_own_is_counted_even_if_there_is_no_room() {
        let mut reservations = room_for(1);
        reservations.connect(ConnectionId(0));
        assert!(reservations.reserved() > reservations.limit());
        assert!(!reservations.has_room());
        assert_eq!(reservations.widen(ConnectionId(0)), None);
        reservations.release(ConnectionId(0));
        assert!(reservations.has_room());
    }

    #[test]
    fn a_stack_with_one_window_for_all_is_never_widened() {
        let transport = TransportSettings {
            receive_window: 500 * KIB,
            publisher_window: 500 * KIB,
            ..TransportSettings::default()
        };
        let mut reservations = Reservations::new(10_000 * KIB, &transport, 1000);
        accept(&mut reservations, 0..1);
        assert_eq!(reservations.widen(ConnectionId(0)), None);
        assert_eq!(reservations.widen_next(), None);
    }
}
