//! Two sessions wired back to back, every kind of request, both drafts.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::support::{DRAFTS, Store, settings, track};
use crate::code::DoneCode;
use crate::draft::Draft;
use crate::session::{Event, Request, Response, Role, Session};
use crate::time::Time;
use crate::transport::{Answer, Dir, Input, Output, Room, StreamId};
use crate::wire::id::{RequestId, TrackAlias};
use crate::wire::message::{RequestOk, Subscribe, SubscribeOk};
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
            Output::Priority { .. } | Output::AllowStreams { .. } => None,
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
        assert_eq!(pair.client.event(), None);
        assert_eq!(pair.server.event(), None);
    }
}
