//! H.265: its decoder configuration record, and where a group can start.

use bytes::{Bytes, BytesMut};

use super::bits::Bits;
use super::nal::{self, LengthSize};

/// The bytes of an `HEVCDecoderConfigurationRecord` without its parameter sets.
pub const MIN_RECORD: usize = 23;

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

/// How many frames at most come earlier in the order of decoding than in the order of showing, as the first sequence parameter
/// set of an `hvcC` record tells for all its layers (`sps_max_num_reorder_pics`); `None` if there is none that can be read.
pub fn reorder_depth(record: &[u8]) -> Option<u8> {
    const SPS: u8 = 33;
    let (arrays, mut rest) = record.get(MIN_RECORD - 1..)?.split_first()?;
    for _ in 0..*arrays {
        let (unit_type, after) = rest.split_first()?;
        let (count, after) = after.split_first_chunk::<2>()?;
        rest = after;
        for _ in 0..u16::from_be_bytes(*count) {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (unit, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
            rest = after;
            if unit_type & 0x3f == SPS {
                return reorder_depth_of(unit);
            }
        }
    }
    None
}

/// From a sequence parameter set (H.265 § 7.3.2.2.1).
fn reorder_depth_of(unit: &[u8]) -> Option<u8> {
    let plain = nal::without_emulation_prevention(unit);
    let mut bits = Bits::new(plain.get(2..)?);
    bits.skip(4)?; // sps_video_parameter_set_id
    let more_layers = bits.small(3)?;
    bits.skip(1)?;
    profile_tier_level(&mut bits, more_layers)?;
    bits.unsigned()?; // sps_seq_parameter_set_id
    if bits.unsigned()? == 3 {
        bits.skip(1)?;
    }
    bits.unsigned()?; // width
    bits.unsigned()?; // height
    if bits.flag()? {
        for _ in 0..4 {
            bits.unsigned()?; // conformance window
        }
    }
    for _ in 0..3 {
        bits.unsigned()?; // bit depths, log2_max_pic_order_cnt_lsb_minus4
    }
    let layers = if bits.flag()? { more_layers + 1 } else { 1 };
    let mut depth = 0;
    for _ in 0..layers {
        bits.unsigned()?; // sps_max_dec_pic_buffering_minus1
        depth = bits.unsigned()?;
        bits.unsigned()?; // sps_max_latency_increase_plus1
    }
    u8::try_from(depth).ok().filter(|depth| *depth <= 16)
}

/// Passes over `profile_tier_level` (H.265 § 7.3.3).
fn profile_tier_level(bits: &mut Bits<'_>, more_layers: u8) -> Option<()> {
    const PROFILE: usize = 88;
    const LEVEL: usize = 8;
    bits.skip(PROFILE + LEVEL)?;
    let mut present = Vec::new();
    for _ in 0..more_layers {
        present.push((bits.flag()?, bits.flag()?));
    }
    if more_layers > 0 {
        bits.skip(2 * (8 - usize::from(more_layers)))?;
    }
    for (profile, level) in present {
        bits.skip(if profile { PROFILE } else { 0 })?;
        bits.skip(if level { LEVEL } else { 0 })?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    /// A record with this sequence parameter set between two others.
    fn record_with(sps: &[u8]) -> Vec<u8> {
        let mut record = vec![1; MIN_RECORD - 1];
        record.push(3);
        for (unit_type, unit) in [(0x20, &[0x40, 1][..]), (0xa1, sps), (0x22, &[0x44, 1])] {
            record.extend([unit_type, 0, 1]);
            record.extend(u16::try_from(unit.len()).unwrap().to_be_bytes());
            record.extend_from_slice(unit);
        }
        record
    }

    #[test]
    fn the_depth_of_reordering_is_told() {
        // what x265 wrote for 64x48 with 3 B frames in a pyramid, and for none
        let pyramid = [
            0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00,
            0x00, 0x03, 0x00, 0x1e, 0xa0, 0x20, 0x83, 0x16, 0x59, 0x59, 0x52, 0x93, 0x0b, 0xc0,
            0x5a, 0x02, 0x00, 0x00, 0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x32, 0x10,
        ];
        assert_eq!(reorder_depth(&record_with(&pyramid)), Some(2));
        let none = [
            0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00,
            0x00, 0x03, 0x00, 0x1e, 0xa0, 0x20, 0x83, 0x16, 0x5b, 0xa4, 0xa4, 0xc2, 0xf0, 0x16,
            0x80, 0x80, 0x00, 0x00, 0x03, 0x00, 0x80, 0x00, 0x00, 0x0c, 0x84,
        ];
        assert_eq!(reorder_depth(&record_with(&none)), Some(0));
        let record = record_with(&pyramid);
        for cut in 0..MIN_RECORD + 30 {
            assert_eq!(reorder_depth(&record[..cut]), None, "{cut}");
        }
        assert_eq!(reorder_depth(&record_with(&[])), None);
        assert_eq!(reorder_depth(&[1; MIN_RECORD]), None, "no parameter set");
    }

    #[test]
    fn the_deepest_layer_counts() {
        // two layers, each with its own depth: 1 and 3; the lower one has a level of its own
        let fields = [
            (0_u32, 4),
            (1, 3),
            (1, 1), // one layer more
            (0, 88),
            (93, 8),
            (0, 1),
            (1, 1),
            (0, 14),
            (90, 8), // profile, tier, level
            (1, 1),
            (2, 3),
            (0b00111, 5),
            (0b00111, 5),
            (0, 1), // set 0, 4:2:0, 6 by 6, no window
            (0b111, 3),
            (1, 1), // depths, and the layers told one by one
            (2, 3),
            (2, 3),
            (1, 1), // 1, 1, 0
            (0b00100, 5),
            (0b00100, 5),
            (1, 1), // 3, 3, 0
        ];
        let mut text = String::from("0100001000000001");
        for (value, width) in fields {
            text.push_str(&format!("{value:0width$b}"));
        }
        while !text.len().is_multiple_of(8) {
            text.push('0');
        }
        let bytes = (0..text.len()).step_by(8);
        let sps: Vec<u8> = bytes
            .map(|at| u8::from_str_radix(&text[at..at + 8], 2).unwrap())
            .collect();
        let sps = protected(&sps);
        assert_eq!(reorder_depth(&record_with(&sps)), Some(3));
    }

    /// With the bytes that keep start codes out.
    fn protected(unit: &[u8]) -> Vec<u8> {
        let mut to = Vec::new();
        for byte in unit {
            if to.ends_with(&[0, 0]) && *byte <= 3 {
                to.push(3);
            }
            to.push(*byte);
        }
        to
    }

    proptest! {
        #[test]
        fn any_record_is_read(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let mut record = vec![1; MIN_RECORD - 1];
            record.extend_from_slice(&bytes);
            let depths = [reorder_depth(&record), reorder_depth(&record_with(&bytes))];
            prop_assert!(depths.into_iter().flatten().all(|depth| depth <= 16));
        }
    }
}
