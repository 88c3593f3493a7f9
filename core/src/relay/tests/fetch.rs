//! FETCHes: what is answered from the cache, what a publisher is asked for, and where a range ends.

use std::time::Duration;

use super::fetch_wire::{DOWN, UP, entry, patient, range};
use super::*;
use crate::session::FetchItem;
use crate::wire::message::{Fetch, FetchRange};
use crate::wire::property::{MAX_CACHE_DURATION, PRIOR_GROUP_ID_GAP, PRIOR_OBJECT_ID_GAP, Value};

fn properties_of(draft: Draft, list: &[(u64, u64)]) -> Properties {
    let list = list
        .iter()
        .map(|(number, value)| (*number, Value::Integer(*value)));
    Properties::from_list(draft.profile().integers, list).unwrap()
}

// Rules: B252
#[test]
fn what_was_published_is_fetched_from_the_cache_in_both_orders() {
    for drafts in DRAFT_PAIRS {
        let (mut rig, running) = Rig::with_groups(drafts, &[(3, 2), (4, 1), (5, 2)]);
        let peer = rig.connect(drafts.1);
        let id = rig.fetch(peer, at(3, 1), at(5, 1), UP);
        let ok = rig.fetch_ok(peer, id);
        assert!(!ok.end_of_track);
        let all = ["{3, 1} 3.1", "{4, 0} 4.0", "{5, 0} 5.0", "end"];
        rig.assert_fetched(peer, id, at(5, 1), &all);
        let id = rig.fetch(peer, at(3, 1), at(5, 0), DOWN);
        let all = [
            "{5, 0} 5.0",
            "{5, 1} 5.1",
            "{4, 0} 4.0",
            "{3, 1} 3.1",
            "end",
        ];
        rig.assert_fetched(peer, id, at(5, 2), &all);
        assert!(rig.fetches_asked(running.publisher).is_empty());
        rig.end();
    }
}

// Rules: B292
#[test]
fn b292_an_object_is_fetched_with_everything_that_it_was_published_with() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let properties = properties_of(drafts.0, &[(0x3E, 0), (0x1234, 9)]);
        let header = SubgroupHeader {
            priority: Some(7),
            ..header(2, 5)
        };
        let mut feed = rig.open_stream(running.publisher, running.up, header, true);
        let object = ObjectHeader {
            properties: properties.clone(),
            ..object(3, 2)
        };
        rig.begin(&mut feed, &object);
        rig.send(&feed, b"ab");
        let datagram = DatagramObject {
            priority: Some(9),
            ..in_datagram(2, 4, b"in a datagram")
        };
        rig.datagram(running.publisher, running.up, &datagram);
        let peer = rig.connect(drafts.1);
        let id = rig.fetch(peer, at(2, 3), at(2, 0), UP);
        let items: Vec<FetchItem> = rig.far[&peer]
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Fetched { id: of, item } if *of == id => Some(item.clone()),
                _ => None,
            })
            .collect();
        let values = |properties: &Properties| {
            let list = properties.iter().map(Result::unwrap);
            list.collect::<Vec<_>>()
        };
        match &items[..] {
            [
                FetchItem::Object {
                    location,
                    subgroup,
                    priority,
                    properties: got,
                    payload_length,
                },
                FetchItem::Payload(one),
                FetchItem::Object {
                    location: second,
                    subgroup: None,
                    priority: 9,
                    ..
                },
                FetchItem::Payload(two),
                FetchItem::End(StreamEnd::Fin),
            ] => {
                assert_eq!((*location, *second), (at(2, 3), at(2, 4)));
                assert_eq!((*subgroup, *priority), (Some(SubgroupId(5)), 7));
                assert_eq!(values(got), values(&properties));
                assert_eq!((*payload_length, &one[..]), (2, &b"ab"[..]));
                assert_eq!(&two[..], b"in a datagram");
            }
            other => panic!("{other:?}"),
        }
        rig.end();
    }
}

