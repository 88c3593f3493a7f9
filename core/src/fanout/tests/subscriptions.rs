//! Filters, updates, and the ways in which subscriptions end.

use super::*;

fn range(start: Location, end_group: u64) -> Parameters {
    filtered(Filter::AbsoluteRange {
        start,
        end_group: GroupId(end_group),
    })
}

// Rules: B213
#[test]
fn each_filter_lets_through_what_it_should() {
    // What was published before, and what is published after: one subgroup of three objects in each group.
    let cases = [
        (None, vec![(2, 1), (2, 2), (3, 0), (3, 1), (3, 2)]),
        (
            Some(Filter::LargestObject),
            vec![(2, 1), (2, 2), (3, 0), (3, 1), (3, 2)],
        ),
        (Some(Filter::NextGroupStart), vec![(3, 0), (3, 1), (3, 2)]),
        (
            Some(Filter::AbsoluteStart(at(0, 0))),
            vec![(2, 1), (2, 2), (3, 0), (3, 1), (3, 2)],
        ),
        (
            Some(Filter::AbsoluteStart(at(2, 2))),
            vec![(2, 2), (3, 0), (3, 1), (3, 2)],
        ),
        (Some(Filter::AbsoluteStart(at(3, 1))), vec![(3, 1), (3, 2)]),
        (
            Some(Filter::AbsoluteRange {
                start: at(2, 2),
                end_group: GroupId(2),
            }),
            vec![(2, 2)],
        ),
    ];
    for (filter, expected) in cases {
        let mut stage = Stage::new();
        let stream = stage.open(2, 0);
        stage.object(stream, 0, b"x");
        stage.settle();
        let parameters = Parameters {
            filter,
            ..Parameters::default()
        };
        let subscriber = stage.subscriber(Draft::D18, &parameters);
        stage.settle();
        stage.object(stream, 1, b"x");
        stage.settle();
        stage.object(stream, 2, b"x");
        stage.fin(stream);
        stage.settle();
        stage.group(3, 3);
        stage.settle();
        assert_eq!(stage.ids(subscriber), expected, "{filter:?} (B213)");
        assert!(stage.got(subscriber).iter().all(|got| got.fin));
    }
}

#[test]
fn relative_filters_start_at_zero_if_nothing_was_published() {
    for filter in [Filter::LargestObject, Filter::NextGroupStart] {
        let mut stage = Stage::new();
        let subscriber = stage.subscriber(Draft::D18, &filtered(filter));
        stage.group(0, 2);
        stage.settle();
        assert_eq!(stage.ids(subscriber), [(0, 0), (0, 1)]);
    }
}

#[test]
fn the_largest_location_is_told() {
    let mut stage = Stage::new();
    let subscribe = |stage: &mut Stage, connection| {
        stage
            .fanout
            .subscribe(
                ConnectionId(connection),
                Draft::D18.profile(),
                REQUEST,
                stage.track,
                &Parameters::default(),
            )
            .unwrap()
            .parameters
            .largest_object
    };
    assert_eq!(subscribe(&mut stage, 1), None);
    let stream = stage.open(3, 0);
    stage.begin(stream, 7, 100);
    assert_eq!(subscribe(&mut stage, 2), Some(at(3, 7)));
}

// Rules: B212
#[test]
fn a_range_that_cannot_be_satisfied_is_refused() {
    let mut stage = Stage::new();
    stage.group(4, 2);
    stage.settle();
    let refused = Err(RequestCode::InvalidRange);
    assert_eq!(
        stage.try_subscriber(Draft::D18, &range(at(0, 0), 3)),
        refused,
        "B212"
    );
    assert!(
        stage
            .try_subscriber(Draft::D18, &range(at(0, 0), 4))
            .is_ok()
    );
    let stream = stage.open(4, 1);
    stage.marker(stream, 2, ObjectStatus::EndOfGroup).unwrap();
    stage.fin(stream);
    stage.settle();
    assert_eq!(
        stage.try_subscriber(Draft::D18, &range(at(0, 0), 4)),
        refused,
        "all of group 4 was published"
    );
    let last = stage.open(5, 0);
    stage.marker(last, 0, ObjectStatus::EndOfTrack).unwrap();
    assert_eq!(
        stage.try_subscriber(Draft::D18, &filtered(Filter::AbsoluteStart(at(5, 0)))),
        refused
    );
}

