//! Subgroups on streams, and the types of streams.

use super::*;

fn object(id: u64, properties: Properties, payload_length: u64) -> SubgroupItem {
    SubgroupItem::Object(ObjectHeader {
        id: ObjectId(id),
        properties,
        status: ObjectStatus::Normal,
        payload_length,
    })
}

fn marker(id: u64, status: ObjectStatus) -> SubgroupItem {
    SubgroupItem::Object(ObjectHeader {
        id: ObjectId(id),
        properties: Properties::default(),
        status,
        payload_length: 0,
    })
}

fn payload(bytes: &'static [u8]) -> SubgroupItem {
    SubgroupItem::Payload(Bytes::from_static(bytes))
}

fn header(group: u64, subgroup: u64, priority: Option<u8>) -> SubgroupHeader {
    SubgroupHeader {
        group: GroupId(group),
        subgroup: SubgroupId(subgroup),
        priority,
        end_of_group: false,
        first_object: false,
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
/// Streams with what they mean. The captured ones come from independent implementations, payload shortened.
fn subgroup_streams() -> Vec<(
    &'static str,
    &'static Profile,
    Bytes,
    bool,
    Vec<SubgroupItem>,
)> {
    let track = |alias| SubgroupItem::Track(TrackAlias(alias));
    let traced = "04 f08257dcd3 49 0e 747261636549443a313233343536";
    vec![
        (
            "the first example of § Examples, the id left out, draft 16",
            D16,
            hex("10 02 00 00  00 04 61626364  00 04 65666768"),
            false,
            vec![
                track(2),
                SubgroupItem::Opened(header(0, 0, Some(0))),
                object(0, Properties::default(), 4),
                payload(b"abcd"),
                object(1, Properties::default(), 4),
                payload(b"efgh"),
            ],
        ),
        (
            "the same, draft 18",
            D18,
            hex("10 02 00 00  00 04 61626364  00 04 65666768"),
            false,
            vec![
                track(2),
                SubgroupItem::Opened(header(0, 0, Some(0))),
                object(0, Properties::default(), 4),
                payload(b"abcd"),
                object(1, Properties::default(), 4),
                payload(b"efgh"),
            ],
        ),
        (
            "the second example of § Examples, the id left out",
            D18,
            [
                hex("31 02 00  00 16"),
                hex(traced),
                hex("04 61626364  00 00 04 65666768"),
            ]
            .concat()
            .into(),
            true,
            vec![
                track(2),
                SubgroupItem::Opened(header(0, 0, None)),
                object(0, kvps(D18, traced), 4),
                payload(b"abcd"),
                object(1, Properties::default(), 4),
                payload(b"efgh"),
            ],
        ),
        (
            "captured, draft 16: properties, end of group",
            D16,
            hex(
                "19 00 01 80  00 09 10c000c5d313b74c18 03 747474  00 09 10c000c5d313b75fa0 02 7474",
            ),
            true,
            vec![
                track(0),
                SubgroupItem::Opened(SubgroupHeader {
                    end_of_group: true,
                    ..header(1, 0, Some(128))
                }),
                object(0, kvps(D16, "10c000c5d313b74c18"), 3),
                payload(b"ttt"),
                object(1, kvps(D16, "10c000c5d313b75fa0"), 2),
                payload(b"tt"),
            ],
        ),
        (
            "captured, draft 18: end of group and of track",
            D18,
            hex("58 00 03 80 00 00 04"),
            false,
            vec![
                track(0),
                SubgroupItem::Opened(SubgroupHeader {
                    end_of_group: true,
                    first_object: true,
                    ..header(3, 0, Some(128))
                }),
                marker(0, ObjectStatus::EndOfTrack),
            ],
        ),
        (
            "captured, draft 18: a group's end after an object with properties",
            D18,
            hex("51 00 01 80  00 09 10fe0660dbdb3b7a41 03 312e30  00 00 00 03"),
            true,
            vec![
                track(0),
                SubgroupItem::Opened(SubgroupHeader {
                    first_object: true,
                    ..header(1, 0, Some(128))
                }),
                object(0, kvps(D18, "10fe0660dbdb3b7a41"), 3),
                payload(b"1.0"),
                marker(1, ObjectStatus::EndOfGroup),
            ],
        ),
        (
            "an empty object, an explicit id, ids with holes",
            D16,
            hex("34 07 4040 05  03 00 00  00 00 00  41 00 01 78"),
            false,
            vec![
                track(7),
                SubgroupItem::Opened(header(64, 5, None)),
                object(3, Properties::default(), 0),
                object(4, Properties::default(), 0),
                object(0x105, Properties::default(), 1),
                payload(b"x"),
            ],
        ),
    ]
}

#[test]
fn subgroup_streams_are_read_and_written() {
    for (name, profile, bytes, properties, items) in subgroup_streams() {
        for size in [1, 2, 3, 7, 1000] {
            let (read, end) = subgroup(profile, &bytes, &[size]).expect(name);
            assert_eq!(read, items, "{name} in pieces of {size}");
            assert_eq!(end, Ok(()), "{name}");
        }
        let written = encode_subgroup(profile, properties, &items).expect(name);
        assert_eq!(written, bytes, "{name}");
    }
}

// Rules: B371
#[test]
fn subgroup_stream_that_ends_inside_header_or_object_is_a_violation_v75() {
    for (name, profile, bytes, _, items) in subgroup_streams() {
        // where items end: the encoder tells
        let opened = 2;
        let mut whole = Vec::new();
        for end in opened..=items.len() {
            let cut_object = match items.get(end - 1) {
                Some(SubgroupItem::Object(object)) => object.payload_length > 0,
                _ => false,
            };
            if !cut_object {
                let properties = bytes[0] & 1 != 0;
                whole.push(
                    encode_subgroup(profile, properties, &items[..end])
                        .expect(name)
                        .len(),
                );
            }
        }
        cut_everywhere(
            bytes.len(),
            |cut| match decode_stream_type(profile, &bytes[..cut]) {
                Ok(None) => Err(Error::violation("V75: in the type")),
                _ => subgroup(profile, &bytes.slice(..cut), &[5]).expect(name).1,
            },
            &whole,
        );
    }
}

#[test]
fn stream_that_says_nothing_of_its_subgroup_may_end_after_its_header() {
    // the id would be the first object's
    let (items, end) = subgroup(D18, &hex("12 02 00 05"), &[1]).unwrap();
    assert_eq!(items, [SubgroupItem::Track(TrackAlias(2))]);
    assert_eq!(end, Ok(()));
}

#[test]
fn subgroup_named_after_its_first_object_opens_with_that_object() {
    let stream = hex("12 02 00 05  09 01 78  00 01 79");
    let (items, end) = subgroup(D16, &stream, &[1]).unwrap();
    assert_eq!(
        items,
        [
            SubgroupItem::Track(TrackAlias(2)),
            SubgroupItem::Opened(header(0, 9, Some(5))),
            object(9, Properties::default(), 1),
            payload(b"x"),
            object(10, Properties::default(), 1),
            payload(b"y"),
        ]
    );
    assert_eq!(end, Ok(()));
    // half of the first object's header is not enough
    let (items, end) = subgroup(D16, &stream.slice(..5), &[1]).unwrap();
    assert_eq!(items, [SubgroupItem::Track(TrackAlias(2))]);
    assert_eq!(end.unwrap_err().rule, "V75: stream ended inside an object");
}

/// The legal types of subgroup streams, as § Subgroup Header lists them.
fn legal_subgroup_types(draft: Draft) -> Vec<u64> {
    let mut ranges = vec![0x10..=0x15, 0x18..=0x1d, 0x30..=0x35, 0x38..=0x3d_u64];
    match draft {
        Draft::D16 => {}
        Draft::D18 => ranges.extend([0x50..=0x55, 0x58..=0x5d, 0x70..=0x75, 0x78..=0x7d]),
    }
    ranges.into_iter().flatten().collect()
}

// Rules: B373
#[test]
fn every_stream_type_below_256_is_a_subgroup_a_fetch_or_a_violation_v67_v68() {
    for draft in Draft::ALL {
        let profile = draft.profile();
        let legal = legal_subgroup_types(draft);
        for value in 0..=255 {
            match StreamType::from_wire(profile, value) {
                Ok(StreamType::Fetch) => assert_eq!(value, 5),
                Ok(StreamType::Subgroup(_)) => assert!(legal.contains(&value), "{value:#x}"),
                Ok(other) => panic!("{value:#x} in draft {draft:?} is {other:?}"),
                Err(error) => {
                    assert!(!legal.contains(&value) && value != 5, "{value:#x}");
                    assert_eq!(error.code, SessionCode::ProtocolViolation);
                    let reserved = legal.contains(&(value & !6)) && value & 6 == 6;
                    assert_eq!(error.rule.starts_with("V68"), reserved, "{value:#x}");
                }
            }
        }
    }
}

#[test]
fn large_stream_types_are_known_from_draft_18_on() {
    for (bytes, expected) in [
        ("af00", StreamType::Control),
        ("f0132b3e28", StreamType::Padding),
    ] {
        let bytes = hex(bytes);
        let read = decode_stream_type(D18, &bytes).unwrap();
        assert_eq!(read, Some((expected, bytes.len())));
        for cut in 0..bytes.len() {
            assert_eq!(decode_stream_type(D18, &bytes[..cut]), Ok(None));
        }
    }
    for bytes in ["6f00", "932b3e28"] {
        let error = decode_stream_type(D16, &hex(bytes)).unwrap_err();
        assert_eq!(error.rule, "V67: unknown stream type");
    }
    assert!(decode_stream_type(D18, &hex("f0132b3e29")).is_err());
    let mut to = BytesMut::new();
    encode_padding_stream(D18, &mut to).unwrap();
    assert_eq!(to, hex("f0132b3e28"));
    assert!(encode_padding_stream(D16, &mut to).is_err());
}

/// A header of each legal type has the fields that § Subgroup Header says, no more and no fewer.
#[test]
fn every_subgroup_type_has_the_fields_that_its_bits_say() {
    for draft in Draft::ALL {
        for value in legal_subgroup_types(draft) {
            let mut stream = vec![u8::try_from(value).unwrap(), 1, 2];
            if value & 6 == 4 {
                stream.push(3);
            }
            if value & 0x20 == 0 {
                stream.push(4);
            }
            // object 5, without payload
            stream.push(5);
            if value & 1 != 0 {
                stream.push(0);
            }
            stream.extend([0, 0]);
            let (items, end) = subgroup(draft.profile(), &stream.into(), &[1]).unwrap();
            let expected = SubgroupHeader {
                group: GroupId(2),
                subgroup: SubgroupId(match value & 6 {
                    0 => 0,
                    2 => 5,
                    _ => 3,
                }),
                priority: (value & 0x20 == 0).then_some(4),
                end_of_group: value & 8 != 0,
                first_object: value & 0x40 != 0,
            };
            assert_eq!(
                items,
                [
                    SubgroupItem::Track(TrackAlias(1)),
                    SubgroupItem::Opened(expected),
                    object(5, Properties::default(), 0)
                ],
                "{value:#x}"
            );
            assert_eq!(end, Ok(()));
        }
    }
}

fn subgroup_error(profile: &Profile, digits: &str) -> StreamError {
    let whole = subgroup(profile, &hex(digits), &[1000]).unwrap_err();
    let bytewise = subgroup(profile, &hex(digits), &[1]).unwrap_err();
    assert_eq!(whole, bytewise);
    whole
}

// Rules: B374
#[test]
fn object_id_overflow_is_a_violation_v76() {
    let rest = "00 00 00";
    let overflow = format!("10 01 00 00  ffffffffffffffffff 00 00 {rest}");
    assert!(rule(subgroup_error(D18, &overflow)).starts_with("V76"));
    let overflow = format!("10 01 00 00  ffffffffffffffff 00 00 {rest}");
    assert!(rule(subgroup_error(D16, &overflow)).starts_with("V76"));
    // one less is the last possible object
    let (items, _) = subgroup(
        D18,
        &hex("10 01 00 00 fffffffffffffffffe 00 00 00 00 00"),
        &[1],
    )
    .unwrap();
    assert_eq!(
        items.last(),
        Some(&object(u64::MAX, Properties::default(), 0))
    );
}

// Rules: B366
#[test]
fn properties_on_a_marker_are_a_violation_v72() {
    for profile in [D16, D18] {
        assert!(rule(subgroup_error(profile, "11 01 00 00  00 02 0201 00 03")).starts_with("V72"));
    }
}

// Rules: B364
#[test]
fn unknown_object_status_is_a_violation_v73() {
    for status in ["01", "02", "05", "3f"] {
        let stream = format!("10 01 00 00  00 00 {status}");
        assert!(rule(subgroup_error(D16, &stream)).starts_with("V73"));
        assert!(rule(subgroup_error(D18, &stream)).starts_with("V73"));
    }
}

#[test]
fn block_of_properties_beyond_the_limit_abandons_the_stream() {
    // 65536, refused before a byte of it is kept
    assert_eq!(
        subgroup_error(D18, "11 01 00 00  00 c10000"),
        StreamError::TooLarge
    );
    assert_eq!(
        subgroup_error(D16, "11 01 00 00  00 80010000"),
        StreamError::TooLarge
    );
    // 65535 is read, byte by byte
    let mut stream = hex("11 01 00 00  00 8000ffff").to_vec();
    let block = [&hex("01 8000fffa")[..], &[0; 65_530]].concat();
    stream.extend_from_slice(&block);
    stream.extend([1, 0x78]);
    let (items, end) = subgroup(D16, &stream.into(), &[1]).unwrap();
    assert_eq!(
        items[2],
        object(0, Properties::from_bytes(block.into(), D16.integers), 1)
    );
    assert_eq!(end, Ok(()));
}

#[test]
fn payload_is_passed_on_without_a_copy() {
    let stream = hex("10 01 00 00  00 04 61626364");
    let (kind, length) = decode_stream_type(D18, &stream).unwrap().unwrap();
    let StreamType::Subgroup(kind) = kind else {
        panic!("{kind:?}");
    };
    let mut decoder = SubgroupDecoder::new(D18, kind);
    let chunk = stream.slice(length..);
    decoder.push(chunk.clone());
    let mut payload = None;
    while let Some(item) = decoder.next_item().unwrap() {
        if let SubgroupItem::Payload(bytes) = item {
            payload = Some(bytes);
        }
    }
    assert_eq!(payload.unwrap().as_ptr(), chunk[5..].as_ptr());
}

// Rules: B365
#[test]
fn subgroup_streams_that_cannot_be_written_are_refused() {
    let mut to = BytesMut::new();
    let mut write = |profile, properties, previous: Option<u64>, object: &ObjectHeader| {
        encode_object_header(profile, properties, previous.map(ObjectId), object, &mut to)
    };
    let plain = ObjectHeader {
        id: ObjectId(7),
        properties: Properties::default(),
        status: ObjectStatus::Normal,
        payload_length: 0,
    };
    assert!(write(D18, false, Some(6), &plain).is_ok());
    assert!(write(D18, false, Some(7), &plain).is_err());
    assert!(write(D18, false, Some(8), &plain).is_err());
    let marker = ObjectHeader {
        status: ObjectStatus::EndOfGroup,
        ..plain.clone()
    };
    assert!(write(D18, true, None, &marker).is_ok());
    let payload = ObjectHeader {
        payload_length: 1,
        ..marker.clone()
    };
    assert!(write(D18, true, None, &payload).is_err());
    let properties = ObjectHeader {
        properties: kvps(D18, "0201"),
        ..marker
    };
    assert!(write(D18, true, None, &properties).is_err());
    let properties = ObjectHeader {
        properties: kvps(D18, "0201"),
        ..plain.clone()
    };
    assert!(write(D18, true, None, &properties).is_ok());
    assert!(write(D18, false, None, &properties).is_err());
    assert!(
        write(D16, true, None, &properties).is_err(),
        "integers of the other draft"
    );
    let large = ObjectHeader {
        id: ObjectId(1 << 62),
        ..plain
    };
    assert!(write(D18, false, None, &large).is_ok());
    assert!(write(D16, false, None, &large).is_err());
    let header = header(1 << 62, 0, None);
    let mut to = BytesMut::new();
    assert!(encode_subgroup_header(D18, TrackAlias(0), &header, true, &mut to).is_ok());
    assert!(encode_subgroup_header(D16, TrackAlias(0), &header, true, &mut to).is_err());
}
