//! Two sessions wired back to back, every kind of request, both drafts.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::support::{DRAFTS, Store, namespace, settings, track};
use crate::code::{DoneCode, ResetCode};
use crate::draft::Draft;
use crate::session::{Direction, Event, FetchItem, Request, Response, Role, Session, StreamEnd};
use crate::time::Time;
use crate::transport::{Answer, Dir, Input, Output, Room, StreamId};
use crate::wire::id::{GroupId, Location, ObjectId, RequestId, SubgroupId, TrackAlias};
use crate::wire::message::{
    Fetch, FetchOk, FetchRange, Interest, Message, Publish, PublishNamespace, RequestOk, Subscribe,
    SubscribeNamespace, SubscribeOk, SubscribeTracks, TrackStatus,
};
use crate::wire::name::TrackName;
use crate::wire::param::Parameters;
use crate::wire::property::Properties;

/// One direction of one stream.
#[derive(Default)]
struct Pipe {
    bytes: Vec<u8>,
    fin: bool,
    reset: Option<u64>,
    ended: bool,
}

pub(super) struct Side {
    pub(super) session: Session,
    pub(super) store: Store,
    /// The other side's name for each stream.
    names: BTreeMap<StreamId, StreamId>,
    /// What can be read here.
    incoming: BTreeMap<StreamId, Pipe>,
    opened: u64,
    pub(super) log: Vec<Output>,
}

/// Two sessions and a perfect wire.
pub(super) struct Pair {
    pub(super) now: Time,
    pub(super) client: Side,
    pub(super) server: Side,
}

impl Side {
    fn new(role: Role) -> Self {
        Self {
            session: Session::new(settings(role)),
            store: Store::default(),
            names: BTreeMap::new(),
            incoming: BTreeMap::new(),
            opened: 0,
            log: Vec::new(),
        }
    }

    pub(super) fn event(&mut self) -> Option<Event> {
        self.session.poll_event()
    }
}

impl Pair {
    pub(super) fn new(draft: Draft) -> Self {
        let mut this = Self {
            now: Time::from_micros(1),
            client: Side::new(Role::Client),
            server: Side::new(Role::Server),
        };
        for side in [&mut this.client, &mut this.server] {
            side.session.handle_input(
                this.now,
                Input::Connected {
                    alpn: Bytes::from_static(draft.profile().alpn.as_bytes()),
                    max_datagram: 1200,
                },
            );
        }
        this.pump();
        assert!(matches!(
            this.client.event(),
            Some(Event::Established { .. })
        ));
        assert!(matches!(
            this.server.event(),
            Some(Event::Established { .. })
        ));
        this
    }

    /// What the client wants happens; what it says waits at the server.
    pub(super) fn step_client(&mut self) {
        step(self.now, &mut self.client, &mut self.server);
    }

    /// The same the other way round.
    pub(super) fn step_server(&mut self) {
        step(self.now, &mut self.server, &mut self.client);
    }

    pub(super) fn pump(&mut self) {
        loop {
            let a = step(self.now, &mut self.client, &mut self.server);
            let b = step(self.now, &mut self.server, &mut self.client);
            if !a && !b {
                return;
            }
        }
    }
}

/// Carries out all that one side wants.
fn step(now: Time, from: &mut Side, to: &mut Side) -> bool {
    let mut moved = false;
    while let Some(output) = from.session.poll_output(now, &mut from.store) {
        from.log.push(output.clone());
        let answer = match output {
            Output::Open { stream, dir } => {
                let peer = StreamId::peer(to.opened);
                to.opened += 1;
                from.names.insert(stream, peer);
                to.names.insert(peer, stream);
                to.incoming.insert(peer, Pipe::default());
                if dir == Dir::Bi {
                    from.incoming.insert(stream, Pipe::default());
                }
                to.session
                    .handle_input(now, Input::Opened { stream: peer, dir });
                Some(Answer::Done)
            }
            Output::Write {
                stream, bytes, fin, ..
            } => {
                let name = from.names[&stream];
                let pipe = to.incoming.get_mut(&name).unwrap();
                pipe.bytes.extend_from_slice(&bytes);
                pipe.fin |= fin;
                to.session.handle_input(now, Input::Readable(name));
                Some(Answer::Wrote {
                    taken: bytes.len(),
                    room: Room::More,
                })
            }
            Output::Read { stream, max } => {
                Some(read(from.incoming.get_mut(&stream).unwrap(), max))
            }
            Output::Datagram(bytes) => {
                to.session.handle_input(now, Input::Datagram(bytes));
                Some(Answer::Done)
            }
            Output::Reset { stream, code } => {
                let name = from.names[&stream];
                to.incoming.get_mut(&name).unwrap().reset = Some(code);
                to.session.handle_input(now, Input::Readable(name));
                None
            }
            Output::Stop { stream, code } => {
                let name = from.names[&stream];
                to.session
                    .handle_input(now, Input::Stopped { stream: name, code });
                None
            }
            Output::Priority { .. } | Output::AllowStreams { .. } | Output::ReceiveWindow(_) => {
                None
            }
            Output::Close { code, reason } => {
                to.session.handle_input(
                    now,
                    Input::Closed(crate::transport::Closed::ByPeer { code, reason }),
                );
                None
            }
        };
        // Polling for what is not there does not count as progress.
        moved |= answer != Some(Answer::Blocked);
        if let Some(answer) = answer {
            from.session.handle_answer(now, answer, &mut from.store);
        }
    }
    moved
}

