//! How streams begin: a type for a unidirectional one, a signal value or a request for a bidirectional one, and the session
//! that a WebTransport stream belongs to (WebTransport over HTTP/3 § Unidirectional Streams, § Bidirectional Streams).

use bytes::Bytes;

use crate::transport::Dir;

use super::frame::WT_STREAM;
use super::varint::{self, Head};

// RFC 9114 § Unidirectional Streams, RFC 9204 § Encoder and Decoder Streams.
pub(super) const CONTROL: u64 = 0x0;
pub(super) const PUSH: u64 = 0x1;
pub(super) const QPACK_ENCODER: u64 = 0x2;
pub(super) const QPACK_DECODER: u64 = 0x3;
/// A unidirectional WebTransport stream.
const WT_UNI: u64 = 0x54;

/// The bytes that a WebTransport stream of this session begins with.
pub(super) fn prefix(dir: Dir, session: u64) -> Bytes {
    let mut out = Vec::with_capacity(10);
    varint::put(&mut out, webtransport(dir));
    varint::put(&mut out, session);
    out.into()
}

const fn webtransport(dir: Dir) -> u64 {
    match dir {
        Dir::Uni => WT_UNI,
        Dir::Bi => WT_STREAM,
    }
}

/// The beginning of a stream that the peer opened, as it arrives.
///
/// It never takes a byte that belongs to the application: [`Beginning::wanted`] is exact, since the shortest beginning of
/// a WebTransport stream has three bytes and each byte tells how long the rest is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    dir: Dir,
    head: Head,
}

/// What a stream turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A stream of the WebTransport session with this id; its next byte is the application's first.
    WebTransport {
        /// The QUIC stream id of the session's CONNECT stream, unchecked.
        session: u64,
    },
    /// A unidirectional stream of this type.
    Typed {
        /// The stream type.
        kind: u64,
        /// What was read beyond the type.
        rest: Bytes,
    },
    /// A bidirectional stream that begins with a frame.
    Request {
        /// What was read of it.
        rest: Bytes,
    },
}

impl Beginning {
    pub(super) fn new(dir: Dir) -> Self {
        Self {
            dir,
            head: Head::default(),
        }
    }

    /// How many bytes to read next.
    pub(super) fn wanted(&self) -> usize {
        let bytes = self.head.as_slice();
        let Some(&first) = bytes.first() else {
            return 3;
        };
        let kind = varint::len(first);
        let session = bytes.get(kind).map_or(1, |&first| varint::len(first));
        (kind + session).saturating_sub(bytes.len()).max(1)
    }

    /// Takes what was read, at most as much as was wanted; tells the kind once it is known.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<Kind> {
        for &byte in bytes {
            self.head.push(byte);
        }
        let bytes = self.head.as_slice();
        let (kind, len) = varint::read(bytes)?;
        if kind == webtransport(self.dir) {
            let (_, session) = self.head.pair()?;
            return Some(Kind::WebTransport { session });
        }
        Some(match self.dir {
            Dir::Uni => Kind::Typed {
                kind,
                rest: Bytes::copy_from_slice(bytes.get(len..).unwrap_or_default()),
            },
            Dir::Bi => Kind::Request {
                rest: Bytes::copy_from_slice(bytes),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds what is wanted from `bytes`, in pieces of at most `most`; the kind and what is left.
    fn begin(dir: Dir, mut bytes: &[u8], most: usize) -> (Option<Kind>, &[u8]) {
        let mut beginning = Beginning::new(dir);
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(beginning.wanted().min(most).min(bytes.len()));
            bytes = rest;
            if let Some(kind) = beginning.push(now) {
                return (Some(kind), bytes);
            }
        }
        (None, bytes)
    }

    #[test]
    fn webtransport_streams_are_read_up_to_the_first_byte_of_the_application() {
        let cases: [(Dir, &[u8], u64); 6] = [
            (Dir::Uni, b"\x40\x54\x00", 0),
            (Dir::Bi, b"\x40\x41\x04", 4),
            (Dir::Uni, b"\x40\x54\x40\x00", 0),
            (Dir::Bi, b"\x80\x00\x00\x41\x80\x00\x00\x08", 8),
            (Dir::Uni, b"\xc0\0\0\0\0\0\0\x54\xc0\0\0\0\0\0\0\x04", 4),
            (
                Dir::Bi,
                b"\x40\x41\xff\xff\xff\xff\xff\xff\xff\xff",
                varint::MAX,
            ),
        ];
        for (dir, head, session) in cases {
            let bytes = [head, b"payload"].concat();
            for most in 1..=16 {
                let (kind, rest) = begin(dir, &bytes, most);
                assert_eq!(kind, Some(Kind::WebTransport { session }));
                assert_eq!(rest, b"payload");
            }
            for cut in 0..head.len() {
                assert_eq!(begin(dir, &head[..cut], 16).0, None);
            }
        }
    }

    #[test]
    fn what_is_sent_is_the_shortest_form() {
        assert_eq!(&*prefix(Dir::Uni, 0), b"\x40\x54\x00");
        assert_eq!(&*prefix(Dir::Bi, 0), b"\x40\x41\x00");
        assert_eq!(&*prefix(Dir::Bi, 256), b"\x40\x41\x41\x00");
    }

    #[test]
    fn other_streams_keep_every_byte_that_was_read() {
        let rest = Bytes::from_static(b"\x04\x2f");
        let kind = begin(Dir::Uni, b"\x00\x04\x2f", 16).0;
        assert_eq!(
            kind,
            Some(Kind::Typed {
                kind: CONTROL,
                rest
            })
        );
        let rest = Bytes::from_static(b"\x01\x40\x50");
        assert_eq!(
            begin(Dir::Bi, b"\x01\x40\x50", 16).0,
            Some(Kind::Request { rest })
        );
        // The types do not mean the same in the other direction.
        let kind = begin(Dir::Bi, b"\x40\x54\x00", 16).0;
        assert!(matches!(kind, Some(Kind::Request { .. })));
        let kind = begin(Dir::Uni, b"\x40\x41\x00", 16).0;
        assert!(matches!(kind, Some(Kind::Typed { kind: 0x41, .. })));
    }
}
