//! `moqtap-codec` reads the data streams and datagrams that we write. Markers in FETCH streams are left out: it expects a
//! payload length after them, where the drafts and most implementations have none.

use bytes::{Buf as _, Bytes, BytesMut};
use oxymoq_core::draft::{Draft, Profile};
use oxymoq_core::wire::id::{GroupId, Location, ObjectId, RequestId, SubgroupId, TrackAlias};
use oxymoq_core::wire::object::{
    DatagramObject, FetchEncoder, FetchEntry, FetchObject, ObjectHeader, ObjectStatus,
    SubgroupHeader, encode_datagram, encode_object_header, encode_subgroup_header,
};
use oxymoq_core::wire::param::GroupOrder;
use oxymoq_core::wire::property::{Properties, Value};
use proptest::prelude::*;

/// An object as both sides describe it: id, properties, status, payload.
type Plain = (u64, Vec<u8>, u64, Vec<u8>);

fn number(status: ObjectStatus) -> u64 {
    match status {
        ObjectStatus::Normal => 0,
        ObjectStatus::EndOfGroup => 3,
        ObjectStatus::EndOfTrack => 4,
    }
}

/// Their reading of a subgroup's stream: alias, group, subgroup, priority, end of group; then the objects.
type Stream = ((u64, u64, u64, Option<u8>, bool), Vec<Plain>);

/// Their reading of a datagram: alias, group, priority, end of group, and the object.
type Single = ((u64, u64, Option<u8>, bool), Plain);

/// Group, object, subgroup, priority, properties, payload.
type Fetched = (u64, u64, Option<u64>, u8, Vec<u8>, Vec<u8>);

mod theirs16 {
    use moqtap_codec::draft16::data_stream::{
        DatagramHeader, FetchHeader, FetchObjectHeader, FetchObjectReader, SubgroupHeader,
        SubgroupObjectReader,
    };

    use super::*;

    pub(super) fn subgroup(mut bytes: &[u8]) -> Stream {
        let header = SubgroupHeader::decode(&mut bytes).unwrap();
        let mut reader = SubgroupObjectReader::new(&header);
        let mut objects = Vec::new();
        while bytes.has_remaining() {
            let object = reader.read_object(&mut bytes).unwrap();
            objects.push((
                object.object_id.into_inner(),
                object.extension_headers.clone(),
                object.status().as_u64(),
                object.payload,
            ));
        }
        let header = (
            header.track_alias.into_inner(),
            header.group_id.into_inner(),
            header.subgroup_id.into_inner(),
            header.publisher_priority,
            header.has_end_of_group(),
        );
        (header, objects)
    }

    pub(super) fn datagram(mut bytes: &[u8]) -> Single {
        let header = DatagramHeader::decode(&mut bytes).unwrap();
        let status = header.object_status.map_or(0, |status| status.as_u64());
        let object = (
            header.object_id.into_inner(),
            header.extension_headers.clone(),
            status,
            bytes.to_vec(),
        );
        let head = (
            header.track_alias.into_inner(),
            header.group_id.into_inner(),
            header.publisher_priority,
            header.is_end_of_group(),
        );
        (head, object)
    }

    pub(super) fn fetch(mut bytes: &[u8]) -> (u64, Vec<Fetched>) {
        let header = FetchHeader::decode(&mut bytes).unwrap();
        let mut reader = FetchObjectReader::new();
        let mut objects = Vec::new();
        while bytes.has_remaining() {
            let object = FetchObjectHeader::decode(&mut bytes).unwrap();
            let at = reader.resolve(&object).unwrap();
            let length = usize::try_from(object.payload_length.into_inner()).unwrap();
            objects.push((
                at.group_id,
                at.object_id,
                at.subgroup_id,
                at.publisher_priority.unwrap(),
                object.extensions.unwrap_or_default(),
                bytes.copy_to_bytes(length).to_vec(),
            ));
        }
        (header.request_id.into_inner(), objects)
    }
}

mod theirs18 {
    use moqtap_codec::draft18::data_stream::{
        DatagramHeader, FetchHeader, FetchObjectReader, GroupOrder as TheirOrder, SubgroupHeader,
        SubgroupObjectReader,
    };

