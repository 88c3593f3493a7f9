//! A relay: many sessions, without I/O. Subscribers' requests go to the publishers that announced the namespace, one
//! subscription upstream serves any number downstream, and announcements reach those who asked for them.

mod admission;
mod discovery;
mod epochs;
mod fetch;
mod ingest;
mod journal;
#[cfg(feature = "sim")]
mod left_over;
mod links;
mod namespaces;
mod new_group;
mod pressure;
mod publish;
#[cfg(feature = "sim")]
mod recount;
mod rendezvous;
mod resume;
mod room;
mod routes;
mod settings;
mod sources;
mod status;
mod subscribe;
#[cfg(test)]
mod tests;
mod track_watches;
mod tracks;
mod updates;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use log::debug;

pub use routes::Origin;
pub use settings::{Limits, Settings, Shared};

use crate::code::{DoneCode, RequestCode, ResetCode, SessionCode};
use crate::fanout::{Fanout, IngestId, Notice, SourceId, TrackId};
use crate::ledger::Ledger;
use crate::link::Shard;
use crate::peers::Peers;
use crate::publisher::Publisher;
use crate::reservations::Reservations;
use crate::session::{Event, Refusal, Request, Response};
use crate::time::Time;
use crate::transport::{
    Admission, Answer, Application, ConnectionId, Exit, Incoming, Input, Output, StreamId, Target,
};
use crate::wire::id::{Millis, RequestId};
use crate::wire::message::{GoAway, Retry};
use crate::wire::name::FullTrackName;
use crate::wire::object::SubgroupHeader;

/// A relay.
///
/// An [`Application`]: an adapter drives it. It has no verbs of its own; what it does follows from its peers' requests.
///
/// Authorization tokens go no further than here. A token authorizes its sender towards whoever it is sent to
/// (§ AUTHORIZATION TOKEN Parameter), and publishers are whoever announced a namespace: one who was handed the tokens of
/// its subscribers could pass for them. So the sessions keep what is registered, resolve it and refuse what is wrong with
/// it; this relay demands no token, and what it asks upstream it asks in its own name.
#[derive(Debug)]
pub struct Relay {
    settings: Settings,
    publisher: Publisher,
    routes: routes::Routes,
    /// The account of names.
    name_bytes: Ledger,
    /// What each PUBLISH_NAMESPACE announces.
    announcements: BTreeMap<Origin, room::Held>,
    /// What each SUBSCRIBE_NAMESPACE asks about.
    watches: BTreeMap<Origin, room::Held>,
    /// Updates of subscriptions that wait, to be answered when those are.
    held_updates: BTreeMap<Origin, Vec<RequestId>>,
    /// What publishers were asked about the status of tracks.
    questions: status::Questions,
    /// Who wants to be offered tracks.
    track_watches: track_watches::TrackWatches,
    tracks: BTreeMap<FullTrackName, tracks::Track>,
    /// The names of tracks in memory.
    names: BTreeMap<TrackId, FullTrackName>,
    /// Which track each of our subscriptions is for.
    upstreams: BTreeMap<Origin, FullTrackName>,
    /// Which track each subscription is for that waits for a publisher.
    waiting: BTreeMap<Origin, room::Held<FullTrackName>>,
    /// Where objects of our subscriptions go, and back.
    sources: BTreeMap<Origin, epochs::Source>,
    origins: BTreeMap<SourceId, Origin>,
    next_source: u64,
    /// Where objects of publishers' streams go, and back.
    ingest: BTreeMap<(ConnectionId, StreamId), ingest::Inlet>,
    feeds: BTreeMap<IngestId, (ConnectionId, StreamId)>,
    /// Streams of which it is not known yet where they go: their next object decides.
    parked: BTreeMap<(ConnectionId, StreamId), (Origin, SubgroupHeader)>,
    /// Until when tracks that have lost a source wait for another.
    graces: BTreeSet<(Time, FullTrackName)>,
    /// When publishers of what nobody wants are told to pause.
    pauses: BTreeSet<(Time, FullTrackName)>,
    /// When publishers should have answered.
    deadlines: BTreeSet<(Time, Origin)>,
    /// Sources of ours that were told to send again and have not answered.
    resuming: BTreeMap<Origin, resume::Resuming>,
    /// Updates of subscriptions whose answers wait for what those sources tell.
    resumed_updates: BTreeMap<Origin, Vec<RequestId>>,
    rendezvous: rendezvous::Rendezvous,
    discovery: discovery::Discovery,
    /// The other shards of this relay.
    links: BTreeMap<ConnectionId, Shard>,
    /// Relays that we asked for a connection.
    connected: BTreeSet<ConnectionId>,
    fetching: fetch::Fetching,
    /// Tracks whose streams wait for their subscribers.
    held: BTreeMap<TrackId, pressure::Held>,
    /// Memory promised to connections.
    reservations: Reservations,
    said_shut_down: Arc<AtomicBool>,
    /// How many clients were turned away, and when that was told last.
    refused: u64,
    refusal_told: Option<Time>,
    journal: journal::Journal,
    shutdown: Shutdown,
}

