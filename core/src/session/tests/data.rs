//! Where requests and data meet: aliases, refusals, malformed tracks, and the order of outputs.

use bytes::Bytes;

use super::script::{Heard, Scripted};
use super::support::{
    DRAFTS, done, fetch, publish, range, settings, status, subscribe, subscribe_ok,
};
use crate::code::{DoneCode, RequestCode, ResetCode, SessionCode};
use crate::draft::Draft;
use crate::session::{Event, FetchItem, Misuse, Refusal, Request, Response, Role, StreamEnd};
use crate::transport::{Closed, Dir, Input, Output, StreamId};
use crate::wire::id::{GroupId, SubgroupId};
use crate::wire::message::{GoAway, Message, PublishDone, RequestOk, SubscribeOk};

/// SUBGROUP_HEADER with explicit subgroup id 0 and priority 0, then object 0 with payload "x".
fn subgroup(alias: u8, group: u8) -> Vec<u8> {
    vec![0x14, alias, group, 0, 0, 0, 1, b'x']
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    events
        .iter()
        .map(|event| match event {
            Event::Request { .. } => "request",
            Event::Response { .. } => "response",
            Event::SubgroupOpened { .. } => "opened",
            Event::Object { .. } => "object",
            Event::Payload { .. } => "payload",
            Event::SubgroupEnded { .. } => "ended",
            Event::Done { .. } => "done",
            Event::Settled { .. } => "settled",
            Event::Cancelled { .. } => "cancelled",
            Event::MalformedTrack { .. } => "malformed",
            Event::Datagram { .. } => "datagram",
            Event::Fetched { .. } => "fetched",
            Event::Established { .. }
            | Event::Update { .. }
            | Event::UpdateResponse { .. }
            | Event::Namespace { .. }
            | Event::NamespaceDone { .. }
            | Event::PublishBlocked { .. }
            | Event::GoAway { .. }
            | Event::StreamStopped { .. }
            | Event::StreamExpired { .. }
            | Event::StreamDelivered { .. }
            | Event::CanRequest
            | Event::CanOpenStream
            | Event::Closed(_) => "other",
        })
        .collect()
}

fn drain(peer: &mut Scripted) -> Vec<Event> {
    peer.pump();
    peer.events.drain(..).collect()
}

/// A publisher that went is not one that gave up its streams and refused its requests, which nobody could take over.
#[test]
fn what_is_lost_with_the_connection_is_not_told_before_its_end() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let (id, stream) = peer.request(Request::Subscribe(subscribe(0, "v")));
        let answer = Message::SubscribeOk(SubscribeOk {
            request_id: Some(id),
            ..subscribe_ok(9, None)
        });
        peer.say_on(stream, &answer);
        let data = peer.open(Dir::Uni);
        peer.send(data, &subgroup(9, 1));
        assert!(kinds(&drain(&mut peer)).contains(&"payload"));
        peer.lose(data);
        peer.lose(stream);
        assert_eq!(drain(&mut peer), []);
        peer.input(Input::Closed(Closed::TimedOut));
        assert_eq!(drain(&mut peer), [Event::Closed(Closed::TimedOut)]);
    }
}

#[test]
fn data_that_comes_before_its_alias_is_known_follows_the_answer() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let (id, stream) = peer.request(Request::Subscribe(subscribe(0, "v")));
        let data = peer.open(Dir::Uni);
        peer.send(data, &subgroup(9, 1));
        peer.send_fin(data);
        peer.input(Input::Datagram(Bytes::from_static(&[0x04, 9, 2, 0, b'y'])));
        assert_eq!(drain(&mut peer), []);
        peer.say_on(
            stream,
            &Message::SubscribeOk(SubscribeOk {
                request_id: Some(id),
                ..subscribe_ok(9, None)
            }),
        );
        let events = drain(&mut peer);
        let mut kinds = kinds(&events);
        assert_eq!(kinds.remove(0), "response");
        kinds.sort_unstable();
        assert_eq!(kinds, ["datagram", "ended", "object", "opened", "payload"]);
    }
}

