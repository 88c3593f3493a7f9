//! Tracks held in memory while they are live, and subscriptions to them as cursors.
//!
//! A [`Fanout`] is the live part of a relay, and of anything that publishes. Sources bring objects
//! ([`Fanout::open_subgroup`], [`Fanout::begin_object`] …); each is kept once, whichever source brought it first, and
//! copied once, into chunks that the [`Ledger`] counts. Subscribers ([`Fanout::subscribe`]) have a cursor in each subgroup
//! and no queue, so that a slow one costs nobody else anything.
//!
//! Nothing goes out while something comes in. The owner, who has the sessions, afterwards
//!
//! 1. asks [`Fanout::poll_dirty`] for connections until there are no more, and for each calls [`Fanout::pump`] with its
//!    session, which opens, ends and resets streams and subscriptions;
//! 2. polls the sessions, which take the bytes of streams from [`Fanout::source`]; since cursors move then, it asks
//!    [`Fanout::poll_dirty`] again before it sleeps;
//! 3. reads [`Fanout::poll_notice`], and sleeps until [`Fanout::poll_timeout`].
//!
//! When `poll_dirty` yields nothing, every subscription has seen everything, and what nobody needs is forgotten. Objects
//! of the past are not kept: whoever wants to serve FETCH puts them in a cache as they become complete, which
//! [`Fanout::poll_complete`] tells; that costs no memory, since chunks are shared.

mod admit;
mod downstream;
mod feed;
mod ingest;
mod lane;
mod limits;
mod pressure;
mod pump;
mod ranges;
#[cfg(feature = "sim")]
mod recount;
mod source;
mod subgroup;
mod subscription;
mod succession;
#[cfg(test)]
mod tests;
mod track;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use crate::code::{DoneCode, ResetCode};
use crate::draft::{Draft, Profile};
use crate::ledger::Ledger;
use crate::seldom::Seldom;
use crate::time::Time;
use crate::transport::{ConnectionId, StreamId};
use crate::wire::id::{Location, RequestId, TrackAlias};
use crate::wire::property::Properties;

pub use downstream::{Downstream, OpenError};
pub use feed::{Complete, Fact};
pub use limits::{LagPolicy, Limits};
pub use pressure::Backlog;
pub use source::ConnectionSource;
pub use subgroup::OBJECT_OVERHEAD;

#[cfg(feature = "sim")]
pub(crate) use lane::MAX_UNCHARGED;

use ingest::Ingest;
use subgroup::End;
use subscription::Subscription;
use track::{Closing, Key, Track};

/// Whoever is behind by less than this part of all memory did not fill it, and would free too little.
const PART_THAT_HELPS: u64 = 64;

/// A track of a [`Fanout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(u64);

/// Where objects of a track come from: an upstream subscription or a local producer. Numbered by the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u64);

/// A stream that brings a subgroup to a [`Fanout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IngestId(u64);

/// Why something that a source brought was not taken. If it came on a stream, that is over for the fan-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The track or stream is gone; nothing is to be done.
    Gone,
    /// Stop the stream with this code; there is no room for it.
    Stop(ResetCode),
    /// A source broke a rule of the object model (§ Malformed Tracks): cancel its subscription, and
    /// [`close`](Fanout::close_track) the track with MALFORMED_TRACK.
    Malformed(&'static str),
    /// Two sources contradict one another: cancel the older one, since encoders restart. If that one was
    /// [removed](Fanout::remove_source) before, this is not the track any more that it published.
    Contradiction {
        /// The source that was there before.
        older: SourceId,
        /// What they disagree on.
        rule: &'static str,
    },
    /// The caller did what no session would.
    Misuse(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the track or stream is gone"),
            Self::Stop(code) => write!(f, "no room for it: {code}"),
            Self::Malformed(rule) | Self::Misuse(rule) => f.write_str(rule),
            Self::Contradiction { older, rule } => {
                write!(f, "source {} said otherwise: {rule}", older.0)
            }
        }
    }
}

impl std::error::Error for Fault {}