/// Why nothing new is taken during a shutdown.
const SHUTTING_DOWN: &str = "this relay is shutting down";

/// When to try again what there was no room for.
const RETRY_INTERVAL: Millis = Millis(1000);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shutdown {
    Running,
    /// Peers were told to leave; those that are still here then are closed.
    Draining(Time),
    /// Every session was told to close.
    Closing,
}

impl Relay {
    /// A relay without peers.
    pub fn new(settings: Settings) -> Self {
        let shared = Shared::one(&settings);
        Self::sharded(settings, shared)
    }

    /// One of several shards of a relay, without peers. The settings are the same in all of them; their limits of memory, names
    /// and connections are for all together, the others for each.
    pub fn sharded(mut settings: Settings, shared: Shared) -> Self {
        // Paused streams hold up to their window each, and control needs the other half of the connection's.
        let pausable = settings.transport.pausable_streams();
        let sessions = &mut settings.session;
        sessions.max_paused_streams = sessions.max_paused_streams.min(pausable);
        let Shared {
            ledger,
            names,
            reserve,
            said_shut_down,
        } = shared;
        let reservations = Reservations::new(
            settings.limits.max_transport_bytes,
            &settings.transport,
            settings.session.max_incoming_data_streams,
        )
        .sharing(reserve);
        let journal = journal::Journal::new(&settings.limits);
        let mut fanout = Fanout::new(settings.fanout.clone(), ledger);
        fanout.tell_complete();
        let fetching = fetch::Fetching::new(settings.cache.clone());
        let publisher =
            Publisher::new(Peers::default(), fanout).with_fetch_limits(settings.fetches.clone());
        Self {
            name_bytes: names,
            settings,
            publisher,
            routes: routes::Routes::default(),
            announcements: BTreeMap::new(),
            watches: BTreeMap::new(),
            held_updates: BTreeMap::new(),
            questions: status::Questions::default(),
            track_watches: track_watches::TrackWatches::default(),
            tracks: BTreeMap::new(),
            names: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            waiting: BTreeMap::new(),
            sources: BTreeMap::new(),
            origins: BTreeMap::new(),
            next_source: 0,
            ingest: BTreeMap::new(),
            feeds: BTreeMap::new(),
            parked: BTreeMap::new(),
            graces: BTreeSet::new(),
            pauses: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            resuming: BTreeMap::new(),
            resumed_updates: BTreeMap::new(),
            rendezvous: rendezvous::Rendezvous::default(),
            discovery: discovery::Discovery::default(),
            links: BTreeMap::new(),
            connected: BTreeSet::new(),
            fetching,
            held: BTreeMap::new(),
            reservations,
            said_shut_down,
            refused: 0,
            refusal_told: None,
            journal,
            shutdown: Shutdown::Running,
        }
    }

    /// The account of objects in memory.
    pub const fn ledger(&self) -> &Ledger {
        self.publisher.fanout.ledger()
    }

    /// The account of names: see [`Limits::max_name_bytes`].
    pub const fn name_bytes(&self) -> &Ledger {
        &self.name_bytes
    }

    /// The account of memory promised to connections.
    pub const fn reservations(&self) -> &Reservations {
        &self.reservations
    }

    /// Handles everything that sessions have to tell.
    fn drain(&mut self, now: Time) {
        while let Some((connection, event)) = self.publisher.poll_event() {
            self.handle_event(now, connection, event);
            self.cache_live(now);
        }
        while let Some(notice) = self.publisher.poll_notice() {
            match notice {
                Notice::Stop { stream, code } => self.feed_unwanted(now, stream, code),
                Notice::Subscribers(live) => self.subscribers_changed(now, live),
                Notice::Ended {
                    connection,
                    request,
                } => debug!("{connection}: subscription {} was ended", request.0),
            }
        }
        self.answer_resumed(now);
        self.cache_live(now);
        self.serve_fetches(now);
        self.relieve_cache();
    }

