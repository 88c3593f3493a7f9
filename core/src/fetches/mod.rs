//! FETCHes of peers while they are served: a little of each ahead of the transport, fed by whoever has the objects.
//!
//! The owner of a [`Publisher`](crate::publisher::Publisher) accepts a FETCH with
//! [`Publisher::open_fetch`](crate::publisher::Publisher::open_fetch) and keeps the cursor: which object comes next is its
//! business. [`Publisher::poll_hungry`](crate::publisher::Publisher::poll_hungry) names a FETCH that has room;
//! [`Publisher::feed_fetch`](crate::publisher::Publisher::feed_fetch) says after each entry whether there is room for
//! another. So a FETCH of a million objects costs no more memory than one of a hundred, and a peer that does not read
//! costs its look-ahead only: payloads are shared with the cache or track that they came from.

mod ahead;
mod limits;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::code::{RequestCode, ResetCode};
use crate::draft::{ControlModel, Profile};
use crate::ledger::{Ledger, Pieces};
use crate::session::{DEFAULT_PRIORITY, Misuse, Piece, Refusal, Response, Session, Source};
use crate::time::Time;
use crate::transport::{ConnectionId, StreamId};
use crate::wire::NotExpressible;
use crate::wire::id::{Millis, RequestId};
use crate::wire::message::{FetchOk, Retry};
use crate::wire::object::{FetchEncoder, FetchEntry, FetchObject};
use crate::wire::param::GroupOrder;

pub use limits::Limits;

use ahead::Ahead;

/// When to try again after a refusal for EXCESSIVE_LOAD.
const BUSY: Millis = Millis(1000);

const INEXPRESSIBLE: Refusal = Refusal::new(
    RequestCode::InternalError,
    "the range or the track cannot be expressed in this draft",
);

/// What became of an entry that was fed to a FETCH.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// It was taken, and there is room for more.
    More,
    /// It was taken. [`Fetches::poll_hungry`] tells when there is room for more.
    Enough,
    /// It was not taken: there was no room. [`Fetches::poll_hungry`] tells when there is.
    Full,
    /// It was not taken: the FETCH is over.
    Gone,
}

/// Why a FETCH is over although its owner did not end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The peer withdrew it, stopped its stream, or left.
    Cancelled,
    /// An entry cannot be written in the peer's draft, as the words say; the stream was reset with INTERNAL_ERROR.
    Inexpressible(&'static str),
}

/// A FETCH that is over although its owner did not end it: nothing more can be fed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// The peer.
    pub connection: ConnectionId,
    /// Its FETCH.
    pub request: RequestId,
    /// What happened.
    pub why: Why,
}

/// The FETCHes of all peers that are being served; see the [module documentation](self).
#[derive(Debug)]
pub struct Fetches {
    limits: Limits,
    ledger: Ledger,
    /// Those that stand for many peers: other shards.
    links: BTreeSet<ConnectionId>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// How many there are on all connections.
    count: usize,
    /// Those with room of which the owner does not know; some may be over.
    hungry: VecDeque<(ConnectionId, RequestId)>,
    over: VecDeque<Over>,
    /// What is to be told to sessions, which are busy while bytes are taken.
    turns: VecDeque<(ConnectionId, StreamId, Turn)>,
}

#[derive(Debug, Default)]
struct Connection {
    fetches: BTreeMap<RequestId, Serving>,
    streams: BTreeMap<StreamId, RequestId>,
}

#[derive(Debug)]
struct Serving {
    profile: &'static Profile,
    /// `None`: the session has no room for a stream yet.
    stream: Option<StreamId>,
    ahead: Ahead,
    /// Bytes of the stream's header that have not left.
    header_left: usize,
    /// The priority that the session knows.
    priority: u8,
    /// Whether the owner knows, or is about to, that there is room.
    told: bool,
    /// The owner has no more.
    finished: bool,
    /// To be reset once its header has left, since without that the peer would not know what the reset is about.
    failing: Option<ResetCode>,
}

/// Something to tell a session about one of its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Priority(u8),
    Reset(ResetCode),
}

