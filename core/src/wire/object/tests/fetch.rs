//! Streams that answer a FETCH.

use super::*;
use crate::wire::id::RequestId;

fn fetched(
    location: Location,
    subgroup: Option<u64>,
    priority: u8,
    payload_length: u64,
) -> FetchPiece {
    FetchPiece::Entry(FetchEntry::Object(FetchObject {
        location,
        subgroup: subgroup.map(SubgroupId),
        priority,
        properties: Properties::default(),
        payload_length,
    }))
}

fn fetched_payload(bytes: &'static [u8]) -> FetchPiece {
    FetchPiece::Payload(Bytes::from_static(bytes))
}

type FetchStream = (
    &'static str,
    &'static Profile,
    GroupOrder,
    Bytes,
    Vec<FetchPiece>,
);

/// FETCH streams as this implementation writes them.
#[expect(clippy::too_many_lines, reason = "a table")]
fn fetch_streams() -> Vec<FetchStream> {
    let request = |id| FetchPiece::Request(RequestId(id));
    let unknown = |at| FetchPiece::Entry(FetchEntry::Unknown(at));
    let non_existent = |at| FetchPiece::Entry(FetchEntry::NonExistent(at));
    let captured = "10fe0660dbdb0fdcc8";
    vec![
        (
            "absolute ids, draft 16",
            D16,
            GroupOrder::Ascending,
            hex("05 01  1c 0a 04 07 01 61  0c 14 03 01 62"),
            vec![
                request(1),
                fetched(at(10, 4), Some(0), 7, 1),
                fetched_payload(b"a"),
                fetched(at(20, 3), Some(0), 7, 1),
                fetched_payload(b"b"),
            ],
        ),
        (
            "differences, ascending, draft 18",
            D18,
            GroupOrder::Ascending,
            hex("05 01  1c 0a 04 07 01 61  04 03 01 62  0c 01 02 01 63"),
            vec![
                request(1),
                fetched(at(10, 4), Some(0), 7, 1),
                fetched_payload(b"a"),
                fetched(at(10, 7), Some(0), 7, 1),
                fetched_payload(b"b"),
                fetched(at(12, 2), Some(0), 7, 1),
                fetched_payload(b"c"),
            ],
        ),
        (
            "differences, descending, draft 18",
            D18,
            GroupOrder::Descending,
            hex("05 01  1c 0a 05 09 01 61  0c 02 01 01 62"),
            vec![
                request(1),
                fetched(at(10, 5), Some(0), 9, 1),
                fetched_payload(b"a"),
                fetched(at(7, 1), Some(0), 9, 1),
                fetched_payload(b"b"),
            ],
        ),
        (
            "markers, draft 16",
            D16,
            GroupOrder::Ascending,
            hex("05 00  408c 03 07  410c 05 0a  1c 05 0c 80 00"),
            vec![
                request(0),
                non_existent(at(3, 7)),
                unknown(at(5, 10)),
                fetched(at(5, 12), Some(0), 128, 0),
            ],
        ),
        (
            "an object right after a marker, draft 18",
            D18,
            GroupOrder::Ascending,
            hex("05 00  1f 05 02 13 80 00  810c 05 14  01 00  0d 00 00 00"),
            vec![
                request(0),
                fetched(at(5, 0x13), Some(2), 128, 0),
                unknown(at(5, 20)),
                fetched(at(5, 21), Some(2), 128, 0),
                fetched(at(6, 0), Some(2), 128, 0),
            ],
        ),
        (
            "datagrams among subgroups, draft 18",
            D18,
            GroupOrder::Ascending,
            hex("05 00  5c 01 00 05 00  40 00"),
            vec![
                request(0),
                fetched(at(1, 0), None, 5, 0),
                fetched(at(1, 1), None, 5, 0),
            ],
        ),
        (
            "captured, draft 18, payload shortened",
            D18,
            GroupOrder::Ascending,
            hex(
                "05 02  3c 01 00 80 09 10fe0660dbdb0fdcc8 01 31  20 09 10fe0660dbdb0fdcc8 01 32  2c 00 00 09 10fe0660dbdb0fdcc8 01 33",
            ),
            [at(1, 0), at(1, 1), at(2, 0)]
                .into_iter()
                .zip([b"1", b"2", b"3"])
                .flat_map(|(location, payload)| {
                    [
                        FetchPiece::Entry(FetchEntry::Object(FetchObject {
                            location,
                            subgroup: Some(SubgroupId(0)),
                            priority: 128,
                            properties: kvps(D18, captured),
                            payload_length: 1,
                        })),
                        fetched_payload(payload),
                    ]
                })
                .fold(vec![request(2)], |mut all, piece| {
                    all.push(piece);
                    all
                }),
        ),
    ]
}

