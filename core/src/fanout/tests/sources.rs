//! Several sources of one track, and sources that break rules.

use super::*;

const OTHER: SourceId = SourceId(2);

#[test]
fn an_object_from_two_sources_is_delivered_once() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let one = stage.open(0, 0);
    let two = stage.open_from(OTHER, header(0, 0));
    for id in 0..5 {
        let (first, second) = if id % 2 == 0 { (one, two) } else { (two, one) };
        stage.object(first, id, b"same");
        stage.settle();
        stage.object(second, id, b"same");
        stage.settle();
    }
    stage.fin(one);
    stage.settle();
    stage.fin(two);
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got.len(), 1);
    assert!(got[0].fin);
    assert_eq!(
        stage.ids(subscriber),
        [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)]
    );
    assert_eq!(stage.used(), 0);
}

#[test]
fn a_slower_source_is_recognised_after_everything_was_forgotten() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    assert!(stage.fanout.add_source(stage.track, SOURCE));
    assert!(stage.fanout.add_source(stage.track, OTHER));
    stage.group(0, 5);
    stage.settle();
    assert_eq!(stage.used(), 0);
    let late = stage.open_from(OTHER, header(0, 0));
    for id in 0..5 {
        stage.object(late, id, &[7; 10]);
        stage.settle();
    }
    stage.fin(late);
    stage.settle();
    assert_eq!(stage.ids(subscriber).len(), 5);
    assert_eq!(stage.got(subscriber).len(), 1);
}

#[test]
fn an_object_that_comes_after_the_end_of_its_subgroup_does_not_end_it_again() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    assert!(stage.fanout.add_source(stage.track, SOURCE));
    for from in [3, 1] {
        let stream = stage.open(0, 1);
        for id in (from..8).step_by(2) {
            stage.object(stream, id, b"odd");
        }
        stage.settle();
        stage.fin(stream);
        stage.settle();
        assert_eq!(stage.used(), 0);
    }
    let got = stage.got(subscriber);
    assert_eq!(got.len(), 1, "{got:?}");
    assert!(got[0].fin);
    assert_eq!(stage.ids(subscriber), [(0, 3), (0, 5), (0, 7)]);
}

#[test]
fn a_stream_without_the_final_object_of_its_subgroup_is_reset() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    assert!(stage.fanout.add_source(stage.track, SOURCE));
    let one = stage.open(0, 1);
    for id in [3, 5, 7] {
        stage.object(one, id, b"odd");
    }
    stage.settle();
    stage.reset(one, ResetCode::InternalError);
    stage.settle();
    let two = stage.open(0, 1);
    for id in [1, 3, 5, 7] {
        stage.object(two, id, b"odd");
        stage.settle();
    }
    stage.fin(two);
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got.len(), 2, "{got:?}");
    assert_eq!(got[1].objects, [(1, b"odd".to_vec())]);
    assert!(!got[1].fin);
    assert_eq!(got[1].reset, Some(ResetCode::Cancelled));
    assert_eq!(stage.used(), 0);
}

#[test]
fn another_source_takes_over_in_the_middle_of_an_object() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let one = stage.open(0, 0);
    stage.begin(one, 0, 10);
    stage.payload(one, b"01234");
    let two = stage.open_from(OTHER, header(0, 0));
    stage.begin(two, 0, 10);
    stage.payload(two, b"012");
    stage.settle();
    stage.reset(one, ResetCode::InternalError);
    stage.settle();
    stage.payload(two, b"3456789");
    stage.object(two, 1, b"next");
    stage.fin(two);
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got.len(), 1, "{got:?}");
    assert_eq!(
        got[0].objects,
        [(0, b"0123456789".to_vec()), (1, b"next".to_vec())]
    );
    assert!(got[0].fin);
}

#[test]
fn the_faster_of_two_sources_sets_the_pace_within_an_object() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let one = stage.open(0, 0);
    let two = stage.open_from(OTHER, header(0, 0));
    stage.begin(one, 0, 10);
    stage.payload(one, b"0");
    stage.begin(two, 0, 10);
    stage.payload(two, b"012345");
    stage.settle();
    assert_eq!(stage.got(subscriber)[0].objects, [(0, b"012345".to_vec())]);
    stage.payload(one, b"12345678");
    stage.payload(two, b"6789");
    stage.settle();
    assert_eq!(
        stage.got(subscriber)[0].objects,
        [(0, b"0123456789".to_vec())]
    );
}