impl Fetches {
    /// None yet. What is written for them is charged to `ledger`.
    pub const fn new(limits: Limits, ledger: Ledger) -> Self {
        Self {
            limits,
            ledger,
            links: BTreeSet::new(),
            connections: BTreeMap::new(),
            count: 0,
            hungry: VecDeque::new(),
            over: VecDeque::new(),
            turns: VecDeque::new(),
        }
    }

    /// A connection is another shard of the same relay: [`Limits::max_fetches_per_connection`] is not for it.
    pub(crate) fn add_link(&mut self, connection: ConnectionId) {
        self.links.insert(connection);
    }

    /// How many are served.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether none is served.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a FETCH is served: it was accepted, and neither its owner nor its peer has ended it.
    pub fn is_served(&self, connection: ConnectionId, request: RequestId) -> bool {
        self.find(connection, request)
            .is_some_and(|serving| !serving.is_over())
    }

    /// Whether there is room for another entry.
    pub fn has_room(&self, connection: ConnectionId, request: RequestId) -> bool {
        self.find(connection, request)
            .is_some_and(|serving| !serving.is_over() && !serving.ahead.is_full(&self.limits))
    }

    /// The next FETCH with room for more, told once: it is not told again before [`Fed::Enough`] or [`Fed::Full`] said
    /// that there was none.
    pub fn poll_hungry(&mut self) -> Option<(ConnectionId, RequestId)> {
        while let Some((connection, request)) = self.hungry.pop_front() {
            if self.has_room(connection, request) {
                return Some((connection, request));
            }
        }
        None
    }

    /// Whether [`poll_hungry`](Self::poll_hungry) or [`poll_over`](Self::poll_over) may have something to tell.
    pub(crate) fn has_news(&self) -> bool {
        !self.hungry.is_empty() || !self.over.is_empty()
    }

    /// The next FETCH that is over although its owner did not end it. Of more than [`Limits::max_fetches`] that wait to be
    /// read the oldest is forgotten.
    pub fn poll_over(&mut self) -> Option<Over> {
        self.over.pop_front()
    }

    /// Accepts a FETCH and opens its stream, as soon as the session has room for one, or refuses it. False if it was
    /// refused.
    pub(crate) fn open(
        &mut self,
        now: Time,
        connection: ConnectionId,
        session: &mut Session,
        request: RequestId,
        ok: FetchOk,
        order: GroupOrder,
    ) -> bool {
        let Some(profile) = session.profile() else {
            return false;
        };
        let (response, serving) = match self.lacks_room(connection) {
            Some(reason) => (Response::Error(too_many(reason)), None),
            None => match self.begin(profile, request, ok, order) {
                Ok((ok, serving)) => (Response::FetchOk(ok), Some(serving)),
                Err(_) => (Response::Error(INEXPRESSIBLE), None),
            },
        };
        let answered = session.respond(now, request, response);
        match (answered, serving) {
            (Ok(()), Some(serving)) => {
                self.count += 1;
                self.hungry.push_back((connection, request));
                let peer = self.connections.entry(connection).or_default();
                peer.fetches.insert(request, serving);
                self.open_stream(now, connection, session, request);
                true
            }
            (Err(Misuse::NotExpressible(_)), Some(_)) => {
                let refused = session.respond(now, request, Response::Error(INEXPRESSIBLE));
                debug_assert!(refused.is_ok(), "{refused:?}");
                false
            }
            (Err(misuse), _) => {
                log::debug!(
                    "{connection}: FETCH {} needs no answer: {misuse}",
                    request.0
                );
                false
            }
            (Ok(()), None) => false,
        }
    }

