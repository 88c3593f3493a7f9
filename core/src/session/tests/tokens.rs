//! § AUTHORIZATION TOKEN Parameter: what the peer registers, and what we do.

use bytes::Bytes;

use super::script::Scripted;
use super::support::{DRAFTS, discover, settings, status, subscribe};
use crate::code::{RequestCode, SessionCode};
use crate::draft::Draft;
use crate::session::{Event, Misuse, Request, Response, Role};
use crate::wire::id::RequestId;
use crate::wire::message::{Message, RequestOk, Setup, Subscribe};
use crate::wire::param::{Parameters, Token};

fn register(alias: u64, length: usize) -> Token {
    Token::Register {
        alias,
        kind: 1,
        value: Bytes::from(vec![7; length]),
    }
}

fn value(length: usize) -> Token {
    Token::UseValue {
        kind: 1,
        value: Bytes::from(vec![7; length]),
    }
}

fn with(id: u64, name: &str, tokens: Vec<Token>) -> Subscribe {
    Subscribe {
        parameters: Parameters {
            authorization_tokens: tokens,
            ..Parameters::default()
        },
        ..subscribe(id, name)
    }
}

fn heard(peer: &mut Scripted) -> Vec<Token> {
    let Some(Event::Request {
        request: Request::Subscribe(subscribe),
        ..
    }) = peer.event()
    else {
        panic!("no request: {:?}", peer.session.failure());
    };
    subscribe.parameters.authorization_tokens
}

// Rules: B130, B131
#[test]
fn tokens_are_resolved_before_the_application_sees_them_b130_b131() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        peer.ask(&Message::Subscribe(with(0, "a", vec![register(1, 3)])));
        assert_eq!(heard(&mut peer), [value(3)]);
        peer.ask(&Message::Subscribe(with(
            2,
            "b",
            vec![Token::UseAlias { alias: 1 }],
        )));
        assert_eq!(heard(&mut peer), [value(3)]);
        peer.ask(&Message::Subscribe(with(
            4,
            "c",
            vec![Token::Delete { alias: 1 }],
        )));
        assert_eq!(heard(&mut peer), []);
        peer.ask(&Message::Subscribe(with(6, "d", vec![register(1, 4)])));
        assert_eq!(heard(&mut peer), [value(4)]);
    }
}

// Rules: B134, V61
#[test]
fn v61_alias_registered_twice_closes_with_duplicate_auth_token_alias() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let tokens = vec![register(1, 3), register(1, 4)];
        peer.ask(&Message::Subscribe(with(0, "v", tokens)));
        peer.assert_closed(SessionCode::DuplicateAuthTokenAlias, "V61");
    }
}

// Rules: B135, V62
#[test]
fn v62_unknown_alias_closes_with_unknown_auth_token_alias() {
    for draft in DRAFTS {
        for token in [Token::UseAlias { alias: 9 }, Token::Delete { alias: 9 }] {
            let mut peer = Scripted::new(draft, Role::Server);
            peer.ask(&Message::Subscribe(with(0, "v", vec![token])));
            peer.assert_closed(SessionCode::UnknownAuthTokenAlias, "V62");
        }
    }
}

// Rules: B140, V63
#[test]
fn v63_cache_overflow_closes_counting_16_bytes_for_each_token_b140() {
    let mut mine = settings(Role::Server);
    mine.limits.max_auth_token_cache_size = 40;
    for draft in DRAFTS {
        let mut peer = Scripted::with(draft, mine.clone());
        let fits = vec![register(1, 3), register(2, 5)];
        peer.asked(&Message::Subscribe(with(0, "a", fits)));
        let swapped = vec![Token::Delete { alias: 1 }, register(3, 3)];
        peer.asked(&Message::Subscribe(with(2, "b", swapped)));
        peer.ask(&Message::Subscribe(with(4, "c", vec![register(4, 0)])));
        peer.assert_closed(SessionCode::AuthTokenCacheOverflow, "V63");
    }
}

// Rules: B143, V64
#[test]
fn v64_cache_overflow_in_setup_is_used_once_b143() {
    let mut mine = settings(Role::Server);
    mine.limits.max_auth_token_cache_size = 0;
    for draft in DRAFTS {
        let mut peer = Scripted::connected(draft, mine.clone());
        peer.set_up(&Setup {
            authorization_tokens: vec![register(1, 1000)],
            ..Setup::default()
        });
        let Some(Event::Established { setup, .. }) = peer.event() else {
            panic!("not established");
        };
        assert_eq!(setup.authorization_tokens, [value(1000)]);
        peer.ask(&Message::Subscribe(with(
            0,
            "v",
            vec![Token::UseAlias { alias: 1 }],
        )));
        peer.assert_closed(SessionCode::UnknownAuthTokenAlias, "V62");
    }
}

// Rules: B132, V65
#[test]
fn v65_reference_to_an_alias_in_a_clients_setup_closes_b132() {
    for draft in DRAFTS {
        for token in [Token::UseAlias { alias: 1 }, Token::Delete { alias: 1 }] {
            let mut peer = Scripted::connected(draft, settings(Role::Server));
            peer.set_up(&Setup {
                authorization_tokens: vec![token],
                ..Setup::default()
            });
            peer.assert_closed(SessionCode::ProtocolViolation, "V65");
        }
    }
}

