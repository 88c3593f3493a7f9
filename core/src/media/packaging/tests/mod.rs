//! Tests of packing and unpacking.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::draft::IntegerKind;
use crate::media::aac::AudioSpecificConfig;
use crate::media::opus::OpusHead;
use crate::media::{Frame, loc, moqmi};
use crate::wire::property::{Properties, Value};
use crate::wire::varint;

mod captures;
mod files;
mod round_trip;
mod times;

const QUIC: IntegerKind = IntegerKind::Quic;
const VI64: IntegerKind = IntegerKind::Vi64;

/// High profile, two B-frames deep.
const AVCC: &[u8] = &[
    0x01, 0x64, 0x00, 0x0a, 0xff, 0xe1, 0x00, 0x18, 0x67, 0x64, 0x00, 0x0a, 0xac, 0xd9, 0x44, 0x7b,
    0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x22, 0x59, 0x60,
    0x01, 0x00, 0x06, 0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0x00,
];
/// 44.1 kHz stereo, with the flag that says that there is no SBR.
const ASC: &[u8] = &[0x12, 0x10, 0x56, 0xE5, 0x00];
/// Three channels.
const SURROUND: &[u8] = b"OpusHead\x01\x03\x38\x01\x80\xbb\x00\x00\x00\x00\x01\x02\x01\x00\x02\x01";
const IDR: &[u8] = &[0, 0, 0, 3, 0x65, 1, 2];
const DELTA: &[u8] = &[0, 0, 0, 2, 0x41, 9];

fn configuration(codec: Codec) -> Configuration {
    let record: &[u8] = match codec {
        Codec::H264 => AVCC,
        Codec::H265 => &[
            1, 1, 0x60, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 93, 0xf0, 0, 0xfc, 0xfd, 0xf8, 0xf8, 0, 0,
            0x0f, 0,
        ],
        Codec::Av1 => &[0x81, 4, 0x0c, 0],
        Codec::Vp8 => &[],
        Codec::Vp9 => &[1, 0, 0, 0, 0, 10, 0x82, 2, 2, 2, 0, 0],
        Codec::Aac => ASC,
        Codec::Opus => b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00",
        Codec::Flac => b"fLaC\x80\x00\x00\x22",
        Codec::Mp3 | Codec::Ac3 | Codec::Eac3 => &[],
    };
    Configuration {
        codec,
        record: Bytes::from_static(record),
    }
}

/// A frame at this time, in milliseconds.
fn frame(codec: Codec, is_key: bool, time: i64) -> Frame {
    let payload: &[u8] = match (codec, is_key) {
        (Codec::H264, true) => IDR,
        (Codec::H264, false) => DELTA,
        (Codec::H265, true) => &[0, 0, 0, 3, 0x26, 1, 2],
        (Codec::H265, false) => &[0, 0, 0, 3, 0x02, 1, 2],
        (Codec::Opus, _) => &[0xfc, 1, 2],
        (_, true) => &[1],
        (_, false) => &[2],
    };
    Frame {
        kind: codec.kind(),
        is_key: is_key || codec.kind() == Kind::Audio,
        dts: time,
        pts: time,
        duration: 0,
        timescale: 1000,
        wall: None,
        payload: Bytes::from_static(payload),
    }
}

fn packer(packager: Packager, codec: Codec) -> Packer {
    Packer::new(packager, codec).unwrap()
}

/// Packs a frame, puts its properties on the wire, and gives both.
fn pack(packer: &mut Packer, frame: &Frame, configuration: &Configuration) -> (Properties, Bytes) {
    let packed = packer.pack(frame, configuration, frame.is_key).unwrap();
    (packed.properties(VI64).unwrap(), packed.payload)
}

fn numbers(packed: &Packed) -> Vec<u64> {
    packed
        .properties
        .iter()
        .map(|(number, _)| *number)
        .collect()
}

fn value(packed: &Packed, number: u64) -> &Value {
    let mut properties = packed.properties.iter();
    let found = properties.find(|(found, _)| *found == number);
    &found.unwrap().1
}

