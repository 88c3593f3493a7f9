//! Every limit, reached.

use super::*;

// Rules: B379
#[test]
fn a_slow_subscriber_is_ended_and_nobody_else_notices() {
    let mut stage = Stage::with_limits(Limits {
        max_subscriber_lag: 100_000,
        ..Limits::default()
    });
    let slow = stage.plain_subscriber();
    let fast = stage.plain_subscriber();
    stage.peer(slow).stalled = true;
    for group in 0..20 {
        let stream = stage.open(group, 0);
        stage.object(stream, 0, &[1; 10_000]);
        stage.fin(stream);
        stage.settle();
        let lag = stage.fanout.lag(slow, REQUEST).unwrap_or(0);
        assert!(lag <= 100_000, "{lag}");
        assert_eq!(stage.fanout.lag(fast, REQUEST), Some(0));
    }
    assert_eq!(stage.done(slow), [DoneCode::TooFarBehind]);
    let codes: BTreeSet<_> = stage.got(slow).iter().map(|got| got.reset).collect();
    assert_eq!(codes, BTreeSet::from([Some(ResetCode::TooFarBehind)]));
    assert_eq!(stage.ids(fast).len(), 20);
    assert!(stage.done(fast).is_empty());
    assert_eq!(stage.used(), 0);
}

#[test]
fn lag_falls_as_bytes_are_taken() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    stage.peer(subscriber).stalled = true;
    let stream = stage.open(0, 0);
    stage.object(stream, 0, &[1; 1000]);
    stage.object(stream, 1, &[1; 1000]);
    stage.settle();
    let overhead = u64::from(super::super::OBJECT_OVERHEAD);
    assert_eq!(
        stage.fanout.lag(subscriber, REQUEST),
        Some(2 * (1000 + overhead))
    );
    stage.peer(subscriber).stalled = false;
    stage.settle();
    assert_eq!(stage.fanout.lag(subscriber, REQUEST), Some(0));
}

#[test]
fn with_the_skip_policy_whole_unsent_groups_are_left_out() {
    let mut stage = Stage::with_limits(Limits {
        max_subscriber_lag: 50_000,
        lag_policy: LagPolicy::Skip,
        ..Limits::default()
    });
    let slow = stage.plain_subscriber();
    stage.peer(slow).bite = 100;
    let first = stage.open(0, 0);
    stage.begin(first, 0, 5_000);
    stage.settle();
    stage.payload(first, &[1; 5_000]);
    stage.fin(first);
    stage.peer(slow).stalled = true;
    for group in 1..20 {
        let stream = stage.open(group, 0);
        stage.object(stream, 0, &[1; 10_000]);
        stage.fin(stream);
        stage.settle();
    }
    stage.peer(slow).stalled = false;
    stage.settle();
    assert!(stage.done(slow).is_empty());
    let ids = stage.ids(slow);
    assert_eq!(ids.first(), Some(&(0, 0)), "it was begun");
    assert_eq!(ids.last(), Some(&(19, 0)));
    assert!(ids.len() < 8, "{ids:?}");
    let skipped = stage.got(slow);
    assert!(
        skipped
            .iter()
            .all(|got| got.fin != (got.reset == Some(ResetCode::TooFarBehind)))
    );
}

#[test]
fn the_skip_policy_ends_what_skipping_cannot_help() {
    let mut stage = Stage::with_limits(Limits {
        max_subscriber_lag: 50_000,
        lag_policy: LagPolicy::Skip,
        ..Limits::default()
    });
    let slow = stage.plain_subscriber();
    stage.peer(slow).stalled = true;
    let stream = stage.open(0, 0);
    for id in 0..10 {
        stage.object(stream, id, &[1; 10_000]);
        stage.settle();
    }
    assert_eq!(stage.done(slow), [DoneCode::TooFarBehind]);
}

