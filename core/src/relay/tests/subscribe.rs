//! SUBSCRIBE: from the subscriber through the relay to the publisher, and the answer back.

use super::*;
use crate::wire::id::Millis;
use crate::wire::param::GroupOrder;
use crate::wire::property::Value;

// Rules: B320
#[test]
fn b320_a_track_that_nobody_announces_does_not_exist() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let track = track_in(&["other"], "v");
        let id = rig.subscribe_to(subscriber, track, Parameters::default());
        rig.assert_refused(subscriber, id, RequestCode::DoesNotExist);
        assert_eq!(rig.asked(publisher), []);
        rig.end();
    }
}

// Rules: B304
#[test]
fn b304_publishers_of_a_prefix_are_asked_and_no_others() {
    let mut rig = Rig::new();
    let exact = rig.connect(Draft::D18);
    rig.announce(exact, &["foo", "bar"]);
    let above = rig.connect(Draft::D16);
    rig.announce(above, &["foo"]);
    let alike = rig.connect(Draft::D18);
    rig.announce(alike, &["foobar"]);
    let below = rig.connect(Draft::D18);
    rig.announce(below, &["foo", "bar", "baz"]);
    let subscriber = rig.connect(Draft::D16);
    let track = track_in(&["foo", "bar"], "v");
    rig.subscribe_to(subscriber, track.clone(), Parameters::default());
    for publisher in [exact, above] {
        assert_eq!(rig.asked(publisher)[0].1.track, track);
    }
    for publisher in [alike, below] {
        assert_eq!(rig.asked(publisher), []);
    }
    rig.end();
}

// Rules: B200, B297
#[test]
fn b297_subscribe_ok_waits_for_the_publishers() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        assert_eq!(rig.answer(subscriber, down), None);
        let up = rig.only_asked(publisher);
        rig.accept(publisher, up);
        rig.ok(subscriber, down);
        rig.end();
    }
}

// Rules: B306
#[test]
fn b306_a_second_subscriber_is_answered_at_once_and_the_publisher_not_asked_again() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let mut all = vec![(running.subscriber, running.down)];
        for draft in [Draft::D16, Draft::D18] {
            let other = rig.connect(draft);
            let id = rig.subscribe(other, "v");
            rig.ok(other, id);
            all.push((other, id));
        }
        rig.only_asked(running.publisher);
        rig.group(running.publisher, running.up, 4, 2);
        for (connection, of) in all {
            assert_eq!(rig.ids(connection, of), [(4, 0), (4, 1)]);
        }
        rig.end();
    }
}

#[test]
fn those_who_come_before_the_publisher_answers_are_all_answered_then() {
    let mut rig = Rig::new();
    let publisher = rig.publisher(Draft::D18);
    let waiting: Vec<_> = [Draft::D16, Draft::D18, Draft::D16]
        .into_iter()
        .map(|draft| {
            let subscriber = rig.connect(draft);
            (subscriber, rig.subscribe(subscriber, "v"))
        })
        .collect();
    let up = rig.only_asked(publisher);
    rig.cancel(waiting[1].0, waiting[1].1);
    rig.accept(publisher, up);
    for (subscriber, id) in [waiting[0], waiting[2]] {
        rig.ok(subscriber, id);
    }
    assert_eq!(rig.answer(waiting[1].0, waiting[1].1), None);
    rig.group(publisher, up, 0, 1);
    for (subscriber, id) in [waiting[0], waiting[2]] {
        assert_eq!(rig.ids(subscriber, id), [(0, 0)]);
    }
    rig.end();
}

