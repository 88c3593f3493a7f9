//! Every codec through every packaging and both kinds of integers.

use super::*;

const CODECS: [Codec; 11] = [
    Codec::H264,
    Codec::H265,
    Codec::Av1,
    Codec::Vp8,
    Codec::Vp9,
    Codec::Aac,
    Codec::Opus,
    Codec::Flac,
    Codec::Mp3,
    Codec::Ac3,
    Codec::Eac3,
];

/// A frame of the codec, as far as its bytes matter.
fn any_frame(codec: Codec) -> impl Strategy<Value = Frame> {
    let times = (0_i64..1 << 40, 0_i64..10_000, 1_u64..10_000);
    let scale = prop::sample::select(vec![1000_u32, 44_100, 48_000, 90_000, 1_000_000]);
    let wall = proptest::option::of(1_600_000_000_000_u64..1_900_000_000_000);
    let rest = prop::collection::vec(any::<u8>(), 0..60);
    (any::<bool>(), times, scale, wall, rest).prop_map(
        move |(is_key, (dts, delay, duration), timescale, wall, rest)| {
            let delay = if codec == Codec::H264 { delay } else { 0 };
            let start = frame(codec, is_key, dts);
            // behind NAL units there may only be others
            let payload = if matches!(codec, Codec::H264 | Codec::H265) {
                start.payload.clone()
            } else {
                [&start.payload[..], &rest].concat().into()
            };
            Frame {
                pts: dts + delay,
                duration,
                timescale,
                wall,
                payload,
                ..start
            }
        },
    )
}

proptest! {
    #[test]
    fn frames_come_back(
        packager in prop::sample::select(Packager::ALL.to_vec()),
        (codec, frame) in prop::sample::select(CODECS.to_vec())
            .prop_flat_map(|codec| (Just(codec), any_frame(codec))),
        session in prop::sample::select(vec![QUIC, VI64]),
    ) {
        let config = configuration(codec);
        let Ok(mut packer) = Packer::new(packager, codec) else {
            prop_assert_eq!(packager.for_codec(codec), None);
            return Ok(());
        };
        let packed = packer.pack(&frame, &config, true).unwrap();
        let properties = packed.properties(session).unwrap();
        let mut unpacker = Unpacker::new(codec.kind());
        let unpacked = unpacker.unpack(&properties, packed.payload).unwrap();
        let packaging = packager.for_codec(codec).unwrap();
        prop_assert_eq!(unpacked.packaging, packaging);
        prop_assert_eq!(&unpacked.frame.payload, &frame.payload);
        prop_assert_eq!(unpacked.frame.pts, frame.pts);
        prop_assert_eq!(unpacked.frame.timescale, frame.timescale);
        prop_assert_eq!(unpacked.frame.is_key, frame.is_key);
        if packaging == Packager::Loc {
            prop_assert!(unpacked.frame.dts <= frame.pts);
        } else {
            prop_assert_eq!(unpacked.frame, frame);
        }
        // MoqMi alone does not have the record of sound
        if packaging != Packager::MoqMi || codec == Codec::H264 {
            prop_assert_eq!(unpacked.configuration, Some(config));
        } else {
            prop_assert_eq!(unpacked.configuration.map(|config| config.codec), Some(codec));
        }
    }

    #[test]
    fn any_properties_are_read_or_refused(
        objects in prop::collection::vec(
            (
                prop::collection::btree_map(
                    prop::sample::select(vec![
                        0x08_u64, 0x09, 0x0A, 0x0B, 0x0D, 0x0F, 0x10, 0x11, 0x13, 0x15, 0x41,
                    ]),
                    (
                        prop_oneof![0_u64..6, any::<u64>()],
                        prop_oneof![
                            prop::collection::vec(any::<u8>(), 0..40),
                            prop::sample::select(vec![
                                AVCC.to_vec(),
                                ASC.to_vec(),
                                b"avc1".to_vec(),
                                b"hvc1".to_vec(),
                                b"av01.0.04M.08".to_vec(),
                                vec![0, 0, 0, 0x1e, 1, 0],
                                vec![0, 0, 0x1e, 0x1e, 1, 1, 0],
                            ]),
                        ],
                    ),
                    0..8,
                ),
                prop::collection::vec(prop_oneof![0_u8..3, any::<u8>()], 0..40),
            ),
            0..8,
        ),
        video: bool,
    ) {
        let mut unpacker = Unpacker::new(if video { Kind::Video } else { Kind::Audio });
        for (properties, payload) in objects {
            let properties = properties.into_iter().map(|(number, (integer, bytes))| {
                let value = if number % 2 == 0 {
                    Value::Integer(integer)
                } else {
                    Value::Bytes(bytes.into())
                };
                (number, value)
            });
            let properties = list(properties);
            // the same properties of a track
            let _refused = unpacker.clone().handle_track_properties(&properties);
            if let Ok(unpacked) = unpacker.unpack(&properties, payload.into()) {
                let frame = unpacked.frame;
                prop_assert!(frame.timescale > 0 && frame.dts <= frame.pts);
                if let Some(config) = unpacked.configuration {
                    prop_assert_eq!(unpacker.configuration(), Some(&config));
                    prop_assert_eq!(config.codec.kind(), frame.kind);
                    // what was read can be packed again
                    for packager in Packager::ALL {
                        if let Ok(mut packer) = Packer::new(packager, config.codec) {
                            let _unsupported = packer.pack(&frame, &config, true);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_properties_or_not(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        quic: bool,
        video: bool,
    ) {
        let integers = if quic { QUIC } else { VI64 };
        let properties = Properties::from_bytes(bytes.into(), integers);
        let mut unpacker = Unpacker::new(if video { Kind::Video } else { Kind::Audio });
        if let Err(malformed) = unpacker.unpack(&properties, Bytes::new()) {
            prop_assert!(!malformed.to_string().is_empty());
        }
        if let Ok(header) = loc::Header::read(&properties) {
            prop_assert!(header.timescale != Some(0));
        }
    }
}
