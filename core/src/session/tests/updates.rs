//! § REQUEST_UPDATE, both ways.

use super::script::Scripted;
use super::support::{
    DRAFTS, announce, at, discover, error, fetch, namespace, publish, range, settings, status,
    subscribe, subscribe_ok,
};
use crate::code::{DoneCode, RequestCode, SessionCode};
use crate::draft::Draft;
use crate::session::{Event, Misuse, Refusal, Request, Response, Role};
use crate::wire::id::{GroupId, RequestId};
use crate::wire::message::{Message, PublishDone, RequestError, RequestOk, RequestUpdate};
use crate::wire::param::{Filter, Parameters};

/// The update number `id` of a request.
pub(super) fn update(id: u64, of: RequestId, parameters: Parameters) -> Message {
    Message::RequestUpdate(RequestUpdate {
        request_id: RequestId(id),
        existing_request_id: Some(of),
        parameters,
    })
}

fn paused() -> Parameters {
    Parameters {
        forward: Some(false),
        ..Parameters::default()
    }
}

fn refusal() -> Refusal {
    Refusal::new(RequestCode::InvalidRange, "no")
}

// Rules: B189, V35 (16)
#[test]
fn v35_update_of_a_request_that_does_not_exist_closes_in_16() {
    let mut peer = Scripted::new(Draft::D16, Role::Server);
    peer.say(&update(0, RequestId(98), Parameters::default()));
    peer.assert_closed(SessionCode::ProtocolViolation, "V35");
}

// Rules: V35
#[test]
fn v35_update_of_a_track_status_closes_in_18_and_is_refused_in_16() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, stream) = peer.asked(&Message::TrackStatus(status(0, "v")));
        while peer.message(stream).is_some() {}
        peer.say_on(stream, &update(2, id, Parameters::default()));
        match draft {
            Draft::D18 => peer.assert_closed(SessionCode::ProtocolViolation, "V35"),
            Draft::D16 => {
                let Some(Message::RequestError(refused)) = peer.message(stream) else {
                    panic!("not refused: {:?}", peer.session.failure());
                };
                assert_eq!(refused.request_id, Some(RequestId(2)));
                assert_eq!(refused.code, RequestCode::NotSupported);
                assert_eq!(peer.event(), None);
                // The request itself is answered as if nothing had been.
                let ok = Response::Ok(RequestOk::default());
                peer.session.respond(peer.now, id, ok).unwrap();
                let answer = peer.message(stream);
                assert!(
                    matches!(&answer, Some(Message::RequestOk(ok)) if ok.request_id == Some(id)),
                    "{answer:?}"
                );
                peer.assert_alive();

                let mut peer = Scripted::new(draft, Role::Server);
                let (id, stream) = peer.asked(&Message::TrackStatus(status(0, "v")));
                peer.say_on(stream, &update(2, id, paused()));
                peer.assert_closed(SessionCode::ProtocolViolation, "V35");
            }
        }
    }
}

// Rules: B189, V35
#[test]
fn v35_update_by_the_wrong_side_closes() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let (id, stream) = peer.accepted(Request::Subscribe(subscribe(0, "v")));
        peer.say_on(stream, &update(1, id, Parameters::default()));
        peer.assert_closed(SessionCode::ProtocolViolation, "V35");
    }
}

// Rules: B103 (18), V15 (18), V35
#[test]
fn v15_v35_parameter_of_another_kind_of_request_in_an_update_closes() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, stream) = peer.asked(&Message::Fetch(fetch(0, range("v", (0, 0), (1, 0)))));
        peer.say_on(stream, &update(2, id, paused()));
        let rule = match draft {
            Draft::D18 => "V15",
            Draft::D16 => "V35",
        };
        peer.assert_closed(SessionCode::ProtocolViolation, rule);
    }
}

// Rules: B190
#[test]
fn b190_refused_update_ends_the_subscription_with_update_failed() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, stream) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
        peer.session
            .respond(peer.now, id, Response::SubscribeOk(subscribe_ok(1, None)))
            .unwrap();
        peer.say_on(stream, &update(2, id, paused()));
        assert!(matches!(peer.event(), Some(Event::Update { .. })));
        peer.session
            .respond_to_update(peer.now, id, RequestId(2), Err(refusal()))
            .unwrap();
        assert!(matches!(peer.event(), Some(Event::Cancelled { .. })));
        let said: Vec<Message> = std::iter::from_fn(|| peer.message(stream)).collect();
        assert!(matches!(
            said.as_slice(),
            [
                ..,
                Message::RequestError(_),
                Message::PublishDone(PublishDone {
                    code: DoneCode::UpdateFailed,
                    ..
                })
            ]
        ));
        assert_eq!(peer.session.open_requests(), 0);
    }
}

