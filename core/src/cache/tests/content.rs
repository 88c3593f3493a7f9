//! What is known, and what contradicts it.

use super::*;

// Rules: B292
#[test]
fn what_was_put_in_comes_out_as_it_was() {
    let mut f = fixture(limits());
    let whole = Object {
        subgroup: None,
        priority: 3,
        properties: Properties::from_list(IntegerKind::Vi64, [(0x40, Value::Integer(5))]).unwrap(),
        payload: Pieces::from([Bytes::from_static(b"ab"), Bytes::from_static(b"c")].as_slice()),
        arrived: seconds(1),
    };
    let location = Location::new(4, 2);
    let id = f.tracks[0];
    let inserted = f.cache.insert(seconds(2), id, location, whole.clone());
    assert_eq!(inserted, Ok(Inserted::New));
    let look = f.cache.look(seconds(3), id, at(4, 2), Position::END);
    assert_eq!(look, Some(Look::Object(location, whole)));
}

#[test]
fn the_same_object_again_changes_nothing() {
    let mut f = fixture(limits());
    assert_eq!(f.insert(0, 1, 1), Inserted::New);
    assert_eq!(f.insert(0, 1, 1), Inserted::Known);
    assert_eq!(f.cache.used(), COST);
}

// Rules: B290
#[test]
fn another_object_at_the_same_location_is_a_contradiction_that_says_what_differs() {
    let properties =
        |number, value| Properties::from_list(IntegerKind::Vi64, [(number, value)]).unwrap();
    let immutable = || Value::Bytes(Bytes::from_static(&[0x40, 1]));
    let first = Object {
        properties: properties(IMMUTABLE_PROPERTIES, immutable()),
        ..object(1)
    };
    let with = |change: fn(&mut Object)| {
        let mut other = first.clone();
        change(&mut other);
        other
    };
    let cases = [
        (with(|o| o.subgroup = None), Conflict::ForwardingPreference),
        (
            with(|o| o.subgroup = Some(SubgroupId(1))),
            Conflict::Subgroup,
        ),
        (with(|o| o.priority = 1), Conflict::Priority),
        (with(|o| o.payload = Pieces::default()), Conflict::Length),
        (with(|o| o.payload = object(2).payload), Conflict::Payload),
        (
            with(|o| o.properties = Properties::default()),
            Conflict::ImmutableProperties,
        ),
    ];
    let mut f = fixture(limits());
    let (id, location) = (f.tracks[0], Location::new(2, 9));
    f.cache
        .insert(Time::ZERO, id, location, first.clone())
        .unwrap();
    let used = f.cache.used();
    for (other, conflict) in cases {
        let refused = f.cache.insert(Time::ZERO, id, location, other);
        assert_eq!(refused, Err(Contradiction { location, conflict }));
        assert_eq!(f.cache.used(), used);
        let look = f.cache.look(Time::ZERO, id, at(2, 9), at(2, 10));
        assert_eq!(look, Some(Look::Object(location, first.clone())));
    }
}

// Rules: B044, B045
#[test]
fn b044_the_newest_mutable_properties_replace_those_before() {
    let mut f = fixture(limits());
    let (id, location) = (f.tracks[0], Location::new(2, 9));
    for (number, value) in [(0x40, 1), (0x40, 1 << 40), (0x42, 2), (0x44, 3)] {
        let properties =
            Properties::from_list(IntegerKind::Vi64, [(number, Value::Integer(value))]).unwrap();
        let bytes = u64::try_from(properties.bytes().len()).unwrap();
        let newest = Object {
            properties,
            ..object(1)
        };
        f.cache
            .insert(Time::ZERO, id, location, newest.clone())
            .unwrap();
        let look = f.cache.look(Time::ZERO, id, at(2, 9), at(2, 10));
        assert_eq!(look, Some(Look::Object(location, newest)));
        assert_eq!(f.cache.used(), COST + bytes);
    }
}

#[test]
fn immutable_properties_are_the_same_bytes_whichever_draft_brought_them() {
    let mut f = fixture(limits());
    let (id, location) = (f.tracks[0], Location::new(2, 9));
    for integers in [IntegerKind::Vi64, IntegerKind::Quic] {
        let immutable = Value::Bytes(Bytes::from_static(&[0x20, 1]));
        let properties =
            Properties::from_list(integers, [(IMMUTABLE_PROPERTIES, immutable)]).unwrap();
        let object = Object {
            properties,
            ..object(1)
        };
        assert!(f.cache.insert(Time::ZERO, id, location, object).is_ok());
    }
}

#[test]
fn an_object_where_the_publisher_said_there_is_none_is_a_contradiction() {
    let mut f = fixture(limits());
    let id = f.tracks[0];
    f.absent(
        0,
        Span::rest_of_group(Location::new(1, 3)),
        Evidence::Stated,
    );
    for object_id in [3, 4, 1 << 60] {
        let location = Location::new(1, object_id);
        let refused = f.cache.insert(Time::ZERO, id, location, object(1));
        let conflict = Conflict::KnownGap;
        assert_eq!(refused, Err(Contradiction { location, conflict }));
    }
    assert_eq!(f.insert(0, 1, 2), Inserted::New);
    assert_eq!(f.insert(0, 2, 0), Inserted::New);
}