// Rules: B251, V85
#[test]
fn b251_a_range_that_starts_after_the_largest_object_is_refused() {
    for drafts in DRAFT_PAIRS {
        let (mut rig, _) = Rig::with_groups(drafts, &[(3, 2)]);
        let peer = rig.connect(drafts.1);
        for start in [at(3, 2), at(4, 0)] {
            let id = rig.fetch(peer, start, at(9, 0), UP);
            rig.assert_refused(peer, id, RequestCode::InvalidRange);
        }
        let id = rig.fetch(peer, at(3, 1), at(9, 0), UP);
        rig.assert_fetched(peer, id, at(3, 2), &["{3, 1} 3.1", "end"]);
        rig.end();
    }
}

// Rules: B251, V85
#[test]
fn b251_nothing_published_is_no_range() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let id = rig.fetch(running.subscriber, at(0, 0), at(1, 0), UP);
        rig.assert_refused(running.subscriber, id, RequestCode::InvalidRange);
        rig.end();
    }
}

// Rules: B250
#[test]
fn b250_a_range_that_ends_before_it_starts_is_refused() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let peer = rig.raw_of(draft);
        let fetch = |start, end| {
            Message::Fetch(Fetch {
                request_id: RequestId(0),
                range: range(start, end),
                parameters: Parameters::default(),
            })
        };
        let message = fetch(at(5, 3), at(5, 2));
        let stream = match draft {
            Draft::D18 => rig.raw_ask(peer, &message),
            Draft::D16 => {
                let origin = crate::wire::message::Origin {
                    profile: draft.profile(),
                    sender: Role::Client,
                    channel: Channel::Control,
                };
                let bytes = message.encode(origin).unwrap();
                rig.inject_on(peer, StreamId::peer(0), &bytes);
                StreamId::peer(0)
            }
        };
        let refused = rig.raw_messages(peer, stream);
        let is_refused = |message: &Message| matches!(message, Message::RequestError(error) if error.code == RequestCode::InvalidRange);
        assert!(refused.iter().any(is_refused), "{refused:?}");
        rig.assert_alive(peer);
        rig.end();
    }
}

#[test]
fn a_range_of_nothing_is_answered_with_nothing() {
    let (mut rig, running) = Rig::with_groups((Draft::D18, Draft::D18), &[(3, 4)]);
    let peer = running.subscriber;
    let id = rig.fetch(peer, at(3, 2), at(3, 2), UP);
    rig.assert_fetched(peer, id, at(3, 2), &["end"]);
    rig.end();
}

#[test]
fn ranges_up_to_the_largest_numbers_end_where_the_track_does() {
    for drafts in DRAFT_PAIRS {
        let (mut rig, running) = Rig::with_groups(drafts, &[(3, 1)]);
        let peer = rig.connect(drafts.1);
        let most = match drafts.1 {
            Draft::D16 => (1 << 62) - 1,
            Draft::D18 => u64::MAX,
        };
        for end in [at(most, most), at(most, 0), at(3, most)] {
            for order in [UP, DOWN] {
                let id = rig.fetch(peer, at(3, 0), end, order);
                rig.assert_fetched(peer, id, at(3, 1), &["{3, 0} 3.0", "end"]);
            }
        }
        let id = rig.fetch(peer, at(most, 1), at(most, most), UP);
        rig.assert_refused(peer, id, RequestCode::InvalidRange);
        assert!(rig.fetches_asked(running.publisher).is_empty());
        rig.end();
    }
}

#[test]
fn a_track_that_nobody_publishes_does_not_exist() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let peer = rig.connect(draft);
        let id = rig.fetch(peer, at(0, 0), at(1, 0), UP);
        rig.assert_refused(peer, id, RequestCode::DoesNotExist);
        rig.end();
    }
}

#[test]
fn a_publisher_is_not_asked_for_what_it_asks_for_itself() {
    let mut rig = Rig::new();
    let publisher = rig.publisher(Draft::D18);
    let id = rig.fetch(publisher, at(0, 0), at(1, 0), UP);
    rig.assert_refused(publisher, id, RequestCode::DoesNotExist);
    assert!(rig.fetches_asked(publisher).is_empty());
    rig.end();
}

