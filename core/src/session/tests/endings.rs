//! § Request Cancellation and Rejection, § Joining Fetches, and limits of queues.

use bytes::Bytes;

use super::script::Scripted;
use super::support::{
    DRAFTS, announce, at, discover, fetch, fetch_ok, publish, range, settings, status, subscribe,
    subscribe_ok, track,
};
use super::updates::update;
use crate::code::{RequestCode, ResetCode, SessionCode};
use crate::draft::Draft;
use crate::session::{Event, Misuse, Refusal, Request, Response, Role};
use crate::transport::{Dir, StreamId};
use crate::wire::id::{GroupId, RequestId, SubgroupId};
use crate::wire::message::{
    FetchRange, Message, PublishNamespaceCancel, RequestError, RequestOk, Subscribe, SubscribeOk,
};
use crate::wire::param::{Filter, Parameters};

const CODE: u64 = 1;

/// The peer withdraws a request of its own with what the draft has for that.
fn withdraw(peer: &mut Scripted, stream: StreamId, in_16: &Message) {
    match peer.draft {
        Draft::D18 => {
            peer.send_stop(stream, CODE);
            peer.send_reset(stream, CODE);
        }
        Draft::D16 => peer.say(in_16),
    }
}

// Rules: B070, B209
#[test]
fn b209_unsubscribed_subscription_resets_its_streams() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, stream) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
        peer.session
            .respond(peer.now, id, Response::SubscribeOk(subscribe_ok(1, None)))
            .unwrap();
        let data: Vec<_> = (0..2)
            .map(|group| {
                let open =
                    peer.session
                        .open_subgroup(peer.now, id, GroupId(group), SubgroupId(0), 0);
                let data = open.unwrap();
                peer.store.push(data, b"xx", false);
                peer.session.stream_ready(data);
                data
            })
            .collect();
        peer.pump();
        withdraw(&mut peer, stream, &Message::Unsubscribe(id));
        assert!(matches!(peer.event(), Some(Event::Cancelled { id: of, .. }) if of == id));
        for data in data {
            assert_eq!(
                peer.heard[&data].reset,
                Some(ResetCode::Cancelled.to_wire(draft))
            );
        }
        assert_eq!(peer.session.open_requests(), 0);
        if draft == Draft::D18 {
            assert!(peer.heard[&stream].reset.is_some());
        }
        peer.assert_alive();
    }
}

// Rules: B242, B243
#[test]
fn b242_cancelled_fetch_resets_its_streams() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, stream) = peer.asked(&Message::Fetch(fetch(0, range("v", (0, 0), (1, 0)))));
        let data = peer.session.open_fetch(peer.now, id).unwrap();
        // Request 0; an object of 9 bytes, of which there are 2 by now.
        let half = [5, 0, 0x1c, 0, 0, 128, 9, b'h', b'a'];
        peer.store.push(data, &half, false);
        peer.session.stream_ready(data);
        peer.pump();
        assert_eq!(peer.heard[&data].bytes[..], half);
        withdraw(&mut peer, stream, &Message::FetchCancel(id));
        assert!(matches!(peer.event(), Some(Event::Cancelled { .. })));
        let code = Some(ResetCode::Cancelled.to_wire(draft));
        assert_eq!(peer.heard[&data].reset, code);
        if draft == Draft::D18 {
            assert!(peer.heard[&stream].reset.is_some());
        }
        peer.assert_alive();
    }
}

