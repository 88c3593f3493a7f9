//! An application above a session that does everything there is to do, in any order, and nothing that is forbidden.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use oxymoq_core::code::{DoneCode, RequestCode, ResetCode};
use oxymoq_core::draft::Profile;
use oxymoq_core::peer::Peer;
use oxymoq_core::session::{
    Event, FetchItem, Outbox, Refusal, Request, Response, Session, StreamEnd,
};
use oxymoq_core::time::Time;
use oxymoq_core::transport::StreamId;
use oxymoq_core::wire::id::{GroupId, Location, Millis, ObjectId, RequestId, TrackAlias};
use oxymoq_core::wire::message::{
    Fetch, FetchOk, FetchRange, GoAway, Interest, Publish, PublishNamespace, RequestOk, Retry,
    Subscribe, SubscribeNamespace, SubscribeOk, SubscribeTracks, TrackStatus,
};
use oxymoq_core::wire::object::{
    DatagramObject, FetchEncoder, FetchEntry, FetchObject, ObjectHeader, SubgroupHeader,
    encode_datagram, encode_object_header, encode_subgroup_header,
};
use oxymoq_core::wire::param::{Filter, GroupOrder, Parameters, Token};
use oxymoq_core::wire::property::Properties;

use crate::choices::Choices;
use crate::content::{self, GROUPS, OBJECTS};

/// The publisher's priority of everything.
const PRIORITY: u8 = 100;

/// How much of a kind the application remembers; what comes on top is left alone.
const MEMORY: usize = 64;

/// One end of a connection, with a session inside and an application above it.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) peer: Peer,
    pub(crate) outbox: Outbox,
    /// Whether everybody publishes what [`content`] says, so that what arrives can be checked.
    is_checking: bool,
    requests: Vec<RequestId>,
    unanswered: Vec<(RequestId, Request)>,
    updates: Vec<(RequestId, RequestId)>,
    over: BTreeSet<RequestId>,
    aliases: BTreeMap<RequestId, TrackAlias>,
    feeds: Vec<Feed>,
    receiving: BTreeMap<Place, Receiving>,
    closed: bool,
}

/// A stream on which this application publishes.
#[derive(Debug)]
struct Feed {
    request: RequestId,
    stream: StreamId,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Subgroup {
        group: GroupId,
        previous: Option<ObjectId>,
        next: u64,
    },
    Fetch {
        encoder: FetchEncoder,
        left: Vec<Location>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Stream(StreamId),
    Fetch(RequestId),
}

/// What arrives on one stream.
#[derive(Debug)]
struct Receiving {
    group: GroupId,
    /// The object begun last, how much of it arrived, and its length.
    object: Option<(Location, usize, u64)>,
}

impl App {
    pub(crate) fn new(peer: Peer, is_checking: bool) -> Self {
        Self {
            peer,
            outbox: Outbox::new(1 << 20),
            is_checking,
            requests: Vec::new(),
            unanswered: Vec::new(),
            updates: Vec::new(),
            over: BTreeSet::new(),
            aliases: BTreeMap::new(),
            feeds: Vec::new(),
            receiving: BTreeMap::new(),
            closed: false,
        }
    }