#[test]
fn data_that_comes_before_its_publish_follows_it() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let data = peer.open(Dir::Uni);
        peer.send(data, &subgroup(5, 1));
        peer.send_fin(data);
        peer.input(Input::Datagram(Bytes::from_static(&[0x04, 5, 2, 0, b'y'])));
        assert_eq!(drain(&mut peer), []);
        peer.ask(&Message::Publish(publish(0, "v", 5)));
        let events = drain(&mut peer);
        let mut kinds = kinds(&events);
        assert_eq!(kinds.remove(0), "request");
        kinds.sort_unstable();
        assert_eq!(kinds, ["datagram", "ended", "object", "opened", "payload"]);
    }
}

// Rules: B217, B221
#[test]
fn late_stream_after_publish_done_is_delivered_and_then_the_alias_is_over_b221() {
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
                ..done(2)
            }),
        );
        assert_eq!(kinds(&drain(&mut peer)), ["done"]);
        let data = peer.open(Dir::Uni);
        peer.send(data, &subgroup(5, 1));
        peer.send_fin(data);
        assert_eq!(
            kinds(&drain(&mut peer)),
            ["opened", "object", "payload", "ended"]
        );
        peer.pass(settings(Role::Server).limits.publish_done_timeout);
        peer.pass(settings(Role::Server).limits.drain_timeout);
        assert_eq!(kinds(&drain(&mut peer)), ["settled"]);
        let late = peer.open(Dir::Uni);
        peer.send(late, &subgroup(5, 2));
        assert_eq!(drain(&mut peer), []);
        assert!(peer.heard[&late].stop.is_some(), "B217");
        assert_eq!(peer.session.poll_timeout(), None);
        peer.assert_alive();
    }
}

// Rules: B218
#[test]
fn refused_publish_stops_the_streams_that_came_with_it_b218() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, _) = peer.asked(&Message::Publish(publish(0, "v", 5)));
        let data = peer.open(Dir::Uni);
        peer.send(data, &subgroup(5, 1));
        assert_eq!(kinds(&drain(&mut peer)), ["opened", "object", "payload"]);
        let refusal = Refusal::new(RequestCode::Uninterested, "no");
        peer.session
            .respond(peer.now, id, Response::Error(refusal))
            .unwrap();
        peer.pump();
        assert!(peer.heard[&data].stop.is_some());
        assert_eq!(kinds(&drain(&mut peer)), ["ended"]);
    }
}

#[test]
fn unsubscribing_stops_the_streams_b222() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, _) = peer.asked(&Message::Publish(publish(0, "v", 5)));
        peer.session
            .respond(peer.now, id, Response::Ok(RequestOk::default()))
            .unwrap();
        let data = peer.open(Dir::Uni);
        peer.send(data, &subgroup(5, 1));
        peer.session
            .cancel(peer.now, id, ResetCode::Cancelled)
            .unwrap();
        peer.pump();
        assert!(peer.heard[&data].stop.is_some());
    }
}

// Rules: B038, B039, V89
#[test]
fn v89_malformed_track_ends_all_our_requests_for_it_b038() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let (id, _) = peer.accepted(Request::Subscribe(subscribe(0, "v")));
        let (other, _) = peer.request(Request::Fetch(fetch(0, range("v", (0, 0), (1, 0)))));
        let (unrelated, _) = peer.request(Request::Subscribe(subscribe(0, "w")));
        let alias = match draft {
            // 1000, in the integers of each draft.
            Draft::D18 => [0x83, 0xe8],
            Draft::D16 => [0x43, 0xe8],
        };
        // Group 1 ends with object 0, and then object 1 comes.
        let first = peer.open(Dir::Uni);
        let header = |kind: u8| [&[kind], &alias[..], &[1, 0, 0]].concat();
        peer.send(first, &[header(0x1c), vec![0, 1, b'x']].concat());
        peer.send_fin(first);
        let second = peer.open(Dir::Uni);
        peer.send(second, &[header(0x14), vec![5, 1, b'x']].concat());
        let events = drain(&mut peer);
        assert!(
            events
                .iter()
                .any(|event| matches!(event, Event::MalformedTrack { id: of, .. } if *of == id)),
            "{events:?}"
        );
        assert!(
            events
                .iter()
                .any(|event| matches!(event, Event::Cancelled { id: of, .. } if *of == other))
        );
        assert_eq!(peer.session.open_requests(), 1);
        peer.session
            .cancel(peer.now, unrelated, ResetCode::Cancelled)
            .unwrap();
        peer.assert_alive();
    }
}