/// Both streams of a FETCH are stopped: the served one is heard of first, which ends the request.
#[test]
fn request_stream_on_which_nothing_more_can_be_said_is_reset() {
    let mut peer = Scripted::new(Draft::D18, Role::Server);
    let (id, stream) = peer.asked(&Message::Fetch(fetch(0, range("v", (0, 0), (1, 0)))));
    let data = peer.session.open_fetch(peer.now, id).unwrap();
    let answer = Response::FetchOk(fetch_ok(at(1, 0)));
    peer.session.respond(peer.now, id, answer).unwrap();
    peer.store.push(data, &[5, 0], false);
    peer.session.stream_ready(data);
    peer.pump();
    peer.stopped = Some(stream);
    peer.send_stop(data, 0x1);
    assert!(matches!(peer.event(), Some(Event::StreamStopped { .. })));
    peer.send_stop(stream, 0x1);
    peer.send_reset(stream, 0x1);
    assert!(peer.heard[&stream].reset.is_some());
    peer.assert_alive();
}

#[test]
fn announcement_is_withdrawn_by_the_peer_and_revoked_by_it() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, stream) = peer.asked(&Message::PublishNamespace(announce(0, &["a"])));
        withdraw(&mut peer, stream, &Message::PublishNamespaceDone(id));
        assert!(matches!(peer.event(), Some(Event::Cancelled { .. })));

        let mut peer = Scripted::new(draft, Role::Client);
        let (id, stream) = peer.accepted(Request::PublishNamespace(announce(0, &["a"])));
        let revoke = Message::PublishNamespaceCancel(PublishNamespaceCancel {
            request_id: id,
            code: RequestCode::Unauthorized,
            reason: Bytes::new(),
        });
        withdraw(&mut peer, stream, &revoke);
        assert!(matches!(peer.event(), Some(Event::Cancelled { .. })));
        assert_eq!(peer.session.open_requests(), 0);
    }
}

#[test]
fn message_that_ends_another_kind_of_request_closes_in_16() {
    let mut peer = Scripted::new(Draft::D16, Role::Server);
    let (id, _) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
    peer.say(&Message::FetchCancel(id));
    peer.assert_closed(SessionCode::ProtocolViolation, "another kind");
}

#[test]
fn what_was_on_its_way_when_we_withdrew_is_let_pass() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let (id, stream) = peer.request(Request::Subscribe(subscribe(0, "v")));
        peer.session
            .cancel(peer.now, id, ResetCode::Cancelled)
            .unwrap();
        peer.pump();
        match draft {
            Draft::D16 => {
                assert_eq!(peer.message(stream), Some(Message::Unsubscribe(id)));
                peer.say(&Message::SubscribeOk(SubscribeOk {
                    request_id: Some(id),
                    ..subscribe_ok(1, None)
                }));
                peer.say(&Message::PublishDone(crate::wire::message::PublishDone {
                    request_id: Some(id),
                    ..super::support::done(0)
                }));
            }
            Draft::D18 => {
                assert!(peer.heard[&stream].reset.is_some() && peer.heard[&stream].stop.is_some());
            }
        }
        assert_eq!(peer.event(), None);
        peer.assert_alive();
        let over = peer.session.cancel(peer.now, id, ResetCode::Cancelled);
        assert_eq!(over, Err(Misuse::UnknownRequest));
    }
}

#[test]
fn peer_may_withdraw_what_we_ended_at_the_same_time_in_16() {
    let mut peer = Scripted::new(Draft::D16, Role::Server);
    let (id, _) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
    let refusal = Refusal::new(RequestCode::DoesNotExist, "no");
    peer.session
        .respond(peer.now, id, Response::Error(refusal))
        .unwrap();
    peer.say(&Message::Unsubscribe(id));
    peer.assert_alive();
}

#[test]
fn end_of_the_requesters_side_cancels_discovery_and_publish_only_in_18() {
    let cases = [
        (Message::SubscribeNamespace(discover(0, &["a"])), true),
        (
            Message::SubscribeTracks(crate::wire::message::SubscribeTracks {
                request_id: RequestId(0),
                prefix: super::support::namespace(&["a"]),
                parameters: Parameters::default(),
            }),
            true,
        ),
        (Message::Publish(publish(0, "v", 1)), true),
        (Message::Subscribe(subscribe(0, "v")), false),
        (Message::TrackStatus(status(0, "v")), false),
        (Message::PublishNamespace(announce(0, &["a"])), false),
        (Message::Fetch(fetch(0, range("v", (0, 0), (1, 0)))), false),
    ];
    for (request, cancels) in cases {
        let mut peer = Scripted::new(Draft::D18, Role::Server);
        let (id, stream) = peer.asked(&request);
        peer.send_fin(stream);
        let event = peer.event();
        let cancelled = matches!(event, Some(Event::Cancelled { id: of, code: None }) if of == id);
        assert_eq!(cancelled, cancels, "{request:?}");
        peer.assert_alive();
    }
}