    use super::*;

    pub(super) fn subgroup(mut bytes: &[u8]) -> (Stream, bool) {
        let header = SubgroupHeader::decode(&mut bytes).unwrap();
        let mut reader = SubgroupObjectReader::new(&header);
        let mut objects = Vec::new();
        while bytes.has_remaining() {
            let object = reader.read_object(&mut bytes).unwrap();
            objects.push((
                object.object_id.into_inner(),
                object.extension_headers.clone(),
                object.status().as_u64(),
                object.payload,
            ));
        }
        let fields = (
            header.track_alias.into_inner(),
            header.group_id.into_inner(),
            header.subgroup_id.into_inner(),
            header.publisher_priority,
            header.is_end_of_group(),
        );
        ((fields, objects), header.is_first_object())
    }

    pub(super) fn datagram(mut bytes: &[u8]) -> Single {
        let (header, payload) = DatagramHeader::decode_object(&mut bytes).unwrap();
        let object = (
            header.object_id.into_inner(),
            header.properties.clone(),
            header.status().as_u64(),
            payload,
        );
        let head = (
            header.track_alias.into_inner(),
            header.group_id.into_inner(),
            header.publisher_priority,
            header.is_end_of_group(),
        );
        (head, object)
    }

    pub(super) fn fetch(mut bytes: &[u8], order: GroupOrder) -> (u64, Vec<Fetched>) {
        let header = FetchHeader::decode(&mut bytes).unwrap();
        let mut reader = FetchObjectReader::new(match order {
            GroupOrder::Ascending => TheirOrder::Ascending,
            GroupOrder::Descending => TheirOrder::Descending,
        });
        let mut objects = Vec::new();
        while bytes.has_remaining() {
            let object = reader.read_object_header(&mut bytes).unwrap();
            let length = usize::try_from(object.header.payload_length.into_inner()).unwrap();
            objects.push((
                object.group_id,
                object.object_id,
                object.subgroup_id,
                object.publisher_priority.unwrap(),
                object.header.properties,
                bytes.copy_to_bytes(length).to_vec(),
            ));
        }
        (header.request_id.into_inner(), objects)
    }
}

fn any_draft() -> impl Strategy<Value = Draft> {
    prop_oneof![Just(Draft::D16), Just(Draft::D18)]
}

/// Ids that fit both drafts, small ones more often.
fn any_id() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, 0..20_000_u64, 0..(1_u64 << 60)]
}

fn any_properties() -> impl Strategy<Value = Vec<(u64, Value)>> {
    let integer =
        (0..20_u64, any_id()).prop_map(|(n, value)| (0x50 + 2 * n, Value::Integer(value)));
    let bytes = (0..20_u64, proptest::collection::vec(any::<u8>(), 0..80))
        .prop_map(|(n, value)| (0x51 + 2 * n, Value::Bytes(value.into())));
    proptest::collection::vec(prop_oneof![integer, bytes], 0..4)
}

fn any_status() -> impl Strategy<Value = ObjectStatus> {
    prop_oneof![
        4 => Just(ObjectStatus::Normal),
        1 => Just(ObjectStatus::EndOfGroup),
        1 => Just(ObjectStatus::EndOfTrack)
    ]
}

/// What separates an object from the one before, its properties, payload and status.
type Made = (u64, Vec<(u64, Value)>, Vec<u8>, ObjectStatus);

fn any_object() -> impl Strategy<Value = Made> {
    let payload = proptest::collection::vec(any::<u8>(), 0..100);
    (0..100_000_u64, any_properties(), payload, any_status()).prop_map(
        |(gap, properties, payload, status)| match status {
            ObjectStatus::Normal => (gap, properties, payload, status),
            ObjectStatus::EndOfGroup | ObjectStatus::EndOfTrack => {
                (gap, Vec::new(), Vec::new(), status)
            }
        },
    )
}

fn list(profile: &Profile, properties: Vec<(u64, Value)>) -> Properties {
    Properties::from_list(profile.integers, properties).unwrap()
}