#[test]
fn a_source_that_comes_after_a_reset_goes_on_with_a_new_stream() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let one = stage.open(0, 0);
    stage.object(one, 0, b"a");
    stage.begin(one, 1, 10);
    stage.payload(one, b"01234");
    stage.settle();
    stage.reset(one, ResetCode::InternalError);
    stage.settle();
    let two = stage.open_from(OTHER, header(0, 0));
    stage.object(two, 0, b"a");
    stage.object(two, 1, b"0123456789");
    stage.object(two, 2, b"c");
    stage.fin(two);
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got.len(), 2);
    assert_eq!(got[0].reset, Some(ResetCode::InternalError));
    assert_eq!(
        got[1].objects,
        [(1, b"0123456789".to_vec()), (2, b"c".to_vec())]
    );
    assert!(got[1].fin);
}

#[test]
fn an_object_cut_off_while_another_source_is_ahead_is_left_out() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let one = stage.open(0, 0);
    stage.begin(one, 0, 10);
    stage.payload(one, b"01234");
    stage.settle();
    let two = stage.open_from(OTHER, header(0, 0));
    stage.object(two, 5, b"ahead");
    stage.reset(one, ResetCode::InternalError);
    stage.fin(two);
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got.len(), 2);
    assert!(got[0].reset.is_some() && got[0].cut);
    assert_eq!(got[1].objects, [(5, b"ahead".to_vec())]);
    assert!(got[1].fin);
    assert_eq!(stage.used(), 0);
}

#[test]
fn a_removed_source_resets_what_no_other_brings() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let one = stage.open(0, 0);
    stage.object(one, 0, b"a");
    let both = stage.open(1, 0);
    stage.object(both, 0, b"b");
    let two = stage.open_from(OTHER, header(1, 0));
    stage.object(two, 0, b"b");
    stage.settle();
    let track = stage.track;
    stage
        .fanout
        .remove_source(stage.now, track, SOURCE, ResetCode::InternalError);
    stage.object(two, 1, b"c");
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got[0].reset, Some(ResetCode::InternalError));
    assert_eq!(got[1].reset, None);
    assert_eq!(got[1].objects.len(), 2);
    assert_eq!(stage.try_object(one, 1, b"x"), Err(Fault::Gone));
}

#[test]
fn contradictions_between_sources_blame_the_older() {
    let older = Err(Fault::Contradiction {
        older: SOURCE,
        rule: "an object with two payloads",
    });
    let mut stage = Stage::new();
    let _subscriber = stage.plain_subscriber();
    let one = stage.open(0, 0);
    stage.object(one, 0, b"this");
    let two = stage.open_from(OTHER, header(0, 0));
    assert_eq!(stage.try_object(two, 0, b"that"), older);
}

#[test]
fn the_end_of_a_subgroup_holds_after_everybody_has_read_it() {
    let rule = "an object beyond the final one of its subgroup";
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    stage.group(0, 3);
    stage.settle();
    assert_eq!(stage.used(), 0);
    let again = stage.open(0, 0);
    let beyond = stage.try_object(again, 3, b"more");
    assert_eq!(beyond, Err(Fault::Malformed(rule)));
    let other = stage.open_from(OTHER, header(0, 0));
    let older = SOURCE;
    let beyond = stage.try_object(other, 3, b"more");
    assert_eq!(beyond, Err(Fault::Contradiction { older, rule }));
    stage.settle();
    assert_eq!(stage.ids(subscriber), [(0, 0), (0, 1), (0, 2)]);
    assert_eq!(stage.got(subscriber).len(), 1);
}

#[test]
fn sources_of_different_drafts_do_not_contradict_one_another_by_the_way_they_write() {
    let block = Value::Bytes(Bytes::from_static(&[0x04, 0x07]));
    let received = |draft: Draft, stage: &mut Stage, stream: IngestId| {
        let integers = draft.profile().integers;
        let properties = Properties::from_list(integers, [(0x0B, block.clone())]).unwrap();
        let written =
            stage
                .fanout
                .write_object(stage.now, stream, ObjectId(0), properties, b"same");
        assert_eq!(written, Ok(()), "{draft:?}");
    };
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let one = stage.open(0, 0);
    received(Draft::D18, &mut stage, one);
    let two = stage.open_from(OTHER, header(0, 0));
    received(Draft::D16, &mut stage, two);
    stage.settle();
    assert_eq!(stage.ids(subscriber), [(0, 0)]);
}

