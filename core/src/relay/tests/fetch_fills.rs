//! Fills: what is asked upstream, once, for all who wait; and what becomes of that when publishers or readers fail.

use std::time::Duration;

use super::fetch_wire::{DOWN, UP, entry, patient, payload, range};
use super::*;
use crate::wire::object::FetchEntry;

/// A relay that keeps no more of a track than one group.
fn forgetful() -> Settings {
    let mut settings = Settings::default();
    settings.cache.max_groups_per_track = 1;
    settings
}

#[test]
fn fetches_of_overlapping_ranges_share_a_fill() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let first = rig.connect(drafts.1);
        let second = rig.connect(drafts.1);
        let one = rig.fetch(first, at(0, 0), at(3, 0), UP);
        let two = rig.fetch(second, at(1, 0), at(3, 0), UP);
        let three = rig.fetch(second, at(0, 0), at(3, 0), DOWN);
        assert_eq!(rig.ranges_asked(publisher), ["{0, 0} {3, 0}"]);
        let up = rig.last_fetch(publisher);
        rig.grant(publisher, up, at(2, 1));
        let mut supply = rig.supply(publisher, up);
        for group in 0..3 {
            rig.supply_object(&mut supply, at(group, 0), &payload(at(group, 0)));
        }
        rig.end_supply(&supply);
        let all = ["{0, 0} 0.0", "{1, 0} 1.0", "{2, 0} 2.0", "end"];
        rig.assert_fetched(first, one, at(2, 1), &all);
        rig.assert_fetched(second, two, at(2, 1), &all[1..]);
        let all = ["{2, 0} 2.0", "{1, 0} 1.0", "{0, 0} 0.0", "end"];
        rig.assert_fetched(second, three, at(2, 1), &all);
        assert_eq!(rig.fetches_asked(publisher).len(), 1);
        rig.end();
    }
}

// Rules: B249
#[test]
fn only_what_is_missing_is_asked_for() {
    for drafts in DRAFT_PAIRS {
        for order in [UP, DOWN] {
            let mut rig = Rig::new();
            let running = rig.running(drafts);
            for group in [2, 4] {
                rig.ended_group(running, group, 1);
            }
            let id = rig.fetch(running.subscriber, at(1, 0), at(4, 0), order);
            let asked = match order {
                UP => ["{1, 0} {1, 0}", "{3, 0} {3, 0}"],
                DOWN => ["{3, 0} {3, 0} down", "{1, 0} {1, 0} down"],
            };
            assert_eq!(rig.ranges_asked(running.publisher), asked);
            for (up, start, end, _) in rig.fetches_asked(running.publisher) {
                rig.answer_fetch(running.publisher, up, end, &[(start.group.0, 7)]);
            }
            let mut all = vec!["{1, 7} 1.7", "{2, 0} 2.0", "{3, 7} 3.7", "{4, 0} 4.0"];
            if order == DOWN {
                all.reverse();
            }
            all.push("end");
            rig.assert_fetched(running.subscriber, id, at(4, 1), &all);
            rig.end();
        }
    }
}

#[test]
fn a_fill_that_a_publisher_refuses_or_breaks_off_goes_to_the_next() {
    for drafts in DRAFT_PAIRS {
        for how in 0..4 {
            let mut rig = Rig::new();
            let first = rig.publisher(drafts.0);
            let second = rig.publisher(drafts.0);
            let peer = rig.connect(drafts.1);
            let id = rig.fetch(peer, at(0, 0), at(0, 4), UP);
            let up = rig.last_fetch(first);
            assert!(rig.fetches_asked(second).is_empty());
            let mut begun = "{0, 0} {0, 4}";
            if how == 0 {
                rig.refuse(first, up, RequestCode::NotSupported);
            } else {
                rig.grant(first, up, at(0, 4));
                let mut supply = rig.supply(first, up);
                rig.supply_object(&mut supply, at(0, 0), &payload(at(0, 0)));
                // In the middle of an object.
                rig.supply_entry(&mut supply, &entry(at(0, 1), 9, Properties::default()));
                rig.send_supply(&supply, b"half");
                match how {
                    1 => rig.reset_supply(&supply, ResetCode::InternalError),
                    2 => rig.lose(first),
                    _ => rig.cancel(first, up),
                }
                begun = "{0, 1} {0, 4}";
            }
            assert_eq!(rig.ranges_asked(second), [begun], "{drafts:?} {how}");
            let up = rig.last_fetch(second);
            let from = u64::from(how > 0);
            let objects: Vec<(u64, u64)> = (from..4).map(|object| (0, object)).collect();
            rig.answer_fetch(second, up, at(0, 4), &objects);
            let all = [
                "{0, 0} 0.0",
                "{0, 1} 0.1",
                "{0, 2} 0.2",
                "{0, 3} 0.3",
                "end",
            ];
            rig.assert_fetched(peer, id, at(0, 4), &all);
            rig.end();
        }
    }
}