// Rules: B253, B298, B315
#[test]
fn b298_without_a_live_track_the_publisher_says_where_the_range_ends() {
    for drafts in DRAFT_PAIRS {
        for order in [UP, DOWN] {
            let mut rig = Rig::new();
            let publisher = rig.publisher(drafts.0);
            let peer = rig.connect(drafts.1);
            let id = rig.fetch(peer, at(1, 0), at(9, 0), order);
            assert_eq!(rig.answer(peer, id), None, "withheld");
            let asked = rig.fetches_asked(publisher);
            let [(up, start, end, asked_order)] = asked[..] else {
                panic!("{asked:?}");
            };
            assert_eq!((start, end, asked_order), (at(1, 0), at(9, 0), order));
            let properties = properties_of(drafts.0, &[(0x0E, 77)]);
            rig.grant_with(publisher, up, at(2, 2), false, properties);
            let ok = rig.fetch_ok(peer, id);
            assert_eq!((ok.end, ok.end_of_track), (at(2, 2), false));
            assert_eq!(ok.properties.default_publisher_priority(), 77);
            let mut supply = rig.supply(publisher, up);
            let (first, second) = if order == UP { (1, 2) } else { (2, 1) };
            rig.supply_object(&mut supply, at(first, 1), b"first");
            assert_eq!(rig.got(peer, id), [format!("{{{first}, 1}} first")]);
            rig.supply_object(&mut supply, at(second, 1), b"second");
            rig.end_supply(&supply);
            let all = [
                format!("{{{first}, 1}} first"),
                format!("{{{second}, 1}} second"),
                "end".to_owned(),
            ];
            assert_eq!(rig.got(peer, id), all);
            // Now it is known, and what lay between is known not to exist.
            let again = rig.fetch(peer, at(1, 0), at(2, 2), order);
            assert_eq!(rig.got(peer, again), all);
            assert_eq!(rig.fetch_ok(peer, again).properties, ok.properties);
            assert_eq!(rig.fetches_asked(publisher).len(), 1);
            rig.end();
        }
    }
}

#[test]
fn the_end_of_a_track_is_told() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let peer = rig.connect(drafts.1);
        let id = rig.fetch(peer, at(0, 0), at(9, 0), UP);
        let up = rig.last_fetch(publisher);
        rig.grant_with(publisher, up, at(0, 2), true, Properties::default());
        let ok = rig.fetch_ok(peer, id);
        assert_eq!((ok.end, ok.end_of_track), (at(0, 2), true));
        let mut supply = rig.supply(publisher, up);
        rig.supply_object(&mut supply, at(0, 1), b"last");
        rig.end_supply(&supply);
        // From the cache as well; a range that ends before says nothing of the track's end.
        let again = rig.fetch(peer, at(0, 0), at(5, 0), DOWN);
        let ok = rig.fetch_ok(peer, again);
        assert_eq!((ok.end, ok.end_of_track), (at(0, 2), true));
        assert_eq!(rig.got(peer, again), ["{0, 1} last", "end"]);
        let part = rig.fetch(peer, at(0, 0), at(0, 1), UP);
        assert!(!rig.fetch_ok(peer, part).end_of_track);
        let beyond = rig.fetch(peer, at(0, 2), at(5, 0), UP);
        rig.assert_refused(peer, beyond, RequestCode::InvalidRange);
        assert_eq!(rig.fetches_asked(publisher).len(), 1);
        rig.end();
    }
}

// Rules: B363
#[test]
fn the_end_of_a_live_track_is_told() {
    let (mut rig, running) = Rig::with_groups((Draft::D18, Draft::D18), &[(3, 2)]);
    let mut feed = rig.open(running.publisher, running.up, header(4, 0));
    rig.marker(&mut feed, 0, ObjectStatus::EndOfTrack);
    let id = rig.fetch(running.subscriber, at(3, 0), at(9, 0), UP);
    let ok = rig.fetch_ok(running.subscriber, id);
    assert_eq!((ok.end, ok.end_of_track), (at(3, 2), true));
    rig.end();
}

