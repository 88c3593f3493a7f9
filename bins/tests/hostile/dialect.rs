//! Control messages as an attacker writes them: of either draft, but with no regard for what may be said when.

use std::collections::BTreeMap;

use bytes::Bytes;
use oxymoq_core::code::{DoneCode, RequestCode};
use oxymoq_core::draft::{ControlModel, Draft, RequestCredit};
use oxymoq_core::transport::{ConnectionId, Dir, StreamId};
use oxymoq_core::wire::Role;
use oxymoq_core::wire::frame::Framer;
use oxymoq_core::wire::id::{RequestId, TrackAlias};
use oxymoq_core::wire::message::{
    Channel, Interest, Message, Origin, Publish, PublishNamespace, RequestUpdate, Setup, Subscribe,
    SubscribeNamespace, SubscribeTracks,
};
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use oxymoq_core::wire::param::Parameters;
use oxymoq_core::wire::property::Properties;

use crate::wire::{News, Wire};

/// What draws pictures on a terminal, or ends a line in a log, if it gets there as it is.
pub(crate) const POISON: &[u8] = b"\x1b[2J\x07\r\nlog: \xff\xfe\x00\xc2\x9b31m";

/// One MoQT session of an attacker.
#[derive(Debug)]
pub(crate) struct Talk {
    pub(crate) connection: ConnectionId,
    pub(crate) draft: Draft,
    pub(crate) control: StreamId,
    next_id: u64,
    /// Request ids below this are allowed.
    credit: u64,
    streams: BTreeMap<StreamId, Framer>,
    pub(crate) answers: Answers,
}

/// What the relay said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) granted: u64,
    pub(crate) refused: BTreeMap<RequestCode, u64>,
    pub(crate) done: BTreeMap<DoneCode, u64>,
}

impl Answers {
    /// How many requests and updates were answered.
    pub(crate) fn total(&self) -> u64 {
        self.granted + self.refused.values().sum::<u64>()
    }

    pub(crate) fn refused_with(&self, code: RequestCode) -> u64 {
        self.refused.get(&code).copied().unwrap_or(0)
    }

    /// EXCESSIVE_LOAD, or what draft 16 has instead.
    pub(crate) fn overloaded(&self, draft: Draft) -> u64 {
        self.refused_with(overload(draft))
    }
}

/// EXCESSIVE_LOAD, or what draft 16 has instead.
pub(crate) const fn overload(draft: Draft) -> RequestCode {
    match draft {
        Draft::D18 => RequestCode::ExcessiveLoad,
        Draft::D16 => RequestCode::InternalError,
    }
}

impl Talk {
    /// Begins a session as a client does, with a name that is not fit for a log.
    pub(crate) fn begin(wire: &mut Wire, connection: ConnectionId, draft: Draft) -> Self {
        let setup = Setup {
            implementation: Some(Bytes::from_static(POISON)),
            max_request_id: match draft.profile().request_credit {
                RequestCredit::MaxRequestId => Some(1 << 20),
                RequestCredit::Streams => None,
            },
            ..Setup::default()
        };
        Self::begin_with(wire, connection, draft, setup)
    }

    pub(crate) fn begin_with(
        wire: &mut Wire,
        connection: ConnectionId,
        draft: Draft,
        setup: Setup,
    ) -> Self {
        let dir = match draft.profile().control {
            ControlModel::StreamPerRequest => Dir::Uni,
            ControlModel::SharedStream => Dir::Bi,
        };
        let control = wire.open(connection, dir);
        let mut talk = Self {
            connection,
            draft,
            control,
            next_id: 0,
            credit: match draft.profile().request_credit {
                RequestCredit::MaxRequestId => 0,
                RequestCredit::Streams => u64::MAX,
            },
            streams: BTreeMap::new(),
            answers: Answers::default(),
        };
        let bytes = talk.encode(Channel::Control, &Message::Setup(setup));
        wire.write(connection, control, bytes);
        if dir == Dir::Bi {
            talk.listen(control);
        }
        talk
    }

    /// The first bytes of a session.
    pub(crate) fn encode(&self, channel: Channel, message: &Message) -> Bytes {
        let origin = Origin {
            profile: self.draft.profile(),
            sender: Role::Client,
            channel,
        };
        message.encode(origin).unwrap()
    }

    fn listen(&mut self, stream: StreamId) {
        let framer = Framer::new(self.draft.profile().integers);
        self.streams.insert(stream, framer);
    }

    /// Whether the relay allows another request.
    pub(crate) const fn may_ask(&self) -> bool {
        self.next_id < self.credit
    }

    /// How many requests and updates were made.
    pub(crate) const fn asked(&self) -> u64 {
        self.next_id / 2
    }

