//! What is really held, counted anew: to compare with the books that are kept along the way.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::fanout::MAX_UNCHARGED;
use crate::ledger::{CHUNK_OVERHEAD, MAX_CHUNK, Payload};
use crate::wire::property::Properties;

/// Bytes that tables hold, each counted once however many of them share it.
#[derive(Debug, Default)]
pub(crate) struct Recount {
    /// Whether some may be parts of what another shard held: of images so small that they are not charged, or of chunks
    /// whose other parts never came.
    is_shared: bool,
    /// The longest piece from each address on.
    pieces: BTreeMap<usize, usize>,
    /// What is charged besides pieces.
    small: usize,
    /// What may be charged besides, of chunks that are not full or that several pieces share.
    perhaps: usize,
}

impl Recount {
    /// Of one shard, or of several.
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            is_shared: shards > 1,
            ..Self::default()
        }
    }

    /// A piece that the ledger knows.
    pub(crate) fn piece(&mut self, bytes: &Bytes) {
        if !bytes.is_empty() {
            let known = self.pieces.entry(bytes.as_ptr().addr()).or_default();
            *known = bytes.len().max(*known);
        }
    }

    /// Copied properties.
    pub(crate) fn properties(&mut self, properties: &Properties) {
        self.piece(properties.bytes());
    }

    /// An amount that is charged as such.
    pub(crate) const fn charge(&mut self, bytes: usize) {
        self.small += bytes;
    }

    /// A payload that may still grow.
    pub(crate) fn payload(&mut self, payload: &Payload, is_complete: bool) {
        for piece in payload.frozen() {
            self.piece(piece);
        }
        if !is_complete {
            let (used, whole) = payload.growing();
            self.small += used;
            self.perhaps += whole + CHUNK_OVERHEAD;
            self.perhaps += if self.is_shared { MAX_CHUNK } else { 0 };
        }
    }

    /// The least that the ledger must know of.
    pub(crate) fn least(&self) -> usize {
        let least = if self.is_shared { MAX_UNCHARGED } else { 0 };
        self.in_pieces_above(least) + self.small
    }

    /// The most that it may know of, while nobody else holds anything.
    pub(crate) fn most(&self) -> usize {
        // For its chunk and for itself, if others share that.
        let for_chunks = self.pieces.len() * 2 * CHUNK_OVERHEAD;
        self.in_pieces_above(0) + self.small + self.perhaps + for_chunks
    }

    /// Bytes in pieces of more than so many, those that are parts of others counted once.
    fn in_pieces_above(&self, least: usize) -> usize {
        let (mut bytes, mut counted) = (0, 0);
        for (&start, &length) in self.pieces.iter().filter(|(_, length)| **length > least) {
            let end = start + length;
            bytes += end.saturating_sub(start.max(counted));
            counted = counted.max(end);
        }
        bytes
    }
}
