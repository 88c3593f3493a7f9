//! Objects in datagrams.

use super::*;

fn datagram_object(group: u64, id: u64) -> DatagramObject {
    DatagramObject {
        location: at(group, id),
        priority: None,
        properties: Properties::default(),
        status: ObjectStatus::Normal,
        end_of_group: false,
        payload: Bytes::new(),
    }
}

#[test]
fn datagrams_are_read_and_written() {
    let text = Bytes::from_static(b"payload");
    let cases = [
        (
            D16,
            "08 16 21 2c 7061796c6f6164",
            DatagramObject {
                payload: text.clone(),
                ..datagram_object(33, 44)
            },
        ),
        (
            D18,
            "00 16 21 2c c8 7061796c6f6164",
            DatagramObject {
                priority: Some(200),
                payload: text.clone(),
                ..datagram_object(33, 44)
            },
        ),
        (
            D16,
            "24 16 21 64 03",
            DatagramObject {
                priority: Some(100),
                status: ObjectStatus::EndOfGroup,
                ..datagram_object(33, 0)
            },
        ),
        (
            D18,
            "28 16 21 37 04",
            DatagramObject {
                status: ObjectStatus::EndOfTrack,
                ..datagram_object(33, 55)
            },
        ),
        (
            D18,
            "0f 16 21 02 0201 7061796c6f6164",
            DatagramObject {
                properties: kvps(D18, "0201"),
                end_of_group: true,
                payload: text,
                ..datagram_object(33, 0)
            },
        ),
    ];
    for (profile, digits, expected) in cases {
        let bytes = hex(digits);
        let read = decode_datagram(profile, &bytes).expect(digits);
        assert_eq!(
            read,
            Datagram::Object(TrackAlias(22), expected.clone()),
            "{digits}"
        );
        let written = encode_datagram(profile, TrackAlias(22), &expected).expect(digits);
        assert_eq!(written, bytes, "{digits}");
    }
}

// Rules: B385
#[test]
fn padding_datagrams_are_known_from_draft_18_on() {
    let padding = encode_padding_datagram(D18, 3).unwrap();
    assert_eq!(padding, hex("f0132b3e29 000000"));
    assert_eq!(decode_datagram(D18, &padding), Ok(Datagram::Padding));
    assert_eq!(
        decode_datagram(D18, &hex("f0132b3e29")),
        Ok(Datagram::Padding)
    );
    assert!(decode_datagram(D18, &hex("f0132b3e28 00")).is_err());
    assert!(decode_datagram(D16, &hex("932b3e29 00")).is_err());
    assert!(encode_padding_datagram(D16, 3).is_err());
}

// Rules: B360, B369
/// § Object Datagram: the form 0b00X0XXXX, without STATUS and END_OF_GROUP together.
#[test]
fn every_datagram_type_below_256_has_its_fields_or_is_a_violation_v69() {
    let legal: Vec<u64> = (0..=0x0f)
        .chain([0x20, 0x21, 0x24, 0x25, 0x28, 0x29, 0x2c, 0x2d])
        .collect();
    for draft in Draft::ALL {
        let profile = draft.profile();
        for value in 0..=255 {
            let mut bytes = BytesMut::new();
            crate::wire::varint::encode(profile.integers, value, &mut bytes).unwrap();
            bytes.extend_from_slice(&[1, 2]);
            if value & 4 == 0 {
                bytes.extend_from_slice(&[3]);
            }
            if value & 8 == 0 {
                bytes.extend_from_slice(&[4]);
            }
            if value & 1 != 0 {
                bytes.extend_from_slice(&[2, 2, 1]);
            }
            bytes.extend_from_slice(if value & 0x20 != 0 {
                &[0]
            } else {
                &[0x78, 0x79]
            });
            let expected = DatagramObject {
                priority: (value & 8 == 0).then_some(4),
                properties: if value & 1 != 0 {
                    kvps(profile, "0201")
                } else {
                    Properties::default()
                },
                end_of_group: value & 2 != 0,
                payload: if value & 0x20 != 0 {
                    Bytes::new()
                } else {
                    Bytes::from_static(b"xy")
                },
                ..datagram_object(2, if value & 4 == 0 { 3 } else { 0 })
            };
            match decode_datagram(profile, &bytes.freeze()) {
                Ok(read) => {
                    assert!(legal.contains(&value), "{value:#x}");
                    assert_eq!(
                        read,
                        Datagram::Object(TrackAlias(1), expected),
                        "{value:#x}"
                    );
                }
                Err(error) => {
                    assert!(!legal.contains(&value), "{value:#x}: {error}");
                    assert!(error.rule.starts_with("V69"), "{value:#x}: {error}");
                }
            }
        }
    }
}

// Rules: B364, B366, B368, B370
#[test]
fn malformed_datagrams_are_violations() {
    for (digits, expected) in [
        ("01 16 21 2c c8 00 70", "V70"),
        ("21 16 21 2c c8 02 0201 03", "V71"),
        ("20 16 21 2c c8 01", "V73"),
        ("20 16 21 2c c8 03 00", "V74"),
        ("20 16 21 2c c8 00 00", "V74"),
        ("", "V2"),
    ] {
        for profile in [D16, D18] {
            let error = decode_datagram(profile, &hex(digits)).unwrap_err();
            assert_eq!(error.code, SessionCode::ProtocolViolation);
            assert!(error.rule.starts_with(expected), "{digits}: {error}");
        }
    }
    // properties with an explicit normal status are allowed
    assert!(decode_datagram(D18, &hex("21 16 21 2c c8 02 0201 00")).is_ok());
    // cut anywhere in the header
    let whole = hex("01 16 21 2c c8 02 0201");
    for cut in 0..whole.len() {
        let error = decode_datagram(D18, &whole.slice(..cut)).unwrap_err();
        assert_eq!(error.code, SessionCode::ProtocolViolation, "cut at {cut}");
    }
    assert!(decode_datagram(D18, &whole).is_ok());
}

// Rules: B365
#[test]
fn datagrams_that_cannot_be_written_are_refused() {
    let marker = DatagramObject {
        status: ObjectStatus::EndOfGroup,
        ..datagram_object(1, 1)
    };
    let refused = [
        DatagramObject {
            payload: Bytes::from_static(b"x"),
            ..marker.clone()
        },
        DatagramObject {
            end_of_group: true,
            ..marker.clone()
        },
        DatagramObject {
            properties: kvps(D18, "0201"),
            ..marker.clone()
        },
    ];
    assert!(encode_datagram(D18, TrackAlias(0), &marker).is_ok());
    for object in refused {
        assert!(
            encode_datagram(D18, TrackAlias(0), &object).is_err(),
            "{object:?}"
        );
    }
    let large = datagram_object(1 << 62, 0);
    assert!(encode_datagram(D18, TrackAlias(0), &large).is_ok());
    assert!(encode_datagram(D16, TrackAlias(0), &large).is_err());
}