    /// The same where there is mostly nothing to tell: after an output, and after its answer.
    fn drain_news(&mut self, now: Time) {
        let waits = self.fetching.has_news() || !self.resumed_updates.is_empty();
        if waits || self.publisher.has_news() {
            self.drain(now);
        }
    }

    fn handle_event(&mut self, now: Time, connection: ConnectionId, event: Event) {
        let origin = |request| Origin {
            connection,
            request,
        };
        match event {
            Event::Established { .. } if self.is_link(connection) => {
                self.link_established(now, connection);
            }
            Event::Established { draft, setup } => {
                let name = setup.implementation.unwrap_or_default();
                let who = self.describe(connection);
                self.journal.info(
                    now,
                    Some(connection),
                    format_args!(
                        "{who} speaks {} ({})",
                        draft.profile().alpn,
                        name.escape_ascii()
                    ),
                );
                self.discover(now, connection);
            }
            Event::Request { id, request } => self.handle_request(now, origin(id), request),
            Event::Response { id, response } => self.handle_response(now, origin(id), response),
            Event::Update {
                id,
                update,
                parameters,
            } => self.update(now, origin(id), update, &parameters),
            Event::UpdateResponse {
                id,
                update,
                response,
            } => {
                self.update_answered(now, origin(id), update, &response);
                if let Err(refusal) = response {
                    debug!(
                        "{connection}: update of request {} refused: {}",
                        id.0, refusal.code
                    );
                }
            }
            Event::Done { id, done } => self.publisher_done(origin(id), done),
            Event::Settled { id } => self.publisher_settled(now, origin(id)),
            Event::Cancelled { id, .. } => self.handle_cancelled(now, origin(id)),
            Event::CanRequest => self.can_request(now, connection),
            Event::MalformedTrack { id, rule } => self.drop_malformed(now, origin(id), rule),
            Event::GoAway { id, goaway } => self.handle_goaway(now, connection, id, &goaway),
            Event::SubgroupOpened { stream, id, header } => {
                self.open_subgroup(now, origin(id), stream, header);
            }
            Event::Object { stream, object } => {
                self.begin_object(now, (connection, stream), object);
            }
            Event::Payload { stream, bytes } => self.payload(now, (connection, stream), &bytes),
            Event::SubgroupEnded { stream, end } => {
                self.end_subgroup(now, (connection, stream), end);
            }
            Event::Datagram { id, object } => self.datagram(now, origin(id), object),
            Event::Fetched { id, item } => self.fetched(now, origin(id), item),
            Event::Namespace { id, suffix } => self.namespace_came(now, origin(id), suffix),
            Event::NamespaceDone { id, suffix } => self.namespace_gone(now, origin(id), &suffix),
            Event::Closed(closed) => {
                let why = self.publisher.peers.why_closed(connection, &closed);
                let who = self.describe(connection);
                self.journal
                    .info(now, Some(connection), format_args!("{who}: {why}"));
                self.forget_peer(now, connection);
            }
            // Dealt with by the publisher, or about requests that this relay does not make.
            Event::StreamStopped { .. }
            | Event::StreamExpired { .. }
            | Event::StreamDelivered { .. }
            | Event::CanOpenStream
            | Event::PublishBlocked { .. } => {}
        }
    }

    fn handle_request(&mut self, now: Time, origin: Origin, request: Request) {
        if self.shutdown != Shutdown::Running {
            let refusal = Refusal::new(RequestCode::GoingAway, SHUTTING_DOWN);
            return self.respond(now, origin, Response::Error(refusal));
        }
        match request {
            Request::Subscribe(request) => self.subscribe(now, origin, request),
            Request::Publish(request) => self.publish(now, origin, request),
            Request::Fetch(request) => self.fetch(now, origin, request),
            Request::TrackStatus(request) => self.status(now, origin, request),
            Request::PublishNamespace(request) => self.announce(now, origin, &request),
            Request::SubscribeNamespace(request) => self.watch(now, origin, &request),
            Request::SubscribeTracks(request) => self.watch_tracks(now, origin, request),
        }
    }