#[test]
fn a_publisher_that_never_ends_its_streams_loses_the_oldest() {
    let mut stage = Stage::with_limits(Limits {
        max_live_groups: 4,
        ..Limits::default()
    });
    let subscriber = stage.plain_subscriber();
    let streams: Vec<_> = (0..10)
        .map(|group| {
            let stream = stage.open(group, 0);
            stage.object(stream, 0, b"x");
            stage.settle();
            stream
        })
        .collect();
    assert_eq!(stage.ids(subscriber).len(), 10);
    assert!(stage.done(subscriber).is_empty());
    let stopped: Vec<_> = stage
        .notices()
        .into_iter()
        .filter_map(|notice| match notice {
            Notice::Stop { stream, code } => {
                assert_eq!(code, ResetCode::ExcessiveLoad);
                Some(stream)
            }
            Notice::Subscribers(_) | Notice::Ended { .. } => None,
        })
        .collect();
    assert_eq!(stopped, streams[..6]);
    assert_eq!(
        stage.got(subscriber)[0].reset,
        Some(ResetCode::ExcessiveLoad)
    );
    assert_eq!(stage.try_object(streams[0], 1, b"x"), Err(Fault::Gone));
    stage.object(streams[9], 1, b"x");
}

#[test]
fn a_subscriber_that_did_not_take_a_group_that_is_given_up_is_too_far_behind() {
    let mut stage = Stage::with_limits(Limits {
        max_live_groups: 4,
        ..Limits::default()
    });
    let slow = stage.plain_subscriber();
    let fast = stage.plain_subscriber();
    stage.peer(slow).stalled = true;
    for group in 0..5 {
        stage.group(group, 1);
        stage.settle();
    }
    assert_eq!(stage.done(slow), [DoneCode::TooFarBehind]);
    assert!(stage.done(fast).is_empty());
    assert_eq!(stage.used(), 0);
}

#[test]
fn one_subgroup_too_many_is_refused() {
    let mut stage = Stage::with_limits(Limits {
        max_subgroups_per_group: 3,
        ..Limits::default()
    });
    for subgroup in 0..3 {
        stage.open(0, subgroup);
    }
    let refused = Err(Fault::Stop(ResetCode::ExcessiveLoad));
    let track = stage.track;
    let now = stage.now;
    assert_eq!(
        stage.fanout.open_subgroup(now, track, SOURCE, header(0, 3)),
        refused
    );
    stage.open(0, 2);
    stage.open(1, 0);
}

#[test]
fn one_stream_too_many_for_a_subgroup_is_refused() {
    let mut stage = Stage::with_limits(Limits {
        max_streams_per_subgroup: 2,
        ..Limits::default()
    });
    stage.open(0, 0);
    let second = stage.open(0, 0);
    let track = stage.track;
    let now = stage.now;
    assert_eq!(
        stage.fanout.open_subgroup(now, track, SOURCE, header(0, 0)),
        Err(Fault::Stop(ResetCode::ExcessiveLoad))
    );
    stage.fin(second);
    stage.open(0, 0);
}

#[test]
fn one_object_too_many_gives_the_subgroup_up() {
    let mut stage = Stage::with_limits(Limits {
        max_objects_per_subgroup: 5,
        ..Limits::default()
    });
    let slow = stage.plain_subscriber();
    stage.peer(slow).stalled = true;
    let stream = stage.open(0, 0);
    for id in 0..5 {
        stage.object(stream, id, b"x");
        stage.settle();
    }
    assert_eq!(
        stage.try_object(stream, 5, b"x"),
        Err(Fault::Stop(ResetCode::ExcessiveLoad))
    );
    stage.peer(slow).stalled = false;
    stage.settle();
    assert_eq!(stage.ids(slow).len(), 5);
    assert_eq!(stage.got(slow)[0].reset, Some(ResetCode::ExcessiveLoad));
    assert_eq!(stage.used(), 0);
}

#[test]
fn sources_tracks_and_subscriptions_are_bounded() {
    let mut stage = Stage::with_limits(Limits {
        max_sources_per_track: 2,
        max_tracks: 2,
        max_subscriptions: 2,
        ..Limits::default()
    });
    let track = stage.track;
    assert!(stage.fanout.add_source(track, SourceId(1)));
    assert!(stage.fanout.add_source(track, SourceId(2)));
    assert!(!stage.fanout.add_source(track, SourceId(3)));
    let now = stage.now;
    let third = stage
        .fanout
        .open_subgroup(now, track, SourceId(3), header(0, 0));
    assert_eq!(third, Err(Fault::Stop(ResetCode::ExcessiveLoad)));
    let mut open = || {
        stage
            .fanout
            .open_track(Draft::D18, Properties::default(), None)
    };
    assert!(open().is_some());
    assert!(open().is_none());
    stage.plain_subscriber();
    stage.plain_subscriber();
    let third = stage.try_subscriber(Draft::D18, &Parameters::default());
    assert_eq!(third, Err(RequestCode::ExcessiveLoad));
}

