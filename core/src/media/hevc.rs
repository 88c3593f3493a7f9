//! H.265: its decoder configuration record, and where a group can start.

use bytes::{Bytes, BytesMut};

use super::nal::{self, LengthSize};

/// Where `lengthSizeMinusOne` stands in an `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15 § 8.3.3.1).
const LENGTHS: usize = 21;

/// What precedes each NAL unit of a frame, as an `hvcC` record tells; 4 bytes where it is cut off.
pub fn length_size(record: &[u8]) -> LengthSize {
    record
        .get(LENGTHS)
        .map_or(LengthSize::Four, |byte| LengthSize::from_bits(*byte))
}

/// The same record for frames whose NAL units have lengths of 4 bytes.
pub fn widen_record(record: &Bytes) -> Bytes {
    if length_size(record) == LengthSize::Four {
        return record.clone();
    }
    let mut wide = BytesMut::from(&record[..]);
    if let Some(byte) = wide.get_mut(LENGTHS) {
        *byte |= 3;
    }
    wide.freeze()
}

/// Whether decoding can begin with a frame, with lengths of 4 bytes: an intra random access point (H.265 § 3.69), that is
/// an IDR, BLA or CRA picture. Pictures that follow a CRA picture and are shown before it are passed over by decoders that
/// begin there; encoders use them by default, so that waiting for an IDR picture would be waiting for ever.
pub fn is_random_access(payload: &[u8]) -> bool {
    nal::units(payload, LengthSize::Four)
        .map_while(Result::ok)
        .filter_map(|unit| unit.first())
        .any(|first| matches!(first >> 1 & 0x3f, 16..=21))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_access_points_are_known_by_their_units() {
        for (unit, expected) in [
            (16, true),
            (19, true),
            (21, true),
            (1, false),
            (22, false),
            (32, false),
        ] {
            let payload = [0, 0, 0, 2, 32 << 1, 1, 0, 0, 0, 2, unit << 1, 1];
            assert_eq!(is_random_access(&payload), expected, "{unit}");
        }
        assert!(
            !is_random_access(&[0, 0, 0, 9, 19 << 1, 1]),
            "a unit that is not there"
        );
    }

    #[test]
    fn a_record_for_short_lengths_is_widened() {
        let mut record = vec![1; 30];
        record[21] = 0x0d;
        assert_eq!(length_size(&record), LengthSize::Two);
        let wide = widen_record(&record.into());
        assert_eq!((length_size(&wide), wide[21]), (LengthSize::Four, 0x0f));
        assert_eq!(widen_record(&wide), wide);
        assert_eq!(length_size(&[1; 21]), LengthSize::Four);
        assert_eq!(widen_record(&Bytes::from_static(&[1; 21])), [1; 21][..]);
    }
}
