//! Tests of MoqMi headers.

use proptest::prelude::*;

use super::*;

const QUIC: IntegerKind = IntegerKind::Quic;
const VI64: IntegerKind = IntegerKind::Vi64;

/// The bytes of a configuration, and the property with it: Baseline profile, one parameter set of each kind.
const AVCC: &[u8] = &[
    0x01, 0x42, 0xc0, 0x0d, 0xff, 0xe1, 0x00, 0x1c, 0x67, 0x42, 0xc0, 0x0d, 0xda, 0x05, 0x06, 0xfe,
    0x5c, 0x05, 0xa8, 0x10, 0x10, 0x2a, 0x00, 0x00, 0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x78,
    0x1e, 0x28, 0x55, 0x40, 0x01, 0x00, 0x04, 0x68, 0xce, 0x3c, 0x80,
];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

/// A list of properties in hex, with the integers of a session.
fn list(integers: IntegerKind, text: &str) -> Properties {
    Properties::from_bytes(hex(text).into(), integers)
}

fn one(number: u64, value: Value) -> (u64, Value) {
    (number, value)
}

fn bytes(number: u64, value: &[u8]) -> (u64, Value) {
    one(number, Value::Bytes(Bytes::copy_from_slice(value)))
}

fn media_type(value: u64) -> (u64, Value) {
    one(MEDIA_TYPE, Value::Integer(value))
}

fn read(properties: &[(u64, Value)]) -> Result<Header, Malformed> {
    Header::read(&in_session(properties))
}

fn in_session(properties: &[(u64, Value)]) -> Properties {
    Properties::from_list(VI64, properties.to_vec()).unwrap()
}

fn video(extradata: Option<&'static [u8]>) -> Video {
    Video {
        sequence: 7,
        pts: 1000,
        dts: 1000,
        timebase: 1000,
        duration: 33,
        wallclock: 1_700_000_000_000,
        extradata: extradata.map(Bytes::from_static),
    }
}

fn audio(codec: AudioCodec) -> Audio {
    Audio {
        codec,
        sequence: 9,
        pts: 1000,
        timebase: 1000,
        sample_rate: 48_000,
        channels: 2,
        duration: 21,
        wallclock: 1_700_000_000_000,
    }
}

/// The examples of the draft. Its text still has the number 0x0B for the list of video, and the fields one by one.
#[test]
fn examples_of_the_draft() {
    let first = Header::Video(Video {
        sequence: 0,
        pts: 0,
        dts: 0,
        timebase: 30,
        duration: 1,
        wallclock: 0x0195_456C_8BFF,
        extradata: Some(Bytes::from_static(AVCC)),
    });
    let properties = [
        media_type(0),
        bytes(0x0D, AVCC),
        bytes(0x15, &hex("00 00 00 1E 01 C0 00 01 95 45 6C 8B FF")),
    ];
    assert_eq!(first.properties(QUIC).unwrap(), properties);
    assert_eq!(read(&properties), Ok(first));

    let second = Header::Video(Video {
        sequence: 1,
        pts: 0,
        dts: 0,
        timebase: 30,
        duration: 1,
        wallclock: 0x0195_456C_3BE0,
        extradata: None,
    });
    let list = hex("01 00 00 1E 01 C0 00 01 95 45 6C 3B E0");
    let properties = [media_type(0), bytes(0x15, &list)];
    assert_eq!(second.properties(QUIC).unwrap(), properties);
    assert_eq!(read(&properties), Ok(second));

    // AAC. The example writes 1024 as 0x4400.
    let sound = Header::Audio(Audio {
        codec: AudioCodec::Aac,
        sequence: 0,
        pts: 0,
        timebase: 48_000,
        sample_rate: 48_000,
        channels: 2,
        duration: 1024,
        wallclock: 0x0195_456C_3BE0,
    });
    let list = hex("00 00 80 00 BB 80 80 00 BB 80 02 44 00 C0 00 01 95 45 6C 3B E0");
    assert_eq!(list.len(), 0x15);
    let properties = [media_type(3), bytes(0x13, &list)];
    assert_eq!(sound.properties(QUIC).unwrap(), properties);
    assert_eq!(read(&properties), Ok(sound));
}