#[test]
fn a_publishers_refusal_is_passed_on() {
    for drafts in DRAFT_PAIRS {
        for code in [
            RequestCode::NotSupported,
            RequestCode::InvalidRange,
            RequestCode::Unauthorized,
        ] {
            let mut rig = Rig::new();
            let publisher = rig.publisher(drafts.0);
            let peer = rig.connect(drafts.1);
            let id = rig.fetch(peer, at(0, 0), at(1, 0), UP);
            let up = rig.last_fetch(publisher);
            rig.refuse(publisher, up, code);
            rig.assert_refused(peer, id, code);
            rig.end();
        }
    }
}

// Rules: B249, B260
#[test]
fn a_publisher_without_fetch_leaves_holes_that_are_told_as_unknown() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        rig.ended_group(running, 3, 1);
        // Two subgroups, of which nobody says that there is nothing between them.
        let mut feed = rig.open(running.publisher, running.up, header(4, 0));
        rig.object(&mut feed, 2, b"two");
        rig.object(&mut feed, 5, b"five");
        let peer = rig.connect(drafts.1);
        let id = rig.fetch(peer, at(3, 0), at(4, 6), UP);
        assert_eq!(rig.got(peer, id), ["{3, 0} 3.0"]);
        assert_eq!(
            rig.ranges_asked(running.publisher),
            ["{4, 0} {4, 2}", "{4, 3} {4, 5}"],
            "the next hole is asked for as well"
        );
        for (up, ..) in rig.fetches_asked(running.publisher) {
            rig.refuse(running.publisher, up, RequestCode::NotSupported);
        }
        let all = [
            "{3, 0} 3.0",
            // That the rest of group 3 does not exist would be unknown as well, unsaid (b260).
            "none to {3, 4611686018427387903}",
            "unknown to {4, 1}",
            "{4, 2} two",
            "unknown to {4, 4}",
            "{4, 5} five",
            "end",
        ];
        rig.assert_fetched(peer, id, at(4, 6), &all);
        rig.assert_alive(running.publisher);
        rig.end();
    }
}

// Rules: B260
#[test]
fn b260_gaps_that_are_known_are_left_out() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        rig.ended_group(running, 1, 1);
        let mut feed = rig.open_stream(running.publisher, running.up, header(5, 0), true);
        let gaps = [(PRIOR_GROUP_ID_GAP, 3), (PRIOR_OBJECT_ID_GAP, 2)];
        let object = ObjectHeader {
            properties: properties_of(drafts.0, &gaps),
            ..object(2, 1)
        };
        rig.begin(&mut feed, &object);
        rig.send(&feed, b"x");
        let id = rig.fetch(running.subscriber, at(1, 0), at(5, 0), UP);
        let all = ["{1, 0} 1.0", "{5, 2} x", "end"];
        rig.assert_fetched(running.subscriber, id, at(5, 3), &all);
        assert!(rig.fetches_asked(running.publisher).is_empty());
        rig.end();
    }
}

// Rules: B203
#[test]
fn joining_fetches_meet_the_subscription() {
    for drafts in DRAFT_PAIRS {
        let (mut rig, running) = Rig::with_groups(drafts, &[(3, 2), (4, 2), (5, 2)]);
        let peer = rig.connect(drafts.1);
        let parameters = filtered(Filter::LargestObject);
        let sub = rig.subscribe_to(peer, track("v"), parameters);
        let relative = FetchRange::RelativeJoining {
            joining_request_id: sub,
            joining_start: 1,
        };
        let id = rig.fetch_with(peer, relative, Parameters::default());
        let all = [
            "{4, 0} 4.0",
            "{4, 1} 4.1",
            "{5, 0} 5.0",
            "{5, 1} 5.1",
            "end",
        ];
        rig.assert_fetched(peer, id, at(5, 2), &all);
        let absolute = FetchRange::AbsoluteJoining {
            joining_request_id: sub,
            joining_start: 5,
        };
        let id = rig.fetch_with(peer, absolute, Parameters::default());
        rig.assert_fetched(peer, id, at(5, 2), &["{5, 0} 5.0", "{5, 1} 5.1", "end"]);
        rig.ended_group(running, 6, 1);
        assert_eq!(rig.ids(peer, sub), [(6, 0)]);
        rig.end();
    }
}

