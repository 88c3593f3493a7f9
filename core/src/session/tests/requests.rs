//! § Request ID, § Subscriptions, § REQUEST_OK, § REQUEST_ERROR, § PUBLISH, § Track Alias: requests and their answers.

use super::script::Scripted;
use super::support::{
    DRAFTS, announce, at, done, error, fetch, fetch_ok, publish, range, settings, status,
    subscribe, subscribe_ok,
};
use crate::code::{DoneCode, RequestCode, ResetCode, SessionCode};
use crate::draft::Draft;
use crate::session::{Event, Misuse, Refusal, Request, Response, Role};
use crate::transport::Dir;
use crate::wire::id::{GroupId, Millis, RequestId, SubgroupId};
use crate::wire::message::{
    FetchOk, Message, PublishDone, RequestError, RequestOk, Retry, Subscribe, SubscribeOk,
};
use crate::wire::param::{Filter, Parameters};

// Rules: B090, V1
#[test]
fn v1_unknown_message_type_closes_before_its_body_arrives() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let control = peer.control();
        peer.send(control, &[0x3f, 0xff]);
        peer.assert_closed(SessionCode::ProtocolViolation, "V1");
    }
}

// Rules: V2 (18)
#[test]
fn v2_stream_that_ends_inside_a_message_closes() {
    let mut peer = Scripted::new(Draft::D18, Role::Server);
    let stream = peer.open(Dir::Bi);
    let bytes = peer.encode(
        &Message::Subscribe(subscribe(0, "v")),
        crate::wire::message::Channel::Request,
    );
    peer.send(stream, &bytes);
    peer.send(stream, &[0x02, 0]);
    peer.send_fin(stream);
    peer.assert_closed(SessionCode::ProtocolViolation, "V2");
}

// Rules: V32 (16)
#[test]
fn v32_answer_to_a_request_that_was_never_made_closes_in_16() {
    for id in [0, 1, 100] {
        let mut peer = Scripted::new(Draft::D16, Role::Client);
        peer.say(&Message::SubscribeOk(SubscribeOk {
            request_id: Some(RequestId(id)),
            ..subscribe_ok(1, None)
        }));
        peer.assert_closed(SessionCode::InvalidRequestId, "V32");
    }
}

// Rules: B202, B277, V33
#[test]
fn v33_second_answer_closes() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let (id, stream) = peer.accepted(Request::Subscribe(subscribe(0, "v")));
        peer.say_on(
            stream,
            &Message::SubscribeOk(SubscribeOk {
                request_id: Some(id),
                ..subscribe_ok(1000, None)
            }),
        );
        peer.assert_closed(SessionCode::ProtocolViolation, "V33");

        let mut peer = Scripted::new(draft, Role::Client);
        let (id, stream) = peer.accepted(Request::PublishNamespace(announce(0, &["a"])));
        peer.say_on(
            stream,
            &Message::RequestError(RequestError {
                request_id: Some(id),
                ..error(RequestCode::Uninterested)
            }),
        );
        peer.assert_closed(SessionCode::ProtocolViolation, "V33");
    }
}

// Rules: V33 (16)
#[test]
fn v33_answer_after_a_refusal_closes_in_16_and_is_passed_over_in_18() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let (id, stream) = peer.request(Request::Subscribe(subscribe(0, "v")));
        let refused = Message::RequestError(RequestError {
            request_id: Some(id),
            ..error(RequestCode::DoesNotExist)
        });
        peer.say_on(stream, &refused);
        assert!(matches!(peer.event(), Some(Event::Response { .. })));
        peer.say_on(stream, &refused);
        match draft {
            Draft::D16 => peer.assert_closed(SessionCode::ProtocolViolation, "V33"),
            // On the stream of a request that is over nobody reads: it may be the answer to an update.
            Draft::D18 => {
                assert_eq!(peer.event(), None);
                peer.assert_alive();
            }
        }
    }
}

