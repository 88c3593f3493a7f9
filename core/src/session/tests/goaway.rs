//! § GOAWAY, § Migration.

use std::time::Duration;

use bytes::Bytes;

use super::script::Scripted;
use super::support::{DRAFTS, status, subscribe, subscribe_ok};
use crate::code::{DoneCode, RequestCode, ResetCode, SessionCode};
use crate::draft::Draft;
use crate::session::{Event, Misuse, Request, Response, Role};
use crate::transport::StreamId;
use crate::wire::id::{Millis, RequestId};
use crate::wire::message::{GoAway, Message, PublishDone, RequestOk, SubscribeOk};
use crate::wire::param::Parameters;

fn told(draft: Draft, id: u64) -> Message {
    Message::GoAway(GoAway {
        request_id: (draft == Draft::D18).then_some(RequestId(id)),
        ..GoAway::default()
    })
}

/// SUBSCRIBE_OK with this alias.
fn ok(peer: &Scripted, id: RequestId, alias: u64) -> SubscribeOk {
    SubscribeOk {
        request_id: (peer.draft == Draft::D16).then_some(id),
        ..subscribe_ok(alias, None)
    }
}

fn ok_of(peer: &Scripted, id: RequestId, alias: u64) -> Message {
    Message::SubscribeOk(ok(peer, id, alias))
}

fn within(millis: u64) -> GoAway {
    GoAway {
        timeout: Millis(millis),
        ..GoAway::default()
    }
}

/// Where the session says control messages.
fn our_control(peer: &Scripted) -> StreamId {
    match peer.draft {
        Draft::D18 => StreamId::local(0),
        Draft::D16 => peer.control(),
    }
}

// Rules: B163
#[test]
fn b163_no_new_requests_after_a_goaway_of_the_peer() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        peer.say(&told(draft, 0));
        assert!(matches!(peer.event(), Some(Event::GoAway { id: None, .. })));
        let late = peer
            .session
            .request(peer.now, Request::Subscribe(subscribe(0, "v")));
        assert_eq!(late, Err(Misuse::GoingAway));
    }
}

#[test]
fn goaway_of_the_peer_leaves_requests_in_every_state_as_they_are() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        // One of ours that was granted, and one that was not answered yet.
        let (granted, on) = peer.request(Request::Subscribe(subscribe(0, "granted")));
        peer.say_on(on, &ok_of(&peer, granted, 1));
        let (pending, later) = peer.request(Request::Subscribe(subscribe(0, "pending")));
        while peer.event().is_some() {}
        peer.say(&told(draft, 0));
        assert!(matches!(peer.event(), Some(Event::GoAway { .. })));

        // The answer may still come, updates and their answers too, and the end.
        peer.say_on(later, &ok_of(&peer, pending, 2));
        let answered = Event::Response {
            id: pending,
            response: Response::SubscribeOk(ok(&peer, pending, 2)),
        };
        assert_eq!(peer.event(), Some(answered));
        let changed = peer
            .session
            .update(peer.now, granted, Parameters::default());
        assert!(changed.is_ok());
        let done = Message::PublishDone(PublishDone {
            request_id: (draft == Draft::D16).then_some(granted),
            code: DoneCode::GoingAway,
            stream_count: Some(0),
            reason: Bytes::new(),
        });
        peer.say_on(on, &done);
        let told: Vec<Event> = std::iter::from_fn(|| peer.event()).collect();
        let is_done = |event: &Event| matches!(event, Event::Done { id, .. } if *id == granted);
        assert!(told.iter().any(is_done), "{told:?}");
        let withdrawn = peer.session.cancel(peer.now, pending, ResetCode::Cancelled);
        assert_eq!(withdrawn, Ok(()));
        peer.assert_alive();
    }
}

#[test]
fn requests_of_the_peer_are_served_after_its_goaway() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, _) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
        while peer.event().is_some() {}
        peer.say(&told(draft, 1));
        let granted = Response::SubscribeOk(ok(&peer, id, 1));
        assert_eq!(peer.session.respond(peer.now, id, granted), Ok(()));
        while peer.event().is_some() {}
        // Even new ones: it is this side that is to leave.
        peer.asked(&Message::Subscribe(subscribe(2, "w")));
        let done = peer.session.done(peer.now, id, DoneCode::TrackEnded, "");
        assert_eq!(done, Ok(()));
        peer.assert_alive();
    }
}

// Rules: B165, V52
#[test]
fn v52_second_goaway_closes_b165() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        peer.say(&told(draft, 0));
        peer.say(&told(draft, 0));
        peer.assert_closed(SessionCode::ProtocolViolation, "V52");
    }
}

// Rules: B165 (18), V52 (18)
#[test]
fn v52_goaways_for_several_requests_and_the_session_are_fine_but_not_twice_for_one_in_18() {
    let mut peer = Scripted::new(Draft::D18, Role::Client);
    let (first, stream) = peer.accepted(Request::Subscribe(subscribe(0, "v")));
    let (second, other) = peer.accepted(Request::Subscribe(subscribe(0, "w")));
    for (id, stream) in [(first, stream), (second, other)] {
        peer.say_on(stream, &Message::GoAway(GoAway::default()));
        assert!(matches!(peer.event(), Some(Event::GoAway { id: of, .. }) if of == Some(id)));
    }
    peer.say(&told(Draft::D18, 0));
    peer.assert_alive();
    peer.say_on(stream, &Message::GoAway(GoAway::default()));
    peer.assert_closed(SessionCode::ProtocolViolation, "V52");
}