    /// Takes the session's next event; false: there is none.
    ///
    /// # Panics
    /// If it makes no sense after those before it.
    pub(crate) fn hear(&mut self) -> bool {
        let Some(event) = self.session().poll_event() else {
            return false;
        };
        assert!(!self.closed, "{event:?} after the end");
        match event {
            Event::Request { id, request } => {
                self.know(id);
                if self.unanswered.len() < MEMORY {
                    self.unanswered.push((id, request));
                }
            }
            Event::Update { id, update, .. } => {
                if self.updates.len() < MEMORY {
                    self.updates.push((id, update));
                }
            }
            Event::Cancelled { id, .. } | Event::Done { id, .. } => self.end(id),
            Event::SubgroupOpened { stream, header, .. } => {
                let receiving = Receiving {
                    group: header.group,
                    object: None,
                };
                let before = self.receiving.insert(Place::Stream(stream), receiving);
                assert!(before.is_none(), "{stream} begins twice");
            }
            Event::Object { stream, object } => {
                self.object_begins(stream, &object);
            }
            Event::Payload { stream, bytes } => self.payload(Place::Stream(stream), &bytes),
            Event::SubgroupEnded { stream, end } => self.stream_ended(Place::Stream(stream), end),
            Event::Datagram { object, .. } => self.check_datagram(&object),
            Event::Fetched { id, item } => self.fetched(id, item),
            Event::StreamStopped { stream, .. }
            | Event::StreamExpired { stream }
            | Event::StreamDelivered { stream } => {
                self.outbox.remove(stream);
                self.feeds.retain(|feed| feed.stream != stream);
            }
            Event::Closed(_) => self.closed = true,
            Event::MalformedTrack { rule, .. } => {
                assert!(!self.is_checking, "who publishes that? {rule}");
            }
            Event::Established { .. }
            | Event::Response { .. }
            | Event::UpdateResponse { .. }
            | Event::Settled { .. }
            | Event::Namespace { .. }
            | Event::NamespaceDone { .. }
            | Event::PublishBlocked { .. }
            | Event::GoAway { .. }
            | Event::CanRequest
            | Event::CanOpenStream => {}
        }
        true
    }

    pub(crate) const fn session(&mut self) -> &mut Session {
        self.peer.session()
    }

    /// Whether the session told that it is over.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    fn know(&mut self, id: RequestId) {
        self.requests.push(id);
    }

    fn end(&mut self, id: RequestId) {
        assert!(self.over.insert(id), "the end of {id:?} is told twice");
        self.feeds.retain(|feed| feed.request != id);
        self.unanswered.retain(|(request, _)| *request != id);
        self.updates.retain(|(request, _)| *request != id);
    }

    // What arrives.

    fn object_begins(&mut self, stream: StreamId, object: &ObjectHeader) {
        let receiving = self.receiving.get_mut(&Place::Stream(stream));
        let Some(receiving) = receiving else {
            unreachable!("an object on {stream}, which did not begin")
        };
        assert_complete(receiving);
        let at = Location {
            group: receiving.group,
            object: object.id,
        };
        receiving.object = Some((at, 0, object.payload_length));
        if self.is_checking {
            let expected = content::header(at, object.properties.integers());
            assert_eq!(object.payload_length, expected.payload_length, "{at}");
            assert_eq!(object.status, expected.status, "{at}");
            let is_marker = at.object.0 >= OBJECTS;
            assert!(is_marker || content::has_property(at, &object.properties));
        }
    }

    fn payload(&mut self, place: Place, bytes: &[u8]) {
        let receiving = self.receiving.get_mut(&place);
        let Some((at, arrived, length)) = receiving.and_then(|receiving| receiving.object.as_mut())
        else {
            unreachable!("payload of nothing: {place:?}")
        };
        if self.is_checking {
            let payload = content::payload(*at);
            let expected = payload
                .get(*arrived..)
                .and_then(|rest| rest.get(..bytes.len()));
            assert_eq!(expected, Some(bytes), "{at} from {arrived}");
        }
        *arrived += bytes.len();
        assert!(!bytes.is_empty() && u64::try_from(*arrived).is_ok_and(|all| all <= *length));
    }

    fn stream_ended(&mut self, place: Place, end: StreamEnd) {
        let receiving = self.receiving.remove(&place);
        let Some(receiving) = receiving else {
            // A FETCH without objects.
            assert!(
                matches!(place, Place::Fetch(_)),
                "{place:?} ends and never began"
            );
            return;
        };
        if end == StreamEnd::Fin {
            assert_complete(&receiving);
        }
    }

    fn check_datagram(&self, object: &DatagramObject) {
        if self.is_checking {
            assert_eq!(object.payload, content::payload(object.location));
            let is_marker = object.location.object.0 >= OBJECTS;
            assert!(is_marker || content::has_property(object.location, &object.properties));
        }
    }

