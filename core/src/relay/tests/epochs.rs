//! Publishers that vanish, come back, take over and start anew.

use std::time::Duration;

use super::*;

const GRACE: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(1);

/// A track on its way that has lost its publisher.
struct Orphan {
    subscriber: ConnectionId,
    down: RequestId,
}

impl Rig {
    /// A publisher of `live`/`v` that has sent group 5 with two objects is lost.
    fn orphan(&mut self, drafts: (Draft, Draft)) -> Orphan {
        let Running {
            publisher,
            up,
            subscriber,
            down,
        } = self.running(drafts);
        self.group(publisher, up, 5, 2);
        self.lose(publisher);
        assert_eq!(self.done(subscriber, down), None);
        Orphan { subscriber, down }
    }

    /// A publisher that is asked for the track and says that it has sent so much.
    fn successor(&mut self, draft: Draft, largest: Option<Location>) -> (ConnectionId, RequestId) {
        let publisher = self.publisher(draft);
        let up = self.only_asked(publisher);
        self.accept_with(publisher, up, largest, Properties::default());
        (publisher, up)
    }

    #[track_caller]
    fn assert_ended_anew(&self, orphan: &Orphan) {
        let code = self.done_code(orphan.subscriber, orphan.down);
        assert_eq!(code, DoneCode::TrackEnded);
    }
}

#[test]
fn subscribers_stay_while_a_publisher_may_come_back_and_go_on_with_one_that_is_not_behind() {
    for drafts in DRAFT_PAIRS {
        for largest in [at(5, 1), at(5, 7), at(6, 0)] {
            let mut rig = Rig::new();
            let orphan = rig.orphan(drafts);
            rig.pass(GRACE - MOMENT);
            assert_eq!(rig.done(orphan.subscriber, orphan.down), None);
            let (publisher, up) = rig.successor(drafts.0, Some(largest));
            rig.pass(GRACE);
            rig.group(publisher, up, 7, 1);
            let ids = rig.ids(orphan.subscriber, orphan.down);
            assert_eq!(ids, [(5, 0), (5, 1), (7, 0)]);
            assert_eq!(rig.done(orphan.subscriber, orphan.down), None);
            rig.end();
        }
    }
}

#[test]
fn when_no_publisher_comes_back_in_time_the_subscription_ends() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let orphan = rig.orphan(drafts);
        rig.pass(GRACE - MOMENT);
        assert_eq!(rig.done(orphan.subscriber, orphan.down), None);
        rig.pass(MOMENT);
        let code = rig.done_code(orphan.subscriber, orphan.down);
        assert_eq!(code, DoneCode::InternalError);
        assert!(rig.relay.tracks.is_empty());
        rig.end();
    }
}

#[test]
fn a_grace_is_as_long_as_its_limit_says_and_none_if_that_is_zero() {
    let mut rig = Rig::with(limits(|limits| limits.publisher_grace = Duration::ZERO));
    let running = rig.running((Draft::D18, Draft::D18));
    rig.lose(running.publisher);
    rig.pass(Duration::ZERO);
    assert!(rig.done(running.subscriber, running.down).is_some());
    rig.end();
}

#[test]
fn nobody_waits_for_the_publisher_of_a_track_that_nobody_wants() {
    let mut rig = Rig::new();
    let orphan = rig.orphan((Draft::D18, Draft::D18));
    rig.cancel(orphan.subscriber, orphan.down);
    assert!(rig.relay.tracks.is_empty());
    rig.end();
}

#[test]
fn a_source_whose_largest_is_behind_starts_a_new_epoch() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let orphan = rig.orphan(drafts);
        let (publisher, up) = rig.successor(drafts.0, Some(at(0, 3)));
        rig.assert_ended_anew(&orphan);
        let down = rig.subscribe(orphan.subscriber, "v");
        let ok = rig.ok(orphan.subscriber, down);
        assert_eq!(ok.parameters.largest_object, Some(at(0, 3)));
        rig.only_asked(publisher);
        rig.group(publisher, up, 1, 2);
        assert_eq!(rig.ids(orphan.subscriber, down), [(1, 0), (1, 1)]);
        rig.end();
    }
}

