//! A relay between real sessions and, for bad input, raw bytes; after each test nothing is left behind.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each test looks for the few events that it is about"
)]

mod bad_input;
mod discovery;
mod epochs;
mod fetch;
mod fetch_fills;
mod fetch_random;
mod fetch_wire;
mod filters;
mod limits;
mod namespaces;
mod new_group;
mod objects;
mod publish;
mod publishers;
mod rendezvous;
mod resume;
mod scenarios;
mod shutdown;
mod status;
mod subscribe;
mod track_watches;
mod translation;
mod updates;
mod wire;

use bytes::{Bytes, BytesMut};

use super::tracks::Upstream;
use super::{Limits, Relay, Settings, Shutdown};
use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::draft::Draft;
use crate::session::{Event, Refusal, Request, Response, Role, StreamEnd};
use crate::transport::{Application as _, ConnectionId, Dir, Output, StreamId};
use crate::wire::frame::Framer;
use crate::wire::id::{GroupId, Location, ObjectId, RequestId, SubgroupId, TrackAlias};
use crate::wire::message::{
    Channel, Interest, Message, PublishDone, PublishNamespace, Subscribe, SubscribeNamespace,
    SubscribeOk,
};
use crate::wire::name::{FullTrackName, TrackName, TrackNamespace};
use crate::wire::object::{
    DatagramObject, ObjectHeader, ObjectStatus, SubgroupHeader, encode_datagram,
    encode_object_header, encode_subgroup_header,
};
use crate::wire::param::{Filter, Parameters};
use crate::wire::property::Properties;
use wire::Rig;

/// A publisher's and a subscriber's draft, in all combinations.
const DRAFT_PAIRS: [(Draft, Draft); 4] = [
    (Draft::D18, Draft::D18),
    (Draft::D16, Draft::D16),
    (Draft::D18, Draft::D16),
    (Draft::D16, Draft::D18),
];

impl Relay {
    /// The tables agree with one another.
    #[track_caller]
    fn assert_consistent(&self) {
        let mut upstreams = Vec::new();
        let mut waiting = Vec::new();
        let mut deadlines = Vec::new();
        let mut graces = Vec::new();
        for (name, track) in &self.tracks {
            let held = |origin| self.rendezvous.origins().contains(origin);
            assert!(
                !track.upstreams.is_empty()
                    || track.grace.is_some()
                    || !track.waiting.is_empty() && track.waiting.keys().all(held),
                "{name} has no publisher"
            );
            assert!(
                !self.is_attached(track) || track.waiting.is_empty() || self.is_behind(name),
                "{name}"
            );
            graces.extend(
                track
                    .grace
                    .as_ref()
                    .map(|grace| (grace.until(), name.clone())),
            );
            upstreams.extend(track.upstreams.keys().map(|origin| (*origin, name.clone())));
            waiting.extend(track.waiting.keys().map(|origin| (*origin, name.clone())));
            for (origin, upstream) in &track.upstreams {
                match upstream {
                    Upstream::Asked { give_up, .. } => deadlines.push((*give_up, *origin)),
                    Upstream::Established { .. } | Upstream::Ending { .. } => {
                        assert_eq!(Some(self.sources[origin].live), track.live, "{name}");
                    }
                }
            }
            if let Some(live) = track.live {
                assert_eq!(self.names.get(&live), Some(name));
            }
        }
        upstreams.sort();
        waiting.sort();
        deadlines.sort_unstable();
        let held = self.rendezvous.origins();
        assert!(held.iter().all(|held| self.waiting.contains_key(held)));
        let rows = self.upstreams.iter();
        let listed: Vec<_> = rows.map(|(origin, name)| (*origin, name.clone())).collect();
        assert_eq!(listed, upstreams);
        let rows = self.waiting.iter();
        let listed: Vec<_> = rows
            .map(|(origin, held)| (*origin, held.name.clone()))
            .collect();
        assert_eq!(listed, waiting);
        assert_eq!(
            self.deadlines.iter().copied().collect::<Vec<_>>(),
            deadlines
        );
        graces.sort();
        assert_eq!(self.graces.iter().cloned().collect::<Vec<_>>(), graces);
        for origin in self.held_updates.keys() {
            assert!(self.waiting.contains_key(origin));
        }
        let live = self.tracks.values().filter(|track| track.live.is_some());
        assert_eq!(self.names.len(), live.count());
        assert_eq!(self.sources.len(), self.origins.len());
        for (source, origin) in &self.origins {
            assert_eq!(self.sources[origin].id, *source);
            assert!(self.upstreams.contains_key(origin));
        }
        assert_eq!(self.ingest.len(), self.feeds.len());
        for (feed, from) in &self.feeds {
            assert_eq!(self.ingest[from].id, *feed);
        }
        self.fetching.assert_consistent();
    }

