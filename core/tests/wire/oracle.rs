//! `moqtap-codec`, which knows nothing of this crate, reads what we write, and we read what it writes.
//!
//! It is stricter in one place: it does not read a FETCH whose range ends before it starts, which is the application's to
//! refuse here. The arbitrary messages have none.

use bytes::Bytes;
use moqtap_codec::kvp::{KeyValuePair, KvpValue};
use moqtap_codec::types::TrackNamespace as TheirNamespace;
use moqtap_codec::varint::VarInt;
use moqtap_codec::{draft16, draft18};
use oxymoq_core::code::{DoneCode, RequestCode};
use oxymoq_core::draft::{Draft, IntegerKind};
use oxymoq_core::wire::cursor::Reader;
use oxymoq_core::wire::id::{GroupId, Location, Millis, RequestId, TrackAlias};
use oxymoq_core::wire::message::{
    Fetch, FetchOk, FetchRange, GoAway, Interest, Message, Namespace, Publish, PublishBlocked,
    PublishDone, PublishNamespace, PublishNamespaceCancel, Redirect, RequestError, RequestOk,
    RequestUpdate, Retry, Setup, Subscribe, SubscribeNamespace, SubscribeOk, SubscribeTracks,
    TrackStatus,
};
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use oxymoq_core::wire::param::{Filter, GroupOrder, Parameters, Token};
use oxymoq_core::wire::property::{Properties, Value};
use proptest::prelude::*;

use super::arbitrary::any_message;
use super::{frame, vectors};

fn id(value: VarInt) -> RequestId {
    RequestId(value.into_inner())
}

fn namespace(theirs: &TheirNamespace) -> TrackNamespace {
    TrackNamespace::new(theirs.0.iter().cloned()).unwrap()
}

fn name(theirs: &[u8]) -> TrackName {
    TrackName::new(theirs.to_vec()).unwrap()
}

fn track(their_namespace: &TheirNamespace, their_name: &[u8]) -> FullTrackName {
    FullTrackName::new(namespace(their_namespace), name(their_name)).unwrap()
}

fn location(group: VarInt, object: VarInt) -> Location {
    Location::new(group.into_inner(), object.into_inner())
}

fn bytes(theirs: &[u8]) -> Bytes {
    Bytes::copy_from_slice(theirs)
}

fn retry(theirs: VarInt) -> Retry {
    match theirs.into_inner() {
        0 => Retry::Never,
        more => Retry::After(Millis(more - 1)),
    }
}

fn count(draft: Draft, theirs: VarInt) -> Option<u64> {
    Some(theirs.into_inner()).filter(|count| *count != draft.profile().stream_count_unknown)
}

fn interest(theirs: VarInt) -> Interest {
    match theirs.into_inner() {
        0 => Interest::Tracks,
        1 => Interest::Namespaces,
        2 => Interest::Both,
        other => panic!("no interest: {other}"),
    }
}

/// A value of theirs in our words.
fn value(pair: &KeyValuePair) -> (u64, Value) {
    let value = match &pair.value {
        KvpValue::Varint(value) => Value::Integer(value.into_inner()),
        KvpValue::Bytes(bytes) => Value::Bytes(Bytes::copy_from_slice(bytes)),
    };
    (pair.key.into_inner(), value)
}

fn properties(draft: Draft, theirs: &[KeyValuePair]) -> Properties {
    Properties::from_list(draft.profile().integers, theirs.iter().map(value)).unwrap()
}

fn token(draft: Draft, bytes: &[u8]) -> Token {
    let mut reader = Reader::new(bytes, draft.profile().integers);
    match reader.integer().unwrap() {
        0 => Token::Delete {
            alias: reader.integer().unwrap(),
        },
        1 => Token::Register {
            alias: reader.integer().unwrap(),
            kind: reader.integer().unwrap(),
            value: Bytes::copy_from_slice(reader.take_rest()),
        },
        2 => Token::UseAlias {
            alias: reader.integer().unwrap(),
        },
        3 => Token::UseValue {
            kind: reader.integer().unwrap(),
            value: Bytes::copy_from_slice(reader.take_rest()),
        },
        other => panic!("no token: {other}"),
    }
}