#[test]
fn a_range_ends_with_its_last_group() {
    let mut stage = Stage::new();
    let subscriber = stage.subscriber(Draft::D18, &range(at(0, 0), 1));
    stage.group(0, 2);
    stage.settle();
    let ending = SubgroupHeader {
        end_of_group: true,
        ..header(1, 0)
    };
    let stream = stage.open_from(SOURCE, ending);
    stage.object(stream, 0, b"x");
    stage.settle();
    assert!(stage.done(subscriber).is_empty());
    stage.fin(stream);
    stage.settle();
    assert_eq!(stage.done(subscriber), [DoneCode::SubscriptionEnded]);
    stage.group(2, 1);
    stage.settle();
    assert_eq!(stage.ids(subscriber), [(0, 0), (0, 1), (1, 0)]);
    let ended = Notice::Ended {
        connection: subscriber,
        request: REQUEST,
    };
    assert!(stage.notices().contains(&ended));
}

#[test]
fn a_range_whose_last_group_has_no_marked_end_waits_for_stragglers() {
    let mut stage = Stage::new();
    let subscriber = stage.subscriber(Draft::D18, &range(at(0, 0), 1));
    stage.group(1, 1);
    stage.group(2, 1);
    stage.settle();
    assert!(stage.done(subscriber).is_empty());
    stage.pass(Duration::from_millis(100));
    let straggler = stage.open(1, 5);
    stage.object(straggler, 5, b"late");
    stage.pass(Duration::from_secs(1));
    assert!(
        stage.done(subscriber).is_empty(),
        "a stream of the range is still open"
    );
    stage.fin(straggler);
    stage.settle();
    assert_eq!(stage.done(subscriber), [DoneCode::SubscriptionEnded]);
    assert_eq!(stage.ids(subscriber), [(1, 0), (1, 5)]);
}

#[test]
fn without_forward_nothing_is_sent() {
    let mut stage = Stage::new();
    let subscriber = stage.subscriber(Draft::D18, &forward(false));
    assert!(!stage.fanout.has_forwarding_subscribers(stage.track));
    assert!(!stage.fanout.is_idle(stage.track));
    stage.group(0, 2);
    stage
        .fanout
        .datagram(stage.now, stage.track, SOURCE, datagram(9, 0, b"x"))
        .unwrap();
    stage.settle();
    assert_eq!(stage.got(subscriber), []);
    assert!(stage.peers[&subscriber].datagrams.is_empty());
    assert_eq!(stage.used(), 0);
}

// Rules: B203 (18), B376
#[test]
fn forward_state_turns_delivery_off_and_on() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let stream = stage.open(0, 0);
    stage.object(stream, 0, b"x");
    stage.settle();
    stage.update(subscriber, &forward(false));
    stage.settle();
    assert_eq!(
        stage.got(subscriber)[0].reset,
        Some(ResetCode::Cancelled),
        "B376"
    );
    assert!(!stage.fanout.has_forwarding_subscribers(stage.track));
    stage.object(stream, 1, b"x");
    stage.settle();
    let ok = stage
        .fanout
        .update(stage.now, subscriber, REQUEST, &forward(true))
        .unwrap();
    assert_eq!(ok.parameters.largest_object, Some(at(0, 1)), "B203");
    assert!(stage.fanout.has_forwarding_subscribers(stage.track));
    stage.object(stream, 2, b"x");
    stage.fin(stream);
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got.len(), 2);
    assert_eq!(got[1].objects, [(2, b"x".to_vec())]);
    assert!(got[1].fin && !got[1].first_object);
    assert_eq!(stage.used(), 0);
}

// Rules: B382
#[test]
fn a_stopped_subgroup_is_not_opened_again() {
    for (draft, after_update) in [(Draft::D16, vec![]), (Draft::D18, vec![(0, 3)])] {
        let mut stage = Stage::new();
        let subscriber = stage.subscriber(draft, &Parameters::default());
        let stream = stage.open(0, 0);
        stage.object(stream, 0, b"x");
        stage.settle();
        let sent = StreamId::local(0);
        stage.peer(subscriber).wires.get_mut(&sent).unwrap().reset = Some(ResetCode::Cancelled);
        stage.fanout.stream_stopped(subscriber, sent);
        stage.object(stream, 1, b"x");
        stage.settle();
        assert_eq!(stage.got(subscriber).len(), 1, "B382");
        stage.group(1, 1);
        stage.settle();
        assert_eq!(stage.got(subscriber).len(), 2, "other subgroups go on");
        stage.update(subscriber, &forward(false));
        stage.object(stream, 2, b"x");
        stage.settle();
        stage.update(subscriber, &forward(true));
        stage.object(stream, 3, b"x");
        stage.settle();
        assert_eq!(stage.ids(subscriber)[2..], after_update);
    }
}