fn list(properties: impl IntoIterator<Item = (u64, Value)>) -> Properties {
    Properties::from_list(VI64, properties).unwrap()
}

fn refusal(unpacker: &mut Unpacker, properties: &Properties) -> String {
    unpacker
        .unpack(properties, Bytes::new())
        .unwrap_err()
        .to_string()
}

#[test]
fn names_of_packagers() {
    for packager in Packager::ALL {
        assert_eq!(packager.to_string().parse(), Ok(packager));
    }
    let unknown = "cmaf".parse::<Packager>().unwrap_err().to_string();
    assert_eq!(unknown, "not one of moqmi, loc, dual");
}

#[test]
fn every_packaging_has_its_properties() {
    let cases = [
        (Packager::MoqMi, Codec::H264, true, &[0x0A, 0x0D, 0x15][..]),
        (Packager::MoqMi, Codec::H264, false, &[0x0A, 0x15]),
        (Packager::MoqMi, Codec::Aac, true, &[0x0A, 0x13]),
        (Packager::MoqMi, Codec::Opus, true, &[0x0A, 0x0F]),
        (
            Packager::Loc,
            Codec::H264,
            true,
            &[0x08, 0x09, 0x0D, 0x10, 0x11],
        ),
        (Packager::Loc, Codec::H264, false, &[0x08, 0x09, 0x10, 0x11]),
        (Packager::Loc, Codec::Vp8, true, &[0x08, 0x09, 0x10, 0x11]),
        (Packager::Loc, Codec::Opus, true, &[0x08, 0x0F, 0x10, 0x11]),
        (Packager::Loc, Codec::Mp3, true, &[0x08, 0x10, 0x11]),
        (
            Packager::Dual,
            Codec::H264,
            true,
            &[0x08, 0x09, 0x0A, 0x0D, 0x10, 0x11, 0x15],
        ),
        (
            Packager::Dual,
            Codec::H264,
            false,
            &[0x08, 0x09, 0x0A, 0x10, 0x11, 0x15],
        ),
        (
            Packager::Dual,
            Codec::Aac,
            true,
            &[0x08, 0x0A, 0x0F, 0x10, 0x11, 0x13],
        ),
        (Packager::Dual, Codec::Opus, true, &[0x0A, 0x0F]),
        (
            Packager::Dual,
            Codec::Av1,
            true,
            &[0x08, 0x09, 0x0D, 0x10, 0x11],
        ),
    ];
    for (packager, codec, is_key, expected) in cases {
        let mut packer = packer(packager, codec);
        let packed = packer
            .pack(&frame(codec, is_key, 40), &configuration(codec), is_key)
            .unwrap();
        assert_eq!(numbers(&packed), expected, "{packager} {codec:?}");
    }
}

#[test]
fn the_first_object_of_a_group_has_the_configuration_whatever_it_is() {
    for packager in Packager::ALL {
        let mut packer = packer(packager, Codec::H264);
        let config = configuration(Codec::H264);
        let packed = packer.pack(&frame(Codec::H264, false, 0), &config, true);
        let record = Value::Bytes(config.record);
        assert_eq!(*value(&packed.unwrap(), 0x0D), record);
    }
}

#[test]
fn what_cannot_be_carried_is_refused_in_words() {
    let refused = Packer::new(Packager::MoqMi, Codec::Av1).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Av1 cannot be packaged as moqmi: it has H.264, AAC-LC and Opus only"
    );
    let why = |packager, codec, record: &'static [u8]| {
        let config = Configuration {
            codec,
            record: Bytes::from_static(record),
        };
        let mut packer = packer(packager, codec);
        packer
            .pack(&frame(codec, true, 0), &config, true)
            .unwrap_err()
            .why
    };
    let short = "lengths of NAL units are not of 4 bytes";
    assert_eq!(
        why(Packager::Loc, Codec::H264, &[1, 66, 0, 30, 0xfd, 0xe0, 0]),
        short
    );
    assert_eq!(why(Packager::Loc, Codec::H265, &[0; 23]), short);
    assert_eq!(
        why(Packager::MoqMi, Codec::H264, &[1, 66]),
        "a configuration that is cut off"
    );
    // USAC
    assert_eq!(
        why(Packager::MoqMi, Codec::Aac, &[0xf9, 0x46, 0x00]),
        "it is not AAC-LC"
    );
    assert_eq!(why(Packager::MoqMi, Codec::Opus, b"Opus"), "no OpusHead");
    assert_eq!(
        why(Packager::MoqMi, Codec::Opus, SURROUND),
        "it has more than two channels"
    );
    let mut packer = packer(Packager::Dual, Codec::Aac);
    let mut frame = frame(Codec::Aac, true, 0);
    frame.timescale = 0;
    let refused = packer.pack(&frame, &configuration(Codec::Aac), true);
    assert_eq!(refused.unwrap_err().why, "a timescale of 0");
}