/// Property blocks as moxygen writes them, with the integers of drafts 16 and 18. Its lists are in QUIC's with both.
#[test]
fn blocks_of_moxygen() {
    let times = "0743e843e843e821c000018bcfe56800";
    let avcc: String = AVCC.iter().map(|byte| format!("{byte:02x}")).collect();
    let sound = "0943e843e88000bb800215c000018bcfe56800";
    for integers in [QUIC, VI64] {
        let cases = [
            (format!("0a000b10{times}"), Header::Video(video(None))),
            (
                format!("0a00032b{avcc}0810{times}"),
                Header::Video(video(Some(AVCC))),
            ),
            (
                format!("0a030913{sound}"),
                Header::Audio(audio(AudioCodec::Aac)),
            ),
        ];
        for (block, header) in cases {
            let properties = list(integers, &block);
            assert_eq!(Header::read(&properties), Ok(header.clone()), "{block}");
            let written = header.properties(QUIC).unwrap();
            let written = Properties::from_list(integers, written).unwrap();
            assert_eq!(written.bytes(), properties.bytes(), "{block}");
        }
        // its media type of Opus is read, and the draft's written
        let opus = Header::Audio(audio(AudioCodec::Opus));
        let theirs = list(integers, &format!("0a040513{sound}"));
        assert_eq!(Header::read(&theirs), Ok(opus.clone()));
        let ours = Properties::from_list(integers, opus.properties(QUIC).unwrap()).unwrap();
        assert_eq!(ours, list(integers, &format!("0a010513{sound}")));
        assert_eq!(Header::read(&ours), Ok(opus));
    }
}

/// The largest integers of QUIC, as moxygen's tests have them.
#[test]
fn largest_integers() {
    let large = 0x3FFF_FFFF_FFFF_FF00;
    let list = |order: &[u8]| -> Vec<u8> {
        order
            .iter()
            .flat_map(|last| [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, *last])
            .collect()
    };
    let picture = Header::Video(Video {
        sequence: large,
        pts: large + 1,
        dts: large + 2,
        timebase: large + 4,
        duration: large + 3,
        wallclock: large + 5,
        extradata: None,
    });
    let properties = [media_type(0), bytes(0x15, &list(&[0, 1, 2, 4, 3, 5]))];
    assert_eq!(picture.properties(QUIC).unwrap(), properties);
    assert_eq!(read(&properties), Ok(picture));
    let sound = Header::Audio(Audio {
        codec: AudioCodec::Aac,
        sequence: large,
        pts: large + 1,
        timebase: large + 2,
        sample_rate: large + 3,
        channels: large + 4,
        duration: large + 5,
        wallclock: large + 6,
    });
    let properties = [media_type(3), bytes(0x13, &list(&[0, 1, 2, 3, 4, 5, 6]))];
    assert_eq!(sound.properties(QUIC).unwrap(), properties);
    assert_eq!(read(&properties), Ok(sound));
    // no integer of QUIC is larger
    let beyond = Header::Text(Text { sequence: 1 << 62 });
    assert!(beyond.properties(QUIC).is_err());
    assert_eq!(read(&beyond.properties(VI64).unwrap()), Ok(beyond));
}

#[test]
fn text_has_a_number() {
    let text = Header::Text(Text { sequence: 300 });
    let properties = [media_type(2), bytes(0x11, &[0x41, 0x2c])];
    assert_eq!(text.properties(QUIC).unwrap(), properties);
    assert_eq!(read(&properties), Ok(text.clone()));
    assert_eq!(read(&text.properties(VI64).unwrap()), Ok(text));
    assert_eq!(Text::decode("grüß".as_bytes()), Ok("grüß"));
    let not_utf8 = Text::decode(&[0xff]).unwrap_err();
    assert_eq!(not_utf8.to_string(), "text that is not UTF-8");
}

