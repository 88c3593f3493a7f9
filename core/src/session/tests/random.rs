//! Whatever peers and applications do, in whatever order: no panic, no accusation without reason, nothing left over.

use bytes::Bytes;
use proptest::prelude::*;

use super::pair::Pair;
use super::script::Scripted;
use super::support::{
    announce, at, discover, fetch, fetch_ok, publish, range, settings, status, subscribe,
    subscribe_ok,
};
use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::draft::Draft;
use crate::session::{Event, Misuse, Refusal, Request, Response, Role, Session};
use crate::time::Time;
use crate::transport::{Dir, StreamId};
use crate::wire::id::{GroupId, RequestId, SubgroupId};
use crate::wire::message::{Interest, RequestOk, SubscribeNamespace};
use crate::wire::param::Parameters;

fn draft() -> impl Strategy<Value = Draft> {
    prop_oneof![Just(Draft::D18), Just(Draft::D16)]
}

/// Choices that come from the test's input, and from nothing when it is used up.
struct Choices {
    left: Vec<u8>,
}

impl Choices {
    fn next(&mut self, below: u8) -> u8 {
        self.left.pop().unwrap_or_default() % below.max(1)
    }
}

/// What one application knows.
#[derive(Default)]
struct Application {
    requests: Vec<RequestId>,
    unanswered: Vec<(RequestId, Request)>,
    updates: Vec<(RequestId, RequestId)>,
    over: Vec<RequestId>,
}

impl Application {
    fn hear(&mut self, session: &mut Session) {
        while let Some(event) = session.poll_event() {
            if let Event::Request { id, request } = event {
                self.unanswered.push((id, request));
                self.requests.push(id);
            } else if let Event::Update { id, update, .. } = event {
                self.updates.push((id, update));
            } else if let Event::Cancelled { id, .. } | Event::Done { id, .. } = event {
                assert!(!self.over.contains(&id), "the end of {id:?} is told twice");
                self.over.push(id);
            }
        }
    }

    fn act(&mut self, now: Time, session: &mut Session, choices: &mut Choices) {
        let name = ["v", "w", "x"][usize::from(choices.next(3))];
        let any = |choices: &mut Choices, list: &[RequestId]| {
            let at = usize::from(choices.next(u8::try_from(list.len()).unwrap_or(u8::MAX)));
            list.get(at).copied().unwrap_or(RequestId(0))
        };
        match choices.next(12) {
            0..4 => {
                let request = some_request(choices, name);
                match session.request(now, request) {
                    Ok(id) => self.requests.push(id),
                    Err(
                        Misuse::Blocked
                        | Misuse::DuplicateSubscription
                        | Misuse::DuplicateTrackAlias
                        | Misuse::PrefixOverlap
                        | Misuse::NotExpressible(_),
                    ) => {}
                    Err(misuse) => panic!("{misuse}"),
                }
            }
            4..8 => {
                if let Some((id, request)) = self.unanswered.pop() {
                    let answer = some_answer(choices, id, &request);
                    // It may be over by now, or the alias taken.
                    let _over = session.respond(now, id, answer);
                }
            }
            8 => {
                let parameters = Parameters {
                    forward: (choices.next(2) == 0).then_some(true),
                    ..Parameters::default()
                };
                let id = any(choices, &self.requests);
                let _unfit = session.update(now, id, parameters);
            }
            9 => {
                if let Some((id, update)) = self.updates.pop() {
                    let answer = if choices.next(3) == 0 {
                        Err(Refusal::new(RequestCode::InvalidRange, "no"))
                    } else {
                        Ok(RequestOk::default())
                    };
                    let _over = session.respond_to_update(now, id, update, answer);
                }
            }
            10 => {
                let id = any(choices, &self.requests);
                let _over = session.cancel(now, id, ResetCode::Cancelled);
            }
            _ => {
                let id = any(choices, &self.requests);
                if choices.next(2) == 0 {
                    let _unfit = session.done(now, id, DoneCode::TrackEnded, "over");
                } else if let Ok(stream) =
                    session.open_subgroup(now, id, GroupId(0), SubgroupId(0), 0)
                {
                    session.reset_stream(now, stream, ResetCode::Cancelled);
                }
            }
        }
    }
}

fn some_request(choices: &mut Choices, name: &str) -> Request {
    match choices.next(6) {
        0 | 1 => Request::Subscribe(subscribe(0, name)),
        2 => {
            let alias = 10 + u64::from(name.as_bytes()[0]);
            Request::Publish(publish(0, name, alias))
        }
        3 => Request::Fetch(fetch(0, range(name, (0, 0), (1, 0)))),
        4 => match choices.next(3) {
            0 => Request::TrackStatus(status(0, name)),
            _ => Request::PublishNamespace(announce(0, &[name])),
        },
        _ => Request::SubscribeNamespace(SubscribeNamespace {
            interest: Interest::Namespaces,
            ..discover(0, &[name])
        }),
    }
}

