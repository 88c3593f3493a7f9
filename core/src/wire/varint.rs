//! The two encodings of variable-length integers.
//!
//! Drafts up to 16 use QUIC's (RFC 9000 § 16): two bits of length, 1, 2, 4 or 8 bytes, up to 2^62 - 1. Draft 18 has its
//! own (§ Variable-Length Integers): the leading one-bits of the first byte count the bytes that follow, 1 to 9 bytes in
//! all, every `u64`. Both accept an integer written longer than needed; both are written as short as possible here.

use bytes::BufMut;

use super::NotExpressible;
use crate::draft::IntegerKind;

/// The largest integer of QUIC's encoding, 2^62 - 1.
pub const MAX_QUIC: u64 = (1 << 62) - 1;

/// The most bytes an integer takes, in either encoding.
pub const MAX_LEN: usize = 9;

/// Reads the integer at the start of `bytes`: its value and how many bytes it takes. `None`: more bytes are needed.
pub fn decode(kind: IntegerKind, bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let (length, first) = match kind {
        IntegerKind::Quic => (1_usize << (first >> 6), first & 0x3f),
        IntegerKind::Vi64 => {
            let more = first.leading_ones();
            let mask = 0x7f_u8.checked_shr(more).unwrap_or(0);
            (usize::try_from(more).ok()? + 1, first & mask)
        }
    };
    let value = bytes
        .get(1..length)?
        .iter()
        .fold(u64::from(first), |value, byte| {
            value << 8 | u64::from(*byte)
        });
    Some((value, length))
}

/// How many bytes the integer takes when written as short as possible; for [`IntegerKind::Quic`] an integer above
/// [`MAX_QUIC`] has no encoding, and 8 is returned.
pub const fn len(kind: IntegerKind, value: u64) -> usize {
    match kind {
        IntegerKind::Quic => match value {
            0..=0x3f => 1,
            0x40..=0x3fff => 2,
            0x4000..=0x3fff_ffff => 4,
            _ => 8,
        },
        IntegerKind::Vi64 => match value {
            0..=0x7f => 1,
            0x80..=0x3fff => 2,
            0x4000..=0x1f_ffff => 3,
            0x20_0000..=0xfff_ffff => 4,
            0x1000_0000..=0x7_ffff_ffff => 5,
            0x8_0000_0000..=0x3ff_ffff_ffff => 6,
            0x400_0000_0000..=0x1_ffff_ffff_ffff => 7,
            0x2_0000_0000_0000..=0xff_ffff_ffff_ffff => 8,
            _ => 9,
        },
    }
}

