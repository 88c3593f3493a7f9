//! A publisher that serves FETCHes, a client's session, and a wire between them that can be made narrow.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;

use crate::draft::Draft;
use crate::fanout::{self, Fanout};
use crate::fetches::Limits;
use crate::ledger::Ledger;
use crate::peer::Peer;
use crate::peers::Peers;
use crate::publisher::Publisher;
use crate::session::{Event, FetchItem, Outbox, Request, Role, Session, Settings, StreamEnd};
use crate::time::Time;
use crate::transport::{Answer, ConnectionId, Dir, Input, Output, Room, StreamId};
use crate::wire::id::{GroupId, Location, ObjectId, RequestId};
use crate::wire::message::{Fetch, FetchRange};
use crate::wire::name::{FullTrackName, TrackName, TrackNamespace};
use crate::wire::param::{GroupOrder, Parameters};

pub(super) const NOW: Time = Time::from_micros(1);

/// What is to be read on one end of a stream.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    fin: bool,
    reset: Option<u64>,
}

impl Pipe {
    fn read(&mut self, max: usize) -> Answer {
        if !self.bytes.is_empty() {
            let length = max.min(self.bytes.len());
            return Answer::Data(self.bytes.drain(..length).collect());
        }
        // A transport may well deliver what was sent before.
        if let Some(code) = self.reset {
            return Answer::Reset(code);
        }
        match self.fin {
            true => Answer::Fin,
            false => Answer::Blocked,
        }
    }
}

pub(super) struct Wire {
    pub(super) server: Publisher,
    pub(super) connection: ConnectionId,
    pub(super) client: Session,
    /// The most that one write on a stream of the server's takes.
    pub(super) take: usize,
    /// Bytes that the server may still write to its unidirectional streams.
    pub(super) window: usize,
    /// Whether the server may open unidirectional streams.
    pub(super) streams_allowed: bool,
    /// Writes on data streams of the server's: which one, in the order of their first write, and how long.
    pub(super) writes: Vec<(usize, usize)>,
    /// Everything that the client was told, and what the server's application was.
    pub(super) told_client: Vec<Event>,
    pub(super) told_server: Vec<Event>,
    to_client: BTreeMap<StreamId, Pipe>,
    to_server: BTreeMap<StreamId, Pipe>,
    /// The client's name for each stream of the server's, and the reverse.
    names: [BTreeMap<StreamId, StreamId>; 2],
    opened: [u64; 2],
    data: Vec<StreamId>,
}

impl Wire {
    pub(super) fn new(draft: Draft) -> Self {
        Self::with_limits(draft, Limits::default())
    }