#[test]
fn what_no_publisher_can_tell_is_unknown_and_not_asked_for_again() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publishers = [rig.publisher(drafts.0), rig.publisher(drafts.0)];
        let peer = rig.connect(drafts.1);
        let id = rig.fetch(peer, at(0, 0), at(0, 9), UP);
        let up = rig.last_fetch(publishers[0]);
        rig.grant(publishers[0], up, at(0, 9));
        let mut supply = rig.supply(publishers[0], up);
        rig.supply_object(&mut supply, at(0, 1), b"1");
        rig.supply_entry(&mut supply, &FetchEntry::Unknown(at(0, 4)));
        assert_eq!(rig.ranges_asked(publishers[1]), ["{0, 2} {0, 5}"]);
        rig.supply_object(&mut supply, at(0, 6), b"6");
        rig.supply_entry(&mut supply, &FetchEntry::NonExistent(at(0, 7)));
        rig.end_supply(&supply);
        let up = rig.last_fetch(publishers[1]);
        rig.grant(publishers[1], up, at(0, 5));
        let mut supply = rig.supply(publishers[1], up);
        rig.supply_object(&mut supply, at(0, 3), b"3");
        rig.supply_entry(&mut supply, &FetchEntry::Unknown(at(0, 4)));
        rig.end_supply(&supply);
        let all = [
            "{0, 1} 1",
            "{0, 3} 3",
            "unknown to {0, 4}",
            "{0, 6} 6",
            "end",
        ];
        rig.assert_fetched(peer, id, at(0, 9), &all);
        rig.end();
    }
}

#[test]
fn an_answer_that_ends_too_early_leaves_the_rest_unknown() {
    let mut rig = Rig::new();
    let running = rig.running((Draft::D18, Draft::D18));
    rig.ended_group(running, 5, 1);
    let id = rig.fetch(running.subscriber, at(2, 0), at(5, 1), UP);
    let up = rig.last_fetch(running.publisher);
    rig.answer_fetch(running.publisher, up, at(3, 2), &[(3, 0)]);
    let all = [
        "{3, 0} 3.0",
        "none to {3, 1}",
        "unknown to {4, 4611686018427387903}",
        "{5, 0} 5.0",
        "end",
    ];
    rig.assert_fetched(running.subscriber, id, at(5, 1), &all);
    rig.end();
}

#[test]
fn an_answer_before_fetch_ok_is_kept_until_that_says_how_far_it_reaches() {
    for order in [UP, DOWN] {
        let mut rig = Rig::new();
        let publisher = rig.publisher(Draft::D18);
        let peer = rig.connect(Draft::D18);
        let id = rig.fetch(peer, at(0, 0), at(9, 0), order);
        let up = rig.last_fetch(publisher);
        let mut supply = rig.supply(publisher, up);
        rig.supply_object(&mut supply, at(3, 1), b"x");
        rig.end_supply(&supply);
        assert_eq!(rig.answer(peer, id), None);
        rig.grant(publisher, up, at(4, 2));
        rig.assert_fetched(peer, id, at(4, 2), &["{3, 1} x", "end"]);
        // What is after the end may come into being.
        let id = rig.fetch(peer, at(4, 0), at(9, 0), order);
        assert_eq!(rig.answer(peer, id), None);
        assert_eq!(rig.fetches_asked(publisher)[1].1, at(4, 2));
        rig.end();
    }
}

