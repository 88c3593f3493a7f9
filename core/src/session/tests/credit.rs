//! § Request ID: numbers, credit, and how many requests may be open.

use super::script::Scripted;
use super::support::{DRAFTS, discover, publish, settings, status, subscribe};
use crate::code::{RequestCode, ResetCode, SessionCode};
use crate::draft::Draft;
use crate::session::{Event, Misuse, Refusal, Request, Response, Role};
use crate::transport::{Dir, Input, Output};
use crate::wire::id::RequestId;
use crate::wire::message::{Message, RequestOk, Retry, Setup};
use crate::wire::param::Parameters;

const ROLES: [Role; 2] = [Role::Client, Role::Server];

// Rules: B093, V27
#[test]
fn v27_request_id_of_wrong_parity_closes_with_invalid_request_id_in_16_and_18() {
    for draft in DRAFTS {
        for role in ROLES {
            let mut peer = Scripted::new(draft, role);
            let wrong = peer.theirs(0) ^ 1;
            peer.ask(&Message::Subscribe(subscribe(wrong, "v")));
            peer.assert_closed(SessionCode::InvalidRequestId, "V27");
        }
    }
}

// Rules: B093, V28
#[test]
fn v28_request_id_used_twice_closes_with_invalid_request_id_in_16_and_18() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        peer.asked(&Message::Subscribe(subscribe(0, "v")));
        peer.ask(&Message::Subscribe(subscribe(0, "w")));
        peer.assert_closed(SessionCode::InvalidRequestId, "V28");
    }
}

// Rules: V28
#[test]
fn v28_update_with_a_used_id_closes_except_a_publishs_own_in_18() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, stream) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
        peer.say_on(
            stream,
            &super::updates::update(id.0, id, Parameters::default()),
        );
        peer.assert_closed(SessionCode::InvalidRequestId, "V28");
    }
    let mut peer = Scripted::new(Draft::D18, Role::Server);
    let (id, stream) = peer.asked(&Message::Publish(publish(0, "v", 1)));
    for _ in 0..3 {
        peer.say_on(
            stream,
            &super::updates::update(id.0, id, Parameters::default()),
        );
        assert!(matches!(peer.event(), Some(Event::Update { update, .. }) if update == id));
    }
    peer.assert_alive();
}

// Rules: B093 (16), V29 (16)
#[test]
fn v29_skipped_request_id_closes_in_16_once_no_stream_can_bring_it() {
    let mut peer = Scripted::new(Draft::D16, Role::Server);
    peer.asked(&Message::Subscribe(subscribe(2, "v")));
    peer.pass(settings(Role::Server).limits.request_id_gap_timeout);
    peer.assert_closed(SessionCode::InvalidRequestId, "V29");
}

#[test]
fn v29_request_ids_may_come_out_of_order_over_several_streams_in_16() {
    let mut peer = Scripted::new(Draft::D16, Role::Server);
    peer.asked(&Message::Subscribe(subscribe(2, "v")));
    peer.asked(&Message::SubscribeNamespace(discover(0, &["a"])));
    peer.pass(settings(Role::Server).limits.request_id_gap_timeout);
    peer.assert_alive();
}

#[test]
fn v29_stream_that_ended_unread_accounts_for_a_skipped_id_in_16() {
    let mut peer = Scripted::new(Draft::D16, Role::Server);
    let lost = peer.open(Dir::Bi);
    peer.send_reset(lost, 0);
    // A request and an update of it were on that stream.
    peer.asked(&Message::Subscribe(subscribe(4, "v")));
    peer.pass(settings(Role::Server).limits.request_id_gap_timeout);
    peer.assert_alive();
    peer.asked(&Message::Subscribe(subscribe(6, "w")));
}

#[test]
fn v29_updates_of_a_request_that_is_over_count_in_16() {
    for is_reset in [false, true] {
        let mut peer = Scripted::new(Draft::D16, Role::Server);
        let message = Message::SubscribeNamespace(discover(0, &["a"]));
        let (id, stream) = peer.asked(&message);
        let refusal = Refusal::new(RequestCode::DoesNotExist, "no");
        let refused = peer.session.respond(peer.now, id, Response::Error(refusal));
        refused.unwrap();
        peer.pump();
        // Said before the refusal arrived; a reset takes it with it.
        if is_reset {
            peer.send_reset(stream, 0);
        } else {
            peer.say_on(
                stream,
                &super::updates::update(2, id, Parameters::default()),
            );
        }
        peer.asked(&Message::Subscribe(subscribe(4, "v")));
        peer.pass(settings(Role::Server).limits.request_id_gap_timeout);
        peer.assert_alive();
    }
}