    /// Gives a FETCH its next entry. The payload's length is that of `payload`, whatever the entry says.
    pub(crate) fn feed(
        &mut self,
        now: Time,
        connection: ConnectionId,
        session: &mut Session,
        request: RequestId,
        entry: FetchEntry,
        payload: &Pieces,
    ) -> Fed {
        let limits = &self.limits;
        let Some(serving) = self
            .connections
            .get_mut(&connection)
            .and_then(|peer| peer.fetches.get_mut(&request))
            .filter(|serving| !serving.is_over())
        else {
            return Fed::Gone;
        };
        if serving.ahead.is_full(limits) {
            serving.told = false;
            return Fed::Full;
        }
        let pushed = writable(serving.profile, entry, payload)
            .and_then(|entry| serving.ahead.push(&entry, payload));
        if let Err(NotExpressible(what)) = pushed {
            self.fail(now, connection, session, request, ResetCode::InternalError);
            self.tell_over(connection, request, Why::Inexpressible(what));
            return Fed::Gone;
        }
        serving.told = !serving.ahead.is_full(limits);
        let fed = if serving.told { Fed::More } else { Fed::Enough };
        serving.has_more(session);
        fed
    }

    /// No entry follows: the stream ends behind the last one.
    pub(crate) fn end(
        &mut self,
        connection: ConnectionId,
        session: &mut Session,
        request: RequestId,
    ) {
        if let Some(serving) = self.find_mut(connection, request) {
            serving.finished = true;
            serving.has_more(session);
        }
    }

    /// Breaks a FETCH off: its stream is reset. From draft 18 so is the request's, which cannot be mistaken for another;
    /// in draft 16 the stream's header has to leave first.
    pub(crate) fn fail(
        &mut self,
        now: Time,
        connection: ConnectionId,
        session: &mut Session,
        request: RequestId,
        code: ResetCode,
    ) {
        let Some(serving) = self.find_mut(connection, request) else {
            return;
        };
        match (serving.profile.control, serving.stream) {
            (ControlModel::SharedStream, Some(stream)) if serving.header_left == 0 => {
                session.reset_stream(now, stream, code);
            }
            (ControlModel::SharedStream, _) => {
                serving.failing = Some(code);
                return;
            }
            (ControlModel::StreamPerRequest, _) => {
                if let Err(misuse) = session.cancel(now, request, code) {
                    log::debug!("{connection}: FETCH {} is over: {misuse}", request.0);
                }
            }
        }
        self.forget(connection, request);
    }

    /// The peer withdrew a request.
    pub(crate) fn cancelled(&mut self, connection: ConnectionId, request: RequestId) {
        self.ended(connection, request, Why::Cancelled);
    }

    /// The peer stopped a stream; the session has reset it. False if it is none of these.
    pub(crate) fn stream_stopped(&mut self, connection: ConnectionId, stream: StreamId) -> bool {
        let Some(request) = self.request_of(connection, stream) else {
            return false;
        };
        self.ended(connection, request, Why::Cancelled);
        true
    }

    /// The peer left.
    pub(crate) fn remove_connection(&mut self, connection: ConnectionId) {
        let Some(peer) = self.connections.get(&connection) else {
            return;
        };
        let requests: Vec<RequestId> = peer.fetches.keys().copied().collect();
        for request in requests {
            self.ended(connection, request, Why::Cancelled);
        }
        self.turns.retain(|(other, _, _)| *other != connection);
    }

    /// A session has room for streams again.
    pub(crate) fn can_open_stream(
        &mut self,
        now: Time,
        connection: ConnectionId,
        session: &mut Session,
    ) {
        let Some(peer) = self.connections.get(&connection) else {
            return;
        };
        let waiting: Vec<RequestId> = peer
            .fetches
            .iter()
            .filter(|(_, serving)| serving.stream.is_none())
            .map(|(request, _)| *request)
            .collect();
        for request in waiting {
            if !self.open_stream(now, connection, session, request) {
                return;
            }
        }
    }

    /// Something that a session is to be told before its next output.
    pub(crate) fn next_turn(&self) -> Option<ConnectionId> {
        self.turns.front().map(|(connection, _, _)| *connection)
    }

    /// Tells a session what [`Fetches::next_turn`] is about.
    pub(crate) fn take_turn(&mut self, now: Time, session: Option<&mut Session>) {
        let (Some((connection, stream, turn)), Some(session)) = (self.turns.pop_front(), session)
        else {
            return;
        };
        match turn {
            Turn::Priority(priority) => {
                if session.set_publisher_priority(stream, priority).is_err() {
                    log::debug!("{connection}: {stream} is over");
                }
            }
            Turn::Reset(code) => session.reset_stream(now, stream, code),
        }
    }

