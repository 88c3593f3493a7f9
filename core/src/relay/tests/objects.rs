//! Objects on their way: what comes in on streams and in datagrams goes out the same, between any two drafts.

use super::*;
use crate::wire::param::GroupOrder;
use crate::wire::property::{PRIOR_GROUP_ID_GAP, PRIOR_OBJECT_ID_GAP, Value};

// Rules: B031, B043, B046, B055, B316, B317, B362, B390
#[test]
fn b316_b317_everything_about_an_object_arrives_as_it_was_sent() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let integers = |draft: Draft| draft.profile().integers;
        let list = [
            (0x0B, Value::Bytes(Bytes::from_static(&[0x20, 5]))),
            (PRIOR_GROUP_ID_GAP, Value::Integer(3)),
            (PRIOR_OBJECT_ID_GAP, Value::Integer(1)),
            (0x78, Value::Integer(300)),
            (0x3801, Value::Bytes(Bytes::from_static(b"unknown"))),
        ];
        let sent = SubgroupHeader {
            priority: Some(7),
            ..header(1 << 40, 3)
        };
        let mut feed = rig.open_stream(running.publisher, running.up, sent, true);
        let payload = [0x14, 1, 0, 0, 0, 3];
        let with_properties = ObjectHeader {
            properties: Properties::from_list(integers(drafts.0), list.clone()).unwrap(),
            ..object(2, payload.len())
        };
        rig.begin(&mut feed, &with_properties);
        rig.send(&feed, &payload[..2]);
        rig.send(&feed, &payload[2..]);
        rig.object(&mut feed, 3, b"");
        rig.object(&mut feed, 900, b"far away");
        rig.fin(&feed);
        let got = rig.received(running.subscriber, running.down).remove(0);
        assert_eq!(
            (got.header.group, got.header.subgroup),
            (sent.group, sent.subgroup)
        );
        assert_eq!(got.header.priority, Some(7));
        assert_eq!(got.ids(), [2, 3, 900]);
        let properties = Properties::from_list(integers(drafts.1), list).unwrap();
        assert_eq!(got.objects[0].0.properties, properties);
        assert_eq!(got.objects[0].1, payload);
        assert_eq!(got.objects[1].1, b"");
        assert_eq!(got.objects[2].1, b"far away");
        assert_eq!(got.end, Some(StreamEnd::Fin));
        rig.end();
    }
}

// Rules: B034
#[test]
fn b034_first_object_is_told_only_where_the_stream_begins_with_it() {
    let mut rig = Rig::new();
    let running = rig.running((Draft::D18, Draft::D18));
    let mut feed = rig.open(running.publisher, running.up, header(0, 0));
    rig.object(&mut feed, 0, b"a");
    let late = rig.connect(Draft::D18);
    let id = rig.subscribe(late, "v");
    rig.object(&mut feed, 1, b"b");
    let early = rig.received(running.subscriber, running.down).remove(0);
    let late = rig.received(late, id).remove(0);
    assert!(early.header.first_object);
    assert!(!late.header.first_object);
    assert_eq!((early.ids(), late.ids()), (vec![0, 1], vec![1]));
    rig.end();
}

// Rules: B031, B208
#[test]
fn b208_an_object_is_passed_on_before_it_is_whole() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let mut feed = rig.open(running.publisher, running.up, header(0, 0));
        rig.begin(&mut feed, &object(0, 6));
        rig.send(&feed, b"hal");
        let got = rig.received(running.subscriber, running.down).remove(0);
        assert_eq!(got.objects[0].1, b"hal");
        assert_eq!(got.objects[0].0.payload_length, 6);
        rig.send(&feed, b"ves");
        let got = rig.received(running.subscriber, running.down).remove(0);
        assert_eq!(got.objects[0].1, b"halves");
        rig.end();
    }
}

// Rules: B032
#[test]
fn b032_subgroups_keep_their_streams() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let mut even = rig.open(running.publisher, running.up, header(0, 0));
        let mut odd = rig.open(running.publisher, running.up, header(0, 1));
        for id in 0..6 {
            let feed = if id % 2 == 0 { &mut even } else { &mut odd };
            rig.object(feed, id, b"x");
        }
        rig.fin(&even);
        rig.fin(&odd);
        let got = rig.received(running.subscriber, running.down);
        assert_eq!(got.len(), 2);
        assert_eq!((got[0].ids(), got[1].ids()), (vec![0, 2, 4], vec![1, 3, 5]));
        rig.end();
    }
}