#[test]
fn dual_falls_back_to_loc_for_sound_that_moqmi_does_not_have() {
    let surround = Configuration {
        codec: Codec::Opus,
        record: Bytes::from_static(SURROUND),
    };
    let mut opus = packer(Packager::Dual, Codec::Opus);
    let packed = opus.pack(&frame(Codec::Opus, true, 0), &surround, true);
    assert_eq!(numbers(&packed.unwrap()), [0x08, 0x0F, 0x10, 0x11]);

    let usac = Configuration {
        codec: Codec::Aac,
        record: Bytes::from_static(&[0xf9, 0x46, 0x00]),
    };
    let mut packer = packer(Packager::Dual, Codec::Aac);
    let packed = packer.pack(&frame(Codec::Aac, true, 0), &usac, true);
    assert_eq!(numbers(&packed.unwrap()), [0x08, 0x0F, 0x10, 0x11]);
    // and a codec may change in the middle
    let h264 = packer.pack(
        &frame(Codec::H264, true, 0),
        &configuration(Codec::H264),
        true,
    );
    assert_eq!(numbers(&h264.unwrap()).len(), 7);
}

#[test]
fn audio_configurations_of_dual_objects_are_filled_up_until_they_are_seven_integers() {
    for (record, zeros) in [
        (&[0x11, 0x88][..], 8), // 1 + 4 bytes + 5
        (&[0x12, 0x10], 5),
        (ASC, 3),
        (&[0x11, 0x88, 0x56, 0xE5, 0x00], 5),
        (&[0x12; 9], 0),
    ] {
        let config = Configuration {
            codec: Codec::Aac,
            record: Bytes::copy_from_slice(record),
        };
        let mut packer = packer(Packager::Dual, Codec::Aac);
        let packed = packer.pack(&frame(Codec::Aac, true, 0), &config, true);
        let packed = packed.unwrap();
        let filled = [record, &vec![0; zeros]].concat();
        assert_eq!(
            *value(&packed, 0x0F),
            Value::Bytes(filled.clone().into()),
            "{record:x?}"
        );
        // a receiver that looks for the times of Opus finds them
        let mut rest = &filled[..];
        for _ in 0..7 {
            let (_, length) = varint::decode(QUIC, rest).unwrap();
            rest = &rest[length..];
        }
        // what comes back is what was there
        let properties = packed.properties(VI64).unwrap();
        let unpacked = Unpacker::new(Kind::Audio).unpack(&properties, Bytes::new());
        assert_eq!(unpacked.unwrap().configuration, Some(config));
    }
}

#[test]
fn a_track_may_change_its_packaging_without_changing_its_configuration() {
    for codec in [Codec::H264, Codec::Aac] {
        let config = configuration(codec);
        let mut unpacker = Unpacker::new(codec.kind());
        let mut changes = 0;
        for (packager, time) in [
            (Packager::Loc, 0),
            (Packager::MoqMi, 40),
            (Packager::Dual, 80),
            (Packager::MoqMi, 120),
            (Packager::Loc, 160),
        ] {
            let mut packer = packer(packager, codec);
            let (properties, payload) = pack(&mut packer, &frame(codec, true, time), &config);
            let unpacked = unpacker.unpack(&properties, payload).unwrap();
            assert_eq!(unpacked.packaging, packager);
            assert_eq!(unpacked.sequence.is_some(), packager != Packager::Loc);
            assert_eq!(unpacked.frame.pts, time);
            changes += usize::from(unpacked.configuration.is_some());
            assert_eq!(unpacker.configuration(), Some(&config));
        }
        assert_eq!(changes, 1, "{codec:?}");
    }
}

