//! Publishers that refuse, say nothing, leave, contradict one another, or are several.

use std::time::Duration;

use super::*;

// Rules: B185
#[test]
fn a_publishers_refusal_is_passed_on() {
    let codes = [
        RequestCode::DoesNotExist,
        RequestCode::Unauthorized,
        RequestCode::NotSupported,
        RequestCode::InternalError,
    ];
    for drafts in DRAFT_PAIRS {
        for code in codes {
            let mut rig = Rig::new();
            let publisher = rig.publisher(drafts.0);
            let subscriber = rig.connect(drafts.1);
            let down = rig.subscribe(subscriber, "v");
            let up = rig.only_asked(publisher);
            rig.refuse(publisher, up, code);
            rig.assert_refused(subscriber, down, code);
            let refusal = rig.refusal(subscriber, down);
            assert_eq!(refusal.reason, "the publisher's words");
            rig.end();
        }
    }
}

#[test]
fn a_publisher_that_refuses_does_not_matter_while_another_may_accept() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publishers = [rig.publisher(drafts.0), rig.publisher(drafts.1)];
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        let ups = publishers.map(|publisher| rig.only_asked(publisher));
        rig.refuse(publishers[0], ups[0], RequestCode::DoesNotExist);
        assert_eq!(rig.answer(subscriber, down), None);
        rig.accept(publishers[1], ups[1]);
        rig.ok(subscriber, down);
        rig.end();
    }
}

impl Rig {
    /// A publisher sends the relay to another of its tracks.
    fn redirect(&mut self, publisher: ConnectionId, id: RequestId, to: FullTrackName) {
        let refusal = Refusal {
            redirect: Some(crate::wire::message::Redirect {
                uri: Bytes::new(),
                track: to,
            }),
            ..Refusal::new(RequestCode::Redirect, "elsewhere")
        };
        self.respond(publisher, id, Response::Error(refusal));
    }
}

// Rules: B181
#[test]
fn a_redirect_to_another_track_of_the_same_publisher_is_followed() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let publisher = rig.publisher(Draft::D18);
        let subscriber = rig.connect(draft);
        let down = rig.subscribe(subscriber, "v");
        let up = rig.only_asked(publisher);
        rig.redirect(publisher, up, track_in(&["other"], "w"));
        assert_eq!(rig.answer(subscriber, down), None);
        let (again, asked) = rig.asked(publisher).remove(1);
        assert_eq!(asked.track, track_in(&["other"], "w"));
        rig.accept(publisher, again);
        rig.ok(subscriber, down);
        rig.group(publisher, again, 0, 1);
        assert_eq!(rig.ids(subscriber, down), [(0, 0)]);
        rig.end();
    }
}

#[test]
fn redirects_are_followed_only_so_often_and_then_the_track_does_not_exist() {
    for draft in Draft::ALL {
        let mut rig = Rig::with(limits(|limits| limits.max_redirects = 2));
        let publisher = rig.publisher(Draft::D18);
        let subscriber = rig.connect(draft);
        let down = rig.subscribe(subscriber, "v");
        for (n, name) in ["w", "v", "w"].into_iter().enumerate() {
            assert_eq!(rig.answer(subscriber, down), None);
            let (up, _) = rig.asked(publisher)[n];
            rig.redirect(publisher, up, track(name));
        }
        assert_eq!(rig.asked(publisher).len(), 3);
        rig.assert_refused(subscriber, down, RequestCode::DoesNotExist);
        rig.end();
    }
}

#[test]
fn a_redirect_that_names_no_other_track_is_a_refusal() {
    let mut rig = Rig::new();
    let publisher = rig.publisher(Draft::D18);
    let subscriber = rig.connect(Draft::D18);
    let down = rig.subscribe(subscriber, "v");
    let up = rig.only_asked(publisher);
    rig.redirect(publisher, up, FullTrackName::default());
    rig.assert_refused(subscriber, down, RequestCode::DoesNotExist);
    rig.end();
}

