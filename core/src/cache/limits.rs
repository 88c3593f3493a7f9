//! The bounds of a cache.

use std::time::Duration;

/// What a cached object costs besides its bytes and what holds them: its entry and its share of the indexes, in bytes.
/// Measured: 207 of the heap in a long group, and 34 more if it expires.
pub const OBJECT_OVERHEAD: u64 = 256;

/// The bounds of a [`Cache`](super::Cache).
///
/// Units, defaults and the reason for each: [`limits`](crate::limits).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tracks of which something is kept beyond what fills need; beyond it the one used least recently goes, though none
    /// that is live or being filled. If all are, further tracks are not cached. Zero turns caching off.
    pub max_tracks: usize,
    /// Groups of one track; beyond it the one used least recently goes, though no pinned one.
    pub max_groups_per_track: usize,
    /// Bytes of all objects together: payloads, properties, and for each object [`OBJECT_OVERHEAD`] and the ledger's
    /// [`CHUNK_OVERHEAD`](crate::ledger::CHUNK_OVERHEAD) for each piece of its payload. Beyond it the group used least
    /// recently goes; if only pinned ones are left, the objects of the largest live group, lowest first. Only groups
    /// pinned by fills can exceed it; the owner of the fills bounds those.
    pub max_bytes: u64,
    /// How long after its last insertion a group is dropped, unless it is pinned.
    pub max_age: Duration,
    /// Intervals in which one track's locations without objects are kept, and as many again for those that the publisher
    /// itself told of; beyond it those are forgotten that were not added to for longest.
    pub max_gaps_per_track: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_tracks: 100,
            max_groups_per_track: 3,
            max_bytes: 256 << 20,
            max_age: Duration::from_secs(3600),
            max_gaps_per_track: 1024,
        }
    }
}