// Rules: B376, B379
#[test]
fn narrowing_a_range_resets_what_is_outside() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let streams: Vec<_> = (0..3).map(|group| stage.open(group, 0)).collect();
    for stream in &streams {
        stage.object(*stream, 0, b"x");
    }
    stage.settle();
    stage.update(subscriber, &range(at(1, 0), 1));
    for stream in &streams {
        stage.object(*stream, 1, b"x");
        stage.fin(*stream);
    }
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got[0].reset, Some(ResetCode::Cancelled));
    assert!(got[1].fin && got[1].objects.len() == 2);
    assert_eq!(got[2].reset, Some(ResetCode::Cancelled));
    assert_eq!(got.len(), 3);
}

#[test]
fn moving_the_start_within_a_subgroup_begins_a_new_stream_there() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    stage.peer(subscriber).stalled = true;
    let stream = stage.open(0, 0);
    for id in 0..6 {
        stage.object(stream, id, b"x");
    }
    stage.fin(stream);
    stage.settle();
    stage.update(subscriber, &filtered(Filter::AbsoluteStart(at(0, 3))));
    stage.peer(subscriber).stalled = false;
    stage.settle();
    assert_eq!(stage.ids(subscriber), [(0, 3), (0, 4), (0, 5)]);
    let got = stage.got(subscriber);
    assert_eq!(got[0].reset, Some(ResetCode::Cancelled));
    assert!(got[1].fin);
    assert_eq!(stage.used(), 0);
}

#[test]
fn widening_a_range_brings_what_comes_not_what_was() {
    let mut stage = Stage::new();
    let subscriber = stage.subscriber(Draft::D18, &range(at(0, 0), 1));
    let later = stage.open(3, 0);
    stage.object(later, 0, b"was");
    stage.update(subscriber, &range(at(0, 0), 5));
    stage.object(later, 1, b"comes");
    stage.fin(later);
    stage.settle();
    assert_eq!(stage.ids(subscriber), [(3, 1)]);
    assert!(stage.done(subscriber).is_empty());
}

#[test]
fn what_comes_between_an_update_and_the_next_look_is_seen() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let stream = stage.open(0, 0);
    stage.object(stream, 0, b"x");
    stage.update(subscriber, &filtered(Filter::AbsoluteStart(at(0, 0))));
    stage.object(stream, 1, b"x");
    stage.settle();
    stage.object(stream, 2, b"x");
    stage.update(subscriber, &filtered(Filter::AbsoluteStart(at(0, 0))));
    stage.fin(stream);
    stage.settle();
    assert_eq!(stage.ids(subscriber).len(), 3);
    assert!(stage.got(subscriber)[0].fin);
}

#[test]
fn a_failed_update_ends_the_subscription() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let stream = stage.open(5, 0);
    stage.object(stream, 0, b"x");
    stage.settle();
    let refused = stage
        .fanout
        .update(stage.now, subscriber, REQUEST, &range(at(9, 0), 3))
        .unwrap_err();
    assert_eq!(refused.code, RequestCode::InvalidRange);
    stage.settle();
    assert_eq!(stage.done(subscriber), [DoneCode::UpdateFailed]);
    assert_eq!(stage.got(subscriber)[0].reset, Some(ResetCode::Cancelled));
}

#[test]
fn unsubscribing_resets_the_streams_and_frees_the_memory() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    stage.peer(subscriber).stalled = true;
    let streams = [stage.open(0, 0), stage.open(0, 1)];
    stage.object(streams[0], 0, &[1; 1000]);
    stage.object(streams[1], 1, &[1; 1000]);
    stage.settle();
    assert!(stage.used() > 2000);
    stage.fanout.unsubscribe(subscriber, REQUEST);
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got.len(), 2);
    assert!(
        got.iter()
            .all(|got| got.reset == Some(ResetCode::Cancelled)),
        "B209"
    );
    assert!(stage.done(subscriber).is_empty());
    assert_eq!(stage.used(), 0);
    assert!(stage.fanout.is_idle(stage.track));
    let track = stage.track;
    assert!(stage.notices().contains(&Notice::Subscribers(track)));
}