fn some_answer(choices: &mut Choices, id: RequestId, request: &Request) -> Response {
    if choices.next(3) == 0 {
        return Response::Error(Refusal::new(RequestCode::DoesNotExist, "no"));
    }
    match request {
        Request::Subscribe(_) => Response::SubscribeOk(subscribe_ok(1000 + id.0, Some(at(1, 1)))),
        Request::Fetch(_) => Response::FetchOk(fetch_ok(at(1, 0))),
        Request::Publish(_)
        | Request::TrackStatus(_)
        | Request::PublishNamespace(_)
        | Request::SubscribeNamespace(_)
        | Request::SubscribeTracks(_) => Response::Ok(RequestOk::default()),
    }
}

proptest! {

    // Rules: B066
    /// Two applications use everything at random, and their messages cross: neither session accuses the other.
    #[test]
    fn correct_peers_never_close_each_other(
        draft in draft(),
        left in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut choices = Choices { left };
        let mut pair = Pair::new(draft);
        let (mut client, mut server) = (Application::default(), Application::default());
        while !choices.left.is_empty() {
            match choices.next(6) {
                0 => pair.step_client(),
                1 => pair.step_server(),
                2 | 3 => client.act(pair.now, &mut pair.client.session, &mut choices),
                _ => server.act(pair.now, &mut pair.server.session, &mut choices),
            }
            client.hear(&mut pair.client.session);
            server.hear(&mut pair.server.session);
        }
        pair.pump();
        prop_assert_eq!(pair.client.session.failure(), None);
        prop_assert_eq!(pair.server.session.failure(), None);
        // Everything can be ended, and then nothing is left.
        client.hear(&mut pair.client.session);
        server.hear(&mut pair.server.session);
        for id in client.requests.iter().chain(&server.requests) {
            let _over = pair.client.session.cancel(pair.now, *id, ResetCode::Cancelled);
            pair.pump();
            let _over = pair.server.session.cancel(pair.now, *id, ResetCode::Cancelled);
            pair.pump();
        }
        prop_assert_eq!(pair.client.session.failure(), None);
        prop_assert_eq!(pair.server.session.failure(), None);
        prop_assert_eq!(pair.client.session.open_requests(), 0);
        prop_assert_eq!(pair.server.session.open_requests(), 0);
    }

    /// Bytes of any kind on streams of any kind.
    #[test]
    fn no_bytes_of_a_peer_cause_a_panic(
        draft in draft(),
        client in any::<bool>(),
        set_up in any::<bool>(),
        pieces in proptest::collection::vec(
            (0_u8..6, proptest::collection::vec(any::<u8>(), 0..40), 0_u8..8),
            0..30,
        ),
    ) {
        let role = if client { Role::Client } else { Role::Server };
        let mut peer = if set_up {
            Scripted::new(draft, role)
        } else {
            Scripted::connected(draft, settings(role))
        };
        let mut streams: Vec<StreamId> = Vec::new();
        for (target, bytes, how) in pieces {
            let known = streams.get(usize::from(target)).copied();
            let stream = known.unwrap_or_else(|| {
                let dir = if how % 2 == 0 { Dir::Bi } else { Dir::Uni };
                let stream = peer.open(dir);
                streams.push(stream);
                stream
            });
            match how {
                6 => peer.send_reset(stream, 1),
                7 => peer.send_fin(stream),
                _ => {
                    if set_up && target == 5 {
                        let control = peer.control();
                        peer.send(control, &bytes);
                    } else {
                        peer.send(stream, &bytes);
                    }
                }
            }
        }
        if peer.session.is_closed() {
            let closed = peer.events.iter().filter(|event| matches!(event, Event::Closed(_)));
            prop_assert_eq!(closed.count(), 1);
            prop_assert!(peer.close.is_some());
        }
    }
}

#[test]
fn reason_of_a_refusal_is_cut_between_characters() {
    let mut peer = Scripted::new(Draft::D18, Role::Server);
    let (id, stream) = peer.asked(&crate::wire::message::Message::Subscribe(subscribe(0, "v")));
    let refusal = Refusal {
        reason: Bytes::from("é".repeat(600)),
        ..Refusal::new(RequestCode::DoesNotExist, "")
    };
    // An odd start makes the cut fall inside a character.
    let refusal = Refusal {
        reason: Bytes::from([b"x", refusal.reason.as_ref()].concat()),
        ..refusal
    };
    peer.session
        .respond(peer.now, id, Response::Error(refusal))
        .unwrap();
    let Some(crate::wire::message::Message::RequestError(error)) = peer.message(stream) else {
        panic!("no answer");
    };
    assert_eq!(error.reason.len(), 1023);
    assert!(std::str::from_utf8(&error.reason).is_ok());
}
