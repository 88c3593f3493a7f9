//! Control messages out of a stream of bytes: the one place that waits for more.

use bytes::{Buf as _, Bytes, BytesMut};

use super::varint;
use crate::draft::IntegerKind;

/// The most bytes that a message takes, its type and length included.
pub const MAX_FRAME: usize = varint::MAX_LEN + 2 + 65_535;

/// A complete control message, not yet looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The number of its type.
    pub number: u64,
    /// What follows the length.
    pub body: Bytes,
}

/// Cuts the bytes of a control or request stream into messages.
///
/// Push no more than [`room`](Self::room) tells and take messages until there is none: then it never holds more than
/// [`MAX_FRAME`] bytes.
#[derive(Clone, Debug)]
pub struct Framer {
    bytes: BytesMut,
    integers: IntegerKind,
}

impl Framer {
    /// Starts at the beginning of a stream.
    pub fn new(integers: IntegerKind) -> Self {
        Self {
            bytes: BytesMut::new(),
            integers,
        }
    }

    /// How many bytes may be pushed.
    pub fn room(&self) -> usize {
        MAX_FRAME.saturating_sub(self.bytes.len())
    }

    /// Takes in the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether the stream so far ends with a message, or is empty.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The type of the message at hand, as soon as it is known. An unknown one need not be waited for.
    pub fn peek_type(&self) -> Option<u64> {
        let (number, _) = varint::decode(self.integers, &self.bytes)?;
        Some(number)
    }

    /// The next complete message. `None`: more bytes are needed.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let (number, start) = varint::decode(self.integers, &self.bytes)?;
        let (length, body) = self.bytes.get(start..)?.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        if body.len() < length {
            return None;
        }
        self.bytes.advance(start + 2);
        let body = self.bytes.split_to(length).freeze();
        Some(Frame { number, body })
    }
}