// Rules: B256, B258
#[test]
fn fetch_streams_are_read_and_written() {
    for (name, profile, order, bytes, pieces) in fetch_streams() {
        for size in [1, 2, 3, 7, 1000] {
            let (read, end) = fetch(profile, order, &bytes, &[size]).expect(name);
            assert_eq!(read, pieces, "{name} in pieces of {size}");
            assert_eq!(end, Ok(()), "{name}");
        }
        let written = encode_fetch(profile, order, &pieces).expect(name);
        assert_eq!(written, bytes, "{name}");
    }
}

// Rules: B371
#[test]
fn fetch_stream_that_ends_inside_header_or_entry_is_a_violation_v75() {
    for (name, profile, order, bytes, pieces) in fetch_streams() {
        let mut whole = Vec::new();
        for end in 1..=pieces.len() {
            let cut_object = matches!(
                &pieces[end - 1],
                FetchPiece::Entry(FetchEntry::Object(object)) if object.payload_length > 0
            );
            if !cut_object {
                whole.push(
                    encode_fetch(profile, order, &pieces[..end])
                        .expect(name)
                        .len(),
                );
            }
        }
        cut_everywhere(
            bytes.len(),
            |cut| match decode_stream_type(profile, &bytes[..cut]) {
                Ok(None) => Err(Error::violation("V75: in the type")),
                _ => {
                    fetch(profile, order, &bytes.slice(..cut), &[5])
                        .expect(name)
                        .1
                }
            },
            &whole,
        );
    }
}

// Rules: B258 (18)
#[test]
fn fetch_shortcuts_that_are_never_written_are_understood() {
    // subgroup = prior + 1, twice; the id left out across a group's start; a repeated id; ignored subgroup bits
    let stream = hex("05 00  1f 01 07 02 05 00  02 00  0a 02 00  04 00 00  43 00");
    let (pieces, end) = fetch(D18, GroupOrder::Ascending, &stream, &[1]).unwrap();
    assert_eq!(
        pieces,
        [
            FetchPiece::Request(RequestId(0)),
            fetched(at(1, 2), Some(7), 5, 0),
            fetched(at(1, 3), Some(8), 5, 0),
            fetched(at(4, 4), Some(9), 5, 0),
            fetched(at(4, 4), Some(0), 5, 0),
            fetched(at(4, 5), None, 5, 0),
        ]
    );
    assert_eq!(end, Ok(()));
}