#[test]
fn moqmi_makes_a_configuration_of_what_it_tells() {
    let mut unpacker = Unpacker::new(Kind::Audio);
    let mut aac = packer(Packager::MoqMi, Codec::Aac);
    let (properties, payload) = pack(
        &mut aac,
        &frame(Codec::Aac, true, 0),
        &configuration(Codec::Aac),
    );
    let made = unpacker.unpack(&properties, payload.clone()).unwrap();
    let record = AudioSpecificConfig::aac_lc(44_100, 2).encode().unwrap();
    let codec = Codec::Aac;
    assert_eq!(made.configuration, Some(Configuration { codec, record }));
    let again = unpacker.unpack(&properties, payload).unwrap();
    assert_eq!(again.configuration, None);

    let mut opus = packer(Packager::MoqMi, Codec::Opus);
    let (properties, payload) = pack(
        &mut opus,
        &frame(Codec::Opus, true, 0),
        &configuration(Codec::Opus),
    );
    let made = unpacker.unpack(&properties, payload).unwrap();
    let head = OpusHead::parse(&made.configuration.unwrap().record).unwrap();
    assert_eq!((head.channels, head.input_sample_rate), (2, 48_000));
}

#[test]
fn objects_of_another_kind_are_refused() {
    let mut video = Unpacker::new(Kind::Video);
    let mut audio = Unpacker::new(Kind::Audio);
    for packager in [Packager::MoqMi, Packager::Loc] {
        let mut h264 = packer(packager, Codec::H264);
        let (picture, _) = pack(
            &mut h264,
            &frame(Codec::H264, true, 0),
            &configuration(Codec::H264),
        );
        assert_eq!(
            refusal(&mut audio, &picture),
            "a picture on a track of audio"
        );
        let mut opus = packer(packager, Codec::Opus);
        let (sound, _) = pack(
            &mut opus,
            &frame(Codec::Opus, true, 0),
            &configuration(Codec::Opus),
        );
        assert_eq!(refusal(&mut video, &sound), "sound on a track of video");
    }
    let text = moqmi::Header::Text(moqmi::Text { sequence: 1 });
    let text = list(text.properties(QUIC).unwrap());
    let expected = "text on a track of video or audio";
    assert_eq!(refusal(&mut video, &text), expected);
    assert_eq!(video.configuration(), None);
}

#[test]
fn objects_of_no_packaging_are_refused_in_words() {
    let mut unpacker = Unpacker::new(Kind::Video);
    let integer = |number, value| list([(number, Value::Integer(value))]);
    for (properties, expected) in [
        (Properties::default(), "neither MoqMi nor LOC"),
        (integer(0x20, 1), "neither MoqMi nor LOC"),
        (integer(0x08, 1), "property 0x10 (timestamp) is missing"),
        (
            integer(0x0A, 0),
            "property 0x15 (numbers and times of a frame) is missing",
        ),
        (integer(0x0A, 77), "property 0x0a: an unknown media type"),
        (
            integer(0x10, 1 << 63),
            "property 0x10: a time above 2^63 - 1",
        ),
    ] {
        assert_eq!(refusal(&mut unpacker, &properties), expected);
    }
    let times = |timebase, pts| {
        let header = moqmi::Header::Video(moqmi::Video {
            sequence: 0,
            pts,
            dts: 0,
            timebase,
            duration: 0,
            wallclock: 0,
            extradata: None,
        });
        list(header.properties(VI64).unwrap())
    };
    assert_eq!(
        refusal(&mut unpacker, &times(1 << 32, 0)),
        "property 0x15: a timebase above 2^32 - 1"
    );
    assert_eq!(
        refusal(&mut unpacker, &times(1000, 1 << 63)),
        "property 0x15: a time above 2^63 - 1"
    );
    let surround = moqmi::Header::Audio(moqmi::Audio {
        codec: moqmi::AudioCodec::Opus,
        sequence: 0,
        pts: 0,
        timebase: 1000,
        sample_rate: 48_000,
        channels: 6,
        duration: 0,
        wallclock: 0,
    });
    let surround = list(surround.properties(QUIC).unwrap());
    assert_eq!(
        refusal(&mut Unpacker::new(Kind::Audio), &surround),
        "property 0x0f: neither 1 nor 2 channels, and MoqMi cannot tell which is which"
    );
}

