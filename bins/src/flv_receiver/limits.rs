//! The bounds of the receiver.

use std::time::Duration;

use oxymoq_core::media::{interleave, jitter};

/// What the receiver may keep, and for how long.
///
/// | field | unit | default | why |
/// |---|---|---|---|
/// | `jitter` | | see [`jitter::Limits`] | objects of a track that wait for those before them; `--dejitter_buffer_size_ms` |
/// | `interleave` | | see [`interleave::Limits`] | frames that wait for those of the other track |
/// | `max_object_bytes` | bytes | 16 MiB | a tag of FLV can be no longer |
/// | `max_arriving_bytes` | bytes | 32 MiB | of objects of which not all has arrived: a group of the largest pictures, twice |
/// | `max_streams` | streams | 1024 | on which objects arrive: as many as a peer may open |
/// | `max_unwritten_bytes` | bytes | 1 MiB | beyond it nothing more is read until they are written; a second at 8 Mbit/s |
/// | `flush_timeout` | time | 5 s | how long the output may take for the rest at the end |
/// | `first_pause` | time | 250 ms | before the first attempt to connect or subscribe again; doubled for each further one |
/// | `longest_pause` | time | 4 s | between attempts |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Objects of one track that wait for those before them.
    pub jitter: jitter::Limits,
    /// Frames that wait for those of other tracks.
    pub interleave: interleave::Limits,
    /// The largest object; one that is larger is left out.
    pub max_object_bytes: u64,
    /// Bytes of objects that have not arrived as a whole; beyond it a stream is stopped.
    pub max_arriving_bytes: usize,
    /// Streams that are read; one more is stopped.
    pub max_streams: usize,
    /// Bytes that the output has not taken; beyond it nothing more is read from the network.
    pub max_unwritten_bytes: usize,
    /// How long the output may take for what is left at the end.
    pub flush_timeout: Duration,
    /// Before the first attempt to connect or subscribe again.
    pub first_pause: Duration,
    /// Between attempts.
    pub longest_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            jitter: jitter::Limits::default(),
            interleave: interleave::Limits::default(),
            max_object_bytes: 16 << 20,
            max_arriving_bytes: 32 << 20,
            max_streams: 1024,
            max_unwritten_bytes: 1 << 20,
            flush_timeout: Duration::from_secs(5),
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(4),
        }
    }
}

impl Limits {
    /// With this time as what objects and frames may wait for others.
    pub fn waiting(wait: Duration) -> Self {
        let mut limits = Self::default();
        limits.jitter.wait = wait;
        limits.interleave.wait = wait;
        limits
    }
}
