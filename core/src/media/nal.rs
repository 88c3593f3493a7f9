//! NAL units with their length in front, as MP4 and FLV have them for H.264 and H.265 (ISO/IEC 14496-15 § 4.3.3).

use bytes::{BufMut as _, Bytes, BytesMut};

use super::Malformed;

const CUT_OFF: Malformed = Malformed("a NAL unit is longer than its frame");

/// How many bytes the length of each NAL unit takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LengthSize {
    /// One byte.
    One,
    /// Two bytes.
    Two,
    /// Three bytes, which the standard does not have and some readers know.
    Three,
    /// Four bytes, as all frames have them here.
    #[default]
    Four,
}

impl LengthSize {
    /// From `lengthSizeMinusOne`, the two lowest bits of a byte.
    pub(super) const fn from_bits(byte: u8) -> Self {
        match byte & 3 {
            0 => Self::One,
            1 => Self::Two,
            2 => Self::Three,
            _ => Self::Four,
        }
    }

    /// The number of bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
            Self::Four => 4,
        }
    }
}

/// The NAL units of a frame, without their lengths. The last item is an error if the last unit is not whole.
#[derive(Clone, Debug)]
pub struct Units<'a> {
    rest: &'a [u8],
    length_size: LengthSize,
}

impl<'a> Iterator for Units<'a> {
    type Item = Result<&'a [u8], Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let unit = self.take();
        if unit.is_none() {
            self.rest = &[];
        }
        Some(unit.ok_or(CUT_OFF))
    }
}

impl<'a> Units<'a> {
    fn take(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_at_checked(self.length_size.bytes())?;
        let length = length.iter().try_fold(0_usize, |sum, byte| {
            sum.checked_mul(256)?.checked_add(usize::from(*byte))
        })?;
        let (unit, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(unit)
    }
}

/// Goes through the NAL units of a frame.
pub const fn units(payload: &[u8], length_size: LengthSize) -> Units<'_> {
    Units {
        rest: payload,
        length_size,
    }
}

/// The same frame with lengths of 4 bytes.
///
/// # Errors
/// If a NAL unit is not whole.
pub fn widen(payload: &[u8], length_size: LengthSize) -> Result<Bytes, Malformed> {
    let mut to = BytesMut::with_capacity(payload.len() + payload.len() / 8);
    for unit in units(payload, length_size) {
        let unit = unit?;
        to.put_u32(u32::try_from(unit.len()).map_err(|_| CUT_OFF)?);
        to.put_slice(unit);
    }
    Ok(to.freeze())
}

/// Without the bytes that keep start codes out of a unit (`emulation_prevention_three_byte`, H.264 § 7.4.1).
pub(super) fn without_emulation_prevention(unit: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for byte in unit {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        plain.push(*byte);
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_told_apart_by_their_lengths() {
        let payload = [0, 2, 0x65, 1, 0, 0, 0, 1, 0x41];
        let read: Vec<_> = units(&payload, LengthSize::Two).collect();
        assert_eq!(read, [Ok(&[0x65, 1][..]), Ok(&[]), Ok(&[0x41])]);
        let wide = widen(&payload, LengthSize::Two).unwrap();
        assert_eq!(
            wide[..],
            [0, 0, 0, 2, 0x65, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x41]
        );
        for cut in [1, 3, 5, 7, 8] {
            let read: Vec<_> = units(&payload[..cut], LengthSize::Two).collect();
            assert_eq!(read.last(), Some(&Err(CUT_OFF)), "{cut}");
            assert_eq!(widen(&payload[..cut], LengthSize::Two), Err(CUT_OFF));
        }
    }

    #[test]
    fn start_codes_come_back() {
        let unit = [0x67, 0, 0, 3, 1, 0, 0, 3, 0, 0, 3];
        assert_eq!(
            without_emulation_prevention(&unit),
            [0x67, 0, 0, 1, 0, 0, 0, 0]
        );
    }

    proptest! {
        #[test]
        fn wider_lengths_change_no_unit(bytes in prop::collection::vec(any::<u8>(), 0..300), bits: u8) {
            let size = LengthSize::from_bits(bits);
            let wide = widen(&bytes, size);
            let plain: Result<Vec<&[u8]>, _> = units(&bytes, size).collect();
            match (wide, plain) {
                (Ok(wide), Ok(plain)) => {
                    let again: Result<Vec<&[u8]>, _> = units(&wide, LengthSize::Four).collect();
                    prop_assert_eq!(again, Ok(plain));
                }
                (wide, plain) => prop_assert!(wide.is_err() && plain.is_err()),
            }
        }
    }
}