#[test]
fn end_of_the_requesters_side_cancels_discovery_in_16() {
    let mut peer = Scripted::new(Draft::D16, Role::Server);
    let (_, stream) = peer.asked(&Message::SubscribeNamespace(discover(0, &["a"])));
    peer.send_fin(stream);
    assert!(matches!(peer.event(), Some(Event::Cancelled { .. })));
}

#[test]
fn responder_that_ends_its_side_without_an_answer_cancels() {
    for request in [
        Request::Subscribe(subscribe(0, "v")),
        Request::Publish(publish(0, "v", 1)),
        Request::TrackStatus(status(0, "v")),
    ] {
        let mut peer = Scripted::new(Draft::D18, Role::Client);
        let (id, stream) = peer.request(request);
        peer.send_fin(stream);
        assert!(matches!(peer.event(), Some(Event::Cancelled { id: of, .. }) if of == id));
        assert_eq!(peer.session.open_requests(), 0);
    }
}

#[test]
fn answer_that_arrives_together_with_stop_sending_is_read_first() {
    let mut peer = Scripted::new(Draft::D18, Role::Client);
    let (id, stream) = peer.request(Request::Subscribe(subscribe(0, "v")));
    let refused = Message::RequestError(RequestError {
        request_id: Some(id),
        ..super::support::error(RequestCode::DoesNotExist)
    });
    let bytes = peer.encode(&refused, crate::wire::message::Channel::Request);
    // STOP_SENDING is heard of before the bytes, which were sent before it, are read.
    peer.hold(stream, &bytes);
    peer.send_stop(stream, 0);
    assert!(matches!(
        peer.event(),
        Some(Event::Response {
            response: Response::Error(_),
            ..
        })
    ));
    assert_eq!(peer.event(), None);
}

fn join(id: u64, of: RequestId, start: u64) -> Message {
    Message::Fetch(fetch(
        id,
        FetchRange::RelativeJoining {
            joining_request_id: of,
            joining_start: start,
        },
    ))
}

fn joinable(id: u64) -> Message {
    Message::Subscribe(Subscribe {
        parameters: Parameters {
            filter: Some(Filter::LargestObject),
            ..Parameters::default()
        },
        ..subscribe(id, "v")
    })
}

// Rules: B203
#[test]
fn joining_fetch_becomes_the_range_up_to_where_the_subscription_starts_b203() {
    for draft in DRAFTS {
        for (range, start) in [
            (
                FetchRange::RelativeJoining {
                    joining_request_id: RequestId(0),
                    joining_start: 3,
                },
                7,
            ),
            // A13: clamped.
            (
                FetchRange::RelativeJoining {
                    joining_request_id: RequestId(0),
                    joining_start: 30,
                },
                0,
            ),
            (
                FetchRange::AbsoluteJoining {
                    joining_request_id: RequestId(0),
                    joining_start: 9,
                },
                9,
            ),
        ] {
            let mut peer = Scripted::new(draft, Role::Server);
            let (id, _) = peer.asked(&joinable(0));
            let ok = subscribe_ok(1, Some(at(10, 4)));
            peer.session
                .respond(peer.now, id, Response::SubscribeOk(ok))
                .unwrap();
            peer.ask(&Message::Fetch(fetch(2, range)));
            let Some(Event::Request {
                request: Request::Fetch(told),
                ..
            }) = peer.event()
            else {
                panic!("not told");
            };
            assert_eq!(
                told.range,
                FetchRange::Standalone {
                    track: track("v"),
                    start: at(start, 0),
                    end: at(10, 5),
                }
            );
        }
    }
}

