//! The drafts of MoQT that this crate speaks, and every way in which they differ, as data.
//!
//! This is the only module that may compare drafts. Everything else asks the [`Profile`] for the named feature, so a new
//! draft does not compile until every field of its profile and every table has been written out.

mod numbers;
mod parameters;

pub use numbers::MessageType;
pub use parameters::{Parameter, ParameterRow, Scope, Shape};

/// A draft of MoQT (`draft-ietf-moq-transport-NN`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Draft {
    /// draft-ietf-moq-transport-16
    D16,
    /// draft-ietf-moq-transport-18
    D18,
}

/// How integers of variable length are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IntegerKind {
    /// The QUIC variable-length integer (RFC 9000 § 16): up to 2^62 - 1. Drafts up to 16.
    Quic,
    /// MoQT's own integer of 1 to 9 bytes: all of `u64`. Draft 18.
    Vi64,
}

/// Which streams carry control messages and requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlModel {
    /// One bidirectional control stream opened by the client; SUBSCRIBE_NAMESPACE has a stream of its own.
    SharedStream,
    /// A unidirectional control stream from each side; every request has a bidirectional stream of its own.
    StreamPerRequest,
}

/// How the two sides introduce themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetupModel {
    /// CLIENT_SETUP is answered by SERVER_SETUP; both count their parameters.
    ClientThenServer,
    /// Each side sends SETUP when it likes; its options fill the message.
    Symmetric,
}

/// How the number of open requests is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestCredit {
    /// By MAX_REQUEST_ID, in the set-up and in messages.
    MaxRequestId,
    /// By the transport's limit of bidirectional streams.
    Streams,
}

/// In which order the peer's request ids must arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestIdOrder {
    /// Each the previous one plus two.
    Sequential,
    /// Any, but none twice.
    Unique,
}

/// What a parameter that the receiver knows does in a message that it is not defined for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Misplaced {
    /// Nothing: it is passed over.
    Ignored,
    /// It closes the session.
    Violation,
}

/// How the last group of an absolute range is written in a SUBSCRIPTION_FILTER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterEnd {
    /// As a group id.
    Absolute,
    /// As the distance from the first group.
    Delta,
}

/// How a PUBLISH is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublishOkForm {
    /// By PUBLISH_OK, a message of its own type.
    OwnType,
    /// By REQUEST_OK. PUBLISH_OK's type is understood too, since the draft still lists it.
    RequestOk,
}

/// What a GOAWAY consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GoAwayForm {
    /// A URI.
    Uri,
    /// A URI, a timeout, and on the control stream a request id. It may also be sent for a single request.
    UriTimeoutRequestId,
}

/// What a delivery timeout of zero means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ZeroTimeout {
    /// It closes the session.
    Violation,
    /// No timeout.
    NoTimeout,
}

/// How a subscriber learns of namespaces and tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Discovery {
    /// SUBSCRIBE_NAMESPACE says whether it is for namespaces, tracks, or both; both share one space of prefixes.
    Options,
    /// SUBSCRIBE_NAMESPACE is for namespaces, SUBSCRIBE_TRACKS for tracks; each has its own space of prefixes.
    SplitRequests,
}

/// From when on the time counts that may pass until an object is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectAge {
    /// From when its header was received.
    Header,
    /// From when the first byte of its payload was, or its header if it has none.
    Payload,
}

/// What the subscription that a joining FETCH names must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoiningRule {
    /// It must have the Largest Object filter; another one closes the session.
    LargestObjectFilter,
    /// It must be forwarding; otherwise the FETCH is refused with INVALID_RANGE.
    ForwardState,
}

/// How group and object ids are written on the stream of a FETCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FetchIds {
    /// As they are.
    Absolute,
    /// As distances from the object before.
    Delta,
}