// Rules: B093 (18), V29 (18)
#[test]
fn v29_order_of_request_ids_does_not_matter_in_18() {
    let mut peer = Scripted::new(Draft::D18, Role::Server);
    for id in [8, 0, 4] {
        peer.asked(&Message::TrackStatus(status(id, "v")));
    }
    assert_eq!(peer.session.poll_timeout(), None);
}

// Rules: B096, V30 (16)
#[test]
fn v30_request_id_beyond_the_maximum_closes_with_too_many_requests_in_16() {
    let mut mine = settings(Role::Server);
    mine.limits.max_requests = 2;
    let mut peer = Scripted::with(Draft::D16, mine);
    peer.asked(&Message::TrackStatus(status(0, "v")));
    peer.asked(&Message::TrackStatus(status(2, "v")));
    peer.ask(&Message::TrackStatus(status(4, "v")));
    peer.assert_closed(SessionCode::TooManyRequests, "V30");
}

// Rules: B098
#[test]
fn b098_credit_is_renewed_when_requests_end_in_16() {
    let mut mine = settings(Role::Server);
    mine.limits.max_requests = 2;
    let mut peer = Scripted::with(Draft::D16, mine);
    let control = peer.control();
    while peer.message(control).is_some() {}
    for n in 0..10 {
        let (id, _) = peer.asked(&Message::TrackStatus(status(2 * n, "v")));
        peer.session
            .respond(peer.now, id, Response::Ok(RequestOk::default()))
            .unwrap();
        peer.pump();
    }
    let mut limits = Vec::new();
    while let Some(message) = peer.message(control) {
        if let Message::MaxRequestId(limit) = message {
            limits.push(limit);
        }
    }
    assert_eq!(limits, [6, 8, 10, 12, 14, 16, 18, 20, 22, 24]);
    peer.assert_alive();
}

// Rules: B095, V31 (16)
#[test]
fn v31_max_request_id_that_does_not_increase_closes_in_16() {
    for limit in [200, 100] {
        let mut peer = Scripted::new(Draft::D16, Role::Client);
        peer.say(&Message::MaxRequestId(limit));
        peer.assert_closed(SessionCode::ProtocolViolation, "V31");
    }
}

// Rules: B094, B097
#[test]
fn requests_without_credit_are_blocked_and_the_peer_is_told_once_b094_b097() {
    let mut peer = Scripted::connected(Draft::D16, settings(Role::Client));
    peer.set_up(&Setup::default());
    let control = peer.control();
    while peer.message(control).is_some() {}
    peer.event();
    let request = Request::Subscribe(subscribe(0, "v"));
    for _ in 0..2 {
        let blocked = peer.session.request(peer.now, request.clone());
        assert_eq!(blocked, Err(Misuse::Blocked));
    }
    assert_eq!(peer.message(control), Some(Message::RequestsBlocked(0)));
    assert_eq!(peer.message(control), None);
    peer.say(&Message::MaxRequestId(2));
    assert_eq!(peer.event(), Some(Event::CanRequest));
    assert!(peer.session.request(peer.now, request).is_ok());
}

#[test]
fn requests_without_stream_credit_are_blocked_in_18() {
    let mut peer = Scripted::new(Draft::D18, Role::Client);
    peer.no_streams = true;
    // The first one finds out, and waits.
    let first = Request::Subscribe(subscribe(0, "v"));
    assert_eq!(peer.session.request(peer.now, first), Ok(RequestId(0)));
    peer.pump();
    let second = Request::Subscribe(subscribe(0, "w"));
    let blocked = peer.session.request(peer.now, second.clone());
    assert_eq!(blocked, Err(Misuse::Blocked));
    peer.no_streams = false;
    peer.input(Input::CanOpen(Dir::Bi));
    assert_eq!(peer.event(), Some(Event::CanRequest));
    let stream = peer.stream();
    assert!(matches!(peer.message(stream), Some(Message::Subscribe(_))));
    assert_eq!(peer.session.request(peer.now, second), Ok(RequestId(2)));
}

#[test]
fn requests_that_wait_for_a_stream_can_be_cancelled_without_a_trace() {
    let mut peer = Scripted::new(Draft::D18, Role::Client);
    peer.no_streams = true;
    let request = Request::Subscribe(subscribe(0, "v"));
    let id = peer.session.request(peer.now, request).unwrap();
    peer.pump();
    peer.session
        .cancel(peer.now, id, ResetCode::Cancelled)
        .unwrap();
    peer.no_streams = false;
    peer.input(Input::CanOpen(Dir::Bi));
    assert!(peer.heard.values().all(|heard| heard.dir == Dir::Uni));
    assert_eq!(peer.session.open_requests(), 0);
}