    /// The answer to a request of ours.
    fn handle_response(&mut self, now: Time, origin: Origin, response: Response) {
        match response {
            Response::SubscribeOk(ok) => self.established(now, origin, ok),
            Response::FetchOk(ok) => self.fill_granted(now, origin, ok),
            Response::Ok(ok) => {
                self.status_known(now, origin, &ok);
                // To a PUBLISH.
                self.request_group_of(now, origin.connection, origin.request, &ok.parameters);
            }
            Response::Error(refusal) => self.handle_refusal(now, origin, refusal),
        }
    }

    fn handle_refusal(&mut self, now: Time, origin: Origin, mut refusal: Refusal) {
        if let RequestCode::Unknown(_) = refusal.code {
            // What that is (§ Grease).
            refusal.code = RequestCode::InternalError;
        }
        if self.is_fill(origin) {
            self.fill_refused(now, origin, &refusal);
        } else if !self.status_unknown(now, origin, Some(&refusal)) {
            self.refused(now, origin, &refusal);
        }
    }

    /// A request is over: one of a peer's, or one of ours that the peer abandoned.
    fn handle_cancelled(&mut self, now: Time, origin: Origin) {
        self.resumed_updates.remove(&origin);
        let was_peers = self.stop_waiting(now, origin)
            || self.withdraw(now, origin)
            || self.unwatch(origin)
            || self.fetch_cancelled(now, origin)
            || self.status_unknown(now, origin, None)
            || self.discovery_over(now, origin);
        if !was_peers {
            self.publisher_lost(now, origin);
        }
    }

    /// Forgets everything about a peer whose session is over.
    fn forget_peer(&mut self, now: Time, connection: ConnectionId) {
        self.release(connection);
        self.resumed_updates
            .retain(|origin, _| origin.connection != connection);
        self.forget_discovery(now, connection);
        for origin in of_connection(&self.waiting, connection) {
            self.stop_waiting(now, origin);
        }
        for origin in of_connection(&self.announcements, connection) {
            self.withdraw(now, origin);
        }
        for origin in of_connection(&self.watches, connection) {
            self.unwatch(origin);
        }
        for origin in self.track_watches.of(connection) {
            self.unwatch_tracks(origin);
        }
        self.forget_questions(now, connection);
        // First the publisher: what its streams were bringing may come from another.
        for origin in of_connection(&self.upstreams, connection) {
            self.publisher_lost(now, origin);
        }
        self.end_ingest(now, connection);
        self.forget_fetching_peer(now, connection);
        self.forget_link(connection);
    }

    fn respond(&mut self, now: Time, origin: Origin, response: Response) {
        let Origin {
            connection,
            request,
        } = origin;
        self.publisher.respond(now, connection, request, response);
    }

    /// Withdraws a request of ours, if it is still there.
    fn cancel(&mut self, now: Time, origin: Origin, code: ResetCode) {
        if let Some(session) = self.publisher.peers.session(origin.connection)
            && let Err(misuse) = session.cancel(now, origin.request, code)
        {
            debug!("{}: nothing to withdraw: {misuse}", origin.connection);
        }
    }

    /// A peer, for a log line.
    fn describe(&self, connection: ConnectionId) -> Who {
        Who {
            connection,
            remote: self.publisher.peers.remote(connection),
        }
    }

    /// Closes the sessions of peers that did not leave by themselves.
    fn close_all(&mut self, now: Time) {
        self.shutdown = Shutdown::Closing;
        // Links end with their shards.
        let links = &self.links;
        let is_peer = |connection| !links.contains_key(&connection);
        let (peers, reason) = (&mut self.publisher.peers, "shutting down");
        peers.close_all_if(now, SessionCode::NoError, reason, is_peer);
    }
}

/// The requests of one connection in a table.
fn of_connection<V>(table: &BTreeMap<Origin, V>, connection: ConnectionId) -> Vec<Origin> {
    let first = Origin {
        connection,
        request: RequestId(0),
    };
    table
        .range(first..)
        .map(|(origin, _)| *origin)
        .take_while(|origin| origin.connection == connection)
        .collect()
}

/// A refusal for now (§ REQUEST_ERROR, EXCESSIVE_LOAD).
const fn overloaded(reason: &'static str) -> Refusal {
    let mut refusal = Refusal::new(RequestCode::ExcessiveLoad, reason);
    refusal.retry = Retry::After(RETRY_INTERVAL);
    refusal
}

struct Who {
    connection: ConnectionId,
    remote: Option<std::net::SocketAddr>,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.remote {
            Some(remote) => write!(f, "{remote} ({})", self.connection),
            None => write!(f, "{}", self.connection),
        }
    }
}

