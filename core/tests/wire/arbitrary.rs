//! Any message that a draft can express.

use bytes::Bytes;
use oxymoq_core::code::{DoneCode, RequestCode};
use oxymoq_core::draft::{Discovery, Draft, IntegerKind, Parameter, Scope, ZeroTimeout};
use oxymoq_core::wire::Role;
use oxymoq_core::wire::id::{GroupId, Location, Millis, RequestId, TrackAlias};
use oxymoq_core::wire::message::{
    Channel, Fetch, FetchOk, FetchRange, GoAway, Interest, Message, MessageType, Namespace, Origin,
    Publish, PublishBlocked, PublishDone, PublishNamespace, PublishNamespaceCancel, Redirect,
    RequestError, RequestOk, RequestUpdate, Retry, Setup, Subscribe, SubscribeNamespace,
    SubscribeOk, SubscribeTracks, TrackStatus,
};
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use oxymoq_core::wire::param::{Filter, GroupOrder, Parameters, Token};
use oxymoq_core::wire::property::{Properties, Value};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// A draft, a side and a stream.
pub(crate) fn any_origin() -> impl Strategy<Value = Origin> {
    let draft = prop_oneof![Just(Draft::D16), Just(Draft::D18)];
    let sender = prop_oneof![Just(Role::Client), Just(Role::Server)];
    let channel = prop_oneof![Just(Channel::Control), Just(Channel::Request)];
    (draft, sender, channel)
        .prop_map(|(draft, sender, channel)| super::origin(draft, sender, channel))
}

/// A message with whom it is from.
pub(crate) fn any_message() -> impl Strategy<Value = (Origin, Message)> {
    any_origin().prop_flat_map(|origin| {
        let messages = MessageType::ALL
            .into_iter()
            .filter(|kind| kind.number(origin.profile.draft).is_some())
            .filter_map(|kind| message(origin, kind));
        let messages = proptest::strategy::Union::new(messages);
        (Just(origin), messages)
    })
}

/// Integers of all lengths.
fn integer(origin: Origin) -> BoxedStrategy<u64> {
    let least_shift = match origin.profile.integers {
        IntegerKind::Quic => 2,
        IntegerKind::Vi64 => 0,
    };
    (any::<u64>(), 0_u32..64)
        .prop_map(move |(value, shift)| value >> shift.max(least_shift))
        .boxed()
}

fn some_bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=most).prop_map(Bytes::from)
}

/// Words for people, and others: text is asked of the sender only.
fn reason() -> impl Strategy<Value = Bytes> {
    some_bytes(40)
}

fn namespace(min_fields: usize) -> impl Strategy<Value = TrackNamespace> {
    vec(vec(any::<u8>(), 1..9), min_fields..5)
        .prop_map(|fields| TrackNamespace::new(fields).unwrap())
}

fn track(min_fields: usize) -> impl Strategy<Value = FullTrackName> {
    (namespace(min_fields), some_bytes(9)).prop_map(|(namespace, name)| FullTrackName {
        namespace,
        name: TrackName::new(name).unwrap(),
    })
}

fn location(origin: Origin) -> impl Strategy<Value = Location> {
    (integer(origin), integer(origin)).prop_map(|(group, object)| Location::new(group, object))
}

fn token(origin: Origin) -> impl Strategy<Value = Token> {
    (0_u8..4, integer(origin), integer(origin), some_bytes(20)).prop_map(
        |(form, alias, kind, value)| match form {
            0 => Token::Delete { alias },
            1 => Token::Register { alias, kind, value },
            2 => Token::UseAlias { alias },
            _ => Token::UseValue { kind, value },
        },
    )
}

/// Tokens that may stand in the client's set-up.
fn setup_token(origin: Origin) -> impl Strategy<Value = Token> {
    (
        any::<bool>(),
        integer(origin),
        integer(origin),
        some_bytes(20),
    )
        .prop_map(|(register, alias, kind, value)| {
            if register {
                Token::Register { alias, kind, value }
            } else {
                Token::UseValue { kind, value }
            }
        })
}

fn filter(origin: Origin) -> impl Strategy<Value = Filter> {
    (0_u8..4, location(origin), integer(origin)).prop_map(|(form, start, end)| match form {
        0 => Filter::NextGroupStart,
        1 => Filter::LargestObject,
        2 => Filter::AbsoluteStart(start),
        _ => Filter::AbsoluteRange {
            start,
            end_group: GroupId(end.max(start.group.0)),
        },
    })
}