    /// Nobody publishes anything here, or is believed to elsewhere.
    #[track_caller]
    pub(crate) fn assert_nothing_known(&self) {
        self.assert_consistent();
        assert!(self.announcements.is_empty(), "{:?}", self.announcements);
        assert!(self.routes.has_no_publishers(), "{:?}", self.routes);
        assert!(self.tracks.is_empty(), "{:?}", self.tracks);
    }

    /// Nothing is left of anybody.
    #[track_caller]
    pub(crate) fn assert_empty(&mut self) {
        self.assert_consistent();
        self.fetching.assert_empty();
        assert!(self.announcements.is_empty(), "{:?}", self.announcements);
        assert!(self.watches.is_empty(), "{:?}", self.watches);
        assert!(self.track_watches.is_empty(), "{:?}", self.track_watches);
        assert!(self.questions.is_empty(), "{:?}", self.questions);
        assert!(self.held_updates.is_empty(), "{:?}", self.held_updates);
        assert!(self.routes.is_empty(), "{:?}", self.routes);
        assert!(self.tracks.is_empty(), "{:?}", self.tracks);
        assert!(self.names.is_empty(), "{:?}", self.names);
        assert_eq!(self.name_bytes.used(), 0, "bytes of names");
        assert!(self.upstreams.is_empty(), "{:?}", self.upstreams);
        assert!(self.waiting.is_empty(), "{:?}", self.waiting);
        assert!(self.sources.is_empty(), "{:?}", self.sources);
        assert!(self.resuming.is_empty(), "{:?}", self.resuming);
        assert!(self.resumed_updates.is_empty());
        assert!(self.origins.is_empty(), "{:?}", self.origins);
        assert!(self.ingest.is_empty(), "{:?}", self.ingest);
        assert!(self.feeds.is_empty(), "{:?}", self.feeds);
        assert!(self.deadlines.is_empty(), "{:?}", self.deadlines);
        assert_eq!(self.rendezvous.origins(), []);
        assert!(self.discovery.is_empty(), "{:?}", self.discovery);
        assert!(self.connected.is_empty(), "{:?}", self.connected);
        assert!(self.graces.is_empty(), "{:?}", self.graces);
        assert!(self.parked.is_empty(), "{:?}", self.parked);
        assert!(self.publisher.peers.is_empty());
        self.publisher.fanout.assert_empty();
        if self.shutdown == Shutdown::Running {
            assert_eq!(self.poll_timeout(), None);
        }
    }
}

/// What a peer received on one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Got {
    header: SubgroupHeader,
    objects: Vec<(ObjectHeader, Vec<u8>)>,
    end: Option<StreamEnd>,
}

impl Got {
    fn ids(&self) -> Vec<u64> {
        self.objects.iter().map(|(object, _)| object.id.0).collect()
    }
}

/// A stream on which a far end publishes.
struct Feed {
    connection: ConnectionId,
    stream: StreamId,
    properties: bool,
    previous: Option<ObjectId>,
}

impl Rig {
    fn request(&mut self, connection: ConnectionId, request: Request) -> RequestId {
        self.act(connection, |session, now| session.request(now, request))
            .unwrap()
    }

    fn subscribe_to(
        &mut self,
        connection: ConnectionId,
        track: FullTrackName,
        parameters: Parameters,
    ) -> RequestId {
        let request = Request::Subscribe(Subscribe {
            request_id: RequestId(0),
            track,
            parameters,
        });
        self.request(connection, request)
    }

    /// SUBSCRIBE to a track of the namespace `live`.
    fn subscribe(&mut self, connection: ConnectionId, name: &str) -> RequestId {
        self.subscribe_to(connection, track(name), Parameters::default())
    }