#[test]
fn what_is_missing_repeated_or_wrong_is_named() {
    let times = &hex("00 00 00 1E 01 00")[..];
    let sound = &hex("00 00 1E 80 00 BB 80 02 01 00")[..];
    let refusal = |properties: &[(u64, Value)]| read(properties).unwrap_err().to_string();
    let cases: [(&[(u64, Value)], &str); 13] = [
        (&[], "property 0x0a (media type) is missing"),
        (
            &[bytes(0x15, times)],
            "property 0x0a (media type) is missing",
        ),
        (&[media_type(5)], "property 0x0a: an unknown media type"),
        (
            &[media_type(0)],
            "property 0x15 (numbers and times of a frame) is missing",
        ),
        (
            &[media_type(1), bytes(0x13, sound)],
            "property 0x0f (numbers and times of a frame) is missing",
        ),
        (
            &[media_type(3), bytes(0x0F, sound)],
            "property 0x13 (numbers and times of a frame) is missing",
        ),
        (
            &[media_type(2)],
            "property 0x11 (number of a text) is missing",
        ),
        (
            &[media_type(0), media_type(0), bytes(0x15, times)],
            "property 0x0a is there more than once",
        ),
        (
            &[media_type(0), bytes(0x15, times), bytes(0x15, times)],
            "property 0x15 is there more than once",
        ),
        (
            &[media_type(0), bytes(0x15, &times[..5])],
            "property 0x15: a list that neither kind of integer takes up exactly",
        ),
        (
            &[media_type(0), bytes(0x15, &hex("00 00 00 00 01 00"))],
            "property 0x15: a timebase of 0",
        ),
        (
            &[media_type(0), bytes(0x0D, &[]), bytes(0x15, times)],
            "property 0x0d: not an AVCDecoderConfigurationRecord",
        ),
        (
            &[
                media_type(0),
                bytes(0x0D, &[1, 66, 0, 30, 0xfd, 0xe0, 0]),
                bytes(0x15, times),
            ],
            "property 0x0d: lengths of NAL units are not of 4 bytes",
        ),
    ];
    for (properties, expected) in cases {
        assert_eq!(refusal(properties), expected);
    }
    let timebase = hex("00 00 00 80 00 BB 80 02 01 00");
    let properties = [media_type(3), bytes(0x13, &timebase)];
    assert_eq!(refusal(&properties), "property 0x13: a timebase of 0");
    let cut = list(VI64, "0a00 0b10 07");
    let refusal = Header::read(&cut).unwrap_err().to_string();
    assert_eq!(refusal, "properties that cannot be read");
}

#[test]
fn immutable_properties_count_and_others_do_not() {
    let times = [media_type(0), bytes(0x15, &hex("00 00 00 1E 01 00"))];
    let inner = Properties::from_list(VI64, times.clone()).unwrap();
    let block = bytes(0x0B, inner.bytes());
    let header = read(&times).unwrap();
    assert_eq!(read(std::slice::from_ref(&block)).as_ref(), Ok(&header));
    // those outside come first
    let later = bytes(0x15, &hex("09 00 00 1E 01 00"));
    let Ok(Header::Video(video)) = read(&[block, later]) else {
        unreachable!("it is video");
    };
    assert_eq!(video.sequence, 9);
    // unknown ones may be repeated
    let odd = [bytes(0x41, b"x"), bytes(0x41, b"y")];
    assert_eq!(read(&[&times[..], &odd].concat()), Ok(header));
}

