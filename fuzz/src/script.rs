//! A peer that does anything: well-formed messages and data out of place, and bytes that mean nothing.

use bytes::{Bytes, BytesMut};
use oxymoq_core::code::{DoneCode, RequestCode};
use oxymoq_core::draft::Draft;
use oxymoq_core::transport::{Answer, Dir, Input, StreamId};
use oxymoq_core::wire::Role;
use oxymoq_core::wire::id::{
    GroupId, Location, Millis, ObjectId, RequestId, SubgroupId, TrackAlias,
};
use oxymoq_core::wire::message::{
    Channel, Fetch, FetchOk, FetchRange, GoAway, Interest, Message, Namespace, Origin, Publish,
    PublishBlocked, PublishDone, PublishNamespace, PublishNamespaceCancel, Redirect, RequestError,
    RequestOk, RequestUpdate, Retry, Setup, Subscribe, SubscribeNamespace, SubscribeOk,
    SubscribeTracks, TrackStatus,
};
use oxymoq_core::wire::object::{
    DatagramObject, FetchEncoder, FetchEntry, FetchObject, ObjectHeader, ObjectStatus,
    SubgroupHeader, encode_datagram, encode_object_header, encode_subgroup_header,
};
use oxymoq_core::wire::param::{GroupOrder, Parameters};
use oxymoq_core::wire::property::Properties;

use crate::app;
use crate::choices::Choices;
use crate::content;
use crate::wire::{Datagrams, EASY, End, Knobs};

/// A scripted peer on one connection.
#[derive(Debug)]
pub(crate) struct Script {
    draft: Draft,
    role: Role,
    control: Option<StreamId>,
    next_id: u64,
}

impl Script {
    /// A peer in this role that has said nothing yet.
    pub(crate) const fn new(draft: Draft, role: Role) -> Self {
        Self {
            draft,
            role,
            control: None,
            next_id: match role {
                Role::Client => 0,
                Role::Server => 1,
            },
        }
    }

    /// The peer sets the session up as it should; what the machine must be told.
    pub(crate) fn set_up(&mut self, end: &mut End) -> Vec<Input> {
        let mut told = Vec::new();
        let control = match (self.draft, self.role) {
            (Draft::D18, _) => Some(Dir::Uni),
            (Draft::D16, Role::Client) => Some(Dir::Bi),
            (Draft::D16, Role::Server) => None,
        };
        let control = match control {
            Some(dir) => {
                let (stream, input) = end.peer_opens(dir);
                told.push(input);
                stream
            }
            None => StreamId::local(0),
        };
        self.control = Some(control);
        let bytes = self.setup();
        told.extend(end.arrive(control, &bytes, None));
        told
    }

    /// What is to be said first.
    pub(crate) fn setup(&self) -> Bytes {
        let setup = Message::Setup(Setup {
            max_request_id: (self.draft == Draft::D16).then_some(1000),
            max_auth_token_cache_size: Some(100),
            ..Setup::default()
        });
        self.encode(&setup, Channel::Control)
    }

    /// A message, objects, or bytes that mean nothing.
    pub(crate) fn some_bytes(&mut self, choices: &mut Choices<'_>) -> Bytes {
        match choices.below(4) {
            0 => {
                let id = self.some_id(choices);
                let request = self.some_request(id, choices);
                self.encode(&request, Channel::Request)
            }
            1 => {
                let id = RequestId(u64::from(choices.byte() & 15));
                let reply = self.some_reply(id, choices);
                self.encode(&reply, Channel::Request)
            }
            2 => self.data(choices),
            _ => choices.bytes(),
        }
    }

    fn encode(&self, message: &Message, channel: Channel) -> Bytes {
        let origin = Origin {
            profile: self.draft.profile(),
            sender: self.role,
            channel,
        };
        message.encode(origin).unwrap_or_default()
    }