#[test]
fn a_publisher_that_does_not_answer_in_time_is_given_up_with_timeout() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::with(limits(|limits| {
            limits.answer_timeout = Duration::from_secs(3);
        }));
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        let up = rig.only_asked(publisher);
        rig.pass(Duration::from_millis(2_999));
        assert_eq!(rig.answer(subscriber, down), None);
        assert!(!rig.withdrawn(publisher, up));
        rig.pass(Duration::from_millis(1));
        rig.assert_refused(subscriber, down, RequestCode::Timeout);
        assert!(rig.withdrawn(publisher, up));
        rig.assert_alive(publisher);
        rig.end();
    }
}

#[test]
fn a_second_publisher_that_does_not_answer_is_given_up_quietly() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publishers = [rig.publisher(drafts.0), rig.publisher(drafts.0)];
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        let ups = publishers.map(|publisher| rig.only_asked(publisher));
        rig.accept(publishers[1], ups[1]);
        rig.pass(Limits::default().answer_timeout);
        assert!(rig.withdrawn(publishers[0], ups[0]));
        rig.group(publishers[1], ups[1], 0, 1);
        assert_eq!(rig.ids(subscriber, down), [(0, 0)]);
        assert_eq!(rig.done(subscriber, down), None);
        rig.end();
    }
}

#[test]
fn a_publisher_that_leaves_before_it_answers_leaves_no_such_track() {
    for drafts in DRAFT_PAIRS {
        for abruptly in [false, true] {
            let mut rig = Rig::new();
            let publisher = rig.publisher(drafts.0);
            let subscriber = rig.connect(drafts.1);
            let down = rig.subscribe(subscriber, "v");
            if abruptly {
                rig.lose(publisher);
            } else {
                rig.leave(publisher);
            }
            rig.assert_refused(subscriber, down, RequestCode::DoesNotExist);
            rig.end();
        }
    }
}

#[test]
fn a_publisher_that_leaves_in_the_middle_of_an_object_ends_its_streams_and_the_subscription() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        rig.group(running.publisher, running.up, 0, 1);
        let mut feed = rig.open(running.publisher, running.up, header(1, 0));
        rig.object(&mut feed, 0, b"whole");
        rig.begin(&mut feed, &object(1, 10));
        rig.send(&feed, b"half");
        rig.lose(running.publisher);
        rig.pass(Limits::default().publisher_grace);
        let got = rig.received(running.subscriber, running.down);
        assert_eq!(got[0].end, Some(StreamEnd::Fin));
        assert_eq!(got[1].objects[0].1, b"whole");
        assert_eq!(got[1].objects[1].1, b"half");
        assert_eq!(got[1].end, Some(StreamEnd::Reset(ResetCode::InternalError)));
        let done = rig.done(running.subscriber, running.down).unwrap();
        assert_eq!(done.code, DoneCode::InternalError);
        assert_eq!(done.stream_count, Some(2));
        rig.assert_alive(running.subscriber);
        rig.end();
    }
}