#[test]
fn a_lost_connection_is_forgotten() {
    let mut stage = Stage::new();
    let lost = stage.plain_subscriber();
    let other = stage.plain_subscriber();
    stage.peer(lost).stalled = true;
    let stream = stage.open(0, 0);
    stage.object(stream, 0, b"x");
    stage.settle();
    stage.object(stream, 1, b"x");
    stage.fanout.remove_connection(lost);
    stage.object(stream, 2, b"x");
    stage.settle();
    assert_eq!(stage.ids(other).len(), 3);
    assert_eq!(stage.used(), 0);
    stage.fanout.unsubscribe(other, REQUEST);
    assert!(stage.fanout.is_idle(stage.track));
}

// Rules: B210
#[test]
fn a_track_that_ends_is_drained_first() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    stage.peer(subscriber).stalled = true;
    stage.group(0, 3);
    let open = stage.open(1, 0);
    stage.object(open, 0, b"whole");
    stage.begin(open, 1, 100);
    stage.settle();
    let track = stage.track;
    stage
        .fanout
        .close_track(stage.now, track, DoneCode::TrackEnded, "over");
    stage.settle();
    assert!(stage.done(subscriber).is_empty(), "B210");
    assert_eq!(stage.try_object(open, 2, b"x"), Err(Fault::Gone));
    stage.peer(subscriber).stalled = false;
    stage.settle();
    assert_eq!(stage.done(subscriber), [DoneCode::TrackEnded]);
    assert_eq!(stage.peers[&subscriber].done[0].2, "over");
    let got = stage.got(subscriber);
    assert!(got[0].fin && got[0].objects.len() == 3);
    assert_eq!(got[1].objects, [(0, b"whole".to_vec())]);
    assert!(got[1].reset.is_some());
    assert_eq!(stage.used(), 0);
    assert!(stage.fanout.properties(track).is_none(), "forgotten");
}

#[test]
fn a_subscriber_that_does_not_take_the_rest_is_cut_off() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    stage.peer(subscriber).stalled = true;
    stage.group(0, 3);
    stage.settle();
    let track = stage.track;
    stage
        .fanout
        .close_track(stage.now, track, DoneCode::TrackEnded, "over");
    stage.pass(Duration::from_secs(9));
    assert!(stage.done(subscriber).is_empty());
    stage.pass(Duration::from_secs(2));
    assert_eq!(stage.done(subscriber), [DoneCode::TrackEnded]);
    assert_eq!(stage.used(), 0);
}

#[test]
fn the_end_of_a_track_without_streams_is_told_at_once() {
    let mut stage = Stage::new();
    let subscriber = stage.subscriber(Draft::D18, &forward(false));
    let track = stage.track;
    stage
        .fanout
        .close_track(stage.now, track, DoneCode::TrackEnded, "");
    stage.settle();
    assert_eq!(stage.done(subscriber), [DoneCode::TrackEnded]);
    let late = stage.try_subscriber(Draft::D18, &Parameters::default());
    assert_eq!(late, Err(RequestCode::DoesNotExist));
}

// Rules: B347, B348
#[test]
fn late_objects_are_reset_by_the_object_timeout() {
    let with = |ms| Parameters {
        object_delivery_timeout: Some(Millis(ms)),
        ..Parameters::default()
    };
    let mut stage = Stage::with_track(Limits::default(), properties(Draft::D18, &[(0x02, 300)]));
    let sooner = stage.subscriber(Draft::D18, &with(100));
    let publishers = stage.subscriber(Draft::D18, &with(0));
    for subscriber in [sooner, publishers] {
        stage.peer(subscriber).stalled = true;
    }
    let stream = stage.open(0, 0);
    stage.object(stream, 0, b"x");
    stage.settle();
    stage.pass(Duration::from_millis(101));
    let code = |stage: &Stage, subscriber| stage.got(subscriber)[0].reset;
    assert_eq!(
        code(&stage, sooner),
        Some(ResetCode::DeliveryTimeout),
        "B347"
    );
    assert_eq!(code(&stage, publishers), None);
    stage.pass(Duration::from_millis(200));
    assert_eq!(code(&stage, publishers), Some(ResetCode::DeliveryTimeout));
    stage.peer(sooner).stalled = false;
    stage.object(stream, 1, b"x");
    stage.settle();
    assert_eq!(stage.got(sooner).len(), 1, "B348: not opened again");
    stage.group(1, 1);
    stage.settle();
    assert_eq!(stage.ids(sooner), [(1, 0)]);
}