fn filter(draft: Draft, bytes: &[u8]) -> Filter {
    let mut reader = Reader::new(bytes, draft.profile().integers);
    let mut integer = || reader.integer().unwrap();
    match integer() {
        1 => Filter::NextGroupStart,
        2 => Filter::LargestObject,
        3 => Filter::AbsoluteStart(Location::new(integer(), integer())),
        4 => {
            let start = Location::new(integer(), integer());
            let end = integer();
            let end_group = match draft {
                Draft::D16 => GroupId(end),
                Draft::D18 => GroupId(start.group.0 + end),
            };
            Filter::AbsoluteRange { start, end_group }
        }
        other => panic!("no filter: {other}"),
    }
}

fn prefix(bytes: &[u8]) -> TrackNamespace {
    let mut reader = Reader::new(bytes, IntegerKind::Vi64);
    let count = reader.integer().unwrap();
    let fields = (0..count).map(|_| Bytes::copy_from_slice(reader.length_prefixed().unwrap()));
    TrackNamespace::new(fields).unwrap()
}

fn parameters(draft: Draft, theirs: &[KeyValuePair]) -> Parameters {
    let mut ours = Parameters::default();
    for pair in theirs {
        match value(pair) {
            (0x02, Value::Integer(value)) => ours.object_delivery_timeout = Some(Millis(value)),
            (0x03, Value::Bytes(value)) => ours.authorization_tokens.push(token(draft, &value)),
            (0x04, Value::Integer(value)) => ours.rendezvous_timeout = Some(Millis(value)),
            (0x06, Value::Integer(value)) => ours.subgroup_delivery_timeout = Some(Millis(value)),
            (0x08, Value::Integer(value)) => ours.expires = Some(Millis(value)),
            (0x09, Value::Bytes(value)) => {
                let mut reader = Reader::new(&value, draft.profile().integers);
                let group = reader.integer().unwrap();
                let object = reader.integer().unwrap();
                ours.largest_object = Some(Location::new(group, object));
            }
            (0x0A, Value::Integer(value)) => ours.fill_timeout = Some(Millis(value)),
            (0x10, Value::Integer(value)) => ours.forward = Some(value == 1),
            (0x20, Value::Integer(value)) => ours.subscriber_priority = value.try_into().ok(),
            (0x21, Value::Bytes(value)) => ours.filter = Some(filter(draft, &value)),
            (0x22, Value::Integer(1)) => ours.group_order = Some(GroupOrder::Ascending),
            (0x22, Value::Integer(2)) => ours.group_order = Some(GroupOrder::Descending),
            (0x32, Value::Integer(value)) => ours.new_group_request = Some(value),
            (0x34, Value::Bytes(value)) => ours.track_namespace_prefix = Some(prefix(&value)),
            other => panic!("no parameter: {other:?}"),
        }
    }
    ours
}

fn setup(draft: Draft, theirs: &[KeyValuePair]) -> Setup {
    let mut ours = Setup::default();
    for pair in theirs {
        match value(pair) {
            (0x01, Value::Bytes(value)) => ours.path = Some(value),
            (0x02, Value::Integer(value)) if draft == Draft::D16 => {
                ours.max_request_id = Some(value);
            }
            (0x03, Value::Bytes(value)) => ours.authorization_tokens.push(token(draft, &value)),
            (0x04, Value::Integer(value)) => ours.max_auth_token_cache_size = Some(value),
            (0x05, Value::Bytes(value)) => ours.authority = Some(value),
            (0x07, Value::Bytes(value)) => ours.implementation = Some(value),
            _ => {}
        }
    }
    ours
}