    /// The peer, or the transport, does one thing; what the machine must be told.
    pub(crate) fn act(&mut self, end: &mut End, choices: &mut Choices<'_>) -> Vec<Input> {
        match choices.below(20) {
            0..5 => self.request(end, choices),
            5..9 => self.reply(end, choices),
            9 => self.control_message(end, choices),
            10 | 11 => self.data_stream(end, choices),
            12 => {
                let bytes = if choices.chance(2) {
                    choices.bytes()
                } else {
                    self.objects(choices)
                };
                let stream = some_stream(end, choices);
                stream
                    .and_then(|stream| end.arrive(stream, &bytes, None))
                    .into_iter()
                    .collect()
            }
            13 => {
                let dir = choices.one(&[Dir::Uni, Dir::Bi]).unwrap_or(Dir::Uni);
                let bytes = choices.bytes();
                open(end, dir, &bytes).1
            }
            14 => finish(end, choices, Some(Answer::Fin)),
            15 => {
                let code = choices.number();
                finish(end, choices, Some(Answer::Reset(code)))
            }
            16 => {
                let code = choices.number();
                let stream = some_stream(end, choices);
                stream
                    .and_then(|stream| end.stop(stream, code))
                    .into_iter()
                    .collect()
            }
            17 => vec![Input::Datagram(self.datagram(choices))],
            18 => end.set(some_knobs(choices)),
            _ => end.wake(),
        }
    }

    /// A request on a stream of its own, or where requests share one.
    fn request(&mut self, end: &mut End, choices: &mut Choices<'_>) -> Vec<Input> {
        let request_id = self.some_id(choices);
        let message = self.some_request(request_id, choices);
        let has_own = self.draft == Draft::D18 || matches!(message, Message::SubscribeNamespace(_));
        let mut bytes = self.encode(&message, Channel::Request);
        if choices.chance(16) {
            bytes.truncate(bytes.len() / 2);
        }
        match self.control {
            Some(control) if !has_own => end.arrive(control, &bytes, None).into_iter().collect(),
            _ => open(end, Dir::Bi, &bytes).1,
        }
    }

    fn some_id(&mut self, choices: &mut Choices<'_>) -> RequestId {
        if choices.chance(8) {
            return RequestId(choices.number());
        }
        let id = self.next_id;
        self.next_id += 2;
        RequestId(id)
    }

    fn some_request(&self, request_id: RequestId, choices: &mut Choices<'_>) -> Message {
        let parameters = app::some_parameters(choices);
        match choices.below(9) {
            0..3 => Message::Subscribe(Subscribe {
                request_id,
                track: content::track(choices),
                parameters,
            }),
            3 => Message::Publish(Publish {
                request_id,
                track: content::track(choices),
                track_alias: TrackAlias(choices.number()),
                parameters,
                properties: self.some_properties(choices),
            }),
            4 => Message::Fetch(Fetch {
                request_id,
                range: some_range(choices),
                parameters,
            }),
            5 => Message::TrackStatus(TrackStatus {
                request_id,
                track: content::track(choices),
                parameters,
            }),
            6 => Message::PublishNamespace(PublishNamespace {
                request_id,
                namespace: content::namespace(choices),
                parameters,
            }),
            7 => Message::SubscribeNamespace(SubscribeNamespace {
                request_id,
                prefix: content::namespace(choices),
                interest: choices
                    .one(&[Interest::Namespaces, Interest::Tracks, Interest::Both])
                    .unwrap_or_default(),
                parameters,
            }),
            _ => Message::SubscribeTracks(SubscribeTracks {
                request_id,
                prefix: content::namespace(choices),
                parameters,
            }),
        }
    }

    fn some_properties(&self, choices: &mut Choices<'_>) -> Properties {
        let bytes = if choices.chance(3) {
            choices.bytes()
        } else {
            Bytes::new()
        };
        Properties::from_bytes(bytes, self.draft.profile().integers)
    }

    /// A message about a request, on a stream that exists or where requests share one.
    fn reply(&mut self, end: &mut End, choices: &mut Choices<'_>) -> Vec<Input> {
        let id = RequestId(u64::from(choices.byte() & 15));
        let message = self.some_reply(id, choices);
        let stream = match self.control {
            Some(control) if self.draft == Draft::D16 && !choices.chance(4) => Some(control),
            _ => some_stream(end, choices),
        };
        let bytes = self.encode(&message, Channel::Request);
        let fin = choices.chance(8).then_some(Answer::Fin);
        stream
            .and_then(|stream| end.arrive(stream, &bytes, fin))
            .into_iter()
            .collect()
    }