/// Everything in which one draft differs from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The draft that this describes.
    pub draft: Draft,
    /// Its name in ALPN and in WebTransport's protocol negotiation.
    pub alpn: &'static str,

    // streams and set-up
    /// Integers on the wire.
    pub integers: IntegerKind,
    /// Streams of control messages.
    pub control: ControlModel,
    /// How the set-up goes.
    pub setup: SetupModel,

    // requests
    /// How the number of requests is limited.
    pub request_credit: RequestCredit,
    /// Order of the peer's request ids.
    pub request_id_order: RequestIdOrder,
    /// Whether responses, updates and PUBLISH_DONE name the request that they are about.
    pub responses_carry_request_id: bool,
    /// Whether the first message on a SUBSCRIBE_NAMESPACE's response stream must be REQUEST_OK or REQUEST_ERROR.
    pub first_response_checked: bool,
    /// Whether the end of the requester's side of a SUBSCRIBE_NAMESPACE's or SUBSCRIBE_TRACKS's stream withdraws it.
    pub fin_cancels_namespace_requests: bool,
    /// Whether a second subscription of a track in the same role is refused with DUPLICATE_SUBSCRIPTION.
    pub duplicate_subscription_refused: bool,
    /// How a PUBLISH is accepted.
    pub publish_ok: PublishOkForm,
    /// Whether REQUEST_OK ends with properties of the track.
    pub request_ok_has_properties: bool,
    /// Whether REQUEST_ERROR with code REDIRECT ends with a redirect.
    pub redirect: bool,
    /// What a GOAWAY consists of.
    pub goaway: GoAwayForm,
    /// Whether requests from a GOAWAY's request id on, or after it, must be refused with GOING_AWAY.
    pub goaway_refuses_later_requests: bool,
    /// What a joining FETCH's subscription must be like.
    pub joining: JoiningRule,
    /// What an object's delivery timeout counts from.
    pub object_age: ObjectAge,
    /// PUBLISH_DONE's stream count if the sender does not know it.
    pub stream_count_unknown: u64,

    // parameters
    /// Every message parameter, in ascending order of its number: how its value is written and where it may stand.
    pub parameters: &'static [ParameterRow],
    /// What a known parameter in the wrong message does. An unknown one closes the session in every draft here.
    pub misplaced_parameter: Misplaced,
    /// How a filter's last group is written.
    pub filter_end: FilterEnd,
    /// What a delivery timeout of zero means, as parameter and as property.
    pub zero_delivery_timeout: ZeroTimeout,

    // names and discovery
    /// The fewest fields of a track's namespace; prefixes and suffixes may always be empty.
    pub namespace_min_fields: usize,
    /// Whether namespaces that begin with a field beginning with "." are reserved.
    pub reserved_namespaces: bool,
    /// How namespaces and tracks are found.
    pub discovery: Discovery,

    // properties and data
    /// Whether there is SUBGROUP_DELIVERY_TIMEOUT beside OBJECT_DELIVERY_TIMEOUT.
    pub subgroup_delivery_timeout: bool,
    /// Whether unknown properties of a track in 0x4000..=0x7FFF forbid to process it.
    pub mandatory_properties: bool,
    /// Whether SUBGROUP_HEADER types with bit 0x40 are legal: the stream's first object is the subgroup's first.
    pub first_object_flag: bool,
    /// Whether a subgroup whose stream was stopped may be sent again after an update from forward state 0 to 1.
    pub reopens_stopped_subgroups: bool,
    /// How ids are written on a FETCH's stream.
    pub fetch_ids: FetchIds,
    /// Whether there are streams and datagrams of padding.
    pub padding: bool,
}

const D16: Profile = Profile {
    draft: Draft::D16,
    alpn: "moqt-16",
    integers: IntegerKind::Quic,
    control: ControlModel::SharedStream,
    setup: SetupModel::ClientThenServer,
    request_credit: RequestCredit::MaxRequestId,
    request_id_order: RequestIdOrder::Sequential,
    responses_carry_request_id: true,
    first_response_checked: false,
    fin_cancels_namespace_requests: true,
    duplicate_subscription_refused: true,
    publish_ok: PublishOkForm::OwnType,
    request_ok_has_properties: false,
    redirect: false,
    goaway: GoAwayForm::Uri,
    goaway_refuses_later_requests: false,
    joining: JoiningRule::LargestObjectFilter,
    object_age: ObjectAge::Header,
    stream_count_unknown: (1 << 62) - 1,
    parameters: parameters::D16,
    misplaced_parameter: Misplaced::Ignored,
    filter_end: FilterEnd::Absolute,
    zero_delivery_timeout: ZeroTimeout::Violation,
    namespace_min_fields: 1,
    reserved_namespaces: false,
    discovery: Discovery::Options,
    subgroup_delivery_timeout: false,
    mandatory_properties: false,
    first_object_flag: false,
    reopens_stopped_subgroups: false,
    fetch_ids: FetchIds::Absolute,
    padding: false,
};

const D18: Profile = Profile {
    draft: Draft::D18,
    alpn: "moqt-18",
    integers: IntegerKind::Vi64,
    control: ControlModel::StreamPerRequest,
    setup: SetupModel::Symmetric,
    request_credit: RequestCredit::Streams,
    request_id_order: RequestIdOrder::Unique,
    responses_carry_request_id: false,
    first_response_checked: true,
    fin_cancels_namespace_requests: true,
    duplicate_subscription_refused: true,
    publish_ok: PublishOkForm::RequestOk,
    request_ok_has_properties: true,
    redirect: true,
    goaway: GoAwayForm::UriTimeoutRequestId,
    goaway_refuses_later_requests: true,
    joining: JoiningRule::ForwardState,
    object_age: ObjectAge::Payload,
    stream_count_unknown: (1 << 62) - 1,
    parameters: parameters::D18,
    misplaced_parameter: Misplaced::Violation,
    filter_end: FilterEnd::Delta,
    zero_delivery_timeout: ZeroTimeout::NoTimeout,
    namespace_min_fields: 0,
    reserved_namespaces: true,
    discovery: Discovery::SplitRequests,
    subgroup_delivery_timeout: true,
    mandatory_properties: true,
    first_object_flag: true,
    reopens_stopped_subgroups: true,
    fetch_ids: FetchIds::Delta,
    padding: true,
};