#[test]
fn fetch_is_over_when_it_was_answered_and_its_stream_ended_in_either_order() {
    for draft in DRAFTS {
        for answer_first in [true, false] {
            let mut peer = Scripted::new(draft, Role::Client);
            let (id, stream) = peer.request(Request::Fetch(fetch(0, range("v", (0, 0), (1, 0)))));
            let ok = Message::FetchOk(crate::wire::message::FetchOk {
                request_id: Some(id),
                ..super::support::fetch_ok(super::support::at(1, 0))
            });
            if answer_first {
                peer.say_on(stream, &ok);
            }
            let data = peer.open(Dir::Uni);
            peer.send(data, &[5, 0]);
            peer.send_fin(data);
            if !answer_first {
                assert_eq!(peer.session.open_requests(), 1);
                peer.say_on(stream, &ok);
            }
            assert_eq!(peer.session.open_requests(), 0);
            let events = drain(&mut peer);
            assert!(events.iter().any(|event| matches!(
                event,
                Event::Fetched {
                    item: FetchItem::End(StreamEnd::Fin),
                    ..
                }
            )));
            if draft == Draft::D18 {
                assert!(peer.heard[&stream].fin);
            }
        }
    }
}

// Rules: B078, B342
#[test]
fn control_leaves_before_data_b078() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let (id, _) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
        peer.session
            .respond(peer.now, id, Response::SubscribeOk(subscribe_ok(1, None)))
            .unwrap();
        peer.pump();
        let data = peer
            .session
            .open_subgroup(peer.now, id, GroupId(0), SubgroupId(0), 0)
            .unwrap();
        peer.store.push(data, &subgroup(1, 0), false);
        peer.session.stream_ready(data);
        let announced = Request::PublishNamespace(super::support::announce(0, &["a"]));
        peer.session.request(peer.now, announced).unwrap();
        peer.outputs.clear();
        peer.pump();
        let writes: Vec<bool> = peer
            .outputs
            .iter()
            .filter_map(|output| {
                if let Output::Write { urgent, .. } = output {
                    Some(*urgent)
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(writes, [true, false]);
    }
}

// Rules: B211
#[test]
fn data_is_sent_only_for_requests_that_are_served() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Server);
        let now = peer.now;
        let open = |peer: &mut Scripted, id| {
            peer.session
                .open_subgroup(now, id, GroupId(0), SubgroupId(0), 0)
                .map(|_| ())
        };
        let (id, _) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
        assert!(matches!(open(&mut peer, id), Err(Misuse::WrongState(_))));
        peer.session
            .respond(now, id, Response::SubscribeOk(subscribe_ok(1, None)))
            .unwrap();
        assert_eq!(open(&mut peer, id), Ok(()));
        peer.session.done(now, id, DoneCode::Expired, "").unwrap();
        assert!(matches!(open(&mut peer, id), Err(Misuse::WrongState(_))));
        let (mine, _) = peer.request(Request::Subscribe(subscribe(0, "w")));
        assert!(matches!(open(&mut peer, mine), Err(Misuse::WrongState(_))));
        assert!(matches!(
            peer.session.open_fetch(now, mine),
            Err(Misuse::UnknownRequest)
        ));
    }
}

// Rules: B068, B241
#[test]
fn b241_stopping_the_stream_of_a_fetch_cancels_the_fetch() {
    for draft in DRAFTS {
        for by_stream in [true, false] {
            let mut peer = Scripted::new(draft, Role::Client);
            let (id, stream) = peer.accepted(Request::Fetch(fetch(0, range("v", (0, 0), (1, 0)))));
            let data = peer.open(Dir::Uni);
            peer.send(data, &[5, 0]);
            let (now, code) = (peer.now, ResetCode::Cancelled);
            if by_stream {
                peer.session.stop_stream(now, data, code);
            } else {
                peer.session.cancel(now, id, code).unwrap();
            }
            peer.pump();
            assert!(peer.heard[&data].stop.is_some());
            match draft {
                Draft::D18 => {
                    let heard = &peer.heard[&stream];
                    assert!(heard.stop.is_some() && heard.reset.is_some() && !heard.fin);
                }
                Draft::D16 => assert_eq!(peer.message(stream), Some(Message::FetchCancel(id))),
            }
            assert_eq!(peer.session.open_requests(), 0);
            assert_eq!(kinds(&drain(&mut peer)), ["fetched"]);
        }
    }
}