// Rules: B226, B227
#[test]
fn b226_the_end_that_a_publisher_tells_is_passed_on_if_it_is_the_tracks() {
    let codes = [
        (DoneCode::TrackEnded, DoneCode::TrackEnded, true),
        (
            DoneCode::SubscriptionEnded,
            DoneCode::SubscriptionEnded,
            true,
        ),
        (DoneCode::ExcessiveLoad, DoneCode::ExcessiveLoad, true),
        (DoneCode::MalformedTrack, DoneCode::MalformedTrack, true),
        (DoneCode::Unauthorized, DoneCode::InternalError, true),
        (DoneCode::GoingAway, DoneCode::GoingAway, false),
        (DoneCode::InternalError, DoneCode::InternalError, false),
        (DoneCode::UpdateFailed, DoneCode::InternalError, false),
        (DoneCode::TooFarBehind, DoneCode::InternalError, false),
        (DoneCode::Expired, DoneCode::InternalError, false),
    ];
    for drafts in DRAFT_PAIRS {
        for (told, passed_on, at_once) in codes {
            if DoneCode::from_wire(drafts.0, told.to_wire(drafts.0)) != told {
                continue; // The publisher's draft cannot say that.
            }
            let mut rig = Rig::new();
            let running = rig.running(drafts);
            rig.group(running.publisher, running.up, 0, 2);
            rig.done_with(running.publisher, running.up, told);
            if !at_once {
                rig.pass(Limits::default().publisher_grace - Duration::from_millis(1));
                assert_eq!(rig.done(running.subscriber, running.down), None, "{told:?}");
                rig.pass(Duration::from_millis(1));
            }
            let done = rig.done(running.subscriber, running.down).unwrap();
            let draft = drafts.1;
            assert_eq!(
                done.code.to_wire(draft),
                passed_on.to_wire(draft),
                "{told:?}"
            );
            assert_eq!(done.stream_count, Some(1));
            assert_eq!(done.reason, "the publisher's words");
            assert_eq!(rig.ids(running.subscriber, running.down), [(0, 0), (0, 1)]);
            rig.end();
        }
    }
}

#[test]
fn after_the_end_of_a_track_a_new_subscriber_has_it_asked_for_again() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        rig.group(running.publisher, running.up, 0, 2);
        rig.done_with(running.publisher, running.up, DoneCode::TrackEnded);
        let down = rig.subscribe(running.subscriber, "v");
        let asked = rig.asked(running.publisher);
        assert_eq!(asked.len(), 2);
        rig.refuse(running.publisher, asked[1].0, RequestCode::DoesNotExist);
        rig.assert_refused(running.subscriber, down, RequestCode::DoesNotExist);
        rig.end();
    }
}

#[test]
fn data_that_overtakes_the_end_of_a_track_still_arrives_b225() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let mut feed = rig.open(running.publisher, running.up, header(0, 0));
        rig.object(&mut feed, 0, b"early");
        // PUBLISH_DONE waits for the stream on the publisher's side (B210).
        rig.done_with(running.publisher, running.up, DoneCode::TrackEnded);
        assert_eq!(rig.done(running.subscriber, running.down), None);
        rig.object(&mut feed, 1, b"late");
        rig.fin(&feed);
        assert_eq!(rig.ids(running.subscriber, running.down), [(0, 0), (0, 1)]);
        let code = rig.done_code(running.subscriber, running.down);
        assert_eq!(code, DoneCode::TrackEnded);
        rig.end();
    }
}

// Rules: B294, B295, B308
#[test]
fn b308_b294_b295_several_publishers_are_merged_without_duplicates() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publishers = [rig.publisher(drafts.0), rig.publisher(drafts.1)];
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        let ups = publishers.map(|publisher| rig.only_asked(publisher));
        for (publisher, up) in publishers.into_iter().zip(ups) {
            rig.accept(publisher, up);
        }
        for group in 0..3 {
            for (publisher, up) in publishers.into_iter().zip(ups) {
                rig.group(publisher, up, group, 2);
            }
        }
        let expected: Vec<_> = (0..3).flat_map(|group| [(group, 0), (group, 1)]).collect();
        assert_eq!(rig.ids(subscriber, down), expected);
        // One dies; the other goes on.
        rig.lose(publishers[0]);
        assert_eq!(rig.done(subscriber, down), None);
        rig.group(publishers[1], ups[1], 3, 1);
        assert_eq!(rig.ids(subscriber, down).last(), Some(&(3, 0)));
        rig.done_with(publishers[1], ups[1], DoneCode::TrackEnded);
        assert_eq!(rig.done_code(subscriber, down), DoneCode::TrackEnded);
        rig.end();
    }
}