// Rules: B290
#[test]
fn a_source_that_contradicts_itself_makes_the_track_malformed() {
    let rule = |result: Result<(), Fault>| match result {
        Err(Fault::Malformed(rule)) => rule,
        other => panic!("{other:?}"),
    };
    type Play = fn(&mut Stage) -> Result<(), Fault>;
    let plays: [(&str, Play); 9] = [
        ("an object with two payloads", |stage| {
            let one = stage.open(0, 0);
            stage.object(one, 0, b"this");
            let two = stage.open(0, 0);
            stage.try_object(two, 0, b"that")
        }),
        ("an object received twice differently", |stage| {
            let one = stage.open(0, 0);
            stage.object(one, 0, b"this");
            let two = stage.open(0, 0);
            stage.try_object(two, 0, b"longer")
        }),
        ("an object in two subgroups", |stage| {
            let one = stage.open(0, 0);
            stage.object(one, 0, b"this");
            let two = stage.open(0, 1);
            stage.try_object(two, 0, b"this")
        }),
        ("an object beyond the final one of its subgroup", |stage| {
            let one = stage.open(0, 0);
            let two = stage.open(0, 0);
            stage.object(one, 0, b"last");
            stage.fin(one);
            stage.try_object(two, 1, b"after")
        }),
        ("a subgroup's end before its objects", |stage| {
            let one = stage.open(0, 0);
            let two = stage.open(0, 0);
            stage.object(one, 0, b"first");
            stage.object(one, 1, b"second");
            stage.object(two, 0, b"first");
            stage.fanout.end_subgroup(stage.now, two, StreamEnd::Fin)
        }),
        ("an object beyond the end of its group", |stage| {
            let ending = SubgroupHeader {
                end_of_group: true,
                ..header(0, 0)
            };
            let one = stage.open_from(SOURCE, ending);
            stage.object(one, 0, b"last");
            stage.fin(one);
            let two = stage.open(0, 1);
            stage.try_object(two, 1, b"after")
        }),
        ("an end of group before its objects", |stage| {
            let one = stage.open(0, 0);
            stage.object(one, 5, b"x");
            let two = stage.open(0, 1);
            stage.marker(two, 3, ObjectStatus::EndOfGroup)
        }),
        ("an object beyond the end of the track", |stage| {
            let one = stage.open(0, 0);
            stage.marker(one, 3, ObjectStatus::EndOfTrack).unwrap();
            let two = stage.open(1, 0);
            stage.try_object(two, 0, b"x")
        }),
        ("an object in a datagram and in a stream", |stage| {
            let one = stage.open(0, 0);
            stage.object(one, 3, b"x");
            let object = datagram(0, 3, b"x");
            stage
                .fanout
                .datagram(stage.now, stage.track, SOURCE, object)
        }),
    ];
    for (expected, play) in plays {
        let mut stage = Stage::new();
        let _subscriber = stage.plain_subscriber();
        assert_eq!(rule(play(&mut stage)), expected);
        stage.settle();
    }
}

// Rules: B290
#[test]
fn a_subgroup_with_two_priorities_is_malformed() {
    let mut stage = Stage::new();
    stage.open(0, 0);
    let other = SubgroupHeader {
        priority: Some(3),
        ..header(0, 0)
    };
    let result = stage
        .fanout
        .open_subgroup(stage.now, stage.track, SOURCE, other);
    assert_eq!(
        result,
        Err(Fault::Malformed("a subgroup with two priorities"))
    );
    let same = SubgroupHeader {
        priority: Some(128),
        ..header(0, 0)
    };
    stage.open_from(SOURCE, same);
}

#[test]
fn a_mandatory_track_property_on_an_object_is_malformed() {
    let mut stage = Stage::new();
    let stream = stage.open(0, 0);
    let list = properties(Draft::D18, &[(0x4000, 1)]);
    let result = stage
        .fanout
        .write_object(stage.now, stream, ObjectId(0), list, b"x");
    assert!(matches!(result, Err(Fault::Malformed(_))), "B047");
}

#[test]
fn a_malformed_track_ends_at_once_for_all() {
    let mut stage = Stage::new();
    let one = stage.plain_subscriber();
    let two = stage.plain_subscriber();
    stage.peer(two).stalled = true;
    let stream = stage.open(0, 0);
    stage.object(stream, 0, b"x");
    stage.settle();
    let track = stage.track;
    stage
        .fanout
        .close_track(stage.now, track, DoneCode::MalformedTrack, "two payloads");
    stage.settle();
    for subscriber in [one, two] {
        assert_eq!(stage.done(subscriber), [DoneCode::MalformedTrack], "B040");
        assert_eq!(
            stage.got(subscriber)[0].reset,
            Some(ResetCode::MalformedTrack)
        );
    }
    assert_eq!(stage.used(), 0);
    assert!(stage.fanout.is_idle(track));
}