#[test]
fn answer_that_does_not_fit_its_request_closes() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let (id, stream) = peer.request(Request::Subscribe(subscribe(0, "v")));
        peer.say_on(
            stream,
            &Message::FetchOk(FetchOk {
                request_id: Some(id),
                ..fetch_ok(at(1, 0))
            }),
        );
        peer.assert_closed(SessionCode::ProtocolViolation, "fit");

        let mut peer = Scripted::new(draft, Role::Client);
        let (id, stream) = peer.request(Request::Subscribe(subscribe(0, "v")));
        peer.say_on(
            stream,
            &Message::RequestOk(RequestOk {
                request_id: Some(id),
                ..RequestOk::default()
            }),
        );
        peer.assert_closed(SessionCode::ProtocolViolation, "fit");
    }
}

#[test]
fn a1_publish_ok_has_its_own_type_in_16_and_both_types_in_18() {
    for (draft, own_type, fits) in [
        (Draft::D16, true, true),
        (Draft::D16, false, false),
        (Draft::D18, true, true),
        (Draft::D18, false, true),
    ] {
        let mut peer = Scripted::new(draft, Role::Client);
        let (id, stream) = peer.request(Request::Publish(publish(0, "v", 1)));
        let bytes: &[u8] = match (draft, own_type) {
            (Draft::D16, true) => &[0x1e, 0, 2, 0, 0],
            (Draft::D16, false) => &[0x07, 0, 2, 0, 0],
            (Draft::D18, true) => &[0x1e, 0, 1, 0],
            (Draft::D18, false) => &[0x07, 0, 1, 0],
        };
        assert_eq!(id, RequestId(0));
        peer.send(stream, bytes);
        assert_eq!(peer.session.failure().is_none(), fits);
    }
    // What we send: REQUEST_OK in 18, PUBLISH_OK in 16.
    for (draft, number) in [(Draft::D18, 0x07), (Draft::D16, 0x1e)] {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, stream) = peer.asked(&Message::Publish(publish(0, "v", 1)));
        while peer.message(stream).is_some() {}
        peer.session
            .respond(peer.now, id, Response::Ok(RequestOk::default()))
            .unwrap();
        peer.pump();
        assert_eq!(peer.heard[&stream].bytes[0], number);
    }
}

// Rules: B180, V38 (18)
#[test]
fn v38_properties_in_an_answer_to_something_else_than_track_status_close_in_18() {
    let properties = [0x04, 0x05];
    let mut peer = Scripted::new(Draft::D18, Role::Client);
    let (_, stream) = peer.request(Request::PublishNamespace(announce(0, &["a"])));
    peer.send(stream, &[0x07, 0, 3, 0, properties[0], properties[1]]);
    peer.assert_closed(SessionCode::ProtocolViolation, "V38");

    let mut peer = Scripted::new(Draft::D18, Role::Client);
    let (_, stream) = peer.request(Request::TrackStatus(status(0, "v")));
    peer.send(stream, &[0x07, 0, 3, 0, properties[0], properties[1]]);
    peer.assert_alive();
    assert!(matches!(
        peer.event(),
        Some(Event::Response { response: Response::Ok(ok), .. }) if !ok.properties.is_empty()
    ));
    assert!(peer.heard[&stream].fin, "nothing more is to be said");
}

// Rules: V15
#[test]
fn v15_parameter_of_another_kind_of_answer_closes_in_18_and_is_ignored_in_16() {
    let forward = Parameters {
        largest_object: Some(at(1, 1)),
        ..Parameters::default()
    };
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let (id, stream) = peer.request(Request::PublishNamespace(announce(0, &["a"])));
        peer.say_on(
            stream,
            &Message::RequestOk(RequestOk {
                request_id: Some(id),
                parameters: forward.clone(),
                ..RequestOk::default()
            }),
        );
        match draft {
            Draft::D18 => peer.assert_closed(SessionCode::ProtocolViolation, "V15"),
            Draft::D16 => assert!(matches!(
                peer.event(),
                Some(Event::Response { response: Response::Ok(ok), .. })
                    if ok.parameters == Parameters::default()
            )),
        }
    }
}

