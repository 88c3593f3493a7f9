//! Every limit, reached.

use super::*;

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
