//! Where the bytes of outgoing data streams come from: the session orders streams, a source has their bytes.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::{Buf as _, Bytes};

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

/// A [`Source`] that holds what it is given, up to a number of bytes: for programs with few streams, and for tests.
///
/// After [`push`](Self::push) and [`finish`](Self::finish) tell the session with `Session::stream_ready`; when the session
/// says that a stream was stopped or expired, [`remove`](Self::remove) it.
#[derive(Debug)]
pub struct Outbox {
    streams: BTreeMap<StreamId, Waiting>,
    held: usize,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    /// None is empty.
    pieces: VecDeque<Bytes>,
    finished: bool,
}

/// There is no room for that many bytes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Outbox {
    /// Holds at most `capacity` bytes over all streams.
    pub const fn new(capacity: usize) -> Self {
        Self {
            streams: BTreeMap::new(),
            held: 0,
            capacity,
        }
    }

    /// Adds bytes to a stream.
    ///
    /// # Errors
    /// If more would be held than fits, or the stream is finished: then nothing is added.
    pub fn push(&mut self, stream: StreamId, bytes: Bytes) -> Result<(), Full> {
        let finished = self
            .streams
            .get(&stream)
            .is_some_and(|waiting| waiting.finished);
        if finished || bytes.len() > self.capacity - self.held {
            return Err(Full);
        }
        if !bytes.is_empty() {
            self.held += bytes.len();
            self.streams
                .entry(stream)
                .or_default()
                .pieces
                .push_back(bytes);
        }
        Ok(())
    }

    /// Ends a stream after what was added.
    pub fn finish(&mut self, stream: StreamId) {
        self.streams.entry(stream).or_default().finished = true;
    }

    /// Throws away what is left of a stream.
    pub fn remove(&mut self, stream: StreamId) {
        if let Some(waiting) = self.streams.remove(&stream) {
            self.held -= waiting.pieces.iter().map(Bytes::len).sum::<usize>();
        }
    }

    /// How many bytes are held.
    pub const fn held(&self) -> usize {
        self.held
    }
}

impl Source for Outbox {
    fn peek(&mut self, _: Time, stream: StreamId) -> Option<Piece> {
        let waiting = self.streams.get(&stream)?;
        let bytes = waiting.pieces.front().cloned();
        if bytes.is_none() && !waiting.finished {
            return None;
        }
        Some(Piece {
            bytes: bytes.unwrap_or_default(),
            fin: waiting.finished && waiting.pieces.len() <= 1,
        })
    }

    fn taken(&mut self, _: Time, stream: StreamId, bytes: usize, fin: bool) {
        let Some(waiting) = self.streams.get_mut(&stream) else {
            return;
        };
        if let Some(first) = waiting.pieces.front_mut() {
            let taken = bytes.min(first.len());
            first.advance(taken);
            self.held -= taken;
            if first.is_empty() {
                waiting.pieces.pop_front();
            }
        }
        if fin {
            self.remove(stream);
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the outbox is full")
    }
}

impl std::error::Error for Full {}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId::local(3);

    fn peek(outbox: &mut Outbox) -> Option<(Bytes, bool)> {
        let piece = outbox.peek(Time::ZERO, STREAM)?;
        Some((piece.bytes, piece.fin))
    }

    #[test]
    fn gives_what_it_was_given_and_keeps_what_was_not_taken() {
        let mut outbox = Outbox::new(10);
        assert_eq!(peek(&mut outbox), None);
        outbox.push(STREAM, Bytes::from_static(b"abc")).unwrap();
        outbox.push(STREAM, Bytes::from_static(b"de")).unwrap();
        outbox.finish(STREAM);
        assert_eq!(peek(&mut outbox), Some((Bytes::from_static(b"abc"), false)));
        outbox.taken(Time::ZERO, STREAM, 2, false);
        assert_eq!(peek(&mut outbox), Some((Bytes::from_static(b"c"), false)));
        outbox.taken(Time::ZERO, STREAM, 1, false);
        assert_eq!(peek(&mut outbox), Some((Bytes::from_static(b"de"), true)));
        outbox.taken(Time::ZERO, STREAM, 2, true);
        assert_eq!((peek(&mut outbox), outbox.held()), (None, 0));
    }

    #[test]
    fn end_that_comes_later_is_given_alone() {
        let mut outbox = Outbox::new(10);
        outbox.push(STREAM, Bytes::from_static(b"a")).unwrap();
        outbox.taken(Time::ZERO, STREAM, 1, false);
        assert_eq!(peek(&mut outbox), None);
        outbox.finish(STREAM);
        assert_eq!(peek(&mut outbox), Some((Bytes::new(), true)));
        assert_eq!(outbox.push(STREAM, Bytes::from_static(b"b")), Err(Full));
    }

    #[test]
    fn holds_no_more_than_it_may() {
        let mut outbox = Outbox::new(4);
        outbox.push(STREAM, Bytes::from_static(b"abc")).unwrap();
        let other = StreamId::local(4);
        assert_eq!(outbox.push(other, Bytes::from_static(b"de")), Err(Full));
        assert_eq!(outbox.held(), 3);
        outbox.remove(STREAM);
        outbox.push(other, Bytes::from_static(b"de")).unwrap();
        assert_eq!(outbox.held(), 2);
    }
}