/// What draft 18's reader made of a message, in our words.
#[expect(clippy::too_many_lines, reason = "one arm for each message")]
fn from_18(theirs: &draft18::message::ControlMessage) -> Message {
    use draft18::message::{ControlMessage as Theirs, FetchPayload, FetchType};
    let parameters = |theirs: &[KeyValuePair]| parameters(Draft::D18, theirs);
    let properties = |theirs: &[KeyValuePair]| properties(Draft::D18, theirs);
    match theirs {
        Theirs::Setup(m) => Message::Setup(setup(Draft::D18, &m.options)),
        Theirs::GoAway(m) => Message::GoAway(GoAway {
            uri: bytes(&m.new_session_uri),
            timeout: Millis(m.timeout.into_inner()),
            request_id: m.request_id.map(id),
        }),
        Theirs::RequestOk(m) => Message::RequestOk(RequestOk {
            request_id: None,
            publish_ok: false,
            parameters: parameters(&m.parameters),
            properties: properties(&m.track_properties),
        }),
        Theirs::RequestError(m) => Message::RequestError(RequestError {
            request_id: None,
            code: RequestCode::from_wire(Draft::D18, m.error_code.into_inner()),
            retry: retry(m.retry_interval),
            reason: bytes(&m.reason_phrase),
            redirect: m.redirect.as_ref().map(|redirect| Redirect {
                uri: bytes(&redirect.connect_uri),
                track: track(&redirect.track_namespace, &redirect.track_name),
            }),
        }),
        Theirs::Subscribe(m) => Message::Subscribe(Subscribe {
            request_id: id(m.request_id),
            track: track(&m.track_namespace, &m.track_name),
            parameters: parameters(&m.parameters),
        }),
        Theirs::SubscribeOk(m) => Message::SubscribeOk(SubscribeOk {
            request_id: None,
            track_alias: TrackAlias(m.track_alias.into_inner()),
            parameters: parameters(&m.parameters),
            properties: properties(&m.track_properties),
        }),
        Theirs::RequestUpdate(m) => Message::RequestUpdate(RequestUpdate {
            request_id: id(m.request_id),
            existing_request_id: None,
            parameters: parameters(&m.parameters),
        }),
        Theirs::Publish(m) => Message::Publish(Publish {
            request_id: id(m.request_id),
            track: track(&m.track_namespace, &m.track_name),
            track_alias: TrackAlias(m.track_alias.into_inner()),
            parameters: parameters(&m.parameters),
            properties: properties(&m.track_properties),
        }),
        Theirs::PublishDone(m) => Message::PublishDone(PublishDone {
            request_id: None,
            code: DoneCode::from_wire(Draft::D18, m.status_code.into_inner()),
            stream_count: count(Draft::D18, m.stream_count),
            reason: bytes(&m.reason_phrase),
        }),
        Theirs::PublishNamespace(m) => Message::PublishNamespace(PublishNamespace {
            request_id: id(m.request_id),
            namespace: namespace(&m.track_namespace),
            parameters: parameters(&m.parameters),
        }),
        Theirs::Namespace(m) => Message::Namespace(Namespace {
            suffix: namespace(&m.namespace_suffix),
        }),
        Theirs::NamespaceDone(m) => Message::NamespaceDone(Namespace {
            suffix: namespace(&m.namespace_suffix),
        }),
        Theirs::SubscribeNamespace(m) => Message::SubscribeNamespace(SubscribeNamespace {
            request_id: id(m.request_id),
            prefix: namespace(&m.namespace_prefix),
            interest: Interest::Namespaces,
            parameters: parameters(&m.parameters),
        }),
        Theirs::SubscribeTracks(m) => Message::SubscribeTracks(SubscribeTracks {
            request_id: id(m.request_id),
            prefix: namespace(&m.namespace_prefix),
            parameters: parameters(&m.parameters),
        }),
        Theirs::TrackStatus(m) => Message::TrackStatus(TrackStatus {
            request_id: id(m.request_id),
            track: track(&m.track_namespace, &m.track_name),
            parameters: parameters(&m.parameters),
        }),
        Theirs::Fetch(m) => Message::Fetch(Fetch {
            request_id: id(m.request_id),
            range: match (&m.fetch_payload, m.fetch_type) {
                (
                    FetchPayload::Standalone {
                        track_namespace,
                        track_name,
                        start_group,
                        start_object,
                        end_group,
                        end_object,
                    },
                    FetchType::Standalone,
                ) => FetchRange::Standalone {
                    track: track(track_namespace, track_name),
                    start: location(*start_group, *start_object),
                    end: location(*end_group, *end_object),
                },
                (
                    FetchPayload::Joining {
                        joining_request_id,
                        joining_start,
                    },
                    kind,
                ) => joining(
                    kind == FetchType::RelativeJoining,
                    *joining_request_id,
                    *joining_start,
                ),
                other => panic!("no range: {other:?}"),
            },
            parameters: parameters(&m.parameters),
        }),
        Theirs::FetchOk(m) => Message::FetchOk(FetchOk {
            request_id: None,
            end_of_track: m.end_of_track == 1,
            end: location(m.end_group, m.end_object),
            parameters: parameters(&m.parameters),
            properties: properties(&m.track_properties),
        }),
        Theirs::PublishBlocked(m) => Message::PublishBlocked(PublishBlocked {
            suffix: namespace(&m.namespace_suffix),
            name: name(&m.track_name),
        }),
    }
}