/// Lists that both kinds of integers take up: the more plausible values count, and then QUIC's.
#[test]
fn ambiguous_lists() {
    let times = |text: &str| {
        let list = hex(text);
        assert_eq!(metadata::count(QUIC, &list), Some(6), "{text}");
        assert_eq!(metadata::count(VI64, &list), Some(6), "{text}");
        match read(&[media_type(0), bytes(0x15, &list)]).unwrap() {
            Header::Video(video) => (video.pts, video.dts, video.timebase, video.duration),
            Header::Audio(_) | Header::Text(_) => unreachable!("it is video"),
        }
    };
    // values below 64 are written alike
    assert_eq!(times("01 02 02 1e 01 00"), (2, 2, 30, 1));
    // read as QUIC's, the frame would be shown before it is decoded
    let video = times("7e a756 a756 cf4240 00 00");
    assert_eq!(video, (10_070, 10_070, 1_000_000, 0));
    // read as QUIC's, the timebase would be 8080
    let video = times("6a e0a100de e0a100de c15f90 28 00");
    assert_eq!(video, (10_551_518, 10_551_518, 90_000, 40));
    // read as MoQT's, the frame's time would be above 2^63 - 1
    let video = times("00 fffffeffffffffff 01 10 0a 7700");
    assert_eq!(video, (0x3fff_feff_ffff_ffff, 1, 16, 10));
    // a timebase of 0 is out of the question, whatever else speaks for it
    let list = hex("09 83e8 8380 00 f03b800214 f98bcf016800 02");
    assert_eq!(metadata::count(QUIC, &list), Some(7));
    assert_eq!(metadata::count(VI64, &list), Some(7));
    assert!(read(&[media_type(1), bytes(0x0F, &list)]).is_ok());
}

fn field() -> impl Strategy<Value = u64> {
    (0_u32..63, any::<u64>()).prop_map(|(bits, value)| (value >> 2) >> bits)
}

fn header() -> impl Strategy<Value = Header> {
    let wallclock = prop_oneof![Just(0), 1_600_000_000_000_u64..1_900_000_000_000];
    let timebase = prop_oneof![Just(1000_u64), Just(48_000), Just(1_000_000), 1_u64..90_000];
    let video = (
        [field(), field(), field()],
        timebase.clone(),
        field(),
        wallclock.clone(),
        any::<bool>(),
    );
    let video = video.prop_map(
        |([sequence, dts, delay], timebase, duration, wallclock, key)| {
            Header::Video(Video {
                sequence,
                pts: dts.saturating_add(delay).min((1 << 62) - 1),
                dts,
                timebase,
                duration,
                wallclock,
                extradata: key.then_some(Bytes::from_static(AVCC)),
            })
        },
    );
    let audio = (
        any::<bool>(),
        [field(), field(), field()],
        timebase,
        8_000_u64..96_000,
        1_u64..9,
        wallclock,
    );
    let audio = audio.prop_map(
        |(opus, [sequence, pts, duration], timebase, sample_rate, channels, wallclock)| {
            Header::Audio(Audio {
                codec: if opus {
                    AudioCodec::Opus
                } else {
                    AudioCodec::Aac
                },
                sequence,
                pts,
                timebase,
                sample_rate,
                channels,
                duration,
                wallclock,
            })
        },
    );
    let text = field().prop_map(|sequence| Header::Text(Text { sequence }));
    prop_oneof![video, audio, text]
}

proptest! {
    #[test]
    fn what_is_written_is_read(header in header(), session_is_quic: bool) {
        let session = if session_is_quic { QUIC } else { VI64 };
        let properties = Properties::from_list(session, header.properties(QUIC).unwrap()).unwrap();
        prop_assert_eq!(Header::read(&properties), Ok(header));
    }

    /// Lists in MoQT's integers that QUIC's do not take up as well, or less plausibly.
    #[test]
    fn lists_in_other_integers_are_read(header in header()) {
        let properties = header.properties(VI64).unwrap();
        let Some((_, Value::Bytes(list))) = properties.last().cloned() else {
            unreachable!("the list is last")
        };
        let fields = match &header {
            Header::Video(_) => 6,
            Header::Audio(_) => 7,
            Header::Text(_) => 1,
        };
        let read = read(&properties);
        if metadata::count(QUIC, &list) == Some(fields) {
            prop_assert!(read.is_ok());
        } else {
            prop_assert_eq!(read, Ok(header));
        }
    }

    #[test]
    fn any_list_is_read_or_refused(
        media_type in 0_u64..6,
        number in prop::sample::select(vec![0x0F_u64, 0x11, 0x13, 0x15]),
        list in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let properties = [self::media_type(media_type), bytes(number, &list)];
        if let Ok(header) = read(&properties) {
            let again = header.properties(VI64).unwrap();
            prop_assert!(read(&again).is_ok());
        }
    }
}
