//! § Reserved Namespaces, § Mandatory Track Properties, § Redirect Structure, § SUBSCRIBE_NAMESPACE.

use bytes::Bytes;

use super::script::Scripted;
use super::support::{
    DRAFTS, announce, at, discover, error, fetch, fetch_ok, mandatory, namespace, publish, range,
    settings, status, subscribe, subscribe_ok, track,
};
use crate::code::{RequestCode, ResetCode, SessionCode};
use crate::draft::Draft;
use crate::session::{Event, Misuse, Refusal, Request, Response, Role};
use crate::wire::id::RequestId;
use crate::wire::message::{
    FetchOk, GoAway, Message, Publish, Redirect, RequestError, RequestOk, Subscribe, SubscribeOk,
    SubscribeTracks,
};
use crate::wire::name::{FullTrackName, TrackName};
use crate::wire::param::Parameters;
use crate::wire::property::{Properties, Value};

// Rules: B018, B021, B022, B069, V25 (18), V26 (18)
#[test]
fn v25_v26_reserved_namespaces_are_refused_in_18_and_the_application_is_not_asked() {
    for fields in [&["."][..], &[".", "a"], &[".session"], &[".session", "x"]] {
        for name in ["", "t"] {
            let track = FullTrackName {
                namespace: namespace(fields),
                name: TrackName::new(name).unwrap(),
            };
            let requests = [
                Message::Subscribe(Subscribe {
                    track: track.clone(),
                    ..subscribe(0, "")
                }),
                Message::Publish(Publish {
                    track: track.clone(),
                    ..publish(0, "", 1)
                }),
                Message::TrackStatus(crate::wire::message::TrackStatus {
                    track: track.clone(),
                    ..status(0, "")
                }),
                Message::PublishNamespace(announce(0, fields)),
                Message::SubscribeNamespace(discover(0, fields)),
                Message::Fetch(fetch(
                    0,
                    crate::wire::message::FetchRange::Standalone {
                        track: track.clone(),
                        start: at(0, 0),
                        end: at(1, 0),
                    },
                )),
            ];
            for request in requests {
                let mut peer = Scripted::new(Draft::D18, Role::Server);
                let stream = peer.ask(&request);
                peer.assert_refused(stream, RequestCode::DoesNotExist);
                assert!(peer.heard[&stream].fin);
            }
        }
    }
}

// Rules: B016, B017, B018, B019
#[test]
fn other_reserved_namespaces_are_passed_on_b017_and_not_published_b016_b019() {
    let mut peer = Scripted::new(Draft::D18, Role::Server);
    peer.asked(&Message::PublishNamespace(announce(0, &[".foo"])));
    for name in [".", ".foo", ".session"] {
        let announced = Request::PublishNamespace(announce(0, &[name]));
        assert_eq!(
            peer.session.request(peer.now, announced),
            Err(Misuse::ReservedNamespace)
        );
        let mut publish = publish(0, "v", 1);
        publish.track.namespace = namespace(&[name]);
        assert_eq!(
            peer.session.request(peer.now, Request::Publish(publish)),
            Err(Misuse::ReservedNamespace)
        );
    }
    let mut peer = Scripted::new(Draft::D16, Role::Server);
    peer.asked(&Message::PublishNamespace(announce(0, &["."])));
    peer.request(Request::PublishNamespace(announce(0, &[".foo"])));
}

