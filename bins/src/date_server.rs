//! The date server: publishes the date as a track, to clients of its own or into a relay.

use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use oxymoq_core::code::{DoneCode, RequestCode, SessionCode};
use oxymoq_core::draft::{Draft, IntegerKind};
use oxymoq_core::fanout::{self, Fanout, IngestId, SourceId, TrackId};
use oxymoq_core::ledger::Ledger;
use oxymoq_core::peer::Peer;
use oxymoq_core::peers::Peers;
use oxymoq_core::publisher::Publisher;
use oxymoq_core::session::{
    self, Event, Limits, Refusal, Request, Response, Role, StreamEnd, Underlay,
};
use oxymoq_core::time::{Time, WallTime};
use oxymoq_core::transport::{
    Admission, Answer, Application, ConnectionId, Exit, Incoming, Input, Output, Target,
};
use oxymoq_core::wire::id::{Location, RequestId, SubgroupId};
use oxymoq_core::wire::message::{GoAway, Interest, PublishNamespace, RequestOk};
use oxymoq_core::wire::name::{FullTrackName, TrackNamespace};
use oxymoq_core::wire::object::{DatagramObject, ObjectHeader, ObjectStatus, SubgroupHeader};
use oxymoq_core::wire::param::Parameters;
use oxymoq_core::wire::property::{OBJECT_DELIVERY_TIMEOUT, Properties, Value};

use crate::client::{self, IMPLEMENTATION, Server};
use crate::date::{self, END_OF_MINUTE, Second};
use crate::mlog::Mlog;

/// Names that the track goes by: today's and the one of old instructions.
const NAMES: [&[u8]; 2] = [b"date", b"/date"];
/// The only producer of the track.
const CLOCK: SourceId = SourceId(0);
/// The date is as urgent as can be.
const PRIORITY: u8 = 0;
/// How long subscribers may take to take the end of the track.
const DRAIN: Duration = Duration::from_secs(1);
/// A clock that jumps ahead by more than this has been set: what lies between is not made up for.
const JUMP: Duration = Duration::from_secs(120);

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
    /// The clock: what time it was when.
    clock: Option<(Time, WallTime)>,
    /// The second to publish next.
    next: Option<Second>,
    /// The subgroup of the minute, in mode `spg`.
    minute: Option<IngestId>,
    /// Set when the program is to end: until when subscribers may take the rest.
    ending: Option<Time>,
    exit: Option<Exit>,
    mlog: Mlog,
}

/// Where the date can be had.
#[derive(Debug)]
enum Place {
    /// Here.
    Server { drafts: Vec<Draft>, path: Bytes },
    /// At a relay.
    Relay {
        relay: Server,
        namespace: TrackNamespace,
        patience: Duration,
        /// When the relay should have agreed.
        give_up: Option<Time>,
    },
}

impl DateServer {
    /// A server for clients that speak one of `drafts` and ask for `path`.
    ///
    /// # Errors
    /// If the namespace is none.
    pub fn serving(offer: Offer, drafts: Vec<Draft>, path: Bytes) -> Result<Self, String> {
        Self::new(&offer, Peers::default(), Place::Server { drafts, path })
    }