#[test]
fn objects_that_were_not_asked_for_end_a_fill() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let peer = rig.connect(drafts.1);
        let id = rig.fetch(peer, at(1, 0), at(2, 0), UP);
        let up = rig.last_fetch(publisher);
        rig.grant(publisher, up, at(2, 0));
        let mut supply = rig.supply(publisher, up);
        rig.supply_object(&mut supply, at(5, 0), b"x");
        assert!(rig.stopped(&supply));
        let all = ["unknown to {2, 4611686018427387903}", "end"];
        rig.assert_fetched(peer, id, at(2, 0), &all);
        rig.assert_alive(publisher);
        rig.end();
    }
}

#[test]
fn a_fill_that_nobody_waits_for_is_withdrawn() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let peers = [rig.connect(drafts.1), rig.connect(drafts.1)];
        let ids = peers.map(|peer| rig.fetch(peer, at(0, 0), at(1, 0), UP));
        let up = rig.last_fetch(publisher);
        rig.grant(publisher, up, at(1, 0));
        let mut supply = rig.supply(publisher, up);
        rig.supply_object(&mut supply, at(0, 0), b"x");
        rig.cancel(peers[0], ids[0]);
        assert!(!rig.stopped(&supply));
        rig.lose(peers[1]);
        assert!(rig.stopped(&supply));
        rig.end();
    }
}

#[test]
fn a_slow_reader_holds_a_fill_back_and_costs_no_more_than_the_limit() {
    for cached in [true, false] {
        let mut settings = limits(|limits| limits.max_fetch_ahead = 100_000);
        settings.fetches.max_ahead_bytes = 10_000;
        if !cached {
            settings.cache.max_tracks = 0;
        }
        let mut rig = Rig::with(settings);
        let publisher = rig.publisher(Draft::D18);
        let peer = rig.connect(Draft::D18);
        let id = rig.fetch(peer, at(0, 0), at(0, 0), UP);
        let up = rig.last_fetch(publisher);
        rig.grant(publisher, up, at(0, 80));
        rig.far_mut(peer).deaf = true;
        let mut supply = rig.supply(publisher, up);
        for object in 0..80 {
            rig.supply_object(&mut supply, at(0, object), &[7; 10_000]);
        }
        rig.end_supply(&supply);
        let used = rig.relay.publisher.fanout.ledger().used();
        // One read more than the limit, and the look-ahead.
        assert!((100_000..250_000).contains(&used), "{used}");
        assert!(rig.far[&publisher].outbox.held() == 0, "on its way");
        rig.recover(peer);
        let got = rig.got(peer, id);
        assert_eq!(got.len(), 81);
        assert_eq!(got[80], "end");
        assert_eq!(rig.fetches_asked(publisher).len(), 1);
        rig.end();
    }
}

#[test]
fn a_slow_reader_holds_no_other_back_and_asks_again_for_what_it_missed() {
    for drafts in DRAFT_PAIRS {
        let mut settings = forgetful();
        settings.limits.max_fetch_ahead = 20_000;
        settings.fetches.max_ahead_bytes = 10_000;
        let mut rig = Rig::with(settings);
        let publisher = rig.publisher(drafts.0);
        let slow = rig.connect(drafts.1);
        let fast = rig.connect(drafts.1);
        let ids = [slow, fast].map(|peer| rig.fetch(peer, at(0, 0), at(7, 0), UP));
        let up = rig.last_fetch(publisher);
        rig.grant(publisher, up, at(7, 0));
        rig.far_mut(slow).deaf = true;
        let mut supply = rig.supply(publisher, up);
        for group in 0..8 {
            rig.supply_object(&mut supply, at(group, 0), &[7; 20_000]);
        }
        rig.end_supply(&supply);
        assert_eq!(rig.got(fast, ids[1]).len(), 9);
        rig.recover(slow);
        let mut answered = 1;
        while let Some(asked) = rig.fetches_asked(publisher).get(answered) {
            let (again, start, end, _) = *asked;
            assert!(start > at(0, 0), "it has had the beginning");
            rig.grant(publisher, again, end);
            let mut supply = rig.supply(publisher, again);
            for group in start.group.0..=end.group.0 {
                rig.supply_object(&mut supply, at(group, 0), &[7; 20_000]);
            }
            rig.end_supply(&supply);
            answered += 1;
        }
        assert!((2..4).contains(&answered), "{answered}");
        let places = |got: Vec<String>| {
            let places = got.iter().map(|entry| entry.get(..6).map(str::to_owned));
            places.collect::<Vec<_>>()
        };
        assert_eq!(places(rig.got(slow, ids[0])), places(rig.got(fast, ids[1])));
        rig.end();
    }
}

