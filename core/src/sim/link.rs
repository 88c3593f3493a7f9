//! What lies between two nodes: how late, in which pieces and in which order their bytes arrive.

use std::time::Duration;

/// One direction of the path between two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// How long everything takes at least, one way.
    pub delay: Duration,
    /// How much longer a piece may take; drawn for each.
    pub jitter: Duration,
    /// Bytes per second; `None`: no limit.
    pub rate: Option<u64>,
    /// Stream data arrives in pieces of at most this many bytes; 0 counts as 1.
    pub max_piece: usize,
    /// Draw the length of each piece, from 1 to `max_piece`; otherwise pieces are as long as possible.
    pub split: bool,
    /// Pieces of one stream may overtake those of another, and datagrams anything. Never within a stream.
    pub reorder: bool,
    /// How many pieces in a thousand are lost: a datagram for good, stream data until it was repeated two delays later.
    pub loss: u32,
    /// Largest datagram payload, in bytes; 0: none.
    pub max_datagram: usize,
}

impl Default for Link {
    /// A plain path: 10 ms, in order, nothing lost, 1200 bytes at a time.
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            rate: None,
            max_piece: 1200,
            split: false,
            reorder: false,
            loss: 0,
            max_datagram: 1200,
        }
    }
}

impl Link {
    /// A bad path: everything is torn into random pieces of up to 50 bytes, which come late and in disorder; 2 % are lost.
    pub fn rough() -> Self {
        Self {
            jitter: Duration::from_millis(25),
            max_piece: 50,
            split: true,
            reorder: true,
            loss: 20,
            ..Self::default()
        }
    }

    /// How long this many bytes occupy the link.
    pub(super) fn occupation(&self, bytes: usize) -> Duration {
        let bytes = u128::try_from(bytes).unwrap_or(u128::MAX);
        self.rate.map_or(Duration::ZERO, |rate| {
            let micros = bytes.saturating_mul(1_000_000) / u128::from(rate.max(1));
            Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
        })
    }
}
