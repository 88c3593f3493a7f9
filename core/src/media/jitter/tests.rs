use std::collections::BTreeSet;

use super::*;

/// A point in time, in milliseconds.
fn at(milliseconds: u64) -> Time {
    Time::from_micros(1000 * milliseconds)
}

fn object(group: u64, object: u64) -> Arrival {
    Arrival {
        location: Location::new(group, object),
        sequence: None,
        is_start: false,
        bytes: 100,
    }
}

fn numbered(group: u64, id: u64, sequence: u64) -> Arrival {
    Arrival {
        sequence: Some(sequence),
        ..object(group, id)
    }
}

/// A track that goes on after object 0 of group 0.
fn joined() -> Jitter<()> {
    let mut jitter = Jitter::new(Limits::default());
    jitter.subscribed(Some(Location::new(0, 0)));
    jitter
}

/// What leaves now: where it is, and whether something is missing before.
fn leaving(jitter: &mut Jitter<()>, now: u64) -> Vec<(u64, u64, bool)> {
    let all = std::iter::from_fn(|| jitter.poll(at(now)));
    all.map(|released| {
        let Location { group, object } = released.location;
        (group.0, object.0, released.after_gap)
    })
    .collect()
}

#[test]
fn what_comes_in_order_does_not_wait() {
    let mut jitter = joined();
    for id in 1..5 {
        jitter.push(at(id), object(0, id), ()).unwrap();
        assert_eq!(leaving(&mut jitter, id), [(0, id, false)]);
    }
    assert_eq!(jitter.poll_timeout(), None);
}

#[test]
fn what_comes_too_early_waits_for_what_is_missing() {
    let mut jitter = joined();
    jitter.push(at(0), object(0, 3), ()).unwrap();
    jitter.push(at(1), object(0, 2), ()).unwrap();
    assert_eq!(leaving(&mut jitter, 299), []);
    assert_eq!(jitter.poll_timeout(), Some(at(300)));
    jitter.push(at(299), object(0, 1), ()).unwrap();
    let all = [(0, 1, false), (0, 2, false), (0, 3, false)];
    assert_eq!(leaving(&mut jitter, 299), all);
    assert_eq!(jitter.counts().gaps, 0);
}

#[test]
fn a_gap_is_given_up_after_a_while() {
    let mut jitter = joined();
    jitter.push(at(0), object(0, 5), ()).unwrap();
    jitter.push(at(100), object(0, 3), ()).unwrap();
    jitter.push(at(100), object(0, 8), ()).unwrap();
    // The one that has waited so long takes along what is before it.
    assert_eq!(leaving(&mut jitter, 300), [(0, 3, true), (0, 5, true)]);
    assert_eq!(jitter.poll_timeout(), Some(at(400)));
    assert_eq!(leaving(&mut jitter, 400), [(0, 8, true)]);
    assert_eq!(jitter.counts().gaps, 3);
}

#[test]
fn late_objects_and_those_that_come_twice_are_told_apart() {
    let mut jitter = joined();
    jitter.push(at(0), object(0, 1), ()).unwrap();
    jitter.push(at(0), object(0, 4), ()).unwrap();
    let again = jitter.push(at(0), object(0, 4), ());
    assert_eq!(again, Err(Unwanted::Duplicate));
    assert_eq!(leaving(&mut jitter, 300).len(), 2);
    for (id, unwanted) in [
        (1, Unwanted::Duplicate),
        (2, Unwanted::Late),
        (3, Unwanted::Late),
        (4, Unwanted::Duplicate),
    ] {
        assert_eq!(jitter.push(at(301), object(0, id), ()), Err(unwanted));
    }
    let counts = jitter.counts();
    assert_eq!((counts.late, counts.duplicates), (2, 3));
    assert_eq!(counts.released, 2);
}

#[test]
fn counted_objects_follow_on_one_another_across_groups() {
    let mut jitter = joined();
    jitter.push(at(0), numbered(0, 1, 17), ()).unwrap();
    jitter.push(at(0), numbered(5, 0, 18), ()).unwrap();
    jitter.push(at(0), numbered(6, 0, 20), ()).unwrap();
    assert_eq!(
        leaving(&mut jitter, 0),
        [(0, 1, false), (5, 0, false)],
        "19 is missing"
    );
    jitter.push(at(1), numbered(5, 1, 19), ()).unwrap();
    assert_eq!(leaving(&mut jitter, 1).len(), 2);
}