/// Writes the integer as short as possible.
///
/// # Errors
/// If the encoding ends below `value`: QUIC's, above [`MAX_QUIC`].
pub fn encode(kind: IntegerKind, value: u64, to: &mut impl BufMut) -> Result<(), NotExpressible> {
    let length = len(kind, value);
    let prefix = match kind {
        IntegerKind::Quic if value > MAX_QUIC => {
            return Err(NotExpressible("an integer above 2^62 - 1"));
        }
        IntegerKind::Quic => u64::from(length.trailing_zeros()) << 62,
        IntegerKind::Vi64 if length == MAX_LEN => {
            to.put_u8(0xff);
            to.put_u64(value);
            return Ok(());
        }
        // length - 1 leading ones
        IntegerKind::Vi64 => {
            !(u64::MAX
                .checked_shr(u32::try_from(length - 1).unwrap_or(0))
                .unwrap_or(0))
        }
    };
    let shift = 64 - 8 * length;
    let image = prefix | value << shift;
    to.put_uint(image >> shift, length);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The examples of draft 18 § Variable-Length Integers and of RFC 9000 § A.1.
    const EXAMPLES: &[(IntegerKind, &[u8], u64)] = &[
        (IntegerKind::Vi64, &[0x25], 37),
        (IntegerKind::Vi64, &[0x80, 0x25], 37),
        (IntegerKind::Vi64, &[0xbb, 0xbd], 15_293),
        (IntegerKind::Vi64, &[0xed, 0x7f, 0x3e, 0x7d], 226_442_877),
        (
            IntegerKind::Vi64,
            &[0xfa, 0xa1, 0xa0, 0xe4, 0x03, 0xd8],
            2_893_212_287_960,
        ),
        (
            IntegerKind::Vi64,
            &[0xfc, 0x89, 0x98, 0xab, 0xc6, 0x6b, 0xc0],
            151_288_809_941_952,
        ),
        (
            IntegerKind::Vi64,
            &[0xfe, 0xfa, 0x31, 0x8f, 0xa8, 0xe3, 0xca, 0x11],
            70_423_237_261_249_041,
        ),
        (IntegerKind::Vi64, &[0xff; 9], u64::MAX),
        (
            IntegerKind::Quic,
            &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
            151_288_809_941_952_652,
        ),
        (IntegerKind::Quic, &[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
        (IntegerKind::Quic, &[0x7b, 0xbd], 15_293),
        (IntegerKind::Quic, &[0x25], 37),
        (IntegerKind::Quic, &[0x40, 0x25], 37),
    ];

    // Rules: B002
    #[test]
    fn examples_of_the_specifications() {
        for (kind, bytes, value) in EXAMPLES {
            assert_eq!(
                decode(*kind, bytes),
                Some((*value, bytes.len())),
                "{bytes:x?}"
            );
            for cut in 0..bytes.len() {
                assert_eq!(
                    decode(*kind, &bytes[..cut]),
                    None,
                    "{bytes:x?} cut at {cut}"
                );
            }
        }
    }

    // Rules: B001
    #[test]
    fn integers_change_length_where_the_tables_say() {
        let vi64 = [
            1_u64 << 7,
            1 << 14,
            1 << 21,
            1 << 28,
            1 << 35,
            1 << 42,
            1 << 49,
            1 << 56,
        ];
        for (bytes, limit) in (1..).zip(vi64) {
            assert_eq!(len(IntegerKind::Vi64, limit - 1), bytes);
            assert_eq!(len(IntegerKind::Vi64, limit), bytes + 1);
        }
        for (limit, below, at) in [(1_u64 << 6, 1, 2), (1 << 14, 2, 4), (1 << 30, 4, 8)] {
            assert_eq!(len(IntegerKind::Quic, limit - 1), below);
            assert_eq!(len(IntegerKind::Quic, limit), at);
        }
    }

    // Rules: B002
    #[test]
    fn a_longer_form_than_needed_is_read() {
        for value in [0_u8, 37] {
            for length in 2..=9_u8 {
                // As many ones as bytes follow, then the value at the end.
                let ones = u16::MAX << (9 - length);
                let first = u8::try_from(ones & 0xff).unwrap();
                let mut bytes = vec![0; usize::from(length)];
                bytes[0] = first;
                bytes[usize::from(length) - 1] = value;
                let read = Some((u64::from(value), usize::from(length)));
                assert_eq!(decode(IntegerKind::Vi64, &bytes), read, "{bytes:x?}");
            }
            for (length, first) in [(2, 0x40), (4, 0x80), (8, 0xc0)] {
                let mut bytes = vec![0; length];
                bytes[0] = first;
                bytes[length - 1] = value;
                let read = Some((u64::from(value), length));
                assert_eq!(decode(IntegerKind::Quic, &bytes), read, "{bytes:x?}");
            }
        }
    }

    #[test]
    fn quic_integers_end_at_62_bits() {
        let mut bytes = Vec::new();
        assert!(encode(IntegerKind::Quic, MAX_QUIC + 1, &mut bytes).is_err());
        assert!(bytes.is_empty());
        encode(IntegerKind::Quic, MAX_QUIC, &mut bytes).unwrap();
        assert_eq!(bytes, [0xff; 8]);
    }

    proptest! {
        // Rules: B001
        #[test]
        fn every_integer_survives(bits in 0_u32..64, value: u64, quic: bool) {
            let kind = if quic { IntegerKind::Quic } else { IntegerKind::Vi64 };
            let value = value >> bits.max(if quic { 2 } else { 0 });
            let mut bytes = Vec::new();
            encode(kind, value, &mut bytes).unwrap();
            prop_assert_eq!(bytes.len(), len(kind, value));
            prop_assert_eq!(decode(kind, &bytes), Some((value, bytes.len())));
        }
    }
}
