//! Objects as the cache keeps them, and how two of one location differ.

use std::fmt;

use super::limits::OBJECT_OVERHEAD;
use crate::ledger::{CHUNK_OVERHEAD, Pieces};
use crate::time::Time;
use crate::wire::id::{Location, SubgroupId};
use crate::wire::property::Properties;

/// An object: all that there is to say of it but where it is. A clone shares the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its subgroup; `None`: it was published in a datagram.
    pub subgroup: Option<SubgroupId>,
    /// The publisher's priority, lower first; the track's default already put in.
    pub priority: u8,
    /// Its properties; empty if it has none.
    pub properties: Properties,
    /// All of its payload.
    pub payload: Pieces,
    /// When it began to be received, from which MAX_CACHE_DURATION counts.
    pub arrived: Time,
}

impl Object {
    /// What it counts towards [`Limits::max_bytes`](super::Limits::max_bytes), in bytes.
    pub fn cost(&self) -> u64 {
        let pieces = self.payload.iter().count().saturating_mul(CHUNK_OVERHEAD);
        let small = self.properties.bytes().len().saturating_add(pieces);
        self.payload
            .len()
            .saturating_add(u64::try_from(small).unwrap_or(u64::MAX))
            .saturating_add(OBJECT_OVERHEAD)
    }

    /// How it differs from what was received of the same location before, in what must not differ.
    pub(super) fn conflict(&self, before: &Self) -> Option<Conflict> {
        if self.subgroup.is_some() != before.subgroup.is_some() {
            Some(Conflict::ForwardingPreference)
        } else if self.subgroup != before.subgroup {
            Some(Conflict::Subgroup)
        } else if self.priority != before.priority {
            Some(Conflict::Priority)
        } else if self.payload.len() != before.payload.len() {
            Some(Conflict::Length)
        } else if !self.properties.agree_on_immutable(&before.properties) {
            Some(Conflict::ImmutableProperties)
        } else if self.payload != before.payload {
            Some(Conflict::Payload)
        } else {
            None
        }
    }
}

/// Two things were said of one location that cannot both be true: the track is malformed (§ Malformed Tracks), or one of
/// two publishers is wrong. The cache is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The location; the first, if there are several.
    pub location: Location,
    /// What differs.
    pub conflict: Conflict,
}

/// What differs between two accounts of one location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conflict {
    /// In a subgroup and in a datagram.
    ForwardingPreference,
    /// In two subgroups.
    Subgroup,
    /// Of two priorities.
    Priority,
    /// With payloads of two lengths.
    Length,
    /// With two payloads.
    Payload,
    /// With two lists of immutable properties.
    ImmutableProperties,
    /// An object where the publisher said that there is none.
    KnownGap,
    /// The publisher says that there is none where there is an object.
    KnownObject,
}

impl Conflict {
    /// What the rule is about, for logs and reason phrases.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::ForwardingPreference => "an object in a stream and in a datagram",
            Self::Subgroup => "an object in two subgroups",
            Self::Priority => "an object with two priorities",
            Self::Length => "an object with payloads of two lengths",
            Self::Payload => "an object with two payloads",
            Self::ImmutableProperties => "an object with two lists of immutable properties",
            Self::KnownGap => "an object within a gap told of before",
            Self::KnownObject => "a gap that covers an object",
        }
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.conflict.rule(), self.location)
    }
}
