//! The date server: publishes the date as a track, to clients of its own or into a relay.

mod clock;
mod past;
mod place;

use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use oxymoq_core::code::{DoneCode, RequestCode, SessionCode};
use oxymoq_core::draft::{Draft, IntegerKind};
use oxymoq_core::fanout::{self, Fanout, TrackId};
use oxymoq_core::ledger::Ledger;
use oxymoq_core::peer::Peer;
use oxymoq_core::peers::Peers;
use oxymoq_core::publisher::Publisher;
use oxymoq_core::session::{self, Event, Limits, Refusal, Request, Response, Role, Underlay};
use oxymoq_core::time::{Time, WallTime};
use oxymoq_core::transport::{
    Admission, Answer, Application, ConnectionId, Exit, Incoming, Input, Output, Target,
};
use oxymoq_core::wire::id::{Location, RequestId};
use oxymoq_core::wire::message::{
    Fetch, FetchOk, FetchRange, GoAway, Interest, RequestOk, SubscribeTracks,
};
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use oxymoq_core::wire::param::Parameters;
use oxymoq_core::wire::property::{OBJECT_DELIVERY_TIMEOUT, Properties, Value};

use crate::client::{self, IMPLEMENTATION};
use crate::mlog::Mlog;

use clock::Clock;
use past::{Cursor, Past, Range};
use place::Place;

pub use place::Relay;

/// Names that the track goes by: today's and the one of old instructions.
const NAMES: [&[u8]; 2] = [b"date", b"/date"];
/// The date is as urgent as can be.
const PRIORITY: u8 = 0;
/// How long subscribers may take to take the end of the track.
const DRAIN: Duration = Duration::from_secs(1);

/// Bytes of objects in memory; a minute of dates takes a few kilobytes.
const MAX_MEMORY_BYTES: usize = 16 << 20;
/// Clients at once; a further one is refused. More are a relay's job.
const MAX_CONNECTIONS: usize = 1000;

/// How objects are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// A subgroup, and so a stream, for each group
    Spg,
    /// A subgroup, and so a stream, for each object
    Spo,
    /// Datagrams
    Datagram,
}

/// What is published.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The namespace, as the flag has it.
    pub namespace: String,
    /// How objects are sent.
    pub mode: Mode,
    /// When subscribers should no longer be sent an object; zero: never.
    pub delivery_timeout: Duration,
}

/// The program, without its sockets and its clock.
#[derive(Debug)]
pub struct DateServer {
    mode: Mode,
    /// Namespaces that requests may name: the whole as one field, and split at slashes.
    namespaces: [TrackNamespace; 2],
    place: Place,
    publisher: Publisher,
    track: TrackId,
    clock: Clock,
    past: Past,
    /// Set when the program is to end: until when subscribers may take the rest.
    ending: Option<Time>,
    exit: Option<Exit>,
    mlog: Mlog,
}

impl DateServer {
    /// A server for clients that speak one of `drafts` and ask for `path`.
    ///
    /// # Errors
    /// If the namespace is none.
    pub fn serving(offer: Offer, drafts: Vec<Draft>, path: Bytes) -> Result<Self, String> {
        Self::new(&offer, Peers::default(), Place::Server { drafts, path })
    }

    /// A publisher into `relay`, in one of `drafts`.
    ///
    /// # Errors
    /// If the namespace is none.
    pub fn publishing(offer: Offer, drafts: &[Draft], relay: Relay) -> Result<Self, String> {
        let mut peers = Peers::default();
        peers.connect(relay.server().peer(drafts), relay.server().target(drafts));
        Self::new(&offer, peers, Place::Relay(Box::new(relay)))
    }

    fn new(offer: &Offer, peers: Peers, place: Place) -> Result<Self, String> {
        let wrong = |error| format!("--ns '{}' is no namespace: {error}", offer.namespace);
        let field = |text: &str| Bytes::from(text.to_owned());
        let whole = TrackNamespace::new([field(&offer.namespace)]).map_err(wrong)?;
        let split = TrackNamespace::new(offer.namespace.split('/').map(field)).map_err(wrong)?;
        let mut fanout = Fanout::new(fanout::Limits::default(), Ledger::new(MAX_MEMORY_BYTES));
        let milliseconds = u64::try_from(offer.delivery_timeout.as_millis()).unwrap_or(u64::MAX);
        let timeout =
            (milliseconds != 0).then_some((OBJECT_DELIVERY_TIMEOUT, Value::Integer(milliseconds)));
        let properties = Properties::from_list(IntegerKind::Vi64, timeout)
            .map_err(|error| format!("--delivery_timeout {milliseconds}: {error}"))?;
        let track = fanout
            .open_track(Draft::D18, properties, None)
            .ok_or("no track can be opened")?;
        Ok(Self {
            mode: offer.mode,
            namespaces: [whole, split],
            place,
            publisher: Publisher::new(peers, fanout),
            track,
            clock: Clock::new(offer.mode, track),
            past: Past::default(),
            ending: None,
            exit: None,
            mlog: Mlog::default(),
        })
    }

