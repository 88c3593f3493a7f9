//! A whole program around one part that a test writes: an application with peers, sessions and outgoing streams.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::code::SessionCode;
use crate::draft::Draft;
use crate::peer::Peer;
use crate::peers::Peers;
use crate::session::{Event, Misuse, Piece, Session, Settings, Source};
use crate::time::{Time, WallTime};
use crate::transport::{
    Admission, Answer, Application, ConnectionId, Exit, Incoming, Input, Output, StreamId, Target,
};
use crate::wire::id::{GroupId, Location, ObjectId, RequestId, SubgroupId, TrackAlias};
use crate::wire::object::{
    DatagramObject, ObjectHeader, ObjectStatus, SubgroupHeader, encode_datagram,
    encode_object_header, encode_subgroup_header,
};
use crate::wire::property::Properties;

/// How long closing may take before the program ends all the same.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a part fails, in words.
pub type Failure = String;

/// What a [`Program`] does with its peers.
pub trait Part: Send {
    /// A session tells something.
    ///
    /// # Errors
    ///
    /// What is wrong with it: the program ends with this.
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure>;

    /// The time of [`Part::poll_timeout`] came.
    ///
    /// # Errors
    ///
    /// As for [`Part::handle_event`].
    fn handle_timeout(&mut self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        let _stage = stage;
        Ok(())
    }

    /// When to call [`Part::handle_timeout`].
    fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// What it waits for, to be told if that never comes.
    fn waits_for(&self) -> String {
        "the end".to_owned()
    }
}

/// An application that lets a [`Part`] act on its peers.
pub struct Program<P: ?Sized + Part = dyn Part> {
    world: Scene,
    settings: Settings,
    drafts: Vec<Draft>,
    serves: bool,
    /// Counts from the first call that tells the time.
    limit: Option<Duration>,
    part: Box<P>,
}

/// What a part may use.
#[derive(Default)]
struct Scene {
    peers: Peers,
    trays: BTreeMap<ConnectionId, Tray>,
    exit: Option<Exit>,
    closing_until: Option<Time>,
    deadline: Option<Time>,
}

/// What a [`Part`] acts with: the sessions and what is sent on their streams.
pub struct Stage<'a> {
    now: Time,
    world: &'a mut Scene,
}

impl<P: ?Sized + Part> Program<P> {
    /// A program that serves whoever comes.
    pub fn server(settings: Settings, drafts: &[Draft], part: Box<P>) -> Self {
        Self {
            world: Scene::default(),
            settings,
            drafts: drafts.to_vec(),
            serves: true,
            limit: None,
            part,
        }
    }

    /// A program that connects to a target.
    pub fn client(settings: Settings, drafts: &[Draft], target: Target, part: Box<P>) -> Self {
        let mut program = Self::server(settings, drafts, part);
        program.serves = false;
        program.connect(target);
        program
    }

    /// Makes the program fail if it has not ended after this time.
    #[must_use]
    pub const fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Opens one more connection.
    pub fn connect(&mut self, target: Target) -> ConnectionId {
        let peer = Peer::client(self.settings.clone(), &self.drafts);
        self.world.peers.connect(peer, target)
    }

    /// The part, to look at.
    pub const fn part(&self) -> &P {
        &self.part
    }

    /// Lets `act` do something with the part on its stage.
    pub fn act<R>(&mut self, now: Time, act: impl FnOnce(&mut P, &mut Stage<'_>) -> R) -> R {
        let mut stage = Stage {
            now,
            world: &mut self.world,
        };
        let result = act(&mut self.part, &mut stage);
        self.drain(now);
        result
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.world.peers.len()
    }

    /// Lets the part handle what the sessions tell.
    fn drain(&mut self, now: Time) {
        while let Some((connection, event)) = self.world.peers.poll_event() {
            let closed = matches!(event, Event::Closed(_));
            let mut stage = Stage {
                now,
                world: &mut self.world,
            };
            if !stage.is_exiting()
                && let Err(why) = self.part.handle_event(&mut stage, connection, event)
            {
                stage.exit(Exit::Failure(why));
            }
            if closed {
                self.world.trays.remove(&connection);
            }
        }
    }
}

impl<P: ?Sized + Part> Application for Program<P> {
    fn handle_wall_clock(&mut self, now: Time, _wall: WallTime) {
        if let Some(limit) = self.limit.take() {
            self.world.deadline = Some(now + limit);
        }
    }