    fn fetched(&mut self, id: RequestId, item: FetchItem) {
        let place = Place::Fetch(id);
        match item {
            FetchItem::Object {
                location,
                payload_length,
                properties,
                ..
            } => {
                if self.is_checking {
                    let length = content::payload(location).len();
                    assert_eq!(u64::try_from(length), Ok(payload_length), "{location}");
                    assert!(content::has_property(location, &properties), "{location}");
                }
                let receiving = Receiving {
                    group: location.group,
                    object: Some((location, 0, payload_length)),
                };
                if let Some(before) = self.receiving.insert(place, receiving) {
                    assert_complete(&before);
                }
            }
            FetchItem::Payload(bytes) => self.payload(place, &bytes),
            FetchItem::NonExistent(at) => {
                let is_published = at.group.0 < GROUPS && at.object.0 < OBJECTS;
                assert!(!self.is_checking || !is_published, "{at} exists");
            }
            FetchItem::Unknown(_) => {}
            FetchItem::End(end) => self.stream_ended(place, end),
        }
    }

    // What the application does.

    /// One thing.
    pub(crate) fn act(&mut self, now: Time, choices: &mut Choices<'_>) {
        match choices.below(24) {
            0..4 => self.ask(now, choices),
            4..8 => self.answer(now, choices),
            8 => {
                let id = self.some_request(choices);
                let _unfit = self.session().update(now, id, some_update(choices));
            }
            9 => {
                if let Some((id, update)) = self.updates.pop() {
                    let response = if choices.chance(3) {
                        Err(some_refusal(choices))
                    } else {
                        Ok(RequestOk::default())
                    };
                    let _over = self.session().respond_to_update(now, id, update, response);
                }
            }
            10 => {
                let id = self.some_request(choices);
                let code = some_reset(choices);
                if self.session().cancel(now, id, code).is_ok() {
                    self.feeds.retain(|feed| feed.request != id);
                    self.unanswered.retain(|(request, _)| *request != id);
                }
            }
            11 => {
                let id = self.some_request(choices);
                let code = choices.one(DoneCode::ALL).unwrap_or(DoneCode::TrackEnded);
                let _unfit = self.session().done(now, id, code, "over");
            }
            12 | 13 => self.open(now, choices),
            14..17 => self.publish(now, choices, 1),
            17 => self.publish(now, choices, 8),
            18 => self.close_feed(now, choices),
            19 => self.send_datagram(now, choices),
            20 => self.tell_names(now, choices),
            21 => self.hold_back(now, choices),
            22 => self.go_away(now, choices),
            _ => {
                let feed = self.feeds.get(choices.below(self.feeds.len()));
                if let Some(stream) = feed.map(|feed| feed.stream) {
                    let session = self.session();
                    session.subgroup_complete(now, stream);
                    let _over = session.set_publisher_priority(stream, choices.byte());
                }
            }
        }
    }

    fn some_request(&self, choices: &mut Choices<'_>) -> RequestId {
        let at = choices.below(self.requests.len());
        self.requests.get(at).copied().unwrap_or(RequestId(0))
    }

