//! The bounds of a streamer.

use std::time::Duration;

/// The bounds of a [`Streamer`](super::Streamer).
///
/// | field | unit | default | reason |
/// |---|---|---|---|
/// | `max_object_bytes` | bytes | 64 MiB | objects of which a subscriber still wants something: twice what two tracks may be behind |
/// | `chunk` | bytes | 64 KiB | read from the input at once; a pipe holds as much |
/// | `max_chunks` | chunks | 16 | read, but not looked at yet; with more, reading stops |
/// | `max_batch` | frames | 64 | published before sessions get a turn |
/// | `max_batch_bytes` | bytes | 256 KiB | the same |
/// | `new_group` | | 2 s, 4 MiB, 512 objects | so far behind, new groups are left out (live), or reading stops (files) |
/// | `open_group` | | 10 s, 16 MiB, 4096 objects | so far behind, a group is not even finished |
/// | `max_streams` | streams | 32 | on their way if a file is not paced: relays give up groups of which too many come at once |
/// | `max_jump` | time | 10 s | a larger gap between two frames is a jump of the clock: nothing is waited for |
/// | `max_late` | time | 1 s | what could not be published for longer than this is not made up for by hurrying |
/// | `max_catalogs` | catalogs | 8 | kept for FETCH: the last, and a few before it |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of objects in memory.
    pub max_object_bytes: usize,
    /// Bytes that are read at once.
    pub chunk: usize,
    /// Reads that wait to be looked at.
    pub max_chunks: usize,
    /// Frames published before sessions get a turn.
    pub max_batch: usize,
    /// Bytes published before sessions get a turn.
    pub max_batch_bytes: usize,
    /// How far subscribers may be behind when a group begins.
    pub new_group: Tolerance,
    /// How far they may be behind while a group goes on.
    pub open_group: Tolerance,
    /// Streams that may be on their way to the relay at once if the input waits, and nothing else slows it down.
    pub max_streams: usize,
    /// Frames further apart than this are so because the input's clock jumped.
    pub max_jump: Duration,
    /// Frames later than this are not caught up with.
    pub max_late: Duration,
    /// Catalogs kept for FETCH.
    pub max_catalogs: usize,
}

/// How far the subscribers of a track may be behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// Since when the oldest object may have been waiting.
    pub time: Duration,
    /// Bytes, each object's own overhead included.
    pub bytes: u64,
    /// Objects.
    pub objects: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_object_bytes: 64 << 20,
            chunk: 64 << 10,
            max_chunks: 16,
            max_batch: 64,
            max_batch_bytes: 256 << 10,
            new_group: Tolerance {
                time: Duration::from_secs(2),
                bytes: 4 << 20,
                objects: 512,
            },
            open_group: Tolerance {
                time: Duration::from_secs(10),
                bytes: 16 << 20,
                objects: 4096,
            },
            max_streams: 32,
            max_jump: Duration::from_secs(10),
            max_late: Duration::from_secs(1),
            max_catalogs: 8,
        }
    }
}