    fn handle_incoming(&mut self, _now: Time, incoming: &Incoming) -> Admission {
        if !self.serves || self.world.exit.is_some() {
            return Admission::Refuse;
        }
        let peer = Peer::server(self.settings.clone(), &self.drafts);
        Admission::Accept(self.world.peers.accept(peer, incoming.remote))
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.world.peers.handle_input(now, connection, input);
        self.drain(now);
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        let tray = self.world.trays.entry(connection).or_default();
        self.world
            .peers
            .handle_answer(now, connection, answer, tray);
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.world.peers.handle_timeout(now);
        self.drain(now);
        let ends = self.world.exit.is_some();
        if !ends && self.part.poll_timeout().is_some_and(|at| at <= now) {
            let mut stage = Stage {
                now,
                world: &mut self.world,
            };
            if let Err(why) = self.part.handle_timeout(&mut stage) {
                stage.exit(Exit::Failure(why));
            }
            self.drain(now);
        }
        if self.world.deadline.is_some_and(|at| at <= now) {
            self.world.deadline = None;
            let why = format!("waited in vain for {}", self.part.waits_for());
            self.act(now, |_, stage| stage.exit(Exit::Failure(why)));
        }
        // Whoever does not answer the close need not be waited for.
        if self.world.closing_until.is_some_and(|at| at <= now) {
            self.world.peers = Peers::default();
        }
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.act(now, |_, stage| stage.exit(Exit::Success));
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        self.world.peers.poll_dirty()
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        let tray = self.world.trays.entry(connection).or_default();
        let output = self.world.peers.poll_output(now, connection, tray);
        self.drain(now);
        output
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.world.peers.poll_connect()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let peers = self.world.peers.poll_timeout();
        let mine = if self.world.exit.is_some() {
            let closing = self.world.closing_until;
            [
                closing.map(|at| (at, "waiting for the end of connections")),
                None,
            ]
        } else {
            let part = self.part.poll_timeout();
            let limit = self.world.deadline;
            [
                part.map(|at| (at, "the part")),
                limit.map(|at| (at, "the limit of the program")),
            ]
        };
        mine.into_iter().flatten().chain(peers).min()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        if self.world.peers.is_empty() {
            return self.world.exit.take();
        }
        None
    }
}

impl<P: ?Sized + Part> fmt::Debug for Program<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("peers", &self.world.peers.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Stage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// A stream on which a part publishes the objects of a subgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subgroup {
    connection: ConnectionId,
    stream: StreamId,
    previous: Option<ObjectId>,
}

impl Subgroup {
    /// The stream.
    pub const fn stream(&self) -> StreamId {
        self.stream
    }
}

impl Stage<'_> {
    /// The time.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// A session.
    ///
    /// # Errors
    ///
    /// It is over.
    pub fn session(&mut self, connection: ConnectionId) -> Result<&mut Session, Failure> {
        let session = self.world.peers.session(connection);
        session.ok_or_else(|| format!("{connection} is over already"))
    }

    /// Connections that are not over.
    pub fn connections(&self) -> Vec<ConnectionId> {
        self.world.peers.connections().collect()
    }

    /// Ends the program: closes all sessions, and exits when they are closed. The first call decides.
    pub fn exit(&mut self, exit: Exit) {
        if self.world.exit.is_some() {
            return;
        }
        self.world.exit = Some(exit);
        self.world.closing_until = Some(self.now + CLOSE_TIMEOUT);
        for connection in self.connections() {
            self.close(connection);
        }
    }

    /// Whether [`Stage::exit`] was called.
    pub const fn is_exiting(&self) -> bool {
        self.world.exit.is_some()
    }

    /// Closes a session without complaint.
    pub fn close(&mut self, connection: ConnectionId) {
        let now = self.now;
        if let Some(session) = self.world.peers.session(connection) {
            session.close(now, SessionCode::NoError, "done");
        }
    }

    /// Opens a stream for a subgroup.
    ///
    /// # Errors
    ///
    /// [`Misuse::Blocked`] if there are too many streams already: try again after [`Event::CanOpenStream`].
    pub fn open_subgroup(
        &mut self,
        connection: ConnectionId,
        request: RequestId,
        alias: TrackAlias,
        header: &SubgroupHeader,
    ) -> Result<Subgroup, Misuse> {
        let now = self.now;
        let session = self.world.peers.session(connection).ok_or(Misuse::Closed)?;
        let profile = session.profile().ok_or(Misuse::NotEstablished)?;
        let mut bytes = BytesMut::new();
        encode_subgroup_header(profile, alias, header, false, &mut bytes)?;
        let priority = header.priority.unwrap_or(128);
        let stream =
            session.open_subgroup(now, request, header.group, header.subgroup, priority)?;
        let subgroup = Subgroup {
            connection,
            stream,
            previous: None,
        };
        self.send(connection, stream, bytes.freeze());
        Ok(subgroup)
    }