#[test]
fn beyond_the_fills_of_a_track_the_next_waits_for_its_turn() {
    let most = |limits: &mut Limits| {
        limits.max_fills_per_track = 2;
        limits.max_fills_ahead = 1;
    };
    let mut rig = Rig::with(limits(most));
    let running = rig.running((Draft::D18, Draft::D18));
    rig.ended_group(running, 9, 1);
    let peer = running.subscriber;
    let ids: Vec<RequestId> = [1, 3, 5]
        .into_iter()
        .map(|group| rig.fetch(peer, at(group, 0), at(group, 0), UP))
        .collect();
    assert_eq!(
        rig.ranges_asked(running.publisher),
        ["{1, 0} {1, 0}", "{3, 0} {3, 0}"]
    );
    let up = rig.fetches_asked(running.publisher)[0].0;
    rig.answer_fetch(running.publisher, up, at(1, 0), &[(1, 0)]);
    assert_eq!(rig.ranges_asked(running.publisher)[2..], ["{5, 0} {5, 0}"]);
    assert_eq!(rig.got(peer, ids[0]), ["{1, 0} 1.0", "end"]);
    rig.end();
}

#[test]
fn beyond_all_fills_one_that_is_held_back_gives_way() {
    let most = |limits: &mut Limits| {
        limits.max_fills = 1;
        limits.max_fetch_ahead = 1000;
    };
    let mut settings = limits(most);
    settings.fetches.max_ahead_bytes = 1000;
    let mut rig = Rig::with(settings);
    let publisher = rig.publisher(Draft::D18);
    let slow = rig.connect(Draft::D18);
    let first = rig.fetch(slow, at(0, 0), at(0, 0), UP);
    let up = rig.last_fetch(publisher);
    rig.grant(publisher, up, at(0, 9));
    rig.far_mut(slow).deaf = true;
    let mut supply = rig.supply(publisher, up);
    for object in 0..8 {
        rig.supply_object(&mut supply, at(0, object), &[7; 1000]);
    }
    let fast = rig.connect(Draft::D18);
    let second = rig.fetch_with(
        fast,
        crate::wire::message::FetchRange::Standalone {
            track: track("w"),
            start: at(0, 0),
            end: at(0, 0),
        },
        Parameters::default(),
    );
    assert!(rig.stopped(&supply));
    let other = rig.last_fetch(publisher);
    rig.answer_fetch(publisher, other, at(0, 1), &[(0, 0)]);
    rig.assert_fetched(fast, second, at(0, 1), &["{0, 0} 0.0", "end"]);
    rig.recover(slow);
    let (again, start, end, _) = *rig.fetches_asked(publisher).last().unwrap();
    rig.grant(publisher, again, end);
    let mut supply = rig.supply(publisher, again);
    for object in start.object.0..9 {
        rig.supply_object(&mut supply, at(0, object), &[7; 1000]);
    }
    rig.end_supply(&supply);
    assert_eq!(rig.got(slow, first).len(), 10);
    rig.end();
}

#[test]
fn beyond_the_fetches_in_all_a_further_one_is_refused() {
    let mut rig = Rig::with(limits(|limits| limits.max_fetches = 1));
    rig.publisher(Draft::D18);
    let peer = rig.connect(Draft::D16);
    rig.fetch(peer, at(0, 0), at(1, 0), UP);
    let id = rig.fetch(peer, at(0, 0), at(1, 0), UP);
    rig.assert_refused(peer, id, RequestCode::ExcessiveLoad);
    rig.end();
}