// Rules: B137
#[test]
fn b137_token_of_a_refused_message_is_registered() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        peer.asked(&Message::Subscribe(subscribe(0, "v")));
        let stream = peer.ask(&Message::Subscribe(with(2, "v", vec![register(1, 3)])));
        while !matches!(peer.heard[&stream].bytes.first(), Some(5) | None) {
            peer.message(stream);
        }
        peer.assert_refused(stream, RequestCode::DuplicateSubscription);
        peer.ask(&Message::Subscribe(with(
            4,
            "w",
            vec![Token::UseAlias { alias: 1 }],
        )));
        assert_eq!(heard(&mut peer), [value(3)]);
    }
}

// Rules: B136, V66
#[test]
fn v66_token_that_appears_twice_is_refused_with_malformed_auth_token() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let tokens = vec![register(1, 3), Token::UseAlias { alias: 1 }];
        let stream = peer.ask(&Message::Subscribe(with(0, "v", tokens)));
        while !matches!(peer.heard[&stream].bytes.first(), Some(5) | None) {
            peer.message(stream);
        }
        peer.assert_refused(stream, RequestCode::MalformedAuthToken);
    }
}

/// A client whose peer caches so many bytes of tokens.
fn client(draft: Draft, cache: u64, own: Vec<Token>) -> Scripted {
    let mut mine = settings(Role::Client);
    mine.authorization_tokens = own;
    let mut peer = Scripted::connected(draft, mine);
    peer.set_up(&Setup {
        max_request_id: (draft == Draft::D16).then_some(100),
        max_auth_token_cache_size: Some(cache),
        ..Setup::default()
    });
    peer.event();
    peer
}

fn sent(peer: &mut Scripted, name: &str, tokens: Vec<Token>) -> Vec<Token> {
    let request = Request::Subscribe(with(0, name, tokens));
    peer.session.request(peer.now, request).unwrap();
    peer.pump();
    let stream = peer.stream();
    let mut last = None;
    while let Some(message) = peer.message(stream) {
        if let Message::Subscribe(subscribe) = message {
            last = Some(subscribe.parameters.authorization_tokens);
        }
    }
    last.unwrap()
}

// Rules: B144
#[test]
fn b144_token_that_the_peer_cannot_hold_goes_by_value() {
    for draft in DRAFTS {
        let mut peer = client(draft, 0, vec![register(1, 5)]);
        let use_it = vec![Token::UseAlias { alias: 1 }];
        assert_eq!(sent(&mut peer, "a", use_it.clone()), [value(5)]);
        let mut peer = client(draft, 100, vec![register(1, 5)]);
        assert_eq!(sent(&mut peer, "a", use_it.clone()), use_it);
        let mut peer = client(draft, 20, Vec::new());
        assert_eq!(sent(&mut peer, "a", vec![register(1, 5)]), [value(5)]);
        assert_eq!(sent(&mut peer, "b", use_it), [value(5)]);
    }
}

#[test]
fn tokens_go_by_value_beyond_what_we_register_with_any_peer() {
    for draft in DRAFTS {
        let mut mine = settings(Role::Client);
        mine.limits.max_registered_tokens = 40;
        let mut peer = Scripted::connected(draft, mine);
        peer.set_up(&Setup {
            max_request_id: (draft == Draft::D16).then_some(100),
            max_auth_token_cache_size: Some(u64::MAX >> 2),
            ..Setup::default()
        });
        peer.event();
        let registered = vec![register(1, 5)];
        assert_eq!(sent(&mut peer, "a", registered.clone()), registered);
        // 21 bytes and 20 more are one too many.
        assert_eq!(sent(&mut peer, "b", vec![register(2, 4)]), [value(4)]);
        let registered = vec![register(3, 3)];
        assert_eq!(sent(&mut peer, "c", registered.clone()), registered);
    }
}

// Rules: B141
#[test]
fn b141_alias_is_not_used_on_another_stream_before_its_registration_was_answered() {
    for draft in DRAFTS {
        let mut peer = client(draft, 100, Vec::new());
        let request = Request::TrackStatus(crate::wire::message::TrackStatus {
            parameters: Parameters {
                authorization_tokens: vec![register(1, 5)],
                ..Parameters::default()
            },
            ..status(0, "x")
        });
        let (id, stream) = peer.request(request);
        let use_it = vec![Token::UseAlias { alias: 1 }];
        let early = sent(&mut peer, "a", use_it.clone());
        match draft {
            Draft::D18 => assert_eq!(early, [value(5)]),
            Draft::D16 => assert_eq!(early, use_it),
        }
        peer.say_on(
            stream,
            &Message::RequestOk(RequestOk {
                request_id: Some(id),
                ..RequestOk::default()
            }),
        );
        assert!(matches!(
            peer.event(),
            Some(Event::Response {
                response: Response::Ok(_),
                ..
            })
        ));
        assert_eq!(sent(&mut peer, "b", use_it.clone()), use_it);
    }
}

