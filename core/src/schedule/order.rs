//! The order of draft 18 § Scheduling Algorithm, as types that compare.

use crate::wire::id::{GroupId, Location, SubgroupId};
use crate::wire::param::GroupOrder;

/// How urgent something is, compared across all requests. Lower numbers are more urgent and compare as less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class {
    /// The subscriber's priority of the request.
    pub subscriber_priority: u8,
    /// The publisher's priority of the subgroup, datagram or object.
    pub publisher_priority: u8,
}

/// Where something is in its track: the order within one request and [`Class`]. What leaves first compares as less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The group's id, or its complement if later groups come first.
    group: u64,
    kind: Kind,
}

/// Within a group. Where the draft leaves the order open, datagrams come first: they are small and soon too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    /// The object's id.
    Datagram(u64),
    /// The subgroup's id.
    Subgroup(u64),
}

impl Place {
    /// The stream of a FETCH, which is alone in its request.
    pub const FETCH: Self = Self {
        group: 0,
        kind: Kind::Subgroup(0),
    };

    /// A subgroup of a subscription.
    pub const fn subgroup(order: GroupOrder, group: GroupId, subgroup: SubgroupId) -> Self {
        Self {
            group: rank(order, group),
            kind: Kind::Subgroup(subgroup.0),
        }
    }

    /// An object of a subscription that is sent as a datagram.
    pub const fn datagram(order: GroupOrder, location: Location) -> Self {
        Self {
            group: rank(order, location.group),
            kind: Kind::Datagram(location.object.0),
        }
    }
}

const fn rank(order: GroupOrder, group: GroupId) -> u64 {
    match order {
        GroupOrder::Ascending => group.0,
        GroupOrder::Descending => !group.0,
    }
}
