//! NAL units with start codes, and parameter sets among the units of a frame: the other ways that LOC allows for H.264 and
//! H.265 (§ Video Payload Format).

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::media::nal::{self, LengthSize};

/// Whether the payload has start codes rather than lengths of 4 bytes. What begins with a start code of 4 bytes would otherwise
/// begin with a unit of one byte, so that the draft says to take it for a start code. One of 3 bytes is also how a unit of 256
/// to 511 bytes begins: only tracks that never have lengths or a configuration may use it, so it counts where the track is not
/// `configured`, and only if the payload is not a whole number of units with lengths.
pub(crate) fn has_start_codes(payload: &[u8], configured: bool) -> bool {
    let has_lengths = || nal::units(payload, LengthSize::Four).all(|unit| unit.is_ok());
    payload.starts_with(&[0, 0, 0, 1])
        || !configured && payload.starts_with(&[0, 0, 1]) && !has_lengths()
}

/// The same units with lengths of 4 bytes.
pub(crate) fn to_lengths(payload: &[u8]) -> Bytes {
    let mut to = BytesMut::with_capacity(payload.len() + payload.len() / 8);
    for unit in units(payload) {
        // no payload is larger than 4 GiB
        to.put_u32(u32::try_from(unit.len()).unwrap_or(0));
        to.put_slice(unit);
    }
    to.freeze()
}

/// What is between start codes, without the zeros that may precede them.
fn units(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = payload;
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(next) = rest.windows(3).position(|three| three == [0, 0, 1]) {
        starts.push(at + next);
        at += next + 3;
        rest = rest.get(next + 3..).unwrap_or_default();
    }
    let ends = starts.clone().into_iter().skip(1).chain([payload.len()]);
    starts.into_iter().zip(ends).filter_map(|(start, end)| {
        let unit = payload.get(start + 3..end)?;
        let last = unit.iter().rposition(|byte| *byte != 0)?;
        unit.get(..=last)
    })
}

/// An `AVCDecoderConfigurationRecord` of the parameter sets in a frame with lengths of 4 bytes, if it has both kinds.
pub(crate) fn record_in(payload: &[u8]) -> Option<Bytes> {
    let (mut sps, mut pps): (Vec<&[u8]>, Vec<&[u8]>) = (Vec::new(), Vec::new());
    for unit in nal::units(payload, LengthSize::Four).map_while(Result::ok) {
        match unit.first()? & 0x1f {
            7 => sps.push(unit),
            8 => pps.push(unit),
            _ => {}
        }
    }
    let [_, profile, compatibility, level, ..] = **sps.first()? else {
        return None;
    };
    pps.first()?;
    let mut record = BytesMut::new();
    record.put_slice(&[1, profile, compatibility, level, 0xff]);
    record.put_u8(0xe0 | u8::try_from(sps.len()).ok().filter(|count| *count < 32)?);
    for set in &sps {
        record.put_u16(u16::try_from(set.len()).ok()?);
        record.put_slice(set);
    }
    record.put_u8(u8::try_from(pps.len()).ok()?);
    for set in &pps {
        record.put_u16(u16::try_from(set.len()).ok()?);
        record.put_slice(set);
    }
    Some(record.freeze())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn start_codes_become_lengths() {
        let payload = [
            0, 0, 0, 1, 0x67, 1, 2, 3, 0, 0, 1, 0x68, 9, 0, 0, 0, 1, 0x65, 7, 0, 0,
        ];
        assert!(has_start_codes(&payload, true));
        let expected = [
            0, 0, 0, 4, 0x67, 1, 2, 3, 0, 0, 0, 2, 0x68, 9, 0, 0, 0, 2, 0x65, 7,
        ];
        assert_eq!(to_lengths(&payload)[..], expected);
        assert!(!has_start_codes(&expected, false));
        // of three bytes
        assert!(has_start_codes(&payload[1..], false));
        assert_eq!(to_lengths(&payload[1..])[..], expected);
    }

    #[test]
    fn a_unit_of_hundreds_of_bytes_does_not_begin_with_a_start_code() {
        let mut payload = vec![0, 0, 1, 0x2c, 0x41];
        payload.resize(4 + 300, 0xff);
        assert!(!has_start_codes(&payload, false));
        payload.pop();
        assert!(has_start_codes(&payload, false));
        assert!(!has_start_codes(&payload, true), "then it is only damaged");
    }

    #[test]
    fn parameter_sets_in_a_frame_make_a_record() {
        let payload = [
            0, 0, 0, 5, 0x67, 66, 0xc0, 13, 3, 0, 0, 0, 2, 0x68, 9, 0, 0, 0, 1, 0x65,
        ];
        let record = [
            1, 66, 0xc0, 13, 0xff, 0xe1, 0, 5, 0x67, 66, 0xc0, 13, 3, 1, 0, 2, 0x68, 9,
        ];
        assert_eq!(record_in(&payload).unwrap()[..], record);
        assert_eq!(record_in(&payload[9..]), None, "no sequence parameter set");
        assert_eq!(record_in(&payload[..9]), None, "no picture parameter set");
    }

    proptest! {
        #[test]
        fn any_payload_is_read(payload in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..60)) {
            let lengths = to_lengths(&payload);
            prop_assert!(nal::units(&lengths, LengthSize::Four).all(|unit| unit.is_ok()));
            record_in(&lengths);
        }
    }
}