// Rules: B048, B049, B050, B052, V50 (18)
#[test]
fn v50_track_with_an_unknown_mandatory_property_is_refused_or_cancelled_b048_b052() {
    let mut peer = Scripted::new(Draft::D18, Role::Server);
    let stream = peer.ask(&Message::Publish(Publish {
        properties: mandatory(),
        ..publish(0, "v", 1)
    }));
    peer.assert_refused(stream, RequestCode::UnsupportedExtension);

    let mut peer = Scripted::new(Draft::D18, Role::Client);
    let (_, stream) = peer.request(Request::Subscribe(subscribe(0, "v")));
    peer.say_on(
        stream,
        &Message::SubscribeOk(SubscribeOk {
            properties: mandatory(),
            ..subscribe_ok(1, None)
        }),
    );
    assert_unsupported(&mut peer, stream);

    let mut peer = Scripted::new(Draft::D18, Role::Client);
    let (_, stream) = peer.request(Request::Fetch(fetch(0, range("v", (0, 0), (1, 0)))));
    peer.say_on(
        stream,
        &Message::FetchOk(FetchOk {
            properties: mandatory(),
            ..fetch_ok(at(1, 0))
        }),
    );
    assert_unsupported(&mut peer, stream);
}

fn assert_unsupported(peer: &mut Scripted, stream: crate::transport::StreamId) {
    let Some(Event::Response {
        response: Response::Error(refusal),
        ..
    }) = peer.event()
    else {
        panic!("not refused");
    };
    assert_eq!(refusal.code, RequestCode::UnsupportedExtension);
    assert!(peer.heard[&stream].reset.is_some() && peer.heard[&stream].stop.is_some());
    assert_eq!(peer.session.open_requests(), 0);
    peer.assert_alive();
}

// Rules: B055
#[test]
fn unknown_property_that_is_not_mandatory_is_let_pass() {
    let list = [(0x3ff2, Value::Integer(1))];
    let properties = Properties::from_list(crate::draft::IntegerKind::Vi64, list).unwrap();
    for draft in DRAFTS {
        let properties = properties.reencode(draft.profile().integers).unwrap();
        let mut peer = Scripted::new(draft, Role::Server);
        peer.asked(&Message::Publish(Publish {
            properties,
            ..publish(0, "v", 1)
        }));
    }
}

// Rules: B182, V58 (18)
#[test]
fn v58_redirect_to_a_uri_by_a_client_closes_in_18() {
    let redirect = Redirect {
        uri: Bytes::from_static(b"moqt://elsewhere"),
        ..Redirect::default()
    };
    let refusal = RequestError {
        redirect: Some(redirect.clone()),
        ..error(RequestCode::Redirect)
    };
    // Forged: our encoder would refuse to write it for a client.
    let origin = crate::wire::message::Origin {
        profile: Draft::D18.profile(),
        sender: Role::Server,
        channel: crate::wire::message::Channel::Request,
    };
    let bytes = Message::RequestError(refusal).encode(origin).unwrap();
    let mut peer = Scripted::new(Draft::D18, Role::Server);
    let (_, stream) = peer.request(Request::Subscribe(subscribe(0, "v")));
    peer.send(stream, &bytes);
    peer.assert_closed(SessionCode::ProtocolViolation, "V58");

    let mut peer = Scripted::new(Draft::D18, Role::Client);
    let (id, stream) = peer.request(Request::Subscribe(subscribe(0, "v")));
    peer.send(stream, &bytes);
    assert!(matches!(
        peer.event(),
        Some(Event::Response { id: of, response: Response::Error(refusal) })
            if of == id && refusal.redirect == Some(redirect)
    ));
}

// Rules: B183, V59 (18)
#[test]
fn v59_redirect_of_a_namespace_request_to_a_track_closes_in_18() {
    let refusal = Message::RequestError(RequestError {
        redirect: Some(Redirect {
            track: track("x"),
            ..Redirect::default()
        }),
        ..error(RequestCode::Redirect)
    });
    for request in [
        Request::PublishNamespace(announce(0, &["a"])),
        Request::SubscribeNamespace(discover(0, &["a"])),
    ] {
        let mut peer = Scripted::new(Draft::D18, Role::Client);
        let (_, stream) = peer.request(request);
        peer.say_on(stream, &refusal);
        peer.assert_closed(SessionCode::ProtocolViolation, "V59");
    }
}