    fn some_reply(&mut self, id: RequestId, choices: &mut Choices<'_>) -> Message {
        let request_id = (self.draft == Draft::D16).then_some(id);
        let parameters = Parameters {
            largest_object: choices.chance(3).then(|| choices.location()),
            expires: choices.chance(8).then(|| Millis(choices.number())),
            ..Parameters::default()
        };
        match choices.below(13) {
            0..3 => Message::SubscribeOk(SubscribeOk {
                request_id,
                track_alias: TrackAlias(choices.number()),
                parameters,
                properties: self.some_properties(choices),
            }),
            3 | 4 => Message::RequestOk(RequestOk {
                request_id,
                publish_ok: choices.chance(2),
                parameters: Parameters::default(),
                properties: Properties::default(),
            }),
            5 => Message::RequestError(some_error(request_id, choices)),
            6 => Message::FetchOk(FetchOk {
                request_id,
                end_of_track: choices.chance(4),
                end: choices.location(),
                parameters: Parameters::default(),
                properties: self.some_properties(choices),
            }),
            7 => Message::PublishDone(PublishDone {
                request_id,
                code: choices.one(DoneCode::ALL).unwrap_or(DoneCode::TrackEnded),
                stream_count: Some(choices.number()),
                reason: Bytes::new(),
            }),
            8 => Message::RequestUpdate(RequestUpdate {
                request_id: self.some_id(choices),
                existing_request_id: request_id,
                parameters: app::some_update(choices),
            }),
            9 => Message::Namespace(Namespace {
                suffix: content::namespace(choices),
            }),
            10 => Message::NamespaceDone(Namespace {
                suffix: content::namespace(choices),
            }),
            11 => Message::PublishBlocked(PublishBlocked {
                suffix: content::namespace(choices),
                name: content::track(choices).name,
            }),
            _ => Message::GoAway(GoAway {
                timeout: Millis(choices.number()),
                ..GoAway::default()
            }),
        }
    }

    /// A message that belongs to no request, or ends one, on the control stream.
    fn control_message(&self, end: &mut End, choices: &mut Choices<'_>) -> Vec<Input> {
        let id = RequestId(u64::from(choices.byte() & 15));
        let number = choices.number();
        let message = match choices.below(8) {
            0 => Message::MaxRequestId(number),
            1 => Message::RequestsBlocked(number),
            2 => Message::Unsubscribe(id),
            3 => Message::FetchCancel(id),
            4 => Message::PublishNamespaceDone(id),
            5 => Message::PublishNamespaceCancel(PublishNamespaceCancel {
                request_id: id,
                code: RequestCode::InternalError,
                reason: Bytes::new(),
            }),
            6 => Message::GoAway(GoAway {
                uri: Bytes::new(),
                timeout: Millis(if self.draft == Draft::D16 { 0 } else { number }),
                request_id: (self.draft == Draft::D18).then_some(id),
            }),
            _ => Message::Setup(Setup::default()),
        };
        let bytes = self.encode(&message, Channel::Control);
        self.control
            .and_then(|control| end.arrive(control, &bytes, None))
            .into_iter()
            .collect()
    }

    /// The beginning of a data stream, or all of it.
    fn data_stream(&self, end: &mut End, choices: &mut Choices<'_>) -> Vec<Input> {
        let bytes = self.data(choices);
        let (stream, mut told) = open(end, Dir::Uni, &bytes);
        if choices.chance(2) {
            told.extend(end.arrive(stream, &[], Some(Answer::Fin)));
        }
        told
    }

    fn data(&self, choices: &mut Choices<'_>) -> Bytes {
        let profile = self.draft.profile();
        let mut bytes = BytesMut::new();
        if choices.chance(3) {
            let order = choices
                .one(&[GroupOrder::Ascending, GroupOrder::Descending])
                .unwrap_or_default();
            let id = RequestId(u64::from(choices.byte() & 15));
            if let Ok(mut encoder) = FetchEncoder::new(profile, id, order, &mut bytes) {
                for _ in 0..choices.below(6) {
                    let (entry, payload) = self.some_entry(choices);
                    if encoder.entry(&entry, &mut bytes).is_ok() {
                        bytes.extend_from_slice(&payload);
                    }
                }
            }
        } else {
            let group = u64::from(choices.byte() % 5);
            let subgroup = u64::from(choices.byte() % 3);
            let header = SubgroupHeader {
                group: GroupId(group),
                subgroup: SubgroupId(subgroup),
                priority: choices.chance(2).then_some(100),
                end_of_group: choices.chance(4),
                first_object: choices.chance(2),
            };
            let alias = TrackAlias(choices.number());
            let _too_large = encode_subgroup_header(profile, alias, &header, true, &mut bytes);
            bytes.extend_from_slice(&self.objects(choices));
        }
        bytes.freeze()
    }