#[test]
fn the_stream_of_a_fetch_can_be_paused_by_its_request() {
    for draft in DRAFTS {
        let mut peer = Scripted::new(draft, Role::Client);
        let (id, _) = peer.accepted(Request::Fetch(fetch(0, range("v", (0, 0), (1, 0)))));
        peer.session.pause_fetch(id);
        let data = peer.open(Dir::Uni);
        peer.send(data, &[5, 0]);
        drain(&mut peer);
        peer.session.pause_fetch(id);
        // Draft 16 and 18 alike: an end of a range that is not known.
        let unknown: &[u8] = match draft {
            Draft::D16 => &[0x41, 0x0c, 0, 3],
            Draft::D18 => &[0x81, 0x0c, 0, 3],
        };
        peer.send(data, unknown);
        assert_eq!(kinds(&drain(&mut peer)), [""; 0], "{draft:?}");
        peer.session.resume_fetch(id);
        peer.pump();
        assert_eq!(kinds(&drain(&mut peer)), ["fetched"], "{draft:?}");
        peer.session.pause_fetch(crate::wire::id::RequestId(1000));
        peer.session.resume_fetch(crate::wire::id::RequestId(1000));
    }
}

// Rules: B342 (18)
#[test]
fn the_control_stream_leaves_before_requests_and_those_before_data() {
    let mut peer = Scripted::new(Draft::D18, Role::Server);
    let (id, _) = peer.asked(&Message::Subscribe(subscribe(0, "v")));
    peer.session
        .respond(peer.now, id, Response::SubscribeOk(subscribe_ok(1, None)))
        .unwrap();
    peer.pump();
    let own = |stream: &StreamId, heard: &Heard| stream.is_local() && heard.dir == Dir::Uni;
    let control = peer.heard.iter().find(|(stream, heard)| own(stream, heard));
    let control = *control.unwrap().0;
    let (status, asked) = peer.asked(&Message::TrackStatus(status(2, "v")));
    let data = peer
        .session
        .open_subgroup(peer.now, id, GroupId(0), SubgroupId(0), 0)
        .unwrap();
    peer.store.push(data, &subgroup(1, 0), false);
    peer.session.stream_ready(data);
    let ok = Response::Ok(RequestOk::default());
    peer.session.respond(peer.now, status, ok).unwrap();
    let goaway = GoAway::default();
    peer.session.go_away(peer.now, None, goaway).unwrap();
    peer.outputs.clear();
    peer.pump();
    let mut writes = Vec::new();
    for output in &peer.outputs {
        if let Output::Write { stream, .. } = output {
            writes.push(*stream);
        }
    }
    assert_eq!(writes, [control, asked, data]);
}

// Rules: B360
#[test]
fn a_datagram_of_an_unknown_type_closes() {
    for draft in DRAFTS {
        for kind in [&[0x10][..], &[0x30], &[0x80, 0x40]] {
            let kind = match (draft, kind) {
                (Draft::D16, [0x80, last]) => vec![0x40, *last],
                _ => kind.to_vec(),
            };
            let mut peer = Scripted::new(draft, Role::Client);
            let datagram = [&kind[..], &[9, 2, 0, 128, b'y']].concat();
            peer.input(Input::Datagram(datagram.into()));
            peer.assert_closed(SessionCode::ProtocolViolation, "V69");
        }
    }
}

// Rules: B385 (18)
#[test]
fn padding_is_discarded_without_a_trace() {
    let mut peer = Scripted::new(Draft::D18, Role::Client);
    let padding = [&[0xf0, 0x13, 0x2b, 0x3e, 0x29][..], &[0; 1000]].concat();
    peer.input(Input::Datagram(padding.into()));
    let stream = peer.open(Dir::Uni);
    peer.send(stream, &[0xf0, 0x13, 0x2b, 0x3e, 0x28]);
    for _ in 0..16 {
        peer.send(stream, &[0; 1 << 16]);
    }
    peer.send_fin(stream);
    assert_eq!(drain(&mut peer), []);
    assert_eq!(peer.session.poll_timeout(), None);
    peer.assert_alive();
}