/// Its id is one of a sequence: the peer would take it for skipped.
#[test]
fn a_request_of_16_that_waits_for_a_stream_is_told_though_it_was_cancelled() {
    let mut peer = Scripted::new(Draft::D16, Role::Client);
    peer.no_streams = true;
    let request = Request::SubscribeNamespace(discover(0, &["a"]));
    let id = peer.session.request(peer.now, request).unwrap();
    peer.pump();
    peer.session
        .cancel(peer.now, id, ResetCode::Cancelled)
        .unwrap();
    assert_eq!(peer.session.open_requests(), 0);
    peer.no_streams = false;
    peer.input(Input::CanOpen(Dir::Bi));
    let stream = peer.last_request_stream();
    let told = peer.message(stream);
    assert!(
        matches!(told, Some(Message::SubscribeNamespace(_))),
        "{told:?}"
    );
    assert!(peer.heard[&stream].fin);
    peer.say_on(
        stream,
        &Message::RequestOk(RequestOk {
            request_id: Some(id),
            ..RequestOk::default()
        }),
    );
    peer.send_fin(stream);
    assert_eq!(peer.event(), None);
    assert_eq!(peer.session.poll_timeout(), None);
    peer.assert_alive();
}

// Rules: B186, B322, B323
#[test]
fn more_requests_than_allowed_are_refused_with_excessive_load_in_18() {
    let mut mine = settings(Role::Server);
    mine.limits.max_requests = 3;
    let mut peer = Scripted::with(Draft::D18, mine);
    for n in 0..3 {
        peer.asked(&Message::TrackStatus(status(2 * n, "v")));
    }
    let stream = peer.ask(&Message::TrackStatus(status(6, "v")));
    let Some(Message::RequestError(refused)) = peer.message(stream) else {
        panic!("not refused");
    };
    assert_eq!(refused.code, RequestCode::ExcessiveLoad);
    assert!(matches!(refused.retry, Retry::After(_)), "B186");
    peer.session
        .respond(peer.now, RequestId(0), Response::Ok(RequestOk::default()))
        .unwrap();
    peer.asked(&Message::TrackStatus(status(8, "v")));
}

#[test]
fn more_request_streams_are_allowed_as_they_are_used_in_18() {
    let mut mine = settings(Role::Server);
    mine.limits.max_requests = 200;
    let mut peer = Scripted::with(Draft::D18, mine);
    let allowed = |peer: &Scripted| {
        let of = |output: &Output| {
            if let Output::AllowStreams {
                dir: Dir::Bi,
                count,
            } = output
            {
                Some(*count)
            } else {
                None
            }
        };
        peer.outputs.iter().filter_map(of).collect::<Vec<u64>>()
    };
    for n in 0..15 {
        peer.asked(&Message::TrackStatus(status(2 * n, "v")));
    }
    assert!(allowed(&peer).is_empty());
    for n in 15..200 {
        peer.asked(&Message::TrackStatus(status(2 * n, "v")));
    }
    assert_eq!(allowed(&peer), [64, 128, 200]);
}

#[test]
fn more_streams_are_allowed_for_subscribe_namespace_in_16() {
    let mut mine = settings(Role::Server);
    mine.limits.max_requests = 100;
    let mut peer = Scripted::with(Draft::D16, mine);
    for n in 0..100 {
        let name = format!("prefix {n}");
        peer.asked(&Message::SubscribeNamespace(discover(2 * n, &[&name])));
    }
    let allowed = |count| Output::AllowStreams {
        dir: Dir::Bi,
        count,
    };
    assert!(peer.outputs.contains(&allowed(64)));
    assert!(peer.outputs.contains(&allowed(100)));
}

#[test]
fn own_requests_are_bounded() {
    let mut mine = settings(Role::Client);
    mine.limits.max_requests_sent = 2;
    for draft in DRAFTS {
        let mut peer = Scripted::with(draft, mine.clone());
        peer.request(Request::TrackStatus(status(0, "v")));
        let (id, _) = peer.request(Request::TrackStatus(status(0, "v")));
        let third = peer
            .session
            .request(peer.now, Request::TrackStatus(status(0, "v")));
        assert_eq!(third, Err(Misuse::Blocked));
        peer.session
            .cancel(peer.now, id, ResetCode::Cancelled)
            .unwrap();
        assert_eq!(peer.event(), Some(Event::CanRequest));
        peer.request(Request::TrackStatus(status(0, "v")));
    }
}