// Rules: B351
#[test]
fn an_expired_object_is_not_offered_even_before_the_timer() {
    let parameters = Parameters {
        object_delivery_timeout: Some(Millis(100)),
        ..Parameters::default()
    };
    let mut stage = Stage::new();
    let subscriber = stage.subscriber(Draft::D18, &parameters);
    stage.peer(subscriber).stalled = true;
    let stream = stage.open(0, 0);
    stage.object(stream, 0, b"x");
    stage.settle();
    stage.now = stage.now + Duration::from_millis(150);
    stage.peer(subscriber).stalled = false;
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got[0].objects, [], "B351");
    assert_eq!(got[0].reset, Some(ResetCode::DeliveryTimeout));
}

// Rules: B348 (18), B354
#[test]
fn a_subgroup_that_is_not_sent_in_time_is_reset() {
    let parameters = Parameters {
        subgroup_delivery_timeout: Some(Millis(100)),
        ..Parameters::default()
    };
    let mut stage = Stage::new();
    let subscriber = stage.subscriber(Draft::D18, &parameters);
    stage.peer(subscriber).stalled = true;
    let growing = stage.open(0, 0);
    stage.object(growing, 0, b"x");
    stage.group(1, 1);
    stage.settle();
    let complete = BTreeSet::from([StreamId::local(1)]);
    assert_eq!(stage.peers[&subscriber].complete, complete, "B354");
    stage.pass(Duration::from_millis(200));
    let got = stage.got(subscriber);
    assert_eq!(got[0].reset, None, "its end is not known");
    assert_eq!(got[1].reset, Some(ResetCode::DeliveryTimeout));
    stage.fin(growing);
    stage.settle();
    assert_eq!(stage.peers[&subscriber].complete.len(), 2);
    let sent = StreamId::local(0);
    stage.peer(subscriber).wires.get_mut(&sent).unwrap().reset = Some(ResetCode::DeliveryTimeout);
    stage.fanout.stream_expired(subscriber, sent);
    stage.settle();
    assert_eq!(stage.got(subscriber).len(), 2, "B348");
    assert_eq!(stage.used(), 0);
}

// Rules: B350
#[test]
fn the_session_is_told_when_an_object_began() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    stage.peer(subscriber).stalled = true;
    let stream = stage.open(0, 0);
    stage.begin(stream, 0, 2);
    stage.settle();
    stage.now = stage.now + Duration::from_millis(5);
    let began = stage.now;
    stage.payload(stream, b"x");
    stage.now = stage.now + Duration::from_millis(5);
    stage.payload(stream, b"y");
    stage.settle();
    let mut source = stage.fanout.source(subscriber);
    assert_eq!(source.object_began(StreamId::local(0)), Some(began), "B350");
    assert_eq!(source.object_began(StreamId::local(1)), None);
}

// Rules: B346, B350
#[test]
fn the_time_for_an_object_counts_from_its_header_in_16_and_from_its_payload_in_18() {
    let parameters = Parameters {
        object_delivery_timeout: Some(Millis(100)),
        ..Parameters::default()
    };
    for (draft, counts_from_header) in [(Draft::D16, true), (Draft::D18, false)] {
        let mut stage = Stage::new();
        let subscriber = stage.subscriber(draft, &parameters);
        stage.peer(subscriber).stalled = true;
        let stream = stage.open(0, 0);
        stage.begin(stream, 0, 1);
        stage.pass(Duration::from_millis(80));
        stage.payload(stream, b"x");
        stage.settle();
        stage.pass(Duration::from_millis(30));
        let late = Some(ResetCode::DeliveryTimeout);
        let expected = if counts_from_header { late } else { None };
        assert_eq!(stage.got(subscriber)[0].reset, expected, "{draft:?}");
        stage.pass(Duration::from_millis(80));
        assert_eq!(stage.got(subscriber)[0].reset, late, "{draft:?}");
    }
}

// Rules: B356
#[test]
fn objects_older_than_their_cache_duration_are_not_begun() {
    let mut stage = Stage::with_track(Limits::default(), properties(Draft::D18, &[(0x04, 1000)]));
    let subscriber = stage.plain_subscriber();
    stage.peer(subscriber).stalled = true;
    stage.group(0, 1);
    stage.settle();
    stage.pass(Duration::from_millis(999));
    assert_eq!(stage.got(subscriber)[0].reset, None);
    stage.pass(Duration::from_millis(1));
    assert_eq!(
        stage.got(subscriber)[0].reset,
        Some(ResetCode::DeliveryTimeout),
        "B356"
    );
}