fn parameters(origin: Origin, scope: Scope) -> impl Strategy<Value = Parameters> {
    let millis = || option::of(integer(origin).prop_map(Millis));
    let timeouts = (millis(), millis(), millis(), millis(), millis());
    let wishes = (
        option::of(any::<bool>()),
        option::of(any::<u8>()),
        option::of(filter(origin)),
        option::of(prop_oneof![
            Just(GroupOrder::Ascending),
            Just(GroupOrder::Descending)
        ]),
        option::of(integer(origin)),
    );
    let rest = (
        vec(token(origin), 0..3),
        option::of(location(origin)),
        option::of(namespace(0)),
    );
    (timeouts, wishes, rest).prop_map(move |(timeouts, wishes, rest)| {
        let mut parameters = Parameters {
            authorization_tokens: rest.0,
            object_delivery_timeout: timeouts.0,
            subgroup_delivery_timeout: timeouts.1,
            rendezvous_timeout: timeouts.2,
            expires: timeouts.3,
            largest_object: rest.1,
            fill_timeout: timeouts.4,
            forward: wishes.0,
            subscriber_priority: wishes.1,
            filter: wishes.2,
            group_order: wishes.3,
            new_group_request: wishes.4,
            track_namespace_prefix: rest.2,
        };
        keep_expressible(&mut parameters, origin, scope);
        parameters
    })
}

fn keep_expressible(parameters: &mut Parameters, origin: Origin, scope: Scope) {
    let fits = |parameter| {
        let mut rows = origin.profile.parameters.iter();
        rows.any(|row| row.parameter == parameter && row.scope.meets(scope))
    };
    macro_rules! keep {
        ($($parameter:ident $field:ident,)*) => {
            $(if !fits(Parameter::$parameter) {
                parameters.$field = Default::default();
            })*
        };
    }
    keep! {
        AuthorizationToken authorization_tokens,
        ObjectDeliveryTimeout object_delivery_timeout,
        SubgroupDeliveryTimeout subgroup_delivery_timeout,
        RendezvousTimeout rendezvous_timeout,
        Expires expires,
        LargestObject largest_object,
        FillTimeout fill_timeout,
        Forward forward,
        SubscriberPriority subscriber_priority,
        SubscriptionFilter filter,
        GroupOrder group_order,
        NewGroupRequest new_group_request,
        TrackNamespacePrefix track_namespace_prefix,
    }
    if origin.profile.zero_delivery_timeout == ZeroTimeout::Violation {
        let timeout = &mut parameters.object_delivery_timeout;
        *timeout = timeout.map(|millis| Millis(millis.0.max(1)));
    }
}

fn property(origin: Origin) -> impl Strategy<Value = (u64, Value)> {
    let known = prop_oneof![
        integer(origin).prop_map(|value| (0x02, Value::Integer(value.max(1)))),
        integer(origin).prop_map(|value| (0x04, Value::Integer(value))),
        (0_u64..256).prop_map(|value| (0x0E, Value::Integer(value))),
        (1_u64..3).prop_map(|value| (0x22, Value::Integer(value))),
        (0_u64..2).prop_map(|value| (0x30, Value::Integer(value))),
    ];
    // beyond what this crate knows, and not mandatory
    let unknown = (0x8000_u64..1 << 40, integer(origin), some_bytes(20)).prop_map(
        |(number, integer, bytes)| {
            let value = if number % 2 == 0 {
                Value::Integer(integer)
            } else {
                Value::Bytes(bytes)
            };
            (number, value)
        },
    );
    prop_oneof![known, unknown]
}

fn properties(origin: Origin) -> impl Strategy<Value = Properties> {
    let integers = origin.profile.integers;
    let list = move || vec(property(origin), 0..4);
    (list(), option::of(list())).prop_map(move |(mut list, immutable)| {
        if let Some(immutable) = immutable {
            let immutable = Properties::from_list(integers, immutable).unwrap();
            list.push((0x0B, Value::Bytes(immutable.bytes().clone())));
        }
        Properties::from_list(integers, list).unwrap()
    })
}