// Rules: B205, V39
#[test]
fn v39_second_subscription_of_a_track_is_refused_in_both_roles() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        peer.asked(&Message::Subscribe(subscribe(0, "v")));
        let stream = peer.ask(&Message::Subscribe(subscribe(2, "v")));
        peer.assert_refused(stream, RequestCode::DuplicateSubscription);

        let mut peer = Scripted::new(draft, Role::Server);
        peer.asked(&Message::Publish(publish(0, "v", 1)));
        let stream = peer.ask(&Message::Publish(publish(2, "v", 1)));
        peer.assert_refused(stream, RequestCode::DuplicateSubscription);

        let mut peer = Scripted::new(draft, Role::Server);
        peer.accepted(Request::Subscribe(subscribe(0, "v")));
        let stream = peer.ask(&Message::Publish(publish(0, "v", 9)));
        peer.assert_refused(stream, RequestCode::DuplicateSubscription);
    }
}

#[test]
fn own_second_subscription_of_a_track_is_misuse() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        peer.request(Request::Subscribe(subscribe(0, "v")));
        let again = peer
            .session
            .request(peer.now, Request::Subscribe(subscribe(0, "v")));
        assert_eq!(again, Err(Misuse::DuplicateSubscription));
        peer.request(Request::Publish(publish(0, "v", 1)));
        let again = peer
            .session
            .request(peer.now, Request::Publish(publish(0, "v", 1)));
        assert_eq!(again, Err(Misuse::DuplicateSubscription));
        let alias = peer
            .session
            .request(peer.now, Request::Publish(publish(0, "w", 1)));
        assert_eq!(alias, Err(Misuse::DuplicateTrackAlias));
    }
}

#[test]
fn track_may_be_subscribed_again_after_its_end() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        for n in 0..3 {
            let (id, stream) = peer.asked(&Message::Subscribe(subscribe(2 * n, "v")));
            let ok = Response::SubscribeOk(subscribe_ok(7, None));
            peer.session.respond(peer.now, id, ok).unwrap();
            peer.session
                .done(peer.now, id, DoneCode::TrackEnded, "over")
                .unwrap();
            assert!(matches!(
                peer.message(stream),
                Some(Message::SubscribeOk(_))
            ));
            assert!(matches!(
                peer.message(stream),
                Some(Message::PublishDone(_))
            ));
        }
        let mut peer = Scripted::new(draft, Role::Client);
        for _ in 0..3 {
            let (id, stream) = peer.request(Request::Subscribe(subscribe(0, "v")));
            peer.say_on(
                stream,
                &Message::SubscribeOk(SubscribeOk {
                    request_id: Some(id),
                    ..subscribe_ok(7, None)
                }),
            );
            peer.say_on(
                stream,
                &Message::PublishDone(PublishDone {
                    request_id: Some(id),
                    ..done(3)
                }),
            );
            assert!(matches!(peer.event(), Some(Event::Response { .. })));
            assert!(matches!(peer.event(), Some(Event::Done { .. })));
        }
        peer.assert_alive();
    }
}

// Rules: B206
#[test]
fn b206_subscribe_for_a_track_of_our_pending_publish_is_refused() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        peer.request(Request::Publish(publish(0, "v", 1)));
        let stream = peer.ask(&Message::Subscribe(subscribe(0, "v")));
        peer.assert_refused(stream, RequestCode::DuplicateSubscription);
    }
}