#[test]
fn a_source_without_largest_is_judged_by_its_first_object() {
    for drafts in DRAFT_PAIRS {
        // Beyond what we have, or the same place and before it.
        for (first, continues) in [
            ((6, 0), true),
            ((5, 2), true),
            ((5, 1), false),
            ((0, 0), false),
        ] {
            let mut rig = Rig::new();
            let orphan = rig.orphan(drafts);
            let (publisher, up) = rig.successor(drafts.0, None);
            let mut feed = rig.open(publisher, up, header(first.0, 1));
            assert_eq!(rig.done(orphan.subscriber, orphan.down), None);
            rig.object(&mut feed, first.1, b"new");
            rig.fin(&feed);
            if continues {
                let ids = rig.ids(orphan.subscriber, orphan.down);
                assert_eq!(ids, [(5, 0), (5, 1), first]);
            } else {
                rig.assert_ended_anew(&orphan);
            }
            rig.end();
        }
    }
}

#[test]
fn a_source_without_largest_is_judged_by_its_first_datagram() {
    for drafts in DRAFT_PAIRS {
        for (first, continues) in [(6, true), (0, false)] {
            let mut rig = Rig::new();
            let orphan = rig.orphan(drafts);
            let (publisher, up) = rig.successor(drafts.0, None);
            rig.datagram(publisher, up, &in_datagram(first, 0, b"new"));
            if continues {
                assert_eq!(rig.datagrams(orphan.subscriber, orphan.down).len(), 1);
            } else {
                rig.assert_ended_anew(&orphan);
            }
            rig.end();
        }
    }
}

#[test]
fn those_who_subscribe_again_get_what_the_new_epoch_brings_also_on_streams_that_had_begun() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let orphan = rig.orphan(drafts);
        let (publisher, up) = rig.successor(drafts.0, None);
        let mut feeds = [header(0, 0), header(0, 1)].map(|header| rig.open(publisher, up, header));
        let [first, second] = &mut feeds;
        rig.object(first, 0, b"a");
        rig.assert_ended_anew(&orphan);
        let down = rig.subscribe(orphan.subscriber, "v");
        let largest = rig.ok(orphan.subscriber, down).parameters.largest_object;
        assert_eq!(largest, Some(at(0, 0)));
        rig.object(second, 1, b"b");
        rig.object(first, 2, b"c");
        for feed in &feeds {
            rig.fin(feed);
        }
        let mut ids = rig.ids(orphan.subscriber, down);
        ids.sort_unstable();
        assert_eq!(ids, [(0, 1), (0, 2)]);
        for got in rig.received(orphan.subscriber, down) {
            assert_eq!(got.end, Some(StreamEnd::Fin));
        }
        rig.end();
    }
}

#[test]
fn a_new_epoch_is_kept_for_those_who_subscribe_again_and_not_for_ever() {
    let mut rig = Rig::new();
    let orphan = rig.orphan((Draft::D18, Draft::D18));
    let (publisher, up) = rig.successor(Draft::D18, Some(at(0, 0)));
    rig.assert_ended_anew(&orphan);
    rig.pass(GRACE - MOMENT);
    assert!(!rig.withdrawn(publisher, up));
    rig.pass(MOMENT);
    assert!(rig.withdrawn(publisher, up));
    assert!(rig.relay.tracks.is_empty());
    rig.end();
}

#[test]
fn an_object_cut_in_the_middle_goes_on_at_the_same_byte_when_its_publisher_is_back() {
    for drafts in DRAFT_PAIRS {
        for largest in [Some(at(1, 0)), None] {
            let mut rig = Rig::new();
            let running = rig.running(drafts);
            let mut feed = rig.open(running.publisher, running.up, header(1, 0));
            rig.begin(&mut feed, &object(0, 10));
            rig.send(&feed, b"0123");
            rig.lose(running.publisher);
            let (publisher, up) = rig.successor(drafts.0, largest);
            let mut feed = rig.open(publisher, up, header(1, 0));
            rig.object(&mut feed, 0, b"0123456789");
            rig.object(&mut feed, 1, b"next");
            rig.fin(&feed);
            let got = rig.received(running.subscriber, running.down);
            assert_eq!(got.len(), 1);
            assert_eq!(got[0].objects[0].1, b"0123456789");
            assert_eq!(got[0].objects[1].1, b"next");
            assert_eq!(got[0].end, Some(StreamEnd::Fin));
            rig.end();
        }
    }
}