fn request_code(origin: Origin) -> impl Strategy<Value = RequestCode> {
    (0_u64..0x60).prop_map(move |number| RequestCode::from_wire(origin.profile.draft, number))
}

fn done_code(origin: Origin) -> impl Strategy<Value = DoneCode> {
    (0_u64..0x20).prop_map(move |number| DoneCode::from_wire(origin.profile.draft, number))
}

/// The id of a request that a response is to, where the stream does not tell.
fn response_id(origin: Origin) -> BoxedStrategy<Option<RequestId>> {
    if origin.profile.responses_carry_request_id {
        integer(origin).prop_map(|id| Some(RequestId(id))).boxed()
    } else {
        Just(None).boxed()
    }
}

fn request_id(origin: Origin) -> impl Strategy<Value = RequestId> {
    integer(origin).prop_map(RequestId)
}

fn alias(origin: Origin) -> impl Strategy<Value = TrackAlias> {
    integer(origin).prop_map(TrackAlias)
}

/// Messages of this type; `None` if it has none of its own here.
fn message(origin: Origin, kind: MessageType) -> Option<BoxedStrategy<Message>> {
    Some(match kind {
        MessageType::Setup | MessageType::ClientSetup => setup(origin),
        MessageType::ServerSetup | MessageType::PublishOk => return None,
        MessageType::Subscribe => subscribe(origin),
        MessageType::SubscribeOk => subscribe_ok(origin),
        MessageType::TrackStatus => track_status(origin),
        MessageType::Publish => publish(origin),
        MessageType::PublishDone => publish_done(origin),
        MessageType::Fetch => fetch(origin),
        MessageType::FetchOk => fetch_ok(origin),
        MessageType::RequestUpdate => request_update(origin),
        MessageType::RequestOk => request_ok(origin),
        MessageType::RequestError => request_error(origin),
        MessageType::PublishNamespace => publish_namespace(origin),
        MessageType::SubscribeNamespace => subscribe_namespace(origin),
        MessageType::SubscribeTracks => subscribe_tracks(origin),
        MessageType::Namespace => namespace(0)
            .prop_map(|suffix| Message::Namespace(Namespace { suffix }))
            .boxed(),
        MessageType::NamespaceDone => namespace(0)
            .prop_map(|suffix| Message::NamespaceDone(Namespace { suffix }))
            .boxed(),
        MessageType::PublishBlocked => publish_blocked(),
        MessageType::PublishNamespaceCancel => publish_namespace_cancel(origin),
        MessageType::GoAway => goaway(origin),
        MessageType::Unsubscribe => request_id(origin).prop_map(Message::Unsubscribe).boxed(),
        MessageType::FetchCancel => request_id(origin).prop_map(Message::FetchCancel).boxed(),
        MessageType::PublishNamespaceDone => request_id(origin)
            .prop_map(Message::PublishNamespaceDone)
            .boxed(),
        MessageType::MaxRequestId => integer(origin).prop_map(Message::MaxRequestId).boxed(),
        MessageType::RequestsBlocked => integer(origin).prop_map(Message::RequestsBlocked).boxed(),
    })
}

fn setup(origin: Origin) -> BoxedStrategy<Message> {
    let credit = match origin.profile.draft {
        Draft::D16 => option::of(integer(origin)).boxed(),
        Draft::D18 => Just(None).boxed(),
    };
    (
        option::of(some_bytes(20)),
        option::of(some_bytes(20)),
        credit,
        option::of(integer(origin)),
        vec(setup_token(origin), 0..3),
        option::of(some_bytes(20)),
    )
        .prop_map(
            |(
                path,
                authority,
                max_request_id,
                max_auth_token_cache_size,
                tokens,
                implementation,
            )| {
                Message::Setup(Setup {
                    path,
                    authority,
                    max_request_id,
                    max_auth_token_cache_size,
                    authorization_tokens: tokens,
                    implementation,
                })
            },
        )
        .boxed()
}

fn subscribe(origin: Origin) -> BoxedStrategy<Message> {
    let min_fields = origin.profile.namespace_min_fields;
    (
        request_id(origin),
        track(min_fields),
        parameters(origin, Scope::SUBSCRIBE),
    )
        .prop_map(|(request_id, track, parameters)| {
            Message::Subscribe(Subscribe {
                request_id,
                track,
                parameters,
            })
        })
        .boxed()
}