    /// Where a connection's session finds the bytes of the streams here.
    pub(crate) const fn source(&mut self, connection: ConnectionId) -> ConnectionSource<'_> {
        ConnectionSource {
            fetches: self,
            connection,
        }
    }

    /// Why a further FETCH of a connection cannot be served now.
    fn lacks_room(&self, connection: ConnectionId) -> Option<&'static str> {
        let there = self
            .connections
            .get(&connection)
            .map_or(0, |peer| peer.fetches.len());
        if self.count >= self.limits.max_fetches {
            Some("too many FETCHes are being served")
        } else if there >= self.limits.max_fetches_per_connection
            && !self.links.contains(&connection)
        {
            Some("too many FETCHes of this session are being served")
        } else {
            None
        }
    }

    fn begin(
        &self,
        profile: &'static Profile,
        request: RequestId,
        ok: FetchOk,
        order: GroupOrder,
    ) -> Result<(FetchOk, Serving), NotExpressible> {
        let properties = ok.properties.reencode(profile.integers)?;
        let mut header = BytesMut::new();
        let encoder = FetchEncoder::new(profile, request, order, &mut header)?;
        let serving = Serving {
            profile,
            stream: None,
            header_left: header.len(),
            ahead: Ahead::new(encoder, header, DEFAULT_PRIORITY, self.ledger.clone()),
            priority: DEFAULT_PRIORITY,
            told: true,
            finished: false,
            failing: None,
        };
        Ok((FetchOk { properties, ..ok }, serving))
    }

    /// Opens the stream of a FETCH. False if the session has no room.
    fn open_stream(
        &mut self,
        now: Time,
        connection: ConnectionId,
        session: &mut Session,
        request: RequestId,
    ) -> bool {
        match session.open_fetch(now, request) {
            Ok(stream) => {
                if let Some(peer) = self.connections.get_mut(&connection)
                    && let Some(serving) = peer.fetches.get_mut(&request)
                {
                    serving.stream = Some(stream);
                    serving.has_more(session);
                    peer.streams.insert(stream, request);
                }
                true
            }
            Err(Misuse::Blocked) => false,
            Err(misuse) => {
                log::debug!("{connection}: no stream for FETCH {}: {misuse}", request.0);
                self.ended(connection, request, Why::Cancelled);
                true
            }
        }
    }

    fn find(&self, connection: ConnectionId, request: RequestId) -> Option<&Serving> {
        self.connections.get(&connection)?.fetches.get(&request)
    }

    /// One that its owner has not ended.
    fn find_mut(&mut self, connection: ConnectionId, request: RequestId) -> Option<&mut Serving> {
        self.connections
            .get_mut(&connection)?
            .fetches
            .get_mut(&request)
            .filter(|serving| !serving.is_over())
    }

    fn request_of(&self, connection: ConnectionId, stream: StreamId) -> Option<RequestId> {
        let peer = self.connections.get(&connection)?;
        peer.streams.get(&stream).copied()
    }

    /// A FETCH is over, and not because its owner said so.
    fn ended(&mut self, connection: ConnectionId, request: RequestId, why: Why) {
        if let Some(serving) = self.forget(connection, request)
            && !serving.is_over()
        {
            self.tell_over(connection, request, why);
        }
    }

    fn tell_over(&mut self, connection: ConnectionId, request: RequestId, why: Why) {
        if self.over.len() >= self.limits.max_fetches {
            self.over.pop_front();
        }
        self.over.push_back(Over {
            connection,
            request,
            why,
        });
    }

    fn forget(&mut self, connection: ConnectionId, request: RequestId) -> Option<Serving> {
        let peer = self.connections.get_mut(&connection)?;
        let serving = peer.fetches.remove(&request)?;
        if let Some(stream) = serving.stream {
            peer.streams.remove(&stream);
        }
        if peer.fetches.is_empty() {
            self.connections.remove(&connection);
        }
        self.count -= 1;
        if serving.told {
            self.hungry
                .retain(|hungry| *hungry != (connection, request));
        }
        Some(serving)
    }

    fn peek(&mut self, connection: ConnectionId, stream: StreamId) -> Option<Piece> {
        let request = self.request_of(connection, stream)?;
        let peer = self.connections.get_mut(&connection)?;
        let serving = peer.fetches.get_mut(&request)?;
        let ends = serving.finished && serving.failing.is_none();
        match serving.ahead.peek() {
            Some((bytes, is_last)) => Some(Piece {
                bytes,
                fin: ends && is_last,
            }),
            None => ends.then_some(Piece {
                bytes: Bytes::new(),
                fin: true,
            }),
        }
    }

    fn taken(&mut self, connection: ConnectionId, stream: StreamId, bytes: usize, fin: bool) {
        let Some(request) = self.request_of(connection, stream) else {
            return;
        };
        if fin {
            self.forget(connection, request);
            return;
        }
        let limits = &self.limits;
        let Some(serving) = self
            .connections
            .get_mut(&connection)
            .and_then(|peer| peer.fetches.get_mut(&request))
        else {
            return;
        };
        serving.ahead.advance(bytes);
        serving.header_left = serving.header_left.saturating_sub(bytes);
        if let Some(code) = serving.failing
            && serving.header_left == 0
        {
            self.turns
                .push_back((connection, stream, Turn::Reset(code)));
            self.forget(connection, request);
            return;
        }
        if let Some(priority) = serving.changed_priority() {
            let turn = Turn::Priority(priority);
            self.turns.push_back((connection, stream, turn));
        }
        if !serving.told && !serving.is_over() && serving.ahead.is_low(limits) {
            serving.told = true;
            self.hungry.push_back((connection, request));
        }
    }
}