    /// Has what this server and its peers say written to `mlog`.
    #[must_use]
    pub fn logged_to(mut self, mlog: Mlog) -> Self {
        mlog.watch(&mut self.publisher.peers);
        self.mlog = mlog;
        self
    }

    /// Bytes of objects in memory.
    #[cfg(test)]
    pub(crate) fn bytes_held(&self) -> usize {
        self.publisher.fanout.ledger().used()
    }

    /// Handles everything that sessions have to tell.
    fn drain(&mut self, now: Time) {
        self.mlog.write_messages(now, &mut self.publisher.peers);
        while let Some((connection, event)) = self.publisher.poll_event() {
            self.mlog.write_event(now, connection, &event);
            self.handle_event(now, connection, event);
        }
        // The track is published whether or not anybody subscribes, and never stopped.
        while self.publisher.poll_notice().is_some() {}
        self.past.serve(now, self.mode, &mut self.publisher);
    }

    fn handle_event(&mut self, now: Time, connection: ConnectionId, event: Event) {
        match event {
            Event::Established { draft, setup } => {
                let name = client::implementation(&setup);
                log::info!("{connection} speaks {} ({name})", draft.profile().alpn);
                self.introduce(now, connection);
            }
            Event::Request { id, request } => self.handle_request(now, connection, id, request),
            Event::Response { id, response } => {
                if let Place::Relay(relay) = &mut self.place
                    && let Err(sentence) = relay.answered(id, &response)
                {
                    self.exit.get_or_insert(Exit::Failure(sentence));
                    self.ending = Some(Time::ZERO);
                }
            }
            Event::Update {
                id,
                update,
                parameters,
            } => self
                .publisher
                .update(now, connection, id, update, &parameters),
            Event::Cancelled { id, .. } => {
                if let Place::Relay(relay) = &self.place
                    && let Some(sentence) = relay.withdrew(id)
                {
                    self.fail(now, sentence);
                }
            }
            Event::GoAway { id, goaway } => self.handle_goaway(now, connection, id, &goaway),
            Event::Closed(closed) => {
                let why = self.publisher.peers.why_closed(connection, &closed);
                log::info!("{connection}: {why}");
                if let Place::Relay(relay) = &self.place {
                    let sentence = format!("{}: {why}", relay.server().url());
                    self.exit.get_or_insert(Exit::Failure(sentence));
                }
            }
            Event::StreamStopped { .. }
            | Event::StreamExpired { .. }
            | Event::MalformedTrack { .. }
            | Event::CanRequest
            | Event::Settled { .. }
            | Event::StreamDelivered { .. }
            | Event::CanOpenStream
            | Event::UpdateResponse { .. }
            | Event::Done { .. }
            | Event::Namespace { .. }
            | Event::NamespaceDone { .. }
            | Event::PublishBlocked { .. }
            | Event::SubgroupOpened { .. }
            | Event::Object { .. }
            | Event::Payload { .. }
            | Event::SubgroupEnded { .. }
            | Event::Datagram { .. }
            | Event::Fetched { .. } => {}
        }
    }

    /// Tells the relay that was connected to what there is.
    fn introduce(&mut self, now: Time, connection: ConnectionId) {
        let Place::Relay(relay) = &mut self.place else {
            return;
        };
        let introduced = full_name(relay.namespace()).and_then(|name| {
            relay.introduce(now, connection, &mut self.publisher, self.track, &name)
        });
        if let Err(sentence) = introduced {
            self.fail(now, sentence);
        }
    }