/// Something that the owner should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A stream that brings a subgroup is not wanted any more; its handle means nothing from here on.
    Stop {
        /// The stream.
        stream: IngestId,
        /// To stop it with.
        code: ResetCode,
    },
    /// Subscribers of a track came, went, or changed their mind: see [`Fanout::has_forwarding_subscribers`] and
    /// [`Fanout::is_idle`].
    Subscribers(TrackId),
    /// A subscription was ended from this side; its session was told.
    Ended {
        /// The subscriber.
        connection: ConnectionId,
        /// The subscription.
        request: RequestId,
    },
}

/// Tracks in memory and the subscriptions to them; see the [module documentation](self).
#[derive(Debug)]
pub struct Fanout {
    limits: Limits,
    ledger: Ledger,
    /// Lines of the log about want of memory.
    shortages: Seldom,
    tracks: BTreeMap<TrackId, Track>,
    next_track: u64,
    ingests: BTreeMap<IngestId, Ingest>,
    next_ingest: u64,
    connections: BTreeMap<ConnectionId, Connection>,
    /// How many there are on all connections.
    subscriptions: usize,
    /// Tracks whose subscribers must be marked.
    dirty_tracks: Vec<TrackId>,
    /// Connections that must be pumped.
    dirty: VecDeque<ConnectionId>,
    /// Connections that must be pumped, those included that were polled but not pumped yet.
    unsettled: usize,
    /// Subgroups of which something may be forgotten.
    touched: BTreeSet<(TrackId, Key)>,
    /// Tracks with objects from datagrams.
    with_datagrams: BTreeSet<TrackId>,
    /// Closed tracks that still have subscribers.
    closing: BTreeSet<TrackId>,
    timers: BTreeSet<(Time, ConnectionId)>,
    notices: VecDeque<Notice>,
    /// What a cache is to be told.
    feed: feed::Feed,
    /// The subscription that is being ended for lack of memory.
    shedding: Option<(ConnectionId, RequestId)>,
    /// When memory was short and it was looked who is furthest behind.
    relieved_at: Option<Time>,
}

/// A connection with subscriptions.
#[derive(Debug)]
struct Connection {
    profile: &'static Profile,
    subscriptions: BTreeMap<RequestId, Subscription>,
    /// Those to look at.
    changed: Vec<RequestId>,
    outgoing: Outgoing,
    /// Whether it must be pumped.
    unsettled: bool,
    deadline: Option<Time>,
}

/// The streams of a connection.
#[derive(Debug, Default)]
struct Outgoing {
    streams: BTreeMap<StreamId, (RequestId, Key)>,
    /// To be reset.
    resets: Vec<(StreamId, ResetCode)>,
    /// Lanes that could use a stream.
    waiting: BTreeSet<(RequestId, Key)>,
    /// Whether the session has no credit for streams.
    blocked: bool,
}

impl Fanout {
    /// Without tracks. Payloads are charged to `ledger`.
    pub fn new(limits: Limits, ledger: Ledger) -> Self {
        Self {
            limits,
            ledger,
            shortages: Seldom::default(),
            tracks: BTreeMap::new(),
            next_track: 0,
            ingests: BTreeMap::new(),
            next_ingest: 0,
            connections: BTreeMap::new(),
            subscriptions: 0,
            dirty_tracks: Vec::new(),
            dirty: VecDeque::new(),
            unsettled: 0,
            touched: BTreeSet::new(),
            with_datagrams: BTreeSet::new(),
            closing: BTreeSet::new(),
            timers: BTreeSet::new(),
            notices: VecDeque::new(),
            feed: feed::Feed::default(),
            shedding: None,
            relieved_at: None,
        }
    }