fn joining(relative: bool, request: VarInt, start: VarInt) -> FetchRange {
    let joining_request_id = id(request);
    let joining_start = start.into_inner();
    if relative {
        FetchRange::RelativeJoining {
            joining_request_id,
            joining_start,
        }
    } else {
        FetchRange::AbsoluteJoining {
            joining_request_id,
            joining_start,
        }
    }
}

/// What draft 16's reader made of a message, in our words.
#[expect(clippy::too_many_lines, reason = "one arm for each message")]
fn from_16(theirs: &draft16::message::ControlMessage) -> Message {
    use draft16::message::{ControlMessage as Theirs, FetchPayload, FetchType};
    let parameters = |theirs: &[KeyValuePair]| parameters(Draft::D16, theirs);
    let properties = |theirs: &[KeyValuePair]| properties(Draft::D16, theirs);
    match theirs {
        Theirs::ClientSetup(m) => Message::Setup(setup(Draft::D16, &m.parameters)),
        Theirs::ServerSetup(m) => Message::Setup(setup(Draft::D16, &m.parameters)),
        Theirs::GoAway(m) => Message::GoAway(GoAway {
            uri: bytes(&m.new_session_uri),
            ..GoAway::default()
        }),
        Theirs::MaxRequestId(m) => Message::MaxRequestId(m.request_id.into_inner()),
        Theirs::RequestsBlocked(m) => Message::RequestsBlocked(m.maximum_request_id.into_inner()),
        Theirs::RequestOk(m) => Message::RequestOk(RequestOk {
            request_id: Some(id(m.request_id)),
            publish_ok: false,
            parameters: parameters(&m.parameters),
            properties: Properties::default(),
        }),
        Theirs::PublishOk(m) => Message::RequestOk(RequestOk {
            request_id: Some(id(m.request_id)),
            publish_ok: true,
            parameters: parameters(&m.parameters),
            properties: Properties::default(),
        }),
        Theirs::RequestError(m) => Message::RequestError(RequestError {
            request_id: Some(id(m.request_id)),
            code: RequestCode::from_wire(Draft::D16, m.error_code.into_inner()),
            retry: retry(m.retry_interval),
            reason: bytes(&m.reason_phrase),
            redirect: None,
        }),
        Theirs::Subscribe(m) => Message::Subscribe(Subscribe {
            request_id: id(m.request_id),
            track: track(&m.track_namespace, &m.track_name),
            parameters: parameters(&m.parameters),
        }),
        Theirs::SubscribeOk(m) => Message::SubscribeOk(SubscribeOk {
            request_id: Some(id(m.request_id)),
            track_alias: TrackAlias(m.track_alias.into_inner()),
            parameters: parameters(&m.parameters),
            properties: properties(&m.track_extensions),
        }),
        Theirs::RequestUpdate(m) => Message::RequestUpdate(RequestUpdate {
            request_id: id(m.request_id),
            existing_request_id: Some(id(m.existing_request_id)),
            parameters: parameters(&m.parameters),
        }),
        Theirs::Unsubscribe(m) => Message::Unsubscribe(id(m.request_id)),
        Theirs::Publish(m) => Message::Publish(Publish {
            request_id: id(m.request_id),
            track: track(&m.track_namespace, &m.track_name),
            track_alias: TrackAlias(m.track_alias.into_inner()),
            parameters: parameters(&m.parameters),
            properties: properties(&m.track_extensions),
        }),
        Theirs::PublishDone(m) => Message::PublishDone(PublishDone {
            request_id: Some(id(m.request_id)),
            code: DoneCode::from_wire(Draft::D16, m.status_code.into_inner()),
            stream_count: count(Draft::D16, m.stream_count),
            reason: bytes(&m.reason_phrase),
        }),
        Theirs::PublishNamespace(m) => Message::PublishNamespace(PublishNamespace {
            request_id: id(m.request_id),
            namespace: namespace(&m.track_namespace),
            parameters: parameters(&m.parameters),
        }),
        Theirs::PublishNamespaceDone(m) => Message::PublishNamespaceDone(id(m.request_id)),
        Theirs::PublishNamespaceCancel(m) => {
            Message::PublishNamespaceCancel(PublishNamespaceCancel {
                request_id: id(m.request_id),
                code: RequestCode::from_wire(Draft::D16, m.error_code.into_inner()),
                reason: bytes(&m.reason_phrase),
            })
        }
        Theirs::Namespace(m) => Message::Namespace(Namespace {
            suffix: namespace(&m.namespace_suffix),
        }),
        Theirs::NamespaceDone(m) => Message::NamespaceDone(Namespace {
            suffix: namespace(&m.namespace_suffix),
        }),
        Theirs::SubscribeNamespace(m) => Message::SubscribeNamespace(SubscribeNamespace {
            request_id: id(m.request_id),
            prefix: namespace(&m.namespace_prefix),
            interest: interest(m.subscribe_options),
            parameters: parameters(&m.parameters),
        }),
        Theirs::TrackStatus(m) => Message::TrackStatus(TrackStatus {
            request_id: id(m.request_id),
            track: track(&m.track_namespace, &m.track_name),
            parameters: parameters(&m.parameters),
        }),
        Theirs::Fetch(m) => Message::Fetch(Fetch {
            request_id: id(m.request_id),
            range: match (&m.fetch_payload, m.fetch_type) {
                (
                    FetchPayload::Standalone {
                        track_namespace,
                        track_name,
                        start_group,
                        start_object,
                        end_group,
                        end_object,
                    },
                    FetchType::Standalone,
                ) => FetchRange::Standalone {
                    track: track(track_namespace, track_name),
                    start: location(*start_group, *start_object),
                    end: location(*end_group, *end_object),
                },
                (
                    FetchPayload::Joining {
                        joining_request_id,
                        joining_start,
                    },
                    kind,
                ) => joining(
                    kind == FetchType::RelativeJoining,
                    *joining_request_id,
                    *joining_start,
                ),
                other => panic!("no range: {other:?}"),
            },
            parameters: parameters(&m.parameters),
        }),
        Theirs::FetchOk(m) => Message::FetchOk(FetchOk {
            request_id: Some(id(m.request_id)),
            end_of_track: m.end_of_track == 1,
            end: location(m.end_group, m.end_object),
            parameters: parameters(&m.parameters),
            properties: properties(&m.track_extensions),
        }),
        Theirs::FetchCancel(m) => Message::FetchCancel(id(m.request_id)),
    }
}