    /// Publishes an object on a subgroup's stream.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotExpressible`], or the session is over.
    pub fn object(
        &mut self,
        subgroup: &mut Subgroup,
        id: ObjectId,
        payload: Bytes,
    ) -> Result<(), Misuse> {
        let connection = subgroup.connection;
        let session = self.world.peers.session(connection).ok_or(Misuse::Closed)?;
        let profile = session.profile().ok_or(Misuse::NotEstablished)?;
        let header = ObjectHeader {
            id,
            properties: Properties::default(),
            status: ObjectStatus::Normal,
            payload_length: u64::try_from(payload.len()).unwrap_or(u64::MAX),
        };
        let mut bytes = BytesMut::new();
        encode_object_header(profile, false, subgroup.previous, &header, &mut bytes)?;
        subgroup.previous = Some(id);
        self.send(connection, subgroup.stream, bytes.freeze());
        self.send(connection, subgroup.stream, payload);
        Ok(())
    }

    /// Ends a subgroup's stream.
    pub fn finish(&mut self, subgroup: Subgroup) {
        self.finish_stream(subgroup.connection, subgroup.stream);
    }

    /// Ends a data stream after what was sent on it.
    pub fn finish_stream(&mut self, connection: ConnectionId, stream: StreamId) {
        let tray = self.world.trays.entry(connection).or_default();
        tray.streams.entry(stream).or_default().fin = true;
        self.ready(connection, stream);
    }

    /// Publishes an object in a datagram.
    ///
    /// # Errors
    ///
    /// As [`Session::send_datagram`].
    pub fn datagram(
        &mut self,
        connection: ConnectionId,
        request: RequestId,
        alias: TrackAlias,
        location: Location,
        payload: Bytes,
    ) -> Result<(), Misuse> {
        let now = self.now;
        let session = self.world.peers.session(connection).ok_or(Misuse::Closed)?;
        let profile = session.profile().ok_or(Misuse::NotEstablished)?;
        let object = DatagramObject {
            location,
            priority: Some(128),
            properties: Properties::default(),
            status: ObjectStatus::Normal,
            end_of_group: false,
            payload,
        };
        let bytes = encode_datagram(profile, alias, &object)?;
        session.send_datagram(now, request, 128, location, bytes)
    }

    /// Bytes of data streams that the transport took on this connection.
    pub fn taken(&self, connection: ConnectionId) -> usize {
        self.world
            .trays
            .get(&connection)
            .map_or(0, |tray| tray.taken)
    }

    /// Sends further bytes on a data stream.
    pub fn send(&mut self, connection: ConnectionId, stream: StreamId, bytes: Bytes) {
        let tray = self.world.trays.entry(connection).or_default();
        if !bytes.is_empty() {
            tray.streams
                .entry(stream)
                .or_default()
                .pieces
                .push_back(bytes);
        }
        self.ready(connection, stream);
    }

    fn ready(&mut self, connection: ConnectionId, stream: StreamId) {
        if let Some(session) = self.world.peers.session(connection) {
            session.stream_ready(stream);
        }
    }
}

/// The header of a subgroup's stream whose first object is the subgroup's first.
pub const fn subgroup_header(group: u64, subgroup: u64) -> SubgroupHeader {
    SubgroupHeader {
        group: GroupId(group),
        subgroup: SubgroupId(subgroup),
        priority: Some(128),
        end_of_group: false,
        first_object: true,
    }
}

/// What waits to be sent on the data streams of one connection. Not bounded: a test knows how much it sends.
#[derive(Debug, Default)]
struct Tray {
    streams: BTreeMap<StreamId, Sheet>,
    taken: usize,
}

#[derive(Debug, Default)]
struct Sheet {
    pieces: VecDeque<Bytes>,
    fin: bool,
}

impl Source for Tray {
    fn peek(&mut self, _now: Time, stream: StreamId) -> Option<Piece> {
        let sheet = self.streams.get(&stream)?;
        match sheet.pieces.front() {
            Some(bytes) => Some(Piece {
                bytes: bytes.clone(),
                fin: sheet.fin && sheet.pieces.len() == 1,
            }),
            None => sheet.fin.then(|| Piece {
                bytes: Bytes::new(),
                fin: true,
            }),
        }
    }

    fn taken(&mut self, _now: Time, stream: StreamId, bytes: usize, fin: bool) {
        self.taken += bytes;
        let Some(sheet) = self.streams.get_mut(&stream) else {
            return;
        };
        if let Some(mut piece) = sheet.pieces.pop_front()
            && piece.len() > bytes
        {
            sheet.pieces.push_front(piece.split_off(bytes));
        }
        if fin {
            self.streams.remove(&stream);
        }
    }
}