impl Application for Relay {
    fn handle_incoming(&mut self, now: Time, incoming: &Incoming) -> Admission {
        self.admit(now, incoming)
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.publisher.handle_input(now, connection, input);
        self.drain(now);
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.publisher.handle_answer(now, connection, answer);
        self.drain_news(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.publisher.handle_timeout(now);
        self.drain(now);
        self.expire_unanswered(now);
        self.expire_resuming(now);
        self.expire_held(now);
        self.expire_questions(now);
        self.pause_unwanted(now);
        self.expire_rendezvous(now);
        self.expire_graces(now);
        self.expire_fetches(now);
        self.journal.expire(now);
        if let Shutdown::Draining(until) = self.shutdown
            && until <= now
        {
            self.close_all(now);
        }
        self.drain(now);
    }

    fn handle_shutdown(&mut self, now: Time) {
        if self.shutdown != Shutdown::Running {
            return self.close_all(now);
        }
        let patience = self.settings.limits.drain_timeout;
        self.shutdown = Shutdown::Draining(now + patience);
        self.journal.tell_held_back();
        if !self.said_shut_down.swap(true, Ordering::Relaxed) {
            let peers = self.reservations.connections();
            log::info!("shutting down: {peers} peers have {patience:?} to leave");
        }
        let goaway = GoAway {
            timeout: Millis(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX)),
            ..GoAway::default()
        };
        let connections = self.publisher.peers.connections();
        let connections: Vec<ConnectionId> =
            connections.filter(|peer| !self.is_link(*peer)).collect();
        for connection in connections {
            if let Some(session) = self.publisher.peers.session(connection)
                && let Err(misuse) = session.go_away(now, None, goaway.clone())
            {
                debug!("{connection}: not told to leave: {misuse}");
            }
        }
        let names: Vec<FullTrackName> = self.tracks.keys().cloned().collect();
        for name in names {
            let end = tracks::TrackEnd {
                code: DoneCode::GoingAway,
                reason: SHUTTING_DOWN,
                cancel: ResetCode::GoingAway,
                refusal: Refusal::new(RequestCode::GoingAway, SHUTTING_DOWN),
            };
            self.end_track(now, &name, &end);
        }
        let refusal = Refusal::new(RequestCode::GoingAway, SHUTTING_DOWN);
        self.refuse_unanswered_fetches(now, &refusal);
        self.drain(now);
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        loop {
            let dirty = self.publisher.poll_dirty();
            self.drain(self.publisher.now);
            // Subscribers may have caught up, and memory may be free again.
            if dirty.is_some() || self.held.is_empty() || !self.let_go() {
                return dirty;
            }
        }
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        let output = self.publisher.poll_output(now, connection);
        self.drain_news(now);
        output
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.publisher.peers.poll_connect()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let unanswered = self
            .deadlines
            .first()
            .map(|&(deadline, _)| (deadline, "a publisher's answer"));
        let resuming = self.resuming.values().map(|resuming| resuming.give_up);
        let resuming = resuming.min().map(|until| (until, "a publisher to go on"));
        let hopeless = self.rendezvous.next();
        let hopeless = hopeless.map(|until| (until, "a publisher to come"));
        let held = self
            .held_until()
            .map(|deadline| (deadline, "subscribers that take nothing"));
        let grace = self.graces.first();
        let grace = grace.map(|(until, _)| (*until, "a publisher to come back"));
        let unknown = self.questions.next();
        let unknown = unknown.map(|until| (until, "the status of a track"));
        let drained = match self.shutdown {
            Shutdown::Draining(until) => Some((until, "end of the drain")),
            Shutdown::Running | Shutdown::Closing => None,
        };
        let fetching = self.fetching.poll_timeout();
        let unwanted = self.pauses.first();
        let unwanted = unwanted.map(|(at, _)| (*at, "a track that nobody wants"));
        let untold = self.journal.poll_timeout();
        let untold = untold.map(|at| (at, "lines that were held back"));
        let own = [
            unanswered, resuming, hopeless, grace, unknown, unwanted, fetching, held, untold,
            drained,
        ];
        own.into_iter()
            .flatten()
            .chain(self.publisher.poll_timeout())
            .min()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        (self.shutdown != Shutdown::Running && self.peers_here() == 0).then_some(Exit::Success)
    }
}