// Rules: B070, B376, B383
#[test]
fn b376_a_reset_stream_is_reset_downstream_with_a_code_that_is_true_there() {
    let codes = [
        (ResetCode::Cancelled, ResetCode::Cancelled),
        (ResetCode::DeliveryTimeout, ResetCode::DeliveryTimeout),
        (ResetCode::InternalError, ResetCode::InternalError),
        (ResetCode::SessionClosed, ResetCode::InternalError),
    ];
    for drafts in DRAFT_PAIRS {
        for (sent, expected) in codes {
            let mut rig = Rig::new();
            let running = rig.running(drafts);
            let mut feed = rig.open(running.publisher, running.up, header(0, 0));
            rig.object(&mut feed, 0, b"whole");
            rig.reset(&feed, sent);
            let got = rig.received(running.subscriber, running.down).remove(0);
            assert_eq!(got.end, Some(StreamEnd::Reset(expected)));
            // The track goes on.
            rig.group(running.publisher, running.up, 1, 1);
            assert_eq!(rig.ids(running.subscriber, running.down), [(0, 0), (1, 0)]);
            rig.end();
        }
    }
}

// Rules: B363, B375
#[test]
fn the_end_of_a_group_is_passed_on_however_it_was_told() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let mut marked = rig.open(running.publisher, running.up, header(0, 0));
        rig.object(&mut marked, 0, b"x");
        rig.marker(&mut marked, 1, ObjectStatus::EndOfGroup);
        rig.fin(&marked);
        let ends = SubgroupHeader {
            end_of_group: true,
            ..header(1, 0)
        };
        let mut flagged = rig.open(running.publisher, running.up, ends);
        rig.object(&mut flagged, 0, b"x");
        rig.fin(&flagged);
        let got = rig.received(running.subscriber, running.down);
        assert_eq!(got[0].ids(), [0, 1]);
        assert_eq!(got[0].objects[1].0.status, ObjectStatus::EndOfGroup);
        assert!(got[1].header.end_of_group);
        assert!(got.iter().all(|got| got.end == Some(StreamEnd::Fin)));
        rig.end();
    }
}

#[test]
fn the_end_of_a_track_is_passed_on() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let mut feed = rig.open(running.publisher, running.up, header(0, 0));
        rig.object(&mut feed, 0, b"x");
        rig.marker(&mut feed, 1, ObjectStatus::EndOfTrack);
        rig.fin(&feed);
        rig.done_with(running.publisher, running.up, DoneCode::TrackEnded);
        let got = rig.received(running.subscriber, running.down).remove(0);
        assert_eq!(got.objects[1].0.status, ObjectStatus::EndOfTrack);
        let done = rig.done(running.subscriber, running.down).unwrap();
        assert_eq!(
            (done.code, done.stream_count),
            (DoneCode::TrackEnded, Some(1))
        );
        rig.end();
    }
}

// Rules: B223, B361
#[test]
fn b361_datagrams_stay_datagrams() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let late = rig.connect(drafts.0);
        let other = rig.subscribe(late, "v");
        let plain = in_datagram(4, 2, b"tick");
        let last = DatagramObject {
            end_of_group: true,
            priority: None,
            ..in_datagram(4, 3, b"tock")
        };
        rig.datagram(running.publisher, running.up, &plain);
        rig.datagram(running.publisher, running.up, &last);
        for (peer, id) in [(running.subscriber, running.down), (late, other)] {
            let got = rig.datagrams(peer, id);
            assert_eq!(got.len(), 2);
            assert_eq!(got[0], plain);
            assert_eq!(
                (got[1].location, &got[1].payload),
                (at(4, 3), &last.payload)
            );
            assert!(got[1].end_of_group);
            assert_eq!(rig.received(peer, id), []);
        }
        rig.done_with(running.publisher, running.up, DoneCode::TrackEnded);
        let done = rig.done(running.subscriber, running.down).unwrap();
        assert_eq!(done.stream_count, Some(0), "B223");
        rig.end();
    }
}