#[test]
fn a_publisher_that_takes_no_more_requests_is_asked_when_it_does() {
    let mut rig = Rig::new();
    rig.far_limits.max_requests = 1;
    let publisher = rig.publisher(Draft::D16);
    rig.far_limits = crate::session::Limits::default();
    let peer = rig.connect(Draft::D18);
    let ids = [0, 5].map(|group| rig.fetch(peer, at(group, 0), at(group, 0), UP));
    assert_eq!(rig.fetches_asked(publisher).len(), 1);
    let up = rig.last_fetch(publisher);
    rig.answer_fetch(publisher, up, at(0, 1), &[(0, 0)]);
    assert_eq!(rig.got(peer, ids[0]), ["{0, 0} 0.0", "end"]);
    let up = rig.last_fetch(publisher);
    rig.answer_fetch(publisher, up, at(5, 1), &[(5, 0)]);
    assert_eq!(rig.got(peer, ids[1]), ["{5, 0} 5.0", "end"]);
    rig.end();
}

// Rules: B040, B041
#[test]
fn b040_a_publisher_that_contradicts_itself_makes_the_track_malformed() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let peer = rig.connect(drafts.1);
        let id = rig.fetch(peer, at(0, 0), at(0, 2), UP);
        let up = rig.last_fetch(publisher);
        rig.answer_fetch(publisher, up, at(0, 2), &[(0, 0), (0, 1)]);
        assert_eq!(rig.got(peer, id).len(), 3);
        // Another range, in which the same object is another one.
        let second = rig.fetch(peer, at(0, 0), at(0, 4), UP);
        let up = rig.last_fetch(publisher);
        rig.grant(publisher, up, at(0, 4));
        let down = rig.subscribe(peer, "v");
        let sub = rig.only_asked(publisher);
        rig.accept_with(publisher, sub, Some(at(0, 1)), Properties::default());
        let mut feed = rig.open(publisher, sub, header(0, 0));
        rig.object(&mut feed, 1, b"something else");
        assert_eq!(rig.done_code(peer, down), DoneCode::MalformedTrack);
        let code = Some(ResetCode::MalformedTrack);
        assert_eq!(rig.broken_off(peer, second), code);
        assert!(rig.withdrawn(publisher, up));
        // Nothing of it is served any more (b041).
        let third = rig.fetch(peer, at(0, 0), at(0, 1), UP);
        assert_eq!(rig.answer(peer, third), None);
        rig.end();
    }
}

#[test]
fn what_another_publisher_contradicts_is_forgotten() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let first = rig.publisher(drafts.0);
        let peer = rig.connect(drafts.1);
        let id = rig.fetch(peer, at(0, 0), at(0, 3), UP);
        let up = rig.last_fetch(first);
        rig.answer_fetch(first, up, at(0, 3), &[(0, 0), (0, 1), (0, 2)]);
        assert_eq!(rig.got(peer, id).len(), 4);
        rig.leave(first);
        // It comes back and begins anew: the same locations, other objects.
        let second = rig.publisher(drafts.0);
        let down = rig.subscribe(peer, "v");
        let sub = rig.only_asked(second);
        rig.accept(second, sub);
        let mut feed = rig.open(second, sub, header(0, 0));
        rig.object(&mut feed, 0, b"new");
        assert_eq!(rig.ids(peer, down), [(0, 0)]);
        let id = rig.fetch(peer, at(0, 0), at(0, 3), UP);
        rig.assert_fetched(peer, id, at(0, 1), &["{0, 0} new", "end"]);
        rig.assert_alive(second);
        rig.end();
    }
}

#[test]
fn a_fill_that_contradicts_what_another_source_brought_wins() {
    let mut rig = Rig::new();
    let first = rig.publisher(Draft::D18);
    let peer = rig.connect(Draft::D18);
    let id = rig.fetch(peer, at(0, 0), at(0, 2), UP);
    let up = rig.last_fetch(first);
    rig.answer_fetch(first, up, at(0, 2), &[(0, 0), (0, 1)]);
    assert_eq!(rig.got(peer, id).len(), 3);
    rig.leave(first);
    let second = rig.publisher(Draft::D18);
    let id = rig.fetch(peer, at(0, 0), at(0, 4), UP);
    let up = rig.last_fetch(second);
    rig.grant_with(second, up, at(0, 4), false, Properties::default());
    assert_eq!(rig.got(peer, id), ["{0, 0} 0.0", "{0, 1} 0.1"]);
    // It says that object 1 exists no more by a gap that it states.
    let mut supply = rig.supply(second, up);
    let gap = [(
        crate::wire::property::PRIOR_OBJECT_ID_GAP,
        crate::wire::property::Value::Integer(3),
    )];
    let gap = Properties::from_list(Draft::D18.profile().integers, gap).unwrap();
    rig.supply_entry(&mut supply, &entry(at(0, 3), 3, gap));
    rig.send_supply(&supply, b"new");
    let code = Some(ResetCode::UnknownObjectStatus);
    assert_eq!(rig.broken_off(peer, id), code);
    rig.assert_alive(second);
    rig.end();
}