// Rules: B191
#[test]
fn b191_refused_update_of_a_fetch_resets_its_data() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, stream) = peer.asked(&Message::Fetch(fetch(0, range("v", (0, 0), (1, 0)))));
        peer.session
            .respond(
                peer.now,
                id,
                Response::FetchOk(super::support::fetch_ok(at(1, 0))),
            )
            .unwrap();
        let data = peer.session.open_fetch(peer.now, id).unwrap();
        peer.store.push(data, &[5, 0], false);
        peer.session.stream_ready(data);
        peer.say_on(
            stream,
            &update(
                2,
                id,
                Parameters {
                    subscriber_priority: Some(1),
                    ..Parameters::default()
                },
            ),
        );
        peer.session
            .respond_to_update(peer.now, id, RequestId(2), Err(refusal()))
            .unwrap();
        peer.pump();
        assert!(peer.heard[&data].reset.is_some());
        assert_eq!(peer.session.open_requests(), 0);
    }
}

// Rules: B192
#[test]
fn b192_refused_update_of_a_namespace_request_closes_its_stream_in_18() {
    for request in [
        Message::SubscribeNamespace(discover(0, &["a"])),
        Message::PublishNamespace(announce(0, &["a"])),
    ] {
        let mut peer = Scripted::new(Draft::D18, Role::Server);
        let (id, stream) = peer.asked(&request);
        peer.session
            .respond(peer.now, id, Response::Ok(RequestOk::default()))
            .unwrap();
        peer.say_on(stream, &update(2, id, Parameters::default()));
        peer.session
            .respond_to_update(peer.now, id, RequestId(2), Err(refusal()))
            .unwrap();
        peer.pump();
        assert!(peer.heard[&stream].fin);
        assert_eq!(peer.session.open_requests(), 0);
    }
}

// Rules: B188, B193
#[test]
fn b188_answers_to_updates_leave_in_order_after_the_answer_to_the_request() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, stream) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
        while peer.message(stream).is_some() {}
        for n in [2, 4, 6] {
            peer.say_on(stream, &update(n, id, Parameters::default()));
        }
        peer.session
            .respond_to_update(peer.now, id, RequestId(6), Ok(RequestOk::default()))
            .unwrap();
        assert_eq!(peer.message(stream), None, "the request comes first");
        peer.session
            .respond(peer.now, id, Response::SubscribeOk(subscribe_ok(1, None)))
            .unwrap();
        for n in [4, 2] {
            peer.session
                .respond_to_update(peer.now, id, RequestId(n), Ok(RequestOk::default()))
                .unwrap();
        }
        assert!(matches!(
            peer.message(stream),
            Some(Message::SubscribeOk(_))
        ));
        for n in [2, 4, 6] {
            let Some(Message::RequestOk(ok)) = peer.message(stream) else {
                panic!("an answer is missing");
            };
            if draft == Draft::D16 {
                assert_eq!(ok.request_id, Some(RequestId(n)));
            }
        }
        let twice =
            peer.session
                .respond_to_update(peer.now, id, RequestId(2), Ok(RequestOk::default()));
        assert_eq!(twice, Err(Misuse::UnknownRequest));
    }
}

// Rules: B118
#[test]
fn update_that_is_refused_at_once_waits_for_the_answer_to_its_request() {
    let mut peer = Scripted::new(Draft::D18, Role::Server);
    peer.asked(&Message::SubscribeNamespace(discover(0, &["a"])));
    let (id, stream) = peer.asked(&Message::SubscribeNamespace(discover(2, &["b"])));
    let moved = Parameters {
        track_namespace_prefix: Some(namespace(&["a", "x"])),
        ..Parameters::default()
    };
    peer.say_on(stream, &update(4, id, moved));
    assert_eq!(peer.event(), None);
    assert_eq!(peer.message(stream), None);
    peer.session
        .respond(peer.now, id, Response::Ok(RequestOk::default()))
        .unwrap();
    assert!(matches!(peer.message(stream), Some(Message::RequestOk(_))));
    let Some(Message::RequestError(refused)) = peer.message(stream) else {
        panic!("not refused");
    };
    assert_eq!(refused.code, RequestCode::PrefixOverlap, "B118");
}

#[test]
fn prefix_moves_with_an_update_and_suffixes_with_it_in_18() {
    let mut peer = Scripted::new(Draft::D18, Role::Client);
    let (id, stream) = peer.accepted(Request::SubscribeNamespace(discover(0, &["a"])));
    let moved = Parameters {
        track_namespace_prefix: Some(namespace(&["a", "b"])),
        ..Parameters::default()
    };
    let told = |fields: &[&str]| {
        Message::Namespace(crate::wire::message::Namespace {
            suffix: namespace(fields),
        })
    };
    peer.say_on(stream, &told(&["b", "x"]));
    peer.session.update(peer.now, id, moved).unwrap();
    peer.say_on(stream, &Message::RequestOk(RequestOk::default()));
    peer.say_on(
        stream,
        &Message::NamespaceDone(crate::wire::message::Namespace {
            suffix: namespace(&["x"]),
        }),
    );
    peer.assert_alive();
    assert!(matches!(
        peer.events.back(),
        Some(Event::NamespaceDone { suffix, .. }) if *suffix == namespace(&["x"])
    ));
}