#[test]
fn uncounted_objects_follow_on_the_known_end_of_a_group() {
    let mut jitter = joined();
    jitter.push(at(0), object(0, 1), ()).unwrap();
    jitter.push(at(0), object(1, 0), ()).unwrap();
    assert_eq!(leaving(&mut jitter, 0), [(0, 1, false)]);
    jitter.end_of_group(GroupId(0), ObjectId(2));
    assert_eq!(leaving(&mut jitter, 0), [(1, 0, false)]);
    // The end shows that something is missing too.
    jitter.end_of_group(GroupId(1), ObjectId(3));
    jitter.push(at(0), object(2, 0), ()).unwrap();
    assert_eq!(leaving(&mut jitter, 299), []);
    assert_eq!(leaving(&mut jitter, 300), [(2, 0, true)]);
    // A group whose end nobody tells: the next one waits, but nothing says that there is a gap.
    jitter.push(at(300), object(3, 0), ()).unwrap();
    assert_eq!(leaving(&mut jitter, 599), []);
    assert_eq!(leaving(&mut jitter, 600), [(3, 0, false)]);
}

#[test]
fn the_first_object_waits_unless_it_is_known_to_be_the_first() {
    let mut jitter = Jitter::new(Limits::default());
    jitter.subscribed(None);
    jitter.push(at(0), object(8, 0), ()).unwrap();
    assert_eq!(leaving(&mut jitter, 0), []);
    jitter.push(at(1), object(7, 0), ()).unwrap();
    assert_eq!(leaving(&mut jitter, 300), [(7, 0, false), (8, 0, false)]);
    let mut jitter = Jitter::new(Limits::default());
    jitter.push(at(0), numbered(8, 0, 0), ()).unwrap();
    assert_eq!(leaving(&mut jitter, 0), [(8, 0, false)]);
    let mut jitter = Jitter::new(Limits::default());
    let start = Arrival {
        is_start: true,
        ..object(8, 0)
    };
    jitter.push(at(0), start, ()).unwrap();
    assert_eq!(leaving(&mut jitter, 0), [(8, 0, false)]);
}

#[test]
fn live_objects_wait_for_a_fetch_as_long_as_it_takes() {
    let mut jitter = Jitter::new(Limits::default());
    jitter.joining(Some(Location::new(4, 2)));
    jitter.push(at(0), object(4, 3), ()).unwrap();
    assert_eq!(leaving(&mut jitter, 5000), []);
    assert_eq!(jitter.poll_timeout(), None);
    let start = Arrival {
        is_start: true,
        ..object(4, 0)
    };
    jitter.push(at(5000), start, ()).unwrap();
    assert_eq!(leaving(&mut jitter, 5000), [(4, 0, false)]);
    jitter.push(at(6000), object(4, 1), ()).unwrap();
    assert_eq!(leaving(&mut jitter, 6000), [(4, 1, false)]);
    // It is over without the last one: that is a gap like any other.
    jitter.fetched(at(7000));
    assert_eq!(leaving(&mut jitter, 7000), []);
    assert_eq!(jitter.poll_timeout(), Some(at(7300)));
    assert_eq!(leaving(&mut jitter, 7300), [(4, 3, true)]);
}

#[test]
fn a_track_that_goes_on_is_not_repeated_and_one_that_begins_anew_is_taken() {
    let mut jitter = joined();
    jitter.push(at(0), object(0, 1), ()).unwrap();
    assert_eq!(leaving(&mut jitter, 0), [(0, 1, false)]);
    jitter.subscribed(Some(Location::new(0, 1)));
    assert!(jitter.push(at(1), object(0, 1), ()).is_err());
    jitter.push(at(1), object(0, 2), ()).unwrap();
    assert_eq!(leaving(&mut jitter, 1), [(0, 2, false)]);
    jitter.subscribed(Some(Location::new(0, 0)));
    jitter.push(at(2), object(0, 1), ()).unwrap();
    assert_eq!(leaving(&mut jitter, 2), [(0, 1, false)]);
    jitter.subscribed(None);
    jitter.push(at(3), numbered(0, 0, 0), ()).unwrap();
    assert_eq!(leaving(&mut jitter, 3), [(0, 0, false)]);
}

#[test]
fn at_the_end_nothing_stays() {
    let mut jitter = joined();
    for id in [2, 4, 6] {
        jitter.push(at(0), object(0, id), ()).unwrap();
    }
    jitter.flush();
    let all = [(0, 2, true), (0, 4, true), (0, 6, true)];
    assert_eq!(leaving(&mut jitter, 0), all);
    assert!(jitter.is_empty());
}

#[test]
fn more_objects_or_bytes_than_may_wait_give_up_a_gap() {
    let limits = Limits {
        max_objects: 3,
        max_bytes: 1000,
        ..Limits::default()
    };
    let mut jitter = Jitter::new(limits);
    jitter.joining(Some(Location::new(0, 0)));
    for id in 2..5 {
        jitter.push(at(0), object(0, 2 * id), ()).unwrap();
        assert_eq!(leaving(&mut jitter, 0), []);
    }
    jitter.push(at(0), object(0, 10), ()).unwrap();
    assert_eq!(leaving(&mut jitter, 0), [(0, 4, false)]);
    let large = Arrival {
        bytes: 801,
        ..object(0, 8)
    };
    assert!(jitter.push(at(0), large, ()).is_err(), "it was there");
    let large = Arrival {
        bytes: 701,
        ..object(0, 12)
    };
    let (_, _, released) = (leaving(&mut jitter, 0), jitter.flush(), jitter.poll(at(0)));
    assert!(released.is_some());
    jitter.push(at(0), large, ()).unwrap();
    assert_eq!(jitter.bytes(), 901);
    let large = Arrival {
        bytes: 100,
        ..object(0, 14)
    };
    jitter.push(at(0), large, ()).unwrap();
    assert_eq!(leaving(&mut jitter, 0), [(0, 8, true)]);
    assert_eq!((jitter.len(), jitter.bytes()), (3, 901));
}

