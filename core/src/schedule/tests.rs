use super::*;
use crate::wire::id::{GroupId, Location, ObjectId, SubgroupId};
use crate::wire::param::GroupOrder::{self, Ascending, Descending};

const fn class(subscriber_priority: u8, publisher_priority: u8) -> Class {
    Class {
        subscriber_priority,
        publisher_priority,
    }
}

const fn subgroup(order: GroupOrder, group: u64, subgroup: u64) -> Place {
    Place::subgroup(order, GroupId(group), SubgroupId(subgroup))
}

const fn datagram(order: GroupOrder, group: u64, object: u64) -> Place {
    let location = Location {
        group: GroupId(group),
        object: ObjectId(object),
    };
    Place::datagram(order, location)
}

/// Takes everything out in the order in which it would leave, each key at once.
fn drained(mut schedule: Schedule<u32, u32>) -> Vec<u32> {
    let mut order = Vec::new();
    while let Some(key) = schedule.first(|_| true) {
        schedule.remove(key);
        order.push(key);
    }
    order
}

fn of(slots: &[(u32, u32, Class, Place)]) -> Schedule<u32, u32> {
    let mut schedule = Schedule::default();
    for (key, request, class, place) in slots {
        schedule.insert(*key, *request, *class, *place);
    }
    schedule
}

// Rules: B341
#[test]
fn subscriber_priority_comes_before_publisher_priority() {
    let place = subgroup(Ascending, 0, 0);
    let slots = [
        (1, 1, class(200, 0), place),
        (2, 2, class(128, 255), place),
        (3, 3, class(128, 7), place),
        (4, 4, class(0, 255), place),
    ];
    assert_eq!(drained(of(&slots)), [4, 3, 2, 1]);
}

// Rules: B341
#[test]
fn publisher_priority_comes_before_group_order() {
    let slots = [
        (1, 1, class(128, 10), subgroup(Ascending, 0, 0)),
        (2, 1, class(128, 9), subgroup(Ascending, 5, 3)),
    ];
    assert_eq!(drained(of(&slots)), [2, 1]);
}

// Rules: B341
#[test]
fn groups_leave_in_the_order_of_their_request() {
    for (order, expected) in [(Ascending, [3, 4, 5]), (Descending, [5, 4, 3])] {
        let slots = [5_u32, 3, 4].map(|group| {
            let place = subgroup(order, u64::from(group), 0);
            (group, 1, class(128, 128), place)
        });
        assert_eq!(drained(of(&slots)), expected);
    }
}

// Rules: B341
#[test]
fn within_a_group_the_lowest_subgroup_or_object_leaves_first_in_either_group_order() {
    for order in [Ascending, Descending] {
        let slots = [
            (1, 1, class(128, 128), subgroup(order, 7, 2)),
            (2, 1, class(128, 128), subgroup(order, 7, 1)),
            (3, 1, class(128, 128), datagram(order, 7, 9)),
            (4, 1, class(128, 128), datagram(order, 7, 8)),
        ];
        assert_eq!(drained(of(&slots)), [4, 3, 2, 1]);
    }
}

#[test]
fn requests_of_equal_priority_take_turns() {
    let class = class(128, 128);
    let mut schedule = of(&[
        (1, 1, class, subgroup(Ascending, 0, 0)),
        (2, 2, class, subgroup(Ascending, 9, 0)),
        (3, 3, class, Place::FETCH),
        // request 1 has two streams, but no more turns than the others
        (4, 1, class, subgroup(Ascending, 1, 0)),
    ]);
    let mut left = Vec::new();
    for _ in 0..7 {
        let key = schedule.first(|_| true).unwrap();
        schedule.served(key);
        left.push(key);
    }
    assert_eq!(left, [1, 2, 3, 1, 2, 3, 1]);
}

#[test]
fn request_that_has_something_only_now_and_then_does_not_starve_others() {
    let class = class(128, 128);
    let mut schedule = of(&[(1, 1, class, Place::FETCH)]);
    let mut left = Vec::new();
    for _ in 0..3 {
        schedule.insert(2, 2, class, Place::FETCH);
        for _ in 0..2 {
            let key = schedule.first(|_| true).unwrap();
            schedule.served(key);
            left.push(key);
            if key == 2 {
                schedule.remove(key);
            }
        }
    }
    assert_eq!(left, [1, 2, 1, 2, 1, 2]);
}

#[test]
fn more_urgent_request_is_served_without_taking_turns() {
    let mut schedule = of(&[
        (1, 1, class(128, 128), Place::FETCH),
        (2, 2, class(127, 128), Place::FETCH),
    ]);
    for _ in 0..3 {
        assert_eq!(schedule.first(|_| true), Some(2));
        schedule.served(2);
    }
    assert_eq!(schedule.first(|key| key != 2), Some(1), "unless it may not");
    assert_eq!(schedule.first(|_| false), None);
}

#[test]
fn inserting_again_moves() {
    let mut schedule = of(&[
        (1, 1, class(128, 128), Place::FETCH),
        (2, 2, class(127, 128), Place::FETCH),
    ]);
    schedule.insert(2, 2, class(129, 128), Place::FETCH);
    assert_eq!(drained(schedule.clone()), [1, 2]);
    assert!(schedule.contains(2));
    assert!(schedule.remove(2));
    assert!(!schedule.remove(2));
    assert!(!schedule.contains(2));
}
