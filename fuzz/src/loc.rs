//! LOC objects, alone and in a track of any packagings.

use oxymoq_core::draft::IntegerKind;
use oxymoq_core::media::loc::Header;
use oxymoq_core::media::packaging::{Packager, Packer, Unpacked, Unpacker};
use oxymoq_core::media::{Codec, Configuration};
use oxymoq_core::wire::property::Properties;

use crate::track::track;

/// Reads the objects of a track. Headers that can be read are written again, and must then be read as the same. Decoding
/// times must not descend but at key frames or in another timescale, and never be later than the frame is shown. Frames are
/// packed as LOC again, and must come out as they were.
///
/// # Panics
/// If it is not so.
pub fn loc(input: &[u8]) {
    let track = track(input);
    let mut unpacker = Unpacker::new(track.kind);
    let mut before: Option<Unpacked> = None;
    for (properties, payload) in track.objects {
        let _refused = unpacker.clone().handle_track_properties(&properties);
        if let Ok(header) = Header::read(&properties) {
            let again = Properties::from_list(IntegerKind::Vi64, header.properties());
            let again = again.map(|again| Header::read(&again));
            assert_eq!(again, Ok(Ok(header)));
        }
        let Ok(unpacked) = unpacker.unpack(&properties, payload) else {
            continue;
        };
        assert_in_order(before.as_ref(), &unpacked);
        if let Some(configuration) = unpacker.configuration() {
            assert_survives(&unpacked, configuration);
        }
        before = Some(unpacked);
    }
}

fn assert_in_order(before: Option<&Unpacked>, unpacked: &Unpacked) {
    let frame = &unpacked.frame;
    assert!(frame.dts <= frame.pts && frame.timescale > 0, "{frame:?}");
    if frame.is_key || unpacked.packaging != Packager::Loc {
        return;
    }
    if let Some(before) = before.filter(|before| before.frame.timescale == frame.timescale) {
        assert!(before.frame.dts <= frame.dts, "{before:?} {frame:?}");
    }
}

fn assert_survives(unpacked: &Unpacked, configuration: &Configuration) {
    let frame = &unpacked.frame;
    assert_eq!(configuration.codec.kind(), frame.kind);
    // the names of some object types of AAC are those of other codecs, and a NAL unit of one byte is a start code in LOC
    let is_ambiguous =
        configuration.codec == Codec::Aac || frame.payload.starts_with(&[0, 0, 0, 1]);
    // times that QUIC's integers have
    if !(0..1 << 62).contains(&frame.pts) || is_ambiguous {
        return;
    }
    let Ok(mut packer) = Packer::new(Packager::Loc, configuration.codec) else {
        unreachable!("LOC has every codec")
    };
    let Ok(packed) = packer.pack(frame, configuration, true) else {
        return;
    };
    let Ok(properties) = packed.properties(IntegerKind::Vi64) else {
        return;
    };
    let mut unpacker = Unpacker::new(frame.kind);
    let again = unpacker.unpack(&properties, packed.payload);
    let again = again.map(|again| (again.frame.pts, again.frame.is_key, again.frame.payload));
    let expected = (frame.pts, frame.is_key, frame.payload.clone());
    assert_eq!(again, Ok(expected), "{configuration:?}");
    assert_eq!(unpacker.configuration(), Some(configuration));
}
