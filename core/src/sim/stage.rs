//! What a part acts with: its sessions, and what is sent on their data streams.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::code::SessionCode;
use crate::peers::Peers;
use crate::session::{Misuse, Piece, Session, Source};
use crate::time::Time;
use crate::transport::{ConnectionId, Exit, StreamId};
use crate::wire::id::{GroupId, Location, ObjectId, RequestId, SubgroupId, TrackAlias};
use crate::wire::object::{
    DatagramObject, FetchEncoder, FetchEntry, ObjectHeader, ObjectStatus, SubgroupHeader,
    encode_datagram, encode_object_header, encode_subgroup_header,
};
use crate::wire::param::GroupOrder;
use crate::wire::property::Properties;

use super::program::Failure;

/// How long closing may take before the program ends all the same.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// What a part may use.
#[derive(Default)]
pub(super) struct Scene {
    pub(super) peers: Peers,
    pub(super) trays: BTreeMap<ConnectionId, Tray>,
    pub(super) exit: Option<Exit>,
    pub(super) closing_until: Option<Time>,
    pub(super) deadline: Option<Time>,
}

/// What a [`Part`](super::Part) acts with: the sessions and what is sent on their streams.
pub struct Stage<'a> {
    pub(super) now: Time,
    pub(super) world: &'a mut Scene,
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
    /// Whether objects on it may have properties.
    properties: bool,
    previous: Option<ObjectId>,
}

/// The stream on which a part answers a FETCH.
#[derive(Debug)]
pub struct FetchStream {
    connection: ConnectionId,
    stream: StreamId,
    encoder: FetchEncoder,
}

impl FetchStream {
    /// The stream.
    pub const fn stream(&self) -> StreamId {
        self.stream
    }
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

    /// Opens a stream for a subgroup whose objects have no properties.
    ///
    /// # Errors
    ///
    /// [`Misuse::Blocked`] if there are too many streams already: try again after [`Event::CanOpenStream`].
    ///
    /// [`Event::CanOpenStream`]: crate::session::Event::CanOpenStream
    pub fn open_subgroup(
        &mut self,
        connection: ConnectionId,
        request: RequestId,
        alias: TrackAlias,
        header: &SubgroupHeader,
    ) -> Result<Subgroup, Misuse> {
        self.open_subgroup_stream(connection, request, alias, header, false)
    }

    /// Opens a stream for a subgroup; `properties`: whether its objects may have any.
    ///
    /// # Errors
    ///
    /// As [`Stage::open_subgroup`].
    pub fn open_subgroup_stream(
        &mut self,
        connection: ConnectionId,
        request: RequestId,
        alias: TrackAlias,
        header: &SubgroupHeader,
        properties: bool,
    ) -> Result<Subgroup, Misuse> {
        let now = self.now;
        let session = self.world.peers.session(connection).ok_or(Misuse::Closed)?;
        let profile = session.profile().ok_or(Misuse::NotEstablished)?;
        let mut bytes = BytesMut::new();
        encode_subgroup_header(profile, alias, header, properties, &mut bytes)?;
        let priority = header.priority.unwrap_or(128);
        let stream =
            session.open_subgroup(now, request, header.group, header.subgroup, priority)?;
        let subgroup = Subgroup {
            connection,
            stream,
            properties,
            previous: None,
        };
        self.send(connection, stream, bytes.freeze());
        Ok(subgroup)
    }

    /// Publishes an object without properties on a subgroup's stream.
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
        let header = ObjectHeader {
            id,
            properties: Properties::default(),
            status: ObjectStatus::Normal,
            payload_length: u64::try_from(payload.len()).unwrap_or(u64::MAX),
        };
        self.write_object(subgroup, &header, payload)
    }

    /// Publishes an object or a marker on a subgroup's stream.
    ///
    /// # Errors
    ///
    /// As [`Stage::object`].
    pub fn write_object(
        &mut self,
        subgroup: &mut Subgroup,
        header: &ObjectHeader,
        payload: Bytes,
    ) -> Result<(), Misuse> {
        let connection = subgroup.connection;
        let session = self.world.peers.session(connection).ok_or(Misuse::Closed)?;
        let profile = session.profile().ok_or(Misuse::NotEstablished)?;
        let (properties, previous) = (subgroup.properties, subgroup.previous);
        let mut bytes = BytesMut::new();
        encode_object_header(profile, properties, previous, header, &mut bytes)?;
        subgroup.previous = Some(header.id);
        self.send(connection, subgroup.stream, bytes.freeze());
        self.send(connection, subgroup.stream, payload);
        Ok(())
    }

    /// Opens the stream for a FETCH of the peer's, whose groups will come in this order.
    ///
    /// # Errors
    ///
    /// As [`Stage::open_subgroup`].
    pub fn open_fetch(
        &mut self,
        connection: ConnectionId,
        request: RequestId,
        order: GroupOrder,
    ) -> Result<FetchStream, Misuse> {
        let now = self.now;
        let session = self.world.peers.session(connection).ok_or(Misuse::Closed)?;
        let profile = session.profile().ok_or(Misuse::NotEstablished)?;
        let mut bytes = BytesMut::new();
        let encoder = FetchEncoder::new(profile, request, order, &mut bytes)?;
        let stream = session.open_fetch(now, request)?;
        self.send(connection, stream, bytes.freeze());
        Ok(FetchStream {
            connection,
            stream,
            encoder,
        })
    }

    /// Sends an entry on the stream of a FETCH, with the payload if it is an object.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotExpressible`].
    pub fn fetched(
        &mut self,
        fetch: &mut FetchStream,
        entry: &FetchEntry,
        payload: Bytes,
    ) -> Result<(), Misuse> {
        let mut bytes = BytesMut::new();
        fetch.encoder.entry(entry, &mut bytes)?;
        self.send(fetch.connection, fetch.stream, bytes.freeze());
        self.send(fetch.connection, fetch.stream, payload);
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

    /// Publishes an object without properties in a datagram.
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
        let object = DatagramObject {
            location,
            priority: Some(128),
            properties: Properties::default(),
            status: ObjectStatus::Normal,
            end_of_group: false,
            payload,
        };
        self.write_datagram(connection, request, alias, &object)
    }

    /// Publishes an object or a marker in a datagram.
    ///
    /// # Errors
    ///
    /// As [`Session::send_datagram`].
    pub fn write_datagram(
        &mut self,
        connection: ConnectionId,
        request: RequestId,
        alias: TrackAlias,
        object: &DatagramObject,
    ) -> Result<(), Misuse> {
        let now = self.now;
        let session = self.world.peers.session(connection).ok_or(Misuse::Closed)?;
        let profile = session.profile().ok_or(Misuse::NotEstablished)?;
        let bytes = encode_datagram(profile, alias, object)?;
        let priority = object.priority.unwrap_or(128);
        session.send_datagram(now, request, priority, object.location, bytes)
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
pub(super) struct Tray {
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