    fn some_entry(&self, choices: &mut Choices<'_>) -> (FetchEntry, Bytes) {
        let location = choices.location();
        let payload = content::payload(location);
        let entry = match choices.below(4) {
            0 => FetchEntry::NonExistent(location),
            1 => FetchEntry::Unknown(location),
            _ => FetchEntry::Object(FetchObject {
                location,
                subgroup: choices.chance(2).then(|| SubgroupId(choices.number())),
                priority: choices.byte(),
                properties: content::properties(location.object, self.draft.profile().integers),
                payload_length: u64::try_from(payload.len()).unwrap_or(0),
            }),
        };
        let is_object = matches!(entry, FetchEntry::Object(_));
        let payload = if is_object { payload } else { Bytes::new() };
        (entry, payload)
    }

    /// Objects of a subgroup.
    fn objects(&self, choices: &mut Choices<'_>) -> Bytes {
        let mut bytes = BytesMut::new();
        let mut previous = None;
        for _ in 0..choices.below(5) {
            let id = ObjectId(choices.number());
            let payload = content::payload(Location {
                group: GroupId(0),
                object: id,
            });
            let mut object = ObjectHeader {
                id,
                properties: self.some_properties(choices),
                status: ObjectStatus::Normal,
                payload_length: u64::try_from(payload.len()).unwrap_or(0),
            };
            if choices.chance(8) {
                object.status = ObjectStatus::EndOfTrack;
                object.payload_length = 0;
            }
            let profile = self.draft.profile();
            if encode_object_header(profile, true, previous, &object, &mut bytes).is_ok() {
                previous = Some(id);
                if object.payload_length > 0 {
                    bytes.extend_from_slice(&payload);
                }
            }
        }
        bytes.freeze()
    }

    pub(crate) fn datagram(&self, choices: &mut Choices<'_>) -> Bytes {
        if choices.chance(4) {
            return choices.bytes();
        }
        let location = choices.location();
        let object = DatagramObject {
            location,
            priority: choices.chance(2).then_some(100),
            properties: self.some_properties(choices),
            status: ObjectStatus::Normal,
            end_of_group: choices.chance(4),
            payload: content::payload(location),
        };
        let alias = TrackAlias(choices.number());
        encode_datagram(self.draft.profile(), alias, &object).unwrap_or_default()
    }
}

fn some_stream(end: &End, choices: &mut Choices<'_>) -> Option<StreamId> {
    let streams = end.streams();
    streams.get(choices.below(streams.len())).copied()
}

fn open(end: &mut End, dir: Dir, bytes: &[u8]) -> (StreamId, Vec<Input>) {
    let (stream, opened) = end.peer_opens(dir);
    let mut told = vec![opened];
    told.extend(end.arrive(stream, bytes, None));
    (stream, told)
}

fn finish(end: &mut End, choices: &mut Choices<'_>, how: Option<Answer>) -> Vec<Input> {
    some_stream(end, choices)
        .and_then(|stream| end.arrive(stream, &[], how))
        .into_iter()
        .collect()
}

pub(crate) fn some_knobs(choices: &mut Choices<'_>) -> Knobs {
    let which = choices.byte();
    Knobs {
        credit: if which & 1 == 0 {
            usize::MAX
        } else {
            usize::from(which >> 6)
        },
        room: match which >> 1 & 3 {
            0 | 1 => usize::MAX,
            2 => 0,
            _ => usize::from(choices.byte()),
        },
        piece: if which & 8 == 0 {
            usize::MAX
        } else {
            usize::from(choices.byte()) + 1
        },
        datagrams: match which >> 4 & 3 {
            0 | 1 => EASY.datagrams,
            2 => Datagrams::Blocked,
            _ => Datagrams::TooLarge,
        },
    }
}

fn some_range(choices: &mut Choices<'_>) -> FetchRange {
    match choices.below(3) {
        0 => FetchRange::Standalone {
            track: content::track(choices),
            start: choices.location(),
            end: choices.location(),
        },
        1 => FetchRange::RelativeJoining {
            joining_request_id: RequestId(u64::from(choices.byte() & 15)),
            joining_start: choices.number(),
        },
        _ => FetchRange::AbsoluteJoining {
            joining_request_id: RequestId(u64::from(choices.byte() & 15)),
            joining_start: choices.number(),
        },
    }
}

fn some_error(request_id: Option<RequestId>, choices: &mut Choices<'_>) -> RequestError {
    let code = choices.one(RequestCode::ALL);
    let code = code.unwrap_or(RequestCode::InternalError);
    RequestError {
        request_id,
        code,
        retry: if choices.chance(2) {
            Retry::Never
        } else {
            Retry::After(Millis(choices.number()))
        },
        reason: choices.bytes(),
        redirect: (code == RequestCode::Redirect).then(|| Redirect {
            uri: Bytes::new(),
            track: content::track(choices),
        }),
    }
}