// Rules: B295
#[test]
fn b295_the_same_datagram_from_two_publishers_is_sent_once() {
    let mut rig = Rig::new();
    let running = rig.running((Draft::D18, Draft::D16));
    let other = rig.publisher(Draft::D16);
    let up = rig.only_asked(other);
    rig.accept(other, up);
    for (peer, id) in [(running.publisher, running.up), (other, up)] {
        rig.datagram(peer, id, &in_datagram(0, 0, b"once"));
    }
    assert_eq!(rig.datagrams(running.subscriber, running.down).len(), 1);
    rig.end();
}

// Rules: B209
#[test]
fn b209_streams_of_a_subscription_that_is_withdrawn_are_reset() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let stays = rig.connect(drafts.1);
        let other = rig.subscribe(stays, "v");
        let mut feeds =
            [0, 1].map(|subgroup| rig.open(running.publisher, running.up, header(0, subgroup)));
        for feed in &mut feeds {
            let id = feed.stream.index();
            rig.begin(feed, &object(id, 5));
        }
        rig.far_mut(running.subscriber).outputs.clear();
        rig.cancel(running.subscriber, running.down);
        let code = ResetCode::Cancelled.to_wire(drafts.1);
        let resets = rig.far[&running.subscriber].outputs.iter().filter(|output| {
            matches!(output, Output::Reset { stream, code: sent } if *sent == code && stream.is_local())
        });
        assert_eq!(resets.count(), 2);
        for feed in &feeds {
            rig.send(feed, b"12345");
            rig.fin(feed);
        }
        assert_eq!(rig.received(stays, other).len(), 2);
        rig.end();
    }
}

#[test]
fn forward_0_stops_objects_and_forward_1_starts_with_the_next() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let other = rig.connect(drafts.1);
        let all = rig.subscribe(other, "v");
        rig.group(running.publisher, running.up, 0, 1);
        rig.update(running.subscriber, running.down, forward(false));
        rig.group(running.publisher, running.up, 1, 1);
        rig.update(running.subscriber, running.down, forward(true));
        rig.group(running.publisher, running.up, 2, 1);
        assert_eq!(rig.ids(running.subscriber, running.down), [(0, 0), (2, 0)]);
        assert_eq!(rig.ids(other, all), [(0, 0), (1, 0), (2, 0)]);
        rig.end();
    }
}

/// In which order groups leave for a subscriber that had no room for any of them.
fn order_of_groups(drafts: (Draft, Draft), parameters: Parameters) -> Vec<u64> {
    let mut rig = Rig::new();
    let publisher = rig.publisher(drafts.0);
    let subscriber = rig.connect(drafts.1);
    let down = rig.subscribe_to(subscriber, track("v"), parameters);
    let up = rig.only_asked(publisher);
    rig.accept(publisher, up);
    rig.far_mut(subscriber).no_streams = true;
    for group in 0..4 {
        rig.group(publisher, up, group, 1);
    }
    assert_eq!(rig.ids(subscriber, down), []);
    rig.recover(subscriber);
    let groups = rig
        .ids(subscriber, down)
        .iter()
        .map(|(group, _)| *group)
        .collect();
    rig.end();
    groups
}

// Rules: B318, B341
#[test]
fn b341_groups_leave_in_the_order_that_the_subscriber_wants() {
    for drafts in DRAFT_PAIRS {
        let ordered = |group_order| Parameters {
            group_order: Some(group_order),
            ..Parameters::default()
        };
        let up = order_of_groups(drafts, ordered(GroupOrder::Ascending));
        assert_eq!(up, [0, 1, 2, 3]);
        let down = order_of_groups(drafts, ordered(GroupOrder::Descending));
        assert_eq!(down, [3, 2, 1, 0]);
        assert_eq!(order_of_groups(drafts, Parameters::default()), up);
    }
}

