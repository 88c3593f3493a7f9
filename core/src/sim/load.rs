//! A relay with nothing around it: its peers are bytes and take everything at once, so that what is measured is the relay
//! alone.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::draft::{ControlModel, Draft};
use crate::relay::{Relay, Settings};
use crate::time::Time;
use crate::transport::{
    Admission, Answer, Application as _, ConnectionId, Dir, Incoming, Input, Output, Room, StreamId,
};
use crate::wire::Role;
use crate::wire::id::{GroupId, ObjectId, RequestId, SubgroupId, TrackAlias};
use crate::wire::message::{Channel, Message, Origin, Publish, Setup, Subscribe};
use crate::wire::name::FullTrackName;
use crate::wire::object::{
    ObjectHeader, ObjectStatus, SubgroupHeader, encode_object_header, encode_subgroup_header,
};
use crate::wire::param::Parameters;
use crate::wire::property::Properties;

/// Requests that a peer of draft 16 allows: more than there are.
const MANY_REQUESTS: u64 = 1 << 20;

/// What subscribers were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Bytes on streams, those of headers and messages included.
    pub bytes: u64,
    /// Calls that it took.
    pub writes: u64,
    /// Streams that ended.
    pub fins: u64,
}

/// A relay and its peers.
#[derive(Debug)]
pub struct Load {
    relay: Relay,
    now: Time,
    peers: BTreeMap<ConnectionId, Peer>,
    acknowledged: Vec<(ConnectionId, StreamId)>,
    sent: Sent,
}

/// A client's end of a connection.
#[derive(Debug)]
struct Peer {
    draft: Draft,
    uni: u64,
    bidi: u64,
    requests: u64,
    control: StreamId,
    /// What the relay has not read yet, and whether the stream ends there.
    unread: BTreeMap<StreamId, (VecDeque<Bytes>, bool)>,
}

/// A subgroup that a publisher is sending.
///
/// Its objects follow one another, so that each looks the same on the wire and nothing has to be made for it.
#[derive(Clone, Debug)]
pub struct Sending {
    publisher: ConnectionId,
    stream: StreamId,
    first: Bytes,
    next: Bytes,
    begun: bool,
}

impl Load {
    /// A relay without peers.
    pub fn new(settings: Settings) -> Self {
        Self {
            relay: Relay::new(settings),
            now: Time::from_micros(1),
            peers: BTreeMap::new(),
            acknowledged: Vec::with_capacity(1 << 12),
            sent: Sent::default(),
        }
    }

    /// What was sent since the last time that this was asked.
    pub const fn take_sent(&mut self) -> Sent {
        std::mem::replace(
            &mut self.sent,
            Sent {
                bytes: 0,
                writes: 0,
                fins: 0,
            },
        )
    }

    /// A client that publishes a track.
    pub fn publisher(&mut self, draft: Draft, track: &FullTrackName) -> ConnectionId {
        let connection = self.connect(draft);
        let request_id = self.request_id(connection);
        self.ask(
            connection,
            &Message::Publish(Publish {
                request_id,
                track: track.clone(),
                track_alias: TrackAlias(request_id.0),
                parameters: Parameters::default(),
                properties: Properties::default(),
            }),
        );
        connection
    }

    /// A client that subscribes to a track.
    pub fn subscriber(&mut self, draft: Draft, track: &FullTrackName) -> ConnectionId {
        let connection = self.connect(draft);
        let request_id = self.request_id(connection);
        self.ask(
            connection,
            &Message::Subscribe(Subscribe {
                request_id,
                track: track.clone(),
                parameters: Parameters::default(),
            }),
        );
        connection
    }

    /// A publisher's next group, of objects with this payload.
    ///
    /// # Panics
    /// If there is no such publisher.
    pub fn begin(&mut self, publisher: ConnectionId, group: GroupId, payload: &Bytes) -> Sending {
        let Some(peer) = self.peers.get_mut(&publisher) else {
            panic!("{publisher} is nobody's");
        };
        let profile = peer.draft.profile();
        let stream = StreamId::peer(peer.uni);
        let dir = Dir::Uni;
        peer.uni += 1;
        let header = SubgroupHeader {
            group,
            subgroup: SubgroupId(0),
            priority: Some(128),
            end_of_group: true,
            first_object: true,
        };
        let object = |id, previous, mut bytes: BytesMut| {
            let header = ObjectHeader {
                id: ObjectId(id),
                properties: Properties::default(),
                status: ObjectStatus::Normal,
                payload_length: u64::try_from(payload.len()).unwrap_or(u64::MAX),
            };
            let written = encode_object_header(profile, true, previous, &header, &mut bytes);
            assert_eq!(written, Ok(()));
            bytes.extend_from_slice(payload);
            bytes.freeze()
        };
        let mut opening = BytesMut::new();
        let alias = TrackAlias(0);
        let written = encode_subgroup_header(profile, alias, &header, true, &mut opening);
        assert_eq!(written, Ok(()));
        let sending = Sending {
            publisher,
            stream,
            first: object(0, None, opening),
            next: object(1, Some(ObjectId(0)), BytesMut::new()),
            begun: false,
        };
        // Room for what is sent, set aside before anything is counted.
        peer.unread
            .insert(stream, (VecDeque::with_capacity(4), false));
        self.tell(publisher, Input::Opened { stream, dir });
        sending
    }

    /// The next object arrives and goes out to everybody.
    pub fn object(&mut self, sending: &mut Sending) {
        let bytes = match std::mem::replace(&mut sending.begun, true) {
            true => sending.next.clone(),
            false => sending.first.clone(),
        };
        self.arrive(sending.publisher, sending.stream, bytes, false);
        self.pump();
    }