fn read(pipe: &mut Pipe, max: usize) -> Answer {
    assert!(!pipe.ended, "read after the end");
    if let Some(code) = pipe.reset {
        pipe.ended = true;
        return Answer::Reset(code);
    }
    if !pipe.bytes.is_empty() {
        let rest = pipe.bytes.split_off(max.min(pipe.bytes.len()));
        return Answer::Data(Bytes::from(std::mem::replace(&mut pipe.bytes, rest)));
    }
    if pipe.fin {
        pipe.ended = true;
        return Answer::Fin;
    }
    Answer::Blocked
}

#[test]
fn both_sides_establish() {
    for draft in DRAFTS {
        let pair = Pair::new(draft);
        assert_eq!(pair.client.session.draft(), Some(draft));
        assert_eq!(pair.server.session.draft(), Some(draft));
    }
}

fn subscribe(name: &str) -> Request {
    Request::Subscribe(Subscribe {
        request_id: RequestId(0),
        track: track(name),
        parameters: Parameters::default(),
    })
}

// Rules: B223, B227
#[test]
fn subscribe_is_answered_updated_and_done() {
    for draft in DRAFTS {
        let mut pair = Pair::new(draft);
        let now = pair.now;
        let id = pair.client.session.request(now, subscribe("v")).unwrap();
        pair.pump();
        let Some(Event::Request { id: seen, request }) = pair.server.event() else {
            panic!("no request");
        };
        assert_eq!((seen, request), (id, subscribe("v")));
        let ok = SubscribeOk {
            request_id: None,
            track_alias: TrackAlias(7),
            parameters: Parameters::default(),
            properties: Properties::default(),
        };
        pair.server
            .session
            .respond(now, id, Response::SubscribeOk(ok))
            .unwrap();
        pair.pump();
        assert!(matches!(
            pair.client.event(),
            Some(Event::Response { id: answered, response: Response::SubscribeOk(_) }) if answered == id
        ));

        let parameters = Parameters {
            forward: Some(false),
            ..Parameters::default()
        };
        let update = pair
            .client
            .session
            .update(now, id, parameters.clone())
            .unwrap();
        pair.pump();
        assert_eq!(
            pair.server.event(),
            Some(Event::Update {
                id,
                update,
                parameters
            })
        );
        pair.server
            .session
            .respond_to_update(now, id, update, Ok(RequestOk::default()))
            .unwrap();
        pair.pump();
        assert!(matches!(
            pair.client.event(),
            Some(Event::UpdateResponse {
                response: Ok(_),
                ..
            })
        ));

        pair.server
            .session
            .done(now, id, DoneCode::TrackEnded, "over")
            .unwrap();
        pair.pump();
        let Some(Event::Done { id: ended, done }) = pair.client.event() else {
            panic!("not done");
        };
        assert_eq!(ended, id);
        assert_eq!(done.stream_count, Some(0));
        assert_eq!(done.code, DoneCode::TrackEnded);
        assert_eq!(pair.server.session.open_requests(), 0);
        assert_eq!(pair.client.session.open_requests(), 0);
        assert_eq!(pair.client.event(), Some(Event::Settled { id }));
        assert_eq!(pair.client.event(), None);
        assert_eq!(pair.server.event(), None);
    }
}

fn accept_subscribe(pair: &mut Pair, name: &str, alias: u64) -> RequestId {
    let now = pair.now;
    let id = pair.client.session.request(now, subscribe(name)).unwrap();
    pair.pump();
    assert!(matches!(pair.server.event(), Some(Event::Request { .. })));
    let ok = SubscribeOk {
        request_id: None,
        track_alias: TrackAlias(alias),
        parameters: Parameters::default(),
        properties: Properties::default(),
    };
    pair.server
        .session
        .respond(now, id, Response::SubscribeOk(ok))
        .unwrap();
    pair.pump();
    assert!(matches!(pair.client.event(), Some(Event::Response { .. })));
    id
}

