use bytes::Bytes;

use super::*;
use crate::draft::{Draft, IntegerKind};
use crate::wire::id::{GroupId, ObjectId};
use crate::wire::object::FetchObject;

const D16: &Profile = Draft::D16.profile();
const D18: &Profile = Draft::D18.profile();

fn at(group: u64, object: u64) -> Location {
    Location {
        group: GroupId(group),
        object: ObjectId(object),
    }
}

fn properties(list: &[(u64, Value)]) -> Properties {
    Properties::from_list(IntegerKind::Vi64, list.to_vec()).unwrap()
}

fn integer(number: u64, value: u64) -> (u64, Value) {
    (number, Value::Integer(value))
}

fn immutable(list: &[(u64, Value)]) -> (u64, Value) {
    (0x0b, Value::Bytes(properties(list).bytes().clone()))
}

fn track_fault(list: &[(u64, Value)], location: Location) -> &'static str {
    match check_properties(D18, &properties(list), location) {
        Err(Fault::Track(rule)) => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn gaps_are_found_among_mutable_and_immutable_properties() {
    let list = properties(&[integer(0x3c, 2), immutable(&[integer(0x3e, 3)])]);
    let gaps = Gaps {
        groups: Some(2),
        objects: Some(3),
    };
    assert_eq!(check_properties(D18, &list, at(2, 3)), Ok(gaps));
}

// Rules: B391
#[test]
fn gap_told_twice_is_malformed() {
    for number in [0x3c, 0x3e] {
        let twice = [integer(number, 1), integer(number, 1)];
        assert_eq!(
            track_fault(&twice, at(9, 9)),
            "V89: a gap told twice by one object"
        );
        let both = [integer(number, 1), immutable(&[integer(number, 1)])];
        assert_eq!(
            track_fault(&both, at(9, 9)),
            "V89: a gap told twice by one object"
        );
    }
}

#[test]
fn gap_beyond_the_first_id_is_malformed() {
    let rule = "V89: a gap larger than the object's own id";
    assert_eq!(track_fault(&[integer(0x3c, 4)], at(3, 9)), rule);
    assert_eq!(track_fault(&[integer(0x3e, 4)], at(9, 3)), rule);
}

// Rules: B047
#[test]
fn mandatory_track_property_on_an_object_is_malformed_v51() {
    for number in [0x4000, 0x7ffe] {
        let rule = track_fault(&[integer(number, 0)], at(0, 0));
        assert!(rule.starts_with("V51"), "{number:#x}");
    }
    // others are not, and draft 16 knows no such thing
    for number in [0x3ffe, 0x8000] {
        assert!(check_properties(D18, &properties(&[integer(number, 0)]), at(0, 0)).is_ok());
    }
    let list = Properties::from_list(IntegerKind::Quic, vec![integer(0x4000, 0)]).unwrap();
    assert!(check_properties(D16, &list, at(0, 0)).is_ok());
}

// Rules: B389
#[test]
fn two_or_nested_immutable_properties_are_malformed() {
    let inner = immutable(&[integer(2, 1)]);
    assert!(track_fault(&[inner.clone(), inner.clone()], at(0, 0)).starts_with("V89"));
    assert!(track_fault(&[immutable(&[inner])], at(0, 0)).starts_with("V89"));
    let cut = (0x0b, Value::Bytes(Bytes::from_static(&[2])));
    assert!(track_fault(&[cut], at(0, 0)).starts_with("V89"));
}

#[test]
fn list_that_cannot_be_read_closes_the_session() {
    let cut = Properties::from_bytes(Bytes::from_static(&[2]), IntegerKind::Vi64);
    assert!(matches!(
        check_properties(D18, &cut, at(0, 0)),
        Err(Fault::Session(_))
    ));
}

/// A record and what it says of one thing after another.
struct Track(TrackRecord);

fn track() -> Track {
    let limits = Limits {
        max_checked_groups: 2,
        max_checked_subgroups: 2,
        ..Limits::default()
    };
    Track(TrackRecord::new(&limits, 128))
}

const fn header(group: u64, subgroup: u64, priority: Option<u8>) -> SubgroupHeader {
    SubgroupHeader {
        group: GroupId(group),
        subgroup: SubgroupId(subgroup),
        priority,
        end_of_group: false,
        first_object: false,
    }
}

impl Track {
    fn object(&mut self, group: u64, id: u64) -> Result<(), &'static str> {
        self.gap(group, id, Gaps::default())
    }

    fn gap(&mut self, group: u64, id: u64, gaps: Gaps) -> Result<(), &'static str> {
        let subgroup = Some(SubgroupId(0));
        self.0
            .object(at(group, id), subgroup, ObjectStatus::Normal, false, gaps)
    }

    fn marker(&mut self, group: u64, id: u64, status: ObjectStatus) -> Result<(), &'static str> {
        let subgroup = Some(SubgroupId(1));
        self.0
            .object(at(group, id), subgroup, status, false, Gaps::default())
    }

    fn opened(&mut self, header: &SubgroupHeader) -> Result<(), &'static str> {
        self.0.opened(header)
    }
}

