//! What a subscriber gets, and on which streams.

use super::*;

#[test]
fn a_subgroup_crosses_as_it_is() {
    let mut stage = Stage::new();
    let new = stage.plain_subscriber();
    let old = stage.subscriber(Draft::D16, &Parameters::default());
    let stream = stage.open_from(
        SOURCE,
        SubgroupHeader {
            priority: Some(9),
            end_of_group: true,
            ..header(5, 3)
        },
    );
    stage.object(stream, 3, b"first");
    stage.settle();
    stage.object(stream, 4, b"");
    stage.object(stream, 5, b"third");
    stage.fin(stream);
    stage.settle();
    let expected = Got {
        request: 0,
        group: 5,
        subgroup: 3,
        priority: Some(9),
        end_of_group: true,
        first_object: true,
        objects: vec![
            (3, b"first".to_vec()),
            (4, Vec::new()),
            (5, b"third".to_vec()),
        ],
        fin: true,
        ..Got::default()
    };
    assert_eq!(stage.got(new), vec![expected.clone()]);
    let without_flag = Got {
        first_object: false,
        ..expected
    };
    assert_eq!(stage.got(old), [without_flag]);
}

// Rules: B215
#[test]
fn every_subscriber_is_told_the_same_alias() {
    let mut stage = Stage::new();
    let profile = Draft::D18.profile();
    let other = stage
        .fanout
        .open_track(Draft::D18, Properties::default(), None)
        .unwrap();
    let mut alias = |connection, request, track| {
        stage
            .fanout
            .subscribe(
                ConnectionId(connection),
                profile,
                RequestId(request),
                track,
                &Parameters::default(),
            )
            .unwrap()
            .track_alias
    };
    let track = stage.track;
    let first = alias(1, 0, track);
    assert_eq!(first, alias(2, 0, track));
    assert_ne!(first, alias(1, 2, other));
}

// Rules: B208
#[test]
fn a_large_object_leaves_before_it_arrived() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let stream = stage.open(0, 0);
    stage.begin(stream, 0, 200_000);
    stage.payload(stream, &[1; 50_000]);
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got[0].objects[0].1.len(), 50_000);
    assert!(got[0].cut);
    stage.payload(stream, &[1; 150_000]);
    stage.fin(stream);
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got[0].objects[0].1.len(), 200_000);
    assert!(got[0].fin && !got[0].cut);
}

#[test]
fn short_writes_resume_where_they_stopped() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    stage.peer(subscriber).bite = 3;
    stage.group(0, 20);
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].objects.len(), 20);
    assert!(got[0].fin);
}

#[test]
fn a_small_object_is_one_write_and_a_large_one_is_not_copied_again() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    stage.peer(subscriber).stalled = true;
    let stream = stage.open(0, 0);
    stage.object(stream, 0, &[1; 300]);
    stage.object(stream, 1, &[2; 5000]);
    stage.settle();
    let sent = StreamId::local(0);
    let mut source = stage.fanout.source(subscriber);
    let mut lengths = Vec::new();
    while let Some(piece) = source.peek(stage.now, sent) {
        lengths.push(piece.bytes.len());
        source.taken(stage.now, sent, piece.bytes.len(), piece.fin);
    }
    let (opening, header) = (3 + 4, 4);
    assert_eq!(lengths, [opening + 300, header, 5000]);
}

// Rules: B375
#[test]
fn a_late_subscriber_joins_the_current_subgroup_at_its_next_object() {
    let mut stage = Stage::new();
    let early = stage.plain_subscriber();
    let stream = stage.open(4, 2);
    stage.object(stream, 2, b"two");
    stage.begin(stream, 3, 5);
    stage.payload(stream, b"th");
    let late = stage.plain_subscriber();
    stage.settle();
    assert_eq!(stage.got(late), []);
    stage.payload(stream, b"ree");
    stage.object(stream, 4, b"four");
    stage.fin(stream);
    stage.settle();
    let got = stage.got(late);
    assert_eq!(got.len(), 1);
    assert_eq!((got[0].group, got[0].subgroup), (4, 2));
    assert!(!got[0].first_object, "B034");
    assert_eq!(got[0].objects, [(4, b"four".to_vec())]);
    assert!(got[0].fin, "B375: from its start on it has everything");
    assert!(stage.got(early)[0].first_object);
    assert_eq!(stage.ids(early), [(4, 2), (4, 3), (4, 4)]);
}