#[test]
fn an_object_that_is_arriving_is_waited_for() {
    for drafts in DRAFT_PAIRS {
        for breaks in [false, true] {
            let (mut rig, running) = Rig::with_groups(drafts, &[(3, 1)]);
            let mut feed = rig.open(running.publisher, running.up, header(4, 0));
            rig.begin(&mut feed, &object(0, 4));
            rig.send(&feed, b"ab");
            let peer = rig.connect(drafts.1);
            let id = rig.fetch(peer, at(3, 0), at(4, 0), DOWN);
            assert_eq!(rig.got(peer, id), [""; 0]);
            assert!(rig.fetches_asked(running.publisher).is_empty());
            if breaks {
                rig.reset(&feed, ResetCode::InternalError);
                assert_eq!(rig.ranges_asked(running.publisher), ["{4, 0} {4, 1} down"]);
                let up = rig.last_fetch(running.publisher);
                rig.grant(running.publisher, up, at(4, 1));
                let mut supply = rig.supply(running.publisher, up);
                rig.supply_object(&mut supply, at(4, 0), b"abcd");
                rig.end_supply(&supply);
            } else {
                rig.send(&feed, b"cd");
            }
            let all = ["{4, 0} abcd", "{3, 0} 3.0", "end"];
            rig.assert_fetched(peer, id, at(4, 1), &all);
            rig.end();
        }
    }
}

#[test]
fn what_a_slower_source_brings_too_late_for_subscribers_can_be_fetched() {
    let mut rig = Rig::new();
    let first = rig.publisher(Draft::D18);
    let second = rig.publisher(Draft::D18);
    let peer = rig.connect(Draft::D18);
    let down = rig.subscribe(peer, "v");
    let ups = [first, second].map(|publisher| {
        let up = rig.only_asked(publisher);
        rig.accept(publisher, up);
        (publisher, up)
    });
    let mut fast = rig.open(ups[0].0, ups[0].1, header(0, 0));
    rig.object(&mut fast, 1, b"one");
    let mut slow = rig.open(ups[1].0, ups[1].1, header(0, 0));
    rig.object(&mut slow, 0, b"zero");
    assert_eq!(rig.ids(peer, down), [(0, 1)]);
    let id = rig.fetch(peer, at(0, 0), at(0, 2), UP);
    let all = ["{0, 0} zero", "{0, 1} one", "end"];
    rig.assert_fetched(peer, id, at(0, 2), &all);
    rig.end();
}

// Rules: B356
#[test]
fn b356_what_is_older_than_its_cache_duration_is_asked_for_again() {
    let mut rig = Rig::new();
    let publisher = rig.publisher(Draft::D18);
    let peer = rig.connect(Draft::D18);
    rig.subscribe(peer, "v");
    let up = rig.only_asked(publisher);
    let properties = properties_of(Draft::D18, &[(MAX_CACHE_DURATION, 1000)]);
    rig.accept_with(publisher, up, None, properties);
    rig.group(publisher, up, 0, 1);
    rig.pass(Duration::from_millis(1000));
    let young = rig.fetch(peer, at(0, 0), at(0, 1), UP);
    assert_eq!(rig.got(peer, young), ["{0, 0} 000", "end"]);
    rig.pass(Duration::from_millis(1));
    rig.fetch(peer, at(0, 0), at(0, 1), UP);
    assert_eq!(rig.ranges_asked(publisher), ["{0, 0} {0, 1}"]);
    rig.end();
}

#[test]
fn what_is_cached_outlives_its_publisher_and_the_rest_is_unknown() {
    for drafts in DRAFT_PAIRS {
        let (mut rig, running) = Rig::with_groups(drafts, &[(3, 2)]);
        let peer = rig.connect(drafts.1);
        rig.leave(running.publisher);
        let id = rig.fetch(peer, at(3, 0), at(4, 0), UP);
        let all = [
            "{3, 0} 3.0",
            "{3, 1} 3.1",
            "none to {3, 4611686018427387903}",
            "unknown to {4, 4611686018427387903}",
            "end",
        ];
        rig.assert_fetched(peer, id, at(4, 0), &all);
        let id = rig.fetch(peer, at(3, 0), at(4, 0), DOWN);
        let all = [
            "unknown to {4, 4611686018427387903}",
            "{3, 0} 3.0",
            "{3, 1} 3.1",
            "end",
        ];
        rig.assert_fetched(peer, id, at(4, 0), &all);
        let id = rig.fetch(peer, at(3, 0), at(3, 0), UP);
        rig.assert_fetched(peer, id, at(3, 0), &["{3, 0} 3.0", "{3, 1} 3.1", "end"]);
        let id = rig.fetch(peer, at(7, 0), at(8, 0), UP);
        rig.assert_refused(peer, id, RequestCode::DoesNotExist);
        rig.end();
    }
}