    fn ask(&mut self, now: Time, choices: &mut Choices<'_>) {
        let request_id = RequestId(0);
        let request = match choices.below(10) {
            0..3 => Request::Subscribe(Subscribe {
                request_id,
                track: content::track(choices),
                parameters: some_parameters(choices),
            }),
            3 => Request::Publish(Publish {
                request_id,
                track: content::track(choices),
                track_alias: TrackAlias(u64::from(choices.byte() & 7)),
                parameters: some_parameters(choices),
                properties: Properties::default(),
            }),
            4 | 5 => Request::Fetch(Fetch {
                request_id,
                range: self.some_range(choices),
                parameters: some_parameters(choices),
            }),
            6 => Request::TrackStatus(TrackStatus {
                request_id,
                track: content::track(choices),
                parameters: Parameters::default(),
            }),
            7 => Request::PublishNamespace(PublishNamespace {
                request_id,
                namespace: content::namespace(choices),
                parameters: Parameters::default(),
            }),
            8 => Request::SubscribeNamespace(SubscribeNamespace {
                request_id,
                prefix: content::namespace(choices),
                interest: choices
                    .one(&[Interest::Namespaces, Interest::Tracks, Interest::Both])
                    .unwrap_or_default(),
                parameters: some_parameters(choices),
            }),
            _ => Request::SubscribeTracks(SubscribeTracks {
                request_id,
                prefix: content::namespace(choices),
                parameters: some_parameters(choices),
            }),
        };
        let alias = match &request {
            Request::Publish(publish) => Some(publish.track_alias),
            Request::Subscribe(_)
            | Request::Fetch(_)
            | Request::TrackStatus(_)
            | Request::PublishNamespace(_)
            | Request::SubscribeNamespace(_)
            | Request::SubscribeTracks(_) => None,
        };
        if let Ok(id) = self.session().request(now, request) {
            self.know(id);
            if let Some(alias) = alias {
                self.aliases.insert(id, alias);
            }
        }
    }

    fn some_range(&self, choices: &mut Choices<'_>) -> FetchRange {
        let joining_start = u64::from(choices.byte() % 6);
        let joining_request_id = self.some_request(choices);
        match choices.below(3) {
            0 => FetchRange::Standalone {
                track: content::track(choices),
                start: Location::new(joining_start, u64::from(choices.byte() % 9)),
                end: Location::new(
                    joining_start + u64::from(choices.byte() % 4),
                    u64::from(choices.byte() % 10),
                ),
            },
            1 => FetchRange::RelativeJoining {
                joining_request_id,
                joining_start,
            },
            _ => FetchRange::AbsoluteJoining {
                joining_request_id,
                joining_start,
            },
        }
    }

    fn answer(&mut self, now: Time, choices: &mut Choices<'_>) {
        let at = choices.below(self.unanswered.len());
        if at >= self.unanswered.len() {
            return;
        }
        let (id, request) = self.unanswered.swap_remove(at);
        let parameters = Parameters {
            largest_object: choices.chance(2).then(|| {
                Location::new(
                    u64::from(choices.byte()) % GROUPS,
                    u64::from(choices.byte()) % OBJECTS,
                )
            }),
            ..Parameters::default()
        };
        let alias = TrackAlias(u64::from(choices.byte() & 7));
        let response = if choices.chance(4) {
            Response::Error(some_refusal(choices))
        } else {
            match &request {
                Request::Subscribe(_) => Response::SubscribeOk(SubscribeOk {
                    request_id: None,
                    track_alias: alias,
                    parameters,
                    properties: Properties::default(),
                }),
                Request::Fetch(fetch) => Response::FetchOk(FetchOk {
                    request_id: None,
                    end_of_track: false,
                    end: end_of(&fetch.range),
                    parameters: Parameters::default(),
                    properties: Properties::default(),
                }),
                Request::TrackStatus(_) => Response::Ok(RequestOk {
                    parameters,
                    ..RequestOk::default()
                }),
                Request::Publish(_)
                | Request::PublishNamespace(_)
                | Request::SubscribeNamespace(_)
                | Request::SubscribeTracks(_) => Response::Ok(RequestOk::default()),
            }
        };
        let is_fetch = matches!(request, Request::Fetch(_));
        match self.session().respond(now, id, response.clone()) {
            Ok(()) => {
                if let Response::SubscribeOk(_) = response {
                    self.aliases.insert(id, alias);
                }
                if is_fetch && matches!(response, Response::FetchOk(_)) {
                    self.unanswered.push((id, request));
                    self.open_fetch(now, id);
                }
            }
            Err(_) => self.unanswered.push((id, request)),
        }
    }

