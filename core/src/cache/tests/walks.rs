//! Walks in both group orders.

use super::*;

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
fn what_is_all_there_is_found_in_both_orders() {
    let mut f = fixture(limits());
    for group in [1, 2] {
        f.insert(0, group, 0);
        f.insert(0, group, 1);
        let end = Location::new(group, 2);
        f.absent(0, Span::rest_of_group(end), Evidence::Stated);
    }
    assert_eq!(
        f.ascending(0, span((1, 0), (3, 0))),
        [
            "{1, 0}",
            "{1, 1}",
            "absent {1, 2}..{2, 0}",
            "{2, 0}",
            "{2, 1}",
            "absent {2, 2}..{3, 0}"
        ]
    );
    assert_eq!(
        f.descending(0, span((1, 0), (3, 0))),
        [
            "{2, 0}",
            "{2, 1}",
            "absent {2, 2}..{3, 0}",
            "{1, 0}",
            "{1, 1}",
            "absent {1, 2}..{2, 0}"
        ]
    );
}

#[test]
fn gaps_that_objects_tell_of_close_the_holes_before_them() {
    let mut f = fixture(limits());
    f.insert(0, 1, 0);
    f.insert(0, 5, 3);
    assert_eq!(
        f.ascending(0, span((1, 0), (5, 4))),
        ["{1, 0}", "missing {1, 1}..{5, 3}", "{5, 3}"]
    );
    let told = Location::new(5, 3);
    f.absent(0, Span::prior_objects(told, 3).unwrap(), Evidence::Stated);
    f.absent(0, Span::prior_groups(told, 2).unwrap(), Evidence::Stated);
    f.absent(
        0,
        Span::rest_of_group(Location::new(1, 1)),
        Evidence::Stated,
    );
    assert_eq!(
        f.ascending(0, span((1, 0), (5, 4))),
        [
            "{1, 0}",
            "absent {1, 1}..{2, 0}",
            "missing {2, 0}..{3, 0}",
            "absent {3, 0}..{5, 3}",
            "{5, 3}"
        ]
    );
    f.absent(0, Span::prior_groups(told, 3).unwrap(), Evidence::Stated);
    assert_eq!(
        f.ascending(0, span((1, 0), (5, 4))),
        ["{1, 0}", "absent {1, 1}..{5, 3}", "{5, 3}"]
    );
}

#[test]
fn a_walk_in_progress_finds_missing_what_was_dropped_meanwhile_and_goes_on() {
    let mut f = fixture(limits());
    let id = f.tracks[0];
    for object in 0..4 {
        f.insert(0, 1, object);
    }
    let read = f.cache.look(Time::ZERO, id, at(1, 0), at(1, 4));
    assert!(matches!(read, Some(Look::Object(..))));
    assert_eq!(f.cache.relieve(1), 4 * COST);
    let rest = f.cache.look(Time::ZERO, id, at(1, 1), at(1, 4));
    assert_eq!(rest, Some(Look::Missing(at(1, 4))));
    // A fill brings some of it again.
    f.cache.pin(id, GroupId(1));
    f.insert(0, 1, 1);
    assert_eq!(
        f.ascending(0, span((1, 1), (1, 4))),
        ["{1, 1}", "missing {1, 2}..{1, 4}"]
    );
}