impl Serving {
    /// Whether its owner has ended it.
    const fn is_over(&self) -> bool {
        self.finished || self.failing.is_some()
    }

    /// The priority of what leaves next, if the session does not know it.
    fn changed_priority(&mut self) -> Option<u8> {
        let priority = self.ahead.priority()?;
        let before = std::mem::replace(&mut self.priority, priority);
        (before != priority).then_some(priority)
    }

    /// Something was added.
    fn has_more(&mut self, session: &mut Session) {
        let Some(stream) = self.stream else {
            return;
        };
        if let Some(priority) = self.changed_priority()
            && session.set_publisher_priority(stream, priority).is_err()
        {
            log::debug!("{stream} is over");
        }
        session.stream_ready(stream);
    }
}

fn too_many(reason: &'static str) -> Refusal {
    Refusal {
        retry: Retry::After(BUSY),
        ..Refusal::new(RequestCode::ExcessiveLoad, reason)
    }
}

/// An entry with what it says in the way of the peer's draft.
fn writable(
    profile: &Profile,
    entry: FetchEntry,
    payload: &Pieces,
) -> Result<FetchEntry, NotExpressible> {
    Ok(match entry {
        FetchEntry::Object(object) => FetchEntry::Object(FetchObject {
            properties: object.properties.reencode(profile.integers)?,
            payload_length: payload.len(),
            ..object
        }),
        FetchEntry::NonExistent(_) | FetchEntry::Unknown(_) => entry,
    })
}

/// Has the bytes of the FETCH streams of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionSource<'a> {
    fetches: &'a mut Fetches,
    connection: ConnectionId,
}

impl ConnectionSource<'_> {
    /// Whether a stream is one of these.
    pub(crate) fn has_stream(&self, stream: StreamId) -> bool {
        self.fetches.request_of(self.connection, stream).is_some()
    }
}

impl Source for ConnectionSource<'_> {
    fn peek(&mut self, _now: Time, stream: StreamId) -> Option<Piece> {
        self.fetches.peek(self.connection, stream)
    }

    fn taken(&mut self, _now: Time, stream: StreamId, bytes: usize, fin: bool) {
        self.fetches.taken(self.connection, stream, bytes, fin);
    }
}