#[test]
fn datagrams_are_bounded_by_dropping_the_oldest() {
    let mut stage = Stage::with_limits(Limits {
        max_datagrams_per_track: 4,
        ..Limits::default()
    });
    let subscriber = stage.plain_subscriber();
    for id in 0..10 {
        let object = datagram(0, id, b"x");
        stage
            .fanout
            .datagram(stage.now, stage.track, SOURCE, object)
            .unwrap();
    }
    stage.settle();
    let ids: Vec<_> = stage.peers[&subscriber]
        .datagram_objects()
        .iter()
        .map(|object| object.location.object.0)
        .collect();
    assert_eq!(ids, [6, 7, 8, 9]);
}

#[test]
fn groups_are_remembered_only_so_long() {
    let mut stage = Stage::with_limits(Limits {
        remembered_groups: 3,
        ..Limits::default()
    });
    for group in 0..100 {
        stage.group(group, 1);
        stage.settle();
    }
    let remembered: Vec<_> = stage.fanout.tracks[&stage.track]
        .groups
        .keys()
        .map(|group| group.0)
        .collect();
    assert_eq!(remembered, [97, 98, 99]);
}

#[test]
fn full_memory_ends_the_slowest_subscription_and_the_subgroup_that_did_not_fit() {
    let mut stage = Stage::new();
    stage.fanout.ledger = Ledger::new(100_000);
    let slow = stage.plain_subscriber();
    let fast = stage.plain_subscriber();
    stage.peer(slow).stalled = true;
    let first = stage.open(0, 0);
    stage.object(first, 0, &[1; 60_000]);
    stage.fin(first);
    stage.settle();
    let second = stage.open(1, 0);
    assert_eq!(
        stage.try_object(second, 0, &[1; 60_000]),
        Err(Fault::Stop(ResetCode::ExcessiveLoad))
    );
    stage.settle();
    assert!(stage.used() <= 100_000);
    assert_eq!(stage.done(slow), [DoneCode::TooFarBehind]);
    assert!(stage.done(fast).is_empty());
    let third = stage.open(2, 0);
    stage.object(third, 0, &[1; 60_000]);
    stage.settle();
    assert_eq!(stage.ids(fast).last(), Some(&(2, 0)));
}

/// Somebody else's objects without end fill the memory: that is not the fault of a subscriber to whom one more is on its way.
#[test]
fn full_memory_ends_nobody_who_keeps_up() {
    let mut stage = Stage::new();
    stage.fanout.ledger = Ledger::new(100_000);
    let subscriber = stage.plain_subscriber();
    stage.peer(subscriber).stalled = true;
    let small = stage.open(0, 0);
    stage.object(small, 0, &[1; 1000]);
    stage.settle();
    let rest = stage.fanout.ledger.charge(95_000).unwrap();
    let large = stage.open(1, 0);
    assert_eq!(
        stage.try_object(large, 0, &[1; 60_000]),
        Err(Fault::Stop(ResetCode::ExcessiveLoad))
    );
    stage.settle();
    assert!(stage.done(subscriber).is_empty());
    drop(rest);
    stage.peer(subscriber).stalled = false;
    stage.object(small, 1, &[1; 1000]);
    stage.settle();
    assert_eq!(stage.ids(subscriber), [(0, 0), (0, 1)]);
}

#[test]
fn notices_are_bounded() {
    let mut stage = Stage::with_limits(Limits {
        max_notices: 3,
        ..Limits::default()
    });
    for _ in 0..10 {
        stage.track = stage
            .fanout
            .open_track(Draft::D18, Properties::default(), None)
            .unwrap();
        stage.plain_subscriber();
    }
    assert_eq!(stage.notices().len(), 3);
}