#[test]
fn opus_of_loc_is_not_taken_for_moqmi_by_a_media_type() {
    let opus = configuration(Codec::Opus);
    let mut packer = packer(Packager::Loc, Codec::Opus);
    let packed = packer
        .pack(&frame(Codec::Opus, true, 20), &opus, true)
        .unwrap();
    let mut properties = packed.properties;
    properties.push((0x0A, Value::Integer(1)));
    let mut unpacker = Unpacker::new(Kind::Audio);
    let unpacked = unpacker.unpack(&list(properties), packed.payload).unwrap();
    assert_eq!(unpacked.packaging, Packager::Loc);
    assert_eq!(unpacked.configuration, Some(opus));
}

mod loc_without_help {
    //! LOC as the draft alone has it: without names of codecs, and with what it leaves to the track or the frame.

    use super::*;

    fn timestamp(time: u64) -> (u64, Value) {
        (0x10, Value::Integer(time))
    }

    fn bytes(number: u64, value: &[u8]) -> (u64, Value) {
        (number, Value::Bytes(Bytes::copy_from_slice(value)))
    }

    #[test]
    fn without_a_timescale_the_timestamp_is_the_wall_clock() {
        let mut unpacker = Unpacker::new(Kind::Audio);
        let properties = list([timestamp(1_700_000_000_123_456)]);
        let frame = unpacker.unpack(&properties, Bytes::new()).unwrap().frame;
        assert_eq!(
            (frame.pts, frame.timescale),
            (1_700_000_000_123_456, 1_000_000)
        );
        assert_eq!(frame.wall, Some(1_700_000_000_123));
        // unless the track has one
        let track = list([(0x08, Value::Integer(48_000)), bytes(0x0F, &[0x11, 0x88])]);
        unpacker.handle_track_properties(&track).unwrap();
        let unpacked = unpacker.unpack(&properties, Bytes::new()).unwrap();
        assert_eq!(
            (unpacked.frame.timescale, unpacked.frame.wall),
            (48_000, None)
        );
        let zero = list([(0x08, Value::Integer(0))]);
        assert!(unpacker.handle_track_properties(&zero).is_err());
    }

    #[test]
    fn the_codec_is_known_by_the_configuration_of_object_track_or_catalog() {
        let object = list([bytes(0x0D, AVCC), timestamp(0)]);
        let plain = list([timestamp(40)]);
        let expected = Some(configuration(Codec::H264));
        let mut unpacker = Unpacker::new(Kind::Video);
        let first = unpacker.unpack(&object, Bytes::from_static(IDR)).unwrap();
        assert_eq!(
            (first.configuration, first.frame.is_key),
            (expected.clone(), true)
        );
        let second = unpacker.unpack(&plain, Bytes::from_static(DELTA)).unwrap();
        assert_eq!((second.configuration, second.frame.is_key), (None, false));

        let mut of_catalog = Unpacker::new(Kind::Video);
        of_catalog.expect_configuration(configuration(Codec::H264));
        let unpacked = of_catalog.unpack(&plain, Bytes::from_static(IDR)).unwrap();
        assert_eq!(unpacked.configuration, expected);

        let mut of_track = Unpacker::new(Kind::Video);
        of_track.expect_codec(Codec::H264);
        let track = list([bytes(0x0D, AVCC)]);
        of_track.handle_track_properties(&track).unwrap();
        let unpacked = of_track.unpack(&plain, Bytes::from_static(IDR)).unwrap();
        assert_eq!(unpacked.configuration, expected);
    }