/// What they read in these bytes, in our words, and how they write it themselves.
fn theirs(draft: Draft, bytes: &[u8]) -> Result<(Message, Vec<u8>), String> {
    let mut rest = bytes;
    let mut again = Vec::new();
    let message = match draft {
        Draft::D16 => {
            let message = draft16::message::ControlMessage::decode(&mut rest)
                .map_err(|error| error.to_string())?;
            message
                .encode(&mut again)
                .map_err(|error| error.to_string())?;
            from_16(&message)
        }
        Draft::D18 => {
            let message = draft18::message::ControlMessage::decode(&mut rest)
                .map_err(|error| error.to_string())?;
            message
                .encode(&mut again)
                .map_err(|error| error.to_string())?;
            from_18(&message)
        }
    };
    if rest.is_empty() {
        Ok((message, again))
    } else {
        Err(format!("{} bytes left", rest.len()))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn another_codec_reads_what_we_write_and_writes_what_we_read(
        (origin, message) in any_message()
    ) {
        let draft = origin.profile.draft;
        let bytes = message.encode(origin).unwrap();
        let (meaning, again) = theirs(draft, &bytes)
            .map_err(|error| TestCaseError::fail(format!("{error}: {message:?}")))?;
        prop_assert_eq!(&meaning, &message);
        let frame = frame(draft, &again);
        prop_assert_eq!(Message::decode(origin, frame.number, &frame.body), Ok(message));
    }
}

#[test]
fn another_codec_reads_the_known_messages_as_we_do() {
    // what draft 16 wants ignored, the other codec reads
    for vector in vectors::all().filter(|vector| vector.canonical) {
        let (meaning, _) = theirs(vector.origin.profile.draft, &vector.bytes).unwrap();
        assert_eq!(meaning, vector.decode());
    }
}