    /// Opens the stream of a FETCH that is the last in the list, and takes it from there.
    fn open_fetch(&mut self, now: Time, id: RequestId) {
        let Some((_, Request::Fetch(fetch))) = self.unanswered.pop() else {
            return;
        };
        let Some(profile) = self.session().profile() else {
            return;
        };
        let order = fetch.parameters.group_order.unwrap_or_default();
        let mut bytes = BytesMut::new();
        let encoder = FetchEncoder::new(profile, id, order, &mut bytes);
        let (Ok(encoder), Ok(stream)) = (encoder, self.session().open_fetch(now, id)) else {
            return;
        };
        self.send(stream, bytes.freeze());
        self.feeds.push(Feed {
            request: id,
            stream,
            content: Content::Fetch {
                encoder,
                left: locations(&fetch.range, order),
            },
        });
    }

    /// Opens a stream for a subgroup.
    fn open(&mut self, now: Time, choices: &mut Choices<'_>) {
        let request = self.some_request(choices);
        let group = GroupId(u64::from(choices.byte()) % GROUPS);
        let next = choices.below(4).min(3);
        let next = u64::try_from(next).unwrap_or(0);
        let (Some(alias), Some(profile)) = (
            self.aliases.get(&request).copied(),
            self.session().profile(),
        ) else {
            return;
        };
        if self.feeds.len() >= MEMORY {
            return;
        }
        let header = SubgroupHeader {
            group,
            subgroup: content::subgroup(next),
            priority: Some(PRIORITY),
            end_of_group: false,
            // Who does not know says that it is not.
            first_object: next < 2 && !choices.chance(2),
        };
        let mut bytes = BytesMut::new();
        if encode_subgroup_header(profile, alias, &header, true, &mut bytes).is_err() {
            return;
        }
        let stream = self
            .session()
            .open_subgroup(now, request, group, header.subgroup, PRIORITY);
        if let Ok(stream) = stream {
            self.send(stream, bytes.freeze());
            self.feeds.push(Feed {
                request,
                stream,
                content: Content::Subgroup {
                    group,
                    previous: None,
                    next,
                },
            });
        }
    }

    fn send(&mut self, stream: StreamId, bytes: Bytes) {
        // Beyond the room of the outbox a stream is cut short.
        if self.outbox.push(stream, bytes).is_err() {
            self.session()
                .reset_stream(Time::ZERO, stream, ResetCode::InternalError);
            self.outbox.remove(stream);
        }
        self.session().stream_ready(stream);
    }

    /// Further objects on a stream.
    fn publish(&mut self, now: Time, choices: &mut Choices<'_>, count: usize) {
        let at = choices.below(self.feeds.len());
        let cut = choices.chance(8);
        for _ in 0..count {
            let Some(profile) = self.session().profile() else {
                return;
            };
            let Some(feed) = self.feeds.get_mut(at) else {
                return;
            };
            let stream = feed.stream;
            let Some((header, payload)) = feed.next(profile) else {
                self.finish(at);
                return;
            };
            self.send(stream, header);
            if cut && !payload.is_empty() {
                // The rest never comes.
                self.send(stream, payload.slice(..payload.len() / 2));
                self.session()
                    .reset_stream(now, stream, ResetCode::Cancelled);
                self.outbox.remove(stream);
                self.feeds.remove(at);
                return;
            }
            self.send(stream, payload);
        }
    }

    fn finish(&mut self, at: usize) {
        let feed = self.feeds.swap_remove(at);
        self.outbox.finish(feed.stream);
        self.session().stream_ready(feed.stream);
    }

    fn close_feed(&mut self, now: Time, choices: &mut Choices<'_>) {
        let at = choices.below(self.feeds.len());
        let Some(feed) = self.feeds.get(at) else {
            return;
        };
        let stream = feed.stream;
        if feed.is_through() {
            self.finish(at);
            return;
        }
        // An end before the end would say that the rest does not exist.
        let code = some_reset(choices);
        self.session().reset_stream(now, stream, code);
        self.outbox.remove(stream);
        self.feeds.swap_remove(at);
    }