fn track_status(origin: Origin) -> BoxedStrategy<Message> {
    let min_fields = origin.profile.namespace_min_fields;
    (
        request_id(origin),
        track(min_fields),
        parameters(origin, Scope::TRACK_STATUS),
    )
        .prop_map(|(request_id, track, parameters)| {
            Message::TrackStatus(TrackStatus {
                request_id,
                track,
                parameters,
            })
        })
        .boxed()
}

fn subscribe_ok(origin: Origin) -> BoxedStrategy<Message> {
    (
        response_id(origin),
        alias(origin),
        parameters(origin, Scope::SUBSCRIBE_OK),
        properties(origin),
    )
        .prop_map(|(request_id, track_alias, parameters, properties)| {
            Message::SubscribeOk(SubscribeOk {
                request_id,
                track_alias,
                parameters,
                properties,
            })
        })
        .boxed()
}

fn publish(origin: Origin) -> BoxedStrategy<Message> {
    let min_fields = origin.profile.namespace_min_fields;
    (
        request_id(origin),
        track(min_fields),
        alias(origin),
        parameters(origin, Scope::PUBLISH),
        properties(origin),
    )
        .prop_map(|(request_id, track, track_alias, parameters, properties)| {
            Message::Publish(Publish {
                request_id,
                track,
                track_alias,
                parameters,
                properties,
            })
        })
        .boxed()
}

fn publish_done(origin: Origin) -> BoxedStrategy<Message> {
    (
        response_id(origin),
        done_code(origin),
        option::of(0_u64..1 << 40),
        reason(),
    )
        .prop_map(|(request_id, code, stream_count, reason)| {
            Message::PublishDone(PublishDone {
                request_id,
                code,
                stream_count,
                reason,
            })
        })
        .boxed()
}

fn fetch_ok(origin: Origin) -> BoxedStrategy<Message> {
    (
        response_id(origin),
        any::<bool>(),
        location(origin),
        properties(origin),
    )
        .prop_map(|(request_id, end_of_track, end, properties)| {
            Message::FetchOk(FetchOk {
                request_id,
                end_of_track,
                end,
                parameters: Parameters::default(),
                properties,
            })
        })
        .boxed()
}

fn fetch(origin: Origin) -> BoxedStrategy<Message> {
    (
        request_id(origin),
        fetch_range(origin),
        parameters(origin, Scope::FETCH),
    )
        .prop_map(|(request_id, range, parameters)| {
            Message::Fetch(Fetch {
                request_id,
                range,
                parameters,
            })
        })
        .boxed()
}

fn fetch_range(origin: Origin) -> impl Strategy<Value = FetchRange> {
    let locations = (location(origin), location(origin));
    let standalone = (track(origin.profile.namespace_min_fields), locations).prop_map(
        |(track, (first, second))| FetchRange::Standalone {
            track,
            start: first.min(second),
            // one past the last object, so never where the range starts
            end: Location::new(
                first.max(second).group.0,
                first.max(second).object.0.saturating_add(1) & ((1 << 62) - 1),
            ),
        },
    );
    let joining = (any::<bool>(), request_id(origin), integer(origin)).prop_map(
        |(relative, joining_request_id, joining_start)| {
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
        },
    );
    prop_oneof![standalone, joining]
}

fn request_update(origin: Origin) -> BoxedStrategy<Message> {
    (
        request_id(origin),
        response_id(origin),
        parameters(origin, Scope::ANY_UPDATE),
    )
        .prop_map(|(request_id, existing_request_id, parameters)| {
            Message::RequestUpdate(RequestUpdate {
                request_id,
                existing_request_id,
                parameters,
            })
        })
        .boxed()
}

fn request_error(origin: Origin) -> BoxedStrategy<Message> {
    (
        response_id(origin),
        request_code(origin),
        option::of(0_u64..1 << 40),
        reason(),
        (some_bytes(20), track(0)),
    )
        .prop_map(move |(request_id, code, retry, reason, (uri, track))| {
            let redirect = (code == RequestCode::Redirect).then(|| Redirect {
                uri: if origin.sender == Role::Server {
                    uri
                } else {
                    Bytes::new()
                },
                track,
            });
            Message::RequestError(RequestError {
                request_id,
                code,
                retry: retry.map_or(Retry::Never, |millis| Retry::After(Millis(millis))),
                reason,
                redirect,
            })
        })
        .boxed()
}

