//! QUIC variable-length integers (RFC 9000 § Variable-Length Integer Encoding), whole and arriving in pieces.

/// The largest value that the encoding can carry.
pub(super) const MAX: u64 = (1 << 62) - 1;

/// How many bytes the encoding has whose first byte this is.
pub(super) const fn len(first: u8) -> usize {
    1 << (first >> 6)
}

/// The integer at the start of `bytes` and the number of bytes it takes; `None` if it is cut off.
pub(super) fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let (&first, _) = bytes.split_first()?;
    let len = len(first);
    let rest = bytes.get(1..len)?;
    let high = u64::from(first & 0x3f);
    let value = rest
        .iter()
        .fold(high, |value, &byte| value << 8 | u64::from(byte));
    Some((value, len))
}

/// Takes the integer at the start of `bytes` off; `None` if it is cut off.
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (value, len) = read(bytes)?;
    *bytes = bytes.get(len..)?;
    Some(value)
}

/// Appends the shortest encoding of `value`, which is at most [`MAX`].
pub(super) fn put(out: &mut Vec<u8>, value: u64) {
    debug_assert!(value <= MAX);
    let (tag, len): (u64, usize) = match value {
        0..=0x3f => (0, 1),
        0x40..=0x3fff => (1 << 14, 2),
        0x4000..=0x3fff_ffff => (2 << 30, 4),
        _ => (3 << 62, 8),
    };
    let bytes = (value | tag).to_be_bytes();
    out.extend(bytes.iter().skip(bytes.len() - len));
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_rfc_9000_read_and_write() {
        let examples: [(u64, &[u8]); 4] = [
            (
                151_288_809_941_952_652,
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
            ),
            (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
            (15_293, &[0x7b, 0xbd]),
            (37, &[0x25]),
        ];
        for (value, bytes) in examples {
            assert_eq!(read(bytes), Some((value, bytes.len())));
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out, bytes);
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), None);
            }
        }
        // A longer encoding than needed is allowed.
        assert_eq!(read(&[0x40, 0x25]), Some((37, 2)));
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

    proptest! {
        #[test]
        fn every_integer_comes_back(value in 0..=MAX) {
            let mut out = Vec::new();
            put(&mut out, value);
            prop_assert_eq!(read(&out), Some((value, out.len())));
        }
    }
}
