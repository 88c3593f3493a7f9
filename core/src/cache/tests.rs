//! Each statement that the cache's documentation makes.

use bytes::Bytes;

use super::*;
use crate::draft::IntegerKind;
use crate::ledger::{CHUNK_OVERHEAD, Ledger, Pieces};
use crate::wire::id::SubgroupId;
use crate::wire::property::{IMMUTABLE_PROPERTIES, MAX_CACHE_DURATION, Value};

/// Payload of the objects here, in bytes.
const PAYLOAD: usize = 100;
/// What each of them costs.
const COST: u64 = 100 + 192 + 128;

fn name(text: &str) -> FullTrackName {
    format!("live--{text}").parse().unwrap()
}

fn seconds(seconds: u64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

fn at(group: u64, object: u64) -> Position {
    Position::of(Location::new(group, object))
}

fn span(from: (u64, u64), to: (u64, u64)) -> Span {
    Span::new(at(from.0, from.1), at(to.0, to.1))
}

fn object(filling: u8) -> Object {
    Object {
        subgroup: Some(SubgroupId(0)),
        priority: 128,
        properties: Properties::default(),
        payload: Pieces::from(Bytes::from(vec![filling; PAYLOAD])),
        arrived: Time::ZERO,
    }
}

fn limits() -> Limits {
    Limits {
        max_groups_per_track: 100,
        ..Limits::default()
    }
}

/// A cache and the tracks `a`, `b` and `c`.
struct Fixture {
    cache: Cache,
    tracks: [TrackId; 3],
}

fn fixture(limits: Limits) -> Fixture {
    let mut cache = Cache::new(limits);
    let tracks = ["a", "b", "c"].map(|text| cache.open(&name(text)));
    Fixture { cache, tracks }
}

impl Fixture {
    fn insert(&mut self, track: usize, group: u64, id: u64) -> Inserted {
        self.insert_at(Time::ZERO, track, group, id)
    }

    fn insert_at(&mut self, now: Time, track: usize, group: u64, id: u64) -> Inserted {
        let object = Object {
            arrived: now,
            ..object(7)
        };
        let location = Location::new(group, id);
        self.cache
            .insert(now, self.tracks[track], location, object)
            .unwrap()
    }

    fn has(&mut self, now: Time, track: usize, group: u64, id: u64) -> bool {
        let (from, to) = (at(group, id), at(group, id + 1));
        let look = self.cache.look(now, self.tracks[track], from, to);
        matches!(look, Some(Look::Object(..)))
    }

    /// Whether there is an object, without using it.
    fn holds(&self, track: usize, group: u64, id: u64) -> bool {
        let track = self.cache.tracks.get(&self.tracks[track]);
        track.is_some_and(|track| track.object(Location::new(group, id)).is_some())
    }

    fn absent(&mut self, track: usize, span: Span, evidence: Evidence) {
        self.cache
            .mark_absent(self.tracks[track], span, evidence)
            .unwrap();
    }

    /// What a walk in ascending order finds.
    fn ascending(&mut self, track: usize, span: Span) -> Vec<String> {
        let (mut from, mut found) = (span.from, Vec::new());
        while let Some(look) = self
            .cache
            .look(Time::ZERO, self.tracks[track], from, span.to)
        {
            let (text, next) = match look {
                Look::Object(location, _) => (location.to_string(), Position::after(location)),
                Look::Absent(to) => (format!("absent {from:?}..{to:?}"), to),
                Look::Missing(to) => (format!("missing {from:?}..{to:?}"), to),
            };
            found.push(text);
            from = next;
        }
        found
    }

    /// What a walk in descending order of groups finds.
    fn descending(&mut self, track: usize, span: Span) -> Vec<String> {
        let (mut to, mut found) = (span.to, Vec::new());
        while let Some(look) = self
            .cache
            .look_back(Time::ZERO, self.tracks[track], span.from, to)
        {
            to = match look {
                LookBack::Group(group) => {
                    let part = Span::group(group).intersection(Span::new(span.from, to));
                    found.extend(self.ascending(track, part));
                    part.from
                }
                LookBack::Absent(from) => {
                    found.push(format!("absent {from:?}..{to:?}"));
                    from
                }
                LookBack::Missing(from) => {
                    found.push(format!("missing {from:?}..{to:?}"));
                    from
                }
            };
        }
        found
    }
}

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
fn a_walk_meets_objects_gaps_and_what_is_unknown_in_order() {
    let mut f = fixture(limits());
    f.insert(0, 1, 0);
    f.insert(0, 1, 1);
    f.insert(0, 3, 4);
    f.absent(0, span((1, 2), (2, 5)), Evidence::Inferred);
    assert_eq!(
        f.ascending(0, span((0, 0), (4, 0))),
        [
            "missing {0, 0}..{1, 0}",
            "{1, 0}",
            "{1, 1}",
            "absent {1, 2}..{2, 5}",
            "missing {2, 5}..{3, 4}",
            "{3, 4}",
            "missing {3, 5}..{4, 0}",
        ]
    );
    assert_eq!(
        f.descending(0, span((0, 0), (4, 0))),
        [
            "missing {3, 0}..{3, 4}",
            "{3, 4}",
            "missing {3, 5}..{4, 0}",
            "absent {2, 0}..{2, 5}",
            "missing {2, 5}..{3, 0}",
            "{1, 0}",
            "{1, 1}",
            "absent {1, 2}..{2, 0}",
            "missing {0, 0}..{1, 0}",
        ]
    );
}

#[test]
fn a_walk_ends_where_it_is_told_to() {
    let mut f = fixture(limits());
    f.insert(0, 5, 0);
    let id = f.tracks[0];
    assert_eq!(f.cache.look(Time::ZERO, id, at(5, 0), at(5, 0)), None);
    assert_eq!(f.cache.look_back(Time::ZERO, id, at(5, 0), at(5, 0)), None);
    assert_eq!(
        f.ascending(0, span((4, 9), (4, 12))),
        ["missing {4, 9}..{4, 12}"]
    );
    // A span within one group.
    assert_eq!(
        f.descending(0, span((4, 9), (4, 12))),
        ["missing {4, 9}..{4, 12}"]
    );
    assert_eq!(
        f.descending(0, span((5, 0), (5, 2))),
        ["{5, 0}", "missing {5, 1}..{5, 2}"]
    );
}

#[test]
fn a_descending_walk_passes_millions_of_groups_in_one_step() {
    let mut f = fixture(limits());
    let million = 1 << 20;
    f.insert(0, 1, 0);
    f.insert(0, 3 * million, 0);
    f.absent(
        0,
        span((3 * million, 1), (9 * million, 0)),
        Evidence::Inferred,
    );
    assert_eq!(
        f.descending(0, span((0, 0), (9 * million, 0))),
        [
            format!("absent {{{}, 0}}..{{{}, 0}}", 3 * million + 1, 9 * million),
            format!("{{{}, 0}}", 3 * million),
            format!("absent {{{}, 1}}..{{{}, 0}}", 3 * million, 3 * million + 1),
            format!("missing {{2, 0}}..{{{}, 0}}", 3 * million),
            "{1, 0}".to_owned(),
            "missing {1, 1}..{2, 0}".to_owned(),
            "missing {0, 0}..{1, 0}".to_owned(),
        ]
    );
}

#[test]
fn nothing_is_known_of_a_track_that_is_not_open() {
    let mut f = fixture(limits());
    let id = f.tracks[0];
    f.cache.close(id);
    assert_eq!(f.cache.find(&name("a")), None);
    let object = f
        .cache
        .insert(Time::ZERO, id, Location::new(0, 0), object(1));
    assert_eq!(object, Ok(Inserted::NotKept));
    let look = f.cache.look(Time::ZERO, id, at(0, 0), at(1, 0));
    assert_eq!(look, Some(Look::Missing(at(1, 0))));
    let back = f.cache.look_back(Time::ZERO, id, at(0, 3), at(1, 0));
    assert_eq!(back, Some(LookBack::Missing(at(0, 3))));
    assert_eq!(f.cache.used(), 0);
}

#[test]
fn the_same_object_again_changes_nothing() {
    let mut f = fixture(limits());
    assert_eq!(f.insert(0, 1, 1), Inserted::New);
    assert_eq!(f.insert(0, 1, 1), Inserted::Known);
    assert_eq!(f.cache.used(), COST);
}

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

#[test]
fn b044_the_newest_mutable_properties_replace_those_before() {
    let mut f = fixture(limits());
    let (id, location) = (f.tracks[0], Location::new(2, 9));
    for value in [1, 1 << 40, 2] {
        let properties =
            Properties::from_list(IntegerKind::Vi64, [(0x40, Value::Integer(value))]).unwrap();
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
fn gaps_are_bounded_and_those_added_to_longest_ago_are_forgotten_first() {
    let mut f = fixture(Limits {
        max_gaps_per_track: 8,
        ..limits()
    });
    for group in 0..9 {
        f.absent(0, span((group, 1), (group, 2)), Evidence::Stated);
    }
    let gaps = f.ascending(0, span((0, 0), (9, 0)));
    let gaps: Vec<_> = gaps
        .iter()
        .filter(|found| found.starts_with("absent"))
        .collect();
    assert_eq!(gaps.len(), 7);
    assert_eq!(gaps[0], "absent {2, 1}..{2, 2}");
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
fn what_is_used_is_what_the_objects_cost() {
    let mut f = fixture(limits());
    let pieces = Pieces::from([Bytes::from_static(b"ab"), Bytes::from_static(b"c")].as_slice());
    let properties = Properties::from_list(IntegerKind::Vi64, [(0x40, Value::Integer(5))]).unwrap();
    let length = properties.bytes().len();
    let small = Object {
        properties,
        payload: pieces,
        ..object(0)
    };
    let cost = 3 + u64::try_from(length + 2 * CHUNK_OVERHEAD).unwrap() + OBJECT_OVERHEAD;
    let location = Location::new(0, 0);
    f.cache
        .insert(Time::ZERO, f.tracks[0], location, small)
        .unwrap();
    assert_eq!(f.cache.used(), cost);
    f.insert(1, 0, 0);
    assert_eq!(f.cache.used(), cost + COST);
    f.cache.forget(&name("a"));
    assert_eq!(f.cache.used(), COST);
    f.cache.forget(&name("b"));
    assert_eq!(f.cache.used(), 0);
}

#[test]
fn the_group_used_least_recently_goes_first_over_all_tracks() {
    let mut f = fixture(Limits {
        max_bytes: 3 * COST,
        ..limits()
    });
    f.insert(0, 1, 0);
    f.insert(1, 1, 0);
    f.insert(0, 2, 0);
    assert!(f.has(Time::ZERO, 0, 1, 0)); // A use.
    f.insert(2, 1, 0);
    assert!(!f.holds(1, 1, 0));
    assert!(f.holds(0, 1, 0) && f.holds(0, 2, 0) && f.holds(2, 1, 0));
    assert_eq!(f.cache.used(), 3 * COST);
    // A whole group goes.
    f.insert(0, 1, 1);
    assert!(!f.holds(0, 2, 0));
    f.insert(2, 1, 1);
    assert!(!f.holds(0, 1, 0) && !f.holds(0, 1, 1));
    assert_eq!(f.cache.used(), 2 * COST);
}

#[test]
fn a_track_keeps_only_its_latest_groups() {
    let mut f = fixture(Limits {
        max_groups_per_track: 3,
        ..limits()
    });
    for group in 0..5 {
        f.insert(0, group, 0);
        f.insert(1, group, 0);
    }
    for track in [0, 1] {
        let held: Vec<u64> = (0..5).filter(|group| f.holds(track, *group, 0)).collect();
        assert_eq!(held, [2, 3, 4]);
    }
    assert!(f.has(Time::ZERO, 0, 2, 0));
    f.insert(0, 5, 0);
    let held: Vec<u64> = (0..6).filter(|group| f.holds(0, *group, 0)).collect();
    assert_eq!(held, [2, 4, 5]);
}

#[test]
fn the_track_used_least_recently_goes_first_with_all_that_is_cached_of_it() {
    let mut f = fixture(Limits {
        max_tracks: 2,
        ..limits()
    });
    f.insert(0, 1, 0);
    f.insert(0, 2, 0);
    f.insert(1, 1, 0);
    assert!(f.has(Time::ZERO, 0, 1, 0));
    f.insert(2, 1, 0);
    assert!(!f.holds(1, 1, 0));
    f.insert(1, 1, 0);
    assert!(!f.holds(0, 1, 0) && !f.holds(0, 2, 0));
    assert!(f.holds(1, 1, 0) && f.holds(2, 1, 0));
    assert_eq!(f.cache.used(), 2 * COST);
}

#[test]
fn no_live_track_goes_for_another_which_is_not_cached_then() {
    let mut f = fixture(Limits {
        max_tracks: 2,
        ..limits()
    });
    for track in [0, 1] {
        f.cache.set_live(f.tracks[track], Some(GroupId(1)));
        f.insert(track, 1, 0);
    }
    f.cache.set_live(f.tracks[2], Some(GroupId(1)));
    assert_eq!(f.insert(2, 1, 0), Inserted::NotKept);
    // As soon as one is not live any more its place is free.
    f.cache.set_live(f.tracks[0], None);
    assert_eq!(f.insert(2, 1, 1), Inserted::New);
    assert!(!f.holds(0, 1, 0));
    assert_eq!(f.cache.used(), 2 * COST);
}

#[test]
fn without_caching_nothing_stays_but_what_fills_pin() {
    let mut f = fixture(Limits {
        max_tracks: 0,
        ..limits()
    });
    let id = f.tracks[0];
    f.cache.set_live(id, Some(GroupId(1)));
    assert_eq!(f.insert(0, 1, 0), Inserted::NotKept);
    f.cache.pin(id, GroupId(1));
    f.cache.pin(id, GroupId(1));
    assert_eq!(f.insert(0, 1, 0), Inserted::New);
    assert_eq!(f.insert(0, 2, 0), Inserted::NotKept);
    f.absent(0, span((1, 1), (3, 0)), Evidence::Inferred);
    f.cache.unpin(id, GroupId(1));
    assert_eq!(
        f.ascending(0, span((1, 0), (3, 0))),
        ["{1, 0}", "absent {1, 1}..{3, 0}"]
    );
    f.cache.unpin(id, GroupId(1));
    assert_eq!(f.cache.used(), 0);
    assert_eq!(
        f.ascending(0, span((1, 0), (3, 0))),
        ["missing {1, 0}..{1, 1}", "absent {1, 1}..{3, 0}"]
    );
    f.cache.close(id);
    assert_eq!(f.cache.find(&name("a")), None);
}

#[test]
fn a_group_that_a_fill_pins_stays_whatever_the_limits_say() {
    let mut f = fixture(Limits {
        max_bytes: COST,
        max_groups_per_track: 1,
        max_tracks: 1,
        max_age: Duration::from_secs(1),
        ..limits()
    });
    f.cache.pin(f.tracks[0], GroupId(1));
    f.insert(0, 1, 0);
    f.insert(0, 1, 1);
    f.insert(0, 2, 0);
    f.insert(1, 1, 0);
    f.cache.handle_timeout(seconds(10));
    assert!(f.holds(0, 1, 0) && f.holds(0, 1, 1));
    assert!(!f.holds(0, 2, 0) && !f.holds(1, 1, 0));
    assert_eq!((f.cache.used(), f.cache.filled()), (2 * COST, 2 * COST));
    // From the last unpinning on, the limits hold for it as well.
    f.cache.unpin(f.tracks[0], GroupId(1));
    assert_eq!((f.cache.used(), f.cache.filled()), (0, 0));
}

#[test]
fn a_live_group_stays_while_there_are_others_and_then_loses_its_lowest_objects() {
    let mut f = fixture(Limits {
        max_bytes: 4 * COST,
        ..limits()
    });
    for track in [0, 1] {
        f.cache.set_live(f.tracks[track], Some(GroupId(5)));
    }
    f.insert(0, 5, 0);
    f.insert(0, 4, 0);
    f.insert(1, 5, 0);
    f.insert(0, 5, 1);
    f.insert(0, 5, 2);
    assert!(!f.holds(0, 4, 0), "the group that is not live went first");
    f.insert(0, 5, 3);
    assert!(!f.holds(0, 5, 0) && f.holds(1, 5, 0), "the largest loses");
    assert_eq!(f.cache.used(), 4 * COST);
    // They are unknown from then on, and can come back.
    assert_eq!(
        f.ascending(0, span((5, 0), (5, 2))),
        ["missing {5, 0}..{5, 1}", "{5, 1}"]
    );
    // The group before is not live any more.
    f.cache.set_live(f.tracks[0], Some(GroupId(6)));
    f.insert(1, 5, 1);
    assert!(!f.holds(0, 5, 1) && !f.holds(0, 5, 3));
    assert_eq!(f.cache.used(), 2 * COST);
}

#[test]
fn an_object_larger_than_the_budget_is_not_kept() {
    let mut f = fixture(Limits {
        max_bytes: COST - 1,
        ..limits()
    });
    f.cache.set_live(f.tracks[0], Some(GroupId(1)));
    f.insert(0, 1, 0);
    f.insert(1, 1, 0);
    assert_eq!(f.cache.used(), 0);
    assert!(f.cache.poll_timeout().is_none());
}

#[test]
fn bytes_can_be_asked_back() {
    let mut f = fixture(limits());
    f.cache.set_live(f.tracks[0], Some(GroupId(1)));
    f.cache.pin(f.tracks[1], GroupId(1));
    for group in [1, 2] {
        f.insert(0, group, 0);
        f.insert(1, group, 0);
    }
    assert_eq!(f.cache.relieve(COST + 1), 2 * COST);
    assert!(f.holds(0, 1, 0) && f.holds(1, 1, 0));
    assert_eq!(f.cache.relieve(u64::MAX), COST);
    assert!(f.holds(1, 1, 0));
    assert_eq!(f.cache.used(), COST);
}

#[test]
fn readers_keep_what_they_hold_when_it_is_dropped() {
    let ledger = Ledger::new(1 << 20);
    let mut f = fixture(limits());
    let (id, location) = (f.tracks[0], Location::new(0, 0));
    let held = Object {
        payload: Pieces::from(ledger.copy(&[9; 50]).unwrap()),
        ..object(0)
    };
    f.cache
        .insert(Time::ZERO, id, location, held.clone())
        .unwrap();
    let Some(Look::Object(_, read)) = f.cache.look(Time::ZERO, id, at(0, 0), at(1, 0)) else {
        panic!("the object is there");
    };
    f.cache.forget(&name("a"));
    assert_eq!(read, held);
    assert_eq!(ledger.used(), 50 + CHUNK_OVERHEAD, "one copy in all");
    drop((read, held));
    assert_eq!(ledger.used(), 0);
}

#[test]
fn a_group_goes_when_nothing_was_added_to_it_for_the_maximum_age() {
    let mut f = fixture(Limits {
        max_age: Duration::from_secs(10),
        ..limits()
    });
    f.insert_at(seconds(0), 0, 1, 0);
    f.insert_at(seconds(4), 0, 2, 0);
    f.insert_at(seconds(7), 0, 1, 1);
    assert_eq!(f.cache.poll_timeout().unwrap().0, seconds(10));
    f.cache.handle_timeout(seconds(13));
    assert!(f.holds(0, 1, 0) && f.holds(0, 2, 0));
    f.cache.handle_timeout(seconds(14));
    assert!(f.holds(0, 1, 0) && !f.holds(0, 2, 0));
    assert_eq!(f.cache.poll_timeout().unwrap().0, seconds(17));
    assert!(!f.has(seconds(17), 0, 1, 1), "reading is no insertion");
    assert_eq!(f.cache.poll_timeout(), None);
    assert_eq!(f.cache.used(), 0);
}

#[test]
fn a_live_group_has_no_age() {
    let mut f = fixture(Limits {
        max_age: Duration::from_secs(10),
        ..limits()
    });
    f.cache.set_live(f.tracks[0], Some(GroupId(1)));
    f.insert_at(seconds(0), 0, 1, 0);
    assert!(f.has(seconds(100), 0, 1, 0));
    f.cache.set_live(f.tracks[0], Some(GroupId(2)));
    assert!(!f.has(seconds(100), 0, 1, 0));
}

#[test]
fn b356_no_object_is_served_once_the_maximum_cache_duration_is_over() {
    let mut f = fixture(limits());
    let id = f.tracks[0];
    f.cache.set_live(id, Some(GroupId(1)));
    f.cache.set_max_duration(id, Some(Duration::from_secs(5)));
    f.insert_at(seconds(10), 0, 1, 0);
    f.insert_at(seconds(12), 0, 1, 1);
    f.insert_at(seconds(12), 1, 1, 0);
    assert!(f.has(seconds(15), 0, 1, 0));
    let later = seconds(15) + Duration::from_micros(1);
    assert_eq!(f.cache.poll_timeout().unwrap().0, later);
    assert!(!f.has(later, 0, 1, 0), "though its group is live");
    assert!(f.has(later, 0, 1, 1) && f.has(later, 1, 1, 0));
    assert_eq!(f.cache.used(), 2 * COST);
    // It is unknown then, and can be fetched again.
    assert_eq!(f.insert_at(later, 0, 1, 0), Inserted::New);
    assert!(f.has(seconds(20), 0, 1, 0));
    f.cache.handle_timeout(seconds(21));
    assert_eq!(f.cache.used(), COST);
}

#[test]
fn b356_the_duration_counts_from_when_an_object_began_to_arrive() {
    let mut f = fixture(limits());
    let (id, location) = (f.tracks[0], Location::new(1, 0));
    f.cache.set_max_duration(id, Some(Duration::from_secs(5)));
    let slow = Object {
        arrived: seconds(3),
        ..object(1)
    };
    f.cache.insert(seconds(7), id, location, slow).unwrap();
    assert!(f.has(seconds(8), 0, 1, 0));
    assert!(!f.has(seconds(9), 0, 1, 0));
}

#[test]
fn b356_the_duration_is_one_of_the_tracks_properties() {
    let mut f = fixture(limits());
    let id = f.tracks[0];
    f.insert_at(seconds(0), 0, 1, 0);
    let duration = [(MAX_CACHE_DURATION, Value::Integer(1500))];
    let properties = Properties::from_list(IntegerKind::Vi64, duration).unwrap();
    f.cache.describe(id, properties.clone(), Draft::D18);
    assert_eq!(f.cache.description(id), Some((&properties, Draft::D18)));
    assert!(f.has(Time::from_micros(1_500_000), 0, 1, 0));
    assert!(!f.has(seconds(2), 0, 1, 0));
    f.insert_at(seconds(2), 0, 1, 0);
    f.cache.describe(id, Properties::default(), Draft::D18);
    assert!(f.has(seconds(60), 0, 1, 0));
}

#[test]
fn what_a_fill_brought_is_there_for_those_who_wait_for_it_however_late() {
    let mut f = fixture(limits());
    let id = f.tracks[0];
    f.cache.set_max_duration(id, Some(Duration::ZERO));
    f.insert_at(seconds(0), 0, 1, 0);
    f.cache.pin(id, GroupId(1));
    f.insert_at(seconds(1), 0, 1, 1);
    assert!(f.has(seconds(1), 0, 1, 1) && f.has(seconds(60), 0, 1, 1));
    assert!(!f.holds(0, 1, 0), "it was there before the fill");
    f.cache.unpin(id, GroupId(1));
    assert!(!f.has(seconds(60), 0, 1, 1));
    assert_eq!(f.cache.used(), 0);
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
fn a_track_outlives_those_who_opened_it_while_it_has_objects() {
    let mut f = fixture(limits());
    let id = f.tracks[0];
    assert_eq!(f.cache.open(&name("a")), id);
    f.insert(0, 1, 0);
    f.cache.describe(id, Properties::default(), Draft::D16);
    f.cache.close(id);
    f.cache.close(id);
    assert_eq!(f.cache.find(&name("a")), Some(id));
    assert!(f.cache.description(id).is_some());
    f.cache.close(f.tracks[1]);
    assert_eq!(f.cache.find(&name("b")), None, "there is nothing of it");
    f.cache.handle_timeout(seconds(3600));
    assert_eq!(f.cache.find(&name("a")), None);
    assert_eq!(f.cache.len(), 1);
}

#[test]
fn the_last_of_all_locations_is_not_cached() {
    let mut f = fixture(limits());
    assert_eq!(f.insert(0, u64::MAX, u64::MAX), Inserted::NotKept);
    assert_eq!(f.insert(0, u64::MAX, u64::MAX - 1), Inserted::New);
    assert_eq!(f.cache.used(), COST);
}