// Rules: B344, B345, B355
#[test]
fn b344_b355_subscribers_priority_order_and_timeouts_stay_downstream() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let parameters = Parameters {
            subscriber_priority: Some(3),
            group_order: Some(GroupOrder::Descending),
            object_delivery_timeout: Some(Millis(500)),
            subgroup_delivery_timeout: (drafts.1 == Draft::D18).then_some(Millis(700)),
            filter: Some(Filter::AbsoluteStart(at(900, 7))),
            ..Parameters::default()
        };
        rig.subscribe_to(subscriber, track("v"), parameters);
        let (_, asked) = rig.asked(publisher).remove(0);
        let own = Parameters {
            subscriber_priority: Some(128),
            forward: Some(true),
            ..Parameters::default()
        };
        assert_eq!(asked.parameters, own);
        rig.end();
    }
}

// Rules: B111, B112, B299
#[test]
fn b112_the_largest_object_told_is_the_larger_of_upstreams_and_what_came() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let first = rig.connect(drafts.1);
        let down = rig.subscribe(first, "v");
        let up = rig.only_asked(publisher);
        rig.accept_with(publisher, up, Some(at(5, 2)), Properties::default());
        let told = |rig: &Rig, peer, id| rig.ok(peer, id).parameters.largest_object;
        assert_eq!(told(&rig, first, down), Some(at(5, 2)));
        let mut feed = rig.open(publisher, up, header(4, 0));
        rig.object(&mut feed, 9, b"old");
        let second = rig.connect(Draft::D18);
        let id = rig.subscribe(second, "v");
        assert_eq!(told(&rig, second, id), Some(at(5, 2)));
        let mut feed = rig.open(publisher, up, header(5, 0));
        rig.object(&mut feed, 3, b"new");
        let third = rig.connect(Draft::D16);
        let id = rig.subscribe(third, "v");
        assert_eq!(told(&rig, third, id), Some(at(5, 3)));
        rig.end();
    }
}

// Rules: B111
#[test]
fn b111_nothing_published_means_no_largest_object() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let ok = rig.ok(running.subscriber, running.down);
        assert_eq!(ok.parameters.largest_object, None);
        rig.end();
    }
}

// Rules: B315
#[test]
fn b315_a_tracks_properties_are_repeated_to_each_subscriber_in_its_draft() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let list = [
            (0x04, Value::Integer(70_000)),
            (0x78, Value::Integer(300)),
            (0x0B, Value::Bytes(Bytes::new())),
            (0x3801, Value::Bytes(Bytes::from_static(b"unknown"))),
        ];
        let mut list = list.to_vec();
        list.sort_by_key(|(number, _)| *number);
        let integers = drafts.0.profile().integers;
        let properties = Properties::from_list(integers, list.clone()).unwrap();
        let down = rig.connect(drafts.1);
        let early = rig.subscribe(down, "v");
        let up = rig.only_asked(publisher);
        rig.accept_with(publisher, up, None, properties);
        let late = rig.connect(drafts.1);
        let second = rig.subscribe(late, "v");
        let integers = drafts.1.profile().integers;
        let expected = Properties::from_list(integers, list).unwrap();
        for (peer, id) in [(down, early), (late, second)] {
            assert_eq!(rig.ok(peer, id).properties, expected);
        }
        rig.end();
    }
}

// Rules: B048, B050, B051
#[test]
fn b051_a_track_with_an_unknown_mandatory_property_is_refused_downstream() {
    let mut rig = Rig::new();
    let publisher = rig.publisher(Draft::D18);
    let one = rig.connect(Draft::D18);
    let other = rig.connect(Draft::D18);
    let ids = [
        (one, rig.subscribe(one, "v")),
        (other, rig.subscribe(other, "v")),
    ];
    let up = rig.only_asked(publisher);
    let integers = Draft::D18.profile().integers;
    let properties = Properties::from_list(integers, [(0x4002, Value::Integer(1))]).unwrap();
    rig.accept_with(publisher, up, None, properties);
    for (peer, id) in ids {
        rig.assert_refused(peer, id, RequestCode::UnsupportedExtension);
    }
    assert!(rig.withdrawn(publisher, up), "B050");
    rig.assert_alive(publisher);
    rig.end();
}