#[test]
fn a_source_waits_once_every_subscriber_is_max_backlog_behind_and_until_one_is_half_of_it() {
    let mut stage = Stage::with_limits(Limits {
        max_backlog: 100_000,
        ..Limits::default()
    });
    let peers = [stage.plain_subscriber(), stage.plain_subscriber()];
    for peer in peers {
        stage.peer(peer).bite = 1_000;
    }
    stage.peer(peers[0]).stalled = true;
    let stream = stage.open(0, 0);
    for id in 0..12 {
        stage.object(stream, id, &[1; 10_000]);
        assert!(!stage.fanout.must_wait(stream), "one keeps up");
        stage.settle();
    }
    stage.peer(peers[1]).stalled = true;
    for id in 12..21 {
        stage.object(stream, id, &[1; 10_000]);
        assert!(!stage.fanout.must_wait(stream), "{id}");
        stage.settle();
    }
    let track = stage.track;
    assert!(stage.fanout.may_go_on(track) == (stage.fanout.backlog(track).least <= 50_000));
    stage.object(stream, 21, &[1; 10_000]);
    assert!(
        stage.fanout.must_wait(stream),
        "what came is counted at once"
    );
    stage.settle();
    assert!(stage.fanout.must_wait(stream));
    assert!(!stage.fanout.may_go_on(track));
    assert!(stage.fanout.backlog(track).least > 100_000);
    stage.peer(peers[1]).stalled = false;
    stage.settle();
    assert!(stage.fanout.may_go_on(track));
    let backlog = stage.fanout.backlog(track);
    assert_eq!(backlog.least, 0);
    assert!(backlog.total > 200_000, "the other has it all before it");
    // With the last subscriber goes the reason to wait.
    stage.fanout.remove_connection(peers[1]);
    assert!(!stage.fanout.may_go_on(track));
    stage.fanout.end_stalled(stage.now, track);
    stage.settle();
    assert!(stage.fanout.may_go_on(track));
    assert_eq!(stage.done(peers[0]), [DoneCode::TooFarBehind]);
}

#[test]
fn max_backlog_under_pressure_counts_when_seven_eighths_of_memory_are_used() {
    let mut stage = Stage::with_limits(Limits {
        max_backlog_under_pressure: 20_000,
        ..Limits::default()
    });
    stage.fanout.ledger = Ledger::new(100_000);
    let other = stage.fanout.ledger.charge(65_000).unwrap();
    let subscriber = stage.plain_subscriber();
    stage.peer(subscriber).stalled = true;
    let stream = stage.open(0, 0);
    stage.object(stream, 0, &[1; 12_000]);
    assert!(!stage.fanout.is_pressed() && !stage.fanout.must_wait(stream));
    stage.settle();
    stage.object(stream, 1, &[1; 12_000]);
    assert!(stage.fanout.is_pressed() && stage.fanout.must_wait(stream));
    stage.settle();
    assert!(!stage.fanout.may_go_on(stage.track));
    drop(other);
    assert!(stage.fanout.may_go_on(stage.track));
    assert!(!stage.fanout.must_wait(stream));
}

#[test]
fn under_pressure_only_whoever_is_behind_others_is_ended() {
    let mut stage = Stage::with_limits(Limits {
        max_backlog_under_pressure: 20_000,
        ..Limits::default()
    });
    stage.fanout.ledger = Ledger::new(100_000);
    let slow = stage.plain_subscriber();
    let fast = stage.plain_subscriber();
    stage.peer(slow).stalled = true;
    stage.peer(fast).stalled = true;
    let stream = stage.open(0, 0);
    stage.object(stream, 0, &[1; 90_000]);
    stage.settle();
    assert!(stage.fanout.is_pressed());
    stage.fanout.relieve_pressure(stage.now);
    stage.settle();
    assert!(stage.done(slow).is_empty() && stage.done(fast).is_empty());
    stage.peer(fast).stalled = false;
    stage.now = stage.now + Duration::from_millis(1);
    stage.settle();
    stage.fanout.relieve_pressure(stage.now);
    stage.settle();
    assert_eq!(stage.done(slow), [DoneCode::TooFarBehind]);
    assert!(stage.done(fast).is_empty());
    assert!(!stage.fanout.is_pressed());
}

#[test]
fn a_subgroup_of_many_objects_is_not_given_up_for_one_who_does_not_take_them() {
    let mut stage = Stage::with_limits(Limits {
        max_objects_per_subgroup: 40,
        ..Limits::default()
    });
    let slow = stage.plain_subscriber();
    let fast = stage.plain_subscriber();
    stage.peer(slow).stalled = true;
    let stream = stage.open(0, 0);
    for id in 0..200 {
        stage.object(stream, id, b"x");
        stage.settle();
    }
    assert_eq!(stage.done(slow), [DoneCode::TooFarBehind]);
    assert_eq!(stage.ids(fast).len(), 200);
    // Nor for all of them, if the source waits.
    stage.peer(fast).stalled = true;
    let most = (200..).find(|id| {
        stage.object(stream, *id, b"x");
        stage.settle();
        stage.fanout.must_wait(stream)
    });
    assert!(most < Some(240), "{most:?}");
    assert!(!stage.fanout.may_go_on(stage.track));
    stage.peer(fast).stalled = false;
    stage.settle();
    assert!(stage.fanout.may_go_on(stage.track));
    stage.fin(stream);
    stage.settle();
    assert!(stage.done(fast).is_empty());
    assert!(stage.got(fast)[0].fin);
}