#[test]
fn a_gap_that_the_publisher_tells_of_over_an_object_is_a_contradiction() {
    let mut f = fixture(limits());
    f.insert(0, 2, 5);
    let id = f.tracks[0];
    let gap = span((1, 0), (3, 0));
    let refused = f.cache.mark_absent(id, gap, Evidence::Stated);
    assert_eq!(
        refused,
        Err(Contradiction {
            location: Location::new(2, 5),
            conflict: Conflict::KnownObject,
        })
    );
    assert_eq!(
        f.ascending(0, gap),
        ["missing {1, 0}..{2, 5}", "{2, 5}", "missing {2, 6}..{3, 0}"]
    );
    f.absent(0, span((2, 6), (9, 0)), Evidence::Stated);
}

// Rules: B291
#[test]
fn b291_an_object_that_a_fetch_left_out_is_ignored_when_it_comes_later() {
    let mut f = fixture(limits());
    f.insert(0, 2, 5);
    f.absent(0, span((2, 0), (3, 0)), Evidence::Inferred);
    assert_eq!(f.insert(0, 2, 6), Inserted::Absent);
    assert_eq!(f.insert(0, 2, 5), Inserted::Known);
    assert_eq!(
        f.ascending(0, span((2, 0), (3, 0))),
        ["absent {2, 0}..{2, 5}", "{2, 5}", "absent {2, 6}..{3, 0}"]
    );
}

#[test]
fn the_end_of_a_track_is_known_once_the_publisher_told_of_it() {
    let mut f = fixture(limits());
    let id = f.tracks[0];
    let end = Location::new(8, 3);
    assert_eq!(f.cache.end_of_track(id), None);
    f.absent(0, Span::rest_of_group(end), Evidence::Stated);
    assert_eq!(f.cache.end_of_track(id), None);
    f.absent(0, Span::rest_of_track(end), Evidence::Stated);
    assert_eq!(f.cache.end_of_track(id), Some(end));
    // However many gaps there are.
    for group in 0..5000 {
        f.absent(0, span((group, 1), (group, 2)), Evidence::Stated);
    }
    assert_eq!(f.cache.end_of_track(id), Some(end));
}

#[test]
fn the_largest_location_is_remembered_though_its_object_is_not() {
    let mut f = fixture(Limits {
        max_tracks: 0,
        ..limits()
    });
    let id = f.tracks[0];
    assert_eq!(f.cache.largest(id), None);
    assert_eq!(f.insert(0, 4, 4), Inserted::NotKept);
    assert_eq!(f.insert(0, 4, 2), Inserted::NotKept);
    assert_eq!(f.cache.largest(id), Some(Location::new(4, 4)));
    f.cache.reach(id, Location::new(5, 0));
    assert_eq!(f.cache.largest(id), Some(Location::new(5, 0)));
}

#[test]
fn a_forgotten_track_begins_anew() {
    let mut f = fixture(limits());
    let id = f.tracks[0];
    f.cache.set_live(id, Some(GroupId(9)));
    f.cache.pin(id, GroupId(9));
    f.cache.set_max_duration(id, Some(Duration::ZERO));
    f.cache.describe(id, Properties::default(), Draft::D16);
    f.insert(0, 9, 0);
    f.absent(
        0,
        Span::rest_of_track(Location::new(9, 1)),
        Evidence::Stated,
    );
    f.cache.forget(&name("a"));
    assert_eq!(f.cache.find(&name("a")), Some(id), "it is open");
    assert_eq!(f.cache.largest(id), None);
    assert_eq!(f.cache.end_of_track(id), None);
    assert_eq!(f.cache.description(id), None);
    assert_eq!(
        f.ascending(0, span((9, 0), (9, 9))),
        ["missing {9, 0}..{9, 9}"]
    );
    assert_eq!((f.cache.used(), f.cache.filled()), (0, 0));
    assert_eq!(f.insert(0, 9, 3), Inserted::New);
    assert!(f.has(seconds(60), 0, 9, 3));
    f.cache.unpin(id, GroupId(9));
    assert_eq!(f.cache.filled(), 0);
}

#[test]
fn the_last_of_all_locations_is_not_cached() {
    let mut f = fixture(limits());
    assert_eq!(f.insert(0, u64::MAX, u64::MAX), Inserted::NotKept);
    assert_eq!(f.insert(0, u64::MAX, u64::MAX - 1), Inserted::New);
    assert_eq!(f.cache.used(), COST);
}

#[test]
fn nothing_may_be_beyond_the_end_of_a_track_nor_the_end_before_its_objects() {
    let mut f = fixture(limits());
    let id = f.tracks[0];
    f.insert(0, 4, 2);
    let early = Span::rest_of_track(Location::new(4, 2));
    let refused = f.cache.mark_absent(id, early, Evidence::Stated);
    assert_eq!(
        refused,
        Err(Contradiction {
            location: Location::new(4, 2),
            conflict: Conflict::KnownObject,
        })
    );
    assert_eq!(f.cache.end_of_track(id), None);
    f.absent(
        0,
        Span::rest_of_track(Location::new(6, 0)),
        Evidence::Stated,
    );
    for (group, object_id) in [(6, 0), (6, 9), (7, 0), (u64::MAX, 0)] {
        let location = Location::new(group, object_id);
        let refused = f.cache.insert(Time::ZERO, id, location, object(1));
        let conflict = Conflict::KnownGap;
        assert_eq!(refused, Err(Contradiction { location, conflict }));
    }
    assert_eq!(f.insert(0, 5, 9), Inserted::New);
    // An earlier end is a better one, a later one says nothing new.
    f.absent(
        0,
        Span::rest_of_track(Location::new(5, 10)),
        Evidence::Stated,
    );
    f.absent(
        0,
        Span::rest_of_track(Location::new(9, 0)),
        Evidence::Stated,
    );
    assert_eq!(f.cache.end_of_track(id), Some(Location::new(5, 10)));
}