#[test]
fn too_many_unanswered_updates_cost_the_peer_its_request() {
    let mut mine = settings(Role::Server);
    mine.limits.max_updates = 3;
    for draft in DRAFTS {
        for answered in [true, false] {
            let mut peer = Scripted::with(draft, mine.clone());
            let (id, stream) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
            if answered {
                peer.session
                    .respond(peer.now, id, Response::SubscribeOk(subscribe_ok(1, None)))
                    .unwrap();
            }
            for n in 1..=4 {
                peer.say_on(stream, &update(2 * n, id, Parameters::default()));
            }
            assert!(matches!(peer.events.back(), Some(Event::Cancelled { .. })));
            assert_eq!(peer.session.open_requests(), 0);
            peer.assert_alive();
        }
    }
}

#[test]
fn own_unanswered_updates_are_bounded() {
    let mut mine = settings(Role::Client);
    mine.limits.max_updates = 2;
    for draft in DRAFTS {
        let mut peer = Scripted::with(draft, mine.clone());
        let (id, stream) = peer.accepted(Request::Subscribe(subscribe(0, "v")));
        let first = peer.session.update(peer.now, id, paused()).unwrap();
        peer.session.update(peer.now, id, paused()).unwrap();
        let third = peer.session.update(peer.now, id, paused());
        assert_eq!(third, Err(Misuse::Blocked));
        peer.say_on(
            stream,
            &Message::RequestOk(RequestOk {
                request_id: Some(first),
                ..RequestOk::default()
            }),
        );
        assert!(matches!(peer.event(), Some(Event::UpdateResponse { .. })));
        assert_eq!(peer.event(), Some(Event::CanRequest));
        peer.session.update(peer.now, id, paused()).unwrap();
    }
}

#[test]
fn our_publish_ends_when_an_update_of_it_is_refused() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let (id, stream) = peer.accepted(Request::Publish(publish(0, "v", 1)));
        let update = peer
            .session
            .update(peer.now, id, Parameters::default())
            .unwrap();
        assert!(matches!(
            peer.message(stream),
            Some(Message::RequestUpdate(_))
        ));
        peer.say_on(
            stream,
            &Message::RequestError(RequestError {
                request_id: Some(update),
                ..error(RequestCode::Unauthorized)
            }),
        );
        assert!(matches!(
            peer.event(),
            Some(Event::UpdateResponse {
                response: Err(_),
                ..
            })
        ));
        assert!(matches!(
            peer.message(stream),
            Some(Message::PublishDone(PublishDone {
                code: DoneCode::UpdateFailed,
                ..
            }))
        ));
    }
}

#[test]
fn update_that_crosses_our_publish_done_is_refused_in_16_and_unread_in_18() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, stream) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
        peer.session
            .respond(peer.now, id, Response::SubscribeOk(subscribe_ok(1, None)))
            .unwrap();
        peer.session
            .done(peer.now, id, DoneCode::TrackEnded, "")
            .unwrap();
        while peer.message(stream).is_some() {}
        peer.say_on(stream, &update(2, id, Parameters::default()));
        match draft {
            Draft::D16 => peer.assert_refused(stream, RequestCode::DoesNotExist),
            Draft::D18 => assert_eq!(peer.message(stream), None),
        }
        peer.assert_alive();
    }
}

#[test]
fn what_cannot_be_updated_is_misuse() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let now = peer.now;
        let (id, _) = peer.request(Request::TrackStatus(status(0, "v")));
        assert!(peer.session.update(now, id, Parameters::default()).is_err());
        let (id, _) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
        assert!(peer.session.update(now, id, Parameters::default()).is_err());
        let (id, _) = peer.accepted(Request::Subscribe(subscribe(0, "w")));
        let foreign = Parameters {
            expires: Some(crate::wire::id::Millis(1)),
            ..Parameters::default()
        };
        assert!(peer.session.update(now, id, foreign).is_err());
        let backwards = Parameters {
            filter: Some(Filter::AbsoluteRange {
                start: at(3, 0),
                end_group: GroupId(2),
            }),
            ..Parameters::default()
        };
        assert!(peer.session.update(now, id, backwards).is_err());
        assert_eq!(
            peer.session.update(now, RequestId(99), paused()),
            Err(Misuse::UnknownRequest)
        );
    }
}