    fn announce(&mut self, connection: ConnectionId, fields: &[&str]) -> RequestId {
        let id = self.try_announce(connection, fields);
        assert!(matches!(self.answer(connection, id), Some(Response::Ok(_))));
        id
    }

    fn try_announce(&mut self, connection: ConnectionId, fields: &[&str]) -> RequestId {
        let request = Request::PublishNamespace(PublishNamespace {
            request_id: RequestId(0),
            namespace: namespace(fields),
            parameters: Parameters::default(),
        });
        self.request(connection, request)
    }

    fn watch(&mut self, connection: ConnectionId, fields: &[&str]) -> RequestId {
        let request = Request::SubscribeNamespace(SubscribeNamespace {
            request_id: RequestId(0),
            prefix: namespace(fields),
            interest: Interest::Namespaces,
            parameters: Parameters::default(),
        });
        self.request(connection, request)
    }

    fn cancel(&mut self, connection: ConnectionId, id: RequestId) {
        self.act(connection, |session, now| {
            session.cancel(now, id, ResetCode::Cancelled).unwrap();
        });
    }

    fn update(&mut self, connection: ConnectionId, id: RequestId, parameters: Parameters) {
        self.act(connection, |session, now| {
            session.update(now, id, parameters).unwrap();
        });
    }

    fn respond(&mut self, connection: ConnectionId, id: RequestId, response: Response) {
        self.act(connection, |session, now| {
            session.respond(now, id, response).unwrap();
        });
    }

    /// A publisher accepts a SUBSCRIBE of the relay's.
    fn accept(&mut self, connection: ConnectionId, id: RequestId) {
        self.accept_with(connection, id, None, Properties::default());
    }

    fn accept_with(
        &mut self,
        connection: ConnectionId,
        id: RequestId,
        largest: Option<Location>,
        properties: Properties,
    ) {
        let alias = TrackAlias(100 + id.0);
        self.far_mut(connection).aliases.insert(id, alias);
        let ok = SubscribeOk {
            request_id: None,
            track_alias: alias,
            parameters: Parameters {
                largest_object: largest,
                ..Parameters::default()
            },
            properties,
        };
        self.respond(connection, id, Response::SubscribeOk(ok));
    }

    fn refuse(&mut self, connection: ConnectionId, id: RequestId, code: RequestCode) {
        let refusal = Refusal::new(code, "the publisher's words");
        self.respond(connection, id, Response::Error(refusal));
    }

    fn done_with(&mut self, connection: ConnectionId, id: RequestId, code: DoneCode) {
        self.act(connection, |session, now| {
            session
                .done(now, id, code, "the publisher's words")
                .unwrap();
        });
    }

    /// The answer to a request of a far end's.
    fn answer(&self, connection: ConnectionId, id: RequestId) -> Option<Response> {
        let mut answers = self.far[&connection].events.iter().filter_map(|event| {
            if let Event::Response {
                id: answered,
                response,
            } = event
                && *answered == id
            {
                return Some(response.clone());
            }
            None
        });
        let answer = answers.next();
        assert_eq!(answers.next(), None, "a second answer");
        answer
    }

    #[track_caller]
    fn ok(&self, connection: ConnectionId, id: RequestId) -> SubscribeOk {
        match self.answer(connection, id) {
            Some(Response::SubscribeOk(ok)) => ok,
            other => panic!("not accepted: {other:?}"),
        }
    }