proptest! {
    #[test]
    fn subgroups_are_read_by_an_independent_decoder(
        draft in any_draft(),
        ids in (any_id(), any_id(), any_id()),
        priority: Option<u8>,
        flags: (bool, bool),
        made in proptest::collection::vec(any_object(), 0..6),
    ) {
        let profile = draft.profile();
        let header = SubgroupHeader {
            group: GroupId(ids.1),
            subgroup: SubgroupId(ids.2),
            priority,
            end_of_group: flags.0,
            first_object: flags.1,
        };
        let mut bytes = BytesMut::new();
        encode_subgroup_header(profile, TrackAlias(ids.0), &header, true, &mut bytes).unwrap();
        let (mut previous, mut id, mut expected) = (None, 0, Vec::new());
        for (gap, properties, payload, status) in made {
            id += gap;
            let object = ObjectHeader {
                id: ObjectId(id),
                properties: list(profile, properties),
                status,
                payload_length: u64::try_from(payload.len()).unwrap(),
            };
            encode_object_header(profile, true, previous, &object, &mut bytes).unwrap();
            bytes.extend_from_slice(&payload);
            expected.push((id, object.properties.bytes().to_vec(), number(status), payload));
            previous = Some(object.id);
            id += 1;
        }
        let expected = ((ids.0, ids.1, ids.2, priority, flags.0), expected);
        match draft {
            Draft::D16 => prop_assert_eq!(theirs16::subgroup(&bytes), expected),
            Draft::D18 => prop_assert_eq!(theirs18::subgroup(&bytes), (expected, flags.1)),
        }
    }

    #[test]
    fn datagrams_are_read_by_an_independent_decoder(
        draft in any_draft(),
        ids in (any_id(), any_id()),
        priority: Option<u8>,
        end_of_group: bool,
        made in any_object(),
    ) {
        let profile = draft.profile();
        let (id, properties, payload, status) = made;
        let end_of_group = end_of_group && status == ObjectStatus::Normal;
        let object = DatagramObject {
            location: Location { group: GroupId(ids.1), object: ObjectId(id) },
            priority,
            properties: list(profile, properties),
            status,
            end_of_group,
            payload: Bytes::from(payload.clone()),
        };
        let bytes = encode_datagram(profile, TrackAlias(ids.0), &object).unwrap();
        let plain = (id, object.properties.bytes().to_vec(), number(status), payload);
        let expected = ((ids.0, ids.1, priority, end_of_group), plain);
        match draft {
            Draft::D16 => prop_assert_eq!(theirs16::datagram(&bytes), expected),
            Draft::D18 => prop_assert_eq!(theirs18::datagram(&bytes), expected),
        }
    }

    #[test]
    fn fetches_are_read_by_an_independent_decoder(
        draft in any_draft(),
        request in any_id(),
        descending: bool,
        made in proptest::collection::vec(
            (any_object(), proptest::option::of(0..4_u64), 0..2_u8, 0..3_u64), 0..8
        ),
    ) {
        let profile = draft.profile();
        let order = if descending { GroupOrder::Descending } else { GroupOrder::Ascending };
        let mut bytes = BytesMut::new();
        let mut encoder = FetchEncoder::new(profile, RequestId(request), order, &mut bytes).unwrap();
        let (mut group, mut id, mut expected) = (1000_u64, 0, Vec::new());
        for ((gap, properties, payload, _), subgroup, priority, step) in made {
            if step > 0 {
                group = if descending { group - step } else { group + step };
                id = 0;
            }
            id += gap;
            let object = FetchObject {
                location: Location { group: GroupId(group), object: ObjectId(id) },
                subgroup: subgroup.map(SubgroupId),
                priority,
                properties: list(profile, properties),
                payload_length: u64::try_from(payload.len()).unwrap(),
            };
            expected.push((
                group, id, subgroup, priority, object.properties.bytes().to_vec(), payload.clone(),
            ));
            encoder.entry(&FetchEntry::Object(object), &mut bytes).unwrap();
            bytes.extend_from_slice(&payload);
            id += 1;
        }
        let read = match draft {
            Draft::D16 => theirs16::fetch(&bytes),
            Draft::D18 => theirs18::fetch(&bytes, order),
        };
        prop_assert_eq!(read, (request, expected));
    }
}