#[test]
fn the_cache_gives_way_before_live_objects_do() {
    let mut settings = limits(|limits| {
        limits.max_object_bytes = 1_000_000;
        limits.cache_high_water = 50;
    });
    settings.cache.max_groups_per_track = 100;
    let mut rig = Rig::with(settings);
    let running = rig.running((Draft::D18, Draft::D18));
    for group in 0..30 {
        let mut feed = rig.open(running.publisher, running.up, header(group, 0));
        rig.object(&mut feed, 0, &[7; 50_000]);
        rig.fin(&feed);
        // What was written holds its memory.
        rig.far_mut(running.subscriber).outputs.clear();
        let used = rig.relay.publisher.fanout.ledger().used();
        assert!(used <= 500_000, "{used}");
    }
    assert_eq!(rig.ids(running.subscriber, running.down).len(), 30);
    rig.end();
}

#[test]
fn without_memory_a_fill_is_given_up_and_its_range_unknown() {
    let mut settings = limits(|limits| limits.max_object_bytes = 30_000);
    settings.cache.max_tracks = 0;
    let mut rig = Rig::with(settings);
    let publisher = rig.publisher(Draft::D18);
    let peer = rig.connect(Draft::D18);
    let id = rig.fetch(peer, at(0, 0), at(0, 0), UP);
    let up = rig.last_fetch(publisher);
    rig.grant(publisher, up, at(0, 2));
    let mut supply = rig.supply(publisher, up);
    rig.supply_entry(&mut supply, &entry(at(0, 0), 60_000, Properties::default()));
    rig.send_supply(&supply, &[7; 60_000]);
    assert_eq!(rig.got(peer, id), ["unknown to {0, 1}", "end"]);
    assert!(rig.stopped(&supply));
    rig.end();
}

#[test]
fn a_reader_that_does_not_read_is_not_given_up_for_want_of_objects() {
    let mut rig = Rig::new();
    let publisher = rig.publisher(Draft::D18);
    let peer = rig.connect(Draft::D18);
    let id = rig.fetch_with(peer, range(at(0, 0), at(0, 0)), patient(1000));
    let up = rig.last_fetch(publisher);
    rig.grant(publisher, up, at(0, 200));
    rig.far_mut(peer).deaf = true;
    let mut supply = rig.supply(publisher, up);
    for object in 0..200 {
        rig.supply_object(&mut supply, at(0, object), b"x");
    }
    rig.end_supply(&supply);
    rig.pass(Duration::from_secs(20));
    rig.recover(peer);
    assert_eq!(rig.got(peer, id).len(), 201);
    rig.end();
}

#[test]
fn a_publisher_that_withdraws_its_announcement_is_not_asked() {
    let mut rig = Rig::new();
    let publisher = rig.connect(Draft::D18);
    let announcement = rig.announce(publisher, &["live"]);
    let peer = rig.connect(Draft::D18);
    rig.cancel(publisher, announcement);
    let id = rig.fetch(peer, at(0, 0), at(1, 0), UP);
    rig.assert_refused(peer, id, RequestCode::DoesNotExist);
    rig.end();
}

#[test]
fn a_fetch_asks_for_no_more_than_so_many_holes_at_once() {
    let mut settings = limits(|limits| limits.max_fills_ahead = 3);
    settings.cache.max_groups_per_track = 100;
    let mut rig = Rig::with(settings);
    let running = rig.running((Draft::D18, Draft::D18));
    for group in [1, 3, 5, 7, 9] {
        rig.ended_group(running, group, 1);
    }
    let id = rig.fetch(running.subscriber, at(0, 0), at(9, 1), UP);
    assert_eq!(rig.fetches_asked(running.publisher).len(), 3);
    let mut answered = 0;
    while let Some(asked) = rig.fetches_asked(running.publisher).get(answered) {
        let (up, start, end, _) = *asked;
        rig.answer_fetch(running.publisher, up, end, &[(start.group.0, 0)]);
        answered += 1;
    }
    assert_eq!((answered, rig.got(running.subscriber, id).len()), (5, 11));
    rig.end();
}