// Rules: B207
#[test]
fn b207_our_pending_subscribe_ends_before_a_publish_of_its_track_is_accepted() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (mine, own_stream) = peer.request(Request::Subscribe(subscribe(0, "v")));
        let (theirs, stream) = peer.asked(&Message::Publish(publish(0, "v", 1)));
        peer.session
            .respond(peer.now, theirs, Response::Ok(RequestOk::default()))
            .unwrap();
        assert!(matches!(
            peer.event(),
            Some(Event::Cancelled { id, .. }) if id == mine
        ));
        match draft {
            Draft::D18 => assert!(peer.heard[&own_stream].reset.is_some()),
            Draft::D16 => {
                assert_eq!(peer.message(stream), Some(Message::Unsubscribe(mine)));
            }
        }
        assert!(matches!(peer.message(stream), Some(Message::RequestOk(_))));
        // The answer to the SUBSCRIBE was on its way.
        if draft == Draft::D16 {
            peer.say(&Message::SubscribeOk(SubscribeOk {
                request_id: Some(mine),
                ..subscribe_ok(1, None)
            }));
        }
        peer.assert_alive();
        let again = peer.ask(&Message::Publish(publish(2, "v", 1)));
        peer.assert_refused(again, RequestCode::DuplicateSubscription);
    }
}

// Rules: B216, V40
#[test]
fn v40_alias_of_another_established_track_closes_with_duplicate_track_alias() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let (first, _) = peer.accepted(Request::Subscribe(subscribe(0, "v")));
        let alias = 1000 + first.0;
        let (id, stream) = peer.request(Request::Subscribe(subscribe(0, "w")));
        peer.say_on(
            stream,
            &Message::SubscribeOk(SubscribeOk {
                request_id: Some(id),
                ..subscribe_ok(alias, None)
            }),
        );
        peer.assert_closed(SessionCode::DuplicateTrackAlias, "V40");

        let mut peer = Scripted::new(draft, Role::Server);
        peer.asked(&Message::Publish(publish(0, "v", 5)));
        peer.ask(&Message::Publish(publish(2, "w", 5)));
        peer.assert_closed(SessionCode::DuplicateTrackAlias, "V40");
    }
}

// Rules: B215
#[test]
fn b215_our_aliases_stand_for_one_track_each() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (first, _) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
        let (second, _) = peer.asked(&Message::Subscribe(subscribe(2, "w")));
        let ok = || Response::SubscribeOk(subscribe_ok(7, None));
        peer.session.respond(peer.now, first, ok()).unwrap();
        let clash = peer.session.respond(peer.now, second, ok());
        assert_eq!(clash, Err(Misuse::DuplicateTrackAlias));
        // Nor soon after: the peer may hear of the second before it hears of the end of the first.
        peer.session
            .cancel(peer.now, first, ResetCode::Cancelled)
            .unwrap();
        let clash = peer.session.respond(peer.now, second, ok());
        assert_eq!(clash, Err(Misuse::DuplicateTrackAlias));
    }
}

#[test]
fn so_many_aliases_of_ours_are_remembered_after_their_end() {
    for draft in DRAFTS {
        let mut mine = settings(Role::Server);
        mine.limits.max_ended_aliases = 2;
        let mut peer = Scripted::with(draft, mine);
        let mut ids = (0_u64..).step_by(2);
        let mut accept = |peer: &mut Scripted, track: &str, alias: u64| {
            let id = ids.next().unwrap();
            let (request, _) = peer.asked(&Message::Subscribe(subscribe(id, track)));
            let ok = Response::SubscribeOk(subscribe_ok(alias, None));
            let answered = peer.session.respond(peer.now, request, ok);
            let ended = peer.session.cancel(peer.now, request, ResetCode::Cancelled);
            ended.unwrap();
            answered
        };
        for alias in 1..=3 {
            assert_eq!(accept(&mut peer, &format!("v{alias}"), alias), Ok(()));
        }
        assert_eq!(accept(&mut peer, "v3", 3), Ok(()), "the same track");
        let clash = Err(Misuse::DuplicateTrackAlias);
        assert_eq!(accept(&mut peer, "w", 3), clash);
        assert_eq!(accept(&mut peer, "x", 1), Ok(()), "forgotten");
    }
}

