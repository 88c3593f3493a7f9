//! Reads through bytes bit by bit, the most significant one first.

/// A position between two bits. Reading beyond the end gives `None`, and leaves the position where it was.
#[derive(Clone, Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bits are left.
    pub(super) const fn remaining(&self) -> usize {
        self.bytes.len().saturating_mul(8).saturating_sub(self.at)
    }

    /// The next `count` bits as a number; at most 32.
    pub(super) fn read(&mut self, count: u32) -> Option<u32> {
        let width = usize::try_from(count.min(32)).ok()?;
        if self.remaining() < width {
            return None;
        }
        let mut value = 0;
        for at in self.at..self.at + width {
            let byte = self.bytes.get(at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - at % 8) & 1);
        }
        self.at += width;
        Some(value)
    }

    /// The next `count` bits as a small number; at most 8.
    pub(super) fn small(&mut self, count: u32) -> Option<u8> {
        u8::try_from(self.read(count.min(8))?).ok()
    }

    /// The next bit.
    pub(super) fn flag(&mut self) -> Option<bool> {
        Some(self.read(1)? == 1)
    }

    /// Passes over bits.
    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        if self.remaining() < count {
            return None;
        }
        self.at += count;
        Some(())
    }

    /// Passes over the rest of a byte that was begun.
    pub(super) const fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }

    /// An unsigned Exp-Golomb number, `ue(v)` of H.264 § 9.1.
    pub(super) fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.read(zeros)?;
        Some((1_u32 << zeros) - 1 + rest)
    }

    /// A signed Exp-Golomb number, `se(v)` of H.264 § 9.1.1.
    pub(super) fn signed(&mut self) -> Option<i64> {
        let code = i64::from(self.unsigned()?);
        Some(if code % 2 == 0 {
            -(code / 2)
        } else {
            code / 2 + 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_from_the_most_significant_one() {
        let mut bits = Bits::new(&[0b1010_0101, 0xff, 0x00]);
        assert_eq!(bits.read(3), Some(0b101));
        assert_eq!(bits.flag(), Some(false));
        assert_eq!(bits.small(6), Some(0b01_0111));
        bits.align();
        assert_eq!(bits.remaining(), 8);
        assert_eq!(bits.read(9), None);
        assert_eq!(bits.skip(9), None);
        assert_eq!(bits.read(8), Some(0));
        assert_eq!(bits.flag(), None);
    }

    #[test]
    fn exponential_golomb_numbers() {
        // 1 | 010 | 011 | 00100 | 00101 | ...
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let read: Vec<_> = std::iter::from_fn(|| bits.unsigned()).collect();
        assert_eq!(read, [0, 1, 2, 3, 4]);
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let read: Vec<_> = std::iter::from_fn(|| bits.signed()).collect();
        assert_eq!(read, [0, 1, -1, 2, -2]);
        let mut greatest = Bits::new(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(greatest.unsigned(), Some(u32::MAX - 1));
        assert_eq!(Bits::new(&[0; 9]).unsigned(), None);
    }
}
