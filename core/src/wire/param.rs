//! Message parameters (§ Message Parameters), neutral to the draft.

use bytes::Bytes;

use super::id::{GroupId, Location, Millis};
use super::name::TrackNamespace;

/// In which order groups are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GroupOrder {
    /// Lower group ids first.
    #[default]
    Ascending,
    /// Higher group ids first.
    Descending,
}

/// Which objects a subscription is for (§ Subscription Filters). An absent filter means all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// From the start of the group after the largest one.
    NextGroupStart,
    /// From the object after the largest one.
    LargestObject,
    /// From this location on.
    AbsoluteStart(Location),
    /// From `start` to the end of group `end_group`, which is not before `start`.
    AbsoluteRange {
        /// The first location.
        start: Location,
        /// The last group, all of it.
        end_group: GroupId,
    },
}

/// An authorization token as it stands in a message (§ AUTHORIZATION TOKEN).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Token {
    /// Forget the alias.
    Delete {
        /// Registered before by the same sender.
        alias: u64,
    },
    /// Use the value and remember it under the alias.
    Register {
        /// Chosen by the sender.
        alias: u64,
        /// What kind of token it is.
        kind: u64,
        /// The token itself.
        value: Bytes,
    },
    /// Use the value that was registered under the alias.
    UseAlias {
        /// Registered before by the same sender.
        alias: u64,
    },
    /// Use the value.
    UseValue {
        /// What kind of token it is.
        kind: u64,
        /// The token itself.
        value: Bytes,
    },
}

/// The parameters of a message. Which of them a message may carry depends on the message and the draft.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// AUTHORIZATION_TOKEN, in the order of appearance.
    pub authorization_tokens: Vec<Token>,
    /// OBJECT_DELIVERY_TIMEOUT (draft 16: DELIVERY_TIMEOUT); zero: none.
    pub object_delivery_timeout: Option<Millis>,
    /// SUBGROUP_DELIVERY_TIMEOUT; zero: none. From draft 18.
    pub subgroup_delivery_timeout: Option<Millis>,
    /// RENDEZVOUS_TIMEOUT. From draft 18.
    pub rendezvous_timeout: Option<Millis>,
    /// EXPIRES; zero: never, or not known.
    pub expires: Option<Millis>,
    /// LARGEST_OBJECT: the largest location published so far.
    pub largest_object: Option<Location>,
    /// FILL_TIMEOUT. From draft 18.
    pub fill_timeout: Option<Millis>,
    /// FORWARD: whether objects are to be sent; absent means yes, or unchanged in an update.
    pub forward: Option<bool>,
    /// SUBSCRIBER_PRIORITY: lower is more urgent; absent means 128, or unchanged in an update.
    pub subscriber_priority: Option<u8>,
    /// SUBSCRIPTION_FILTER; absent means everything, or unchanged in an update.
    pub filter: Option<Filter>,
    /// GROUP_ORDER; absent means the publisher's in a SUBSCRIBE, ascending in a FETCH.
    pub group_order: Option<GroupOrder>,
    /// NEW_GROUP_REQUEST: the subscriber wants a group after this one; zero: any new group.
    pub new_group_request: Option<u64>,
    /// TRACK_NAMESPACE_PREFIX: the new prefix in an update of SUBSCRIBE_NAMESPACE or SUBSCRIBE_TRACKS. From draft 18.
    pub track_namespace_prefix: Option<TrackNamespace>,
}