    pub(crate) const fn take_id(&mut self) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 2;
        id
    }

    /// Makes a request, where the draft makes it.
    pub(crate) fn ask(
        &mut self,
        wire: &mut Wire,
        request: impl FnOnce(RequestId) -> Message,
    ) -> (RequestId, StreamId) {
        let id = self.take_id();
        let message = request(id);
        let has_own_stream = self.draft.profile().control == ControlModel::StreamPerRequest
            || matches!(message, Message::SubscribeNamespace(_));
        let (stream, channel) = if has_own_stream {
            let stream = wire.open(self.connection, Dir::Bi);
            self.listen(stream);
            (stream, Channel::Request)
        } else {
            (self.control, Channel::Control)
        };
        let bytes = self.encode(channel, &message);
        wire.write(self.connection, stream, bytes);
        (id, stream)
    }

    /// Withdraws a subscription.
    pub(crate) fn unsubscribe(&mut self, wire: &mut Wire, id: RequestId, stream: StreamId) {
        match self.draft.profile().control {
            ControlModel::StreamPerRequest => {
                wire.reset(self.connection, stream, 1);
                wire.stop(self.connection, stream, 1);
                self.streams.remove(&stream);
            }
            ControlModel::SharedStream => {
                let bytes = self.encode(Channel::Control, &Message::Unsubscribe(id));
                wire.write(self.connection, self.control, bytes);
            }
        }
    }

    /// Changes a request.
    pub(crate) fn update(
        &mut self,
        wire: &mut Wire,
        about: RequestId,
        stream: StreamId,
        parameters: Parameters,
    ) {
        let update = RequestUpdate {
            request_id: self.take_id(),
            existing_request_id: match self.draft.profile().control {
                ControlModel::StreamPerRequest => None,
                ControlModel::SharedStream => Some(about),
            },
            parameters,
        };
        let bytes = self.encode(Channel::Request, &Message::RequestUpdate(update));
        wire.write(self.connection, stream, bytes);
    }

    /// Counts what the relay answers.
    pub(crate) fn hear(&mut self, news: &News) {
        let News::Bytes(stream, bytes) = news else {
            return;
        };
        let Some(framer) = self.streams.get_mut(stream) else {
            return;
        };
        let channel = if *stream == self.control {
            Channel::Control
        } else {
            Channel::Request
        };
        let origin = Origin {
            profile: self.draft.profile(),
            sender: Role::Server,
            channel,
        };
        framer.push(bytes);
        while let Some(frame) = framer.next_frame() {
            let Ok(message) = Message::decode(origin, frame.number, &frame.body) else {
                continue;
            };
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "an attacker does not mind what else is said"
            )]
            match message {
                Message::SubscribeOk(_) | Message::RequestOk(_) | Message::FetchOk(_) => {
                    self.answers.granted += 1;
                }
                Message::RequestError(error) => {
                    *self.answers.refused.entry(error.code).or_default() += 1;
                }
                Message::PublishDone(done) => {
                    *self.answers.done.entry(done.code).or_default() += 1;
                }
                Message::Setup(setup) => self.credit = setup.max_request_id.unwrap_or(self.credit),
                Message::MaxRequestId(credit) => self.credit = credit,
                _ => {}
            }
        }
    }
}

/// A namespace of this field and others that are as long as names may be, and not fit for a log.
pub(crate) fn long_namespace(first: &[u8], number: u64) -> TrackNamespace {
    let mut fields = vec![
        Bytes::copy_from_slice(first),
        Bytes::copy_from_slice(&number.to_be_bytes()),
    ];
    let filler = [POISON, &[0x9b; 100]].concat();
    while fields.len() < 30 {
        fields.push(Bytes::copy_from_slice(&filler));
    }
    TrackNamespace::new(fields).unwrap()
}

/// A track under such a namespace.
pub(crate) fn long_track(first: &[u8], number: u64) -> FullTrackName {
    FullTrackName::new(
        long_namespace(first, number),
        TrackName::new(POISON).unwrap(),
    )
    .unwrap()
}

pub(crate) fn subscribe(request_id: RequestId, track: FullTrackName) -> Message {
    Message::Subscribe(Subscribe {
        request_id,
        track,
        parameters: Parameters::default(),
    })
}

pub(crate) fn publish(
    request_id: RequestId,
    track: FullTrackName,
    alias: u64,
    properties: Properties,
) -> Message {
    Message::Publish(Publish {
        request_id,
        track,
        track_alias: TrackAlias(alias),
        parameters: Parameters::default(),
        properties,
    })
}

pub(crate) fn publish_namespace(request_id: RequestId, namespace: TrackNamespace) -> Message {
    Message::PublishNamespace(PublishNamespace {
        request_id,
        namespace,
        parameters: Parameters::default(),
    })
}

pub(crate) fn subscribe_namespace(request_id: RequestId, prefix: TrackNamespace) -> Message {
    Message::SubscribeNamespace(SubscribeNamespace {
        request_id,
        prefix,
        interest: Interest::Namespaces,
        parameters: Parameters::default(),
    })
}

pub(crate) fn subscribe_tracks(request_id: RequestId, prefix: TrackNamespace) -> Message {
    Message::SubscribeTracks(SubscribeTracks {
        request_id,
        prefix,
        parameters: Parameters::default(),
    })
}