#[test]
fn a_subgroup_that_was_cut_is_reset_when_nobody_brings_the_rest_in_time_and_never_finished() {
    for drafts in DRAFT_PAIRS {
        for comes_back in [false, true] {
            let mut rig = Rig::new();
            let running = rig.running(drafts);
            let mut feed = rig.open(running.publisher, running.up, header(1, 0));
            rig.object(&mut feed, 0, b"whole");
            rig.lose(running.publisher);
            if comes_back {
                let (publisher, up) = rig.successor(drafts.0, Some(at(1, 0)));
                rig.group(publisher, up, 2, 1);
            }
            rig.pass(GRACE - MOMENT);
            let got = rig.received(running.subscriber, running.down);
            assert_eq!(got[0].end, None);
            rig.pass(MOMENT);
            let got = rig.received(running.subscriber, running.down);
            assert_eq!(got[0].end, Some(StreamEnd::Reset(ResetCode::InternalError)));
            let done = rig.done(running.subscriber, running.down);
            assert_eq!(done.is_some(), !comes_back);
            rig.end();
        }
    }
}

#[test]
fn a_group_that_is_sent_again_from_its_start_is_not_delivered_twice() {
    for drafts in DRAFT_PAIRS {
        for was_whole in [false, true] {
            let mut rig = Rig::new();
            let running = rig.running(drafts);
            let mut feed = rig.open(running.publisher, running.up, header(5, 0));
            for id in 0..2 {
                rig.object(&mut feed, id, &[b'0' + u8::try_from(id).unwrap(); 3]);
            }
            if was_whole {
                rig.fin(&feed);
            }
            rig.lose(running.publisher);
            let (publisher, up) = rig.successor(drafts.0, Some(at(5, 1)));
            rig.group(publisher, up, 5, if was_whole { 2 } else { 3 });
            rig.group(publisher, up, 6, 1);
            let mut expected = vec![(5, 0), (5, 1)];
            expected.extend((!was_whole).then_some((5, 2)));
            expected.push((6, 0));
            assert_eq!(rig.ids(running.subscriber, running.down), expected);
            rig.end();
        }
    }
}

#[test]
fn whoever_subscribes_during_the_grace_waits_for_the_next_source() {
    for drafts in DRAFT_PAIRS {
        for largest in [at(5, 1), at(0, 0)] {
            let mut rig = Rig::new();
            let orphan = rig.orphan(drafts);
            let late = rig.connect(drafts.1);
            let down = rig.subscribe(late, "v");
            assert_eq!(rig.answer(late, down), None);
            rig.pass(GRACE / 2);
            let (publisher, up) = rig.successor(drafts.0, Some(largest));
            let ok = rig.ok(late, down);
            assert_eq!(ok.parameters.largest_object, Some(largest));
            rig.group(publisher, up, 6, 1);
            assert_eq!(rig.ids(late, down), [(6, 0)]);
            let is_over = rig.done(orphan.subscriber, orphan.down).is_some();
            assert_eq!(is_over, largest < at(5, 1));
            rig.end();
        }
    }
}

#[test]
fn whoever_subscribes_during_a_grace_that_passes_is_told_that_there_is_no_such_track() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let orphan = rig.orphan(drafts);
        rig.pass(GRACE / 2);
        let down = rig.connect(drafts.1);
        let late = rig.subscribe(down, "v");
        rig.pass(GRACE / 2);
        rig.assert_refused(down, late, RequestCode::DoesNotExist);
        assert!(rig.done(orphan.subscriber, orphan.down).is_some());
        rig.end();
    }
}