// Rules: B210
#[test]
fn subgroup_reaches_the_subscriber_and_publish_done_waits_for_its_end_b210() {
    for draft in DRAFTS {
        let mut pair = Pair::new(draft);
        let now = pair.now;
        let id = accept_subscribe(&mut pair, "v", 3);
        let server = &mut pair.server;
        let stream = server
            .session
            .open_subgroup(now, id, GroupId(5), SubgroupId(0), 128)
            .unwrap();
        // SUBGROUP_HEADER with an explicit subgroup id: alias 3, group 5, subgroup 0, priority 128; object 0 "hi".
        server
            .store
            .push(stream, &[0x14, 3, 5, 0, 128, 0, 2, b'h', b'i'], false);
        server.session.stream_ready(stream);
        server
            .session
            .done(now, id, DoneCode::TrackEnded, "")
            .unwrap();
        pair.pump();
        let client = &mut pair.client;
        assert!(matches!(
            client.event(),
            Some(Event::SubgroupOpened { id: of, .. }) if of == id
        ));
        assert!(matches!(client.event(), Some(Event::Object { .. })));
        assert!(matches!(client.event(), Some(Event::Payload { .. })));
        assert_eq!(client.event(), None);

        pair.server.store.push(stream, &[], true);
        pair.server.session.stream_ready(stream);
        pair.pump();
        let mut ended = false;
        let mut done = None;
        while let Some(event) = pair.client.event() {
            if let Event::SubgroupEnded { .. } = event {
                ended = true;
            } else if let Event::Done { done: told, .. } = event {
                done = Some(told);
            }
        }
        assert!(ended);
        assert_eq!(done.unwrap().stream_count, Some(1));
        assert_eq!(pair.client.session.open_requests(), 0);
        assert_eq!(pair.server.session.open_requests(), 0);
    }
}

#[test]
fn publish_is_accepted_and_its_datagram_arrives() {
    for draft in DRAFTS {
        let mut pair = Pair::new(draft);
        let now = pair.now;
        let publish = Request::Publish(Publish {
            request_id: RequestId(0),
            track: track("v"),
            track_alias: TrackAlias(9),
            parameters: Parameters::default(),
            properties: Properties::default(),
        });
        let id = pair.client.session.request(now, publish).unwrap();
        pair.pump();
        assert!(matches!(
            pair.server.event(),
            Some(Event::Request {
                request: Request::Publish(_),
                ..
            })
        ));
        let parameters = Parameters {
            forward: Some(true),
            subscriber_priority: Some(3),
            ..Parameters::default()
        };
        let ok = RequestOk {
            parameters: parameters.clone(),
            ..RequestOk::default()
        };
        pair.server
            .session
            .respond(now, id, Response::Ok(ok))
            .unwrap();
        pair.pump();
        let Some(Event::Response {
            response: Response::Ok(told),
            ..
        }) = pair.client.event()
        else {
            panic!("no answer");
        };
        assert_eq!(told.parameters, parameters);

        let location = Location {
            group: GroupId(1),
            object: ObjectId(0),
        };
        // OBJECT_DATAGRAM without object id: alias 9, group 1, priority 128, "x".
        let bytes = Bytes::from_static(&[0x04, 9, 1, 128, b'x']);
        pair.client
            .session
            .send_datagram(now, id, 128, location, bytes)
            .unwrap();
        pair.pump();
        let Some(Event::Datagram { id: of, object }) = pair.server.event() else {
            panic!("no datagram");
        };
        assert_eq!((of, object.location), (id, location));
        assert_eq!(object.payload.as_ref(), b"x");

        // The subscriber leaves.
        pair.server
            .session
            .cancel(now, id, ResetCode::Cancelled)
            .unwrap();
        pair.pump();
        assert!(matches!(
            pair.client.event(),
            Some(Event::Cancelled { id: over, .. }) if over == id
        ));
        assert_eq!(pair.client.session.open_requests(), 0);
        assert_eq!(pair.server.event(), None);
    }
}

