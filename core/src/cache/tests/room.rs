//! What stays within the limits.

use super::*;

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