#[test]
fn a_publisher_that_has_nothing_beyond_what_is_cached_ends_the_range_there() {
    let (mut rig, running) = Rig::with_groups((Draft::D18, Draft::D18), &[(3, 2)]);
    // Nobody subscribes any more, so that the largest location may have moved on.
    rig.cancel(running.subscriber, running.down);
    let id = rig.fetch(running.subscriber, at(3, 1), at(9, 0), UP);
    assert_eq!(rig.ranges_asked(running.publisher), ["{4, 0} {9, 0}"]);
    let up = rig.last_fetch(running.publisher);
    rig.refuse(running.publisher, up, RequestCode::InvalidRange);
    rig.assert_fetched(running.subscriber, id, at(3, 2), &["{3, 1} 3.1", "end"]);
    rig.end();
}

#[test]
fn without_a_cache_everything_is_asked_for() {
    for drafts in DRAFT_PAIRS {
        let mut settings = Settings::default();
        settings.cache.max_tracks = 0;
        let mut rig = Rig::with(settings);
        let running = rig.running(drafts);
        rig.ended_group(running, 3, 2);
        let peers = [running.subscriber, rig.connect(drafts.1)];
        let ids = peers.map(|peer| rig.fetch(peer, at(3, 0), at(3, 0), UP));
        assert_eq!(rig.ranges_asked(running.publisher), ["{3, 0} {3, 2}"]);
        let up = rig.last_fetch(running.publisher);
        rig.answer_fetch(running.publisher, up, at(3, 2), &[(3, 0), (3, 1)]);
        for (peer, id) in peers.into_iter().zip(ids) {
            let all = ["{3, 0} 3.0", "{3, 1} 3.1", "end"];
            rig.assert_fetched(peer, id, at(3, 2), &all);
        }
        rig.fetch(peers[0], at(3, 0), at(3, 0), UP);
        assert_eq!(rig.fetches_asked(running.publisher).len(), 2, "not kept");
        rig.end();
    }
}

// Rules: B262
#[test]
fn b262_a_fill_timeout_of_zero_never_waits() {
    let (mut rig, running) = Rig::with_groups((Draft::D18, Draft::D18), &[(3, 1), (5, 1)]);
    let peer = running.subscriber;
    let id = rig.fetch_with(peer, range(at(3, 0), at(5, 1)), patient(0));
    let all = [
        "{3, 0} 3.0",
        "none to {3, 4611686018427387903}",
        "unknown to {4, 4611686018427387903}",
        "{5, 0} 5.0",
        "end",
    ];
    rig.assert_fetched(peer, id, at(5, 1), &all);
    rig.cancel(peer, running.down);
    let id = rig.fetch_with(peer, range(at(7, 0), at(7, 0)), patient(0));
    let all = ["unknown to {7, 4611686018427387903}", "end"];
    rig.assert_fetched(peer, id, at(7, 0), &all);
    assert!(rig.fetches_asked(running.publisher).is_empty());
    rig.end();
}

