//! A track made of an input: objects, each as properties and a payload.

use bytes::Bytes;
use oxymoq_core::draft::IntegerKind;
use oxymoq_core::media::Kind;
use oxymoq_core::wire::property::Properties;

pub(crate) struct Track {
    pub(crate) kind: Kind,
    pub(crate) integers: IntegerKind,
    pub(crate) objects: Vec<(Properties, Bytes)>,
}

/// The first byte tells the kind (bit 0: audio) and the integers of the session (bit 1: QUIC's). Then, for each object, a byte
/// for the length of its properties and the properties, and a byte for the length of its payload and the payload; what is
/// missing at the end is left out.
pub(crate) fn track(input: &[u8]) -> Track {
    let (first, mut rest) = input
        .split_first()
        .map_or((0, input), |(first, rest)| (*first, rest));
    let integers = if first & 2 == 0 {
        IntegerKind::Vi64
    } else {
        IntegerKind::Quic
    };
    let mut objects = Vec::new();
    while !rest.is_empty() {
        let properties = Properties::from_bytes(take(&mut rest), integers);
        objects.push((properties, take(&mut rest)));
    }
    Track {
        kind: if first & 1 == 0 {
            Kind::Video
        } else {
            Kind::Audio
        },
        integers,
        objects,
    }
}

fn take(from: &mut &[u8]) -> Bytes {
    let Some((length, rest)) = from.split_first() else {
        return Bytes::new();
    };
    let (taken, rest) = rest.split_at(usize::from(*length).min(rest.len()));
    *from = rest;
    Bytes::copy_from_slice(taken)
}