#[test]
fn one_of_two_publishers_ends_the_track_and_the_other_goes_on() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publishers = [rig.publisher(drafts.0), rig.publisher(drafts.0)];
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        let ups = publishers.map(|publisher| rig.only_asked(publisher));
        for (publisher, up) in publishers.into_iter().zip(ups) {
            rig.accept(publisher, up);
        }
        rig.done_with(publishers[0], ups[0], DoneCode::TrackEnded);
        assert_eq!(rig.done(subscriber, down), None);
        rig.group(publishers[1], ups[1], 0, 1);
        assert_eq!(rig.ids(subscriber, down), [(0, 0)]);
        rig.end();
    }
}

#[test]
fn two_publishers_that_contradict_one_another_cost_the_older_one_its_subscription() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publishers = [rig.publisher(drafts.0), rig.publisher(drafts.0)];
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        let ups = publishers.map(|publisher| rig.only_asked(publisher));
        for (publisher, up) in publishers.into_iter().zip(ups) {
            rig.accept(publisher, up);
        }
        let mut old = rig.open(publishers[0], ups[0], header(0, 0));
        rig.begin(&mut old, &object(0, 9));
        rig.send(&old, b"one ");
        let mut new = rig.open(publishers[1], ups[1], header(0, 0));
        rig.begin(&mut new, &object(0, 20));
        assert!(rig.withdrawn(publishers[0], ups[0]));
        assert!(!rig.withdrawn(publishers[1], ups[1]));
        rig.assert_alive(publishers[0]);
        rig.group(publishers[1], ups[1], 1, 1);
        assert!(rig.ids(subscriber, down).contains(&(1, 0)));
        assert_eq!(rig.done(subscriber, down), None);
        rig.end();
    }
}

// Rules: B312
#[test]
fn b312_a_new_announcement_is_asked_for_what_is_wanted() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let other = rig.connect(drafts.0);
        rig.announce(other, &["lively"]);
        assert_eq!(rig.asked(other), []);
        rig.announce(other, &["live"]);
        let (up, asked) = rig.asked(other).remove(0);
        assert_eq!(asked.track, track("v"));
        assert_eq!(asked.parameters.forward, Some(true));
        rig.accept(other, up);
        rig.lose(running.publisher);
        rig.group(other, up, 5, 1);
        assert_eq!(rig.ids(running.subscriber, running.down), [(5, 0)]);
        rig.end();
    }
}

#[test]
fn b312_an_announcement_above_the_tracks_namespace_counts_too() {
    let mut rig = Rig::new();
    rig.running((Draft::D18, Draft::D18));
    let other = rig.connect(Draft::D18);
    rig.announce(other, &[]);
    rig.only_asked(other);
    rig.end();
}

#[test]
fn one_publisher_with_two_matching_announcements_is_asked_once() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let publisher = rig.connect(draft);
        rig.announce(publisher, &["live"]);
        rig.announce(publisher, &["live", "more"]);
        let subscriber = rig.connect(draft);
        let track = track_in(&["live", "more"], "v");
        rig.subscribe_to(subscriber, track, Parameters::default());
        rig.only_asked(publisher);
        rig.end();
    }
}

#[test]
fn an_announcement_that_is_withdrawn_leaves_running_subscriptions_alone() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.connect(drafts.0);
        let announcement = rig.announce(publisher, &["live"]);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        let up = rig.only_asked(publisher);
        rig.accept(publisher, up);
        rig.cancel(publisher, announcement);
        rig.group(publisher, up, 0, 1);
        assert_eq!(rig.ids(subscriber, down), [(0, 0)]);
        let other = rig.subscribe(subscriber, "w");
        rig.assert_refused(subscriber, other, RequestCode::DoesNotExist);
        rig.end();
    }
}