fn request_ok(origin: Origin) -> BoxedStrategy<Message> {
    let form = match origin.profile.draft {
        Draft::D16 => prop_oneof![
            (Just(true), parameters(origin, Scope::PUBLISH_OK)),
            (Just(false), parameters(origin, Scope::ANY_OK)),
        ]
        .boxed(),
        Draft::D18 => {
            let scope = Scope::ANY_OK.or(Scope::PUBLISH_OK);
            (Just(false), parameters(origin, scope)).boxed()
        }
    };
    (response_id(origin), form, properties(origin))
        .prop_map(move |(request_id, (publish_ok, parameters), properties)| {
            Message::RequestOk(RequestOk {
                request_id,
                publish_ok,
                parameters,
                properties: if origin.profile.request_ok_has_properties {
                    properties
                } else {
                    Properties::default()
                },
            })
        })
        .boxed()
}

fn publish_namespace(origin: Origin) -> BoxedStrategy<Message> {
    let min_fields = origin.profile.namespace_min_fields;
    (
        request_id(origin),
        namespace(min_fields),
        parameters(origin, Scope::PUBLISH_NAMESPACE),
    )
        .prop_map(|(request_id, namespace, parameters)| {
            Message::PublishNamespace(PublishNamespace {
                request_id,
                namespace,
                parameters,
            })
        })
        .boxed()
}

fn subscribe_namespace(origin: Origin) -> BoxedStrategy<Message> {
    (
        request_id(origin),
        namespace(0),
        interest(origin),
        parameters(origin, Scope::SUBSCRIBE_NAMESPACE),
    )
        .prop_map(|(request_id, prefix, interest, parameters)| {
            Message::SubscribeNamespace(SubscribeNamespace {
                request_id,
                prefix,
                interest,
                parameters,
            })
        })
        .boxed()
}

fn subscribe_tracks(origin: Origin) -> BoxedStrategy<Message> {
    (
        request_id(origin),
        namespace(0),
        parameters(origin, Scope::SUBSCRIBE_TRACKS),
    )
        .prop_map(|(request_id, prefix, parameters)| {
            Message::SubscribeTracks(SubscribeTracks {
                request_id,
                prefix,
                parameters,
            })
        })
        .boxed()
}

fn publish_namespace_cancel(origin: Origin) -> BoxedStrategy<Message> {
    (request_id(origin), request_code(origin), reason())
        .prop_map(|(request_id, code, reason)| {
            Message::PublishNamespaceCancel(PublishNamespaceCancel {
                request_id,
                code,
                reason,
            })
        })
        .boxed()
}

fn publish_blocked() -> BoxedStrategy<Message> {
    track(0)
        .prop_map(|track| {
            Message::PublishBlocked(PublishBlocked {
                suffix: track.namespace,
                name: track.name,
            })
        })
        .boxed()
}

fn interest(origin: Origin) -> BoxedStrategy<Interest> {
    match origin.profile.discovery {
        Discovery::Options => prop_oneof![
            Just(Interest::Tracks),
            Just(Interest::Namespaces),
            Just(Interest::Both)
        ]
        .boxed(),
        Discovery::SplitRequests => Just(Interest::Namespaces).boxed(),
    }
}

fn goaway(origin: Origin) -> BoxedStrategy<Message> {
    let uri = match origin.sender {
        Role::Server => some_bytes(40).boxed(),
        Role::Client => Just(Bytes::new()).boxed(),
    };
    let receivers_id = integer(origin).prop_map(move |id| match origin.sender {
        Role::Server => RequestId(id & !1),
        Role::Client => RequestId(id | 1),
    });
    let rest = match (origin.profile.draft, origin.channel) {
        (Draft::D16, _) => (Just(0).boxed(), Just(None).boxed()),
        (Draft::D18, Channel::Control) => (integer(origin), receivers_id.prop_map(Some).boxed()),
        (Draft::D18, Channel::Request) => (integer(origin), Just(None).boxed()),
    };
    let goaway = (uri, rest).prop_map(|(uri, (timeout, request_id))| {
        Message::GoAway(GoAway {
            uri,
            timeout: Millis(timeout),
            request_id,
        })
    });
    goaway.boxed()
}