#[test]
fn callers_mistakes_are_told_and_end_the_stream() {
    type Play = fn(&mut Stage, IngestId) -> Result<(), Fault>;
    let plays: [Play; 4] = [
        |stage, stream| stage.fanout.payload(stage.now, stream, b"x"),
        |stage, stream| {
            stage.begin(stream, 4, 2);
            stage.try_begin(stream, 5, 0)
        },
        |stage, stream| {
            stage.begin(stream, 4, 2);
            stage.fanout.payload(stage.now, stream, b"xyz")
        },
        |stage, stream| {
            stage.begin(stream, 4, 0);
            stage.try_begin(stream, 4, 0)
        },
    ];
    for play in plays {
        let mut stage = Stage::new();
        let stream = stage.open(0, 0);
        assert!(matches!(play(&mut stage, stream), Err(Fault::Misuse(_))));
        assert_eq!(stage.try_begin(stream, 9, 0), Err(Fault::Gone));
        stage.settle();
        assert_eq!(stage.used(), 0);
    }
}

#[test]
fn a_contradicting_stream_does_not_hold_the_subgroup() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let one = stage.open(0, 0);
    stage.object(one, 0, b"this");
    let two = stage.open_from(OTHER, header(0, 0));
    assert!(stage.try_object(two, 0, b"that").is_err());
    stage.settle();
    assert_eq!(stage.got(subscriber)[0].reset, None);
    let track = stage.track;
    stage
        .fanout
        .remove_source(stage.now, track, SOURCE, ResetCode::Cancelled);
    stage.settle();
    assert_eq!(stage.got(subscriber)[0].reset, Some(ResetCode::Cancelled));
    assert_eq!(stage.used(), 0);
}

#[test]
fn what_a_suspended_source_left_unfinished_goes_on_at_the_same_byte() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let one = stage.open(0, 0);
    stage.object(one, 0, b"a");
    stage.begin(one, 1, 10);
    stage.payload(one, b"01234");
    let track = stage.track;
    stage.fanout.suspend_source(track, SOURCE);
    stage.settle();
    assert_eq!(stage.got(subscriber)[0].reset, None);
    let at = |object| Location {
        group: GroupId(0),
        object: ObjectId(object),
    };
    assert!(!stage.fanout.is_cut(track, at(0)) && stage.fanout.is_cut(track, at(1)));
    assert_eq!(stage.try_object(one, 1, b"x"), Err(Fault::Gone));
    let two = stage.open_from(OTHER, header(0, 0));
    stage.object(two, 1, b"0123456789");
    stage.fin(two);
    stage.settle();
    assert!(!stage.fanout.is_cut(track, at(1)));
    let got = stage.got(subscriber);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].objects[1], (1, b"0123456789".to_vec()));
    assert!(got[0].fin);
    assert_eq!(stage.used(), 0);
}

#[test]
fn what_nobody_takes_up_after_a_suspended_source_is_reset_and_never_finished() {
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    for group in [0, 1] {
        let one = stage.open(group, 0);
        stage.object(one, 0, b"a");
    }
    let track = stage.track;
    stage.fanout.suspend_source(track, SOURCE);
    let two = stage.open_from(OTHER, header(1, 0));
    stage.settle();
    stage
        .fanout
        .end_suspended(stage.now, track, ResetCode::InternalError);
    stage.object(two, 1, b"b");
    stage.fin(two);
    stage.settle();
    let got = stage.got(subscriber);
    assert_eq!(got[0].reset, Some(ResetCode::InternalError));
    assert!(!got[0].fin && got[1].fin);
    assert_eq!(got[1].objects.len(), 2);
    assert_eq!(stage.used(), 0);
}

#[test]
fn whoever_contradicts_a_source_that_is_gone_is_not_blamed() {
    let older = Err(Fault::Contradiction {
        older: SOURCE,
        rule: "an object with two payloads",
    });
    let mut stage = Stage::new();
    let subscriber = stage.plain_subscriber();
    let one = stage.open(0, 0);
    stage.begin(one, 0, 4);
    stage.payload(one, b"thi");
    let track = stage.track;
    stage.fanout.suspend_source(track, SOURCE);
    let two = stage.open_from(OTHER, header(0, 0));
    assert_eq!(stage.try_object(two, 0, b"that"), older);
    drop(stage.got(subscriber));
}
