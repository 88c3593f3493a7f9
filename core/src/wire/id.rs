//! Numbers that name things on the wire.

use std::fmt;

use super::cursor::{Reader, Writer};
use super::{Error, NotExpressible, Role};

/// Identifies a request within its session, in both directions: clients number theirs evenly, servers oddly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Stands for a full track name on data streams and datagrams of a session; chosen by the publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackAlias(pub u64);

/// A group of a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

/// A subgroup of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubgroupId(pub u64);

/// An object of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u64);

/// Where an object is in its track (§ Location): ordered by group, then by object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The group.
    pub group: GroupId,
    /// The object within the group.
    pub object: ObjectId,
}

/// A span in milliseconds, as the wire has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}, {}}}", self.group.0, self.object.0)
    }
}

impl RequestId {
    /// Which side the request came from, by its parity.
    pub const fn sender(self) -> Role {
        if self.0.is_multiple_of(2) {
            Role::Client
        } else {
            Role::Server
        }
    }
}

impl Location {
    /// The location of an object.
    pub const fn new(group: u64, object: u64) -> Self {
        Self {
            group: GroupId(group),
            object: ObjectId(object),
        }
    }

    pub(crate) fn write(self, to: &mut Writer) -> Result<(), NotExpressible> {
        to.integer(self.group.0)?;
        to.integer(self.object.0)
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self::new(from.integer()?, from.integer()?))
    }
}