    fn handle_request(
        &mut self,
        now: Time,
        connection: ConnectionId,
        id: RequestId,
        request: Request,
    ) {
        let refuse = |code, reason| Response::Error(Refusal::new(code, reason));
        let response = match request {
            Request::Subscribe(subscribe) if self.is_date(&subscribe.track) => {
                self.publisher
                    .serve(now, connection, id, self.track, &subscribe.parameters);
                return;
            }
            Request::Fetch(fetch) => return self.fetch(now, connection, id, &fetch),
            Request::SubscribeNamespace(request) => {
                self.tell_namespace(now, connection, id, &request.prefix);
                if request.interest != Interest::Namespaces {
                    self.offer(now, connection, &request.prefix, &request.parameters);
                }
                return;
            }
            Request::SubscribeTracks(SubscribeTracks {
                prefix, parameters, ..
            }) => {
                let ok = Response::Ok(RequestOk::default());
                self.publisher.respond(now, connection, id, ok);
                return self.offer(now, connection, &prefix, &parameters);
            }
            Request::TrackStatus(status) if self.is_date(&status.track) => {
                Response::Ok(RequestOk {
                    parameters: Parameters {
                        largest_object: self.publisher.fanout.largest(self.track),
                        ..Parameters::default()
                    },
                    properties: self.track_properties(),
                    ..RequestOk::default()
                })
            }
            Request::Subscribe(_) => refuse(RequestCode::DoesNotExist, "unexpected subscribe"),
            Request::TrackStatus(_) => refuse(RequestCode::DoesNotExist, "no such track"),
            Request::Publish(_) | Request::PublishNamespace(_) => refuse(
                RequestCode::NotSupported,
                "the date server takes no tracks; a relay does",
            ),
        };
        self.publisher.respond(now, connection, id, response);
    }

    fn is_date(&self, track: &FullTrackName) -> bool {
        self.namespaces.contains(&track.namespace) && NAMES.contains(&track.name.as_bytes())
    }

    fn track_properties(&self) -> Properties {
        let properties = self.publisher.fanout.properties(self.track);
        properties.cloned().unwrap_or_default()
    }

    /// Answers a FETCH; its objects follow as there is room for them.
    fn fetch(&mut self, now: Time, connection: ConnectionId, id: RequestId, fetch: &Fetch) {
        let FetchRange::Standalone { track, start, end } = &fetch.range else {
            return; // the session has made a range of every other FETCH
        };
        let range = match self.is_date(track) {
            true => Range::new(*start, *end, self.publisher.fanout.largest(self.track))
                .map_err(|reason| Refusal::new(RequestCode::InvalidRange, reason)),
            false => Err(Refusal::new(RequestCode::DoesNotExist, "no such track")),
        };
        let range = match range {
            Ok(range) => range,
            Err(refusal) => {
                let response = Response::Error(refusal);
                self.publisher.respond(now, connection, id, response);
                return;
            }
        };
        let ok = FetchOk {
            request_id: None,
            end_of_track: false,
            end: range.end,
            parameters: Parameters::default(),
            properties: self.track_properties(),
        };
        let order = fetch.parameters.group_order.unwrap_or_default();
        if self.publisher.open_fetch(now, connection, id, ok, order) {
            self.past.begin(connection, id, Cursor::new(range, order));
        }
    }

    /// Tells a peer that asked about namespaces under `prefix` of ours.
    fn tell_namespace(
        &mut self,
        now: Time,
        connection: ConnectionId,
        id: RequestId,
        prefix: &TrackNamespace,
    ) {
        let ok = Response::Ok(RequestOk::default());
        self.publisher.respond(now, connection, id, ok);
        let [_, namespace] = &self.namespaces;
        if let Some(suffix) = namespace.strip_prefix(prefix)
            && let Some(session) = self.publisher.peers.session(connection)
            && let Err(misuse) = session.namespace(now, id, &suffix)
        {
            log::debug!("{connection}: not told of the namespace: {misuse}");
        }
    }

    /// Offers the track to a peer that asked for those under `prefix`.
    fn offer(
        &mut self,
        now: Time,
        connection: ConnectionId,
        prefix: &TrackNamespace,
        parameters: &Parameters,
    ) {
        let [_, namespace] = &self.namespaces;
        if namespace.strip_prefix(prefix).is_none() {
            return;
        }
        let forward = parameters.forward.unwrap_or(true);
        let offered = full_name(namespace).and_then(|name| {
            let publisher = &mut self.publisher;
            publisher
                .offer(now, connection, self.track, &name, forward)
                .map_err(|misuse| misuse.to_string())
        });
        if let Err(why) = offered {
            log::debug!("{connection}: the track is not offered: {why}");
        }
    }

