//! Where the bytes of outgoing data streams come from: the session orders streams, a source has their bytes.

use bytes::Bytes;

use crate::time::Time;
use crate::transport::StreamId;

/// The next bytes of an outgoing data stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Empty only if `fin` is set.
    pub bytes: Bytes,
    /// The stream ends after these bytes.
    pub fin: bool,
}

/// Has the bytes of the data streams that a session opened for it.
///
/// The session asks for bytes only when the transport may take some and this stream is the most urgent one, and tells
/// at once how many were taken: what is not taken stays with the source.
pub trait Source {
    /// What to send next on this stream; the same again until [`Source::taken`]. `None`: nothing for now; call
    /// `Session::stream_ready` when that changes.
    fn peek(&mut self, now: Time, stream: StreamId) -> Option<Piece>;

    /// The transport took the first `bytes` bytes of the last piece; with `fin` set also the end of the stream, after
    /// which nothing more is asked of it.
    fn taken(&mut self, now: Time, stream: StreamId, bytes: usize, fin: bool);

    /// When the object that the next bytes belong to was first received or produced: OBJECT_DELIVERY_TIMEOUT counts from
    /// then. `None`: it never gets too old. Asked right after [`Source::peek`], for requests that have the timeout.
    fn object_began(&mut self, stream: StreamId) -> Option<Time> {
        let _no_timeout = stream;
        None
    }
}