#[test]
fn the_past_is_not_delivered_even_without_a_filter() {
    let mut stage = Stage::new();
    stage.group(0, 3);
    let subscriber = stage.plain_subscriber();
    stage.settle();
    stage.group(1, 1);
    stage.settle();
    assert_eq!(stage.ids(subscriber), [(1, 0)]);
}

// Rules: B034
#[test]
fn first_object_is_told_only_if_known() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let unknown = SubgroupHeader {
        first_object: false,
        ..header(0, 1)
    };
    let stream = stage.open_from(SOURCE, unknown);
    stage.object(stream, 5, b"x");
    let zero = SubgroupHeader {
        first_object: false,
        ..header(1, 0)
    };
    let other = stage.open_from(SOURCE, zero);
    stage.object(other, 0, b"nothing can precede object 0");
    stage.settle();
    let got = stage.got(subscriber);
    assert!(!got[0].first_object);
    assert!(got[1].first_object);
}

// Rules: B378
#[test]
fn a_gap_on_the_same_upstream_stream_stays_on_one_stream() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let stream = stage.open(0, 0);
    stage.object(stream, 0, b"a");
    stage.object(stream, 7, b"b");
    stage.settle();
    assert_eq!(stage.got(subscriber).len(), 1);
    assert_eq!(stage.ids(subscriber), [(0, 0), (0, 7)]);
}

// Rules: B372, B378
#[test]
fn a_gap_between_upstream_streams_opens_a_new_stream() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let first = stage.open(0, 0);
    stage.object(first, 0, b"a");
    stage.settle();
    let second = stage.open_from(SOURCE, header(0, 0));
    stage.object(second, 7, b"b");
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got.len(), 2, "B378");
    assert!(got[0].reset.is_some());
    assert_eq!(got[1].objects, [(7, b"b".to_vec())]);
    assert!(got[1].reset.is_none());
}

#[test]
fn an_adjacent_object_of_another_upstream_stream_stays_on_the_stream() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let first = stage.open(0, 0);
    stage.object(first, 0, b"a");
    stage.settle();
    let second = stage.open(0, 0);
    stage.object(second, 1, b"b");
    stage.reset(first, ResetCode::InternalError);
    stage.fin(second);
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got.len(), 1);
    assert!(got[0].fin);
    assert_eq!(stage.ids(subscriber), [(0, 0), (0, 1)]);
}

#[test]
fn objects_that_are_known_not_to_exist_do_not_break_a_stream() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let first = stage.open(0, 0);
    stage.object(first, 0, b"a");
    stage.settle();
    let second = stage.open(0, 0);
    let gap = properties(Draft::D18, &[(0x3e, 6)]);
    stage
        .fanout
        .write_object(stage.now, second, ObjectId(7), gap, b"b")
        .unwrap();
    stage.settle();
    assert_eq!(stage.got(subscriber).len(), 1);
}

// Rules: B032
#[test]
fn subgroups_never_share_a_stream() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let even = stage.open(0, 0);
    let odd = stage.open(0, 1);
    for id in 0..10 {
        stage.object(if id % 2 == 0 { even } else { odd }, id, b"x");
        stage.settle();
    }
    let got = stage.got(subscriber);
    assert_eq!(got.len(), 2);
    let ids = |got: &Got| got.objects.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    assert_eq!(ids(&got[0]), [0, 2, 4, 6, 8]);
    assert_eq!(ids(&got[1]), [1, 3, 5, 7, 9]);
}

#[test]
fn an_upstream_reset_is_passed_on() {
    for (upstream, downstream) in [
        (ResetCode::DeliveryTimeout, ResetCode::DeliveryTimeout),
        (ResetCode::SessionClosed, ResetCode::InternalError),
        (ResetCode::Unknown(0x9d), ResetCode::InternalError),
    ] {
        let mut stage = Stage::new();
        let subscriber = stage.plain_subscriber();
        let stream = stage.open(0, 0);
        stage.object(stream, 0, b"whole");
        stage.begin(stream, 1, 10);
        stage.payload(stream, b"part");
        stage.settle();
        stage.reset(stream, upstream);
        stage.settle();
        let got = stage.got(subscriber);
        assert_eq!(got[0].reset, Some(downstream));
        assert!(!got[0].fin);
    }
}