// Rules: B110 (16), V42 (16)
#[test]
fn v42_filter_that_ends_before_it_starts_is_refused_with_invalid_range_in_16() {
    let mut peer = Scripted::new(Draft::D16, Role::Server);
    let filter = Filter::AbsoluteRange {
        start: at(5, 0),
        end_group: GroupId(4),
    };
    // SUBSCRIBE 0, ("live") "v", one parameter: SUBSCRIPTION_FILTER of 4 bytes: absolute range {5, 0} to 4.
    let control = peer.control();
    let body = [
        0, 1, 4, b'l', b'i', b'v', b'e', 1, b'v', 1, 0x21, 4, 4, 5, 0, 4,
    ];
    let mut bytes = vec![0x03, 0, u8::try_from(body.len()).unwrap()];
    bytes.extend_from_slice(&body);
    while peer.message(control).is_some() {}
    peer.send(control, &bytes);
    peer.assert_refused(control, RequestCode::InvalidRange);
    let own = Subscribe {
        parameters: Parameters {
            filter: Some(filter),
            ..Parameters::default()
        },
        ..subscribe(0, "v")
    };
    let misuse = peer.session.request(peer.now, Request::Subscribe(own));
    assert!(matches!(misuse, Err(Misuse::WrongState(_))));
}

// Rules: B250
#[test]
fn v85_range_of_a_fetch_that_ends_before_it_starts_is_refused_b250() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let stream = peer.ask(&Message::Fetch(fetch(0, range("v", (5, 3), (5, 2)))));
        while !matches!(peer.heard[&stream].bytes.first(), Some(0x05) | None) {
            peer.message(stream);
        }
        peer.assert_refused(stream, RequestCode::InvalidRange);
        let own = Request::Fetch(fetch(0, range("v", (5, 0), (4, 0))));
        assert!(matches!(
            peer.session.request(peer.now, own),
            Err(Misuse::WrongState(_))
        ));
    }
}

// Rules: B254, V84
#[test]
fn v84_fetch_ok_that_ends_before_the_range_starts_closes() {
    for draft in DRAFTS {
        for (end, fits) in [
            (at(4, 0), false),
            (at(5, 2), false),
            (at(5, 3), true),
            (at(5, 0), true),
        ] {
            let mut peer = Scripted::new(draft, Role::Client);
            let (id, stream) = peer.request(Request::Fetch(fetch(0, range("v", (5, 3), (9, 0)))));
            peer.say_on(
                stream,
                &Message::FetchOk(FetchOk {
                    request_id: Some(id),
                    ..fetch_ok(end)
                }),
            );
            if fits {
                peer.assert_alive();
            } else {
                peer.assert_closed(SessionCode::ProtocolViolation, "V84");
            }
        }
    }
}

// Rules: B400, B401, V90 (18)
#[test]
fn v90_unknown_codes_never_end_a_session() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let (id, stream) = peer.request(Request::Subscribe(subscribe(0, "v")));
        peer.say_on(
            stream,
            &Message::RequestError(RequestError {
                request_id: Some(id),
                retry: Retry::After(Millis(7)),
                ..error(RequestCode::Unknown(0x7777))
            }),
        );
        assert!(matches!(
            peer.event(),
            Some(Event::Response { response: Response::Error(refusal), .. })
                if refusal.code == RequestCode::Unknown(0x7777)
                    && refusal.retry == Retry::After(Millis(7))
        ));
        let (id, stream) = peer.accepted(Request::Subscribe(subscribe(0, "v")));
        peer.say_on(
            stream,
            &Message::PublishDone(PublishDone {
                request_id: Some(id),
                code: DoneCode::Unknown(0x7777),
                ..done(0)
            }),
        );
        assert!(matches!(peer.event(), Some(Event::Done { .. })));
        assert_eq!(peer.event(), Some(Event::Settled { id }));
        peer.assert_alive();
        if draft == Draft::D18 {
            // A WebTransport code on raw QUIC.
            let (_, stream) = peer.accepted(Request::Subscribe(subscribe(0, "w")));
            peer.send_reset(stream, 0x52e4_a40f_a8db);
            assert!(matches!(
                peer.event(),
                Some(Event::Cancelled {
                    code: Some(ResetCode::Unknown(_)),
                    ..
                })
            ));
            peer.assert_alive();
        }
    }
}