#[test]
fn own_redirects_follow_the_same_rules_and_become_does_not_exist_in_16() {
    let to_uri = Refusal {
        redirect: Some(Redirect {
            uri: Bytes::from_static(b"moqt://h"),
            ..Redirect::default()
        }),
        ..Refusal::new(RequestCode::Redirect, "")
    };
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let (id, _) = peer.asked(&Message::Subscribe(subscribe(1, "v")));
        let misuse = peer
            .session
            .respond(peer.now, id, Response::Error(to_uri.clone()));
        assert!(matches!(misuse, Err(Misuse::WrongState(_))));

        let mut peer = Scripted::new(draft, Role::Server);
        let (id, stream) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
        while peer.message(stream).is_some() {}
        peer.session
            .respond(peer.now, id, Response::Error(to_uri.clone()))
            .unwrap();
        let code = match draft {
            Draft::D18 => RequestCode::Redirect,
            Draft::D16 => RequestCode::DoesNotExist,
        };
        peer.assert_refused(stream, code);
    }
}

// Rules: B280, B281, V87
#[test]
fn v87_overlapping_prefixes_are_refused_per_kind_in_18_and_over_all_in_16_b280_b281() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        peer.asked(&Message::SubscribeNamespace(discover(0, &["a", "b"])));
        let mut id = 2;
        for fields in [&["a"][..], &["a", "b"], &["a", "b", "c"], &[]] {
            let stream = peer.ask(&Message::SubscribeNamespace(discover(id, fields)));
            peer.assert_refused(stream, RequestCode::PrefixOverlap);
            id += 2;
        }
        peer.asked(&Message::SubscribeNamespace(discover(id, &["a", "c"])));
        id += 2;
        if draft == Draft::D18 {
            let tracks = |id| SubscribeTracks {
                request_id: RequestId(id),
                prefix: namespace(&["a"]),
                parameters: Parameters::default(),
            };
            peer.asked(&Message::SubscribeTracks(tracks(id)));
            let stream = peer.ask(&Message::SubscribeTracks(tracks(id + 2)));
            peer.assert_refused(stream, RequestCode::PrefixOverlap);
        } else {
            let both = crate::wire::message::SubscribeNamespace {
                interest: crate::wire::message::Interest::Tracks,
                ..discover(id, &["a"])
            };
            let stream = peer.ask(&Message::SubscribeNamespace(both));
            peer.assert_refused(stream, RequestCode::PrefixOverlap);
        }
    }
}

// Rules: B194
#[test]
fn own_overlapping_prefixes_are_misuse_b194() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        peer.request(Request::SubscribeNamespace(discover(0, &["a"])));
        let overlap = peer.session.request(
            peer.now,
            Request::SubscribeNamespace(discover(0, &["a", "b"])),
        );
        assert_eq!(overlap, Err(Misuse::PrefixOverlap));
        peer.request(Request::SubscribeNamespace(discover(0, &["b"])));
    }
}

// Rules: B271, V34 (18)
#[test]
fn v34_anything_before_the_answer_to_a_namespace_request_closes_b271() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let id = peer
            .session
            .request(peer.now, Request::SubscribeNamespace(discover(0, &["a"])));
        assert!(id.is_ok());
        peer.pump();
        let stream = peer.last_request_stream();
        peer.say_on(
            stream,
            &Message::Namespace(crate::wire::message::Namespace {
                suffix: namespace(&["x"]),
            }),
        );
        peer.assert_closed(SessionCode::ProtocolViolation, "V34");
    }
}

