//! What goes with time.

use super::*;

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

// Rules: B356
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