#[test]
fn a_subscription_that_is_ended_for_its_own_sake_is_made_again_at_the_same_publisher() {
    for drafts in DRAFT_PAIRS {
        for code in [DoneCode::Expired, DoneCode::TooFarBehind] {
            let mut rig = Rig::new();
            let running = rig.running(drafts);
            rig.group(running.publisher, running.up, 5, 2);
            rig.pass(Duration::from_secs(1));
            rig.done_with(running.publisher, running.up, code);
            let asked = rig.asked(running.publisher);
            assert_eq!(asked.len(), 2);
            let up = asked[1].0;
            let largest = Some(at(5, 1));
            rig.accept_with(running.publisher, up, largest, Properties::default());
            rig.pass(GRACE);
            rig.group(running.publisher, up, 6, 1);
            let ids = rig.ids(running.subscriber, running.down);
            assert_eq!(ids.last(), Some(&(6, 0)));
            assert_eq!(rig.done(running.subscriber, running.down), None);
            rig.end();
        }
    }
}

#[test]
fn a_publisher_that_ends_every_subscription_at_once_is_not_asked_in_a_circle() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        rig.done_with(running.publisher, running.up, DoneCode::Expired);
        rig.only_asked(running.publisher);
        rig.pass(GRACE);
        let code = rig.done_code(running.subscriber, running.down);
        assert_eq!(code, DoneCode::InternalError);
        rig.end();
    }
}

#[test]
fn an_encoder_that_starts_anew_while_its_old_session_lingers_takes_over_in_the_end() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        rig.group(running.publisher, running.up, 500, 2);
        let orphan = Orphan {
            subscriber: running.subscriber,
            down: running.down,
        };
        let (publisher, up) = rig.successor(drafts.0, None);
        rig.group(publisher, up, 0, 2);
        assert_eq!(rig.done(running.subscriber, running.down), None);
        rig.lose(running.publisher);
        rig.group(publisher, up, 1, 2);
        rig.pass(GRACE - MOMENT);
        assert_eq!(rig.done(running.subscriber, running.down), None);
        rig.pass(MOMENT);
        rig.assert_ended_anew(&orphan);
        let down = rig.subscribe(running.subscriber, "v");
        rig.group(publisher, up, 2, 1);
        assert_eq!(rig.ids(running.subscriber, down), [(2, 0)]);
        rig.end();
    }
}

#[test]
fn a_spare_encoder_that_lags_behind_the_one_that_dies_takes_over_unseen() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let (spare, up) = rig.successor(drafts.0, None);
        for group in 0..5 {
            rig.group(running.publisher, running.up, group, 2);
            if group > 1 {
                rig.group(spare, up, group - 2, 2);
            }
        }
        rig.lose(running.publisher);
        for group in 3..7 {
            rig.pass(GRACE / 4);
            rig.group(spare, up, group, 2);
        }
        rig.pass(GRACE);
        let expected: Vec<_> = (0..7).flat_map(|group| [(group, 0), (group, 1)]).collect();
        assert_eq!(rig.ids(running.subscriber, running.down), expected);
        assert_eq!(rig.done(running.subscriber, running.down), None);
        rig.end();
    }
}

/// What one of two publishers brought last was not at the other one yet when that said how far it is.
#[test]
fn a_publisher_that_comes_back_a_little_behind_one_that_stayed_does_not_end_the_track() {
    for drafts in DRAFT_PAIRS {
        for stayed_says in [None, Some(at(2, 1))] {
            let mut rig = Rig::new();
            let running = rig.running(drafts);
            rig.group(running.publisher, running.up, 2, 2);
            let (spare, up) = rig.successor(drafts.0, stayed_says);
            if stayed_says.is_none() {
                rig.group(spare, up, 2, 2);
            }
            rig.lose(running.publisher);
            rig.successor(drafts.0, Some(at(2, 0)));
            rig.group(spare, up, 3, 1);
            assert_eq!(rig.done(running.subscriber, running.down), None);
            let ids = rig.ids(running.subscriber, running.down);
            assert_eq!(ids, [(2, 0), (2, 1), (3, 0)]);
            rig.end();
        }
    }
}