const BEYOND_GROUP: Result<(), &str> = Err("V89: object beyond the end of its group");
const BEYOND_TRACK: Result<(), &str> = Err("V89: object beyond the end of the track");

#[test]
fn condition_1_priority_of_a_subgroup_changes() {
    let mut track = track();
    assert_eq!(track.opened(&header(0, 0, Some(128))), Ok(()));
    assert_eq!(
        track.opened(&header(0, 0, None)),
        Ok(()),
        "the track's default"
    );
    assert_eq!(
        track.opened(&header(0, 1, Some(5))),
        Ok(()),
        "another subgroup"
    );
    assert_eq!(
        track.opened(&header(1, 0, Some(5))),
        Ok(()),
        "another group"
    );
    let changed = track.opened(&header(0, 0, Some(127)));
    assert_eq!(changed, Err("V89: priority of a subgroup changed"));
}

#[test]
fn condition_2_object_beyond_the_end_of_its_subgroup() {
    let mut track = track();
    let subgroup = header(0, 0, None);
    track.opened(&subgroup).unwrap();
    track.object(0, 4).unwrap();
    track.0.finished(&subgroup, 4).unwrap();
    assert_eq!(track.object(0, 3), Ok(()));
    assert_eq!(track.object(0, 4), Ok(()), "again");
    assert_eq!(
        track.object(0, 5),
        Err("V89: object beyond the end of its subgroup")
    );
}

#[test]
fn condition_3_subgroup_ends_twice_with_different_objects() {
    let mut track = track();
    let subgroup = header(0, 0, None);
    track.opened(&subgroup).unwrap();
    assert_eq!(track.0.finished(&subgroup, 4), Ok(()));
    assert_eq!(track.0.finished(&subgroup, 4), Ok(()));
    let other = track.0.finished(&subgroup, 3);
    assert_eq!(
        other,
        Err("V89: subgroup ended twice with different last objects")
    );
}

#[test]
fn condition_4_object_beyond_the_end_of_its_group() {
    // told by a marker
    let mut marked = track();
    marked.object(0, 2).unwrap();
    marked.marker(0, 3, ObjectStatus::EndOfGroup).unwrap();
    assert_eq!(
        marked.marker(0, 3, ObjectStatus::EndOfGroup),
        Ok(()),
        "again"
    );
    assert_eq!(marked.object(0, 1), Ok(()));
    assert_eq!(marked.object(1, 9), Ok(()), "another group");
    assert_eq!(marked.object(0, 3), BEYOND_GROUP);
    // by a stream's end
    let mut ended = track();
    let subgroup = SubgroupHeader {
        end_of_group: true,
        ..header(0, 1, None)
    };
    ended.0.finished(&subgroup, 3).unwrap();
    ended.opened(&subgroup).unwrap();
    ended.0.finished(&subgroup, 3).unwrap();
    assert_eq!(ended.object(0, 3), Ok(()));
    assert_eq!(ended.object(0, 4), BEYOND_GROUP);
    // by a datagram
    let mut datagram = track();
    let last = datagram
        .0
        .object(at(0, 3), None, ObjectStatus::Normal, true, Gaps::default());
    assert_eq!(last, Ok(()));
    assert_eq!(datagram.object(0, 4), BEYOND_GROUP);
    // or the end comes too late
    let mut late = track();
    late.object(0, 3).unwrap();
    let end = late.marker(0, 3, ObjectStatus::EndOfGroup);
    assert_eq!(end, Err("V89: end of a group before an object of it"));
}

#[test]
fn condition_5_object_beyond_the_end_of_the_track() {
    let mut track = track();
    track.object(4, 2).unwrap();
    track.marker(4, 3, ObjectStatus::EndOfTrack).unwrap();
    assert_eq!(track.object(4, 1), Ok(()));
    assert_eq!(track.object(3, 99), Ok(()));
    assert_eq!(track.object(4, 3), BEYOND_TRACK);
    assert_eq!(track.object(5, 0), BEYOND_TRACK);
    let early = track.marker(4, 2, ObjectStatus::EndOfTrack);
    assert_eq!(early, Err("V89: end of the track before an object of it"));
}

#[test]
fn gap_between_groups_holds_nothing() {
    let gap = |groups| Gaps {
        groups: Some(groups),
        objects: None,
    };
    let mut seen = track();
    seen.object(3, 0).unwrap();
    assert_eq!(seen.gap(5, 0, gap(1)), Ok(()));
    assert_eq!(seen.gap(5, 1, gap(1)), Ok(()));
    let within = Err("V89: object in a group that was said not to exist");
    assert_eq!(seen.object(4, 0), within);
    assert_eq!(
        seen.gap(5, 2, gap(0)),
        Err("V89: different gaps before one group")
    );
    let mut over = track();
    over.object(3, 0).unwrap();
    assert_eq!(
        over.gap(5, 0, gap(2)),
        Err("V89: gap over a group with objects")
    );
}