#[test]
fn what_was_complete_before_a_reset_is_still_sent() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    stage.peer(subscriber).stalled = true;
    let stream = stage.open(0, 0);
    stage.object(stream, 0, b"whole");
    stage.begin(stream, 1, 10);
    stage.reset(stream, ResetCode::InternalError);
    stage.settle();
    stage.peer(subscriber).stalled = false;
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got[0].objects, [(0, b"whole".to_vec())]);
    assert_eq!(got[0].reset, Some(ResetCode::InternalError));
}

// Rules: B363
#[test]
fn markers_are_objects_too() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let stream = stage.open(0, 0);
    stage.object(stream, 0, b"a");
    stage.marker(stream, 1, ObjectStatus::EndOfGroup).unwrap();
    stage.fin(stream);
    let last = stage.open(1, 0);
    stage.marker(last, 0, ObjectStatus::EndOfTrack).unwrap();
    stage.fin(last);
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got[0].markers, [(1, ObjectStatus::EndOfGroup)]);
    assert_eq!(got[1].markers, [(0, ObjectStatus::EndOfTrack)]);
    assert!(got.iter().all(|got| got.fin));
    assert_eq!(stage.fanout.largest(stage.track), Some(at(0, 0)));
}

#[test]
fn properties_cross_unmodified_and_are_written_anew_for_the_other_integers() {
    let mut stage = Stage::new();
    let new = stage.plain_subscriber();
    let old = stage.subscriber(Draft::D16, &Parameters::default());
    let list = properties(Draft::D18, &[(0x78, 300), (0x9a, 70_000)]);
    let stream = stage.open(0, 0);
    stage
        .fanout
        .write_object(stage.now, stream, ObjectId(0), list.clone(), b"x")
        .unwrap();
    stage.settle();
    for (peer, expected) in [
        (new, list.clone()),
        (old, list.reencode(Draft::D16.profile().integers).unwrap()),
    ] {
        let wire = stage.peers[&peer].wires.values().next().unwrap();
        let block = expected.bytes();
        assert!(!block.is_empty());
        assert!(
            wire.bytes
                .windows(block.len())
                .any(|window| window == &block[..]),
            "{:x?} in {:x?}",
            block,
            wire.bytes
        );
    }
}

#[test]
fn an_id_that_a_draft_cannot_write_ends_that_subscription_only() {
    let mut stage = Stage::new();
    let new = stage.plain_subscriber();
    let old = stage.subscriber(Draft::D16, &Parameters::default());
    stage.group(1 << 62, 2);
    stage.settle();
    assert_eq!(stage.done(old), [DoneCode::InternalError]);
    assert_eq!(stage.got(old), []);
    assert!(stage.done(new).is_empty());
    assert_eq!(stage.ids(new).len(), 2);
}

#[test]
fn a_later_id_that_a_draft_cannot_write_resets_the_stream() {
    let mut stage = Stage::new();
    let old = stage.subscriber(Draft::D16, &Parameters::default());
    let stream = stage.open(0, 0);
    stage.object(stream, 0, b"fits");
    stage.settle();
    stage.object(stream, (1 << 62) + 5, b"does not");
    stage.settle();
    assert_eq!(stage.done(old), [DoneCode::InternalError]);
    assert_eq!(stage.got(old)[0].reset, Some(ResetCode::InternalError));
}

// Rules: B361
#[test]
fn datagrams_stay_datagrams() {
    let mut stage = Stage::new();
    let new = stage.plain_subscriber();
    let old = stage.subscriber(Draft::D16, &Parameters::default());
    for id in 0..3 {
        let object = datagram(2, id, &[7; 160]);
        stage
            .fanout
            .datagram(stage.now, stage.track, SOURCE, object)
            .unwrap();
        stage.settle();
    }
    for peer in [new, old] {
        assert_eq!(stage.got(peer), [], "B361");
        let expected: Vec<_> = (0..3).map(|id| datagram(2, id, &[7; 160])).collect();
        assert_eq!(stage.peers[&peer].datagram_objects(), expected);
    }
    assert_eq!(stage.fanout.largest(stage.track), Some(at(2, 2)));
    stage.peer(new).datagrams.clear();
    stage.peer(old).datagrams.clear();
    assert_eq!(stage.used(), 0);
}