    /// A peer wants us to leave, or to take one request elsewhere.
    fn handle_goaway(
        &mut self,
        now: Time,
        connection: ConnectionId,
        id: Option<RequestId>,
        goaway: &GoAway,
    ) {
        if let Place::Relay(relay) = &self.place
            && id.is_none()
        {
            let sentence = relay.leaves(goaway);
            self.fail(now, sentence);
        } else {
            let uri = goaway.uri.escape_ascii();
            log::warn!("{connection} is going away and names '{uri}' instead");
        }
    }

    fn fail(&mut self, now: Time, sentence: String) {
        self.exit.get_or_insert(Exit::Failure(sentence));
        self.end(now);
    }

    /// Ends the track; sessions are closed when subscribers had time to take the rest.
    fn end(&mut self, now: Time) {
        if self.ending.is_none() {
            self.clock.end_minute(now, &mut self.publisher.fanout);
            self.publisher.fanout.close_track(
                now,
                self.track,
                DoneCode::TrackEnded,
                "the date server ends",
            );
            self.ending = Some(now + DRAIN);
        }
    }
}

/// The track in a namespace.
fn full_name(namespace: &TrackNamespace) -> Result<FullTrackName, String> {
    let [name, _] = NAMES;
    TrackName::new(name)
        .and_then(|name| FullTrackName::new(namespace.clone(), name))
        .map_err(|error| format!("'{namespace}' has no room for the name of a track: {error}"))
}

/// What moxygen's date server adds to the head of each minute, so that clients can show that they read properties.
fn properties(location: Location) -> Properties {
    if location.object.0 != 0 {
        return Properties::default();
    }
    let list = [
        (
            0xdead_beef,
            Value::Bytes(Bytes::from_static(&[1, 2, 3, 4, 5])),
        ),
        (0xa_cede_cade, Value::Integer(1977)),
    ];
    Properties::from_list(IntegerKind::Vi64, list).unwrap_or_default()
}

impl Application for DateServer {
    fn handle_wall_clock(&mut self, now: Time, wall: WallTime) {
        self.clock.set(now, wall, &mut self.publisher.fanout);
    }

    fn handle_incoming(&mut self, _now: Time, incoming: &Incoming) -> Admission {
        let Place::Server { drafts, path } = &self.place else {
            return Admission::Refuse;
        };
        if self.ending.is_some() || self.publisher.peers.len() >= MAX_CONNECTIONS {
            return Admission::Refuse;
        }
        let settings = session::Settings {
            role: Role::Server,
            underlay: Underlay::RawQuic,
            path: Bytes::new(),
            authority: Bytes::new(),
            accepted_paths: vec![path.clone()],
            implementation: Bytes::from_static(IMPLEMENTATION.as_bytes()),
            authorization_tokens: Vec::new(),
            limits: Limits::default(),
        };
        let peer = Peer::server(settings, drafts);
        Admission::Accept(self.publisher.peers.accept(peer, incoming.remote))
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.publisher.handle_input(now, connection, input);
        self.drain(now);
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.publisher.handle_answer(now, connection, answer);
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.publisher.handle_timeout(now);
        if self.ending.is_none() {
            self.clock.tick(now, &mut self.publisher.fanout);
        }
        if let Place::Relay(relay) = &self.place
            && relay.give_up().is_some_and(|give_up| give_up <= now)
        {
            let sentence = relay.silent();
            self.fail(now, sentence);
        }
        if self.ending.is_some_and(|ending| ending <= now) {
            self.publisher
                .peers
                .close_all(now, SessionCode::NoError, "the date server ends");
        }
        self.drain(now);
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.exit.get_or_insert(Exit::Success);
        if self.ending.is_some() {
            self.publisher
                .peers
                .close_all(now, SessionCode::NoError, "the date server ends");
        }
        self.end(now);
        self.drain(now);
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        let dirty = self.publisher.poll_dirty();
        self.drain(self.publisher.now);
        dirty
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        let output = self.publisher.poll_output(now, connection);
        self.drain(now);
        output
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.publisher.peers.poll_connect()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let tick = match self.ending {
            None => self.clock.poll_timeout(),
            Some(_) => None,
        };
        let answer = match (&self.place, self.ending) {
            (Place::Relay(relay), None) => relay.give_up().map(|at| (at, "the relay's answer")),
            (Place::Relay(_) | Place::Server { .. }, _) => None,
        };
        let end = match self.publisher.peers.is_empty() {
            true => None,
            false => self.ending.map(|ending| (ending, "the end")),
        };
        [self.publisher.poll_timeout(), tick, answer, end]
            .into_iter()
            .flatten()
            .min()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        if self.publisher.peers.is_empty() {
            self.exit.clone()
        } else {
            None
        }
    }
}