#[test]
fn joining_fetch_waits_for_the_answer_to_its_subscription() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, _) = peer.asked(&joinable(0));
        peer.ask(&join(2, id, 1));
        assert_eq!(peer.event(), None);
        let ok = subscribe_ok(1, Some(at(10, 4)));
        peer.session
            .respond(peer.now, id, Response::SubscribeOk(ok))
            .unwrap();
        assert!(matches!(
            peer.event(),
            Some(Event::Request {
                request: Request::Fetch(_),
                ..
            })
        ));

        let mut peer = Scripted::new(draft, Role::Server);
        let (id, _) = peer.asked(&joinable(0));
        let stream = peer.ask(&join(2, id, 1));
        let refusal = Refusal::new(RequestCode::DoesNotExist, "no");
        peer.session
            .respond(peer.now, id, Response::Error(refusal))
            .unwrap();
        peer.pump();
        let refused: Vec<Message> = std::iter::from_fn(|| peer.message(stream)).collect();
        assert!(matches!(
            refused.last(),
            Some(Message::RequestError(RequestError {
                code: RequestCode::InvalidJoiningRequestId,
                ..
            }))
        ));
        assert_eq!(peer.session.open_requests(), 0);
        assert_eq!(
            peer.event(),
            None,
            "the application never heard of the FETCH"
        );
    }
}

// Rules: B248, V81
#[test]
fn v81_joining_fetch_of_no_subscription_is_refused_b248() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (other, _) = peer.asked(&Message::Fetch(fetch(0, range("v", (0, 0), (1, 0)))));
        for (n, id) in [RequestId(50), other, RequestId(1)].into_iter().enumerate() {
            let n = u64::try_from(n).unwrap();
            let stream = peer.ask(&join(2 + 2 * n, id, 1));
            while !matches!(peer.heard[&stream].bytes.first(), Some(5) | None) {
                peer.message(stream);
            }
            peer.assert_refused(stream, RequestCode::InvalidJoiningRequestId);
        }
    }
}

// Rules: B245 (16), V82
#[test]
fn v82_joining_fetch_of_a_subscription_with_another_filter_closes_in_16_only() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, _) = peer.asked(&Message::Subscribe(Subscribe {
            parameters: Parameters {
                filter: Some(Filter::NextGroupStart),
                ..Parameters::default()
            },
            ..subscribe(0, "v")
        }));
        let ok = subscribe_ok(1, Some(at(10, 4)));
        peer.session
            .respond(peer.now, id, Response::SubscribeOk(ok))
            .unwrap();
        peer.ask(&join(2, id, 1));
        match draft {
            Draft::D16 => peer.assert_closed(SessionCode::ProtocolViolation, "V82"),
            Draft::D18 => assert!(matches!(peer.event(), Some(Event::Request { .. }))),
        }
    }
}

