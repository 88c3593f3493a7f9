//! Tests of LOC headers.

use proptest::prelude::*;

use super::*;
use crate::draft::IntegerKind;

const VI64: IntegerKind = IntegerKind::Vi64;

fn bytes(number: u64, value: &[u8]) -> (u64, Value) {
    (number, Value::Bytes(Bytes::copy_from_slice(value)))
}

fn integer(number: u64, value: u64) -> (u64, Value) {
    (number, Value::Integer(value))
}

fn read(properties: &[(u64, Value)]) -> Result<Header, Malformed> {
    Header::read(&list(properties))
}

fn list(properties: &[(u64, Value)]) -> Properties {
    Properties::from_list(VI64, properties.to_vec()).unwrap()
}

#[test]
fn a_header_is_written_in_ascending_order() {
    let header = Header {
        timestamp: 0x10_0000,
        timescale: Some(1_000_000),
        marking: Some(FrameMarking::KEY),
        video_config: Some(Bytes::from_static(b"avcC")),
        audio_config: None,
        codec_string: Some("avc1.42C00D".to_owned()),
    };
    let properties = header.properties();
    let expected = [
        integer(0x08, 1_000_000),
        bytes(0x09, &[0xE0]),
        bytes(0x0D, b"avcC"),
        integer(0x10, 0x10_0000),
        bytes(0x11, b"avc1.42C00D"),
    ];
    assert_eq!(properties, expected);
    assert_eq!(read(&properties), Ok(header));
}

#[test]
fn a_timestamp_is_enough_and_unknown_properties_are_passed_over() {
    let bare = Header {
        timestamp: 5,
        ..Header::default()
    };
    assert_eq!(read(&[integer(0x10, 5)]), Ok(bare.clone()));
    let odd = [
        integer(0x0C, 3),
        integer(0x10, 5),
        bytes(0x41, b"x"),
        bytes(0x41, b"x"),
    ];
    assert_eq!(read(&odd), Ok(bare));
}

#[test]
fn what_is_missing_repeated_or_wrong_is_named() {
    let cases: [(&[(u64, Value)], &str); 7] = [
        (
            &[integer(0x08, 1000)],
            "property 0x10 (timestamp) is missing",
        ),
        (
            &[integer(0x10, 1), integer(0x10, 1)],
            "property 0x10 is there more than once",
        ),
        (
            &[integer(0x08, 0), integer(0x10, 1)],
            "property 0x08: a timescale of 0",
        ),
        (
            &[integer(0x08, 1 << 32), integer(0x10, 1)],
            "property 0x08: a timescale above 2^32 - 1",
        ),
        (
            &[bytes(0x09, &[]), integer(0x10, 1)],
            "property 0x09: not of 1 to 4 bytes",
        ),
        (
            &[bytes(0x09, &[0; 5]), integer(0x10, 1)],
            "property 0x09: not of 1 to 4 bytes",
        ),
        (
            &[integer(0x10, 1), bytes(0x11, &[0xff])],
            "property 0x11: not UTF-8",
        ),
    ];
    for (properties, expected) in cases {
        assert_eq!(read(properties).unwrap_err().to_string(), expected);
    }
}

#[test]
fn markings_tell_what_is_independent() {
    assert!(FrameMarking::KEY.is_independent());
    assert!(!FrameMarking::DELTA.is_independent());
    // the layers behind the first byte do not matter
    let layered = read(&[bytes(0x09, &[0xE1, 2, 3]), integer(0x10, 1)]).unwrap();
    assert_eq!(layered.marking, Some(FrameMarking(0xE1)));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        timestamp: u64,
        timescale in proptest::option::of(1_u32..),
        marking in proptest::option::of(any::<u8>()),
        config in proptest::option::of(prop::collection::vec(any::<u8>(), 0..50)),
        codec_string in proptest::option::of("[a-z0-9.]{0,20}"),
    ) {
        let header = Header {
            timestamp,
            timescale,
            marking: marking.map(FrameMarking),
            video_config: config.clone().map(Bytes::from),
            audio_config: config.map(Bytes::from),
            codec_string,
        };
        prop_assert_eq!(read(&header.properties()), Ok(header));
    }
}