    /// The group is over.
    pub fn end(&mut self, sending: &Sending) {
        self.arrive(sending.publisher, sending.stream, Bytes::new(), true);
        self.pump();
    }

    /// Time passes.
    pub fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        if self
            .relay
            .poll_timeout()
            .is_some_and(|(at, _)| at <= self.now)
        {
            self.relay.handle_timeout(self.now);
        }
        self.pump();
    }

    // What peers do.

    fn connect(&mut self, draft: Draft) -> ConnectionId {
        let incoming = Incoming {
            remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 4433)),
            is_validated: true,
        };
        let Admission::Accept(connection) = self.relay.handle_incoming(self.now, &incoming) else {
            panic!("the relay is full");
        };
        let profile = draft.profile();
        let control = StreamId::peer(0);
        let (dir, uni, bidi) = match profile.control {
            ControlModel::StreamPerRequest => (Dir::Uni, 2, 1),
            ControlModel::SharedStream => (Dir::Bi, 1, 2),
        };
        let peer = Peer {
            draft,
            uni,
            bidi,
            requests: 0,
            control,
            unread: BTreeMap::new(),
        };
        self.peers.insert(connection, peer);
        let alpn = Bytes::from_static(profile.alpn.as_bytes());
        let max_datagram = 1200;
        self.tell(connection, Input::Connected { alpn, max_datagram });
        let stream = control;
        self.tell(connection, Input::Opened { stream, dir });
        let setup = Message::Setup(Setup {
            max_request_id: (draft == Draft::D16).then_some(MANY_REQUESTS),
            ..Setup::default()
        });
        self.say(connection, control, Channel::Control, &setup);
        connection
    }

    fn request_id(&mut self, connection: ConnectionId) -> RequestId {
        let peer = self.peers.get_mut(&connection);
        let requests = peer.map_or(0, |peer| {
            peer.requests += 1;
            peer.requests - 1
        });
        RequestId(requests * 2)
    }

    fn ask(&mut self, connection: ConnectionId, message: &Message) {
        let Some(peer) = self.peers.get_mut(&connection) else {
            return;
        };
        match peer.draft.profile().control {
            ControlModel::SharedStream => {
                let control = peer.control;
                self.say(connection, control, Channel::Control, message);
            }
            ControlModel::StreamPerRequest => {
                let (stream, dir) = (StreamId::peer(peer.bidi), Dir::Bi);
                peer.bidi += 1;
                self.tell(connection, Input::Opened { stream, dir });
                self.say(connection, stream, Channel::Request, message);
            }
        }
    }

    fn say(&mut self, to: ConnectionId, stream: StreamId, channel: Channel, message: &Message) {
        let Some(peer) = self.peers.get(&to) else {
            return;
        };
        let origin = Origin {
            profile: peer.draft.profile(),
            sender: Role::Client,
            channel,
        };
        match message.encode(origin) {
            Ok(bytes) => self.arrive(to, stream, bytes, false),
            Err(error) => panic!("{message:?}: {error}"),
        }
        self.pump();
    }

    fn arrive(&mut self, from: ConnectionId, stream: StreamId, bytes: Bytes, fin: bool) {
        if let Some(peer) = self.peers.get_mut(&from) {
            let (unread, ends) = peer.unread.entry(stream).or_default();
            unread.push_back(bytes);
            *ends |= fin;
        }
        self.tell(from, Input::Readable(stream));
    }

    fn tell(&mut self, connection: ConnectionId, input: Input) {
        self.relay.handle_input(self.now, connection, input);
    }

    // What the relay does.

    fn pump(&mut self) {
        loop {
            while let Some(connection) = self.relay.poll_dirty() {
                while let Some(output) = self.relay.poll_output(self.now, connection) {
                    if let Some(answer) = self.carry_out(connection, output) {
                        self.relay.handle_answer(self.now, connection, answer);
                    }
                }
            }
            let Some((connection, stream)) = self.acknowledged.pop() else {
                return;
            };
            self.tell(connection, Input::Acked(stream));
        }
    }

    fn carry_out(&mut self, connection: ConnectionId, output: Output) -> Option<Answer> {
        match output {
            Output::Write {
                stream, bytes, fin, ..
            } => {
                let taken = bytes.len();
                self.sent.bytes += u64::try_from(taken).unwrap_or(u64::MAX);
                self.sent.writes += 1;
                if fin {
                    self.sent.fins += 1;
                    self.acknowledged.push((connection, stream));
                }
                let room = Room::More;
                Some(Answer::Wrote { taken, room })
            }
            Output::Read { stream, max } => {
                let peer = self.peers.get_mut(&connection)?;
                Some(peer.read(stream, max))
            }
            Output::Close { code, reason } => {
                panic!(
                    "{connection} is closed: {code:#x} {}",
                    reason.escape_ascii()
                )
            }
            Output::Open { .. } | Output::Datagram(_) => Some(Answer::Done),
            Output::Reset { .. }
            | Output::Stop { .. }
            | Output::Priority { .. }
            | Output::AllowStreams { .. }
            | Output::ReceiveWindow(_) => None,
        }
    }
}

impl Peer {
    fn read(&mut self, stream: StreamId, max: usize) -> Answer {
        let Some((unread, ends)) = self.unread.get_mut(&stream) else {
            return Answer::Blocked;
        };
        match unread.pop_front() {
            Some(mut bytes) if !bytes.is_empty() => {
                if bytes.len() > max {
                    unread.push_front(bytes.split_off(max));
                }
                Answer::Data(bytes)
            }
            Some(_) | None if *ends => {
                self.unread.remove(&stream);
                Answer::Fin
            }
            Some(_) | None => Answer::Blocked,
        }
    }
}