#[test]
fn groups_are_not_given_up_if_the_source_waits() {
    let mut stage = Stage::with_limits(Limits {
        max_live_groups: 16,
        ..Limits::default()
    });
    let subscriber = stage.plain_subscriber();
    stage.peer(subscriber).stalled = true;
    let most = (0..).find(|group| {
        let stream = stage.open(*group, 0);
        for id in 0..4 {
            stage.object(stream, id, &[1; 200]);
        }
        stage.settle();
        let waits = stage.fanout.must_wait(stream);
        stage.fin(stream);
        stage.settle();
        waits
    });
    assert_eq!(most, Some(11));
    assert!(!stage.fanout.may_go_on(stage.track));
    stage.peer(subscriber).stalled = false;
    stage.settle();
    assert!(stage.fanout.may_go_on(stage.track));
    assert_eq!(stage.ids(subscriber).len(), 48);
}

#[test]
fn max_ranges_per_group_makes_the_lowest_gap_count_as_received() {
    let mut stage = Stage::with_limits(Limits {
        max_ranges_per_group: 2,
        ..Limits::default()
    });
    let subscriber = stage.plain_subscriber();
    for id in [0, 2, 4, 6, 1, 5] {
        let object = datagram(0, id, b"x");
        stage
            .fanout
            .datagram(stage.now, stage.track, SOURCE, object)
            .unwrap();
        stage.settle();
    }
    let ids: Vec<_> = stage.peers[&subscriber]
        .datagram_objects()
        .iter()
        .map(|object| object.location.object.0)
        .collect();
    assert_eq!(ids, [0, 2, 4, 6, 5], "1 lies in a gap that was given up");
}

#[test]
fn range_end_linger_and_drain_timeout_are_how_long_ends_are_waited_for() {
    let mut stage = Stage::with_limits(Limits {
        range_end_linger: Duration::from_secs(3),
        drain_timeout: Duration::from_secs(5),
        ..Limits::default()
    });
    let range = Filter::AbsoluteRange {
        start: Location {
            group: GroupId(0),
            object: ObjectId(0),
        },
        end_group: GroupId(0),
    };
    let first = stage.subscriber(
        Draft::D18,
        &Parameters {
            filter: Some(range),
            ..Parameters::default()
        },
    );
    let stalled = stage.plain_subscriber();
    stage.peer(stalled).stalled = true;
    stage.group(1, 1);
    stage.settle();
    stage.pass(Duration::from_millis(2_900));
    assert!(stage.done(first).is_empty());
    stage.pass(Duration::from_millis(200));
    assert_eq!(stage.done(first), [DoneCode::SubscriptionEnded]);
    let track = stage.track;
    stage
        .fanout
        .close_track(stage.now, track, DoneCode::TrackEnded, "over");
    stage.settle();
    stage.pass(Duration::from_millis(4_900));
    assert!(stage.done(stalled).is_empty());
    stage.pass(Duration::from_millis(200));
    assert_eq!(stage.done(stalled), [DoneCode::TrackEnded]);
    assert_eq!(stage.used(), 0);
}

#[test]
fn the_ends_of_so_many_subgroups_of_a_group_are_remembered() {
    let mut stage = Stage::with_limits(Limits {
        remembered_finales: 2,
        ..Limits::default()
    });
    let _subscriber = stage.plain_subscriber();
    for subgroup in 0..3 {
        let stream = stage.open(0, subgroup);
        stage.object(stream, subgroup, b"last");
        stage.fin(stream);
        stage.settle();
    }
    for subgroup in 0..3 {
        let stream = stage.open(0, subgroup);
        let beyond = stage.try_object(stream, 10 + subgroup, b"more");
        assert_eq!(beyond.is_err(), subgroup > 0, "{subgroup}");
    }
}