    fn send_datagram(&mut self, now: Time, choices: &mut Choices<'_>) {
        let request = self.some_request(choices);
        let (Some(alias), Some(profile)) = (
            self.aliases.get(&request).copied(),
            self.session().profile(),
        ) else {
            return;
        };
        let location = Location::new(
            GROUPS + u64::from(choices.byte() & 3),
            u64::from(choices.byte()) % (OBJECTS - 2),
        );
        let object = DatagramObject {
            location,
            priority: Some(PRIORITY),
            properties: content::properties(location.object, profile.integers),
            status: oxymoq_core::wire::object::ObjectStatus::Normal,
            end_of_group: false,
            payload: content::payload(location),
        };
        if let Ok(bytes) = encode_datagram(profile, alias, &object) {
            let _over = self
                .session()
                .send_datagram(now, request, PRIORITY, location, bytes);
        }
    }

    fn tell_names(&mut self, now: Time, choices: &mut Choices<'_>) {
        let id = self.some_request(choices);
        let suffix = content::namespace(choices);
        let _unfit = match choices.below(3) {
            0 => self.session().namespace(now, id, &suffix),
            1 => self.session().namespace_done(now, id, &suffix),
            _ => {
                let name = content::track(choices).name;
                self.session().publish_blocked(now, id, &suffix, &name)
            }
        };
    }

    /// Reads no more for a while, or not at all.
    fn hold_back(&mut self, now: Time, choices: &mut Choices<'_>) {
        let places: Vec<Place> = self.receiving.keys().copied().collect();
        let at = choices.below(places.len());
        let how = choices.below(3);
        match (places.get(at), how) {
            (Some(Place::Stream(stream)), 0) => self.session().pause_stream(*stream),
            (Some(Place::Stream(stream)), 1) => self.session().resume_stream(*stream),
            (Some(Place::Stream(stream)), _) => {
                let code = some_reset(choices);
                self.session().stop_stream(now, *stream, code);
            }
            (Some(Place::Fetch(id)), 0) => self.session().pause_fetch(*id),
            (Some(Place::Fetch(id)), _) => self.session().resume_fetch(*id),
            (None, _) => {}
        }
    }

    fn go_away(&mut self, now: Time, choices: &mut Choices<'_>) {
        if !choices.chance(4) {
            return;
        }
        let id = choices.chance(2).then(|| self.some_request(choices));
        let goaway = GoAway {
            timeout: Millis(u64::from(choices.byte())),
            ..GoAway::default()
        };
        let _unfit = self.session().go_away(now, id, goaway);
    }

    /// Ends every request that is still there.
    pub(crate) fn cancel_all(&mut self, now: Time) {
        for id in self.requests.clone() {
            let _over = self.session().cancel(now, id, ResetCode::Cancelled);
        }
    }
}

impl Feed {
    const fn is_through(&self) -> bool {
        match &self.content {
            Content::Subgroup { next, .. } => *next > OBJECTS,
            Content::Fetch { left, .. } => left.is_empty(),
        }
    }

    /// What comes next, in front of the payload and the payload; `None`: nothing.
    fn next(&mut self, profile: &Profile) -> Option<(Bytes, Bytes)> {
        let mut bytes = BytesMut::new();
        match &mut self.content {
            Content::Subgroup {
                group,
                previous,
                next,
            } => {
                let at = Location {
                    group: *group,
                    object: ObjectId(*next),
                };
                if *next > OBJECTS {
                    return None;
                }
                let header = content::header(at, profile.integers);
                encode_object_header(profile, true, *previous, &header, &mut bytes).ok()?;
                *previous = Some(at.object);
                *next += 2;
                Some((bytes.freeze(), content::payload(at)))
            }
            Content::Fetch { encoder, left } => {
                let at = left.pop()?;
                let payload = content::payload(at);
                let entry = FetchEntry::Object(FetchObject {
                    location: at,
                    subgroup: Some(content::subgroup(at.object.0)),
                    priority: PRIORITY,
                    properties: content::properties(at.object, profile.integers),
                    payload_length: u64::try_from(payload.len()).unwrap_or(0),
                });
                encoder.entry(&entry, &mut bytes).ok()?;
                Some((bytes.freeze(), payload))
            }
        }
    }
}