// Rules: B258, B259
/// § Fetch Header, Flags: values below 128 are flags, and two others are markers.
#[test]
fn every_flag_value_has_its_fields_or_is_a_violation_v77() {
    for draft in Draft::ALL {
        let profile = draft.profile();
        for value in 0..=0x200_u64 {
            // an object at 9, 9 comes first, so that everything can be referred to
            let mut bytes = BytesMut::from(&hex("05 00  1f 09 09 09 09 00")[..]);
            crate::wire::varint::encode(profile.integers, value, &mut bytes).unwrap();
            let marker = value == 0x8c || value == 0x10c;
            let has = |bit| value & bit != 0;
            if has(8) || marker {
                bytes.extend_from_slice(&[20]);
            }
            if value & 3 == 3 && !has(0x40) && !marker {
                bytes.extend_from_slice(&[21]);
            }
            if has(4) || marker {
                bytes.extend_from_slice(&[22]);
            }
            if has(0x10) && !marker {
                bytes.extend_from_slice(&[23]);
            }
            if has(0x20) && !marker {
                bytes.extend_from_slice(&[2, 2, 1]);
            }
            if !marker {
                bytes.extend_from_slice(&[0]);
            }
            let read = fetch(profile, GroupOrder::Ascending, &bytes.freeze(), &[1]);
            let entry = match read {
                Err(error) => {
                    assert!(value > 127 && !marker, "{value:#x}");
                    assert!(rule(error).starts_with("V77"), "{value:#x}");
                    continue;
                }
                Ok((mut pieces, end)) => {
                    assert_eq!((pieces.len(), end), (3, Ok(())), "{value:#x}");
                    pieces.pop().unwrap()
                }
            };
            let delta = draft == Draft::D18;
            let expected = match value {
                0x8c => FetchEntry::NonExistent(at(20, 22)),
                0x10c => FetchEntry::Unknown(at(20, 22)),
                _ => FetchEntry::Object(FetchObject {
                    location: at(
                        match (has(8), delta) {
                            (false, _) => 9,
                            (true, false) => 20,
                            (true, true) => 9 + 20 + 1,
                        },
                        match (has(4), has(8), delta) {
                            (false, _, _) => 10,
                            (true, true, _) | (true, _, false) => 22,
                            (true, false, true) => 9 + 22,
                        },
                    ),
                    subgroup: (!has(0x40)).then_some(SubgroupId(
                        [0, 9, 10, 21][usize::try_from(value & 3).unwrap()],
                    )),
                    priority: if has(0x10) { 23 } else { 9 },
                    properties: if has(0x20) {
                        kvps(profile, "0201")
                    } else {
                        Properties::default()
                    },
                    payload_length: 0,
                }),
            };
            assert!(value < 128 || marker, "{value:#x}");
            assert_eq!(
                entry,
                FetchPiece::Entry(expected),
                "{value:#x} in {draft:?}"
            );
        }
    }
}

fn fetch_error(profile: &Profile, order: GroupOrder, digits: &str) -> StreamError {
    let whole = fetch(profile, order, &hex(digits), &[1000]).unwrap_err();
    assert_eq!(Err(whole), fetch(profile, order, &hex(digits), &[1]));
    whole
}

// Rules: B255
#[test]
fn first_entry_that_refers_to_one_before_is_a_violation_v78() {
    for profile in [D16, D18] {
        // group, object, priority missing; subgroup from before
        for flags in ["14", "18", "0c", "1d", "1e", "00"] {
            let stream = format!("05 00  {flags} 01 01 01 01 01");
            assert!(rule(fetch_error(profile, GroupOrder::Ascending, &stream)).starts_with("V78"));
        }
    }
    // but the subgroup bits of a datagram's object mean nothing
    for (profile, stream) in [
        (D16, "05 00  405e 01 01 01 00"),
        (D18, "05 00  5e 01 01 01 00"),
    ] {
        let (pieces, _) = fetch(profile, GroupOrder::Ascending, &hex(stream), &[1]).unwrap();
        assert_eq!(pieces[1], fetched(at(1, 1), None, 1, 0));
    }
    // after a marker, ids have something to refer to, subgroup and priority do not
    let read = fetch(
        D18,
        GroupOrder::Ascending,
        &hex("05 00 810c 05 14 10 07 00"),
        &[1],
    );
    assert_eq!(read.unwrap().0[2], fetched(at(5, 21), Some(0), 7, 0));
    for entry in ["00 00", "11 07 00", "12 07 00"] {
        let stream = format!("05 00 810c 05 14 {entry}");
        assert!(rule(fetch_error(D18, GroupOrder::Ascending, &stream)).starts_with("V78"));
    }
}

