//! Frames of HTTP/3 (RFC 9114 § Frame Layout) and capsules (RFC 9297 § The Capsule Protocol): both are a type, a length and
//! so many bytes, and both are taken apart as they arrive.

use bytes::Bytes;

use super::varint::{self, Head};

// RFC 9114 § Frame Definitions.
pub(super) const DATA: u64 = 0x0;
pub(super) const HEADERS: u64 = 0x1;
pub(super) const CANCEL_PUSH: u64 = 0x3;
pub(super) const SETTINGS: u64 = 0x4;
pub(super) const PUSH_PROMISE: u64 = 0x5;
pub(super) const GOAWAY: u64 = 0x7;
pub(super) const MAX_PUSH_ID: u64 = 0xd;
/// Not a frame: what a WebTransport stream begins with (WebTransport over HTTP/3 § Bidirectional Streams).
pub(super) const WT_STREAM: u64 = 0x41;

/// Whether HTTP/2 had a frame of this type that HTTP/3 forbids (RFC 9114 § Reserved Frame Types).
pub(super) const fn is_from_http2(kind: u64) -> bool {
    matches!(kind, 0x2 | 0x6 | 0x8 | 0x9)
}

/// A frame or capsule with its payload.
pub(super) fn encode(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 8);
    varint::put(&mut out, kind);
    varint::put(
        &mut out,
        u64::try_from(payload.len()).unwrap_or(varint::MAX),
    );
    out.extend_from_slice(payload);
    out
}

/// Takes a byte stream apart into frames, or into capsules. Keeps no payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Splitter {
    head: Head,
    /// How much of the payload is still to come; `None` between two frames.
    left: Option<u64>,
}

/// What a [`Splitter`] found next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A frame begins.
    Start {
        /// Its type.
        kind: u64,
        /// How long its payload is.
        len: u64,
    },
    /// A piece of its payload, not empty.
    Payload(Bytes),
    /// It is complete.
    End,
}

impl Splitter {
    /// Takes the next part off the front of `input`; `None` when more bytes are needed.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Option<Part> {
        match self.left {
            Some(0) => {
                self.left = None;
                Some(Part::End)
            }
            Some(_) if input.is_empty() => None,
            Some(left) => {
                let len = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                self.left = Some(left.saturating_sub(u64::try_from(len).unwrap_or(left)));
                Some(Part::Payload(input.split_to(len)))
            }
            None => self.next_head(input),
        }
    }

    fn next_head(&mut self, input: &mut Bytes) -> Option<Part> {
        for at in 0..input.len() {
            self.head.push(input.get(at).copied()?);
            if let Some((kind, len)) = self.head.pair() {
                let _head = input.split_to(at + 1);
                self.head = Head::default();
                self.left = Some(len);
                return Some(Part::Start { kind, len });
            }
        }
        input.clear();
        None
    }

    /// Whether the stream may end here.
    pub(super) fn is_between(&self) -> bool {
        self.left.is_none() && self.head == Head::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(splitter: &mut Splitter, bytes: &[u8]) -> Vec<Part> {
        let mut input = Bytes::copy_from_slice(bytes);
        let mut out = Vec::new();
        while let Some(part) = splitter.next(&mut input) {
            out.push(part);
        }
        assert!(input.is_empty());
        out
    }

    #[test]
    fn frames_come_apart_whole() {
        let bytes = [
            encode(DATA, b"abc"),
            encode(0x21, b""),
            encode(HEADERS, b"x"),
        ]
        .concat();
        let found = parts(&mut Splitter::default(), &bytes);
        let start = |kind, len| Part::Start { kind, len };
        let payload = |text: &'static [u8]| Part::Payload(Bytes::from_static(text));
        assert_eq!(
            found,
            [
                start(DATA, 3),
                payload(b"abc"),
                Part::End,
                start(0x21, 0),
                Part::End,
                start(HEADERS, 1),
                payload(b"x"),
                Part::End,
            ]
        );
    }

    #[test]
    fn frames_come_apart_byte_by_byte() {
        let bytes = [encode(0x2843, b"abc"), encode(DATA, b"")].concat();
        let mut splitter = Splitter::default();
        let mut found = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            let between_before = splitter.is_between();
            assert_eq!(between_before, at == 0 || at == 6, "before byte {at}");
            found.extend(parts(&mut splitter, &[*byte]));
        }
        assert!(splitter.is_between());
        let payload: Vec<u8> = found
            .iter()
            .filter_map(|part| match part {
                Part::Payload(bytes) => Some(bytes.to_vec()),
                Part::Start { .. } | Part::End => None,
            })
            .flatten()
            .collect();
        assert_eq!(payload, b"abc");
        assert_eq!(found.len(), 2 + 3 + 2);
    }

    #[test]
    fn a_huge_frame_keeps_nothing() {
        let mut splitter = Splitter::default();
        let head = [0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(
            parts(&mut splitter, &head),
            [Part::Start {
                kind: DATA,
                len: varint::MAX
            }]
        );
        for _ in 0..10 {
            assert_eq!(parts(&mut splitter, &[7; 1000]).len(), 1);
        }
        assert!(!splitter.is_between());
    }
}