// Rules: B309
#[test]
fn b309_the_publisher_is_asked_to_send_only_if_somebody_wants_objects() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let idle = rig.connect(drafts.1);
        rig.subscribe_to(idle, track("idle"), forward(false));
        assert_eq!(rig.asked(publisher)[0].1.parameters.forward, Some(false));
        rig.subscribe_to(idle, track("busy"), forward(true));
        assert_eq!(rig.asked(publisher)[1].1.parameters.forward, Some(true));
        rig.end();
    }
}

// Rules: B307
#[test]
fn b307_forwarding_upstream_follows_what_subscribers_want() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publishers = [rig.publisher(drafts.0), rig.publisher(drafts.0)];
        let one = rig.connect(drafts.1);
        let down = rig.subscribe_to(one, track("v"), forward(false));
        let ups = publishers.map(|publisher| (publisher, rig.only_asked(publisher)));
        for (publisher, up) in ups {
            rig.accept(publisher, up);
        }
        let mut expected = Vec::new();
        let check = |rig: &Rig, expected: &[Parameters]| {
            for (publisher, up) in ups {
                assert_eq!(rig.updates(publisher, up), expected);
            }
        };
        check(&rig, &expected);
        let two = rig.connect(drafts.1);
        let second = rig.subscribe_to(two, track("v"), forward(true));
        expected.push(forward(true));
        check(&rig, &expected);
        // That one is enough: nothing changes upstream.
        rig.update(one, down, forward(true));
        rig.update(one, down, forward(false));
        check(&rig, &expected);
        rig.cancel(two, second);
        expected.push(forward(false));
        check(&rig, &expected);
        rig.update(one, down, forward(true));
        expected.push(forward(true));
        check(&rig, &expected);
        rig.end();
    }
}

#[test]
fn a_subscriber_that_changes_its_mind_while_it_waits_is_heeded_at_the_answer() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe_to(subscriber, track("v"), forward(false));
        let up = rig.only_asked(publisher);
        rig.update(subscriber, down, forward(true));
        rig.accept(publisher, up);
        assert_eq!(rig.updates(publisher, up), [forward(true)]);
        rig.group(publisher, up, 0, 1);
        assert_eq!(rig.ids(subscriber, down), [(0, 0)]);
        rig.end();
    }
}

#[test]
fn a_change_of_forwarding_that_the_publisher_has_no_credit_for_is_made_later() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let publisher = rig.publisher(draft);
        rig.far_mut(publisher).sulks = true;
        let subscriber = rig.connect(Draft::D18);
        let down = rig.subscribe(subscriber, "v");
        let up = rig.only_asked(publisher);
        rig.accept(publisher, up);
        let most = crate::session::Limits::default().max_updates;
        for round in 0..=most {
            rig.update(subscriber, down, forward(round % 2 == 1));
        }
        let sent = rig.updates(publisher, up);
        assert_eq!(sent.len(), most);
        assert_eq!(sent.last(), Some(&forward(true)));
        // The last change did not fit: it is sent when an answer comes.
        let first = rig.far[&publisher]
            .events
            .iter()
            .find_map(|event| match event {
                Event::Update { id, update, .. } if *id == up => Some(*update),
                _ => None,
            });
        rig.act(publisher, |session, now| {
            let ok = Ok(crate::wire::message::RequestOk::default());
            session
                .respond_to_update(now, up, first.unwrap(), ok)
                .unwrap();
        });
        assert_eq!(rig.updates(publisher, up).last(), Some(&forward(false)));
        rig.end();
    }
}