impl Draft {
    /// Every draft, newest first: the order in which they are preferred.
    pub const ALL: [Self; 2] = [Self::D18, Self::D16];

    /// How this draft differs from the others.
    pub const fn profile(self) -> &'static Profile {
        match self {
            Self::D16 => &D16,
            Self::D18 => &D18,
        }
    }

    /// The draft's number, such as 18.
    pub const fn number(self) -> u8 {
        match self {
            Self::D16 => 16,
            Self::D18 => 18,
        }
    }

    /// The draft that an ALPN or WebTransport protocol name stands for, if it is one of ours.
    pub fn from_alpn(alpn: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|draft| draft.profile().alpn.as_bytes() == alpn)
    }

    /// The draft with this number, if it is one of ours.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|draft| draft.number() == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_are_found_by_name_and_number() {
        for draft in Draft::ALL {
            assert_eq!(draft.profile().draft, draft);
            assert_eq!(
                Draft::from_alpn(draft.profile().alpn.as_bytes()),
                Some(draft)
            );
            assert_eq!(Draft::from_number(draft.number()), Some(draft));
        }
        assert_eq!(Draft::from_alpn(b"moqt-17"), None);
        assert_eq!(Draft::from_alpn(b"h3"), None);
        assert_eq!(Draft::from_number(17), None);
        assert!(
            Draft::ALL.is_sorted_by(|newer, older| newer > older),
            "newest first"
        );
    }

    #[test]
    fn no_two_messages_have_the_same_number() {
        for draft in Draft::ALL {
            let mut seen = std::collections::BTreeMap::new();
            for message in MessageType::ALL {
                if let Some(number) = message.number(draft) {
                    assert_eq!(seen.insert(number, message), None, "{number:#x}");
                    assert_eq!(MessageType::from_number(draft, number), Some(message));
                }
            }
        }
        assert_eq!(MessageType::from_number(Draft::D16, 0x2F00), None);
        assert_eq!(MessageType::from_number(Draft::D18, 0x01), None);
    }

    #[test]
    fn parameters_stand_in_ascending_order_once_each() {
        for draft in Draft::ALL {
            let rows = draft.profile().parameters;
            assert!(rows.is_sorted_by(|one, next| one.number < next.number));
            for row in rows {
                let same = rows.iter().filter(|other| other.parameter == row.parameter);
                assert_eq!(same.count(), 1, "{row:?}");
            }
        }
    }

    #[test]
    fn where_parameters_are_key_value_pairs_the_parity_tells_their_shape() {
        for row in Draft::D16.profile().parameters {
            let shape = if row.number % 2 == 0 {
                Shape::Integer
            } else {
                Shape::LengthPrefixed
            };
            assert_eq!(row.shape, shape, "{row:?}");
        }
    }

    #[test]
    fn a_namespace_parameter_comes_last() {
        // the decoder gives it all that is left of its message
        for draft in Draft::ALL {
            let (_, others) = draft.profile().parameters.split_last().unwrap();
            assert!(others.iter().all(|row| row.shape != Shape::Namespace));
        }
    }

    #[test]
    fn scopes_are_disjoint() {
        let single = [
            Scope::SUBSCRIBE,
            Scope::SUBSCRIBE_OK,
            Scope::PUBLISH,
            Scope::PUBLISH_OK,
            Scope::FETCH,
            Scope::FETCH_OK,
            Scope::TRACK_STATUS,
            Scope::TRACK_STATUS_OK,
            Scope::PUBLISH_NAMESPACE,
            Scope::SUBSCRIBE_NAMESPACE,
            Scope::SUBSCRIBE_TRACKS,
            Scope::NAMESPACE_OK,
            Scope::UPDATE_SUBSCRIPTION,
            Scope::UPDATE_FETCH,
            Scope::UPDATE_PUBLISH_NAMESPACE,
            Scope::UPDATE_SUBSCRIBE_NAMESPACE,
            Scope::UPDATE_SUBSCRIBE_TRACKS,
            Scope::UPDATE_OK,
        ];
        for (one, scope) in single.iter().enumerate() {
            for (other, another) in single.iter().enumerate() {
                assert_eq!(scope.meets(*another), one == other);
            }
        }
    }
}