#[test]
fn what_is_remembered_is_bounded() {
    let limits = Limits {
        max_gaps: 2,
        max_group_ends: 2,
        ..Limits::default()
    };
    let mut jitter = Jitter::new(limits);
    jitter.subscribed(Some(Location::new(0, 0)));
    for group in 1..4 {
        jitter.end_of_group(GroupId(group), ObjectId(1));
    }
    assert_eq!(jitter.ends.len(), 2);
    for id in [2, 4, 6] {
        jitter.push(at(0), object(0, id), ()).unwrap();
    }
    assert_eq!(leaving(&mut jitter, 300).len(), 3);
    // The first gap is forgotten, the others are not.
    for (id, unwanted) in [
        (1, Unwanted::Duplicate),
        (3, Unwanted::Late),
        (5, Unwanted::Late),
    ] {
        assert_eq!(jitter.push(at(300), object(0, id), ()), Err(unwanted));
    }
}

/// Numbers that look random, the same ones every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A track: groups of some objects, counted or not.
fn track(random: &mut Random) -> Vec<Arrival> {
    let is_counted = random.below(2) == 0;
    let mut all = Vec::new();
    for group in 0..1 + random.below(20) {
        for id in 0..1 + random.below(6) {
            let sequence = u64::try_from(all.len()).unwrap();
            all.push(Arrival {
                sequence: is_counted.then_some(sequence),
                ..object(group, id)
            });
        }
    }
    all
}

#[test]
fn whatever_the_order_within_the_wait_all_leave_sorted() {
    let mut random = Random(7);
    for _ in 0..500 {
        let all = track(&mut random);
        // An object each millisecond, late by less than the wait.
        let mut arrivals: Vec<(u64, Arrival)> = (0..)
            .zip(&all)
            .map(|(sent, arrival)| (sent + random.below(300), *arrival))
            .collect();
        arrivals.sort_by_key(|(time, _)| *time);
        let limits = Limits {
            wait: Duration::from_millis(300),
            ..Limits::default()
        };
        let mut jitter = Jitter::new(limits);
        jitter.subscribed(None);
        let mut released = Vec::new();
        let mut arrivals = arrivals.into_iter().peekable();
        for now in 0..1000 {
            while let Some((_, arrival)) = arrivals.next_if(|(time, _)| *time == now) {
                jitter.push(at(now), arrival, now).unwrap();
            }
            while let Some(object) = jitter.poll(at(now)) {
                assert!(!object.after_gap);
                assert!(now - object.item <= 300, "waited too long");
                released.push(object.location);
            }
            let deadline = jitter.poll_timeout();
            assert!(deadline.is_none_or(|deadline| deadline > at(now)));
        }
        let sent: Vec<Location> = all.iter().map(|arrival| arrival.location).collect();
        assert_eq!(released, sent);
        assert_eq!((jitter.len(), jitter.bytes()), (0, 0));
    }
}

#[test]
fn whatever_is_lost_or_doubled_what_leaves_is_sorted_and_counted() {
    let mut random = Random(11);
    for _ in 0..500 {
        let all = track(&mut random);
        let limits = Limits {
            max_objects: 8,
            ..Limits::default()
        };
        let mut jitter = Jitter::new(limits);
        let (mut pushed, mut refused) = (BTreeSet::new(), 0);
        let mut released = Vec::new();
        for step in 0..300 {
            let index = usize::try_from(random.below(300)).unwrap();
            let now = at(step * random.below(40));
            if let Some(arrival) = all.get(index) {
                match jitter.push(now, *arrival, ()) {
                    Ok(()) => assert!(pushed.insert(arrival.location)),
                    Err(_) => refused += 1,
                }
            }
            while let Some(object) = jitter.poll(now) {
                released.push(object.location);
            }
            assert!(jitter.len() <= 8 && jitter.bytes() == 100 * jitter.len());
        }
        jitter.flush();
        while let Some(object) = jitter.poll(at(0)) {
            released.push(object.location);
        }
        assert!(released.is_sorted_by(|a, b| a < b));
        assert_eq!(released, pushed.into_iter().collect::<Vec<_>>());
        let counts = jitter.counts();
        assert_eq!(counts.late + counts.duplicates, refused);
        assert_eq!(counts.released, u64::try_from(released.len()).unwrap());
    }
}