#[test]
fn fetch_is_served_and_over_with_its_stream() {
    for draft in DRAFTS {
        let mut pair = Pair::new(draft);
        let now = pair.now;
        let fetch = Request::Fetch(Fetch {
            request_id: RequestId(0),
            range: FetchRange::Standalone {
                track: track("v"),
                start: Location::default(),
                end: Location {
                    group: GroupId(0),
                    object: ObjectId(1),
                },
            },
            parameters: Parameters::default(),
        });
        let id = pair.client.session.request(now, fetch.clone()).unwrap();
        pair.pump();
        assert_eq!(
            pair.server.event(),
            Some(Event::Request { id, request: fetch })
        );
        let ok = FetchOk {
            request_id: None,
            end_of_track: false,
            end: Location {
                group: GroupId(0),
                object: ObjectId(1),
            },
            parameters: Parameters::default(),
            properties: Properties::default(),
        };
        let server = &mut pair.server;
        server
            .session
            .respond(now, id, Response::FetchOk(ok))
            .unwrap();
        let stream = server.session.open_fetch(now, id).unwrap();
        assert!(server.session.open_fetch(now, id).is_err());
        // FETCH_HEADER, then group 0, subgroup 0, object 0, priority 7, payload "z".
        server
            .store
            .push(stream, &[0x05, 0, 0x1c, 0, 0, 7, 1, b'z'], true);
        server.session.stream_ready(stream);
        pair.pump();
        let events: Vec<Event> = std::iter::from_fn(|| pair.client.event()).collect();
        assert!(matches!(
            events.first(),
            Some(Event::Response {
                response: Response::FetchOk(_),
                ..
            })
        ));
        assert!(
            matches!(
                events.last(),
                Some(Event::Fetched {
                    item: FetchItem::End(StreamEnd::Fin),
                    ..
                })
            ),
            "{events:?}"
        );
        assert_eq!(pair.client.session.open_requests(), 0);
        assert_eq!(pair.server.session.open_requests(), 0);
    }
}

#[test]
fn track_status_is_answered_and_over() {
    for draft in DRAFTS {
        let mut pair = Pair::new(draft);
        let now = pair.now;
        let status = Request::TrackStatus(TrackStatus {
            request_id: RequestId(1),
            track: track("v"),
            parameters: Parameters::default(),
        });
        let id = pair.server.session.request(now, status.clone()).unwrap();
        assert_eq!(id, RequestId(1));
        pair.pump();
        assert_eq!(
            pair.client.event(),
            Some(Event::Request {
                id,
                request: status
            })
        );
        let ok = RequestOk {
            parameters: Parameters {
                largest_object: Some(Location::default()),
                ..Parameters::default()
            },
            ..RequestOk::default()
        };
        pair.client
            .session
            .respond(now, id, Response::Ok(ok))
            .unwrap();
        pair.pump();
        assert!(matches!(
            pair.server.event(),
            Some(Event::Response {
                response: Response::Ok(_),
                ..
            })
        ));
        assert_eq!(pair.client.session.open_requests(), 0);
        assert_eq!(pair.server.session.open_requests(), 0);
    }
}

// Rules: B275
#[test]
fn announcement_is_accepted_and_withdrawn_from_either_side() {
    for draft in DRAFTS {
        for by_announcer in [true, false] {
            let mut pair = Pair::new(draft);
            let now = pair.now;
            let announce = Request::PublishNamespace(PublishNamespace {
                request_id: RequestId(0),
                namespace: namespace(&["a", "b"]),
                parameters: Parameters::default(),
            });
            let id = pair.client.session.request(now, announce.clone()).unwrap();
            pair.pump();
            assert_eq!(
                pair.server.event(),
                Some(Event::Request {
                    id,
                    request: announce
                })
            );
            pair.server
                .session
                .respond(now, id, Response::Ok(RequestOk::default()))
                .unwrap();
            pair.pump();
            assert!(matches!(pair.client.event(), Some(Event::Response { .. })));
            let from = if by_announcer {
                &mut pair.client
            } else {
                &mut pair.server
            };
            from.session.cancel(now, id, ResetCode::Cancelled).unwrap();
            pair.pump();
            let to = if by_announcer {
                &mut pair.server
            } else {
                &mut pair.client
            };
            assert!(matches!(to.event(), Some(Event::Cancelled { id: over, .. }) if over == id));
            assert_eq!(pair.client.session.open_requests(), 0);
            assert_eq!(pair.server.session.open_requests(), 0);
            assert_eq!(pair.client.session.failure(), None);
            assert_eq!(pair.server.session.failure(), None);
        }
    }
}