#[test]
fn a_publisher_without_credit_for_requests_cannot_be_asked_and_that_is_said() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        rig.far_limits.max_requests = 1;
        let publisher = rig.publisher(drafts.0);
        rig.far_limits = crate::session::Limits::default();
        let subscriber = rig.connect(drafts.1);
        let first = rig.subscribe(subscriber, "v");
        let up = rig.only_asked(publisher);
        rig.accept(publisher, up);
        rig.ok(subscriber, first);
        let second = rig.subscribe(subscriber, "w");
        if drafts.0 == Draft::D16 {
            rig.assert_refused(subscriber, second, RequestCode::ExcessiveLoad);
        }
        rig.end();
    }
}

// Rules: B163
#[test]
fn a_publisher_that_sent_goaway_is_not_asked_any_more() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        rig.act(running.publisher, |session, now| {
            let goaway = crate::wire::message::GoAway::default();
            session.go_away(now, None, goaway).unwrap();
        });
        let other = rig.subscribe(running.subscriber, "w");
        rig.assert_refused(running.subscriber, other, RequestCode::DoesNotExist);
        rig.group(running.publisher, running.up, 0, 1);
        assert_eq!(rig.ids(running.subscriber, running.down), [(0, 0)]);
        rig.end();
    }
}

#[test]
fn when_a_publisher_says_goaway_others_that_are_known_are_asked_meanwhile() {
    for drafts in DRAFT_PAIRS {
        for single in [false, true] {
            if single && drafts.0 == Draft::D16 {
                continue; // It has no GOAWAY for a single request.
            }
            let mut rig = Rig::with(limits(|limits| limits.max_publishers_per_track = 1));
            let running = rig.running(drafts);
            let other = rig.publisher(drafts.0);
            assert_eq!(rig.asked(other), [], "there is one already");
            rig.act(running.publisher, |session, now| {
                let goaway = crate::wire::message::GoAway::default();
                let id = single.then_some(running.up);
                session.go_away(now, id, goaway).unwrap();
            });
            let up = rig.only_asked(other);
            rig.accept(other, up);
            // What runs goes on.
            rig.group(running.publisher, running.up, 0, 1);
            assert!(!rig.withdrawn(running.publisher, running.up));
            rig.leave(running.publisher);
            rig.group(other, up, 1, 1);
            let ids = rig.ids(running.subscriber, running.down);
            assert_eq!(ids, [(0, 0), (1, 0)]);
            rig.end();
        }
    }
}

#[test]
fn goaway_of_a_subscriber_changes_nothing() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        rig.act(running.subscriber, |session, now| {
            let goaway = crate::wire::message::GoAway::default();
            session.go_away(now, None, goaway).unwrap();
        });
        rig.group(running.publisher, running.up, 0, 1);
        assert_eq!(rig.ids(running.subscriber, running.down), [(0, 0)]);
        rig.end();
    }
}

// Rules: B401 (18)
#[test]
fn b401_a_code_that_nobody_knows_is_an_internal_error() {
    let grease = 0x11C;
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let refused = rig.subscribe(subscriber, "u");
        let up = rig.only_asked(publisher);
        rig.refuse(publisher, up, RequestCode::Unknown(grease));
        rig.assert_refused(subscriber, refused, RequestCode::InternalError);
        let down = rig.subscribe(subscriber, "v");
        let up = rig.asked(publisher)[1].0;
        rig.accept(publisher, up);
        let mut feed = rig.open(publisher, up, header(0, 0));
        rig.object(&mut feed, 0, b"x");
        rig.reset(&feed, ResetCode::Unknown(grease));
        let got = rig.received(subscriber, down).remove(0);
        let expected = StreamEnd::Reset(ResetCode::InternalError);
        assert_eq!(got.end, Some(expected));
        rig.done_with(publisher, up, DoneCode::Unknown(grease));
        rig.pass(Limits::default().publisher_grace);
        assert_eq!(rig.done_code(subscriber, down), DoneCode::InternalError);
        rig.assert_alive(publisher);
        rig.assert_alive(subscriber);
        rig.end();
    }
}