// Rules: V34 (18)
#[test]
fn v34_goaway_namespace_done_or_publish_blocked_before_the_answer_closes_in_18() {
    let suffix = || crate::wire::message::Namespace {
        suffix: namespace(&["x"]),
    };
    let tracks = SubscribeTracks {
        request_id: RequestId(0),
        prefix: namespace(&["a"]),
        parameters: Parameters::default(),
    };
    let cases = [
        (
            Request::SubscribeNamespace(discover(0, &["a"])),
            Message::NamespaceDone(suffix()),
        ),
        (
            Request::SubscribeNamespace(discover(0, &["a"])),
            Message::GoAway(GoAway::default()),
        ),
        (
            Request::SubscribeTracks(tracks.clone()),
            Message::GoAway(GoAway::default()),
        ),
        (
            Request::SubscribeTracks(tracks),
            Message::PublishBlocked(crate::wire::message::PublishBlocked::default()),
        ),
    ];
    for (request, message) in cases {
        let mut peer = Scripted::new(Draft::D18, Role::Client);
        let (_, stream) = peer.request(request);
        peer.say_on(stream, &message);
        peer.assert_closed(SessionCode::ProtocolViolation, "V34");
    }

    // Nor do we say so.
    let mut peer = Scripted::new(Draft::D18, Role::Server);
    let (id, stream) = peer.asked(&Message::SubscribeNamespace(discover(0, &["a"])));
    let early = peer.session.go_away(peer.now, Some(id), GoAway::default());
    assert!(matches!(early, Err(Misuse::WrongState(_))));
    // The one who asked may.
    peer.say_on(stream, &Message::GoAway(GoAway::default()));
    assert!(matches!(peer.event(), Some(Event::GoAway { .. })));
    peer.assert_alive();
}

// Rules: V86
// Rules: B283
#[test]
fn v86_namespace_done_without_namespace_closes_b283() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        peer.session
            .request(peer.now, Request::SubscribeNamespace(discover(0, &["a"])))
            .unwrap();
        peer.pump();
        let stream = peer.last_request_stream();
        let ok = Message::RequestOk(RequestOk {
            request_id: Some(RequestId(0)),
            ..RequestOk::default()
        });
        peer.say_on(stream, &ok);
        let gone = Message::NamespaceDone(crate::wire::message::Namespace {
            suffix: namespace(&["x"]),
        });
        peer.say_on(stream, &gone);
        peer.assert_closed(SessionCode::ProtocolViolation, "V86");
    }
}

#[test]
fn namespaces_of_one_request_are_bounded() {
    let mut mine = settings(Role::Client);
    mine.limits.max_namespaces = 3;
    for draft in DRAFTS {
        let mut peer = Scripted::with(draft, mine.clone());
        let id = peer
            .session
            .request(peer.now, Request::SubscribeNamespace(discover(0, &["a"])))
            .unwrap();
        peer.pump();
        let stream = peer.last_request_stream();
        peer.say_on(
            stream,
            &Message::RequestOk(RequestOk {
                request_id: Some(id),
                ..RequestOk::default()
            }),
        );
        for name in ["1", "2", "3", "4"] {
            peer.say_on(
                stream,
                &Message::Namespace(crate::wire::message::Namespace {
                    suffix: namespace(&[name]),
                }),
            );
        }
        let over: Vec<Event> = peer.events.drain(..).collect();
        assert!(matches!(
            over.last(),
            Some(Event::Cancelled {
                code: Some(ResetCode::ExcessiveLoad),
                ..
            })
        ));
        assert!(peer.heard[&stream].stop.is_some());
        peer.assert_alive();

        let mut mine = mine.clone();
        mine.role = Role::Server;
        let mut peer = Scripted::with(draft, mine);
        let (id, _) = peer.asked(&Message::SubscribeNamespace(discover(0, &["a"])));
        peer.session
            .respond(peer.now, id, Response::Ok(RequestOk::default()))
            .unwrap();
        for name in ["1", "2", "3"] {
            peer.session
                .namespace(peer.now, id, &namespace(&[name]))
                .unwrap();
        }
        let fourth = peer.session.namespace(peer.now, id, &namespace(&["4"]));
        assert_eq!(fourth, Err(Misuse::Blocked));
    }
}