// Rules: B270, B283, B284
#[test]
fn namespaces_are_told_and_all_gone_with_the_request_b284() {
    for draft in DRAFTS {
        let mut pair = Pair::new(draft);
        let now = pair.now;
        let discover = Request::SubscribeNamespace(SubscribeNamespace {
            request_id: RequestId(0),
            prefix: namespace(&["a"]),
            interest: Interest::Namespaces,
            parameters: Parameters::default(),
        });
        let id = pair.client.session.request(now, discover.clone()).unwrap();
        pair.pump();
        assert_eq!(
            pair.server.event(),
            Some(Event::Request {
                id,
                request: discover
            })
        );
        let server = &mut pair.server.session;
        assert!(server.namespace(now, id, &namespace(&["x"])).is_err());
        server
            .respond(now, id, Response::Ok(RequestOk::default()))
            .unwrap();
        for name in ["x", "y", "z", "x"] {
            server.namespace(now, id, &namespace(&[name])).unwrap();
        }
        server.namespace_done(now, id, &namespace(&["y"])).unwrap();
        assert!(server.namespace_done(now, id, &namespace(&["y"])).is_err());
        pair.pump();
        assert!(matches!(pair.client.event(), Some(Event::Response { .. })));
        for name in ["x", "y", "z"] {
            let suffix = namespace(&[name]);
            assert_eq!(pair.client.event(), Some(Event::Namespace { id, suffix }));
        }
        let suffix = namespace(&["y"]);
        assert_eq!(
            pair.client.event(),
            Some(Event::NamespaceDone { id, suffix })
        );

        pair.server
            .session
            .cancel(now, id, ResetCode::GoingAway)
            .unwrap();
        pair.pump();
        for name in ["x", "z"] {
            let suffix = namespace(&[name]);
            assert_eq!(
                pair.client.event(),
                Some(Event::NamespaceDone { id, suffix })
            );
        }
        assert!(matches!(pair.client.event(), Some(Event::Cancelled { .. })));
        assert_eq!(pair.client.session.open_requests(), 0);
    }
}

#[test]
fn tracks_are_asked_for_in_both_drafts() {
    for draft in DRAFTS {
        let mut pair = Pair::new(draft);
        let now = pair.now;
        let tracks = Request::SubscribeTracks(SubscribeTracks {
            request_id: RequestId(0),
            prefix: namespace(&[]),
            parameters: Parameters {
                forward: Some(false),
                ..Parameters::default()
            },
        });
        let id = pair.client.session.request(now, tracks.clone()).unwrap();
        pair.pump();
        assert_eq!(
            pair.server.event(),
            Some(Event::Request {
                id,
                request: tracks
            })
        );
        let server = &mut pair.server.session;
        server
            .respond(now, id, Response::Ok(RequestOk::default()))
            .unwrap();
        let name = TrackName::new("v").unwrap();
        let blocked = server.publish_blocked(now, id, &namespace(&["a"]), &name);
        assert_eq!(blocked.is_ok(), draft == Draft::D18);
        pair.pump();
        assert!(matches!(pair.client.event(), Some(Event::Response { .. })));
        let expected = (draft == Draft::D18).then(|| Event::PublishBlocked {
            id,
            suffix: namespace(&["a"]),
            name,
        });
        assert_eq!(pair.client.event(), expected);
        pair.client
            .session
            .cancel(now, id, ResetCode::Cancelled)
            .unwrap();
        pair.pump();
        assert!(matches!(pair.server.event(), Some(Event::Cancelled { .. })));
    }
}

#[test]
fn a_trace_has_the_control_messages_of_both_directions_in_order() {
    for draft in DRAFTS {
        let mut pair = Pair::new(draft);
        assert_eq!(pair.client.session.poll_message(), None, "not asked for");
        pair.client.session.trace_messages();
        pair.server.session.trace_messages();
        accept_subscribe(&mut pair, "v", 7);
        let mut said = |role| {
            let side = match role {
                Role::Client => &mut pair.client,
                Role::Server => &mut pair.server,
            };
            std::iter::from_fn(|| side.session.poll_message())
                .filter_map(|(direction, message)| {
                    if let Message::Subscribe(_) = message {
                        Some((direction, "SUBSCRIBE"))
                    } else if let Message::SubscribeOk(_) = message {
                        Some((direction, "SUBSCRIBE_OK"))
                    } else {
                        None
                    }
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(
            said(Role::Client),
            [
                (Direction::Sent, "SUBSCRIBE"),
                (Direction::Received, "SUBSCRIBE_OK")
            ]
        );
        assert_eq!(
            said(Role::Server),
            [
                (Direction::Received, "SUBSCRIBE"),
                (Direction::Sent, "SUBSCRIBE_OK")
            ]
        );
    }
}