#[test]
fn the_last_subscriber_to_leave_ends_the_subscription_upstream() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let other = rig.connect(drafts.1);
        let second = rig.subscribe(other, "v");
        rig.cancel(running.subscriber, running.down);
        assert!(!rig.withdrawn(running.publisher, running.up));
        rig.cancel(other, second);
        assert!(rig.withdrawn(running.publisher, running.up));
        // Whoever comes now has it asked for again.
        let third = rig.subscribe(other, "v");
        let asked = rig.asked(running.publisher);
        assert_eq!(asked.len(), 2);
        rig.accept(running.publisher, asked[1].0);
        rig.ok(other, third);
        rig.group(running.publisher, asked[1].0, 2, 1);
        assert_eq!(rig.ids(other, third), [(2, 0)]);
        rig.end();
    }
}

#[test]
fn the_last_subscriber_to_leave_before_the_answer_ends_it_too() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        let up = rig.only_asked(publisher);
        rig.cancel(subscriber, down);
        assert!(rig.withdrawn(publisher, up));
        rig.assert_alive(publisher);
        let other = rig.connect(drafts.1);
        rig.subscribe(other, "v");
        rig.lose(other);
        let asked = rig.asked(publisher);
        assert_eq!(asked.len(), 2);
        assert!(rig.withdrawn(publisher, asked[1].0));
        rig.end();
    }
}

#[test]
fn a_subscribers_lost_connection_ends_the_subscription_upstream() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let mut feed = rig.open(running.publisher, running.up, header(0, 0));
        rig.begin(&mut feed, &object(0, 10));
        rig.lose(running.subscriber);
        assert!(rig.withdrawn(running.publisher, running.up));
        rig.end();
    }
}

#[test]
fn b205_a_second_subscription_of_the_same_peer_is_refused() {
    let mut rig = Rig::new();
    let running = rig.running((Draft::D18, Draft::D18));
    let again = rig.act(running.subscriber, |session, now| {
        session.request(
            now,
            Request::Subscribe(Subscribe {
                request_id: RequestId(0),
                track: track("v"),
                parameters: Parameters::default(),
            }),
        )
    });
    assert_eq!(again, Err(crate::session::Misuse::DuplicateSubscription));
    rig.end();
}

#[test]
fn a_peer_may_subscribe_to_what_it_publishes_itself() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let peer = rig.publisher(draft);
        let down = rig.subscribe(peer, "v");
        let up = rig.only_asked(peer);
        rig.accept(peer, up);
        rig.ok(peer, down);
        rig.group(peer, up, 0, 2);
        assert_eq!(rig.ids(peer, down), [(0, 0), (0, 1)]);
        rig.end();
    }
}

// Rules: B215
#[test]
fn b215_tracks_have_different_aliases_for_one_subscriber() {
    let mut rig = Rig::new();
    let publishers = [rig.publisher(Draft::D18), rig.connect(Draft::D18)];
    rig.announce(publishers[1], &["more"]);
    let subscriber = rig.connect(Draft::D18);
    let tracks = [track("a"), track("b"), track_in(&["more"], "a")];
    let ids = tracks.map(|track| rig.subscribe_to(subscriber, track, Parameters::default()));
    for publisher in publishers {
        for (id, _) in rig.asked(publisher) {
            rig.accept(publisher, id);
        }
    }
    let aliases: std::collections::BTreeSet<_> = ids
        .iter()
        .map(|id| rig.ok(subscriber, *id).track_alias)
        .collect();
    assert_eq!(aliases.len(), 3);
    rig.end();
}

// Rules: B214
#[test]
fn b214_data_follows_subscribe_ok() {
    let mut rig = Rig::new();
    let running = rig.running((Draft::D18, Draft::D16));
    rig.group(running.publisher, running.up, 0, 1);
    let writes = |output: &Output| matches!(output, Output::Write { bytes, .. } if bytes.len() > 3);
    assert!(rig.far[&running.subscriber].outputs.iter().any(writes));
    let events = &rig.far[&running.subscriber].events;
    let ok = events
        .iter()
        .position(|event| matches!(event, Event::Response { .. }));
    let data = events
        .iter()
        .position(|event| matches!(event, Event::SubgroupOpened { .. }));
    assert!(ok.unwrap() < data.unwrap());
    rig.end();
}