#[test]
fn gap_between_objects_holds_nothing() {
    let gap = |objects| Gaps {
        groups: None,
        objects: Some(objects),
    };
    let mut track = track();
    track.object(0, 3).unwrap();
    assert_eq!(track.gap(0, 6, gap(2)), Ok(()));
    assert_eq!(track.gap(0, 6, gap(2)), Ok(()), "again");
    assert_eq!(track.object(0, 7), Ok(()));
    assert_eq!(track.object(1, 5), Ok(()), "another group");
    assert_eq!(
        track.object(0, 5),
        Err("V89: object that was said not to exist")
    );
    let over = track.gap(0, 8, gap(5));
    assert_eq!(over, Err("V89: gap over an object that was received"));
}

#[test]
fn only_the_latest_groups_and_the_first_subgroups_are_remembered() {
    let mut track = track();
    track.marker(5, 1, ObjectStatus::EndOfGroup).unwrap();
    track.object(6, 0).unwrap();
    assert_eq!(track.object(4, 0), Ok(()), "too old to be remembered");
    assert_eq!(track.object(5, 1), BEYOND_GROUP);
    track.object(7, 0).unwrap();
    assert_eq!(track.object(5, 1), Ok(()), "forgotten");
    assert_eq!(track.0.groups.len(), 2);
    for subgroup in 0..5 {
        track.opened(&header(7, subgroup, Some(1))).unwrap();
    }
    assert_eq!(track.0.groups[&7].subgroups.len(), 2);
    assert!(track.opened(&header(7, 1, Some(2))).is_err());
    assert_eq!(track.opened(&header(7, 4, Some(2))), Ok(()), "not checked");
}

#[test]
fn spans_join_and_are_bounded() {
    let mut spans = Spans::new();
    for id in [5, 7, 6, u64::MAX, 0] {
        spans.insert(id, id);
    }
    assert_eq!(spans.spans, [(0, 0), (5, 7), (u64::MAX, u64::MAX)]);
    assert!(spans.meets(1, 5) && !spans.meets(1, 4) && spans.contains(6));
    for id in 0..100 {
        spans.insert(10 + 2 * id, 10 + 2 * id);
    }
    assert_eq!(spans.spans.len(), MAX_SPANS);
    assert!(!spans.contains(6) && spans.contains(208) && spans.contains(u64::MAX));
}

fn fetched(location: Location, subgroup: u64, priority: u8) -> FetchEntry {
    FetchEntry::Object(FetchObject {
        location,
        subgroup: Some(SubgroupId(subgroup)),
        priority,
        properties: Properties::default(),
        payload_length: 0,
    })
}

#[test]
fn fetch_keeps_its_order() {
    let cases = [
        (GroupOrder::Ascending, at(5, 6), true),
        (GroupOrder::Ascending, at(6, 0), true),
        (GroupOrder::Ascending, at(4, 9), false),
        (GroupOrder::Descending, at(4, 0), true),
        (GroupOrder::Descending, at(6, 9), false),
        (GroupOrder::Descending, at(5, 5), false),
        (GroupOrder::Ascending, at(5, 4), false),
    ];
    for (order, next, fits) in cases {
        for second in [fetched(next, 0, 1), FetchEntry::Unknown(next)] {
            let mut record = FetchRecord::new(order);
            assert_eq!(record.entry(D18, &fetched(at(5, 5), 0, 1)), Ok(()));
            assert_eq!(
                record.entry(D18, &second).is_ok(),
                fits,
                "{order:?} {next:?}"
            );
        }
    }
}

#[test]
fn fetch_keeps_the_priority_of_a_subgroup() {
    let mut record = FetchRecord::new(GroupOrder::Ascending);
    for (object, subgroup, priority) in [(0, 0, 1), (1, 1, 2), (2, 0, 1)] {
        let entry = fetched(at(0, object), subgroup, priority);
        assert_eq!(record.entry(D18, &entry), Ok(()));
    }
    assert_eq!(
        record.entry(D18, &fetched(at(0, 3), 0, 2)),
        Err(Fault::Track("V89: priority of a subgroup changed"))
    );
    let mut next_group = FetchRecord::new(GroupOrder::Ascending);
    next_group.entry(D18, &fetched(at(0, 0), 0, 1)).unwrap();
    assert_eq!(next_group.entry(D18, &fetched(at(1, 0), 0, 2)), Ok(()));
}

#[test]
fn fetched_objects_have_their_properties_checked() {
    let FetchEntry::Object(object) = fetched(at(0, 0), 0, 1) else {
        panic!("an object");
    };
    let entry = FetchEntry::Object(FetchObject {
        properties: properties(&[integer(0x4000, 0)]),
        ..object
    });
    let mut record = FetchRecord::new(GroupOrder::Ascending);
    assert!(matches!(record.entry(D18, &entry), Err(Fault::Track(_))));
}