    /// Every table that is not empty, by name and size. Connections that stay may be there, without subscriptions.
    #[cfg(feature = "sim")]
    pub(crate) fn left_over(
        &self,
        stays: impl Fn(ConnectionId) -> bool,
    ) -> [(&'static str, usize); 12] {
        let is_left = |(id, peer): &(&ConnectionId, &Connection)| {
            !peer.subscriptions.is_empty() || !stays(**id)
        };
        let connections = self.connections.iter().filter(is_left).count();
        [
            ("live tracks", self.tracks.len()),
            ("streams into live tracks", self.ingests.len()),
            ("connections with subscriptions", connections),
            ("subscriptions", self.subscriptions),
            ("unsettled connections", self.unsettled),
            ("dirty tracks", self.dirty_tracks.len()),
            ("dirty connections", self.dirty.len()),
            ("touched subgroups", self.touched.len()),
            ("tracks with datagrams", self.with_datagrams.len()),
            ("closing tracks", self.closing.len()),
            ("timers", self.timers.len()),
            ("notices", self.notices.len()),
        ]
    }

    /// Whether there is nothing to do for any connection, and no stream brings anything that only goes to the cache.
    #[cfg(feature = "sim")]
    pub(crate) fn is_settled(&self) -> bool {
        let strays = |ingest: &Ingest| {
            let current = ingest.current.as_ref();
            current.is_some_and(|current| current.stray.is_some())
        };
        self.unsettled == 0 && !self.ingests.values().any(strays)
    }

    /// The account of what is in memory.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Opens a track. `draft` is what its properties are to be understood by, `largest` the largest location that its
    /// publisher told of. `None` if there are too many.
    ///
    /// The same track may be opened again once it was closed, while the subscribers of the closed one still get the rest
    /// of it.
    pub fn open_track(
        &mut self,
        draft: Draft,
        properties: Properties,
        largest: Option<Location>,
    ) -> Option<TrackId> {
        if self.tracks.len() >= self.limits.max_tracks {
            return None;
        }
        let id = TrackId(self.next_track);
        let alias = TrackAlias(self.next_track);
        self.next_track += 1;
        self.tracks
            .insert(id, Track::new(alias, draft, properties, largest));
        Some(id)
    }

    /// Ends a track. Subscribers get what is complete, within [`Limits::drain_timeout`], then PUBLISH_DONE with this code;
    /// with MALFORMED_TRACK at once. The id means nothing to the owner from here on.
    pub fn close_track(&mut self, now: Time, id: TrackId, code: DoneCode, reason: &str) {
        let Some(track) = self
            .tracks
            .get_mut(&id)
            .filter(|track| track.closing.is_none())
        else {
            return;
        };
        track.closing = Some(Closing {
            code,
            reason: reason.into(),
            since: now,
        });
        let reset = match code {
            DoneCode::MalformedTrack => ResetCode::MalformedTrack,
            DoneCode::ExcessiveLoad => ResetCode::ExcessiveLoad,
            DoneCode::InternalError
            | DoneCode::Unauthorized
            | DoneCode::TrackEnded
            | DoneCode::SubscriptionEnded
            | DoneCode::GoingAway
            | DoneCode::Expired
            | DoneCode::TooFarBehind
            | DoneCode::UpdateFailed
            | DoneCode::Unknown(_) => ResetCode::InternalError,
        };
        let keys: Vec<Key> = track.journal.values().copied().collect();
        for key in keys {
            if let Some(subgroup) = track.subgroup_mut(key) {
                subgroup.feeds.clear();
                if subgroup.end.is_none() {
                    subgroup.finish(now, End::Reset(reset));
                }
            }
            track.record(key);
            self.touched.insert((id, key));
        }
        let broken = self.ingests.extract_if(.., |_, ingest| ingest.track == id);
        if let Some((_, stream)) = broken.last() {
            self.tell_broken(&stream);
        }
        self.closing.insert(id);
        self.mark_track(id);
    }

    /// Raises a track's largest location to what a publisher told of.
    pub fn raise_largest(&mut self, track: TrackId, largest: Location) {
        if let Some(track) = self.open_mut(track) {
            track.reach(largest);
        }
    }

    /// The largest location of a track: the largest that was received or told of (§ Subscription Filters).
    pub fn largest(&self, track: TrackId) -> Option<Location> {
        self.tracks.get(&track)?.largest
    }

    /// The alias that stands for a track towards every subscriber.
    pub fn alias(&self, track: TrackId) -> Option<TrackAlias> {
        self.tracks.get(&track).map(|track| track.alias)
    }

    /// The properties of a track.
    pub fn properties(&self, track: TrackId) -> Option<&Properties> {
        self.tracks.get(&track).map(|track| &track.properties)
    }

    /// Whether a subscriber of the track wants objects now.
    pub fn has_forwarding_subscribers(&self, track: TrackId) -> bool {
        self.tracks
            .get(&track)
            .is_some_and(|track| track.forwarding > 0)
    }

    /// How many subscriptions to the track there are.
    pub fn subscribers(&self, track: TrackId) -> usize {
        self.tracks
            .get(&track)
            .map_or(0, |track| track.subscribers.len())
    }

    /// Whether nobody subscribes to the track.
    pub fn is_idle(&self, track: TrackId) -> bool {
        self.tracks
            .get(&track)
            .is_none_or(|track| track.subscribers.is_empty())
    }

    /// Whether a connection subscribes to the track.
    pub fn is_subscribed(&self, connection: ConnectionId, track: TrackId) -> bool {
        let first = (connection, RequestId(0));
        self.tracks.get(&track).is_some_and(|track| {
            let mut subscribers = track.subscribers.range(first..);
            subscribers.next().is_some_and(|(of, _)| *of == connection)
        })
    }

    /// Whether one of these connections subscribes to the track.
    pub(crate) fn is_subscribed_by(
        &self,
        track: TrackId,
        is_meant: impl Fn(ConnectionId) -> bool,
    ) -> bool {
        let subscribers = self.tracks.get(&track).map(|track| &track.subscribers);
        let mut subscribers = subscribers.into_iter().flatten();
        subscribers.any(|(connection, _)| is_meant(*connection))
    }

    /// Whether one of these connections wants objects of the track now.
    pub(crate) fn is_forwarded_to(
        &self,
        track: TrackId,
        is_meant: impl Fn(ConnectionId) -> bool,
    ) -> bool {
        let track = self.tracks.get(&track).filter(|track| track.forwarding > 0);
        let mut subscribers = track.into_iter().flat_map(|track| &track.subscribers);
        subscribers.any(|(connection, request)| {
            let peer = self.connections.get(connection);
            let subscription = peer.and_then(|peer| peer.subscriptions.get(request));
            is_meant(*connection) && subscription.is_some_and(|known| known.forward)
        })
    }

    /// One more source may bring each track: another shard of the same relay.
    pub(crate) const fn allow_source(&mut self) {
        self.limits.max_sources_per_track += 1;
    }

    /// The track that a subscription is to.
    pub fn track_of(&self, connection: ConnectionId, request: RequestId) -> Option<TrackId> {
        let peer = self.connections.get(&connection)?;
        Some(peer.subscriptions.get(&request)?.track)
    }

    /// How many bytes a subscription still has to be sent, with [`OBJECT_OVERHEAD`] for each object.
    pub fn lag(&self, connection: ConnectionId, request: RequestId) -> Option<u64> {
        let peer = self.connections.get(&connection)?;
        Some(peer.subscriptions.get(&request)?.lag)
    }

    /// The next connection to pump. When there is none, what nobody needs any more has been forgotten.
    pub fn poll_dirty(&mut self) -> Option<ConnectionId> {
        while let Some(id) = self.dirty_tracks.pop() {
            let Some(track) = self.tracks.get_mut(&id) else {
                continue;
            };
            track.dirty = false;
            track.unseen = 0;
            track.shown = track.change;
            for (connection, request) in &track.subscribers {
                let Some(peer) = self.connections.get_mut(connection) else {
                    continue;
                };
                peer.mark(*request);
                if peer.queue() {
                    self.unsettled += 1;
                    self.dirty.push_back(*connection);
                }
            }
        }
        while let Some(connection) = self.dirty.pop_front() {
            if self.connections.contains_key(&connection) {
                return Some(connection);
            }
        }
        if self.unsettled == 0 {
            self.sweep();
        }
        None
    }

    /// Something that the owner should know.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// When to call [`Fanout::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.timers.first().map(|(time, _)| (*time, "delivery"))
    }

