//! Random objects in random pieces.

use proptest::prelude::*;

use super::*;
use crate::wire::id::RequestId;

fn any_profile() -> impl Strategy<Value = &'static Profile> {
    prop_oneof![Just(D16), Just(D18)]
}

/// Ids that fit both drafts, small ones more often.
fn any_id() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, 0..20_000_u64, 0..(1_u64 << 60)]
}

fn any_properties() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>(), 0..300)
    ]
}

prop_compose! {
    fn any_object()(
        gap in 0..100_000_u64,
        properties in any_properties(),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        status in prop_oneof![
            Just(ObjectStatus::Normal), Just(ObjectStatus::EndOfGroup), Just(ObjectStatus::EndOfTrack)
        ],
    ) -> (u64, Vec<u8>, Vec<u8>, ObjectStatus) {
        (gap, properties, payload, status)
    }
}

proptest! {
    #[test]
    fn subgroups_survive_any_split(
        profile in any_profile(),
        ids in (any_id(), any_id(), any_id()),
        priority: Option<u8>,
        end_of_group: bool,
        with_properties: bool,
        objects in proptest::collection::vec(any_object(), 0..8),
        sizes in proptest::collection::vec(1..50_usize, 1..10),
    ) {
        let header = SubgroupHeader {
            group: GroupId(ids.0),
            subgroup: SubgroupId(ids.1),
            priority,
            end_of_group,
            first_object: false,
        };
        let mut items = vec![SubgroupItem::Track(TrackAlias(ids.2)), SubgroupItem::Opened(header)];
        let mut id = 0;
        for (gap, properties, payload, status) in objects {
            let normal = status == ObjectStatus::Normal;
            let properties = if normal && with_properties { properties } else { Vec::new() };
            let payload = if normal { payload } else { Vec::new() };
            id += gap;
            items.push(SubgroupItem::Object(ObjectHeader {
                id: ObjectId(id),
                properties: Properties::from_bytes(properties.into(), profile.integers),
                status,
                payload_length: u64::try_from(payload.len()).unwrap(),
            }));
            id += 1;
            if !payload.is_empty() {
                items.push(SubgroupItem::Payload(payload.into()));
            }
        }
        let bytes = encode_subgroup(profile, with_properties, &items).unwrap();
        let (read, end) = subgroup(profile, &bytes, &sizes).unwrap();
        prop_assert_eq!(read, items);
        prop_assert_eq!(end, Ok(()));
    }

    #[test]
    fn fetches_survive_any_split(
        profile in any_profile(),
        descending: bool,
        objects in proptest::collection::vec(
            (any_object(), proptest::option::of(0..4_u64), any::<u8>(), 0..3_u64, 0..6_u8), 0..12
        ),
        sizes in proptest::collection::vec(1..50_usize, 1..10),
    ) {
        let order = if descending { GroupOrder::Descending } else { GroupOrder::Ascending };
        let mut pieces = vec![FetchPiece::Request(RequestId(4))];
        let (mut group, mut id) = (1000, 0);
        for ((gap, properties, payload, _), subgroup, priority, step, kind) in objects {
            if step > 0 {
                group = if descending { group - step } else { group + step };
                id = 0;
            }
            id += gap;
            let location = at(group, id);
            id += 1;
            match kind {
                0 => pieces.push(FetchPiece::Entry(FetchEntry::Unknown(location))),
                1 => pieces.push(FetchPiece::Entry(FetchEntry::NonExistent(location))),
                _ => {
                    pieces.push(FetchPiece::Entry(FetchEntry::Object(FetchObject {
                        location,
                        subgroup: subgroup.map(SubgroupId),
                        priority: priority & 1,
                        properties: Properties::from_bytes(properties.into(), profile.integers),
                        payload_length: u64::try_from(payload.len()).unwrap(),
                    })));
                    if !payload.is_empty() {
                        pieces.push(FetchPiece::Payload(payload.into()));
                    }
                }
            }
        }
        let bytes = encode_fetch(profile, order, &pieces).unwrap();
        let (read, end) = fetch(profile, order, &bytes, &sizes).unwrap();
        prop_assert_eq!(read, pieces);
        prop_assert_eq!(end, Ok(()));
    }

    #[test]
    fn datagrams_survive(
        profile in any_profile(),
        ids in (any_id(), any_id(), any_id()),
        priority: Option<u8>,
        end_of_group: bool,
        object in any_object(),
    ) {
        let (_, properties, payload, status) = object;
        let normal = status == ObjectStatus::Normal;
        let properties = if normal { properties } else { Vec::new() };
        let object = DatagramObject {
            location: at(ids.0, ids.1),
            priority,
            properties: Properties::from_bytes(properties.into(), profile.integers),
            status,
            end_of_group: end_of_group && normal,
            payload: if normal { payload.into() } else { Bytes::new() },
        };
        let bytes = encode_datagram(profile, TrackAlias(ids.2), &object).unwrap();
        prop_assert_eq!(decode_datagram(profile, &bytes), Ok(Datagram::Object(TrackAlias(ids.2), object)));
    }

    /// Whatever arrives, the pieces in which it arrives make no difference, and nothing panics.
    #[test]
    fn any_bytes_are_judged_alike_in_any_split(
        profile in any_profile(),
        kind in prop_oneof![Just(5_u8), 0x10..0x16_u8, 0x70..0x7e_u8],
        body in proptest::collection::vec(prop_oneof![0..8_u8, any::<u8>()], 0..200),
        sizes in proptest::collection::vec(1..20_usize, 1..6),
    ) {
        let stream = Bytes::from([&[kind][..], &body].concat());
        match decode_stream_type(profile, &stream) {
            Ok(Some((StreamType::Fetch, _))) => prop_assert_eq!(
                fetch(profile, GroupOrder::Ascending, &stream, &sizes),
                fetch(profile, GroupOrder::Ascending, &stream, &[1000])
            ),
            Ok(Some((StreamType::Subgroup(_), _))) => prop_assert_eq!(
                subgroup(profile, &stream, &sizes),
                subgroup(profile, &stream, &[1000])
            ),
            _ => {}
        }
    }
}
