//! QUIC's variable-length integers as HTTP/3 uses them: whole, and arriving in pieces.

use crate::draft::IntegerKind;
use crate::wire::varint;

/// The largest value that the encoding can carry.
pub(super) const MAX: u64 = varint::MAX_QUIC;

/// How many bytes the encoding has whose first byte this is.
pub(super) const fn len(first: u8) -> usize {
    1 << (first >> 6)
}

/// The integer at the start of `bytes` and the number of bytes it takes; `None` if it is cut off.
pub(super) fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    varint::decode(IntegerKind::Quic, bytes)
}

/// Takes the integer at the start of `bytes` off; `None` if it is cut off.
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (value, len) = read(bytes)?;
    *bytes = bytes.get(len..)?;
    Some(value)
}

/// Appends the shortest encoding of `value`, which is at most [`MAX`].
pub(super) fn put(out: &mut Vec<u8>, value: u64) {
    let result = varint::encode(IntegerKind::Quic, value, out);
    debug_assert!(result.is_ok(), "{value} has no encoding");
}

/// Up to two integers that arrive in pieces: the head of a frame, of a capsule or of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    bytes: [u8; 16],
    len: usize,
}

impl Head {
    /// Adds a byte; more than two integers can have are dropped.
    pub(super) fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }

    /// What arrived so far.
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Both integers, once they are there.
    pub(super) fn pair(&self) -> Option<(u64, u64)> {
        let mut bytes = self.as_slice();
        Some((take(&mut bytes)?, take(&mut bytes)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_tells_the_length() {
        for value in [0, 63, 64, 16_383, 16_384, 1 << 29, 1 << 30, MAX] {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(len(out[0]), out.len());
            assert_eq!(read(&out), Some((value, out.len())));
            assert_eq!(read(&out[1..]).filter(|_| out.len() == 1), None);
            assert_eq!(take(&mut &out[..out.len() - 1]), None);
        }
    }

    #[test]
    fn a_head_is_complete_with_its_second_integer() {
        let mut head = Head::default();
        for byte in [0x40, 0x54, 0x80, 0, 0] {
            head.push(byte);
            assert_eq!(head.pair(), None);
        }
        head.push(4);
        assert_eq!(head.pair(), Some((0x54, 4)));
    }
}
