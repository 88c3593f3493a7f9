//! MoqMi objects.

use oxymoq_core::draft::IntegerKind;
use oxymoq_core::media::moqmi::{Header, Text};
use oxymoq_core::media::packaging::{Packager, Packer, Unpacker};
use oxymoq_core::wire::property::Properties;

use crate::track::track;

/// Reads the objects of a track. What can be read is written with either kind of integer in its lists, and must then be
/// readable; what the draft's integers express exactly must be the same. Frames that come out are packed again, and must
/// come out as they were.
///
/// # Panics
/// If they are not.
pub fn moqmi(input: &[u8]) {
    let track = track(input);
    let mut unpacker = Unpacker::new(track.kind);
    for (properties, payload) in track.objects {
        if let Ok(header) = Header::read(&properties) {
            assert!(header_survives(&header, track.integers), "{header:?}");
        }
        let _text = Text::decode(&payload);
        let Ok(unpacked) = unpacker.unpack(&properties, payload) else {
            continue;
        };
        let Some(configuration) = unpacker.configuration() else {
            continue;
        };
        let Ok(mut packer) = Packer::new(Packager::MoqMi, configuration.codec) else {
            continue;
        };
        let frame = unpacked.frame;
        let Ok(packed) = packer.pack(&frame, configuration, frame.is_key) else {
            continue;
        };
        let Ok(properties) = packed.properties(IntegerKind::Vi64) else {
            continue;
        };
        let again = Unpacker::new(track.kind).unpack(&properties, packed.payload);
        let again = again.map(|again| (again.frame.is_key, again.frame.payload));
        assert_eq!(again, Ok((frame.is_key, frame.payload)), "{properties:?}");
    }
}

/// Whether what is written can be read.
fn header_survives(header: &Header, session: IntegerKind) -> bool {
    [IntegerKind::Quic, IntegerKind::Vi64]
        .into_iter()
        .filter_map(|lists| header.properties(lists).ok())
        .filter_map(|list| Properties::from_list(session, list).ok())
        .all(|properties| Header::read(&properties).is_ok())
}