// Rules: B203 (18), B245 (18), B246, V83 (18)
#[test]
fn v83_joining_fetch_of_a_paused_subscription_is_refused_until_it_is_resumed_in_18_b246() {
    let mut peer = Scripted::new(Draft::D18, Role::Server);
    let (id, stream) = peer.asked(&Message::Subscribe(Subscribe {
        parameters: Parameters {
            forward: Some(false),
            ..Parameters::default()
        },
        ..subscribe(0, "v")
    }));
    let ok = subscribe_ok(1, Some(at(10, 4)));
    peer.session
        .respond(peer.now, id, Response::SubscribeOk(ok))
        .unwrap();
    let refused = peer.ask(&join(2, id, 1));
    peer.assert_refused(refused, RequestCode::InvalidRange);
    // The update is taken into account before it is answered.
    let resumed = Parameters {
        forward: Some(true),
        ..Parameters::default()
    };
    peer.say_on(stream, &update(4, id, resumed));
    peer.ask(&join(6, id, 1));
    assert!(matches!(peer.event(), Some(Event::Update { .. })));
    assert!(matches!(peer.event(), Some(Event::Request { .. })));
    // Its answer moves the joining location.
    let ok = RequestOk {
        parameters: Parameters {
            largest_object: Some(at(20, 0)),
            ..Parameters::default()
        },
        ..RequestOk::default()
    };
    peer.session
        .respond_to_update(peer.now, id, RequestId(4), Ok(ok))
        .unwrap();
    peer.ask(&join(8, id, 1));
    let Some(Event::Request {
        request: Request::Fetch(told),
        ..
    }) = peer.event()
    else {
        panic!("not told");
    };
    assert!(matches!(told.range, FetchRange::Standalone { start, .. } if start == at(19, 0)));
}

// Rules: V83 (16)
#[test]
fn v83_joining_fetch_of_a_paused_subscription_is_asked_for_in_16() {
    let mut peer = Scripted::new(Draft::D16, Role::Server);
    let (id, _) = peer.asked(&Message::Subscribe(Subscribe {
        parameters: Parameters {
            forward: Some(false),
            filter: Some(Filter::LargestObject),
            ..Parameters::default()
        },
        ..subscribe(0, "v")
    }));
    let ok = subscribe_ok(1, Some(at(10, 4)));
    peer.session
        .respond(peer.now, id, Response::SubscribeOk(ok))
        .unwrap();
    peer.asked(&join(2, id, 1));
    peer.assert_alive();
}

// Rules: V85
// Rules: B247
#[test]
fn v85_joining_fetch_before_anything_was_published_is_refused_b247() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, stream) = peer.asked(&joinable(0));
        peer.session
            .respond(peer.now, id, Response::SubscribeOk(subscribe_ok(1, None)))
            .unwrap();
        while peer.message(stream).is_some() {}
        let stream = peer.ask(&join(2, id, 1));
        peer.assert_refused(stream, RequestCode::InvalidRange);
    }
}

// Rules: B250
#[test]
fn b250_absolute_joining_fetch_that_starts_after_its_end_is_refused() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (of, stream) = peer.asked(&joinable(0));
        let ok = subscribe_ok(1, Some(at(10, 4)));
        peer.session
            .respond(peer.now, of, Response::SubscribeOk(ok))
            .unwrap();
        while peer.message(stream).is_some() {}
        let absolute = FetchRange::AbsoluteJoining {
            joining_request_id: of,
            joining_start: 11,
        };
        let stream = peer.ask(&Message::Fetch(fetch(2, absolute)));
        peer.assert_refused(stream, RequestCode::InvalidRange);
    }
}

#[test]
fn own_joining_fetches_follow_the_rules() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let joining = |of| {
            Request::Fetch(fetch(
                0,
                FetchRange::RelativeJoining {
                    joining_request_id: of,
                    joining_start: 2,
                },
            ))
        };
        let unknown = peer.session.request(peer.now, joining(RequestId(0)));
        assert_eq!(unknown, Err(Misuse::UnknownRequest));
        let parameters = Parameters {
            filter: Some(match draft {
                Draft::D16 => Filter::NextGroupStart,
                Draft::D18 => Filter::LargestObject,
            }),
            forward: Some(false),
            ..Parameters::default()
        };
        let (unfit, _) = peer.accepted(Request::Subscribe(Subscribe {
            parameters,
            ..subscribe(0, "x")
        }));
        let misuse = peer.session.request(peer.now, joining(unfit));
        assert!(matches!(misuse, Err(Misuse::WrongState(_))));
        let (fit, _) = peer.accepted(Request::Subscribe(Subscribe {
            parameters: Parameters {
                filter: Some(Filter::LargestObject),
                ..Parameters::default()
            },
            ..subscribe(0, "v")
        }));
        let (id, stream) = peer.request(joining(fit));
        // The range starts two groups before {10, 4}: an end before that is impossible.
        peer.say_on(
            stream,
            &Message::FetchOk(crate::wire::message::FetchOk {
                request_id: Some(id),
                ..fetch_ok(at(7, 0))
            }),
        );
        peer.assert_closed(SessionCode::ProtocolViolation, "V84");
    }
}