    pub(super) fn with_limits(draft: Draft, limits: Limits) -> Self {
        let mut peers = Peers::default();
        let peer = Peer::server(Settings::new(Role::Server), &[draft]);
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 4433));
        let connection = peers.accept(peer, remote);
        let fanout = Fanout::new(fanout::Limits::default(), Ledger::new(1 << 24));
        let mut wire = Self {
            server: Publisher::new(peers, fanout).with_fetch_limits(limits),
            connection,
            client: Session::new(Settings::new(Role::Client)),
            take: usize::MAX,
            window: usize::MAX,
            streams_allowed: true,
            writes: Vec::new(),
            told_client: Vec::new(),
            told_server: Vec::new(),
            to_client: BTreeMap::new(),
            to_server: BTreeMap::new(),
            names: [BTreeMap::new(), BTreeMap::new()],
            opened: [0, 0],
            data: Vec::new(),
        };
        let connected = || Input::Connected {
            alpn: Bytes::from_static(draft.profile().alpn.as_bytes()),
            max_datagram: 1200,
        };
        wire.client.handle_input(NOW, connected());
        wire.server.handle_input(NOW, connection, connected());
        wire.settle();
        assert!(matches!(wire.told_client[..], [Event::Established { .. }]));
        wire
    }

    /// Asks for everything up to group 9, in this order.
    pub(super) fn fetch(&mut self, order: GroupOrder) -> RequestId {
        let track = FullTrackName {
            namespace: TrackNamespace::new(["live"]).unwrap(),
            name: TrackName::new("v").unwrap(),
        };
        let fetch = Fetch {
            request_id: RequestId(0),
            range: FetchRange::Standalone {
                track,
                start: at(0, 0),
                end: at(9, 0),
            },
            parameters: Parameters {
                group_order: Some(order),
                ..Parameters::default()
            },
        };
        let id = self.client.request(NOW, Request::Fetch(fetch)).unwrap();
        self.settle();
        id
    }

    /// Lets both sides do what they want until neither wants anything.
    pub(super) fn settle(&mut self) {
        while self.step_server() | self.step_client() {}
    }

    /// What arrived for a FETCH, the pieces of each payload put together.
    pub(super) fn fetched(&self, request: RequestId) -> Vec<Got> {
        let mut all = Vec::new();
        for event in &self.told_client {
            let Event::Fetched { id, item } = event else {
                continue;
            };
            if *id != request {
                continue;
            }
            match item {
                FetchItem::Object { location, .. } => all.push(Got::Object(*location, Vec::new())),
                FetchItem::Payload(bytes) => match all.last_mut() {
                    Some(Got::Object(_, payload)) => payload.extend_from_slice(bytes),
                    other => panic!("a payload after {other:?}"),
                },
                FetchItem::NonExistent(to) => all.push(Got::NonExistent(*to)),
                FetchItem::Unknown(to) => all.push(Got::Unknown(*to)),
                FetchItem::End(end) => all.push(Got::End(*end)),
            }
        }
        all
    }

    /// The client stops the unidirectional stream that the server opened as the `index`th.
    pub(super) fn stop(&mut self, index: usize, code: u64) {
        let stream = self.data[index];
        let input = Input::Stopped { stream, code };
        self.server.handle_input(NOW, self.connection, input);
    }

    /// The server may open unidirectional streams from now on.
    pub(super) fn can_open(&mut self) {
        self.streams_allowed = true;
        let input = Input::CanOpen(Dir::Uni);
        self.server.handle_input(NOW, self.connection, input);
    }

    /// The window of all streams opens again.
    pub(super) fn writable(&mut self) {
        for stream in self.data.clone() {
            let input = Input::Writable(stream);
            self.server.handle_input(NOW, self.connection, input);
        }
    }

    fn step_server(&mut self) -> bool {
        let mut moved = self.drain_server();
        while let Some(connection) = self.server.poll_dirty() {
            while let Some(output) = self.server.poll_output(NOW, connection) {
                let answer = self.carry_from_server(output);
                moved |= answer != Some(Answer::Blocked);
                if let Some(answer) = answer {
                    self.server.handle_answer(NOW, connection, answer);
                }
            }
            moved |= self.drain_server();
        }
        moved
    }

    fn drain_server(&mut self) -> bool {
        let mut moved = false;
        while let Some((_, event)) = self.server.poll_event() {
            self.told_server.push(event);
            moved = true;
        }
        moved
    }

    fn step_client(&mut self) -> bool {
        let mut moved = false;
        let mut nothing = Outbox::new(0);
        while let Some(output) = self.client.poll_output(NOW, &mut nothing) {
            let answer = self.carry_from_client(output);
            moved |= answer != Some(Answer::Blocked);
            if let Some(answer) = answer {
                self.client.handle_answer(NOW, answer, &mut nothing);
            }
        }
        while let Some(event) = self.client.poll_event() {
            self.told_client.push(event);
            moved = true;
        }
        moved
    }

    fn carry_from_server(&mut self, output: Output) -> Option<Answer> {
        match output {
            Output::Open { stream, dir } => {
                if dir == Dir::Uni && !self.streams_allowed {
                    return Some(Answer::Blocked);
                }
                let name = self.open(0, stream);
                self.to_client.insert(name, Pipe::default());
                let input = Input::Opened { stream: name, dir };
                self.client.handle_input(NOW, input);
                Some(Answer::Done)
            }
            Output::Write {
                stream,
                bytes,
                fin,
                urgent,
            } => {
                let mut taken = bytes.len();
                if !urgent {
                    if !self.data.contains(&stream) {
                        self.data.push(stream);
                    }
                    taken = taken.min(self.take).min(self.window);
                    self.window -= taken;
                    let index = self.data.iter().position(|data| *data == stream).unwrap();
                    self.writes.push((index, taken));
                }
                let name = self.names[0][&stream];
                let pipe = self.to_client.get_mut(&name).unwrap();
                pipe.bytes.extend(&bytes[..taken]);
                pipe.fin |= fin && taken == bytes.len();
                self.client.handle_input(NOW, Input::Readable(name));
                let room = match taken == bytes.len() || self.window > 0 {
                    true => Room::More,
                    false => Room::StreamFull,
                };
                Some(Answer::Wrote { taken, room })
            }
            Output::Read { stream, max } => {
                Some(self.to_server.get_mut(&stream).unwrap().read(max))
            }
            Output::Reset { stream, code } => {
                let name = self.names[0][&stream];
                self.to_client.get_mut(&name).unwrap().reset = Some(code);
                self.client.handle_input(NOW, Input::Readable(name));
                None
            }
            Output::Stop { stream, code } => {
                let stream = self.names[0][&stream];
                let input = Input::Stopped { stream, code };
                self.client.handle_input(NOW, input);
                None
            }
            Output::Datagram(_) => Some(Answer::Done),
            Output::Priority { .. } | Output::AllowStreams { .. } | Output::ReceiveWindow(_) => {
                None
            }
            Output::Close { code, reason } => panic!("closed: {code} {reason:?}"),
        }
    }

    fn carry_from_client(&mut self, output: Output) -> Option<Answer> {
        let connection = self.connection;
        match output {
            Output::Open { stream, dir } => {
                let name = self.open(1, stream);
                self.to_server.insert(name, Pipe::default());
                if dir == Dir::Bi {
                    self.to_client.insert(stream, Pipe::default());
                }
                let input = Input::Opened { stream: name, dir };
                self.server.handle_input(NOW, connection, input);
                Some(Answer::Done)
            }
            Output::Write {
                stream, bytes, fin, ..
            } => {
                let name = self.names[1][&stream];
                let pipe = self.to_server.get_mut(&name).unwrap();
                pipe.bytes.extend(&bytes);
                pipe.fin |= fin;
                let input = Input::Readable(name);
                self.server.handle_input(NOW, connection, input);
                Some(Answer::Wrote {
                    taken: bytes.len(),
                    room: Room::More,
                })
            }
            Output::Read { stream, max } => {
                Some(self.to_client.get_mut(&stream).unwrap().read(max))
            }
            Output::Reset { stream, code } => {
                let name = self.names[1][&stream];
                self.to_server.get_mut(&name).unwrap().reset = Some(code);
                let input = Input::Readable(name);
                self.server.handle_input(NOW, connection, input);
                None
            }
            Output::Stop { stream, code } => {
                let stream = self.names[1][&stream];
                let input = Input::Stopped { stream, code };
                self.server.handle_input(NOW, connection, input);
                None
            }
            Output::Datagram(_) => Some(Answer::Done),
            Output::Priority { .. } | Output::AllowStreams { .. } | Output::ReceiveWindow(_) => {
                None
            }
            Output::Close { code, reason } => panic!("closed: {code} {reason:?}"),
        }
    }

    /// Another stream of one side's; returns the other side's name for it.
    fn open(&mut self, side: usize, stream: StreamId) -> StreamId {
        let name = StreamId::peer(self.opened[side]);
        self.opened[side] += 1;
        self.names[side].insert(stream, name);
        self.names[1 - side].insert(name, stream);
        name
    }
}

/// Something that arrived on a FETCH's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Object(Location, Vec<u8>),
    NonExistent(Location),
    Unknown(Location),
    End(StreamEnd),
}

pub(super) const fn at(group: u64, object: u64) -> Location {
    Location {
        group: GroupId(group),
        object: ObjectId(object),
    }
}