#[test]
fn more_losses_than_are_remembered_are_asked_for_again() {
    for order in [UP, DOWN] {
        let mut rig = Rig::with(limits(|limits| limits.max_fill_spans = 8));
        let publisher = rig.publisher(Draft::D18);
        let peer = rig.connect(Draft::D18);
        let id = rig.fetch(peer, at(0, 0), at(0, 60), order);
        let mut answered = 0;
        while let Some(asked) = rig.fetches_asked(publisher).get(answered) {
            let (up, start, end, _) = *asked;
            rig.grant(publisher, up, end);
            let mut supply = rig.supply(publisher, up);
            let mut object = start.object.0;
            while object < end.object.0 {
                // Every third object is known, and those before it are not.
                if object % 3 == 1 {
                    rig.supply_object(&mut supply, at(0, object), b"x");
                } else if object % 3 == 0 {
                    rig.supply_entry(&mut supply, &FetchEntry::Unknown(at(0, object)));
                }
                object += 1;
            }
            rig.end_supply(&supply);
            answered += 1;
            assert!(answered < 20, "it comes to an end");
        }
        let mut expected = Vec::new();
        for third in 0..20 {
            expected.push(format!("unknown to {}", at(0, 3 * third)));
            expected.push(format!("{} x", at(0, 3 * third + 1)));
        }
        expected.push("end".to_owned());
        assert_eq!(rig.got(peer, id), expected);
        rig.end();
    }
}

#[test]
fn what_an_early_answer_leaves_out_is_presumed_not_to_exist_only_so_often() {
    let mut rig = Rig::with(limits(|limits| limits.max_fill_spans = 2));
    let publisher = rig.publisher(Draft::D18);
    let peer = rig.connect(Draft::D18);
    let id = rig.fetch(peer, at(0, 0), at(0, 20), DOWN);
    let up = rig.last_fetch(publisher);
    let mut supply = rig.supply(publisher, up);
    for object in [3, 6, 9, 12] {
        rig.supply_object(&mut supply, at(0, object), b"x");
    }
    rig.end_supply(&supply);
    rig.grant(publisher, up, at(0, 20));
    let again = rig.ranges_asked(publisher)[1..].to_vec();
    assert_eq!(again, ["{0, 7} {0, 9} down", "{0, 10} {0, 12} down"]);
    for (up, _, end, _) in rig.fetches_asked(publisher).into_iter().skip(1) {
        rig.answer_fetch(publisher, up, end, &[]);
    }
    let all = ["{0, 3} x", "{0, 6} x", "{0, 9} x", "{0, 12} x", "end"];
    rig.assert_fetched(peer, id, at(0, 20), &all);
    rig.end();
}

// Rules: B048, B053
#[test]
fn b053_a_mandatory_property_ends_fetches_of_the_track() {
    let mandatory = || {
        let list = [(0x4002, crate::wire::property::Value::Integer(1))];
        Properties::from_list(Draft::D18.profile().integers, list).unwrap()
    };
    for early in [false, true] {
        let mut rig = Rig::new();
        let publisher = rig.publisher(Draft::D18);
        let peer = rig.connect(Draft::D18);
        let id = rig.fetch(peer, at(0, 0), at(1, 0), UP);
        let up = rig.last_fetch(publisher);
        if early {
            let mut supply = rig.supply(publisher, up);
            rig.supply_object(&mut supply, at(0, 0), b"x");
        }
        rig.grant_with(publisher, up, at(1, 0), false, mandatory());
        rig.assert_refused(peer, id, RequestCode::UnsupportedExtension);
        rig.end();
    }
    let mut rig = Rig::new();
    let running = rig.running((Draft::D18, Draft::D18));
    rig.ended_group(running, 3, 1);
    rig.ended_group(running, 5, 1);
    let id = rig.fetch(running.subscriber, at(3, 0), at(5, 1), UP);
    assert_eq!(rig.got(running.subscriber, id), ["{3, 0} 3.0"]);
    let up = rig.last_fetch(running.publisher);
    rig.grant_with(running.publisher, up, at(4, 0), false, mandatory());
    assert!(rig.broken_off(running.subscriber, id).is_some());
    rig.end();
}