// Rules: B318, B341, B343
#[test]
fn b343_the_subscribers_priority_counts_before_the_publishers() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let wanted = |priority| Parameters {
            subscriber_priority: Some(priority),
            ..Parameters::default()
        };
        let downs = [("low", 9), ("high", 2)]
            .map(|(name, priority)| rig.subscribe_to(subscriber, track(name), wanted(priority)));
        let ups: Vec<RequestId> = rig.asked(publisher).iter().map(|(id, _)| *id).collect();
        for up in &ups {
            rig.accept(publisher, *up);
        }
        rig.far_mut(subscriber).no_streams = true;
        for (up, priorities) in ups.iter().zip([[1, 0], [200, 100]]) {
            for (group, priority) in (0..).zip(priorities) {
                let header = SubgroupHeader {
                    priority: Some(priority),
                    ..header(group, 0)
                };
                let mut feed = rig.open(publisher, *up, header);
                rig.object(&mut feed, 0, b"x");
                rig.fin(&feed);
            }
        }
        rig.recover(subscriber);
        let events = rig.far[&subscriber].events.iter();
        let order: Vec<_> = events
            .filter_map(|event| match event {
                Event::SubgroupOpened { id, header, .. } => Some((*id, header.group.0)),
                _ => None,
            })
            .collect();
        let [low, high] = downs;
        assert_eq!(order, [(high, 1), (high, 0), (low, 1), (low, 0)]);
        rig.end();
    }
}

// Rules: B038, B040
#[test]
fn b040_a_malformed_track_ends_for_everybody_and_is_cancelled_at_its_publishers() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let second = rig.connect(drafts.0);
        let other = rig.subscribe(second, "v");
        let healthy = rig.subscribe(second, "w");
        let up = rig.asked(running.publisher)[1].0;
        rig.accept(running.publisher, up);
        let mut open = rig.open(running.publisher, running.up, header(1, 0));
        rig.object(&mut open, 0, b"fine");
        let mut ended = rig.open(running.publisher, running.up, header(0, 0));
        rig.marker(&mut ended, 1, ObjectStatus::EndOfGroup);
        rig.fin(&ended);
        let mut beyond = rig.open(running.publisher, running.up, header(0, 1));
        rig.object(&mut beyond, 5, b"wrong");
        for (peer, id) in [(running.subscriber, running.down), (second, other)] {
            assert_eq!(rig.done_code(peer, id), DoneCode::MalformedTrack);
            assert!(!rig.ids(peer, id).contains(&(0, 5)), "B041");
            let got = rig.received(peer, id);
            let open = got.iter().find(|got| got.header.group.0 == 1).unwrap();
            assert_eq!(open.end, Some(StreamEnd::Reset(ResetCode::MalformedTrack)));
        }
        assert!(rig.withdrawn(running.publisher, running.up), "B038");
        rig.assert_alive(running.publisher);
        rig.group(running.publisher, up, 0, 1);
        assert_eq!(rig.ids(second, healthy), [(0, 0)]);
        rig.end();
    }
}

// Rules: B030, B290
#[test]
fn b290_the_same_object_twice_and_different_is_a_malformed_track() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let mut feed = rig.open(running.publisher, running.up, header(0, 0));
        rig.begin(&mut feed, &object(0, 9));
        rig.send(&feed, b"one");
        rig.datagram(
            running.publisher,
            running.up,
            &in_datagram(0, 0, b"another"),
        );
        let code = rig.done_code(running.subscriber, running.down);
        assert_eq!(code, DoneCode::MalformedTrack);
        assert!(rig.withdrawn(running.publisher, running.up));
        rig.end();
    }
}

// Rules: B381, B382
#[test]
fn b381_b382_a_stream_that_a_subscriber_stops_is_reset_and_not_opened_again() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let mut feed = rig.open(running.publisher, running.up, header(0, 0));
        rig.object(&mut feed, 0, b"a");
        let stream = rig.far[&running.subscriber]
            .events
            .iter()
            .find_map(|event| match event {
                Event::SubgroupOpened { stream, .. } => Some(*stream),
                _ => None,
            });
        rig.act(running.subscriber, |session, now| {
            session.stop_stream(now, stream.unwrap(), ResetCode::Cancelled);
        });
        rig.object(&mut feed, 1, b"b");
        rig.fin(&feed);
        rig.group(running.publisher, running.up, 1, 1);
        assert_eq!(rig.ids(running.subscriber, running.down), [(0, 0), (1, 0)]);
        assert_eq!(rig.received(running.subscriber, running.down).len(), 2);
        let code = ResetCode::Cancelled.to_wire(drafts.1);
        let reset =
            |output: &Output| matches!(output, Output::Reset { code: sent, .. } if *sent == code);
        assert!(rig.far[&running.subscriber].outputs.iter().any(reset));
        rig.end();
    }
}
