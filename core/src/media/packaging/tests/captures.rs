//! What a browser wrote, read and written again.

use super::*;
use crate::draft::Draft;
use crate::wire::object::{
    Datagram, ObjectStatus, StreamType, SubgroupDecoder, SubgroupItem, decode_datagram,
    decode_stream_type,
};

/// The objects of a captured subgroup.
fn objects(stream: &'static [u8]) -> Vec<(Properties, Bytes)> {
    let profile = Draft::D18.profile();
    let (kind, length) = decode_stream_type(profile, stream).unwrap().unwrap();
    let StreamType::Subgroup(kind) = kind else {
        unreachable!("it is a subgroup")
    };
    let mut decoder = SubgroupDecoder::new(profile, kind);
    decoder.push(Bytes::from_static(&stream[length..]));
    let mut objects: Vec<(Properties, Bytes)> = Vec::new();
    while let Some(item) = decoder.next_item().unwrap() {
        match item {
            SubgroupItem::Object(header) if header.status == ObjectStatus::Normal => {
                objects.push((header.properties, Bytes::new()));
            }
            SubgroupItem::Payload(payload) => objects.last_mut().unwrap().1 = payload,
            SubgroupItem::Object(_) | SubgroupItem::Track(_) | SubgroupItem::Opened(_) => {}
        }
    }
    objects
}

/// Takes the frames of a track out of its objects, and packs them again: every property must be as the browser wrote it.
fn there_and_back(
    objects: &[(Properties, Bytes)],
    codec: Codec,
    mut packer: Packer,
) -> (Configuration, Vec<Frame>) {
    let mut unpacker = Unpacker::new(codec.kind());
    let mut frames = Vec::new();
    for (properties, payload) in objects {
        let unpacked = unpacker.unpack(properties, payload.clone()).unwrap();
        let config = unpacker.configuration().unwrap();
        assert_eq!(config.codec, codec);
        let frame = unpacked.frame;
        let packed = packer.pack(&frame, config, frame.is_key).unwrap();
        let mut packed = packed.properties;
        // the browser had counted further, and names its codec by itself
        for (number, value) in &mut packed {
            match (&mut *value, *number) {
                (Value::Bytes(list), 0x15 | 0x0F) if unpacked.sequence.is_some() => {
                    *list = with_sequence(list, unpacked.sequence.unwrap());
                }
                (Value::Bytes(name), 0x11) => {
                    *name = properties.byte_string(0x11).unwrap();
                }
                _ => {}
            }
        }
        let again = Properties::from_list(VI64, packed).unwrap();
        assert_eq!(again.bytes(), properties.bytes());
        assert_eq!(frame.payload, payload);
        frames.push(frame);
    }
    (unpacker.configuration().unwrap().clone(), frames)
}

/// A list in MoQT's integers that starts with another number. It counts from 0 here, so the old one has one byte.
fn with_sequence(list: &Bytes, sequence: u64) -> Bytes {
    let mut to = bytes::BytesMut::new();
    varint::encode(VI64, sequence, &mut to).unwrap();
    to.extend_from_slice(&list[1..]);
    to.freeze()
}

fn loc(codec: Codec) -> Packer {
    packer(Packager::Loc, codec)
}

fn moqmi_in_vi64(codec: Codec) -> Packer {
    packer(Packager::MoqMi, codec).with_lists(VI64)
}

#[test]
fn video_as_loc() {
    let objects = objects(include_bytes!("../../samples/loc-video.bin"));
    assert_eq!(objects.len(), 2);
    let (config, frames) = there_and_back(&objects, Codec::H264, loc(Codec::H264));
    assert_eq!(config.record.len(), 33);
    assert_eq!(
        frames.iter().map(|frame| frame.is_key).collect::<Vec<_>>(),
        [true, false]
    );
    let key = &frames[0];
    assert_eq!(
        (key.timescale, key.pts, key.wall),
        (1_000_000, 0xbf9979, None)
    );
    assert_eq!(key.payload.len(), 2803);
    // Baseline: no reordering
    assert!(frames.iter().all(|frame| frame.dts == frame.pts));
}

#[test]
fn audio_as_loc() {
    for objects in [
        objects(include_bytes!("../../samples/loc-audio.bin")),
        datagram(include_bytes!("../../samples/loc-audio-datagram.bin")),
    ] {
        assert_eq!(objects.len(), 1);
        let (config, frames) = there_and_back(&objects, Codec::Opus, loc(Codec::Opus));
        let head = OpusHead::parse(&config.record).unwrap();
        assert_eq!((head.channels, head.input_sample_rate), (1, 48_000));
        assert_eq!(frames[0].timescale, 1_000_000);
    }
}

fn datagram(bytes: &'static [u8]) -> Vec<(Properties, Bytes)> {
    let profile = Draft::D18.profile();
    match decode_datagram(profile, &Bytes::from_static(bytes)).unwrap() {
        Datagram::Object(_, object) => vec![(object.properties, object.payload)],
        Datagram::Padding => Vec::new(),
    }
}

#[test]
fn video_as_moqmi() {
    let objects = objects(include_bytes!("../../samples/moqmi-video.bin"));
    assert_eq!(objects.len(), 2);
    let (_, frames) = there_and_back(&objects, Codec::H264, moqmi_in_vi64(Codec::H264));
    let key = &frames[0];
    assert!(key.is_key && !frames[1].is_key);
    assert_eq!((key.dts, key.pts), (9_976_200, 9_976_200));
    assert_eq!((key.timescale, key.duration), (1_000_000, 50_295));
    assert_eq!(key.wall, Some(1_795_350_596_992));
}

#[test]
fn audio_as_moqmi() {
    let objects = objects(include_bytes!("../../samples/moqmi-audio.bin"));
    assert_eq!(objects.len(), 1);
    let (config, frames) = there_and_back(&objects, Codec::Opus, moqmi_in_vi64(Codec::Opus));
    let head = OpusHead::parse(&config.record).unwrap();
    assert_eq!((head.channels, head.input_sample_rate), (1, 48_000));
    assert_eq!(
        (frames[0].duration, frames[0].timescale),
        (10_000, 1_000_000)
    );
}