// Rules: B160, B169, V54
#[test]
fn v54_goaway_of_a_client_with_a_uri_closes_b169() {
    for (draft, bytes) in [
        (Draft::D18, &[0x10, 0, 4, 1, b'x', 0, 1][..]),
        (Draft::D16, &[0x10, 0, 2, 1, b'x'][..]),
    ] {
        let mut peer = Scripted::new(draft, Role::Server);
        let control = peer.control();
        peer.send(control, bytes);
        peer.assert_closed(SessionCode::ProtocolViolation, "V54");
        let mut peer = Scripted::new(draft, Role::Server);
        let uri = GoAway {
            uri: Bytes::from_static(b"moqt://h"),
            ..GoAway::default()
        };
        peer.session.go_away(peer.now, None, uri.clone()).unwrap();
        let mut peer = Scripted::new(draft, Role::Client);
        let misuse = peer.session.go_away(peer.now, None, uri);
        assert!(matches!(misuse, Err(Misuse::NotExpressible(_))));
    }
}

// Rules: B172, V55 (18)
#[test]
fn v55_goaway_with_a_request_id_of_its_sender_closes_in_18() {
    let mut peer = Scripted::new(Draft::D18, Role::Client);
    peer.say(&told(Draft::D18, 1));
    peer.assert_closed(SessionCode::InvalidRequestId, "V55");
}

// Rules: B173, V56 (18)
#[test]
fn v56_requests_after_our_goaway_are_refused_with_going_away_in_18_b173() {
    let mut peer = Scripted::new(Draft::D18, Role::Server);
    peer.asked(&Message::TrackStatus(status(0, "v")));
    peer.asked(&Message::TrackStatus(status(2, "v")));
    peer.session
        .go_away(peer.now, None, GoAway::default())
        .unwrap();
    let control = our_control(&peer);
    let said = std::iter::from_fn(|| peer.message(control)).last();
    assert!(matches!(
        said,
        Some(Message::GoAway(GoAway {
            request_id: Some(RequestId(4)),
            ..
        }))
    ));
    let stream = peer.ask(&Message::TrackStatus(status(4, "v")));
    peer.assert_refused(stream, RequestCode::GoingAway);
    assert_eq!(peer.session.open_requests(), 2);
    let twice = peer.session.go_away(peer.now, None, GoAway::default());
    assert!(matches!(twice, Err(Misuse::WrongState(_))));
}

// Rules: V56 (16)
#[test]
fn v56_requests_after_our_goaway_are_still_served_in_16() {
    let mut peer = Scripted::new(Draft::D16, Role::Server);
    peer.session
        .go_away(peer.now, None, GoAway::default())
        .unwrap();
    let (id, _) = peer.asked(&Message::TrackStatus(status(0, "v")));
    let ok = Response::Ok(RequestOk::default());
    assert_eq!(peer.session.respond(peer.now, id, ok), Ok(()));
    peer.assert_alive();
}

// Rules: B073, V57
#[test]
fn v57_peer_that_does_not_leave_in_time_is_closed_with_goaway_timeout_b073() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        peer.asked(&Message::TrackStatus(status(0, "v")));
        peer.session.go_away(peer.now, None, within(500)).unwrap();
        peer.pass(Duration::from_millis(499));
        peer.assert_alive();
        peer.pass(Duration::from_millis(2));
        peer.assert_closed(SessionCode::GoAwayTimeout, "V57");
    }
}

#[test]
fn peer_without_requests_is_closed_without_error_after_a_goaway() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        peer.session.go_away(peer.now, None, within(500)).unwrap();
        peer.pass(Duration::from_millis(501));
        assert_eq!(peer.close, Some((0, Bytes::new())));
        assert_eq!(peer.session.failure(), None);
    }
}

// Rules: B170
#[test]
fn b170_request_that_does_not_move_in_time_is_reset_with_going_away_in_18() {
    let mut peer = Scripted::new(Draft::D18, Role::Client);
    let (id, stream) = peer.accepted(Request::Subscribe(subscribe(0, "v")));
    peer.session
        .go_away(peer.now, Some(id), within(500))
        .unwrap();
    peer.pass(Duration::from_millis(501));
    assert!(matches!(
        peer.event(),
        Some(Event::Cancelled {
            code: Some(ResetCode::GoingAway),
            ..
        })
    ));
    assert_eq!(
        peer.heard[&stream].reset,
        Some(ResetCode::GoingAway.to_wire(Draft::D18))
    );
    peer.assert_alive();
}

#[test]
fn request_that_ends_before_it_moves_ends_once() {
    let mut peer = Scripted::new(Draft::D18, Role::Client);
    let (id, stream) = peer.accepted(Request::Subscribe(subscribe(0, "v")));
    peer.session
        .go_away(peer.now, Some(id), within(500))
        .unwrap();
    peer.say_on(
        stream,
        &Message::PublishDone(PublishDone {
            request_id: None,
            code: DoneCode::TrackEnded,
            // One is still awaited when the time is over.
            stream_count: Some(1),
            reason: Bytes::new(),
        }),
    );
    assert!(matches!(peer.event(), Some(Event::Done { .. })));
    peer.pass(Duration::from_millis(501));
    assert_eq!(peer.event(), None);
    peer.assert_alive();
}

#[test]
fn goaway_for_one_request_cannot_be_said_in_16() {
    let mut peer = Scripted::new(Draft::D16, Role::Client);
    let (id, _) = peer.accepted(Request::Subscribe(subscribe(0, "v")));
    for timeout in [500, 0] {
        let misuse = peer.session.go_away(peer.now, Some(id), within(timeout));
        assert!(matches!(misuse, Err(Misuse::NotExpressible(_))));
        assert_eq!(peer.session.poll_timeout(), None);
    }
}