    #[track_caller]
    fn refusal(&self, connection: ConnectionId, id: RequestId) -> Refusal {
        match self.answer(connection, id) {
            Some(Response::Error(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Asserts that a request was refused with this code, or what stands for it in the peer's draft.
    #[track_caller]
    fn assert_refused(&self, connection: ConnectionId, id: RequestId, code: RequestCode) {
        let draft = self.far[&connection].draft;
        let refusal = self.refusal(connection, id);
        assert_eq!(refusal.code.to_wire(draft), code.to_wire(draft));
        assert!(!refusal.reason.is_empty());
        self.assert_alive(connection);
    }

    #[track_caller]
    fn assert_alive(&self, connection: ConnectionId) {
        let far = &self.far[&connection];
        assert_eq!(far.closed, None);
        assert!(
            far.session
                .as_ref()
                .is_none_or(|session| !session.is_closed())
        );
    }

    /// The SUBSCRIBEs that a far end got from the relay.
    fn asked(&self, connection: ConnectionId) -> Vec<(RequestId, Subscribe)> {
        let events = self.far[&connection].events.iter();
        events
            .filter_map(|event| match event {
                Event::Request {
                    id,
                    request: Request::Subscribe(subscribe),
                } => Some((*id, subscribe.clone())),
                _ => None,
            })
            .collect()
    }

    /// The only SUBSCRIBE that a far end got from the relay.
    #[track_caller]
    fn only_asked(&self, connection: ConnectionId) -> RequestId {
        match self.asked(connection).as_slice() {
            [(id, _)] => *id,
            other => panic!("{other:?}"),
        }
    }

    /// How the relay updated a SUBSCRIBE at a far end.
    fn updates(&self, connection: ConnectionId, of: RequestId) -> Vec<Parameters> {
        let events = self.far[&connection].events.iter();
        events
            .filter_map(|event| match event {
                Event::Update { id, parameters, .. } if *id == of => Some(parameters.clone()),
                _ => None,
            })
            .collect()
    }

    /// Whether the relay withdrew a SUBSCRIBE at a far end.
    fn withdrawn(&self, connection: ConnectionId, of: RequestId) -> bool {
        let cancelled = |event: &Event| matches!(event, Event::Cancelled { id, .. } if *id == of);
        self.far[&connection].events.iter().any(cancelled)
    }

    /// How the relay ended a subscription of a far end's.
    fn done(&self, connection: ConnectionId, of: RequestId) -> Option<PublishDone> {
        let mut events = self.far[&connection].events.iter();
        events.find_map(|event| match event {
            Event::Done { id, done } if *id == of => Some(done.clone()),
            _ => None,
        })
    }

    #[track_caller]
    fn done_code(&self, connection: ConnectionId, of: RequestId) -> DoneCode {
        self.done(connection, of).expect("PUBLISH_DONE").code
    }

    /// What a subscriber received on streams, in the order of their opening.
    fn received(&self, connection: ConnectionId, of: RequestId) -> Vec<Got> {
        let mut streams: Vec<(StreamId, Got)> = Vec::new();
        for event in &self.far[&connection].events {
            match event {
                Event::SubgroupOpened { stream, id, header } if *id == of => {
                    let got = Got {
                        header: *header,
                        objects: Vec::new(),
                        end: None,
                    };
                    streams.push((*stream, got));
                }
                Event::Object { stream, object } => {
                    if let Some(got) = find(&mut streams, *stream) {
                        got.objects.push((object.clone(), Vec::new()));
                    }
                }
                Event::Payload { stream, bytes } => {
                    if let Some(got) = find(&mut streams, *stream) {
                        got.objects.last_mut().unwrap().1.extend_from_slice(bytes);
                    }
                }
                Event::SubgroupEnded { stream, end } => {
                    if let Some(got) = find(&mut streams, *stream) {
                        got.end = Some(*end);
                    }
                }
                _ => {}
            }
        }
        streams.into_iter().map(|(_, got)| got).collect()
    }

    /// Group and object ids that a subscriber received on streams.
    fn ids(&self, connection: ConnectionId, of: RequestId) -> Vec<(u64, u64)> {
        let streams = self.received(connection, of);
        let ids = streams.iter().flat_map(|got| {
            let group = got.header.group.0;
            got.ids().into_iter().map(move |id| (group, id))
        });
        ids.collect()
    }

    fn datagrams(&self, connection: ConnectionId, of: RequestId) -> Vec<DatagramObject> {
        let events = self.far[&connection].events.iter();
        events
            .filter_map(|event| match event {
                Event::Datagram { id, object } if *id == of => Some(object.clone()),
                _ => None,
            })
            .collect()
    }

    /// Opens a stream for a subgroup of a track that the relay subscribed to.
    fn open(&mut self, connection: ConnectionId, id: RequestId, header: SubgroupHeader) -> Feed {
        self.open_stream(connection, id, header, false)
    }

    fn open_stream(
        &mut self,
        connection: ConnectionId,
        id: RequestId,
        header: SubgroupHeader,
        properties: bool,
    ) -> Feed {
        let alias = self.far[&connection].aliases[&id];
        let profile = self.far[&connection].draft.profile();
        let mut bytes = BytesMut::new();
        encode_subgroup_header(profile, alias, &header, properties, &mut bytes).unwrap();
        let priority = header.priority.unwrap_or(128);
        let stream = self.act(connection, |session, now| {
            session.open_subgroup(now, id, header.group, header.subgroup, priority)
        });
        let feed = Feed {
            connection,
            stream: stream.unwrap(),
            properties,
            previous: None,
        };
        self.send(&feed, &bytes);
        feed
    }

    /// Bytes on a publisher's stream.
    fn send(&mut self, feed: &Feed, bytes: &[u8]) {
        let far = self.far_mut(feed.connection);
        let bytes = Bytes::copy_from_slice(bytes);
        far.outbox.push(feed.stream, bytes).unwrap();
        let stream = feed.stream;
        self.act(feed.connection, |session, _| session.stream_ready(stream));
    }

    fn begin(&mut self, feed: &mut Feed, object: &ObjectHeader) {
        let profile = self.far[&feed.connection].draft.profile();
        let mut bytes = BytesMut::new();
        encode_object_header(profile, feed.properties, feed.previous, object, &mut bytes).unwrap();
        feed.previous = Some(object.id);
        self.send(feed, &bytes);
    }

    fn object(&mut self, feed: &mut Feed, id: u64, payload: &[u8]) {
        self.begin(feed, &object(id, payload.len()));
        self.send(feed, payload);
    }

    fn marker(&mut self, feed: &mut Feed, id: u64, status: ObjectStatus) {
        let marker = ObjectHeader {
            status,
            ..object(id, 0)
        };
        self.begin(feed, &marker);
    }

    fn fin(&mut self, feed: &Feed) {
        self.far_mut(feed.connection).outbox.finish(feed.stream);
        let stream = feed.stream;
        self.act(feed.connection, |session, _| session.stream_ready(stream));
    }

    fn reset(&mut self, feed: &Feed, code: ResetCode) {
        let stream = feed.stream;
        self.act(feed.connection, |session, now| {
            session.reset_stream(now, stream, code);
        });
    }

    /// A group of one subgroup with this many objects, ended.
    fn group(&mut self, connection: ConnectionId, id: RequestId, group: u64, objects: u64) {
        let mut feed = self.open(connection, id, header(group, 0));
        for object in 0..objects {
            self.object(
                &mut feed,
                object,
                &[b'0' + u8::try_from(object).unwrap(); 3],
            );
        }
        self.fin(&feed);
    }

    fn datagram(&mut self, connection: ConnectionId, id: RequestId, object: &DatagramObject) {
        let alias = self.far[&connection].aliases[&id];
        let profile = self.far[&connection].draft.profile();
        let bytes = encode_datagram(profile, alias, object).unwrap();
        let location = object.location;
        self.act(connection, |session, now| {
            session
                .send_datagram(now, id, 128, location, bytes)
                .unwrap();
        });
    }

    /// A client of draft 16 that said CLIENT_SETUP on a control stream of its own, and nobody behind it.
    fn raw_d16(&mut self) -> ConnectionId {
        let connection = self.raw(Draft::D16);
        // One parameter: MAX_REQUEST_ID 100.
        self.inject(connection, Dir::Bi, &[0x20, 0, 4, 1, 2, 0x40, 100]);
        self.assert_alive(connection);
        connection
    }

    /// A client of draft 18 that said SETUP, and nobody behind it.
    fn raw_d18(&mut self) -> ConnectionId {
        let connection = self.raw(Draft::D18);
        self.inject(connection, Dir::Uni, &[0xAF, 0x00, 0, 0]);
        self.assert_alive(connection);
        connection
    }

    fn raw_of(&mut self, draft: Draft) -> ConnectionId {
        match draft {
            Draft::D16 => self.raw_d16(),
            Draft::D18 => self.raw_d18(),
        }
    }

    /// A message on a stream of its own, from a raw client.
    fn raw_ask(&mut self, connection: ConnectionId, message: &Message) -> StreamId {
        let origin = crate::wire::message::Origin {
            profile: self.far[&connection].draft.profile(),
            sender: Role::Client,
            channel: Channel::Request,
        };
        let bytes = message.encode(origin).unwrap();
        self.inject(connection, Dir::Bi, &bytes)
    }

    /// The messages that the relay wrote on a stream of a raw client's.
    fn raw_messages(&self, connection: ConnectionId, on: StreamId) -> Vec<Message> {
        let far = &self.far[&connection];
        let mut framer = Framer::new(far.draft.profile().integers);
        for output in &far.outputs {
            if let Output::Write { stream, bytes, .. } = output
                && *stream == on
            {
                framer.push(bytes);
            }
        }
        let is_control = far.draft == Draft::D16 && on == StreamId::peer(0);
        let origin = crate::wire::message::Origin {
            profile: far.draft.profile(),
            sender: Role::Server,
            channel: if is_control {
                Channel::Control
            } else {
                Channel::Request
            },
        };
        std::iter::from_fn(|| framer.next_frame())
            .map(|frame| Message::decode(origin, frame.number, &frame.body).unwrap())
            .collect()
    }

    /// A publisher that announced `live`.
    fn publisher(&mut self, draft: Draft) -> ConnectionId {
        let connection = self.connect(draft);
        self.announce(connection, &["live"]);
        connection
    }

    /// A publisher and a subscriber of `live`/`v`, with the requests on either side.
    fn running(&mut self, drafts: (Draft, Draft)) -> Running {
        let publisher = self.publisher(drafts.0);
        let subscriber = self.connect(drafts.1);
        let down = self.subscribe(subscriber, "v");
        let up = self.only_asked(publisher);
        self.accept(publisher, up);
        self.ok(subscriber, down);
        Running {
            publisher,
            up,
            subscriber,
            down,
        }
    }
}

/// A track on its way.
#[derive(Clone, Copy)]
struct Running {
    publisher: ConnectionId,
    /// The relay's SUBSCRIBE at the publisher.
    up: RequestId,
    subscriber: ConnectionId,
    /// The subscriber's at the relay.
    down: RequestId,
}

fn find(streams: &mut [(StreamId, Got)], stream: StreamId) -> Option<&mut Got> {
    // Names are not used twice.
    streams
        .iter_mut()
        .find(|(name, _)| *name == stream)
        .map(|(_, got)| got)
}

fn namespace(fields: &[&str]) -> TrackNamespace {
    TrackNamespace::new(fields.iter().map(|field| field.as_bytes().to_vec())).unwrap()
}

fn track_in(fields: &[&str], name: &str) -> FullTrackName {
    FullTrackName {
        namespace: namespace(fields),
        name: TrackName::new(name.as_bytes().to_vec()).unwrap(),
    }
}

fn track(name: &str) -> FullTrackName {
    track_in(&["live"], name)
}

const fn at(group: u64, object: u64) -> Location {
    Location {
        group: GroupId(group),
        object: ObjectId(object),
    }
}

fn filtered(filter: Filter) -> Parameters {
    Parameters {
        filter: Some(filter),
        ..Parameters::default()
    }
}

fn forward(forward: bool) -> Parameters {
    Parameters {
        forward: Some(forward),
        ..Parameters::default()
    }
}

const fn header(group: u64, subgroup: u64) -> SubgroupHeader {
    SubgroupHeader {
        group: GroupId(group),
        subgroup: SubgroupId(subgroup),
        priority: Some(128),
        end_of_group: false,
        first_object: true,
    }
}

fn object(id: u64, length: usize) -> ObjectHeader {
    ObjectHeader {
        id: ObjectId(id),
        properties: Properties::default(),
        status: ObjectStatus::Normal,
        payload_length: u64::try_from(length).unwrap(),
    }
}

fn in_datagram(group: u64, object: u64, payload: &'static [u8]) -> DatagramObject {
    DatagramObject {
        location: at(group, object),
        priority: Some(128),
        properties: Properties::default(),
        status: ObjectStatus::Normal,
        end_of_group: false,
        payload: Bytes::from_static(payload),
    }
}

fn limits(change: impl FnOnce(&mut Limits)) -> Settings {
    let mut settings = Settings::default();
    change(&mut settings.limits);
    settings
}