// Rules: B261
#[test]
fn b261_a_fill_timeout_is_the_time_for_all_holes_together() {
    let groups = [(3, 1), (5, 1), (7, 1)];
    let (mut rig, running) = Rig::with_groups((Draft::D18, Draft::D18), &groups);
    let peer = running.subscriber;
    let id = rig.fetch_with(peer, range(at(3, 0), at(7, 1)), patient(1000));
    rig.pass(Duration::from_millis(600));
    let asked = rig.fetches_asked(running.publisher);
    rig.answer_fetch(running.publisher, asked[0].0, at(4, 0), &[(4, 0)]);
    assert_eq!(
        rig.got(peer, id),
        ["{3, 0} 3.0", "{4, 0} 4.0", "{5, 0} 5.0"]
    );
    rig.pass(Duration::from_millis(399));
    assert_eq!(rig.got(peer, id).len(), 3);
    rig.pass(Duration::from_millis(1));
    assert_eq!(
        rig.got(peer, id)[3..],
        [
            "none to {5, 4611686018427387903}",
            "unknown to {6, 4611686018427387903}",
            "{7, 0} 7.0",
            "end"
        ]
    );
    assert!(rig.withdrawn(running.publisher, asked[1].0));
    rig.end();
}

#[test]
fn a_publisher_that_does_not_answer_is_given_up() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let peer = rig.connect(drafts.1);
        let id = rig.fetch(peer, at(0, 0), at(1, 0), UP);
        rig.pass(Limits::default().answer_timeout);
        rig.assert_refused(peer, id, RequestCode::Timeout);
        let up = rig.last_fetch(publisher);
        assert!(rig.withdrawn(publisher, up));
        rig.end();
    }
}

#[test]
fn a_publisher_that_stops_in_the_middle_is_waited_for_as_long_as_it_sends_something() {
    let mut rig = Rig::new();
    let publisher = rig.publisher(Draft::D18);
    let peer = rig.connect(Draft::D18);
    let id = rig.fetch(peer, at(0, 0), at(0, 0), UP);
    let up = rig.last_fetch(publisher);
    rig.grant(publisher, up, at(0, 3));
    let mut supply = rig.supply(publisher, up);
    rig.supply_entry(&mut supply, &entry(at(0, 0), 3, Properties::default()));
    for byte in [b"a", b"b", b"c"] {
        rig.pass(Limits::default().fill_timeout - Duration::from_secs(1));
        rig.send_supply(&supply, byte);
    }
    assert_eq!(rig.got(peer, id), ["{0, 0} abc"]);
    rig.pass(Limits::default().fill_timeout);
    assert_eq!(
        rig.got(peer, id),
        ["{0, 0} abc", "unknown to {0, 2}", "end"]
    );
    assert!(rig.stopped(&supply));
    rig.end();
}

#[test]
fn a_fetch_can_be_updated_and_withdrawn() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let peer = rig.connect(drafts.1);
        let id = rig.fetch(peer, at(0, 0), at(1, 0), UP);
        let up = rig.last_fetch(publisher);
        let urgent = Parameters {
            subscriber_priority: Some(1),
            ..Parameters::default()
        };
        rig.update(peer, id, urgent.clone());
        rig.grant(publisher, up, at(1, 0));
        rig.update(peer, id, urgent);
        let events = rig.far[&peer].events.iter();
        let is_ok = |event: &&Event| {
            matches!(
                event,
                Event::UpdateResponse {
                    response: Ok(_),
                    ..
                }
            )
        };
        assert_eq!(events.filter(is_ok).count(), 2);
        rig.cancel(peer, id);
        assert!(rig.withdrawn(publisher, up));
        rig.end();
    }
}

#[test]
fn a_shutdown_refuses_what_waits_and_finishes_what_is_served() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let peer = rig.connect(drafts.1);
        let served = rig.fetch(peer, at(0, 0), at(0, 2), UP);
        let up = rig.last_fetch(publisher);
        rig.grant(publisher, up, at(0, 2));
        let mut supply = rig.supply(publisher, up);
        rig.supply_object(&mut supply, at(0, 0), b"a");
        let waiting = rig.fetch(peer, at(5, 0), at(6, 0), UP);
        let now = rig.now;
        rig.relay.handle_shutdown(now);
        rig.pump();
        rig.assert_refused(peer, waiting, RequestCode::GoingAway);
        rig.supply_object(&mut supply, at(0, 1), b"b");
        rig.end_supply(&supply);
        assert_eq!(rig.got(peer, served), ["{0, 0} a", "{0, 1} b", "end"]);
        rig.end();
    }
}