#[test]
fn control_messages_that_the_peer_does_not_take_are_bounded() {
    let mut mine = settings(Role::Server);
    mine.limits.max_control_backlog = 2000;
    for draft in DRAFTS {
        let mut peer = Scripted::with(draft, mine.clone());
        peer.deaf = true;
        let mut asked = 0;
        while !peer.session.is_closed() {
            let id = peer.theirs(asked);
            peer.ask(&Message::Subscribe(subscribe(id, &asked.to_string())));
            let refusal = Refusal {
                reason: Bytes::from(vec![b'x'; 200]),
                ..Refusal::new(RequestCode::DoesNotExist, "")
            };
            if let Some(Event::Request { id, .. }) = peer.event() {
                peer.session
                    .respond(peer.now, id, Response::Error(refusal))
                    .unwrap();
            }
            asked += 1;
            assert!(asked < 20);
        }
        peer.assert_closed(SessionCode::ControlMessageTimeout, "control messages");
    }
}

#[test]
fn nothing_is_read_while_too_many_events_wait() {
    let mut mine = settings(Role::Server);
    mine.limits.max_event_backlog = 3;
    for draft in DRAFTS {
        let mut peer = Scripted::with(draft, mine.clone());
        let mut session = std::mem::replace(
            &mut peer.session,
            crate::session::Session::new(settings(Role::Server)),
        );
        let now = peer.now;
        let control = peer.control();
        let mut reads = 0;
        for n in 0..10 {
            let (stream, channel) = match draft {
                Draft::D16 => (control, crate::wire::message::Channel::Control),
                Draft::D18 => {
                    let stream = StreamId::peer(100 + n);
                    let dir = Dir::Bi;
                    session.handle_input(now, crate::transport::Input::Opened { stream, dir });
                    (stream, crate::wire::message::Channel::Request)
                }
            };
            let request = Message::TrackStatus(status(2 * n, "v"));
            let mut bytes = Some(peer.encode(&request, channel));
            session.handle_input(now, crate::transport::Input::Readable(stream));
            while let Some(output) = session.poll_output(now, &mut peer.store) {
                let mut answer = crate::transport::Answer::Blocked;
                if matches!(output, crate::transport::Output::Read { .. })
                    && let Some(bytes) = bytes.take()
                {
                    reads += 1;
                    answer = crate::transport::Answer::Data(bytes);
                }
                session.handle_answer(now, answer, &mut peer.store);
            }
        }
        assert_eq!(reads, 3);
        while session.poll_event().is_some() {}
        assert!(matches!(
            session.poll_output(now, &mut peer.store),
            Some(crate::transport::Output::Read { .. })
        ));
    }
}

#[test]
fn silent_request_streams_are_bounded_and_the_oldest_goes() {
    let mut mine = settings(Role::Server);
    mine.limits.max_silent_streams = 3;
    for draft in DRAFTS {
        let mut peer = Scripted::with(draft, mine.clone());
        let streams: Vec<_> = (0..4).map(|_| peer.open(Dir::Bi)).collect();
        let code = ResetCode::ExcessiveLoad.to_wire(draft);
        assert_eq!(peer.heard[&streams[0]].stop, Some(code));
        assert!(
            streams[1..]
                .iter()
                .all(|stream| peer.heard[stream].stop.is_none())
        );
        peer.assert_alive();
    }
}