// Rules: B142
#[test]
fn b142_alias_is_not_deleted_while_a_message_that_uses_it_is_unanswered() {
    for draft in DRAFTS {
        let mut peer = client(draft, 100, vec![register(1, 5)]);
        sent(&mut peer, "a", vec![Token::UseAlias { alias: 1 }]);
        let delete = Request::Subscribe(with(0, "b", vec![Token::Delete { alias: 1 }]));
        let early = peer.session.request(peer.now, delete.clone());
        assert!(matches!(early, Err(Misuse::Token(_))));
        let id = RequestId(0);
        peer.session
            .cancel(peer.now, id, crate::code::ResetCode::Cancelled)
            .unwrap();
        assert!(peer.session.request(peer.now, delete).is_ok());
    }
}

/// On streams of their own messages may overtake each other, or never be read once they are withdrawn.
#[test]
fn aliases_that_the_peer_may_not_have_heard_of_are_not_said_again() {
    let cancel = |peer: &mut Scripted, id| {
        let code = crate::code::ResetCode::Cancelled;
        peer.session.cancel(peer.now, id, code).unwrap();
    };
    let use_it = vec![Token::UseAlias { alias: 1 }];
    let delete = vec![Token::Delete { alias: 1 }];
    // registered in vain, perhaps
    let mut peer = client(Draft::D18, 100, Vec::new());
    sent(&mut peer, "a", vec![register(1, 5)]);
    cancel(&mut peer, RequestId(0));
    assert_eq!(sent(&mut peer, "b", use_it.clone()), [value(5)]);
    assert_eq!(sent(&mut peer, "c", delete.clone()), []);
    assert_eq!(sent(&mut peer, "d", vec![register(1, 6)]), [value(6)]);
    // used by a message that may arrive after the next
    let mut peer = client(Draft::D18, 100, vec![register(1, 5)]);
    assert_eq!(sent(&mut peer, "a", use_it.clone()), use_it);
    cancel(&mut peer, RequestId(0));
    assert_eq!(sent(&mut peer, "b", delete.clone()), []);
    assert_eq!(sent(&mut peer, "c", vec![register(1, 6)]), [value(6)]);
    // deleted in a message that is not answered yet
    let mut peer = client(Draft::D18, 100, vec![register(1, 5)]);
    assert_eq!(sent(&mut peer, "a", delete.clone()), delete);
    assert_eq!(sent(&mut peer, "b", vec![register(1, 6)]), [value(6)]);
}

/// In draft 16 too a few requests have streams of their own, which overtake the others' stream and are overtaken by it.
#[test]
fn beside_the_shared_stream_only_aliases_that_the_peer_has_heard_of_are_said() {
    let ask = |peer: &mut Scripted, field: &str, tokens: Vec<Token>| {
        let mut request = discover(0, &[field]);
        request.parameters.authorization_tokens = tokens;
        let request = Request::SubscribeNamespace(request);
        let id = peer.session.request(peer.now, request).unwrap();
        peer.pump();
        let stream = peer.last_request_stream();
        let Some(Message::SubscribeNamespace(sent)) = peer.message(stream) else {
            panic!("nothing was asked");
        };
        (id, sent.parameters.authorization_tokens)
    };
    let use_it = vec![Token::UseAlias { alias: 1 }];
    let delete = vec![Token::Delete { alias: 1 }];
    // registered on the shared stream, and not answered
    let mut peer = client(Draft::D16, 100, Vec::new());
    sent(&mut peer, "a", vec![register(1, 5)]);
    assert_eq!(ask(&mut peer, "x", use_it.clone()).1, [value(5)]);
    assert_eq!(ask(&mut peer, "y", delete.clone()).1, []);
    assert_eq!(sent(&mut peer, "b", vec![register(1, 6)]), [value(6)]);
    // registered beside it
    let mut peer = client(Draft::D16, 100, Vec::new());
    assert_eq!(ask(&mut peer, "x", vec![register(1, 5)]).1, [value(5)]);
    assert_eq!(sent(&mut peer, "a", use_it.clone()), [value(5)]);
    // used beside it by a message that may arrive after the next
    let mut peer = client(Draft::D16, 100, vec![register(1, 5)]);
    let (id, said) = ask(&mut peer, "x", use_it.clone());
    assert_eq!(said, use_it);
    let code = crate::code::ResetCode::Cancelled;
    peer.session.cancel(peer.now, id, code).unwrap();
    assert_eq!(sent(&mut peer, "a", delete), []);
}

#[test]
fn references_to_aliases_that_were_never_registered_are_misuse() {
    for draft in DRAFTS {
        let mut peer = client(draft, 100, vec![register(1, 5)]);
        for token in [
            Token::UseAlias { alias: 2 },
            Token::Delete { alias: 2 },
            register(1, 5),
        ] {
            let request = Request::Subscribe(with(0, "a", vec![token]));
            let misuse = peer.session.request(peer.now, request);
            assert!(matches!(misuse, Err(Misuse::Token(_))));
        }
    }
}