// Rules: B257
#[test]
fn fetch_ids_out_of_range_are_a_violation_v79() {
    use GroupOrder::{Ascending, Descending};
    let last = "ffffffffffffffffff";
    let cases = [
        (D18, Ascending, format!("1c {last} 00 07 00  08 00 00")),
        (D18, Descending, "1c 05 00 07 00  08 05 00".to_owned()),
        (D18, Ascending, format!("1c 00 {last} 07 00  00 00")),
        (
            D18,
            Ascending,
            "1c 00 02 07 00  04 fffffffffffffffffe 00".to_owned(),
        ),
        (D18, Ascending, format!("1f 00 {last} 00 07 00  02 00")),
        (
            D16,
            Ascending,
            "1c 00 ffffffffffffffff 07 00  00 00".to_owned(),
        ),
    ];
    for (profile, order, entries) in cases {
        let error = fetch_error(profile, order, &format!("05 00  {entries}"));
        assert!(rule(error).starts_with("V79"), "{entries}");
    }
    // the smallest group is reached
    let (pieces, _) = fetch(
        D18,
        Descending,
        &hex("05 00  1c 05 00 07 00  08 04 00"),
        &[1],
    )
    .unwrap();
    assert_eq!(pieces[2], fetched(at(0, 1), Some(0), 7, 0));
}

#[test]
fn fetch_properties_beyond_the_limit_abandon_the_stream() {
    let error = fetch_error(D18, GroupOrder::Ascending, "05 00  3c 01 01 07 c10000");
    assert_eq!(error, StreamError::TooLarge);
}

// Rules: B252
#[test]
fn fetch_entries_out_of_order_cannot_be_written() {
    let first = fetched(at(5, 5), Some(0), 1, 0);
    let unknown = |at| FetchPiece::Entry(FetchEntry::Unknown(at));
    for profile in [D16, D18] {
        for (order, next, fits) in [
            (GroupOrder::Ascending, at(5, 6), true),
            (GroupOrder::Ascending, at(6, 0), true),
            (GroupOrder::Ascending, at(5, 5), false),
            (GroupOrder::Ascending, at(5, 4), false),
            (GroupOrder::Ascending, at(4, 9), false),
            (GroupOrder::Descending, at(4, 0), true),
            (GroupOrder::Descending, at(6, 0), false),
            (GroupOrder::Descending, at(5, 4), false),
        ] {
            for second in [fetched(next, Some(0), 1, 0), unknown(next)] {
                let pieces = [FetchPiece::Request(RequestId(0)), first.clone(), second];
                assert_eq!(
                    encode_fetch(profile, order, &pieces).is_ok(),
                    fits,
                    "{order:?} {next:?}"
                );
            }
        }
    }
}

#[test]
fn fetch_encoder_is_unchanged_by_what_it_refuses() {
    let mut to = BytesMut::new();
    let mut encoder = FetchEncoder::new(D18, RequestId(0), GroupOrder::Ascending, &mut to).unwrap();
    let entry = |piece| {
        let FetchPiece::Entry(entry) = piece else {
            panic!("{piece:?}");
        };
        entry
    };
    encoder
        .entry(&entry(fetched(at(5, 5), Some(0), 1, 0)), &mut to)
        .unwrap();
    let before = to.clone();
    encoder
        .entry(&entry(fetched(at(4, 5), Some(0), 9, 0)), &mut to)
        .unwrap_err();
    assert_eq!(to, before);
    encoder
        .entry(&entry(fetched(at(5, 6), Some(0), 1, 0)), &mut to)
        .unwrap();
    assert_eq!(to[before.len()..], hex("00 00"));
}