#[test]
fn two_equal_runs_are_equal() {
    let run = |draft| {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, stream) = peer.asked(&joinable(0));
        peer.ask(&join(2, id, 1));
        peer.session
            .respond(
                peer.now,
                id,
                Response::SubscribeOk(subscribe_ok(1, Some(at(1, 1)))),
            )
            .unwrap();
        peer.say_on(stream, &update(4, id, Parameters::default()));
        withdraw(&mut peer, stream, &Message::Unsubscribe(id));
        format!("{:?} {:?}", peer.outputs, peer.events)
    };
    for draft in DRAFTS {
        assert_eq!(run(draft), run(draft));
    }
}

#[test]
fn unfinished_messages_are_bounded_over_all_streams() {
    let mut mine = settings(Role::Server);
    mine.limits.max_unfinished_messages = 100_000;
    let mut peer = Scripted::with(Draft::D18, mine);
    let mut piece = vec![0x03, 0xff, 0xff];
    piece.resize(40_000, 0);
    for _ in 0..2 {
        let stream = peer.open(Dir::Bi);
        peer.send(stream, &piece);
        peer.assert_alive();
    }
    let stream = peer.open(Dir::Bi);
    peer.send(stream, &piece);
    peer.assert_closed(SessionCode::InternalError, "unfinished");
}

#[test]
fn streams_that_come_before_the_set_up_are_not_read_however_often_they_are_readable() {
    for draft in DRAFTS {
        let mut peer = Scripted::connected(draft, settings(Role::Server));
        let stream = peer.open(Dir::Bi);
        for _ in 0..10 {
            peer.send(stream, &[0x11; 100]);
        }
        let reads = peer
            .outputs
            .iter()
            .filter(|output| matches!(output, crate::transport::Output::Read { stream: of, .. } if *of == stream))
            .count();
        assert!(reads <= 2, "{reads}");
    }
}

#[test]
fn credit_of_requests_that_got_lost_is_given_back_in_16() {
    let mut mine = settings(Role::Server);
    mine.limits.max_requests = 2;
    let patience = mine.limits.request_id_gap_timeout;
    let mut peer = Scripted::with(Draft::D16, mine);
    let lost = peer.open(Dir::Bi);
    peer.send_reset(lost, 0);
    let (id, control) = peer.asked(&Message::TrackStatus(status(2, "v")));
    while peer.message(control).is_some() {}
    peer.pass(patience);
    assert_eq!(peer.message(control), Some(Message::MaxRequestId(6)));
    peer.session
        .respond(peer.now, id, Response::Ok(RequestOk::default()))
        .unwrap();
    peer.asked(&Message::TrackStatus(status(4, "v")));
}

#[test]
fn joining_fetch_that_was_withdrawn_while_it_waited_is_forgotten() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let subscribe = Subscribe {
            parameters: Parameters {
                filter: Some(Filter::LargestObject),
                ..Parameters::default()
            },
            ..subscribe(0, "v")
        };
        let (id, subscribed) = peer.asked(&Message::Subscribe(subscribe));
        let joining = FetchRange::RelativeJoining {
            joining_request_id: id,
            joining_start: 1,
        };
        let joined = peer.ask(&Message::Fetch(fetch(2, joining)));
        let waiting = |peer: &Scripted| {
            let open = peer.session.requests.find(id).unwrap();
            open.subscription().unwrap().waiting.len()
        };
        assert_eq!(waiting(&peer), 1, "{draft:?}");
        withdraw(&mut peer, joined, &Message::FetchCancel(RequestId(2)));
        assert_eq!(waiting(&peer), 0, "{draft:?}");
        let control = match draft {
            Draft::D18 => StreamId::local(0),
            Draft::D16 => subscribed,
        };
        while peer.message(control).is_some() {}
        withdraw(&mut peer, subscribed, &Message::Unsubscribe(id));
        // Nothing is said about a FETCH that is not there any more, least of all where only control messages go.
        assert_eq!(peer.message(control), None, "{draft:?}");
        peer.assert_alive();
    }
}