#[test]
fn publish_done_counts_are_not_trusted_quirk() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, stream) = peer.asked(&Message::Publish(publish(0, "v", 5)));
        peer.session
            .respond(peer.now, id, Response::Ok(RequestOk::default()))
            .unwrap();
        peer.say_on(
            stream,
            &Message::PublishDone(PublishDone {
                request_id: Some(id),
                ..done(0)
            }),
        );
        assert!(matches!(peer.event(), Some(Event::Done { .. })));
        peer.assert_alive();
    }
}

#[test]
fn second_publish_done_or_one_by_a_subscriber_closes() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, stream) = peer.accepted(Request::Publish(publish(0, "v", 1)));
        peer.say_on(
            stream,
            &Message::PublishDone(PublishDone {
                request_id: Some(id),
                ..done(0)
            }),
        );
        peer.assert_closed(SessionCode::ProtocolViolation, "PUBLISH_DONE");
    }
}

// Rules: B210, B219
#[test]
fn publish_ok_that_comes_after_our_publish_done_is_let_pass() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let (id, stream) = peer.request(Request::Publish(publish(0, "v", 1)));
        let data = peer
            .session
            .open_subgroup(peer.now, id, GroupId(0), SubgroupId(0), 0)
            .unwrap();
        peer.session
            .done(peer.now, id, DoneCode::TrackEnded, "")
            .unwrap();
        let ok = Message::RequestOk(RequestOk {
            request_id: Some(id),
            publish_ok: true,
            ..RequestOk::default()
        });
        peer.say_on(stream, &ok);
        assert!(matches!(peer.event(), Some(Event::Response { .. })));
        assert_eq!(peer.message(stream), None, "a data stream is still open");
        peer.session
            .reset_stream(peer.now, data, ResetCode::Cancelled);
        assert!(matches!(
            peer.message(stream),
            Some(Message::PublishDone(_))
        ));
        peer.assert_alive();
        assert_eq!(peer.session.open_requests(), 0);
    }
}

// Rules: B069, B220
#[test]
fn b220_publish_done_and_request_error_end_their_stream() {
    let mut peer = Scripted::new(Draft::D18, Role::Server);
    let (id, stream) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
    peer.session
        .respond(
            peer.now,
            id,
            Response::Error(Refusal::new(RequestCode::DoesNotExist, "no")),
        )
        .unwrap();
    peer.assert_refused(stream, RequestCode::DoesNotExist);
    assert!(peer.heard[&stream].fin);
    // A peer that does not end its side is helped after a while.
    peer.pass(settings(Role::Server).limits.drain_timeout);
    assert!(peer.heard[&stream].stop.is_some());
    assert_eq!(peer.session.poll_timeout(), None);

    let (id, stream) = peer.asked(&Message::Subscribe(subscribe(2, "v")));
    peer.session
        .respond(peer.now, id, Response::SubscribeOk(subscribe_ok(1, None)))
        .unwrap();
    peer.session
        .done(peer.now, id, DoneCode::Expired, "")
        .unwrap();
    peer.pump();
    assert!(peer.heard[&stream].fin);
    peer.send_fin(stream);
    assert_eq!(peer.session.poll_timeout(), None);
}