    #[test]
    fn nothing_known_still_is_a_frame() {
        let mut unpacker = Unpacker::new(Kind::Video);
        let properties = list([bytes(0x09, &[0xE0]), timestamp(7)]);
        let unpacked = unpacker
            .unpack(&properties, Bytes::from_static(b"?"))
            .unwrap();
        assert_eq!(unpacked.frame.payload, Bytes::from_static(b"?"));
        assert!(unpacked.frame.is_key);
        assert_eq!(unpacker.configuration(), None);
    }

    #[test]
    fn short_lengths_become_long_ones() {
        let mut record = AVCC.to_vec();
        record[4] = 0xfd;
        let mut unpacker = Unpacker::new(Kind::Video);
        let key = list([bytes(0x0D, &record), timestamp(0)]);
        let short = Bytes::from_static(&[0, 3, 0x65, 1, 2]);
        let unpacked = unpacker.unpack(&key, short).unwrap();
        assert_eq!(unpacked.configuration, Some(configuration(Codec::H264)));
        assert_eq!(unpacked.frame.payload[..], *IDR);
        let delta = list([timestamp(40)]);
        let short = Bytes::from_static(&[0, 2, 0x41, 9]);
        let unpacked = unpacker.unpack(&delta, short).unwrap();
        assert_eq!(unpacked.frame.payload[..], *DELTA);
        let cut = Bytes::from_static(&[0, 9, 0x41]);
        assert!(unpacker.unpack(&delta, cut).is_err());
    }

    #[test]
    fn start_codes_and_parameter_sets_in_the_frame() {
        let name = bytes(0x11, b"avc3.42C00D");
        let mut unpacker = Unpacker::new(Kind::Video);
        let frame = |level: u8| {
            let parts = [
                &[0, 0, 0, 1, 0x67, 66, 0xc0, level, 3][..],
                &[0, 0, 0, 1, 0x68, 9, 0, 0, 1, 0x65, 7],
            ];
            Bytes::from(parts.concat())
        };
        let properties = |time| list([timestamp(time), name.clone()]);
        let first = unpacker.unpack(&properties(0), frame(13)).unwrap();
        let record = first.configuration.unwrap().record;
        assert_eq!(record[..4], [1, 66, 0xc0, 13]);
        assert!(first.frame.is_key);
        assert_eq!(first.frame.payload[..4], [0, 0, 0, 5]);
        let second = unpacker.unpack(&properties(40), frame(13)).unwrap();
        assert_eq!(second.configuration, None);
        let third = unpacker.unpack(&properties(80), frame(20)).unwrap();
        assert_eq!(third.configuration.unwrap().record[3], 20);
    }

    #[test]
    fn a_codec_without_a_configuration_has_one_made_of_its_name() {
        let mut unpacker = Unpacker::new(Kind::Video);
        let properties = list([timestamp(0), bytes(0x11, b"av01.0.04M.08")]);
        let made = unpacker.unpack(&properties, Bytes::new()).unwrap();
        assert_eq!(
            made.configuration,
            Some(Configuration {
                codec: Codec::Av1,
                record: Bytes::from_static(&[0x81, 4, 0x0c, 0]),
            })
        );
        // another codec, of which nothing is known
        let properties = list([timestamp(40), bytes(0x11, b"avc1.42C00D")]);
        let unpacked = unpacker.unpack(&properties, Bytes::new()).unwrap();
        assert_eq!(unpacked.configuration, None);
        assert_eq!(unpacker.configuration(), None);
        let unknown = list([timestamp(0), bytes(0x11, b"vvc1.1")]);
        assert_eq!(
            refusal(&mut unpacker, &unknown),
            "property 0x11: a codec that is not known"
        );
    }

    #[test]
    fn damaged_configurations_are_refused_and_forgotten() {
        let mut unpacker = Unpacker::new(Kind::Video);
        for (name, record) in [(&b"avc1"[..], &[1, 66][..]), (b"hvc1", &[1; 22])] {
            let properties = list([bytes(0x0D, record), timestamp(0), bytes(0x11, name)]);
            let refused = refusal(&mut unpacker, &properties);
            assert!(refused.starts_with("property 0x0d: no "), "{refused}");
        }
        assert_eq!(unpacker.configuration(), None);
    }
}
