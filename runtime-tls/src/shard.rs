//! What the shards of a server share, and which of them a packet belongs to.
//!
//! A shard is a thread with a socket, a QUIC endpoint and its connections. All sockets have one port. The system hands each
//! packet to the socket of the shard that the first byte of its Destination Connection ID names: the byte modulo the number
//! of shards. A client chooses that id for its first packet at random; from then on it uses ids that its shard has issued,
//! which name that shard, so a connection stays where it is even if the client's address changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One of the shards of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u8,
    count: u8,
}

impl Shard {
    /// The most that a server can have: then four of the 256 values of a byte are left for each.
    pub const MAX: u8 = 64;

    /// The only one.
    pub const ALONE: Self = Self { index: 0, count: 1 };

    /// All of them: so many, but at least one and at most [`Shard::MAX`].
    pub fn all(count: u8) -> impl Iterator<Item = Self> {
        let count = count.clamp(1, Self::MAX);
        (0..count).map(move |index| Self { index, count })
    }

    /// Its number, counted from 0.
    pub fn index(self) -> usize {
        usize::from(self.index)
    }

    /// Whether packets for this connection id come to this shard.
    pub fn has(self, connection_id: &[u8]) -> bool {
        let first = connection_id.first().copied().unwrap_or_default();
        first.checked_rem(self.count) == Some(self.index)
    }
}

/// How many handshakes are under way, over all shards of a server.
#[derive(Clone, Debug, Default)]
pub struct Handshakes(Arc<AtomicUsize>);

impl Handshakes {
    /// Counts one more, until what is returned is dropped.
    pub fn begin(&self) -> Handshake {
        self.0.fetch_add(1, Ordering::Relaxed);
        Handshake(Arc::clone(&self.0))
    }

    /// How many there are.
    pub fn under_way(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A handshake under way.
#[derive(Debug)]
pub struct Handshake(Arc<AtomicUsize>);

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_leads_to_exactly_one_shard() {
        for count in 1..=Shard::MAX {
            for first in 0..=u8::MAX {
                let owners: Vec<Shard> = Shard::all(count).filter(|it| it.has(&[first])).collect();
                assert_eq!(owners.len(), 1);
                assert_eq!(owners[0].index(), usize::from(first % count));
            }
        }
    }

    #[test]
    fn the_number_of_shards_is_kept_in_bounds() {
        assert_eq!(Shard::all(0).collect::<Vec<_>>(), [Shard::ALONE]);
        assert_eq!(Shard::all(u8::MAX).count(), usize::from(Shard::MAX));
    }

    #[test]
    fn handshakes_count_until_they_are_dropped_whoever_holds_them() {
        let (one, other) = {
            let all = Handshakes::default();
            (all.clone(), all)
        };
        let first = one.begin();
        let second = other.begin();
        assert_eq!((one.under_way(), other.under_way()), (2, 2));
        drop(first);
        assert_eq!(other.under_way(), 1);
        drop(second);
        assert_eq!(one.under_way(), 0);
    }
}