// Rules: B200
#[test]
fn answers_are_given_once_and_only_to_the_peers_requests() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (mine, _) = peer.request(Request::Subscribe(subscribe(0, "x")));
        let ok = || Response::SubscribeOk(subscribe_ok(1, None));
        assert!(peer.session.respond(peer.now, mine, ok()).is_err());
        let (id, _) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
        let unfit = Response::FetchOk(fetch_ok(at(0, 0)));
        assert!(peer.session.respond(peer.now, id, unfit).is_err());
        assert!(
            peer.session
                .done(peer.now, id, DoneCode::Expired, "")
                .is_err()
        );
        peer.session.respond(peer.now, id, ok()).unwrap();
        assert!(peer.session.respond(peer.now, id, ok()).is_err());
        let gone = RequestId(1000);
        assert_eq!(
            peer.session.respond(peer.now, gone, ok()),
            Err(Misuse::UnknownRequest)
        );
    }
}

// Rules: B092
#[test]
fn b092_second_request_on_a_stream_closes_in_18() {
    let mut peer = Scripted::new(Draft::D18, Role::Server);
    let (_, stream) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
    peer.say_on(stream, &Message::Subscribe(subscribe(2, "w")));
    peer.assert_closed(SessionCode::ProtocolViolation, "belong");
}

// Rules: B240
#[test]
fn b240_a_fetch_is_answered_once() {
    for draft in DRAFTS {
        for refused in [true, false] {
            let mut peer = Scripted::new(draft, Role::Client);
            let (id, stream) = peer.accepted(Request::Fetch(fetch(0, range("v", (0, 0), (1, 0)))));
            let again = if refused {
                Message::RequestError(RequestError {
                    request_id: Some(id),
                    ..error(RequestCode::DoesNotExist)
                })
            } else {
                Message::FetchOk(FetchOk {
                    request_id: Some(id),
                    ..fetch_ok(at(1, 0))
                })
            };
            peer.say_on(stream, &again);
            peer.assert_closed(SessionCode::ProtocolViolation, "V33");
        }
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, _) = peer.asked(&Message::Fetch(fetch(0, range("v", (0, 0), (1, 0)))));
        let ok = || Response::FetchOk(fetch_ok(at(1, 0)));
        peer.session.respond(peer.now, id, ok()).unwrap();
        assert!(peer.session.respond(peer.now, id, ok()).is_err());
        let refusal = Refusal::new(RequestCode::DoesNotExist, "no");
        let refused = peer.session.respond(peer.now, id, Response::Error(refusal));
        assert!(refused.is_err());
    }
}

// Rules: B211
#[test]
fn b211_nothing_more_is_sent_for_a_request_that_was_refused() {
    let open = |peer: &mut Scripted, id| {
        peer.session
            .open_subgroup(peer.now, id, GroupId(0), SubgroupId(0), 0)
    };
    for draft in DRAFTS {
        // A PUBLISH of ours, whose objects need not wait for the answer.
        let mut peer = Scripted::new(draft, Role::Client);
        let (id, stream) = peer.request(Request::Publish(publish(0, "v", 1)));
        let data = open(&mut peer, id).unwrap();
        peer.store.push(data, b"begun", false);
        peer.session.stream_ready(data);
        peer.pump();
        assert_eq!(peer.heard[&data].bytes[..], *b"begun");
        peer.store.push(data, b"never", true);
        peer.session.stream_ready(data);
        peer.say_on(
            stream,
            &Message::RequestError(RequestError {
                request_id: Some(id),
                ..error(RequestCode::Uninterested)
            }),
        );
        peer.pump();
        assert_eq!(peer.heard[&data].bytes[..], *b"begun");
        assert!(peer.heard[&data].reset.is_some());
        assert!(open(&mut peer, id).is_err());
        // A SUBSCRIBE of the peer's.
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, _) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
        let refusal = Refusal::new(RequestCode::DoesNotExist, "no");
        peer.session
            .respond(peer.now, id, Response::Error(refusal))
            .unwrap();
        assert!(open(&mut peer, id).is_err());
    }
}