    /// A publisher into `relay`, announcing `namespace`. The relay has `patience` to agree.
    ///
    /// # Errors
    /// If the namespace is none.
    pub fn publishing(
        offer: Offer,
        drafts: Vec<Draft>,
        relay: Server,
        namespace: TrackNamespace,
        patience: Duration,
    ) -> Result<Self, String> {
        let mut peers = Peers::default();
        peers.connect(relay.peer(&drafts), relay.target(&drafts));
        let place = Place::Relay {
            relay,
            namespace,
            patience,
            give_up: None,
        };
        Self::new(&offer, peers, place)
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
            clock: None,
            next: None,
            minute: None,
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

    /// Publishes what the clock has reached.
    fn tick(&mut self, now: Time) {
        let Some((then, wall)) = self.clock else {
            return;
        };
        let passed = u64::try_from(now.since(then).as_micros()).unwrap_or(0);
        let wall = WallTime(wall.0.saturating_add(passed));
        let current = Second::at(wall);
        let next = *self.next.get_or_insert_with(|| current.next());
        let behind = Duration::from_micros(wall.0.saturating_sub(next.begins().0));
        let mut second = next;
        if behind > JUMP {
            log::warn!("the clock was set ahead by {behind:?}: starting again from there");
            self.end_minute(now);
            second = current;
        }
        while second <= current {
            self.publish(now, second);
            second = second.next();
        }
        self.next = Some(second);
    }

    fn publish(&mut self, now: Time, second: Second) {
        let location = second.location();
        if second.begins_minute() {
            self.end_minute(now);
            let head = Location::new(location.group.0, 0);
            self.publish_object(now, head, ObjectStatus::Normal);
        }
        self.publish_object(now, location, ObjectStatus::Normal);
        if second.ends_minute() {
            let end = Location {
                object: END_OF_MINUTE,
                ..location
            };
            self.publish_object(now, end, ObjectStatus::EndOfGroup);
            self.end_minute(now);
        }
    }

    fn publish_object(&mut self, now: Time, location: Location, status: ObjectStatus) {
        let result = match self.mode {
            Mode::Spg => self.write_to_minute(now, location, status),
            Mode::Spo => self.write_alone(now, location, status),
            Mode::Datagram => self.publisher.fanout.datagram(
                now,
                self.track,
                CLOCK,
                DatagramObject {
                    location,
                    priority: Some(PRIORITY),
                    properties: Properties::default(),
                    status,
                    end_of_group: false,
                    payload: payload(location, status),
                },
            ),
        };
        if let Err(fault) = result {
            log::error!("object {location} could not be published: {fault:?}");
        }
    }

    /// Mode `spg`: the next object of the minute's subgroup.
    fn write_to_minute(
        &mut self,
        now: Time,
        location: Location,
        status: ObjectStatus,
    ) -> Result<(), fanout::Fault> {
        let stream = match self.minute {
            Some(stream) => stream,
            None => {
                let header = header(location, SubgroupId(0), location.object.0 == 0);
                let stream = self
                    .publisher
                    .fanout
                    .open_subgroup(now, self.track, CLOCK, header)?;
                *self.minute.insert(stream)
            }
        };
        self.write(now, stream, location, status)
    }

    /// Mode `spo`: an object on a subgroup of its own.
    fn write_alone(
        &mut self,
        now: Time,
        location: Location,
        status: ObjectStatus,
    ) -> Result<(), fanout::Fault> {
        let header = header(location, SubgroupId(location.object.0), true);
        let stream = self
            .publisher
            .fanout
            .open_subgroup(now, self.track, CLOCK, header)?;
        self.write(now, stream, location, status)?;
        self.publisher
            .fanout
            .end_subgroup(now, stream, StreamEnd::Fin)
    }

    fn write(
        &mut self,
        now: Time,
        stream: IngestId,
        location: Location,
        status: ObjectStatus,
    ) -> Result<(), fanout::Fault> {
        let payload = payload(location, status);
        let header = ObjectHeader {
            id: location.object,
            properties: match location.object.0 {
                0 => head_properties(),
                _ => Properties::default(),
            },
            status,
            payload_length: u64::try_from(payload.len()).unwrap_or(0),
        };
        self.publisher.fanout.begin_object(now, stream, header)?;
        if payload.is_empty() {
            return Ok(());
        }
        self.publisher.fanout.payload(now, stream, &payload)
    }

    fn end_minute(&mut self, now: Time) {
        if let Some(stream) = self.minute.take()
            && let Err(fault) = self
                .publisher
                .fanout
                .end_subgroup(now, stream, StreamEnd::Fin)
        {
            log::error!("the minute could not be ended: {fault:?}");
        }
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
    }

    fn handle_event(&mut self, now: Time, connection: ConnectionId, event: Event) {
        match event {
            Event::Established { draft, setup } => {
                let name = client::implementation(&setup);
                log::info!("{connection} speaks {} ({name})", draft.profile().alpn);
                self.announce(now, connection);
            }
            Event::Request { id, request } => self.handle_request(now, connection, id, request),
            Event::Response { response, .. } => self.announced(response),
            Event::Update {
                id,
                update,
                parameters,
            } => self
                .publisher
                .update(now, connection, id, update, &parameters),
            Event::Cancelled { id, .. } => self.cancelled(now, id),
            Event::GoAway { id, goaway } => self.handle_goaway(now, connection, id, &goaway),
            Event::Closed(closed) => {
                let why = self.publisher.peers.why_closed(connection, &closed);
                log::info!("{connection}: {why}");
                if let Place::Relay { relay, .. } = &self.place {
                    let sentence = format!("{}: {why}", relay.url());
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

    /// Announces the namespace to the relay that was connected to.
    fn announce(&mut self, now: Time, connection: ConnectionId) {
        let Place::Relay {
            namespace,
            patience,
            give_up,
            ..
        } = &mut self.place
        else {
            return;
        };
        let request = Request::PublishNamespace(PublishNamespace {
            request_id: RequestId(0),
            namespace: namespace.clone(),
            parameters: Parameters::default(),
        });
        *give_up = Some(now + *patience);
        if let Some(session) = self.publisher.peers.session(connection)
            && let Err(misuse) = session.request(now, request)
        {
            self.fail(now, &format!("cannot announce the namespace: {misuse}"));
        }
    }

    /// The relay answered the announcement.
    fn announced(&mut self, response: Response) {
        let Place::Relay {
            relay,
            give_up,
            namespace,
            ..
        } = &mut self.place
        else {
            return;
        };
        *give_up = None;
        match response {
            Response::Error(refusal) => {
                let reason = refusal.reason.escape_ascii();
                let url = relay.url();
                let sentence = format!(
                    "{url} refused the namespace {namespace}: {} ({reason})",
                    refusal.code
                );
                self.exit.get_or_insert(Exit::Failure(sentence));
                self.ending = Some(Time::ZERO);
            }
            Response::Ok(_) | Response::SubscribeOk(_) | Response::FetchOk(_) => {
                log::info!("{} announces {namespace} from now on", relay.url());
            }
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
            Request::SubscribeNamespace(request) if request.interest != Interest::Tracks => {
                return self.tell_namespace(now, connection, id, &request.prefix);
            }
            Request::TrackStatus(status) if self.is_date(&status.track) => {
                Response::Ok(RequestOk {
                    parameters: Parameters {
                        largest_object: self.publisher.fanout.largest(self.track),
                        ..Parameters::default()
                    },
                    ..RequestOk::default()
                })
            }
            Request::Subscribe(_) => refuse(RequestCode::DoesNotExist, "unexpected subscribe"),
            Request::TrackStatus(_) => refuse(RequestCode::DoesNotExist, "no such track"),
            Request::SubscribeNamespace(_)
            | Request::SubscribeTracks(_)
            | Request::Fetch(_)
            | Request::Publish(_)
            | Request::PublishNamespace(_) => refuse(
                RequestCode::NotSupported,
                "the date server only serves SUBSCRIBE so far",
            ),
        };
        self.publisher.respond(now, connection, id, response);
    }

    fn is_date(&self, track: &FullTrackName) -> bool {
        self.namespaces.contains(&track.namespace) && NAMES.contains(&track.name.as_bytes())
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

    /// A peer wants us to leave, or to take one request elsewhere.
    fn handle_goaway(
        &mut self,
        now: Time,
        connection: ConnectionId,
        id: Option<RequestId>,
        goaway: &GoAway,
    ) {
        let uri = goaway.uri.escape_ascii();
        match &self.place {
            Place::Relay { relay, .. } if id.is_none() && uri.clone().next().is_none() => {
                let sentence =
                    format!("{} is going away; start again when it is back", relay.url());
                self.fail(now, &sentence);
            }
            Place::Relay { relay, .. } if id.is_none() => {
                let sentence = format!("{} is going away; start again with {uri}", relay.url());
                self.fail(now, &sentence);
            }
            Place::Relay { .. } | Place::Server { .. } => {
                log::warn!("{connection} is going away and names '{uri}' instead");
            }
        }
    }

    /// A request is over: a subscription of a peer's, or our announcement.
    fn cancelled(&mut self, now: Time, id: RequestId) {
        if id.sender() == Role::Client
            && let Place::Relay { relay, .. } = &self.place
        {
            let sentence = format!("{} withdrew the namespace; start again", relay.url());
            self.fail(now, &sentence);
        }
    }

    fn fail(&mut self, now: Time, sentence: &str) {
        self.exit
            .get_or_insert_with(|| Exit::Failure(sentence.to_owned()));
        self.end(now);
    }

    /// Ends the track; sessions are closed when subscribers had time to take the rest.
    fn end(&mut self, now: Time) {
        if self.ending.is_none() {
            self.end_minute(now);
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

const fn header(location: Location, subgroup: SubgroupId, first_object: bool) -> SubgroupHeader {
    SubgroupHeader {
        group: location.group,
        subgroup,
        priority: Some(PRIORITY),
        end_of_group: false,
        first_object,
    }
}

fn payload(location: Location, status: ObjectStatus) -> Bytes {
    match status {
        ObjectStatus::Normal => date::payload(location).unwrap_or_default(),
        ObjectStatus::EndOfGroup | ObjectStatus::EndOfTrack => Bytes::new(),
    }
}

/// What moxygen's date server adds to the head of each minute, so that clients can show that they read properties.
fn head_properties() -> Properties {
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
        self.clock = Some((now, wall));
        if self.next.is_none() {
            self.next = Some(Second::at(wall).next());
        }
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
            self.tick(now);
        }
        if let Place::Relay {
            relay,
            give_up: Some(give_up),
            patience,
            ..
        } = &self.place
            && *give_up <= now
        {
            let sentence = format!(
                "{} did not answer the announcement within {patience:?}; --relay_transaction_timeout allows more",
                relay.url()
            );
            self.fail(now, &sentence);
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
        let tick = match (self.clock, self.next, self.ending) {
            (Some((then, wall)), Some(next), None) => {
                let ahead = Duration::from_micros(next.begins().0.saturating_sub(wall.0));
                Some((then + ahead, "the next second"))
            }
            _ => None,
        };
        let answer = match &self.place {
            Place::Relay {
                give_up: Some(give_up),
                ..
            } => Some((*give_up, "the relay's answer")),
            Place::Relay { .. } | Place::Server { .. } => None,
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