#[test]
fn the_largest_location_moves_with_the_first_byte_of_an_object() {
    let mut stage = Stage::new();
    let stream = stage.open(3, 0);
    assert_eq!(stage.fanout.largest(stage.track), None);
    stage.begin(stream, 4, 1000);
    assert_eq!(stage.fanout.largest(stage.track), Some(at(3, 4)));
    let track = stage.track;
    stage.fanout.raise_largest(track, at(2, 9));
    assert_eq!(stage.fanout.largest(track), Some(at(3, 4)));
    stage.fanout.raise_largest(track, at(4, 0));
    assert_eq!(stage.fanout.largest(track), Some(at(4, 0)));
}

#[test]
fn the_most_urgent_lane_gets_the_next_stream() {
    for (order, expected) in [
        (GroupOrder::Ascending, [(0, 1), (0, 2), (1, 0), (2, 0)]),
        (GroupOrder::Descending, [(2, 0), (1, 0), (0, 1), (0, 2)]),
    ] {
        let mut stage = Stage::new();
        let parameters = Parameters {
            group_order: Some(order),
            ..Parameters::default()
        };
        let subscriber = stage.subscriber(Draft::D18, &parameters);
        stage.peer(subscriber).credit = 0;
        for (group, subgroup) in [(1, 0), (0, 2), (2, 0), (0, 1)] {
            let stream = stage.open(group, subgroup);
            stage.object(stream, subgroup, b"x");
        }
        stage.settle();
        for n in 1..=4 {
            stage.peer(subscriber).credit = 1;
            stage.fanout.can_open_stream(subscriber);
            stage.settle();
            let opened: Vec<_> = stage.peers[&subscriber]
                .opened
                .iter()
                .map(|(_, group, subgroup)| (*group, *subgroup))
                .collect();
            assert_eq!(opened, expected[..n]);
        }
    }
}

#[test]
fn priorities_come_before_group_order() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let urgent = stage
        .fanout
        .open_track(Draft::D18, Properties::default(), None)
        .unwrap();
    let parameters = Parameters {
        subscriber_priority: Some(3),
        ..Parameters::default()
    };
    stage
        .fanout
        .subscribe(
            subscriber,
            Draft::D18.profile(),
            RequestId(2),
            urgent,
            &parameters,
        )
        .unwrap();
    stage.peer(subscriber).credit = 0;
    for (group, priority) in [(0, None), (1, Some(5))] {
        let header = SubgroupHeader {
            priority,
            ..header(group, 0)
        };
        let stream = stage.open_from(SOURCE, header);
        stage.object(stream, 0, b"x");
    }
    let stream = stage
        .fanout
        .open_subgroup(stage.now, urgent, SOURCE, header(9, 0))
        .unwrap();
    stage.object(stream, 0, b"x");
    stage.settle();
    stage.peer(subscriber).credit = 3;
    stage.fanout.can_open_stream(subscriber);
    stage.settle();
    let opened = &stage.peers[&subscriber].opened;
    assert_eq!(opened[..], [(2, 9, 0), (0, 1, 0), (0, 0, 0)]);
}

#[test]
fn memory_is_free_again_when_everybody_has_everything() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let other = stage.subscriber(Draft::D16, &Parameters::default());
    for group in 0..50 {
        stage.group(group, 30);
        stage.settle();
        assert_eq!(stage.used(), 0, "group {group}");
    }
    assert_eq!(stage.ids(subscriber).len(), 1500);
    assert_eq!(stage.ids(other).len(), 1500);
}

#[test]
fn a_long_subgroup_does_not_pile_up() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let stream = stage.open(0, 0);
    for id in 0..2000 {
        stage.object(stream, id, &[1; 100]);
        stage.settle();
        assert_eq!(stage.used(), 0);
    }
    assert_eq!(stage.ids(subscriber).len(), 2000);
    assert_eq!(stage.got(subscriber).len(), 1);
}

#[test]
fn a_track_without_subscribers_keeps_nothing() {
    let mut stage = Stage::new();
    for group in 0..20 {
        stage.group(group, 10);
        stage.settle();
        assert_eq!(stage.used(), 0);
    }
}

#[test]
fn an_empty_subgroup_needs_no_stream() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let stream = stage.open(0, 0);
    stage.settle();
    stage.fin(stream);
    stage.settle();
    assert_eq!(stage.got(subscriber), []);
    assert_eq!(stage.used(), 0);
}