fn assert_complete(receiving: &Receiving) {
    if let Some((at, arrived, length)) = receiving.object {
        assert_eq!(u64::try_from(arrived), Ok(length), "{at} is cut short");
    }
}

const fn end_of(range: &FetchRange) -> Location {
    match range {
        FetchRange::Standalone { end, .. } => *end,
        // The session made them absolute.
        FetchRange::RelativeJoining { .. } | FetchRange::AbsoluteJoining { .. } => {
            Location::new(0, 0)
        }
    }
}

/// What of a range is published, the last to be sent first.
fn locations(range: &FetchRange, order: GroupOrder) -> Vec<Location> {
    let FetchRange::Standalone { start, end, .. } = range else {
        return Vec::new();
    };
    let mut groups: Vec<u64> = (0..GROUPS).collect();
    if order == GroupOrder::Ascending {
        groups.reverse();
    }
    let objects = groups.into_iter().flat_map(|group| {
        (0..OBJECTS)
            .rev()
            .map(move |object| Location::new(group, object))
    });
    objects
        .filter(|at| at >= start && (end.object.0 == 0 && at.group == end.group || at < end))
        .collect()
}

fn some_refusal(choices: &mut Choices<'_>) -> Refusal {
    let code = choices
        .one(RequestCode::ALL)
        .filter(|code| *code != RequestCode::Redirect);
    let mut refusal = Refusal::new(code.unwrap_or(RequestCode::DoesNotExist), "no");
    if choices.chance(2) {
        refusal.retry = Retry::After(Millis(u64::from(choices.byte())));
    }
    refusal
}

fn some_reset(choices: &mut Choices<'_>) -> ResetCode {
    choices.one(ResetCode::ALL).unwrap_or(ResetCode::Cancelled)
}

/// What a request may carry, and now and then what it may not: the session refuses that.
pub(crate) fn some_parameters(choices: &mut Choices<'_>) -> Parameters {
    let mut parameters = Parameters::default();
    let which = choices.byte();
    if which & 1 != 0 {
        parameters.filter = some_filter(choices);
    }
    if which & 2 != 0 {
        parameters.forward = Some(choices.chance(2));
    }
    if which & 4 != 0 {
        parameters.subscriber_priority = Some(choices.byte());
    }
    if which & 8 != 0 {
        parameters.group_order = choices.one(&[GroupOrder::Ascending, GroupOrder::Descending]);
    }
    if which & 16 != 0 {
        let millis = Some(Millis(u64::from(choices.byte())));
        match choices.below(4) {
            0 => parameters.object_delivery_timeout = millis,
            1 => parameters.subgroup_delivery_timeout = millis,
            2 => parameters.rendezvous_timeout = millis,
            _ => parameters.fill_timeout = millis,
        }
    }
    if which & 32 != 0 {
        parameters.new_group_request = Some(u64::from(choices.byte()));
    }
    if which & 64 != 0 {
        let alias = u64::from(choices.byte() & 1);
        let (kind, value) = (0, Bytes::from_static(b"token"));
        parameters.authorization_tokens = vec![match choices.below(4) {
            0 => Token::Delete { alias },
            1 => Token::Register { alias, kind, value },
            2 => Token::UseAlias { alias },
            _ => Token::UseValue { kind, value },
        }];
    }
    parameters
}

pub(crate) fn some_update(choices: &mut Choices<'_>) -> Parameters {
    let mut parameters = some_parameters(choices);
    if choices.chance(4) {
        parameters = Parameters {
            track_namespace_prefix: Some(content::namespace(choices)),
            ..Parameters::default()
        };
    }
    parameters
}

fn some_filter(choices: &mut Choices<'_>) -> Option<Filter> {
    let start = Location::new(u64::from(choices.byte() % 5), u64::from(choices.byte() % 8));
    let end_group = GroupId(start.group.0 + u64::from(choices.byte() % 3));
    choices.one(&[
        Filter::NextGroupStart,
        Filter::LargestObject,
        Filter::AbsoluteStart(start),
        Filter::AbsoluteRange { start, end_group },
    ])
}