#[test]
fn a_source_that_contradicts_one_that_is_gone_starts_a_new_epoch_and_nothing_of_it_is_lost() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        // Somebody who does not read keeps the old objects in memory.
        rig.far_mut(running.subscriber).deaf = true;
        rig.group(running.publisher, running.up, 0, 3);
        rig.lose(running.publisher);
        let (publisher, up) = rig.successor(drafts.0, Some(at(0, 2)));
        let mut feed = rig.open(publisher, up, header(0, 0));
        rig.object(&mut feed, 0, b"another length");
        rig.recover(running.subscriber);
        let orphan = Orphan {
            subscriber: running.subscriber,
            down: running.down,
        };
        rig.assert_ended_anew(&orphan);
        let down = rig.subscribe(running.subscriber, "v");
        let ok = rig.ok(running.subscriber, down);
        assert_eq!(ok.parameters.largest_object, Some(at(0, 0)));
        rig.object(&mut feed, 1, b"more");
        rig.fin(&feed);
        assert_eq!(rig.ids(running.subscriber, down), [(0, 1)]);
        rig.assert_alive(publisher);
        rig.end();
    }
}

#[test]
fn a_publisher_that_reconnects_again_and_again_keeps_its_subscribers() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let orphan = rig.orphan(drafts);
        for group in 6..20 {
            rig.pass(GRACE / 2);
            let (publisher, up) = rig.successor(drafts.0, Some(at(group - 1, 1)));
            rig.group(publisher, up, group, 2);
            rig.lose(publisher);
        }
        assert_eq!(rig.ids(orphan.subscriber, orphan.down).len(), 30);
        assert_eq!(rig.done(orphan.subscriber, orphan.down), None);
        rig.end();
    }
}

#[test]
fn an_ordinary_end_waits_for_the_answer_of_a_publisher_that_is_asked_already() {
    for drafts in DRAFT_PAIRS {
        for accepts in [true, false] {
            let mut rig = Rig::new();
            let running = rig.running(drafts);
            rig.group(running.publisher, running.up, 0, 1);
            let other = rig.publisher(drafts.0);
            let up = rig.only_asked(other);
            rig.done_with(running.publisher, running.up, DoneCode::TrackEnded);
            assert_eq!(rig.done(running.subscriber, running.down), None);
            if accepts {
                rig.accept_with(other, up, Some(at(0, 0)), Properties::default());
                rig.pass(GRACE);
                assert_eq!(rig.done(running.subscriber, running.down), None);
            } else {
                rig.refuse(other, up, RequestCode::DoesNotExist);
                let code = rig.done_code(running.subscriber, running.down);
                assert_eq!(code, DoneCode::TrackEnded);
            }
            rig.end();
        }
    }
}

#[test]
fn a_publisher_that_starts_over_when_it_is_subscribed_to_again_does_not_contradict_what_is_cached()
{
    for drafts in DRAFT_PAIRS {
        // It forgets to say how far it is, or it says that it begins.
        for largest in [None, Some(at(0, 0))] {
            let mut rig = Rig::new();
            let running = rig.running(drafts);
            rig.ended_group(running, 0, 2);
            rig.ended_group(running, 1, 1);
            rig.cancel(running.subscriber, running.down);
            let down = rig.subscribe(running.subscriber, "v");
            let (up, _) = rig.asked(running.publisher)[1];
            rig.accept_with(running.publisher, up, largest, Properties::default());
            assert_eq!(
                rig.ok(running.subscriber, down).parameters.largest_object,
                largest
            );
            rig.group(running.publisher, up, 0, 5);
            let expected = [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)];
            let ids = rig.ids(running.subscriber, down);
            assert_eq!(ids, expected[expected.len() - ids.len()..]);
            assert!(ids.len() >= 4, "{ids:?}");
            assert_eq!(rig.done(running.subscriber, down), None);
            rig.end();
        }
    }
}