#[test]
fn of_more_fills_held_back_than_a_session_may_pause_one_is_asked_for_again() {
    let mut settings = limits(|limits| limits.max_fetch_ahead = 10_000);
    settings.session.max_paused_streams = 1;
    settings.fetches.max_ahead_bytes = 1000;
    let mut rig = Rig::with(settings);
    let publisher = rig.publisher(Draft::D18);
    let slow = rig.connect(Draft::D18);
    rig.far_mut(slow).deaf = true;
    let mut supplies = Vec::new();
    let ids = ["v", "w"].map(|name| {
        let range = crate::wire::message::FetchRange::Standalone {
            track: track(name),
            start: at(0, 0),
            end: at(0, 0),
        };
        let id = rig.fetch_with(slow, range, Parameters::default());
        let up = rig.last_fetch(publisher);
        rig.grant(publisher, up, at(0, 30));
        let mut supply = rig.supply(publisher, up);
        for object in 0..30 {
            rig.supply_object(&mut supply, at(0, object), &[7; 9000]);
        }
        rig.end_supply(&supply);
        supplies.push(supply);
        id
    });
    let stopped = supplies.iter().filter(|supply| rig.stopped(supply));
    assert_eq!(stopped.count(), 1);
    rig.recover(slow);
    let mut answered = 2;
    while let Some(asked) = rig.fetches_asked(publisher).get(answered) {
        let (again, start, end, _) = *asked;
        assert!(start > at(0, 0), "it has had the beginning");
        rig.grant(publisher, again, end);
        let mut supply = rig.supply(publisher, again);
        for object in start.object.0..30 {
            rig.supply_object(&mut supply, at(0, object), &[7; 9000]);
        }
        rig.end_supply(&supply);
        answered += 1;
    }
    assert!((3..6).contains(&answered), "{answered}");
    for id in ids {
        let got = rig.got(slow, id);
        assert_eq!((got.len(), got[30].as_str()), (31, "end"));
    }
    rig.assert_alive(publisher);
    rig.end();
}

// Rules: B291
#[test]
fn b291_what_a_fetch_left_out_is_neither_passed_on_nor_cached_when_it_comes_later() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let (publisher, up) = (running.publisher, running.up);
        let mut even = rig.open(publisher, up, header(4, 0));
        rig.object(&mut even, 0, b"zero");
        rig.object(&mut even, 6, b"six");
        let peer = rig.connect(drafts.1);
        rig.fetch(peer, at(4, 0), at(4, 7), UP);
        let fill = rig.last_fetch(publisher);
        rig.answer_fetch(publisher, fill, at(4, 6), &[(4, 3)]);
        let mut late = rig.open(publisher, up, header(4, 1));
        rig.object(&mut late, 2, b"two");
        rig.object(&mut late, 7, b"seven");
        rig.fin(&late);
        rig.datagram(publisher, up, &in_datagram(4, 4, b"four"));
        rig.datagram(publisher, up, &in_datagram(4, 8, b"eight"));
        let ids = rig.ids(running.subscriber, running.down);
        assert_eq!(ids, [(4, 0), (4, 6), (4, 7)]);
        let got = rig.received(running.subscriber, running.down);
        assert_eq!(got[1].end, Some(StreamEnd::Fin));
        assert_eq!(got[1].objects[0].1, b"seven");
        assert_eq!(
            rig.datagrams(running.subscriber, running.down),
            [in_datagram(4, 8, b"eight")]
        );
        // It is no mistake, and the rest of the track goes on.
        assert_eq!(rig.done(running.subscriber, running.down), None);
        rig.assert_alive(publisher);
        let again = rig.fetch(peer, at(4, 0), at(4, 9), UP);
        let all = [
            "{4, 0} zero",
            "{4, 3} 4.3",
            "{4, 6} six",
            "{4, 7} seven",
            "{4, 8} eight",
            "end",
        ];
        rig.assert_fetched(peer, again, at(4, 9), &all);
        assert_eq!(rig.fetches_asked(publisher).len(), 1);
        rig.end();
    }
}