    /// A deadline passed: the connections concerned become dirty.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((time, connection)) = self.timers.first().copied() {
            if time > now {
                return;
            }
            self.timers.pop_first();
            let Some(peer) = self.connections.get_mut(&connection) else {
                continue;
            };
            peer.deadline = None;
            let requests: Vec<RequestId> = peer.subscriptions.keys().copied().collect();
            for request in requests {
                peer.mark(request);
            }
            self.mark_connection(connection);
        }
    }

    /// A connection's session has credit for streams again.
    pub fn can_open_stream(&mut self, connection: ConnectionId) {
        if let Some(peer) = self.connections.get_mut(&connection)
            && std::mem::take(&mut peer.outgoing.blocked)
        {
            self.mark_connection(connection);
        }
    }

    /// Ends the subscription that is furthest behind with TOO_FAR_BEHIND, to free memory. False if none is so far behind
    /// that it would help, or one is being ended already.
    pub fn shed(&mut self, now: Time) -> bool {
        if self.shedding.is_some() {
            return false;
        }
        let limit = u64::try_from(self.ledger.limit()).unwrap_or(u64::MAX);
        let least = limit / PART_THAT_HELPS;
        let slowest = self
            .connections
            .iter()
            .flat_map(|(connection, peer)| {
                peer.subscriptions
                    .iter()
                    .map(|(request, subscription)| (subscription.lag, *connection, *request))
            })
            .filter(|(lag, _, _)| *lag > least)
            .max_by_key(|(lag, _, _)| *lag);
        let Some((_, connection, request)) = slowest else {
            return false;
        };
        self.shedding = Some((connection, request));
        self.end_subscription(
            now,
            connection,
            request,
            DoneCode::TooFarBehind,
            "out of memory, and this subscriber is furthest behind",
        );
        true
    }

    /// A track that is not closed.
    fn open_mut(&mut self, id: TrackId) -> Option<&mut Track> {
        self.tracks
            .get_mut(&id)
            .filter(|track| track.closing.is_none())
    }

    /// Memory ran out: one subscriber less, if that helps.
    fn relieve(&mut self, now: Time) {
        let shed = self.shed(now);
        let what = if shed {
            "ending the slowest subscription"
        } else {
            "giving up a subgroup"
        };
        self.shortages.warn(
            now,
            module_path!(),
            format_args!("out of memory for objects ({:?}): {what}", self.ledger),
        );
    }

    fn mark_track(&mut self, id: TrackId) {
        if let Some(track) = self.tracks.get_mut(&id)
            && !std::mem::replace(&mut track.dirty, true)
        {
            self.dirty_tracks.push(id);
        }
    }

    fn mark(&mut self, connection: ConnectionId, request: RequestId) {
        if let Some(peer) = self.connections.get_mut(&connection) {
            peer.mark(request);
            self.mark_connection(connection);
        }
    }

    fn mark_connection(&mut self, connection: ConnectionId) {
        if let Some(peer) = self.connections.get_mut(&connection)
            && peer.queue()
        {
            self.unsettled += 1;
            self.dirty.push_back(connection);
        }
    }

    /// A connection is taken out.
    fn settle(&mut self, peer: &Connection) {
        self.unsettled = self.unsettled.saturating_sub(usize::from(peer.unsettled));
    }

    fn notify(&mut self, notice: Notice) {
        if self.notices.back() == Some(&notice) {
            return;
        }
        if self.notices.len() >= self.limits.max_notices {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }

    /// Forgets what nobody needs.
    fn sweep(&mut self) {
        while let Some((id, key)) = self.touched.pop_first() {
            if let Some(track) = self.tracks.get_mut(&id) {
                track.sweep(key, &self.limits);
            }
        }
        while let Some(id) = self.with_datagrams.pop_first() {
            if let Some(track) = self.tracks.get_mut(&id) {
                track.datagrams.clear();
            }
        }
        let tracks = &mut self.tracks;
        self.closing.retain(|id| {
            let drained = tracks
                .get(id)
                .is_none_or(|track| track.subscribers.is_empty());
            if drained {
                tracks.remove(id);
            }
            !drained
        });
    }
}

impl Connection {
    const fn new(profile: &'static Profile) -> Self {
        Self {
            profile,
            subscriptions: BTreeMap::new(),
            changed: Vec::new(),
            outgoing: Outgoing {
                streams: BTreeMap::new(),
                resets: Vec::new(),
                waiting: BTreeSet::new(),
                blocked: false,
            },
            unsettled: false,
            deadline: None,
        }
    }

    /// Puts a subscription on the list of those to look at.
    fn mark(&mut self, request: RequestId) {
        if let Some(subscription) = self.subscriptions.get_mut(&request)
            && !std::mem::replace(&mut subscription.dirty, true)
        {
            self.changed.push(request);
        }
    }

    /// True if the connection was not waiting to be pumped before.
    fn queue(&mut self) -> bool {
        !std::mem::replace(&mut self.unsettled, true)
    }
}
